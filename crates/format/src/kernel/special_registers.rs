//! `KSPECIAL_REGISTERS`: the registers of a processor that a `CONTEXT` lacks. The kernel keeps them in `KPRCB`, beside
//! the context of a processor that it stopped.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::record::record;

record! {
    /// `KDESCRIPTOR` of x64, 16 bytes: what `lgdt` and `lidt` load.
    pub struct Descriptor64[16] {
        /// Alignment.
        pub pad: [U16; 3],
        /// The last offset in the table.
        pub limit: U16,
        /// Where it starts.
        pub base: U64,
    }

    /// `KDESCRIPTOR` of x86, 8 bytes.
    pub struct Descriptor32[8] {
        /// Alignment.
        pub pad: U16,
        /// The last offset in the table.
        pub limit: U16,
        /// Where it starts.
        pub base: U32,
    }

    /// `KSPECIAL_REGISTERS` of x64, 0xF0 bytes. Up to `MxCsr` measured on Windows 10; what follows as public lists of the
    /// structure have it.
    pub struct SpecialRegistersAmd64[0xF0] {
        /// CR0.
        pub cr0: U64,
        /// CR2: the last faulting address.
        pub cr2: U64,
        /// CR3: the root of the page tables.
        pub cr3: U64,
        /// CR4.
        pub cr4: U64,
        /// Debug registers of the kernel: DR0 to DR3, DR6, DR7.
        pub kernel_dr: [U64; 6],
        /// Global descriptor table.
        pub gdtr: Descriptor64,
        /// Interrupt descriptor table.
        pub idtr: Descriptor64,
        /// Selector of the task state.
        pub tr: U16,
        /// Selector of the local descriptor table.
        pub ldtr: U16,
        /// SSE control and status.
        pub mx_csr: U32,
        /// The debug control register of the processor model.
        pub debug_control: U64,
        /// Where the last branch went.
        pub last_branch_to_rip: U64,
        /// Where it came from.
        pub last_branch_from_rip: U64,
        /// Where the last exception went.
        pub last_exception_to_rip: U64,
        /// Where it came from.
        pub last_exception_from_rip: U64,
        /// CR8: the interrupt level.
        pub cr8: U64,
        /// Base of GS.
        pub msr_gs_base: U64,
        /// Base of GS of the other mode.
        pub msr_gs_swap: U64,
        /// `STAR`.
        pub msr_star: U64,
        /// `LSTAR`: where system calls enter the kernel.
        pub msr_lstar: U64,
        /// `CSTAR`.
        pub msr_cstar: U64,
        /// `SFMASK`.
        pub msr_syscall_mask: U64,
        /// XCR0: the extended state that is enabled.
        pub xcr0: U64,
        /// Base of FS; on older systems not there.
        pub msr_fs_base: U64,
        /// Reserved.
        pub reserved: U64,
    }

    /// `KSPECIAL_REGISTERS` of x86, 0x54 bytes.
    pub struct SpecialRegistersX86[0x54] {
        /// CR0.
        pub cr0: U32,
        /// CR2: the last faulting address.
        pub cr2: U32,
        /// CR3: the root of the page tables.
        pub cr3: U32,
        /// CR4.
        pub cr4: U32,
        /// Debug registers of the kernel: DR0 to DR3, DR6, DR7.
        pub kernel_dr: [U32; 6],
        /// Global descriptor table.
        pub gdtr: Descriptor32,
        /// Interrupt descriptor table.
        pub idtr: Descriptor32,
        /// Selector of the task state.
        pub tr: U16,
        /// Selector of the local descriptor table.
        pub ldtr: U16,
        /// Reserved.
        pub reserved: [U32; 6],
    }

    /// `KSPECIAL_REGISTERS` of ARM64 and the start of the `KARM64_ARCH_STATE` behind it, 0xE8 bytes. The two roots are
    /// measured on Windows 11, the others lie around them as public lists of the structure have it.
    pub struct SpecialRegistersArm64[0xE8] {
        /// `ELR_EL1`.
        pub elr_el1: U64,
        /// `SPSR_EL1`.
        pub spsr_el1: U64,
        /// `TPIDR_EL0`.
        pub tpidr_el0: U64,
        /// `TPIDRRO_EL0`.
        pub tpidrro_el0: U64,
        /// `TPIDR_EL1`: the `KPCR`.
        pub tpidr_el1: U64,
        /// Breakpoint addresses of the kernel.
        pub kernel_bvr: [U64; 8],
        /// Breakpoint controls of the kernel.
        pub kernel_bcr: [U32; 8],
        /// Watchpoint addresses of the kernel.
        pub kernel_wvr: [U64; 2],
        /// Watchpoint controls of the kernel.
        pub kernel_wcr: [U32; 2],
        /// `MIDR_EL1`.
        pub midr_el1: U64,
        /// `SCTLR_EL1`.
        pub sctlr_el1: U64,
        /// `ACTLR_EL1`.
        pub actlr_el1: U64,
        /// `CPACR_EL1`.
        pub cpacr_el1: U64,
        /// `TCR_EL1`.
        pub tcr_el1: U64,
        /// `TTBR0_EL1`, ASID included.
        pub ttbr0_el1: U64,
        /// `TTBR1_EL1`, ASID included.
        pub ttbr1_el1: U64,
        /// `ESR_EL1`.
        pub esr_el1: U64,
        /// `FAR_EL1`: the last faulting address.
        pub far_el1: U64,
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(SpecialRegistersAmd64, kernel_dr) == 0x20);
    assert!(offset_of!(SpecialRegistersAmd64, gdtr) + offset_of!(Descriptor64, limit) == 0x56);
    assert!(offset_of!(SpecialRegistersAmd64, idtr) + offset_of!(Descriptor64, base) == 0x68);
    assert!(offset_of!(SpecialRegistersAmd64, tr) == 0x70);
    assert!(offset_of!(SpecialRegistersAmd64, debug_control) == 0x78);
    assert!(offset_of!(SpecialRegistersAmd64, cr8) == 0xA0);
    assert!(offset_of!(SpecialRegistersAmd64, msr_gs_base) == 0xA8);
    assert!(offset_of!(SpecialRegistersAmd64, xcr0) == 0xD8);
    assert!(offset_of!(SpecialRegistersX86, idtr) == 0x30);
    assert!(offset_of!(SpecialRegistersX86, tr) == 0x38);
    assert!(offset_of!(SpecialRegistersArm64, ttbr0_el1) == 0xC8);
    assert!(offset_of!(SpecialRegistersArm64, ttbr1_el1) == 0xD0);
};
