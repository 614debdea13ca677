//! `CommentStreamA` (10) and `CommentStreamW` (11): a comment on the dump, without a length of its own.

use alloc::string::String;
use alloc::vec::Vec;

use super::list::MAX_TEXT;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::Endian;

/// A CommentStreamA: characters in the code page of the writer, which no dump names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CommentA {
    /// The bytes, without NULs at the end.
    pub bytes: Vec<u8>,
}

/// A CommentStreamW: UTF-16.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CommentW {
    /// The code units, without NULs at the end.
    pub units: Vec<u16>,
}

/// The bytes of a comment, at most [`MAX_TEXT`].
fn text_bytes<'a>(
    stream: &Stream<'a>,
    what: &'static str,
    findings: &mut Findings,
) -> Result<alloc::borrow::Cow<'a, [u8]>, Error> {
    let limit = MAX_TEXT as u64;
    if stream.size > limit {
        findings.add(
            stream.offset,
            what,
            alloc::format!("a comment of {} bytes, the first {limit} are read", stream.size),
        );
    }
    if stream.size < stream.claimed_size {
        findings.add(
            stream.offset,
            what,
            alloc::format!(
                "{} bytes expected, {} lie within the file",
                stream.claimed_size,
                stream.size
            ),
        );
    }
    stream.bytes_at(0, stream.size.min(limit))
}

impl CommentA {
    /// As text: UTF-8 where it is that, else each byte as the character of its number (Latin-1).
    #[must_use]
    pub fn text(&self) -> String {
        match core::str::from_utf8(&self.bytes) {
            Ok(text) => text.into(),
            Err(_) => self.bytes.iter().copied().map(char::from).collect(),
        }
    }
}

impl<'a> StreamContent<'a> for CommentA {
    const TYPE: StreamType = StreamType::COMMENT_A;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let mut bytes = text_bytes(stream, "CommentA", findings)?.into_owned();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        Ok(Self { bytes })
    }
}

impl WriteStream for CommentA {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let offset = layout.push_bytes(&self.bytes);
        layout.push_bytes(&[0]);
        layout.location(offset, self.bytes.len() as u64 + 1, "CommentA")
    }
}

impl CommentW {
    /// As text: lone surrogates replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf16_lossy(&self.units)
    }
}

impl From<&str> for CommentW {
    fn from(text: &str) -> Self {
        Self {
            units: text.encode_utf16().collect(),
        }
    }
}

impl<'a> StreamContent<'a> for CommentW {
    const TYPE: StreamType = StreamType::COMMENT_W;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let bytes = text_bytes(stream, "CommentW", findings)?;
        if bytes.len() % 2 != 0 {
            findings.add(
                stream.offset,
                "CommentW",
                alloc::format!("an odd size of {} bytes; the last one is left out", bytes.len()),
            );
        }
        let unit = |pair: &[u8]| match stream.endian {
            Endian::Little => u16::from_le_bytes([pair[0], pair[1]]),
            Endian::Big => u16::from_be_bytes([pair[0], pair[1]]),
        };
        let mut units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
        units.truncate(units.iter().rposition(|unit| *unit != 0).map_or(0, |last| last + 1));
        Ok(Self { units })
    }
}

impl WriteStream for CommentW {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    /// With one NUL within the stream's size, as the Windows debugger engine writes it.
    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let bytes: Vec<u8> = self
            .units
            .iter()
            .chain(&[0])
            .flat_map(|unit| match layout.endian() {
                Endian::Little => unit.to_le_bytes(),
                Endian::Big => unit.to_be_bytes(),
            })
            .collect();
        layout.align(4);
        let offset = layout.push_bytes(&bytes);
        layout.location(offset, bytes.len() as u64, "CommentW")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_dump;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            mut bytes in proptest::collection::vec(any::<u8>(), 0..40),
            mut units in test_dump::units(),
        ) {
            bytes.push(1);
            units.push(1);
            let (a, w) = (CommentA { bytes }, CommentW { units });
            prop_assert_eq!(test_dump::read_clean::<CommentA>(&test_dump::file_of(&a, endian)), a);
            prop_assert_eq!(test_dump::read_clean::<CommentW>(&test_dump::file_of(&w, endian)), w);
        }
    }

    #[test]
    fn an_empty_comment_stays_one() {
        let comment = CommentW::default();
        let file = test_dump::file_of(&comment, Endian::Little);
        assert_eq!(test_dump::read_clean::<CommentW>(&file), comment);
    }

    #[test]
    fn nuls_at_the_end_and_an_odd_byte_are_left_out() {
        let file = test_dump::raw(Endian::Little, StreamType::COMMENT_W, b"h\0i\0\0\0\0\0!");
        let (comment, findings) = test_dump::read::<CommentW>(&file);
        assert_eq!(comment.unwrap().text(), "hi");
        assert_eq!(findings.total(), 1);
        let file = test_dump::raw(Endian::Big, StreamType::COMMENT_W, b"\0h\0i\0\0");
        assert_eq!(test_dump::read_clean::<CommentW>(&file).text(), "hi");
        let file = test_dump::raw(Endian::Little, StreamType::COMMENT_A, b"hi\0\0");
        assert_eq!(test_dump::read_clean::<CommentA>(&file).bytes, b"hi");
    }

    #[test]
    fn ansi_text_is_utf8_or_latin1() {
        let text = |bytes: &[u8]| CommentA { bytes: bytes.into() }.text();
        assert_eq!(text("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(text(b"gr\xFCn"), "gr\u{fc}n");
    }

    #[test]
    fn the_stream_has_one_nul() {
        let file = test_dump::file_of(&CommentW::from("hi"), Endian::Little);
        assert_eq!(file[test_dump::STREAM..], *b"h\0i\0\0\0");
    }

    #[test]
    fn a_comment_without_end_is_cut() {
        let bytes = alloc::vec![b'x'; MAX_TEXT + 2];
        let file = test_dump::raw(Endian::Little, StreamType::COMMENT_A, &bytes);
        let (comment, findings) = test_dump::read::<CommentA>(&file);
        assert_eq!(comment.unwrap().bytes.len(), MAX_TEXT);
        assert_eq!(findings.total(), 1);
    }

    #[test]
    fn damage_never_panics() {
        let file = test_dump::file_of(&CommentW::from("comment"), Endian::Little);
        test_dump::damaged(&file, |file| {
            let (comment, _) = test_dump::read::<CommentW>(file);
            assert!(comment.is_ok_and(|comment| comment.units.len() <= 8));
        });
    }
}
