//! Memory that stacks point to (`-mi`).
//!
//! Measured on dumps of WinDbg and dbghelp, bit for bit: every aligned word of the stored stacks that is no address in a
//! module adds what can be read of the 256 bytes before the address and the 768 bytes from it on, in whatever regions
//! they lie, and even where the address itself cannot be read. The registers are not looked at, and what is found is
//! not searched in turn.

use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use crate::words::Words;

/// Bytes kept before a pointer's target.
const BEFORE: u64 = 0x100;

/// Bytes kept from a pointer's target on.
const AFTER: u64 = 0x300;

/// Pointers that are gathered before they are looked up together.
const BATCH: usize = 1 << 20;

/// The addresses that the words of `stacks` lead to.
pub(crate) fn indirect(snapshot: &dyn ProcessSnapshot, words: &Words, stacks: &[VirtRange]) -> Result<RangeSet, Error> {
    let modules: Vec<VirtRange> = snapshot
        .modules()
        .iter()
        .map(dotdump_snapshot::ModuleSnapshot::range)
        .collect::<RangeSet>()
        .into_vec();
    let in_module = |address: VirtAddr| {
        let after = modules.partition_point(|module| module.start <= address);
        after > 0 && modules[after - 1].contains(address)
    };
    let mut found = RangeSet::new();
    let mut pointers = Vec::new();
    let mut failed = None;
    for stack in stacks {
        words.for_each(snapshot.memory(), *stack, |_, word| {
            let address = VirtAddr(word & words.address_mask);
            if address.0 == 0 || in_module(address) {
                return;
            }
            pointers.push(address);
            if pointers.len() >= BATCH && failed.is_none() {
                failed = look_up(snapshot, &mut pointers, &mut found).err();
            }
        })?;
    }
    look_up(snapshot, &mut pointers, &mut found)?;
    match failed {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Adds what `pointers` lead to, and empties them.
fn look_up(snapshot: &dyn ProcessSnapshot, pointers: &mut Vec<VirtAddr>, found: &mut RangeSet) -> Result<(), Error> {
    pointers.sort_unstable();
    pointers.dedup();
    let mut left = pointers.as_slice();
    // Adds the parts of all windows that lie in `area`; areas come in ascending order.
    let mut take = |area: VirtRange| {
        let begin = left.partition_point(|pointer| pointer.saturating_add(AFTER) <= area.start);
        left = &left[begin..];
        let end = left.partition_point(|pointer| pointer.saturating_sub(BEFORE) < area.end);
        for pointer in &left[..end] {
            let window = VirtRange::new(pointer.saturating_sub(BEFORE), pointer.saturating_add(AFTER));
            found.insert(window.intersection(area).unwrap_or_default());
        }
        !left.is_empty()
    };
    if snapshot.has_regions() {
        for region in snapshot.regions() {
            let region = region?;
            if region.is_readable() && !take(region.range) {
                break;
            }
        }
    } else {
        // Without a map of the address space, what was captured is all that is known to be readable.
        for extent in snapshot.memory().all() {
            if !take(extent?.range) {
                break;
            }
        }
    }
    pointers.clear();
    Ok(())
}
