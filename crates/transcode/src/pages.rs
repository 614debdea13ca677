//! Where the bytes of chosen pages come from, and how many small runs of them become few large reads.

use std::fs::File;

use dotdump_format::{Error, FileOffset, PAGE_SIZE, Pfn, PhysAddr};
use dotdump_snapshot::{PagePlace, PageRun, PageSet, PhysicalMemory};

use crate::execute::{PageOrigin, WriteError};

/// Runs of the source's file from this size on are copied by themselves; smaller ones are gathered.
pub(crate) const LARGE: u64 = 128 << 10;

/// How many bits of a bitmap are written at a time.
pub(crate) const BITMAP_BLOCK: u64 = 1 << 19;

/// The most that is read at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// A gap of this size between two runs is read as well, because that costs less than another request.
const GAP: u64 = 32 << 10;

/// Bytes of the output that come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A run of the source's file.
    File { offset: FileOffset, size: u64 },
    /// Zeros.
    Zero { size: u64 },
    /// Pages that are read through [`PhysicalMemory::read`].
    Read { first: Pfn, pages: u64 },
}

impl Segment {
    fn new(run: PageRun) -> Self {
        let size = run.pages.saturating_mul(PAGE_SIZE);
        match run.place {
            PagePlace::File(offset) => Self::File { offset, size },
            PagePlace::Zero => Self::Zero { size },
            PagePlace::Read => Self::Read {
                first: run.first,
                pages: run.pages,
            },
        }
    }

    /// Takes `next` in, where it follows in the same place as in the output; otherwise gives it back.
    fn join(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (
                Self::File { offset, size },
                Self::File {
                    offset: next,
                    size: more,
                },
            ) if offset.saturating_add(*size) == next => {
                *size += more;
            }
            (Self::Zero { size }, Self::Zero { size: more }) => *size += more,
            (
                Self::Read { first, pages },
                Self::Read {
                    first: next,
                    pages: more,
                },
            ) if first.saturating_add(*pages) == next => {
                *pages += more;
            }
            (_, next) => return Err(next),
        }
        Ok(())
    }
}

/// The chosen pages from one page up to another, in ascending order, as the longest segments.
pub(crate) struct Segments<'a> {
    origin: PageOrigin<'a>,
    /// What is left of the chosen run that is being given.
    chosen: Option<(Pfn, Pfn)>,
    end: Pfn,
    /// The run of the source that was found last.
    run: Option<PageRun>,
    waiting: Option<Segment>,
}

impl<'a> Segments<'a> {
    pub(crate) fn new(origin: PageOrigin<'a>, first: Pfn, end: Pfn) -> Self {
        Self {
            chosen: clipped(origin.chosen, first, end),
            origin,
            end,
            run: None,
            waiting: None,
        }
    }

    fn part(&mut self) -> Result<Option<Segment>, WriteError> {
        let Some((first, end)) = self.chosen else {
            return Ok(None);
        };
        let run = match self.run.filter(|run| run.first <= first && first < run.end()) {
            Some(run) => run,
            None => self
                .origin
                .physical
                .next_run(first)?
                .filter(|run| run.first <= first && first < run.end())
                .ok_or(WriteError::VanishedPage { page: first })?,
        };
        self.run = Some(run);
        let upto = end.min(run.end());
        self.chosen = if upto < end {
            Some((upto, end))
        } else {
            clipped(self.origin.chosen, upto, self.end)
        };
        let part = run.from(first).map(|run| PageRun {
            pages: upto.0 - first.0,
            ..run
        });
        Ok(part.map(Segment::new))
    }
}

/// The first run of `pages` at or behind `first`, cut at `end`.
fn clipped(pages: &PageSet, first: Pfn, end: Pfn) -> Option<(Pfn, Pfn)> {
    let (first, upto) = pages.next_run(first)?;
    (first < end).then_some((first, upto.min(end)))
}

impl Iterator for Segments<'_> {
    type Item = Result<Segment, WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.part() {
                Ok(Some(part)) => match &mut self.waiting {
                    Some(waiting) => {
                        if let Err(next) = waiting.join(part) {
                            return self.waiting.replace(next).map(Ok);
                        }
                    }
                    None => self.waiting = Some(part),
                },
                Ok(None) => return self.waiting.take().map(Ok),
                Err(error) => {
                    self.chosen = None;
                    self.waiting = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Small runs of the source's file, ascending and close together, that one read gets.
#[derive(Default)]
pub(crate) struct Gathered {
    runs: Vec<(FileOffset, u64)>,
    end: FileOffset,
}

impl Gathered {
    /// Takes a run in; says no where it lies too far from the others. An empty one takes any.
    pub(crate) fn take(&mut self, offset: FileOffset, size: u64) -> bool {
        let end = offset.saturating_add(size);
        if let Some((start, _)) = self.runs.first() {
            let is_near = offset >= self.end && offset.0 - self.end.0 <= GAP && end.0 - start.0 <= CHUNK;
            if !is_near {
                return false;
            }
        }
        self.runs.push((offset, size));
        self.end = end;
        true
    }

    /// Where the runs lie, and how much has to be read for them.
    pub(crate) fn span(&self) -> Option<(FileOffset, u64)> {
        self.runs.first().map(|(start, _)| (*start, self.end.0 - start.0))
    }

    /// Reads the runs into `buffer`, one behind the other, and is empty afterwards.
    pub(crate) fn read(&mut self, file: &File, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let Some((start, span)) = self.span() else {
            buffer.clear();
            return Ok(());
        };
        buffer.resize(to_usize(span), 0);
        dotdump_snapshot::file::read_exact(file, start, buffer)?;
        let mut filled = 0;
        for (offset, size) in self.runs.drain(..) {
            let from = to_usize(offset.0 - start.0);
            let size = to_usize(size);
            buffer.copy_within(from..from + size, filled);
            filled += size;
        }
        buffer.truncate(filled);
        Ok(())
    }
}

/// Sizes here are at most [`CHUNK`] or [`LARGE`].
fn to_usize(size: u64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

/// Pages in parts that are read at a time: the first page and the number of pages of each.
pub(crate) fn steps(first: Pfn, pages: u64) -> impl Iterator<Item = (Pfn, u64)> {
    const STEP: u64 = CHUNK / PAGE_SIZE;
    let mut done = 0;
    std::iter::from_fn(move || {
        let step = STEP.min(pages - done);
        let at = first.saturating_add(done);
        done += step;
        (step > 0).then_some((at, step))
    })
}

/// Reads pages, all of which have to be there.
pub(crate) fn read(
    physical: &dyn PhysicalMemory,
    (first, pages): (Pfn, u64),
    buffer: &mut Vec<u8>,
) -> Result<(), WriteError> {
    buffer.resize(to_usize(pages * PAGE_SIZE), 0);
    let address = first.address().unwrap_or(PhysAddr(u64::MAX));
    let there = physical.read(address, buffer)?;
    if there < buffer.len() {
        let page = first.saturating_add(there as u64 / PAGE_SIZE);
        return Err(WriteError::VanishedPage { page });
    }
    Ok(())
}
