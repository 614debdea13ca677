//! Is a dump sound, and is all that it kept the same as in its source?
//!
//! [`verify`] looks at one dump alone: everything in it is read and walked, each requirement of each reader is a named
//! [`Check`](checks::Check), and the checksums of its manifest are taken again. [`against()`] compares it with the dump
//! that it was made from. Both need memory for their lists only, however much memory of the process the dumps hold.
//!
//! What breaks the format, or makes readers disagree, is *damage* ([`Note`]). What costs something in one reader only
//! is a *limit* ([`Limit`]): intact dumps have those, because no dump suits all readers.

pub mod against;
pub mod checks;
mod facts;
mod memory;
mod streams;
mod strings;
mod sums;
#[cfg(test)]
mod test_dumps;
#[cfg(test)]
mod tests;

use dotdump_format::{Error, FileOffset, Finding, Findings};
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};
use serde::{Serialize, Serializer};

pub use against::{Against, against, against_process};
pub(crate) use sums::check as sums;
pub(crate) use sums::check_blocks;
pub use sums::{DamagedBlock, ManifestReport};

use checks::Weight;
use facts::Facts;

/// The version of the layout of what `verify` tells.
pub const SCHEMA: u32 = 1;

/// The [`Note::check`] of findings that reading the dump brought.
pub(crate) const READING: &str = "format";

/// What reading finds odd, but real writers leave and every reader lives with: the finding's subject, and the check and
/// reader under which it is told.
const ODDITIES: &[(&str, &str, &str)] = &[
    // Firefox's dumps through Windows Error Reporting have parts of pointers there; the bits that matter are read.
    ("BreakpadInfo.Validity", "breakpad-info-validity", "Breakpad"),
];

/// Something that is wrong with a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where.
    #[serde(serialize_with = "hexadecimal")]
    pub offset: FileOffset,
    /// The stream, record or field.
    pub what: String,
    /// What was found and what was expected.
    pub message: String,
    /// Which check found it: the name of a [`Check`](checks::Check), `format` for what reading everything brought, or
    /// `manifest`.
    pub check: &'static str,
}

/// Something that costs one reader something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The name of the [`Check`](checks::Check).
    pub check: &'static str,
    /// Which reader.
    pub reader: &'static str,
    /// What was found.
    pub message: String,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Whether the dump has no damage.
    pub sound: bool,
    /// The damage, at most [`Findings::KEPT`] and a few.
    pub findings: Vec<Note>,
    /// How many findings there were in all.
    pub findings_total: u64,
    /// What single readers do not take.
    pub limits: Vec<Limit>,
    /// What the checksums say.
    pub manifest: ManifestReport,
}

/// Checks a dump.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn verify(snapshot: &MinidumpSnapshot<'_>) -> Result<Verification, Error> {
    let mut findings = snapshot.findings().clone();
    streams::walk(snapshot, &mut findings)?;
    let mut notes = Notes::default();
    let mut limits = Vec::new();
    notes.take(findings, READING, &mut limits);

    let facts = Facts::gather(snapshot)?;
    for check in checks::CHECKS {
        let Some(violation) = check.violation(&facts) else {
            continue;
        };
        match check.weight {
            Weight::Damage => notes.push(
                Finding::new(violation.offset, violation.what, violation.message),
                check.name,
            ),
            Weight::Limit => limits.push(Limit {
                check: check.name,
                reader: check.reader,
                message: violation.message,
            }),
        }
    }
    drop(facts);

    let mut findings = Findings::default();
    let manifest = sums::check(snapshot, &mut findings)?;
    notes.take(findings, "manifest", &mut limits);
    Ok(Verification {
        sound: notes.total == 0,
        findings: notes.kept,
        findings_total: notes.total,
        limits,
        manifest,
    })
}

/// Gathers findings with the check that found them.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) kept: Vec<Note>,
    pub(crate) total: u64,
}

impl Notes {
    pub(crate) fn push(&mut self, finding: Finding, check: &'static str) {
        self.total += 1;
        let note = Note {
            offset: finding.offset,
            what: finding.what.into_owned(),
            message: finding.message.into_owned(),
            check,
        };
        // Opening and walking a dump may read the same place.
        if self.kept.contains(&note) {
            self.total -= 1;
        } else {
            self.kept.push(note);
        }
    }

    /// Takes findings; those that are mere oddities become limits.
    pub(crate) fn take(&mut self, findings: Findings, check: &'static str, limits: &mut Vec<Limit>) {
        self.total += findings.total() - findings.as_slice().len() as u64;
        for finding in findings.as_slice() {
            match ODDITIES.iter().find(|(what, ..)| *what == finding.what) {
                Some((what, check, reader)) => limits.push(Limit {
                    check,
                    reader,
                    message: format!("{what}: {}", finding.message),
                }),
                None => self.push(finding.clone(), check),
            }
        }
    }
}

/// Serializes an offset as text, for numbers above 2^53 do not survive every JSON reader.
pub(crate) fn hexadecimal<S: Serializer>(offset: &FileOffset, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{offset:#x}"))
}
