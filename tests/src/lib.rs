//! Tests of the whole program, and what they share: where dumps and tools are, how the program is run, and how the
//! independent readers are asked.
//!
//! What a test expects comes from elsewhere than the engine's crates. Only machines to be damaged, of which nothing is
//! expected, are made by one of them.

pub mod capture;
pub mod compare;
pub mod damage;
#[cfg(unix)]
pub mod damage_machine;
pub mod kernel_dump;
pub mod limits;
pub mod machines;
pub mod minidump;
pub mod minidump_process;
pub mod page_walk;
pub mod parallel;
pub mod places;
pub mod program;
pub mod stackwalk;
#[cfg(target_os = "linux")]
pub mod target;
pub mod validators;
pub mod wine;
