//! `SystemInfoStream` (7): processor and operating system.

use core::fmt;

use zerocopy::byteorder::little_endian::{U16, U32};

use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Record, record};

record! {
    /// `MINIDUMP_SYSTEM_INFO` (`minidumpapiset.h`), 56 bytes. Wine appends a block of its own.
    pub struct SystemInfo[56] {
        /// The processor for which the *process* runs: a [`ProcessorArchitecture`].
        pub processor_architecture: U16,
        /// x86: CPU family.
        pub processor_level: U16,
        /// x86: model and stepping.
        pub processor_revision: U16,
        /// How many processors the system has.
        pub number_of_processors: u8,
        /// 1 workstation, 2 domain controller, 3 server.
        pub product_type: u8,
        /// Version of the system: major.
        pub major_version: U32,
        /// Version of the system: minor.
        pub minor_version: U32,
        /// Version of the system: build.
        pub build_number: U32,
        /// A [`PlatformId`].
        pub platform_id: U32,
        /// The service pack or, elsewhere, the system's name and version: a `MINIDUMP_STRING`.
        pub csd_version_rva: U32,
        /// Suites of Windows.
        pub suite_mask: U16,
        /// Reserved.
        pub reserved2: U16,
        /// `CPU_INFORMATION`: x86 (and most AMD64 dumps of other systems): vendor id (12 characters), version, features,
        /// AMD features, 4 bytes each; else two 64-bit words of processor features.
        pub cpu: [u8; 24],
    }
}

impl<'a> StreamContent<'a> for SystemInfo {
    const TYPE: StreamType = StreamType::SYSTEM_INFO;

    fn read(stream: &Stream<'a>, _: &mut Findings) -> Result<Self, Error> {
        stream.head()
    }
}

impl WriteStream for SystemInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::SYSTEM_INFO
    }

    /// The string of `csd_version_rva` must have its place: readers follow it without asking.
    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        layout.align(4);
        let offset = layout.push_record(self);
        layout.location(offset, Self::SIZE as u64, "SystemInfo")
    }
}

impl SystemInfo {
    /// The processor for which the process runs.
    #[must_use]
    pub fn architecture(&self) -> ProcessorArchitecture {
        ProcessorArchitecture(self.processor_architecture.get())
    }

    /// The operating system.
    #[must_use]
    pub fn platform(&self) -> PlatformId {
        PlatformId(self.platform_id.get())
    }
}

/// `PROCESSOR_ARCHITECTURE_*` (`winnt.h`), and Breakpad's numbers from 0x8001 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessorArchitecture(pub u16);

/// Lists each architecture once: constant, number, name.
macro_rules! architectures {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal;)*) => {
        impl ProcessorArchitecture {
            $($(#[$doc])* pub const $constant: Self = Self($number);)*

            /// A short name; `None` for a number that is not known.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

architectures! {
    /// x86.
    X86 = 0, "x86";
    /// MIPS.
    MIPS = 1, "mips";
    /// Alpha.
    ALPHA = 2, "alpha";
    /// PowerPC.
    PPC = 3, "ppc";
    /// SuperH.
    SHX = 4, "shx";
    /// ARM.
    ARM = 5, "arm";
    /// Itanium.
    IA64 = 6, "ia64";
    /// Alpha with 64-bit addresses.
    ALPHA64 = 7, "alpha64";
    /// Managed code.
    MSIL = 8, "msil";
    /// x86-64.
    AMD64 = 9, "amd64";
    /// x86 on 64-bit Windows.
    IA32_ON_WIN64 = 10, "x86";
    /// None in particular.
    NEUTRAL = 11, "neutral";
    /// ARM64.
    ARM64 = 12, "arm64";
    /// ARM on 64-bit Windows.
    ARM32_ON_WIN64 = 13, "arm";
    /// x86 on ARM64.
    IA32_ON_ARM64 = 14, "x86";
    /// SPARC (Breakpad).
    SPARC = 0x8001, "sparc";
    /// PowerPC, 64 bits (Breakpad).
    PPC64 = 0x8002, "ppc64";
    /// ARM64 with Breakpad's first context layout.
    ARM64_OLD = 0x8003, "arm64";
    /// MIPS, 64 bits (Breakpad).
    MIPS64 = 0x8004, "mips64";
    /// RISC-V, 32 bits (Breakpad).
    RISCV = 0x8005, "riscv";
    /// RISC-V, 64 bits (Breakpad).
    RISCV64 = 0x8006, "riscv64";
    /// Unknown to the writer.
    UNKNOWN = 0xFFFF, "unknown";
}

impl ProcessorArchitecture {
    /// The size of a pointer in bytes.
    #[must_use]
    pub const fn pointer_size(self) -> usize {
        match self {
            Self::AMD64
            | Self::ARM64
            | Self::ARM64_OLD
            | Self::IA64
            | Self::ALPHA64
            | Self::PPC64
            | Self::MIPS64
            | Self::RISCV64 => 8,
            _ => 4,
        }
    }
}

impl fmt::Display for ProcessorArchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "architecture {:#x}", self.0),
        }
    }
}

/// `VER_PLATFORM_*` (`winnt.h`), and Breakpad's numbers from 0x8000 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlatformId(pub u32);

impl PlatformId {
    /// All Windows systems of today.
    pub const WIN32_NT: Self = Self(2);
    /// macOS.
    pub const MACOS: Self = Self(0x8101);
    /// iOS.
    pub const IOS: Self = Self(0x8102);
    /// Linux.
    pub const LINUX: Self = Self(0x8201);
    /// Android.
    pub const ANDROID: Self = Self(0x8203);

    /// A short name; `None` for a number that is not known.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "win32s",
            1 => "windows-9x",
            2 => "windows",
            3 => "windows-ce",
            0x8000 => "unix",
            0x8101 => "macos",
            0x8102 => "ios",
            0x8201 => "linux",
            0x8202 => "solaris",
            0x8203 => "android",
            0x8204 => "ps3",
            0x8205 => "nacl",
            // LLVM's table calls this number OpenHarmony; Breakpad and Crashpad, who write it, mean Fuchsia.
            0x8206 => "fuchsia",
            _ => return None,
        })
    }

    /// Whether it is a kind of Windows.
    #[must_use]
    pub const fn is_windows(self) -> bool {
        self.0 <= 3
    }

    /// Whether it is Linux or Android.
    #[must_use]
    pub const fn is_linux(self) -> bool {
        matches!(self, Self::LINUX | Self::ANDROID)
    }
}

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "platform {:#x}", self.0),
        }
    }
}
