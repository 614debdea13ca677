//! Context flags: the CPU of a context and which of its parts are valid.

use super::ContextKind;

/// The flags in a context: a bit for the CPU, bits for the parts that are valid, and on Windows bits for how the
/// context came about. All constants for parts include the bit of their CPU, as in `winnt.h`.
///
/// The bits of the last kind ([`ContextFlags::STATE`]) are used by Breakpad for CPUs, so flags mean nothing without
/// knowing the CPU from elsewhere; see [`ContextFlags::without_state`].
///
/// ```
/// use dotdump_format::minidump::context::{ContextFlags, ContextKind};
///
/// // Bit 30 is EXCEPTION_REQUEST in an AMD64 context, and the CPU in a context that Breakpad wrote on ARM.
/// let flags = ContextFlags(0x4010_000B);
/// assert_eq!(flags.without_state(ContextKind::Amd64), ContextFlags::AMD64_FULL);
/// assert_eq!(ContextFlags(0x4000_0006).without_state(ContextKind::ArmBreakpad), ContextFlags(0x4000_0006));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ContextFlags(pub u32);

/// Lists constants once: documentation, name, value.
macro_rules! context_flags {
    ($($(#[$doc:meta])* $constant:ident = $value:expr;)*) => {
        impl ContextFlags {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*
        }
    };
}

context_flags! {
    /// x86.
    X86 = 0x0001_0000;
    /// MIPS (Breakpad).
    MIPS = 0x0004_0000;
    /// MIPS, 64 bits (Breakpad). Itanium on Windows.
    MIPS64 = 0x0008_0000;
    /// AMD64.
    AMD64 = 0x0010_0000;
    /// ARM (Windows).
    ARM = 0x0020_0000;
    /// ARM64 (Windows, and Breakpad by now).
    ARM64 = 0x0040_0000;
    /// RISC-V, 32 bits (Breakpad).
    RISCV = 0x0080_0000;
    /// PowerPC, 64 bits (Breakpad).
    PPC64 = 0x0100_0000;
    /// RISC-V, 64 bits (Breakpad).
    RISCV64 = 0x0800_0000;
    /// SPARC (Breakpad).
    SPARC = 0x1000_0000;
    /// PowerPC (Breakpad).
    PPC = 0x2000_0000;
    /// ARM (Breakpad).
    ARM_BREAKPAD = 0x4000_0000;
    /// ARM (Breakpad before 2012).
    ARM_BREAKPAD_BEFORE_2012 = 0x0000_0040;
    /// ARM64 (Breakpad's first layout).
    ARM64_OLD = 0x8000_0000;

    /// A kernel debugger was attached.
    KERNEL_DEBUGGER = 0x0400_0000;
    /// The thread was handling an exception in the kernel.
    EXCEPTION_ACTIVE = 0x0800_0000;
    /// The thread was in a system call.
    SERVICE_ACTIVE = 0x1000_0000;
    /// The context was unwound to a call; its instruction pointer is a return address.
    UNWOUND_TO_CALL = 0x2000_0000;
    /// A request for the two bits for exceptions and system calls.
    EXCEPTION_REQUEST = 0x4000_0000;
    /// The system answered such a request.
    EXCEPTION_REPORTING = 0x8000_0000;
    /// All bits for how a context came about.
    STATE = 0xFC00_0000;

    /// x86: EBP, EIP, CS, EFLAGS, ESP, SS.
    X86_CONTROL = 0x0001_0001;
    /// x86: EAX, EBX, ECX, EDX, ESI, EDI.
    X86_INTEGER = 0x0001_0002;
    /// x86: DS, ES, FS, GS.
    X86_SEGMENTS = 0x0001_0004;
    /// x86: x87 registers.
    X86_FLOATING_POINT = 0x0001_0008;
    /// x86: debug registers.
    X86_DEBUG_REGISTERS = 0x0001_0010;
    /// x86: the image of `FXSAVE`.
    X86_EXTENDED_REGISTERS = 0x0001_0020;
    /// x86: extended state behind the context.
    X86_XSTATE = 0x0001_0040;
    /// x86: control, integer, segments.
    X86_FULL = 0x0001_0007;
    /// x86: everything in the context.
    X86_ALL = 0x0001_003F;

    /// AMD64: RSP, RIP, CS, SS, EFLAGS.
    AMD64_CONTROL = 0x0010_0001;
    /// AMD64: the other general registers.
    AMD64_INTEGER = 0x0010_0002;
    /// AMD64: DS, ES, FS, GS.
    AMD64_SEGMENTS = 0x0010_0004;
    /// AMD64: x87 and SSE registers.
    AMD64_FLOATING_POINT = 0x0010_0008;
    /// AMD64: debug registers.
    AMD64_DEBUG_REGISTERS = 0x0010_0010;
    /// AMD64: extended state behind the context.
    AMD64_XSTATE = 0x0010_0040;
    /// AMD64: shadow stack state of the kernel.
    AMD64_KERNEL_CET = 0x0010_0080;
    /// AMD64: control, integer, floating-point.
    AMD64_FULL = 0x0010_000B;
    /// AMD64: everything in the context.
    AMD64_ALL = 0x0010_001F;

    /// ARM (Windows): SP, LR, PC, CPSR.
    ARM_CONTROL = 0x0020_0001;
    /// ARM (Windows): R0 to R12.
    ARM_INTEGER = 0x0020_0002;
    /// ARM (Windows): floating-point registers.
    ARM_FLOATING_POINT = 0x0020_0004;
    /// ARM (Windows): debug registers.
    ARM_DEBUG_REGISTERS = 0x0020_0008;
    /// ARM (Windows): control, integer, floating-point.
    ARM_FULL = 0x0020_0007;
    /// ARM (Windows): everything.
    ARM_ALL = 0x0020_000F;

    /// ARM (Breakpad): R0 to R15 and CPSR.
    ARM_BREAKPAD_INTEGER = 0x4000_0002;
    /// ARM (Breakpad): floating-point registers.
    ARM_BREAKPAD_FLOATING_POINT = 0x4000_0004;

    /// ARM64: FP, LR, SP, PC, CPSR.
    ARM64_CONTROL = 0x0040_0001;
    /// ARM64: X0 to X28.
    ARM64_INTEGER = 0x0040_0002;
    /// ARM64: floating-point registers.
    ARM64_FLOATING_POINT = 0x0040_0004;
    /// ARM64: debug registers.
    ARM64_DEBUG_REGISTERS = 0x0040_0008;
    /// ARM64: X18, which belongs to the system on Windows.
    ARM64_X18 = 0x0040_0010;
    /// ARM64: extended state behind the context.
    ARM64_XSTATE = 0x0040_0020;
    /// ARM64: control, integer, floating-point.
    ARM64_FULL = 0x0040_0007;
    /// ARM64: everything in the context.
    ARM64_ALL = 0x0040_001F;

    /// ARM64 (Breakpad's first layout): general registers and CPSR.
    ARM64_OLD_INTEGER = 0x8000_0002;
    /// ARM64 (Breakpad's first layout): floating-point registers.
    ARM64_OLD_FLOATING_POINT = 0x8000_0004;

    /// MIPS: general registers.
    MIPS_INTEGER = 0x0004_0002;
    /// MIPS: floating-point registers.
    MIPS_FLOATING_POINT = 0x0004_0004;
    /// MIPS: DSP accumulators.
    MIPS_DSP = 0x0004_0008;
    /// MIPS, 64 bits: general registers.
    MIPS64_INTEGER = 0x0008_0002;
    /// MIPS, 64 bits: floating-point registers.
    MIPS64_FLOATING_POINT = 0x0008_0004;
    /// MIPS, 64 bits: DSP accumulators.
    MIPS64_DSP = 0x0008_0008;

    /// RISC-V, 32 bits: X1 to X31 and PC.
    RISCV_INTEGER = 0x0080_0001;
    /// RISC-V, 32 bits: floating-point registers.
    RISCV_FLOATING_POINT = 0x0080_0002;
    /// RISC-V, 64 bits: X1 to X31 and PC.
    RISCV64_INTEGER = 0x0800_0001;
    /// RISC-V, 64 bits: floating-point registers.
    RISCV64_FLOATING_POINT = 0x0800_0002;
}

impl ContextFlags {
    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags without the bits that tell how a Windows context came about. Where the CPU is one of Breakpad's, those
    /// bits are part of the CPU's number, and stay.
    #[must_use]
    pub const fn without_state(self, kind: ContextKind) -> Self {
        if kind.is_windows() {
            Self(self.0 & !Self::STATE.0)
        } else {
            self
        }
    }

    /// The flags without the bit which says that extended state follows the context.
    #[must_use]
    pub const fn without_xstate(self, kind: ContextKind) -> Self {
        Self(self.0 & !kind.xstate_bit())
    }
}
