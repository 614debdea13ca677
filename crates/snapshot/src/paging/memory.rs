//! An address space as memory: what of its pages the source has.

use dotdump_format::{Error, PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};

use super::{AddressSpace, Mapping, Mappings};
use crate::memory::{Extent, Memory};
use crate::physical::{PagePlace, PageRun};

impl AddressSpace<'_> {
    /// How much of `[address, address + limit)` lies in one piece of physical memory, and where.
    fn piece(&self, address: VirtAddr, limit: u64) -> Result<Option<(PhysAddr, u64)>, Error> {
        let Ok(first) = self.translate(address)? else {
            return Ok(None);
        };
        let left_in_page = |address: u64, size: u64| size - address % size;
        let mut size = left_in_page(first.address.0, first.page_size);
        while size < limit
            && let Some(next) = address.checked_add(size)
            && let Ok(found) = self.translate(next)?
            && found.address.0 == first.address.0.saturating_add(size)
        {
            size += left_in_page(found.address.0, found.page_size);
        }
        Ok(Some((first.address, size.min(limit))))
    }
}

impl Memory for AddressSpace<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        Box::new(Extents {
            space: self,
            mappings: self.mappings(within),
            mapping: None,
            run: None,
            waiting: None,
        })
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let Some(next) = address.checked_add(done as u64) else {
                break;
            };
            let rest = &mut buffer[done..];
            let Some((place, size)) = self.piece(next, rest.len() as u64)? else {
                break;
            };
            let wanted = usize::try_from(size).unwrap_or(rest.len());
            let read = self.physical.read(place, &mut rest[..wanted])?;
            done += read;
            if read < wanted {
                break;
            }
        }
        Ok(done)
    }
}

/// The mapped pages that the source has.
struct Extents<'s> {
    space: &'s AddressSpace<'s>,
    mappings: Mappings<'s>,
    /// What is left of the mapping at hand.
    mapping: Option<Mapping>,
    /// The pages that were found last: often the next mapping lies in them too.
    run: Option<PageRun>,
    /// What may continue in what comes next.
    waiting: Option<Extent>,
}

impl Extents<'_> {
    /// The next piece of a mapping that the source has.
    fn piece(&mut self) -> Result<Option<Extent>, Error> {
        loop {
            let mapping = match self.mapping.take() {
                Some(mapping) => mapping,
                None => match self.mappings.next().transpose()? {
                    Some(mapping) => mapping,
                    None => return Ok(None),
                },
            };
            let page = mapping.physical.pfn();
            let run = match self.run {
                Some(run) if run.first <= page && page < run.end() => run,
                _ => match self.space.physical.next_run(page)? {
                    Some(run) => *self.run.insert(run),
                    None => continue,
                },
            };
            // The gap before the run, and what of the mapping lies behind the run.
            let size = mapping.range.size();
            let start = run.first.0.saturating_mul(PAGE_SIZE).saturating_sub(mapping.physical.0);
            let end = run
                .end()
                .0
                .saturating_mul(PAGE_SIZE)
                .saturating_sub(mapping.physical.0)
                .min(size);
            if start >= size {
                continue;
            }
            let from = |skipped: u64| VirtAddr(mapping.range.start.0 + skipped);
            if end < size {
                self.mapping = Some(Mapping {
                    range: VirtRange::new(from(end), mapping.range.end),
                    physical: mapping.physical.saturating_add(end),
                    ..mapping
                });
            }
            let in_run = (mapping.physical.0 + start).saturating_sub(run.first.0.saturating_mul(PAGE_SIZE));
            return Ok(Some(Extent {
                range: VirtRange::new(from(start), from(end)),
                offset: match run.place.advanced(in_run) {
                    PagePlace::File(offset) => Some(offset),
                    PagePlace::Zero | PagePlace::Read => None,
                },
            }));
        }
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.piece() {
                Ok(next) => next,
                Err(error) => return Some(Err(error)),
            };
            match (&mut self.waiting, next) {
                (None, None) => return None,
                (Some(before), Some(next)) if continues(before, &next) => before.range.end = next.range.end,
                (waiting, next) => {
                    let before = std::mem::replace(waiting, next);
                    if before.is_some() {
                        return before.map(Ok);
                    }
                }
            }
        }
    }
}

/// Whether `next` lies behind `before`, and its bytes behind those of `before`.
fn continues(before: &Extent, next: &Extent) -> bool {
    let place = before.offset.map(|offset| offset.saturating_add(before.range.size()));
    before.range.end == next.range.start && place == next.offset
}
