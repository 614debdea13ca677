//! What the memory lists of a dump are like.

use dotdump_format::minidump::memory_info_list::MemoryInfoList;
use dotdump_format::minidump::memory_list::MemoryList;
use dotdump_format::minidump::memory64_list::Memory64List;
use dotdump_format::minidump::{StreamContent, StreamType};
use dotdump_format::{Error, FileOffset, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};

use super::facts::Tally;

/// How many bytes of overlapping ranges are compared. Real dumps have a few stacks that occur twice.
const MAX_COMPARED: u64 = 64 << 20;

/// How many parts of ranges are looked at for overlaps.
const MAX_STEPS: u64 = 1 << 18;

/// How much is compared at a time.
const CHUNK: u64 = 64 << 10;

/// How many addresses of regions are held to look for one that occurs twice.
const MAX_REGIONS: usize = 1 << 18;

/// What the memory lists are like.
#[derive(Debug, Default)]
pub(super) struct MemoryFacts {
    /// Entries of the MemoryList.
    pub(super) in_list: u64,
    /// Entries of the Memory64List.
    pub(super) in_list64: u64,
    /// The longest range of the MemoryList, in bytes.
    pub(super) longest: u64,
    /// Entries without bytes.
    pub(super) empty: Tally,
    /// Entries that claim bytes at the file offset that means absent.
    pub(super) absent: Tally,
    /// Entries that pass the end of the address space.
    pub(super) wraps: Tally,
    /// Entries whose bytes differ from those of another entry for the same addresses.
    pub(super) contradictions: Tally,
    /// Entries of the Memory64List that do not start with a region.
    pub(super) off_region: Tally,
    /// Regions that start where another one does.
    pub(super) same_region: Tally,
    /// Overlaps that were not compared, because there are too many.
    pub(super) uncompared: bool,
}

/// An entry of a list.
#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    size: u64,
    data: FileOffset,
    /// Where the entry itself lies.
    at: FileOffset,
}

impl MemoryFacts {
    pub(super) fn gather(snapshot: &MinidumpSnapshot<'_>) -> Result<Self, Error> {
        let mut facts = Self::default();
        let dump = snapshot.dump();
        let mut scratch = Findings::default();
        let list = usable::<MemoryList<'_>>(snapshot, &mut scratch);
        let list64 = usable::<Memory64List<'_>>(snapshot, &mut scratch);
        let mut overlaps = Overlaps::new(snapshot);
        if let Some(list) = list {
            facts.in_list = list.ranges.len();
            let mut order = Order::default();
            // Beside a Memory64List each range may occur there as well.
            let mut sorted = list64.is_none();
            for entry in list_entries(&list) {
                let entry = entry?;
                sorted &= order.follows(&entry);
                facts.longest = facts.longest.max(entry.size);
                if entry.size > 0 && entry.data.0 == 0 {
                    facts.absent.note(entry.at, || told(&entry));
                }
                facts.single(&entry, snapshot.address_mask());
            }
            if !sorted {
                for entry in list_entries(&list) {
                    overlaps.look_at(&entry?, &mut facts)?;
                }
            }
        }
        if let Some(list) = list64 {
            facts.in_list64 = list.ranges.len();
            let (mut order, mut sorted) = (Order::default(), true);
            for entry in list64_entries(&list) {
                let entry = entry?;
                sorted &= order.follows(&entry);
                facts.single(&entry, snapshot.address_mask());
            }
            if !sorted {
                for entry in list64_entries(&list) {
                    overlaps.look_at(&entry?, &mut facts)?;
                }
            }
            if dump.stream(StreamType::MEMORY_INFO_LIST).is_some() {
                facts.region_starts(snapshot, &list, sorted)?;
            }
        }
        for thread in snapshot.threads() {
            if let Some((data, size)) = thread.record.stack.memory.place() {
                let entry = Entry {
                    start: thread.record.stack.start_of_memory_range.get(),
                    size,
                    data,
                    at: data,
                };
                overlaps.look_at(&entry, &mut facts)?;
            }
        }
        facts.uncompared = overlaps.exhausted;
        if let Some(list) = usable::<MemoryInfoList<'_>>(snapshot, &mut scratch) {
            facts.regions(&list)?;
        }
        Ok(facts)
    }

    /// What one entry tells alone.
    fn single(&mut self, entry: &Entry, mask: u64) {
        if entry.size == 0 {
            self.empty.note(entry.at, || told(entry));
        }
        // The last byte may be the last of the address space.
        let last = (entry.start & mask).checked_add(entry.size.saturating_sub(1));
        if last.is_none_or(|last| last > mask) {
            self.wraps.note(entry.at, || told(entry));
        }
    }

    /// Finds entries of the Memory64List that do not start with a region.
    fn region_starts(
        &mut self,
        snapshot: &MinidumpSnapshot<'_>,
        list: &Memory64List<'_>,
        sorted: bool,
    ) -> Result<(), Error> {
        let mask = snapshot.address_mask();
        let mut regions = snapshot.regions().peekable();
        for entry in list64_entries(list) {
            let entry = entry?;
            let start = VirtAddr(entry.start & mask);
            let starts = if sorted {
                while let Some(Ok(region)) = regions.peek()
                    && region.range.start < start
                {
                    regions.next();
                }
                matches!(regions.peek(), Some(Ok(region)) if region.range.start == start)
            } else {
                snapshot
                    .region_at(start)?
                    .is_some_and(|region| region.range.start == start)
            };
            if !starts {
                self.off_region.note(entry.at, || told(&entry));
            }
        }
        Ok(())
    }

    /// Finds regions that start where another one does.
    fn regions(&mut self, list: &MemoryInfoList<'_>) -> Result<(), Error> {
        let mut last = None;
        let mut sorted = true;
        let mut starts = Vec::new();
        for (index, region) in (0..).zip(&list.regions) {
            let start = region?.base_address.get();
            if last == Some(start) {
                self.same_region
                    .note(list.regions.offset_of(index), || format!("{start:#x}"));
            }
            sorted &= last.is_none_or(|last| last <= start);
            last = Some(start);
        }
        if sorted {
            return Ok(());
        }
        for region in list.regions.iter().take(MAX_REGIONS) {
            starts.push(region?.base_address.get());
        }
        starts.sort_unstable();
        if let Some(pair) = starts.windows(2).find(|pair| pair[0] == pair[1]) {
            self.same_region
                .note(list.regions.offset_of(0), || format!("{:#x}", pair[0]));
        }
        Ok(())
    }
}

/// A list that can be read; what is wrong with it is found elsewhere.
fn usable<'a, T: StreamContent<'a>>(snapshot: &MinidumpSnapshot<'a>, scratch: &mut Findings) -> Option<T> {
    snapshot.dump().get::<T>(scratch).ok().flatten()
}

fn told(entry: &Entry) -> String {
    format!("{:#x} bytes at address {:#x}", entry.size, entry.start)
}

fn list_entries<'a>(list: &MemoryList<'a>) -> impl Iterator<Item = Result<Entry, Error>> + use<'a> {
    let table = list.ranges;
    (0..).zip(table.iter()).map(move |(index, row)| {
        let row = row?;
        Ok(Entry {
            start: row.start_of_memory_range.get(),
            size: u64::from(row.memory.data_size.get()),
            data: FileOffset(u64::from(row.memory.rva.get())),
            at: table.offset_of(index),
        })
    })
}

fn list64_entries<'a>(list: &Memory64List<'a>) -> impl Iterator<Item = Result<Entry, Error>> + use<'a> {
    let (table, mut data) = (list.ranges, list.base);
    (0..).zip(table.iter()).map(move |(index, row)| {
        let row = row?;
        let entry = Entry {
            start: row.start_of_memory_range.get(),
            size: row.data_size.get(),
            data,
            at: table.offset_of(index),
        };
        data = data.saturating_add(entry.size);
        Ok(entry)
    })
}

/// Whether entries come in ascending order without overlaps.
#[derive(Default)]
struct Order {
    end: u64,
}

impl Order {
    fn follows(&mut self, entry: &Entry) -> bool {
        let follows = entry.size == 0 || entry.start >= self.end;
        self.end = self.end.max(entry.start.saturating_add(entry.size));
        follows
    }
}

/// Compares entries with what the dump as a whole has for the same addresses: where all agree with that, they agree
/// with each other.
struct Overlaps<'a> {
    snapshot: &'a MinidumpSnapshot<'a>,
    bytes: u64,
    steps: u64,
    exhausted: bool,
}

impl<'a> Overlaps<'a> {
    fn new(snapshot: &'a MinidumpSnapshot<'a>) -> Self {
        Self {
            snapshot,
            bytes: MAX_COMPARED,
            steps: MAX_STEPS,
            exhausted: false,
        }
    }

    fn look_at(&mut self, entry: &Entry, facts: &mut MemoryFacts) -> Result<(), Error> {
        let source = self.snapshot.dump().source();
        let there = entry.size.min(source.size().saturating_sub(entry.data.0));
        if entry.data.0 == 0 || there == 0 {
            return Ok(());
        }
        let start = VirtAddr(entry.start & self.snapshot.address_mask());
        for extent in self.snapshot.memory().extents(VirtRange::sized(start, there)) {
            let extent = extent?;
            let Some(left) = self.steps.checked_sub(1) else {
                self.exhausted = true;
                return Ok(());
            };
            self.steps = left;
            let mine = entry.data.saturating_add(extent.range.start.0.saturating_sub(start.0));
            let Some(other) = extent.offset.filter(|other| *other != mine) else {
                continue;
            };
            let mut done = 0;
            while done < extent.range.size() {
                let step = CHUNK.min(extent.range.size() - done);
                let Some(left) = self.bytes.checked_sub(step) else {
                    self.exhausted = true;
                    return Ok(());
                };
                self.bytes = left;
                let size = usize::try_from(step).unwrap_or(0);
                let one = source.bytes(mine.saturating_add(done), size)?;
                let two = source.bytes(other.saturating_add(done), size)?;
                if let Some(at) = one.iter().zip(two.iter()).position(|(one, two)| one != two) {
                    let address = extent.range.start.saturating_add(done + at as u64);
                    facts.contradictions.note(entry.at, || {
                        format!("{}, other bytes elsewhere in the file, first at {address}", told(entry))
                    });
                    return Ok(());
                }
                done += step;
            }
        }
        Ok(())
    }
}
