//! What kind of file a source is.

use dotdump_format::kernel::header::{SIGNATURE, VALID_DUMP_32, VALID_DUMP_64};
use dotdump_format::{Error, FileOffset, ReadAt, kdump};

use crate::linux;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// A minidump: `MDMP`, or `PMDM` of a big-endian machine.
    Minidump,
    /// A kernel dump: `PAGEDUMP` or `PAGEDU64`.
    KernelDump,
    /// An ELF core of a machine.
    ElfCore,
    /// An ELF core of a process.
    ProcessCore,
    /// A kdump file.
    Kdump,
    /// A kdump file in the order in which it was written.
    FlattenedKdump,
    /// None of these: a raw image of memory, if anything.
    Raw,
}

impl Container {
    /// Its name as `inspect` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minidump => "minidump",
            Self::KernelDump => "kernel dump",
            Self::ElfCore => "ELF core",
            Self::ProcessCore => "ELF core of a process",
            Self::Kdump => "kdump",
            Self::FlattenedKdump => "flattened kdump",
            Self::Raw => "raw memory",
        }
    }
}

/// Tells what `source` is. An ELF file that is no core is [`Container::Raw`]. A core is of a process where its notes are:
/// it has a process's status, auxiliary vector, signal or files, and nothing that monitors write of machines.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn detect(source: &dyn ReadAt) -> Result<Container, Error> {
    let mut start = [0; 18];
    let size = usize::try_from(source.size()).unwrap_or(usize::MAX).min(start.len());
    source.read_exact_at(FileOffset(0), &mut start[..size])?;
    let is_kernel = start.starts_with(&SIGNATURE) && [VALID_DUMP_32, VALID_DUMP_64].iter().any(|it| start[4..8] == *it);
    Ok(if start.starts_with(b"MDMP") || start.starts_with(b"PMDM") {
        Container::Minidump
    } else if is_kernel {
        Container::KernelDump
    } else if start.starts_with(b"\x7FELF") && [[4, 0], [0, 4]].contains(&[start[16], start[17]]) {
        match linux::core::is_of_process(source)? {
            true => Container::ProcessCore,
            false => Container::ElfCore,
        }
    } else if start.starts_with(&kdump::SIGNATURE) {
        Container::Kdump
    } else if start.starts_with(&kdump::FLAT_SIGNATURE) {
        Container::FlattenedKdump
    } else {
        Container::Raw
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_their_first_bytes() {
        for (start, kind) in [
            (b"MDMP\x93\xA7\0\0".as_slice(), Container::Minidump),
            (b"PMDM\0\0\xA7\x93", Container::Minidump),
            (b"PAGEDUMP", Container::KernelDump),
            (b"PAGEDU64", Container::KernelDump),
            (b"PAGEPAGE", Container::Raw),
            (b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0", Container::ElfCore),
            (b"\x7FELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\x04", Container::ElfCore),
            (b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0", Container::Raw),
            (b"KDUMP   \x06\0\0\0", Container::Kdump),
            (b"makedumpfile\0\0\0\0", Container::FlattenedKdump),
            (b"", Container::Raw),
            (b"MD", Container::Raw),
        ] {
            assert_eq!(detect(&start).unwrap(), kind, "{start:?}");
        }
    }
}
