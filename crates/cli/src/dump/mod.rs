//! The way from a plan to a file, the same for all kinds of dumps.

mod output;
mod request;
mod summary;
mod unique_name;

use std::cell::Cell;

use anyhow::bail;
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::shortfall::{Severity, Shortfall};
use dotdump_transcode::sink::{Cancel, Control, Held, Sink};

pub(crate) use output::{Output, Place, Told};
pub(crate) use request::{check_image_folders, request};
pub(crate) use summary::summary_of_process;

use crate::arguments::WritingArguments;
use crate::counted::counted;
use crate::exit::Exit;
use crate::printing::{print, warn};
use crate::{progress, signals};

/// A dump of any kind that is planned and can be written.
pub(crate) trait PlannedDump {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// What was asked for and could not be had.
    fn absent(&self) -> &[Shortfall];

    /// What was asked, written, absent and erased, as JSON.
    fn report(&self) -> serde_json::Result<Vec<u8>>;

    /// What was kept, for a person: `head` is what stands in front of the first line.
    fn summary(&self, head: &str) -> String;

    /// Writes it. The caller finishes the sink.
    fn write(&mut self, sink: &mut dyn Sink) -> Result<(), WriteError>;

    /// How many bytes of output are better held in memory than written at once: something waits until all is read.
    fn held(&self) -> usize {
        0
    }

    /// Lets go of the source: nothing more is read. Whatever takes time comes after this.
    fn release(&mut self) {}
}

/// Writes the dump and its report unless that is not wanted, and tells what is missing.
pub(crate) fn write(
    arguments: &WritingArguments,
    dump: &mut dyn PlannedDump,
    output: Output<'_>,
    told: &Told,
) -> anyhow::Result<Exit> {
    let Output {
        path,
        destination,
        report,
    } = output;
    let missing = missing(dump);
    let refused = arguments.strict && missing > 0;
    let Some(destination) = destination.filter(|_| !refused && !arguments.dry_run) else {
        dump.release();
        tell_absent(arguments, dump, told);
        if refused {
            tell_refused(missing, told);
        } else {
            print(&dump.summary(&format!("{} would be written", path.display())))?;
        }
        if let Some(report) = report {
            report.finish(dump.report()?, Control::new(&Cancel::new(), &()))?;
        }
        return Ok(if refused { Exit::Difference } else { Exit::Success });
    };

    let held = dump.held();
    if held == 0 {
        tell_absent(arguments, dump, told);
    }
    // A blocked write to a pipe would outlast a signal that is only noted.
    let cancel = if destination.is_file() {
        signals::install()?
    } else {
        Cancel::new()
    };
    let unseen = Control::new(&cancel, &());
    // A signal that ends the program at once would leave the report's temporary file, so that it is made late then.
    let report = match report {
        Some(report) if destination.is_file() && held == 0 => Some(report.open(unseen)?),
        report => report,
    };
    let shown = progress::new(told.progress, arguments.quiet);
    let control = Control::new(&cancel, shown.as_ref());
    let size = dump.size();
    let is_file = destination.is_file();
    let is_open = Cell::new(false);
    let mut sink: Box<dyn Sink + '_> = match held {
        0 => destination.open(Some(size), control)?,
        held => Box::new(Held::new(held, || {
            is_open.set(true);
            destination.hurried().open(Some(size), control)
        })),
    };
    if let Err(error) = dump.write(sink.as_mut()) {
        // What is out cannot be taken back, so that nobody can try again.
        if is_open.get() && !is_file {
            bail!("{error}");
        }
        return Err(error.into());
    }
    dump.release();
    if held > 0 {
        tell_absent(arguments, dump, told);
    }
    // The report comes first: where it cannot be written there is to be no dump either.
    let report = match report {
        Some(report) => Some(report.finish(dump.report()?, unseen)?),
        None => None,
    };
    if let Err(error) = sink.finish() {
        if let Some(report) = report {
            report.take_back();
        }
        return Err(error.into());
    }
    drop(shown);
    if !arguments.quiet && !arguments.to_standard_output() {
        // The dump is there, whether or not this can be told.
        if let Err(error) = print(&dump.summary(&format!("{} written", path.display()))) {
            warn(format_args!("warning: {error:#}"));
        }
    }
    Ok(Exit::Success)
}

/// How many things that were asked for are missing.
fn missing(dump: &dyn PlannedDump) -> u64 {
    let absent = dump.absent().iter();
    absent.filter(|shortfall| shortfall.severity != Severity::Note).count() as u64
}

fn tell_absent(arguments: &WritingArguments, dump: &dyn PlannedDump, told: &Told) {
    if arguments.quiet {
        return;
    }
    let subject = &told.subject;
    for shortfall in dump.absent() {
        match shortfall.severity {
            Severity::Note => warn(format_args!("note: {subject}{shortfall}")),
            _ => warn(format_args!("warning: {subject}{shortfall}")),
        }
    }
}

fn tell_refused(missing: u64, told: &Told) {
    let subject = &told.subject;
    let (things, were, are) = match missing {
        1 => ("1 thing".to_owned(), "was", "is"),
        _ => (counted(missing, "thing"), "were", "are"),
    };
    warn(format_args!(
        "dotdump: {subject}nothing written: --strict, and {things} that {were} asked for {are} missing"
    ));
}
