//! The privacy filter `r`: of a stack, only what a stack walk needs stays.
//!
//! A word of a stack is kept where it points into code (a loaded or unloaded module, or code made at run time) or into
//! the stack itself; every other word becomes zero. What else the dump holds of the same addresses is filtered alike,
//! so that no copy of a stack stays behind. Sizes do not change, and registers are kept.

use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use crate::select::ThreadStack;
use crate::words::Words;

/// Addresses are sorted into this many buckets by their bits above [`GRANULE_BITS`].
const BUCKETS: usize = 1 << 16;

/// The size of a granule: 1 MiB. Modules lie together, so few buckets are in use and most words that are no pointers
/// fall into none.
const GRANULE_BITS: u32 = 20;

/// Where pointers may lead, made for asking about very many words.
#[derive(Clone, Debug)]
pub struct Targets {
    ranges: Vec<VirtRange>,
    /// A bit for each bucket that a range touches. Where it is not set, no range has the word.
    buckets: Box<[u64; BUCKETS / 64]>,
}

impl Targets {
    /// The addresses of `ranges`.
    #[must_use]
    pub fn new(ranges: RangeSet) -> Self {
        let ranges = ranges.into_vec();
        let mut buckets = Box::new([0; BUCKETS / 64]);
        for range in &ranges {
            let (first, last) = (range.start.0 >> GRANULE_BITS, (range.end.0 - 1) >> GRANULE_BITS);
            // A range over more granules than there are buckets touches them all.
            for granule in first..=last.min(first + BUCKETS as u64) {
                let bucket = bucket_of(granule);
                buckets[bucket / 64] |= 1 << (bucket % 64);
            }
        }
        Self { ranges, buckets }
    }

    /// Whether `word` is one of the addresses.
    #[must_use]
    #[inline]
    pub fn contains(&self, word: u64) -> bool {
        let bucket = bucket_of(word >> GRANULE_BITS);
        self.buckets[bucket / 64] >> (bucket % 64) & 1 != 0 && self.find(word)
    }

    fn find(&self, word: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start.0 <= word);
        after > 0 && word < self.ranges[after - 1].end.0
    }
}

/// The bucket of a granule. The multiplier spreads granules that differ in their upper bits only.
#[inline]
fn bucket_of(granule: u64) -> usize {
    // The result has 16 bits.
    usize::try_from(granule.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48).unwrap_or(0)
}

/// A range of addresses in which words are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The addresses.
    pub range: VirtRange,
    /// The stack to which they belong: pointers into it stay. Empty where they are no stack's.
    pub own: VirtRange,
}

/// The filter for one dump.
#[derive(Clone, Debug)]
pub struct StackFilter {
    words: Words,
    code: Targets,
    /// All stacks: memory that is no stack itself keeps its pointers into any of them.
    stacks: Targets,
    /// Sorted, without overlaps.
    areas: Vec<Area>,
}

impl StackFilter {
    /// The filter for a snapshot's stacks, and for `others`: further memory that was only taken because stacks point
    /// to it.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn new(snapshot: &dyn ProcessSnapshot, stacks: &[ThreadStack], others: RangeSet) -> Result<Self, Error> {
        let mut code: RangeSet = snapshot
            .modules()
            .iter()
            .map(dotdump_snapshot::ModuleSnapshot::range)
            .collect();
        for range in snapshot.other_code()? {
            code.insert(range);
        }
        let own = || stacks.iter().filter_map(|stack| stack.own);
        let mut areas: Vec<Area> = own().map(|range| Area { range, own: range }).collect();
        areas.sort_by_key(|area| area.range);
        // Two threads cannot share a stack; where a damaged dump says so, each address belongs to the first.
        let mut end = VirtAddr(0);
        areas.retain_mut(|area| {
            area.range = VirtRange::new(area.range.start.max(end), area.range.end);
            end = end.max(area.range.end);
            !area.range.is_empty()
        });
        let stack_ranges: Vec<VirtRange> = areas.iter().map(|area| area.range).collect();
        for range in others.into_vec() {
            let mut at = range.start;
            for stack in dotdump_snapshot::ranges::clipped(&stack_ranges, range) {
                areas.push(Area {
                    range: VirtRange::new(at, stack.start),
                    own: VirtRange::default(),
                });
                at = stack.end;
            }
            areas.push(Area {
                range: VirtRange::new(at, range.end),
                own: VirtRange::default(),
            });
        }
        areas.retain(|area| !area.range.is_empty());
        areas.sort_by_key(|area| area.range);
        Ok(Self {
            words: Words::of(snapshot),
            code: Targets::new(code),
            stacks: Targets::new(own().collect()),
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
        let size = self.words.size;
        let misaligned = usize::try_from(address.0.wrapping_neg() % size as u64)
            .unwrap_or(0)
            .min(bytes.len());
        let (head, rest) = bytes.split_at_mut(misaligned);
        let aligned = rest.len() - rest.len() % size;
        let (words, tail) = rest.split_at_mut(aligned);
        let mut erased = u64::from(erase(head)) + u64::from(erase(tail));
        let own = area.own;
        let (start, length) = (own.start.0, own.size());
        let mask = self.words.address_mask;
        let elsewhere = own.is_empty();
        for bytes in words.chunks_exact_mut(size) {
            let word = self.words.decode(bytes);
            if word == 0 {
                continue;
            }
            let target = word & mask;
            let kept = target.wrapping_sub(start) < length
                || self.code.contains(target)
                || elsewhere && self.stacks.contains(target);
            if !kept {
                bytes.fill(0);
                erased += 1;
            }
        }
        erased
    }
}

/// Zeros a part of a word; tells whether that changed it.
fn erase(part: &mut [u8]) -> bool {
    let changed = part.iter().any(|byte| *byte != 0);
    part.fill(0);
    changed
}
