//! The map of the address space, as page tables tell it.

use dotdump_format::{Error, Findings, PAGE_SIZE, Pfn, VirtAddr, VirtRange};

use super::NOWHERE;
use super::memory::UserMemory;
use crate::memory::Memory as _;
use crate::paging::{Mapping, Provenance, Rights, Visit, Visitor};
use crate::process::ModuleSnapshot;
use crate::regions::{MEM_COMMIT, MEM_IMAGE, MEM_MAPPED, MEM_PRIVATE, Region};

/// More regions than this are not told apart: 56 MiB of them.
const MOST_REGIONS: usize = 1 << 20;

/// Committed pages by neighbourhood, protection and kind.
pub(super) struct Map {
    pub(super) regions: Vec<Region>,
    /// How many bytes are mapped and not in the source.
    pub(super) missing: u64,
    pub(super) visit: Visit,
}

impl Map {
    pub(super) fn walk(
        memory: &UserMemory<'_>,
        modules: &[ModuleSnapshot],
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let mut images: Vec<VirtRange> = modules.iter().map(ModuleSnapshot::range).collect();
        images.sort_unstable();
        let mut gatherer = Gatherer {
            images,
            regions: Vec::new(),
            bytes: 0,
            left_out: 0,
        };
        let visit = memory.space.visit(memory.half, &mut gatherer)?;
        if let Some(at) = visit.stopped_at {
            let message = format!("page tables refer to one another in circles; the walk ends at {at}");
            findings.add(NOWHERE, "page tables", message);
        }
        if visit.absent_tables > 0 {
            let message = format!("{} tables are not in the source", visit.absent_tables);
            findings.add(NOWHERE, "page tables", message);
        }
        if gatherer.left_out > 0 {
            let message = format!(
                "{} of {} runs of pages are left out of the map",
                gatherer.left_out, MOST_REGIONS
            );
            findings.add(NOWHERE, "page tables", message);
        }
        let mut map = Self {
            regions: gatherer.regions,
            missing: 0,
            visit,
        };
        let held = map.cut_at_gaps(memory)?;
        map.missing = gatherer.bytes.saturating_sub(held);
        Ok(map)
    }

    /// Cuts regions where memory begins again behind pages that the source lacks: readers want each run of memory of a
    /// full dump to begin with a region. Tells how many bytes the source has.
    fn cut_at_gaps(&mut self, memory: &UserMemory<'_>) -> Result<u64, Error> {
        let (mut held, mut end) = (0, memory.half.start);
        let mut cut = Vec::with_capacity(self.regions.len());
        let mut regions = std::mem::take(&mut self.regions).into_iter();
        let mut region = regions.next();
        for extent in memory.extents(memory.half) {
            let range = extent?.range;
            held += range.size();
            let follows = range.start == end;
            end = range.end;
            if follows {
                continue;
            }
            while let Some(current) = region.as_mut().filter(|region| region.range.start < range.start) {
                if current.range.end > range.start {
                    if cut.len() < MOST_REGIONS {
                        cut.push(Region {
                            range: VirtRange::new(current.range.start, range.start),
                            ..*current
                        });
                        current.range.start = range.start;
                    }
                    break;
                }
                cut.push(*current);
                region = regions.next();
            }
        }
        cut.extend(region);
        cut.extend(regions);
        self.regions = cut;
        Ok(held)
    }

    pub(super) fn at(&self, address: VirtAddr) -> Option<Region> {
        let after = self.regions.partition_point(|region| region.range.start <= address);
        let region = *self.regions.get(after.checked_sub(1)?)?;
        region.range.contains(address).then_some(region)
    }
}

struct Gatherer {
    /// Sorted.
    images: Vec<VirtRange>,
    regions: Vec<Region>,
    bytes: u64,
    left_out: u64,
}

impl Visitor for Gatherer {
    fn table(&mut self, _: Pfn, _: u8, _: VirtAddr) -> bool {
        true
    }

    fn mapping(&mut self, mapping: &Mapping) {
        self.bytes += mapping.pages() * PAGE_SIZE;
        let mut rest = mapping.range;
        while !rest.is_empty() {
            let (end, image) = self.image(rest);
            let region = Region {
                range: VirtRange::new(rest.start, end),
                allocation_base: image.map_or(VirtAddr(0), |image| image.start),
                allocation_protect: 0,
                state: MEM_COMMIT,
                protect: protection(mapping.rights),
                kind: match mapping.provenance {
                    _ if image.is_some() => MEM_IMAGE,
                    Provenance::Prototype => MEM_MAPPED,
                    Provenance::Valid | Provenance::Transition => MEM_PRIVATE,
                },
            };
            self.push(region);
            rest = VirtRange::new(end, rest.end);
        }
    }
}

impl Gatherer {
    /// The image that the start of `range` lies in, and where what is said of the start ends.
    fn image(&self, range: VirtRange) -> (VirtAddr, Option<VirtRange>) {
        let after = self.images.partition_point(|image| image.start <= range.start);
        let image = after.checked_sub(1).map(|index| self.images[index]);
        match image.filter(|image| image.contains(range.start)) {
            Some(image) => (image.end.min(range.end), Some(image)),
            None => {
                let next = self.images.get(after).map_or(range.end, |image| image.start);
                (next.min(range.end), None)
            }
        }
    }

    fn push(&mut self, next: Region) {
        if let Some(last) = self.regions.last_mut()
            && last.range.end == next.range.start
            && (last.allocation_base, last.protect, last.kind) == (next.allocation_base, next.protect, next.kind)
        {
            last.range.end = next.range.end;
        } else if self.regions.len() < MOST_REGIONS {
            self.regions.push(next);
        } else {
            self.left_out += 1;
        }
    }
}

/// `PAGE_*`.
const fn protection(rights: Rights) -> u32 {
    match (rights.execute, rights.write) {
        (false, false) => 0x2,
        (false, true) => 0x4,
        (true, false) => 0x20,
        (true, true) => 0x40,
    }
}
