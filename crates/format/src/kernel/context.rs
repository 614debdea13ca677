//! The `CONTEXT` of a processor: which layout it has, and how far it reaches where extended state follows it.
//!
//! The layouts are those of [minidumps](crate::minidump::context).

use crate::minidump::context::xstate::ContextEx;
use crate::minidump::context::{Context, ContextKind};
use crate::record::{Endian, Record};

use super::machine::Machine;

/// No extended context of a known processor is as large: AMX tiles, the largest component, have 8 KiB.
pub const LARGEST_EXTENDED: usize = 0x4000;

impl Machine {
    /// The layout of its contexts.
    #[must_use]
    pub const fn context_kind(self) -> ContextKind {
        match self {
            Self::X86 => ContextKind::X86,
            Self::Amd64 => ContextKind::Amd64,
            Self::Arm64 => ContextKind::Arm64,
        }
    }

    /// Reads a context; `None` where there are fewer bytes than it has.
    #[must_use]
    pub fn context(self, bytes: &[u8]) -> Option<Context> {
        Context::read_as(bytes, self.context_kind(), Endian::Little)
    }
}

/// The size in bytes of the context at the start of `bytes` with the extended state behind it, as the `CONTEXT_EX`
/// behind the plain context says; `None` where there is none. The size may be larger than `bytes`.
///
/// The flags of a context do not matter: Windows sets the bit for extended state in contexts that have none, and leaves
/// it out in some that have.
#[must_use]
pub fn extended_size(bytes: &[u8], machine: Machine) -> Option<usize> {
    let base = machine.context_size();
    let chunks = ContextEx::read_partial(bytes.get(base..)?.get(..0x18)?, Endian::Little);
    let back = i32::try_from(base).ok()?.checked_neg()?;
    let all = usize::try_from(chunks.all.length.get()).ok()?;
    let is_one = chunks.all.offset.get() == back
        && chunks.legacy.offset.get() == back
        && usize::try_from(chunks.legacy.length.get()).is_ok_and(|length| length == base);
    (is_one && (base + 0x18..=LARGEST_EXTENDED).contains(&all)).then_some(all)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// What stood behind two contexts of Windows 10: on an AMD and on an Intel machine.
    #[test]
    fn the_size_is_what_context_ex_says() {
        for (all, xstate) in [(0x640_u32, (0x30_u32, 0x140_u32)), (0x6C0, (0x20, 0x1D0))] {
            let mut bytes = vec![0; 0x700];
            let back = (-0x4D0_i32).to_le_bytes();
            let fields = [
                back,
                all.to_le_bytes(),
                back,
                0x4D0_u32.to_le_bytes(),
                xstate.0.to_le_bytes(),
                xstate.1.to_le_bytes(),
            ];
            bytes[0x4D0..0x4E8].copy_from_slice(fields.as_flattened());
            assert_eq!(
                extended_size(&bytes, Machine::Amd64),
                Some(usize::try_from(all).unwrap())
            );
            assert_eq!(extended_size(&bytes, Machine::Arm64), None);
            bytes[0x4D4..0x4D8].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(extended_size(&bytes, Machine::Amd64), None, "a size that nothing has");
            assert_eq!(extended_size(&bytes[..0x4E0], Machine::Amd64), None, "cut");
        }
    }
}
