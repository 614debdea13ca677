//! `PHYSICAL_MEMORY_DESCRIPTOR` (`mindumpdef.h`): which pages a machine has, and where a full dump keeps them.
//!
//! It fills a union of 700 bytes in the header: a count of runs, a count of pages, and the runs. In a full dump the
//! pages of all runs follow the header, run by run, without gaps. In any other dump the runs, where they are set, tell
//! what memory the machine has, and say nothing about the file.

use alloc::format;
use alloc::string::String;

use zerocopy::IntoBytes as _;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::filler::{self, Filled};
use super::header::{Header, PHYSICAL_MEMORY_BLOCK_SIZE};
use crate::addr::{FileOffset, PAGE_SIZE, Pfn};
use crate::error::Error;
use crate::record::{Endian, Record, record};

/// How many runs the union of a 32-bit header has room for.
pub const MAX_RUNS_32: usize = 86;
/// How many runs the union of a 64-bit header has room for.
pub const MAX_RUNS_64: usize = 42;

record! {
    /// `PHYSICAL_MEMORY_DESCRIPTOR32` (`mindumpdef.h`), 8 bytes; runs follow.
    pub struct PhysicalMemoryDescriptor32[8] {
        /// How many runs follow.
        pub number_of_runs: U32,
        /// The pages of all runs.
        pub number_of_pages: U32,
    }

    /// `PHYSICAL_MEMORY_RUN32` (`mindumpdef.h`), 8 bytes.
    pub struct PhysicalMemoryRun32[8] {
        /// The first page.
        pub base_page: U32,
        /// The number of pages.
        pub page_count: U32,
    }

    /// `PHYSICAL_MEMORY_DESCRIPTOR64` (`mindumpdef.h`), 16 bytes; runs follow.
    pub struct PhysicalMemoryDescriptor64[16] {
        /// How many runs follow.
        pub number_of_runs: U32,
        /// Alignment: filler, or zero where the kernel stored the descriptor as one piece.
        pub unused_alignment: U32,
        /// The pages of all runs.
        pub number_of_pages: U64,
    }

    /// `PHYSICAL_MEMORY_RUN64` (`mindumpdef.h`), 16 bytes.
    pub struct PhysicalMemoryRun64[16] {
        /// The first page.
        pub base_page: U64,
        /// The number of pages.
        pub page_count: U64,
    }
}

/// Pages that follow one another in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryRun {
    /// The first page.
    pub base_page: Pfn,
    /// The number of pages.
    pub page_count: u64,
}

impl MemoryRun {
    /// A page number above those of any processor: addresses have at most 52 bits.
    pub const PFN_LIMIT: u64 = 1 << 40;

    /// The page behind the last one; `None` for a run that no machine can have.
    #[must_use]
    pub fn end(&self) -> Option<Pfn> {
        let end = self.base_page.checked_add(self.page_count)?;
        (self.page_count > 0 && end.0 <= Self::PFN_LIMIT).then_some(end)
    }
}

/// The descriptor in a header, where it is set.
#[derive(Clone, Copy, Debug)]
pub struct PhysicalMemoryDescriptor<'a> {
    /// The bytes behind the counts, as far as runs can lie there.
    runs: &'a [u8],
    run_size: usize,
    offset: FileOffset,
    number_of_runs: u32,
    number_of_pages: u64,
}

impl<'a> PhysicalMemoryDescriptor<'a> {
    /// The descriptor of `header`; `None` where it is not set.
    #[must_use]
    pub fn of(header: &'a Header) -> Option<Self> {
        // QEMU puts a 43rd run into the 64-bit union and the four bytes of padding behind it.
        let offset = block_offset(header);
        let size = if header.is_64() {
            PHYSICAL_MEMORY_BLOCK_SIZE + 4
        } else {
            PHYSICAL_MEMORY_BLOCK_SIZE
        };
        let block = header.as_bytes().get(offset..)?.get(..size)?;
        let (counts, run_size, number_of_runs, number_of_pages) = if header.is_64() {
            let counts = PhysicalMemoryDescriptor64::read(block, Endian::Little)?;
            let pages = counts.number_of_pages.set()?;
            (
                PhysicalMemoryDescriptor64::SIZE,
                PhysicalMemoryRun64::SIZE,
                counts.number_of_runs.set()?,
                pages,
            )
        } else {
            let counts = PhysicalMemoryDescriptor32::read(block, Endian::Little)?;
            let pages = u64::from(counts.number_of_pages.set()?);
            (
                PhysicalMemoryDescriptor32::SIZE,
                PhysicalMemoryRun32::SIZE,
                counts.number_of_runs.set()?,
                pages,
            )
        };
        if number_of_runs == 0 {
            return None;
        }
        Some(Self {
            runs: &block[counts..],
            run_size,
            offset: FileOffset((offset + counts) as u64),
            number_of_runs,
            number_of_pages,
        })
    }

    /// How many runs it is said to have.
    #[must_use]
    pub const fn number_of_runs(&self) -> u32 {
        self.number_of_runs
    }

    /// How many pages it is said to have.
    #[must_use]
    pub const fn number_of_pages(&self) -> u64 {
        self.number_of_pages
    }

    /// Where the first run lies in the file.
    #[must_use]
    pub const fn runs_offset(&self) -> FileOffset {
        self.offset
    }

    /// The runs as they are stored, sensible or not; no more than the header has room for.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = MemoryRun> + Clone + use<'a> {
        let stored = usize::try_from(self.number_of_runs).unwrap_or(usize::MAX);
        let is_64 = self.run_size == PhysicalMemoryRun64::SIZE;
        self.runs.chunks_exact(self.run_size).take(stored).map(move |run| {
            if is_64 {
                let run = PhysicalMemoryRun64::read_partial(run, Endian::Little);
                MemoryRun {
                    base_page: Pfn(run.base_page.get()),
                    page_count: run.page_count.get(),
                }
            } else {
                let run = PhysicalMemoryRun32::read_partial(run, Endian::Little);
                MemoryRun {
                    base_page: Pfn(run.base_page.get().into()),
                    page_count: run.page_count.get().into(),
                }
            }
        })
    }

    /// The leading runs that ascend, do not overlap and are not empty: those by which pages can be found.
    pub fn usable_runs(&self) -> impl Iterator<Item = MemoryRun> + Clone + use<'a> {
        let mut last_end = Pfn(0);
        self.runs().map_while(move |run| {
            let end = run.end().filter(|_| run.base_page >= last_end)?;
            last_end = end;
            Some(run)
        })
    }

    /// What keeps the descriptor from being that of a machine; `None` where it is plausible: all runs are usable, and
    /// their pages are as many as it says.
    #[must_use]
    pub fn implausible(&self) -> Option<String> {
        let usable = self.usable_runs().count();
        if usable as u64 != u64::from(self.number_of_runs) {
            return Some(format!(
                "{} runs expected, only the first {usable} of them lie in the header, ascend and do not overlap",
                self.number_of_runs
            ));
        }
        let pages: u64 = self.usable_runs().map(|run| run.page_count).sum();
        (pages != self.number_of_pages).then(|| {
            format!(
                "NumberOfPages is {:#x}, the runs have {pages:#x} pages",
                self.number_of_pages
            )
        })
    }
}

/// Where the union lies in a header.
const fn block_offset(header: &Header) -> usize {
    if header.is_64() { 0x88 } else { 0x64 }
}

impl Header {
    /// The descriptor of physical memory; `None` where it is not set.
    #[must_use]
    pub fn physical_memory(&self) -> Option<PhysicalMemoryDescriptor<'_>> {
        PhysicalMemoryDescriptor::of(self)
    }

    /// How many runs it has room for.
    #[must_use]
    pub const fn max_runs(&self) -> usize {
        if self.is_64() { MAX_RUNS_64 } else { MAX_RUNS_32 }
    }

    /// Stores `runs`, which must be ascending; what lies behind them becomes filler, as Windows has it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where there are more runs than the union takes, or a number does not fit a 32-bit header;
    /// the header is then as it was.
    pub fn set_physical_memory(&mut self, runs: &[MemoryRun]) -> Result<(), Error> {
        if runs.len() > self.max_runs() {
            return Err(too_large("NumberOfRuns", runs.len() as u64, self.max_runs() as u64));
        }
        let mut block = [0; PHYSICAL_MEMORY_BLOCK_SIZE];
        filler::fill(&mut block, block_offset(self));
        let number_of_runs = U32::from(crate::layout::count(runs.len(), "NumberOfRuns")?);
        let pages = runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.page_count));
        if self.is_64() {
            let (counts, rest) = block.split_at_mut(PhysicalMemoryDescriptor64::SIZE);
            counts[..4].copy_from_slice(number_of_runs.as_bytes());
            counts[8..].copy_from_slice(&pages.to_le_bytes());
            for (room, run) in rest.chunks_exact_mut(PhysicalMemoryRun64::SIZE).zip(runs) {
                let run = PhysicalMemoryRun64 {
                    base_page: run.base_page.0.into(),
                    page_count: run.page_count.into(),
                };
                room.copy_from_slice(run.as_bytes());
            }
        } else {
            let counts = PhysicalMemoryDescriptor32 {
                number_of_runs,
                number_of_pages: narrow(pages, "NumberOfPages")?,
            };
            block[..PhysicalMemoryDescriptor32::SIZE].copy_from_slice(counts.as_bytes());
            let rest = &mut block[PhysicalMemoryDescriptor32::SIZE..];
            for (room, run) in rest.chunks_exact_mut(PhysicalMemoryRun32::SIZE).zip(runs) {
                let run = PhysicalMemoryRun32 {
                    base_page: narrow(run.base_page.0, "BasePage")?,
                    page_count: narrow(run.page_count, "PageCount")?,
                };
                room.copy_from_slice(run.as_bytes());
            }
        }
        *self.physical_memory_block_mut() = block;
        Ok(())
    }

    /// Makes the descriptor unset.
    pub fn unset_physical_memory(&mut self) {
        let offset = block_offset(self);
        filler::fill(self.physical_memory_block_mut(), offset);
    }

    fn physical_memory_block_mut(&mut self) -> &mut [u8; PHYSICAL_MEMORY_BLOCK_SIZE] {
        match self {
            Self::Dump32(header) => &mut header.physical_memory_block,
            Self::Dump64(header) => &mut header.physical_memory_block,
        }
    }
}

fn narrow(value: u64, what: &'static str) -> Result<U32, Error> {
    u32::try_from(value)
        .map(U32::from)
        .map_err(|_| too_large(what, value, u32::MAX.into()))
}

fn too_large(what: &'static str, value: u64, limit: u64) -> Error {
    Error::TooLarge {
        what: what.into(),
        value,
        limit,
    }
}

/// The number of whole pages in the part of a file that starts at `first`.
#[must_use]
pub const fn pages_from(first: FileOffset, file_size: u64) -> u64 {
    file_size.saturating_sub(first.0) / PAGE_SIZE
}

/// Where a number of pages ends whose first one is at `first`.
#[must_use]
pub const fn end_of_pages(first: FileOffset, pages: u64) -> FileOffset {
    first.saturating_add(pages.saturating_mul(PAGE_SIZE))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::mem::offset_of;

    use proptest::prelude::*;

    use super::*;
    use crate::kernel::header::{DumpHeader32, DumpHeader64};
    use crate::kernel::machine::Machine;

    fn run(base_page: u64, page_count: u64) -> MemoryRun {
        MemoryRun {
            base_page: Pfn(base_page),
            page_count,
        }
    }

    #[test]
    fn the_union_lies_where_the_header_has_it() {
        assert_eq!(
            block_offset(&Header::unset(Machine::X86)),
            offset_of!(DumpHeader32, physical_memory_block)
        );
        assert_eq!(
            block_offset(&Header::unset(Machine::Arm64)),
            offset_of!(DumpHeader64, physical_memory_block)
        );
    }

    #[test]
    fn filler_and_zeros_are_no_descriptor() {
        for machine in [Machine::X86, Machine::Amd64] {
            let mut header = Header::unset(machine);
            assert!(header.physical_memory().is_none());
            header.set_physical_memory(&[]).unwrap();
            assert!(header.physical_memory().is_none());
            header.unset_physical_memory();
            assert_eq!(header, Header::unset(machine));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let runs: Vec<_> = (0..87).map(|index| run(index * 2, 1)).collect();
        for (machine, max) in [(Machine::X86, 86), (Machine::Amd64, 42)] {
            let mut header = Header::unset(machine);
            assert!(header.set_physical_memory(&runs[..=max]).is_err());
            assert_eq!(header, Header::unset(machine));
            header.set_physical_memory(&runs[..max]).unwrap();
            let stored = header.physical_memory().unwrap();
            assert_eq!((stored.implausible(), stored.runs().len()), (None, max));
        }
        assert!(
            Header::unset(Machine::X86)
                .set_physical_memory(&[run(1 << 32, 1)])
                .is_err()
        );
    }

    #[test]
    fn a_43rd_run_in_the_padding_is_read() {
        let mut header = Header::unset(Machine::Amd64);
        let runs: Vec<_> = (0..42).map(|index| run(index * 2, 1)).collect();
        header.set_physical_memory(&runs).unwrap();
        let Header::Dump64(fields) = &mut header else {
            unreachable!()
        };
        fields.physical_memory_block[0] = 43;
        fields.physical_memory_block[8] = 44;
        fields.physical_memory_block[688..696].copy_from_slice(&100_u64.to_le_bytes());
        fields.physical_memory_block[696..].copy_from_slice(&2_u32.to_le_bytes());
        fields.unused_alignment_1 = 0.into();
        let stored = header.physical_memory().unwrap();
        assert_eq!((stored.implausible(), stored.runs().last()), (None, Some(run(100, 2))));
    }

    #[test]
    fn only_the_runs_before_a_broken_one_are_usable() {
        for broken in [run(5, 0), run(9, 1), run(MemoryRun::PFN_LIMIT, 1), run(u64::MAX, 2)] {
            let mut header = Header::unset(Machine::Amd64);
            header
                .set_physical_memory(&[run(1, 9), run(10, 1), broken, run(20, 1)])
                .unwrap();
            let stored = header.physical_memory().unwrap();
            assert!(stored.implausible().is_some(), "{broken:?}");
            assert_eq!(stored.usable_runs().collect::<Vec<_>>(), vec![run(1, 9), run(10, 1)]);
        }
    }

    proptest! {
        #[test]
        fn runs_are_read_as_they_were_written(
            sizes in prop::collection::vec((0_u64..1000, 1_u64..5000), 1..=42),
            is_64 in any::<bool>(),
        ) {
            let mut next = 0;
            let runs: Vec<_> = sizes.iter().map(|(gap, count)| {
                let run = run(next + gap, *count);
                next += gap + count;
                run
            }).collect();
            let mut header = Header::unset(if is_64 { Machine::Amd64 } else { Machine::X86 });
            header.set_physical_memory(&runs).unwrap();
            let stored = header.physical_memory().unwrap();
            prop_assert_eq!(stored.implausible(), None);
            prop_assert_eq!(stored.number_of_pages(), sizes.iter().map(|(_, count)| count).sum::<u64>());
            prop_assert_eq!(stored.usable_runs().collect::<Vec<_>>(), runs);
        }

        /// Whatever bytes the union has, nothing is read from outside of it.
        #[test]
        fn any_bytes_are_read(block in prop::collection::vec(any::<u8>(), 700), runs in 0_u32..200) {
            let mut header = Header::unset(Machine::Amd64);
            header.physical_memory_block_mut().copy_from_slice(&block);
            header.physical_memory_block_mut()[..4].copy_from_slice(&runs.to_le_bytes());
            if let Some(stored) = header.physical_memory() {
                prop_assert!(stored.runs().count() <= 43);
                let mut last = Pfn(0);
                for run in stored.usable_runs() {
                    prop_assert!(run.base_page >= last);
                    last = run.end().unwrap();
                }
                let _ = stored.implausible();
            }
        }
    }
}
