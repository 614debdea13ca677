//! 32-bit code in a 64-bit process (WOW64), in a dump that a 64-bit tool made: the registers in the dump are those of
//! the 64-bit side, and the state of the program itself lies in memory.

use dotdump_format::minidump::context;
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{Endian, Error, VirtAddr, VirtRange};
use dotdump_snapshot::memory::read_array;
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use super::windows_layout::{TEB32_DISTANCE, TEB64_WOW_TEB_OFFSET, TEB64_WOW64_CPU, WOW64_CPU_CONTEXT, X64, X86};
use crate::words::Words;

/// The size of an x86 CONTEXT.
const X86_CONTEXT: usize = 716;

/// The 32-bit side of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wow64Thread {
    /// The thread's id.
    pub(crate) thread: u32,
    /// Its 64-bit environment block.
    pub(crate) teb64: VirtAddr,
    /// Its 32-bit environment block.
    pub(crate) teb32: VirtAddr,
    /// Where its 32-bit registers lie.
    pub(crate) context: VirtRange,
    /// Its 32-bit instruction pointer.
    pub(crate) instruction_pointer: u32,
    /// Its 32-bit stack, from the stack pointer to the base.
    pub(crate) stack: VirtRange,
}

/// The 32-bit side of all threads that have one.
pub(crate) fn wow64_state(snapshot: &dyn ProcessSnapshot, words: &Words) -> Result<Vec<Wow64Thread>, Error> {
    let windows = snapshot.system_info().is_some_and(|info| info.platform().is_windows());
    if !windows || snapshot.architecture() != ProcessorArchitecture::AMD64 {
        return Ok(Vec::new());
    }
    let mut states = Vec::new();
    for thread in snapshot.threads() {
        let teb64 = VirtAddr(thread.record.teb.get());
        if teb64.0 != 0
            && let Some(state) = thread_state(snapshot, words, thread.record.thread_id.get(), teb64)?
        {
            states.push(state);
        }
    }
    Ok(states)
}

fn thread_state(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    thread: u32,
    teb64: VirtAddr,
) -> Result<Option<Wow64Thread>, Error> {
    let memory = snapshot.memory();
    let Some(cpu) = words
        .read(memory, teb64.saturating_add(TEB64_WOW64_CPU))?
        .filter(|cpu| *cpu != 0)
    else {
        return Ok(None);
    };
    let context = VirtAddr(cpu).saturating_add(WOW64_CPU_CONTEXT);
    let Some(registers) = read_array::<X86_CONTEXT>(memory, context)? else {
        return Ok(None);
    };
    let x86 = ProcessorArchitecture::X86;
    let pointers = (
        context::instruction_pointer_of(&registers, x86, Endian::Little).and_then(|value| u32::try_from(value).ok()),
        context::stack_pointer_of(&registers, x86, Endian::Little),
    );
    let (Some(instruction_pointer), Some(stack_pointer)) = pointers else {
        return Ok(None);
    };
    // Other programs use that slot as they like: only a 32-bit block that names itself proves the 32-bit side.
    let Some(teb32) = teb32_of(snapshot, teb64)? else {
        return Ok(None);
    };
    let Some(base) = Words::x86().read(memory, teb32.saturating_add(X86.teb_stack_base))? else {
        return Ok(None);
    };
    let stack = VirtRange::new(VirtAddr(stack_pointer).saturating_sub(4), VirtAddr(base));
    let context = VirtRange::sized(context, X86_CONTEXT as u64);
    Ok(Some(Wow64Thread {
        thread,
        teb64,
        teb32,
        context,
        instruction_pointer,
        stack,
    }))
}

/// The 32-bit environment block that belongs to a 64-bit one.
fn teb32_of(snapshot: &dyn ProcessSnapshot, teb64: VirtAddr) -> Result<Option<VirtAddr>, Error> {
    let memory = snapshot.memory();
    let declared = read_array::<4>(memory, teb64.saturating_add(TEB64_WOW_TEB_OFFSET))?.map(i32::from_le_bytes);
    let candidates = [declared.map(i64::from), i64::try_from(TEB32_DISTANCE).ok()];
    for distance in candidates.into_iter().flatten().filter(|distance| *distance != 0) {
        let teb32 = VirtAddr(teb64.0.wrapping_add_signed(distance));
        let itself = Words::x86().read(memory, teb32.saturating_add(X86.teb_self))?;
        if itself == Some(teb32.0) {
            return Ok(Some(teb32));
        }
    }
    Ok(None)
}

/// What a debugger needs to find the 32-bit side: both environment blocks, and the registers.
pub(crate) fn thread_blocks(states: &[Wow64Thread]) -> RangeSet {
    let blocks = states.iter().flat_map(|state| {
        [
            VirtRange::sized(state.teb64, X64.teb_size),
            VirtRange::sized(state.teb32, X86.teb_size),
            VirtRange::new(state.context.start.saturating_sub(WOW64_CPU_CONTEXT), state.context.end),
        ]
    });
    blocks.collect()
}
