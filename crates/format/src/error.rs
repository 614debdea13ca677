//! What can be wrong with a file: errors that end a reading, and findings that only degrade its result.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::addr::FileOffset;

/// Why something could not be read or laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A part of the file breaks the format. Says what, where, what was found and what was expected.
    #[error("{0}")]
    Malformed(Finding),
    /// The bytes could not be had from the medium, although the file claims to have them.
    #[error("reading {size} bytes at file offset {offset}: {reason}")]
    Read {
        /// Where the read started.
        offset: FileOffset,
        /// How many bytes were asked for.
        size: u64,
        /// What the operating system said.
        reason: String,
    },
    /// A value does not fit its field in the output; nothing may be written.
    #[error("{what} does not fit the format: {value:#x} is above the limit {limit:#x}")]
    TooLarge {
        /// The field or table.
        what: Cow<'static, str>,
        /// Its value.
        value: u64,
        /// The largest value that its field takes.
        limit: u64,
    },
}

impl Error {
    /// A [`Error::Malformed`] from its parts.
    pub fn malformed(
        offset: impl Into<FileOffset>,
        what: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Malformed(Finding::new(offset, what, message))
    }

    /// The same as a finding, so that a reader may go on without the part.
    #[must_use]
    pub fn into_finding(self, what: &'static str) -> Finding {
        match self {
            Self::Malformed(finding) => finding,
            Self::Read { offset, .. } => Finding {
                offset,
                what: Cow::Borrowed(what),
                message: Cow::Owned(alloc::format!("{self}")),
            },
            Self::TooLarge { .. } => Finding {
                offset: FileOffset(0),
                what: Cow::Borrowed(what),
                message: Cow::Owned(alloc::format!("{self}")),
            },
        }
    }
}

/// Something in a file that is not as the format has it. The rest of the file stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file offset of the field or bytes that the finding is about.
    pub offset: FileOffset,
    /// The record or field, such as `ThreadList[12].Stack`.
    pub what: Cow<'static, str>,
    /// What was found and what was expected.
    pub message: Cow<'static, str>,
}

impl Finding {
    /// A finding from its parts.
    pub fn new(
        offset: impl Into<FileOffset>,
        what: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            offset: offset.into(),
            what: what.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at file offset {}: {}", self.what, self.offset, self.message)
    }
}

/// The findings of one reading. Keeps the first [`Findings::KEPT`] and counts the rest, so that a file
/// in which every record is broken cannot fill the memory.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    total: u64,
}

impl Findings {
    /// How many findings are kept with their text.
    pub const KEPT: usize = 1000;

    /// Notes one.
    pub fn push(&mut self, finding: Finding) {
        self.total += 1;
        if self.kept.len() < Self::KEPT {
            self.kept.push(finding);
        }
    }

    /// Notes one from its parts.
    pub fn add(
        &mut self,
        offset: impl Into<FileOffset>,
        what: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) {
        // The text is only built by callers; beyond the limit it is dropped at once.
        self.push(Finding::new(offset, what, message));
    }

    /// Takes all that `other` holds.
    pub fn append(&mut self, other: Self) {
        let dropped = other.total - other.kept.len() as u64;
        for finding in other.kept {
            self.push(finding);
        }
        self.total += dropped;
    }

    /// Those that were kept, in the order in which they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Finding] {
        &self.kept
    }

    /// How many there were in all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether nothing was found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }
}
