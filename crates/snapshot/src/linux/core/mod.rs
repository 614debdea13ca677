//! ELF cores of Linux processes, as the kernel and debuggers write them.
//!
//! Each `PT_LOAD` is a mapping; its bytes are in the file as far as whoever wrote it wanted them. The kernel leaves out
//! what is in mapped files unchanged, but for the first page of each ELF file (`coredump_filter`, core(5)). What is not
//! in the file is absent, and never zero. The notes have the threads with their registers, the signal, the auxiliary
//! vector and the mapped files ([`ProcessNotes`]).

mod mappings;
mod notes;
mod stream;

use std::ops::ControlFlow;

use dotdump_format::kernel::Machine;
use dotdump_format::minidump::StreamType;
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, VirtAddr, VirtRange};

use super::facts::{LinuxArchitecture, LinuxFacts, LinuxSystem};
use super::modules::LinuxModules;
use super::process::LinuxProcess;
use super::program_start::ProgramStart;
use crate::core_notes::walk;
use crate::elf_core::headers::{Head, Segment, SegmentKind};
use crate::elf_core::refused;
use crate::extent_memory::ExtentMemory;
use crate::memory::{Extent, Memory};
use crate::ranges::RangeSet;
use mappings::Mapped;
pub use notes::{MappedFile, ProcessInfo, ProcessNotes};
pub use stream::read_notes;

/// More mappings than any process has: Linux allows 65,530 unless it is told otherwise (`max_map_count`).
const MOST_SEGMENTS: u64 = 1 << 18;

/// More note segments than any writer makes (it is one).
const MOST_NOTE_SEGMENTS: usize = 16;

/// The most that is believed of arguments and of environment, in bytes: the kernel takes a quarter of the stack's limit,
/// which is mostly 8 MiB, for both.
const LONGEST_STRINGS: u64 = 2 << 20;

/// Names of notes by which systems other than Linux mark theirs.
const OTHERS: [(&[u8], &str); 4] = [
    (b"FreeBSD", "FreeBSD"),
    (b"NetBSD-CORE", "NetBSD"),
    (b"OpenBSD", "OpenBSD"),
    (b"QNX", "QNX"),
];

/// Opens the core of a process. Bytes that are cut off, and notes that are broken, are told by
/// [`findings`](crate::ProcessSnapshot::findings), what is not told by a record by the facts' guesses.
///
/// # Errors
/// [`Error::Malformed`] where it is no core of a Linux process on x86, x86-64 or ARM64, or has no threads;
/// [`Error::Read`] where the medium fails.
pub fn open(source: &dyn ReadAt) -> Result<LinuxProcess<'_>, Error> {
    let mut findings = Findings::default();
    let head = Head::read(source)?;
    let architecture = architecture(&head)?;
    refuse_others(source, &head)?;
    let mut segments = Segments::default();
    let mut of_segments = Findings::default();
    head.segments(source, MOST_SEGMENTS, &mut findings, &mut |segment| {
        segments.add(source, &segment, &mut of_segments);
        ControlFlow::Continue(())
    })?;
    findings.append(of_segments);
    let notes = ProcessNotes::read(source, &segments.notes, architecture, &mut findings)?;
    if notes.threads.is_empty() {
        let message = "the core has no thread with registers (NT_PRSTATUS)";
        return Err(refused(head.start.0, "notes", message.to_owned()));
    }
    let memory = ExtentMemory::new(source, segments.extents);
    let facts = facts(notes, segments.mapped, &memory)?;
    let process = LinuxProcess::new(facts, Box::new(memory), &LinuxModules::default())?;
    Ok(process.with_damage(findings, segments.missing))
}

/// Whether the notes of an ELF core are those of a process; otherwise it is the core of a machine, if anything.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(crate) fn is_of_process(source: &dyn ReadAt) -> Result<bool, Error> {
    use dotdump_format::core_note::{NT_AUXV, NT_FILE, NT_PRPSINFO, NT_SIGINFO};

    let places = Head::read(source).and_then(|head| note_places(source, &head));
    let places = match places {
        Ok(places) => places,
        Err(error @ Error::Read { .. }) => return Err(error),
        // Whoever opens it tells what is wrong.
        Err(_) => return Ok(false),
    };
    let (mut of_process, mut of_machine) = (false, false);
    for (offset, size) in places {
        walk::walk(source, offset, size, &mut Findings::default(), &mut |note, _| {
            match (note.name(), note.note_type) {
                (b"QEMU" | b"VMCOREINFO", _) => of_machine = true,
                (b"CORE", NT_PRPSINFO | NT_AUXV | NT_FILE | NT_SIGINFO) => of_process = true,
                (name, _) if OTHERS.iter().any(|(other, _)| name.starts_with(other)) => of_process = true,
                _ => {}
            }
            Ok(if of_machine {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
    }
    Ok(of_process && !of_machine)
}

/// The cores of other systems have the same notes with other contents.
fn refuse_others(source: &dyn ReadAt, head: &Head) -> Result<(), Error> {
    let mut system = None;
    let mut at = FileOffset(0);
    for (offset, size) in note_places(source, head)? {
        walk::walk(source, offset, size, &mut Findings::default(), &mut |note, _| {
            let other = OTHERS.iter().find(|(other, _)| note.name().starts_with(other));
            if let Some((_, name)) = other {
                (system, at) = (Some(name), note.place);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    match system {
        Some(system) => {
            let message = format!("the core of a process of {system}; only those of Linux can be read");
            Err(refused(at.0, "notes", message))
        }
        None => Ok(()),
    }
}

/// The processor of a process.
fn architecture(head: &Head) -> Result<LinuxArchitecture, Error> {
    match (head.machine, head.is_64) {
        (Machine::X86, false) => Ok(LinuxArchitecture::X86),
        (Machine::Amd64, true) => Ok(LinuxArchitecture::Amd64),
        (Machine::Arm64, true) => Ok(LinuxArchitecture::Arm64),
        (machine, is_64) => {
            let bits = if is_64 { 64 } else { 32 };
            let message = format!("a core of {bits} bits of a program for {machine:?}, which is not supported");
            Err(refused(4, "ELF header", message))
        }
    }
}

/// Where notes are, and how many bytes.
fn note_places(source: &dyn ReadAt, head: &Head) -> Result<Vec<(FileOffset, u64)>, Error> {
    let mut places = Vec::new();
    head.segments(source, MOST_SEGMENTS, &mut Findings::default(), &mut |segment| {
        if segment.kind == SegmentKind::Note {
            places.push((segment.offset, segment.file_size));
        }
        match places.len() < MOST_NOTE_SEGMENTS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(places)
}

/// What the program headers say of a process.
#[derive(Default)]
struct Segments {
    extents: Vec<Extent>,
    mapped: Vec<Mapped>,
    notes: Vec<(FileOffset, u64)>,
    /// Bytes that lie past the end of the file.
    missing: u64,
}

impl Segments {
    fn add(&mut self, source: &dyn ReadAt, segment: &Segment, findings: &mut Findings) {
        match segment.kind {
            SegmentKind::Note if self.notes.len() < MOST_NOTE_SEGMENTS => {
                self.notes.push((segment.offset, segment.file_size));
            }
            SegmentKind::Load => self.load(source, segment, findings),
            _ => {}
        }
    }

    fn load(&mut self, source: &dyn ReadAt, segment: &Segment, findings: &mut Findings) {
        let start = VirtAddr(segment.virtual_address);
        // Debuggers and the kernel have written segments whose size in memory is the smaller one.
        let size = segment.memory_size.max(segment.file_size);
        let range = VirtRange::sized(start, size);
        if range.is_empty() {
            return;
        }
        self.mapped.push(Mapped {
            range,
            permissions: mappings::permissions_of(segment.flags),
        });
        let there = segment.file_size.min(source.size().saturating_sub(segment.offset.0));
        let missing = segment.file_size - there;
        if missing > 0 {
            self.missing = self.missing.saturating_add(missing);
            let message = format!(
                "{:#x} bytes of memory at {start}, of which only {there:#x} lie within the file",
                segment.file_size
            );
            findings.add(segment.offset, "PT_LOAD", message);
        }
        self.extents.push(Extent {
            range: VirtRange::sized(start, there),
            offset: Some(segment.offset),
        });
    }
}

fn facts(notes: ProcessNotes, mapped: Vec<Mapped>, memory: &dyn Memory) -> Result<LinuxFacts, Error> {
    let map = mappings::map(mapped, &notes, memory)?;
    let process_id = notes.process_id().unwrap_or(0);
    let ticks_per_second = notes.ticks_per_second();
    let ProcessNotes {
        architecture,
        mut threads,
        signal,
        info,
        auxv,
        mut guesses,
        ..
    } = notes;
    if info.is_none() {
        guesses.push("the core does not tell the process: its id is the lowest of its threads".to_owned());
    }
    guesses.push(
        "the map of the address space was put together from the core's segments and its list of mapped files"
            .to_owned(),
    );
    if map.without_segment > 0 {
        guesses.push(format!(
            "{} mappings of files are in that list alone, and taken to be readable only",
            map.without_segment
        ));
    }
    // Stable: the others stay in their order.
    threads.sort_by_key(|thread| thread.id != process_id);
    let mut maps = Vec::new();
    for mapping in &map.mappings {
        mapping.push_line(&mut maps);
    }
    let mut texts = vec![(StreamType::LINUX_MAPS, maps)];
    let start = ProgramStart::find(memory, architecture.word_size(), Endian::Little, &auxv)?;
    let arguments = strings(memory, start.arguments)?;
    let environment = strings(memory, start.environment)?;
    if arguments.is_some() || environment.is_some() {
        guesses
            .push("arguments and environment are what the top of the program's stack has in their places".to_owned());
    }
    texts.extend(environment.map(|environment| (StreamType::LINUX_ENVIRON, environment)));
    if let Some(arguments) = arguments {
        texts.push((StreamType::LINUX_CMD_LINE, arguments));
    } else if let Some(info) = info.filter(|info| !info.arguments.is_empty()) {
        guesses.push("the command line is what the core has of it: 79 bytes at most, divided at its spaces".to_owned());
        texts.push((StreamType::LINUX_CMD_LINE, command_line(&info.arguments)));
    }
    Ok(LinuxFacts {
        architecture,
        process_id,
        time: 0,
        threads,
        mappings: map.mappings,
        auxv,
        texts,
        handles: None,
        system: LinuxSystem::default(),
        boot_time: None,
        ticks_per_second,
        signal,
        empty: RangeSet::new(),
        unreadable: RangeSet::new(),
        guesses,
    })
}

/// Strings with a NUL behind each, as `/proc/PID/cmdline` and `/proc/PID/environ` have them; `None` where the core does not
/// have them all.
fn strings(memory: &dyn Memory, range: Option<VirtRange>) -> Result<Option<Vec<u8>>, Error> {
    let Some(range) = range.filter(|range| range.size() <= LONGEST_STRINGS) else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(range.size()).unwrap_or(0)];
    let there = memory.read(range.start, &mut bytes)?;
    Ok((there == bytes.len() && bytes.ends_with(&[0])).then_some(bytes))
}

/// Arguments as `/proc/PID/cmdline` has them, each with a NUL behind it.
fn command_line(arguments: &[u8]) -> Vec<u8> {
    let words = arguments.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.flat_map(|word| word.iter().copied().chain([0])).collect()
}
