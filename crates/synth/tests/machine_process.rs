//! A process out of a machine is the one that was put into it.

mod common;

use dotdump_format::minidump::thread_info_list::ThreadDumpFlags;
use dotdump_format::{Findings, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use dotdump_snapshot::machine::MachineOptions;
use dotdump_snapshot::paging::{PagingMode, Provenance};
use dotdump_snapshot::{
    AddressSpace, Blob, MachineFile, MachineImage, MachineProcess, MachineSnapshot, ProcessSnapshot,
};
use dotdump_synth::truth::{MappedRange, ProcessTruth, ThreadTruth};
use dotdump_synth::{MachineBuilder, Space, SynthMachine};

use common::FullDump;
use proptest::prelude::*;

const MODES: [PagingMode; 5] = [
    PagingMode::X86,
    PagingMode::Pae,
    PagingMode::FourLevel,
    PagingMode::FiveLevel,
    PagingMode::Arm64,
];

/// Calls `check` with each machine, opened as a dump.
fn each_machine(check: impl Fn(PagingMode, &FullDump, &MachineImage<'_>)) {
    for mode in MODES {
        let builder = MachineBuilder::new(mode).seed(7).processors(2).threads(3);
        let dump = FullDump::new(builder.build().unwrap());
        let source = MachineFile::open(&dump, &MachineOptions::default()).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        check(mode, &dump, &machine);
    }
}

/// Where a page is mapped, where it is, how, and whether it can be written, read by user mode, and executed.
type Page = (u64, u64, Provenance, (bool, bool, bool));

/// What of the truth is in a space, page by page.
fn pages(truth: &[MappedRange], wanted: Space) -> Vec<Page> {
    let mappings = truth
        .iter()
        .filter(|range| range.space == wanted)
        .map(|range| &range.mapping);
    mappings.flat_map(pages_of).collect()
}

fn pages_of(mapping: &dotdump_snapshot::paging::Mapping) -> impl Iterator<Item = Page> {
    let mapping = *mapping;
    (0..mapping.pages()).map(move |page| {
        let skipped = page * PAGE_SIZE;
        let rights = (mapping.rights.write, mapping.rights.user, mapping.rights.execute);
        (
            mapping.range.start.0 + skipped,
            mapping.physical.0 + skipped,
            mapping.provenance,
            rights,
        )
    })
}

fn found(space: &AddressSpace<'_>, kernel: bool) -> Vec<Page> {
    let half = if kernel {
        space.mode().kernel_half()
    } else {
        space.mode().user_half()
    };
    space
        .mappings(half)
        .flat_map(|mapping| pages_of(&mapping.unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn address_spaces_map_what_was_mapped() {
    each_machine(|mode, dump, machine| {
        let truth = &dump.machine().truth;
        let kernel = machine.kernel_space().unwrap();
        let same = |found: &[Page], expected: &[Page], what: &str| {
            let first = found.iter().zip(expected).find(|(found, expected)| found != expected);
            assert_eq!((first, found.len()), (None, expected.len()), "{mode:?} {what}");
        };
        same(&found(kernel, true), &pages(&truth.mappings, Space::Kernel), "kernel");
        for process in &truth.processes {
            let space = machine.process_space(&process.process).unwrap();
            let expected = pages(&truth.mappings, Space::Process(process.process.id));
            same(&found(&space, false), &expected, &process.process.name);
        }
        for unmapped in &truth.unmapped {
            let space = match unmapped.space {
                Space::Process(id) => {
                    let process = truth.processes.iter().find(|process| process.process.id == id).unwrap();
                    machine.process_space(&process.process).unwrap()
                }
                Space::Kernel => machine.process_space(&truth.processes[0].process).unwrap(),
                Space::Shadow => continue,
            };
            let failure = space.translate(unmapped.address).unwrap().unwrap_err();
            assert_eq!(failure.reason, unmapped.reason, "{mode:?} {failure}");
        }
    });
}

/// Program counter and stack pointer that a thread has in user mode, where they are anywhere: a thread that runs there
/// has them on its processor.
fn registers(machine: &SynthMachine, thread: &ThreadTruth) -> Option<(u64, u64)> {
    let mut processors = machine.truth.processors.iter();
    let running = processors
        .find(|processor| processor.current_thread == thread.ethread)
        .and_then(|processor| {
            let context = machine.machine().context(&processor.context)?;
            Some((context.instruction_pointer(), context.stack_pointer()))
        });
    running
        .filter(|(pc, _)| !machine.mode.is_kernel_address(VirtAddr(*pc)))
        .or(thread.user_registers)
}

fn check_threads(machine: &SynthMachine, process: &MachineProcess<'_>, truth: &ProcessTruth) {
    let mode = machine.mode;
    let threads = process.threads();
    let ids: Vec<u64> = threads
        .iter()
        .map(|thread| u64::from(thread.record.thread_id.get()))
        .collect();
    let expected: Vec<u64> = truth.threads.iter().map(|thread| thread.id).collect();
    assert_eq!(
        ids,
        expected,
        "{mode:?} {}: {:?}",
        truth.process.name,
        process.guesses()
    );
    for ((thread, info), truth) in threads.iter().zip(process.thread_infos()).zip(&truth.threads) {
        assert_eq!(thread.record.teb.get(), truth.teb.0, "{mode:?}");
        assert_eq!(thread.stack().unwrap_or_default(), truth.user_stack, "{mode:?}");
        let Some(Blob::Bytes(context)) = &thread.context else {
            panic!("no context")
        };
        let found = machine.machine().context(context).unwrap();
        let expected = registers(machine, truth);
        let found = (found.instruction_pointer(), found.stack_pointer());
        assert_eq!(found, expected.unwrap_or_default(), "{mode:?}");
        let is_invalid = info.dump_flags().contains(ThreadDumpFlags::INVALID_CONTEXT);
        assert_eq!(is_invalid, expected.is_none(), "{mode:?}");
    }
}

#[test]
fn threads_modules_and_memory_are_those_of_the_process() {
    each_machine(|mode, dump, machine| {
        let truth = &dump.machine().truth;
        let mut with_registers = 0;
        let mut wow64 = 0;
        for expected in &truth.processes {
            let name = &expected.process.name;
            let process = MachineProcess::open(machine, &expected.process).unwrap().unwrap();
            check_threads(dump.machine(), &process, expected);
            let is_known = |thread: &&ThreadTruth| registers(dump.machine(), thread).is_some();
            with_registers += expected.threads.iter().filter(is_known).count();
            let found = process.modules().iter();
            let modules: Vec<_> = found
                .map(|module| (module.name_text(), module.range(), module.record.time_date_stamp.get()))
                .collect();
            // On WOW64 both lists have the program.
            let mut bases = std::collections::HashSet::new();
            let listed: Vec<_> = expected
                .modules
                .iter()
                .filter(|module| bases.insert(module.range.start))
                .map(|module| (module.path.clone(), module.range, module.time_date_stamp))
                .collect();
            assert_eq!(modules, listed, "{mode:?} {name}");
            for module in process.modules() {
                // The record names the symbols of the image: its own name with another ending.
                let Some(Blob::Bytes(record)) = &module.cv_record else {
                    panic!("{mode:?}: no CodeView record")
                };
                let path = module.name_text().to_lowercase();
                let stem = path
                    .rsplit('\\')
                    .next()
                    .and_then(|name| name.split('.').next())
                    .unwrap_or_default();
                let symbols = String::from_utf8_lossy(&record[24..record.len() - 1]).to_lowercase();
                assert_eq!(
                    (&record[..4], symbols),
                    (&b"RSDS"[..], format!("{stem}.pdb")),
                    "{mode:?} {path}"
                );
            }
            wow64 += usize::from(expected.wow64_peb.is_some());

            // Memory is what is mapped, and the map covers it exactly.
            let mapped = pages(&truth.mappings, Space::Process(expected.process.id));
            let bytes: u64 = process.memory().all().map(|extent| extent.unwrap().range.size()).sum();
            assert_eq!(
                (bytes, process.missing_bytes()),
                (mapped.len() as u64 * PAGE_SIZE, 0),
                "{mode:?} {name}"
            );
            let regions: Vec<_> = process.regions().map(Result::unwrap).collect();
            let covered: u64 = regions.iter().map(|region| region.range.size()).sum();
            assert_eq!(covered, bytes);
            for (address, _, _, (write, _, execute)) in mapped {
                let region = process.region_at(VirtAddr(address)).unwrap().unwrap();
                assert!(region.range.contains(VirtAddr(address)));
                let protect = match (execute, write) {
                    (false, false) => 2,
                    (false, true) => 4,
                    (true, false) => 0x20,
                    (true, true) => 0x40,
                };
                assert_eq!(region.protect, protect, "{mode:?} {address:#x}");
            }
            let mut byte = [0];
            let kernel = machine.kernel_space().unwrap().mode().kernel_half().start;
            assert_eq!(
                process.memory().read(kernel, &mut byte).unwrap(),
                0,
                "the kernel is not the process's"
            );
        }
        assert!(with_registers > 0, "{mode:?}");
        let is_wide = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
        assert!(wow64 > 0 || !is_wide, "{mode:?}: no 32-bit program was there");
    });
}

#[test]
fn what_was_guessed_is_told() {
    each_machine(|mode, dump, machine| {
        let mut processes = dump.machine().truth.processes.iter();
        let truth = processes.find(|process| process.process.peb.0 != 0).unwrap();
        let process = MachineProcess::open(machine, &truth.process).unwrap().unwrap();
        let told = |part: &str| process.guesses().iter().any(|guess| guess.contains(part));
        assert!(told("list in EPROCESS+"), "{mode:?}");
        assert!(told("ids of threads: the words in ETHREAD+"), "{mode:?}");
        assert_eq!(told("are those of trap frames"), mode != PagingMode::Arm64, "{mode:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is in the pages, a process can be asked for everything, and soon.
    #[test]
    fn damage_is_survived(
        mode in prop::sample::select(MODES.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..512, any::<u64>(), any::<bool>()), 1..40),
    ) {
        let mut machine = MachineBuilder::new(mode).seed(7).processes(4).pool_pages(0).build().unwrap();
        let pages: Vec<Pfn> = machine.ram().written().map(|(page, _)| page).collect();
        for (page, word, value, points_back) in damage {
            let page = *page.get(&pages);
            let at = page.address().unwrap().0 + word * 8;
            // Some words become those of other places: pointers that lead somewhere.
            let value = if points_back { machine.ram().number(PhysAddr(at ^ value & 0xFF8), 8) } else { value };
            machine.ram_mut().write(PhysAddr(at), &value.to_le_bytes()).unwrap();
        }
        let processes: Vec<_> = machine.truth.processes.iter().map(|process| process.process.clone()).collect();
        let dump = FullDump::new(machine);
        let source = MachineFile::open(&dump, &MachineOptions::default()).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        for process in &processes {
            let Some(process) = MachineProcess::open(&machine, process).unwrap() else { continue };
            for stream in process.stream_types() {
                process.stream(stream, &mut Findings::default()).unwrap();
            }
            let mut last = VirtAddr(0);
            for region in process.regions() {
                let range = region.unwrap().range;
                prop_assert!(range.start >= last && !range.is_empty());
                last = range.end;
            }
            process.missing_bytes();
        }
    }
}
