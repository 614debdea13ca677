//! Hands out pages of physical memory.

use crate::error::BuildError;
use crate::ram::MemoryMap;
use dotdump_format::PAGE_SIZE;

/// Where Volatility looks for the kernel's root of page tables.
const FIRST_TABLE: u64 = 0x1A_D000;
/// The page that processors start from; nobody else gets it.
pub(crate) const LOW_STUB: u64 = 0x1_3000;
/// Page tables lie below, everything else above, as far as the run reaches.
const ORDINARY: u64 = 0x100_0000;

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// A page table: low memory.
    Table,
    /// The kernel's memory: the largest run below 4 GiB, or of all.
    Kernel,
    /// User memory: spread over all runs.
    User,
}

/// A part of memory that is handed out in order: the next page's address and the end.
#[derive(Clone, Copy, Debug)]
struct Area {
    next: u64,
    end: u64,
}

impl Area {
    fn take(&mut self, pages: u64, align: u64) -> Option<u64> {
        let start = self.next.next_multiple_of(align);
        let end = start.checked_add(pages * PAGE_SIZE)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        Some(start)
    }
}

/// See [`Zone`].
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    tables: Area,
    /// The run for the kernel first.
    areas: Vec<Area>,
    turn: usize,
}

impl Allocator {
    /// Hands out the pages of `map`, none of which may lie at or above `limit`.
    pub(crate) fn new(map: &MemoryMap, limit: u64) -> Result<Self, BuildError> {
        let mut areas: Vec<Area> = map
            .runs()
            .iter()
            .map(|(first, pages)| Area {
                next: first.0 * PAGE_SIZE,
                end: (first.0 + pages) * PAGE_SIZE,
            })
            .map(|area| {
                let stub = (area.next..area.end).contains(&LOW_STUB);
                Area {
                    next: if stub { LOW_STUB + PAGE_SIZE } else { area.next },
                    end: area.end,
                }
            })
            .filter(|area| area.next < area.end)
            .collect();
        if areas.iter().any(|area| area.end > limit) {
            return Err(BuildError::Options(
                "page tables of this kind do not reach all of the memory",
            ));
        }
        areas.sort_by_key(|area| (area.end > 1 << 32, u64::MAX - (area.end - area.next)));
        let main = areas.first_mut().ok_or(BuildError::MemoryFull)?;
        let start = if main.next <= FIRST_TABLE {
            FIRST_TABLE
        } else {
            main.next
        };
        let room = main.end.saturating_sub(start);
        let boundary = if start < ORDINARY && main.end > 2 * ORDINARY {
            ORDINARY
        } else {
            start + room / 4
        };
        let tables = Area {
            next: start,
            end: boundary.next_multiple_of(PAGE_SIZE).min(main.end),
        };
        main.next = tables.end;
        Ok(Self { tables, areas, turn: 0 })
    }

    /// A page.
    pub(crate) fn allocate(&mut self, zone: Zone) -> Result<u64, BuildError> {
        if zone == Zone::Table
            && let Some(page) = self.tables.take(1, PAGE_SIZE)
        {
            return Ok(page);
        }
        let count = self.areas.len();
        let start = if zone == Zone::User { self.turn } else { 0 };
        for step in 0..count {
            let index = (start + step) % count;
            if let Some(page) = self.areas[index].take(1, PAGE_SIZE) {
                if zone == Zone::User {
                    self.turn = (index + 1) % count;
                }
                return Ok(page);
            }
        }
        Err(BuildError::MemoryFull)
    }

    /// `pages` pages that follow one another, at a multiple of `align` bytes; `None` where no run has them left.
    pub(crate) fn contiguous(&mut self, pages: u64, align: u64) -> Option<u64> {
        // What lies before the aligned place goes to waste, but small pieces of a large run only.
        self.areas.iter_mut().find_map(|area| area.take(pages, align))
    }
}
