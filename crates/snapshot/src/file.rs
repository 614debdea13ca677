//! Dump files on a disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use dotdump_format::source::past_end;
use dotdump_format::{Error, FileOffset, ReadAt};
use memmap2::Mmap;

use crate::map;

/// Files up to this size are mapped whole. Larger ones are read at offsets, because the pages of a map count as the
/// process's own memory: a map of a large dump would grow with what is read from it.
pub const MAPPED_UP_TO: u64 = 8 << 20;

/// An open dump file. It is only read, never changed.
#[derive(Debug)]
pub struct DumpFile {
    path: PathBuf,
    file: File,
    size: u64,
    map: Option<Mmap>,
}

impl DumpFile {
    /// Opens the file at `path`. `mapped` allows a map of small files.
    ///
    /// # Errors
    /// What the operating system says, and [`io::ErrorKind::InvalidInput`] for what is no regular file or block
    /// device: a dump needs random access.
    pub fn open(path: &Path, mapped: bool) -> io::Result<Self> {
        // Opening a pipe would wait for somebody who writes into it.
        if !has_random_access(&std::fs::metadata(path)?) {
            return Err(no_random_access());
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let size = if metadata.is_file() {
            metadata.len()
        } else {
            size_of_device(&file)?
        };
        let map = if mapped && metadata.is_file() && size > 0 && size <= MAPPED_UP_TO {
            // A file system that cannot map still reads.
            map::map(&file).ok()
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            map,
        })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, for copies within the operating system.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

fn no_random_access() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "no random access: a dump cannot be read from a pipe or terminal",
    )
}

#[cfg(unix)]
fn has_random_access(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    !(kind.is_fifo() || kind.is_socket() || kind.is_char_device())
}

#[cfg(not(unix))]
fn has_random_access(_: &std::fs::Metadata) -> bool {
    true
}

/// The size of a block device; a pipe or terminal has none.
fn size_of_device(mut file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::End(0)).map_err(|_| no_random_access())
}

impl ReadAt for DumpFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
        if let Some(bytes) = self.lend(offset, buffer.len()) {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end.0 > self.size)
        {
            return Err(past_end(offset, buffer.len(), self.size));
        }
        read_exact(&self.file, offset, buffer)
    }

    fn lend(&self, offset: FileOffset, size: usize) -> Option<&[u8]> {
        self.map.as_deref()?.lend(offset, size)
    }
}

/// Fills `buffer` from `offset` of a file.
///
/// # Errors
/// [`Error::Read`] where the file does not have, or cannot give, all of these bytes.
pub fn read_exact(file: &File, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
    read_exact_at(file, buffer, offset.0).map_err(|error| Error::Read {
        offset,
        size: buffer.len() as u64,
        reason: error.to_string(),
    })
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn mapped_and_read_files_give_the_same_bytes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        file.write_all(&content).unwrap();
        for mapped in [true, false] {
            let dump = DumpFile::open(file.path(), mapped).unwrap();
            let mut buffer = vec![0; 300];
            dump.read_exact_at(FileOffset(9_700), &mut buffer).unwrap();
            assert_eq!(buffer, content[9_700..]);
            assert!(
                dump.read_exact_at(FileOffset(9_701), &mut buffer).is_err(),
                "a read past the end is an error"
            );
            assert_eq!(dump.lend(FileOffset(0), 1).is_some(), mapped);
        }
    }

    #[test]
    fn a_directory_is_refused() {
        assert!(DumpFile::open(&std::env::temp_dir(), true).is_err());
    }
}
