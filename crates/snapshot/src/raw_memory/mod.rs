//! Raw images of physical memory: the bytes of a machine's RAM in a file, and nothing that says where they belong.
//!
//! Without a [`MemoryMap`] the file's first byte is that of address 0, and the pages follow. That is right for what
//! `pmemsave` and imaging tools write, which fill holes with zeros; it is wrong above the first hole for files that hold
//! RAM alone, such as a memory backend of QEMU or a `.vmem` of VMware: RAM goes on at 4 GiB behind the hole for devices.

mod memory_map;
mod mtree;

use dotdump_format::{FileOffset, Findings, PhysAddr, ReadAt};

pub use memory_map::{MapError, MemoryMap, MemoryRegion};

use crate::placed_runs::{Placed, PlacedRuns, PlacedRunsBuilder, physical_memory_by};

/// The physical memory in a raw image.
pub struct RawMemory<'a> {
    runs: PlacedRuns<'a>,
    findings: Findings,
}

impl<'a> RawMemory<'a> {
    /// The memory from address 0 on.
    #[must_use]
    pub fn open(source: &'a dyn ReadAt) -> Self {
        let all = Placed {
            start: PhysAddr(0),
            size: source.size(),
            offset: FileOffset(0),
        };
        Self::of(source, std::iter::once(all))
    }

    /// The memory where `map` places it.
    #[must_use]
    pub fn open_with_map(source: &'a dyn ReadAt, map: &MemoryMap) -> Self {
        let mut memory = Self::of(
            source,
            map.regions.iter().map(|region| Placed {
                start: region.start,
                size: region.size,
                offset: region.offset,
            }),
        );
        let mut findings = map.findings.clone();
        findings.append(std::mem::take(&mut memory.findings));
        Self { findings, ..memory }
    }

    fn of(source: &'a dyn ReadAt, parts: impl Iterator<Item = Placed>) -> Self {
        let mut findings = Findings::default();
        let mut runs = PlacedRunsBuilder::new(source, "memory region");
        for part in parts {
            runs.add(part, &mut findings);
        }
        Self {
            runs: runs.finish(&mut findings),
            findings,
        }
    }

    /// What is wrong with the image, or with the map.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }
}

physical_memory_by!(RawMemory, runs);
