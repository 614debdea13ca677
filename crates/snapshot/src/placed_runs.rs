//! Runs of pages that lie as they are in a file, each at a place of its own.

use dotdump_format::{Error, FileOffset, Findings, PAGE_SIZE, Pfn, PhysAddr, ReadAt};

use crate::physical::{PagePlace, PageRun, PhysicalMemory};

/// No processor has physical addresses of more bits than this.
const PHYSICAL_BITS: u32 = 52;

/// A part of physical memory in a file, as a table of the file or of a user says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The first address.
    pub(crate) start: PhysAddr,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Where its bytes start in the file.
    pub(crate) offset: FileOffset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Pfn,
    pages: u64,
    offset: FileOffset,
}

impl Run {
    const fn end(&self) -> Pfn {
        self.first.saturating_add(self.pages)
    }

    const fn offset_of(&self, page: Pfn) -> FileOffset {
        self.offset
            .saturating_add((page.0 - self.first.0).saturating_mul(PAGE_SIZE))
    }
}

/// Gathers the runs of a file, in any order, and leaves out what cannot be.
pub(crate) struct PlacedRunsBuilder<'a> {
    source: &'a dyn ReadAt,
    what: &'static str,
    runs: Vec<Run>,
}

impl<'a> PlacedRunsBuilder<'a> {
    /// For parts of `source`; findings will name each of them `what`.
    pub(crate) fn new(source: &'a dyn ReadAt, what: &'static str) -> Self {
        Self {
            source,
            what,
            runs: Vec::new(),
        }
    }

    /// Adds the whole pages of a part. What is no whole page, or not in the file, becomes a finding.
    pub(crate) fn add(&mut self, part: Placed, findings: &mut Findings) {
        let Placed { start, size, offset } = part;
        if size == 0 {
            return;
        }
        if start.0.checked_add(size).is_none_or(|end| end > 1 << PHYSICAL_BITS) {
            findings.add(
                offset,
                self.what,
                format!("{size:#x} bytes at {start}: physical addresses have at most {PHYSICAL_BITS} bits; left out"),
            );
            return;
        }
        let there = size.min(self.source.size().saturating_sub(offset.0));
        if there < size {
            findings.add(
                offset,
                self.what,
                format!("{size:#x} bytes of memory at {start}, of which only {there:#x} lie within the file"),
            );
        }
        let skipped = start.0.wrapping_neg() % PAGE_SIZE;
        let pages = there.saturating_sub(skipped) / PAGE_SIZE;
        let partial = there - pages * PAGE_SIZE;
        if partial > 0 {
            findings.add(
                offset,
                self.what,
                format!(
                    "{there:#x} bytes of memory at {start}: {partial:#x} of them are no whole page and are left out"
                ),
            );
        }
        if pages == 0 {
            return;
        }
        let run = Run {
            first: start.saturating_add(skipped).pfn(),
            pages,
            offset: offset.saturating_add(skipped),
        };
        match self.runs.last_mut() {
            Some(last) if last.end() == run.first && last.offset_of(run.first) == run.offset => last.pages += pages,
            _ => self.runs.push(run),
        }
    }

    /// The runs, sorted and apart. Of pages that are there several times, those of the run that starts lowest count, and
    /// of runs with the same start those of the first one; where the others have them elsewhere in the file, a finding
    /// tells.
    pub(crate) fn finish(self, findings: &mut Findings) -> PlacedRuns<'a> {
        let Self { source, what, mut runs } = self;
        runs.sort_by_key(|run| run.first);
        let mut apart = 0_usize;
        for index in 0..runs.len() {
            let mut run = runs[index];
            let (settled, _) = runs.split_at_mut(apart);
            // The settled runs have every page from this one's first on, up to their end, or none of them.
            let other = settled.partition_point(|other| other.end() <= run.first);
            if settled
                .get(other)
                .is_some_and(|other| other.offset_of(run.first) != run.offset)
            {
                findings.add(
                    run.offset,
                    what,
                    format!("page {} is in the file twice; the other copy counts", run.first),
                );
            }
            if let Some(last) = settled.last_mut() {
                let covered = last.end().0.saturating_sub(run.first.0).min(run.pages);
                run = Run {
                    first: run.first.saturating_add(covered),
                    pages: run.pages - covered,
                    offset: run.offset.saturating_add(covered * PAGE_SIZE),
                };
                if run.first == last.end() && last.offset_of(run.first) == run.offset {
                    last.pages += run.pages;
                    continue;
                }
            }
            if run.pages > 0 {
                runs[apart] = run;
                apart += 1;
            }
        }
        runs.truncate(apart);
        runs.shrink_to_fit();
        PlacedRuns {
            source,
            pages: runs.iter().map(|run| run.pages).sum(),
            runs,
        }
    }
}

/// See the [module](self).
pub(crate) struct PlacedRuns<'a> {
    source: &'a dyn ReadAt,
    /// Sorted and apart; neighbours are joined where they are neighbours in the file as well.
    runs: Vec<Run>,
    pages: u64,
}

impl PlacedRuns<'_> {
    /// The first run that ends behind `page`.
    fn reaching(&self, page: Pfn) -> Option<&Run> {
        self.runs.get(self.runs.partition_point(|run| run.end() <= page))
    }
}

impl PhysicalMemory for PlacedRuns<'_> {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        Ok(self.reaching(from).and_then(|run| {
            PageRun {
                first: run.first,
                pages: run.pages,
                place: PagePlace::File(run.offset),
            }
            .from(from)
        }))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        let run = self.reaching(page).filter(|run| run.first <= page);
        Ok(run.map(|run| PagePlace::File(run.offset_of(page))))
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some(run) = self.reaching(at.pfn()).filter(|run| run.first <= at.pfn()) else {
                break;
            };
            let within = at.0 - run.first.0 * PAGE_SIZE;
            let left = run.pages * PAGE_SIZE - within;
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len() - done);
            self.source
                .read_exact_at(run.offset.saturating_add(within), &mut buffer[done..done + now])?;
            done += now;
        }
        Ok(done)
    }

    fn pages_present(&self) -> u64 {
        self.pages
    }

    fn end(&self) -> Pfn {
        self.runs.last().map_or(Pfn(0), Run::end)
    }
}

/// Implements [`PhysicalMemory`] by a field that does.
macro_rules! physical_memory_by {
    ($name:ident, $field:ident) => {
        impl $crate::physical::PhysicalMemory for $name<'_> {
            fn next_run(
                &self,
                from: ::dotdump_format::Pfn,
            ) -> Result<Option<$crate::physical::PageRun>, ::dotdump_format::Error> {
                self.$field.next_run(from)
            }

            fn place(
                &self,
                page: ::dotdump_format::Pfn,
            ) -> Result<Option<$crate::physical::PagePlace>, ::dotdump_format::Error> {
                self.$field.place(page)
            }

            fn read(
                &self,
                address: ::dotdump_format::PhysAddr,
                buffer: &mut [u8],
            ) -> Result<usize, ::dotdump_format::Error> {
                self.$field.read(address, buffer)
            }

            fn pages_present(&self) -> u64 {
                self.$field.pages_present()
            }

            fn end(&self) -> ::dotdump_format::Pfn {
                self.$field.end()
            }
        }
    };
}
pub(crate) use physical_memory_by;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map of every page, filled in the order of starts.
        #[test]
        fn runs_in_any_order_give_the_pages_of_a_map(
            parts in prop::collection::vec((0_u64..40 * 0x400, 0_u64..0x9000, 0_u64..0x2_0000), 0..12),
        ) {
            let file: Vec<u8> = (0..0x1_8000_u32).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();
            let mut findings = Findings::default();
            let mut builder = PlacedRunsBuilder::new(&file, "part");
            let mut sorted = Vec::new();
            for &(start, size, offset) in &parts {
                let (start, offset) = (start * 4, FileOffset(offset));
                builder.add(Placed { start: PhysAddr(start), size, offset }, &mut findings);
                let there = size.min((file.len() as u64).saturating_sub(offset.0));
                let first = start.next_multiple_of(PAGE_SIZE);
                sorted.push((first, start + there, offset.0 + (first - start)));
            }
            sorted.sort_by_key(|part| part.0);
            let mut model = BTreeMap::new();
            for (first, end, offset) in sorted {
                for page in first / PAGE_SIZE..end / PAGE_SIZE {
                    model.entry(page).or_insert(offset + page * PAGE_SIZE - first);
                }
            }
            let runs = builder.finish(&mut findings);
            prop_assert_eq!(runs.pages_present(), model.len() as u64);
            prop_assert_eq!(runs.end().0, model.keys().last().map_or(0, |last| last + 1));
            let memory: &dyn PhysicalMemory = &runs;
            let mut pages = Vec::new();
            for run in memory.runs(Pfn(0)) {
                let run = run.unwrap();
                let PagePlace::File(offset) = run.place else { panic!("all pages are in the file") };
                pages.extend((0..run.pages).map(|index| (run.first.0 + index, offset.0 + index * PAGE_SIZE)));
            }
            prop_assert!(pages.iter().copied().eq(model.iter().map(|(page, offset)| (*page, *offset))));
            for page in 0..60 {
                let place = memory.place(Pfn(page)).unwrap();
                prop_assert_eq!(place, model.get(&page).map(|offset| PagePlace::File(FileOffset(*offset))));
                let mut bytes = [0; 2 * 0x1000];
                let got = memory.read(PhysAddr(page * PAGE_SIZE + 16), &mut bytes).unwrap();
                let mut expected = Vec::new();
                for next in page..page + 3 {
                    let Some(offset) = model.get(&next) else { break };
                    let offset = usize::try_from(*offset).unwrap();
                    expected.extend_from_slice(&file[offset..offset + 0x1000]);
                }
                let expected = expected.get(16..).unwrap_or_default();
                let expected = &expected[..expected.len().min(bytes.len())];
                prop_assert_eq!(&bytes[..got], expected);
            }
        }
    }

    #[test]
    fn impossible_addresses_are_left_out() {
        let file = vec![0; 0x2000];
        let mut findings = Findings::default();
        let mut builder = PlacedRunsBuilder::new(&file, "part");
        for start in [u64::MAX, u64::MAX - 0x1000, 1 << 52] {
            let start = PhysAddr(start);
            let offset = FileOffset(0);
            builder.add(
                Placed {
                    start,
                    size: 0x1000,
                    offset,
                },
                &mut findings,
            );
        }
        assert_eq!(findings.total(), 3);
        assert_eq!(builder.finish(&mut findings).pages_present(), 0);
    }

    #[test]
    fn two_copies_of_a_page_are_told() {
        let file = vec![0; 0x4000];
        let mut findings = Findings::default();
        let mut builder = PlacedRunsBuilder::new(&file, "part");
        for (start, offset) in [(0x1000, 0), (0x1000, 0x2000), (0x2000, 0x1000)] {
            let part = Placed {
                start: PhysAddr(start),
                size: 0x2000,
                offset: FileOffset(offset),
            };
            builder.add(part, &mut findings);
        }
        assert!(findings.is_empty());
        let runs = builder.finish(&mut findings);
        assert_eq!(findings.total(), 1, "{findings:?}");
        assert_eq!(
            (runs.pages_present(), runs.runs.len()),
            (3, 1),
            "the third goes on where the first ends"
        );
    }
}
