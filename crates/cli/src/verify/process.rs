//! `verify` for the dump of a process.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use dotdump_format::Findings;
use dotdump_snapshot::machine::MachineFile;
use dotdump_snapshot::{DumpFile, MachineProcess, MachineSnapshot as _, MinidumpSnapshot, ProcessSnapshot as _};
use dotdump_transcode::verify::{self, Against, Verification};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Source, Told, json_text, limits, manifest, merge, notes};
use crate::arguments::VerifyArguments;
use crate::counted::counted;
use crate::misuse::Misuse;
use crate::source::{Shown, image, machine_options, process_core};

/// Checks a dump, and compares it with its source.
pub(super) fn run(arguments: &VerifyArguments, file: &DumpFile, source: Option<&Source>) -> anyhow::Result<Told> {
    let snapshot = MinidumpSnapshot::open(file).with_context(|| arguments.dump.display().to_string())?;
    let found = verify::verify(&snapshot).with_context(|| arguments.dump.display().to_string())?;
    let against = match source {
        Some(source) => {
            let against = match source.shown {
                Shown::Process => {
                    let of_source = MinidumpSnapshot::open(&source.file);
                    let of_source = of_source.with_context(|| source.path.display().to_string())?;
                    verify::against(&snapshot, &of_source).context("the dumps cannot be compared")?
                }
                Shown::ProcessCore => {
                    let process = process_core(&source.file, source.path)?;
                    let against = verify::against_process(&snapshot, &process, &source.file);
                    against.context("the dumps cannot be compared")?
                }
                Shown::Machine => against_machine(arguments, &snapshot, source)?,
            };
            Some((source.path, against))
        }
        None => None,
    };
    let text = if arguments.json {
        json_text(&document(&arguments.dump, &found, against.as_ref())?)?
    } else {
        report(&arguments.dump, &found, against.as_ref())
    };
    let same = against.is_none_or(|(_, against)| against.same);
    Ok(Told {
        text,
        good: found.sound && same,
    })
}

/// Compares a dump with the process of a machine that has its id.
fn against_machine(
    arguments: &VerifyArguments,
    snapshot: &MinidumpSnapshot<'_>,
    source: &Source<'_>,
) -> anyhow::Result<Against> {
    let (dump, path) = (arguments.dump.display(), source.path.display());
    let cannot = |whose: &str| {
        let message = format!("{dump} shows a process, and {path} a machine {whose}: they cannot be compared");
        anyhow::Error::from(Misuse(message))
    };
    let misc = snapshot.misc_info(&mut Findings::default())?;
    let Some(id) = misc.and_then(|misc| misc.process_id()) else {
        return Err(cannot("of which it does not tell the id"));
    };
    let options = machine_options(arguments.memory_map.as_deref())?;
    let opened = MachineFile::open(&source.file, &options).with_context(|| path.to_string())?;
    let machine = image(&opened, source.path)?;
    let process = machine.processes().iter().find(|process| process.id == u64::from(id));
    let Some(process) = process else {
        return Err(cannot(&format!("without process {id}")));
    };
    let Some(process) = MachineProcess::open(&machine, process)? else {
        return Err(cannot("without pages of processes"));
    };
    verify::against_process(snapshot, &process, &source.file).context("the dumps cannot be compared")
}

/// The document that `--json` prints.
fn document(path: &Path, found: &Verification, against: Option<&(&Path, Against)>) -> anyhow::Result<Value> {
    let mut document = json!({ "schema": verify::SCHEMA, "path": path.to_string_lossy() });
    merge(&mut document, serde_json::to_value(found)?);
    if let Some((source, against)) = against {
        let mut compared = json!({ "source": source.to_string_lossy() });
        merge(&mut compared, serde_json::to_value(against)?);
        merge(&mut document, json!({ "against": compared }));
    }
    Ok(document)
}

/// What was found, for a person.
fn report(path: &Path, found: &Verification, against: Option<&(&Path, Against)>) -> String {
    let mut text = String::new();
    let path = path.display();
    let _ = match (found.sound, found.findings_total) {
        (true, _) => writeln!(text, "{path}: sound"),
        (false, 1) => writeln!(text, "{path}: damaged in 1 place"),
        (false, places) => writeln!(text, "{path}: damaged in {places} places"),
    };
    manifest(&mut text, &found.manifest);
    if let Some((source, against)) = against {
        let verdict = if against.same {
            "the same as in"
        } else {
            "not all as in"
        };
        let compared = HumanBytes(against.memory_compared);
        let _ = writeln!(text, "  {verdict} {} ({compared} of memory compared)", source.display());
    }
    notes(&mut text, &found.findings, found.findings_total);
    limits(&mut text, &found.limits);
    if let Some((_, against)) = against {
        compared(&mut text, against);
    }
    text
}

/// The comparison with the source, for a person.
fn compared(text: &mut String, against: &Against) {
    for difference in &against.differences {
        let _ = writeln!(text, "differs: {}: {}", difference.what, difference.message);
    }
    let untold = against
        .differences_total
        .saturating_sub(against.differences.len() as u64);
    if untold > 0 {
        let _ = writeln!(text, "and {} more", counted(untold, "difference"));
    }
    if against.memory_from_images > 0 {
        let bytes = HumanBytes(against.memory_from_images);
        let _ = writeln!(
            text,
            "not compared: {bytes} of code from files of images, as the manifest says"
        );
    }
    let left = &against.left_out;
    if !left.streams.is_empty() {
        let _ = writeln!(text, "left out: streams {}", left.streams.join(", "));
    }
    if left.threads > 0 || left.modules > 0 {
        let (threads, modules) = (counted(left.threads, "thread"), counted(left.modules, "module"));
        let _ = writeln!(text, "left out: {threads}, {modules}");
    }
    if left.memory_bytes > 0 {
        let (bytes, ranges) = (HumanBytes(left.memory_bytes), counted(left.memory_ranges, "range"));
        let _ = writeln!(text, "left out: {bytes} of memory in {ranges}");
    }
    let erased = &against.erased;
    if erased.words > 0 {
        let (words, ranges) = (counted(erased.words, "word"), counted(erased.ranges, "range"));
        let _ = writeln!(text, "erased: {words} of memory in {ranges}");
    }
    if erased.module_paths > 0 {
        let _ = writeln!(text, "shortened: {}", counted(erased.module_paths, "module name"));
    }
    for note in &against.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if !against.replaced.is_empty() {
        let _ = writeln!(text, "replaced: {}", against.replaced.join(", "));
    }
}
