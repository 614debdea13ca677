//! Reading a run of a file once, for its checksums and for the output: a thread reads and sums while the caller writes.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use dotdump_format::{Error, FileOffset};

use crate::block_sums::BlockSums;
use crate::execute::WriteError;
use crate::sink;

/// How much is read at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// How many chunks are held.
const CHUNKS: usize = 4;

/// Runs from this size on are worth a thread.
const LONG_RUN: u64 = 8 << 20;

/// Runs from this size on may have holes that are worth a question.
const MAY_HAVE_HOLES: u64 = 64 << 10;

/// A part of a run.
pub(crate) enum Step<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Hole(u64),
}

/// Gives a run of `file` to `each` in order, and its bytes to `sums`. `position` is where it goes in the output: chunks
/// are whole blocks there.
///
/// # Errors
/// The first error of `each`, and [`WriteError::Source`] where the file does not give the bytes. Nothing runs on after
/// that.
pub(crate) fn read(
    file: &File,
    offset: FileOffset,
    size: u64,
    position: u64,
    sums: &mut BlockSums,
    mut each: impl FnMut(Step<'_>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let parts = Parts {
        file,
        at: offset,
        position,
        end: offset.saturating_add(size),
        data_until: offset,
        asks: size >= MAY_HAVE_HOLES,
    };
    if size < LONG_RUN {
        let mut buffer = Vec::new();
        for part in parts {
            each(part.take_in(file, sums, &mut buffer)?.step(&buffer))?;
        }
        return Ok(());
    }
    let (give_back, free) = sync_channel(CHUNKS);
    let (give, taken) = sync_channel(CHUNKS);
    for _ in 0..CHUNKS {
        // There is room for all of them.
        let _ = give_back.send(Vec::new());
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_parts(parts, sums, &free, &give));
        let written = write_parts(taken, give_back, &mut each);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What could not be written is what ended the reading.
        written.and(read.map_err(WriteError::from))
    })
}

/// Reads until all is read or nobody takes it any more.
fn read_parts(
    parts: Parts<'_>,
    sums: &mut BlockSums,
    free: &Receiver<Vec<u8>>,
    give: &SyncSender<(Part, Vec<u8>)>,
) -> Result<(), Error> {
    let file = parts.file;
    for part in parts {
        let Ok(mut buffer) = free.recv() else { break };
        let part = part.take_in(file, sums, &mut buffer)?;
        if give.send((part, buffer)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes until the reader has no more. The channels end with this, so that the reader does not wait.
fn write_parts(
    taken: Receiver<(Part, Vec<u8>)>,
    give_back: SyncSender<Vec<u8>>,
    each: &mut impl FnMut(Step<'_>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    for (part, buffer) in taken {
        each(part.step(&buffer))?;
        // The reader may have ended.
        let _ = give_back.send(buffer);
    }
    drop(give_back);
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

    fn step(self, buffer: &[u8]) -> Step<'_> {
        match self {
            Self::Data { .. } => Step::Data(buffer),
            Self::Hole(size) => Step::Hole(size),
        }
    }
}

/// The parts of a run: holes, and data in chunks.
struct Parts<'a> {
    file: &'a File,
    at: FileOffset,
    /// Where `at` goes in the output.
    position: u64,
    end: FileOffset,
    /// Up to here there is no hole.
    data_until: FileOffset,
    /// Whether the system is asked for holes.
    asks: bool,
}

impl Parts<'_> {
    fn pass(&mut self, size: u64) {
        self.at = self.at.saturating_add(size);
        self.position += size;
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
                    self.pass(size);
                    return Some(Part::Hole(size));
                }
                Some(sink::Extent::Data(size)) => self.data_until = offset.saturating_add(size),
                None => self.data_until = self.end,
            }
        }
        let whole = CHUNK as u64 - self.position % CHUNK as u64;
        let size = (self.data_until.0 - offset.0).min(whole);
        self.pass(size);
        Some(Part::Data {
            offset,
            size: usize::try_from(size).unwrap_or(CHUNK),
        })
    }
}
