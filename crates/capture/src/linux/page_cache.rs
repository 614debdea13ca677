//! Pages of which a part was read, so that records that lie together cost one call of the system.

use dotdump_format::{Error, VirtAddr, VirtRange};

/// The size of what is kept together; the pages of the system are no smaller.
pub(super) const PAGE: usize = 4 << 10;

/// How many are kept.
const SLOTS: u64 = 32;

/// Pages, each in the slot that its number tells.
#[derive(Default)]
pub(super) struct PageCache {
    slots: Vec<Slot>,
}

struct Slot {
    start: VirtAddr,
    bytes: Vec<u8>,
}

impl PageCache {
    /// Copies memory at `address`, which lies within `page`, and tells how many bytes were there. `fetch` reads from the
    /// start of the page on.
    pub(super) fn read(
        &mut self,
        address: VirtAddr,
        page: VirtRange,
        buffer: &mut [u8],
        fetch: &mut dyn FnMut(&mut [u8]) -> Result<usize, Error>,
    ) -> Result<usize, Error> {
        if self.slots.is_empty() {
            let empty = || Slot {
                start: VirtAddr(u64::MAX),
                bytes: Vec::new(),
            };
            self.slots.resize_with(usize::try_from(SLOTS).unwrap_or(1), empty);
        }
        let index = usize::try_from(page.start.0 / PAGE as u64 % SLOTS).unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.start != page.start {
            slot.start = VirtAddr(u64::MAX);
            slot.bytes.resize(PAGE, 0);
            let size = usize::try_from(page.size()).unwrap_or(PAGE).min(PAGE);
            let read = fetch(&mut slot.bytes[..size])?;
            slot.bytes.truncate(read);
            slot.start = page.start;
        }
        let skipped = usize::try_from(address.0 - page.start.0).unwrap_or(PAGE);
        let there = slot.bytes.get(skipped..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }
}
