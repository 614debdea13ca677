//! Where a number lies in a context, so that one number can be had without reading the record around it.

use core::mem::size_of;

use crate::record::Endian;

/// A 32- or 64-bit number inside a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Where it starts, in bytes from the start of the context.
    pub(super) offset: usize,
    /// Its size in bytes.
    pub(super) size: usize,
}

/// The numbers that every context has, under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The context flags.
    pub(super) flags: Field,
    /// The instruction pointer.
    pub(super) ip: Field,
    /// The stack pointer.
    pub(super) sp: Field,
    /// The register that the calling convention uses as frame pointer.
    pub(super) fp: Option<Field>,
    /// The register into which calls put the return address.
    pub(super) lr: Option<Field>,
}

impl Field {
    /// The number, or `None` where the bytes end before it.
    pub(super) fn get(self, context: &[u8], endian: Endian) -> Option<u64> {
        let bytes = context.get(self.offset..)?.get(..self.size)?;
        let append = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(match endian {
            Endian::Little => bytes.iter().rev().fold(0, append),
            Endian::Big => bytes.iter().fold(0, append),
        })
    }

    /// Puts the low 32 bits of the number; the rest of a wider one stays. Does nothing where the bytes end before it.
    pub(super) fn set_low(self, context: &mut [u8], endian: Endian, value: u32) {
        let room = context
            .get_mut(self.offset..)
            .and_then(|rest| rest.get_mut(..self.size));
        match (room, endian) {
            (Some(room), Endian::Little) => room[..4].copy_from_slice(&value.to_le_bytes()),
            (Some(room), Endian::Big) => room[self.size - 4..].copy_from_slice(&value.to_be_bytes()),
            (None, _) => {}
        }
    }
}

/// The size of what a function picks out of a record.
pub(super) const fn picked_size<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// The [`Field`] of a record, or of one element of an array in it.
macro_rules! field {
    ($record:ident, $field:ident) => {
        $crate::minidump::context::field::Field {
            offset: core::mem::offset_of!($record, $field),
            size: $crate::minidump::context::field::picked_size(|record: &$record| &record.$field),
        }
    };
    ($record:ident, $field:ident[$index:literal]) => {{
        let size = $crate::minidump::context::field::picked_size(|record: &$record| &record.$field[$index]);
        $crate::minidump::context::field::Field {
            offset: core::mem::offset_of!($record, $field) + $index * size,
            size,
        }
    }};
}
pub(super) use field;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_half_of_a_wide_number() {
        let wide = Field { offset: 1, size: 8 };
        for endian in [Endian::Little, Endian::Big] {
            let mut bytes = [0xFF; 10];
            wide.set_low(&mut bytes, endian, 0x1234_5678);
            assert_eq!(wide.get(&bytes, endian), Some(0xFFFF_FFFF_1234_5678));
            assert_eq!((bytes[0], bytes[9]), (0xFF, 0xFF));
            assert_eq!(wide.get(&bytes[..8], endian), None);
            wide.set_low(&mut bytes[..8], endian, 0);
        }
    }
}
