//! What a capture's target and its tests know in common: how to compute what the target's memory holds.

use crate::damage::Random;

/// Every eighth unit of the heap is never touched. It is the size of a large page, of which none may lie in both.
pub const UNIT: usize = 2 << 20;
/// The size in bytes of an object to which only a stack leads.
pub const OBJECT: usize = 4096;
/// Where the target writes to crash.
pub const CRASH_ADDRESS: usize = 0xDEAD_0000;
/// What the clock's counter holds before anything was measured, in nanoseconds.
pub const CLOCK: u64 = 1;

/// The numbers that stand at a place, as in `("stack", 3)`.
#[must_use]
pub fn seed(place: &str, index: usize) -> Random {
    let start = place
        .bytes()
        .fold(0xCAF7_0000_u64, |sum, byte| sum.rotate_left(7) ^ u64::from(byte));
    Random(start ^ ((index as u64) << 32))
}

/// The words of a unit of the heap; `None` where it is never touched.
#[must_use]
pub fn heap_unit(unit: usize) -> Option<Random> {
    (unit % 8 != 7).then(|| seed("heap", unit))
}

/// Writes the heap's pattern, and where it is to be solid also something into the units that have none.
pub fn fill_heap(heap: &mut [u8], solid: bool) {
    for (unit, bytes) in heap.chunks_mut(UNIT).enumerate() {
        let filler = solid.then(|| seed("solid", unit));
        if let Some(mut random) = heap_unit(unit).or(filler) {
            for word in bytes.chunks_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
            }
        }
    }
}

/// The name of a thread; the longest have the 15 bytes that Linux keeps.
#[must_use]
pub fn thread_name(kind: &str, index: usize) -> String {
    format!("{kind}-{index:015}")
        .chars()
        .take(15 - 3)
        .chain(format!("{index:03}").chars())
        .collect()
}

/// A text that must not be in a dump from which such things are to be left out.
#[must_use]
pub fn secret(index: usize) -> [u8; 64] {
    let text = format!("the secret of thread {index:03}, which is nobody's business at all........");
    std::array::from_fn(|at| text.as_bytes()[at])
}
