//! Page tables made by hand, for tests.

use std::collections::BTreeMap;

use dotdump_format::{Error, FileOffset, PAGE_SIZE, Pfn, PhysAddr};

use super::PagingMode;
use crate::physical::{PagePlace, PageRun, PhysicalMemory};

/// Where in its page an address lies.
fn offset(address: u64) -> usize {
    usize::try_from(address % PAGE_SIZE).unwrap()
}

/// Physical memory with a page wherever something was written.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) pages: BTreeMap<u64, Vec<u8>>,
}

impl Pages {
    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.entry(at / PAGE_SIZE).or_insert_with(|| vec![0; 0x1000]);
            page[offset(at)] = *byte;
        }
    }

    pub(super) fn word(&self, address: u64) -> u64 {
        let Some(page) = self.pages.get(&(address / PAGE_SIZE)) else {
            return 0;
        };
        let at = offset(address);
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }
}

impl PhysicalMemory for Pages {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        Ok(self.pages.range(from.0..).next().map(|(page, _)| PageRun {
            first: Pfn(*page),
            pages: 1,
            place: PagePlace::File(FileOffset(*page * PAGE_SIZE)),
        }))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        Ok(self
            .pages
            .contains_key(&page.0)
            .then_some(PagePlace::File(FileOffset(page.0 * PAGE_SIZE))))
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        for (done, byte) in buffer.iter_mut().enumerate() {
            let at = address.0.wrapping_add(done as u64);
            let Some(page) = self.pages.get(&(at / PAGE_SIZE)) else {
                return Ok(done);
            };
            *byte = page[offset(at)];
        }
        Ok(buffer.len())
    }

    fn pages_present(&self) -> u64 {
        self.pages.len() as u64
    }

    fn end(&self) -> Pfn {
        Pfn(self.pages.last_key_value().map_or(0, |(page, _)| page + 1))
    }
}

/// Builds tables: levels, widths and bits are written down here once more, from the processors' manuals.
pub(super) struct Tables {
    pub(super) memory: Pages,
    pub(super) mode: PagingMode,
    pub(super) root: u64,
    next: u64,
}

impl Tables {
    pub(super) fn new(mode: PagingMode) -> Self {
        let mut memory = Pages::default();
        memory.write(0x10_0000, &[0; 4096]);
        Self {
            memory,
            mode,
            root: 0x10_0000,
            next: 0x10_1000,
        }
    }

    /// The levels from the top, as the lowest bit that each of them translates and the number of these bits.
    pub(super) fn levels(&self) -> &'static [(u32, u32)] {
        match self.mode {
            PagingMode::X86 => &[(22, 10), (12, 10)],
            PagingMode::Pae => &[(30, 2), (21, 9), (12, 9)],
            PagingMode::FourLevel | PagingMode::Arm64 => &[(39, 9), (30, 9), (21, 9), (12, 9)],
            PagingMode::FiveLevel => &[(48, 9), (39, 9), (30, 9), (21, 9), (12, 9)],
        }
    }

    pub(super) fn set(&mut self, at: u64, entry: u64) {
        let size = if self.mode == PagingMode::X86 { 4 } else { 8 };
        self.memory.write(at, &entry.to_le_bytes()[..size]);
    }

    pub(super) fn get(&self, at: u64) -> u64 {
        if self.mode == PagingMode::X86 {
            self.memory.word(at & !7) >> (at % 8 * 8) & 0xFFFF_FFFF
        } else {
            self.memory.word(at)
        }
    }

    /// The entry that refers to a table.
    pub(super) fn table_entry(&self, table: u64, depth: usize) -> u64 {
        match self.mode {
            PagingMode::Arm64 => table | 3,
            PagingMode::Pae if depth == 0 => table | 1,
            _ => table | 0x67,
        }
    }

    /// The physical address of the entry for `address` at `depth` below the root; missing tables are made.
    pub(super) fn entry(&mut self, address: u64, depth: usize) -> u64 {
        let levels = self.levels();
        let size = if self.mode == PagingMode::X86 { 4 } else { 8 };
        let mut table = self.root;
        for (above, (shift, bits)) in levels.iter().enumerate() {
            let at = table + (address >> shift & ((1 << bits) - 1)) * size;
            if above == depth {
                return at;
            }
            if self.get(at) == 0 {
                let new = self.next;
                self.next += PAGE_SIZE;
                self.memory.write(new, &[0; 4096]);
                self.set(at, self.table_entry(new, above));
            }
            table = self.get(at) & 0x000F_FFFF_FFFF_F000;
        }
        unreachable!("there is no such depth");
    }

    /// Maps a page of 4 KiB by the bare entry.
    pub(super) fn map_entry(&mut self, address: u64, entry: u64) {
        let at = self.entry(address, self.levels().len() - 1);
        self.set(at, entry);
    }

    /// Maps a page of 4 KiB, for user mode, to be written and executed.
    pub(super) fn map(&mut self, address: u64, physical: u64) {
        let bits = if self.mode == PagingMode::Arm64 { 0x743 } else { 0x67 };
        self.map_entry(address, physical | bits);
    }
}
