//! What Windows puts into a small dump that it makes of a bigger one, in its order; measured on real dumps.

use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::{Error, PAGE_SIZE, VirtAddr, VirtRange};
use dotdump_snapshot::machine::{Processor, ProcessorContext};

use super::blocks::{Blocks, Limits};
use super::focus::Focus;
use super::reason::Reason;
use super::target::Target;
use super::{additions, bugcheck, follow};

/// The size of `MmVerifierData` in bytes.
const VERIFIER_DATA: u64 = 0x9C;

/// How much of `NtBuildLab` is stored, in bytes.
const BUILD_TEXT: u64 = 0x100;

/// How many ranges the kernel registers at most: it has room for some dozens.
const MOST_REGISTERED: u32 = 1000;

/// The largest range that it registers, in bytes; build 26100 has one of 0xC1C0.
const LARGEST_REGISTERED: u64 = 1 << 20;

/// More processors than Windows supports.
const MOST_PROCESSORS: u32 = 4096;

/// No extended context of a known processor is larger, in bytes.
const LARGEST_CONTEXT: usize = 0x4000;

/// Gathers the blocks of a dump.
pub(super) fn gather<'a>(
    target: &Target<'a>,
    focus: &Focus<'_>,
    with_additions: bool,
    limits: Limits,
) -> Result<Blocks<'a>, Error> {
    let mut blocks = Blocks::new(target.memory, limits);
    let bugcheck = bugcheck::Details::read(target)?;
    bugcheck.add(target, &mut blocks)?;
    add_at(
        &mut blocks,
        Reason::VerifierData,
        target.field(DebuggerData::mm_verifier_data),
        VERIFIER_DATA,
    )?;
    for processor in target.snapshot.processors() {
        add_processor(target, focus, processor, &mut blocks)?;
    }
    let table = processor_count(target) * target.machine.pointer_size() as u64;
    add_at(
        &mut blocks,
        Reason::ProcessorTable,
        target.field(DebuggerData::ki_processor_block),
        table,
    )?;
    let interrupted = bugcheck.interrupted_stack(target, focus)?;
    blocks.add(Reason::BugcheckData, interrupted)?;
    add_at(
        &mut blocks,
        Reason::BuildText,
        target.field(DebuggerData::nt_build_lab),
        BUILD_TEXT,
    )?;
    let registered = Registered::read(target)?;
    for range in &registered.ranges {
        blocks.add(Reason::Registered, *range)?;
    }
    if let Some(bugcheck) = target.snapshot.bugcheck() {
        for parameter in bugcheck.parameters {
            add_page(target, &mut blocks, Reason::ParameterPage, VirtAddr(parameter))?;
        }
    }
    for range in registered.table {
        blocks.add(Reason::RegisteredTable, range)?;
    }
    for register in saved_registers(target, focus) {
        add_page(target, &mut blocks, Reason::RegisterPage, register)?;
    }
    let stack = target.prefix(focus.stack.start, usize::try_from(focus.stack.size()).unwrap_or(0))?;
    let interrupted = target.prefix(interrupted.start, usize::try_from(interrupted.size()).unwrap_or(0))?;
    for (source, levels) in [(&focus.thread, 2), (&focus.process, 2), (&stack, 3), (&interrupted, 3)] {
        follow::follow(target, &mut blocks, source, levels)?;
    }
    if with_additions {
        additions::add(target, focus, &mut blocks)?;
    }
    Ok(blocks)
}

/// How many processors the machine has, or as many as the source has where it does not say.
fn processor_count(target: &Target<'_>) -> u64 {
    let count = target
        .snapshot
        .header()
        .number_processors()
        .filter(|count| *count <= MOST_PROCESSORS);
    count.map_or(target.snapshot.processors().len() as u64, u64::from)
}

fn add_at(blocks: &mut Blocks<'_>, reason: Reason, at: Option<VirtAddr>, size: u64) -> Result<(), Error> {
    match at {
        Some(at) => blocks.add(reason, VirtRange::sized(at, size)),
        None => Ok(()),
    }
}

/// The page that an address of the kernel lies in, where it can be read.
pub(super) fn add_page(
    target: &Target<'_>,
    blocks: &mut Blocks<'_>,
    reason: Reason,
    address: VirtAddr,
) -> Result<(), Error> {
    if !target.is_kernel(address) {
        return Ok(());
    }
    blocks.add(reason, VirtRange::sized(address.align_down(PAGE_SIZE), PAGE_SIZE))
}

/// The `KPRCB` of a processor, its registers and its stack.
fn add_processor(
    target: &Target<'_>,
    focus: &Focus<'_>,
    processor: &Processor,
    blocks: &mut Blocks<'_>,
) -> Result<(), Error> {
    if let (Some(prcb), Some(size)) = (processor.prcb, target.prcb_size()) {
        blocks.add(Reason::Processor, VirtRange::sized(prcb, size))?;
    }
    let Some(context) = &processor.context else {
        return Ok(());
    };
    let is_focus = focus.processor.is_some_and(|focus| focus.number == processor.number);
    if let Some(address) = context.address {
        let size = target.machine.context_size();
        let bytes = if is_focus {
            context.bytes[..context.bytes.len().min(size)].to_vec()
        } else {
            with_extended_state(target, address, context)?
        };
        blocks.add_bytes(Reason::ProcessorContext, address, &bytes);
    }
    // The processor that stopped saved its registers on its way down; the header may have those of a trap further up,
    // and the stack between them is a section of its own.
    let header = target.header_registers().filter(|_| is_focus);
    let pointer = header.map(|registers| VirtAddr(registers.stack_pointer()));
    let Some(pointer) = pointer.or_else(|| target.stack_pointer(context)) else {
        return Ok(());
    };
    let stack = target.stack_from(pointer, processor.current_thread)?;
    blocks.add(Reason::ProcessorStack, stack)
}

/// The registers of a processor and the extended ones behind them, as far as they can be read.
fn with_extended_state(target: &Target<'_>, at: VirtAddr, context: &ProcessorContext) -> Result<Vec<u8>, Error> {
    let base = target.machine.context_size();
    let mut bytes = context.bytes.clone();
    if target.machine != Machine::Amd64 || bytes.len() < base {
        return Ok(bytes);
    }
    if bytes.len() == base {
        let behind = at.saturating_add(base as u64);
        bytes.extend(target.prefix(behind, LARGEST_CONTEXT - base)?);
    }
    // CONTEXT_EX.All: how far before itself everything starts, and the size of everything.
    let all = bytes.get(base..base + 8).map(|all| {
        let (offset, length) = all.split_at(4);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        (number(offset), number(length))
    });
    let size = match all {
        Some((offset, length)) if u32::try_from(base) == Ok(offset.wrapping_neg()) => {
            usize::try_from(length).unwrap_or(base).max(base)
        }
        _ => base,
    };
    bytes.truncate(size.min(LARGEST_CONTEXT));
    Ok(bytes)
}

/// The registers whose pages are stored, in Windows' order: those that the processor saved, not those of the header.
fn saved_registers(target: &Target<'_>, focus: &Focus<'_>) -> Vec<VirtAddr> {
    let context = focus.processor.and_then(|processor| processor.context.as_ref());
    let registers = context
        .and_then(|context| target.registers(&context.bytes))
        .or_else(|| target.header_registers());
    let Some(registers) = registers else { return Vec::new() };
    let names = page_registers(target.machine);
    let values = names.iter().filter_map(|name| registers.register(name));
    values.map(|value| VirtAddr(value.low_u64())).collect()
}

/// The order of x86 is that of the few real dumps there are.
pub(super) const fn page_registers(machine: Machine) -> &'static [&'static str] {
    match machine {
        Machine::X86 => &["ebx", "ecx", "edx", "esi", "edi", "eax", "eip"],
        Machine::Amd64 => &[
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rip", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        ],
        Machine::Arm64 => &[
            "pc", "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
            "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "fp", "lr",
            "sp",
        ],
    }
}

/// What the kernel registered for small dumps.
#[derive(Debug, Default)]
struct Registered {
    ranges: Vec<VirtRange>,
    /// The variables that say so: the count, and the array.
    table: Vec<VirtRange>,
}

impl Registered {
    fn read(target: &Target<'_>) -> Result<Self, Error> {
        let (Some(count_at), Some(array)) = (
            target.field(DebuggerData::iop_num_triage_dump_data_blocks),
            target.field(DebuggerData::iop_triage_dump_data_blocks),
        ) else {
            return Ok(Self::default());
        };
        let Some(count) = target.word(count_at)?.filter(|count| *count <= MOST_REGISTERED) else {
            return Ok(Self::default());
        };
        let size = 2 * target.machine.pointer_size();
        let entries = target.prefix(array, usize::try_from(count).unwrap_or(0) * size)?;
        let words: Vec<VirtAddr> = target.words(&entries).collect();
        let ranges = words.chunks_exact(2).map(|pair| VirtRange::new(pair[0], pair[1]));
        Ok(Self {
            ranges: ranges.filter(|range| range.size() <= LARGEST_REGISTERED).collect(),
            table: vec![
                VirtRange::sized(count_at, 4),
                VirtRange::sized(array, entries.len() as u64),
            ],
        })
    }
}
