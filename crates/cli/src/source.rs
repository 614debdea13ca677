//! Opening what is to be read.

use std::path::Path;

use anyhow::Context as _;
use dotdump_format::{FileOffset, ReadAt as _};
use dotdump_snapshot::DumpFile;

/// Opens a dump to read.
pub(crate) fn open(path: &Path, mapped: bool) -> anyhow::Result<DumpFile> {
    DumpFile::open(path, mapped).with_context(|| format!("cannot open {}", path.display()))
}

/// What to say of a file that cannot be opened as a minidump: its name, and what it is where that can be told.
pub(crate) fn not_a_minidump(file: &DumpFile, path: &Path) -> String {
    let mut start = [0; 8];
    match file.read_exact_at(FileOffset(0), &mut start) {
        Ok(()) if start.starts_with(b"PAGE") => {
            let magic = String::from_utf8_lossy(&start);
            format!("{}: a kernel dump ({magic:?}), no user minidump", path.display())
        }
        _ => path.display().to_string(),
    }
}
