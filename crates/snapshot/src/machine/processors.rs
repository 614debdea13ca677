//! The processors of a machine: their `KPRCB`, what ran on them, and the registers that the kernel saved.

use dotdump_format::kernel::context::{LARGEST_EXTENDED, extended_size};
use dotdump_format::kernel::debugger_data::is_kernel_address;
use dotdump_format::kernel::special_registers::{SpecialRegistersAmd64, SpecialRegistersArm64, SpecialRegistersX86};
use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::{Endian, Record, VirtAddr, VirtRange};

use super::reader::KernelReader;
use super::{Processor, ProcessorContext, SpecialRegisters};

/// No Windows supports as many processors.
pub const MOST_PROCESSORS: u32 = 2048;

/// The most that is read of special registers, in bytes.
const LARGEST_SPECIAL: usize = SpecialRegistersAmd64::SIZE;

/// Where things are in `KPRCB`. Windows XP and Server 2003 for x86 have no offsets in their block; theirs are fixed.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrcbOffsets {
    current_thread: u64,
    /// The pointer to the saved context.
    context: Option<u64>,
    /// The saved context itself, on systems without that pointer.
    context_frame: Option<u64>,
    pub(super) special_registers: Option<u64>,
}

impl PrcbOffsets {
    pub(super) fn of(data: &DebuggerData, machine: Machine) -> Self {
        let old = machine == Machine::X86 && data.offset_prcb_current_thread().is_none();
        Self {
            current_thread: data
                .offset_prcb_current_thread()
                .unwrap_or(if machine == Machine::X86 { 4 } else { 8 }),
            context: data.offset_prcb_context(),
            context_frame: data.offset_prcb_proc_state_context().or(old.then_some(0x1C)),
            special_registers: data
                .offset_prcb_proc_state_special_reg()
                .or(old.then_some(0x1C + Machine::X86.context_size() as u64)),
        }
    }
}

/// The processors, `count` of them where the header says how many there are; else as many as the kernel has pointers to.
/// `complete` says that all of them should be in the source.
#[must_use]
pub fn processors(
    reader: &KernelReader<'_>,
    data: &DebuggerData,
    count: Option<u32>,
    complete: bool,
) -> Vec<Processor> {
    let Some(array) = data.ki_processor_block() else {
        return Vec::new();
    };
    let offsets = PrcbOffsets::of(data, reader.machine());
    let limit = count.unwrap_or(MOST_PROCESSORS).min(MOST_PROCESSORS);
    let mut processors: Vec<Processor> = Vec::new();
    for number in 0..limit {
        let slot = reader.at(array, u64::from(number) * reader.pointer_size());
        let prcb = reader.kernel_pointer(slot);
        let Some(prcb) = prcb.filter(|prcb| processors.iter().all(|other| other.prcb != Some(*prcb))) else {
            if count.is_some() && !complete {
                continue;
            }
            if count.is_some() {
                let message = format!("KiProcessorBlock[{number}] at {slot} does not lead to a processor of its own");
                reader.note(slot, "KiProcessorBlock", message);
                continue;
            }
            break;
        };
        // Where nobody says how many there are, something must be at a pointer to tell it from what follows the array.
        if count.is_none() && reader.word(prcb).is_none() {
            break;
        }
        processors.push(processor(reader, &offsets, number, prcb));
    }
    processors
}

fn processor(reader: &KernelReader<'_>, offsets: &PrcbOffsets, number: u32, prcb: VirtAddr) -> Processor {
    let context = offsets
        .context
        .and_then(|offset| reader.kernel_pointer(reader.at(prcb, offset)))
        .and_then(|address| context_at(reader, address))
        .or_else(|| context_at(reader, reader.at(prcb, offsets.context_frame?)));
    Processor {
        number,
        prcb: Some(prcb),
        current_thread: reader.kernel_pointer(reader.at(prcb, offsets.current_thread)),
        context,
        special_registers: offsets
            .special_registers
            .and_then(|offset| special_registers(reader, reader.at(prcb, offset))),
    }
}

/// The context at `address` with its extended state; `None` where it is not there or was never filled in.
#[must_use]
pub fn context_at(reader: &KernelReader<'_>, address: VirtAddr) -> Option<ProcessorContext> {
    let machine = reader.machine();
    let mut bytes = reader.bytes(address, LARGEST_EXTENDED);
    if bytes.len() < machine.context_size() || bytes[..machine.context_size()].iter().all(|byte| *byte == 0) {
        return None;
    }
    let size = extended_size(&bytes, machine).unwrap_or(machine.context_size());
    if size > bytes.len() {
        let message = format!(
            "of the {size:#x} bytes of the context at {address}, {:#x} are there",
            bytes.len()
        );
        reader.note(address, "CONTEXT", message);
    }
    bytes.truncate(size);
    Some(ProcessorContext {
        address: Some(address),
        bytes,
    })
}

/// The special registers at `address`; `None` where they are not there or were never filled in.
#[must_use]
pub fn special_registers(reader: &KernelReader<'_>, address: VirtAddr) -> Option<SpecialRegisters> {
    special_registers_in(&reader.bytes(address, LARGEST_SPECIAL), reader.machine())
}

/// The special registers at the start of `bytes`; `None` likewise.
#[must_use]
pub fn special_registers_in(bytes: &[u8], machine: Machine) -> Option<SpecialRegisters> {
    let registers = match machine {
        Machine::X86 => {
            let saved = SpecialRegistersX86::read(bytes, Endian::Little)?;
            SpecialRegisters {
                cr0: saved.cr0.get().into(),
                cr2: saved.cr2.get().into(),
                cr3: saved.cr3.get().into(),
                cr4: saved.cr4.get().into(),
                idt_base: saved.idtr.base.get().into(),
                gdt_base: saved.gdtr.base.get().into(),
                ..SpecialRegisters::default()
            }
        }
        Machine::Amd64 => {
            let saved = SpecialRegistersAmd64::read(bytes, Endian::Little)?;
            let bases = [saved.msr_gs_base.get(), saved.msr_gs_swap.get()];
            SpecialRegisters {
                cr0: saved.cr0.get(),
                cr2: saved.cr2.get(),
                cr3: saved.cr3.get(),
                cr4: saved.cr4.get(),
                idt_base: saved.idtr.base.get(),
                gdt_base: saved.gdtr.base.get(),
                // In the kernel the two bases are swapped; whichever is the kernel's is the one that is wanted.
                kernel_gs_base: bases
                    .into_iter()
                    .find(|base| is_kernel_address(VirtAddr(*base), machine))
                    .unwrap_or_default(),
                ..SpecialRegisters::default()
            }
        }
        Machine::Arm64 => {
            let saved = SpecialRegistersArm64::read(bytes, Endian::Little)?;
            SpecialRegisters {
                cr2: saved.far_el1.get(),
                cr3: saved.ttbr0_el1.get(),
                ttbr1: saved.ttbr1_el1.get(),
                ..SpecialRegisters::default()
            }
        }
    };
    (registers.cr3 != 0).then_some(registers)
}

/// The stack of a thread: its limit and its base.
#[must_use]
pub fn stack_of(reader: &KernelReader<'_>, data: &DebuggerData, thread: VirtAddr) -> Option<VirtRange> {
    // Offsets in Windows XP for x86: the stack grows down from `InitialStack`.
    let (limit, base) = match (data.offset_kthread_stack_limit(), data.offset_kthread_stack_base()) {
        (Some(limit), Some(base)) => (limit, base),
        _ if reader.machine() == Machine::X86 => (0x1C, 0x18),
        _ => return None,
    };
    let limit = reader.kernel_pointer(reader.at(thread, limit))?;
    let base = reader.kernel_pointer(reader.at(thread, base))?;
    let stack = VirtRange::new(limit, base);
    // Even stacks that were expanded for graphics stay far below.
    (!stack.is_empty() && stack.size() <= 1 << 20).then_some(stack)
}

/// Which of `processors` the registers in the header are of: the one with the same stack pointer in its saved context,
/// else the one on whose thread's stack the header's stack pointer lies.
#[must_use]
pub fn stopped_processor(
    reader: &KernelReader<'_>,
    data: &DebuggerData,
    processors: &[Processor],
    header_context: &[u8],
) -> Option<usize> {
    let machine = reader.machine();
    let stack_pointer = machine.context(header_context)?.stack_pointer();
    if stack_pointer == 0 {
        return None;
    }
    let same = processors.iter().position(|processor| {
        let context = processor
            .context
            .as_ref()
            .and_then(|context| machine.context(&context.bytes));
        context.is_some_and(|context| context.stack_pointer() == stack_pointer)
    });
    same.or_else(|| {
        processors.iter().position(|processor| {
            let stack = processor
                .current_thread
                .and_then(|thread| stack_of(reader, data, thread));
            stack.is_some_and(|stack| stack.contains(VirtAddr(stack_pointer)))
        })
    })
}
