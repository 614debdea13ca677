//! The pages of kernel dumps, found by what their files have: runs, a bitmap, ranges.

mod bitmap;
mod segments;

use dotdump_format::kernel::physical_memory::{end_of_pages, pages_from};
use dotdump_format::kernel::{Body, KernelDump, SecondaryData};
use dotdump_format::{Error, FileOffset, Findings, PAGE_SIZE, Pfn, PhysAddr, ReadAt};

use self::bitmap::RankedBitmap;
use self::segments::Segments;
use crate::page_set::PageSet;
use crate::physical::{PagePlace, PageRun, PhysicalMemory};

/// Physical memory as a kernel dump has it.
///
/// Opening one reads the table of its pages and no page. In memory it has a few runs; or a rank for every 1024 bits of a
/// bitmap and those parts of it that were needed; or a rank for every 32768 bits of a large bitmap and some of its parts;
/// or one entry for each of the ranges that do not follow another one.
pub struct KernelDumpMemory<'a> {
    source: &'a dyn ReadAt,
    pages: Pages<'a>,
    end: Pfn,
    pages_end: FileOffset,
    findings: Findings,
}

enum Pages<'a> {
    Segments(Segments),
    Bitmap(RankedBitmap<'a>),
}

impl<'a> KernelDumpMemory<'a> {
    /// The pages of `dump`, which was read from `source`; `None` for a dump that has none.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn open(source: &'a dyn ReadAt, dump: &KernelDump) -> Result<Option<Self>, Error> {
        let mut findings = Findings::default();
        let (first_page, all, end, pages) = match dump.body {
            Body::Runs { first_page, pages } => {
                let mut segments = Segments::new(pages_from(first_page, source.size()));
                let runs = dump.header.physical_memory();
                for run in runs.iter().flat_map(|runs| runs.usable_runs()) {
                    segments.push(run);
                }
                (
                    first_page,
                    pages,
                    segments.finish(first_page, &mut findings),
                    Pages::Segments(segments),
                )
            }
            Body::Ranges(ranges) => {
                let mut segments = Segments::new(pages_from(ranges.first_page, source.size()));
                let mut stored = ranges.ranges(source);
                for run in &mut stored {
                    match run {
                        Ok(run) => segments.push(run),
                        // The pages before it are where they should be.
                        Err(Error::Malformed(finding)) => findings.push(finding),
                        Err(error) => return Err(error),
                    }
                }
                let end = segments.finish(ranges.first_page, &mut findings);
                (ranges.first_page, stored.pages(), end, Pages::Segments(segments))
            }
            Body::Bitmap(bitmap) | Body::Summary(bitmap) => {
                let ranked = RankedBitmap::open(source, bitmap)?;
                let all = ranked.set();
                if all != bitmap.claimed_pages {
                    findings.add(
                        bitmap.body,
                        "TotalPresentPages",
                        format!("{:#x}, the bitmap has {all:#x} bits set", bitmap.claimed_pages),
                    );
                }
                (bitmap.first_page, all, Pfn(bitmap.bits), Pages::Bitmap(ranked))
            }
            Body::Triage { .. } | Body::HeaderOnly => return Ok(None),
        };
        let fit = pages_from(first_page, source.size());
        if all > fit {
            findings.add(
                FileOffset(source.size()),
                "pages",
                format!("the file ends: {} of {all} pages are missing", all - fit),
            );
        }
        let pages_end = end_of_pages(first_page, all);
        Ok(Some(Self {
            source,
            pages,
            end,
            pages_end,
            findings,
        }))
    }

    /// What is wrong with the table of pages, and what the file lacks of them. What is wrong with the headers, the dump
    /// itself has found.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Where the pages end, be it within the file or not.
    #[must_use]
    pub const fn pages_end(&self) -> FileOffset {
        self.pages_end
    }

    /// The secondary data behind the pages; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn secondary_data(&self) -> Result<Option<SecondaryData>, Error> {
        SecondaryData::read(self.source, self.pages_end)
    }

    /// Where the byte at `address` is, and how many follow it there: at least `wanted` bytes where that many do.
    fn bytes_at(&self, address: PhysAddr, wanted: u64) -> Result<Option<(FileOffset, u64)>, Error> {
        let (page, within) = (address.pfn(), address.offset_in_page());
        let (place, pages) = if within + wanted <= PAGE_SIZE {
            (self.place(page)?, 1)
        } else {
            let run = self.next_run(page)?.filter(|run| run.first == page);
            (run.map(|run| run.place), run.map_or(0, |run| run.pages))
        };
        Ok(match place {
            Some(PagePlace::File(offset)) => {
                Some((offset.saturating_add(within), pages.saturating_mul(PAGE_SIZE) - within))
            }
            _ => None,
        })
    }
}

impl PhysicalMemory for KernelDumpMemory<'_> {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        match &self.pages {
            Pages::Segments(segments) => Ok(segments.next_run(from)),
            Pages::Bitmap(bitmap) => bitmap.next_run(from),
        }
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        match &self.pages {
            Pages::Segments(segments) => Ok(segments.place(page)),
            Pages::Bitmap(bitmap) => bitmap.place(page),
        }
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let left = &mut buffer[done..];
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some((offset, there)) = self.bytes_at(at, left.len() as u64)? else {
                break;
            };
            let size = usize::try_from(there).map_or(left.len(), |there| there.min(left.len()));
            self.source.read_exact_at(offset, &mut left[..size])?;
            done += size;
        }
        Ok(done)
    }

    fn pages_present(&self) -> u64 {
        match &self.pages {
            Pages::Segments(segments) => segments.pages(),
            Pages::Bitmap(bitmap) => bitmap.available(),
        }
    }

    fn end(&self) -> Pfn {
        self.end
    }

    fn insert_all_into(&self, pages: &mut PageSet) -> Result<(), Error> {
        match &self.pages {
            Pages::Segments(segments) => segments.insert_all_into(pages),
            Pages::Bitmap(bitmap) => bitmap.insert_all_into(pages)?,
        }
        Ok(())
    }
}
