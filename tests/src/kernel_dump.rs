//! A reader of kernel dumps and memory images for tests: simple, whole-file, and with nothing of the engine in it.
//!
//! Offsets are those of the Windows headers (`mindumpdef.h`), and for range dumps those that kdmp-parser documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The size of a page in bytes.
pub const PAGE: usize = 0x1000;

/// The checksum of every page of a file, by page frame number.
pub type Pages = BTreeMap<u64, u32>;

/// A kernel dump in memory.
pub struct KernelDump {
    /// The file.
    pub bytes: Vec<u8>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a number")
}

/// A 32-bit number.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

/// A 64-bit number.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

fn index(value: u64) -> usize {
    usize::try_from(value).expect("a place in the file")
}

impl KernelDump {
    /// Reads a dump.
    ///
    /// # Panics
    /// Where the file cannot be read or is none.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("a dump");
        assert_eq!(bytes[..4], *b"PAGE", "{}", path.display());
        Self { bytes }
    }

    /// Whether it is of 64-bit Windows.
    #[must_use]
    pub fn is_64(&self) -> bool {
        self.bytes[4..8] == *b"DU64"
    }

    /// Where what follows the header starts.
    #[must_use]
    pub fn body(&self) -> usize {
        if self.is_64() { 0x2000 } else { 0x1000 }
    }

    /// `DumpType`.
    #[must_use]
    pub fn dump_type(&self) -> u32 {
        u32_at(&self.bytes, if self.is_64() { 0xF98 } else { 0xF88 })
    }

    /// `RequiredDumpSpace`.
    #[must_use]
    pub fn required_space(&self) -> u64 {
        u64_at(&self.bytes, 0xFA0)
    }

    /// `Attributes`.
    #[must_use]
    pub fn attributes(&self) -> u32 {
        u32_at(&self.bytes, if self.is_64() { 0x1050 } else { 0x8A0 })
    }

    /// The runs of the header: first page and number of pages.
    #[must_use]
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let (at, wide) = if self.is_64() { (0x88, 8) } else { (0x64, 4) };
        let count = u32_at(&self.bytes, at) as usize;
        let value = |at| match wide {
            8 => u64_at(&self.bytes, at),
            _ => u64::from(u32_at(&self.bytes, at)),
        };
        (0..count)
            .map(|run| at + 2 * wide * (run + 1))
            .map(|at| (value(at), value(at + wide)))
            .collect()
    }

    /// Where every page lies: page frame number and file offset, and where the pages end.
    ///
    /// # Panics
    /// Where the type has no pages, or the tables contradict themselves.
    #[must_use]
    pub fn places(&self) -> (BTreeMap<u64, usize>, usize) {
        let body = self.body();
        let mut places = BTreeMap::new();
        let mut at = body;
        let mut add = |first: u64, count: u64, at: &mut usize| {
            for page in first..first + count {
                assert!(places.insert(page, *at).is_none(), "page {page:#x} twice");
                *at += PAGE;
            }
        };
        match self.dump_type() {
            1 => {
                for (first, count) in self.runs() {
                    add(first, count, &mut at);
                }
            }
            5 | 6 => {
                at = index(u64_at(&self.bytes, body + 0x20));
                let bits = u64_at(&self.bytes, body + 0x30);
                for page in 0..bits {
                    let byte = self.bytes[body + 0x38 + index(page / 8)];
                    if byte >> (page % 8) & 1 == 1 {
                        add(page, 1, &mut at);
                    }
                }
                let present = u64_at(&self.bytes, body + 0x28);
                assert_eq!(places.len() as u64, present, "TotalPresentPages");
            }
            8..=10 => {
                assert_eq!(self.bytes[body + 4..body + 12], *b"RDMPDUMP");
                at = index(u64_at(&self.bytes, body + 0x18));
                let metadata = u64_at(&self.bytes, body + 0x10);
                assert_eq!(metadata - 0x20 + 0x2040, at as u64, "MetadataSize");
                for range in 0..index(metadata) / 16 {
                    let entry = body + 0x30 + 16 * range;
                    let (first, count) = (u64_at(&self.bytes, entry), u64_at(&self.bytes, entry + 8));
                    if first == 0 {
                        break;
                    }
                    add(first, count, &mut at);
                }
            }
            other => panic!("type {other} has no pages"),
        }
        (places, at)
    }

    /// The checksum of every page.
    #[must_use]
    pub fn pages(&self) -> Pages {
        let (places, _) = self.places();
        places
            .into_iter()
            .map(|(page, at)| (page, crc32fast::hash(&self.bytes[at..at + PAGE])))
            .collect()
    }

    /// The bytes of a page, where the dump has it.
    #[must_use]
    pub fn page(&self, page: u64) -> Option<&[u8]> {
        let (places, _) = self.places();
        places.get(&page).map(|at| &self.bytes[*at..*at + PAGE])
    }

    /// The secondary data behind the pages: tag and bytes of each.
    ///
    /// # Panics
    /// Where the chain does not end with the file.
    #[must_use]
    pub fn secondary_data(&self) -> Vec<([u8; 16], Vec<u8>)> {
        let start = match self.dump_type() {
            4 => u32_at(&self.bytes, self.body() + 4) as usize,
            _ => self.places().1,
        };
        if self.bytes.len() == start {
            return Vec::new();
        }
        assert_eq!(self.bytes[start..start + 8], *b"DumpBlob");
        let mut at = start + 16;
        let mut blobs = Vec::new();
        while at < self.bytes.len() {
            assert_eq!(u32_at(&self.bytes, at), 0x20);
            let size = u32_at(&self.bytes, at + 20) as usize;
            let (before, after) = (u32_at(&self.bytes, at + 24), u32_at(&self.bytes, at + 28));
            let data = at + 0x20 + before as usize;
            blobs.push((number(&self.bytes, at + 4), self.bytes[data..data + size].to_vec()));
            at = data + size + after as usize;
        }
        assert_eq!(at, self.bytes.len(), "the chain ends with the file");
        blobs
    }
}

/// The checksum of every page of a raw image.
///
/// # Panics
/// Where it cannot be read.
#[must_use]
pub fn raw_pages(path: &Path) -> Pages {
    let bytes = fs::read(path).expect("an image");
    let pages = bytes.chunks_exact(PAGE).enumerate();
    pages
        .map(|(page, bytes)| (page as u64, crc32fast::hash(bytes)))
        .collect()
}

/// The checksum of an all-zero page.
#[must_use]
pub fn zero_page() -> u32 {
    crc32fast::hash(&[0; PAGE])
}
