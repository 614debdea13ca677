use dotdump_format::PAGE_SIZE;

use super::test_tables::Tables;
use super::tests::{LATE, failure, mappings, space};
use super::*;

/// Entries and what they mean, as public symbols and open readers lay them out.
#[test]
fn invalid_entries_mean_what_windows_says() {
    use FailureReason::{DemandZero, FileBacked, NotPresent, PageFile};
    let late_plain = SoftwarePtes::Late {
        high_bit: 0,
        swizzle_bit: 0,
    };
    let page_file = |number, page| Err(PageFile { number, page });
    let wide: &[(SoftwarePtes, u64, Result<u64, FailureReason>)] = &[
        (SoftwarePtes::None, 0x0040_0880, Err(NotPresent)),
        (LATE, 0, Err(NotPresent)),
        // Transition, protection READWRITE.
        (SoftwarePtes::Early, 0x0040_0880, Ok(0x40_0000)),
        (SoftwarePtes::Middle, 0x0040_0808, Ok(0x40_0000)),
        (LATE, 0x0040_0880, Ok(0x40_0000)),
        // With bit 45 against speculation, and one where bit 4 says that it is a part of the address.
        (LATE, 0x2000_0040_0880, Ok(0x40_0000)),
        (LATE, 0x2000_0040_0890, Ok(0x2000_0040_0000)),
        (late_plain, 0x2000_0040_0880, Ok(0x2000_0040_0000)),
        // Above bit 47 older entries have other things than an address.
        (SoftwarePtes::Early, 0x0003_0000_0040_0880, Ok(0x40_0000)),
        (LATE, 0x0001_0000_0040_0880, Ok(0x0001_0000_0040_0000)),
        (LATE, 0x80, Err(DemandZero)),
        (LATE, 0x2000_0000_0080, Err(DemandZero)),
        (SoftwarePtes::Early, 0x80, Err(DemandZero)),
        (SoftwarePtes::Middle, 0x08, Err(DemandZero)),
        // Page 0x12345 of page file 2.
        (SoftwarePtes::Early, 0x0001_2345_0000_0084, page_file(2, 0x1_2345)),
        (SoftwarePtes::Middle, 0x0001_2345_0000_0088, page_file(2, 0x1_2345)),
        (LATE, 0x0001_2345_0000_2090, page_file(2, 0x1_2345)),
        (LATE, 0x0001_2345_0000_2080, page_file(2, 0x1_0345)),
        (late_plain, 0x0001_2345_0000_2080, page_file(2, 0x1_2345)),
        (LATE, 0x0000_FFFF_FFFF_0480, Err(FileBacked)),
    ];
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel, PagingMode::Arm64] {
        check_entries(mode, wide);
    }
    check_entries(
        PagingMode::Pae,
        &[
            (SoftwarePtes::Early, 0x3F_0040_0880, Ok(0x3F_0040_0000)),
            (SoftwarePtes::Early, 0x1FF_0040_0880, Ok(0x3F_0040_0000)),
            (SoftwarePtes::Early, 0x0001_2345_0000_0086, page_file(3, 0x1_2345)),
            (SoftwarePtes::Early, 0x80, Err(DemandZero)),
            (SoftwarePtes::Early, 0xFFFF_FFFF_0000_0480, Err(FileBacked)),
        ],
    );
    check_entries(
        PagingMode::X86,
        &[
            (SoftwarePtes::Early, 0x8765_4880, Ok(0x8765_4000)),
            (SoftwarePtes::Early, 0x1234_5086, page_file(3, 0x1_2345)),
            (SoftwarePtes::Early, 0x80, Err(DemandZero)),
            (SoftwarePtes::None, 0x8765_4880, Err(NotPresent)),
        ],
    );
}

fn check_entries(mode: PagingMode, entries: &[(SoftwarePtes, u64, Result<u64, FailureReason>)]) {
    for (software, entry, expected) in entries {
        let mut tables = Tables::new(mode);
        tables.map_entry(0x3000, *entry);
        let space = space(&tables, *software);
        let found = space.translate(VirtAddr(0x3ABC)).unwrap();
        let context = format!("{mode:?} {software:?} {entry:#x}: {found:?}");
        match expected {
            Ok(page) => {
                let found = found.expect(&context);
                assert_eq!(found.address.0, page | 0xABC, "{context}");
                assert_eq!(found.provenance, Provenance::Transition, "{context}");
                assert!(found.rights.write && found.rights.user, "{context}");
                assert_eq!(found.rights.execute, mode == PagingMode::X86, "{context}");
                let all = mappings(&space);
                assert_eq!(
                    (all.len(), all[0].physical.0, all[0].provenance),
                    (1, *page, Provenance::Transition)
                );
            }
            Err(reason) => {
                assert_eq!(found.expect_err(&context).reason, *reason, "{context}");
                assert!(mappings(&space).is_empty(), "{context}");
            }
        }
    }
}

#[test]
fn prototypes_lie_in_the_kernel() {
    // The mode, where the prototypes lie, and an entry that refers to an address.
    type Refer = fn(u64) -> u64;
    let wide: Refer = |address| (address & 0xFFFF_FFFF_FFFF) << 16 | 1 << 10;
    let cases: [(PagingMode, u64, Refer); 4] = [
        (PagingMode::FourLevel, 0xFFFF_A500_1234_5000, wide),
        (PagingMode::Arm64, 0xFFFF_A500_1234_5000, wide),
        (PagingMode::Pae, 0xE123_4000, |address| address << 32 | 1 << 10),
        // Bits 10 to 30 of the address from bit 11 on, bits 2 to 8 from bit 1 on.
        (PagingMode::X86, 0xE123_4000, |address| {
            (address & 0x7FFF_FC00) << 1 | (address & 0x3FC) >> 1 | 1 << 10
        }),
    ];
    for (mode, pool, refer) in cases {
        let size = mode.entry_size();
        let valid = if mode == PagingMode::Arm64 { 0x743 } else { 0x63 };
        let prototypes: &[(u64, Result<u64, FailureReason>)] = &[
            (0x40_0000 | valid, Ok(0x40_0000)),
            (0x41_0000 | 0x880, Ok(0x41_0000)),
            (0, Err(FailureReason::PrototypeAbsent)),
            (0x80, Err(FailureReason::DemandZero)),
            (0x1234_0000 | 1 << 10, Err(FailureReason::FileBacked)),
        ];
        let mut kernel = Tables::new(mode);
        kernel.map(pool, 0x77_7000);
        for (index, (prototype, _)) in (0..).zip(prototypes) {
            kernel.set(0x77_7000 + index * size, *prototype);
        }
        // The process's tables lie elsewhere in the same memory, and do not map the kernel.
        let mut process = Tables::new(mode);
        for (index, _) in (0..).zip(prototypes) {
            process.map_entry(0x3000 + index * PAGE_SIZE, refer(pool + index * size));
        }
        process.map_entry(0x1_0000, refer(pool + PAGE_SIZE));
        // No entry lies across others; those of 4 bytes cannot say so.
        let crooked = if size == 8 { pool + 1 } else { pool + PAGE_SIZE };
        process.map_entry(0x1_1000, refer(crooked));

        let kernel = space(&kernel, SoftwarePtes::Early);
        let alone = space(&process, SoftwarePtes::Early);
        assert_eq!(failure(&alone, 0x3000).reason, FailureReason::PrototypeAbsent);
        let with = space(&process, SoftwarePtes::Early).with_kernel(&kernel);
        let mut expected = Vec::new();
        for (index, (_, outcome)) in (0..).zip(prototypes) {
            let address = 0x3000 + index * PAGE_SIZE;
            let found = with.translate(VirtAddr(address)).unwrap();
            assert_eq!(
                found.map(|found| found.address.0).map_err(|failure| failure.reason),
                *outcome,
                "{mode:?}"
            );
            if let Ok(found) = found {
                assert_eq!(found.provenance, Provenance::Prototype);
                expected.push((address, found.address.0));
            }
        }
        assert_eq!(failure(&with, 0x1_0000).reason, FailureReason::PrototypeAbsent);
        assert_eq!(failure(&with, 0x1_1000).reason, FailureReason::PrototypeAbsent);
        let all: Vec<_> = mappings(&with)
            .iter()
            .map(|found| (found.range.start.0, found.physical.0))
            .collect();
        assert_eq!(all, expected);
    }
}

#[test]
fn a_prototype_that_refers_to_itself_leads_nowhere() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    let address = 0xFFFF_A500_0000_1000;
    tables.map_entry(address, (address & 0xFFFF_FFFF_FFFF) << 16 | 1 << 10);
    let space = space(&tables, SoftwarePtes::Early);
    assert_eq!(failure(&space, address).reason, FailureReason::PrototypeAbsent);
}
