//! For tests: minidumps of a single stream, in memory.

use alloc::vec::Vec;

use proptest::prelude::*;

use crate::addr::FileOffset;
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece, Plan};
use crate::minidump::{
    DirectoryEntry, Header, LocationDescriptor, Minidump, StreamContent, StreamType, WriteStream, write_directory,
};
use crate::record::{Endian, Record};
use crate::source::ReadAt;

/// Where the stream of these files starts.
pub(crate) const STREAM: usize = Header::SIZE + DirectoryEntry::SIZE;

/// The bytes of a plan of bytes and of copies from `source`.
pub(crate) fn execute(plan: &Plan, source: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for piece in &plan.pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend_from_slice(bytes),
            Piece::CopyFrom { offset, size } => {
                let size = usize::try_from(*size).expect("small");
                file.extend_from_slice(source.lend(*offset, size).expect("within the source"));
            }
            other => panic!("{other:?} in a file for a test"),
        }
    }
    assert_eq!(file.len() as u64, plan.size);
    file
}

/// A minidump whose single stream `write` lays out, with copies from `source`.
pub(crate) fn build(
    endian: Endian,
    stream_type: StreamType,
    source: &[u8],
    write: impl FnOnce(&mut Layout) -> Result<LocationDescriptor, Error>,
) -> Vec<u8> {
    let mut layout = Layout::new(endian);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(DirectoryEntry::SIZE);
    let location = write(&mut layout).expect("fits");
    let entry = DirectoryEntry {
        stream_type: stream_type.0.into(),
        location,
    };
    let record = Header {
        version: u32::from(crate::minidump::VERSION).into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &[entry]).expect("fits");
    execute(&layout.finish(), source)
}

/// A minidump whose single stream is `value`.
pub(crate) fn file_of(value: &impl WriteStream, endian: Endian) -> Vec<u8> {
    build(endian, value.stream_type(), &[], |layout| value.write(layout))
}

/// A minidump whose single stream has these bytes.
pub(crate) fn raw(endian: Endian, stream_type: StreamType, bytes: &[u8]) -> Vec<u8> {
    build(endian, stream_type, &[], |layout| {
        let at = layout.push_bytes(bytes);
        assert_eq!(at, FileOffset(STREAM as u64));
        layout.location(at, bytes.len() as u64, "test")
    })
}

/// Reads the stream of a file, with its findings.
pub(crate) fn read<'a, T: StreamContent<'a>>(file: &'a dyn ReadAt) -> (Result<T, Error>, Findings) {
    let dump = Minidump::open(file).expect("a minidump");
    let mut findings = Findings::default();
    let value = dump.get::<T>(&mut findings).map(|value| value.expect("the stream"));
    (value, findings)
}

/// Reads the stream of a file in which nothing may be wrong.
pub(crate) fn read_clean<'a, T: StreamContent<'a>>(file: &'a dyn ReadAt) -> T {
    let (value, findings) = read::<T>(file);
    assert!(findings.is_empty(), "{:?}", findings.as_slice());
    value.expect("readable")
}

/// Calls `walk` with damaged copies of `file`: cut at every length, and with every word of the stream and what it
/// refers to replaced by each of a few extremes.
pub(crate) fn damaged(file: &[u8], mut walk: impl FnMut(&Vec<u8>)) {
    for length in STREAM..file.len() {
        walk(&file[..length].to_vec());
    }
    for at in (STREAM..file.len().saturating_sub(3)).step_by(2) {
        for word in [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, u32::MAX - 1, u32::MAX] {
            let mut copy = file.to_vec();
            copy[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
            walk(&copy);
        }
    }
}

/// Both byte orders.
pub(crate) fn endian() -> impl Strategy<Value = Endian> {
    prop_oneof![Just(Endian::Little), Just(Endian::Big)]
}

/// A record of any bytes.
pub(crate) fn record<T: Record + core::fmt::Debug>() -> impl Strategy<Value = T> {
    proptest::collection::vec(any::<u8>(), T::SIZE).prop_map(|bytes| T::read_partial(&bytes, Endian::Little))
}

/// Any few code units, NULs and lone surrogates included.
pub(crate) fn units() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(prop_oneof![any::<u16>(), Just(0), 0x20_u16..0x7F], 0..12)
}
