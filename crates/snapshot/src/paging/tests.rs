use dotdump_format::FileOffset;

use super::test_tables::Tables;
use super::*;
use crate::memory::Memory;

pub(super) const MODES: [PagingMode; 5] = [
    PagingMode::X86,
    PagingMode::Pae,
    PagingMode::FourLevel,
    PagingMode::FiveLevel,
    PagingMode::Arm64,
];

pub(super) const LATE: SoftwarePtes = SoftwarePtes::Late {
    high_bit: 45,
    swizzle_bit: 4,
};

pub(super) fn space(tables: &Tables, software: SoftwarePtes) -> AddressSpace<'_> {
    AddressSpace::new(&tables.memory, tables.mode, PhysAddr(tables.root), software)
}

fn physical(space: &AddressSpace<'_>, address: u64) -> u64 {
    space.translate(VirtAddr(address)).unwrap().unwrap().address.0
}

pub(super) fn failure(space: &AddressSpace<'_>, address: u64) -> TranslateFailure {
    space.translate(VirtAddr(address)).unwrap().unwrap_err()
}

pub(super) const ALL: VirtRange = VirtRange {
    start: VirtAddr(0),
    end: VirtAddr(u64::MAX),
};

pub(super) fn mappings(space: &AddressSpace<'_>) -> Vec<Mapping> {
    space.mappings(ALL).map(Result::unwrap).collect()
}

#[test]
fn bits_of_cr3_that_are_no_address_are_ignored() {
    for (mode, value, root) in [
        (PagingMode::X86, 0x0018_5018, 0x0018_5000),
        (PagingMode::Pae, 0x0018_50A7, 0x0018_50A0),
        (PagingMode::FourLevel, 0x8000_0000_001A_D002, 0x1A_D000),
        (PagingMode::FiveLevel, 0x1A_DFFF, 0x1A_D000),
        // TTBR1 of a real machine: an ASID, and the upper half of the page.
        (PagingMode::Arm64, 0x0040_0000_946A_A800, 0x946A_A000),
    ] {
        assert_eq!(mode.root(PhysAddr(value)), PhysAddr(root), "{mode:?}");
    }
}

#[test]
fn large_pages_of_x86_reach_above_4_gib() {
    let mut tables = Tables::new(PagingMode::X86);
    let at = tables.entry(0x8040_0000, 0);
    // 0x12_3440_0000: bits 22 to 31 in place, bits 32 to 39 from bit 13 on, and the bit that says how it is cached.
    tables.set(at, 0x3440_0000 | 0x12 << 13 | 1 << 12 | 0xE3);
    let space = space(&tables, SoftwarePtes::None);
    let found = space.translate(VirtAddr(0x8056_789A)).unwrap().unwrap();
    assert_eq!(found.address, PhysAddr(0x12_3456_789A));
    assert_eq!(found.page_size, 4 << 20);
    assert_eq!(
        (found.rights.user, found.rights.write, found.rights.execute),
        (false, true, true)
    );
}

#[test]
fn large_pages_lose_the_bit_that_says_how_they_are_cached() {
    for (mode, address, depth, entry, at, page_size) in [
        (
            PagingMode::Pae,
            0x8020_0000_u64,
            1,
            0x1_0060_10E3_u64,
            0x1_0061_2345_u64,
            2 << 20,
        ),
        (
            PagingMode::FourLevel,
            0xFFFF_F801_0020_0000,
            2,
            0x1_0060_10E3,
            0x1_0061_2345,
            2 << 20,
        ),
        (
            PagingMode::FourLevel,
            0xFFFF_F801_4000_0000,
            1,
            0x3_C000_10E3,
            0x3_C001_2345,
            1 << 30,
        ),
        (
            PagingMode::FiveLevel,
            0xFF12_3401_4000_0000,
            2,
            0x3_C000_10E3,
            0x3_C001_2345,
            1 << 30,
        ),
        (
            PagingMode::Arm64,
            0xFFFF_F801_4000_0000,
            1,
            0x0060_0003_C000_0F01,
            0x3_C001_2345,
            1 << 30,
        ),
        (
            PagingMode::Arm64,
            0xFFFF_F801_0020_0000,
            2,
            0x0060_0001_0060_0F01,
            0x1_0061_2345,
            2 << 20,
        ),
    ] {
        let mut tables = Tables::new(mode);
        let place = tables.entry(address, depth);
        tables.set(place, entry);
        let space = space(&tables, LATE);
        let found = space.translate(VirtAddr(address + 0x1_2345)).unwrap().unwrap();
        assert_eq!(
            (found.address.0, found.page_size),
            (at, page_size),
            "{mode:?} {address:#x}"
        );
        let all = mappings(&space);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].range, VirtRange::sized(VirtAddr(address), page_size));
        assert_eq!(all[0].physical.0, at - 0x1_2345);

        // A part of a large page.
        let part = VirtRange::sized(VirtAddr(address + 0x3000), 0x2000);
        let parts: Vec<_> = space.mappings(part).map(Result::unwrap).collect();
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].range, parts[0].physical.0), (part, at - 0x1_2345 + 0x3000));
    }
}

#[test]
fn valid_entries_that_cannot_be_are_reserved() {
    for (mode, address, depth, entry, name) in [
        (PagingMode::Pae, 0x8000_0000_u64, 0, 0x20_0081_u64, "PDPTE"),
        (PagingMode::FourLevel, 0xFFFF_8000_0000_0000, 0, 0x20_00E3, "PML4E"),
        (PagingMode::FiveLevel, 0xFF00_0000_0000_0000, 0, 0x20_00E3, "PML5E"),
        (PagingMode::FiveLevel, 0xFF00_0000_0000_0000, 1, 0x20_00E3, "PML4E"),
        (PagingMode::Arm64, 0xFFFF_8000_0000_0000, 0, 0x20_0F01, "PML4E"),
        (PagingMode::Arm64, 0xFFFF_8000_0000_0000, 3, 0x20_0F01, "PTE"),
    ] {
        let mut tables = Tables::new(mode);
        let at = tables.entry(address, depth);
        tables.set(at, entry);
        let space = space(&tables, LATE);
        let failure = failure(&space, address);
        assert_eq!(failure.reason, FailureReason::Reserved, "{mode:?}");
        assert_eq!(failure.entry, Some(entry));
        assert_eq!(failure.entry_at, Some(PhysAddr(at)));
        let text = failure.to_string();
        assert!(
            text.contains(&format!(": {name} {entry:#x} at {at:#x}: reserved")),
            "{text}"
        );
        assert!(mappings(&space).is_empty());
    }
}

#[test]
fn addresses_that_cannot_be_end_before_the_tables() {
    for (mode, address) in [
        (PagingMode::X86, 0x1_0000_0000),
        (PagingMode::Pae, 0xFFFF_FFFF_8000_0000),
        (PagingMode::FourLevel, 0x8000_0000_0000),
        (PagingMode::FourLevel, 0xFFFF_7FFF_FFFF_FFFF),
        (PagingMode::FiveLevel, 0x0100_0000_0000_0000),
        (PagingMode::Arm64, 0xFFFE_8000_0000_0000),
    ] {
        let tables = Tables::new(mode);
        let failure = failure(&space(&tables, LATE), address);
        assert_eq!(
            (failure.level, failure.reason),
            (0, FailureReason::NotCanonical),
            "{mode:?}"
        );
    }
}

#[test]
fn a_failure_tells_the_level() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    tables.map(0xFFFF_F800_0000_1000, 0x5000);
    let gone = tables.entry(0xFFFF_F800_0020_0000, 2);
    tables.set(gone, 0x7777_7063);
    let space = space(&tables, LATE);
    for (address, level, reason) in [
        (0xFFFF_8000_0000_0000, 4, FailureReason::NotPresent),
        (0xFFFF_F840_0000_0000, 3, FailureReason::NotPresent),
        (0xFFFF_F800_4000_0000, 3, FailureReason::NotPresent),
        (0xFFFF_F800_0040_0000, 2, FailureReason::NotPresent),
        (0xFFFF_F800_0000_2000, 1, FailureReason::NotPresent),
        (0xFFFF_F800_0020_0000, 1, FailureReason::TableAbsent),
    ] {
        let failure = failure(&space, address);
        assert_eq!((failure.level, failure.reason), (level, reason), "{address:#x}");
    }
    let text = failure(&space, 0xFFFF_F800_0020_3000).to_string();
    assert_eq!(
        text,
        "0xfffff80000203000 has no physical address: PTE at 0x77777018: the table is not in the source"
    );
}

#[test]
fn rights_are_those_of_all_levels() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    let no_execute = 1 << 63;
    tables.map_entry(0x1000, 0x5000 | 0x67);
    tables.map_entry(0x2000, 0x6000 | 0x65 | no_execute);
    tables.map_entry(0x20_0000, 0x7000 | 0x67);
    // Written for the first time only later: the processor's bit is not set yet.
    tables.map_entry(0x3000, 0x9000 | 0x865);
    let directory = tables.entry(0x20_0000, 2);
    let entry = tables.get(directory);
    tables.set(directory, entry & !6 | no_execute);
    let rights = |software, address| {
        let rights = space(&tables, software)
            .translate(VirtAddr(address))
            .unwrap()
            .unwrap()
            .rights;
        (rights.write, rights.user, rights.execute)
    };
    assert_eq!(rights(LATE, 0x1000), (true, true, true));
    assert_eq!(rights(LATE, 0x2000), (false, true, false));
    assert_eq!(rights(LATE, 0x20_0000), (false, false, false));
    assert_eq!(rights(LATE, 0x3000), (true, true, true));
    assert_eq!(rights(SoftwarePtes::None, 0x3000), (false, true, true));
}

#[test]
fn the_kernels_root_keeps_shadowed_user_pages_executable() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    tables.map(0x1000, 0x5000);
    tables.map(0xFFFF_F800_0000_0000, 0x6000);
    for address in [0x1000, 0xFFFF_F800_0000_0000] {
        let top = tables.entry(address, 0);
        let entry = tables.get(top);
        tables.set(top, entry | 1 << 63);
    }
    let space = space(&tables, LATE);
    assert!(space.translate(VirtAddr(0x1000)).unwrap().unwrap().rights.execute);
    assert!(
        !space
            .translate(VirtAddr(0xFFFF_F800_0000_0000))
            .unwrap()
            .unwrap()
            .rights
            .execute
    );
}

#[test]
fn the_map_of_the_tables_is_found_and_left_out() {
    for (mode, base) in [
        (PagingMode::X86, 0xC000_0000_u64),
        (PagingMode::Pae, 0xC000_0000),
        (PagingMode::FourLevel, 0xFFFF_F680_0000_0000),
        (PagingMode::FiveLevel, 0xFFED_0000_0000_0000),
        // That of a real machine.
        (PagingMode::Arm64, 0xFFFF_A880_0000_0000),
    ] {
        let mut tables = Tables::new(mode);
        tables.map(0x8000, 0x5000);
        tables.map(0x8040_0000, 0x6000);
        if mode == PagingMode::Pae {
            for index in 0..4 {
                let directory = tables.entry(index << 30, 1);
                let place = tables.entry(base + (index << 21), 1);
                tables.set(place, directory & !0xFFF | 0x63);
            }
        } else {
            let at = tables.entry(base, 0);
            let entry = tables.table_entry(tables.root, 0);
            tables.set(at, entry);
        }
        let leaf = tables.entry(0x8040_0000, tables.levels().len() - 1);
        let space = space(&tables, LATE);
        assert_eq!(space.pte_base().unwrap(), Some(VirtAddr(base)), "{mode:?}");
        let entry = base + (0x8040_0000 >> 12) * mode.entry_size();
        assert_eq!(physical(&space, entry), leaf, "{mode:?}");
        let all: Vec<_> = mappings(&space)
            .iter()
            .map(|found| (found.range.start.0, found.physical.0))
            .collect();
        assert_eq!(all, [(0x8000, 0x5000), (0x8040_0000, 0x6000)], "{mode:?}");
    }
}

#[test]
fn the_last_page_of_all_is_a_page() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    tables.map(0xFFFF_FFFF_FFFF_F000, 0x5000);
    tables.map(0x7FFF_FFFF_F000, 0x6000);
    tables.map(0xFFFF_8000_0000_0000, 0x7000);
    tables.memory.write(0x5000, &[7; 4096]);
    let space = space(&tables, LATE);
    let all = mappings(&space);
    let pages: Vec<_> = all.iter().map(|found| (found.range.start.0, found.pages())).collect();
    assert_eq!(
        pages,
        [
            (0x7FFF_FFFF_F000, 1),
            (0xFFFF_8000_0000_0000, 1),
            (0xFFFF_FFFF_FFFF_F000, 1)
        ]
    );
    let mut bytes = [0; 32];
    assert_eq!(space.read(VirtAddr(0xFFFF_FFFF_FFFF_FFF0), &mut bytes).unwrap(), 16);
    assert!(PagingMode::FourLevel.is_kernel_address(VirtAddr(u64::MAX)));
    assert!(!PagingMode::FourLevel.is_kernel_address(VirtAddr(0x7FFF_FFFF_FFFF)));
    assert!(PagingMode::X86.is_kernel_address(VirtAddr(0xFFFF_FFFF)));
    assert!(!PagingMode::X86.is_kernel_address(VirtAddr(0x7FFF_FFFF)));
}

#[test]
fn memory_is_what_is_mapped_and_there() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    // Two pages that follow one another in both, one elsewhere, one that is absent, and one behind it.
    for (address, at) in [
        (0x1_0000, 0x50_0000),
        (0x1_1000, 0x50_1000),
        (0x1_2000, 0x40_0000),
        (0x1_3000, 0x90_0000),
        (0x1_4000, 0x50_2000),
    ] {
        tables.map(address, at);
    }
    for (at, byte) in [(0x50_0000, 1), (0x50_1000, 2), (0x40_0000, 3), (0x50_2000, 4)] {
        tables.memory.write(at, &[byte; 4096]);
    }
    let space = space(&tables, LATE);
    let extents: Vec<_> = space
        .all()
        .map(Result::unwrap)
        .map(|found| (found.range.start.0, found.range.size(), found.offset))
        .collect();
    let at = |offset| Some(FileOffset(offset));
    let expected = [
        (0x1_0000, 0x2000, at(0x50_0000)),
        (0x1_2000, 0x1000, at(0x40_0000)),
        (0x1_4000, 0x1000, at(0x50_2000)),
    ];
    assert_eq!(extents, expected);
    let mut bytes = [0; 0x3000];
    assert_eq!(space.read(VirtAddr(0x1_0800), &mut bytes).unwrap(), 0x2800);
    assert_eq!(
        (bytes[0x7FF], bytes[0x800], bytes[0x1800], bytes[0x27FF], bytes[0x2800]),
        (1, 2, 3, 3, 0)
    );
    assert_eq!(space.read(VirtAddr(0x1_3000), &mut bytes).unwrap(), 0);
    let part = VirtRange::new(VirtAddr(0x1_0FF0), VirtAddr(0x1_2010));
    let extents: Vec<_> = space
        .extents(part)
        .map(Result::unwrap)
        .map(|found| (found.range, found.offset))
        .collect();
    assert_eq!(
        extents[0],
        (VirtRange::sized(VirtAddr(0x1_0FF0), 0x1010), at(0x50_0FF0))
    );
    assert_eq!(extents[1], (VirtRange::sized(VirtAddr(0x1_2000), 0x10), at(0x40_0000)));
}
