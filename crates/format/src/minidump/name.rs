//! Names that many records of a stream share: each is held once and written once.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::list::MAX_TEXT;
use super::{Stream, read_string_units, write_string_units};
use crate::addr::{FileOffset, Rva};
use crate::error::{Error, Findings};
use crate::layout::Layout;

/// A `MINIDUMP_STRING` as it stands in the file: UTF-16 code units, whatever they are. Copies share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u16]>);

impl Name {
    /// The code units.
    #[must_use]
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// As text: up to the first NUL, lone surrogates replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self.0.split(|unit| *unit == 0).next().unwrap_or_default();
        String::from_utf16_lossy(text)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl From<Vec<u16>> for Name {
    fn from(units: Vec<u16>) -> Self {
        Self(units.into())
    }
}

/// Reads the names of one stream: each file offset once, [`MAX_TEXT`] bytes in all.
#[derive(Debug)]
pub(crate) struct NameReader<'a> {
    stream: Stream<'a>,
    seen: BTreeMap<FileOffset, Option<Name>>,
    left: usize,
    exhausted: bool,
}

impl<'a> NameReader<'a> {
    /// For the names to which `stream` refers.
    pub(crate) const fn new(stream: Stream<'a>) -> Self {
        Self {
            stream,
            seen: BTreeMap::new(),
            left: MAX_TEXT,
            exhausted: false,
        }
    }

    /// The name at `offset`; `None` where that is 0. One that cannot be read, or is too much, becomes a finding.
    pub(crate) fn read(&mut self, offset: u64, what: &'static str, findings: &mut Findings) -> Option<Name> {
        if offset == 0 {
            return None;
        }
        let offset = FileOffset(offset);
        if let Some(name) = self.seen.get(&offset) {
            return name.clone();
        }
        if self.exhausted {
            return None;
        }
        let name = match read_string_units(self.stream.source, self.stream.endian, offset) {
            Ok(units) if self.take(units.len() * 2, offset, what, findings) => Some(Name::from(units)),
            Ok(_) => None,
            Err(error) => {
                findings.push(error.into_finding(what));
                None
            }
        };
        self.seen.insert(offset, name.clone());
        name
    }

    /// Whether `size` more bytes may be held for the stream; that they may not is a finding, once.
    pub(crate) fn take(
        &mut self,
        size: usize,
        offset: FileOffset,
        what: &'static str,
        findings: &mut Findings,
    ) -> bool {
        if self.exhausted {
            return false;
        }
        if let Some(left) = self.left.checked_sub(size) {
            self.left = left;
            return true;
        }
        self.exhausted = true;
        findings.add(
            offset,
            what,
            alloc::format!("more than {MAX_TEXT} bytes of names and data in one stream; the rest is left out"),
        );
        false
    }
}

/// Writes names, each distinct one once.
#[derive(Debug, Default)]
pub(crate) struct NameWriter {
    written: BTreeMap<Name, Rva>,
}

impl NameWriter {
    /// Where `name` lies in the file: 0 for `None`. Adds it where it is not there yet.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where it does not lie below 4 GiB.
    pub(crate) fn write(&mut self, layout: &mut Layout, name: Option<&Name>) -> Result<Rva, Error> {
        let Some(name) = name else {
            return Ok(Rva(0));
        };
        if let Some(rva) = self.written.get(name) {
            return Ok(*rva);
        }
        let rva = write_string_units(layout, name.units())?;
        self.written.insert(name.clone(), rva);
        Ok(rva)
    }
}
