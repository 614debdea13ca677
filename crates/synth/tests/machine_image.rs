//! What `MachineImage` finds in files of machines of every kind, against what was put there.

use std::ops::ControlFlow;

use dotdump_format::kernel::pfn::PageLocation;
use dotdump_format::kernel::{DumpType, Machine, MemoryRun};
use dotdump_format::{PAGE_SIZE, Pfn};
use dotdump_snapshot::machine::{DebuggerDataOrigin, MachineFile, MachineImage, MachineOptions, RootOrigin};
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::raw_memory::{MemoryMap, MemoryRegion};
use dotdump_snapshot::{AddressSpace, MachineSnapshot, Memory, PatchedMemory};
use dotdump_synth::truth::PageState;
use dotdump_synth::{HeaderStyle, MachineBuilder, Random, SynthMachine};

/// The pages of all runs, one after the other.
fn pages(machine: &SynthMachine) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (first, count) in machine.ram().map().runs() {
        for page in first.0..first.0 + count {
            match machine.ram().page(Pfn(page)) {
                Some(page) => bytes.extend_from_slice(page),
                None => bytes.resize(bytes.len() + 0x1000, 0),
            }
        }
    }
    bytes
}

/// A full dump.
fn dump(machine: &SynthMachine, style: HeaderStyle) -> Vec<u8> {
    let mut header = machine.header(DumpType::FULL, style).unwrap();
    let runs: Vec<MemoryRun> = machine
        .ram()
        .map()
        .runs()
        .iter()
        .map(|(first, count)| MemoryRun {
            base_page: *first,
            page_count: *count,
        })
        .collect();
    header.set_physical_memory(&runs).unwrap();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(pages(machine));
    bytes
}

/// A raw image with nothing but the pages, and the map of where they belong.
fn raw(machine: &SynthMachine) -> (Vec<u8>, MachineOptions) {
    let mut offset = 0;
    let regions = machine.ram().map().runs().iter().map(|(first, count)| {
        let region = MemoryRegion {
            start: first.address().unwrap(),
            size: count * PAGE_SIZE,
            offset: offset.into(),
        };
        offset += region.size;
        region
    });
    let map = MemoryMap {
        regions: regions.collect(),
        ..MemoryMap::default()
    };
    let options = MachineOptions {
        memory_map: Some(map),
        ..MachineOptions::default()
    };
    (pages(machine), options)
}

fn with(bytes: &[u8], options: &MachineOptions, what: &str, check: impl FnOnce(&MachineImage<'_>)) {
    let file = MachineFile::open(&bytes, options).expect(what);
    check(&MachineImage::open(&file).expect(what));
}

fn check(image: &MachineImage<'_>, machine: &SynthMachine, what: &str) {
    let truth = &machine.truth;
    assert_eq!(image.machine(), machine.machine(), "{what}");
    let root = image.kernel_root().unwrap();
    assert_eq!(
        (root.mode, root.root, root.confirmed),
        (machine.mode, truth.root, true),
        "{what}"
    );

    let found = image.debugger_data().expect(what);
    assert_eq!(found.address, truth.debugger_data.address, "{what}");
    assert_eq!(found.encoded, truth.debugger_data.keys.is_some(), "{what}");
    assert_eq!(found.data.as_bytes(), truth.debugger_data.plain, "{what}");
    assert_eq!(found.flag.is_some(), found.encoded, "{what}");
    if let Some(flag) = found.flag {
        assert_eq!(Some(flag), truth.symbol("KdpDataBlockEncoded"), "{what}");
        // Through the patches the block is plain, and nothing says otherwise.
        let patched = PatchedMemory::new(image.physical_memory().unwrap(), image.patches());
        let kernel = image.kernel_space().unwrap();
        let patched = AddressSpace::new(&patched, kernel.mode(), kernel.root(), kernel.software());
        let mut block = vec![1; found.data.as_bytes().len() + 1];
        patched.read(flag, &mut block[..1]).unwrap();
        patched.read(found.address, &mut block[1..]).unwrap();
        assert_eq!((block[0], &block[1..]), (0, found.data.as_bytes()), "{what}");
    }

    let modules = image.modules();
    assert_eq!(modules.len(), truth.modules.len(), "{what}");
    for (module, expected) in modules.iter().zip(&truth.modules) {
        assert_eq!(module, expected, "{what}");
    }
    assert_eq!(image.unloaded_drivers(), truth.unloaded_drivers, "{what}");

    let processes: Vec<_> = truth.processes.iter().map(|process| process.process.clone()).collect();
    assert_eq!(image.processes(), processes, "{what}");

    assert_eq!(image.processors().len(), truth.processors.len(), "{what}");
    for (processor, expected) in image.processors().iter().zip(&truth.processors) {
        assert_eq!(processor.number, expected.number, "{what}");
        assert_eq!(processor.prcb, Some(expected.prcb), "{what}");
        assert_eq!(processor.current_thread, Some(expected.current_thread), "{what}");
        let context = processor.context.as_ref().expect(what);
        assert_eq!(context.address, Some(expected.context_address), "{what}");
        assert_eq!(context.bytes, expected.context, "{what}");
        assert_eq!(processor.special_registers, Some(expected.special_registers), "{what}");
    }
    assert_eq!(image.bugcheck(), Some(truth.bugcheck), "{what}");
    assert_eq!(image.header().minor_version(), Some(machine.build), "{what}");
    assert_eq!(image.header().system_time(), Some(machine.time), "{what}");
    assert_eq!(image.header().system_up_time(), Some(machine.up_time), "{what}");
    assert_eq!(
        image.kernel_space().unwrap().software(),
        machine.software_ptes,
        "{what}"
    );
    check_pfn_database(image, machine, what);
    let findings = image.findings();
    assert!(findings.is_empty(), "{what}: {findings:?}");
}

fn check_pfn_database(image: &MachineImage<'_>, machine: &SynthMachine, what: &str) {
    let truth = &machine.truth;
    let Some(database) = image.pfn_database() else {
        // Its layout is known for x86 from Vista to 8.1 only.
        assert!(
            machine.machine() == Machine::X86 && !(6000..10_240).contains(&machine.build),
            "{what}"
        );
        return;
    };
    assert_eq!(database.base(), truth.pfn_database, "{what}");
    assert!(database.is_confirmed(), "{what}");
    let mut seen = 0;
    let end = machine.ram().map().end();
    database
        .visit(Pfn(0), end, &mut |page, state| {
            let Some(expected) = truth.frames.get(&page) else {
                return ControlFlow::Continue(());
            };
            seen += 1;
            let location = match expected.state {
                PageState::Zeroed => PageLocation::Zeroed,
                PageState::Free => PageLocation::Free,
                PageState::Standby => PageLocation::Standby,
                PageState::Modified => PageLocation::Modified,
                PageState::ModifiedNoWrite => PageLocation::ModifiedNoWrite,
                PageState::Bad => PageLocation::Bad,
                PageState::Active => PageLocation::Active,
                PageState::Transition => PageLocation::Transition,
            };
            assert_eq!(state.location, location, "{what}: {page:?}");
            assert_eq!(state.prototype, expected.prototype, "{what}: {page:?}");
            assert_eq!(state.original_pte, expected.original_pte, "{what}: {page:?}");
            assert_eq!(state.pte_address, expected.pte_address, "{what}: {page:?}");
            assert_eq!(state.reference_count, expected.reference_count, "{what}: {page:?}");
            assert_eq!(state.modified, expected.modified, "{what}: {page:?}");
            assert_eq!(state.pte_frame, expected.pte_frame, "{what}: {page:?}");
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, truth.frames.len(), "{what}");
}

const MODES: [PagingMode; 5] = [
    PagingMode::X86,
    PagingMode::Pae,
    PagingMode::FourLevel,
    PagingMode::FiveLevel,
    PagingMode::Arm64,
];

#[test]
fn dumps_of_every_kind_of_machine() {
    for mode in MODES {
        for style in [HeaderStyle::Crash, HeaderStyle::Debugger] {
            let machine = MachineBuilder::new(mode).build().unwrap();
            let what = format!("{mode:?}, {style:?}");
            with(&dump(&machine, style), &MachineOptions::default(), &what, |image| {
                check(image, &machine, &what);
                assert_eq!(image.kernel_root().unwrap().origin, RootOrigin::Header, "{what}");
                assert_eq!(
                    image.debugger_data().unwrap().origin,
                    DebuggerDataOrigin::Header,
                    "{what}"
                );
            });
        }
    }
}

#[test]
fn memory_of_every_kind_of_machine_without_a_header() {
    // Tables of x86 without PAE are told by an entry for the first page, which these machines have nothing for.
    for mode in MODES.into_iter().filter(|mode| *mode != PagingMode::X86) {
        let machine = MachineBuilder::new(mode).seed(3).build().unwrap();
        let (bytes, options) = raw(&machine);
        let what = format!("{mode:?}, raw");
        with(&bytes, &options, &what, |image| check(image, &machine, &what));
    }
}

#[test]
fn encoded_blocks_with_and_without_a_header() {
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        for seed in 0..4 {
            let builder = MachineBuilder::new(mode).seed(seed).encode_debugger_data(true);
            let machine = builder.large_kernel(seed == 3).build().unwrap();
            let what = format!("{mode:?}, seed {seed}");
            with(
                &dump(&machine, HeaderStyle::Crash),
                &MachineOptions::default(),
                &what,
                |image| {
                    check(image, &machine, &what);
                },
            );
            let (bytes, options) = raw(&machine);
            with(&bytes, &options, &what, |image| {
                check(image, &machine, &format!("{what}, raw"))
            });
        }
    }
}

#[test]
fn builds_from_7_to_11() {
    for build in [7601, 17_134, 17_763, 19_041, 22_621, 26_100] {
        let builder = MachineBuilder::new(PagingMode::FourLevel).build_number(build);
        let l1tf = build >= 17_134;
        let machine = if l1tf { builder.l1tf(45, 4) } else { builder }.build().unwrap();
        let what = format!("build {build}");
        with(
            &dump(&machine, HeaderStyle::Debugger),
            &MachineOptions::default(),
            &what,
            |image| check(image, &machine, &what),
        );
        let (bytes, options) = raw(&machine);
        with(&bytes, &options, &what, |image| check(image, &machine, &what));
    }
}

/// Where page tables are shadowed, processors that were stopped in user mode have roots that map next to nothing of the
/// kernel, and badly made dumps have such a root in their header.
#[test]
fn roots_of_user_mode_are_not_the_kernels() {
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        let machine = MachineBuilder::new(mode).shadow_page_tables(true).build().unwrap();
        let what = format!("{mode:?}, shadowed");
        let shadowed = machine.truth.processes.iter().map(|process| &process.process);
        let user_root = shadowed
            .filter(|process| process.id != 4)
            .find_map(|process| process.user_directory_table_base)
            .expect("a shadowed process");
        let good = dump(&machine, HeaderStyle::Crash);
        with(&good, &MachineOptions::default(), &what, |image| {
            check(image, &machine, &what)
        });
        let mut bad = good;
        bad[0x10..0x18].copy_from_slice(&(user_root.0 | 2).to_le_bytes());
        with(&bad, &MachineOptions::default(), &what, |image| {
            check(image, &machine, &what);
            assert_ne!(image.kernel_root().unwrap().origin, RootOrigin::Header, "{what}");
            assert!(
                image.guesses().iter().any(|guess| guess.contains("page tables at")),
                "{what}"
            );
        });
    }
}

/// Headers that do not say how page tables are built.
#[test]
fn pae_is_told_by_the_lists() {
    for mode in [PagingMode::X86, PagingMode::Pae] {
        let machine = MachineBuilder::new(mode).build().unwrap();
        let mut bytes = dump(&machine, HeaderStyle::Crash);
        let what = format!("{mode:?}");
        for pae in [b'P', 0, 1] {
            bytes[0x5C] = pae;
            with(&bytes, &MachineOptions::default(), &what, |image| {
                check(image, &machine, &what)
            });
        }
    }
}

/// Damage anywhere: in page tables, lists, structures. Nothing panics, and every walk ends.
#[test]
fn damaged_machines_are_looked_at_without_harm() {
    for (mode, seed) in MODES.into_iter().zip(1..) {
        let machine = MachineBuilder::new(mode).build().unwrap();
        let mut bytes = dump(&machine, HeaderStyle::Crash);
        let start = bytes.len() - pages(&machine).len();
        // Where something is: damage to empty pages would show nothing.
        let mut used = Vec::new();
        let mut offset = start;
        for (first, count) in machine.ram().map().runs() {
            for page in first.0..first.0 + count {
                if machine.ram().page(Pfn(page)).is_some() {
                    used.push(offset);
                }
                offset += 0x1000;
            }
        }
        let mut random = Random::new(seed);
        let mut pick = |below: usize| usize::try_from(random.below(below as u64)).unwrap();
        for _ in 0..12 {
            let mut undo = Vec::new();
            for _ in 0..400 {
                let place = used[pick(used.len())] + pick(512) * 8;
                undo.push((place, <[u8; 8]>::try_from(&bytes[place..place + 8]).unwrap()));
                // A word from elsewhere in the machine: a pointer as often as not.
                let other = used[pick(used.len())] + pick(512) * 8;
                bytes.copy_within(other..other + 8, place);
            }
            let file = MachineFile::open(&bytes, &MachineOptions::default()).unwrap();
            let image = MachineImage::open(&file).unwrap();
            let _ = (image.findings(), image.guesses(), image.stopped_processor().is_some());
            assert!(image.modules().len() <= 10_000 && image.processes().len() <= 65_536);
            if let Some(database) = image.pfn_database() {
                let mut last = None;
                database
                    .visit(Pfn(0), Pfn(1 << 20), &mut |page, _| {
                        assert!(last.replace(page) < Some(page));
                        ControlFlow::Continue(())
                    })
                    .unwrap();
            }
            for (place, word) in undo.into_iter().rev() {
                bytes[place..place + 8].copy_from_slice(&word);
            }
        }
        with(&bytes, &MachineOptions::default(), "repaired", |image| {
            check(image, &machine, "repaired")
        });
    }
}
