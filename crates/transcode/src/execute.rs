//! Writing a plan: strictly forward, with memory that does not grow with the file.

use std::fs::File;

use dotdump_format::layout::{Piece, Plan};
use dotdump_format::{Error, FileOffset, Pfn, VirtAddr, VirtRange};
use dotdump_snapshot::{Memory, PageSet, PhysicalMemory};

use crate::block_sums::BlockSums;
use crate::filter::StackFilter;
use crate::pages::{self, Gathered, Segment, Segments};
use crate::runs;
use crate::sink::{Sink, SinkError};

/// How much is held at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// How much memory is read by address at a time, in bytes: so little that it is still in the processor's cache when it is
/// summed up and written.
const MEMORY_CHUNK: u64 = 256 << 10;

/// Shorter runs of zeros within memory are written: a file system keeps a record for each hole.
const SMALLEST_HOLE: u64 = 32 << 10;

/// Why a plan could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output does not take it, or the work was cancelled.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The source does not give it.
    #[error("cannot read the source")]
    Source(#[from] Error),
    /// Memory that was there when the plan was made is gone.
    #[error("memory at {address} was there when the dump was planned, and is gone")]
    Vanished {
        /// The first address that is gone.
        address: VirtAddr,
    },
    /// A page that was there when the plan was made is gone.
    #[error("page {page} was there when the dump was planned, and is gone")]
    VanishedPage {
        /// The first page that is gone.
        page: Pfn,
    },
}

/// What a plan is written from.
pub struct Origin<'a> {
    /// The source's file, for runs that are copied from it; `None` where it is no file.
    pub file: Option<&'a File>,
    /// The source's memory, for pieces that go by address.
    pub memory: &'a dyn Memory,
    /// The filter for filtered pieces.
    pub filter: Option<&'a StackFilter>,
    /// What pieces of pages are written from; `None` for a process.
    pub pages: Option<PageOrigin<'a>>,
}

/// The pages of a machine, and which of them were chosen.
#[derive(Clone, Copy)]
pub struct PageOrigin<'a> {
    /// The pages of the source.
    pub physical: &'a dyn PhysicalMemory,
    /// Those that were chosen; the source has all of them.
    pub chosen: &'a PageSet,
}

/// What was done beyond copying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Words that the filter erased.
    pub erased_words: u64,
}

/// Writes `plan` into `sink`, which the caller finishes.
///
/// # Errors
/// [`WriteError`]; the output is then to be dropped.
pub fn write(plan: &Plan, origin: &Origin<'_>, sink: &mut dyn Sink) -> Result<Done, WriteError> {
    let sums = plan.pieces.iter().find_map(|piece| match piece {
        Piece::Checksums { block, .. } => Some(*block),
        _ => None,
    });
    let mut writer = Writer {
        origin,
        sink,
        sums: sums.map(BlockSums::new),
        done: Done::default(),
    };
    for piece in &plan.pieces {
        writer.piece(piece)?;
    }
    Ok(writer.done)
}

fn source_file<'a>(origin: &Origin<'a>, offset: FileOffset, size: u64) -> Result<&'a File, Error> {
    origin.file.ok_or_else(|| Error::Read {
        offset,
        size,
        reason: "the source is no file".to_owned(),
    })
}

struct Writer<'a> {
    origin: &'a Origin<'a>,
    sink: &'a mut dyn Sink,
    sums: Option<BlockSums>,
    done: Done,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if let Some(sums) = &mut self.sums {
            sums.update(bytes);
        }
        Ok(self.sink.write_all(bytes)?)
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), WriteError> {
        match piece {
            Piece::Bytes(bytes) => self.bytes(bytes),
            Piece::CopyFrom { offset, size } => self.copy(*offset, *size),
            Piece::Read { address, size } => self.memory(*address, *size, None),
            Piece::Filtered { address, size } => self.memory(*address, *size, self.origin.filter),
            Piece::Zeros { size } => self.zeros(*size),
            Piece::Pages { first, end, .. } => self.pages(*first, *end),
            Piece::PageBitmap { bits } => self.bitmap(*bits),
            Piece::PageRanges { first, .. } => self.ranges(*first),
            Piece::Checksums { .. } => {
                let table = self.sums.take().map(BlockSums::finish).unwrap_or_default();
                Ok(self.sink.write_all(&table)?)
            }
            other => unreachable!("a piece that no plan has: {other:?}"),
        }
    }

    fn zeros(&mut self, size: u64) -> Result<(), WriteError> {
        if let Some(sums) = &mut self.sums {
            sums.zeros(size);
        }
        Ok(self.sink.hole(size)?)
    }

    fn copy(&mut self, offset: FileOffset, size: u64) -> Result<(), WriteError> {
        let file = source_file(self.origin, offset, size)?;
        match &mut self.sums {
            Some(sums) => runs::copy(file, offset, size, sums, self.sink),
            None => Ok(self.sink.copy_from(file, offset.0, size)?),
        }
    }

    /// The chosen pages from `first` up to `end`.
    fn pages(&mut self, first: Pfn, end: Pfn) -> Result<(), WriteError> {
        let Some(origin) = self.origin.pages else { return Ok(()) };
        let mut gathered = Gathered::default();
        let mut buffer = Vec::new();
        for segment in Segments::new(origin, first, end) {
            let segment = segment?;
            if let Segment::File { offset, size } = segment
                && size < pages::LARGE
            {
                if !gathered.take(offset, size) {
                    self.gathered(&mut gathered, &mut buffer)?;
                    gathered.take(offset, size);
                }
                continue;
            }
            self.gathered(&mut gathered, &mut buffer)?;
            match segment {
                Segment::File { offset, size } => self.copy(offset, size)?,
                Segment::Zero { size } => self.zeros(size)?,
                Segment::Read { first, pages } => {
                    for step in pages::steps(first, pages) {
                        pages::read(origin.physical, step, &mut buffer)?;
                        self.bytes(&buffer)?;
                    }
                }
            }
        }
        self.gathered(&mut gathered, &mut buffer)
    }

    /// Writes small runs that lie close together in the file, by one read.
    fn gathered(&mut self, gathered: &mut Gathered, buffer: &mut Vec<u8>) -> Result<(), WriteError> {
        if let Some((offset, size)) = gathered.span() {
            let file = source_file(self.origin, offset, size)?;
            gathered.read(file, buffer)?;
            self.bytes(buffer)?;
        }
        Ok(())
    }

    /// The bitmap of the chosen pages. Long parts without a page are holes.
    fn bitmap(&mut self, bits: u64) -> Result<(), WriteError> {
        let Some(origin) = self.origin.pages else { return Ok(()) };
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < bits {
            let next = origin
                .chosen
                .next_word(Pfn(at))
                .map_or(bits, |(page, _)| page.0.min(bits));
            let empty = match next - at {
                _ if next == bits => bits - at,
                skipped => skipped / pages::BITMAP_BLOCK * pages::BITMAP_BLOCK,
            };
            if empty > 0 {
                self.zeros(empty / 8)?;
                at += empty;
                continue;
            }
            let end = at.saturating_add(pages::BITMAP_BLOCK).min(bits);
            buffer.clear();
            while at < end {
                buffer.extend(origin.chosen.word(Pfn(at)).to_le_bytes());
                at += 64;
            }
            self.bytes(&buffer)?;
        }
        Ok(())
    }

    /// The runs of the chosen pages from `first` on.
    fn ranges(&mut self, first: Pfn) -> Result<(), WriteError> {
        let Some(origin) = self.origin.pages else { return Ok(()) };
        let mut buffer = Vec::new();
        let mut next = origin.chosen.next_run(first);
        while let Some((first, end)) = next {
            buffer.extend(first.0.to_le_bytes());
            buffer.extend((end.0 - first.0).to_le_bytes());
            if buffer.len() >= CHUNK {
                self.bytes(&buffer)?;
                buffer.clear();
            }
            next = origin.chosen.next_run(end);
        }
        self.bytes(&buffer)
    }

    /// Memory by address. What is known to be zero is not read: that would take time in which a live process stands
    /// still, and memory of its own for pages that it never used.
    fn memory(&mut self, address: VirtAddr, size: u64, filter: Option<&StackFilter>) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        let mut at = address;
        let end = address.saturating_add(size);
        while at < end {
            let rest = VirtRange::new(at, end);
            let stored = self.origin.memory.next_stored(rest)?.intersection(rest);
            let stored = stored.unwrap_or(VirtRange::new(end, end));
            match stored.start.0 - at.0 {
                0 => {}
                gap if gap < SMALLEST_HOLE => {
                    buffer.clear();
                    buffer.resize(usize::try_from(gap).unwrap_or(0), 0);
                    self.bytes(&buffer)?;
                }
                gap => self.zeros(gap)?,
            }
            self.stored(stored, filter, &mut buffer)?;
            at = stored.end;
        }
        Ok(())
    }

    fn stored(
        &mut self,
        range: VirtRange,
        filter: Option<&StackFilter>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let mut at = range.start;
        while at < range.end {
            // Chunks end on round addresses, so that no word is cut in two.
            let next = at.align_down(MEMORY_CHUNK).saturating_add(MEMORY_CHUNK).min(range.end);
            buffer.resize(usize::try_from(next.0 - at.0).unwrap_or(0), 0);
            let there = self.origin.memory.read(at, buffer)?;
            if there < buffer.len() {
                return Err(WriteError::Vanished {
                    address: at.saturating_add(there as u64),
                });
            }
            if let Some(filter) = filter {
                self.done.erased_words += filter.apply(at, buffer);
            }
            self.bytes(buffer)?;
            at = next;
        }
        Ok(())
    }
}
