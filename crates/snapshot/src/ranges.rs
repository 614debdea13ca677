//! Sets of addresses.

use dotdump_format::{VirtAddr, VirtRange};

/// A set of addresses as sorted ranges that neither touch nor overlap.
///
/// Additions are gathered and merged in batches, so that a million of them in any order cost one sort now and then.
#[derive(Clone, Debug, Default)]
pub struct RangeSet {
    ranges: Vec<VirtRange>,
    pending: Vec<VirtRange>,
}

/// How many additions wait before they are merged in.
const BATCH: usize = 1 << 16;

impl RangeSet {
    /// An empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ranges: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Adds the addresses of `range`.
    pub fn insert(&mut self, range: VirtRange) {
        if range.is_empty() {
            return;
        }
        // Most additions come in order; those take no room but their own.
        if self.pending.is_empty() {
            match self.ranges.last_mut() {
                Some(last) if range.start < last.start => {}
                Some(last) if range.start <= last.end => {
                    last.end = last.end.max(range.end);
                    return;
                }
                _ => {
                    self.ranges.push(range);
                    return;
                }
            }
        }
        if let Some(last) = self.pending.last_mut()
            && last.start <= range.start
            && range.start <= last.end
        {
            last.end = last.end.max(range.end);
            return;
        }
        self.pending.push(range);
        if self.pending.len() >= BATCH.max(self.ranges.len()) {
            self.settle();
        }
    }

    /// Adds all addresses of `other`.
    pub fn extend(&mut self, other: &Self) {
        for range in other.ranges.iter().chain(&other.pending) {
            self.insert(*range);
        }
    }

    /// How many ranges it has at most; fewer where some of them will be merged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len() + self.pending.len()
    }

    /// Whether no address is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Merges what waits, so that [`RangeSet::as_slice`] shows all.
    pub fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.ranges.append(&mut self.pending);
        self.ranges.sort_unstable();
        let mut kept = 0;
        for index in 1..self.ranges.len() {
            let next = self.ranges[index];
            if next.start <= self.ranges[kept].end {
                self.ranges[kept].end = self.ranges[kept].end.max(next.end);
            } else {
                kept += 1;
                self.ranges[kept] = next;
            }
        }
        self.ranges.truncate(kept + 1);
    }

    /// The ranges in order.
    pub fn as_slice(&mut self) -> &[VirtRange] {
        self.settle();
        &self.ranges
    }

    /// The ranges in order; `None` where some wait to be merged in.
    #[must_use]
    pub fn settled(&self) -> Option<&[VirtRange]> {
        self.pending.is_empty().then_some(&self.ranges)
    }

    /// The ranges in order.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<VirtRange> {
        self.settle();
        self.ranges
    }

    /// How many addresses are in it.
    pub fn bytes(&mut self) -> u64 {
        self.as_slice().iter().map(|range| range.size()).sum()
    }

    /// Whether all addresses of `range` are in it.
    pub fn covers(&mut self, range: VirtRange) -> bool {
        covers(self.as_slice(), range)
    }

    /// Whether `address` is in it.
    pub fn contains(&mut self, address: VirtAddr) -> bool {
        self.covers(VirtRange::sized(address, 1))
    }
}

impl FromIterator<VirtRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = VirtRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set.settle();
        set
    }
}

/// Whether one of `ranges` (sorted, apart) has all addresses of `range`.
#[must_use]
pub fn covers(ranges: &[VirtRange], range: VirtRange) -> bool {
    let after = ranges.partition_point(|candidate| candidate.start <= range.start);
    range.is_empty() || after > 0 && ranges[after - 1].end >= range.end
}

/// The parts of `ranges` (sorted, apart) that lie in `within`.
pub fn clipped(ranges: &[VirtRange], within: VirtRange) -> impl Iterator<Item = VirtRange> + '_ {
    let first = ranges.partition_point(|range| range.end <= within.start);
    ranges[first..]
        .iter()
        .map_while(move |range| range.intersection(within))
}

/// The parts of `range` that lie outside of `ranges` (sorted, apart), in ascending order.
pub fn subtracted(range: VirtRange, ranges: &[VirtRange]) -> impl Iterator<Item = VirtRange> + '_ {
    let mut at = range.start;
    let end = VirtRange::new(range.end, range.end);
    clipped(ranges, range).chain([end]).filter_map(move |hole| {
        let part = VirtRange::new(at, hole.start);
        at = hole.end;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// The set holds the same addresses as a set of single numbers, in minimal sorted ranges.
        #[test]
        fn same_addresses_as_a_set_of_numbers(input in prop::collection::vec((0_u64..300, 0_u64..20), 0..60)) {
            let mut numbers = BTreeSet::new();
            let mut set = RangeSet::new();
            for (start, size) in input {
                numbers.extend(start..start + size);
                set.insert(VirtRange::sized(VirtAddr(start), size));
            }
            let found: Vec<u64> = set.as_slice().iter().flat_map(|range| range.start.0..range.end.0).collect();
            prop_assert_eq!(found, numbers.iter().copied().collect::<Vec<_>>());
            prop_assert!(set.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start), "ranges touch");
            prop_assert_eq!(set.bytes(), numbers.len() as u64);
            for probe in 0..320 {
                prop_assert_eq!(set.contains(VirtAddr(probe)), numbers.contains(&probe));
            }
        }
    }
}
