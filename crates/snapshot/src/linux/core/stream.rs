//! The notes of a core that comes through a pipe, as Linux gives it to the program that `core_pattern` names: ELF header,
//! program headers, notes, then memory, which is not read.

use std::io::{self, Read};
use std::ops::ControlFlow;

use dotdump_format::{Error, FileOffset, Findings};

use super::notes::ProcessNotes;
use super::{architecture, note_places};
use crate::elf_core::headers::{HEADER_SIZE, Head, SegmentKind};

/// How much of a core is read at most, in bytes: its notes end before.
const LARGEST_PREFIX: u64 = 128 << 20;

/// How much is read at a time, so that nothing is allocated on the word of a header.
const STEP: usize = 1 << 20;

/// Reads the start of a core up to the end of its notes.
///
/// # Errors
/// [`Error::Malformed`] where it is no core of a Linux process, or its notes do not come first; [`Error::Read`] where
/// reading fails.
pub fn read_notes(stream: &mut impl Read, findings: &mut Findings) -> Result<ProcessNotes, Error> {
    let mut prefix = Prefix {
        stream,
        bytes: Vec::new(),
        ended: false,
    };
    prefix.fill(HEADER_SIZE as u64)?;
    let head = Head::read(&prefix.bytes)?;
    let architecture = architecture(&head)?;
    let count = match head.count {
        Some(count) => count,
        None => {
            // The count stands behind all memory; the notes, which come first, tell it as well.
            prefix.fill(head.start.0.saturating_add(head.stride))?;
            head.count_by_notes(&prefix.bytes)?.unwrap_or(0)
        }
    };
    prefix.fill(head.start.0.saturating_add(count.saturating_mul(head.stride)))?;
    let mut head = head;
    head.count = Some(count);
    let mut end = 0;
    head.segments(&prefix.bytes, u64::MAX, findings, &mut |segment| {
        if segment.kind == SegmentKind::Note {
            end = end.max(segment.offset.0.saturating_add(segment.file_size));
        }
        ControlFlow::Continue(())
    })?;
    prefix.fill(end)?;
    let places = note_places(&prefix.bytes, &head)?;
    ProcessNotes::read(&prefix.bytes, &places, architecture, findings)
}

/// What was read.
struct Prefix<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
    ended: bool,
}

impl<R: Read> Prefix<'_, R> {
    /// Reads on up to `end`, or to the end of the stream.
    fn fill(&mut self, end: u64) -> Result<(), Error> {
        let end = usize::try_from(end.min(LARGEST_PREFIX)).unwrap_or(usize::MAX);
        while self.bytes.len() < end && !self.ended {
            let start = self.bytes.len();
            self.bytes.resize(end.min(start + STEP), 0);
            let read = match self.stream.read(&mut self.bytes[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                Ok(0) => {
                    self.ended = true;
                    Ok(0)
                }
                read => read,
            };
            self.bytes.truncate(start + *read.as_ref().unwrap_or(&0));
            read.map_err(|error| Error::Read {
                offset: FileOffset(start as u64),
                size: (end - start) as u64,
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }
}
