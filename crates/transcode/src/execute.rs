//! Writing a plan: strictly forward, with memory that does not grow with the file.

use std::fs::File;

use dotdump_format::layout::{Piece, Plan};
use dotdump_format::{Error, FileOffset, VirtAddr};
use dotdump_snapshot::Memory;

use crate::filter::StackFilter;
use crate::sink::{Sink, SinkError};

/// How much is held at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// Runs of the source from this size on are copied by the operating system while their checksum is taken beside.
const LONG_RUN: u64 = 1 << 20;

/// How much of a long run is copied and summed before the next part of it, in bytes: a signal ends the work within that.
const STAGE: u64 = 256 << 20;

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
}

/// What a plan is written from.
pub struct Origin<'a> {
    /// The source's file, for runs that are copied from it.
    pub file: &'a File,
    /// The source's memory, for pieces that go by address.
    pub memory: &'a dyn Memory,
    /// The filter for filtered pieces.
    pub filter: Option<&'a StackFilter>,
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
            Piece::Zeros { size } => {
                if let Some(sums) = &mut self.sums {
                    sums.zeros(*size);
                }
                Ok(self.sink.hole(*size)?)
            }
            Piece::Checksums { .. } => {
                let table = self.sums.take().map(BlockSums::finish).unwrap_or_default();
                Ok(self.sink.write_all(&table)?)
            }
            other => unreachable!("a piece that no plan of a minidump has: {other:?}"),
        }
    }

    /// Copies a run of the source. The operating system copies a long one by itself; its checksum is taken on a second
    /// thread meanwhile.
    fn copy(&mut self, offset: FileOffset, size: u64) -> Result<(), WriteError> {
        let file = self.origin.file;
        let Some(sums) = &mut self.sums else {
            return Ok(self.sink.copy_from(file, offset.0, size)?);
        };
        if size < LONG_RUN {
            let mut buffer = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
            dotdump_snapshot::file::read_exact(file, offset, &mut buffer)?;
            return self.bytes(&buffer);
        }
        // In stages: neither thread hears of what stops the other before the end of one.
        let mut done = 0;
        while done < size {
            let (at, stage) = (offset.saturating_add(done), STAGE.min(size - done));
            let sums = &mut *sums;
            std::thread::scope(|scope| {
                let checksums = scope.spawn(move || sums.update_from(file, at, stage));
                self.sink.copy_from(file, at.0, stage)?;
                checksums
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok::<(), WriteError>(())
            })?;
            done += stage;
        }
        Ok(())
    }

    fn memory(&mut self, address: VirtAddr, size: u64, filter: Option<&StackFilter>) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        let mut at = address;
        let end = address.saturating_add(size);
        while at < end {
            // Chunks end on round addresses, so that no word is cut in two.
            let next = at.align_down(CHUNK as u64).saturating_add(CHUNK as u64).min(end);
            buffer.resize(usize::try_from(next.0 - at.0).unwrap_or(CHUNK), 0);
            let there = self.origin.memory.read(at, &mut buffer)?;
            if there < buffer.len() {
                return Err(WriteError::Vanished {
                    address: at.saturating_add(there as u64),
                });
            }
            if let Some(filter) = filter {
                self.done.erased_words += filter.apply(at, &mut buffer);
            }
            self.bytes(&buffer)?;
            at = next;
        }
        Ok(())
    }
}

/// CRC-32 sums of blocks, taken as the bytes go by.
struct BlockSums {
    block: u64,
    left: u64,
    hasher: crc32fast::Hasher,
    table: Vec<u8>,
}

impl BlockSums {
    fn new(block: u64) -> Self {
        Self {
            block,
            left: block,
            hasher: crc32fast::Hasher::new(),
            table: Vec::new(),
        }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let size = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(size);
            self.hasher.update(now);
            self.left -= now.len() as u64;
            bytes = later;
            if self.left == 0 {
                self.end_block();
            }
        }
    }

    fn zeros(&mut self, mut size: u64) {
        let zeros = [0; 4096];
        while size > 0 {
            let step = size.min(zeros.len() as u64);
            self.update(&zeros[..usize::try_from(step).unwrap_or(0)]);
            size -= step;
        }
    }

    /// Reads a run of a file for its sums only.
    fn update_from(&mut self, file: &File, offset: FileOffset, size: u64) -> Result<(), Error> {
        let mut buffer = vec![0; CHUNK / 4];
        let mut done = 0;
        while done < size {
            let step = buffer.len().min(usize::try_from(size - done).unwrap_or(usize::MAX));
            dotdump_snapshot::file::read_exact(file, offset.saturating_add(done), &mut buffer[..step])?;
            self.update(&buffer[..step]);
            done += step as u64;
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let hasher = std::mem::replace(&mut self.hasher, crc32fast::Hasher::new());
        self.table.extend(hasher.finalize().to_le_bytes());
        self.left = self.block;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.left < self.block {
            self.end_block();
        }
        self.table
    }
}
