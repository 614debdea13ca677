//! The subcommand `convert`.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use dotdump_snapshot::MinidumpSnapshot;
use dotdump_transcode::options::DumpOptions;
use dotdump_transcode::report::Report;
use dotdump_transcode::select::ImageFolders;
use dotdump_transcode::sink::{Cancel, Control, Destination};
use dotdump_transcode::{Request, prepare};
use indicatif::HumanBytes;

use crate::arguments::ConvertArguments;
use crate::exit::Exit;
use crate::source::{not_a_minidump, open};
use crate::{progress, signals};

/// Runs the subcommand.
pub(crate) fn run(arguments: &ConvertArguments) -> anyhow::Result<Exit> {
    let source = open(&arguments.source, !arguments.no_mmap)?;
    // An output that cannot be is told before any work is done.
    let destination = match arguments.dry_run {
        true => None,
        false if arguments.to_standard_output() => Some(Destination::standard_output()?),
        false => {
            let overwrite = arguments.dump.options.overwrite;
            Some(Destination::file(&arguments.output, overwrite, Some(source.file()))?)
        }
    };
    let snapshot = MinidumpSnapshot::open(&source).with_context(|| not_a_minidump(&source, &arguments.source))?;
    let mut conversion = prepare(&snapshot, &request(arguments))?;

    if !arguments.quiet {
        for shortfall in &conversion.report.absent {
            warn(format_args!("warning: {shortfall}"));
        }
    }
    if arguments.strict && !conversion.report.absent.is_empty() {
        let count = conversion.report.absent.len();
        warn(format_args!(
            "dotdump: nothing written: --strict, and {count} things that were asked for are missing"
        ));
        write_report(arguments.report.as_deref(), &conversion.report)?;
        return Ok(Exit::Difference);
    }
    if let Some(destination) = destination {
        // A blocked write to a pipe would outlast a signal that is only noted.
        let cancel = if destination.is_file() {
            signals::install()?
        } else {
            Cancel::new()
        };
        let shown = progress::new(arguments.progress, arguments.quiet);
        let mut sink = destination.open(Some(conversion.size()), Control::new(&cancel, shown.as_ref()))?;
        conversion.write(&source, sink.as_mut())?;
        sink.finish()?;
    }
    write_report(arguments.report.as_deref(), &conversion.report)?;
    if !arguments.quiet && (arguments.dry_run || !arguments.to_standard_output()) {
        let text = summary(arguments, &conversion.report);
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("standard output")?;
    }
    Ok(Exit::Success)
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

fn write_report(path: Option<&Path>, report: &Report) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    std::fs::write(path, text).with_context(|| format!("cannot write the report {}", path.display()))
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
        "  {} threads, {} modules, {} of memory in {} ranges",
        written.threads,
        written.modules,
        HumanBytes(memory.bytes),
        memory.ranges
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
        let _ = writeln!(text, "  erased: {words} words of memory");
    }
    if report.erased.module_paths > 0 {
        let _ = writeln!(text, "  shortened: {} module names", report.erased.module_paths);
    }
    text
}
