//! The subcommand `convert`. The way from a plan to a file is the same for all kinds of dumps.

mod applicable;
mod chosen_process;
mod machine;
mod process;

use std::io::Write as _;

use anyhow::{Context as _, bail};
use dotdump_snapshot::machine::MachineFile;
use dotdump_snapshot::{DumpFile, MachineProcess, MinidumpSnapshot};
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::options::{DumpOptions, MiniOptions};
use dotdump_transcode::select::ImageFolders;
use dotdump_transcode::shortfall::{Severity, Shortfall};
use dotdump_transcode::sink::{Cancel, Control, Destination, Sink};
use dotdump_transcode::{Request, prepare, prepare_process};

use crate::arguments::ConvertArguments;
use crate::counted::counted;
use crate::exit::Exit;
use crate::report_file::ReportFile;
use crate::source::{Shown, image, machine_options, open, shown};
use crate::{progress, signals};
use machine::MachineDump;
use process::ProcessDump;

/// A dump of any kind that is planned and can be written.
trait PlannedDump {
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
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &ConvertArguments) -> anyhow::Result<Exit> {
    let path = &arguments.source;
    let source = open(path, !arguments.no_mmap)?;
    let shown = shown(&source, path, arguments.memory_map.is_some())?;
    applicable::check(arguments, shown)?;
    // An output that cannot be is told before any work is done.
    let destination = destination(arguments, &source)?;
    let report = match &arguments.report {
        Some(path) => {
            let output = (!arguments.to_standard_output()).then_some(arguments.output.as_path());
            Some(ReportFile::check(path, source.file(), output)?)
        }
        None => None,
    };
    match shown {
        Shown::Process => {
            check_image_folders(arguments)?;
            let snapshot = MinidumpSnapshot::open(&source).with_context(|| path.display().to_string())?;
            let mut dump = ProcessDump {
                conversion: prepare(&snapshot, &request(arguments))?,
                source: &source,
            };
            write(arguments, &mut dump, destination, report)
        }
        Shown::Machine => {
            let file = MachineFile::open(&source, &machine_options(arguments.memory_map.as_deref())?);
            let file = file.with_context(|| path.display().to_string())?;
            let image = image(&file, path)?;
            if let Some(wanted) = &arguments.process {
                check_image_folders(arguments)?;
                let process = chosen_process::find(&image, wanted, arguments.allow_sensitive_process)?;
                let Some(process) = MachineProcess::open(&image, process)? else {
                    bail!(
                        "{}: --process {wanted}: the source has no pages of processes",
                        path.display()
                    );
                };
                let mut dump = ProcessDump {
                    conversion: prepare_process(&process, &source, &request(arguments))?,
                    source: &source,
                };
                return write(arguments, &mut dump, destination, report);
            }
            let conversion = dotdump_transcode::machine::prepare(&image, Some(&source), &request(arguments))?;
            write(arguments, &mut MachineDump(conversion), destination, report)
        }
    }
}

/// Tells what is missing, and writes the dump and its report unless that is not wanted.
fn write(
    arguments: &ConvertArguments,
    dump: &mut dyn PlannedDump,
    destination: Option<Destination>,
    report: Option<ReportFile<'_>>,
) -> anyhow::Result<Exit> {
    if !arguments.quiet {
        for shortfall in dump.absent() {
            match shortfall.severity {
                Severity::Note => warn(format_args!("note: {shortfall}")),
                _ => warn(format_args!("warning: {shortfall}")),
            }
        }
    }
    let absent = dump.absent().iter();
    let missing = absent.filter(|shortfall| shortfall.severity != Severity::Note).count() as u64;
    let refused = arguments.strict && missing > 0;
    if refused {
        let (things, were, are) = match missing {
            1 => ("1 thing".to_owned(), "was", "is"),
            _ => (counted(missing, "thing"), "were", "are"),
        };
        warn(format_args!(
            "dotdump: nothing written: --strict, and {things} that {were} asked for {are} missing"
        ));
    }
    let Some(destination) = destination.filter(|_| !refused && !arguments.dry_run) else {
        if !refused {
            print(&summary(arguments, dump))?;
        }
        if let Some(report) = report {
            report.finish(dump.report()?, Control::new(&Cancel::new(), &()))?;
        }
        return Ok(if refused { Exit::Difference } else { Exit::Success });
    };

    // A blocked write to a pipe would outlast a signal that is only noted.
    let cancel = if destination.is_file() {
        signals::install()?
    } else {
        Cancel::new()
    };
    let unseen = Control::new(&cancel, &());
    // A signal that ends the program at once would leave the report's temporary file, so that it is made late then.
    let report = match report {
        Some(report) if destination.is_file() => Some(report.open(unseen)?),
        report => report,
    };
    let shown = progress::new(arguments.progress, arguments.quiet);
    let mut sink = destination.open(Some(dump.size()), Control::new(&cancel, shown.as_ref()))?;
    dump.write(sink.as_mut())?;
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
        if let Err(error) = print(&summary(arguments, dump)) {
            warn(format_args!("warning: {error:#}"));
        }
    }
    Ok(Exit::Success)
}

/// What the dump is to be written to. `None` where it will not be: a terminal is shown the plan of a dry run, which it
/// could not be shown the dump of.
fn destination(arguments: &ConvertArguments, source: &DumpFile) -> anyhow::Result<Option<Destination>> {
    if arguments.to_standard_output() {
        return match arguments.dry_run {
            true => Ok(None),
            false => Ok(Some(Destination::standard_output()?)),
        };
    }
    let overwrite = arguments.dump.options.overwrite;
    Ok(Some(Destination::file(
        &arguments.output,
        overwrite,
        Some(source.file()),
    )?))
}

/// Folders that are misspelled or of no use would only show in what the dump lacks.
fn check_image_folders(arguments: &ConvertArguments) -> anyhow::Result<()> {
    for folder in &arguments.image_path {
        let read = std::fs::metadata(folder).and_then(|metadata| match metadata.is_dir() {
            true => Ok(()),
            false => Err(std::io::ErrorKind::NotADirectory.into()),
        });
        read.with_context(|| format!("--image-path {}", folder.display()))?;
    }
    let users = MiniOptions::DATA_SEGMENTS | MiniOptions::CODE_SEGMENTS;
    if !arguments.image_path.is_empty() && !arguments.dump.options.mini.intersects(users) && !arguments.quiet {
        warn(format_args!(
            "warning: --image-path is not used: only the letters d and c of -m need images"
        ));
    }
    Ok(())
}

fn request(arguments: &ConvertArguments) -> Request {
    Request {
        options: DumpOptions {
            overwrite: false,
            ..arguments.dump.options.clone()
        },
        images: ImageFolders::new(arguments.image_path.clone()),
        max_size: arguments.max_size,
        force: arguments.force,
        no_manifest: arguments.no_manifest,
        layout: arguments.layout.map(Into::into),
    }
}

/// A line on standard error; nobody may be listening, which is no reason to fail.
fn warn(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints to standard output. Who reads it may have seen enough, which is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// What was kept, for a person.
fn summary(arguments: &ConvertArguments, dump: &dyn PlannedDump) -> String {
    let verb = if arguments.dry_run {
        "would be written"
    } else {
        "written"
    };
    dump.summary(&format!("{} {verb}", arguments.output.display()))
}
