//! Command lines that ask for what their source cannot have.

use std::fmt;

/// An option that does not go with the source: a mistake in the command line which shows once the source is open.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
