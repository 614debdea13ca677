//! The bitmap of the pages that are in the file, with an index that tells how many come before one.

use dotdump_format::{Error, FileOffset, Findings, ReadAt};

/// Pages that share an entry of the index: 8 bytes for 512 of the bitmap.
const BLOCK: u64 = 4096;
const BLOCK_BYTES: usize = 512;

/// A bitmap in a file.
#[derive(Debug)]
pub(super) struct RankedBitmap {
    offset: FileOffset,
    /// How many bits count.
    bits: u64,
    /// How many pages come before each block, and at the end all.
    before: Vec<u64>,
}

/// One block of the bitmap, with zeros behind its last bit.
struct Block([u64; BLOCK_BYTES / 8]);

impl Block {
    fn of(bytes: &[u8], bits: u64) -> Self {
        let mut words = [0; BLOCK_BYTES / 8];
        for (index, (word, bytes)) in (0_u64..).zip(words.iter_mut().zip(bytes.chunks(8))) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            let count = bits.saturating_sub(index * 64).min(64);
            *word = u64::from_le_bytes(whole);
            if count < 64 {
                *word &= (1 << count) - 1;
            }
        }
        Self(words)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The first bit at or behind `from` that is (`set`) or is not set.
    fn next(&self, from: u64, set: bool) -> Option<u64> {
        let (first, mut mask) = (usize::try_from(from / 64).ok()?, u64::MAX << (from % 64));
        (first..self.0.len()).find_map(|index| {
            let word = if set { self.0[index] } else { !self.0[index] } & mask;
            mask = u64::MAX;
            (word != 0).then(|| index as u64 * 64 + u64::from(word.trailing_zeros()))
        })
    }

    /// How many bits before `bit` are set.
    fn before(&self, bit: u64) -> u64 {
        let word = usize::try_from(bit / 64).unwrap_or(0);
        let whole: u64 = self.0[..word].iter().map(|word| u64::from(word.count_ones())).sum();
        whole + u64::from((self.0[word] & ((1 << (bit % 64)) - 1)).count_ones())
    }

    fn is_set(&self, bit: u64) -> bool {
        usize::try_from(bit / 64).is_ok_and(|word| self.0[word] >> (bit % 64) & 1 == 1)
    }
}

impl RankedBitmap {
    /// Reads the bitmap once, to count.
    pub(super) fn open(
        source: &dyn ReadAt,
        offset: FileOffset,
        bits: u64,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let room = source.size().saturating_sub(offset.0).saturating_mul(8);
        if room < bits {
            findings.add(
                offset,
                "bitmap",
                format!("{bits:#x} bits, of which {room:#x} lie within the file"),
            );
        }
        let bits = bits.min(room);
        let mut before = Vec::with_capacity(usize::try_from(bits.div_ceil(BLOCK) + 1).unwrap_or(0));
        let mut total = 0;
        before.push(0);
        let mut buffer = vec![0; 128 * BLOCK_BYTES];
        let (mut at, end) = (0, bits.div_ceil(8));
        while at < end {
            let now = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            source.read_exact_at(offset.saturating_add(at), &mut buffer[..now])?;
            for (index, bytes) in (0_u64..).zip(buffer[..now].chunks(BLOCK_BYTES)) {
                total += Block::of(bytes, bits - at * 8 - index * BLOCK).count();
                before.push(total);
            }
            at += now as u64;
        }
        Ok(Self { offset, bits, before })
    }

    /// How many pages are there.
    pub(super) fn count(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    /// How many bits it has.
    pub(super) const fn bits(&self) -> u64 {
        self.bits
    }

    /// How many pages come before `page`, where it is there.
    pub(super) fn rank(&self, source: &dyn ReadAt, page: u64) -> Result<Option<u64>, Error> {
        if page >= self.bits || self.count_in(page / BLOCK) == 0 {
            return Ok(None);
        }
        let block = self.block(source, page / BLOCK)?;
        let bit = page % BLOCK;
        Ok(block.is_set(bit).then(|| self.entry(page / BLOCK) + block.before(bit)))
    }

    /// The first page at or behind `from`, how many come before it, and how many follow it without a gap, itself
    /// included: up to the end of a block.
    pub(super) fn next_run(&self, source: &dyn ReadAt, from: u64) -> Result<Option<(u64, u64, u64)>, Error> {
        let mut at = from;
        while at < self.bits {
            let number = at / BLOCK;
            if self.count_in(number) > 0 {
                let block = self.block(source, number)?;
                if let Some(first) = block.next(at % BLOCK, true) {
                    let end = block.next(first, false).unwrap_or(BLOCK);
                    let rank = self.entry(number) + block.before(first);
                    return Ok(Some((number * BLOCK + first, rank, end - first)));
                }
            }
            at = (number + 1) * BLOCK;
        }
        Ok(None)
    }

    fn entry(&self, block: u64) -> u64 {
        let entry = usize::try_from(block).ok().and_then(|block| self.before.get(block));
        entry.copied().unwrap_or_else(|| self.count())
    }

    fn count_in(&self, block: u64) -> u64 {
        self.entry(block + 1) - self.entry(block)
    }

    fn block(&self, source: &dyn ReadAt, number: u64) -> Result<Block, Error> {
        let mut bytes = [0; BLOCK_BYTES];
        let bits = (self.bits - number * BLOCK).min(BLOCK);
        let size = usize::try_from(bits.div_ceil(8)).unwrap_or(0);
        let at = self.offset.saturating_add(number * BLOCK / 8);
        source.read_exact_at(at, &mut bytes[..size])?;
        Ok(Block::of(&bytes, bits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_are_counts(
            runs in prop::collection::vec((0_u64..20_000, 1_u64..6000), 0..6),
            bits in 0_u64..20_000,
            asked in prop::collection::vec(0_u64..21_000, 20),
        ) {
            let mut bytes = vec![0_u8; 8 + 2500];
            let mut model = vec![false; 20_000];
            for (first, pages) in runs {
                for page in first..(first + pages).min(20_000) {
                    let index = usize::try_from(page).unwrap();
                    model[index] = true;
                    bytes[8 + index / 8] |= 1 << (index % 8);
                }
            }
            model.truncate(usize::try_from(bits).unwrap());
            let bitmap = RankedBitmap::open(&bytes, FileOffset(8), bits, &mut Findings::default()).unwrap();
            prop_assert_eq!(bitmap.count(), model.iter().filter(|bit| **bit).count() as u64);
            prop_assert!(bitmap.before.len() * 8 <= model.len() / 8 / 16 + 32);
            for page in asked {
                let index = usize::try_from(page).unwrap().min(model.len());
                let count = model[..index].iter().filter(|bit| **bit).count() as u64;
                let rank = bitmap.rank(&bytes, page).unwrap();
                prop_assert_eq!(rank, model.get(index).filter(|bit| **bit).map(|_| count));
                let first = model[index..].iter().position(|bit| *bit).map(|skipped| page + skipped as u64);
                let run = bitmap.next_run(&bytes, page).unwrap();
                prop_assert_eq!(run.map(|run| run.0), first);
                if let Some((first, rank, pages)) = run {
                    prop_assert_eq!(bitmap.rank(&bytes, first).unwrap(), Some(rank));
                    prop_assert!(model[usize::try_from(first).unwrap()..].iter().take(usize::try_from(pages).unwrap()).all(|bit| *bit));
                    let end = first + pages;
                    let next = usize::try_from(end).ok().and_then(|end| model.get(end));
                    prop_assert!(end % BLOCK == 0 || next.is_none_or(|bit| !bit));
                }
            }
        }
    }
}
