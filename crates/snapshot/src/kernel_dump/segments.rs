//! Runs of pages whose order in the file need not be that of their numbers.

use dotdump_format::kernel::MemoryRun;
use dotdump_format::kernel::physical_memory::end_of_pages;
use dotdump_format::{FileOffset, Findings, Pfn};

use crate::page_set::PageSet;
use crate::physical::{PagePlace, PageRun};

/// Pages that follow one another, in physical memory and in the file.
#[derive(Clone, Copy)]
struct Segment {
    first: Pfn,
    pages: u64,
    /// How many pages are before it in the file.
    index: u64,
}

impl Segment {
    /// The page behind the last one. The pages of runs are below 2^40.
    const fn end(self) -> Pfn {
        self.first.saturating_add(self.pages)
    }
}

/// Segments by their first page. They do not overlap, and the file has their pages.
pub(super) struct Segments {
    segments: Vec<Segment>,
    first_page: FileOffset,
    /// How many pages there is room for in the file.
    fit: u64,
    /// How many pages were added.
    added: u64,
    /// The page behind the highest one that was added, the file's or not.
    end: Pfn,
    pages: u64,
}

impl Segments {
    /// None yet, in a file that has room for `fit` pages.
    pub(super) const fn new(fit: u64) -> Self {
        Self {
            segments: Vec::new(),
            first_page: FileOffset(0),
            fit,
            added: 0,
            end: Pfn(0),
            pages: 0,
        }
    }

    /// Adds a run whose pages follow those of the last one in the file. Every run that is kept has a page in the file:
    /// the file's size bounds what is in memory.
    pub(super) fn push(&mut self, run: MemoryRun) {
        let segment = Segment {
            first: run.base_page,
            pages: run.page_count.min(self.fit.saturating_sub(self.added)),
            index: self.added,
        };
        self.added = self.added.saturating_add(run.page_count);
        self.end = self.end.max(run.base_page.saturating_add(run.page_count));
        match self.segments.last_mut() {
            _ if segment.pages == 0 => {}
            Some(last) if last.end() == segment.first => last.pages += segment.pages,
            _ => self.segments.push(segment),
        }
    }

    /// Puts the segments in order once the file's first page and all runs are known; of pages that are there more than
    /// once, one is kept. Gives the page behind the highest one.
    pub(super) fn finish(&mut self, first_page: FileOffset, findings: &mut Findings) -> Pfn {
        self.first_page = first_page;
        if !self.segments.is_sorted_by_key(|segment| segment.first) {
            self.segments
                .sort_unstable_by_key(|segment| (segment.first, segment.index));
        }
        let mut last_end = Pfn(0);
        let mut twice = 0;
        self.segments.retain_mut(|segment| {
            let seen = last_end.0.saturating_sub(segment.first.0).min(segment.pages);
            twice += seen;
            *segment = Segment {
                first: segment.first.saturating_add(seen),
                pages: segment.pages - seen,
                index: segment.index + seen,
            };
            last_end = last_end.max(segment.end());
            segment.pages > 0
        });
        if twice > 0 {
            findings.add(
                first_page,
                "PfnRange",
                format!("{twice} pages are there more than once"),
            );
        }
        self.pages = self.segments.iter().map(|segment| segment.pages).sum();
        self.end
    }

    /// How many pages there are.
    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    fn run(&self, segment: Segment) -> PageRun {
        PageRun {
            first: segment.first,
            pages: segment.pages,
            place: PagePlace::File(end_of_pages(self.first_page, segment.index)),
        }
    }

    /// The first run of pages at or behind `from`.
    pub(super) fn next_run(&self, from: Pfn) -> Option<PageRun> {
        let index = self.segments.partition_point(|segment| segment.end() <= from);
        self.run(*self.segments.get(index)?).from(from)
    }

    /// Adds all pages.
    pub(super) fn insert_all_into(&self, pages: &mut PageSet) {
        for segment in &self.segments {
            pages.insert_run(segment.first, segment.pages);
        }
    }

    /// Where a page is.
    pub(super) fn place(&self, page: Pfn) -> Option<PagePlace> {
        let run = self.next_run(page)?;
        (run.first == page).then_some(run.place)
    }
}
