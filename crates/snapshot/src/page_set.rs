//! Sets of physical pages.

use std::collections::BTreeMap;

use dotdump_format::Pfn;

/// Pages in a chunk.
const CHUNK: u64 = 1 << 15;
/// Words of a chunk's bitmap.
const WORDS: usize = 512;

/// A set of page frame numbers. A bitmap in chunks: one bit for each page where both sorts of pages mix, nothing for
/// large regions that are all in or all out, so that a terabyte of address space with little in it costs little.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    chunks: BTreeMap<u64, Chunk>,
    len: u64,
}

#[derive(Clone, Debug)]
enum Chunk {
    Full,
    Some { bits: Box<[u64; WORDS]>, count: u64 },
}

impl Chunk {
    fn new() -> Self {
        Self::Some {
            bits: Box::new([0; WORDS]),
            count: 0,
        }
    }

    /// The word with the bits of 64 pages.
    fn word(&self, index: usize) -> u64 {
        match self {
            Self::Full => u64::MAX,
            Self::Some { bits, .. } => bits[index],
        }
    }

    /// How many pages it has.
    const fn count(&self) -> u64 {
        match self {
            Self::Full => CHUNK,
            Self::Some { count, .. } => *count,
        }
    }

    /// Adds `mask` to a word; how many pages are new.
    fn add(&mut self, index: usize, mask: u64) -> u64 {
        let Self::Some { bits, count } = self else { return 0 };
        let new = u64::from((mask & !bits[index]).count_ones());
        bits[index] |= mask;
        *count += new;
        if *count == CHUNK {
            *self = Self::Full;
        }
        new
    }

    /// Takes `mask` from a word; how many pages are gone.
    fn take(&mut self, index: usize, mask: u64) -> u64 {
        if matches!(self, Self::Full) {
            *self = Self::Some {
                bits: Box::new([u64::MAX; WORDS]),
                count: CHUNK,
            };
        }
        let Self::Some { bits, count } = self else { return 0 };
        let gone = u64::from((mask & bits[index]).count_ones());
        bits[index] &= !mask;
        *count -= gone;
        gone
    }
}

/// The chunk, word and bit of a page.
fn place(page: u64) -> (u64, usize, u32) {
    let within = page % CHUNK;
    (
        page / CHUNK,
        usize::try_from(within / 64).unwrap_or(0),
        u32::try_from(within % 64).unwrap_or(0),
    )
}

impl PageSet {
    /// The number of pages in it.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no page is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `page` is in it.
    #[must_use]
    pub fn contains(&self, page: Pfn) -> bool {
        let (chunk, word, bit) = place(page.0);
        self.chunks
            .get(&chunk)
            .is_some_and(|chunk| chunk.word(word) >> bit & 1 == 1)
    }

    /// The bits of the 64 pages from `page` on, the first one lowest. `page` must be a multiple of 64.
    #[must_use]
    pub fn word(&self, page: Pfn) -> u64 {
        let (chunk, word, _) = place(page.0);
        self.chunks.get(&chunk).map_or(0, |chunk| chunk.word(word))
    }

    /// Adds `page`; whether it was new.
    pub fn insert(&mut self, page: Pfn) -> bool {
        self.insert_run(page, 1) == 1
    }

    /// Adds `pages` pages from `first` on; how many of them were new.
    pub fn insert_run(&mut self, first: Pfn, pages: u64) -> u64 {
        let mut new = 0;
        each_word(first, pages, |chunk, word, mask| {
            let at = self.chunks.entry(chunk);
            if word.is_none() {
                let before = at.or_insert_with(Chunk::new).count();
                self.chunks.insert(chunk, Chunk::Full);
                new += CHUNK - before;
            } else if let Some(word) = word {
                new += at.or_insert_with(Chunk::new).add(word, mask);
            }
        });
        self.len += new;
        new
    }

    /// Adds those of the 64 pages from `page` on whose bits are set, the first one lowest; how many of them were new.
    /// `page` must be a multiple of 64.
    pub fn insert_word(&mut self, page: Pfn, bits: u64) -> u64 {
        if bits == 0 {
            return 0;
        }
        let (chunk, word, _) = place(page.0);
        let new = self.chunks.entry(chunk).or_insert_with(Chunk::new).add(word, bits);
        self.len += new;
        new
    }

    /// Adds those of `pages` pages from `first` on that are in `other`; how many of them were new.
    pub fn insert_common(&mut self, first: Pfn, pages: u64, other: &Self) -> u64 {
        let mut new = 0;
        each_word(first, pages, |chunk, word, mask| {
            let Some(theirs) = other.chunks.get(&chunk) else {
                return;
            };
            match (word, theirs) {
                (Some(word), _) => {
                    let mask = mask & theirs.word(word);
                    if mask != 0 {
                        new += self.chunks.entry(chunk).or_insert_with(Chunk::new).add(word, mask);
                    }
                }
                (None, Chunk::Full) => {
                    let before = self.chunks.insert(chunk, Chunk::Full);
                    new += CHUNK - before.map_or(0, |chunk| chunk.count());
                }
                (None, Chunk::Some { bits, .. }) => {
                    let ours = self.chunks.entry(chunk).or_insert_with(Chunk::new);
                    new += (0..WORDS).map(|word| ours.add(word, bits[word])).sum::<u64>();
                }
            }
        });
        self.len += new;
        new
    }

    /// Takes `pages` pages from `first` on out of it; how many of them were in it.
    pub fn remove_run(&mut self, first: Pfn, pages: u64) -> u64 {
        let mut gone = 0;
        each_word(first, pages, |chunk, word, mask| {
            let Some(found) = self.chunks.get_mut(&chunk) else {
                return;
            };
            match word {
                None => {
                    gone += found.count();
                    self.chunks.remove(&chunk);
                }
                Some(word) => gone += found.take(word, mask),
            }
        });
        self.len -= gone;
        gone
    }

    /// The page behind the last one in it; zero where it is empty.
    #[must_use]
    pub fn end(&self) -> Pfn {
        for (chunk, content) in self.chunks.iter().rev() {
            for word in (0..WORDS).rev() {
                let bits = content.word(word);
                if bits != 0 {
                    let last = chunk * CHUNK + word as u64 * 64 + u64::from(63 - bits.leading_zeros());
                    return Pfn(last + 1);
                }
            }
        }
        Pfn(0)
    }

    /// The first 64 pages, from a multiple of 64 on, that do not lie before `from` all of them and of which some are in
    /// the set: the first of the pages and their bits, that of the first one lowest.
    #[must_use]
    pub fn next_word(&self, from: Pfn) -> Option<(Pfn, u64)> {
        let page = Pfn(self.next_with(from.0, true)? & !63);
        Some((page, self.word(page)))
    }

    /// The first run of pages at or behind `from`, as long as possible: its first page and the page behind its last.
    #[must_use]
    pub fn next_run(&self, from: Pfn) -> Option<(Pfn, Pfn)> {
        let first = self.next_with(from.0, true)?;
        let end = self.next_with(first, false).unwrap_or(u64::MAX);
        Some((Pfn(first), Pfn(end)))
    }

    /// All runs, ascending, each as long as possible: the first page of each and the page behind its last.
    pub fn runs(&self) -> impl Iterator<Item = (Pfn, Pfn)> + '_ {
        let mut next = Some(Pfn(0));
        std::iter::from_fn(move || {
            let run = self.next_run(next.take()?)?;
            next = Some(run.1);
            Some(run)
        })
    }

    /// The first page at or behind `from` that is (`within`) or is not in the set.
    fn next_with(&self, from: u64, within: bool) -> Option<u64> {
        let mut at = from;
        loop {
            let (chunk, word, bit) = place(at);
            let Some((&found, content)) = self.chunks.range(chunk..).next() else {
                return (!within).then_some(at);
            };
            if found > chunk {
                if !within {
                    return Some(at);
                }
                at = found * CHUNK;
                continue;
            }
            if let (Chunk::Full, false) = (content, within) {
                at = (chunk + 1).checked_mul(CHUNK)?;
                continue;
            }
            let mut mask = u64::MAX << bit;
            let hit = (word..WORDS).find_map(|index| {
                let bits = content.word(index);
                let wanted = if within { bits } else { !bits } & mask;
                mask = u64::MAX;
                (wanted != 0).then(|| chunk * CHUNK + index as u64 * 64 + u64::from(wanted.trailing_zeros()))
            });
            match hit {
                Some(page) => return Some(page),
                None => at = (chunk + 1).checked_mul(CHUNK)?,
            }
        }
    }
}

/// Calls `each` for the words that a run touches: chunk, word and the bits within it; or for a whole chunk, no word.
fn each_word(first: Pfn, pages: u64, mut each: impl FnMut(u64, Option<usize>, u64)) {
    let mut at = first.0;
    let end = first.0.saturating_add(pages);
    while at < end {
        let (chunk, word, bit) = place(at);
        let left = end - at;
        if at.is_multiple_of(CHUNK) && left >= CHUNK {
            each(chunk, None, u64::MAX);
            at += CHUNK;
            continue;
        }
        let here = left.min(64 - u64::from(bit));
        let mask = u64::MAX >> (64 - here) << bit;
        each(chunk, Some(word), mask);
        at += here;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((any::<bool>(), 0_u64..200_000, 1_u64..70_000), 1..8)) {
            let mut set = PageSet::default();
            let mut model = BTreeSet::new();
            for (insert, first, pages) in changes {
                let before = model.len();
                if insert {
                    model.extend(first..first + pages);
                    let new = set.insert_run(Pfn(first), pages);
                    prop_assert_eq!(new, (model.len() - before) as u64);
                } else {
                    model.retain(|page| !(first..first + pages).contains(page));
                    let gone = set.remove_run(Pfn(first), pages);
                    prop_assert_eq!(gone, (before - model.len()) as u64);
                }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.end().0, model.last().map_or(0, |last| last + 1));
            let pages: Vec<u64> = set.runs().flat_map(|(first, end)| first.0..end.0).collect();
            prop_assert!(pages.iter().eq(model.iter()));
            let mut copy = PageSet::default();
            for page in (0..270_080).step_by(64) {
                copy.insert_word(Pfn(page), set.word(Pfn(page)));
            }
            prop_assert_eq!(copy.len(), set.len());
            prop_assert!(copy.runs().eq(set.runs()));
            let mut words = 0;
            let mut next = set.next_word(Pfn(0));
            while let Some((page, bits)) = next {
                prop_assert!(bits != 0 && page.0 % 64 == 0);
                words += u64::from(bits.count_ones());
                next = set.next_word(Pfn(page.0 + 64));
            }
            prop_assert_eq!(words, set.len());
            let runs: Vec<_> = set.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0), "runs are as long as possible");
            for page in (0..270_000).step_by(997) {
                prop_assert_eq!(set.contains(Pfn(page)), model.contains(&page));
            }
        }
    }

    type Runs = Vec<(u64, u64)>;

    fn of(runs: &Runs) -> (PageSet, BTreeSet<u64>) {
        let mut set = PageSet::default();
        for (first, pages) in runs {
            set.insert_run(Pfn(*first), *pages);
        }
        (
            set,
            runs.iter().flat_map(|(first, pages)| *first..first + pages).collect(),
        )
    }

    proptest! {
        #[test]
        fn common_pages_are_added(
            ours in prop::collection::vec((0_u64..100_000, 1_u64..40_000), 0..3),
            theirs in prop::collection::vec((0_u64..100_000, 1_u64..70_000), 0..3),
            first in 0_u64..120_000,
            pages in 0_u64..120_000,
        ) {
            let (mut set, mut model) = of(&ours);
            let (other, other_model) = of(&theirs);
            let before = model.len();
            model.extend(other_model.range(first..first + pages));
            prop_assert_eq!(set.insert_common(Pfn(first), pages, &other), (model.len() - before) as u64);
            prop_assert!(set.runs().flat_map(|(first, end)| first.0..end.0).eq(model.iter().copied()));
            prop_assert_eq!(set.len(), model.len() as u64);
        }
    }

    #[test]
    fn the_last_pages_of_all_are_kept_too() {
        let mut set = PageSet::default();
        assert_eq!(set.insert_run(Pfn(u64::MAX - 10), 100), 10);
        assert_eq!(set.next_run(Pfn(5)), Some((Pfn(u64::MAX - 10), Pfn(u64::MAX))));
    }
}
