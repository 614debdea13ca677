//! The one place where a file is mapped into memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps `file` for reading.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is only read, and only for files of a few megabytes whose bytes are copied or checked before
    // use; no reference into it is turned into anything but bytes. A process that truncates the file meanwhile makes
    // the access fault instead of giving wrong data; `--no-mmap` is there for media on which that can happen.
    unsafe { Mmap::map(file) }
}
