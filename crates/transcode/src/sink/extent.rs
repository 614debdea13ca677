//! Where a file has holes.

use std::fs::File;

#[cfg(target_os = "linux")]
use rustix::fs::{SeekFrom, seek};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

/// What a file has at an offset.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nobody tells"))]
pub(crate) enum Extent {
    /// So many bytes of data.
    Data(u64),
    /// So many bytes that were never written, and read as zeros.
    Hole(u64),
}

/// The extent at `offset`, cut at `len` bytes, which must lie within the file. Moves the file's position.
/// `None` where the file system does not tell, or the file does not have these bytes any more.
#[cfg(target_os = "linux")]
pub(crate) fn extent(file: &File, offset: u64, len: u64) -> Option<Extent> {
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

/// Nobody tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn extent(_file: &File, _offset: u64, _len: u64) -> Option<Extent> {
    None
}
