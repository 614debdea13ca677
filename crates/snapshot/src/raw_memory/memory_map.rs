//! Maps that say where the bytes of a raw image belong.

use dotdump_format::{FileOffset, Findings, PhysAddr};

use super::mtree;

/// A part of a raw image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// The physical address of its first byte.
    pub start: PhysAddr,
    /// Its size in bytes.
    pub size: u64,
    /// Where it starts in the file.
    pub offset: FileOffset,
}

/// Where the bytes of a raw image belong.
#[derive(Clone, Debug, Default)]
pub struct MemoryMap {
    /// The parts, in the map's order.
    pub regions: Vec<MemoryRegion>,
    /// What the map says of memory that is not in the file.
    pub findings: Findings,
}

/// Why a map cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memory map, line {line}: {message}")]
pub struct MapError {
    /// The line, from 1 on; 0 for the map as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl MemoryMap {
    /// Reads a map, in either of two formats.
    ///
    /// A list of regions: on each line the physical address of the first byte, the size in bytes and, where the region
    /// does not follow the one of the line before in the file, its offset in the file. Numbers are decimal, or
    /// hexadecimal with `0x`. Blank lines and what follows a `#` mean nothing.
    ///
    /// ```text
    /// # 4 GiB of RAM; devices have the addresses from 3 GiB to 4 GiB
    /// 0            0xC0000000
    /// 0x100000000  0x40000000
    /// ```
    ///
    /// Or what QEMU's monitor prints for `info mtree -f`. Of the address space `memory` the largest RAM block counts: it
    /// is what the file of a memory backend holds. Other blocks become findings.
    ///
    /// # Errors
    /// [`MapError`] with the line that is in neither format.
    pub fn parse(text: &str) -> Result<Self, MapError> {
        if text.contains("FlatView #") || text.contains("(prio ") {
            return mtree::parse(text);
        }
        let mut regions = Vec::new();
        let mut next = FileOffset(0);
        for (index, line) in text.lines().enumerate() {
            let error = |message: String| MapError {
                line: index + 1,
                message,
            };
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let (start, size, offset) = match *words.as_slice() {
                [] => continue,
                [start, size] => (start, size, None),
                [start, size, offset] => (start, size, Some(offset)),
                _ => {
                    return Err(error(
                        "an address, a size and perhaps a file offset expected".to_owned(),
                    ));
                }
            };
            let number = |word: &str| number(word).ok_or_else(|| error(format!("`{word}` is no number below 2^64")));
            let start = PhysAddr(number(start)?);
            let size = number(size)?;
            let offset = offset.map(number).transpose()?.map_or(next, FileOffset);
            if start.checked_add(size).is_none() {
                return Err(error("the region passes the end of the address space".to_owned()));
            }
            next = offset
                .checked_add(size)
                .ok_or_else(|| error("the region passes the end of all files".to_owned()))?;
            regions.push(MemoryRegion { start, size, offset });
        }
        if regions.is_empty() {
            return Err(MapError {
                line: 0,
                message: "no region in it".to_owned(),
            });
        }
        Ok(Self {
            regions,
            findings: Findings::default(),
        })
    }
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        None if !word.starts_with('+') => word.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, size: u64, offset: u64) -> MemoryRegion {
        MemoryRegion {
            start: PhysAddr(start),
            size,
            offset: FileOffset(offset),
        }
    }

    #[test]
    fn a_list_of_regions() {
        let map = MemoryMap::parse("# RAM\n\n0 0xC0000000 # low\r\n0x100000000\t1073741824\n4096 4096 0x10\n").unwrap();
        let expected = [
            region(0, 0xC000_0000, 0),
            region(1 << 32, 1 << 30, 0xC000_0000),
            region(0x1000, 0x1000, 0x10),
        ];
        assert_eq!(map.regions, expected);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line) in [
            ("0 0x1000\nfoo 1\n", 2),
            ("0\n", 1),
            ("0 1 2 3", 1),
            ("\n\n0xffffffffffffffff 2", 3),
            ("0 2 0xffffffffffffffff", 1),
            ("0 +5", 1),
            ("0 0x", 1),
            ("-1 5", 1),
            ("# nothing\n", 0),
            ("", 0),
        ] {
            assert_eq!(MemoryMap::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
