//! Walking over the notes of a core.

use std::borrow::Cow;
use std::ops::ControlFlow;

use dotdump_format::core_note::NoteHeader;
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, Record};

/// Names above this size in bytes are those of no known note.
const LARGEST_NAME: u32 = 64;

/// More notes than any machine has processors, or any process threads, with all notes of each.
const MOST_NOTES: usize = 1 << 18;

/// A note.
pub(crate) struct Note {
    name: [u8; LARGEST_NAME as usize],
    name_size: usize,
    /// What it is to those who know its name.
    pub(crate) note_type: u32,
    /// The size of its payload in bytes.
    pub(crate) size: u32,
    /// Where its payload is.
    pub(crate) place: FileOffset,
}

impl Note {
    /// Its name, without the NUL; empty where it is longer than any known one.
    pub(crate) fn name(&self) -> &[u8] {
        let name = &self.name[..self.name_size];
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Its payload; `None` where it has more than `largest` bytes.
    pub(crate) fn payload<'a>(&self, source: &'a dyn ReadAt, largest: u32) -> Result<Option<Cow<'a, [u8]>>, Error> {
        let size = usize::try_from(self.size.min(largest)).unwrap_or(0);
        match self.size <= largest {
            true => source.bytes(self.place, size).map(Some),
            false => Ok(None),
        }
    }
}

/// Takes a note, and tells whether to go on.
pub(crate) type Visitor<'a> = dyn FnMut(&Note, &mut Findings) -> Result<ControlFlow<()>, Error> + 'a;

/// Calls `each` with the notes in the `size` bytes at `offset`, until it breaks off.
///
/// # Errors
/// [`Error::Read`] where the medium fails, and what `each` returns.
pub(crate) fn walk(
    source: &dyn ReadAt,
    offset: FileOffset,
    size: u64,
    findings: &mut Findings,
    each: &mut Visitor<'_>,
) -> Result<(), Error> {
    let end = offset.0.saturating_add(size).min(source.size());
    if end.saturating_sub(offset.0) < size {
        findings.add(
            offset,
            "notes",
            format!("{size:#x} bytes of notes pass the end of the file"),
        );
    }
    let mut at = offset.0;
    for _ in 0..MOST_NOTES {
        if end.saturating_sub(at) < NoteHeader::SIZE as u64 {
            break;
        }
        let header = source.bytes(FileOffset(at), NoteHeader::SIZE)?;
        let header = NoteHeader::read_partial(&header, Endian::Little);
        let (name_size, payload_size) = (header.name_size.get(), header.payload_size.get());
        let name_at = at + NoteHeader::SIZE as u64;
        let payload_at = name_at + u64::from(name_size).next_multiple_of(4);
        if payload_at + u64::from(payload_size) > end {
            findings.add(
                at,
                "note",
                format!("{payload_size:#x} bytes of it pass the end of the notes"),
            );
            break;
        }
        let mut note = Note {
            name: [0; LARGEST_NAME as usize],
            name_size: 0,
            note_type: header.note_type.get(),
            size: payload_size,
            place: FileOffset(payload_at),
        };
        if name_size <= LARGEST_NAME {
            note.name_size = usize::try_from(name_size).unwrap_or(0);
            source.read_exact_at(FileOffset(name_at), &mut note.name[..note.name_size])?;
        }
        if each(&note, findings)?.is_break() {
            break;
        }
        at = payload_at + u64::from(payload_size).next_multiple_of(4);
    }
    Ok(())
}
