//! Registers of user mode on a thread's kernel stack.

use dotdump_format::kernel::Machine;
use dotdump_format::minidump::context::ContextAmd64;
use dotdump_format::minidump::context::ContextX86;
use dotdump_format::{VirtAddr, VirtRange};
use zerocopy::IntoBytes;

use crate::machine::KernelReader;

/// `KTRAP_FRAME` lies at the top of a kernel stack: below it nothing else that came from user mode.
const SEARCHED: u64 = 0x1000;

/// What a search for a trap frame goes by.
pub(super) struct Search<'a> {
    /// The kernel's memory.
    pub(super) kernel: &'a KernelReader<'a>,
    /// The process's.
    pub(super) user: &'a KernelReader<'a>,
    /// The thread's kernel stack.
    pub(super) stack: VirtRange,
}

/// A `CONTEXT` from the trap frame that a thread left on its way into the kernel; `None` where none is found. The frame
/// lacks registers that other code saves (on x64 R12 to R15); they are zero.
pub(super) fn context(search: &Search<'_>) -> Option<Vec<u8>> {
    let kernel = search.kernel;
    let start = VirtAddr(search.stack.end.0.saturating_sub(SEARCHED)).max(search.stack.start);
    let stack = kernel.bytes(start, usize::try_from(search.stack.end.0 - start.0).ok()?);
    let step = usize::try_from(kernel.pointer_size()).ok()?;
    let mut at = stack.len() & !(step - 1);
    // The highest one: what lies below was left by traps of the kernel itself.
    while at >= step {
        at -= step;
        let found = match kernel.machine() {
            Machine::Amd64 => amd64(&stack[at..]),
            Machine::X86 => x86(&stack[at..]),
            Machine::Arm64 => None,
        };
        if let Some((context, program_counter, stack_pointer)) = found
            && is_there(search, program_counter)
            && is_there(search, stack_pointer)
        {
            return Some(context);
        }
    }
    None
}

/// Whether an address of user mode is mapped.
fn is_there(search: &Search<'_>, address: u64) -> bool {
    !search.kernel.is_kernel(VirtAddr(address)) && search.user.array::<1>(VirtAddr(address)).is_some()
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*frame.get(at..)?.first_chunk()?))
}

fn u32_at(frame: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*frame.get(at..)?.first_chunk()?))
}

fn u64_at(frame: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*frame.get(at..)?.first_chunk()?))
}

/// `CONTEXT_AMD64 | CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_SEGMENTS`.
const FLAGS_AMD64: u32 = 0x10_0007;
/// `CONTEXT_i386 | CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_SEGMENTS`.
const FLAGS_X86: u32 = 0x1_0007;

/// Reads a `KTRAP_FRAME` of x64 (0x190 bytes, the same from Vista to 11), if the selectors are those of user mode. With
/// it come program counter and stack pointer.
fn amd64(frame: &[u8]) -> Option<(Vec<u8>, u64, u64)> {
    /// Code of 64 and of 32 bits.
    const CODE: [u16; 2] = [0x33, 0x23];
    const STACK: u16 = 0x2B;
    const SIZE: usize = 0x190;

    let frame = frame.get(..SIZE)?;
    let code = u16_at(frame, 0x170)?;
    if !CODE.contains(&code) || u16_at(frame, 0x188)? != STACK {
        return None;
    }
    let (program_counter, stack_pointer) = (u64_at(frame, 0x168)?, u64_at(frame, 0x180)?);
    let mut context = ContextAmd64 {
        context_flags: FLAGS_AMD64.into(),
        ..ContextAmd64::default()
    };
    context.mx_csr = u32_at(frame, 0x2C)?.into();
    context.seg_cs = code.into();
    context.seg_ss = STACK.into();
    // Ds, Es, Fs and Gs are the same for all of user mode; a system call does not save them.
    (context.seg_ds, context.seg_es, context.seg_gs) = (STACK.into(), STACK.into(), STACK.into());
    context.seg_fs = 0x53.into();
    context.eflags = u32_at(frame, 0x178)?.into();
    context.rip = program_counter.into();
    context.rsp = stack_pointer.into();
    context.rbp = u64_at(frame, 0x158)?.into();
    context.rax = u64_at(frame, 0x30)?.into();
    context.rcx = u64_at(frame, 0x38)?.into();
    context.rdx = u64_at(frame, 0x40)?.into();
    context.rbx = u64_at(frame, 0x140)?.into();
    context.rdi = u64_at(frame, 0x148)?.into();
    context.rsi = u64_at(frame, 0x150)?.into();
    for (index, at) in [0x48, 0x50, 0x58, 0x60].into_iter().enumerate() {
        context.r8_15[index] = u64_at(frame, at)?.into();
    }
    Some((context.as_bytes().to_vec(), program_counter, stack_pointer))
}

/// Reads a `KTRAP_FRAME` of x86 (0x8C bytes and the registers of virtual 8086 mode, from XP on), likewise.
fn x86(frame: &[u8]) -> Option<(Vec<u8>, u64, u64)> {
    const CODE: u32 = 0x1B;
    const STACK: u32 = 0x23;
    const SIZE: usize = 0x7C;

    let frame = frame.get(..SIZE)?;
    let word = |at: usize| u32_at(frame, at);
    if word(0x6C)? & 0xFFFF != CODE || word(0x78)? & 0xFFFF != STACK {
        return None;
    }
    let (program_counter, stack_pointer) = (word(0x68)?, word(0x74)?);
    let mut context = ContextX86 {
        context_flags: FLAGS_X86.into(),
        ..ContextX86::default()
    };
    context.seg_gs = (word(0x30)? & 0xFFFF).into();
    context.seg_es = (word(0x34)? & 0xFFFF).into();
    context.seg_ds = (word(0x38)? & 0xFFFF).into();
    context.edx = word(0x3C)?.into();
    context.ecx = word(0x40)?.into();
    context.eax = word(0x44)?.into();
    context.seg_fs = (word(0x50)? & 0xFFFF).into();
    context.edi = word(0x54)?.into();
    context.esi = word(0x58)?.into();
    context.ebx = word(0x5C)?.into();
    context.ebp = word(0x60)?.into();
    context.eip = program_counter.into();
    context.seg_cs = CODE.into();
    context.eflags = word(0x70)?.into();
    context.esp = stack_pointer.into();
    context.seg_ss = STACK.into();
    Some((
        context.as_bytes().to_vec(),
        program_counter.into(),
        stack_pointer.into(),
    ))
}
