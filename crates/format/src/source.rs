//! Where the bytes of a dump come from.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use crate::addr::FileOffset;
use crate::error::Error;

/// A file, map or other medium that can be read at any offset. Readers take it as `&dyn ReadAt`, which is
/// `Copy`, so that every table and stream holds its own reference and reads only when it is asked.
///
/// A medium that has its bytes in memory also lends them ([`ReadAt::lend`]); nothing is copied then.
pub trait ReadAt {
    /// The size of the medium in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium does not have, or cannot give, all of these bytes.
    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error>;

    /// The bytes `[offset, offset + size)` where they are in memory already.
    fn lend(&self, offset: FileOffset, size: usize) -> Option<&[u8]> {
        let _ = (offset, size);
        None
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
        let bytes = self
            .lend(offset, buffer.len())
            .ok_or_else(|| past_end(offset, buffer.len(), ReadAt::size(self)))?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn lend(&self, offset: FileOffset, size: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.0).ok()?;
        self.get(start..start.checked_add(size)?)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
        self.as_slice().read_exact_at(offset, buffer)
    }

    fn lend(&self, offset: FileOffset, size: usize) -> Option<&[u8]> {
        self.as_slice().lend(offset, size)
    }
}

/// So that a borrowed slice is a source, too: `Minidump::open(&bytes)` with `bytes: &[u8]`.
impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
        (**self).read_exact_at(offset, buffer)
    }

    fn lend(&self, offset: FileOffset, size: usize) -> Option<&[u8]> {
        (**self).lend(offset, size)
    }
}

/// The error for a read that does not lie within the medium.
#[must_use]
pub fn past_end(offset: FileOffset, size: usize, medium: u64) -> Error {
    Error::Read {
        offset,
        size: size as u64,
        reason: alloc::format!("the file ends at {medium:#x}"),
    }
}

impl<'a> dyn ReadAt + 'a {
    /// The bytes `[offset, offset + size)`, lent where possible. `size` must have been bounded by the caller:
    /// this allocates only after the range was found to lie within the medium.
    ///
    /// # Errors
    /// [`Error::Read`] where the range does not lie within the medium or reading it fails.
    pub fn bytes(&self, offset: FileOffset, size: usize) -> Result<Cow<'_, [u8]>, Error> {
        // A damaged file may put something empty past its end; there is nothing to miss.
        if size == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if let Some(lent) = self.lend(offset, size) {
            return Ok(Cow::Borrowed(lent));
        }
        if offset.checked_add(size as u64).is_none_or(|end| end.0 > self.size()) {
            return Err(past_end(offset, size, self.size()));
        }
        let mut buffer = vec![0; size];
        self.read_exact_at(offset, &mut buffer)?;
        Ok(Cow::Owned(buffer))
    }
}
