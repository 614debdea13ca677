//! Dumps of a machine, read back through the project's readers, and hostile ones, which must not break these.

use dotdump_format::kernel::{Body, DumpType, KernelDump};
use dotdump_format::{PAGE_SIZE, Pfn};
use dotdump_snapshot::kernel_dump::KernelDumpMemory;
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::{PageSet, PhysicalMemory};
use dotdump_synth::hostile::{HostileDump, HostileMachine, damage};
use dotdump_synth::{MachineBuilder, MemoryMap, Random, SynthMachine};

fn small(mode: PagingMode) -> SynthMachine {
    MachineBuilder::new(mode)
        .memory(MemoryMap::pc(16 << 20))
        .processes(4)
        .build()
        .unwrap()
}

fn page(memory: &dyn PhysicalMemory, page: Pfn) -> Option<Vec<u8>> {
    let mut bytes = vec![0; PAGE_SIZE.try_into().unwrap()];
    let read = memory.read(page.address().unwrap(), &mut bytes).unwrap();
    (read == bytes.len()).then_some(bytes)
}

/// Holds the pages of a dump against those of the machine.
fn check_pages(machine: &SynthMachine, dump: &[u8], expected: &PageSet) {
    let opened = KernelDump::open(&dump).unwrap();
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    let memory = KernelDumpMemory::open(&dump, &opened).unwrap().expect("it has pages");
    assert_eq!(memory.pages_present(), expected.len());
    let mut next = Pfn(0);
    let mut found = PageSet::default();
    while let Some(run) = memory.next_run(next).unwrap() {
        found.insert_run(run.first, run.pages);
        next = run.end();
    }
    assert!(found.runs().eq(expected.runs()));
    for number in expected.runs().flat_map(|(first, end)| first.0..end.0) {
        assert_eq!(
            page(&memory, Pfn(number)),
            page(machine, Pfn(number)),
            "page {number:#x}"
        );
    }
    let blobs: Vec<_> = opened
        .secondary_data(&dump)
        .unwrap()
        .expect("it has secondary data")
        .blobs(&dump)
        .map(|blob| {
            let blob = blob.unwrap();
            let start = usize::try_from(blob.data.0).unwrap();
            &dump[start..start + usize::try_from(blob.size).unwrap()]
        })
        .collect();
    let expected: Vec<_> = machine.truth.blobs.iter().map(|blob| blob.data.as_slice()).collect();
    assert_eq!(blobs, expected);
}

#[test]
fn dumps_have_the_machines_pages() {
    for mode in [PagingMode::Pae, PagingMode::FourLevel, PagingMode::Arm64] {
        let machine = small(mode);
        let full = machine.dump(DumpType::FULL).to_bytes().unwrap();
        check_pages(&machine, &full, &machine.pages());
        let in_use = machine.pages_in_use();
        let mut types = vec![DumpType::BITMAP_FULL, DumpType::BITMAP_KERNEL];
        if mode != PagingMode::Pae {
            types.extend([DumpType::RANGE_KERNEL, DumpType::RANGE_FULL]);
        }
        for kind in types {
            let dump = machine.dump(kind).pages(in_use.clone()).to_bytes().unwrap();
            check_pages(&machine, &dump, &in_use);
        }
    }
}

#[test]
fn a_dump_without_secondary_data_ends_with_its_last_page() {
    let machine = small(PagingMode::FourLevel);
    let dump = machine.dump(DumpType::FULL).secondary_data(false).to_bytes().unwrap();
    assert_eq!(dump.len() as u64, 0x2000 + machine.pages().len() * PAGE_SIZE);
    let last = machine.pages().end().saturating_sub(1);
    assert_eq!(&dump[dump.len() - 0x1000..], page(&machine, last).unwrap());
    let opened = KernelDump::open(&dump.as_slice()).unwrap();
    assert!(opened.secondary_data(&dump.as_slice()).unwrap().is_none());
}

#[test]
fn a_raw_image_is_the_memory() {
    let machine = small(PagingMode::FourLevel);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw.img");
    assert_eq!(machine.write_raw(&path).unwrap(), 16 << 20);
    let image = std::fs::read(&path).unwrap();
    assert_eq!(image.len(), 16 << 20);
    for (number, bytes) in image.chunks_exact(0x1000).enumerate() {
        let expected = page(&machine, Pfn(number as u64)).unwrap_or_else(|| vec![0; 0x1000]);
        assert!(bytes == expected, "page {number:#x}");
    }
}

#[test]
fn more_runs_than_a_header_takes_need_a_bitmap() {
    let memory = MemoryMap::pc(16 << 20).with_runs(50, 4, 0x100);
    let machine = MachineBuilder::new(PagingMode::FourLevel)
        .memory(memory)
        .processes(4)
        .build()
        .unwrap();
    assert!(machine.dump(DumpType::FULL).to_bytes().is_err());
    let dump = machine.dump(DumpType::BITMAP_FULL).to_bytes().unwrap();
    check_pages(&machine, &dump, &machine.pages());
    let opened = KernelDump::open(&dump.as_slice()).unwrap();
    assert!(opened.header.physical_memory().is_none());
    assert!(matches!(opened.body, Body::Bitmap(_)));
}

#[test]
fn every_hostile_machine_differs_and_repeats() {
    for mode in [
        PagingMode::X86,
        PagingMode::Pae,
        PagingMode::FourLevel,
        PagingMode::FiveLevel,
        PagingMode::Arm64,
    ] {
        let good = small(mode);
        for hostile in HostileMachine::ALL {
            let mut machine = good.clone();
            hostile
                .apply(&mut machine, 5)
                .unwrap_or_else(|error| panic!("{mode:?} {hostile:?}: {error}"));
            assert_ne!(machine.ram(), good.ram(), "{mode:?} {hostile:?} changes nothing");
            let mut again = good.clone();
            hostile.apply(&mut again, 5).unwrap();
            assert_eq!(machine.ram(), again.ram(), "{mode:?} {hostile:?}");
        }
    }
}

#[test]
fn a_list_without_end_never_meets_its_head() {
    let mut machine = small(PagingMode::FourLevel);
    HostileMachine::EndlessModules.apply(&mut machine, 1).unwrap();
    let head = machine.truth.symbol("PsLoadedModuleList").unwrap();
    let mut at = head;
    for _ in 0..1000 {
        let mut next = [0; 8];
        assert_eq!(machine.read_kernel(at, &mut next), 8);
        at = u64::from_le_bytes(next).into();
        assert_ne!(at, head);
    }
}

/// Reads all that the readers of this crate's dependencies read of a dump.
fn read_all(dump: &[u8]) {
    let Ok(opened) = KernelDump::open(&dump) else { return };
    if let Ok(Some(secondary)) = opened.secondary_data(&dump) {
        let _ = secondary.blobs(&dump).count();
    }
    if let Ok(Some(memory)) = KernelDumpMemory::open(&dump, &opened) {
        let mut next = Pfn(0);
        for _ in 0..10_000 {
            let Ok(Some(run)) = memory.next_run(next) else { break };
            assert!(run.pages > 0 && run.first >= next);
            let _ = memory.place(run.first).unwrap();
            let Some(end) = run.first.checked_add(run.pages) else {
                break;
            };
            next = end;
        }
    }
}

#[test]
fn hostile_dumps_break_no_reader() {
    for mode in [PagingMode::X86, PagingMode::FourLevel] {
        let machine = small(mode);
        let in_use = machine.pages_in_use();
        let mut dumps = vec![
            machine
                .dump(DumpType::BITMAP_FULL)
                .pages(in_use.clone())
                .to_bytes()
                .unwrap(),
        ];
        dumps.push(machine.dump(DumpType::FULL).to_bytes().unwrap());
        if mode == PagingMode::FourLevel {
            dumps.push(machine.dump(DumpType::RANGE_FULL).pages(in_use).to_bytes().unwrap());
        }
        for good in &dumps {
            let mut unchanged = 0;
            for hostile in HostileDump::ALL {
                for seed in 0..4 {
                    let mut dump = good.clone();
                    hostile.apply(&mut dump, seed);
                    unchanged += u32::from(dump == *good);
                    read_all(&dump);
                }
            }
            assert!(unchanged <= 4, "nearly every one changes something: {unchanged}");
        }
        let mut random = Random::new(11);
        for _ in 0..200 {
            let mut dump = dumps[0].clone();
            damage(&mut dump, &mut random);
            read_all(&dump);
        }
    }
}
