//! Gathering blocks of memory that do not lie over each other.

use std::collections::BTreeMap;

use dotdump_format::kernel::triage::Block;
use dotdump_format::layout::Piece;
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::Memory;

use super::reason::{ALL_RANKS, Rank, Reason, ReasonCount};

/// How many bytes are gathered by following pointers. Windows shows no limit; real dumps have up to 503,000.
pub(super) const MOST_FOLLOWED: u64 = 512 << 10;

/// What is gathered where a dump must become smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Memory of a higher rank is left out.
    pub(super) keep: Rank,
    /// How much room memory of just this rank may take in the file, in bytes.
    pub(super) room_of_last: u64,
}

impl Limits {
    /// Everything.
    pub(super) const NONE: Self = Self {
        keep: ALL_RANKS,
        room_of_last: u64::MAX,
    };
}

/// The room that a block takes in the file in bytes: its entry in the table, and its bytes rounded up to 8.
fn room(size: u64) -> u64 {
    size.saturating_add(7) / 8 * 8 + 16
}

/// Blocks in the order in which they were added, each cut around those that came before it.
pub(super) struct Blocks<'a> {
    memory: &'a dyn Memory,
    limits: Limits,
    taken: Taken,
    blocks: Vec<(Reason, Block)>,
    room_of_last: u64,
    followed: u64,
    /// Whether something was left out because too much was gathered by following pointers.
    pub(super) is_cut: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(memory: &'a dyn Memory, limits: Limits) -> Self {
        Self {
            memory,
            limits,
            taken: Taken::default(),
            blocks: Vec::new(),
            room_of_last: 0,
            followed: 0,
            is_cut: false,
        }
    }

    /// Adds what the source has of `range`.
    pub(super) fn add(&mut self, reason: Reason, range: VirtRange) -> Result<(), Error> {
        if reason.rank() > self.limits.keep || range.is_empty() {
            return Ok(());
        }
        let mut there: Option<VirtRange> = None;
        for extent in self.memory.extents(range) {
            let extent = extent?.range;
            match &mut there {
                Some(run) if run.end == extent.start => run.end = extent.end,
                _ => {
                    if let Some(run) = there.replace(extent) {
                        self.add_present(reason, run);
                    }
                }
            }
        }
        if let Some(run) = there {
            self.add_present(reason, run);
        }
        Ok(())
    }

    /// Adds `range`, all of which the source has.
    pub(super) fn add_present(&mut self, reason: Reason, range: VirtRange) {
        self.add_parts(reason, range, |part| Piece::Read {
            address: part.start,
            size: part.size(),
        });
    }

    /// Adds these bytes, whatever the source has there.
    pub(super) fn add_bytes(&mut self, reason: Reason, address: VirtAddr, bytes: &[u8]) {
        let range = VirtRange::sized(address, bytes.len() as u64);
        self.add_parts(reason, range, |part| {
            // Parts lie within the range.
            let within = |at: VirtAddr| usize::try_from(at.0 - address.0).unwrap_or(bytes.len());
            Piece::Bytes(bytes[within(part.start)..within(part.end)].to_vec())
        });
    }

    fn add_parts(&mut self, reason: Reason, range: VirtRange, piece: impl Fn(VirtRange) -> Piece) {
        if reason.rank() > self.limits.keep {
            return;
        }
        for part in self.taken.gaps(range) {
            if reason.rank() == self.limits.keep && reason.rank() > 0 {
                if self.room_of_last + room(part.size()) > self.limits.room_of_last {
                    continue;
                }
                self.room_of_last += room(part.size());
            }
            if reason.is_followed() {
                if self.followed + part.size() > MOST_FOLLOWED {
                    self.is_cut = true;
                    continue;
                }
                self.followed += part.size();
            }
            self.taken.take(part);
            let block = Block {
                address: part.start,
                data: piece(part),
            };
            self.blocks.push((reason, block));
        }
    }

    /// How much there is for each reason.
    pub(super) fn counts(&self) -> Vec<ReasonCount> {
        let mut counts = BTreeMap::<Reason, (u64, u64)>::new();
        for (reason, block) in &self.blocks {
            let (blocks, bytes) = counts.entry(*reason).or_default();
            *blocks += 1;
            *bytes += block.data.size();
        }
        let counts = counts.into_iter();
        counts
            .map(|(reason, (blocks, bytes))| ReasonCount { reason, blocks, bytes })
            .collect()
    }

    /// The blocks, with the reason of each.
    pub(super) fn into_blocks(self) -> Vec<(Reason, Block)> {
        self.blocks
    }
}

/// Addresses that are taken: ranges apart, by their start.
#[derive(Debug, Default)]
struct Taken(BTreeMap<u64, u64>);

impl Taken {
    /// The parts of `range` that are free.
    fn gaps(&self, range: VirtRange) -> Vec<VirtRange> {
        let mut gaps = Vec::new();
        let mut free = range.start.0;
        let before = self.0.range(..=free).next_back();
        let within = self
            .0
            .range(free.saturating_add(1)..range.end.0.max(free.saturating_add(1)));
        for (start, end) in before.into_iter().chain(within) {
            if *start > free {
                gaps.push(VirtRange::new(VirtAddr(free), VirtAddr(*start)));
            }
            free = free.max(*end);
        }
        if free < range.end.0 {
            gaps.push(VirtRange::new(VirtAddr(free), range.end));
        }
        gaps
    }

    /// Takes a free range.
    fn take(&mut self, range: VirtRange) {
        if let Some((_, end)) = self.0.range_mut(..range.start.0).next_back()
            && *end == range.start.0
        {
            *end = range.end.0;
            return;
        }
        self.0.insert(range.start.0, range.end.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Gaps are the addresses that are not taken, whatever was taken before.
        #[test]
        fn gaps_are_what_is_free(ranges in prop::collection::vec((0_u64..200, 0_u64..40), 1..40)) {
            let mut taken = Taken::default();
            let mut numbers = std::collections::BTreeSet::new();
            for (start, size) in ranges {
                let range = VirtRange::sized(VirtAddr(start), size);
                let gaps = taken.gaps(range);
                let free: Vec<u64> = (start..start + size).filter(|number| !numbers.contains(number)).collect();
                let found: Vec<u64> = gaps.iter().flat_map(|gap| gap.start.0..gap.end.0).collect();
                prop_assert_eq!(found, free);
                for gap in gaps {
                    numbers.extend(gap.start.0..gap.end.0);
                    taken.take(gap);
                }
            }
        }
    }
}
