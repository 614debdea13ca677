//! The walk for all addresses of a range.

use std::collections::HashSet;

use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};

use super::cache::read_table;
use super::mode::Entry;
use super::translate::Leaf;
use super::{AddressSpace, FailureReason, Mapping, PagingMode, Provenance, Rights, Visitor};

/// How often tables are looked into that were looked into before at the same level. Windows shares tables only within
/// the map of the tables themselves, which is skipped; tables that refer to one another in circles would be 512^4.
const REPEATS: u32 = 1 << 14;

/// What a walk over a range could not see: what is not in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// Where it was given up, because tables are used again and again; `None` where it came to the end.
    pub stopped_at: Option<VirtAddr>,
    /// How many tables the source lacks.
    pub absent_tables: u64,
    /// How many pages are in page files.
    pub page_file: u64,
    /// How many pages read as zeros once somebody asks for them.
    pub demand_zero: u64,
    /// How many pages are in files, known to VADs alone, or lost with their prototype.
    pub file_backed: u64,
}

impl Visit {
    fn count(&mut self, reason: FailureReason) {
        match reason {
            FailureReason::PageFile { .. } => self.page_file += 1,
            FailureReason::DemandZero => self.demand_zero += 1,
            FailureReason::FileBacked | FailureReason::PrototypeAbsent => self.file_backed += 1,
            _ => {}
        }
    }
}

/// All that is mapped in a range, in ascending order; see [`AddressSpace::mappings`].
pub struct Mappings<'s> {
    space: &'s AddressSpace<'s>,
    /// Start and end of the range, without the gap between the halves.
    start: u64,
    end: u64,
    begun: bool,
    frames: Vec<Frame>,
    /// Buffers of tables that were left.
    spare: Vec<Vec<u64>>,
    /// What was found and not given yet. The last run may be continued by what comes next.
    found: Vec<Mapping>,
    given: usize,
    /// The page directories of PAE tables: among their own entries they are the map of the tables.
    directories: Vec<PhysAddr>,
    seen: HashSet<(u8, Pfn)>,
    repeats: u32,
    visit: Visit,
}

/// A table that the walk is in.
struct Frame {
    level: u8,
    entries: Vec<u64>,
    /// The entry to look at next, and the one to stop before.
    next: usize,
    stop: usize,
    /// The address that the entry at 0 is for.
    base: u64,
    /// Of the tables above it.
    rights: Rights,
}

impl AddressSpace<'_> {
    /// Shows `visitor` all tables and all that is mapped in `range`, in ascending order. Where the tables map
    /// themselves is left out.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn visit(&self, range: VirtRange, visitor: &mut dyn Visitor) -> Result<Visit, Error> {
        let mut walk = self.mappings(range);
        while walk.advance(visitor)? {
            if let Some((last, others)) = walk.found.split_last()
                && !others.is_empty()
            {
                visitor.mappings(others);
                let last = *last;
                walk.found.clear();
                walk.found.push(last);
            }
        }
        visitor.mappings(&walk.found);
        Ok(walk.visit)
    }

    /// All that is mapped in `range`, in ascending order. Where the tables map themselves is left out.
    #[must_use]
    pub fn mappings(&self, range: VirtRange) -> Mappings<'_> {
        let (start, end) = self.mode.linear_range(range);
        Mappings {
            space: self,
            start,
            end,
            begun: false,
            frames: Vec::new(),
            spare: Vec::new(),
            found: Vec::new(),
            given: 0,
            directories: Vec::new(),
            seen: HashSet::new(),
            repeats: 0,
            visit: Visit::default(),
        }
    }
}

/// Looks into every table.
struct Everything;

impl Visitor for Everything {
    fn table(&mut self, _: Pfn, _: u8, _: VirtAddr) -> bool {
        true
    }

    fn mapping(&mut self, _: &Mapping) {}
}

impl Iterator for Mappings<'_> {
    type Item = Result<Mapping, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // All but the last one: that may grow.
            if self.given + 1 < self.found.len() {
                self.given += 1;
                return Some(Ok(self.found[self.given - 1]));
            }
            self.found.drain(..self.given);
            self.given = 0;
            match self.advance(&mut Everything) {
                Ok(true) => {}
                Ok(false) => return self.found.pop().map(Ok),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Mappings<'_> {
    /// What it could not see so far.
    #[must_use]
    pub const fn visit(&self) -> Visit {
        self.visit
    }

    /// Goes on with a table, and tells whether there was one. Asks `visitor` about tables only.
    fn advance(&mut self, visitor: &mut dyn Visitor) -> Result<bool, Error> {
        if !self.begun {
            self.begun = true;
            let space = self.space;
            if self.start < self.end {
                self.enter(space.root, space.mode.levels(), 0, Rights::ALL, visitor)?;
            }
        }
        while let Some(frame) = self.frames.last() {
            if frame.level == 1 {
                self.pages()?;
            } else if frame.next < frame.stop {
                self.tables(visitor)?;
                continue;
            }
            let left = self.frames.pop();
            self.spare.extend(left.map(|frame| frame.entries));
            return Ok(true);
        }
        Ok(false)
    }

    /// Goes into a table, unless the source lacks it or the visitor does not want it.
    fn enter(
        &mut self,
        table: PhysAddr,
        level: u8,
        base: u64,
        rights: Rights,
        visitor: &mut dyn Visitor,
    ) -> Result<(), Error> {
        let (mode, physical) = (self.space.mode, self.space.physical);
        let (page, start) = (table.pfn(), mode.address(base));
        if !visitor.table(page, level, start) {
            return Ok(());
        }
        if self.repeats == REPEATS && self.seen.contains(&(level, page)) {
            self.visit.stopped_at = Some(start);
            self.spare.extend(self.frames.drain(..).map(|frame| frame.entries));
            return Ok(());
        }
        let mut entries = self.spare.pop().unwrap_or_default();
        read_table(physical, mode, page, &mut entries)?;
        if entries.is_empty() {
            self.visit.absent_tables += 1;
            self.spare.push(entries);
            return Ok(());
        }
        if !self.seen.insert((level, page)) {
            self.repeats += 1;
        }
        // The page-directory-pointer table of PAE need not be at the start of its page.
        let first = usize::try_from(table.offset_in_page() / mode.entry_size()).unwrap_or(0);
        entries.drain(..first.min(entries.len()));
        entries.truncate(usize::from(mode.entries(level)));
        let index =
            |address: u64| usize::try_from(address.saturating_sub(base) >> mode.shift(level)).unwrap_or(usize::MAX);
        self.frames.push(Frame {
            level,
            next: index(self.start),
            stop: index(self.end - 1).saturating_add(1).min(entries.len()),
            entries,
            base,
            rights,
        });
        Ok(())
    }

    /// Goes on in a table of tables, up to the next table.
    fn tables(&mut self, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        let (mode, level) = (self.space.mode, frame.level);
        while frame.next < frame.stop {
            let entry = frame.entries[frame.next];
            let linear = frame.base + ((frame.next as u64) << mode.shift(level));
            frame.next += 1;
            if entry == 0 {
                continue;
            }
            match mode.decode(entry, self.space.place(linear, level)) {
                Entry::Table { address, rights } => {
                    let rights = frame.rights.and(rights);
                    if level == mode.levels() {
                        if address == self.space.root {
                            continue;
                        }
                        self.directories.push(address);
                    } else if mode == PagingMode::Pae && self.directories.contains(&address) {
                        continue;
                    }
                    return self.enter(address, level - 1, linear, rights, visitor);
                }
                Entry::Page { address, rights } => {
                    let size = 1 << mode.shift(level);
                    // The range may begin or end within a large page.
                    let skipped = self.start.saturating_sub(linear);
                    let end = (linear + size).min(self.end);
                    let mapping = Mapping {
                        range: VirtRange::sized(mode.address(linear + skipped), end - linear - skipped),
                        physical: address.saturating_add(skipped),
                        page_size: size,
                        provenance: Provenance::Valid,
                        rights: frame.rights.and(rights),
                    };
                    push(&mut self.found, mapping, mode);
                }
                Entry::Invalid | Entry::Reserved => {}
            }
        }
        Ok(())
    }

    /// Finds what a table of pages maps.
    fn pages(&mut self) -> Result<(), Error> {
        let Some(frame) = self.frames.last() else {
            return Ok(());
        };
        let (space, mode) = (self.space, self.space.mode);
        let (entries, meaningful) = (&frame.entries[..frame.stop], mode.meaningful());
        let address_bits = mode.page_address_bits();
        let place = space.place(frame.base, 1);
        let base = mode.address(frame.base);
        // Most pages of a table have the same rights.
        let mut known = (0, frame.rights);
        let mut next = frame.next;
        let first = self.found.len();
        loop {
            next += zeros(entries.get(next..).unwrap_or_default());
            let Some(&entry) = entries.get(next) else { break };
            let start = VirtAddr(base.0 + next as u64 * PAGE_SIZE);
            next += 1;
            let bits = entry & meaningful & !address_bits;
            let (leaf, pages) = if bits == known.0 && bits != 0 {
                let follow = following(&entries[next..], entry, meaningful);
                next += follow;
                let leaf = Leaf {
                    address: PhysAddr(entry & address_bits),
                    provenance: Provenance::Valid,
                    rights: known.1,
                };
                (leaf, 1 + follow as u64)
            } else {
                match mode.decode(entry, place) {
                    Entry::Page { rights, .. } => {
                        known = (bits, frame.rights.and(rights));
                        next -= 1;
                        continue;
                    }
                    Entry::Invalid => match space.software_leaf(entry, frame.rights, true)? {
                        Ok(leaf) => (leaf, 1),
                        Err(reason) => {
                            self.visit.count(reason);
                            continue;
                        }
                    },
                    Entry::Table { .. } | Entry::Reserved => continue,
                }
            };
            let mapping = Mapping {
                range: VirtRange::sized(start, pages * PAGE_SIZE),
                physical: leaf.address,
                page_size: PAGE_SIZE,
                provenance: leaf.provenance,
                rights: leaf.rights,
            };
            push(&mut self.found, mapping, mode);
        }
        self.cut(first.saturating_sub(1));
        Ok(())
    }

    /// Cuts runs of pages at the ends of the range, which may lie within pages. Those from `first` on are new.
    fn cut(&mut self, first: usize) {
        let mode = self.space.mode;
        let Some(new) = self.found.get_mut(first..) else { return };
        let (start, last) = (mode.address(self.start), mode.address(self.end - 1));
        if let Some(mapping) = new.first_mut()
            && mapping.range.contains(start)
        {
            mapping.physical = mapping.physical.saturating_add(start.0 - mapping.range.start.0);
            mapping.range.start = start;
        }
        if let Some(mapping) = new.last_mut()
            && mapping.range.contains(last)
        {
            mapping.range = VirtRange::new(mapping.range.start, last.saturating_add(1));
        }
    }
}

/// Adds a run, to the last one where it continues that.
fn push(found: &mut Vec<Mapping>, next: Mapping, mode: PagingMode) {
    if let Some(last) = found.last_mut()
        && last.range.end == next.range.start
        && last.physical.saturating_add(last.range.size()) == next.physical
        && last.page_size == next.page_size
        && last.provenance == next.provenance
        && last.rights == next.rights
        && next.range.start != mode.kernel_half().start
    {
        last.range.end = next.range.end;
        return;
    }
    found.push(next);
}

/// How many entries at the start of `entries` are zero.
fn zeros(entries: &[u64]) -> usize {
    const GROUP: usize = 8;

    if entries.first().is_some_and(|entry| *entry != 0) {
        return 0;
    }
    let groups = entries
        .chunks_exact(GROUP)
        .take_while(|group| group.iter().all(|entry| *entry == 0));
    let skipped = groups.count() * GROUP;
    skipped + entries[skipped..].iter().take_while(|entry| **entry == 0).count()
}

/// How many of `entries` each map the page behind that of the one before, `entry` being the first, in the same way.
fn following(entries: &[u64], entry: u64, meaningful: u64) -> usize {
    let mut expected = entry & meaningful;
    let follow = entries.iter().take_while(|entry| {
        // Behind the last address this carries into a bit that no meaningful one is, and nothing follows.
        expected += PAGE_SIZE;
        **entry & meaningful == expected
    });
    follow.count()
}
