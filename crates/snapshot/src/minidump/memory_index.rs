//! Finding the bytes of an address in a minidump.
//!
//! Windows writes its memory lists sorted; then the file's own table is searched, with one mark kept for every 64
//! entries. A list that is not sorted, or whose ranges overlap, is put in order in memory.

use std::iter::Peekable;

use dotdump_format::minidump::memory_list::{MemoryDescriptor, MemoryList};
use dotdump_format::minidump::memory64_list::{Memory64List, MemoryDescriptor64};
use dotdump_format::{Error, FileOffset, Findings, ReadAt, Table, VirtAddr, VirtRange};

use super::overlap::without_overlaps;
use crate::memory::{Extent, Memory};

/// Entries from one mark to the next: the 1 KiB that a scan of a table reads first.
const MARK_EVERY: u64 = 64;

/// The most ranges that are put in order in memory.
const MAX_UNSORTED: u64 = 1 << 18;

/// Descriptors as they lie in the file.
#[derive(Clone, Copy)]
enum Descriptors<'a> {
    List(Table<'a, MemoryDescriptor>),
    List64(Memory64List<'a>),
}

/// Where a mark stands: entry `MARK_EVERY * i`.
#[derive(Clone, Copy)]
struct Mark {
    /// The first address of the entry.
    start: VirtAddr,
    /// The file offset of its data.
    data: FileOffset,
}

/// Memory that wins over the layers behind it.
enum Layer<'a> {
    Sorted {
        descriptors: Descriptors<'a>,
        marks: Vec<Mark>,
        limits: Limits,
    },
    Ordered(Vec<Extent>),
}

/// What bounds the ranges of a dump.
#[derive(Clone, Copy)]
struct Limits {
    /// The size of the file.
    file: u64,
    /// The bits that an address has: 32-bit dumps of some old writers have sign-extended addresses.
    address_mask: u64,
}

/// The memory of a minidump.
pub(super) struct MemoryIndex<'a> {
    source: &'a dyn ReadAt,
    layers: Vec<Layer<'a>>,
    /// Bytes that the lists claim and the file does not have.
    pub(super) missing: u64,
    /// The first address of those.
    pub(super) first_missing: Option<VirtAddr>,
}

impl Limits {
    /// The memory that a descriptor gives: within the file and the address space. The second value tells how many
    /// bytes it claims beyond the file.
    #[inline]
    fn extent(&self, start: u64, size: u64, data: FileOffset) -> (Extent, u64) {
        let start = VirtAddr(start & self.address_mask);
        let room = self.file.saturating_sub(data.0);
        let there = VirtRange::sized(start, size.min(room));
        let end = there.end.min(VirtAddr(self.address_mask));
        let range = VirtRange::new(start, end);
        (
            Extent {
                range,
                offset: Some(data),
            },
            size.saturating_sub(room),
        )
    }
}

impl<'a> Descriptors<'a> {
    fn len(&self) -> u64 {
        match self {
            Self::List(table) => table.len(),
            Self::List64(list) => list.ranges.len(),
        }
    }

    /// The extents of the entries from `first` on, the first one's data starting at `data` (Memory64List).
    fn extents(self, first: u64, data: FileOffset, limits: Limits) -> Extents<'a> {
        let rows = match self {
            Self::List(table) => Rows::List(table.range(first, table.len())),
            Self::List64(list) => Rows::List64(list.ranges.range(first, list.ranges.len())),
        };
        Extents {
            rows,
            walk: Walk::new(data, limits),
        }
    }

    /// Calls `each` with the extents of all entries. What the file lacks of them is in the result.
    fn for_each(self, limits: Limits, mut each: impl FnMut(Extent)) -> Result<Walk, Error> {
        let mut walk = Walk::new(self.base(), limits);
        match self {
            Self::List(table) => table.for_each(|row| each(walk.in_list(row)))?,
            Self::List64(list) => list.ranges.for_each(|row| each(walk.in_list64(row)))?,
        }
        Ok(walk)
    }

    /// Where the data of the first entry starts (Memory64List).
    fn base(&self) -> FileOffset {
        match self {
            Self::List(_) => FileOffset(0),
            Self::List64(list) => list.base,
        }
    }
}

/// What is carried from entry to entry on a walk over descriptors.
struct Walk {
    data: FileOffset,
    limits: Limits,
    missing: u64,
    first_missing: Option<VirtAddr>,
}

impl Walk {
    const fn new(data: FileOffset, limits: Limits) -> Self {
        Self {
            data,
            limits,
            missing: 0,
            first_missing: None,
        }
    }

    #[inline]
    fn in_list(&mut self, row: &MemoryDescriptor) -> Extent {
        let (start, memory) = (row.start_of_memory_range.get(), row.memory);
        // An RVA of 0 is the header: the range is known, its bytes are not there.
        let size = if memory.rva.get() == 0 {
            0
        } else {
            u64::from(memory.data_size.get())
        };
        self.extent(start, size, FileOffset(u64::from(memory.rva.get())))
    }

    #[inline]
    fn in_list64(&mut self, row: &MemoryDescriptor64) -> Extent {
        let (start, size, data) = (row.start_of_memory_range.get(), row.data_size.get(), self.data);
        self.data = data.saturating_add(size);
        self.extent(start, size, data)
    }

    #[inline]
    fn extent(&mut self, start: u64, size: u64, data: FileOffset) -> Extent {
        let (extent, missing) = self.limits.extent(start, size, data);
        if missing > 0 {
            self.missing = self.missing.saturating_add(missing);
            self.first_missing.get_or_insert(extent.range.end);
        }
        extent
    }
}

enum Rows<'a> {
    List(dotdump_format::table::TableIter<'a, MemoryDescriptor>),
    List64(dotdump_format::table::TableIter<'a, MemoryDescriptor64>),
}

/// Walks descriptors in file order. Empty ranges are left out by the callers.
struct Extents<'a> {
    rows: Rows<'a>,
    walk: Walk,
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Rows::List(rows) => Some(rows.next()?.map(|row| self.walk.in_list(&row))),
            Rows::List64(rows) => Some(rows.next()?.map(|row| self.walk.in_list64(&row))),
        }
    }
}

impl<'a> Layer<'a> {
    /// Walks the descriptors once: finds out whether they are in order, and sets the marks.
    fn new(
        descriptors: Descriptors<'a>,
        limits: Limits,
        index: &mut MemoryIndex<'a>,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let (mut marks, mut end, mut sorted) = (Vec::new(), VirtAddr(0), true);
        let mut entry = 0_u64;
        let walk = descriptors.for_each(limits, |Extent { range, offset }| {
            if entry.is_multiple_of(MARK_EVERY) {
                // An empty entry stands between its neighbours, whatever address it names.
                let start = if range.is_empty() { end } else { range.start };
                marks.push(Mark {
                    start,
                    data: offset.unwrap_or_default(),
                });
            }
            entry += 1;
            sorted &= range.is_empty() || range.start >= end;
            if !range.is_empty() {
                end = range.end;
            }
        })?;
        index.missing = index.missing.saturating_add(walk.missing);
        index.first_missing = index.first_missing.or(walk.first_missing);
        if sorted {
            return Ok(Self::Sorted {
                descriptors,
                marks,
                limits,
            });
        }
        let base = descriptors.base();
        if entry > MAX_UNSORTED {
            let what = if base.0 == 0 { "MemoryList" } else { "Memory64List" };
            let message = format!("{entry} ranges in no order; only the first {MAX_UNSORTED} are used");
            findings.add(base, what, message);
        }
        let limit = usize::try_from(MAX_UNSORTED).unwrap_or(usize::MAX);
        let mut ordered = Vec::new();
        for extent in descriptors.extents(0, base, limits).take(limit) {
            let extent = extent?;
            if !extent.range.is_empty() {
                ordered.push(extent);
            }
        }
        Ok(Self::Ordered(without_overlaps(ordered)))
    }

    /// The layer's extents from the first one that ends after `from`.
    fn extents_from(&self, from: VirtAddr) -> LayerExtents<'_> {
        match self {
            Self::Sorted {
                descriptors,
                marks,
                limits,
            } => {
                // The entry before the last mark at or below `from` cannot reach it: ranges do not overlap.
                let mark = marks.partition_point(|mark| mark.start <= from).saturating_sub(1);
                let first = mark as u64 * MARK_EVERY;
                let data = marks.get(mark).map_or(FileOffset(0), |mark| mark.data);
                LayerExtents::Sorted {
                    extents: descriptors.extents(first, data, *limits),
                    from,
                }
            }
            Self::Ordered(extents) => {
                let first = extents.partition_point(|extent| extent.range.end <= from);
                LayerExtents::Ordered(extents[first..].iter())
            }
        }
    }
}

/// The extents of a layer, without empty ones.
enum LayerExtents<'a> {
    Sorted { extents: Extents<'a>, from: VirtAddr },
    Ordered(std::slice::Iter<'a, Extent>),
}

impl Iterator for LayerExtents<'_> {
    type Item = Result<Extent, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sorted { extents, from } => loop {
                match extents.next()? {
                    Ok(extent) if extent.range.is_empty() || extent.range.end <= *from => {}
                    other => return Some(other),
                }
            },
            Self::Ordered(extents) => extents.next().copied().map(Ok),
        }
    }
}

impl<'a> MemoryIndex<'a> {
    /// Takes in the memory lists of a dump and the thread stacks that lie outside of them.
    pub(super) fn new(
        source: &'a dyn ReadAt,
        list: Option<MemoryList<'a>>,
        list64: Option<Memory64List<'a>>,
        stacks: Vec<(u64, u64, FileOffset)>,
        address_mask: u64,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let limits = Limits {
            file: source.size(),
            address_mask,
        };
        let mut index = Self {
            source,
            layers: Vec::new(),
            missing: 0,
            first_missing: None,
        };
        for descriptors in list
            .map(|list| Descriptors::List(list.ranges))
            .into_iter()
            .chain(list64.map(Descriptors::List64))
        {
            if descriptors.len() > 0 {
                let layer = Layer::new(descriptors, limits, &mut index, findings)?;
                index.layers.push(layer);
            }
        }
        if !stacks.is_empty() {
            let extents = stacks
                .into_iter()
                .map(|(start, size, data)| limits.extent(start, size, data).0);
            index.layers.push(Layer::Ordered(without_overlaps(
                extents.filter(|extent| !extent.range.is_empty()).collect(),
            )));
        }
        if index.missing > 0 {
            let at = index.first_missing.unwrap_or_default();
            let message = format!(
                "{:#x} bytes of memory lie past the end of the file, first at address {at}",
                index.missing
            );
            findings.add(source.size(), "memory", message);
        }
        Ok(index)
    }
}

impl Memory for MemoryIndex<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        match self.layers.as_slice() {
            [] => Box::new(std::iter::empty()),
            [layer] => Box::new(Clipped {
                extents: layer.extents_from(within.start),
                within,
            }),
            layers => {
                let heads = layers
                    .iter()
                    .map(|layer| layer.extents_from(within.start).peekable())
                    .collect();
                Box::new(Overlay {
                    heads,
                    at: within.start,
                    end: within.end,
                })
            }
        }
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        for extent in self.extents(VirtRange::sized(address, buffer.len() as u64)) {
            let extent = extent?;
            if extent.range.start != address.saturating_add(done as u64) {
                break;
            }
            let Some(offset) = extent.offset else { break };
            let Ok(size) = usize::try_from(extent.range.size()) else {
                break;
            };
            self.source.read_exact_at(offset, &mut buffer[done..done + size])?;
            done += size;
        }
        Ok(done)
    }
}

/// The extents of one layer, cut to a range.
struct Clipped<'a> {
    extents: LayerExtents<'a>,
    within: VirtRange,
}

impl Iterator for Clipped<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.extents.next()? {
            Ok(extent) => extent.clip(self.within).map(Ok),
            error @ Err(_) => Some(error),
        }
    }
}

/// Several layers over each other: the first one that has an address gives it.
struct Overlay<'a> {
    heads: Vec<Peekable<LayerExtents<'a>>>,
    at: VirtAddr,
    end: VirtAddr,
}

impl Iterator for Overlay<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut best: Option<(VirtAddr, usize)> = None;
        for (layer, head) in self.heads.iter_mut().enumerate() {
            while let Some(Ok(extent)) = head.peek()
                && extent.range.end <= self.at
            {
                head.next();
            }
            match head.peek() {
                Some(Ok(extent)) => {
                    let start = extent.range.start.max(self.at);
                    if best.is_none_or(|(earliest, _)| start < earliest) {
                        best = Some((start, layer));
                    }
                }
                Some(Err(_)) => return head.next(),
                None => {}
            }
        }
        let (start, layer) = best?;
        if start >= self.end {
            return None;
        }
        let Some(Ok(extent)) = self.heads[layer].peek().cloned() else {
            return None;
        };
        let mut end = extent.range.end.min(self.end);
        for head in &mut self.heads[..layer] {
            if let Some(Ok(other)) = head.peek()
                && other.range.start > start
            {
                end = end.min(other.range.start);
            }
        }
        self.at = end;
        extent.clip(VirtRange::new(start, end)).map(Ok)
    }
}
