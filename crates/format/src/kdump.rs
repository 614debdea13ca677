//! Records of kdump files: the memory of a machine in compressed pages, as makedumpfile and QEMU write it.
//!
//! The file is in blocks. Block 0 is the header, then [`DiskDumpHeader64::sub_header_blocks`] blocks with the sub header
//! and what it points to; then two bitmaps of one bit for each page, lowest first: pages that are memory, and pages that
//! are in the file; then a [`PageDescriptor`] for each bit of the second bitmap; then the data of the pages. Facts are
//! those of makedumpfile's `IMPLEMENTATION` text and of files that QEMU wrote.
//!
//! A *flattened* file is the same as a stream: a [`FlatHeader`] in a block of 4096 bytes, then records that each say
//! where in the file their bytes belong. Later ones replace earlier ones.

use zerocopy::byteorder::little_endian::{I64, U32, U64};

use crate::record::record;

/// The first eight bytes of a kdump file.
pub const SIGNATURE: [u8; 8] = *b"KDUMP   ";

/// The first bytes of a flattened file; zeros follow up to 16 bytes.
pub const FLAT_SIGNATURE: [u8; 12] = *b"makedumpfile";

/// Where the records of a flattened file start.
pub const FLAT_HEADER_SIZE: u64 = 4096;

/// How the data of a page is compressed: none of these flags for a page as it is.
pub mod compression {
    /// zlib, with its header.
    pub const ZLIB: u32 = 1;
    /// LZO1X.
    pub const LZO: u32 = 2;
    /// Snappy, without framing.
    pub const SNAPPY: u32 = 4;
    /// Zstandard: a frame.
    pub const ZSTD: u32 = 0x20;
}

/// A flag of `status`: there was no room for the rest of the file.
pub const STATUS_INCOMPLETE: u32 = 8;

record! {
    /// `disk_dump_header` of a 64-bit machine, 464 bytes.
    pub struct DiskDumpHeader64[464] {
        /// [`SIGNATURE`].
        pub signature: [u8; 8],
        /// Version: 1 to 6.
        pub version: U32,
        /// `new_utsname`: six texts of 65 bytes.
        pub utsname: [u8; 390],
        /// Alignment, and a `timeval`.
        pub timestamp: [u8; 22],
        /// Kinds of compression, and [`STATUS_INCOMPLETE`].
        pub status: U32,
        /// The size of a block, and of a page, in bytes.
        pub block_size: U32,
        /// How many blocks the sub header takes.
        pub sub_header_blocks: U32,
        /// How many blocks both bitmaps take.
        pub bitmap_blocks: U32,
        /// How many pages the bitmaps have bits for; cut to 32 bits from version 6 on.
        pub max_mapnr: U32,
        /// Unused.
        pub total_ram_blocks: U32,
        /// Unused.
        pub device_blocks: U32,
        /// Unused.
        pub written_blocks: U32,
        /// The processor that stopped the machine.
        pub current_cpu: U32,
        /// How many processors there are.
        pub nr_cpus: U32,
    }

    /// `disk_dump_header` of a 32-bit machine, 452 bytes: the same but for `timestamp`.
    pub struct DiskDumpHeader32[452] {
        /// [`SIGNATURE`].
        pub signature: [u8; 8],
        /// Version: 1 to 6.
        pub version: U32,
        /// `new_utsname`: six texts of 65 bytes.
        pub utsname: [u8; 390],
        /// Alignment, and a `timeval`.
        pub timestamp: [u8; 10],
        /// Kinds of compression, and [`STATUS_INCOMPLETE`].
        pub status: U32,
        /// The size of a block, and of a page, in bytes.
        pub block_size: U32,
        /// How many blocks the sub header takes.
        pub sub_header_blocks: U32,
        /// How many blocks both bitmaps take.
        pub bitmap_blocks: U32,
        /// How many pages the bitmaps have bits for; cut to 32 bits from version 6 on.
        pub max_mapnr: U32,
        /// Unused.
        pub total_ram_blocks: U32,
        /// Unused.
        pub device_blocks: U32,
        /// Unused.
        pub written_blocks: U32,
        /// The processor that stopped the machine.
        pub current_cpu: U32,
        /// How many processors there are.
        pub nr_cpus: U32,
    }

    /// `kdump_sub_header` of a 64-bit machine, 104 bytes. Versions before 6 have less of it; block padding follows, so
    /// that what is missing reads as zero.
    pub struct SubHeader64[104] {
        /// Physical address of a Linux kernel's start, less its usual place.
        pub phys_base: U64,
        /// Which pages were left out on purpose.
        pub dump_level: U32,
        /// 1 where the file is one of several; from version 2 on.
        pub split: U32,
        /// The first page of such a file.
        pub start_pfn: U64,
        /// The page behind its last one.
        pub end_pfn: U64,
        /// Where the `VMCOREINFO` is; from version 3 on.
        pub vmcoreinfo_offset: U64,
        /// Its size in bytes.
        pub vmcoreinfo_size: U64,
        /// Where the ELF notes are; from version 4 on.
        pub note_offset: U64,
        /// Their size in bytes.
        pub note_size: U64,
        /// Where the text about erased data is; from version 5 on.
        pub eraseinfo_offset: U64,
        /// Its size in bytes.
        pub eraseinfo_size: U64,
        /// `start_pfn`; from version 6 on.
        pub start_pfn_64: U64,
        /// `end_pfn`.
        pub end_pfn_64: U64,
        /// How many pages the bitmaps have bits for.
        pub max_mapnr_64: U64,
    }

    /// `kdump_sub_header` of a 32-bit machine, 80 bytes. See [`SubHeader64`].
    pub struct SubHeader32[80] {
        /// Physical address of a Linux kernel's start, less its usual place.
        pub phys_base: U32,
        /// Which pages were left out on purpose.
        pub dump_level: U32,
        /// 1 where the file is one of several; from version 2 on.
        pub split: U32,
        /// The first page of such a file.
        pub start_pfn: U32,
        /// The page behind its last one.
        pub end_pfn: U32,
        /// Where the `VMCOREINFO` is; from version 3 on.
        pub vmcoreinfo_offset: U64,
        /// Its size in bytes.
        pub vmcoreinfo_size: U32,
        /// Where the ELF notes are; from version 4 on.
        pub note_offset: U64,
        /// Their size in bytes.
        pub note_size: U32,
        /// Where the text about erased data is; from version 5 on.
        pub eraseinfo_offset: U64,
        /// Its size in bytes.
        pub eraseinfo_size: U32,
        /// `start_pfn`; from version 6 on.
        pub start_pfn_64: U64,
        /// `end_pfn`.
        pub end_pfn_64: U64,
        /// How many pages the bitmaps have bits for.
        pub max_mapnr_64: U64,
    }

    /// `page_desc`, 24 bytes: where the data of a page is. Pages may share their data: those of zeros do.
    pub struct PageDescriptor[24] {
        /// Where it starts in the file.
        pub offset: U64,
        /// Its size in bytes.
        pub size: U32,
        /// How it is compressed, see [`compression`].
        pub flags: U32,
        /// Linux' flags of the page.
        pub page_flags: U64,
    }

    /// `makedumpfile_header`, 32 bytes, big-endian.
    pub struct FlatHeader[32] {
        /// [`FLAT_SIGNATURE`] and zeros.
        pub signature: [u8; 16],
        /// 1.
        pub kind: I64,
        /// 1.
        pub version: I64,
    }

    /// `makedumpfile_data_header`, 16 bytes, big-endian: so many bytes follow, for that place.
    pub struct FlatRecord[16] {
        /// Where in the file they belong; -1 behind the last one.
        pub offset: I64,
        /// How many they are; -1 behind the last one.
        pub size: I64,
    }
}
