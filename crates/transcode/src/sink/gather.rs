//! Gathers small writes into large ones, and counts.

use std::fs::File;
use std::io;

use super::{Control, SinkError, platform};

/// How much is gathered before it is written, and the most that is written at once: the request to stop is looked at in
/// between. Writes end at multiples of this wherever they begin, because a system that keeps a file in memory by blocks
/// takes in whole ones faster. Larger writes make it look for larger blocks, which may be slow to find.
pub(super) const GATHERED: usize = 128 << 10;

/// What the bytes go to.
pub(super) trait Medium {
    /// Writes all of `bytes`. `offset` is the end of what was written before, holes included.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// A medium behind a buffer.
pub(super) struct Gather<'a, M> {
    pub(super) medium: M,
    pub(super) control: Control<'a>,
    /// How the output is called in errors.
    name: String,
    /// How large the output will be, where that is known.
    size: Option<u64>,
    buffer: Box<[u8]>,
    filled: usize,
    /// What lies in front of the buffer: written, or skipped as a hole.
    passed: u64,
}

impl<'a, M: Medium> Gather<'a, M> {
    pub(super) fn new(medium: M, name: String, size: Option<u64>, control: Control<'a>) -> Self {
        if let Some(size) = size {
            control.progress().total(size);
        }
        Self {
            medium,
            control,
            name,
            size,
            buffer: vec![0; GATHERED].into_boxed_slice(),
            filled: 0,
            passed: 0,
        }
    }

    pub(super) const fn position(&self) -> u64 {
        self.passed + self.filled as u64
    }

    /// How much more is gathered before it is written.
    fn room(&self) -> usize {
        GATHERED - usize::try_from(self.position() % GATHERED as u64).unwrap_or(0)
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), SinkError> {
        while !bytes.is_empty() {
            let room = self.room();
            if self.filled == 0 && bytes.len() >= room {
                let (chunk, rest) = bytes.split_at(room);
                self.control.check()?;
                let written = self.medium.write_all_at(chunk, self.passed);
                self.passed(written, chunk.len() as u64)?;
                bytes = rest;
            } else {
                let (chunk, rest) = bytes.split_at(bytes.len().min(room));
                self.buffer[self.filled..][..chunk.len()].copy_from_slice(chunk);
                self.took(chunk.len())?;
                bytes = rest;
            }
        }
        Ok(())
    }

    /// Copies by reading and writing.
    pub(super) fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        let mut done = 0;
        while done < len {
            let wanted = self.room().min(usize::try_from(len - done).unwrap_or(usize::MAX));
            let at = offset.saturating_add(done);
            let room = &mut self.buffer[self.filled..][..wanted];
            let got = match platform::read_at(source, room, at) {
                Ok(0) => {
                    let missing = len - done;
                    return Err(SinkError::SourceEnds { offset: at, missing });
                }
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.control.check()?;
                    continue;
                }
                Err(source) => return Err(SinkError::Read { offset: at, source }),
            };
            self.took(got)?;
            done += got as u64;
        }
        Ok(())
    }

    /// Writes zeros.
    pub(super) fn zeros(&mut self, mut len: u64) -> Result<(), SinkError> {
        while len > 0 {
            let count = self.room().min(usize::try_from(len).unwrap_or(usize::MAX));
            self.buffer[self.filled..][..count].fill(0);
            self.took(count)?;
            len -= count as u64;
        }
        Ok(())
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        self.control.check()?;
        if self.filled > 0 {
            let filled = std::mem::take(&mut self.filled);
            let written = self.medium.write_all_at(&self.buffer[..filled], self.passed);
            self.passed(written, filled as u64)?;
        }
        Ok(())
    }

    /// Notes what happened to `bytes` bytes that went to the medium past an empty buffer.
    pub(super) fn passed(&mut self, result: io::Result<()>, bytes: u64) -> Result<(), SinkError> {
        debug_assert_eq!(self.filled, 0, "bytes in the buffer come first");
        result.map_err(|error| self.error(error))?;
        self.passed += bytes;
        self.control.progress().advance(bytes);
        Ok(())
    }

    /// What an error of the medium means.
    pub(super) fn error(&self, source: io::Error) -> SinkError {
        let name = self.name.clone();
        if platform::is_disk_full(&source) {
            SinkError::DiskFull {
                name,
                written: self.passed,
                size: self.size,
                source,
            }
        } else {
            SinkError::Write {
                name,
                offset: self.passed,
                source,
            }
        }
    }

    fn took(&mut self, bytes: usize) -> Result<(), SinkError> {
        let is_full = bytes == self.room();
        self.filled += bytes;
        if is_full { self.flush() } else { Ok(()) }
    }
}
