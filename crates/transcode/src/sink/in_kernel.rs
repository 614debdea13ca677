//! Copies between files that do not pass through the program.
//!
//! `copy_file_range` shares blocks on file systems that can (Btrfs, XFS and others) wherever source and
//! destination line up, so that a clone needs no request of its own.

use std::fs::File;
use std::io;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

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
