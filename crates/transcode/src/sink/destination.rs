//! What the user named as the output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use same_file::Handle;

use super::atomic_file::folder_of;
use super::{AtomicFile, Control, Sink, SinkError, StreamSink, platform};

/// An output that was found to be one, before any work is done for it.
#[derive(Debug)]
pub struct Destination {
    kind: Kind,
    hurried: bool,
}

#[derive(Debug)]
enum Kind {
    StandardOutput,
    /// Something that exists and is neither a file nor a folder: it is written to, not replaced.
    Stream(PathBuf),
    File {
        path: PathBuf,
        overwrite: bool,
    },
}

impl Destination {
    /// Standard output.
    ///
    /// # Errors
    /// [`SinkError::IsTerminal`] where that is what it is.
    pub fn standard_output() -> Result<Self, SinkError> {
        if io::stdout().is_terminal() {
            return Err(SinkError::IsTerminal);
        }
        Ok(Self::of(Kind::StandardOutput))
    }

    /// The file `path`, which must not exist unless `overwrite`, and must not be `source` in any case. A FIFO
    /// or a device such as `/dev/null` is written to as it is. A link to a file stays: what it leads to is
    /// replaced.
    ///
    /// # Errors
    /// Where `path` cannot become a file.
    pub fn file(path: &Path, overwrite: bool, source: Option<&File>) -> Result<Self, SinkError> {
        let create = |source| SinkError::Create {
            path: path.into(),
            source,
        };
        let kind = match fs::metadata(path) {
            Ok(metadata) => Some(metadata.file_type()),
            // A link that leads nowhere is there all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::symlink_metadata(path).ok().map(|metadata| metadata.file_type())
            }
            Err(error) => return Err(create(error)),
        };
        let Some(kind) = kind else {
            if path.as_os_str().to_string_lossy().ends_with(std::path::is_separator) {
                return Err(SinkError::IsFolder { path: path.into() });
            }
            let folder = folder_of(path);
            let folder_error = |source: io::Error| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SinkError::NoFolder { path: folder.into() },
                _ => SinkError::Create {
                    path: folder.into(),
                    source,
                },
            };
            if !fs::metadata(folder).map_err(folder_error)?.is_dir() {
                return Err(folder_error(io::ErrorKind::NotADirectory.into()));
            }
            return Ok(Self::of(Kind::File {
                path: path.into(),
                overwrite,
            }));
        };
        if kind.is_dir() {
            return Err(SinkError::IsFolder { path: path.into() });
        }
        if platform::is_disk(kind) {
            return Err(SinkError::IsDisk { path: path.into() });
        }
        if !kind.is_file() && !kind.is_symlink() {
            return Ok(Self::of(Kind::Stream(path.into())));
        }
        if let Some(source) = source
            && kind.is_file()
            && Handle::from_path(path).map_err(create)?
                == source.try_clone().and_then(Handle::from_file).map_err(create)?
        {
            return Err(SinkError::IsSource { path: path.into() });
        }
        if !overwrite {
            return Err(SinkError::Exists { path: path.into() });
        }
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        Ok(Self::of(Kind::File { path, overwrite }))
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, hurried: false }
    }

    /// For something that waits until all is written: a thread of its own writes, and the disk is only asked to work once
    /// that has all. Until it is on the disk it takes longer then.
    #[must_use]
    pub fn hurried(self) -> Self {
        Self { hurried: true, ..self }
    }

    /// Whether it is a file that would be left behind half-written if nobody removed it. Where it is not, a
    /// signal may end the program at once.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// Opens it. `size` is that of the complete output, where it is known.
    ///
    /// # Errors
    /// Where it cannot be opened for writing.
    pub fn open<'a>(self, size: Option<u64>, control: Control<'a>) -> Result<Box<dyn Sink + 'a>, SinkError> {
        Ok(match self.kind {
            Kind::StandardOutput => Box::new(StreamSink::standard_output(size, control)?),
            Kind::Stream(path) => {
                let file = OpenOptions::new().write(true).open(&path);
                let name = path.display().to_string();
                let file = file.map_err(|source| SinkError::Create { path, source })?;
                Box::new(StreamSink::new(file, name, size, control))
            }
            Kind::File { path, overwrite } => Box::new({
                let mut file = AtomicFile::create(&path, overwrite, size, control)?;
                if self.hurried {
                    file.hurry();
                }
                file
            }),
        })
    }
}
