//! Writing a plan: strictly forward, with memory that does not grow with the file.

use std::fs::File;

use dotdump_format::layout::{Piece, Plan};
use dotdump_format::{Error, FileOffset, VirtAddr};
use dotdump_snapshot::Memory;

use crate::block_sums::BlockSums;
use crate::filter::StackFilter;
use crate::runs;
use crate::sink::{Sink, SinkError};

/// How much is held at a time, in bytes.
const CHUNK: usize = 1 << 20;

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

    fn copy(&mut self, offset: FileOffset, size: u64) -> Result<(), WriteError> {
        match &mut self.sums {
            Some(sums) => runs::copy(self.origin.file, offset, size, sums, self.sink),
            None => Ok(self.sink.copy_from(self.origin.file, offset.0, size)?),
        }
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
