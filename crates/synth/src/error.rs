//! Why a machine cannot be made.

use std::fmt;

/// Options that do not go together, or a machine that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The runs of physical memory have no page left.
    MemoryFull,
    /// A physical address is in no run of memory.
    NoSuchPage(u64),
    /// A kernel address is not mapped.
    NotMapped(u64),
    /// The options contradict each other; the text says which.
    Options(&'static str),
    /// Something does not fit into the place it has.
    TooLarge(&'static str),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryFull => f.write_str("the machine's memory is full: give it more"),
            Self::NoSuchPage(address) => write!(f, "there is no memory at physical address {address:#x}"),
            Self::NotMapped(address) => write!(f, "the kernel address {address:#x} is not mapped"),
            Self::Options(what) => f.write_str(what),
            Self::TooLarge(what) => write!(f, "{what} does not fit into its place"),
        }
    }
}

impl std::error::Error for BuildError {}
