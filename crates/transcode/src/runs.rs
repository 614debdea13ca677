//! Runs of the source's file that go into the output as they are, and into its checksums.

use std::fs::File;

use dotdump_format::{Error, FileOffset};

use crate::block_sums::BlockSums;
use crate::execute::WriteError;
use crate::sink::{self, Sink};

/// How much is read at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// Runs from this size on are worth a thread.
const LONG_RUN: u64 = 8 << 20;

/// How much of a long run is copied before the two threads hear of each other: of what stops one of them.
const STAGE: u64 = 256 << 20;

/// Runs from this size on may have holes that are worth a question.
const MAY_HAVE_HOLES: u64 = 64 << 10;

/// Copies a run of `file`, and gives its bytes to `sums`. A short run is read once for both. A long one the operating
/// system copies by itself, which is the faster way, while a second thread reads it for its sums. Holes are not read.
///
/// # Errors
/// What the sink says, and [`WriteError::Source`] where the file does not give the bytes.
pub(crate) fn copy(
    file: &File,
    offset: FileOffset,
    size: u64,
    sums: &mut BlockSums,
    sink: &mut dyn Sink,
) -> Result<(), WriteError> {
    let mut buffer = Vec::new();
    if size < LONG_RUN {
        for part in Parts::new(file, offset, size) {
            match part.take_in(file, sums, &mut buffer)? {
                Part::Data { .. } => sink.write_all(&buffer)?,
                Part::Hole(size) => sink.hole(size)?,
            }
        }
        return Ok(());
    }
    let mut done = 0;
    while done < size {
        let (at, stage) = (offset.saturating_add(done), STAGE.min(size - done));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                Parts::new(file, at, stage).try_for_each(|part| part.take_in(file, sums, &mut buffer).map(drop))
            });
            let copied = sink.copy_from(file, at.0, stage);
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            copied?;
            Ok::<(), WriteError>(read?)
        })?;
        done += stage;
    }
    Ok(())
}

/// A part before it is read.
#[derive(Clone, Copy)]
enum Part {
    Data { offset: FileOffset, size: usize },
    Hole(u64),
}

impl Part {
    /// Sums it up. `buffer` then has its bytes, if it is no hole.
    fn take_in(self, file: &File, sums: &mut BlockSums, buffer: &mut Vec<u8>) -> Result<Self, Error> {
        match self {
            Self::Data { offset, size } => {
                buffer.resize(size, 0);
                dotdump_snapshot::file::read_exact(file, offset, buffer)?;
                sums.update(buffer);
            }
            Self::Hole(size) => sums.zeros(size),
        }
        Ok(self)
    }
}

/// The parts of a run: holes, and data in chunks.
struct Parts<'a> {
    file: &'a File,
    at: FileOffset,
    end: FileOffset,
    /// Up to here there is no hole.
    data_until: FileOffset,
    /// Whether the system is asked for holes.
    asks: bool,
}

impl<'a> Parts<'a> {
    fn new(file: &'a File, offset: FileOffset, size: u64) -> Self {
        Self {
            file,
            at: offset,
            end: offset.saturating_add(size),
            data_until: offset,
            asks: size >= MAY_HAVE_HOLES,
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let (offset, left) = (self.at, self.end.0 - self.at.0);
        if left == 0 {
            return None;
        }
        if self.data_until <= offset {
            let extent = if self.asks {
                sink::extent(self.file, offset.0, left)
            } else {
                None
            };
            match extent {
                Some(sink::Extent::Hole(size)) => {
                    self.at = offset.saturating_add(size);
                    return Some(Part::Hole(size));
                }
                Some(sink::Extent::Data(size)) => self.data_until = offset.saturating_add(size),
                None => self.data_until = self.end,
            }
        }
        let size = (self.data_until.0 - offset.0).min(CHUNK as u64);
        self.at = offset.saturating_add(size);
        Some(Part::Data {
            offset,
            size: usize::try_from(size).unwrap_or(CHUNK),
        })
    }
}
