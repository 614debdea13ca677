//! Physical memory in which some bytes differ from the source.

use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr};

use crate::machine::Patch;
use crate::physical::{PagePlace, PageRun, PhysicalMemory};

/// Physical memory with [`Patch`]es over it. A page that has one is [`PagePlace::Read`]; a patch of pages that are absent
/// has no effect on them. Where patches overlap, the later one counts.
pub struct PatchedMemory<'a> {
    inner: &'a dyn PhysicalMemory,
    /// Patches within one page each, by page.
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    page: Pfn,
    /// Where in the page it starts.
    within: usize,
    bytes: &'a [u8],
}

impl<'a> PatchedMemory<'a> {
    /// `inner` with `patches` over it.
    #[must_use]
    pub fn new(inner: &'a dyn PhysicalMemory, patches: &'a [Patch]) -> Self {
        let mut parts = Vec::new();
        for patch in patches {
            let mut address = Some(patch.address);
            let mut rest = patch.bytes.as_slice();
            // Nothing is behind the last page of all.
            while let Some(at) = address.filter(|_| !rest.is_empty()) {
                let room = PAGE_SIZE - at.offset_in_page();
                let size = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
                let (bytes, behind) = rest.split_at(size);
                let within = usize::try_from(at.offset_in_page()).unwrap_or(0);
                parts.push(Part {
                    page: at.pfn(),
                    within,
                    bytes,
                });
                (address, rest) = (at.checked_add(room), behind);
            }
        }
        parts.sort_by_key(|part| part.page);
        Self { inner, parts }
    }

    /// The parts from the first one at or behind `page` on.
    fn parts_from(&self, page: Pfn) -> &[Part<'a>] {
        &self.parts[self.parts.partition_point(|part| part.page < page)..]
    }

    fn is_patched(&self, page: Pfn) -> bool {
        self.parts_from(page).first().is_some_and(|part| part.page == page)
    }
}

impl PhysicalMemory for PatchedMemory<'_> {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let Some(mut run) = self.inner.next_run(from)? else {
            return Ok(None);
        };
        let parts = self.parts_from(run.first);
        if parts.first().is_some_and(|part| part.page == run.first) {
            let mut end = run.first;
            for part in parts {
                match part.page.checked_offset_from(end) {
                    Some(0) => end = end.saturating_add(1),
                    Some(_) => break,
                    None => {}
                }
            }
            run.pages = run.pages.min(end.0 - run.first.0).max(1);
            run.place = PagePlace::Read;
        } else if let Some(part) = parts.first() {
            run.pages = run.pages.min(part.page.0 - run.first.0);
        }
        Ok(Some(run))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        let place = self.inner.place(page)?;
        Ok(place.map(|place| if self.is_patched(page) { PagePlace::Read } else { place }))
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let size = self.inner.read(address, buffer)?;
        let there = &mut buffer[..size];
        let end = address.saturating_add(size as u64);
        for part in self.parts_from(address.pfn()) {
            let page = part.page.address().filter(|page| *page < end);
            let Some(start) = page.and_then(|page| page.checked_add(part.within as u64)) else {
                break;
            };
            // How far into the buffer the part starts, or how far into the part the buffer does.
            let (into_buffer, into_part) = if start >= address {
                (start.0 - address.0, 0)
            } else {
                (0, address.0 - start.0)
            };
            let (Ok(into_buffer), Ok(into_part)) = (usize::try_from(into_buffer), usize::try_from(into_part)) else {
                break;
            };
            if let (Some(target), Some(bytes)) = (there.get_mut(into_buffer..), part.bytes.get(into_part..)) {
                let size = target.len().min(bytes.len());
                target[..size].copy_from_slice(&bytes[..size]);
            }
        }
        Ok(size)
    }

    fn pages_present(&self) -> u64 {
        self.inner.pages_present()
    }

    fn end(&self) -> Pfn {
        self.inner.end()
    }
}
