//! Every mapping in the ground truth is what the page tables say: by a walk that is written here once more, from the
//! processors' manuals, and knows nothing of the builder.

use std::collections::BTreeMap;

use dotdump_format::kernel::{DumpType, Header, Machine};
use dotdump_format::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use dotdump_snapshot::PhysicalMemory;
use dotdump_snapshot::machine::Bugcheck;
use dotdump_snapshot::paging::{FailureReason, PagingMode, Provenance};
use dotdump_synth::truth::{PageState, PageUse, Space};
use dotdump_synth::{HeaderStyle, MachineBuilder, MemoryMap, SynthMachine};
use proptest::prelude::*;

const MODES: [PagingMode; 5] = [
    PagingMode::X86,
    PagingMode::Pae,
    PagingMode::FourLevel,
    PagingMode::FiveLevel,
    PagingMode::Arm64,
];

/// What an address leads to.
#[derive(Debug, PartialEq, Eq)]
struct Hit {
    physical: u64,
    page_size: u64,
    write: bool,
    user: bool,
    execute: bool,
}

fn number(machine: &SynthMachine, at: u64, size: usize) -> u64 {
    let mut bytes = [0; 8];
    assert_eq!(
        machine.read(PhysAddr(at), &mut bytes[..size]).unwrap(),
        size,
        "no memory at {at:#x}"
    );
    u64::from_le_bytes(bytes)
}

/// Walks the tables; `Err` is the entry of the lowest level that is not valid, `None` where no such table is.
fn walk(machine: &SynthMachine, root: u64, address: u64) -> Result<Hit, Option<u64>> {
    match machine.mode {
        PagingMode::X86 => {
            let directory = number(machine, (root & 0xFFFF_F000) + (address >> 22) * 4, 4);
            if directory & 1 == 0 {
                return Err(None);
            }
            if directory & 0x80 != 0 {
                return Ok(Hit {
                    physical: directory & 0xFFC0_0000 | address & 0x3F_FFFF,
                    page_size: 1 << 22,
                    write: directory & 2 != 0,
                    user: directory & 4 != 0,
                    execute: true,
                });
            }
            let entry = number(machine, (directory & 0xFFFF_F000) + (address >> 12 & 0x3FF) * 4, 4);
            if entry & 1 == 0 {
                return Err(Some(entry));
            }
            Ok(Hit {
                physical: entry & 0xFFFF_F000 | address & 0xFFF,
                page_size: 0x1000,
                write: directory & entry & 2 != 0,
                user: directory & entry & 4 != 0,
                execute: true,
            })
        }
        PagingMode::Pae => {
            let pointer = number(machine, (root & 0xFFFF_FFE0) + (address >> 30) * 8, 8);
            if pointer & 1 == 0 {
                return Err(None);
            }
            long_walk(machine, pointer & 0xF_FFFF_FFFF_F000, address, &[21, 12])
        }
        PagingMode::FourLevel => long_walk(machine, root & 0xF_FFFF_FFFF_F000, address, &[39, 30, 21, 12]),
        PagingMode::FiveLevel => long_walk(machine, root & 0xF_FFFF_FFFF_F000, address, &[48, 39, 30, 21, 12]),
        PagingMode::Arm64 => arm_walk(machine, root & 0x3_FFFF_FFFF_F000, address),
    }
}

fn long_walk(machine: &SynthMachine, mut table: u64, address: u64, shifts: &[u32]) -> Result<Hit, Option<u64>> {
    let (mut write, mut user, mut execute) = (true, true, true);
    for shift in shifts {
        let entry = number(machine, table + (address >> shift & 511) * 8, 8);
        if entry & 1 == 0 {
            return Err((*shift == 12).then_some(entry));
        }
        write &= entry & 2 != 0;
        user &= entry & 4 != 0;
        execute &= entry >> 63 == 0;
        table = entry & 0xF_FFFF_FFFF_F000;
        if *shift == 12 || entry & 0x80 != 0 {
            let page_size = 1_u64 << shift;
            return Ok(Hit {
                physical: table & !(page_size - 1) | address & (page_size - 1),
                page_size,
                write,
                user,
                execute,
            });
        }
    }
    unreachable!("the last shift is 12")
}

fn arm_walk(machine: &SynthMachine, mut table: u64, address: u64) -> Result<Hit, Option<u64>> {
    for shift in [39, 30, 21, 12] {
        let entry = number(machine, table + (address >> shift & 511) * 8, 8);
        if entry & 1 == 0 {
            return Err((shift == 12).then_some(entry));
        }
        table = entry & 0x3_FFFF_FFFF_F000;
        if shift == 12 || entry & 2 == 0 {
            let page_size = 1_u64 << shift;
            let user = address >> 63 == 0;
            return Ok(Hit {
                physical: table & !(page_size - 1) | address & (page_size - 1),
                page_size,
                write: entry & 0x80 == 0,
                user,
                execute: entry >> if user { 54 } else { 53 } & 1 == 0,
            });
        }
    }
    unreachable!("the last shift is 12")
}

/// Follows an entry that the processor does not understand; the page's address.
fn follow(machine: &SynthMachine, entry: u64, depth: u32) -> Result<(u64, Provenance), FailureReason> {
    let (wide, late) = (machine.mode != PagingMode::X86, machine.build >= 17134);
    let inverted = match machine.software_ptes {
        dotdump_snapshot::paging::SoftwarePtes::Late { high_bit, swizzle_bit }
            if high_bit != 0 && entry >> swizzle_bit & 1 == 0 =>
        {
            1_u64 << high_bit
        }
        _ => 0,
    };
    if entry == 0 {
        return Err(FailureReason::NotPresent);
    }
    if entry & 0x400 != 0 {
        if depth > 0 || wide && machine.machine() != Machine::X86 && entry >> 16 & 0xFFFF_FFFF == 0xFFFF_FFFF {
            return Err(FailureReason::FileBacked);
        }
        let at = match machine.mode {
            PagingMode::X86 => 0x8000_0000 | entry >> 1 & 0x7FFF_FC00 | entry << 1 & 0x3FF,
            PagingMode::Pae => entry >> 32,
            _ => (entry.cast_signed() >> 16).cast_unsigned(),
        };
        let Ok(hit) = walk(machine, machine.truth.root.0, at) else {
            return Err(FailureReason::PrototypeAbsent);
        };
        let prototype = number(machine, hit.physical, if wide { 8 } else { 4 });
        if prototype & 1 == 1 {
            return Ok((prototype & 0xF_FFFF_FFFF_F000, Provenance::Prototype));
        }
        let (page, _) = follow(machine, prototype, depth + 1)?;
        return Ok((page, Provenance::Prototype));
    }
    if entry & 0x800 != 0 {
        let mask = if wide { 0xF_FFFF_FFFF_F000 } else { 0xFFFF_F000 };
        return Ok(((entry ^ inverted) & mask, Provenance::Transition));
    }
    let (file, page) = if wide {
        (if late { entry >> 12 & 15 } else { entry >> 1 & 15 }, entry >> 32)
    } else {
        (entry >> 1 & 15, entry >> 12)
    };
    if (file, page) == (0, 0) {
        return Err(FailureReason::DemandZero);
    }
    Err(FailureReason::PageFile {
        number: u8::try_from(file).unwrap(),
        page: page ^ inverted >> 32,
    })
}

fn roots(machine: &SynthMachine) -> BTreeMap<Space, u64> {
    let mut roots = BTreeMap::from([(Space::Kernel, machine.truth.root.0)]);
    for process in &machine.truth.processes {
        let process = &process.process;
        roots.insert(Space::Process(process.id), process.directory_table_base.0);
        if let (4, Some(shadow)) = (process.id, process.user_directory_table_base) {
            roots.insert(Space::Shadow, shadow.0);
        }
    }
    roots
}

/// Holds the ground truth against the page tables.
fn check(machine: &SynthMachine) {
    let roots = roots(machine);
    let shadowed = machine.truth.processes[0].process.user_directory_table_base.is_some();
    assert!(machine.truth.mappings.windows(2).all(|pair| {
        (pair[0].space, pair[0].mapping.range.end) <= (pair[1].space, pair[1].mapping.range.start)
            || pair[0].space != pair[1].space
    }));
    for range in &machine.truth.mappings {
        let (root, mapping) = (roots[&range.space], range.mapping);
        assert_eq!(mapping.range.size() % mapping.page_size, 0);
        for offset in (0..mapping.range.size()).step_by(usize::try_from(mapping.page_size).unwrap()) {
            let address = mapping.range.start.0 + offset;
            let what = format!("{:?} {address:#x}", range.space);
            let expected = mapping.physical.0 + offset;
            match walk(machine, root, address) {
                Ok(hit) => {
                    assert_eq!(mapping.provenance, Provenance::Valid, "{what}");
                    let rights = mapping.rights;
                    // The kernel's root forbids to execute user pages where user mode has a root of its own.
                    let execute = hit.execute || shadowed && rights.user && rights.execute;
                    assert_eq!((hit.physical, hit.page_size), (expected, mapping.page_size), "{what}");
                    assert_eq!(
                        (hit.write, hit.user, execute),
                        (rights.write, rights.user, rights.execute),
                        "{what}"
                    );
                }
                Err(entry) => {
                    let found = follow(machine, entry.unwrap_or_else(|| panic!("{what} has no table")), 0);
                    assert_eq!(found, Ok((expected, mapping.provenance)), "{what}");
                }
            }
        }
    }
    for unmapped in &machine.truth.unmapped {
        let entry = walk(machine, roots[&unmapped.space], unmapped.address.0).unwrap_err();
        let found = entry.map_or(Err(FailureReason::NotPresent), |entry| follow(machine, entry, 0));
        assert_eq!(found, Err(unmapped.reason), "{unmapped:?}");
    }
    check_frames(machine);
}

/// Holds the entries of the PFN database against the ground truth, and their addresses against the page tables.
fn check_frames(machine: &SynthMachine) {
    // PteAddress, the word with counts and state, and PteFrame; and the pointer's size.
    let (size, pte, counts, holder, pointer) = match (machine.mode, machine.build) {
        (PagingMode::X86, _) => (0x18, 8, 0xC, 0x14, 4),
        (PagingMode::Pae, _) => (0x1C, 8, 0xC, 0x18, 4),
        (_, ..10240) => (0x30, 0x10, 0x18, 0x28, 8),
        _ => (0x30, 8, 0x20, 0x28, 8),
    };
    assert_eq!(machine.truth.pfn_entry_size, size);
    let read = |page: Pfn, offset: u64, bytes: usize| {
        let at = machine.truth.pfn_database.0 + page.0 * size + offset;
        // A field may lie on both sides of a page's border.
        (0..bytes as u64).fold(0, |value, index| {
            let physical = walk(machine, machine.truth.root.0, at + index).unwrap().physical;
            value | number(machine, physical, 1) << (8 * index)
        })
    };
    let mut seen = BTreeMap::new();
    for (page, frame) in &machine.truth.frames {
        let word = read(*page, counts, 4);
        assert_eq!(word >> 16 & 7, frame.state as u64, "state of page {page}");
        assert_eq!(word & 0xFFFF, u64::from(frame.reference_count));
        assert_eq!(read(*page, pte, pointer), frame.pte_address.0);
        let mask = if pointer == 4 { 0xFF_FFFF } else { 0xF_FFFF_FFFF };
        assert_eq!(read(*page, holder, pointer) & mask, frame.pte_frame.0);
        *seen.entry(frame.state).or_insert(0) += 1;

        // A table's entry lies in the page that the database says, and leads to the table.
        if let (PageUse::PageTable { process, .. }, true) = (frame.usage, frame.pte_address.0 != 0) {
            let root = match process {
                Some(id) => roots(machine)[&Space::Process(id)],
                None => machine.truth.root.0,
            };
            // A shadow root's tables are seen through itself alone.
            if let Ok(hit) = walk(machine, root, frame.pte_address.0)
                && hit.physical / PAGE_SIZE == frame.pte_frame.0
            {
                let entry = number(
                    machine,
                    hit.physical,
                    pointer.max(if machine.mode == PagingMode::Pae { 8 } else { 4 }),
                );
                assert_eq!(entry & 0xF_FFFF_FFFF_F000 & !0xFFF, page.0 * PAGE_SIZE);
            } else {
                assert!(
                    machine.truth.processes[0].process.user_directory_table_base.is_some(),
                    "page {page} {frame:?}"
                );
            }
        }
        if frame.usage == PageUse::Kernel && frame.state == PageState::Active {
            assert!(machine.truth.kernel_pages().contains(*page) || machine.truth.mappings.is_empty());
        }
    }
    assert_eq!(seen.len(), 8, "every state occurs: {seen:?}");
}

#[test]
fn every_mode_maps_what_the_truth_says() {
    for mode in MODES {
        let machine = MachineBuilder::new(mode).build().unwrap();
        check(&machine);
    }
}

#[test]
fn options_are_in_the_page_tables() {
    let memory = MemoryMap::pc(6 << 30);
    let machine = MachineBuilder::new(PagingMode::FourLevel)
        .memory(memory.clone())
        .large_kernel(true)
        .gigabyte_page(true)
        .shadow_page_tables(true)
        .encode_debugger_data(true)
        .l1tf(45, 4)
        .processors(5)
        .build()
        .unwrap();
    let sizes: std::collections::BTreeSet<u64> = machine
        .truth
        .mappings
        .iter()
        .map(|range| range.mapping.page_size)
        .collect();
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [1 << 12, 1 << 21, 1 << 30]);
    assert!(machine.truth.mappings.iter().any(|range| range.space == Space::Shadow));
    // The page of 1 GiB alone has a quarter of a million pages: the walk looks at each mapping's start only.
    check_starts(&machine);

    let machine = MachineBuilder::new(PagingMode::X86)
        .memory(MemoryMap::pc(3 << 30))
        .large_kernel(true)
        .build()
        .unwrap();
    assert!(
        machine
            .truth
            .mappings
            .iter()
            .any(|range| range.mapping.page_size == 4 << 20)
    );
    check_starts(&machine);
}

fn check_starts(machine: &SynthMachine) {
    let roots = roots(machine);
    for range in machine
        .truth
        .mappings
        .iter()
        .filter(|range| range.mapping.provenance == Provenance::Valid)
    {
        let hit = walk(machine, roots[&range.space], range.mapping.range.start.0).unwrap();
        assert_eq!(
            (hit.physical, hit.page_size),
            (range.mapping.physical.0, range.mapping.page_size)
        );
    }
}

#[test]
fn a_machine_of_terabytes_takes_little_room() {
    // Forty runs of 16 MiB, each a sixth of a terabyte behind the last.
    let memory = MemoryMap::pc(64 << 20).with_runs(40, 0x1000, 0x280_0000);
    assert!(memory.end().0 > 4 << (40 - 12));
    let machine = MachineBuilder::new(PagingMode::FourLevel)
        .memory(memory)
        .build()
        .unwrap();
    check(&machine);
    let spread = machine
        .truth
        .user_pages()
        .runs()
        .filter(|(first, _)| first.0 > 0x4000)
        .count();
    assert!(spread >= 40, "user pages lie in every run: {spread}");
    assert!(machine.ram().written().count() < 6000);
}

#[test]
fn many_gigabytes_cost_little() {
    let machine = MachineBuilder::new(PagingMode::FourLevel)
        .memory(MemoryMap::pc(64 << 30))
        .build()
        .unwrap();
    assert_eq!(machine.pages_present(), (64 << 30) / PAGE_SIZE - 0x61 - 1);
    let written = machine.ram().written().count();
    assert!(written < 20_000, "{written} pages");
    check_starts(&machine);
    // The PFN database covers the last page of memory, by large pages.
    let last = machine.ram().map().end().0 - 1;
    let entry = machine.truth.pfn_database.0 + last * machine.truth.pfn_entry_size;
    assert_eq!(walk(&machine, machine.truth.root.0, entry).unwrap().page_size, 2 << 20);
    assert_eq!(machine.truth.frame(Pfn(last)).state, PageState::Zeroed);
}

/// Reads user memory of a process through its page tables.
fn user_number(machine: &SynthMachine, root: u64, address: u64, size: usize) -> u64 {
    let hit = walk(machine, root, address).unwrap_or_else(|_| panic!("{address:#x} is not mapped"));
    number(machine, hit.physical, size)
}

fn user_text(machine: &SynthMachine, root: u64, string: u64, pointer: usize) -> String {
    let length = user_number(machine, root, string, 2);
    let buffer = user_number(machine, root, string + pointer as u64, pointer);
    let units: Vec<u16> = (0..length / 2)
        .map(|index| user_number(machine, root, buffer + 2 * index, 2).try_into().unwrap())
        .collect();
    String::from_utf16(&units).unwrap()
}

#[test]
fn loaders_lists_and_thread_blocks_are_in_user_memory() {
    for mode in MODES {
        let machine = MachineBuilder::new(mode).build().unwrap();
        let native = machine.machine().pointer_size();
        for process in machine.truth.processes.iter().skip(1) {
            let root = process.process.directory_table_base.0;
            let read = |address: u64, size: usize| user_number(&machine, root, address, size);
            for (peb, pointer) in [(Some(process.process.peb), native), (process.wow64_peb, 4)] {
                let Some(VirtAddr(peb)) = peb else { continue };
                let (ldr, lists, base, name) = if pointer == 8 {
                    (0x18, 0x10, 0x30, 0x48)
                } else {
                    (0x0C, 0x0C, 0x18, 0x24)
                };
                let head = read(peb + ldr, pointer) + lists;
                let (mut at, mut found) = (read(head, pointer), Vec::new());
                while at != head {
                    found.push((read(at + base, pointer), user_text(&machine, root, at + name, pointer)));
                    at = read(at, pointer);
                }
                let wow64 = pointer != native;
                let expected: Vec<_> = process
                    .modules
                    .iter()
                    .filter(|module| module.wow64 == wow64)
                    .map(|module| (module.range.start.0, module.path.clone()))
                    .collect();
                assert_eq!(found, expected, "{mode:?} {}", process.process.name);
                for (base, _) in found {
                    assert_eq!(read(base, 2), 0x5A4D);
                }
            }
            for thread in &process.threads {
                let (client, stack) = if native == 8 { (0x40, 8) } else { (0x20, 4) };
                assert_eq!(read(thread.teb.0 + client, native), thread.process);
                assert_eq!(read(thread.teb.0 + client + native as u64, native), thread.id);
                assert_eq!(read(thread.teb.0 + stack, native), thread.user_stack.end.0);
                if let (Some(frame), Some((pc, sp)), 8) = (thread.trap_frame, thread.user_registers, native) {
                    assert_eq!((read(frame.0 + 0x168, 8), read(frame.0 + 0x180, 8)), (pc, sp));
                    assert!(thread.stack.contains(frame));
                }
            }
        }
        assert_eq!(
            machine
                .truth
                .processes
                .iter()
                .any(|process| process.wow64_peb.is_some()),
            machine.machine() != Machine::X86
        );
    }
}

#[test]
fn headers_tell_what_the_machine_is() {
    for mode in MODES {
        let machine = MachineBuilder::new(mode)
            .processors(3)
            .bugcheck(Bugcheck {
                code: 0x1000_007E,
                parameters: [0xC000_0005, 2, 3, 4],
            })
            .build()
            .unwrap();
        let written = machine.header(DumpType::FULL, HeaderStyle::Crash).unwrap();
        let header = Header::read(&written.as_bytes()).unwrap();
        assert_eq!(header, written);
        assert_eq!(header.machine(), Some(machine.machine()));
        assert_eq!(header.directory_table_base(), Some(machine.truth.root));
        assert_eq!(
            header.kd_debugger_data_block(),
            Some(machine.truth.debugger_data.address)
        );
        assert_eq!(
            header.ps_loaded_module_list(),
            machine.truth.symbol("PsLoadedModuleList")
        );
        assert_eq!(header.number_processors(), Some(3));
        assert_eq!(header.minor_version(), Some(machine.build));
        assert_eq!(header.bug_check_parameters(), Some([0xC000_0005, 2, 3, 4]));
        assert_eq!(header.pfn_data_base(), Some(machine.truth.pfn_database));
        assert_eq!(header.comment(), None);
        let size = machine.machine().context_size();
        assert_eq!(
            &header.context_record()[..size],
            &machine.truth.processors[0].context[..size]
        );
    }
}

#[test]
fn the_kernel_finds_its_lists() {
    for mode in MODES {
        let machine = MachineBuilder::new(mode).unloaded_drivers(60).build().unwrap();
        let pointer = machine.machine().pointer_size();
        let read = |at: u64, size: usize| {
            let mut bytes = [0; 8];
            assert_eq!(machine.read_kernel(VirtAddr(at), &mut bytes[..size]), size);
            u64::from_le_bytes(bytes)
        };
        let head = machine.truth.symbol("PsLoadedModuleList").unwrap().0;
        let (mut at, mut found) = (read(head, pointer), Vec::new());
        while at != head {
            found.push((at, read(at + if pointer == 8 { 0x30 } else { 0x18 }, pointer)));
            at = read(at, pointer);
        }
        let expected: Vec<_> = machine
            .truth
            .modules
            .iter()
            .map(|module| (module.entry.unwrap().0, module.base.0))
            .collect();
        assert_eq!(found, expected);

        let head = machine.truth.symbol("PsActiveProcessHead").unwrap().0;
        let (mut at, mut count) = (read(head, pointer), 0);
        while at != head {
            count += 1;
            at = read(at, pointer);
        }
        assert_eq!(count, machine.truth.processes.len());
        assert_eq!(machine.truth.unloaded_drivers.len(), 50);
        assert_eq!(read(machine.truth.symbol("MmLastUnloadedDriver").unwrap().0, 4), 10);

        let block = machine.truth.debugger_data.address.0;
        assert_eq!(read(block + 0x10, 4), u64::from(u32::from_le_bytes(*b"KDBG")));
        assert_eq!(read(block + 0x18, 8), machine.truth.modules[0].base.0);
        assert_eq!(read(read(block, pointer), pointer), block, "the list leads back");
    }
}

#[test]
fn an_encoded_block_decodes_with_its_keys() {
    let machine = MachineBuilder::new(PagingMode::FourLevel)
        .encode_debugger_data(true)
        .build()
        .unwrap();
    let data = &machine.truth.debugger_data;
    let (never, always, flag) = data.keys.unwrap();
    assert_ne!(data.plain, data.stored);
    let decoded: Vec<u8> = data
        .stored
        .chunks_exact(8)
        .flat_map(|word| {
            let word = u64::from_le_bytes(word.try_into().unwrap()) ^ never;
            let word = word.rotate_left((never & 63).try_into().unwrap()) ^ flag;
            (word.swap_bytes() ^ always).to_le_bytes()
        })
        .collect();
    assert_eq!(decoded, data.plain);
    let mut stored = vec![0; data.stored.len()];
    assert_eq!(machine.read_kernel(data.address, &mut stored), stored.len());
    assert_eq!(stored, data.stored);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn machines_are_sound_and_repeatable(
        mode in prop::sample::select(MODES.to_vec()),
        seed in any::<u64>(),
        processors in 1_u32..6,
        processes in 1_usize..7,
        threads in 0_u64..4,
        user_pages in 3_u64..40,
        loose_pages in 1_u64..6,
        large in any::<bool>(),
    ) {
        let builder = MachineBuilder::new(mode)
            .seed(seed)
            .processors(processors)
            .processes(processes.max(2))
            .threads(threads)
            .user_pages(user_pages)
            .loose_pages(loose_pages)
            .large_kernel(large);
        let machine = builder.build().unwrap();
        check(&machine);
        let again = builder.build().unwrap();
        prop_assert_eq!(machine.ram(), again.ram());
        let other = builder.clone().seed(seed ^ 1).build().unwrap();
        prop_assert_ne!(machine.ram(), other.ram());
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let four = MachineBuilder::new(PagingMode::FourLevel);
    assert!(four.clone().memory(MemoryMap::pc(2 << 20)).build().is_err());
    assert!(four.clone().self_map(0x1F0).build().is_err());
    assert!(four.clone().self_map(0x1ED).build().is_ok());
    assert!(four.clone().processors(0).build().is_err());
    assert!(four.gigabyte_page(true).build().is_err());
    assert!(MachineBuilder::new(PagingMode::Pae).self_map(0x1ED).build().is_err());
    assert!(
        MachineBuilder::new(PagingMode::Arm64)
            .encode_debugger_data(true)
            .build()
            .is_err()
    );
    assert!(
        MachineBuilder::new(PagingMode::X86)
            .memory(MemoryMap::pc(8 << 30))
            .build()
            .is_err()
    );
}
