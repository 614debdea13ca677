//! `DUMP_DRIVER_ENTRY32` and `DUMP_DRIVER_ENTRY64`: the loaded modules of the kernel, in load order.
//!
//! An entry is the offset of a name and a `KLDR_DATA_TABLE_ENTRY`. Dumps of the kernel have all of it, dumps that were made
//! from bigger ones the base, size, checksum and time stamp alone.

use alloc::vec::Vec;

use zerocopy::IntoBytes as _;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::sign_extended::low_half;
use super::unloaded_drivers::{UnicodeString32, UnicodeString64};
use crate::addr::VirtAddr;
use crate::record::{Record, record};

record! {
    /// `DUMP_DRIVER_ENTRY32`, 0x4C bytes.
    pub struct DriverEntry32[0x4C] {
        /// File offset of its name in the string pool.
        pub driver_name_offset: U32,
        /// `InLoadOrderLinks`.
        pub in_load_order_links: [U32; 2],
        /// `ExceptionTable`.
        pub exception_table: U32,
        /// `ExceptionTableSize`.
        pub exception_table_size: U32,
        /// `GpValue`.
        pub gp_value: U32,
        /// `NonPagedDebugInfo`.
        pub non_paged_debug_info: U32,
        /// `DllBase`.
        pub dll_base: U32,
        /// `EntryPoint`.
        pub entry_point: U32,
        /// `SizeOfImage` in bytes.
        pub size_of_image: U32,
        /// `FullDllName`, in memory that is not in the dump.
        pub full_dll_name: UnicodeString32,
        /// `BaseDllName`, in memory that is not in the dump.
        pub base_dll_name: UnicodeString32,
        /// `Flags`.
        pub flags: U32,
        /// `LoadCount`.
        pub load_count: U16,
        /// Unused.
        pub unused: U16,
        /// `SectionPointer`.
        pub section_pointer: U32,
        /// `CheckSum`; 0 where it is not known.
        pub check_sum: U32,
        /// `TimeDateStamp`; 0 where it is not known.
        pub time_date_stamp: U32,
    }

    /// `DUMP_DRIVER_ENTRY64`, 0x90 bytes.
    pub struct DriverEntry64[0x90] {
        /// File offset of its name in the string pool.
        pub driver_name_offset: U32,
        /// Alignment.
        pub unused_alignment_0: U32,
        /// `InLoadOrderLinks`.
        pub in_load_order_links: [U64; 2],
        /// `ExceptionTable`.
        pub exception_table: U64,
        /// `ExceptionTableSize`.
        pub exception_table_size: U64,
        /// `GpValue`.
        pub gp_value: U64,
        /// `NonPagedDebugInfo`.
        pub non_paged_debug_info: U64,
        /// `DllBase`.
        pub dll_base: U64,
        /// `EntryPoint`.
        pub entry_point: U64,
        /// `SizeOfImage` in bytes.
        pub size_of_image: U32,
        /// Alignment.
        pub unused_alignment_1: U32,
        /// `FullDllName`, in memory that is not in the dump.
        pub full_dll_name: UnicodeString64,
        /// `BaseDllName`, in memory that is not in the dump.
        pub base_dll_name: UnicodeString64,
        /// `Flags`.
        pub flags: U32,
        /// `LoadCount`.
        pub load_count: U16,
        /// Unused.
        pub unused: U16,
        /// `SectionPointer`.
        pub section_pointer: U64,
        /// `CheckSum`; 0 where it is not known.
        pub check_sum: U32,
        /// Alignment.
        pub unused_alignment_2: U32,
        /// `TimeDateStamp`; 0 where it is not known.
        pub time_date_stamp: U32,
        /// Alignment.
        pub unused_alignment_3: U32,
    }
}

/// An entry of either width, as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverEntry {
    /// Of a 32-bit dump.
    Dump32(DriverEntry32),
    /// Of a 64-bit dump.
    Dump64(DriverEntry64),
}

/// Evaluates an expression over the entry of either width.
macro_rules! either {
    ($entry:expr, $name:ident => $value:expr) => {
        match $entry {
            Self::Dump32($name) => $value,
            Self::Dump64($name) => $value,
        }
    };
}

impl DriverEntry {
    /// The size of an entry in bytes.
    #[must_use]
    pub const fn record_size(is_64: bool) -> usize {
        if is_64 {
            DriverEntry64::SIZE
        } else {
            DriverEntry32::SIZE
        }
    }

    /// An entry with the fields alone that dumps have that were made from bigger ones.
    #[must_use]
    pub fn new(base: VirtAddr, size: u32, check_sum: u32, time_date_stamp: u32, is_64: bool) -> Self {
        if is_64 {
            Self::Dump64(DriverEntry64 {
                dll_base: base.0.into(),
                size_of_image: size.into(),
                check_sum: check_sum.into(),
                time_date_stamp: time_date_stamp.into(),
                ..DriverEntry64::default()
            })
        } else {
            Self::Dump32(DriverEntry32 {
                dll_base: low_half(base.0).into(),
                size_of_image: size.into(),
                check_sum: check_sum.into(),
                time_date_stamp: time_date_stamp.into(),
                ..DriverEntry32::default()
            })
        }
    }

    /// File offset of its name in the string pool.
    #[must_use]
    pub fn name_offset(&self) -> u32 {
        either!(self, entry => entry.driver_name_offset.get())
    }

    /// Changes where its name is.
    pub(super) fn set_name_offset(&mut self, offset: u32) {
        either!(self, entry => entry.driver_name_offset = offset.into());
    }

    /// `DllBase`.
    #[must_use]
    pub fn base(&self) -> VirtAddr {
        VirtAddr(either!(self, entry => entry.dll_base.into()))
    }

    /// `EntryPoint`; zero where it is not known.
    #[must_use]
    pub fn entry_point(&self) -> VirtAddr {
        VirtAddr(either!(self, entry => entry.entry_point.into()))
    }

    /// `SizeOfImage` in bytes.
    #[must_use]
    pub fn size_of_image(&self) -> u32 {
        either!(self, entry => entry.size_of_image.get())
    }

    /// `CheckSum`; 0 where it is not known.
    #[must_use]
    pub fn check_sum(&self) -> u32 {
        either!(self, entry => entry.check_sum.get())
    }

    /// `TimeDateStamp`; 0 where it is not known.
    #[must_use]
    pub fn time_date_stamp(&self) -> u32 {
        either!(self, entry => entry.time_date_stamp.get())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        either!(self, entry => entry.as_bytes())
    }
}

/// A loaded module with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its entry. The name's offset means nothing outside of the file that it was read from.
    pub entry: DriverEntry,
    /// Its name: with its folder in dumps that were made from bigger ones, without in those of the kernel. `None` where
    /// it cannot be read.
    pub name: Option<Vec<u16>>,
}
