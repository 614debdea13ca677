//! Which memory goes into a dump.
//!
//! Every rule gives a set of addresses of its own class; the classes are joined at the end. What a rule wants and
//! the source does not have is counted, never invented.

mod closure;
pub(crate) mod image_code;
mod image_file;
mod image_folders;
mod image_headers;
mod indirect;
mod linux_data;
mod private;
mod process_data;
mod segments;
mod stacks;
mod trim;
mod windows_layout;
mod wow64;

use std::borrow::Cow;

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::minidump::context::xstate::XState;
use dotdump_format::minidump::context::{self, ContextKind};
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::memory::extents_in;
use dotdump_snapshot::ranges::covers;
use dotdump_snapshot::{Blob, Memory, ProcessSnapshot, RangeSet};

use self::segments::Segments;
use crate::filter::Beside;
use crate::options::MiniOptions;
use crate::request::Request;
use crate::shortfall::Shortfalls;
use crate::words::Words;

pub use image_code::ImageMemory;
pub use image_folders::ImageFolders;
pub use stacks::ThreadStack;
pub use trim::{tell_trimmed, trim_to};
pub(crate) use windows_layout::SHARED_USER_DATA;

/// The kinds of memory, the most valuable for a diagnosis first: this is the order in which `--max-size` keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryClass {
    /// The stack of the thread that crashed.
    CrashStack,
    /// The records that the exception was read from, where options name them.
    ExceptionRecords,
    /// Code around the instruction pointers.
    InstructionWindows,
    /// The stacks of the other threads.
    Stacks,
    /// What unwinding through code made at run time needs, and the page that Windows shares with every process.
    Unwinding,
    /// Process and thread environment blocks and what they lead to.
    ProcessThreadData,
    /// What stacks point to.
    Indirect,
    /// Writable sections of modules.
    DataSegments,
    /// Private pages that can be written.
    PrivateReadWrite,
    /// Code sections of modules.
    CodeSegments,
    /// All that the source has.
    Everything,
}

impl MemoryClass {
    /// What it is, within a sentence.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::CrashStack => "the crashed thread's stack",
            Self::ExceptionRecords => "exception records",
            Self::InstructionWindows => "code around instruction pointers",
            Self::Stacks => "stacks",
            Self::Unwinding => "memory for unwinding",
            Self::ProcessThreadData => "environment blocks",
            Self::Indirect => "indirect memory",
            Self::DataSegments => "data segments",
            Self::PrivateReadWrite => "private pages",
            Self::CodeSegments => "code segments",
            Self::Everything => "all memory",
        }
    }
}

/// The memory of one class.
#[derive(Clone, Debug)]
pub struct Class {
    /// Which one.
    pub class: MemoryClass,
    /// The addresses that are there.
    pub ranges: RangeSet,
    /// How many bytes were wanted and are absent from the source.
    pub absent: u64,
    /// How many bytes were dropped so that the dump is small enough.
    pub trimmed: u64,
}

/// The memory that goes into a dump.
#[derive(Debug)]
pub struct Selection {
    /// For each thread of the snapshot, in its order, the stack that is kept.
    pub stacks: Vec<ThreadStack>,
    /// The memory, by class.
    pub classes: Vec<Class>,
    /// What the privacy filter has to know beside the stacks.
    pub beside: Beside,
    /// The `MINIDUMP_TYPE` bits whose content is there.
    pub achieved: MiniDumpType,
}

impl Selection {
    fn add(&mut self, memory: &dyn Memory, class: MemoryClass, mut wanted: RangeSet) -> Result<(), Error> {
        let mut ranges = RangeSet::new();
        for extent in extents_in(memory, wanted.as_slice()) {
            ranges.insert(extent?.range);
        }
        ranges.settle();
        let absent = wanted.bytes() - ranges.bytes();
        self.classes.push(Class {
            class,
            ranges,
            absent,
            trimmed: 0,
        });
        Ok(())
    }

    /// The addresses of all classes together.
    #[must_use]
    pub fn union(&self) -> RangeSet {
        // The largest class comes first and whole; the others are few in comparison.
        let sizes = self.classes.iter().map(|class| class.ranges.len());
        let Some((largest, _)) = sizes.enumerate().max_by_key(|(_, size)| *size) else {
            return RangeSet::new();
        };
        let mut all = self.classes[largest].ranges.clone();
        for (index, class) in self.classes.iter().enumerate() {
            if index != largest {
                all.extend(&class.ranges);
            }
        }
        all.settle();
        all
    }

    /// The addresses of all classes together, in order. Where one class has those of all others, as that of a full
    /// dump has, there is no second list of them.
    #[must_use]
    pub fn addresses(&self) -> Cow<'_, [VirtRange]> {
        let mut slices: Vec<&[VirtRange]> = self.classes.iter().filter_map(|class| class.ranges.settled()).collect();
        slices.sort_by_key(|slice| slice.len());
        if slices.len() == self.classes.len()
            && let Some((largest, others)) = slices.split_last()
            && others.iter().copied().flatten().all(|range| covers(largest, *range))
        {
            return Cow::Borrowed(largest);
        }
        Cow::Owned(self.union().into_vec())
    }

    /// Adds what an option asked for by name: what is absent of it is told. The result is how much is there, in bytes.
    fn add_wanted(
        &mut self,
        memory: &dyn Memory,
        class: MemoryClass,
        mut wanted: RangeSet,
        letter: &str,
        what: &str,
        shortfalls: &mut Shortfalls,
    ) -> Result<u64, Error> {
        let asked = wanted.bytes();
        self.add(memory, class, wanted)?;
        let absent = self.classes.last().map_or(0, |class| class.absent);
        if absent > 0 {
            shortfalls.warn(
                letter,
                format!("{absent} of {asked} bytes of {what} are not in the source"),
            );
        }
        Ok(asked - absent)
    }

    /// Adds the records that the exception was read from.
    pub(crate) fn add_exception_records(&mut self, memory: &dyn Memory, records: RangeSet) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        self.add(memory, MemoryClass::ExceptionRecords, records)
    }

    /// Adds all that there is. Of the whole address space nothing is absent.
    fn add_everything(&mut self, memory: &dyn Memory) -> Result<(), Error> {
        let all = VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX));
        self.add(memory, MemoryClass::Everything, RangeSet::from_iter([all]))?;
        if let Some(class) = self.classes.last_mut() {
            class.absent = 0;
        }
        Ok(())
    }
}

/// Chooses the memory that `options` ask for.
///
/// # Errors
/// [`Error::Read`] where the medium fails. What the source lacks goes into `shortfalls`.
pub fn select(
    snapshot: &dyn ProcessSnapshot,
    request: &Request,
    image_memory: &ImageMemory<'_>,
    shortfalls: &mut Shortfalls,
) -> Result<Selection, Error> {
    let memory = snapshot.memory();
    let options = request.options.mini;
    let words = Words::of(snapshot);
    let lenient = request.is_lenient() || snapshot.is_resident_only();
    let stacks = stacks::thread_stacks(snapshot, &words, lenient, shortfalls)?;
    let mut selection = Selection {
        stacks,
        classes: Vec::new(),
        beside: Beside::default(),
        achieved: MiniDumpType::empty(),
    };
    let foreign = wow64::wow64_state(snapshot, &words)?;
    selection.beside = wow64::beside_stacks(&foreign);

    let (crash_stack, other_stacks) = split_stacks(snapshot, &selection.stacks, &foreign);
    selection.add(memory, MemoryClass::CrashStack, crash_stack)?;
    selection.add(
        memory,
        MemoryClass::InstructionWindows,
        instruction_windows(snapshot, &foreign)?,
    )?;
    selection.add(memory, MemoryClass::Stacks, other_stacks)?;
    let mut unwinding = closure::unwinding(snapshot)?;
    unwinding.extend(&wow64::thread_blocks(&foreign));
    selection.add(memory, MemoryClass::Unwinding, unwinding)?;

    if options.contains(MiniOptions::PROCESS_THREAD_DATA) {
        let data = process_data::process_data(snapshot, &words, &foreign, shortfalls)?;
        selection
            .achieved
            .set(MiniDumpType::WITH_PROCESS_THREAD_DATA, data.is_some());
        selection.add(memory, MemoryClass::ProcessThreadData, data.unwrap_or_default())?;
    }
    if options.contains(MiniOptions::INDIRECT_MEMORY) {
        let stacks: Vec<VirtRange> = selection
            .stacks
            .iter()
            .filter_map(|stack| stack.kept)
            .chain(foreign.iter().map(|state| state.stack))
            .collect();
        let indirect = indirect::indirect(snapshot, &words, &stacks)?;
        selection
            .achieved
            .set(MiniDumpType::WITH_INDIRECTLY_REFERENCED_MEMORY, !stacks.is_empty());
        if stacks.is_empty() {
            shortfalls.warn("-mi", "no stack memory in the source to look for pointers in");
        }
        selection.beside.others.extend(&indirect);
        selection.add(memory, MemoryClass::Indirect, indirect)?;
    }
    if options.contains(MiniOptions::AVX_STATE) && !has_extended_state(snapshot)? {
        shortfalls.warn("-my", "no extended processor state in the source");
    }
    for kind in [Segments::Data, Segments::Code] {
        if !options.contains(kind.option()) {
            continue;
        }
        let wanted = segments::segments(snapshot, kind, &request.images, shortfalls)?;
        // Code does not change while a program runs, so that of an image's file will do.
        let from: &dyn Memory = if kind == Segments::Code { image_memory } else { memory };
        let there = selection.add_wanted(from, kind.class(), wanted, kind.letter(), kind.describe(), shortfalls)?;
        selection.achieved.set(kind.flag(), there > 0);
    }
    if options.contains(MiniOptions::PRIVATE_READ_WRITE_MEMORY)
        && let Some(wanted) = private::private_read_write(snapshot, shortfalls)?
    {
        let class = MemoryClass::PrivateReadWrite;
        let there = selection.add_wanted(memory, class, wanted, "-mw", "private pages", shortfalls)?;
        selection
            .achieved
            .set(MiniDumpType::WITH_PRIVATE_READ_WRITE_MEMORY, there > 0);
    }
    if options.contains(MiniOptions::FULL_MEMORY) {
        let is_full = private::check_full(snapshot, lenient, shortfalls)?;
        selection.achieved.set(MiniDumpType::WITH_FULL_MEMORY, is_full);
        selection.add_everything(memory)?;
    }
    Ok(selection)
}

/// The stack of the thread that crashed, and those of the others: each thread's own, that of its 32-bit side, and its
/// register backing store.
fn split_stacks(
    snapshot: &dyn ProcessSnapshot,
    stacks: &[ThreadStack],
    foreign: &[wow64::Wow64Thread],
) -> (RangeSet, RangeSet) {
    let crashed = snapshot.exception().map(|(record, _)| record.thread_id.get());
    let (mut crash_stack, mut others) = (RangeSet::new(), RangeSet::new());
    for (thread, stack) in snapshot.threads().iter().zip(stacks) {
        let class = if Some(stack.thread) == crashed {
            &mut crash_stack
        } else {
            &mut others
        };
        let narrow = foreign
            .iter()
            .filter(|state| state.thread == stack.thread)
            .map(|state| state.stack);
        for range in stack.kept.into_iter().chain(narrow).chain(thread.backing_store) {
            class.insert(range);
        }
    }
    (crash_stack, others)
}

/// All memory of a source that was already cut down with the same options.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn select_again(snapshot: &dyn ProcessSnapshot, achieved: MiniDumpType) -> Result<Selection, Error> {
    let stacks = stacks::thread_stacks(snapshot, &Words::of(snapshot), true, &mut Shortfalls::default())?;
    let mut selection = Selection {
        stacks,
        classes: Vec::new(),
        beside: Beside::default(),
        achieved,
    };
    selection.add_everything(snapshot.memory())?;
    Ok(selection)
}

/// Bytes kept on either side of an instruction pointer.
const INSTRUCTION_WINDOW: u64 = 0x80;

/// The code around all instruction pointers: those of the threads, of the exception, and of 32-bit code under WOW64.
fn instruction_windows(snapshot: &dyn ProcessSnapshot, foreign: &[wow64::Wow64Thread]) -> Result<RangeSet, Error> {
    let mut windows = RangeSet::new();
    let mut add = |pointer: u64| {
        let pointer = VirtAddr(pointer);
        windows.insert(VirtRange::new(
            pointer.saturating_sub(INSTRUCTION_WINDOW),
            pointer.saturating_add(INSTRUCTION_WINDOW),
        ));
    };
    for blob in contexts(snapshot) {
        if let Some(pointer) = instruction_pointer(snapshot, blob)? {
            add(pointer);
        }
    }
    for state in foreign {
        add(u64::from(state.instruction_pointer));
    }
    windows.settle();
    Ok(windows)
}

/// The contexts of all threads and of the exception.
fn contexts(snapshot: &dyn ProcessSnapshot) -> impl Iterator<Item = &Blob> {
    let threads = snapshot.threads().iter().filter_map(|thread| thread.context.as_ref());
    threads.chain(snapshot.exception().and_then(|(_, context)| context))
}

/// Whether any context has extended state behind it.
fn has_extended_state(snapshot: &dyn ProcessSnapshot) -> Result<bool, Error> {
    for blob in contexts(snapshot) {
        let bytes = snapshot.bytes(blob)?;
        if let Some(kind) = ContextKind::of(&bytes, snapshot.architecture(), snapshot.endian())
            && XState::read(&bytes, kind.base_size(), snapshot.endian()).is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn instruction_pointer(snapshot: &dyn ProcessSnapshot, blob: &Blob) -> Result<Option<u64>, Error> {
    let bytes = snapshot.bytes(blob)?;
    Ok(context::instruction_pointer_of(
        &bytes,
        snapshot.architecture(),
        snapshot.endian(),
    ))
}

fn stack_pointer(snapshot: &dyn ProcessSnapshot, blob: &Blob) -> Result<Option<u64>, Error> {
    let bytes = snapshot.bytes(blob)?;
    Ok(context::stack_pointer_of(
        &bytes,
        snapshot.architecture(),
        snapshot.endian(),
    ))
}
