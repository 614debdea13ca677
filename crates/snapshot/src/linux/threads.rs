//! The threads of a Linux process as records of minidumps.

use dotdump_format::layout::Layout;
use dotdump_format::minidump::context::{instruction_pointer_of, stack_pointer_of};
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::name::Name;
use dotdump_format::minidump::thread_info_list::{self, ThreadDumpFlags, ThreadInfo};
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::thread_names::{ThreadName, ThreadNames};
use dotdump_format::minidump::{LocationDescriptor, StreamType, WriteStream};
use dotdump_format::time::{TICKS_PER_SECOND, unix_to_filetime};
use dotdump_format::{Endian, Error, VirtAddr, VirtRange};

use super::elf_image::PAGE;
use super::facts::{LinuxArchitecture, LinuxFacts, LinuxThread, ThreadStat};
use super::{counters, regions, registers};
use crate::process::{Blob, ThreadSnapshot};
use crate::regions::Region;

/// `NORMAL_PRIORITY_CLASS` (`processthreadsapi.h`).
const NORMAL_PRIORITY_CLASS: u32 = 0x20;

/// The exit status of threads that run (`STILL_ACTIVE`).
const STILL_ACTIVE: u32 = 0x103;

/// How far above a stack pointer in a guard page, or in nothing, the stack is looked for.
const OVERFLOW_REACH: u64 = 1 << 20;

/// The least that a stack is taken to be able to grow to, and what one is that has no limit: the usual soft limit of a
/// stack (`ulimit -s`), which glibc also gives its threads.
const USUAL_STACK: u64 = 8 << 20;

/// Where stacks can be.
pub(super) struct Stacks<'r> {
    regions: &'r [Region],
    /// The program's own stack, which the kernel made.
    main: Option<VirtRange>,
    /// How much of any other mapping is stack at most, from the stack pointer on: a runtime may have its stacks in a huge
    /// heap (Go), or a program that of its fibers.
    longest: u64,
}

impl<'r> Stacks<'r> {
    pub(super) fn of(facts: &LinuxFacts, regions: &'r [Region]) -> Self {
        let is_main = |mapping: &&LinuxMapping| mapping.special_name() == Some(b"[stack]");
        let limit = counters::text(facts, StreamType::MOZ_LINUX_LIMITS).and_then(stack_limit);
        Self {
            regions,
            main: facts.mappings.iter().find(is_main).map(|mapping| mapping.range),
            longest: limit.unwrap_or(0).max(USUAL_STACK),
        }
    }

    /// The stack in use: from the page of the stack pointer, as leaf functions keep data below it, to the end of its
    /// mapping. A pointer in a guard page, or in nothing, overflowed the stack that lies above.
    fn at(&self, pointer: VirtAddr) -> Option<VirtRange> {
        let region = regions::region_at(self.regions, pointer).filter(|region| region.is_readable());
        let range = match region {
            Some(region) => VirtRange::new(pointer.align_down(PAGE).max(region.range.start), region.range.end),
            None => {
                let above = self.regions.partition_point(|region| region.range.start <= pointer);
                let reach = pointer.saturating_add(OVERFLOW_REACH);
                let mut near = self.regions[above..]
                    .iter()
                    .take_while(|region| region.range.start <= reach);
                near.find(|region| region.is_readable())?.range
            }
        };
        if self.main.is_some_and(|main| main.contains(range.start)) {
            return Some(range);
        }
        Some(VirtRange::sized(range.start, range.size().min(self.longest)))
    }
}

/// The soft limit of a stack in `/proc/PID/limits`, in bytes; `None` where there is none.
fn stack_limit(limits: &[u8]) -> Option<u64> {
    let mut lines = limits.split(|byte| *byte == b'\n');
    let values = lines.find_map(|line| line.strip_prefix(b"Max stack size"))?;
    let soft = values.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    core::str::from_utf8(soft).ok()?.parse().ok()
}

/// The thread's record.
pub(super) fn snapshot(architecture: LinuxArchitecture, thread: &LinuxThread, stacks: &Stacks<'_>) -> ThreadSnapshot {
    let context = registers::context(architecture, thread);
    // Nice values go the other way round. A signed number in an unsigned field.
    let priority = thread.stat.map_or(0, |stat| stat.nice.clamp(-20, 19).wrapping_neg());
    let mut record = Thread {
        thread_id: thread.id.into(),
        priority_class: NORMAL_PRIORITY_CLASS.into(),
        priority: u32::from_le_bytes(priority.to_le_bytes()).into(),
        teb: registers::tls_base(architecture, thread).unwrap_or(0).into(),
        ..Thread::default()
    };
    let pointer = context
        .as_deref()
        .and_then(|context| stack_pointer_of(context, architecture.to_minidump(), Endian::Little));
    if let Some(stack) = pointer.and_then(|pointer| stacks.at(VirtAddr(pointer))) {
        record.stack.start_of_memory_range = stack.start.0.into();
        record.stack.memory.data_size = u32::try_from(stack.size()).unwrap_or(u32::MAX).into();
    }
    ThreadSnapshot {
        record,
        context: context.map(Blob::Bytes),
        backing_store: None,
    }
}

/// Where the thread was.
pub(super) fn instruction_pointer(architecture: LinuxArchitecture, context: &[u8]) -> Option<u64> {
    instruction_pointer_of(context, architecture.to_minidump(), Endian::Little)
}

/// The names of the threads that have one.
pub(super) fn names(threads: &[LinuxThread]) -> ThreadNames {
    let named = threads
        .iter()
        .filter_map(|thread| Some((thread.id, thread.name.as_ref()?)));
    let names = named.map(|(thread_id, name)| ThreadName {
        thread_id,
        name: Some(Name::from(&*String::from_utf8_lossy(name))),
    });
    ThreadNames { names: names.collect() }
}

/// A ThreadInfoList of what the kernel's statistics say.
pub(super) struct ThreadInfos<'a>(pub(super) &'a LinuxFacts);

impl WriteStream for ThreadInfos<'_> {
    fn stream_type(&self) -> StreamType {
        StreamType::THREAD_INFO_LIST
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let infos: Vec<ThreadInfo> = self.0.threads.iter().map(|thread| info(self.0, thread)).collect();
        thread_info_list::write(layout, &infos)
    }
}

fn info(facts: &LinuxFacts, thread: &LinuxThread) -> ThreadInfo {
    let mut info = ThreadInfo {
        thread_id: thread.id.into(),
        exit_status: STILL_ACTIVE.into(),
        affinity: thread.affinity.unwrap_or(0).into(),
        ..ThreadInfo::default()
    };
    let mut flags = ThreadDumpFlags::default();
    if thread.general.is_empty() {
        flags |= ThreadDumpFlags::INVALID_CONTEXT;
    }
    match &thread.stat {
        Some(stat) => {
            info.create_time = create_time(facts, stat).unwrap_or(0).into();
            info.kernel_time = ticks(facts, stat.system_time, TICKS_PER_SECOND).into();
            info.user_time = ticks(facts, stat.user_time, TICKS_PER_SECOND).into();
        }
        None => flags |= ThreadDumpFlags::INVALID_INFO,
    }
    info.dump_flags = flags.bits().into();
    info
}

/// When a thread was started, as a FILETIME.
fn create_time(facts: &LinuxFacts, stat: &ThreadStat) -> Option<u64> {
    let boot = unix_to_filetime(facts.boot_time?)?;
    boot.checked_add(ticks(facts, stat.start_time, TICKS_PER_SECOND))
}

/// A number of the kernel's ticks in units of which a second has `per_second`.
pub(super) fn ticks(facts: &LinuxFacts, ticks: u64, per_second: u64) -> u64 {
    let result = u128::from(ticks) * u128::from(per_second) / u128::from(facts.ticks_per_second.max(1));
    u64::try_from(result).unwrap_or(u64::MAX)
}
