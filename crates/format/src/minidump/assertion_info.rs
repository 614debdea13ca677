//! `MD_ASSERTION_INFO_STREAM` (0x47670002): a failed assertion of the C run-time library.

use alloc::string::String;

use zerocopy::byteorder::little_endian::{U16, U32};

use super::held::place_record;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::record;

/// [`AssertionInfo::assertion_type`]: not known.
pub const ASSERTION_UNKNOWN: u32 = 0;
/// [`AssertionInfo::assertion_type`]: a library function was given an invalid parameter.
pub const ASSERTION_INVALID_PARAMETER: u32 = 1;
/// [`AssertionInfo::assertion_type`]: a pure virtual function was called.
pub const ASSERTION_PURE_VIRTUAL_CALL: u32 = 2;

record! {
    /// `MDRawAssertionInfo` (Breakpad's `minidump_format.h`), 776 bytes.
    pub struct AssertionInfo[776] {
        /// What was asserted: UTF-16 up to the first NUL, as are the next two.
        pub expression_units: [U16; 128],
        /// The function.
        pub function_units: [U16; 128],
        /// The source file.
        pub file_units: [U16; 128],
        /// The line in the source file; 0 where it is not known.
        pub line: U32,
        /// `ASSERTION_*`.
        pub assertion_type: U32,
    }
}

impl AssertionInfo {
    /// The contents with these texts, each cut to the 127 UTF-16 code units for which there is room.
    #[must_use]
    pub fn new(expression: &str, function: &str, file: &str, line: u32, assertion_type: u32) -> Self {
        let units = |text: &str| {
            let mut units = [U16::new(0); 128];
            for (unit, value) in units[..127].iter_mut().zip(text.encode_utf16()) {
                unit.set(value);
            }
            units
        };
        Self {
            expression_units: units(expression),
            function_units: units(function),
            file_units: units(file),
            line: line.into(),
            assertion_type: assertion_type.into(),
        }
    }

    /// What was asserted; lone surrogates replaced.
    #[must_use]
    pub fn expression(&self) -> String {
        text(&self.expression_units)
    }

    /// The function; lone surrogates replaced.
    #[must_use]
    pub fn function(&self) -> String {
        text(&self.function_units)
    }

    /// The source file; lone surrogates replaced.
    #[must_use]
    pub fn file(&self) -> String {
        text(&self.file_units)
    }
}

fn text(units: &[U16]) -> String {
    let units = units.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

impl<'a> StreamContent<'a> for AssertionInfo {
    const TYPE: StreamType = StreamType::BREAKPAD_ASSERTION_INFO;

    fn read(stream: &Stream<'a>, _: &mut Findings) -> Result<Self, Error> {
        stream.head()
    }
}

impl WriteStream for AssertionInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::BREAKPAD_ASSERTION_INFO
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        place_record(layout, self, "AssertionInfo")
    }
}

#[cfg(test)]
mod tests {
    use super::super::third_party_tests::{RawStream, assert_round_trip, file_with, read_stream};
    use super::*;
    use crate::record::Endian;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn read_gives_what_was_written(texts in any::<[String; 3]>(), line in any::<u32>(), kind in 0..3_u32) {
            assert_round_trip(&AssertionInfo::new(&texts[0], &texts[1], &texts[2], line, kind));
        }
    }

    #[test]
    fn known_bytes_and_a_short_stream() {
        // Offsets after Breakpad's header: texts at 0, 256 and 512, line at 768, type at 772.
        let mut bytes = vec![0; 776];
        bytes[..4].copy_from_slice(b"p\0!\0");
        bytes[256..258].copy_from_slice(b"f\0");
        // A text without NUL ends with its field.
        bytes[512..768].copy_from_slice(&[b"x\0".as_slice(); 128].concat());
        bytes[768] = 42;
        bytes[772] = 2;
        let mut raw = RawStream {
            stream_type: StreamType::BREAKPAD_ASSERTION_INFO,
            bytes: &bytes,
            behind: &[],
        };
        let file = file_with(Endian::Little, &raw);
        let info = read_stream(&file, AssertionInfo::read).0.unwrap();
        assert_eq!((info.expression().as_str(), info.function().as_str()), ("p!", "f"));
        assert_eq!(info.file(), "x".repeat(128));
        assert_eq!(
            (info.line.get(), info.assertion_type.get()),
            (42, ASSERTION_PURE_VIRTUAL_CALL)
        );
        raw.bytes = &bytes[..775];
        let file = file_with(Endian::Little, &raw);
        assert!(matches!(
            read_stream(&file, AssertionInfo::read).0,
            Err(Error::Malformed(_))
        ));
    }

    #[test]
    fn long_texts_keep_their_nul() {
        let info = AssertionInfo::new(&"e".repeat(200), "", "", 0, ASSERTION_UNKNOWN);
        assert_eq!(info.expression(), "e".repeat(127));
    }
}
