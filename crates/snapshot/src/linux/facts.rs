//! What was read of a Linux process, before it is put in the terms of minidumps.

use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::system_info::ProcessorArchitecture;

use crate::ranges::RangeSet;

/// The processor whose registers the threads have. A 32-bit program on an x86-64 kernel is [`Self::X86`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinuxArchitecture {
    /// 32-bit x86 (`EM_386`).
    X86,
    /// x86-64 (`EM_X86_64`).
    Amd64,
    /// ARM64 (`EM_AARCH64`).
    Arm64,
}

impl LinuxArchitecture {
    /// The size of a pointer in bytes.
    #[must_use]
    pub const fn word_size(self) -> usize {
        match self {
            Self::X86 => 4,
            Self::Amd64 | Self::Arm64 => 8,
        }
    }

    /// The same in a minidump.
    #[must_use]
    pub const fn to_minidump(self) -> ProcessorArchitecture {
        match self {
            Self::X86 => ProcessorArchitecture::X86,
            Self::Amd64 => ProcessorArchitecture::AMD64,
            Self::Arm64 => ProcessorArchitecture::ARM64,
        }
    }
}

/// What was read of a process.
#[derive(Clone, Debug)]
pub struct LinuxFacts {
    /// The processor.
    pub architecture: LinuxArchitecture,
    /// Its id (`getpid()`).
    pub process_id: u32,
    /// When it was captured: FILETIME, 100 ns ticks since 1601 UTC; 0 where unknown.
    pub time: u64,
    /// The threads, the main one first where it still runs.
    pub threads: Vec<LinuxThread>,
    /// The map of the address space, ascending.
    pub mappings: Vec<LinuxMapping>,
    /// The auxiliary vector as it lies in `/proc/PID/auxv`; empty where unknown.
    pub auxv: Vec<u8>,
    /// Texts of `/proc` and `/etc` to carry as they are, by the stream that holds them: `LINUX_MAPS`, `LINUX_CPU_INFO`,
    /// `LINUX_PROC_STATUS`, `LINUX_LSB_RELEASE`, `LINUX_CMD_LINE`, `LINUX_ENVIRON`, `MOZ_LINUX_LIMITS`, ….
    pub texts: Vec<(StreamType, Vec<u8>)>,
    /// Open file descriptors; `None` where they were not asked for or cannot be known.
    pub handles: Option<Vec<LinuxHandle>>,
    /// The system that it runs on.
    pub system: LinuxSystem,
    /// When the system was started, in seconds since 1970 (`btime` of `/proc/stat`); `None` where unknown.
    pub boot_time: Option<u64>,
    /// Ticks a second of the times in [`ThreadStat`] (`AT_CLKTCK`, nearly always 100).
    pub ticks_per_second: u64,
    /// The signal that ended or stopped it; `None` where none did.
    pub signal: Option<LinuxSignal>,
    /// Parts of readable mappings that have no memory behind them, so that the process itself cannot read them: guard
    /// regions (`MADV_GUARD_INSTALL`), pages behind the end of a mapped file.
    pub empty: RangeSet,
    /// Memory that the process can read and a debugger cannot: that of devices, for one.
    pub unreadable: RangeSet,
    /// What was made up or told by other things than a record that says so, as sentences for a report.
    pub guesses: Vec<String>,
}

/// A thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxThread {
    /// Its id (`gettid()`).
    pub id: u32,
    /// Its name (`comm`), without the newline.
    pub name: Option<Vec<u8>>,
    /// The general registers, as the kernel's `NT_PRSTATUS` register set has them (`struct user_regs_struct`: 27 words of
    /// 8 bytes on x86-64, 17 of 4 on x86, 34 of 8 on ARM64); empty where they cannot be read.
    pub general: Vec<u8>,
    /// The floating-point registers, as `NT_PRFPREG` has them (x86-64: 512 bytes of FXSAVE; x86: `user_i387_struct` of
    /// 108 bytes; ARM64: `user_fpsimd_state` of 528).
    pub floating_point: Option<Vec<u8>>,
    /// x86: the 512 bytes of FXSAVE (`NT_PRXFPREG`).
    pub fxsave: Option<Vec<u8>>,
    /// x86 and x86-64: the extended state in the standard format of XSAVE (`NT_X86_XSTATE`), of which bytes 464 to 471
    /// are XCR0.
    pub xstate: Option<Vec<u8>>,
    /// Where its thread-local data is, where the general registers do not tell: the base of the segment that `gs` selects
    /// on x86, `TPIDR_EL0` on ARM64. (x86-64 has `fs_base` among its registers.)
    pub tls_base: Option<u64>,
    /// What `/proc/PID/task/TID/stat` says.
    pub stat: Option<ThreadStat>,
    /// On which processors it may run, the first 64 of them.
    pub affinity: Option<u64>,
}

/// What the kernel's statistics say of a thread (`/proc/PID/task/TID/stat`, proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadStat {
    /// What it was doing: `R`, `S`, `D`, `T`, `Z`, ….
    pub state: u8,
    /// Time in user mode, in ticks (field 14).
    pub user_time: u64,
    /// Time in the kernel, in ticks (field 15).
    pub system_time: u64,
    /// When it was started, in ticks since the system was (field 22).
    pub start_time: u64,
    /// Its nice value, from 19 (low) to -20 (high) (field 19).
    pub nice: i32,
}

/// An open file descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxHandle {
    /// Its number.
    pub descriptor: u32,
    /// What the link in `/proc/PID/fd` says: a path, `socket:[…]`, `pipe:[…]`, `anon_inode:[eventfd]`, ….
    pub target: Vec<u8>,
    /// The kind of file: the format bits of `st_mode` (`S_IFMT`), 0 where unknown.
    pub file_type: u32,
    /// `O_*` flags of `/proc/PID/fdinfo`; `None` where unknown.
    pub flags: Option<u32>,
}

/// The system that a process runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxSystem {
    /// `uname`: system, release, version and machine; empty where unknown.
    pub name: String,
    /// The processors that are online; 0 where unknown.
    pub processors: u32,
}

/// The signal that ended a process, or for which it was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxSignal {
    /// The thread that got it.
    pub thread_id: u32,
    /// Its `siginfo_t` (128 bytes).
    pub siginfo: Vec<u8>,
}
