//! The machine as the choice of memory sees it.

use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::minidump::context::{Context, ContextKind};
use dotdump_format::{Endian, Error, VirtAddr, VirtRange};
use dotdump_snapshot::MachineSnapshot;
use dotdump_snapshot::machine::ProcessorContext;
use dotdump_snapshot::memory::{Memory, contiguous_end};

/// The size of a stack where it is not known whose it is, in bytes: as debuggers store it.
pub(super) const UNKNOWN_STACK: u64 = 0x2000;

/// The largest stack that is believed, in bytes. Those of the kernel have up to 0x18000.
const LARGEST_STACK: u64 = 1 << 20;

/// What Windows XP on x86 has instead of the offsets and sizes that `KDDEBUGGER_DATA64` got later; measured on its dumps.
mod xp {
    pub(super) const PRCB_CURRENT_THREAD: u64 = 0x04;
    pub(super) const SIZE_PRCB: u64 = 0xC50;
    pub(super) const THREAD_INITIAL_STACK: u64 = 0x18;
    pub(super) const THREAD_STACK_LIMIT: u64 = 0x1C;
    pub(super) const THREAD_PROCESS: u64 = 0x44;
    pub(super) const SIZE_THREAD: u64 = 0x258;
    pub(super) const SIZE_PROCESS: u64 = 0x260;
}

/// A machine, its memory, and what its kernel tells of its structures.
pub(super) struct Target<'a> {
    pub(super) snapshot: &'a dyn MachineSnapshot,
    pub(super) machine: Machine,
    pub(super) memory: &'a dyn Memory,
}

impl<'a> Target<'a> {
    /// Over a machine and its kernel's memory.
    pub(super) fn new(snapshot: &'a dyn MachineSnapshot, memory: &'a dyn Memory) -> Self {
        Self {
            snapshot,
            machine: snapshot.machine(),
            memory,
        }
    }

    /// The kernel's table of contents.
    pub(super) fn debugger_data(&self) -> Option<&'a DebuggerData> {
        self.snapshot.debugger_data().map(|found| &found.data)
    }

    /// A field of it.
    pub(super) fn field<T>(&self, get: impl FnOnce(&DebuggerData) -> Option<T>) -> Option<T> {
        self.debugger_data().and_then(get)
    }

    /// The plain bytes of it, as many as it says it has; none where it is not known.
    pub(super) fn debugger_data_bytes(&self) -> Result<Vec<u8>, Error> {
        let Some(found) = self.snapshot.debugger_data() else {
            return Ok(Vec::new());
        };
        let mut bytes = found.data.as_bytes().to_vec();
        let size = usize::try_from(found.data.size()).unwrap_or(bytes.len());
        // What a newer kernel has behind the fields that are known is taken where it can be read as it is.
        if !found.encoded && size > bytes.len() {
            let behind = found.address.saturating_add(bytes.len() as u64);
            bytes.extend(self.prefix(behind, size - bytes.len())?);
        }
        Ok(bytes)
    }

    pub(super) const fn is_64(&self) -> bool {
        self.machine.pointer_size() == 8
    }

    /// Whether an address is in the kernel's half of the address space.
    pub(super) const fn is_kernel(&self, address: VirtAddr) -> bool {
        address.0 >> (if self.is_64() { 63 } else { 31 }) == 1
    }

    /// A pointer in memory; `None` where it cannot be read or is zero.
    pub(super) fn pointer(&self, at: VirtAddr) -> Result<Option<VirtAddr>, Error> {
        let mut bytes = [0; 8];
        let size = self.machine.pointer_size();
        if self.memory.read(at, &mut bytes[..size])? != size {
            return Ok(None);
        }
        let pointer = u64::from_le_bytes(bytes);
        Ok((pointer != 0).then_some(VirtAddr(pointer)))
    }

    /// A `u32` in memory; `None` where it cannot be read.
    pub(super) fn word(&self, at: VirtAddr) -> Result<Option<u32>, Error> {
        let bytes = dotdump_snapshot::memory::read_array::<4>(self.memory, at)?;
        Ok(bytes.map(u32::from_le_bytes))
    }

    /// The bytes from `at` on, at most `size`, up to the first one that is absent.
    pub(super) fn prefix(&self, at: VirtAddr, size: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; size];
        let there = self.memory.read(at, &mut bytes)?;
        bytes.truncate(there);
        Ok(bytes)
    }

    /// The part of `range` from its start to the first byte that is absent.
    pub(super) fn present(&self, range: VirtRange) -> Result<VirtRange, Error> {
        let end = contiguous_end(self.memory, range.start, range.size())?;
        Ok(VirtRange::new(range.start, end))
    }

    /// The machine words of `bytes`.
    pub(super) fn words<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = VirtAddr> + use<'b> {
        bytes.chunks_exact(self.machine.pointer_size()).map(|word| {
            let mut wide = [0; 8];
            wide[..word.len()].copy_from_slice(word);
            VirtAddr(u64::from_le_bytes(wide))
        })
    }

    /// The registers of a `CONTEXT`; `None` where it is not whole.
    pub(super) fn registers(&self, context: &[u8]) -> Option<Context> {
        let kind = match self.machine {
            Machine::X86 => ContextKind::X86,
            Machine::Amd64 => ContextKind::Amd64,
            Machine::Arm64 => ContextKind::Arm64,
        };
        Context::read_as(context, kind, Endian::Little)
    }

    /// The stack pointer of a processor.
    pub(super) fn stack_pointer(&self, context: &ProcessorContext) -> Option<VirtAddr> {
        Some(VirtAddr(self.registers(&context.bytes)?.stack_pointer()))
    }

    /// The registers of the header; `None` where it has none.
    pub(super) fn header_registers(&self) -> Option<Context> {
        let record = self.snapshot.header().context_record();
        let context = record.get(..self.machine.context_size())?;
        let is_set = context.iter().any(|byte| *byte != 0) && !context.starts_with(b"PAGEPAGE");
        self.registers(context).filter(|_| is_set)
    }

    /// A field of the kernel's table of contents, or what Windows XP has instead.
    fn or_xp(&self, get: fn(&DebuggerData) -> Option<u64>, xp: u64) -> Option<u64> {
        let data = self.debugger_data()?;
        get(data).or_else(|| (self.machine == Machine::X86).then_some(xp))
    }

    /// The size of a `KPRCB` in bytes.
    pub(super) fn prcb_size(&self) -> Option<u64> {
        self.or_xp(DebuggerData::size_prcb, xp::SIZE_PRCB)
    }

    /// The size of an `ETHREAD` in bytes.
    pub(super) fn thread_size(&self) -> Option<u64> {
        self.or_xp(DebuggerData::size_ethread, xp::SIZE_THREAD)
    }

    /// The size of an `EPROCESS` in bytes.
    pub(super) fn process_size(&self) -> Option<u64> {
        self.or_xp(DebuggerData::size_eprocess, xp::SIZE_PROCESS)
    }

    /// The thread that runs on the processor with this `KPRCB`.
    pub(super) fn current_thread(&self, prcb: VirtAddr) -> Result<Option<VirtAddr>, Error> {
        let offset = self.or_xp(DebuggerData::offset_prcb_current_thread, xp::PRCB_CURRENT_THREAD);
        self.pointer_in(prcb, offset)
    }

    /// The process that a thread runs in.
    pub(super) fn process_of(&self, thread: VirtAddr) -> Result<Option<VirtAddr>, Error> {
        self.pointer_in(
            thread,
            self.or_xp(DebuggerData::offset_kthread_apc_process, xp::THREAD_PROCESS),
        )
    }

    fn pointer_in(&self, structure: VirtAddr, offset: Option<u64>) -> Result<Option<VirtAddr>, Error> {
        match offset {
            Some(offset) => self.pointer(structure.saturating_add(offset)),
            None => Ok(None),
        }
    }

    /// The kernel stack of a thread; `None` where it cannot be told.
    pub(super) fn thread_stack(&self, thread: VirtAddr) -> Result<Option<VirtRange>, Error> {
        let limit = self.or_xp(DebuggerData::offset_kthread_stack_limit, xp::THREAD_STACK_LIMIT);
        let base = self.or_xp(DebuggerData::offset_kthread_stack_base, xp::THREAD_INITIAL_STACK);
        let (Some(limit), Some(base)) = (self.pointer_in(thread, limit)?, self.pointer_in(thread, base)?) else {
            return Ok(None);
        };
        let stack = VirtRange::new(limit, base);
        Ok(Some(stack).filter(|stack| self.is_kernel(limit) && stack.size() <= LARGEST_STACK))
    }

    /// The stack from `pointer` on: to the end of the thread's where it lies in that, else [`UNKNOWN_STACK`]. Nothing where the
    /// processor was in user mode, whose stack is no matter of the kernel.
    pub(super) fn stack_from(&self, pointer: VirtAddr, thread: Option<VirtAddr>) -> Result<VirtRange, Error> {
        if !self.is_kernel(pointer) {
            return Ok(VirtRange::sized(pointer, 0));
        }
        let stack = match thread {
            Some(thread) => self.thread_stack(thread)?,
            None => None,
        };
        self.present(match stack {
            Some(stack) if stack.contains(pointer) => VirtRange::new(pointer, stack.end),
            _ => VirtRange::sized(pointer, UNKNOWN_STACK),
        })
    }
}
