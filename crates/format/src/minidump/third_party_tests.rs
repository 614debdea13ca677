//! Tiny minidumps for the tests of streams.

use alloc::vec;
use alloc::vec::Vec;

use super::{
    DirectoryEntry, Header, LocationDescriptor, Minidump, Stream, StreamContent, StreamType, WriteStream,
    write_directory,
};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece};
use crate::record::{Endian, Record};
use crate::source::ReadAt;

/// Where the stream of [`file_with`] starts.
pub(super) const STREAM_AT: u32 = 44;

/// A minidump of byte order `endian` with one stream.
pub(super) fn file_with(endian: Endian, content: &dyn WriteStream) -> Vec<u8> {
    let mut layout = Layout::new(endian);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(DirectoryEntry::SIZE);
    let entry = DirectoryEntry {
        stream_type: content.stream_type().0.into(),
        location: content.write(&mut layout).unwrap(),
    };
    let record = Header {
        version: u32::from(super::VERSION).into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &[entry]).unwrap();
    let mut file = vec![];
    for piece in layout.finish().pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend(bytes),
            other => panic!("{other:?} where only bytes are expected"),
        }
    }
    file
}

/// Bytes as a stream, and what stands after the stream in the file.
pub(super) struct RawStream<'a> {
    pub(super) stream_type: StreamType,
    pub(super) bytes: &'a [u8],
    pub(super) behind: &'a [u8],
}

impl WriteStream for RawStream<'_> {
    fn stream_type(&self) -> StreamType {
        self.stream_type
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let at = layout.push_bytes(self.bytes);
        assert_eq!(at.0, u64::from(STREAM_AT));
        layout.push_bytes(self.behind);
        layout.location(at, self.bytes.len() as u64, "RawStream")
    }
}

/// Opens `file`, gives its only stream to `read`, and returns what that gives and found.
pub(super) fn read_stream<'a, T>(
    file: &'a dyn ReadAt,
    read: impl FnOnce(&Stream<'a>, &mut Findings) -> Result<T, Error>,
) -> (Result<T, Error>, Findings) {
    let dump = Minidump::open(file).unwrap();
    let mut findings = dump.findings().clone();
    let stream = dump.streams().next().unwrap();
    (read(&stream, &mut findings), findings)
}

/// `read(write(content))` in both byte orders: the contents are the same, and nothing is found.
pub(super) fn assert_round_trip<T: for<'a> StreamContent<'a> + WriteStream + PartialEq + core::fmt::Debug>(
    content: &T,
) {
    assert_round_trip_by(content, |stream, findings| T::read(stream, findings));
}

/// [`assert_round_trip`] for contents that need more than the stream to be read.
pub(super) fn assert_round_trip_by<T: WriteStream + PartialEq + core::fmt::Debug>(
    content: &T,
    read: impl Fn(&Stream<'_>, &mut Findings) -> Result<T, Error>,
) {
    for endian in [Endian::Little, Endian::Big] {
        let file = file_with(endian, content);
        let (again, findings) = read_stream(&file, &read);
        assert_eq!(again.as_ref(), Ok(content), "{endian:?}");
        assert!(findings.is_empty(), "{findings:?}");
    }
}

/// The little-endian bytes of `words`.
pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
