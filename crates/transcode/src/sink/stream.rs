//! Outputs that have no name to be renamed: standard output, a FIFO, a device such as `/dev/null`.

use std::fs::File;
use std::io::{self, Write as _};

use super::gather::{Gather, Medium};
use super::{Control, Sink, SinkError, platform};

/// Writes straight through. What was written before an error stays written; who reads it sees it end early.
pub struct StreamSink<'a>(Gather<'a, Stream>);

struct Stream(File);

impl Medium for Stream {
    fn write_all_at(&mut self, bytes: &[u8], _offset: u64) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}

impl<'a> StreamSink<'a> {
    /// Writes to `file` from its present position on. `name` is how errors call it.
    #[must_use]
    pub fn new(file: File, name: impl Into<String>, size: Option<u64>, control: Control<'a>) -> Self {
        Self(Gather::new(Stream(file), name.into(), size, control))
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// Where there is no standard output.
    pub fn standard_output(size: Option<u64>, control: Control<'a>) -> Result<Self, SinkError> {
        let name = "standard output";
        let file = platform::standard_output().map_err(|source| SinkError::Create {
            path: name.into(),
            source,
        })?;
        Ok(Self::new(file, name, size, control))
    }
}

impl Sink for StreamSink<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.write_all(bytes)
    }

    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        self.0.copy_from(source, offset, len)
    }

    fn hole(&mut self, len: u64) -> Result<(), SinkError> {
        self.0.zeros(len)
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        self.0.flush()
    }
}
