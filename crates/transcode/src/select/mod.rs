//! Which memory goes into a dump.
//!
//! Every rule gives a set of addresses of its own class; the classes are joined at the end. What a rule wants and
//! the source does not have is counted, never invented.

mod closure;
mod images;
mod indirect;
mod private;
mod process_data;
mod stacks;
mod trim;
mod windows_layout;
mod wow64;

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::minidump::context;
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::memory::extents_in;
use dotdump_snapshot::{Blob, Memory, ProcessSnapshot, RangeSet};

use crate::options::MiniOptions;
use crate::shortfall::Shortfalls;
use crate::words::Words;

pub use images::ImageFolders;
pub use stacks::ThreadStack;
pub use trim::trim_to;

/// The kinds of memory, the most valuable for a diagnosis first: this is the order in which `--max-size` keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryClass {
    /// The stack of the thread that crashed.
    CrashStack,
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

/// The memory of one class.
#[derive(Clone, Debug)]
pub struct Class {
    /// Which one.
    pub class: MemoryClass,
    /// The addresses that are there.
    pub ranges: RangeSet,
    /// How many bytes were wanted and are absent from the source.
    pub absent: u64,
}

/// The memory that goes into a dump.
#[derive(Debug)]
pub struct Selection {
    /// For each thread of the snapshot, in its order, the stack that is kept.
    pub stacks: Vec<ThreadStack>,
    /// The memory, by class.
    pub classes: Vec<Class>,
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
        self.classes.push(Class { class, ranges, absent });
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

    fn class(&mut self, class: MemoryClass) -> Option<&mut Class> {
        self.classes.iter_mut().find(|candidate| candidate.class == class)
    }
}

/// Chooses the memory that `options` ask for.
///
/// # Errors
/// [`Error::Read`] where the medium fails. What the source lacks goes into `shortfalls`.
pub fn select(
    snapshot: &dyn ProcessSnapshot,
    options: MiniOptions,
    images: &ImageFolders,
    force: bool,
    shortfalls: &mut Shortfalls,
) -> Result<Selection, Error> {
    let memory = snapshot.memory();
    let words = Words::of(snapshot);
    let stacks = stacks::thread_stacks(snapshot, &words, shortfalls)?;
    let mut selection = Selection {
        stacks,
        classes: Vec::new(),
        achieved: MiniDumpType::empty(),
    };
    let foreign = wow64::wow64_state(snapshot, &words)?;

    let crashed = snapshot.exception().map(|(record, _)| record.thread_id.get());
    let (mut crash_stack, mut other_stacks) = (RangeSet::new(), RangeSet::new());
    for (thread, stack) in snapshot.threads().iter().zip(&selection.stacks) {
        let class = if Some(thread.record.thread_id.get()) == crashed {
            &mut crash_stack
        } else {
            &mut other_stacks
        };
        for range in stack.kept.iter().chain(
            foreign
                .iter()
                .filter(|state| state.thread == stack.thread)
                .map(|state| &state.stack),
        ) {
            class.insert(*range);
        }
    }
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
        selection.add(memory, MemoryClass::Indirect, indirect)?;
    }
    for (option, kind, class, bit) in [
        (
            MiniOptions::DATA_SEGMENTS,
            images::Segments::Data,
            MemoryClass::DataSegments,
            MiniDumpType::WITH_DATA_SEGS,
        ),
        (
            MiniOptions::CODE_SEGMENTS,
            images::Segments::Code,
            MemoryClass::CodeSegments,
            MiniDumpType::WITH_CODE_SEGS,
        ),
    ] {
        if options.contains(option) {
            let segments = images::segments(snapshot, kind, images, shortfalls)?;
            let wanted = segments.clone().bytes();
            selection.add(memory, class, segments)?;
            let there = selection.class(class).map_or(0, |class| class.ranges.bytes());
            selection.achieved.set(bit, there > 0);
            if there < wanted {
                let message = format!(
                    "{} of {wanted} bytes of {} are not in the source",
                    wanted - there,
                    kind.describe()
                );
                shortfalls.warn(kind.option(), message);
            }
        }
    }
    if options.contains(MiniOptions::PRIVATE_READ_WRITE_MEMORY) {
        let private = private::private_read_write(snapshot, shortfalls)?;
        if let Some(mut wanted) = private {
            let claimed = wanted.bytes();
            selection.add(memory, MemoryClass::PrivateReadWrite, wanted)?;
            let there = selection
                .class(MemoryClass::PrivateReadWrite)
                .map_or(0, |class| class.ranges.bytes());
            selection
                .achieved
                .set(MiniDumpType::WITH_PRIVATE_READ_WRITE_MEMORY, there > 0);
            if there < claimed {
                let message = format!(
                    "{} of {claimed} bytes of private pages are not in the source",
                    claimed - there
                );
                shortfalls.warn("-mw", message);
            }
        }
    }
    if options.contains(MiniOptions::FULL_MEMORY) {
        private::check_full(snapshot, options, force, shortfalls)?;
        let all = VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX));
        selection.add(memory, MemoryClass::Everything, RangeSet::from_iter([all]))?;
        if let Some(class) = selection.class(MemoryClass::Everything) {
            class.absent = 0;
        }
        selection.achieved |= MiniDumpType::WITH_FULL_MEMORY;
    }
    Ok(selection)
}

/// All memory of a source that was already cut down with the same options.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn select_again(snapshot: &dyn ProcessSnapshot, achieved: MiniDumpType) -> Result<Selection, Error> {
    let stacks = stacks::thread_stacks(snapshot, &Words::of(snapshot), &mut Shortfalls::default())?;
    let mut selection = Selection {
        stacks,
        classes: Vec::new(),
        achieved,
    };
    let all = VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX));
    selection.add(snapshot.memory(), MemoryClass::Everything, RangeSet::from_iter([all]))?;
    if let Some(class) = selection.class(MemoryClass::Everything) {
        class.absent = 0;
    }
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
