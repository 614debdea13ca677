//! `SUMMARY_DUMP`: the body of the kernel dumps (type 2) that Windows 2000 to 7 wrote. Only read, never written.
//!
//! It is a bitmap and pages like those of [`bitmap`](super::bitmap), behind another header that starts with the same
//! eight bytes. The 64-bit layout is that of the public Singularity sources; the 32-bit one follows from the width of its
//! pointer and has not been seen.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::bitmap::{PageBitmap, SIGNATURE_KERNEL, VALID_DUMP};
use super::filler::Filled as _;
use crate::addr::{FileOffset, PAGE_SIZE};
use crate::error::{Error, Findings};
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;

record! {
    /// The fields of `SUMMARY_DUMP32` and `SUMMARY_DUMP64` before their pointer, 0x1C bytes.
    pub struct SummaryHeader[0x1C] {
        /// `SDMP`.
        pub signature: [u8; 4],
        /// `DUMP`.
        pub valid_dump: [u8; 4],
        /// Bit 0: kernel addresses are valid; bit 1: the current process's.
        pub dump_options: U32,
        /// File offset of the first page.
        pub header_size: U32,
        /// How many bits the bitmap has.
        pub bitmap_size: U32,
        /// How many of them are set.
        pub pages: U32,
        /// How many bits the bitmap has, once more.
        pub size_of_bitmap: U32,
    }

    /// `SUMMARY_DUMP32`, 0x20 bytes. The bitmap follows at once.
    pub struct SummaryDump32[0x20] {
        /// The fields that do not depend on the width.
        pub header: SummaryHeader,
        /// Where the bitmap lay in memory.
        pub buffer: U32,
    }

    /// `SUMMARY_DUMP64`, 0x28 bytes. The bitmap follows at once.
    pub struct SummaryDump64[0x28] {
        /// The fields that do not depend on the width.
        pub header: SummaryHeader,
        /// Alignment.
        pub unused_alignment: U32,
        /// Where the bitmap lay in memory.
        pub buffer: U64,
    }
}

/// The bitmap of a summary dump whose header is at `body`; `None` where the header there is not one, but may be that of
/// a [bitmap dump](super::bitmap).
///
/// # Errors
/// [`Error::Read`] where the medium fails or the header is not whole.
pub fn read(
    source: &dyn ReadAt,
    body: FileOffset,
    is_64: bool,
    findings: &mut Findings,
) -> Result<Option<PageBitmap>, Error> {
    let size = if is_64 {
        SummaryDump64::SIZE
    } else {
        SummaryDump32::SIZE
    };
    let bytes = source.bytes(body, size)?;
    let header = SummaryHeader::read_partial(&bytes, Endian::Little);
    let bitmap = body.saturating_add(size as u64);
    let first_page = u64::from(header.header_size.get());
    let bits = header.bitmap_size;
    let is_summary = header.signature == SIGNATURE_KERNEL
        && header.valid_dump == VALID_DUMP
        && first_page.is_multiple_of(PAGE_SIZE)
        && first_page > bitmap.0
        && bits.set().is_some_and(|bits| bits > 0)
        && bits == header.size_of_bitmap;
    if !is_summary {
        return Ok(None);
    }
    let stored = PageBitmap {
        signature: header.signature,
        body,
        bitmap,
        bits: bits.get().into(),
        first_page: FileOffset(first_page),
        claimed_pages: header.pages.get().into(),
    };
    stored.within(source, findings).map(Some)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use zerocopy::IntoBytes as _;

    use super::super::bitmap::BitmapHeader;
    use super::*;

    fn summary(is_64: bool, header_size: u32) -> Vec<u8> {
        let header = SummaryHeader {
            signature: SIGNATURE_KERNEL,
            valid_dump: VALID_DUMP,
            dump_options: 1.into(),
            header_size: header_size.into(),
            bitmap_size: 20.into(),
            pages: 3.into(),
            size_of_bitmap: 20.into(),
        };
        let mut file = vec![0; 0x1000];
        if is_64 {
            let header = SummaryDump64 {
                header,
                buffer: 0xFFFF_8000_1234_5678.into(),
                ..SummaryDump64::default()
            };
            file.extend_from_slice(header.as_bytes());
        } else {
            file.extend_from_slice(
                SummaryDump32 {
                    header,
                    buffer: 0x8123_4567.into(),
                }
                .as_bytes(),
            );
        }
        file.extend_from_slice(&[0b101, 0, 0b1000, 0]);
        file.resize(0x5000, 0);
        file
    }

    #[test]
    fn both_widths_are_read() {
        for (is_64, bits_at) in [(true, 0x1028), (false, 0x1020)] {
            let file = summary(is_64, 0x2000);
            let bitmap = read(&file, FileOffset(0x1000), is_64, &mut Findings::default())
                .unwrap()
                .unwrap();
            assert_eq!(
                (bitmap.bitmap, bitmap.first_page),
                (FileOffset(bits_at), FileOffset(0x2000))
            );
            assert_eq!(
                (bitmap.bits, bitmap.claimed_pages, bitmap.count(&file).unwrap()),
                (20, 3, 3)
            );
        }
    }

    #[test]
    fn the_header_of_a_bitmap_dump_is_told_apart() {
        let mut file = summary(true, 0x2000);
        let header = BitmapHeader {
            signature: SIGNATURE_KERNEL,
            valid_dump: VALID_DUMP,
            first_page: 0x2000.into(),
            total_present_pages: 3.into(),
            pages: 64.into(),
            ..BitmapHeader::default()
        };
        file[0x1000..0x1038].copy_from_slice(header.as_bytes());
        assert_eq!(
            read(&file, FileOffset(0x1000), true, &mut Findings::default()),
            Ok(None)
        );
        for header_size in [0x2001, 0x1000, 0, u32::from_le_bytes(*b"PAGE")] {
            let file = summary(true, header_size);
            assert_eq!(
                read(&file, FileOffset(0x1000), true, &mut Findings::default()),
                Ok(None)
            );
        }
    }
}
