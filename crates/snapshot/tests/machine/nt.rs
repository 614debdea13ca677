//! A machine in the shape of NT, in all files that were made of it.

use std::ops::ControlFlow;

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::debugger_data_encoding::Encoding;
use dotdump_format::kernel::pfn::PageLocation;
use dotdump_format::{PAGE_SIZE, Pfn, VirtAddr};
use dotdump_snapshot::machine::{DebuggerDataOrigin, MachineOptions, RootOrigin};
use dotdump_snapshot::memory::read_array;
use dotdump_snapshot::raw_memory::MemoryMap;
use dotdump_snapshot::{DumpFile, MachineFile, MachineImage, MachineSnapshot, Memory, PatchedMemory};
use serde_json::Value;

use dotdump_tests::machines::{image, text};

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Calls `check` with a machine and its truth; does nothing where the images are not there.
fn with(name: &str, truth: &str, check: impl FnOnce(&MachineImage<'_>, &Value)) {
    let (Some(path), Some(truth)) = (image(name), text(&format!("images/{truth}-meta.json"))) else {
        return;
    };
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let file = DumpFile::open(&path, false).unwrap();
    let source = MachineFile::open(&file, &MachineOptions::default()).unwrap();
    let machine = MachineImage::open(&source).unwrap();
    check(&machine, &truth);
}

/// What all files of a machine agree on.
fn check_machine(machine: &MachineImage<'_>, truth: &Value, name: &str) {
    let symbol = |name: &str| number(&truth["symbols"][name]);
    assert_eq!(machine.machine(), Machine::Amd64, "{name}");
    let header = machine.header();
    assert_eq!(header.minor_version(), Some(19_041), "{name}");
    assert_eq!(header.major_version(), Some(15), "{name}");
    assert_eq!(
        header.ps_loaded_module_list().unwrap().0,
        symbol("PsLoadedModuleList"),
        "{name}"
    );
    assert_eq!(
        header.ps_active_process_head().unwrap().0,
        symbol("PsActiveProcessHead"),
        "{name}"
    );
    let cpus = array(&truth["processors"]);
    assert_eq!(
        header.number_processors(),
        Some(u32::try_from(cpus.len()).unwrap()),
        "{name}"
    );

    let found = machine.debugger_data().expect(name);
    // Where the block is encoded, QEMU's writer points its header to the plain copy that the guest's driver left.
    let place = if name == "nt4-encoded-live.dmp" {
        "kdbg_plain"
    } else {
        "kdbg"
    };
    assert_eq!(found.address.0, number(&truth[place]), "{name}");
    assert_eq!(
        found.data.kern_base().unwrap().0,
        number(&truth["kernel_base"]),
        "{name}"
    );
    assert_eq!(found.data.size(), 0x380, "{name}");
    assert_eq!(
        found.data.ki_processor_block().unwrap().0,
        symbol("KiProcessorBlock"),
        "{name}"
    );

    check_processes(machine, truth, name);
    check_modules(machine, truth, name);
    check_pfn_database(machine, truth, name);
    for (processor, expected) in machine.processors().iter().zip(cpus) {
        assert_eq!(processor.prcb.unwrap().0, number(&expected["prcb"]), "{name}");
        assert_eq!(
            processor.current_thread.unwrap().0,
            number(&expected["thread"]),
            "{name}"
        );
        let context = processor.context.as_ref().unwrap();
        assert_eq!(context.address.unwrap().0, number(&expected["context"]), "{name}");
        assert_eq!(context.bytes.len(), 0x4D0, "{name}");
    }
    assert_eq!(machine.processors().len(), cpus.len(), "{name}");
    let shared = machine.shared_user_data().unwrap();
    assert_eq!((shared.version, shared.build), ((10, 0), Some(19_041)), "{name}");
    assert_eq!(
        (shared.product_type, shared.suite_mask),
        (Some(1), Some(0x110)),
        "{name}"
    );
}

fn check_processes(machine: &MachineImage<'_>, truth: &Value, name: &str) {
    let expected = array(&truth["processes"]);
    let processes = machine.processes();
    assert_eq!(processes.len(), expected.len(), "{name}");
    for (process, expected) in processes.iter().zip(expected) {
        assert_eq!(process.eprocess.0, number(&expected["eprocess"]), "{name}");
        assert_eq!(process.id, number(&expected["pid"]), "{name}");
        assert_eq!(process.name, expected["name"].as_str().unwrap(), "{name}");
        assert_eq!(process.directory_table_base.0, number(&expected["dtb"]), "{name}");
        let is_system = process.id == 4;
        assert_eq!(process.parent_id, Some(if is_system { 0 } else { 4 }), "{name}");
        let peb = expected.get("peb").map_or(0, |peb| number(&peb["va"]));
        assert_eq!(process.peb.0, peb, "{name}");
        assert_eq!(process.user_directory_table_base, None, "{name}");
        if let Some(pages) = expected.get("user_pages") {
            let space = machine.process_space(process).unwrap();
            let first = &array(pages)[0];
            let start: [u8; 2] = read_array(&space, VirtAddr(number(&first["va"]))).unwrap().unwrap();
            assert_eq!(&start, b"MZ", "{name}");
        }
    }
}

fn check_modules(machine: &MachineImage<'_>, truth: &Value, name: &str) {
    let expected = array(&truth["modules"]);
    let modules = machine.modules();
    assert_eq!(modules.len(), expected.len(), "{name}");
    for (module, expected) in modules.iter().zip(expected) {
        assert_eq!(module.entry.unwrap().0, number(&expected["entry"]), "{name}");
        assert_eq!(module.base.0, number(&expected["base"]), "{name}");
        assert_eq!(u64::from(module.size), number(&expected["size"]), "{name}");
        assert_eq!(module.entry_point.0, number(&expected["entry_point"]), "{name}");
        let text = |name: &Option<Vec<u16>>| String::from_utf16(name.as_ref().unwrap()).unwrap();
        assert_eq!(text(&module.base_name), expected["name"].as_str().unwrap(), "{name}");
        assert_eq!(text(&module.full_name), expected["path"].as_str().unwrap(), "{name}");
        assert_eq!(module.time_date_stamp, Some(1_700_000_000), "{name}");
    }
    let unloaded = machine.unloaded_drivers();
    let expected: Vec<&Value> = array(&truth["unloaded_drivers"]).iter().rev().collect();
    assert_eq!(unloaded.len(), expected.len(), "{name}");
    for (driver, expected) in unloaded.iter().zip(expected) {
        assert_eq!(
            String::from_utf16(&driver.name).unwrap(),
            expected["name"].as_str().unwrap()
        );
        assert_eq!(driver.range.start.0, number(&expected["start"]), "{name}");
        assert_eq!(driver.range.end.0, number(&expected["end"]), "{name}");
        assert_eq!(driver.time, Some(number(&expected["time"])), "{name}");
    }
}

fn check_pfn_database(machine: &MachineImage<'_>, truth: &Value, name: &str) {
    let database = machine.pfn_database().expect(name);
    assert_eq!(database.base().0, number(&truth["pfn_database"]), "{name}");
    assert!(database.is_confirmed(), "{name}");
    // The maker has an entry for each page that it mapped, with the address of its page-table entry.
    let pages = array(&truth["processes"])
        .iter()
        .filter_map(|process| process.get("user_pages"))
        .flat_map(array);
    let mut checked = 0;
    for page in pages {
        let state = database.state(Pfn(number(&page["pa"]) / PAGE_SIZE)).unwrap().unwrap();
        assert_eq!(state.location, PageLocation::Active, "{name}");
        let entry = number(&truth["pte_base"]) + (number(&page["va"]) >> 12 << 3);
        assert_eq!(state.pte_address.0, entry, "{name}");
        assert!(!state.prototype && !state.is_file_backed(), "{name}");
        assert_eq!((state.reference_count, state.original_pte), (1, 0x80), "{name}");
        checked += 1;
    }
    assert!(checked >= 600, "{name}: {checked}");

    // Reading all of it at once says the same as asking page by page, also over holes and for a part of it.
    let mut visited = Vec::new();
    let (first, end) = (Pfn(0x1000 - 7), Pfn(0x3123));
    database
        .visit(first, end, &mut |page, state| {
            visited.push((page, *state));
            ControlFlow::Continue(())
        })
        .unwrap();
    let single: Vec<_> = (first.0..end.0)
        .filter_map(|page| database.state(Pfn(page)).unwrap().map(|state| (Pfn(page), state)))
        .collect();
    assert_eq!(visited.len(), single.len(), "{name}");
    assert!(visited == single, "{name}");
}

#[test]
fn dumps_of_the_machine() {
    for (name, truth) in [
        ("nt2-full.dmp", "nt2"),
        ("nt2-bitmap.dmp", "nt2"),
        ("nt2-live.dmp", "nt2"),
        ("nt2-bugcheck.dmp", "nt2"),
        ("nt2-large-full.dmp", "nt2-large"),
        ("nt2-large-live.dmp", "nt2-large"),
        ("nt2-high-bitmap.dmp", "nt2-high"),
        ("nt2-high-full.dmp", "nt2-high"),
        ("nt2-zeropeb-full.dmp", "nt2-zeropeb"),
    ] {
        with(name, truth, |machine, truth| {
            check_machine(machine, truth, name);
            let found = machine.debugger_data().unwrap();
            assert_eq!(found.origin, DebuggerDataOrigin::Header, "{name}");
            assert!(!found.encoded && machine.patches().is_empty(), "{name}");
            let code = machine.bugcheck().unwrap().code;
            assert_eq!(code, if name.contains("live") { 0x161 } else { 0xE2 }, "{name}");
            assert_eq!(machine.kernel_root().unwrap().origin, RootOrigin::Header, "{name}");
            let findings = machine.findings();
            assert!(findings.is_empty(), "{name}: {findings:?}");
        });
    }
}

/// The registers of a processor, as the monitor printed them.
fn registers(name: &str, number: usize) -> Value {
    let text = text(&format!("images/{name}.cpus.json")).unwrap();
    let cpus: Value = serde_json::from_str(&text).unwrap();
    cpus[number].clone()
}

/// The number of the monitor's processor whose `KPCR` is `pcr`.
fn monitors_number(name: &str, count: usize, pcr: u64) -> usize {
    (0..count)
        .find(|cpu| number(&registers(name, *cpu)["gs_base"]) == pcr)
        .unwrap()
}

/// Each of the kernel's processors has the registers that the monitor saw on it, and patches put them where debuggers
/// look for them.
fn check_live_contexts(machine: &MachineImage<'_>, truth: &Value, state: &str) {
    let cpus = array(&truth["processors"]);
    let patched = PatchedMemory::new(machine.physical_memory().unwrap(), machine.patches());
    let root = machine.kernel_space().unwrap();
    let patched = dotdump_snapshot::AddressSpace::new(&patched, root.mode(), root.root(), root.software());
    for (processor, expected) in machine.processors().iter().zip(cpus) {
        let seen = registers(state, monitors_number(state, cpus.len(), number(&expected["pcr"])));
        let context = processor.context.as_ref().unwrap();
        let registers = Machine::Amd64.context(&context.bytes).unwrap();
        assert_eq!(registers.instruction_pointer(), number(&seen["rip"]), "{state}");
        assert_eq!(registers.stack_pointer(), number(&seen["rsp"]), "{state}");
        assert_eq!(
            registers.register("rax").unwrap().to_string(),
            format!("0x{:016x}", number(&seen["rax"]))
        );
        assert_eq!(
            registers.register("rbx").unwrap().to_string(),
            format!("0x{:016x}", number(&seen["rbx"]))
        );
        let special = processor.special_registers.unwrap();
        assert_eq!(special.cr3, number(&seen["cr3"]), "{state}");
        assert_eq!(special.cr4, number(&seen["cr4"]), "{state}");
        assert_eq!(special.idt_base, number(&expected["idt"]), "{state}");
        assert_eq!(special.kernel_gs_base, number(&expected["pcr"]), "{state}");
        let mut there = vec![0; context.bytes.len()];
        assert_eq!(patched.read(context.address.unwrap(), &mut there).unwrap(), there.len());
        assert_eq!(there, context.bytes, "{state}");
    }
    let header = Machine::Amd64.context(machine.header().context_record()).unwrap();
    let of_header = (0..cpus.len()).any(|cpu| number(&registers(state, cpu)["rip"]) == header.instruction_pointer());
    assert!(of_header, "{state}: the header has no processor's registers");
    assert_eq!(machine.bugcheck().unwrap().code, 0x161, "{state}");
}

#[test]
fn files_of_a_monitor() {
    for (name, truth, state) in [
        ("nt2-live.elf", "nt2", "nt2-live"),
        ("nt2-live.kdump", "nt2", "nt2-live"),
        ("nt2-live.flat.kdump", "nt2", "nt2-live"),
        ("nt2-high-live.elf", "nt2-high", "nt2-high-live"),
        ("nt4-encoded-live.elf", "nt4-encoded", "nt4-encoded-live"),
    ] {
        with(name, truth, |machine, truth| {
            check_machine(machine, truth, name);
            check_live_contexts(machine, truth, state);
            let findings = machine.findings();
            assert!(findings.is_empty(), "{name}: {findings:?}");
        });
    }
}

/// Through the patches, what was encoded is plain and says so.
fn check_decoded(machine: &MachineImage<'_>, truth: &Value, name: &str) {
    let found = machine.debugger_data().unwrap();
    assert!(found.encoded, "{name}");
    let symbol = |name: &str| number(&truth["symbols"][name]);
    let kernel = machine.kernel_memory();
    let word = |name: &str| {
        let bytes = read_array(kernel, VirtAddr(symbol(name))).unwrap().unwrap();
        u64::from_le_bytes(bytes)
    };
    // With the keys at their places the debugger's way leads to the same block as the maker's plain copy.
    let flag = VirtAddr(symbol("KdpDataBlockEncoded"));
    let keys = Encoding::of_keys(word("KiWaitNever"), word("KiWaitAlways"), flag);
    let mut stored = vec![0; 0x380];
    assert_eq!(kernel.read(found.address, &mut stored).unwrap(), stored.len(), "{name}");
    let mut plain = vec![0; 0x380];
    let copy = VirtAddr(number(&truth["kdbg_plain"]));
    assert_eq!(kernel.read(copy, &mut plain).unwrap(), plain.len(), "{name}");
    assert_eq!(keys.decode(&stored).unwrap(), plain, "{name}");
    assert_eq!(found.data.as_bytes(), plain, "{name}");
    assert_eq!(found.flag, Some(flag), "{name}");

    let patched = PatchedMemory::new(machine.physical_memory().unwrap(), machine.patches());
    let root = machine.kernel_space().unwrap();
    let patched = dotdump_snapshot::AddressSpace::new(&patched, root.mode(), root.root(), root.software());
    assert_eq!(
        patched.read(found.address, &mut stored).unwrap(),
        stored.len(),
        "{name}"
    );
    assert_eq!(stored, plain, "{name}");
    assert_eq!(read_array(&patched, flag).unwrap(), Some([0_u8]), "{name}");
    assert_eq!(read_array(kernel, flag).unwrap(), Some([1_u8]), "{name}");
}

#[test]
fn an_encoded_block_is_decoded_without_symbols() {
    let name = "nt4-encoded-live.elf";
    with(name, "nt4-encoded", |machine, truth| {
        assert_eq!(machine.debugger_data().unwrap().origin, DebuggerDataOrigin::Header);
        check_decoded(machine, truth, name);
    });
    let name = "nt4-encoded-live.dmp";
    with(name, "nt4-encoded", |machine, truth| {
        check_machine(machine, truth, name);
        assert!(!machine.debugger_data().unwrap().encoded);
    });
    // elf2dmp decodes the block, and takes the page tables of the process that ran for the kernel's.
    with("nt4-encoded-elf2dmp.dmp", "nt4-encoded", |machine, truth| {
        assert!(!machine.debugger_data().unwrap().encoded);
        assert_eq!(machine.debugger_data().unwrap().address.0, number(&truth["kdbg"]));
        check_processes(machine, truth, "elf2dmp");
        check_modules(machine, truth, "elf2dmp");
    });
}

#[test]
fn memory_without_any_header() {
    with("nt2-live.img", "nt2", |machine, truth| {
        check_machine(machine, truth, "nt2-live.img");
        assert_eq!(machine.kernel_root().unwrap().origin, RootOrigin::LowStub);
        assert_eq!(machine.kernel_root().unwrap().root.0, number(&truth["dtb"]));
        let found = machine.debugger_data().unwrap();
        assert_eq!((found.origin, found.encoded), (DebuggerDataOrigin::Search, false));
        assert!(machine.guesses().iter().any(|guess| guess.contains("page tables")));
        let header = machine.header();
        assert_eq!(header.kd_debugger_data_block().unwrap().0, number(&truth["kdbg"]));
        assert_eq!(header.directory_table_base().unwrap().0, number(&truth["dtb"]));
        assert_eq!(header.pfn_data_base().unwrap().0, number(&truth["pfn_database"]));
        assert_eq!((header.product_type(), header.suite_mask()), (Some(1), Some(0x110)));
        // The guest counts its clock on; the upper half is as it was made.
        assert_eq!(header.system_time().unwrap() >> 32, 0x01DA_2B3C);
        assert_eq!(machine.bugcheck().unwrap().code, 0x161);
    });
}

/// The pages of a dump without its header, as a raw image with a map of memory.
#[test]
fn an_encoded_block_is_found_without_any_header() {
    let (Some(path), Some(truth)) = (image("nt4-encoded-live.dmp"), text("images/nt4-encoded-meta.json")) else {
        return;
    };
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let mut map = String::new();
    let mut offset = 0x2000;
    for run in array(&truth["runs"]) {
        let (first, pages) = (number(&run[0]), number(&run[1]));
        map += &format!("{:#x} {:#x} {offset:#x}\n", first * PAGE_SIZE, pages * PAGE_SIZE);
        offset += pages * PAGE_SIZE;
    }
    // Without its first letters it is no dump.
    let mut bytes = std::fs::read(path).unwrap();
    bytes[..0x2000].fill(0);
    let options = MachineOptions {
        memory_map: Some(MemoryMap::parse(&map).unwrap()),
        ..MachineOptions::default()
    };
    let source = MachineFile::open(&bytes, &options).unwrap();
    let machine = MachineImage::open(&source).unwrap();
    check_machine(&machine, &truth, "raw");
    assert_eq!(machine.debugger_data().unwrap().origin, DebuggerDataOrigin::Search);
    check_decoded(&machine, &truth, "raw");
    assert_eq!(machine.patches().len(), 2, "the block lies within a page");
}

/// An ELF core of a guest without a driver that tells its monitor of the kernel: a header is made of what is found.
#[test]
fn a_monitors_file_without_a_header() {
    let (Some(path), Some(truth)) = (image("nt2-live.elf"), text("images/nt2-meta.json")) else {
        return;
    };
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let note = b"VMCOREINFO\0";
    let place = bytes.windows(note.len()).position(|window| window == note).unwrap();
    bytes[place] = b'X';
    let file = MachineFile::open(&bytes, &MachineOptions::default()).unwrap();
    assert!(file.header().is_none() && file.cpus().len() == 2);
    let machine = MachineImage::open(&file).unwrap();
    check_machine(&machine, &truth, "no header");
    check_live_contexts(&machine, &truth, "nt2-live");
    assert_eq!(machine.kernel_root().unwrap().origin, RootOrigin::Processor);
    assert_eq!(
        machine.debugger_data().unwrap().origin,
        DebuggerDataOrigin::VersionBlock
    );
    assert_eq!(
        machine.header().kd_debugger_data_block().unwrap().0,
        number(&truth["kdbg"])
    );
    assert_eq!(
        machine.header().pfn_data_base().unwrap().0,
        number(&truth["pfn_database"])
    );
    assert_eq!(
        machine.header().directory_table_base().unwrap().0,
        number(&truth["dtb"]),
        "that of System"
    );
    let findings = machine.findings();
    assert!(findings.is_empty(), "{findings:?}");
}
