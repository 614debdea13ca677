//! The PFN database: an entry for every page of memory.

use std::collections::BTreeSet;

use dotdump_format::{PAGE_SIZE, Pfn};

use crate::build::Build;
use crate::error::BuildError;
use crate::world::DATA;

impl Build<'_> {
    /// Maps the entries of all runs of memory, with large pages where there are many. Entries between runs have no
    /// memory unless they share a page with others.
    pub(crate) fn map_pfn_database(&mut self) -> Result<(), BuildError> {
        let places = self.world.places;
        let size = self.profile.page.size;
        let base = places.pfn_database;
        let runs = self.world.ram.map().runs().to_vec();
        let large = self.world.shape.page_size(2);
        let mut mapped_large = BTreeSet::new();
        for (first, pages) in &runs {
            let (start, end) = (base + first.0 * size, base + (first.0 + pages) * size);
            if end > base + places.pfn_database_size {
                return Err(BuildError::TooLarge("the PFN database"));
            }
            if end - start < 2 * large {
                continue;
            }
            for page in start / large..end.div_ceil(large) {
                if mapped_large.contains(&page) {
                    continue;
                }
                let Some(physical) = self.world.allocator.contiguous(large / PAGE_SIZE, large) else {
                    break;
                };
                self.world.map_kernel(page * large, physical, 2, DATA)?;
                mapped_large.insert(page);
            }
        }
        let mut mapped = BTreeSet::new();
        for (first, pages) in &runs {
            let (start, end) = (base + first.0 * size, base + (first.0 + pages) * size);
            for page in start / PAGE_SIZE..end.div_ceil(PAGE_SIZE) {
                if !mapped_large.contains(&(page * PAGE_SIZE / large)) && mapped.insert(page) {
                    self.world.map_new(page * PAGE_SIZE, 1, DATA)?;
                }
            }
        }
        self.world.pointer(self.kernel.symbol("MmPfnDatabase"), base)
    }

    /// Writes the entries of all pages that are not zeroed. Nothing may be mapped after it.
    pub(crate) fn fill_pfn_database(&mut self) -> Result<(), BuildError> {
        let fields = self.profile.page;
        let pointer = if self.world.shape.is_32() { 4 } else { 8 };
        let frames = std::mem::take(&mut self.world.frames);
        let mut entry = vec![0; usize::try_from(fields.size).unwrap_or(0x30)];
        for (page, frame) in &frames {
            let mut put = |offset: u64, value: u64, size: usize| {
                let start = usize::try_from(offset).unwrap_or(0);
                entry[start..start + size].copy_from_slice(&value.to_le_bytes()[..size]);
            };
            let active = frame.reference_count != 0;
            let word = u64::from(frame.reference_count)
                | (frame.state as u64) << 16
                | u64::from(frame.modified) << 20
                | 1 << 22 // cached
                | 5 << 24; // priority
            put(fields.pte_address, frame.pte_address.0, pointer);
            put(fields.share_count, u64::from(active), pointer);
            put(fields.reference_count, word, 4);
            put(fields.original_pte, frame.original_pte, fields.original_pte_size);
            let holder = frame.pte_frame.0 | u64::from(frame.prototype) << fields.prototype_bit;
            put(fields.pte_frame, holder, fields.pte_frame_size);
            self.world
                .write(self.world.places.pfn_database + page.0 * fields.size, &entry)?;
        }
        self.world.frames = frames;
        Ok(())
    }

    /// `MmPhysicalMemoryBlock` and the counts of pages.
    pub(crate) fn physical_memory_block(&mut self) -> Result<(), BuildError> {
        let map = self.world.ram.map().clone();
        let pointer = self.world.pointer_size();
        let count = map.runs().len() as u64;
        let block = self.world.allocate(2 * pointer * (count + 1))?;
        self.world.u32(
            block,
            u32::try_from(count).map_err(|_| BuildError::TooLarge("the list of runs"))?,
        )?;
        self.world.pointer(block + pointer, map.pages())?;
        for (index, (first, pages)) in (1..).zip(map.runs()) {
            self.world.pointer(block + 2 * pointer * index, first.0)?;
            self.world.pointer(block + 2 * pointer * index + pointer, *pages)?;
        }
        let lowest = map.runs().first().map_or(Pfn(0), |(first, _)| *first);
        let highest_user = self.world.places.highest_user;
        for (name, value) in [
            ("MmPhysicalMemoryBlock", block),
            ("MmLowestPhysicalPage", lowest.0),
            ("MmHighestPhysicalPage", map.end().0 - 1),
            ("MmNumberOfPhysicalPages", map.pages()),
            ("MmHighestUserAddress", highest_user),
            ("MmUserProbeAddress", highest_user & !0xFFFF),
            ("MmSystemRangeStart", self.world.places.system_start),
        ] {
            self.world.pointer(self.kernel.symbol(name), value)?;
        }
        Ok(())
    }
}
