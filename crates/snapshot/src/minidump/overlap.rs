//! Putting ranges in order that lie over each other.

use dotdump_format::{VirtAddr, VirtRange};

use crate::memory::Extent;

/// Sorts extents by address; where two hold the same address, the one that came first keeps it.
pub(crate) fn without_overlaps(extents: Vec<Extent>) -> Vec<Extent> {
    let mut order: Vec<(usize, Extent)> = extents.into_iter().enumerate().collect();
    order.sort_by_key(|(position, extent)| (extent.range.start, *position));
    if order
        .windows(2)
        .all(|pair| pair[0].1.range.end <= pair[1].1.range.start)
    {
        return order.into_iter().map(|(_, extent)| extent).collect();
    }
    // A sweep over all borders. `active` holds the extents over the current address, the earliest in the file first;
    // each extent enters and leaves once.
    let mut result: Vec<Extent> = Vec::with_capacity(order.len());
    let mut active = std::collections::BTreeMap::<usize, Extent>::new();
    let mut next = 0;
    let mut at = VirtAddr(0);
    while next < order.len() || !active.is_empty() {
        while let Some((first, extent)) = active.first_key_value() {
            if extent.range.end > at {
                break;
            }
            let first = *first;
            active.remove(&first);
        }
        if active.is_empty() {
            let Some((_, extent)) = order.get(next) else { break };
            at = at.max(extent.range.start);
        }
        while let Some((position, extent)) = order.get(next)
            && extent.range.start <= at
        {
            active.insert(*position, *extent);
            next += 1;
        }
        let Some((_, extent)) = active.first_key_value() else {
            continue;
        };
        if extent.range.end <= at {
            continue;
        }
        // Whatever begins meanwhile may come before the winner in the file; parts of one winner are joined again.
        let until = order
            .get(next)
            .map_or(extent.range.end, |(_, other)| other.range.start.min(extent.range.end));
        if let Some(part) = extent.clip(VirtRange::new(at, until)) {
            push_joined(&mut result, part);
        }
        at = until;
    }
    result
}

/// Adds an extent, joined to the last one where both lie side by side in memory and in the file.
fn push_joined(extents: &mut Vec<Extent>, next: Extent) {
    if let Some(last) = extents.last_mut()
        && last.range.end == next.range.start
        && last.offset.map(|offset| offset.saturating_add(last.range.size())) == next.offset
    {
        last.range.end = next.range.end;
        return;
    }
    extents.push(next);
}
