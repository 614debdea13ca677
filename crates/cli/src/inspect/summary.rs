//! The summary: what a person wants to know first, on one screen whatever the dump has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use dotdump_format::Endian;
use dotdump_format::VirtRange;
use dotdump_format::minidump::assertion_info::AssertionInfo;
use dotdump_format::minidump::crashpad_info::CrashpadInfo;
use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_format::minidump::linux_text::{LinuxCmdLine, LinuxLsbRelease};
use dotdump_format::minidump::memory_info_list::MemoryInfoList;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::name::Name;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::time::CivilTime;
use dotdump_snapshot::{ModuleSnapshot, ThreadSnapshot};
use dotdump_transcode::manifest::Manifest;
use indicatif::HumanBytes;

use super::exceptions;
use super::json::address_mask;
use super::model::{file_version, module_id};
use super::names::file_name;
use super::opened::{Kind, Opened};
use super::streams::comment;
use super::text::{Lines, cut, cut_front, duration};
use crate::counted::counted;

/// The most lines.
const HEIGHT: usize = 40;

/// The most threads and the most modules that are shown, even where there is room for more.
const ROWS: usize = 8;

/// The summary of a dump that was opened by `path`.
pub(super) fn of(opened: &Opened<'_>, path: &Path) -> String {
    let mut top = Lines::default();
    file(opened, path, &mut top);
    process(opened, &mut top);
    let context = opened.snapshot.exception().and_then(|(_, context)| context);
    let crashed_at = context
        .and_then(|blob| opened.registers(blob, "Exception.ThreadContext"))
        .and_then(|registers| registers.context)
        .map(|context| context.instruction_pointer());
    exception(opened, crashed_at, &mut top);

    let mut bottom = Lines::default();
    memory(opened, &mut bottom);
    handles(opened, &mut bottom);
    crashpad(opened, &mut bottom);
    if opened.kind == Kind::Minidump {
        manifest(opened, &mut bottom);
        let streams: Vec<String> = opened
            .dump()
            .streams()
            .map(|stream| stream.stream_type.to_string())
            .collect();
        bottom.words(&counted(streams.len() as u64, "stream"), &streams, 3);
    }

    // Threads and modules share what the rest leaves of the screen: findings mostly take up to 4 lines, the headings,
    // unloaded modules and the last line 4.
    let room = HEIGHT.saturating_sub(top.len() + bottom.len() + 4 + 4);
    let wanted = opened.snapshot.modules().len().min(ROWS);
    let for_threads = room.saturating_sub(wanted.min(room / 2)).min(ROWS);
    let shown = threads(opened, for_threads, &mut top);
    let all = modules(opened, crashed_at, room.saturating_sub(for_threads).min(ROWS), &mut top) && shown;

    top.append(bottom);
    opened.check_others();
    let all = top.findings(&opened.findings()) && all;
    if !all {
        top.line("  (--json shows all of it)");
    }
    top.into_text()
}

/// What kind of file it is, who wrote it, and what it is said to contain.
fn file(opened: &Opened<'_>, path: &Path, lines: &mut Lines) {
    let dump = opened.dump();
    let header = dump.header();
    let name = path
        .file_name()
        .map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let endian = match dump.endian() {
        Endian::Little => "",
        Endian::Big => ", big-endian",
    };
    let human = HumanBytes(opened.file_size).to_string();
    let kind = match opened.kind {
        Kind::Minidump => "user minidump",
        Kind::Core => "ELF core of a process",
    };
    lines.line(&format!("{}: {kind}{endian}, {human}", cut(&name, 64)));

    let mut system = match opened.system() {
        None => "unknown: no SystemInfo".to_owned(),
        Some(info) => {
            let parts = [info.major_version, info.minor_version, info.build_number].map(|part| part.get());
            let version = match parts {
                // Breakpad on Linux has the version in the text alone.
                [0, 0, 0] => String::new(),
                [major, minor, build] => format!(" {major}.{minor}.{build}"),
            };
            let (platform, architecture) = (info.platform(), info.architecture());
            {
                let processors = counted(info.number_of_processors.into(), "processor");
                format!("{platform}{version}, {architecture}, {processors}")
            }
        }
    };
    let csd = opened.csd_version();
    if !csd.is_empty() {
        let _ = write!(system, ", {csd}");
    }
    if let Some(release) = opened.get::<LinuxLsbRelease<'_>>()
        && let Some(name) = release
            .assigned("PRETTY_NAME")
            .or_else(|| release.assigned("DISTRIB_DESCRIPTION"))
    {
        let _ = write!(system, ", {}", String::from_utf8_lossy(name));
    }
    lines.labelled("system", &system);
    if opened.kind == Kind::Core {
        return;
    }

    let misc = opened.misc.as_ref();
    let mut writer = format!("version word {:#06x}", header.version.get() >> 16);
    if let Some(name) = misc.and_then(MiscInfo::dbg_bld_str).filter(|name| !name.is_empty()) {
        writer = format!("{name}; {writer}");
    }
    if let Some(build) = misc.and_then(MiscInfo::build_string).filter(|build| !build.is_empty()) {
        let _ = write!(writer, "; build {build}");
    }
    lines.labelled("writer", &writer);
    let flags = dump.flags().names();
    let short = flags.iter().map(|name| name.trim_start_matches("MiniDump").to_owned());
    let mut flags: Vec<String> = short.collect();
    match flags.first_mut() {
        Some(first) => *first = format!("{:#x}: {first}", header.flags.get()),
        None => flags.push("0: Normal".to_owned()),
    }
    lines.words("flags", &flags, 3);
}

/// Which process it is of, and when.
fn process(opened: &Opened<'_>, lines: &mut Lines) {
    let misc = opened.misc.as_ref();
    let time = opened.dump().header().time_date_stamp.get();
    let mut made = match time {
        0 => "time unknown".to_owned(),
        time => CivilTime::from_unix(time.into()).to_string(),
    };
    if let Some(id) = misc.and_then(MiscInfo::process_id) {
        let _ = write!(made, ", process {id}");
    }
    let created = misc
        .and_then(MiscInfo::process_create_time)
        .filter(|created| *created != 0);
    if let Some(up) = created.and_then(|created| time.checked_sub(created)) {
        let _ = write!(made, ", up {}", duration(up.into()));
    }
    lines.labelled("made", &made);
    if let Some(program) = opened
        .snapshot
        .modules()
        .first()
        .filter(|program| program.name.is_some())
    {
        let mut text = cut_front(&program.name_text(), 64);
        if let Some(version) = file_version(opened, program) {
            let _ = write!(text, ", version {version}");
        }
        lines.labelled("program", &text);
    }
    if let Some(command) = opened.get::<LinuxCmdLine<'_>>() {
        let words: Vec<_> = command.items().take(100).map(String::from_utf8_lossy).collect();
        lines.labelled("command", &words.join(" "));
    }
    if let Some(comment) = comment(opened) {
        lines.labelled("comment", &comment);
    }
}

/// A code address as a module and the distance from its start.
fn place(opened: &Opened<'_>, address: u64) -> String {
    match opened.module_at(address) {
        Some(module) => {
            let name = module.name_text();
            let offset = address.saturating_sub(module.record.base_of_image.get());
            format!("{}+{offset:#x}", cut(file_name(&name), 32))
        }
        None => format!("{address:#x}"),
    }
}

fn exception(opened: &Opened<'_>, crashed_at: Option<u64>, lines: &mut Lines) {
    let assertion = opened.get::<AssertionInfo>();
    if let Some(info) = assertion {
        let text = format!(
            "{} in {} ({}:{})",
            info.expression(),
            info.function(),
            info.file(),
            info.line
        );
        lines.labelled("assertion", &text);
    }
    let Some((record, _)) = opened.snapshot.exception() else {
        lines.labelled("exception", "none");
        return;
    };
    let mask = address_mask(opened.snapshot.architecture());
    let told = exceptions::describe(record, opened.platform(), mask);
    let code = record.exception_code.get();
    let mut text = match opened.platform() {
        // Signals and Mach exceptions are small numbers, which are known in decimal.
        Some(platform) if !platform.is_windows() && code < 64 => code.to_string(),
        _ => format!("{code:#010X}").replacen("0X", "0x", 1),
    };
    if let Some(name) = told.name {
        let _ = write!(text, " {name}");
    }
    if let Some(detail) = &told.detail {
        let _ = write!(text, ", {detail}");
    }
    lines.labelled("exception", &text);
    let id = record.thread_id.get();
    let mut text = format!("thread {id}");
    if let Some(name) = opened.thread_name(id).map(Name::text).filter(|name| !name.is_empty()) {
        let _ = write!(text, " \"{}\"", cut(&name, 20));
    }
    if let Some(address) = crashed_at {
        let place = place(opened, address);
        let _ = write!(text, " at {place}");
        if place.contains('+') {
            let _ = write!(text, " ({address:#x})");
        }
    }
    lines.more(&text);
}

/// Up to `room` threads, the crashed one first. Tells whether these are all.
fn threads(opened: &Opened<'_>, room: usize, lines: &mut Lines) -> bool {
    let threads = opened.snapshot.threads();
    let crashed = opened.snapshot.exception().map(|(record, _)| record.thread_id.get());
    let is_crashed = |thread: &&ThreadSnapshot| Some(thread.record.thread_id.get()) == crashed;
    let first = threads.iter().find(is_crashed);
    let others = threads.iter().filter(|thread| !is_crashed(thread));
    let mut ordered = first.into_iter().chain(others);
    let shown: Vec<_> = ordered.by_ref().take(room).collect();
    for thread in ordered {
        // Only to find out whether they are sound.
        opened.thread_registers(thread);
    }
    let all = heading(lines, threads.len(), "thread", shown.len());
    let names: Vec<String> = shown
        .iter()
        .map(|thread| {
            cut(
                &opened
                    .thread_name(thread.record.thread_id.get())
                    .map(Name::text)
                    .unwrap_or_default(),
                16,
            )
        })
        .collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let stacks: Vec<String> = shown
        .iter()
        .map(|thread| {
            thread
                .stack()
                .map_or_else(|| "no stack".to_owned(), |stack| stack_of(opened, stack))
        })
        .collect();
    let stack_width = stacks.iter().map(String::len).max().unwrap_or(0);
    for ((thread, name), stack) in shown.into_iter().zip(names).zip(stacks) {
        let mark = if is_crashed(&thread) { '*' } else { ' ' };
        let id = thread.record.thread_id.get();
        let name = if widest == 0 {
            name
        } else {
            format!("{name:<widest$}  ")
        };
        let at = opened.thread_registers(thread).and_then(|registers| registers.context);
        let at = at.map_or_else(
            || "no registers".to_owned(),
            |context| place(opened, context.instruction_pointer()),
        );
        lines.line(&format!("   {mark} {id:>8}  {name}{stack:<stack_width$}  {at}"));
    }
    all
}

/// The addresses of a stack, and how much of it is there.
fn stack_of(opened: &Opened<'_>, stack: VirtRange) -> String {
    let there = opened.stack_bytes(stack).unwrap_or_default();
    format!(
        "stack {:#014x}-{:#x} {:>10}",
        stack.start,
        stack.end,
        HumanBytes(there).to_string()
    )
}

/// How many there are of something, and how many of these are shown; tells whether these are all.
fn heading(lines: &mut Lines, count: usize, what: &str, shown: usize) -> bool {
    let more = match count - shown {
        0 => String::new(),
        more => format!(", {more} of them not shown"),
    };
    lines.line(&format!("  {}{more}", counted(count as u64, what)));
    count == shown
}

/// Up to `room` modules: the program, the one that crashed, then those that tell which file they are. Tells whether
/// these are all.
fn modules(opened: &Opened<'_>, crashed_at: Option<u64>, room: usize, lines: &mut Lines) -> bool {
    let modules = opened.snapshot.modules();
    let crashed = crashed_at.and_then(|address| opened.module_at(address));
    let rank = |index: usize, module: &ModuleSnapshot| {
        let is_crashed = crashed.is_some_and(|crashed| std::ptr::eq(crashed, module));
        let has_id = || module_id(opened, module).is_some();
        match index {
            0 => 0,
            _ if is_crashed => 1,
            _ if has_id() => 2,
            _ => 3,
        }
    };
    let mut ranked: Vec<_> = modules
        .iter()
        .enumerate()
        .map(|(index, module)| (rank(index, module), module))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let shown: Vec<&ModuleSnapshot> = ranked.into_iter().take(room).map(|(_, module)| module).collect();
    let all = heading(lines, modules.len(), "module", shown.len());
    let unloaded = opened.get::<UnloadedModuleList>().unwrap_or_default().modules;
    let name = |module: &ModuleSnapshot| cut(file_name(&module.name_text()), 28);
    let widest = shown
        .iter()
        .map(|module| name(module).chars().count())
        .max()
        .unwrap_or(0);
    let version = |module| file_version(opened, module).unwrap_or_default();
    let versions = shown.iter().map(|module| version(module).len()).max().unwrap_or(0);
    for module in shown {
        let id = module_id(opened, module);
        let text = format!(
            "     {:#018x} {:<widest$}  {:<versions$}  {}",
            module.record.base_of_image.get(),
            name(module),
            version(module),
            id.as_deref().unwrap_or("no debug id"),
        );
        lines.line(&text);
    }
    if let Some(last) = unloaded.last() {
        let name = last.name.as_ref().map(Name::text).unwrap_or_default();
        lines.line(&format!(
            "     {} unloaded, the last one {}",
            unloaded.len(),
            cut(&name, 32)
        ));
    }
    all
}

fn memory(opened: &Opened<'_>, lines: &mut Lines) {
    let figures = opened.memory();
    let lists: Vec<String> = figures
        .lists
        .iter()
        .map(|(stream, ranges)| format!("{} in {stream}", counted(*ranges, "range")))
        .collect();
    let lists = match (opened.kind, lists.is_empty()) {
        (Kind::Core, _) => counted(figures.ranges, "range"),
        (Kind::Minidump, true) => "no memory list".to_owned(),
        (Kind::Minidump, false) => lists.join(", "),
    };
    let mut text = format!("{} ({lists})", HumanBytes(figures.bytes));
    if let Some(regions) = opened.again::<MemoryInfoList<'_>>() {
        let _ = write!(text, "; {} described", counted(regions.regions.len(), "region"));
    } else if let Some(maps) = opened.again::<LinuxMaps<'_>>() {
        let _ = write!(text, "; {} described", counted(maps.iter().count() as u64, "mapping"));
    }
    lines.labelled("memory", &text);
    let missing = opened.snapshot.missing_bytes();
    if missing > 0 {
        lines.more(&format!(
            "{} more are listed and lie past the end of the file",
            HumanBytes(missing)
        ));
    }
}

fn handles(opened: &Opened<'_>, lines: &mut Lines) {
    let Some(data) = opened.get::<HandleData>() else {
        return;
    };
    // Handles of one type share its name: each is looked at once, however long it is.
    let mut shared = BTreeMap::new();
    for handle in &data.handles {
        let name = handle.type_name.as_ref();
        shared
            .entry(name.map(|name| name.units().as_ptr()))
            .or_insert((name, 0_usize))
            .1 += 1;
    }
    let mut types = BTreeMap::new();
    for (name, count) in shared.into_values() {
        *types.entry(name).or_insert(0_usize) += count;
    }
    let mut types: Vec<_> = types.into_iter().collect();
    // The sort is stable: equal counts stay in the order of their names.
    types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let name = |name: Option<&Name>| match name {
        Some(name) => cut(&name.text(), 24),
        None => "of unknown type".to_owned(),
    };
    let words: Vec<String> = types
        .into_iter()
        .map(|(kind, count)| format!("{count} {}", name(kind)))
        .collect();
    lines.words(&counted(data.handles.len() as u64, "handle"), &words, 2);
}

fn crashpad(opened: &Opened<'_>, lines: &mut Lines) {
    let Some(info) = opened.get::<CrashpadInfo>() else {
        return;
    };
    lines.labelled(
        "crashpad",
        &format!("report {}, client {}", info.report_id, info.client_id),
    );
    let simple = info
        .simple_annotations
        .iter()
        .map(|(key, value)| (key.text(), Some(value.text())));
    let of_modules = info.modules.iter().flat_map(|module| {
        let simple = module
            .simple_annotations
            .iter()
            .map(|(key, value)| (key.text(), Some(value.text())));
        simple.chain(
            module
                .annotation_objects
                .iter()
                .map(|object| (object.name.text(), object.text())),
        )
    });
    let words: Vec<String> = simple
        .chain(of_modules)
        .map(|(key, value)| format!("{}={}", cut(&key, 24), cut(&value.unwrap_or_default(), 32)))
        .collect();
    if !words.is_empty() {
        lines.words("", &words, 2);
    }
}

fn manifest(opened: &Opened<'_>, lines: &mut Lines) {
    let Some(manifest) = opened.keep(Manifest::read(opened.dump()), "DotdumpManifest").flatten() else {
        return;
    };
    let options = if manifest.options.is_empty() {
        "no options"
    } else {
        &manifest.options
    };
    let source = match manifest.source.size {
        0 => "of a live process".to_owned(),
        size => format!("from a dump of {}", HumanBytes(size)),
    };
    let text = format!("{}: {options}, {source}", manifest.tool);
    lines.labelled("manifest", &text);
    let mut text = format!(
        "{} left out, {} absent",
        counted(manifest.left_out.len() as u64, "stream"),
        counted(manifest.absent.len() as u64, "thing")
    );
    if !manifest.erased.is_empty() {
        let sizes = manifest.erased.iter().map(|range| range.size);
        let erased = HumanBytes(sizes.fold(0, u64::saturating_add));
        let _ = write!(text, ", words erased in {erased}");
    }
    lines.more(&text);
}
