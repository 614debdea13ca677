//! Threads, by the kernel's list of them.
//!
//! `KDDEBUGGER_DATA64` has offsets of some fields of `KTHREAD`, but not of the list's links, nor of a thread's id. Both
//! are found by their contents: a list in `EPROCESS` whose every entry lies at the same distance behind something that
//! is a thread of this process.

use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::minidump::context::ContextAmd64;
use dotdump_format::minidump::thread_info_list::{ThreadDumpFlags, ThreadInfo};
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::{VirtAddr, VirtRange};

use super::Notes;
use super::trap_frame::{self, Search};
use crate::machine::{KernelReader, MachineSnapshot, Process, Processor};
use crate::process::{Blob, ThreadSnapshot};

/// More threads than any process has.
const MOST_THREADS: usize = 1 << 16;
/// So many of them are looked at to find where their fields are.
const EXAMINED: usize = 64;
/// No `EPROCESS` and no `ETHREAD` is larger, in bytes.
const LARGEST: u64 = 0x1400;
/// The type of a thread among dispatcher objects: the first byte of `KTHREAD`.
const THREAD_OBJECT: u8 = 6;

/// A thread that was found.
pub(super) struct Found {
    id: u32,
    pub(super) teb: VirtAddr,
    stack: VirtRange,
    context: Vec<u8>,
    has_context: bool,
}

impl Found {
    pub(super) fn into_records(self) -> (ThreadSnapshot, ThreadInfo) {
        let mut record = Thread {
            thread_id: self.id.into(),
            teb: self.teb.0.into(),
            ..Thread::default()
        };
        record.stack.start_of_memory_range = self.stack.start.0.into();
        record.stack.memory.data_size = u32::try_from(self.stack.size()).unwrap_or(u32::MAX).into();
        // Times and addresses of threads are in no field whose place is known.
        let mut flags = ThreadDumpFlags::INVALID_INFO;
        flags.set(ThreadDumpFlags::INVALID_CONTEXT, !self.has_context);
        flags.set(ThreadDumpFlags::INVALID_TEB, self.teb.0 == 0);
        let info = ThreadInfo {
            thread_id: self.id.into(),
            dump_flags: flags.bits().into(),
            ..ThreadInfo::default()
        };
        let snapshot = ThreadSnapshot {
            record,
            context: Some(Blob::Bytes(self.context)),
            backing_store: None,
        };
        (snapshot, info)
    }
}

/// The threads of a process, in the kernel's order.
pub(super) fn threads(
    machine: &dyn MachineSnapshot,
    process: &Process,
    kernel: &KernelReader<'_>,
    user: &KernelReader<'_>,
    notes: &mut Notes,
) -> Vec<Found> {
    let finder = Finder {
        kernel,
        data: machine.debugger_data().map(|found| &found.data),
        process,
    };
    let Some((ethreads, links)) = finder.list() else {
        notes.add("the list of the process's threads is not found");
        return Vec::new();
    };
    notes.add(format!(
        "threads: the list in EPROCESS+{:#x}, whose links are in ETHREAD+{:#x}, is told by what it links",
        links.head, links.entry
    ));
    let client_id = finder.client_id(&ethreads);
    match client_id {
        Some(offset) => notes.add(format!(
            "ids of threads: the words in ETHREAD+{offset:#x} are told by the process's id in front of them"
        )),
        None => notes.add("ids of threads are not found: they are numbered"),
    }
    let mut without = 0;
    let mut trapped = 0;
    let threads: Vec<Found> = (1..)
        .zip(&ethreads)
        .map(|(number, ethread)| {
            let id = client_id.and_then(|offset| kernel.word(kernel.at(*ethread, offset)));
            let teb = finder.teb(*ethread, user);
            let running = machine
                .processors()
                .iter()
                .find(|processor| processor.current_thread == Some(*ethread));
            let context = running
                .and_then(|processor| user_context(kernel, processor))
                .or_else(|| {
                    let stack = finder.kernel_stack(*ethread)?;
                    let found = trap_frame::context(&Search { kernel, user, stack })?;
                    trapped += 1;
                    Some(found)
                });
            without += u64::from(context.is_none());
            Found {
                id: id.and_then(|id| u32::try_from(id).ok()).unwrap_or(number),
                teb: teb.unwrap_or_default(),
                stack: teb.map_or_else(VirtRange::default, |teb| user_stack(user, teb)),
                has_context: context.is_some(),
                context: context.unwrap_or_else(|| no_context(kernel.machine())),
            }
        })
        .collect();
    if trapped > 0 {
        notes.add(format!(
            "registers of {trapped} threads are those of trap frames, found by their selectors on top of kernel stacks; \
             registers that a trap frame lacks are zero"
        ));
    }
    if without > 0 {
        notes.add(format!(
            "registers of {without} threads are not found: they are zero and marked as invalid"
        ));
    }
    threads
}

/// Registers of a processor that was in user mode.
fn user_context(kernel: &KernelReader<'_>, processor: &Processor) -> Option<Vec<u8>> {
    let bytes = &processor.context.as_ref()?.bytes;
    let registers = kernel.machine().context(bytes)?;
    let program_counter = VirtAddr(registers.instruction_pointer());
    (program_counter.0 != 0 && !kernel.is_kernel(program_counter)).then(|| bytes.clone())
}

/// A `CONTEXT` in which nothing is valid.
fn no_context(machine: Machine) -> Vec<u8> {
    let mut context = vec![0; machine.context_size()];
    let (at, flags) = match machine {
        Machine::Amd64 => (std::mem::offset_of!(ContextAmd64, context_flags), 0x10_0000_u32),
        Machine::X86 => (0, 0x1_0000),
        Machine::Arm64 => (0, 0x40_0000),
    };
    context[at..at + 4].copy_from_slice(&flags.to_le_bytes());
    context
}

/// The stack that a thread's environment block names.
fn user_stack(user: &KernelReader<'_>, teb: VirtAddr) -> VirtRange {
    let pointer = user.pointer_size();
    let base = user.pointer(user.at(teb, pointer));
    let limit = user.pointer(user.at(teb, 2 * pointer));
    base.zip(limit)
        .map_or_else(VirtRange::default, |(base, limit)| VirtRange::new(limit, base))
}

/// Where the links of a process's threads are, in bytes.
#[derive(Clone, Copy)]
struct Links {
    /// In `EPROCESS`.
    head: u64,
    /// In `ETHREAD`.
    entry: u64,
}

struct Finder<'a> {
    kernel: &'a KernelReader<'a>,
    data: Option<&'a DebuggerData>,
    process: &'a Process,
}

impl Finder<'_> {
    /// An offset that the kernel's table has.
    fn offset(&self, get: impl Fn(&DebuggerData) -> Option<u64>) -> Option<u64> {
        self.data.and_then(get)
    }

    /// The process's threads and how they are linked: the list in `EPROCESS` that has the most of them.
    fn list(&self) -> Option<(Vec<VirtAddr>, Links)> {
        let kernel = self.kernel;
        let pointer = kernel.pointer_size();
        let size = self.offset(DebuggerData::size_eprocess).unwrap_or(LARGEST).min(LARGEST);
        let mut best: Option<(Vec<VirtAddr>, Links)> = None;
        for head in (0..size.saturating_sub(pointer)).step_by(8) {
            let at = kernel.at(self.process.eprocess, head);
            let Some(first) = kernel.kernel_pointer(at).filter(|first| *first != at) else {
                continue;
            };
            if kernel.pointer(kernel.at(first, pointer)) != Some(at) {
                continue;
            }
            let Some(entry) = self.entry_offset(at, first) else {
                continue;
            };
            let links = kernel.list(at, MOST_THREADS, "ThreadListHead");
            let threads: Vec<VirtAddr> = links
                .iter()
                .map(|links| kernel.before(*links, entry))
                .filter(|ethread| self.is_thread(*ethread))
                .collect();
            if best.as_ref().is_none_or(|(best, _)| best.len() < threads.len()) {
                best = Some((threads, Links { head, entry }));
            }
        }
        best
    }

    /// Where the links are in the thread at `first`, if that and some behind it are threads of this process.
    fn entry_offset(&self, head: VirtAddr, first: VirtAddr) -> Option<u64> {
        let kernel = self.kernel;
        let size = self.offset(DebuggerData::size_ethread).unwrap_or(LARGEST).min(LARGEST);
        let mut some = vec![first];
        while let Some(next) = some.last().and_then(|last| kernel.kernel_pointer(*last))
            && next != head
            && some.len() < EXAMINED
            && !some.contains(&next)
        {
            some.push(next);
        }
        (0..size)
            .step_by(8)
            .find(|entry| some.iter().all(|links| self.is_thread(kernel.before(*links, *entry))))
    }

    /// Whether something looks like a thread of this process.
    fn is_thread(&self, ethread: VirtAddr) -> bool {
        let kernel = self.kernel;
        let pointer = |offset: u64| kernel.pointer(kernel.at(ethread, offset));
        // The upper bit of the type says that somebody waits for it with a debugger's lock.
        let is_object = kernel
            .array(ethread)
            .is_some_and(|[kind]: [u8; 1]| kind & 0x7F == THREAD_OBJECT);
        // The process in whose space it works. One that is attached to another process is missed.
        let process = match self.offset(DebuggerData::offset_kthread_apc_process) {
            Some(offset) => pointer(offset) == Some(self.process.eprocess),
            None => true,
        };
        let stack = match self.offset(DebuggerData::offset_kthread_initial_stack) {
            Some(offset) => pointer(offset).is_some_and(|stack| stack.0 == 0 || kernel.is_kernel(stack)),
            None => true,
        };
        let teb = match self.offset(DebuggerData::offset_kthread_teb) {
            Some(offset) => pointer(offset).is_some_and(|teb| !kernel.is_kernel(teb)),
            None => true,
        };
        is_object && process && stack && teb
    }

    /// Where threads have their id: behind their process's one.
    fn client_id(&self, threads: &[VirtAddr]) -> Option<u64> {
        let kernel = self.kernel;
        let pointer = kernel.pointer_size();
        let size = self.offset(DebuggerData::size_ethread).unwrap_or(LARGEST).min(LARGEST);
        let id_at = |ethread: &VirtAddr, offset: u64| {
            let at = kernel.at(*ethread, offset);
            let id = kernel.word(kernel.at(at, pointer))?;
            // Ids are multiples of four, and of 32 bits.
            let is_id = id != 0 && id.is_multiple_of(4) && u32::try_from(id).is_ok();
            (kernel.word(at) == Some(self.process.id) && is_id).then_some(id)
        };
        let some = &threads[..threads.len().min(EXAMINED)];
        let found = (0..size).step_by(usize::try_from(pointer).ok()?).find(|offset| {
            let ids: Option<Vec<u64>> = some.iter().map(|ethread| id_at(ethread, *offset)).collect();
            ids.is_some_and(|mut ids| {
                ids.sort_unstable();
                ids.dedup();
                ids.len() == some.len()
            })
        })?;
        (!some.is_empty()).then_some(found + pointer)
    }

    /// A thread's environment block, which knows its own address; `None` where it has none, or it is not in memory.
    fn teb(&self, ethread: VirtAddr, user: &KernelReader<'_>) -> Option<VirtAddr> {
        let offset = self.offset(DebuggerData::offset_kthread_teb)?;
        let teb = self.kernel.pointer(self.kernel.at(ethread, offset))?;
        let own = user.at(teb, 6 * user.pointer_size());
        (teb.0 != 0 && user.pointer(own) == Some(teb)).then_some(teb)
    }

    /// A thread's kernel stack: below its initial stack pointer, at most a few pages.
    fn kernel_stack(&self, ethread: VirtAddr) -> Option<VirtRange> {
        /// Stacks of threads with windows grow to 24 pages on 64-bit systems.
        const LARGEST_STACK: u64 = 24 << 12;

        let word = |offset: u64| self.kernel.kernel_pointer(self.kernel.at(ethread, offset));
        let base = word(self.offset(DebuggerData::offset_kthread_initial_stack)?)?;
        Some(VirtRange::new(base.saturating_sub(LARGEST_STACK), base))
    }
}
