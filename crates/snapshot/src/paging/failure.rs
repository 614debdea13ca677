//! Failed translations in words.

use std::fmt;

use super::{FailureReason, TranslateFailure};

/// The name of an entry of a table of `level`, as processor manuals have it.
#[must_use]
pub(super) const fn entry_name(level: u8) -> &'static str {
    match level {
        1 => "PTE",
        2 => "PDE",
        3 => "PDPTE",
        4 => "PML4E",
        _ => "PML5E",
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCanonical => f.write_str("the upper bits are not copies of the highest one that is translated"),
            Self::NotPresent => f.write_str("not present"),
            Self::TableAbsent => f.write_str("the table is not in the source"),
            Self::Reserved => f.write_str("reserved bits are set"),
            Self::PageFile { number, page } => write!(f, "page {page:#x} of page file {number}"),
            Self::DemandZero => f.write_str("a page of zeros that was not used yet"),
            Self::FileBacked => f.write_str("the page is in a file"),
            Self::PrototypeAbsent => f.write_str("the prototype entry leads nowhere"),
        }
    }
}

impl fmt::Display for TranslateFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no physical address: ", self.address)?;
        if self.level > 0 {
            f.write_str(entry_name(self.level))?;
            if let Some(entry) = self.entry {
                write!(f, " {entry:#x}")?;
            }
            if let Some(at) = self.entry_at {
                write!(f, " at {at}")?;
            }
            f.write_str(": ")?;
        }
        self.reason.fmt(f)
    }
}

impl std::error::Error for TranslateFailure {}
