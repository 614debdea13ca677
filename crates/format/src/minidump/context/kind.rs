//! Telling which layout the bytes of a context have, and picking single numbers out of them.

use alloc::vec::Vec;

use super::{ContextFlags, ContextKind};
use crate::minidump::system_info::ProcessorArchitecture;
use crate::record::Endian;

impl ContextKind {
    /// The layout of a context in a dump of this architecture; `None` where it is not one that this crate knows, or
    /// where there are fewer bytes than it needs.
    ///
    /// The architecture decides, as the CPU's bit in the flags may be missing or mean something else. Size and flags
    /// tell apart only what shares an architecture: the contexts of Windows and Breakpad for ARM, and Breakpad's old
    /// and new one for ARM64. Where the architecture is [`ProcessorArchitecture::UNKNOWN`], they are all there is.
    #[must_use]
    pub fn of(context: &[u8], architecture: ProcessorArchitecture, endian: Endian) -> Option<Self> {
        let kind = match architecture {
            ProcessorArchitecture::ARM | ProcessorArchitecture::ARM32_ON_WIN64 => {
                either(context, endian, Self::Arm, Self::ArmBreakpad, true)
            }
            ProcessorArchitecture::ARM64 | ProcessorArchitecture::ARM64_OLD => either(
                context,
                endian,
                Self::Arm64,
                Self::Arm64Old,
                architecture == ProcessorArchitecture::ARM64,
            ),
            ProcessorArchitecture::UNKNOWN => Self::guess(context, endian)?,
            _ => Self::of_architecture(architecture)?,
        };
        (context.len() >= kind.base_size()).then_some(kind)
    }

    /// The layout that an architecture has when it has the one of Windows, if any.
    #[must_use]
    pub const fn of_architecture(architecture: ProcessorArchitecture) -> Option<Self> {
        Some(match architecture {
            ProcessorArchitecture::X86
            | ProcessorArchitecture::IA32_ON_WIN64
            | ProcessorArchitecture::IA32_ON_ARM64 => Self::X86,
            ProcessorArchitecture::AMD64 => Self::Amd64,
            ProcessorArchitecture::ARM | ProcessorArchitecture::ARM32_ON_WIN64 => Self::Arm,
            ProcessorArchitecture::ARM64 => Self::Arm64,
            ProcessorArchitecture::ARM64_OLD => Self::Arm64Old,
            ProcessorArchitecture::MIPS | ProcessorArchitecture::MIPS64 => Self::Mips,
            ProcessorArchitecture::PPC => Self::Ppc,
            ProcessorArchitecture::PPC64 => Self::Ppc64,
            ProcessorArchitecture::SPARC => Self::Sparc,
            ProcessorArchitecture::RISCV => Self::RiscV,
            ProcessorArchitecture::RISCV64 => Self::RiscV64,
            _ => return None,
        })
    }

    /// The layout whose size it is; else, as extended contexts have any size, x86 or AMD64 by the flags.
    fn guess(context: &[u8], endian: Endian) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.base_size() == context.len())
            .or_else(|| {
                [Self::Amd64, Self::X86]
                    .into_iter()
                    .find(|kind| kind.base_size() <= context.len() && kind.has_id(context, endian))
            })
    }

    /// Whether the flags have the CPU's bit.
    fn has_id(self, context: &[u8], endian: Endian) -> bool {
        self.flags_of(context, endian)
            .is_some_and(|flags| self.ids().iter().any(|id| flags.contains(*id)))
    }

    /// The bits by which flags name the CPU; a record has one of them.
    const fn ids(self) -> &'static [ContextFlags] {
        match self {
            Self::X86 => &[ContextFlags::X86],
            Self::Amd64 => &[ContextFlags::AMD64],
            Self::Arm => &[ContextFlags::ARM],
            Self::ArmBreakpad => &[ContextFlags::ARM_BREAKPAD, ContextFlags::ARM_BREAKPAD_BEFORE_2012],
            Self::Arm64 => &[ContextFlags::ARM64],
            Self::Arm64Old => &[ContextFlags::ARM64_OLD],
            Self::Mips => &[ContextFlags::MIPS, ContextFlags::MIPS64],
            Self::Ppc => &[ContextFlags::PPC],
            Self::Ppc64 => &[ContextFlags::PPC64],
            Self::Sparc => &[ContextFlags::SPARC],
            Self::RiscV => &[ContextFlags::RISCV],
            Self::RiscV64 => &[ContextFlags::RISCV64],
        }
    }

    /// Whether Windows defines the layout.
    #[must_use]
    pub const fn is_windows(self) -> bool {
        matches!(self, Self::X86 | Self::Amd64 | Self::Arm | Self::Arm64)
    }

    /// The bit in the flags which says that extended state follows the context; 0 where there is no such state.
    #[must_use]
    pub const fn xstate_bit(self) -> u32 {
        match self {
            Self::X86 | Self::Amd64 => 0x40,
            Self::Arm64 => 0x20,
            _ => 0,
        }
    }

    /// The flags of a context of this kind; `None` where the bytes end before them.
    #[must_use]
    pub fn flags_of(self, context: &[u8], endian: Endian) -> Option<ContextFlags> {
        let flags = self.fields().flags.get(context, endian)?;
        u32::try_from(flags & 0xFFFF_FFFF).ok().map(ContextFlags)
    }

    /// Puts the flags of a context of this kind. Does nothing where the bytes end before them.
    pub fn set_flags_of(self, context: &mut [u8], endian: Endian, flags: ContextFlags) {
        self.fields().flags.set_low(context, endian, flags.0);
    }
}

/// Windows' layout or Breakpad's own for the same CPU: what the flags say, else what fits, else Windows' if
/// `prefer_windows`.
fn either(
    context: &[u8],
    endian: Endian,
    windows: ContextKind,
    breakpad: ContextKind,
    prefer_windows: bool,
) -> ContextKind {
    // Windows sets Breakpad's bits for reasons of its own, but Breakpad never sets those of Windows' CPUs.
    let is_windows = match (windows.has_id(context, endian), breakpad.has_id(context, endian)) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => context.len() >= windows.base_size(),
        (false, false) => context.len() >= windows.base_size() && prefer_windows,
    };
    if is_windows { windows } else { breakpad }
}

/// The size in bytes of the context that Windows has for an architecture, or Breakpad where Windows has none; `None`
/// for an architecture whose contexts this crate does not know. Extended contexts are larger.
#[must_use]
pub const fn base_size(architecture: ProcessorArchitecture) -> Option<usize> {
    match ContextKind::of_architecture(architecture) {
        Some(kind) => Some(kind.base_size()),
        None => None,
    }
}

/// The instruction pointer in a context, read alone; `None` where [`ContextKind::of`] does not know the context.
#[must_use]
pub fn instruction_pointer_of(context: &[u8], architecture: ProcessorArchitecture, endian: Endian) -> Option<u64> {
    let kind = ContextKind::of(context, architecture, endian)?;
    kind.fields().ip.get(context, endian)
}

/// The stack pointer in a context, read alone; `None` where [`ContextKind::of`] does not know the context.
#[must_use]
pub fn stack_pointer_of(context: &[u8], architecture: ProcessorArchitecture, endian: Endian) -> Option<u64> {
    let kind = ContextKind::of(context, architecture, endian)?;
    kind.fields().sp.get(context, endian)
}

/// The context without extended state: cut to its base size, and without the flag which says that more follows. That
/// flag is removed from a context of just the base size, too: Windows leaves it there. A context that
/// [`ContextKind::of`] does not know is not changed.
#[must_use]
pub fn truncate_to_base(context: &[u8], architecture: ProcessorArchitecture, endian: Endian) -> Vec<u8> {
    let Some(kind) = ContextKind::of(context, architecture, endian) else {
        return context.to_vec();
    };
    let mut base = context[..kind.base_size()].to_vec();
    if let Some(flags) = kind.flags_of(&base, endian) {
        kind.set_flags_of(&mut base, endian, flags.without_xstate(kind));
    }
    base
}
