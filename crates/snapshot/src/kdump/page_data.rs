//! The data of pages: unpacking it, and keeping what was unpacked last.

use std::sync::{Mutex, PoisonError};

use dotdump_format::kdump::{PageDescriptor, compression};
use dotdump_format::{Error, FileOffset, PAGE_SIZE, ReadAt};
use miniz_oxide::inflate::decompress_slice_iter_to_slice;

/// The size of a page, as an index.
pub(super) const PAGE: usize = 0x1000;
const _: () = assert!(PAGE as u64 == PAGE_SIZE);

/// No compression makes a page larger than this; what claims to be is damaged.
const LARGEST_DATA: u32 = 2 * 0x1000;

/// Windows of Zstandard frames above this size in bytes are not those of a page.
const LARGEST_WINDOW: u64 = 1 << 20;

/// How many unpacked pages are kept: a walk through page tables reads four of them over and over.
const KEPT: usize = 64;

/// Where the data of a page is, and the page.
type Unpacked = (u64, Box<[u8; PAGE]>);

/// Unpacked pages, by the place of their data: pages of zeros share one.
pub(super) struct PageCache {
    slots: Mutex<Vec<Option<Unpacked>>>,
}

impl PageCache {
    pub(super) fn new() -> Self {
        Self {
            slots: Mutex::new(Vec::new()),
        }
    }

    /// Copies a part of a page, from `within` on, into `buffer`, which must not reach behind the page.
    pub(super) fn read(
        &self,
        source: &dyn ReadAt,
        descriptor: &PageDescriptor,
        within: usize,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let offset = descriptor.offset.get();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            slots.resize_with(KEPT, || None);
        }
        let slot = usize::try_from(offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).unwrap_or(0) % KEPT;
        let page = match &mut slots[slot] {
            Some((kept, page)) if *kept == offset => page,
            empty => {
                let mut page = Box::new([0; PAGE]);
                unpack(source, descriptor, &mut page)?;
                &mut empty.insert((offset, page)).1
            }
        };
        buffer.copy_from_slice(&page[within..within + buffer.len()]);
        Ok(())
    }
}

/// Unpacks the data of a page; it must fill it.
fn unpack(source: &dyn ReadAt, descriptor: &PageDescriptor, page: &mut [u8; PAGE]) -> Result<(), Error> {
    let offset = FileOffset(descriptor.offset.get());
    let broken = |message: String| Error::malformed(offset, "page data", message);
    let size = descriptor.size.get();
    if size > LARGEST_DATA {
        return Err(broken(format!("{size:#x} bytes of data for a page")));
    }
    let data = source.bytes(offset, usize::try_from(size).unwrap_or(0))?;
    let (name, unpacked) = match descriptor.flags.get() {
        compression::ZLIB => {
            let parts = std::iter::once(&*data);
            ("zlib", decompress_slice_iter_to_slice(page, parts, true, false).ok())
        }
        compression::LZO => ("LZO", lzokay::decompress::decompress(&data, page).ok()),
        compression::SNAPPY => ("Snappy", snap::raw::Decoder::new().decompress(&data, page).ok()),
        compression::ZSTD => ("Zstandard", unzstd(&data, page)),
        other => {
            return Err(broken(format!(
                "compression {other:#x}; zlib, LZO, Snappy and Zstandard are understood"
            )));
        }
    };
    match unpacked {
        Some(PAGE) => Ok(()),
        Some(other) => Err(broken(format!("{name} data of {other:#x} bytes, {PAGE:#x} expected"))),
        None => Err(broken(format!("{size:#x} bytes that are no {name} data of a page"))),
    }
}

/// Unpacks a Zstandard frame. `None` where it is broken, or its window is too large to be a page's.
fn unzstd(data: &[u8], page: &mut [u8; PAGE]) -> Option<usize> {
    // Behind the magic number: flags, and a window where the frame is not one segment (RFC 8878).
    let flags = *data.get(4)?;
    if flags & 0x20 == 0 {
        let window = *data.get(5)?;
        let base = 1_u64 << (10 + (window >> 3));
        if base + base / 8 * u64::from(window & 7) > LARGEST_WINDOW {
            return None;
        }
    }
    ruzstd::decoding::FrameDecoder::new().decode_all(data, page).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of which half is the same byte and half counts.
    fn page() -> Vec<u8> {
        (0..PAGE)
            .map(|at| {
                if at < PAGE / 2 {
                    0x41
                } else {
                    u8::try_from(at % 256).unwrap()
                }
            })
            .collect()
    }

    fn read(data: &[u8], flags: u32) -> Result<Vec<u8>, Error> {
        let descriptor = PageDescriptor {
            offset: 0.into(),
            size: u32::try_from(data.len()).unwrap().into(),
            flags: flags.into(),
            page_flags: 0.into(),
        };
        let mut page = vec![0; PAGE];
        PageCache::new().read(&data, &descriptor, 0, &mut page)?;
        Ok(page)
    }

    #[test]
    fn every_compression() {
        let zlib = miniz_oxide::deflate::compress_to_vec_zlib(&page(), 6);
        assert_eq!(read(&zlib, compression::ZLIB).unwrap(), page());
        let snappy = snap::raw::Encoder::new().compress_vec(&page()).unwrap();
        assert_eq!(read(&snappy, compression::SNAPPY).unwrap(), page());
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(page().as_slice(), level);
        assert_eq!(read(&zstd, compression::ZSTD).unwrap(), page());
        // LZO1X by hand: a literal run of 18 bytes would be 35; here one literal page in the long form, and the end.
        let mut lzo = vec![0];
        let (zeros, rest) = ((PAGE - 18) / 255, (PAGE - 18) % 255);
        lzo.extend(std::iter::repeat_n(0, zeros));
        lzo.push(u8::try_from(rest).unwrap());
        lzo.extend(page());
        lzo.extend([0x11, 0, 0]);
        assert_eq!(read(&lzo, compression::LZO).unwrap(), page());
    }

    #[test]
    fn what_does_not_fill_a_page_is_refused() {
        let long: Vec<u8> = [page(), page()].concat();
        for bytes in [&long[..], &long[..PAGE - 1], &[]] {
            let zlib = miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6);
            assert!(read(&zlib, compression::ZLIB).is_err(), "{}", bytes.len());
            let snappy = snap::raw::Encoder::new().compress_vec(bytes).unwrap();
            assert!(read(&snappy, compression::SNAPPY).is_err(), "{}", bytes.len());
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            let zstd = ruzstd::encoding::compress_to_vec(bytes, level);
            assert!(read(&zstd, compression::ZSTD).is_err(), "{}", bytes.len());
        }
        let error = read(&page(), 0x40).unwrap_err();
        assert!(error.to_string().contains("0x40"), "{error}");
    }
}
