//! A Linux guest: QEMU wrote down what its processors' tables map.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

use dotdump_format::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};

use dotdump_snapshot::paging::{PagingMode, SoftwarePtes};
use dotdump_snapshot::{AddressSpace, PhysicalMemory};

use crate::plain::Plain;
use dotdump_tests::machines::{image, text};

/// A range of QEMU's table.
struct Range {
    address: u64,
    physical: u64,
    size: u64,
    is_kernel: bool,
}

fn ranges() -> Option<Vec<Range>> {
    let lines = BufReader::new(File::open(image("linux-translate.tsv")?).unwrap()).lines();
    let ranges = lines.skip(1).map(|line| {
        let line = line.unwrap();
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |field: usize| u64::from_str_radix(fields[field], 16).unwrap();
        let is_kernel = fields[3] == "kernel";
        Range {
            // QEMU extends the sign of all of them.
            address: if is_kernel {
                number(0)
            } else {
                number(0) & 0xFFFF_FFFF_FFFF
            },
            physical: number(1),
            size: number(2),
            is_kernel,
        }
    });
    Some(ranges.collect())
}

fn roots() -> Vec<u64> {
    let registers: serde_json::Value = serde_json::from_str(&text("images/linux-cpus.json").unwrap()).unwrap();
    let processors = registers.as_array().unwrap();
    processors
        .iter()
        .map(|processor| processor["cr3"].as_u64().unwrap())
        .collect()
}

/// How often the ends of the ranges translate as QEMU says, elsewhere, and not at all.
fn count(space: &AddressSpace<'_>, ranges: &[Range], is_kernel: bool) -> [u64; 3] {
    let mut counts = [0; 3];
    for range in ranges.iter().filter(|range| range.is_kernel == is_kernel) {
        let last = range.size - PAGE_SIZE;
        for skipped in [Some(0), Some(last).filter(|last| *last > 0)].into_iter().flatten() {
            let found = space.translate(VirtAddr(range.address + skipped)).unwrap();
            counts[match found {
                Ok(found) if found.address.0 == range.physical + skipped => 0,
                Ok(_) => 1,
                Err(_) => 2,
            }] += 1;
        }
    }
    counts
}

#[test]
fn ranges_translate_as_the_walk_of_qemu_says() {
    let (Some(core), Some(ranges)) = (image("linux-core.elf"), ranges()) else {
        return;
    };
    let memory = Plain::elf(&core);
    let mut lines = Vec::new();
    for (number, root) in roots().into_iter().enumerate() {
        let space = AddressSpace::new(&memory, PagingMode::FourLevel, PhysAddr(root), SoftwarePtes::None);
        for (is_kernel, kind) in [(true, "kernel"), (false, "user")] {
            let [agree, differ, absent] = count(&space, &ranges, is_kernel);
            lines.push(format!("{number}\t{root:x}\t{kind}\t{agree}\t{differ}\t{absent}"));
        }
        // Not only their ends.
        for range in ranges.iter().filter(|range| range.is_kernel) {
            for skipped in (0..range.size).step_by(0x1000) {
                let found = space.translate(VirtAddr(range.address + skipped)).unwrap().unwrap();
                assert_eq!(found.address.0, range.physical + skipped, "{:#x}", range.address);
            }
        }
    }
    let expected = text("expected/linux-translate-check.tsv").unwrap();
    assert_eq!(lines, expected.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn what_is_mapped_is_what_qemu_found() {
    let (Some(core), Some(ranges)) = (image("linux-core.elf"), ranges()) else {
        return;
    };
    let memory = Plain::elf(&core);
    let pages = |address: u64, physical: u64, size: u64| {
        (0..size)
            .step_by(0x1000)
            .map(move |skipped| (address + skipped, physical + skipped))
    };
    let expected: HashSet<(u64, u64)> = ranges
        .iter()
        .flat_map(|range| pages(range.address, range.physical, range.size))
        .collect();
    let mut found = HashSet::new();
    for root in roots() {
        let space = AddressSpace::new(&memory, PagingMode::FourLevel, PhysAddr(root), SoftwarePtes::None);
        let mut last = VirtAddr(0);
        for mapping in space.mappings(VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX))) {
            let mapping = mapping.unwrap();
            assert!(mapping.range.start >= last);
            last = mapping.range.end;
            found.extend(pages(
                mapping.range.start.0,
                mapping.physical.0,
                mapping.pages() * PAGE_SIZE,
            ));
        }
    }
    // QEMU leaves out what is mapped of devices.
    found.retain(|(_, physical)| memory.place(PhysAddr(*physical).pfn()).unwrap().is_some());
    let missed = expected.difference(&found).count();
    let more: Vec<_> = found.difference(&expected).collect();
    assert_eq!((missed, more.len()), (0, 0), "{:x?}", &more[..more.len().min(10)]);
}
