//! The processors that kernel dumps are made of.

use core::fmt;

/// `IMAGE_FILE_MACHINE_*` of `winnt.h`, as a dump header and PE images name a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MachineType(pub u16);

impl MachineType {
    /// x86.
    pub const I386: Self = Self(0x014C);
    /// x64.
    pub const AMD64: Self = Self(0x8664);
    /// ARM64.
    pub const ARM64: Self = Self(0xAA64);
    /// Itanium.
    pub const IA64: Self = Self(0x0200);
    /// EFI byte code.
    pub const EBC: Self = Self(0x0EBC);
}

/// A processor whose kernel dumps are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// x86, with or without PAE.
    X86,
    /// x64.
    Amd64,
    /// ARM64.
    Arm64,
}

impl Machine {
    /// The size of a pointer in bytes.
    #[must_use]
    pub const fn pointer_size(self) -> usize {
        match self {
            Self::X86 => 4,
            Self::Amd64 | Self::Arm64 => 8,
        }
    }

    /// Its number in headers and images.
    #[must_use]
    pub const fn machine_type(self) -> MachineType {
        match self {
            Self::X86 => MachineType::I386,
            Self::Amd64 => MachineType::AMD64,
            Self::Arm64 => MachineType::ARM64,
        }
    }

    /// The size in bytes of the `CONTEXT` that headers and frozen processors hold.
    #[must_use]
    pub const fn context_size(self) -> usize {
        match self {
            Self::X86 => 0x2CC,
            Self::Amd64 => 0x4D0,
            Self::Arm64 => 0x390,
        }
    }

    /// The processor of a number in a header; `None` for those whose dumps are not understood.
    #[must_use]
    pub const fn of(machine_type: MachineType) -> Option<Self> {
        match machine_type {
            MachineType::I386 => Some(Self::X86),
            MachineType::AMD64 => Some(Self::Amd64),
            MachineType::ARM64 => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Its name as `inspect` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
