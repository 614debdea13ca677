//! The body of bitmap dumps (types 5 to 7): which pages are in the file, a bit each, and the pages behind it.
//!
//! Windows' headers do not show it; its fields are named here as kdmp-parser has them, and were checked against a real
//! dump's size. The pages that are set in the bitmap follow each other in ascending order.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec;

use zerocopy::IntoBytes as _;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::physical_memory::MemoryRun;
use crate::addr::{FileOffset, PAGE_SIZE, Pfn};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece};
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;

/// `FDMP`: what the body of a dump with all pages starts with.
pub const SIGNATURE_FULL: [u8; 4] = *b"FDMP";
/// `SDMP`: what the body of a dump with some pages starts with.
pub const SIGNATURE_KERNEL: [u8; 4] = *b"SDMP";
/// `DUMP`, the next four bytes.
pub const VALID_DUMP: [u8; 4] = *b"DUMP";

/// The most words of a bitmap that are read at a time.
const CHUNK_WORDS: usize = 8 << 10;

record! {
    /// The header of the body, 0x38 bytes, of 32-bit dumps as well. The bitmap follows at once.
    pub struct BitmapHeader[0x38] {
        /// [`SIGNATURE_FULL`] or [`SIGNATURE_KERNEL`]; either is found with any of the types.
        pub signature: [u8; 4],
        /// [`VALID_DUMP`].
        pub valid_dump: [u8; 4],
        /// Bit 0: kernel addresses are valid; bit 1: the current process's. Mostly zero.
        pub dump_options: U32,
        /// Zero.
        pub reserved: [u8; 20],
        /// File offset of the first page.
        pub first_page: U64,
        /// How many bits are set: the pages in the file.
        pub total_present_pages: U64,
        /// How many bits the bitmap has: the highest page and one, rounded up.
        pub pages: U64,
    }
}

/// A bitmap in a file, and where its pages are. The page of a set bit lies at `first_page`, as many pages behind it as
/// bits before it are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBitmap {
    /// `FDMP` or `SDMP`.
    pub signature: [u8; 4],
    /// Where the body starts.
    pub body: FileOffset,
    /// Where the bitmap starts. Bit `p % 8` of byte `p / 8`, the lowest one first, is that of page `p`.
    pub bitmap: FileOffset,
    /// How many bits it has, all of them within the file and before the first page.
    pub bits: u64,
    /// Where the first page is.
    pub first_page: FileOffset,
    /// How many bits are set, as the file says.
    pub claimed_pages: u64,
}

impl PageBitmap {
    /// Reads the header at `body`.
    ///
    /// # Errors
    /// [`Error::Malformed`] where there is no bitmap between the header and the first page; [`Error::Read`] where the
    /// medium fails or the header is not whole.
    pub fn read(source: &dyn ReadAt, body: FileOffset, findings: &mut Findings) -> Result<Self, Error> {
        let bytes = source.bytes(body, BitmapHeader::SIZE)?;
        let header = BitmapHeader::read_partial(&bytes, Endian::Little);
        let (present, pages) = (header.total_present_pages.get(), header.pages.get());
        let stored = Self {
            signature: header.signature,
            body,
            bitmap: body.saturating_add(BitmapHeader::SIZE as u64),
            bits: pages,
            first_page: FileOffset(header.first_page.get()),
            claimed_pages: present,
        };
        // No bitmap has more bits set than it has, so that numbers in this order are two that changed places.
        if present > pages {
            let swapped = Self {
                bits: present,
                claimed_pages: pages,
                ..stored
            };
            let bitmap = swapped.within(source, &mut Findings::default())?;
            if bitmap.bits == present && bitmap.count(source)? == pages {
                findings.add(
                    body.saturating_add(0x28),
                    "TotalPresentPages",
                    format!("it holds the number of bits ({present:#x}) and Pages that of pages ({pages:#x})"),
                );
                return Ok(bitmap);
            }
        }
        stored.within(source, findings)
    }

    /// The same with no more bits than have room in front of the first page, in the file, and in physical memory.
    pub(super) fn within(mut self, source: &dyn ReadAt, findings: &mut Findings) -> Result<Self, Error> {
        let Some(room) = self
            .first_page
            .checked_offset_from(self.bitmap)
            .filter(|room| *room > 0)
        else {
            return Err(Error::malformed(
                self.body,
                "FirstPage",
                format!("{}: the bitmap starts at {}", self.first_page, self.bitmap),
            ));
        };
        let in_file = source.size().saturating_sub(self.bitmap.0);
        let fits = room.min(in_file).saturating_mul(8).min(MemoryRun::PFN_LIMIT);
        if self.bits > fits {
            findings.add(
                self.body,
                "Pages",
                format!(
                    "{:#x} bits expected, only {fits:#x} have room behind the header",
                    self.bits
                ),
            );
            self.bits = fits;
        }
        Ok(self)
    }

    /// Its size in 64-bit words.
    #[must_use]
    pub const fn words(&self) -> u64 {
        self.bits.div_ceil(64)
    }

    /// Reads words of the bitmap from number `first` on, the lowest bit being that of the lowest page. Bits behind the
    /// last one are zero, whatever the file has there.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn read_words(&self, source: &dyn ReadAt, first: u64, words: &mut [u64]) -> Result<(), Error> {
        let left = self.words().saturating_sub(first);
        let count = usize::try_from(left).map_or(words.len(), |left| left.min(words.len()));
        let (inside, outside) = words.split_at_mut(count);
        outside.fill(0);
        let Some(last) = inside.last_mut() else { return Ok(()) };
        *last = 0;
        let at = first.saturating_mul(8);
        let bytes = inside.as_mut_bytes();
        let stored = self.bits.div_ceil(8).saturating_sub(at);
        let stored = usize::try_from(stored).map_or(bytes.len(), |stored| stored.min(bytes.len()));
        source.read_exact_at(self.bitmap.saturating_add(at), &mut bytes[..stored])?;
        for word in &mut *inside {
            *word = u64::from_le(*word);
        }
        let tail = self.bits % 64;
        if tail != 0
            && count as u64 == left
            && let Some(last) = inside.last_mut()
        {
            *last &= (1 << tail) - 1;
        }
        Ok(())
    }

    /// How many bits are set. Reads the whole bitmap.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn count(&self, source: &dyn ReadAt) -> Result<u64, Error> {
        let mut buffer = vec![0; usize::try_from(self.words()).map_or(CHUNK_WORDS, |words| words.min(CHUNK_WORDS))];
        let (mut next, mut set) = (0, 0);
        while next < self.words() {
            self.read_words(source, next, &mut buffer)?;
            set += buffer.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
            next += buffer.len() as u64;
        }
        Ok(set)
    }
}

/// Where the parts of a bitmap dump's body go.
///
/// What is written is what all readers take: a number of bits that is a multiple of 64, and a first page on the border
/// of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitmapLayout {
    /// Where the body starts: behind the dump's header.
    pub body: FileOffset,
    /// Where the bitmap starts.
    pub bitmap: FileOffset,
    /// How many bits it has. Those behind the last page are zero.
    pub bits: u64,
    /// Where the first page goes.
    pub first_page: FileOffset,
}

impl BitmapLayout {
    /// The largest first page that LeechCore opens.
    pub const LEECHCORE_FIRST_PAGE: FileOffset = FileOffset(0x100_0000);

    /// The layout for pages below `end`, behind a header of `header_size` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where no machine has such pages.
    pub fn new(header_size: u64, end: Pfn) -> Result<Self, Error> {
        if end.0 > MemoryRun::PFN_LIMIT {
            return Err(Error::TooLarge {
                what: Cow::Borrowed("Pages"),
                value: end.0,
                limit: MemoryRun::PFN_LIMIT,
            });
        }
        let bits = end.0.next_multiple_of(64);
        let body = FileOffset(header_size);
        let bitmap = body.saturating_add(BitmapHeader::SIZE as u64);
        let first_page = FileOffset((bitmap.0 + bits / 8).next_multiple_of(PAGE_SIZE));
        Ok(Self {
            body,
            bitmap,
            bits,
            first_page,
        })
    }

    /// The size of the bitmap in bytes.
    #[must_use]
    pub const fn bitmap_size(&self) -> u64 {
        self.bits / 8
    }

    /// How many zeros stand between the bitmap and the first page.
    #[must_use]
    pub const fn padding(&self) -> u64 {
        self.first_page.0 - self.bitmap.0 - self.bitmap_size()
    }

    /// The body's header, for a bitmap of which `pages` bits are set.
    #[must_use]
    pub fn header(&self, signature: [u8; 4], pages: u64) -> BitmapHeader {
        BitmapHeader {
            signature,
            valid_dump: VALID_DUMP,
            first_page: self.first_page.0.into(),
            total_present_pages: pages.into(),
            pages: self.bits.into(),
            ..BitmapHeader::default()
        }
    }

    /// Adds the body's header, the pieces of the bitmap ([`BitmapLayout::bitmap_size`] bytes in all, which `bitmap`
    /// adds), and the padding; the first page comes next.
    ///
    /// # Panics
    /// Where the layout is not at [`BitmapLayout::body`], or the bitmap has another size: errors of the caller.
    pub fn write(&self, layout: &mut Layout, signature: [u8; 4], pages: u64, bitmap: impl FnOnce(&mut Layout)) {
        assert_eq!(layout.end(), self.body, "the body follows the header");
        layout.push_record(&self.header(signature, pages));
        bitmap(layout);
        layout.push(Piece::Zeros { size: self.padding() });
        assert_eq!(layout.end(), self.first_page, "the bitmap has its size");
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A file with a bitmap header at 0x1000.
    fn file(header: BitmapHeader, bitmap: &[u8], size: usize) -> Vec<u8> {
        let mut file = vec![0; 0x1000];
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(bitmap);
        file.resize(size, 0);
        file
    }

    fn header(first_page: u64, present: u64, pages: u64) -> BitmapHeader {
        BitmapHeader {
            signature: SIGNATURE_KERNEL,
            valid_dump: VALID_DUMP,
            first_page: first_page.into(),
            total_present_pages: present.into(),
            pages: pages.into(),
            ..BitmapHeader::default()
        }
    }

    fn read(file: &[u8]) -> (PageBitmap, u64) {
        let mut findings = Findings::default();
        let bitmap = PageBitmap::read(&file, FileOffset(0x1000), &mut findings).unwrap();
        (bitmap, findings.total())
    }

    /// The header of a real dump of build 18362, as rizin's tests have it: its first page is not aligned, and its pages
    /// end where the file ends.
    #[test]
    fn a_real_header_gives_the_size_of_its_file() {
        let bitmap = PageBitmap {
            signature: SIGNATURE_FULL,
            body: FileOffset(0x2000),
            bitmap: FileOffset(0x2038),
            bits: 0x40000,
            first_page: FileOffset(0xA038),
            claimed_pages: 0x544B,
        };
        assert_eq!(bitmap.bitmap.0 + bitmap.bits / 8, bitmap.first_page.0);
        assert_eq!(bitmap.first_page.0 + bitmap.claimed_pages * PAGE_SIZE, 0x545_5038);
        // What is written for the same pages is aligned.
        let layout = BitmapLayout::new(0x2000, Pfn(0x3FFFF)).unwrap();
        assert_eq!(
            (layout.bits, layout.first_page, layout.padding()),
            (0x40000, FileOffset(0xB000), 0xFC8)
        );
    }

    #[test]
    fn bits_behind_the_last_one_are_not_pages() {
        let (bitmap, findings) = read(&file(header(0x2000, 9, 12), &[0xFF; 8], 0x2000));
        assert_eq!((bitmap.bits, findings), (12, 0));
        let mut words = [7; 3];
        bitmap
            .read_words(&file(header(0x2000, 9, 12), &[0xFF; 8], 0x2000), 0, &mut words)
            .unwrap();
        assert_eq!(words, [0xFFF, 0, 0]);
    }

    #[test]
    fn fields_that_changed_places_are_read_with_a_finding() {
        let (bitmap, findings) = read(&file(header(0x2000, 24, 5), &[0x11, 0x11, 0x80], 0x2000));
        assert_eq!((bitmap.bits, bitmap.claimed_pages, findings), (24, 5, 1));
        // Where the bitmap does not bear that out, the number of pages is simply wrong.
        let (bitmap, findings) = read(&file(header(0x2000, 24, 6), &[0x11, 0x11, 0x80], 0x2000));
        assert_eq!((bitmap.bits, bitmap.claimed_pages, findings), (6, 24, 0));
    }

    #[test]
    fn bits_without_room_are_dropped() {
        let (bitmap, findings) = read(&file(header(0x1040, 9, 1000), &[0xFF; 8], 0x2000));
        assert_eq!((bitmap.bits, findings), (64, 1), "the first page starts behind 8 bytes");
        let (bitmap, findings) = read(&file(header(1 << 40, 9, u64::MAX), &[0xFF; 8], 0x1040));
        assert_eq!((bitmap.bits, findings), (64, 1), "the file ends");
        let bad = file(header(0x1038, 1, 8), &[], 0x2000);
        assert!(PageBitmap::read(&bad, FileOffset(0x1000), &mut Findings::default()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pages in prop::collection::btree_set(0_u64..5000, 0..200), is_64 in any::<bool>()) {
            let end = pages.last().map_or(0, |last| last + 1);
            let at = if is_64 { 0x2000 } else { 0x1000 };
            let plan = BitmapLayout::new(at, Pfn(end)).unwrap();
            let mut bits = vec![0_u8; usize::try_from(plan.bitmap_size()).unwrap()];
            for page in &pages {
                bits[usize::try_from(page / 8).unwrap()] |= 1 << (page % 8);
            }
            let mut layout = Layout::new(Endian::Little);
            layout.push(Piece::Bytes(vec![0; usize::try_from(at).unwrap()]));
            plan.write(&mut layout, SIGNATURE_FULL, pages.len() as u64, |layout| { layout.push_bytes(&bits); });
            prop_assert_eq!(layout.end().0 % PAGE_SIZE, 0);
            let mut file = Vec::new();
            for piece in layout.finish().pieces {
                match piece {
                    Piece::Bytes(bytes) => file.extend_from_slice(&bytes),
                    other => file.resize(file.len() + usize::try_from(other.size()).unwrap(), 0),
                }
            }
            let mut findings = Findings::default();
            let bitmap = PageBitmap::read(&file, FileOffset(at), &mut findings).unwrap();
            prop_assert!(findings.is_empty());
            prop_assert_eq!(bitmap.bits % 64, 0);
            prop_assert_eq!(bitmap.count(&file).unwrap(), pages.len() as u64);
            let mut words = vec![0; usize::try_from(bitmap.words()).unwrap()];
            bitmap.read_words(&file, 0, &mut words).unwrap();
            let read: Vec<u64> = (0..bitmap.bits)
                .filter(|bit| words[usize::try_from(bit / 64).unwrap()] >> (bit % 64) & 1 == 1)
                .collect();
            prop_assert!(read.iter().eq(&pages));
        }

        /// Reading words one by one, from anywhere, gives what reading all of them at once gives.
        #[test]
        fn words_do_not_depend_on_how_they_are_read(bits in 1_u64..3000, seed in any::<u64>(), first in 0_u64..60) {
            let bytes: Vec<u8> = (0..bits.div_ceil(8)).map(|byte| (seed ^ byte).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0]).collect();
            let file = file(header(0x2000, 0, bits), &bytes, 0x2000);
            let (bitmap, _) = read(&file);
            let mut all = vec![0; 64];
            bitmap.read_words(&file, 0, &mut all).unwrap();
            let mut one = [1];
            bitmap.read_words(&file, first, &mut one).unwrap();
            prop_assert_eq!(one[0], all[usize::try_from(first).unwrap()]);
            prop_assert_eq!(bitmap.count(&file).unwrap(), all.iter().map(|word| u64::from(word.count_ones())).sum::<u64>());
        }
    }
}
