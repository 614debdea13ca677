//! Making a selection small enough (`--max-size`).

use dotdump_snapshot::RangeSet;

use super::{MemoryClass, Selection};
use crate::shortfall::Shortfalls;

/// Drops memory, the least valuable class first and of a class the largest ranges first, until at most `bytes` are
/// left; tells what was dropped. The stack of the crashed thread and the code around instruction pointers stay: the
/// result tells whether that was enough.
pub fn trim_to(selection: &mut Selection, bytes: u64, shortfalls: &mut Shortfalls) -> bool {
    let mut order: Vec<usize> = (0..selection.classes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(selection.classes[*index].class));
    for index in order {
        let total = selection.union().bytes();
        if total <= bytes {
            return true;
        }
        let class = selection.classes[index].class;
        if class <= MemoryClass::InstructionWindows {
            break;
        }
        let excess = total - bytes;
        let kept = std::mem::take(&mut selection.classes[index].ranges);
        let before = kept.clone().bytes();
        // What other classes hold as well would not shrink the dump, so the excess is counted without it.
        let others = selection.union();
        let (kept, dropped) = without_largest(kept, others, excess);
        selection.classes[index].ranges = kept;
        if dropped > 0 {
            let name = serde_json::to_value(class)
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned));
            let name = name.unwrap_or_default();
            shortfalls.warn(
                "--max-size",
                format!("{dropped} of {before} bytes of {name} memory left out"),
            );
        }
    }
    selection.union().bytes() <= bytes
}

/// `set` without its largest ranges, so that at least `excess` bytes that `others` do not hold are gone.
fn without_largest(set: RangeSet, mut others: RangeSet, excess: u64) -> (RangeSet, u64) {
    let mut ranges = set.into_vec();
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.size()), range.start));
    let (mut dropped, mut freed) = (0, 0);
    let mut first_kept = 0;
    for range in &ranges {
        if freed >= excess {
            break;
        }
        first_kept += 1;
        dropped += range.size();
        let shared: u64 = dotdump_snapshot::ranges::clipped(others.as_slice(), *range)
            .map(|part| part.size())
            .sum();
        freed += range.size() - shared;
    }
    (ranges[first_kept..].iter().copied().collect(), dropped)
}
