//! Headers of PE images (`winnt.h`), as they are mapped in memory.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::record::record;

/// `MZ`, the first two bytes of an image.
pub const DOS_SIGNATURE: [u8; 2] = *b"MZ";
/// Where the DOS header has the offset of the NT headers.
pub const E_LFANEW: usize = 0x3C;
/// The first four bytes of the NT headers.
pub const NT_SIGNATURE: [u8; 4] = *b"PE\0\0";
/// `Magic` of [`OptionalHeader32`].
pub const OPTIONAL_HEADER_32: u16 = 0x10B;
/// `Magic` of [`OptionalHeader64`].
pub const OPTIONAL_HEADER_64: u16 = 0x20B;

record! {
    /// `IMAGE_FILE_HEADER`, 20 bytes.
    pub struct FileHeader[20] {
        /// `IMAGE_FILE_MACHINE_*`.
        pub machine: U16,
        /// How many section headers follow the optional header.
        pub number_of_sections: U16,
        /// When it was linked, or a hash.
        pub time_date_stamp: U32,
        /// Symbols; unused.
        pub pointer_to_symbol_table: U32,
        /// Symbols; unused.
        pub number_of_symbols: U32,
        /// Size of the optional header in bytes.
        pub size_of_optional_header: U16,
        /// `IMAGE_FILE_*`.
        pub characteristics: U16,
    }

    /// `IMAGE_OPTIONAL_HEADER32` without its directories, 96 bytes.
    pub struct OptionalHeader32[96] {
        /// [`OPTIONAL_HEADER_32`].
        pub magic: U16,
        /// Version of the linker.
        pub linker_version: [u8; 2],
        /// Sizes of code and data in bytes.
        pub sizes: [U32; 3],
        /// RVA of the entry point.
        pub address_of_entry_point: U32,
        /// RVAs of code and data.
        pub bases: [U32; 2],
        /// Where it wants to be.
        pub image_base: U32,
        /// Alignment of sections in memory.
        pub section_alignment: U32,
        /// Alignment of sections in the file.
        pub file_alignment: U32,
        /// Versions of the system and the image.
        pub versions: [U16; 6],
        /// Reserved.
        pub win32_version_value: U32,
        /// Its size in memory in bytes.
        pub size_of_image: U32,
        /// Size of its headers in bytes.
        pub size_of_headers: U32,
        /// Its checksum.
        pub check_sum: U32,
        /// `IMAGE_SUBSYSTEM_*`.
        pub subsystem: U16,
        /// `IMAGE_DLLCHARACTERISTICS_*`.
        pub dll_characteristics: U16,
        /// Sizes of stack and heap in bytes.
        pub stack_and_heap: [U32; 4],
        /// Reserved.
        pub loader_flags: U32,
        /// How many [`DataDirectory`] follow.
        pub number_of_rva_and_sizes: U32,
    }

    /// `IMAGE_OPTIONAL_HEADER64` without its directories, 112 bytes.
    pub struct OptionalHeader64[112] {
        /// [`OPTIONAL_HEADER_64`].
        pub magic: U16,
        /// Version of the linker.
        pub linker_version: [u8; 2],
        /// Sizes of code and data in bytes.
        pub sizes: [U32; 3],
        /// RVA of the entry point.
        pub address_of_entry_point: U32,
        /// RVA of code.
        pub base_of_code: U32,
        /// Where it wants to be.
        pub image_base: U64,
        /// Alignment of sections in memory.
        pub section_alignment: U32,
        /// Alignment of sections in the file.
        pub file_alignment: U32,
        /// Versions of the system and the image.
        pub versions: [U16; 6],
        /// Reserved.
        pub win32_version_value: U32,
        /// Its size in memory in bytes.
        pub size_of_image: U32,
        /// Size of its headers in bytes.
        pub size_of_headers: U32,
        /// Its checksum.
        pub check_sum: U32,
        /// `IMAGE_SUBSYSTEM_*`.
        pub subsystem: U16,
        /// `IMAGE_DLLCHARACTERISTICS_*`.
        pub dll_characteristics: U16,
        /// Sizes of stack and heap in bytes.
        pub stack_and_heap: [U64; 4],
        /// Reserved.
        pub loader_flags: U32,
        /// How many [`DataDirectory`] follow.
        pub number_of_rva_and_sizes: U32,
    }

    /// `IMAGE_DATA_DIRECTORY`, 8 bytes. The first one is that of exports.
    pub struct DataDirectory[8] {
        /// RVA.
        pub virtual_address: U32,
        /// Size in bytes.
        pub size: U32,
    }

    /// `IMAGE_EXPORT_DIRECTORY`, 40 bytes.
    pub struct ExportDirectory[40] {
        /// Reserved.
        pub characteristics: U32,
        /// When it was made, or a hash.
        pub time_date_stamp: U32,
        /// Version.
        pub version: [U16; 2],
        /// RVA of the image's own name.
        pub name: U32,
        /// The first ordinal.
        pub base: U32,
        /// How many functions there are.
        pub number_of_functions: U32,
        /// How many of them have a name.
        pub number_of_names: U32,
        /// RVA of an array of RVAs: the functions.
        pub address_of_functions: U32,
        /// RVA of an array of RVAs: the names, sorted.
        pub address_of_names: U32,
        /// RVA of an array of 16-bit indexes: the function of each name.
        pub address_of_name_ordinals: U32,
    }

    /// `IMAGE_SECTION_HEADER`, 40 bytes.
    pub struct SectionHeader[40] {
        /// Its name; NULs fill it up.
        pub name: [u8; 8],
        /// Its size in memory in bytes.
        pub virtual_size: U32,
        /// Its RVA.
        pub virtual_address: U32,
        /// Its size in the file in bytes.
        pub size_of_raw_data: U32,
        /// Where it is in the file.
        pub pointer_to_raw_data: U32,
        /// Relocations and line numbers of object files.
        pub object_file: [U32; 3],
        /// `IMAGE_SCN_*`.
        pub characteristics: U32,
    }
}

impl SectionHeader {
    /// `IMAGE_SCN_MEM_EXECUTE`.
    pub const EXECUTE: u32 = 0x2000_0000;
    /// `IMAGE_SCN_MEM_WRITE`.
    pub const WRITE: u32 = 0x8000_0000;
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(OptionalHeader32, size_of_image) == 56);
    assert!(offset_of!(OptionalHeader64, size_of_image) == 56);
    assert!(offset_of!(OptionalHeader64, check_sum) == 64);
    assert!(offset_of!(OptionalHeader32, number_of_rva_and_sizes) == 92);
    assert!(offset_of!(OptionalHeader64, number_of_rva_and_sizes) == 108);
};
