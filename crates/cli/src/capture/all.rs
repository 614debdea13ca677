//! Every process of this machine (`-a`).

use std::fmt;

use anyhow::bail;
use dotdump_capture::{CaptureError, processes};
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::sink::SinkError;

use super::capture;
use super::target::others;
use crate::arguments::{CaptureArguments, ProgressMode};
use crate::dump::{Place, Told};
use crate::exit::Exit;
use crate::printing::warn;
use crate::process_name::is_sensitive;

/// What became of the processes.
#[derive(Default)]
struct Counts {
    written: u64,
    /// Refused by `--strict`.
    lacking: u64,
    failed: u64,
    /// What ended since it was listed, and what has no memory to dump.
    skipped: u64,
    /// What can be done about those that the system does not let us capture, told once.
    remedy: Option<String>,
}

/// Captures all processes but this one, each to a file of its own. One that fails is told, and is no reason to leave out
/// the others: only where none could be written it is a failure.
pub(super) fn run(arguments: &CaptureArguments, place: &Place<'_>) -> anyhow::Result<Exit> {
    let mut counts = Counts::default();
    for entry in others(&processes()?) {
        let named = format!("process {} ({})", entry.id, entry.name.escape_debug());
        if is_sensitive(&entry.name) && !arguments.allow_sensitive_process {
            counts.failed += 1;
            warn(format_args!(
                "dotdump: {named}: left out: it holds the passwords and keys of all who use the machine \
                 (--allow-sensitive-process)"
            ));
            continue;
        }
        let told = Told {
            subject: format!("{named}: "),
            // What shows it may be what is stopped.
            progress: ProgressMode::Never,
        };
        match capture(entry.id, &arguments.writing, place, &told) {
            Ok(Exit::Success) => counts.written += 1,
            Ok(_) => counts.lacking += 1,
            Err(error) if is_cancelled(&error) => return Err(error),
            Err(error) => counts.failed(&error, &named),
        }
    }
    if let Some(remedy) = &counts.remedy {
        warn(format_args!("dotdump: {remedy}"));
    }
    if counts.written == 0 && counts.lacking == 0 {
        bail!("no process was captured: {counts}");
    }
    if !arguments.writing.quiet {
        warn(format_args!("{counts}"));
    }
    Ok(if counts.lacking > 0 {
        Exit::Difference
    } else {
        Exit::Success
    })
}

impl Counts {
    fn failed(&mut self, error: &anyhow::Error, named: &str) {
        match error.downcast_ref() {
            Some(
                CaptureError::NotCapturable { .. } | CaptureError::NoSuchProcess { .. } | CaptureError::Ended { .. },
            ) => {
                self.skipped += 1;
                return;
            }
            Some(CaptureError::Denied { action, remedy, .. }) => {
                warn(format_args!("dotdump: {named}: not allowed to {action} it"));
                self.remedy.get_or_insert_with(|| remedy.clone());
            }
            _ => warn(format_args!("dotdump: {named}: {error:#}")),
        }
        self.failed += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = match self.written {
            1 => "1 process".to_owned(),
            written => format!("{written} processes"),
        };
        write!(f, "{written} written")?;
        for (count, what) in [(self.lacking, "lack something"), (self.failed, "could not be captured")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if self.skipped > 0 {
            write!(f, "; {} skipped, which ended meanwhile or have no memory", self.skipped)?;
        }
        Ok(())
    }
}

/// Whether a signal asked to stop, which is meant for all that is still to come as well.
fn is_cancelled(error: &anyhow::Error) -> bool {
    let in_sink = |error: &SinkError| matches!(error, SinkError::Cancelled);
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(in_sink)
            || matches!(cause.downcast_ref(), Some(WriteError::Sink(error)) if in_sink(error))
    })
}
