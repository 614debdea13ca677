//! `MemoryListStream` (5): memory ranges, each with its own 32-bit file offset.

use zerocopy::byteorder::little_endian::U64;

use super::{LocationDescriptor, Stream, StreamContent, StreamType};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Reservation};
use crate::record::{Record, record};
use crate::table::Table;

record! {
    /// `MINIDUMP_MEMORY_DESCRIPTOR` (`minidumpapiset.h`), 16 bytes.
    pub struct MemoryDescriptor[16] {
        /// The first address.
        pub start_of_memory_range: U64,
        /// The bytes in the file.
        pub memory: LocationDescriptor,
    }
}

/// The descriptors of a MemoryListStream, in file order: neither sorted nor free of overlaps.
#[derive(Clone, Copy, Debug)]
pub struct MemoryList<'a> {
    /// The descriptors.
    pub ranges: Table<'a, MemoryDescriptor>,
}

impl<'a> StreamContent<'a> for MemoryList<'a> {
    const TYPE: StreamType = StreamType::MEMORY_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        Ok(Self {
            ranges: stream.counted_list("MemoryList", findings)?,
        })
    }
}

/// Room for a MemoryList of `count` ranges, with the count filled in.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn reserve(layout: &mut Layout, count: usize) -> Result<(Reservation, LocationDescriptor), Error> {
    super::list::reserve_list::<MemoryDescriptor>(layout, count, "MemoryList")
}

/// The size in the file of a MemoryList of `count` ranges.
#[must_use]
pub const fn size(count: u64) -> u64 {
    4 + count * MemoryDescriptor::SIZE as u64
}
