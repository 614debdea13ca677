//! The privacy filter `r`: of a stack, only what a stack walk needs stays.
//!
//! A word of a stack is kept where it points into code (a loaded or unloaded module, or code made at run time) or into
//! the stack itself; every other word becomes zero. What else the dump holds of the same addresses is filtered alike,
//! so that no copy of a stack stays behind. Sizes do not change, and registers are kept.

use std::hint::select_unpredictable;

use dotdump_format::{Endian, Error, VirtAddr, VirtRange};
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use crate::select::ThreadStack;
use crate::words::Words;

/// Blocks are found through this many buckets.
const BUCKETS: usize = 1 << 16;

/// The size of a block of addresses: 1 MiB. Modules lie together, so few blocks are in use.
const BLOCK_BITS: u32 = 20;

/// The size of a page.
const PAGE_BITS: u32 = 12;

/// The most blocks that are kept: 8 GiB of addresses.
const MAX_BLOCKS: usize = 1 << 13;

/// Where pointers may lead, made for asking about very many words: nearly every question is answered by looking at two
/// places, without a branch that could be mispredicted.
#[derive(Clone, Debug)]
pub struct Targets {
    ranges: Vec<VirtRange>,
    /// For each bucket, its block. Block 0 has no page.
    buckets: Box<[u16; BUCKETS]>,
    blocks: Vec<Block>,
    /// Whether any block has an unclear page.
    has_unclear: bool,
}

/// A bit for each page of an aligned MiB of addresses.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// The number of the MiB.
    number: u64,
    /// Pages that lie in a range as a whole.
    whole: [u64; 4],
    /// Pages of which only a part lies in a range, and pages of other blocks with the same bucket: the ranges tell.
    unclear: [u64; 4],
}

impl Targets {
    /// The addresses of `ranges`.
    #[must_use]
    pub fn new(ranges: RangeSet) -> Self {
        let mut targets = Self {
            ranges: ranges.into_vec(),
            buckets: Box::new([0; BUCKETS]),
            blocks: vec![Block::default()],
            has_unclear: false,
        };
        for range in targets.ranges.clone() {
            if !targets.add(range) {
                // So much cannot be code. Every question goes to the ranges.
                targets.blocks = vec![Block {
                    unclear: [u64::MAX; 4],
                    ..Block::default()
                }];
                targets.buckets.fill(0);
                break;
            }
        }
        targets.has_unclear = targets.blocks.iter().any(|block| block.unclear != [0; 4]);
        targets
    }

    /// Notes the pages of a range; tells whether there was room.
    fn add(&mut self, range: VirtRange) -> bool {
        let last = (range.end.0 - 1) >> PAGE_BITS;
        let mut page = range.start.0 >> PAGE_BITS;
        while page <= last {
            let number = page >> (BLOCK_BITS - PAGE_BITS);
            let Some(block) = self.block(number) else { return false };
            let end = ((number + 1) << (BLOCK_BITS - PAGE_BITS)).min(last + 1);
            while page < end {
                let (word, bit) = place_of(page << PAGE_BITS);
                let pages = VirtRange::sized(VirtAddr(page << PAGE_BITS), 1 << PAGE_BITS);
                let is_whole = range.start <= pages.start && pages.end <= range.end;
                let bits = if is_whole && block.number == number {
                    &mut block.whole
                } else {
                    &mut block.unclear
                };
                bits[word] |= 1 << bit;
                page += 1;
            }
        }
        true
    }

    /// The block for a MiB, which may be that of another one with the same bucket; `None` where there is no room.
    fn block(&mut self, number: u64) -> Option<&mut Block> {
        let bucket = &mut self.buckets[bucket_of(number)];
        if *bucket == 0 {
            if self.blocks.len() > MAX_BLOCKS {
                return None;
            }
            *bucket = u16::try_from(self.blocks.len()).ok()?;
            self.blocks.push(Block {
                number,
                ..Block::default()
            });
        }
        self.blocks.get_mut(usize::from(*bucket))
    }

    /// Whether `word` is one of the addresses.
    #[must_use]
    #[inline]
    pub fn contains(&self, word: u64) -> bool {
        let number = word >> BLOCK_BITS;
        let block = &self.blocks[usize::from(self.buckets[bucket_of(number)])];
        let (place, bit) = place_of(word);
        let is_whole = (block.whole[place] >> bit & 1 != 0) & (block.number == number);
        // The only branches, and nearly never taken.
        is_whole | (self.has_unclear && block.unclear[place] >> bit & 1 != 0 && self.find(word))
    }

    #[cold]
    fn find(&self, word: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start.0 <= word);
        after > 0 && word < self.ranges[after - 1].end.0
    }
}

/// The bucket of a block. The multiplier spreads blocks that differ in their upper bits only.
#[inline]
fn bucket_of(number: u64) -> usize {
    // The result has 16 bits.
    usize::try_from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48).unwrap_or(0)
}

/// Where the bit of an address's page stands in its block.
#[inline]
fn place_of(address: u64) -> (usize, u64) {
    let page = address >> PAGE_BITS;
    (usize::try_from(page >> 6 & 3).unwrap_or(0), page & 63)
}

/// A range of addresses in which words are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The addresses.
    pub range: VirtRange,
    /// The stack to which they belong: pointers into it stay. Empty where they are no stack's.
    pub own: VirtRange,
    /// The words in it: those of the processor, or of 32-bit code under WOW64.
    pub words: Words,
}

/// What is filtered and what is not, apart from the stacks of the threads.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Memory that was only taken because stacks point to it.
    pub others: RangeSet,
    /// Memory with 32-bit words in a 64-bit process.
    pub others_32: RangeSet,
    /// Stacks of 32-bit code in a 64-bit process.
    pub stacks_32: Vec<VirtRange>,
    /// Registers and structures within filtered memory that a stack walk needs as they are.
    pub exempt: RangeSet,
}

/// The filter for one dump.
#[derive(Clone, Debug)]
pub struct StackFilter {
    code: Targets,
    /// All stacks: memory that is no stack itself keeps its pointers into any of them.
    stacks: Targets,
    /// Sorted, without overlaps.
    areas: Vec<Area>,
}

impl StackFilter {
    /// The filter for a snapshot's stacks and what lies `beside` them.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn new(snapshot: &dyn ProcessSnapshot, stacks: &[ThreadStack], beside: Beside) -> Result<Self, Error> {
        let mut code: RangeSet = snapshot
            .modules()
            .iter()
            .map(dotdump_snapshot::ModuleSnapshot::range)
            .collect();
        for range in snapshot.other_code()? {
            code.insert(range);
        }
        let words = Words::of(snapshot);
        let own = stacks.iter().filter_map(|stack| stack.own).map(|own| (own, words));
        let own = own.chain(beside.stacks_32.iter().map(|own| (*own, Words::x86())));
        let mut areas: Vec<Area> = own.map(|(own, words)| Area { range: own, own, words }).collect();
        let targets = areas.iter().map(|area| area.own).collect();
        areas.sort_by_key(|area| area.range);
        // Two threads cannot share a stack; where a damaged dump says so, each address belongs to the first.
        let mut end = VirtAddr(0);
        areas.retain_mut(|area| {
            area.range = VirtRange::new(area.range.start.max(end), area.range.end);
            end = end.max(area.range.end);
            !area.range.is_empty()
        });
        for (others, words) in [(beside.others_32, Words::x86()), (beside.others, words)] {
            let taken: RangeSet = areas.iter().map(|area| area.range).collect();
            for range in without(others, &taken.into_vec()) {
                areas.push(Area {
                    range,
                    own: VirtRange::default(),
                    words,
                });
            }
        }
        let exempt = beside.exempt.into_vec();
        areas = areas
            .into_iter()
            .flat_map(|area| {
                without(RangeSet::from_iter([area.range]), &exempt).map(move |range| Area { range, ..area })
            })
            .collect();
        areas.sort_by_key(|area| area.range);
        Ok(Self {
            code: Targets::new(code),
            stacks: Targets::new(targets),
            areas,
        })
    }

    /// The areas in which words are filtered, sorted.
    #[must_use]
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// Whether anything of `range` is filtered.
    #[must_use]
    pub fn touches(&self, range: VirtRange) -> bool {
        let first = self.areas.partition_point(|area| area.range.end <= range.start);
        self.areas.get(first).is_some_and(|area| area.range.start < range.end)
    }

    /// Filters `bytes`, the memory from `address` on, and tells how many words were erased. The result does not depend
    /// on where a range was cut, as long as it was cut between words.
    pub fn apply(&self, address: VirtAddr, bytes: &mut [u8]) -> u64 {
        let range = VirtRange::sized(address, bytes.len() as u64);
        let first = self.areas.partition_point(|area| area.range.end <= range.start);
        let mut erased = 0;
        for area in &self.areas[first..] {
            let Some(part) = area.range.intersection(range) else {
                break;
            };
            let at = |end: VirtAddr| usize::try_from(end.0 - address.0).unwrap_or(bytes.len());
            let (start, end) = (at(part.start), at(part.end));
            erased += self.apply_to_area(area, part.start, &mut bytes[start..end]);
        }
        erased
    }

    fn apply_to_area(&self, area: &Area, address: VirtAddr, bytes: &mut [u8]) -> u64 {
        let words = area.words;
        let size = words.size;
        let misaligned = usize::try_from(address.0.wrapping_neg() % size as u64)
            .unwrap_or(0)
            .min(bytes.len());
        let (head, rest) = bytes.split_at_mut(misaligned);
        let own = area.own;
        let (start, length) = (own.start.0, own.size());
        let mask = words.address_mask;
        let is_kept = |word: u64| {
            let target = word & mask;
            (target.wrapping_sub(start) < length) | self.code.contains(target)
        };
        // Memory that is no stack may point into any of them. It is rare, as are big-endian dumps: they share a way.
        let is_kept_elsewhere = |word: u64| is_kept(word) || own.is_empty() && self.stacks.contains(word & mask);
        let (rest, erased) = match (size, words.endian, own.is_empty()) {
            (8, Endian::Little, false) => erase_words(rest, u64::from_le_bytes, is_kept),
            (8, Endian::Little, true) => erase_words(rest, u64::from_le_bytes, is_kept_elsewhere),
            (8, Endian::Big, _) => erase_words(rest, u64::from_be_bytes, is_kept_elsewhere),
            (_, Endian::Little, false) => erase_words(rest, |word| u64::from(u32::from_le_bytes(word)), is_kept),
            (_, Endian::Little, true) => {
                erase_words(rest, |word| u64::from(u32::from_le_bytes(word)), is_kept_elsewhere)
            }
            (_, Endian::Big, _) => erase_words(rest, |word| u64::from(u32::from_be_bytes(word)), is_kept_elsewhere),
        };
        u64::from(erase(head)) + u64::from(erase(rest)) + erased
    }
}

/// The parts of `ranges` that lie outside of `taken` (sorted, apart).
fn without(ranges: RangeSet, taken: &[VirtRange]) -> impl Iterator<Item = VirtRange> + '_ {
    let outside = move |range| dotdump_snapshot::ranges::subtracted(range, taken);
    ranges.into_vec().into_iter().flat_map(outside)
}

/// Zeros the words that are not to be kept. Gives what is left behind the last whole word, and how many words changed.
///
/// Words of a stack follow no pattern that a processor could learn, so that there is no branch on them.
fn erase_words<const N: usize>(
    bytes: &mut [u8],
    decode: impl Fn([u8; N]) -> u64,
    is_kept: impl Fn(u64) -> bool,
) -> (&mut [u8], u64) {
    let (words, rest) = bytes.as_chunks_mut::<N>();
    let mut erased = 0;
    for word in words {
        let value = decode(*word);
        let kept = is_kept(value);
        erased += u64::from(!kept & (value != 0));
        *word = select_unpredictable(kept, *word, [0; N]);
    }
    (rest, erased)
}

/// Zeros a part of a word; tells whether that changed it.
fn erase(part: &mut [u8]) -> bool {
    let changed = part.iter().any(|byte| *byte != 0);
    part.fill(0);
    changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pseudorandom address near a border of `ranges`, or anywhere.
    fn probes(ranges: &[(u64, u64)]) -> impl Iterator<Item = u64> + '_ {
        let near = |address: u64| (0..5_u64).map(move |step| address.wrapping_add(step).wrapping_sub(2));
        ranges
            .iter()
            .flat_map(move |(start, size)| {
                let end = start.saturating_add(*size);
                near(*start)
                    .chain(near(end))
                    .chain([start & !0xFFF, end | 0xFFF, start / 2 + end / 2])
            })
            .chain([0, 1, u64::MAX])
    }

    proptest! {
        #[test]
        fn targets_are_the_addresses_of_the_ranges(
            ranges in prop::collection::vec(
                // Close together, anywhere, and one that is larger than anything.
                prop_oneof![
                    (0x7FF0_0000_0000_u64..0x7FF0_0100_0000, 1_u64..0x40_0000),
                    (any::<u64>(), 1_u64..0x40_0000),
                    (any::<u64>().prop_map(|start| start & !0xFFF), (1_u64..0x400).prop_map(|pages| pages << 12)),
                    (0_u64..0x1000, Just(1 << 40)),
                ],
                0..20,
            ),
        ) {
            let of = |(start, size): &(u64, u64)| VirtRange::sized(VirtAddr(*start), *size);
            let targets = Targets::new(ranges.iter().map(of).collect());
            for word in probes(&ranges) {
                let expected = ranges.iter().any(|range| of(range).contains(VirtAddr(word)));
                prop_assert_eq!(targets.contains(word), expected, "{:#x}", word);
            }
        }
    }

    #[test]
    fn blocks_that_share_a_bucket_do_not_mix() {
        let number = 0x7FF_1234_u64;
        let twin = (1..).find(|other| *other != number && bucket_of(*other) == bucket_of(number));
        let twin = twin.expect("buckets are few");
        let page =
            |number: u64, page: u64| VirtRange::sized(VirtAddr((number << BLOCK_BITS) + (page << PAGE_BITS)), 4096);
        let targets = Targets::new([page(number, 3), page(twin, 200)].into_iter().collect());
        for (range, expected) in [
            (page(number, 3), true),
            (page(twin, 200), true),
            (page(twin, 3), false),
            (page(number, 200), false),
        ] {
            assert_eq!(targets.contains(range.start.0), expected, "{range:?}");
        }
    }

    /// What the filter has to do, word by word.
    fn expected(filter: &StackFilter, address: u64, bytes: &[u8]) -> (Vec<u8>, u64) {
        let (mut result, mut erased) = (bytes.to_vec(), 0);
        let area = filter.areas[0];
        let size = area.words.size as u64;
        let mut at = 0;
        while at < bytes.len() {
            let next = (address + at as u64 + 1).next_multiple_of(size) - address;
            let end = usize::try_from(next).unwrap_or(0).min(bytes.len());
            let part = &mut result[at..end];
            let is_kept = part.len() as u64 == size && {
                let word = area.words.decode(part);
                let in_stack = area.own.contains(VirtAddr(word));
                in_stack || filter.code.find(word) || area.own.is_empty() && filter.stacks.find(word)
            };
            if !is_kept {
                erased += u64::from(part.iter().any(|byte| *byte != 0));
                part.fill(0);
            }
            at = end;
        }
        (result, erased)
    }

    proptest! {
        #[test]
        fn keeps_pointers_into_code_and_the_own_stack(
            words in prop::collection::vec(
                prop_oneof![
                    Just(0_u64),
                    0_u64..0x1000,
                    0x5000_0000_u64..0x5000_4000,
                    0x6000_0000_u64..0x6000_4000,
                    0x7000_0000_u64..0x7000_4000,
                    any::<u64>(),
                ],
                0..40,
            ),
            cut in (0_usize..9, 0_usize..9),
            size in prop_oneof![Just(4_usize), Just(8)],
            endian in prop_oneof![Just(Endian::Little), Just(Endian::Big)],
            of_stack: bool,
        ) {
            let range = |start: u64| VirtRange::sized(VirtAddr(start), 0x2000);
            let (code, own, other) = (range(0x5000_0000), range(0x6000_0000), range(0x7000_0000));
            let word_layout = Words { size, endian, address_mask: u64::MAX };
            let filter = StackFilter {
                code: Targets::new(RangeSet::from_iter([code])),
                stacks: Targets::new([own, other].into_iter().collect()),
                areas: vec![Area { range: own, own: if of_stack { own } else { VirtRange::default() }, words: word_layout }],
            };
            let bytes: Vec<u8> = words
                .iter()
                .flat_map(|word| match (size, endian) {
                    (8, Endian::Little) => word.to_le_bytes().to_vec(),
                    (8, Endian::Big) => word.to_be_bytes().to_vec(),
                    (_, Endian::Little) => word.to_le_bytes()[..4].to_vec(),
                    (_, Endian::Big) => word.to_be_bytes()[4..].to_vec(),
                })
                .collect();
            let start = cut.0.min(bytes.len());
            let end = bytes.len().saturating_sub(cut.1).max(start);
            let address = own.start.saturating_add(start as u64);
            let mut filtered = bytes[start..end].to_vec();
            let erased = filter.apply(address, &mut filtered);
            prop_assert_eq!((filtered, erased), expected(&filter, address.0, &bytes[start..end]));
        }
    }
}
