//! `TRIAGE_DATA_BLOCK`: pieces of memory.

use zerocopy::byteorder::little_endian::{U32, U64};

use crate::addr::{FileOffset, VirtAddr, VirtRange};
use crate::record::record;

record! {
    /// `TRIAGE_DATA_BLOCK`, 16 bytes in dumps of both widths.
    pub struct TriageDataBlock[16] {
        /// Where it lay; sign-extended in 32-bit dumps.
        pub address: U64,
        /// Where it is in the file.
        pub offset: U32,
        /// Its size in bytes.
        pub size: U32,
    }
}

/// Memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMemory {
    /// The addresses; in a 32-bit dump below 2^32.
    pub range: VirtRange,
    /// Where the first byte is in the file.
    pub offset: FileOffset,
}

impl StoredMemory {
    /// `size` bytes at `address`, cut at the end of the address space and of the file.
    pub(super) fn new(address: u64, size: u64, offset: FileOffset, is_64: bool, file: u64) -> Self {
        let (address, limit) = if is_64 {
            (address, u64::MAX)
        } else {
            (address & 0xFFFF_FFFF, 1 << 32)
        };
        let size = size.min(limit - address).min(file.saturating_sub(offset.0));
        Self {
            range: VirtRange::sized(VirtAddr(address), size),
            offset,
        }
    }
}
