//! The summary of a machine for people.

use std::fmt::Write as _;
use std::path::Path;

use dotdump_format::PAGE_SIZE;
use dotdump_format::kernel::Machine as Processors;
use dotdump_snapshot::machine::{KernelModule, Processor};
use indicatif::HumanBytes;

use super::super::text::{Lines, cut};
use super::rows::registers_of;
use super::{Machine, blobs, header};
use crate::counted::counted;

/// The most modules and the most processors that are shown.
const ROWS: usize = 8;

/// The summary of a machine in the file `path`.
pub(in super::super) fn of(machine: &Machine<'_>, path: &Path) -> String {
    let mut lines = Lines::default();
    let name = path
        .file_name()
        .map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let (container, size) = (machine.contents.container, HumanBytes(machine.contents.source.size()));
    lines.line(&format!("{}: {container}, {size}", cut(&name, 64)));
    let dump_header = machine.snapshot.header();
    let place = |address| place(machine, address);
    if machine.contents.is_dump {
        lines.labelled("type", &dump_header.dump_type().to_string());
    }
    lines.labelled("system", &header::system(machine));
    if machine.is_windows() {
        header::lines(machine, place, &mut lines);
    }
    kernel(machine, &mut lines);
    if let Some(registers) = header::registers(dump_header) {
        header::register_lines(&registers, place, &mut lines);
    }
    memory(machine, &mut lines);
    let mut all = processors(machine, &mut lines);
    all &= modules(machine, &mut lines);
    processes(machine, &mut lines);
    triage(machine, &mut lines);
    secondary_data(machine, &mut lines);
    manifest(machine, &mut lines);
    all &= lines.findings(&machine.findings());
    if !all {
        lines.line("  (--json shows all of it)");
    }
    lines.into_text()
}

/// A code address as a module and the distance from its start.
fn place(machine: &Machine<'_>, address: u64) -> String {
    match machine.module_at(address) {
        Some(module) => {
            let offset = address.saturating_sub(module.base.0);
            format!("{}+{offset:#x} ({address:#x})", cut(&module.name_text(), 32))
        }
        None => format!("{address:#x}"),
    }
}

/// Where debuggers start.
fn kernel(machine: &Machine<'_>, lines: &mut Lines) {
    let header = machine.snapshot.header();
    let mut roots: Vec<String> = header
        .directory_table_base()
        .map(|root| format!("page tables {:#x}", root.0))
        .into_iter()
        .collect();
    roots.extend(match machine.snapshot.debugger_data() {
        Some(found) => {
            let encoded = if found.encoded { " (encoded)" } else { "" };
            Some(format!("debugger data {:#x}{encoded}", found.address.0))
        }
        None => header
            .kd_debugger_data_block()
            .map(|block| format!("debugger data {:#x} (not there)", block.0)),
    });
    if !roots.is_empty() {
        lines.words("kernel", &roots, 2);
    }
}

fn memory(machine: &Machine<'_>, lines: &mut Lines) {
    let Some(pages) = machine.pages() else {
        lines.labelled("memory", "no pages");
        return;
    };
    let bytes = HumanBytes(pages.pages_present.saturating_mul(PAGE_SIZE));
    let (present, runs) = (counted(pages.pages_present, "page"), counted(pages.runs, "run"));
    let mut text = format!("{bytes} in {present}, {runs}");
    let missing = pages.pages_described.saturating_sub(pages.pages_present);
    if missing > 0 {
        let _ = write!(text, "; {} past the end of the file", counted(missing, "page"));
    }
    lines.labelled("memory", &text);
    let block = machine.snapshot.header().physical_memory();
    if let Some(block) = block.filter(|block| machine.contents.is_dump && block.implausible().is_none()) {
        let (runs, pages) = (block.number_of_runs().into(), block.number_of_pages());
        let (runs, pages) = (counted(runs, "run"), counted(pages, "page"));
        lines.more(&format!("of the machine's {pages} in {runs}"));
    }
}

/// Tells whether all were shown.
fn processors(machine: &Machine<'_>, lines: &mut Lines) -> bool {
    let processors = machine.snapshot.processors();
    let shown = processors.len().min(ROWS);
    if shown == 0 {
        return true;
    }
    let all = heading(lines, processors.len(), "processor", shown);
    let row = |processor: &Processor| {
        let context = processor.context.as_ref();
        let context = context.and_then(|context| registers_of(machine.snapshot.machine(), context).context);
        let at = context.map_or_else(
            || "no registers".to_owned(),
            |context| place(machine, context.instruction_pointer()),
        );
        let prcb = processor
            .prcb
            .map_or_else(String::new, |prcb| format!("KPRCB {:#x}  ", prcb.0));
        format!("     {:>3}  {prcb}{at}", processor.number)
    };
    for processor in &processors[..shown] {
        lines.line(&row(processor));
    }
    all
}

/// How many there are of something, and how many of these are not shown; tells whether these are all.
fn heading(lines: &mut Lines, count: usize, what: &str, shown: usize) -> bool {
    let more = match count - shown {
        0 => String::new(),
        more => format!(", {more} of them not shown"),
    };
    lines.line(&format!("  {}{more}", counted(count as u64, what)));
    count == shown
}

/// Up to [`ROWS`] modules: the kernel, and those that the registers and the bugcheck name. Tells whether these are all.
fn modules(machine: &Machine<'_>, lines: &mut Lines) -> bool {
    let modules = machine.snapshot.modules();
    let shown = modules.len().min(ROWS);
    let all = heading(lines, modules.len(), "module", shown);
    let concerned: Vec<u64> = header::addresses(machine);
    let is_concerned = |module: &KernelModule| {
        let range = module.range();
        concerned
            .iter()
            .any(|address| range.contains(dotdump_format::VirtAddr(*address)))
    };
    let mut ranked: Vec<(bool, &KernelModule)> = modules
        .iter()
        .enumerate()
        .map(|(index, module)| (index > 0 && !is_concerned(module), module))
        .collect();
    // The sort is stable: others stay in load order.
    ranked.sort_by_key(|(other, _)| *other);
    let name = |module: &KernelModule| cut(&module.name_text(), 28);
    let widest = ranked
        .iter()
        .take(shown)
        .map(|(_, module)| name(module).chars().count())
        .max();
    let widest = widest.unwrap_or(0);
    // With the two of `0x`.
    let digits = match machine.snapshot.machine() {
        Processors::X86 => 10,
        Processors::Amd64 | Processors::Arm64 => 18,
    };
    for (_, module) in ranked.into_iter().take(shown) {
        // Builds that can be repeated have a hash for a time.
        let stamp = match module.time_date_stamp {
            Some(stamp) => format!("time stamp {stamp:08x}"),
            None => "no time stamp".to_owned(),
        };
        lines.line(&format!(
            "     {:#0digits$x} {:>9} {:<widest$}  {stamp}",
            module.base.0,
            format!("{:#x}", module.size),
            name(module),
        ));
    }
    let unloaded = machine.snapshot.unloaded_drivers();
    if !unloaded.is_empty() {
        let names: Vec<String> = unloaded
            .iter()
            .map(|driver| cut(&String::from_utf16_lossy(&driver.name), 24))
            .collect();
        lines.words(&format!("{} unloaded", unloaded.len()), &names, 2);
    }
    all
}

fn processes(machine: &Machine<'_>, lines: &mut Lines) {
    let processes = machine.snapshot.processes();
    if processes.is_empty() {
        return;
    }
    let names: Vec<String> = processes
        .iter()
        .map(|process| format!("{} {}", process.id, cut(&process.name, 15)))
        .collect();
    lines.words("processes", &names, 3);
}

fn triage(machine: &Machine<'_>, lines: &mut Lines) {
    let Some(triage) = machine.snapshot.triage() else {
        return;
    };
    let (writer, blocks) = (triage.family().name(), counted(triage.block_count(), "data block"));
    lines.labelled("triage", &format!("written {writer}; {blocks}"));
    let sections: Vec<String> = triage
        .sections()
        .iter()
        .map(|section| format!("{} {:#x}+{:#x}", section.kind.name(), section.offset.0, section.size))
        .collect();
    lines.words("", &sections, 5);
}

fn secondary_data(machine: &Machine<'_>, lines: &mut Lines) {
    /// How many are named: more would not fit.
    const NAMED: usize = 64;

    let (mut names, mut count, mut bytes) = (Vec::new(), 0_u64, 0_u64);
    for blob in machine.blobs() {
        let Some(blob) = machine.keep(blob, "DumpBlob") else {
            break;
        };
        count += 1;
        bytes = bytes.saturating_add(blob.size.into());
        if names.len() < NAMED {
            // An unknown one is named by the start of its GUID.
            let name = blobs::name(&blob.tag).map_or_else(|| blob.tag.to_string()[..8].to_owned(), str::to_owned);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if count > 0 {
        let text = format!("{} in {}", HumanBytes(bytes), counted(count, "block"));
        lines.labelled("secondary", &text);
        lines.words("", &names, 3);
    }
}

fn manifest(machine: &Machine<'_>, lines: &mut Lines) {
    let Some(manifest) = machine.manifest() else {
        return;
    };
    let mut text = format!("{}: {}", manifest.tool, manifest.options);
    if let Some(size) = manifest.source.size {
        let _ = write!(text, ", from a file of {}", HumanBytes(size));
    }
    lines.labelled("manifest", &text);
}
