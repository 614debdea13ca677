//! Copies between files that do not pass through the program.
//!
//! `copy_file_range` shares blocks on file systems that can (Btrfs, XFS and others) wherever source and
//! destination line up, so that a clone needs no request of its own.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, copy_file_range, seek};
use rustix::io::Errno;

/// What a file has at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// So many bytes of data.
    Data(u64),
    /// So many bytes that were never written, and read as zeros.
    Hole(u64),
}

/// The extent at `offset`, cut at `len` bytes, which must lie within the file. Moves the file's position.
/// `None` where the file system does not tell, or the file does not have these bytes any more.
pub(super) fn extent(file: &File, offset: u64, len: u64) -> Option<Extent> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => Some(Extent::Hole(len.min(data - offset))),
        Ok(_) => {
            let hole = seek(file, SeekFrom::Hole(offset)).ok()?;
            hole.checked_sub(offset)
                .filter(|&data| data > 0)
                .map(|data| Extent::Data(len.min(data)))
        }
        // No data from here on, if the file still reaches that far.
        Err(Errno::NXIO) => (file.metadata().ok()?.len().checked_sub(offset)? >= len).then_some(Extent::Hole(len)),
        Err(_) => None,
    }
}

/// Copies up to `len` bytes and says how many. `Ok(0)` means that it has to be done another way: these files
/// or systems cannot do this, or the source ends here.
pub(super) fn copy(source: &File, offset: u64, target: &File, at: u64, len: u64) -> io::Result<u64> {
    let (mut from, mut to) = (offset, at);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    match copy_file_range(source, Some(&mut from), target, Some(&mut to), len) {
        Ok(copied) => Ok(copied as u64),
        // Where there is no room, or the disk fails, another way would fail as well, and slower.
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)) => Err(error.into()),
        Err(_) => Ok(0),
    }
}
