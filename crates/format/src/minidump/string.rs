//! `MINIDUMP_STRING`: a length in bytes, UTF-16 code units, and a NUL that readers must not rely on.

use alloc::string::String;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;

use crate::addr::{FileOffset, Rva};
use crate::error::Error;
use crate::layout::Layout;
use crate::record::{Endian, SwapBytes};
use crate::source::ReadAt;

/// The longest string that is read, in bytes: a Windows path has at most 32,767 code units.
pub const MAX_STRING_BYTES: u32 = 2 * 32_767;

/// The UTF-16 code units of the string at `offset`, as many as its length says, an odd last byte left out.
///
/// # Errors
/// [`Error::Malformed`] where the length is above [`MAX_STRING_BYTES`]; [`Error::Read`] where it runs past the file.
pub fn read_string_units(source: &dyn ReadAt, endian: Endian, offset: FileOffset) -> Result<Vec<u16>, Error> {
    let mut length = U32::new(0);
    let mut head = [0; 4];
    source.read_exact_at(offset, &mut head)?;
    length.as_mut().copy_from_slice(&head);
    if endian == Endian::Big {
        length.swap_bytes();
    }
    let length = length.get();
    if length > MAX_STRING_BYTES {
        return Err(Error::malformed(
            offset,
            "MINIDUMP_STRING",
            alloc::format!("a length of {length} bytes, at most {MAX_STRING_BYTES} expected"),
        ));
    }
    let bytes = source.bytes(offset.saturating_add(4), length as usize)?;
    let unit = |pair: &[u8]| match endian {
        Endian::Little => u16::from_le_bytes([pair[0], pair[1]]),
        Endian::Big => u16::from_be_bytes([pair[0], pair[1]]),
    };
    Ok(bytes.chunks_exact(2).map(unit).collect())
}

/// The string at `offset` as text: up to the first NUL, lone surrogates replaced.
///
/// # Errors
/// As [`read_string_units`].
pub fn read_string(source: &dyn ReadAt, endian: Endian, offset: FileOffset) -> Result<String, Error> {
    let units = read_string_units(source, endian, offset)?;
    let text = units.split(|unit| *unit == 0).next().unwrap_or_default();
    Ok(String::from_utf16_lossy(text))
}

/// Adds a string of UTF-16 code units, with its NUL, and gives its place.
///
/// # Errors
/// [`Error::TooLarge`] where it does not lie below 4 GiB.
pub fn write_string_units(layout: &mut Layout, units: &[u16]) -> Result<Rva, Error> {
    let size = crate::layout::count(units.len() * 2, "MINIDUMP_STRING.Length")?;
    let mut bytes = Vec::with_capacity(units.len() * 2 + 6);
    match layout.endian() {
        Endian::Little => {
            bytes.extend(size.to_le_bytes());
            bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        }
        Endian::Big => {
            bytes.extend(size.to_be_bytes());
            bytes.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    bytes.extend([0; 2]);
    layout.align(4);
    let offset = layout.push_bytes(&bytes);
    layout.rva(offset, bytes.len() as u64, "MINIDUMP_STRING")
}

/// Adds `text` as a string and gives its place.
///
/// # Errors
/// As [`write_string_units`].
pub fn write_string(layout: &mut Layout, text: &str) -> Result<Rva, Error> {
    let units: Vec<u16> = text.encode_utf16().collect();
    write_string_units(layout, &units)
}
