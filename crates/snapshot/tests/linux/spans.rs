//! Memory made by hand.

use std::cell::RefCell;
use std::collections::BTreeMap;

use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::{Extent, Memory};

/// Bytes by address, and where was read.
#[derive(Clone, Default)]
pub(crate) struct Spans {
    spans: BTreeMap<u64, Vec<u8>>,
    pub(crate) reads: RefCell<Vec<u64>>,
}

impl Spans {
    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
        self.spans.insert(address, bytes.to_vec());
    }

    /// Words of `size` bytes.
    pub(crate) fn put_words(&mut self, address: u64, size: usize, words: &[u64]) {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()[..size].to_vec());
        self.put(address, &bytes.collect::<Vec<u8>>());
    }
}

impl Memory for Spans {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let ranges = self
            .spans
            .iter()
            .map(|(start, bytes)| VirtRange::sized(VirtAddr(*start), bytes.len() as u64));
        let parts = ranges.filter_map(move |range| range.intersection(within));
        Box::new(parts.map(|range| Ok(Extent { range, offset: None })))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        self.reads.borrow_mut().push(address.0);
        let mut read = 0;
        while read < buffer.len() {
            let at = address.0.wrapping_add(read as u64);
            let Some((start, bytes)) = self.spans.range(..=at).next_back() else {
                break;
            };
            let skipped = usize::try_from(at - start).unwrap();
            let Some(there) = bytes.get(skipped..).filter(|there| !there.is_empty()) else {
                break;
            };
            let length = there.len().min(buffer.len() - read);
            buffer[read..read + length].copy_from_slice(&there[..length]);
            read += length;
        }
        Ok(read)
    }
}

/// The mappings that lines of `/proc/PID/maps` tell.
pub(crate) fn mappings(text: &str) -> Vec<LinuxMapping> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| LinuxMapping::parse(line.as_bytes()).unwrap())
        .collect()
}
