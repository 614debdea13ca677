//! Is a kernel dump sound, and is all that it claims to have there and the same as in its source?
//!
//! [`verify`] looks at one dump alone: the container is read, each requirement of each reader is a named
//! [`Check`] with a result, and the checksums of its manifest are taken again. [`against()`] compares it
//! with the machine that it was made from: what it has must be the same, and what its type promises must be there, pages
//! of zeros included. Both stream: memory for a bitmap of pages is all they need, however large the machine is.
//!
//! As for minidumps, what breaks the format is *damage* and what costs something in one reader only is a *limit*: no
//! dump suits all readers.

pub mod against;
pub mod checks;
mod facts;
mod triage_facts;

use dotdump_format::{Error, Finding, ReadAt};
use dotdump_snapshot::MachineSnapshot;
use serde::Serialize;

pub use against::{MachineAgainst, against};

use self::checks::{Check, Outcome, Weight};
use self::facts::Facts;
use crate::machine::sums;
use crate::verify::{Limit, ManifestReport, Note, Notes, READING};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// The dump has what is asked for.
    Ok,
    /// It does not.
    Failed,
    /// The dump is of a kind of which it is not asked.
    NotApplicable,
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The name of the [`Check`].
    pub check: &'static str,
    /// Who asks for it.
    pub reader: &'static str,
    /// What a failure means.
    pub weight: Weight,
    /// What it came to.
    pub result: CheckResult,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Serialize)]
pub struct MachineVerification {
    /// Whether the dump has no damage.
    pub sound: bool,
    /// The damage.
    pub findings: Vec<Note>,
    /// How many findings there were in all.
    pub findings_total: u64,
    /// What single readers do not take.
    pub limits: Vec<Limit>,
    /// What is odd in the machine that the dump shows: lists that break off, pages that are missed. A machine that
    /// stopped because it was broken has such things, and a dump that was filtered too.
    pub contents: Vec<Note>,
    /// How many of these there were in all.
    pub contents_total: u64,
    /// All checks and their results.
    pub checks: Vec<CheckReport>,
    /// What the checksums say.
    pub manifest: ManifestReport,
}

/// Checks a kernel dump. `snapshot` is the machine in it.
///
/// # Errors
/// [`Error::Malformed`] for what is no kernel dump, or one that nobody can read; [`Error::Read`] where the medium fails.
pub fn verify(source: &dyn ReadAt, snapshot: &dyn MachineSnapshot) -> Result<MachineVerification, Error> {
    let facts = Facts::gather(source, snapshot)?;
    let mut notes = Notes::default();
    let mut limits = Vec::new();
    notes.take(facts.findings.clone(), READING, &mut limits);
    let mut reports = Vec::with_capacity(checks::CHECKS.len());
    for check in checks::CHECKS {
        let outcome = check.outcome(&facts);
        reports.push(report(check, &outcome));
        let Outcome::Failed(violation) = outcome else { continue };
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
    let mut findings = dotdump_format::Findings::default();
    let manifest = sums::check(source, &mut findings)?;
    notes.take(findings, "manifest", &mut limits);

    let mut contents = Notes::default();
    contents.take(snapshot.findings(), READING, &mut limits);
    let told = |note: &Note| {
        notes
            .kept
            .iter()
            .any(|known| known.offset == note.offset && known.what == note.what)
    };
    let before = contents.kept.len() as u64;
    contents.kept.retain(|note| !told(note));
    contents.total -= before - contents.kept.len() as u64;
    Ok(MachineVerification {
        sound: notes.total == 0,
        findings: notes.kept,
        findings_total: notes.total,
        limits,
        contents: contents.kept,
        contents_total: contents.total,
        checks: reports,
        manifest,
    })
}

fn report(check: &Check, outcome: &Outcome) -> CheckReport {
    CheckReport {
        check: check.name,
        reader: check.reader,
        weight: check.weight,
        result: match outcome {
            Outcome::Ok => CheckResult::Ok,
            Outcome::NotApplicable => CheckResult::NotApplicable,
            Outcome::Failed(_) => CheckResult::Failed,
        },
    }
}
