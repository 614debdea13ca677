//! `Memory64ListStream` (9): memory ranges whose data lies together, in the same order, at the end of the file.

use zerocopy::byteorder::little_endian::U64;

use super::{LocationDescriptor, Stream, StreamContent, StreamType};
use crate::addr::FileOffset;
use crate::error::{Error, Findings};
use crate::layout::{Layout, Reservation};
use crate::record::{Record, record};
use crate::table::{Shape, Table};

record! {
    /// The fixed part of `MINIDUMP_MEMORY64_LIST` (`minidumpapiset.h`), 16 bytes.
    pub struct Memory64ListHeader[16] {
        /// How many descriptors follow.
        pub number_of_memory_ranges: U64,
        /// Where the data of the first range starts: a 64-bit file offset.
        pub base_rva: U64,
    }

    /// `MINIDUMP_MEMORY_DESCRIPTOR64` (`minidumpapiset.h`), 16 bytes.
    pub struct MemoryDescriptor64[16] {
        /// The first address.
        pub start_of_memory_range: U64,
        /// The number of bytes.
        pub data_size: U64,
    }
}

/// A Memory64ListStream. The data of range *i* lies at `base` plus the sizes of all ranges before it.
#[derive(Clone, Copy, Debug)]
pub struct Memory64List<'a> {
    /// Where the data of the first range starts.
    pub base: FileOffset,
    /// The descriptors, in file order: sorted by address in what Windows writes.
    pub ranges: Table<'a, MemoryDescriptor64>,
}

impl<'a> StreamContent<'a> for Memory64List<'a> {
    const TYPE: StreamType = StreamType::MEMORY64_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let head: Memory64ListHeader = stream.head()?;
        let count = head.number_of_memory_ranges.get();
        let expected = count.checked_mul(16).and_then(|size| size.checked_add(16));
        if expected != Some(stream.claimed_size) {
            findings.add(
                stream.offset,
                "Memory64List",
                alloc::format!(
                    "a stream of {} bytes for {count} ranges; 16 and 16 for each range expected",
                    stream.claimed_size
                ),
            );
        }
        // The size in the directory is sometimes wrong while the table is whole, so the file alone bounds it.
        let shape = Shape {
            offset: stream.offset.saturating_add(Memory64ListHeader::SIZE as u64),
            end: FileOffset(stream.source.size()),
            stride: MemoryDescriptor64::SIZE,
            claimed: count,
        };
        let ranges = Table::new(stream.source, stream.endian, shape, "Memory64List", findings);
        Ok(Self {
            base: FileOffset(head.base_rva.get()),
            ranges,
        })
    }
}

/// Room for a Memory64ListStream of `count` ranges. [`fill_head`] completes it once the data has its place; descriptor
/// *i* goes `16 + 16 * i` bytes into it.
///
/// # Errors
/// [`Error::TooLarge`] where the list does not lie below 4 GiB.
pub fn reserve(layout: &mut Layout, count: usize) -> Result<(Reservation, LocationDescriptor), Error> {
    layout.align(8);
    let room = layout.reserve(Memory64ListHeader::SIZE + count * MemoryDescriptor64::SIZE);
    let location = layout.location(room.offset, room.size as u64, "Memory64List")?;
    Ok((room, location))
}

/// Fills in the number of ranges and where their data starts, which may be beyond 4 GiB.
pub fn fill_head(layout: &mut Layout, room: Reservation, count: usize, base: FileOffset) {
    let head = Memory64ListHeader {
        number_of_memory_ranges: (count as u64).into(),
        base_rva: base.0.into(),
    };
    layout.fill_record(room, 0, &head);
}
