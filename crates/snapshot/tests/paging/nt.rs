//! A machine in the shape of NT, whose maker wrote down where it put everything.

use dotdump_format::kernel::Machine;
use dotdump_format::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::paging::{
    FailureReason, PagingMode, Provenance, RootSource, SoftwarePtes, choose_mode, find_root, lists_are_there,
};
use dotdump_snapshot::{AddressSpace, Memory};
use serde_json::Value;

use crate::plain::Plain;
use dotdump_tests::machines::{image, text};

/// As `KDDEBUGGER_DATA64` of a machine without the mitigation has it.
const SOFTWARE: SoftwarePtes = SoftwarePtes::of_build(19041, 0, 0);

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn machine(name: &str) -> Option<(Plain, Value)> {
    let memory = Plain::full_dump(&image(&format!("{name}-full.dmp"))?);
    let truth = serde_json::from_str(&text(&format!("images/{name}-meta.json"))?).unwrap();
    Some((memory, truth))
}

fn heads(truth: &Value) -> [VirtAddr; 2] {
    ["PsLoadedModuleList", "PsActiveProcessHead"].map(|name| VirtAddr(number(&truth["symbols"][name])))
}

#[test]
fn user_pages_and_software_entries_are_where_they_were_put() {
    for name in ["nt2", "nt2-large", "nt2-high"] {
        let Some((memory, truth)) = machine(name) else { return };
        let space = |root: &Value| AddressSpace::new(&memory, PagingMode::FourLevel, PhysAddr(number(root)), SOFTWARE);
        let kernel = space(&truth["dtb"]);
        let mut processes = 0;
        for process in truth["processes"].as_array().unwrap() {
            let Some(pages) = process["user_pages"].as_array() else {
                continue;
            };
            processes += 1;
            let space = space(&process["dtb"]).with_kernel(&kernel);
            let mut expected: Vec<(u64, u64, Provenance)> = pages
                .iter()
                .chain([&process["peb"]])
                .map(|page| (number(&page["va"]), number(&page["pa"]), Provenance::Valid))
                .collect();
            for entry in process["software_ptes"].as_array().unwrap() {
                let (address, pte) = (number(&entry["va"]), number(&entry["pte"]));
                let found = space.translate(VirtAddr(address)).unwrap();
                let failure = || found.unwrap_err().reason;
                match entry["kind"].as_str().unwrap() {
                    "transition" => expected.push((address, pte & 0xFFFF_FFFF_F000, Provenance::Transition)),
                    "pagefile" => assert_eq!(failure(), FailureReason::PageFile { number: 0, page: 0x12 }),
                    "prototype" => assert_eq!(failure(), FailureReason::PrototypeAbsent),
                    "demand-zero" => assert_eq!(failure(), FailureReason::DemandZero),
                    other => panic!("{other}"),
                }
            }
            expected.sort_unstable();
            for (address, physical, provenance) in &expected {
                let found = space.translate(VirtAddr(address + 0x123)).unwrap().unwrap();
                assert_eq!(
                    (found.address.0, found.provenance),
                    (physical + 0x123, *provenance),
                    "{address:#x}"
                );
            }
            // And there is nothing else.
            let mut found = Vec::new();
            for mapping in space.mappings(PagingMode::FourLevel.user_half()) {
                let mapping = mapping.unwrap();
                found.extend((0..mapping.pages()).map(|page| {
                    let skipped = page * PAGE_SIZE;
                    (
                        mapping.range.start.0 + skipped,
                        mapping.physical.0 + skipped,
                        mapping.provenance,
                    )
                }));
            }
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(processes, 11, "{name}");
    }
}

#[test]
fn kernel_memory_reads_as_it_was_written() {
    for name in ["nt2", "nt2-large"] {
        let Some((memory, truth)) = machine(name) else { return };
        let dtb = number(&truth["dtb"]);
        let kernel = AddressSpace::new(&memory, PagingMode::FourLevel, PhysAddr(dtb | 2), SOFTWARE);
        assert_eq!(kernel.pte_base().unwrap(), Some(VirtAddr(number(&truth["pte_base"]))));
        let base = VirtAddr(number(&truth["kernel_base"]));
        let found = kernel.translate(base).unwrap().unwrap();
        assert_eq!(found.address.0, number(&truth["kernel_pa"]));
        assert_eq!(found.page_size, if name == "nt2" { 4 << 10 } else { 2 << 20 });

        let filler = &truth["pool_filler"];
        let (start, pages) = (VirtAddr(number(&filler["va"])), number(&filler["pages"]));
        let mut bytes = vec![0; usize::try_from(pages * PAGE_SIZE).unwrap()];
        assert_eq!(kernel.read(start, &mut bytes).unwrap(), bytes.len());
        for (index, page) in bytes.chunks(0x1000).enumerate() {
            let number = if index % 4 == 3 { index - 1 } else { index };
            assert!(
                page.starts_with(format!("pool page {number} ").as_bytes()),
                "page {index}"
            );
        }
        let range = VirtRange::sized(start, pages * PAGE_SIZE);
        let held: u64 = kernel.extents(range).map(|extent| extent.unwrap().range.size()).sum();
        assert_eq!(held, range.size());
    }
}

#[test]
fn the_kernels_tables_are_found_without_a_header() {
    for name in ["nt2", "nt2-large", "nt2-high"] {
        let Some((memory, truth)) = machine(name) else { return };
        let heads = heads(&truth);
        let check = |memory: &Plain, source| {
            for machine in [None, Some(Machine::Amd64)] {
                for heads in [&[][..], &heads[..]] {
                    let found = find_root(memory, machine, heads).unwrap().expect(name);
                    assert_eq!((found.mode, found.source), (PagingMode::FourLevel, source), "{name}");
                    assert_eq!(found.root.0, number(&truth["dtb"]), "{name}");
                }
            }
        };
        check(&memory, RootSource::LowStub);
        let memory = memory.from(0x100);
        check(&memory, RootSource::SelfMap);
        assert_eq!(find_root(&memory, Some(Machine::X86), &[]).unwrap(), None);
        assert_eq!(
            find_root(&memory, Some(Machine::Arm64), &[])
                .unwrap()
                .map(|found| found.root.0),
            None
        );
    }
}

#[test]
fn lists_tell_the_mode_and_whether_a_root_maps_the_kernel() {
    let Some((memory, truth)) = machine("nt2") else { return };
    let heads = heads(&truth);
    for process in truth["processes"].as_array().unwrap() {
        let root = PhysAddr(number(&process["dtb"]));
        let mode = choose_mode(&memory, Machine::Amd64, root, None, &heads).unwrap();
        assert_eq!(mode, Some(PagingMode::FourLevel));
    }
    // A page that is no root.
    let space = AddressSpace::new(&memory, PagingMode::FourLevel, PhysAddr(0x100_0000), SOFTWARE);
    assert!(!lists_are_there(&space, &heads).unwrap());
    assert_eq!(
        choose_mode(&memory, Machine::Amd64, PhysAddr(0x100_0000), None, &heads).unwrap(),
        None
    );
}
