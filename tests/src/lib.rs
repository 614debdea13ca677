//! Tests of the whole program, and what they share: where dumps and tools are, how the program is run, and how the
//! independent readers are asked.
//!
//! Nothing here uses the engine's crates: what a test expects comes from elsewhere.

pub mod compare;
pub mod damage;
pub mod minidump;
pub mod parallel;
pub mod places;
pub mod program;
pub mod stackwalk;
pub mod validators;
