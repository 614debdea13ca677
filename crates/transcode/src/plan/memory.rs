//! The memory of a dump: its list, and where the bytes lie.

use dotdump_format::layout::{Layout, Piece, Reservation};
use dotdump_format::minidump::memory_list::{self, MemoryDescriptor};
use dotdump_format::minidump::memory64_list::{self, Memory64ListHeader, MemoryDescriptor64};
use dotdump_format::minidump::{DirectoryEntry, LocationDescriptor, MiniDumpType, StreamType};
use dotdump_format::{Error, FileOffset, Record, VirtRange};
use dotdump_snapshot::memory::extents_in;
use dotdump_snapshot::{Extent, Memory, ProcessSnapshot};

use crate::filter::StackFilter;
use crate::options::MiniOptions;
use crate::select::{MemoryClass, Selection};
use crate::shortfall::Shortfalls;

/// Gaps up to this many bytes are filled from the source. (Windows' writers join over gaps of 2 bytes; of 24 no more.)
const JOINED_GAP: u64 = 16;

/// The longest range of a MemoryList, in bytes: Breakpad reads no longer ones.
const LONGEST_RANGE: u64 = 64 << 20;

/// What a MemoryList and all before it may take, in bytes: 32-bit offsets end there. The room for the tables is
/// generous, as they are laid out later.
const LIST_LIMIT: u64 = (1 << 32) - (256 << 20);

/// Memory from this size on starts on a page, so that the file system can share its blocks with a copy.
const WORTH_A_PAGE: u64 = 64 << 10;

/// The ranges of a dump and the kind of list that holds them.
#[derive(Debug)]
pub(super) struct MemoryLayout {
    ranges: Vec<VirtRange>,
    is_64: bool,
    bytes: u64,
}

impl MemoryLayout {
    /// Joins the classes of a selection, and chooses the list.
    pub(super) fn choose(
        snapshot: &dyn ProcessSnapshot,
        memory: &dyn Memory,
        selection: &Selection,
        options: MiniOptions,
        flags: MiniDumpType,
        shortfalls: &mut Shortfalls,
    ) -> Result<Self, Error> {
        let everything = selection
            .classes
            .iter()
            .any(|class| class.class == MemoryClass::Everything);
        let chosen = selection.addresses();
        let full = flags.contains(MiniDumpType::WITH_FULL_MEMORY);
        let ranges = if everything {
            as_in_source(snapshot, memory, &chosen, full)?
        } else if options.contains(MiniOptions::FILTER_MEMORY) {
            // Bytes that no rule asked for have no place in a dump that was filtered for privacy.
            chosen.into_owned()
        } else {
            joined(memory, chosen.into_owned())?
        };
        let bytes = ranges.iter().map(|range| range.size()).sum();
        let is_64 = full || bytes > LIST_LIMIT;
        if is_64 && !full {
            let message = format!("{bytes} bytes of memory do not fit a MemoryList; a Memory64List was written");
            shortfalls.warn("-m", message);
        }
        let ranges = if is_64 { ranges } else { split(ranges) };
        Ok(Self { ranges, is_64, bytes })
    }

    pub(super) const fn is_64(&self) -> bool {
        self.is_64
    }

    /// Makes room for the list, and decides where the bytes will start.
    pub(super) fn place(self, layout: &mut Layout) -> Result<PlacedMemory, Error> {
        layout.align(8);
        let count = self.ranges.len();
        let (stream_type, room, location) = if self.is_64 {
            let (room, location) = memory64_list::reserve(layout, count)?;
            (StreamType::MEMORY64_LIST, room, location)
        } else {
            let (room, location) = memory_list::reserve(layout, count)?;
            (StreamType::MEMORY_LIST, room, location)
        };
        layout.align(if self.bytes >= WORTH_A_PAGE { 4096 } else { 16 });
        let entry = DirectoryEntry {
            stream_type: stream_type.0.into(),
            location,
        };
        let mut sum = 0;
        let sums = self.ranges.chunks(SUM_EVERY).map(|chunk| {
            let before = sum;
            sum += chunk.iter().map(|range| range.size()).sum::<u64>();
            before
        });
        let sums = sums.collect();
        Ok(PlacedMemory {
            entry,
            room,
            base: layout.end(),
            ranges: self.ranges,
            sums,
            is_64: self.is_64,
        })
    }
}

/// Memory that has its place in the file: the ranges lie one after the other from `base` on.
#[derive(Debug)]
pub(super) struct PlacedMemory {
    pub(super) entry: DirectoryEntry,
    room: Reservation,
    base: FileOffset,
    pub(super) ranges: Vec<VirtRange>,
    /// The bytes before every [`SUM_EVERY`]th range.
    sums: Vec<u64>,
    is_64: bool,
}

/// How often the sum of sizes is noted.
const SUM_EVERY: usize = 256;

impl PlacedMemory {
    /// How far behind `base` a range lies.
    fn bytes_before(&self, index: usize) -> u64 {
        let mark = index / SUM_EVERY;
        let rest = &self.ranges[mark * SUM_EVERY..index];
        self.sums.get(mark).copied().unwrap_or(0) + rest.iter().map(|range| range.size()).sum::<u64>()
    }

    /// The part of `wanted` that one range holds, for a record that describes it by address and file offset: the part
    /// with the first address, or else the first part.
    pub(super) fn descriptor(&self, wanted: VirtRange) -> Option<MemoryDescriptor> {
        let index = self.ranges.partition_point(|range| range.end <= wanted.start);
        let part = self.ranges.get(index)?.intersection(wanted)?;
        // Neighbours were cut apart only to keep ranges short.
        let mut end = part.end;
        for next in &self.ranges[index + 1..] {
            if next.start != end || end >= wanted.end {
                break;
            }
            end = next.end.min(wanted.end);
        }
        let offset = self
            .base
            .saturating_add(self.bytes_before(index) + (part.start.0 - self.ranges[index].start.0));
        let size = u32::try_from(end.0 - part.start.0).ok()?;
        // Beyond 4 GiB readers find the bytes by address in the list.
        let rva = u32::try_from(offset.0).unwrap_or(0);
        Some(MemoryDescriptor {
            start_of_memory_range: part.start.0.into(),
            memory: LocationDescriptor {
                data_size: size.into(),
                rva: rva.into(),
            },
        })
    }

    /// Fills the list and adds the bytes.
    pub(super) fn push_data(
        &self,
        layout: &mut Layout,
        memory: &dyn Memory,
        filter: Option<&StackFilter>,
    ) -> Result<(), Error> {
        let mut at = 4;
        if self.is_64 {
            memory64_list::fill_head(layout, self.room, self.ranges.len(), self.base);
            at = Memory64ListHeader::SIZE;
        }
        // One walk over the source for all ranges: its extents come in the order of the ranges that they lie in.
        let mut extents = extents_in(memory, &self.ranges).peekable();
        for range in &self.ranges {
            let offset = layout.end();
            if self.is_64 {
                let record = MemoryDescriptor64 {
                    start_of_memory_range: range.start.0.into(),
                    data_size: range.size().into(),
                };
                layout.fill_record(self.room, at, &record);
            } else {
                let memory = layout.location(offset, range.size(), "MemoryList")?;
                let record = MemoryDescriptor {
                    start_of_memory_range: range.start.0.into(),
                    memory,
                };
                layout.fill_record(self.room, at, &record);
            }
            at += MemoryDescriptor::SIZE;
            let is_filtered = filter.is_some_and(|filter| filter.touches(*range));
            if is_filtered {
                layout.push(Piece::Filtered {
                    address: range.start,
                    size: range.size(),
                });
            }
            while let Some(extent) =
                extents.next_if(|extent| extent.as_ref().map_or(true, |extent| extent.range.start < range.end))
            {
                let extent = extent?;
                if !is_filtered {
                    push_extent(layout, &extent);
                }
            }
        }
        Ok(())
    }
}

/// Adds the bytes of an extent: a run of the source's file where it is one, else by address.
fn push_extent(layout: &mut Layout, extent: &Extent) {
    let size = extent.range.size();
    layout.push(match extent.offset {
        Some(offset) => Piece::CopyFrom { offset, size },
        None => Piece::Read {
            address: extent.range.start,
            size,
        },
    });
}

/// Joins ranges whose gap is small and in the source.
fn joined(memory: &dyn Memory, mut ranges: Vec<VirtRange>) -> Result<Vec<VirtRange>, Error> {
    // In place: there may be very many.
    let mut kept = 0;
    for index in 1..ranges.len() {
        let range = ranges[index];
        let gap = VirtRange::new(ranges[kept].end, range.start);
        if gap.size() <= JOINED_GAP {
            let mut there = 0;
            for extent in memory.extents(gap) {
                there += extent?.range.size();
            }
            if there == gap.size() {
                ranges[kept].end = range.end;
                continue;
            }
        }
        kept += 1;
        ranges[kept] = range;
    }
    ranges.truncate(kept + 1);
    Ok(ranges)
}

/// Cuts ranges so that none is too long for the readers of a MemoryList.
fn split(ranges: Vec<VirtRange>) -> Vec<VirtRange> {
    if ranges.iter().all(|range| range.size() <= LONGEST_RANGE) {
        return ranges;
    }
    let parts = |range: VirtRange| {
        (0..range.size().div_ceil(LONGEST_RANGE)).map(move |index| {
            let start = range.start.saturating_add(index * LONGEST_RANGE);
            VirtRange::new(start, start.saturating_add(LONGEST_RANGE).min(range.end))
        })
    };
    ranges.into_iter().flat_map(parts).collect()
}

/// The ranges with the borders that they have in the source, and cut where regions of the address space begin: some
/// readers want each range of a full dump to begin with a region.
fn as_in_source(
    snapshot: &dyn ProcessSnapshot,
    memory: &dyn Memory,
    chosen: &[VirtRange],
    full: bool,
) -> Result<Vec<VirtRange>, Error> {
    // Only ranges of full dumps begin with regions: others keep their borders however often they are converted.
    let mut regions = snapshot.regions().take_while(|_| full).peekable();
    let mut result = Vec::with_capacity(chosen.len());
    // A machine's pages lie apart in its source, which is no border of the process's memory.
    let ranges: Box<dyn Iterator<Item = Result<VirtRange, Error>>> = if snapshot.is_resident_only() {
        Box::new(chosen.iter().copied().map(Ok))
    } else {
        Box::new(extents_in(memory, chosen).map(|extent| extent.map(|extent| extent.range)))
    };
    for range in ranges {
        let mut rest = range?;
        while let Some(Ok(region)) = regions.peek() {
            if region.range.end > rest.start && region.range.start > rest.start {
                if region.range.start >= rest.end {
                    break;
                }
                result.push(VirtRange::new(rest.start, region.range.start));
                rest.start = region.range.start;
            } else if region.range.end >= rest.end {
                break;
            } else {
                regions.next();
            }
        }
        if let Some(Err(_)) = regions.peek()
            && let Some(Err(error)) = regions.next()
        {
            return Err(error);
        }
        result.push(rest);
    }
    Ok(result)
}
