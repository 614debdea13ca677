//! `DUMP_UNLOADED_DRIVERS32` and `DUMP_UNLOADED_DRIVERS64`: drivers that were unloaded, newest first.
//!
//! A count (`u32`, or `u64` in 64-bit dumps) and the entries right behind it.

use alloc::vec::Vec;

use zerocopy::IntoBytes as _;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::sign_extended::low_half;
use crate::addr::{VirtAddr, VirtRange};
use crate::record::{Record, record};

/// How many entries dumps of the kernel, and all 32-bit dumps, have room for: as many as the kernel remembers.
pub const UNLOADED_SLOTS: usize = 50;

/// How many characters of a name are kept.
pub const UNLOADED_NAME_LENGTH: usize = 12;

record! {
    /// `UNICODE_STRING32` (`ntdef.h`), 8 bytes.
    pub struct UnicodeString32[8] {
        /// Bytes in use.
        pub length: U16,
        /// Bytes there.
        pub maximum_length: U16,
        /// Where they are in memory.
        pub buffer: U32,
    }

    /// `UNICODE_STRING64` (`ntdef.h`), 16 bytes.
    pub struct UnicodeString64[16] {
        /// Bytes in use.
        pub length: U16,
        /// Bytes there.
        pub maximum_length: U16,
        /// Alignment.
        pub unused_alignment: U32,
        /// Where they are in memory.
        pub buffer: U64,
    }

    /// An entry of `DUMP_UNLOADED_DRIVERS32`, 0x28 bytes.
    pub struct UnloadedDriver32[0x28] {
        /// Its length counts; the address is zero or stale.
        pub name: UnicodeString32,
        /// The first characters of the name; zero behind its end.
        pub driver_name: [U16; UNLOADED_NAME_LENGTH],
        /// Where it lay.
        pub start_address: U32,
        /// The end of that.
        pub end_address: U32,
    }

    /// An entry of `DUMP_UNLOADED_DRIVERS64`, 0x38 bytes.
    pub struct UnloadedDriver64[0x38] {
        /// Its length counts; the address is zero or stale.
        pub name: UnicodeString64,
        /// The first characters of the name; zero behind its end.
        pub driver_name: [U16; UNLOADED_NAME_LENGTH],
        /// Where it lay.
        pub start_address: U64,
        /// The end of that.
        pub end_address: U64,
    }
}

/// An entry of either width, as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnloadedDriver {
    /// Of a 32-bit dump.
    Dump32(UnloadedDriver32),
    /// Of a 64-bit dump.
    Dump64(UnloadedDriver64),
}

impl UnloadedDriver {
    /// The size of an entry in bytes.
    #[must_use]
    pub const fn record_size(is_64: bool) -> usize {
        if is_64 {
            UnloadedDriver64::SIZE
        } else {
            UnloadedDriver32::SIZE
        }
    }

    /// The size of the count before the entries in bytes.
    #[must_use]
    pub const fn count_size(is_64: bool) -> usize {
        if is_64 { 8 } else { 4 }
    }

    /// An entry as dumps have it that were made from bigger ones: no address of the name, and what does not fit of it cut
    /// off.
    #[must_use]
    pub fn new(name: &[u16], range: VirtRange, is_64: bool) -> Self {
        let kept = name.len().min(UNLOADED_NAME_LENGTH);
        let mut driver_name = [U16::ZERO; UNLOADED_NAME_LENGTH];
        let mut length = 0;
        for (slot, character) in driver_name.iter_mut().zip(&name[..kept]) {
            *slot = (*character).into();
            length += 2;
        }
        let length = U16::new(length);
        if is_64 {
            Self::Dump64(UnloadedDriver64 {
                name: UnicodeString64 {
                    length,
                    maximum_length: length,
                    ..UnicodeString64::default()
                },
                driver_name,
                start_address: range.start.0.into(),
                end_address: range.end.0.into(),
            })
        } else {
            Self::Dump32(UnloadedDriver32 {
                name: UnicodeString32 {
                    length,
                    maximum_length: length,
                    ..UnicodeString32::default()
                },
                driver_name,
                start_address: low_half(range.start.0).into(),
                end_address: low_half(range.end.0).into(),
            })
        }
    }

    /// The kept part of its name.
    #[must_use]
    pub fn name(&self) -> Vec<u16> {
        let (length, name) = match self {
            Self::Dump32(entry) => (entry.name.length, &entry.driver_name),
            Self::Dump64(entry) => (entry.name.length, &entry.driver_name),
        };
        name.iter()
            .map(|character| character.get())
            .take(usize::from(length.get()) / 2)
            .collect()
    }

    /// Where it lay.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        match self {
            Self::Dump32(entry) => VirtRange::new(
                VirtAddr(entry.start_address.get().into()),
                VirtAddr(entry.end_address.get().into()),
            ),
            Self::Dump64(entry) => {
                VirtRange::new(VirtAddr(entry.start_address.get()), VirtAddr(entry.end_address.get()))
            }
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Dump32(entry) => entry.as_bytes(),
            Self::Dump64(entry) => entry.as_bytes(),
        }
    }
}
