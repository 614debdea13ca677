//! The PFN database: what the kernel knows of each page of physical memory.

use std::cell::RefCell;
use std::ops::ControlFlow;

use dotdump_format::kernel::pfn::{PageLocation, PageState, PfnLayout};
use dotdump_format::{Error, PAGE_SIZE, Pfn, VirtAddr, VirtRange};

use super::reader::KernelReader;
use crate::memory::Memory;

/// Entries of the database that are read at once: 48 pages of them on 64-bit Windows.
const CHUNK_ENTRIES: u64 = 4096;

/// The PFN database of a machine, in its kernel memory.
///
/// The database has holes: Windows maps no entries where there is no memory, and dumps may lack pages of it.
pub struct PfnDatabase<'a> {
    memory: &'a dyn Memory,
    place: FoundPfnDatabase,
    /// The buffer of [`PfnDatabase::visit`], which is called for many ranges.
    buffer: RefCell<Vec<u8>>,
}

/// Where a database was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundPfnDatabase {
    base: VirtAddr,
    layout: PfnLayout,
    confirmed: bool,
}

/// Where the database may be.
#[derive(Clone, Debug, Default)]
pub struct PfnDatabaseHints {
    /// `PfnDataBase` of the header: the database itself in dumps that Windows wrote, the variable that points to it in
    /// those of debuggers.
    pub header: Option<VirtAddr>,
    /// The variable, as `KDDEBUGGER_DATA64` has it.
    pub variable: Option<VirtAddr>,
    /// Pages that are in use for sure: of page tables, of the kernel's variables.
    pub active: Vec<Pfn>,
}

impl<'a> PfnDatabase<'a> {
    /// Finds the database; `None` where no place of it is known, or none can be read.
    ///
    /// A place is confirmed where the entry of a page that is in use says so, and leads to the page-table entry which
    /// maps that very page.
    #[must_use]
    pub fn find(reader: &KernelReader<'a>, layout: PfnLayout, hints: &PfnDatabaseHints) -> Option<Self> {
        let through = |variable: VirtAddr| {
            let base = reader.kernel_pointer(variable)?;
            base.0.is_multiple_of(PAGE_SIZE).then_some(base)
        };
        // Where header and table agree, the header has the variable; else the header has the database.
        let header = hints.header.filter(|header| Some(*header) != hints.variable);
        let candidates = [hints.variable.and_then(through), header, header.and_then(through)];
        let mut best = None;
        for base in candidates.into_iter().flatten() {
            if !base.0.is_multiple_of(reader.pointer_size()) || !reader.is_kernel(base) {
                continue;
            }
            let place = FoundPfnDatabase {
                base,
                layout,
                confirmed: false,
            };
            let mut database = Self::new(reader.memory(), place);
            if hints.active.iter().any(|page| database.confirms(reader, *page)) {
                database.place.confirmed = true;
                return Some(database);
            }
            let has_entries = hints
                .active
                .iter()
                .any(|page| matches!(database.state(*page), Ok(Some(_))));
            if best.is_none() && has_entries {
                best = Some(database);
            }
        }
        best
    }

    /// The database at a place where it was found.
    #[must_use]
    pub fn new(memory: &'a dyn Memory, place: FoundPfnDatabase) -> Self {
        Self {
            memory,
            place,
            buffer: RefCell::default(),
        }
    }

    /// Where it was found.
    #[must_use]
    pub const fn found(&self) -> FoundPfnDatabase {
        self.place
    }

    /// Where it starts.
    #[must_use]
    pub const fn base(&self) -> VirtAddr {
        self.place.base
    }

    /// Whether the entry of a page that is in use showed that this is the database and its layout the right one.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.place.confirmed
    }

    /// Whether the entry of `page` says that it is in use, and the page-table entry that it leads to maps `page`.
    fn confirms(&self, reader: &KernelReader<'_>, page: Pfn) -> bool {
        let Ok(Some(state)) = self.state(page) else {
            return false;
        };
        if state.location != PageLocation::Active || !reader.is_kernel(state.pte_address) {
            return false;
        }
        // The entry's low bits are flags of the database, not of the address.
        let entry = reader.word(VirtAddr(state.pte_address.0 & !7));
        entry.is_some_and(|entry| entry & 1 == 1 && (entry & 0x000F_FFFF_FFFF_F000) / PAGE_SIZE == page.0)
    }

    /// Where the entry of `page` lies; `None` where that is not below 2^64.
    fn entry_address(&self, page: Pfn) -> Option<VirtAddr> {
        self.place
            .base
            .checked_add(page.0.checked_mul(self.place.layout.size as u64)?)
    }

    /// What the database says of `page`; `None` where it has no entry for it.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn state(&self, page: Pfn) -> Result<Option<PageState>, Error> {
        let Some(address) = self.entry_address(page) else {
            return Ok(None);
        };
        let mut entry = [0; 0x40];
        let Some(entry) = entry.get_mut(..self.place.layout.size) else {
            return Ok(None);
        };
        let read = self.memory.read(address, entry)?;
        Ok((read == entry.len()).then(|| self.place.layout.read(entry)).flatten())
    }

    /// Calls `each` for all pages from `first` up to and without `end` that have an entry, in ascending order, until it
    /// breaks. The database is read in large pieces.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn visit(
        &self,
        first: Pfn,
        end: Pfn,
        each: &mut dyn FnMut(Pfn, &PageState) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let size = self.place.layout.size as u64;
        let mut buffer = self.buffer.borrow_mut();
        let mut page = first;
        while page < end {
            let Some(address) = self.entry_address(page) else { break };
            let entries = (end.0 - page.0).min(CHUNK_ENTRIES);
            let bytes = usize::try_from(entries * size).unwrap_or(0);
            if buffer.len() < bytes {
                buffer.resize(bytes, 0);
            }
            let read = self.memory.read(address, &mut buffer[..bytes])?;
            let whole = buffer[..read.min(bytes)].chunks_exact(self.place.layout.size);
            let count = whole.len() as u64;
            for (index, entry) in (0..).zip(whole) {
                if let Some(state) = self.place.layout.read(entry)
                    && each(page.saturating_add(index), &state).is_break()
                {
                    return Ok(());
                }
            }
            page = page.saturating_add(count);
            if count < entries {
                // An entry that is not all there: on to the first one behind the hole.
                match self.next_entry(page)? {
                    Some(next) => page = next,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// The first page behind `page` whose entry may be there.
    fn next_entry(&self, page: Pfn) -> Result<Option<Pfn>, Error> {
        let Some(behind) = page.checked_add(1).and_then(|next| self.entry_address(next)) else {
            return Ok(None);
        };
        let rest = VirtRange::new(behind, VirtAddr(u64::MAX));
        let Some(extent) = self.memory.extents(rest).next() else {
            return Ok(None);
        };
        let within = extent?.range.start.0.saturating_sub(self.place.base.0);
        Ok(Some(
            Pfn(within.div_ceil(self.place.layout.size as u64)).max(page.saturating_add(1)),
        ))
    }
}
