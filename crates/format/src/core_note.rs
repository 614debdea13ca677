//! Notes of ELF cores that virtual machine monitors write of a whole machine: the registers of its processors.
//!
//! A note is a [`NoteHeader`], a name and a payload, both padded to 4 bytes. QEMU writes for each processor one named
//! `CORE` of type [`NT_PRSTATUS`] and, of x86 machines, one named `QEMU` of type 0; and, where the guest told where it is,
//! one named `VMCOREINFO`: text of a Linux guest, a whole dump header of a Windows guest.

use zerocopy::byteorder::little_endian::{U32, U64};

use crate::record::record;

/// The type of a `CORE` note with the general registers of a processor (`elf.h`).
pub const NT_PRSTATUS: u32 = 1;

record! {
    /// `Elf32_Nhdr`, `Elf64_Nhdr` (`elf.h`), 12 bytes.
    pub struct NoteHeader[12] {
        /// Size of the name in bytes, its NUL included.
        pub name_size: U32,
        /// Size of the payload in bytes.
        pub payload_size: U32,
        /// What the payload is, to readers who know the name.
        pub note_type: U32,
    }

    /// `QEMUCPUSegment` (`target/i386/arch_dump.c` of QEMU), 24 bytes.
    pub struct QemuSegment[24] {
        /// Selector.
        pub selector: U32,
        /// Limit in bytes, less one.
        pub limit: U32,
        /// The high half of the descriptor.
        pub flags: U32,
        /// Alignment.
        pub pad: U32,
        /// Base address.
        pub base: U64,
    }

    /// `QEMUCPUState` (`target/i386/arch_dump.c` of QEMU), version 1, 440 bytes: a processor of an x86 machine of either
    /// width.
    pub struct QemuCpuState[440] {
        /// 1.
        pub version: U32,
        /// The size of this record in bytes.
        pub size: U32,
        /// General register.
        pub rax: U64,
        /// General register.
        pub rbx: U64,
        /// General register.
        pub rcx: U64,
        /// General register.
        pub rdx: U64,
        /// General register.
        pub rsi: U64,
        /// General register.
        pub rdi: U64,
        /// Stack pointer.
        pub rsp: U64,
        /// General register.
        pub rbp: U64,
        /// R8 to R15.
        pub r8_15: [U64; 8],
        /// Instruction pointer.
        pub rip: U64,
        /// Flags.
        pub rflags: U64,
        /// Code segment.
        pub cs: QemuSegment,
        /// Data segment.
        pub ds: QemuSegment,
        /// Data segment.
        pub es: QemuSegment,
        /// Data segment.
        pub fs: QemuSegment,
        /// Data segment; while Windows' kernel runs on x64, its base is the `KPCR`.
        pub gs: QemuSegment,
        /// Stack segment.
        pub ss: QemuSegment,
        /// Local descriptor table.
        pub ldt: QemuSegment,
        /// Task register.
        pub tr: QemuSegment,
        /// Global descriptor table.
        pub gdt: QemuSegment,
        /// Interrupt descriptor table.
        pub idt: QemuSegment,
        /// CR0 to CR4.
        pub cr: [U64; 5],
        /// What `swapgs` will make the base of GS.
        pub kernel_gs_base: U64,
    }

    /// `elf_prstatus` of x86-64 Linux (`sys/procfs.h`), 336 bytes.
    pub struct PrStatusAmd64[336] {
        /// Signal, process and times: nothing of a machine.
        pub process: [u8; 112],
        /// R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, RAX at entry, RIP, CS, flags, RSP,
        /// SS, bases of FS and GS, DS, ES, FS, GS.
        pub registers: [U64; 27],
        /// Whether floating-point registers follow elsewhere.
        pub floating_point: U32,
        /// Alignment.
        pub pad: U32,
    }

    /// `elf_prstatus` of x86 Linux (`sys/procfs.h`), 144 bytes.
    pub struct PrStatusX86[144] {
        /// Signal, process and times: nothing of a machine.
        pub process: [u8; 72],
        /// EBX, ECX, EDX, ESI, EDI, EBP, EAX, DS, ES, FS, GS, EAX at entry, EIP, CS, flags, ESP, SS.
        pub registers: [U32; 17],
        /// Whether floating-point registers follow elsewhere.
        pub floating_point: U32,
    }

    /// `elf_prstatus` of ARM64 Linux (`sys/procfs.h`), 392 bytes.
    pub struct PrStatusArm64[392] {
        /// Signal, process and times: nothing of a machine.
        pub process: [u8; 112],
        /// X0 to X30.
        pub x: [U64; 31],
        /// Stack pointer.
        pub sp: U64,
        /// Instruction pointer.
        pub pc: U64,
        /// `PSTATE`.
        pub pstate: U64,
        /// Whether floating-point registers follow elsewhere.
        pub floating_point: U32,
        /// Alignment.
        pub pad: U32,
    }
}
