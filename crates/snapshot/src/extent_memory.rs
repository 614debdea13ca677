//! Memory whose pieces lie as they are in a file, by virtual address.

use dotdump_format::{Error, ReadAt, VirtAddr, VirtRange};

use crate::memory::{Extent, Memory};
use crate::minidump::overlap::without_overlaps;

/// The pieces, sorted and apart.
pub(crate) struct ExtentMemory<'a> {
    source: &'a dyn ReadAt,
    extents: Vec<Extent>,
}

impl<'a> ExtentMemory<'a> {
    /// The memory that `extents` of `source` have. Where two hold the same address, the one that comes first keeps it.
    pub(crate) fn new(source: &'a dyn ReadAt, mut extents: Vec<Extent>) -> Self {
        extents.retain(|extent| !extent.range.is_empty());
        Self {
            source,
            extents: without_overlaps(extents),
        }
    }
}

impl Memory for ExtentMemory<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let first = self.extents.partition_point(|extent| extent.range.end <= within.start);
        let extents = self.extents[first..].iter();
        Box::new(extents.map_while(move |extent| extent.clip(within)).map(Ok))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let first = self.extents.partition_point(|extent| extent.range.end <= address);
        let mut done = 0;
        for extent in &self.extents[first..] {
            let wanted = VirtRange::sized(address.saturating_add(done as u64), (buffer.len() - done) as u64);
            let Some(part) = extent.clip(wanted) else { break };
            if part.range.start != wanted.start {
                break;
            }
            let Some(offset) = part.offset else { break };
            // A part of the buffer: its size fits.
            let size = usize::try_from(part.range.size()).unwrap_or(0);
            self.source.read_exact_at(offset, &mut buffer[done..done + size])?;
            done += size;
        }
        Ok(done)
    }
}
