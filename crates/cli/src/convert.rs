//! The subcommand `convert`.

use std::io::Write as _;

use anyhow::Context as _;
use dotdump_snapshot::{DumpFile, MinidumpSnapshot};
use dotdump_transcode::options::{DumpOptions, MiniOptions};
use dotdump_transcode::report::Report;
use dotdump_transcode::select::ImageFolders;
use dotdump_transcode::shortfall::Severity;
use dotdump_transcode::sink::{Cancel, Control, Destination};
use dotdump_transcode::{Request, prepare};
use indicatif::HumanBytes;

use crate::arguments::ConvertArguments;
use crate::counted::counted;
use crate::exit::Exit;
use crate::report_file::ReportFile;
use crate::source::{not_a_minidump, open};
use crate::{progress, signals};

/// Runs the subcommand.
pub(crate) fn run(arguments: &ConvertArguments) -> anyhow::Result<Exit> {
    let source = open(&arguments.source, !arguments.no_mmap)?;
    // An output that cannot be is told before any work is done.
    let destination = destination(arguments, &source)?;
    let report = match &arguments.report {
        Some(path) => {
            let output = (!arguments.to_standard_output()).then_some(arguments.output.as_path());
            Some(ReportFile::check(path, source.file(), output)?)
        }
        None => None,
    };
    check_image_folders(arguments)?;
    let snapshot = MinidumpSnapshot::open(&source).with_context(|| not_a_minidump(&source, &arguments.source))?;
    let mut conversion = prepare(&snapshot, &request(arguments))?;

    if !arguments.quiet {
        for shortfall in &conversion.report.absent {
            match shortfall.severity {
                Severity::Note => warn(format_args!("note: {shortfall}")),
                _ => warn(format_args!("warning: {shortfall}")),
            }
        }
    }
    let absent = conversion.report.absent.iter();
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
            print(&summary(arguments, &conversion.report))?;
        }
        if let Some(report) = report {
            report.finish(&conversion.report, Control::new(&Cancel::new(), &()))?;
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
    let mut sink = destination.open(Some(conversion.size()), Control::new(&cancel, shown.as_ref()))?;
    conversion.write(&source, sink.as_mut())?;
    // The report comes first: where it cannot be written there is to be no dump either.
    let report = report
        .map(|report| report.finish(&conversion.report, unseen))
        .transpose()?;
    if let Err(error) = sink.finish() {
        if let Some(report) = report {
            report.take_back();
        }
        return Err(error.into());
    }
    drop(shown);
    if !arguments.quiet && !arguments.to_standard_output() {
        // The dump is there, whether or not this can be told.
        if let Err(error) = print(&summary(arguments, &conversion.report)) {
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
fn summary(arguments: &ConvertArguments, report: &Report) -> String {
    use std::fmt::Write as _;
    let written = &report.written;
    let mut text = String::new();
    let verb = if arguments.dry_run {
        "would be written"
    } else {
        "written"
    };
    let _ = writeln!(
        text,
        "{} {verb}: {} ({})",
        arguments.output.display(),
        HumanBytes(written.size),
        report.asked
    );
    let memory = written.memory;
    let _ = writeln!(
        text,
        "  {}, {}, {} of memory in {}",
        counted(written.threads, "thread"),
        counted(written.modules, "module"),
        HumanBytes(memory.bytes),
        counted(memory.ranges, "range")
    );
    for class in &written.memory_by_class {
        let name = serde_json::to_value(class.class).unwrap_or_default();
        let absent = match class.absent {
            0 => String::new(),
            absent => format!(" ({} not in the source)", HumanBytes(absent)),
        };
        let name = name.as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "    {name:<22} {:>12}{absent}",
            HumanBytes(class.bytes).to_string()
        );
    }
    let streams: Vec<&str> = written.streams.iter().map(|stream| stream.name.as_str()).collect();
    let _ = writeln!(text, "  streams: {}", streams.join(", "));
    if !report.left_out.is_empty() {
        let left: Vec<&str> = report.left_out.iter().map(|left| left.name.as_str()).collect();
        let _ = writeln!(text, "  left out: {}", left.join(", "));
    }
    if let Some(words) = report.erased.words {
        let _ = writeln!(text, "  erased: {} of memory", counted(words, "word"));
    }
    if report.erased.module_paths > 0 {
        let names = counted(report.erased.module_paths, "module name");
        let _ = writeln!(text, "  shortened: {names}");
    }
    text
}
