//! The subcommand `verify`.

mod machine;
mod process;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use dotdump_snapshot::DumpFile;
use dotdump_transcode::verify::{Limit, ManifestReport, Note};
use serde_json::Value;

use crate::arguments::VerifyArguments;
use crate::counted::counted;
use crate::exit::Exit;
use crate::misuse::Misuse;
use crate::source::{Shown, open, shown};

/// What a dump was made from.
struct Source<'a> {
    path: &'a Path,
    file: DumpFile,
    shown: Shown,
}

/// What was found.
struct Told {
    text: String,
    /// Whether nothing is wrong.
    good: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let mapped = !arguments.no_mmap;
    let file = open(&arguments.dump, mapped)?;
    let kind = shown(&file, &arguments.dump, false)?;
    let has_map = arguments.memory_map.is_some();
    let source = match &arguments.against {
        Some(path) => {
            let file = open(path, mapped)?;
            let shown = shown(&file, path, has_map)?;
            Some(Source { path, file, shown })
        }
        None if has_map => {
            let message =
                "--memory-map is refused: it says how the source of --against lies in memory, and there is none";
            return Err(Misuse(message.to_owned()).into());
        }
        None => None,
    };
    let told = match kind {
        Shown::Process => process::run(arguments, &file, source.as_ref())?,
        Shown::ProcessCore => {
            let path = arguments.dump.display();
            bail!("{path}: only dumps can be verified, and this is an ELF core; it can be the source of --against");
        }
        Shown::Machine => machine::run(arguments, &file, source.as_ref())?,
    };
    let mut output = std::io::stdout().lock();
    output
        .write_all(told.text.as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write to standard output")?;
    Ok(if told.good { Exit::Success } else { Exit::Difference })
}

fn json_text(document: &Value) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(text)
}

/// Adds the keys of `more`.
fn merge(target: &mut Value, more: Value) {
    if let (Value::Object(target), Value::Object(more)) = (target, more) {
        target.extend(more);
    }
}

/// What the checksums say.
fn manifest(text: &mut String, manifest: &ManifestReport) {
    if !manifest.present {
        let _ = writeln!(text, "  no checksums");
        return;
    }
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
}

/// What is wrong, or odd.
fn notes(text: &mut String, notes: &[Note], total: u64) {
    for note in notes {
        let _ = writeln!(
            text,
            "{:#x}: {}: {} [{}]",
            note.offset, note.what, note.message, note.check
        );
    }
    let untold = total.saturating_sub(notes.len() as u64);
    if untold > 0 {
        let _ = writeln!(text, "and {untold} more");
    }
}

/// What single readers do not take.
fn limits(text: &mut String, limits: &[Limit]) {
    if !limits.is_empty() {
        let _ = writeln!(text, "what single readers do not take:");
        for limit in limits {
            let _ = writeln!(text, "  {}: {} [{}]", limit.reader, limit.message, limit.check);
        }
    }
}
