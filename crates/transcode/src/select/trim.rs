//! Making a selection small enough (`--max-size`).

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::RangeSet;

use super::{MemoryClass, Selection};
use crate::shortfall::Shortfalls;

/// Where a range is cut in two, its parts are a multiple of this size from its start: neither a word nor, in a large
/// one, a page is cut.
const fn grain(size: u64) -> u64 {
    if size > 1 << 16 { 4096 } else { 16 }
}

/// Drops memory, the least valuable class first and of a class the largest ranges first, until at most `bytes` are
/// left. Of the last range that has to go, the beginning stays: of a stack, what its thread used last. The stack of the
/// crashed thread and the code around instruction pointers stay whole: the result tells whether that was enough.
pub fn trim_to(selection: &mut Selection, bytes: u64) -> bool {
    let mut order: Vec<usize> = (0..selection.classes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(selection.classes[*index].class));
    for index in order {
        let total = selection.union().bytes();
        if total <= bytes {
            return true;
        }
        if selection.classes[index].class <= MemoryClass::InstructionWindows {
            break;
        }
        let kept = std::mem::take(&mut selection.classes[index].ranges);
        // What other classes hold as well would not shrink the dump, so the excess is counted without it.
        let others = selection.union();
        let (kept, dropped) = without_largest(kept, others, total - bytes);
        let class = &mut selection.classes[index];
        class.ranges = kept;
        class.trimmed += dropped;
        let gone = class.ranges.as_slice().is_empty();
        if let Some(flag) = flag_of(class.class)
            && (gone || class.class == MemoryClass::Everything)
        {
            selection.achieved.remove(flag);
        }
    }
    selection.union().bytes() <= bytes
}

/// The flag that says of a dump that it has a class of memory.
const fn flag_of(class: MemoryClass) -> Option<MiniDumpType> {
    Some(match class {
        MemoryClass::ProcessThreadData => MiniDumpType::WITH_PROCESS_THREAD_DATA,
        MemoryClass::Indirect => MiniDumpType::WITH_INDIRECTLY_REFERENCED_MEMORY,
        MemoryClass::DataSegments => MiniDumpType::WITH_DATA_SEGS,
        MemoryClass::PrivateReadWrite => MiniDumpType::WITH_PRIVATE_READ_WRITE_MEMORY,
        MemoryClass::CodeSegments => MiniDumpType::WITH_CODE_SEGS,
        MemoryClass::Everything => MiniDumpType::WITH_FULL_MEMORY,
        _ => return None,
    })
}

/// Tells what was dropped.
pub fn tell_trimmed(selection: &Selection, shortfalls: &mut Shortfalls) {
    for class in selection.classes.iter().filter(|class| class.trimmed > 0) {
        let whole = class.ranges.clone().bytes() + class.trimmed;
        let message = format!(
            "{} of {whole} bytes of {} left out",
            class.trimmed,
            class.class.describe()
        );
        shortfalls.warn("--max-size", message);
    }
}

/// `set` without its largest ranges, so that at least `excess` bytes that `others` do not hold are gone; and how many
/// bytes of it are gone in all.
fn without_largest(set: RangeSet, mut others: RangeSet, excess: u64) -> (RangeSet, u64) {
    let mut ranges = set.into_vec();
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.size()), range.start));
    let (mut dropped, mut freed) = (0, 0);
    let mut kept = RangeSet::new();
    for range in ranges {
        let start = match excess.saturating_sub(freed) {
            0 => range.end,
            left => cut(range, &mut others, left),
        };
        let gone = VirtRange::new(start, range.end);
        kept.insert(VirtRange::new(range.start, start));
        dropped += gone.size();
        freed += gone.size() - held_by(&mut others, gone);
    }
    kept.settle();
    (kept, dropped)
}

/// Where a range is cut, so that at least `excess` bytes that `others` do not hold lie behind; its start where it does
/// not have that many.
fn cut(range: VirtRange, others: &mut RangeSet, excess: u64) -> VirtAddr {
    if range.size() - held_by(others, range) <= excess || held_by(others, range) > 0 {
        return range.start;
    }
    let kept = range.size() - excess;
    range.start.saturating_add(kept - kept % grain(range.size()))
}

fn held_by(others: &mut RangeSet, range: VirtRange) -> u64 {
    dotdump_snapshot::ranges::clipped(others.as_slice(), range)
        .map(|part| part.size())
        .sum()
}
