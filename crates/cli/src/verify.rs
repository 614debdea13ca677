//! The subcommand `verify`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use dotdump_snapshot::MinidumpSnapshot;
use dotdump_transcode::verify::{self, Against, Verification};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::arguments::VerifyArguments;
use crate::counted::counted;
use crate::exit::Exit;
use crate::source::{not_a_minidump, open};

/// Runs the subcommand.
pub(crate) fn run(arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let mapped = !arguments.no_mmap;
    let file = open(&arguments.dump, mapped)?;
    let snapshot = MinidumpSnapshot::open(&file).with_context(|| not_a_minidump(&file, &arguments.dump))?;
    let found = verify::verify(&snapshot).with_context(|| arguments.dump.display().to_string())?;
    let against = match &arguments.against {
        Some(path) => {
            let file = open(path, mapped)?;
            let source = MinidumpSnapshot::open(&file).with_context(|| not_a_minidump(&file, path))?;
            let against = verify::against(&snapshot, &source);
            Some((path.as_path(), against.context("the dumps cannot be compared")?))
        }
        None => None,
    };
    let text = if arguments.json {
        let mut text = serde_json::to_string_pretty(&document(&arguments.dump, &found, against.as_ref())?)?;
        text.push('\n');
        text
    } else {
        report(&arguments.dump, &found, against.as_ref())
    };
    let mut output = std::io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write to standard output")?;
    let same = against.is_none_or(|(_, against)| against.same);
    Ok(if found.sound && same {
        Exit::Success
    } else {
        Exit::Difference
    })
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

/// Adds the keys of `more`.
fn merge(target: &mut Value, more: Value) {
    if let (Value::Object(target), Value::Object(more)) = (target, more) {
        target.extend(more);
    }
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
    let manifest = &found.manifest;
    if manifest.present {
        let options = manifest.options.as_deref().unwrap_or("unknown options");
        let unchecked = manifest.blocks - manifest.checked;
        let damage = match (manifest.damaged_total, unchecked) {
            (0, 0) => "all as they were written".to_owned(),
            (damaged, 0) => format!("{damaged} damaged"),
            (damaged, cut) => format!("{damaged} damaged, {cut} cut off"),
        };
        let _ = writeln!(
            text,
            "  made by dotdump with {options}; {} with checksums, {damage}",
            counted(manifest.blocks, "block")
        );
    } else {
        let _ = writeln!(text, "  no checksums");
    }
    if let Some((source, against)) = against {
        let verdict = if against.same {
            "the same as in"
        } else {
            "not all as in"
        };
        let compared = HumanBytes(against.memory_compared);
        let _ = writeln!(text, "  {verdict} {} ({compared} of memory compared)", source.display());
    }
    for note in &found.findings {
        let _ = writeln!(
            text,
            "{:#x}: {}: {} [{}]",
            note.offset, note.what, note.message, note.check
        );
    }
    let untold = found.findings_total.saturating_sub(found.findings.len() as u64);
    if untold > 0 {
        let _ = writeln!(text, "and {untold} more");
    }
    if !found.limits.is_empty() {
        let _ = writeln!(text, "what single readers do not take:");
        for limit in &found.limits {
            let _ = writeln!(text, "  {}: {} [{}]", limit.reader, limit.message, limit.check);
        }
    }
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
