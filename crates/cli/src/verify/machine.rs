//! `verify` for the dump of a machine.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use dotdump_format::PAGE_SIZE;
use dotdump_snapshot::DumpFile;
use dotdump_snapshot::machine::{MachineFile, MachineOptions};
use dotdump_transcode::verify::SCHEMA;
use dotdump_transcode::verify_machine::{self, MachineAgainst, MachineVerification};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Source, Told, json_text, limits, manifest, merge, notes};
use crate::arguments::VerifyArguments;
use crate::counted::counted;
use crate::misuse::Misuse;
use crate::source::{Shown, image, machine_options};

/// How many missing pages are shown to people.
const TOLD: usize = 10;

/// Checks a kernel dump, and compares it with its source.
pub(super) fn run(arguments: &VerifyArguments, file: &DumpFile, source: Option<&Source<'_>>) -> anyhow::Result<Told> {
    let path = &arguments.dump;
    let opened = MachineFile::open(file, &MachineOptions::default()).with_context(|| path.display().to_string())?;
    if opened.kernel_dump().is_none() {
        let container = opened.container().name();
        bail!(
            "{}: only dumps can be verified, and this is {container}; it can be the source of --against",
            path.display()
        );
    }
    let machine = image(&opened, path)?;
    let found = verify_machine::verify(file, &machine).with_context(|| path.display().to_string())?;
    let against = match source {
        Some(source) => {
            if source.shown != Shown::Machine {
                let (dump, source) = (path.display(), source.path.display());
                let message = format!("{dump} shows a machine, and {source} a process: they cannot be compared");
                return Err(Misuse(message).into());
            }
            let options = machine_options(arguments.memory_map.as_deref())?;
            let opened = MachineFile::open(&source.file, &options);
            let opened = opened.with_context(|| source.path.display().to_string())?;
            let whole = image(&opened, source.path)?;
            let against = verify_machine::against(file, &machine, &whole);
            Some((source.path, against.context("the dumps cannot be compared")?))
        }
        None => None,
    };
    let text = if arguments.json {
        json_text(&document(path, &found, against.as_ref())?)?
    } else {
        report(path, &found, against.as_ref())
    };
    let same = against.is_none_or(|(_, against)| against.same);
    Ok(Told {
        text,
        good: found.sound && same,
    })
}

/// The document that `--json` prints.
fn document(
    path: &Path,
    found: &MachineVerification,
    against: Option<&(&Path, MachineAgainst)>,
) -> anyhow::Result<Value> {
    let mut document = json!({ "schema": SCHEMA, "path": path.to_string_lossy() });
    merge(&mut document, serde_json::to_value(found)?);
    if let Some((source, against)) = against {
        let mut compared = json!({ "source": source.to_string_lossy() });
        merge(&mut compared, serde_json::to_value(against)?);
        merge(&mut document, json!({ "against": compared }));
    }
    Ok(document)
}

/// What was found, for a person.
fn report(path: &Path, found: &MachineVerification, against: Option<&(&Path, MachineAgainst)>) -> String {
    let mut text = String::new();
    let path = path.display();
    let _ = match (found.sound, found.findings_total) {
        (true, _) => writeln!(text, "{path}: sound"),
        (false, 1) => writeln!(text, "{path}: damaged in 1 place"),
        (false, places) => writeln!(text, "{path}: damaged in {places} places"),
    };
    manifest(&mut text, &found.manifest);
    if let Some((source, against)) = against {
        let verdict = match against.same {
            true => "the same as in",
            false => "not all as in",
        };
        let compared = compared_memory(against);
        let _ = writeln!(text, "  {verdict} {} ({compared} compared)", source.display());
    }
    notes(&mut text, &found.findings, found.findings_total);
    limits(&mut text, &found.limits);
    if found.contents_total > 0 {
        let _ = writeln!(text, "odd in the machine that it shows:");
        notes(&mut text, &found.contents, found.contents_total);
    }
    if let Some((_, against)) = against {
        compared(&mut text, against);
    }
    text
}

fn compared_memory(against: &MachineAgainst) -> String {
    match against.pages_compared {
        0 => format!("{} of memory", HumanBytes(against.memory_compared)),
        pages => counted(pages, "page"),
    }
}

/// The comparison with the source, for a person.
fn compared(text: &mut String, against: &MachineAgainst) {
    for difference in &against.differences {
        let _ = writeln!(text, "differs: {}: {}", difference.what, difference.message);
    }
    let untold = against
        .differences_total
        .saturating_sub(against.differences.len() as u64);
    if untold > 0 {
        let _ = writeln!(text, "and {} more", counted(untold, "difference"));
    }
    for missing in against.missing.iter().take(TOLD) {
        let what = if missing.is_table { "page table" } else { "page" };
        let whose = match missing.process_id {
            Some(id) => format!("process {id}"),
            None => "the kernel".to_owned(),
        };
        let (page, address) = (missing.page.0, missing.address.0);
        let _ = writeln!(
            text,
            "missing: {what} {page:#x}, to which {address:#x} of {whose} leads"
        );
    }
    let untold = against.missing_total.saturating_sub(TOLD as u64);
    if untold > 0 {
        let _ = writeln!(text, "and {}", counted(untold, "more missing page"));
    }
    if against.pages_patched > 0 {
        let pages = counted(against.pages_patched, "page");
        let _ = writeln!(text, "changed, as the manifest says: {pages}");
    }
    let left = against.left_out;
    if left.pages > 0 {
        let (pages, bytes) = (
            counted(left.pages, "page"),
            HumanBytes(left.pages.saturating_mul(PAGE_SIZE)),
        );
        let _ = write!(text, "left out: {pages} ({bytes})");
        let _ = match left.with_content {
            0 => writeln!(text),
            pages => writeln!(text, ", {pages} of them not all zero"),
        };
    }
    for note in &against.notes {
        let _ = writeln!(text, "note: {note}");
    }
}
