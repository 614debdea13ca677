use dotdump_format::kernel::Machine;

use super::test_tables::Tables;
use super::tests::{LATE, space};
use super::*;

/// A kernel of each sort with a `KUSER_SHARED_DATA`, at the root where the builder puts it.
fn kernel_of(mode: PagingMode) -> Tables {
    let mut tables = Tables::new(mode);
    let (shared, self_map) = match mode {
        PagingMode::X86 | PagingMode::Pae => (KUSER_SHARED_DATA_32.0, 0xC000_0000),
        PagingMode::FiveLevel => (KUSER_SHARED_DATA_64.0, 0xFFED_0000_0000_0000),
        PagingMode::FourLevel => (KUSER_SHARED_DATA_64.0, 0xFFFF_F680_0000_0000),
        PagingMode::Arm64 => (KUSER_SHARED_DATA_64.0, 0xFFFF_A880_0000_0000),
    };
    if mode == PagingMode::Pae {
        // The four directories lie behind the root.
        for index in 0..4 {
            tables.entry(index << 30, 1);
        }
    }
    for address in [0x1_0000, 0x8040_0000, 0xFFFF_F800_0000_0000, 0xFFFF_A500_0000_0000] {
        let address = if mode.levels() < 4 {
            address & 0xFFFF_FFFF
        } else {
            address
        };
        tables.map(address, 0x70_0000);
    }
    tables.map(shared, 0x71_0000);
    tables.memory.write(0x71_026C, &10_u32.to_le_bytes());
    if mode != PagingMode::Pae {
        let at = tables.entry(self_map, 0);
        let bits = if mode == PagingMode::Arm64 {
            0x0060_0000_0000_0F03
        } else {
            0x63
        };
        tables.set(at, tables.root | bits);
    }
    tables
}

#[test]
fn roots_are_found_by_the_map_of_the_tables() {
    for (mode, machine) in [
        (PagingMode::X86, Machine::X86),
        (PagingMode::Pae, Machine::X86),
        (PagingMode::FourLevel, Machine::Amd64),
        (PagingMode::FiveLevel, Machine::Amd64),
        (PagingMode::Arm64, Machine::Arm64),
    ] {
        let tables = kernel_of(mode);
        for asked in [Machine::X86, Machine::Amd64, Machine::Arm64]
            .map(Some)
            .into_iter()
            .chain([None])
        {
            let found = find_root(&tables.memory, asked, &[]).unwrap();
            let expected = (asked.is_none() || asked == Some(machine)).then_some((mode, PhysAddr(tables.root)));
            assert_eq!(
                found.map(|found| (found.mode, found.root)),
                expected,
                "{mode:?} {asked:?}"
            );
        }
        // Without the shared data of a known version nothing says that this is Windows.
        let mut tables = tables;
        tables.memory.write(0x71_026C, &11_u32.to_le_bytes());
        assert_eq!(find_root(&tables.memory, None, &[]).unwrap(), None, "{mode:?}");
    }
}

#[test]
fn a_root_of_user_mode_is_passed_over() {
    // Where tables are shadowed, the root of user mode maps itself and little of the kernel. It lies below the kernel's.
    let mut tables = kernel_of(PagingMode::FourLevel);
    let (root, user) = (tables.root, 0x8_0000);
    tables.memory.write(user, &[0; 4096]);
    tables.root = user;
    for address in [0x1_0000, 0xFFFF_F801_0000_0000] {
        tables.map(address, 0x72_0000);
    }
    tables.map(KUSER_SHARED_DATA_64.0, 0x71_0000);
    let at = tables.entry(0xFFFF_F680_0000_0000, 0);
    tables.set(at, user | 0x63);
    let heads = [VirtAddr(0xFFFF_F800_0000_0100)];
    assert_eq!(find_root(&tables.memory, None, &[]).unwrap().unwrap().root.0, root);

    // The list says so too: its head and its one entry, in one page.
    let head = 0xFFFF_F800_0000_0100_u64;
    for (at, address) in [(0x100, head + 0x40), (0x108, head + 0x40), (0x140, head), (0x148, head)] {
        tables.memory.write(0x70_0000 + at, &address.to_le_bytes());
    }
    assert!(!lists_are_there(&space(&tables, LATE), &heads).unwrap());
    let kernel = AddressSpace::new(&tables.memory, PagingMode::FourLevel, PhysAddr(root), LATE);
    assert!(lists_are_there(&kernel, &heads).unwrap());
    assert_eq!(find_root(&tables.memory, None, &heads).unwrap().unwrap().root.0, root);
}

#[test]
fn lists_tell_how_tables_are_built() {
    for (mode, machine, head) in [
        (PagingMode::X86, Machine::X86, 0x8040_0100_u64),
        (PagingMode::Pae, Machine::X86, 0x8040_0100),
        (PagingMode::FourLevel, Machine::Amd64, 0xFFFF_F800_0000_0100),
        (PagingMode::FiveLevel, Machine::Amd64, 0xFFFF_F800_0000_0100),
        (PagingMode::FiveLevel, Machine::Amd64, 0xFF12_3400_0000_0100),
        (PagingMode::Arm64, Machine::Arm64, 0xFFFF_F800_0000_0100),
    ] {
        let mut tables = kernel_of(mode);
        tables.map(head & !0xFFF, 0x73_0000);
        let size = if machine == Machine::X86 { 4 } else { 8 };
        for (at, address) in [
            (0, head + 0x40),
            (1, head + 0x80),
            (0x40 / size, head + 0x80),
            (0x40 / size + 1, head),
            (0x80 / size, head),
            (0x80 / size + 1, head + 0x40),
        ] {
            let bytes = address.to_le_bytes();
            tables
                .memory
                .write(0x73_0100 + at * size, &bytes[..usize::try_from(size).unwrap()]);
        }
        for pae in [None, Some(false), Some(true)] {
            let found = choose_mode(
                &tables.memory,
                machine,
                PhysAddr(tables.root),
                pae,
                &[VirtAddr(0), VirtAddr(head)],
            );
            assert_eq!(found.unwrap(), Some(mode), "{pae:?}");
        }
        let elsewhere = choose_mode(
            &tables.memory,
            machine,
            PhysAddr(tables.root),
            None,
            &[VirtAddr(head + 0x200)],
        );
        assert_eq!(elsewhere.unwrap(), None);
    }
}
