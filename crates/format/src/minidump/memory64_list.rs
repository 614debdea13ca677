//! `Memory64ListStream` (9): memory ranges whose data lies together, in the same order, at the end of the file.

use zerocopy::byteorder::little_endian::U64;

use super::{Stream, StreamContent, StreamType};
use crate::addr::FileOffset;
use crate::error::{Error, Findings};
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
