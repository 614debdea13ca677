//! Notes of ELF cores: of a process, as Linux and debuggers write them, and of a whole machine, as virtual machine
//! monitors do.
//!
//! A note is a [`NoteHeader`], a name and a payload, both padded to 4 bytes. Its type says what it is to those who know
//! its name.
//!
//! Of a machine, QEMU writes for each processor one named `CORE` of type [`NT_PRSTATUS`] and, of x86 machines, one named
//! `QEMU` of type 0; and, where the guest told where it is, one named `VMCOREINFO`: text of a Linux guest, a whole dump
//! header of a Windows guest.
//!
//! Of a process, Linux (`fs/binfmt_elf.c`) writes for each thread an [`NT_PRSTATUS`] and behind it the thread's other
//! registers; behind the first one, of the thread that got the signal, also what there is of the process. They are named
//! `CORE`, and `LINUX` where only Linux has them.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::record::record;

/// The type of a `CORE` note with the general registers of a processor (`elf.h`).
pub const NT_PRSTATUS: u32 = 1;
/// The type of a `CORE` note with a thread's floating-point registers (`elf.h`).
pub const NT_PRFPREG: u32 = 2;
/// The type of a `CORE` note with a [`PrPsInfo64`] or [`PrPsInfo32`] (`elf.h`).
pub const NT_PRPSINFO: u32 = 3;
/// The type of a `CORE` note with the auxiliary vector (`elf.h`).
pub const NT_AUXV: u32 = 6;
/// The type of a `CORE` note with the `siginfo_t` of a signal: `SIGI` (`elf.h`).
pub const NT_SIGINFO: u32 = 0x5349_4749;
/// The type of a `CORE` note with the mapped files: `FILE` (`elf.h`). Words of the program's width: the number of files,
/// the size of a page; for each file its first address, its end and its offset in pages; then the paths, NUL-terminated.
pub const NT_FILE: u32 = 0x4649_4C45;
/// The type of a `LINUX` note with the 512 bytes of FXSAVE of a 32-bit program (`elf.h`).
pub const NT_PRXFPREG: u32 = 0x46E6_2B7F;
/// The type of a `LINUX` note with the segments of thread-local data of a 32-bit program: [`UserDesc`] (`elf.h`).
pub const NT_386_TLS: u32 = 0x200;
/// The type of a `LINUX` note with the extended state of an x86 processor (`elf.h`).
pub const NT_X86_XSTATE: u32 = 0x202;
/// The type of a `LINUX` note with `TPIDR_EL0`, and `TPIDR2_EL0` behind it, of an ARM64 processor (`elf.h`).
pub const NT_ARM_TLS: u32 = 0x401;

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

    /// What stands in front of the registers in the `elf_prstatus` of a 64-bit Linux (`linux/elfcore.h`), 112 bytes.
    pub struct PrStatusHead64[112] {
        /// `si_signo`, `si_code` and `si_errno` of the signal.
        pub signal: [U32; 3],
        /// The signal with which the process ended; 0 of none.
        pub current_signal: U16,
        /// Alignment.
        pub pad: U16,
        /// Signals that wait, and those that are blocked.
        pub signals: [U64; 2],
        /// The thread.
        pub thread_id: U32,
        /// The parent of the process.
        pub parent_id: U32,
        /// The group of the process.
        pub group_id: U32,
        /// The session of the process.
        pub session_id: U32,
        /// Time in user mode, in seconds and microseconds. Of the main thread it is that of all threads, those that have
        /// ended included.
        pub user_time: [U64; 2],
        /// Time in the kernel, in the same way.
        pub system_time: [U64; 2],
        /// Both of the children that have ended.
        pub children: [U64; 4],
    }

    /// What stands in front of the registers in the `elf_prstatus` of a 32-bit Linux (`linux/elfcore.h`), 72 bytes.
    pub struct PrStatusHead32[72] {
        /// `si_signo`, `si_code` and `si_errno` of the signal.
        pub signal: [U32; 3],
        /// The signal with which the process ended; 0 of none.
        pub current_signal: U16,
        /// Alignment.
        pub pad: U16,
        /// Signals that wait, and those that are blocked.
        pub signals: [U32; 2],
        /// The thread.
        pub thread_id: U32,
        /// The parent of the process.
        pub parent_id: U32,
        /// The group of the process.
        pub group_id: U32,
        /// The session of the process.
        pub session_id: U32,
        /// Time in user mode, in seconds and microseconds. See [`PrStatusHead64::user_time`].
        pub user_time: [U32; 2],
        /// Time in the kernel, in the same way.
        pub system_time: [U32; 2],
        /// Both of the children that have ended.
        pub children: [U32; 4],
    }

    /// `elf_prpsinfo` of a 64-bit Linux (`linux/elfcore.h`), 136 bytes.
    pub struct PrPsInfo64[136] {
        /// The number of the state.
        pub state: u8,
        /// Its letter: `R`, `S`, `D`, `T`, `Z`, `W`.
        pub state_letter: u8,
        /// Whether it is a zombie.
        pub is_zombie: u8,
        /// The nice value: a signed byte.
        pub nice: u8,
        /// Alignment.
        pub pad: U32,
        /// `PF_*` of the kernel.
        pub flags: U64,
        /// The user.
        pub user_id: U32,
        /// The user's group.
        pub user_group_id: U32,
        /// The process.
        pub process_id: U32,
        /// Its parent.
        pub parent_id: U32,
        /// Its group.
        pub group_id: U32,
        /// Its session.
        pub session_id: U32,
        /// The name of the main thread (`comm`), NUL-terminated.
        pub file_name: [u8; 16],
        /// The first 79 bytes of the command line, spaces between the arguments and behind the last one.
        pub arguments: [u8; 80],
    }

    /// `elf_prpsinfo` of a 32-bit x86 Linux (`linux/elfcore-compat.h`), 124 bytes.
    pub struct PrPsInfo32[124] {
        /// The number of the state.
        pub state: u8,
        /// Its letter: `R`, `S`, `D`, `T`, `Z`, `W`.
        pub state_letter: u8,
        /// Whether it is a zombie.
        pub is_zombie: u8,
        /// The nice value: a signed byte.
        pub nice: u8,
        /// `PF_*` of the kernel.
        pub flags: U32,
        /// The user, its low half.
        pub user_id: U16,
        /// The user's group, its low half.
        pub user_group_id: U16,
        /// The process.
        pub process_id: U32,
        /// Its parent.
        pub parent_id: U32,
        /// Its group.
        pub group_id: U32,
        /// Its session.
        pub session_id: U32,
        /// The name of the main thread (`comm`), NUL-terminated.
        pub file_name: [u8; 16],
        /// The first 79 bytes of the command line, spaces between the arguments and behind the last one.
        pub arguments: [u8; 80],
    }

    /// `struct user_desc` (`asm/ldt.h`), 16 bytes: a segment of a 32-bit x86 program.
    pub struct UserDesc[16] {
        /// Its place in the descriptor table: a selector without its low 3 bits, divided by 8.
        pub entry_number: U32,
        /// Its first address.
        pub base_address: U32,
        /// Its size less one, in the unit that the flags say.
        pub limit: U32,
        /// The rest of the descriptor.
        pub flags: U32,
    }
}
