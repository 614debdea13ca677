//! Finding pages by a bitmap: the number of bits set before one tells where its page is, and is found by a table of such
//! numbers (ranks), one for each block of the bitmap.

use std::sync::{Mutex, OnceLock, PoisonError};

use dotdump_format::kernel::PageBitmap;
use dotdump_format::kernel::physical_memory::{end_of_pages, pages_from};
use dotdump_format::{Error, Pfn, ReadAt};

use crate::page_set::PageSet;
use crate::physical::{PagePlace, PageRun};

/// Words that are kept together.
const PART: usize = 512;
/// Words that are read at a time where all of them are.
const READ_WORDS: usize = PART * 16;
/// Bitmaps up to this size stay in memory once they were read: those of 128 GiB of pages.
const HELD_WORDS: u64 = (4 << 20) / 8;
/// Words of a block of such a bitmap: a rank for every 1024 bits is a sixteenth of it.
const HELD_BLOCK: usize = 16;
/// How many parts of a larger bitmap are kept; its blocks are as large as they.
const SLOTS: u64 = 64;

/// A bitmap with its ranks.
pub(super) struct RankedBitmap<'a> {
    source: &'a dyn ReadAt,
    bitmap: PageBitmap,
    words: Words,
    /// Words in a block.
    block: usize,
    /// How many bits are set before each block; one more for the end.
    ranks: Vec<u64>,
    /// How many pages are in the file.
    available: u64,
}

/// Parts of the bitmap, read when they are first needed: opening a dump does not wait for memory that it need not have.
enum Words {
    /// All of them.
    Held(Vec<OnceLock<Box<[u64]>>>),
    /// Those that were needed last.
    Cached(Mutex<Vec<Slot>>),
}

/// A part that was read.
struct Slot {
    /// Its number; `None` where there is none yet.
    number: Option<usize>,
    words: Vec<u64>,
}

/// A bit and where it is.
#[derive(Clone, Copy)]
struct Bit {
    page: u64,
    /// How many bits are set before it.
    rank: u64,
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

impl<'a> RankedBitmap<'a> {
    /// Reads the whole bitmap once.
    pub(super) fn open(source: &'a dyn ReadAt, bitmap: PageBitmap) -> Result<Self, Error> {
        Self::with_limit(source, bitmap, HELD_WORDS)
    }

    /// The same, in memory up to `held` words.
    fn with_limit(source: &'a dyn ReadAt, bitmap: PageBitmap, held: u64) -> Result<Self, Error> {
        let count = usize::try_from(bitmap.words()).ok().filter(|_| bitmap.words() <= held);
        let (words, block) = if let Some(count) = count {
            let parts = std::iter::repeat_with(OnceLock::new).take(count.div_ceil(PART));
            (Words::Held(parts.collect()), HELD_BLOCK)
        } else {
            let empty = || Slot {
                number: None,
                words: Vec::new(),
            };
            (Words::Cached(Mutex::new((0..SLOTS).map(|_| empty()).collect())), PART)
        };
        let mut ranks = vec![0];
        let (mut next, mut set) = (0, 0);
        let mut buffer = vec![0; READ_WORDS];
        while next < bitmap.words() {
            bitmap.read_words(source, next, &mut buffer)?;
            // The last ones may be behind the bitmap's end.
            let left = usize::try_from(bitmap.words() - next).unwrap_or(usize::MAX);
            ranks.extend(buffer.chunks_exact(block).take(left.div_ceil(block)).map(|block| {
                set += ones(block);
                set
            }));
            next += buffer.len() as u64;
        }
        let available = set.min(pages_from(bitmap.first_page, source.size()));
        Ok(Self {
            source,
            bitmap,
            words,
            block,
            ranks,
            available,
        })
    }

    /// How many bits are set.
    pub(super) fn set(&self) -> u64 {
        self.ranks.last().copied().unwrap_or(0)
    }

    /// How many pages the file has.
    pub(super) const fn available(&self) -> u64 {
        self.available
    }

    /// Reads a part of the bitmap.
    fn read(&self, number: usize, words: &mut [u64]) -> Result<(), Error> {
        let first = (number as u64).saturating_mul(PART as u64);
        self.bitmap.read_words(self.source, first, words)
    }

    /// Shows the words of a block.
    fn with_block<R>(&self, number: usize, show: impl FnOnce(&[u64]) -> R) -> Result<R, Error> {
        match &self.words {
            Words::Held(parts) => {
                const BLOCKS: usize = PART / HELD_BLOCK;
                let Some(part) = parts.get(number / BLOCKS) else {
                    return Ok(show(&[]));
                };
                let words = match part.get() {
                    Some(words) => words,
                    None => {
                        let mut words = vec![0; PART].into_boxed_slice();
                        self.read(number / BLOCKS, &mut words)?;
                        part.get_or_init(|| words)
                    }
                };
                let start = number % BLOCKS * HELD_BLOCK;
                Ok(show(&words[start..start + HELD_BLOCK]))
            }
            Words::Cached(slots) => {
                // A reader that panicked left at most a part that is not marked as read.
                let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
                let index = number % slots.len();
                let slot = &mut slots[index];
                if slot.number != Some(number) {
                    slot.number = None;
                    slot.words.resize(PART, 0);
                    self.read(number, &mut slot.words)?;
                    slot.number = Some(number);
                }
                Ok(show(&slot.words))
            }
        }
    }

    /// Bits in a block.
    const fn block_bits(&self) -> u64 {
        self.block as u64 * 64
    }

    /// The block of a page; `None` behind the last one.
    fn block_of(&self, page: Pfn) -> Option<usize> {
        let number = usize::try_from(page.0 / self.block_bits()).ok()?;
        (number + 1 < self.ranks.len()).then_some(number)
    }

    /// The first bit that is set at or behind `page`, within the block of number `number` that `page` lies in or before.
    fn first_in(&self, number: usize, page: Pfn) -> Result<Option<Bit>, Error> {
        let start = number as u64 * self.block_bits();
        let skipped = page.0.saturating_sub(start);
        let index = usize::try_from(skipped / 64).unwrap_or(usize::MAX);
        let found = self.with_block(number, |words| {
            let (before, rest) = words.split_at_checked(index)?;
            let (first, others) = rest.split_first()?;
            let masked = first & u64::MAX << (skipped % 64);
            if masked != 0 {
                let bit = masked.trailing_zeros();
                let rank = ones(before) + u64::from((first & !(u64::MAX << bit)).count_ones());
                return Some((index, bit, rank));
            }
            let gap = others.iter().position(|word| *word != 0)?;
            Some((
                index + 1 + gap,
                others[gap].trailing_zeros(),
                ones(before) + u64::from(first.count_ones()),
            ))
        })?;
        Ok(found.map(|(index, bit, rank)| Bit {
            page: start + index as u64 * 64 + u64::from(bit),
            rank: self.ranks[number] + rank,
        }))
    }

    /// How many bits are set without a gap from `bit`, which is set, on.
    fn length(&self, bit: Bit) -> Result<u64, Error> {
        let mut number = usize::try_from(bit.page / self.block_bits()).unwrap_or(usize::MAX);
        let mut at = bit.page % self.block_bits();
        let mut pages = 0;
        while number + 1 < self.ranks.len() {
            let all = self.ranks[number + 1] - self.ranks[number] == self.block_bits();
            let here = if all {
                self.block_bits() - at
            } else {
                self.with_block(number, |words| ones_from(words, at))?
            };
            pages += here;
            // What is behind the file's last page is of no use.
            if at + here < self.block_bits() || bit.rank + pages >= self.available {
                break;
            }
            (number, at) = (number + 1, 0);
        }
        Ok(pages)
    }

    /// The first run of pages at or behind `from`.
    pub(super) fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let Some(number) = self.block_of(from) else {
            return Ok(None);
        };
        let mut bit = self.first_in(number, from)?;
        if bit.is_none() {
            // Ranks ascend: the first block behind this one that has bits is where they grow.
            let rank = self.ranks[number + 1];
            let next = number + self.ranks[number + 1..].partition_point(|next| *next == rank);
            if next + 1 < self.ranks.len() {
                bit = self.first_in(next, from)?;
            }
        }
        let Some(bit) = bit.filter(|bit| bit.rank < self.available) else {
            return Ok(None);
        };
        let pages = self.length(bit)?.min(self.available - bit.rank);
        Ok(Some(PageRun {
            first: Pfn(bit.page),
            pages,
            place: self.place_of(bit.rank),
        }))
    }

    /// Adds all pages to `pages`. They are read from the file once more, word by word, and nothing of them is kept.
    pub(super) fn insert_all_into(&self, pages: &mut PageSet) -> Result<(), Error> {
        let mut left = self.available;
        let mut next = 0;
        let mut buffer = vec![0; READ_WORDS];
        while next < self.bitmap.words() && left > 0 {
            self.bitmap.read_words(self.source, next, &mut buffer)?;
            for (word, number) in buffer.iter().zip(next..self.bitmap.words()) {
                let mut bits = *word;
                // Pages that the file lacks are the last ones.
                while u64::from(bits.count_ones()) > left {
                    bits &= !(1 << bits.ilog2());
                }
                left -= u64::from(bits.count_ones());
                pages.insert_word(Pfn(number * 64), bits);
            }
            next += buffer.len() as u64;
        }
        Ok(())
    }

    /// Where a page is.
    pub(super) fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        let Some(number) = self.block_of(page) else {
            return Ok(None);
        };
        let within = page.0 % self.block_bits();
        let index = usize::try_from(within / 64).unwrap_or(usize::MAX);
        let rank = self.with_block(number, |words| {
            let (before, rest) = words.split_at_checked(index)?;
            let (word, bit) = (rest.first()?, within % 64);
            (word >> bit & 1 == 1).then(|| ones(before) + u64::from((word & !(u64::MAX << bit)).count_ones()))
        })?;
        let rank = rank.map(|rank| self.ranks[number] + rank);
        Ok(rank
            .filter(|rank| *rank < self.available)
            .map(|rank| self.place_of(rank)))
    }

    fn place_of(&self, rank: u64) -> PagePlace {
        PagePlace::File(end_of_pages(self.bitmap.first_page, rank))
    }
}

/// How many bits are set without a gap from bit `at` of `words` on.
fn ones_from(words: &[u64], at: u64) -> u64 {
    let index = usize::try_from(at / 64).unwrap_or(usize::MAX);
    let Some((first, others)) = words.get(index..).and_then(<[u64]>::split_first) else {
        return 0;
    };
    let here = u64::from((first >> (at % 64)).trailing_ones());
    if here + at % 64 < 64 {
        return here;
    }
    let full = others.iter().take_while(|word| **word == u64::MAX).count();
    here + full as u64 * 64 + others.get(full).map_or(0, |word| u64::from(word.trailing_ones()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dotdump_format::{FileOffset, PAGE_SIZE};
    use proptest::prelude::*;

    use super::*;

    /// A bitmap at the start of a file that has room for `fit` pages from 0x100_0000 on.
    fn file(pages: &BTreeSet<u64>, bits: u64) -> (Vec<u8>, PageBitmap) {
        let mut bytes = vec![0_u8; usize::try_from(bits.div_ceil(8)).unwrap()];
        for page in pages {
            bytes[usize::try_from(page / 8).unwrap()] |= 1 << (page % 8);
        }
        let bitmap = PageBitmap {
            signature: *b"FDMP",
            body: FileOffset(0),
            bitmap: FileOffset(0),
            bits,
            first_page: FileOffset(0x100_0000),
            claimed_pages: pages.len() as u64,
        };
        (bytes, bitmap)
    }

    /// A file of which only the start is in memory.
    struct Sparse {
        start: Vec<u8>,
        size: u64,
    }

    impl ReadAt for Sparse {
        fn size(&self) -> u64 {
            self.size
        }

        fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
            self.start.read_exact_at(offset, buffer)
        }
    }

    proptest! {
        /// Held or cached, all pages or fewer than the bitmap has: a table of single pages says the same.
        #[test]
        fn it_finds_what_a_table_of_pages_has(
            runs in prop::collection::vec((0_u64..150_000, prop_oneof![1_u64..5, 1_u64..70_000]), 0..12),
            tail in 0_u64..70,
            held in any::<bool>(),
            missing in prop_oneof![Just(0_u64), 0_u64..1000],
            probes in prop::collection::vec(0_u64..230_000, 50),
        ) {
            let pages: BTreeSet<u64> = runs.iter().flat_map(|(first, pages)| *first..first + pages).collect();
            let bits = pages.last().map_or(0, |last| last + 1) + tail;
            let (start, bitmap) = file(&pages, bits);
            let fit = (pages.len() as u64).saturating_sub(missing);
            let source = Sparse { start, size: 0x100_0000 + fit * PAGE_SIZE };
            let ranked = RankedBitmap::with_limit(&source, bitmap, if held { HELD_WORDS } else { 0 }).unwrap();
            prop_assert_eq!((ranked.set(), ranked.available()), (pages.len() as u64, fit));
            prop_assert!(ranked.ranks.len() * 8 <= usize::try_from(bits).unwrap() / 8 / 16 + 2 * 8);
            let there: Vec<u64> = pages.iter().copied().take(usize::try_from(fit).unwrap()).collect();
            let place = |rank: usize| PagePlace::File(FileOffset(0x100_0000 + rank as u64 * PAGE_SIZE));
            for probe in probes.into_iter().chain([bits, bits + 1, u64::MAX]) {
                let found = there.binary_search(&probe);
                prop_assert_eq!(ranked.place(Pfn(probe)).unwrap(), found.ok().map(place));
                let next = found.unwrap_or_else(|next| next);
                let run = ranked.next_run(Pfn(probe)).unwrap();
                prop_assert_eq!(run.map(|run| run.first.0), there.get(next).copied());
                prop_assert_eq!(run.map(|run| run.place), there.get(next).map(|_| place(next)));
            }
            let (mut from, mut seen) = (Pfn(0), Vec::new());
            while let Some(run) = ranked.next_run(from).unwrap() {
                seen.extend(run.first.0..run.end().0);
                prop_assert!(ranked.place(run.end()).unwrap().is_none(), "runs are as long as possible");
                from = run.end();
            }
            let mut set = PageSet::default();
            ranked.insert_all_into(&mut set).unwrap();
            prop_assert!(set.runs().flat_map(|(first, end)| first.0..end.0).eq(there.iter().copied()));
            prop_assert_eq!(seen, there);
        }
    }
}
