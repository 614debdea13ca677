//! Processes as the command line names them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A process by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProcessName {
    /// By its id.
    Id(u64),
    /// By the name of its image.
    Name(String),
}

impl FromStr for ProcessName {
    type Err = Infallible;

    /// A decimal number, or a hexadecimal one with `0x`, is an id; anything else is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        Ok(id.map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
