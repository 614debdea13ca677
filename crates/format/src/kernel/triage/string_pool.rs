//! `DUMP_STRING`: the names of drivers.
//!
//! A `u32` that counts characters (not bytes), the characters, a NUL, and zeros up to a multiple of 8. Strings follow each
//! other in the order of the drivers.

use alloc::format;
use alloc::vec::Vec;

use crate::addr::FileOffset;
use crate::error::Error;
use crate::source::ReadAt;

/// The longest name that is read, in characters. Real ones have up to 118; rizin refuses more than this, too.
pub const LONGEST_NAME: u32 = 1024;

/// Reads the string at `offset`, which must end at or before `end`.
///
/// # Errors
/// [`Error::Malformed`] where it is longer than [`LONGEST_NAME`] or does not lie before `end`; [`Error::Read`] where the
/// medium fails.
pub(super) fn read(source: &dyn ReadAt, offset: FileOffset, end: FileOffset) -> Result<Vec<u16>, Error> {
    const WHAT: &str = "DUMP_STRING";
    let ends = || Error::malformed(offset, WHAT, format!("it does not end before {end}"));
    let characters = offset.checked_add(4).filter(|at| *at <= end).ok_or_else(ends)?;
    let length: [u8; 4] = source.bytes(offset, 4)?.as_ref().try_into().unwrap_or_default();
    let length = u32::from_le_bytes(length);
    if length > LONGEST_NAME {
        let message = format!("{length} characters found, at most {LONGEST_NAME} expected");
        return Err(Error::malformed(offset, WHAT, message));
    }
    let size = usize::try_from(length).unwrap_or(usize::MAX).saturating_mul(2);
    if characters.saturating_add(size as u64) > end {
        return Err(ends());
    }
    let bytes = source.bytes(characters, size)?;
    let (pairs, _) = bytes.as_chunks::<2>();
    Ok(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
}

/// The bytes of a string, from its length to its padding.
pub(super) fn to_bytes(name: &[u16]) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(name.iter().flat_map(|character| character.to_le_bytes()));
    bytes.extend([0; 2]);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}
