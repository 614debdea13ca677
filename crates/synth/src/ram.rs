//! Physical memory in which only the pages that were written take room.

use std::collections::BTreeMap;

use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr};
use dotdump_snapshot::{PagePlace, PageRun, PhysicalMemory};

use crate::error::BuildError;

/// [`PAGE_SIZE`] as a length of slices.
pub(crate) const PAGE: usize = 0x1000;

/// Where a machine has memory: runs of pages, ascending and apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap(Vec<(Pfn, u64)>);

impl MemoryMap {
    /// Runs of (first page, number of pages).
    ///
    /// # Errors
    /// [`BuildError::Options`] where they overlap, touch no page or do not ascend.
    pub fn new(runs: Vec<(Pfn, u64)>) -> Result<Self, BuildError> {
        let mut end = 0;
        for (first, pages) in &runs {
            if first.0 < end || *pages == 0 {
                return Err(BuildError::Options(
                    "runs of memory must ascend and must not be empty or overlap",
                ));
            }
            end = first
                .0
                .checked_add(*pages)
                .filter(|end| *end <= 1 << 40)
                .ok_or(BuildError::Options("memory ends at 2^52 bytes"))?;
        }
        Ok(Self(runs))
    }

    /// A PC of `bytes` of memory: none at page 0, none from 640 KiB to 1 MiB, and what is more than 3 GiB above 4 GiB.
    #[must_use]
    pub fn pc(bytes: u64) -> Self {
        let pages = (bytes / PAGE_SIZE).max(0x200);
        let low = pages.min(0xC_0000);
        let mut runs = vec![(Pfn(1), 0x9E), (Pfn(0x100), low - 0x100)];
        if pages > low {
            runs.push((Pfn(0x10_0000), pages - low));
        }
        Self(runs)
    }

    /// The PC of [`MemoryMap::pc`] with `count` more runs of `pages` pages each, `distance` pages apart, the first of
    /// them `distance` pages behind the PC's last page.
    #[must_use]
    pub fn with_runs(mut self, count: u64, pages: u64, distance: u64) -> Self {
        for _ in 0..count {
            let next = self.end().0 + distance;
            self.0.push((Pfn(next), pages.max(1)));
        }
        self
    }

    /// The runs: first page and number of pages.
    #[must_use]
    pub fn runs(&self) -> &[(Pfn, u64)] {
        &self.0
    }

    /// The number of pages of all runs.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.0.iter().map(|(_, pages)| pages).sum()
    }

    /// The page behind the last one.
    #[must_use]
    pub fn end(&self) -> Pfn {
        self.0.last().map_or(Pfn(0), |(first, pages)| Pfn(first.0 + pages))
    }

    /// The run at or behind a page, cut so that it starts there.
    fn at_or_behind(&self, page: u64) -> Option<(u64, u64)> {
        let index = self.0.partition_point(|(first, pages)| first.0 + pages <= page);
        let (first, pages) = self.0.get(index)?;
        let start = first.0.max(page);
        Some((start, first.0 + pages))
    }

    /// Whether there is a page of this number.
    #[must_use]
    pub fn contains(&self, page: Pfn) -> bool {
        self.at_or_behind(page.0).is_some_and(|(start, _)| start == page.0)
    }
}

/// Physical memory. Pages that nobody wrote to are there and read as zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ram {
    map: MemoryMap,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Ram {
    /// Memory that is all zero.
    #[must_use]
    pub const fn new(map: MemoryMap) -> Self {
        Self {
            map,
            pages: BTreeMap::new(),
        }
    }

    /// Where it has memory.
    #[must_use]
    pub const fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// The pages that were written to, ascending.
    pub fn written(&self) -> impl Iterator<Item = (Pfn, &[u8])> {
        self.pages.iter().map(|(page, bytes)| (Pfn(*page), bytes.as_slice()))
    }

    /// The pages from `first` up to `end` that were written to, ascending.
    pub fn written_in(&self, first: Pfn, end: Pfn) -> impl Iterator<Item = (Pfn, &[u8])> {
        self.pages
            .range(first.0..end.0.max(first.0))
            .map(|(page, bytes)| (Pfn(*page), bytes.as_slice()))
    }

    /// The bytes of a page that was written to.
    #[must_use]
    pub fn page(&self, page: Pfn) -> Option<&[u8]> {
        self.pages.get(&page.0).map(|bytes| bytes.as_slice())
    }

    /// Writes from `address` on.
    ///
    /// # Errors
    /// [`BuildError::NoSuchPage`] where there is no memory; what lies before is written.
    pub fn write(&mut self, address: PhysAddr, mut bytes: &[u8]) -> Result<(), BuildError> {
        let mut at = address.0;
        while !bytes.is_empty() {
            let offset = usize::try_from(at % PAGE_SIZE).unwrap_or(0);
            let (here, rest) = bytes.split_at(bytes.len().min(PAGE - offset));
            let number = at / PAGE_SIZE;
            if !self.pages.contains_key(&number) && !self.map.contains(Pfn(number)) {
                return Err(BuildError::NoSuchPage(at));
            }
            let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE]));
            page[offset..offset + here.len()].copy_from_slice(here);
            at += here.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// The little-endian number of `size` bytes (at most 8) at `address`; what is not there is zero.
    #[must_use]
    pub fn number(&self, address: PhysAddr, size: usize) -> u64 {
        let mut bytes = [0; 8];
        self.copy(address, &mut bytes[..size.min(8)]);
        u64::from_le_bytes(bytes)
    }

    /// Copies out from `address` on, up to the first page that is not there; the number of bytes.
    fn copy(&self, address: PhysAddr, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let offset = usize::try_from(at.offset_in_page()).unwrap_or(0);
            let here = (buffer.len() - done).min(PAGE - offset);
            match self.pages.get(&at.pfn().0) {
                Some(page) => buffer[done..done + here].copy_from_slice(&page[offset..offset + here]),
                None if self.map.contains(at.pfn()) => buffer[done..done + here].fill(0),
                None => break,
            }
            done += here;
        }
        done
    }
}

impl PhysicalMemory for Ram {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let Some((first, end)) = self.map.at_or_behind(from.0) else {
            return Ok(None);
        };
        let mut stored = self.pages.range(first..end).map(|(page, _)| *page);
        let (pages, place) = match stored.next() {
            Some(page) if page == first => {
                let more = stored
                    .zip(first + 1..)
                    .take_while(|(page, expected)| page == expected)
                    .count();
                (more as u64 + 1, PagePlace::Read)
            }
            next => (next.unwrap_or(end) - first, PagePlace::Zero),
        };
        Ok(Some(PageRun {
            first: Pfn(first),
            pages,
            place,
        }))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        Ok(if self.pages.contains_key(&page.0) {
            Some(PagePlace::Read)
        } else {
            self.map.contains(page).then_some(PagePlace::Zero)
        })
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(self.copy(address, buffer))
    }

    fn pages_present(&self) -> u64 {
        self.map.pages()
    }

    fn end(&self) -> Pfn {
        self.map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_show_what_was_written_and_what_is_zero() {
        let map = MemoryMap::new(vec![(Pfn(1), 4), (Pfn(0x10_0000_0000 / 0x1000), 2)]).unwrap();
        let mut ram = Ram::new(map);
        ram.write(PhysAddr(0x2FFE), b"abcd").unwrap();
        assert_eq!(ram.write(PhysAddr(0x5000), b"x"), Err(BuildError::NoSuchPage(0x5000)));
        let runs: Vec<_> = (&ram as &dyn PhysicalMemory)
            .runs(Pfn(0))
            .map(|run| run.map(|run| (run.first.0, run.pages, run.place)).unwrap())
            .collect();
        assert_eq!(
            runs,
            [
                (1, 1, PagePlace::Zero),
                (2, 2, PagePlace::Read),
                (4, 1, PagePlace::Zero),
                (0x100_0000, 2, PagePlace::Zero)
            ]
        );
        let mut bytes = [9; 8];
        assert_eq!(ram.read(PhysAddr(0x2FFC), &mut bytes).unwrap(), 8);
        assert_eq!(&bytes, b"\0\0abcd\0\0");
        assert_eq!(ram.read(PhysAddr(0x4FFC), &mut bytes).unwrap(), 4);
        assert_eq!(ram.pages_present(), 6);
        assert_eq!(ram.end(), Pfn(0x100_0002));
    }

    #[test]
    fn a_pc_has_a_hole_below_four_gibibytes() {
        let map = MemoryMap::pc(8 << 30);
        assert_eq!(
            map.runs(),
            [(Pfn(1), 0x9E), (Pfn(0x100), 0xBFF00), (Pfn(0x10_0000), 0x14_0000)]
        );
        assert!(MemoryMap::new(vec![(Pfn(5), 4), (Pfn(8), 1)]).is_err());
    }
}
