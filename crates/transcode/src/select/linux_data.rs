//! What the kernel gave a Linux program when it started it, and the threads' own data (`-mp`).
//!
//! The thread pointer leads to a thread's control block, and to its thread-local storage, which lies below it on x86
//! (variant II of Drepper's "ELF Handling For Thread-Local Storage") and above it on ARM64 (variant I).

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{Error, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::elf_headers::{ElfHeaders, ElfSegment};
use dotdump_snapshot::linux::ProgramStart;
use dotdump_snapshot::memory::contiguous_end;
use dotdump_snapshot::{Content, Memory, ProcessSnapshot, RangeSet};
use object::elf;

use super::windows_layout::ENVIRONMENT_SIZE;
use crate::shortfall::Shortfalls;
use crate::words::Words;

/// What is taken of a thread's control block: glibc's `struct pthread` has about 0x900 bytes, that of musl less.
const CONTROL_BLOCK: u64 = 0x1000;

/// Where the program headers of an image are looked for, in bytes from its start.
const ELF_HEADERS: usize = 4096;

/// The most that is believed of a module's thread-local storage, in bytes.
const LARGEST_TLS: u64 = 16 << 20;

/// The most modules with thread-local storage that is believed of an array of it.
const MOST_BLOCKS: u64 = 4096;

/// The data of the process and of its threads; `None` where the source has nothing of it.
pub(super) fn linux_data(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    shortfalls: &mut Shortfalls,
) -> Result<Option<RangeSet>, Error> {
    let mut ranges = RangeSet::new();
    let memory = snapshot.memory();
    let has_start = match stream_bytes(snapshot, StreamType::LINUX_AUXV)? {
        Some(auxv) => start_data(memory, words, &auxv, &mut ranges)?,
        None => false,
    };
    if !has_start {
        shortfalls.warn(
            "-mp",
            "what the program was started with (arguments, environment, auxiliary vector) is not in the source's memory",
        );
    }
    let templates = tls_templates(snapshot)?;
    let mut without = Vec::new();
    for thread in snapshot.threads() {
        let pointer = VirtAddr(thread.record.teb.get());
        if pointer.0 == 0 || !thread_data(snapshot, words, &templates, pointer, &mut ranges)? {
            without.push(format!("{:#x}", thread.record.thread_id.get()));
        }
    }
    let has_threads = without.len() < snapshot.threads().len();
    shortfalls.warn_for("-mp", "no thread-local data in the source for threads", &without);
    Ok((has_start || has_threads).then_some(ranges))
}

/// The bytes of a stream of plain bytes; `None` where there is none, or a damaged one.
fn stream_bytes(snapshot: &dyn ProcessSnapshot, stream_type: StreamType) -> Result<Option<Vec<u8>>, Error> {
    match snapshot.stream(stream_type, &mut Findings::default()) {
        Ok(Some(Content::Verbatim(blob))) => Ok(Some(snapshot.bytes(&blob)?.into_owned())),
        Ok(Some(Content::Typed(stream))) => {
            let mut layout = Layout::new(snapshot.endian());
            stream.write(&mut layout)?;
            let pieces = layout.finish().pieces.into_iter();
            let bytes = pieces.filter_map(|piece| match piece {
                Piece::Bytes(bytes) => Some(bytes),
                _ => None,
            });
            Ok(Some(bytes.flatten().collect()))
        }
        Ok(None) | Err(Error::Malformed(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds what the program was started with; tells whether anything of it is there.
fn start_data(memory: &dyn Memory, words: &Words, auxv: &[u8], ranges: &mut RangeSet) -> Result<bool, Error> {
    let start = ProgramStart::find(memory, words.size, words.endian, auxv)?;
    let before = ranges.len();
    let clip = |strings: VirtRange| {
        VirtRange::new(
            strings.start,
            strings.end.min(strings.start.saturating_add(ENVIRONMENT_SIZE)),
        )
    };
    let strings = [start.arguments, start.environment].into_iter().flatten().map(clip);
    for range in start.others.into_iter().chain(start.tables).chain(strings) {
        if memory.extents(range).next().transpose()?.is_some() {
            ranges.insert(range);
        }
    }
    ranges.settle();
    Ok(ranges.len() > before)
}

/// The templates of thread-local storage of all modules, as their headers in memory have them.
fn tls_templates(snapshot: &dyn ProcessSnapshot) -> Result<Vec<ElfSegment>, Error> {
    let mut templates = Vec::new();
    let mut headers = [0; ELF_HEADERS];
    for module in snapshot.modules() {
        let there = snapshot.memory().read(module.range().start, &mut headers)?;
        let Some(elf) = ElfHeaders::parse(&headers[..there]) else {
            continue;
        };
        let template = elf.segments_of(elf::PT_TLS).next().copied();
        templates.extend(template.filter(|template| template.size > 0));
    }
    Ok(templates)
}

/// Adds a thread's control block and its thread-local storage; tells whether any of it is there.
fn thread_data(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    templates: &[ElfSegment],
    pointer: VirtAddr,
    ranges: &mut RangeSet,
) -> Result<bool, Error> {
    let memory = snapshot.memory();
    let word = words.size as u64;
    let is_above = !matches!(
        snapshot.architecture(),
        ProcessorArchitecture::X86 | ProcessorArchitecture::AMD64
    );
    // Which of the modules were there when the program started is written nowhere near: room for all of them.
    let room = templates.iter().fold(0_u64, |room, template| {
        let aligned = template.align.clamp(word, CONTROL_BLOCK).next_power_of_two();
        room.saturating_add(template.size.min(LARGEST_TLS).next_multiple_of(aligned))
    });
    let wanted = if is_above {
        let storage = pointer.saturating_add(2 * word).saturating_add(room);
        VirtRange::new(pointer.saturating_sub(CONTROL_BLOCK), storage)
    } else {
        VirtRange::new(pointer.saturating_sub(room), pointer.saturating_add(CONTROL_BLOCK))
    };
    let around = match snapshot.region_at(pointer)? {
        Some(region) if region.is_readable() => region.range,
        Some(_) => return Ok(false),
        None => VirtRange::new(pointer, contiguous_end(memory, pointer, CONTROL_BLOCK)?),
    };
    let Some(block) = wanted.intersection(around) else {
        return Ok(false);
    };
    if memory.extents(block).next().transpose()?.is_none() {
        return Ok(false);
    }
    ranges.insert(block);
    // The array of all modules' blocks: the second word of the control block on x86, the first on ARM64.
    let array = if is_above {
        pointer
    } else {
        pointer.saturating_add(word)
    };
    if let Some(array) = words.read(memory, array)?
        && array != 0
    {
        let largest = templates.iter().map(|template| template.size.min(LARGEST_TLS)).max();
        dynamic_blocks(memory, words, VirtAddr(array), largest.unwrap_or(0), ranges)?;
    }
    Ok(true)
}

/// Adds the array of a thread's blocks of thread-local storage (its DTV), and the blocks. In glibc the number of entries
/// stands two words before the array, and an entry is two words, the first of all a count; in musl the array begins with
/// the number, and an entry is one word.
fn dynamic_blocks(
    memory: &dyn Memory,
    words: &Words,
    array: VirtAddr,
    largest: u64,
    ranges: &mut RangeSet,
) -> Result<(), Error> {
    let word = words.size as u64;
    let is_count = |value: &u64| (1..=MOST_BLOCKS).contains(value);
    let glibc = words.read(memory, array.saturating_sub(2 * word))?.filter(is_count);
    let (start, count, stride) = match glibc {
        Some(count) => (array.saturating_sub(2 * word), count, 2 * word),
        None => match words.read(memory, array)?.filter(is_count) {
            Some(count) => (array, count, word),
            None => return Ok(()),
        },
    };
    ranges.insert(VirtRange::new(start, array.saturating_add((count + 1) * stride)));
    for index in 1..=count {
        let Some(block) = words.read(memory, array.saturating_add(index * stride))? else {
            break;
        };
        // A block that was not made yet is -1 in glibc.
        let block = VirtRange::sized(VirtAddr(block), largest);
        if block.start.0 != 0 && memory.extents(block).next().transpose()?.is_some() {
            ranges.insert(block);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "linux_data_tests.rs"]
mod tests;
