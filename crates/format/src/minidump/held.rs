//! What streams that are held in memory share: following their references within a budget, and placing their parts.

use alloc::string::String;
use alloc::vec::Vec;

use super::list::{Count, MAX_ENTRIES, MAX_TEXT};
use super::{LocationDescriptor, Stream, string};
use crate::addr::{FileOffset, Rva};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Endian, Record};
use crate::source::ReadAt;
use crate::table::{Shape, Table};

/// Follows the references of one stream. All that it brings into memory counts against one budget of
/// [`MAX_ENTRIES`] entries and [`MAX_TEXT`] bytes, so that no web of references makes a small file a large value.
/// What cannot be had becomes a finding and is left empty.
pub(super) struct Follow<'r, 'a> {
    source: &'a dyn ReadAt,
    endian: Endian,
    findings: &'r mut Findings,
    entries_left: u64,
    bytes_left: usize,
    exhausted: bool,
}

impl<'r, 'a> Follow<'r, 'a> {
    /// Follows what `stream` refers to.
    pub(super) fn new(stream: &Stream<'a>, findings: &'r mut Findings) -> Self {
        Self {
            source: stream.source,
            endian: stream.endian,
            findings,
            entries_left: MAX_ENTRIES,
            bytes_left: MAX_TEXT,
            exhausted: false,
        }
    }

    /// Notes a finding.
    pub(super) fn note(&mut self, at: FileOffset, what: &'static str, message: String) {
        self.findings.add(at, what, message);
    }

    /// The records of a table, as many as the file and the budget have.
    pub(super) fn table<T: Record>(
        &mut self,
        at: FileOffset,
        end: FileOffset,
        count: u64,
        what: &'static str,
    ) -> Vec<T> {
        let shape = Shape {
            offset: at,
            end,
            stride: T::SIZE,
            claimed: count,
        };
        let table = Table::<T>::new(self.source, self.endian, shape, what, self.findings);
        let granted = table.len().min(self.entries_left);
        if granted < table.len() {
            self.exhaust(at, what);
        }
        self.entries_left -= granted;
        let mut records = Vec::new();
        for record in table.range(0, granted) {
            match record {
                Ok(record) => records.push(record),
                Err(error) => self.findings.push(error.into_finding(what)),
            }
        }
        records
    }

    /// The records behind a 32-bit count at `location`; none where it is absent.
    pub(super) fn list<T: Record>(&mut self, location: &LocationDescriptor, what: &'static str) -> Vec<T> {
        let Some((at, size)) = location.place() else {
            return Vec::new();
        };
        let Some(head) = self.record_at::<Count>(at, size, Count::SIZE, what) else {
            return Vec::new();
        };
        let start = at.saturating_add(Count::SIZE as u64);
        self.table(start, at.saturating_add(size), u64::from(head.count.get()), what)
    }

    /// The record at `location`, of which older versions write only the first `least` bytes; `None` where it is absent.
    pub(super) fn record<T: Record>(
        &mut self,
        location: &LocationDescriptor,
        least: usize,
        what: &'static str,
    ) -> Option<T> {
        let (at, size) = location.place()?;
        self.record_at(at, size, least, what)
    }

    fn record_at<T: Record>(&mut self, at: FileOffset, size: u64, least: usize, what: &'static str) -> Option<T> {
        if size < least as u64 {
            self.note(at, what, alloc::format!("{size} bytes, at least {least} expected"));
            return None;
        }
        let there = usize::try_from(size).unwrap_or(T::SIZE).min(T::SIZE);
        let bytes = self.source.bytes(at, there);
        self.keep(bytes, what).map(|bytes| T::read_partial(&bytes, self.endian))
    }

    /// `size` bytes at `at`; none where they do not lie within the file or the budget.
    pub(super) fn bytes(&mut self, at: FileOffset, size: u64, what: &'static str) -> Vec<u8> {
        let Some(size) = self.grant(at, size, what) else {
            return Vec::new();
        };
        let bytes = self.source.bytes(at, size);
        self.keep(bytes, what)
            .map(|bytes| bytes.into_owned())
            .unwrap_or_default()
    }

    /// The bytes behind a 32-bit length at `rva` (Crashpad's `UTF8String` and `ByteArray`); none where it is absent.
    pub(super) fn sized_bytes(&mut self, rva: u32, what: &'static str) -> Vec<u8> {
        let Some(at) = Rva(rva).offset() else {
            return Vec::new();
        };
        let Some(head) = self.record_at::<Count>(at, Count::SIZE as u64, Count::SIZE, what) else {
            return Vec::new();
        };
        self.bytes(at.saturating_add(Count::SIZE as u64), u64::from(head.count.get()), what)
    }

    /// The `MINIDUMP_STRING` at `at`; `None` where it cannot be read.
    pub(super) fn text(&mut self, at: FileOffset, what: &'static str) -> Option<String> {
        // A length of 0 asks only whether anything is left: how long the text is shows when it is read.
        self.grant(at, u64::from(self.bytes_left == 0), what)?;
        let text = string::read_string(self.source, self.endian, at);
        let text = self.keep(text, what)?;
        self.bytes_left = self.bytes_left.saturating_sub(text.len().max(1));
        Some(text)
    }

    fn grant(&mut self, at: FileOffset, size: u64, what: &'static str) -> Option<usize> {
        match usize::try_from(size).ok().filter(|size| *size <= self.bytes_left) {
            Some(size) if at.saturating_add(size as u64).0 <= self.source.size() => {
                self.bytes_left -= size;
                Some(size)
            }
            Some(size) => {
                let end = self.source.size();
                self.note(
                    at,
                    what,
                    alloc::format!("{size} bytes expected, but the file ends at {end:#x}"),
                );
                None
            }
            None => {
                self.exhaust(at, what);
                None
            }
        }
    }

    fn keep<T>(&mut self, result: Result<T, Error>, what: &'static str) -> Option<T> {
        result
            .map_err(|error| self.findings.push(error.into_finding(what)))
            .ok()
    }

    fn exhaust(&mut self, at: FileOffset, what: &'static str) {
        if !core::mem::replace(&mut self.exhausted, true) {
            let message = alloc::format!(
                "more than {MAX_ENTRIES} entries or {MAX_TEXT} bytes in one stream; what exceeds them is left out"
            );
            self.note(at, what, message);
        }
    }
}

/// Adds bytes on a 4-byte boundary and gives their place.
///
/// # Errors
/// [`Error::TooLarge`] where they do not lie below 4 GiB.
pub(super) fn place_bytes(layout: &mut Layout, bytes: &[u8], what: &'static str) -> Result<LocationDescriptor, Error> {
    layout.align(4);
    let at = layout.push_bytes(bytes);
    layout.location(at, bytes.len() as u64, what)
}

/// Adds a record on a 4-byte boundary and gives its place.
///
/// # Errors
/// [`Error::TooLarge`] where it does not lie below 4 GiB.
pub(super) fn place_record<T: Record>(
    layout: &mut Layout,
    record: &T,
    what: &'static str,
) -> Result<LocationDescriptor, Error> {
    let endian = layout.endian();
    place_bytes(layout, record.in_order(endian).as_bytes(), what)
}
