//! Page walks over memory of real guests, against the walk that QEMU did itself and against what made the memory.
#![cfg(unix)]

mod linux;
mod nt;
mod plain;
mod process;
