//! Checksums of blocks, taken as the bytes go by.

use std::iter;

/// CRC-32 sums of all that passes, block by block.
pub(crate) struct BlockSums {
    block: u64,
    left: u64,
    hasher: crc32fast::Hasher,
    table: Vec<u8>,
    /// The sum of a block of zeros, once one was needed: holes may be long.
    of_zeros: Option<[u8; 4]>,
}

impl BlockSums {
    /// Sums of blocks of `block` bytes.
    pub(crate) fn new(block: u64) -> Self {
        Self {
            block,
            left: block,
            hasher: crc32fast::Hasher::new(),
            table: Vec::new(),
            of_zeros: None,
        }
    }

    /// Takes in bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let size = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(size);
            self.hasher.update(now);
            self.left -= now.len() as u64;
            bytes = later;
            if self.left == 0 {
                let sum = self.end_block();
                self.table.extend(sum);
            }
        }
    }

    /// Takes in `size` zeros.
    pub(crate) fn zeros(&mut self, size: u64) {
        let first = size.min(self.left % self.block);
        self.hash_zeros(first);
        let blocks = (size - first) / self.block;
        if blocks > 0 {
            let sum = self.of_zeros.unwrap_or_else(|| {
                let mut one = Self::new(self.block);
                one.hash_zeros(self.block);
                one.table.try_into().unwrap_or_default()
            });
            self.of_zeros = Some(sum);
            let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
            self.table.extend(iter::repeat_n(sum, blocks).flatten());
        }
        self.hash_zeros((size - first) % self.block);
    }

    fn hash_zeros(&mut self, mut size: u64) {
        const ZEROS: [u8; 4096] = [0; 4096];
        while size > 0 {
            let step = size.min(ZEROS.len() as u64);
            self.update(&ZEROS[..usize::try_from(step).unwrap_or(0)]);
            size -= step;
        }
    }

    fn end_block(&mut self) -> [u8; 4] {
        self.left = self.block;
        std::mem::take(&mut self.hasher).finalize().to_le_bytes()
    }

    /// The sums, that of the last and shorter block included.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.left < self.block {
            let sum = self.end_block();
            self.table.extend(sum);
        }
        self.table
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Zeros that are told as a number count like zeros that are given, wherever blocks begin and end.
        #[test]
        fn sums_are_those_of_the_blocks(steps in prop::collection::vec((any::<bool>(), 0_usize..20_000), 0..12)) {
            const BLOCK: usize = 5000;
            let mut sums = BlockSums::new(BLOCK as u64);
            let mut all = Vec::new();
            for (is_hole, size) in steps {
                if is_hole {
                    sums.zeros(size as u64);
                    all.resize(all.len() + size, 0);
                } else {
                    let bytes: Vec<u8> = (1..=251).cycle().take(size).collect();
                    sums.update(&bytes);
                    all.extend(bytes);
                }
            }
            let expected: Vec<u8> = all.chunks(BLOCK).flat_map(|block| crc32fast::hash(block).to_le_bytes()).collect();
            prop_assert_eq!(sums.finish(), expected);
        }
    }
}
