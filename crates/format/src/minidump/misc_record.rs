//! The `IMAGE_DEBUG_MISC` record of a module: the path of its `.dbg` file. Obsolete.

use alloc::string::String;
use alloc::vec::Vec;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::LocationDescriptor;
use super::codeview::record_bytes;
use crate::error::Error;
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;

/// [`MiscRecord::data_type`] of the only kind that there is: the name of a file.
pub const IMAGE_DEBUG_MISC_EXENAME: u32 = 1;

record! {
    /// The fixed part of `IMAGE_DEBUG_MISC` (`winnt.h`), 12 bytes. The text follows.
    pub struct ImageDebugMisc[12] {
        /// [`IMAGE_DEBUG_MISC_EXENAME`].
        pub data_type: U32,
        /// The size of the whole record in bytes, a multiple of 4.
        pub length: U32,
        /// Whether the text is UTF-16.
        pub unicode: u8,
        /// Padding.
        pub reserved: [u8; 3],
    }
}

/// The text of a [`MiscRecord`], without its NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MiscText {
    /// In the linker's code page.
    Bytes(Vec<u8>),
    /// UTF-16 code units.
    Utf16(Vec<u16>),
}

/// An `IMAGE_DEBUG_MISC` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiscRecord {
    /// [`IMAGE_DEBUG_MISC_EXENAME`].
    pub data_type: u32,
    /// The path of the `.dbg` file.
    pub text: MiscText,
}

impl MiscRecord {
    /// The record at `location`; `None` where it is absent.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is longer than [`MAX_RECORD`](super::codeview::MAX_RECORD) or shorter than its
    /// fixed part; [`Error::Read`] where it runs past the file.
    pub fn read(source: &dyn ReadAt, endian: Endian, location: &LocationDescriptor) -> Result<Option<Self>, Error> {
        let Some(bytes) = record_bytes(source, location, "MiscRecord")? else {
            return Ok(None);
        };
        let short = || {
            let message = alloc::format!("{} bytes, at least {} expected", bytes.len(), ImageDebugMisc::SIZE);
            Error::malformed(u64::from(location.rva.get()), "MiscRecord", message)
        };
        Self::parse(&bytes, endian).map(Some).ok_or_else(short)
    }

    /// The record that `bytes` are; `None` where they are fewer than its fixed part.
    #[must_use]
    pub fn parse(bytes: &[u8], endian: Endian) -> Option<Self> {
        let head = ImageDebugMisc::read(bytes, endian)?;
        let length = usize::try_from(head.length.get()).unwrap_or(usize::MAX);
        let data = &bytes[ImageDebugMisc::SIZE..length.clamp(ImageDebugMisc::SIZE, bytes.len())];
        let text = if head.unicode == 0 {
            MiscText::Bytes(data.iter().copied().take_while(|byte| *byte != 0).collect())
        } else {
            let unit = |pair: &[u8]| match endian {
                Endian::Little => u16::from_le_bytes([pair[0], pair[1]]),
                Endian::Big => u16::from_be_bytes([pair[0], pair[1]]),
            };
            let units = data.chunks_exact(2).map(unit);
            MiscText::Utf16(units.take_while(|unit| *unit != 0).collect())
        };
        Some(Self {
            data_type: head.data_type.get(),
            text,
        })
    }

    /// The record as it stands in a file of byte order `endian`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where its length does not fit.
    pub fn to_bytes(&self, endian: Endian) -> Result<Vec<u8>, Error> {
        let mut data = match &self.text {
            MiscText::Bytes(bytes) => [bytes, &[0][..]].concat(),
            MiscText::Utf16(units) => {
                let units = units.iter().chain(&[0]);
                let bytes = |unit: &u16| match endian {
                    Endian::Little => unit.to_le_bytes(),
                    Endian::Big => unit.to_be_bytes(),
                };
                units.flat_map(bytes).collect()
            }
        };
        data.resize(data.len().next_multiple_of(4), 0);
        let head = ImageDebugMisc {
            data_type: self.data_type.into(),
            length: crate::layout::count(ImageDebugMisc::SIZE + data.len(), "MiscRecord.Length")?.into(),
            unicode: u8::from(matches!(self.text, MiscText::Utf16(_))),
            reserved: [0; 3],
        };
        Ok([head.in_order(endian).as_bytes(), &data].concat())
    }

    /// The path, with what is not Unicode replaced.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.text {
            MiscText::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            MiscText::Utf16(units) => String::from_utf16_lossy(units),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_bytes() {
        // Laid out by hand after `winnt.h`.
        let bytes = b"\x01\0\0\0\x14\0\0\0\0\0\0\0a.dbg\0\0\0trailing";
        let record = MiscRecord::parse(bytes, Endian::Little).unwrap();
        assert_eq!((record.data_type, record.path().as_str()), (1, "a.dbg"));
        assert_eq!(record.to_bytes(Endian::Little).unwrap(), bytes[..20]);
        let unicode = b"\0\0\0\x01\xFF\xFF\xFF\xFF\x01\0\0\0\0a\0b\0\0x";
        assert_eq!(MiscRecord::parse(unicode, Endian::Big).unwrap().path(), "ab");
        assert_eq!(MiscRecord::parse(&bytes[..11], Endian::Little), None);
    }

    proptest! {
        #[test]
        fn read_gives_what_was_written(
            data_type in any::<u32>(),
            bytes in prop::collection::vec(1_u8.., 0..50),
            units in prop::option::of(prop::collection::vec(1_u16.., 0..50)),
            big in any::<bool>(),
        ) {
            let endian = if big { Endian::Big } else { Endian::Little };
            let text = units.map_or(MiscText::Bytes(bytes), MiscText::Utf16);
            let record = MiscRecord { data_type, text };
            let bytes = record.to_bytes(endian).unwrap();
            prop_assert_eq!(MiscRecord::parse(&bytes, endian), Some(record));
        }

        #[test]
        fn any_bytes_parse(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(MiscRecord::parse(&bytes, Endian::Little).is_some(), bytes.len() >= 12);
        }
    }
}
