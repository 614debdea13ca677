//! A file that appears whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, PersistError};

use super::background::Background;
use super::early_sync::EarlySync;
use super::gather::{Gather, Medium};
use super::{Control, Sink, SinkError, platform};

/// A hole smaller than this is written as zeros: it would cost a write of its own in front of it.
const SMALLEST_HOLE: u64 = 4096;

/// Runs from here on are copied by the kernel where it can.
#[cfg(target_os = "linux")]
const IN_KERNEL: u64 = 64 << 10;

/// Between two looks at the request to stop, the kernel copies this much. A multiple of every block size, so
/// that blocks which line up at the start of a run keep doing so.
#[cfg(target_os = "linux")]
const IN_KERNEL_CHUNK: u64 = 16 << 20;

/// The block size of file systems that share blocks.
#[cfg(target_os = "linux")]
const BLOCK: u64 = 4096;

/// Writes to a temporary file in the folder of the destination, which only its owner may read, and renames
/// it when it is complete and on the disk. Dropped before that, it removes the temporary file.
pub struct AtomicFile<'a> {
    gather: Gather<'a, TemporaryFile>,
    path: PathBuf,
    overwrite: bool,
    early: EarlySync,
    #[cfg(target_os = "linux")]
    kernel_copies: bool,
}

struct TemporaryFile {
    file: NamedTempFile,
    /// What writes it, where it is in a hurry.
    writer: Writer,
}

enum Writer {
    /// Whoever calls.
    Caller,
    /// A thread; none where it has ended.
    Background(Option<Background>),
}

impl TemporaryFile {
    fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Waits until what was written has reached the file.
    fn settle(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Writer::Caller => Ok(()),
            Writer::Background(background) => Background::finish(background),
        }
    }
}

impl Medium for TemporaryFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &mut self.writer {
            Writer::Caller => platform::write_all_at(self.file.as_file(), bytes, offset),
            Writer::Background(background) => Background::write_all_at(background, bytes, offset),
        }
    }
}

impl<'a> AtomicFile<'a> {
    /// Makes the temporary file for `path`. `size` is that of the complete file, where it is known.
    /// What `path` is now is only looked at by [`Destination`](super::Destination), and by the last step.
    ///
    /// # Errors
    /// Where the folder does not take a file.
    pub fn create(path: &Path, overwrite: bool, size: Option<u64>, control: Control<'a>) -> Result<Self, SinkError> {
        let folder = folder_of(path);
        // The library makes it with mode 0600: a dump holds secrets.
        let file = tempfile::Builder::new()
            .prefix(".dotdump-")
            .suffix(".tmp")
            .tempfile_in(folder)
            .map_err(|source| SinkError::Create {
                path: folder.into(),
                source,
            })?;
        let medium = TemporaryFile {
            file,
            writer: Writer::Caller,
        };
        Ok(Self {
            gather: Gather::new(medium, path.display().to_string(), size, control),
            path: path.into(),
            overwrite,
            early: EarlySync::default(),
            #[cfg(target_os = "linux")]
            kernel_copies: true,
        })
    }

    /// Writes on a thread of its own where there can be one, and leaves the disk alone until all is written.
    pub(super) fn hurry(&mut self) {
        self.early.disable();
        if let Ok(background) = Background::start(self.gather.medium.as_file()) {
            self.gather.medium.writer = Writer::Background(Some(background));
            #[cfg(target_os = "linux")]
            {
                self.kernel_copies = false;
            }
        }
    }

    /// Lets the disk work while there is more to write.
    fn sync_early(&mut self) {
        self.early.passed(self.gather.position(), self.gather.medium.as_file());
    }

    /// Copies a run of data. Where the kernel cannot do it, or stops, the rest goes through the buffer.
    #[cfg(target_os = "linux")]
    fn copy_data(&mut self, source: &File, mut offset: u64, mut len: u64) -> Result<(), SinkError> {
        if len >= IN_KERNEL && self.kernel_copies {
            let lines_up = offset % BLOCK == self.gather.position() % BLOCK;
            if lines_up && !offset.is_multiple_of(BLOCK) {
                let head = BLOCK - offset % BLOCK;
                self.gather.copy_from(source, offset, head)?;
                offset += head;
                len -= head;
            }
            self.gather.flush()?;
            while len > 0 {
                self.gather.control.check()?;
                let at = self.gather.position();
                // Chunks line up in the output, which the system then takes in large blocks.
                let chunk = len.min(IN_KERNEL_CHUNK - at % IN_KERNEL_CHUNK);
                let target = self.gather.medium.as_file();
                match super::in_kernel::copy(source, offset, target, at, chunk) {
                    Ok(0) => {
                        self.kernel_copies = false;
                        break;
                    }
                    Ok(copied) => {
                        self.gather.passed(Ok(()), copied)?;
                        self.sync_early();
                        offset += copied;
                        len -= copied;
                    }
                    Err(error) => return self.gather.passed(Err(error), 0),
                }
            }
        }
        self.gather.copy_from(source, offset, len)
    }
}

impl Sink for AtomicFile<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.gather.write_all(bytes)?;
        self.sync_early();
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn copy_from(&mut self, source: &File, mut offset: u64, mut len: u64) -> Result<(), SinkError> {
        use super::{Extent, extent};

        let metadata = source.metadata().map_err(|source| SinkError::Read { offset, source })?;
        // The size of anything but a regular file is not its length.
        if len < IN_KERNEL || !metadata.is_file() {
            return self.gather.copy_from(source, offset, len);
        }
        let present = metadata.len().saturating_sub(offset);
        if present < len {
            return Err(SinkError::SourceEnds {
                offset: metadata.len(),
                missing: len - present,
            });
        }
        while len > 0 {
            let step = match extent(source, offset, len) {
                Some(Extent::Hole(step)) => {
                    self.hole(step)?;
                    step
                }
                Some(Extent::Data(step)) => {
                    self.copy_data(source, offset, step)?;
                    step
                }
                None => {
                    self.copy_data(source, offset, len)?;
                    len
                }
            };
            offset += step;
            len -= step;
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        self.gather.copy_from(source, offset, len)
    }

    fn hole(&mut self, len: u64) -> Result<(), SinkError> {
        if len < SMALLEST_HOLE {
            return self.gather.zeros(len);
        }
        // Nothing is written at these offsets; the file gets its length at the end.
        self.gather.flush()?;
        self.gather.passed(Ok(()), len)
    }

    fn position(&self) -> u64 {
        self.gather.position()
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        self.gather.flush()?;
        let size = self.gather.position();
        let settled = self.gather.medium.settle();
        settled.map_err(|error| self.gather.error(error))?;
        let file = self.gather.medium.as_file();
        file.set_len(size)
            .and_then(|()| self.early.finish())
            .and_then(|()| file.sync_all())
            .map_err(|error| self.gather.error(error))?;
        self.gather.control.check()?;

        let Self {
            gather,
            path,
            overwrite,
            ..
        } = *self;
        let temporary = gather.medium.file;
        // An error holds the temporary file, and removes it when it is dropped.
        let renamed = if overwrite {
            temporary.persist(&path)
        } else {
            temporary.persist_noclobber(&path)
        };
        match renamed {
            Ok(_) => {
                platform::sync_folder(folder_of(&path));
                Ok(())
            }
            Err(PersistError { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(SinkError::Exists { path })
            }
            Err(PersistError { error, .. }) => Err(SinkError::Create { path, source: error }),
        }
    }
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
