//! Live processes of Linux: small programs that are stopped, read, and let go.
#![cfg(target_os = "linux")]

mod capture;
mod crashed;
mod memory;
mod refusal;
mod registers;
mod survival;
mod target;
