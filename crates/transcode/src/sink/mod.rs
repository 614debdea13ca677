//! Where a dump is written to: strictly forward, so that a pipe or a compressor can take it too.
//!
//! A [`Destination`] is checked before any work is done; opening it gives a [`Sink`]. A regular file appears
//! under its name when [`Sink::finish`] has succeeded, whole; a sink that is dropped before leaves nothing.
//!
//! ```
//! use dotdump_transcode::sink::{Cancel, Control, Destination};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("out.dmp");
//! let cancel = Cancel::new();
//! let mut sink = Destination::file(&path, false, None)?.open(Some(12), Control::new(&cancel, &()))?;
//! sink.write_all(b"MDMP")?;
//! sink.hole(8)?;
//! assert!(!path.exists());
//! sink.finish()?;
//! assert_eq!(std::fs::read(&path)?, b"MDMP\0\0\0\0\0\0\0\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomic_file;
mod background;
mod control;
mod destination;
mod early_sync;
mod extent;
mod gather;
mod held;
#[cfg(test)]
mod held_tests;
#[cfg(target_os = "linux")]
mod in_kernel;
mod platform;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::PathBuf;

pub use atomic_file::AtomicFile;
pub use control::{Cancel, Control, Progress};
pub use destination::Destination;
pub(crate) use extent::{Extent, extent};
pub use held::Held;
pub use stream::StreamSink;

/// An output that is written front to back.
///
/// After an error nothing more may be written; dropping the sink then removes what it made.
pub trait Sink {
    /// Writes bytes.
    ///
    /// # Errors
    /// Where the output does not take them, or the work was cancelled.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// Writes `len` bytes of a file from `offset` on, the cheapest way that the system has. What is a hole
    /// in the source may become one in the output. The file's own position is not used, but may be moved.
    ///
    /// # Errors
    /// Where the source does not have all of these bytes or cannot be read, where the output does not take
    /// them, or the work was cancelled.
    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError>;

    /// Writes `len` zeros, as a hole where the output can have them.
    ///
    /// # Errors
    /// Where the output does not take them, or the work was cancelled.
    fn hole(&mut self, len: u64) -> Result<(), SinkError>;

    /// How many bytes were written, holes included: the offset of what is written next.
    fn position(&self) -> u64;

    /// Completes the output. Only after this does a file appear under its name.
    ///
    /// # Errors
    /// Where the last bytes cannot be written or the file cannot get its name.
    fn finish(self: Box<Self>) -> Result<(), SinkError>;
}

/// Why an output could not be written. In each case no file is left behind, and none was replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The output exists, and was not to be replaced.
    #[error("{} exists; use -o to replace it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The output is the file that is read.
    #[error("{} is the source itself; write to another file", path.display())]
    IsSource {
        /// The output.
        path: PathBuf,
    },
    /// The output is a folder.
    #[error("{} is a folder, not a file", path.display())]
    IsFolder {
        /// The output.
        path: PathBuf,
    },
    /// The output's folder is not there.
    #[error("there is no folder {}", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The output is a disk.
    #[error("{} is a disk; write to standard output (-) and redirect it if this is meant", path.display())]
    IsDisk {
        /// The output.
        path: PathBuf,
    },
    /// Standard output is a terminal.
    #[error("standard output is a terminal, which cannot show a dump; redirect it to a file or pipe")]
    IsTerminal,
    /// The output, or a temporary file beside it, could not be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// The output, or its folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no room for the output.
    #[error(
        "no space left for {name}: it ended after {written} bytes{}",
        size.map_or_else(String::new, |size| format!(", {size} bytes are needed"))
    )]
    DiskFull {
        /// The output.
        name: String,
        /// How many bytes of it could be written.
        written: u64,
        /// How many it has in all, where that is known before.
        size: Option<u64>,
        /// What the operating system said.
        source: io::Error,
    },
    /// The output could not be written for another reason.
    #[error("cannot write {name} at offset {offset:#x}")]
    Write {
        /// The output.
        name: String,
        /// Where in it.
        offset: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The source could not be read.
    #[error("cannot read the source at offset {offset:#x}")]
    Read {
        /// Where in it.
        offset: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The source has become shorter since it was opened, or never had these bytes.
    #[error("the source ends at offset {offset:#x}, where {missing} more bytes were expected; did it change?")]
    SourceEnds {
        /// Where it ends.
        offset: u64,
        /// How many bytes of this copy it does not have.
        missing: u64,
    },
    /// The user or a signal asked to stop.
    #[error("cancelled")]
    Cancelled,
}
