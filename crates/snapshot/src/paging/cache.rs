//! The tables that a walk went through last.

use dotdump_format::{Error, Pfn};

use super::PagingMode;
use crate::physical::PhysicalMemory;

/// How many tables of each level are kept, the lowest first. Each level has places of its own, so that the tables on
/// the way to an address never push one another out. Powers of two; 4.7 MiB in all.
const PLACES: [u64; 5] = [1024, 128, 32, 8, 2];

/// Tables by page and level: each has one place, and the last one that came is in it.
#[derive(Default)]
pub(super) struct Cache {
    levels: [Vec<Slot>; 5],
}

#[derive(Default)]
struct Slot {
    /// Whose entries these are.
    page: Option<Pfn>,
    /// None where the source lacks the page.
    entries: Vec<u64>,
}

impl Cache {
    /// The entries of the table at `page`; `None` where the source lacks it.
    pub(super) fn table(
        &mut self,
        physical: &dyn PhysicalMemory,
        mode: PagingMode,
        page: Pfn,
        level: u8,
    ) -> Result<Option<&[u64]>, Error> {
        let level = usize::from(level - 1);
        let places = &mut self.levels[level];
        if places.is_empty() {
            places.resize_with(usize::try_from(PLACES[level]).unwrap_or(1), Slot::default);
        }
        let place = usize::try_from(page.0 & (PLACES[level] - 1)).unwrap_or(0);
        let slot = &mut places[place];
        if slot.page != Some(page) {
            slot.page = None;
            read_table(physical, mode, page, &mut slot.entries)?;
            slot.page = Some(page);
        }
        Ok((!slot.entries.is_empty()).then_some(&slot.entries))
    }
}

/// Reads the page as entries into `entries`, which stays empty where the source lacks it.
pub(super) fn read_table(
    physical: &dyn PhysicalMemory,
    mode: PagingMode,
    page: Pfn,
    entries: &mut Vec<u64>,
) -> Result<(), Error> {
    /// The size of a table, whatever its entries are.
    const SIZE: usize = 0x1000;

    let mut bytes = [0; SIZE];
    entries.clear();
    let Some(address) = page.address() else { return Ok(()) };
    if physical.read(address, &mut bytes)? < bytes.len() {
        return Ok(());
    }
    let (words, _) = bytes.as_chunks::<8>();
    if mode.entry_size() == 8 {
        entries.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
    } else {
        let (words, _) = bytes.as_chunks::<4>();
        entries.extend(words.iter().map(|word| u64::from(u32::from_le_bytes(*word))));
    }
    Ok(())
}
