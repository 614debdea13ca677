//! Laying a file out before a byte of it is written.
//!
//! A [`Layout`] hands out file offsets in order. Records that point to each other are reserved first and filled once
//! the targets have their offsets; bulk data is not held but described (a run of the source file, a range of the
//! target's memory). [`Layout::finish`] gives a [`Plan`]: pieces in file order with a size that is known before the
//! first byte is written, so that it can be written strictly forward, to a pipe as well.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use crate::addr::{FileOffset, PAGE_SIZE, Pfn, Rva, VirtAddr};
use crate::error::Error;
use crate::minidump::LocationDescriptor;
use crate::record::{Endian, Record};

/// One part of a file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A run of the source file, unchanged.
    CopyFrom {
        /// Where it starts in the source.
        offset: FileOffset,
        /// Its length in bytes.
        size: u64,
    },
    /// The target's memory, unchanged.
    Read {
        /// The first address.
        address: VirtAddr,
        /// The number of bytes.
        size: u64,
    },
    /// The target's memory after the privacy filter.
    Filtered {
        /// The first address.
        address: VirtAddr,
        /// The number of bytes.
        size: u64,
    },
    /// CRC-32 sums (4 bytes each, little-endian) of all that stands before this piece, in blocks of `block` bytes, the
    /// last one shorter.
    Checksums {
        /// The block size in bytes.
        block: u64,
        /// The size of the piece in bytes: 4 for each block.
        size: u64,
    },
    /// Zeros.
    Zeros {
        /// The number of bytes.
        size: u64,
    },
    /// Pages of a machine's physical memory, in ascending order: all that were chosen between `first` and `end`. One
    /// piece stands for millions of them; the set of pages that were chosen is not part of the plan.
    Pages {
        /// The first page that may be among them.
        first: Pfn,
        /// The page behind the last one that may be.
        end: Pfn,
        /// How many they are.
        pages: u64,
    },
    /// The set of pages that were chosen, as a bitmap from page 0 on: bit `p % 8` of byte `p / 8` stands for page `p`.
    PageBitmap {
        /// The number of bits, a multiple of 64.
        bits: u64,
    },
    /// The set of pages that were chosen, as runs in ascending order: the first page and the number of pages of each,
    /// in 8 bytes each.
    PageRanges {
        /// The first page that may be in one of them.
        first: Pfn,
        /// The number of runs.
        ranges: u64,
    },
}

impl Piece {
    /// The number of bytes that it puts into the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::CopyFrom { size, .. }
            | Self::Read { size, .. }
            | Self::Filtered { size, .. }
            | Self::Checksums { size, .. }
            | Self::Zeros { size } => *size,
            Self::Pages { pages, .. } => pages.saturating_mul(PAGE_SIZE),
            Self::PageBitmap { bits } => bits.div_ceil(8),
            Self::PageRanges { ranges, .. } => ranges.saturating_mul(16),
        }
    }
}

/// A file as it will be: its pieces in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The pieces, in file order, without gaps.
    pub pieces: Vec<Piece>,
    /// The size of the file in bytes.
    pub size: u64,
}

/// Room in the file for bytes that are given later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "reserved room that is never filled stays zero"]
pub struct Reservation {
    /// Where it starts.
    pub offset: FileOffset,
    /// Its size in bytes.
    pub size: usize,
}

/// Hands out the offsets of a file in order. See the [module](self).
#[derive(Debug, Clone)]
pub struct Layout {
    endian: Endian,
    pieces: Vec<(FileOffset, Piece)>,
    end: FileOffset,
}

impl Layout {
    /// An empty file of byte order `endian`.
    #[must_use]
    pub const fn new(endian: Endian) -> Self {
        Self {
            endian,
            pieces: Vec::new(),
            end: FileOffset(0),
        }
    }

    /// The byte order of the file.
    #[must_use]
    pub const fn endian(&self) -> Endian {
        self.endian
    }

    /// The size of the file so far: where the next piece starts.
    #[must_use]
    pub const fn end(&self) -> FileOffset {
        self.end
    }

    /// Adds zeros up to a multiple of `to`, a power of two.
    pub fn align(&mut self, to: u64) {
        let gap = self.end.0.wrapping_neg() & (to - 1);
        // Gaps in front of tables are a few bytes and join the bytes around them; a longer one stays a hole.
        if gap > 0 && gap < 64 {
            self.push_bytes(&[0; 64][..usize::try_from(gap).unwrap_or(0)]);
        } else if gap > 0 {
            self.push(Piece::Zeros { size: gap });
        }
    }

    /// Adds a piece at the end and tells where it starts. Offsets of 2^64 and above cannot occur in a plan: sizes are
    /// those of real files and address ranges, and are checked when 32-bit fields are made of them.
    pub fn push(&mut self, piece: Piece) -> FileOffset {
        let at = self.end;
        self.end = self.end.saturating_add(piece.size());
        match (self.pieces.last_mut(), piece) {
            (Some((_, Piece::Bytes(last))), Piece::Bytes(bytes)) => last.extend_from_slice(&bytes),
            (
                Some((_, Piece::CopyFrom { offset, size })),
                Piece::CopyFrom {
                    offset: next,
                    size: more,
                },
            ) if offset.saturating_add(*size) == next => {
                *size += more;
            }
            (_, piece) if piece.size() == 0 => {}
            (_, piece) => self.pieces.push((at, piece)),
        }
        at
    }

    /// Adds bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> FileOffset {
        self.push(Piece::Bytes(bytes.to_vec()))
    }

    /// Adds a record in the file's byte order.
    pub fn push_record(&mut self, record: &impl Record) -> FileOffset {
        self.push_bytes(record.in_order(self.endian).as_bytes())
    }

    /// Makes room for `size` bytes that [`Layout::fill`] will give.
    pub fn reserve(&mut self, size: usize) -> Reservation {
        let offset = self.end;
        // Room may be large: it is not made beside the last piece and then copied into it.
        if let Some((_, Piece::Bytes(last))) = self.pieces.last_mut() {
            last.resize(last.len() + size, 0);
            self.end = offset.saturating_add(size as u64);
        } else {
            self.push(Piece::Bytes(vec![0; size]));
        }
        Reservation { offset, size }
    }

    /// Puts `bytes` into reserved room, starting `within` bytes into it.
    ///
    /// # Panics
    /// Where the bytes do not lie within the reservation: an error of the caller, not of its input.
    pub fn fill(&mut self, room: Reservation, within: usize, bytes: &[u8]) {
        assert!(within + bytes.len() <= room.size, "bytes outside of the reserved room");
        let index = self.pieces.partition_point(|(at, _)| *at <= room.offset) - 1;
        let (at, piece) = &mut self.pieces[index];
        let Piece::Bytes(target) = piece else {
            unreachable!("reserved room is always a piece of bytes")
        };
        let start = usize::try_from(room.offset.0 - at.0).expect("a piece of bytes fits in memory") + within;
        target[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts a record into reserved room, in the file's byte order, starting `within` bytes into it.
    pub fn fill_record(&mut self, room: Reservation, within: usize, record: &impl Record) {
        self.fill(room, within, record.in_order(self.endian).as_bytes());
    }

    /// A 32-bit offset for something that starts at `offset` and is `size` bytes long.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where it does not lie below 4 GiB.
    pub fn rva(&self, offset: FileOffset, size: u64, what: &'static str) -> Result<Rva, Error> {
        let end = offset.saturating_add(size);
        if end.0 > 1 << 32 {
            return Err(Error::TooLarge {
                what: Cow::Borrowed(what),
                value: end.0,
                limit: 1 << 32,
            });
        }
        Rva::from_offset(offset).ok_or(Error::TooLarge {
            what: Cow::Borrowed(what),
            value: offset.0,
            limit: u64::from(u32::MAX),
        })
    }

    /// A `MINIDUMP_LOCATION_DESCRIPTOR` for something that starts at `offset` and is `size` bytes long.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where it does not lie below 4 GiB.
    pub fn location(&self, offset: FileOffset, size: u64, what: &'static str) -> Result<LocationDescriptor, Error> {
        let rva = self.rva(offset, size, what)?;
        let data_size = u32::try_from(size).map_err(|_| Error::TooLarge {
            what: Cow::Borrowed(what),
            value: size,
            limit: u64::from(u32::MAX),
        })?;
        Ok(LocationDescriptor {
            data_size: data_size.into(),
            rva: rva.0.into(),
        })
    }

    /// The finished plan.
    #[must_use]
    pub fn finish(self) -> Plan {
        Plan {
            size: self.end.0,
            pieces: self.pieces.into_iter().map(|(_, piece)| piece).collect(),
        }
    }
}

/// A 32-bit count for a table of `len` entries.
///
/// # Errors
/// [`Error::TooLarge`] where there are 2^32 entries or more.
pub fn count(len: usize, what: &'static str) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::TooLarge {
        what: Cow::Borrowed(what),
        value: len as u64,
        limit: u64::from(u32::MAX),
    })
}
