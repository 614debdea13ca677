//! `MINIDUMP_HEADER`, the first 32 bytes of a minidump.

use zerocopy::byteorder::little_endian::{U32, U64};

use crate::record::record;

/// `MDMP` as a little-endian 32-bit number.
pub const SIGNATURE: u32 = 0x504D_444D;

/// The low 16 bits of [`Header::version`]. The high 16 bits are the writer's own.
pub const VERSION: u16 = 0xA793;

/// [`Header::version`] of a writer that has no number of its own.
pub const VERSION_NUMBER: u32 = VERSION as u32;

record! {
    /// `MINIDUMP_HEADER` (`minidumpapiset.h`), 32 bytes at file offset 0.
    pub struct Header[32] {
        /// [`SIGNATURE`].
        pub signature: U32,
        /// [`VERSION`] in the low half; writers of Microsoft put a stamp of their build into the high half.
        pub version: U32,
        /// Entries in the directory, unused ones included.
        pub number_of_streams: U32,
        /// Where the directory starts.
        pub stream_directory_rva: U32,
        /// Always 0; no reader checks it.
        pub check_sum: U32,
        /// When the dump was made: `time_t`, seconds since 1970.
        pub time_date_stamp: U32,
        /// [`MiniDumpType`](super::MiniDumpType) bits.
        pub flags: U64,
    }
}
