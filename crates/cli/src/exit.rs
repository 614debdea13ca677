//! The exit codes that scripts rely on.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, as asked.
    Success = 0,
    /// The source, target or output failed.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `verify` found a difference or damage, or `--strict` something missing.
    Difference = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
