//! Lists of modules in kernel memory: entries of `PsLoadedModuleList`, and slots of `MmUnloadedDrivers`.
//!
//! The kernel's own entries are `KLDR_DATA_TABLE_ENTRY`. Their start is that of the loader's entries in user mode; the
//! layouts part behind `CheckSum`. Both as several debuggers and parsers have them.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::triage::unloaded_drivers::{UnicodeString32, UnicodeString64};
use crate::record::record;

record! {
    /// `KLDR_DATA_TABLE_ENTRY` of 64-bit Windows, 0xA0 bytes.
    pub struct KldrDataTableEntry64[0xA0] {
        /// `LIST_ENTRY`: the next entry and the one before.
        pub in_load_order_links: [U64; 2],
        /// Unwinding tables.
        pub exception_table: U64,
        /// Their size in bytes.
        pub exception_table_size: U32,
        /// Alignment.
        pub unused_alignment: U32,
        /// The global pointer; Itanium only.
        pub gp_value: U64,
        /// `NON_PAGED_DEBUG_INFO`.
        pub non_paged_debug_info: U64,
        /// Where the image starts.
        pub dll_base: U64,
        /// Its entry point.
        pub entry_point: U64,
        /// Its size in bytes.
        pub size_of_image: U32,
        /// Alignment.
        pub unused_alignment_2: U32,
        /// Its path.
        pub full_dll_name: UnicodeString64,
        /// Its name.
        pub base_dll_name: UnicodeString64,
        /// `LDRP_*`.
        pub flags: U32,
        /// References.
        pub load_count: U16,
        /// Bits for signatures.
        pub bits: U16,
        /// The section object.
        pub section_pointer: U64,
        /// The image's checksum.
        pub check_sum: U32,
        /// Size of the coverage section in bytes.
        pub coverage_section_size: U32,
        /// Coverage section. An entry that is laid out as in user mode has its time stamp in the low half.
        pub coverage_section: U64,
        /// Modules that it needs.
        pub loaded_imports: U64,
        /// Spare.
        pub spare: U64,
        /// Size of the image before it was rounded up.
        pub size_of_image_not_rounded: U32,
        /// The image's time stamp.
        pub time_date_stamp: U32,
    }

    /// `KLDR_DATA_TABLE_ENTRY` of 32-bit Windows, 0x5C bytes.
    pub struct KldrDataTableEntry32[0x5C] {
        /// `LIST_ENTRY`: the next entry and the one before.
        pub in_load_order_links: [U32; 2],
        /// Table of exception handlers.
        pub exception_table: U32,
        /// Its size in bytes.
        pub exception_table_size: U32,
        /// The global pointer; unused.
        pub gp_value: U32,
        /// `NON_PAGED_DEBUG_INFO`.
        pub non_paged_debug_info: U32,
        /// Where the image starts.
        pub dll_base: U32,
        /// Its entry point.
        pub entry_point: U32,
        /// Its size in bytes.
        pub size_of_image: U32,
        /// Its path.
        pub full_dll_name: UnicodeString32,
        /// Its name.
        pub base_dll_name: UnicodeString32,
        /// `LDRP_*`.
        pub flags: U32,
        /// References.
        pub load_count: U16,
        /// Bits for signatures.
        pub bits: U16,
        /// The section object.
        pub section_pointer: U32,
        /// The image's checksum.
        pub check_sum: U32,
        /// Size of the coverage section in bytes. An entry that is laid out as in user mode has its time stamp here.
        pub coverage_section_size: U32,
        /// Coverage section.
        pub coverage_section: U32,
        /// Modules that it needs.
        pub loaded_imports: U32,
        /// Spare.
        pub spare: U32,
        /// Size of the image before it was rounded up.
        pub size_of_image_not_rounded: U32,
        /// The image's time stamp.
        pub time_date_stamp: U32,
    }

    /// A slot of `MmUnloadedDrivers` of 64-bit Windows, 0x28 bytes.
    pub struct UnloadedDriverSlot64[0x28] {
        /// Its name.
        pub name: UnicodeString64,
        /// Where it started.
        pub start_address: U64,
        /// Where it ended.
        pub end_address: U64,
        /// When it was unloaded: FILETIME.
        pub current_time: U64,
    }

    /// A slot of `MmUnloadedDrivers` of 32-bit Windows, 0x18 bytes.
    pub struct UnloadedDriverSlot32[0x18] {
        /// Its name.
        pub name: UnicodeString32,
        /// Where it started.
        pub start_address: U32,
        /// Where it ended.
        pub end_address: U32,
        /// When it was unloaded: FILETIME.
        pub current_time: U64,
    }
}

/// How many slots `MmUnloadedDrivers` has.
pub const UNLOADED_DRIVER_SLOTS: u32 = 50;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(KldrDataTableEntry64, dll_base) == 0x30);
    assert!(offset_of!(KldrDataTableEntry64, full_dll_name) == 0x48);
    assert!(offset_of!(KldrDataTableEntry64, flags) == 0x68);
    assert!(offset_of!(KldrDataTableEntry64, check_sum) == 0x78);
    assert!(offset_of!(KldrDataTableEntry64, coverage_section) == 0x80);
    assert!(offset_of!(KldrDataTableEntry64, time_date_stamp) == 0x9C);
    assert!(offset_of!(KldrDataTableEntry32, dll_base) == 0x18);
    assert!(offset_of!(KldrDataTableEntry32, full_dll_name) == 0x24);
    assert!(offset_of!(KldrDataTableEntry32, base_dll_name) == 0x2C);
    assert!(offset_of!(KldrDataTableEntry32, check_sum) == 0x40);
    assert!(offset_of!(KldrDataTableEntry32, time_date_stamp) == 0x58);
};
