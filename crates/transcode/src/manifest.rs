//! The manifest that a dump carries: what was asked for, what was left out or erased, and where its checksums lie.
//!
//! It is a stream of its own ([`StreamType::DOTDUMP_MANIFEST`]) with a JSON text; other readers skip it. The sums
//! themselves stand at the end of the file, because they are only known once the rest is written: a CRC-32 (IEEE) in
//! four little-endian bytes for each block of the file before them, the last block shorter.

use dotdump_format::minidump::{Minidump, StreamType};
use dotdump_format::{Error, FileOffset, ReadAt, VirtRange};
use dotdump_snapshot::ProcessSnapshot;
use serde::{Deserialize, Serialize};

use crate::shortfall::Shortfall;

/// The version of the manifest's layout.
pub const SCHEMA: u32 = 1;

/// The size of the blocks that have a checksum each, in bytes.
pub const BLOCK: u64 = 1 << 20;

/// The longest manifest that is read, in bytes.
pub(crate) const MAX_SIZE: u64 = 4 << 20;

/// The bytes at the start of a source that identify it.
const HEAD: u64 = 4096;

/// What a dump tells of its own making. It holds no path; of names it has those of modules that something was missing of,
/// and of people only what a comment says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The writer and its version.
    pub tool: String,
    /// The options, in the spelling of the command line.
    pub options: String,
    /// Which dump it was made from.
    pub source: SourceIdentity,
    /// Streams of the source that were not taken.
    pub left_out: Vec<LeftOut>,
    /// What was asked for and could not be had.
    pub absent: Vec<Shortfall>,
    /// Memory in which words were erased.
    pub erased: Vec<Span>,
    /// The part of it whose words have 32 bits although the process has 64: that of WOW64's 32-bit side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased_32: Vec<Span>,
    /// Code that comes from files of the modules' images and not from the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_images: Vec<Span>,
    /// Where the checksums lie.
    pub checksums: Checksums,
}

/// Tells one source from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// The size of the file in bytes.
    pub size: u64,
    /// When the dump was made: seconds since 1970.
    pub time: u32,
    /// `MINIDUMP_TYPE` bits of its header, in hexadecimal.
    pub flags: String,
    /// CRC-32 of its first 4,096 bytes, in hexadecimal.
    pub head_crc32: String,
}

impl SourceIdentity {
    /// The identity of a process in the file `source`.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn of(snapshot: &dyn ProcessSnapshot, source: &dyn ReadAt) -> Result<Self, Error> {
        let head = source.size().min(HEAD);
        let head = source.bytes(FileOffset(0), usize::try_from(head).unwrap_or(0))?;
        let header = snapshot.header();
        Ok(Self {
            size: source.size(),
            time: header.time_date_stamp.get(),
            flags: format!("{:#x}", header.flags.get()),
            head_crc32: format!("{:#010x}", crc32fast::hash(&head)),
        })
    }

    /// The identity of a process that is in no file: a live one. Size and checksum are zero.
    #[must_use]
    pub fn live(snapshot: &dyn ProcessSnapshot) -> Self {
        let header = snapshot.header();
        Self {
            size: 0,
            time: header.time_date_stamp.get(),
            flags: format!("{:#x}", header.flags.get()),
            head_crc32: format!("{:#010x}", 0),
        }
    }
}

/// A stream that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its type.
    #[serde(rename = "type")]
    pub stream_type: u32,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first address, in hexadecimal.
    pub start: String,
    /// The number of bytes.
    pub size: u64,
}

/// Where the checksums lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    /// Their file offset: also the end of what they cover. In hexadecimal with all 16 digits, so that the text's length
    /// does not depend on it.
    pub offset: String,
    /// The size of a block in bytes.
    pub block: u64,
}

/// A 64-bit number as 16 hexadecimal digits.
#[must_use]
pub fn hex16(value: u64) -> String {
    format!("{value:#018x}")
}

fn parse_hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

impl Span {
    /// The memory of a range.
    #[must_use]
    pub fn of(range: VirtRange) -> Self {
        Self {
            start: format!("{:#x}", range.start),
            size: range.size(),
        }
    }

    /// The addresses; `None` where the text is no number.
    #[must_use]
    pub fn range(&self) -> Option<VirtRange> {
        Some(VirtRange::sized(parse_hex(&self.start)?.into(), self.size))
    }
}

/// The most spans of one kind that a manifest lists.
const MAX_SPANS: usize = 8192;

/// Spans that cover `ranges` (sorted, apart): these themselves, or where they are very many, ranges joined over the
/// smallest gaps.
#[must_use]
pub fn spans(mut ranges: Vec<VirtRange>) -> Vec<Span> {
    let mut gap = 0x100;
    while ranges.len() > MAX_SPANS {
        ranges.dedup_by(|next, last| {
            let joins = next.start.0 - last.end.0 <= gap;
            if joins {
                last.end = next.end;
            }
            joins
        });
        gap *= 2;
    }
    ranges.into_iter().map(Span::of).collect()
}

impl Checksums {
    /// The file offset; `None` where the text is no number.
    #[must_use]
    pub fn offset(&self) -> Option<FileOffset> {
        parse_hex(&self.offset).map(FileOffset)
    }
}

impl Manifest {
    /// The manifest of a dump; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Malformed`] where its text cannot be read; [`Error::Read`] where the medium fails.
    pub fn read(dump: &Minidump<'_>) -> Result<Option<Self>, Error> {
        let Some(stream) = dump.stream(StreamType::DOTDUMP_MANIFEST) else {
            return Ok(None);
        };
        let bytes = stream.bytes(MAX_SIZE)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::malformed(stream.offset, "DotdumpManifest", error.to_string()))
    }

    /// The text as it stands in a dump.
    ///
    /// # Panics
    /// Never: the type has nothing that JSON cannot express.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dotdump_format::VirtAddr;

    #[test]
    fn very_many_spans_are_joined_and_still_cover_all() {
        let range = |index: u64| VirtRange::sized(VirtAddr(index * index * 0x10), 8);
        let ranges: Vec<VirtRange> = (1..20_000).map(range).collect();
        let joined: Vec<VirtRange> = spans(ranges.clone()).iter().filter_map(Span::range).collect();
        assert!(joined.len() <= MAX_SPANS && joined.windows(2).all(|pair| pair[0].end < pair[1].start));
        assert!(
            ranges
                .iter()
                .all(|range| joined.iter().any(|span| span.intersection(*range) == Some(*range)))
        );
        assert_eq!(
            spans(vec![range(1), range(2)]),
            [Span::of(range(1)), Span::of(range(2))]
        );
    }
}
