//! The map of the address space of a Linux process in the terms of Windows.

use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{VirtAddr, VirtRange};

use crate::ranges::clipped;
use crate::regions::{MEM_FREE, MEM_IMAGE, MEM_RESERVE, PAGE_NOACCESS, Region};

/// The files that are mapped as code somewhere, sorted: programs and libraries.
pub(super) fn images(mappings: &[LinuxMapping]) -> Vec<&[u8]> {
    let mut images: Vec<&[u8]> = mappings
        .iter()
        .filter(|mapping| mapping.permissions.execute)
        .filter_map(LinuxMapping::file)
        .collect();
    images.sort_unstable();
    images.dedup();
    images
}

/// The regions that `mappings` are, in ascending order, and whether the mappings were. All mappings of an image from its
/// first one on have that one's address as their allocation base.
pub(crate) fn regions_of(mappings: &[LinuxMapping]) -> (Vec<Region>, bool) {
    let images = images(mappings);
    let mut regions = Vec::with_capacity(mappings.len());
    // The image whose mappings are being passed: its file, where it begins, and how far into the file they have come.
    let mut current: Option<(&[u8], VirtAddr, u64)> = None;
    for mapping in mappings {
        let mut region = region_of(mapping);
        let file = mapping.file();
        if let Some(file) = file.filter(|file| images.binary_search(file).is_ok()) {
            if !mapping.permissions.write {
                region.kind = MEM_IMAGE;
            }
            let start = match current {
                Some((same, start, offset)) if same == file && offset < mapping.offset => start,
                _ => mapping.range.start,
            };
            current = Some((file, start, mapping.offset));
            region.allocation_base = start;
        } else if file.is_some() {
            current = None;
        }
        regions.push(region);
    }
    let ascending = regions.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start);
    if !ascending {
        regions = in_order(regions);
    }
    (regions, ascending)
}

/// Sorts regions, and cuts those that overlap the ones before them.
pub(crate) fn in_order(mut regions: Vec<Region>) -> Vec<Region> {
    regions.sort_by_key(|region| region.range);
    let mut end = VirtAddr(0);
    regions.retain_mut(|region| {
        region.range = VirtRange::new(region.range.start.max(end), region.range.end);
        end = end.max(region.range.end);
        !region.range.is_empty()
    });
    regions
}

/// The region of ascending ones that contains `address`.
pub(crate) fn region_at(regions: &[Region], address: VirtAddr) -> Option<&Region> {
    let at = regions.partition_point(|region| region.range.end <= address);
    regions.get(at).filter(|region| region.range.contains(address))
}

/// Regions, which ascend, without `holes`: where there is nothing to read, addresses are reserved and no more, as they are
/// of Windows' guard pages. Readers expect that memory begins where a region does.
pub(crate) fn without(regions: &[Region], holes: &[VirtRange]) -> Vec<Region> {
    let mut all = Vec::with_capacity(regions.len() + 2 * holes.len());
    for region in regions {
        let part = |start, end| Region {
            range: VirtRange::new(start, end),
            ..*region
        };
        let mut start = region.range.start;
        for hole in clipped(holes, region.range) {
            all.push(part(start, hole.start));
            all.push(Region {
                range: hole,
                state: MEM_RESERVE,
                protect: PAGE_NOACCESS,
                ..*region
            });
            start = hole.end;
        }
        all.push(part(start, region.range.end));
    }
    all.retain(|region| !region.range.is_empty());
    all
}

/// The whole address space of a process: its regions, which ascend, and what is free before, between and behind them.
pub(crate) fn with_gaps(regions: &[Region], architecture: ProcessorArchitecture) -> Vec<Region> {
    let mut all = Vec::with_capacity(2 * regions.len() + 1);
    let limit = user_end(architecture, regions);
    let mut end = VirtAddr(0);
    let mut gap_to = |all: &mut Vec<Region>, next: Option<&Region>| {
        let start = next.map_or(limit, |region| region.range.start.min(limit));
        if end < start {
            all.push(free(VirtRange::new(end, start)));
        }
        end = next.map_or(limit, |region| region.range.end);
    };
    for region in regions {
        gap_to(&mut all, Some(region));
        all.push(*region);
    }
    gap_to(&mut all, None);
    all
}

/// What Windows tells of addresses at which there is nothing (`VirtualQuery`).
fn free(range: VirtRange) -> Region {
    Region {
        range,
        allocation_base: VirtAddr(0),
        allocation_protect: 0,
        state: MEM_FREE,
        protect: PAGE_NOACCESS,
        kind: 0,
    }
}

/// Where the addresses of a process end (`TASK_SIZE`): the least of those that its architecture knows behind all regions
/// of user space; behind the last region where the architecture's are not known. The kernel's `vsyscall` page lies above.
fn user_end(architecture: ProcessorArchitecture, regions: &[Region]) -> VirtAddr {
    // x86: a 32-bit kernel (or `ADDR_LIMIT_3GB`), then a 64-bit one. x86-64: four levels of page tables, then five. ARM64:
    // as many bits as the kernel was made for.
    let known: &[u64] = match architecture {
        ProcessorArchitecture::X86 => &[0xC000_0000, 0xFFFF_E000],
        ProcessorArchitecture::AMD64 => &[0x7FFF_FFFF_F000, 0xFF_FFFF_FFFF_F000],
        ProcessorArchitecture::ARM64 | ProcessorArchitecture::ARM64_OLD => {
            &[1 << 39, 1 << 42, 1 << 47, 1 << 48, 1 << 52]
        }
        _ => &[],
    };
    let mut ends = regions.iter().rev().map(|region| region.range.end);
    let highest = ends.find(|end| end.0 < 1 << 63).unwrap_or_default();
    let limit = known.iter().find(|limit| **limit >= highest.0);
    limit.map_or(highest, |limit| VirtAddr(*limit))
}

fn region_of(mapping: &LinuxMapping) -> Region {
    let info = mapping.to_memory_info();
    Region {
        range: mapping.range,
        allocation_base: VirtAddr(info.allocation_base),
        allocation_protect: info.protect,
        state: info.state,
        protect: info.protect,
        kind: info.memory_type,
    }
}

/// Where code can be: that of modules, and what was made at run time.
pub(crate) fn executable(regions: &[Region]) -> impl Iterator<Item = VirtRange> {
    regions
        .iter()
        .filter(|region| region.is_executable())
        .map(|region| region.range)
}
