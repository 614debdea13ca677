//! Physical memory: what every source of a machine shows of its pages.

use dotdump_format::{Error, FileOffset, Pfn, PhysAddr};

use crate::page_set::PageSet;

/// Where the bytes of a page, or of a run of pages, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePlace {
    /// In the source file, from this offset on, as they are.
    File(FileOffset),
    /// Nowhere: they are all zero, and the source says so.
    Zero,
    /// Behind [`PhysicalMemory::read`] alone: compressed, patched, or of a live machine.
    Read,
}

impl PagePlace {
    /// The place of what lies `bytes` further on.
    #[must_use]
    pub const fn advanced(self, bytes: u64) -> Self {
        match self {
            Self::File(offset) => Self::File(offset.saturating_add(bytes)),
            other => other,
        }
    }
}

/// Pages that follow one another, in physical memory and in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// The first page.
    pub first: Pfn,
    /// The number of pages; at least one.
    pub pages: u64,
    /// The place of the first page; that of the others follows.
    pub place: PagePlace,
}

impl PageRun {
    /// The page behind the last one.
    #[must_use]
    pub const fn end(&self) -> Pfn {
        self.first.saturating_add(self.pages)
    }

    /// The part from `from` on; `None` where nothing is left.
    #[must_use]
    pub fn from(&self, from: Pfn) -> Option<Self> {
        let skipped = from.0.saturating_sub(self.first.0);
        let pages = self.pages.checked_sub(skipped).filter(|pages| *pages > 0)?;
        Some(Self {
            first: self.first.saturating_add(skipped),
            pages,
            place: self.place.advanced(skipped.saturating_mul(dotdump_format::PAGE_SIZE)),
        })
    }
}

/// The physical memory of a machine, as far as a source has it.
///
/// Every page is there whole or not at all. Nothing in here has an entry for each page in memory: sources answer from
/// the tables of their files.
pub trait PhysicalMemory {
    /// The first run of pages at or behind `from`: where `from` itself is there, the run starts with it. Runs need not
    /// be as long as possible. `None` where no page is left.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error>;

    /// Where a page is; `None` where the source lacks it.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error>;

    /// Reads from `address` on, over the borders of pages, and tells how many bytes were there before the first one that
    /// is absent.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error>;

    /// How many pages are there.
    fn pages_present(&self) -> u64;

    /// A page behind the last one that the source has or describes: the number of bits of a bitmap of them.
    fn end(&self) -> Pfn;

    /// Adds all pages that are there to `pages`. Sources that have them as a bitmap are faster at that than run by run.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn insert_all_into(&self, pages: &mut PageSet) -> Result<(), Error> {
        let mut next = Some(Pfn(0));
        while let Some(from) = next {
            let Some(run) = self.next_run(from)? else { break };
            pages.insert_run(run.first, run.pages);
            // A run that ends where numbers end has nothing behind it.
            next = run.first.checked_add(run.pages);
        }
        Ok(())
    }
}

impl<'a> dyn PhysicalMemory + 'a {
    /// All runs of pages from `from` on, in ascending order.
    pub fn runs(&self, from: Pfn) -> Runs<'_> {
        Runs {
            memory: self,
            next: Some(from),
        }
    }
}

/// See [`runs`](trait.PhysicalMemory.html).
pub struct Runs<'a> {
    memory: &'a (dyn PhysicalMemory + 'a),
    next: Option<Pfn>,
}

impl Iterator for Runs<'_> {
    type Item = Result<PageRun, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.memory.next_run(self.next.take()?) {
            Ok(run) => {
                let run = run?;
                // A run that ends where numbers end has nothing behind it.
                self.next = run.first.checked_add(run.pages);
                Some(Ok(run))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
