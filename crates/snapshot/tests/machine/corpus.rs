//! Real small dumps of Windows.

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::context::extended_size;
use dotdump_format::kernel::debugger_data::is_kernel_address;
use dotdump_format::kernel::triage::SectionKind;
use dotdump_format::{PhysAddr, VirtAddr};
use dotdump_snapshot::machine::processors::stack_of;
use dotdump_snapshot::machine::{DebuggerDataOrigin, KernelReader, MachineOptions};
use dotdump_snapshot::{DumpFile, MachineFile, MachineImage, MachineSnapshot};
use dotdump_tests::places::corpus_file;

fn with(part: &str, check: impl FnOnce(&MachineImage<'_>)) {
    let Some(path) = corpus_file(part) else { return };
    let file = DumpFile::open(&path, true).unwrap();
    let source = MachineFile::open(&file, &MachineOptions::default()).unwrap();
    check(&MachineImage::open(&source).unwrap());
}

/// What a dump is known to hold.
struct Known {
    name: &'static str,
    machine: Machine,
    build: u32,
    bugcheck: u32,
    modules: usize,
    unloaded: usize,
    /// Processors of the machine, and those of them that the dump has.
    processors: (u32, usize),
    /// Size of an extended context in bytes.
    context: usize,
}

const fn known(name: &'static str, machine: Machine, build: u32, bugcheck: u32) -> Known {
    Known {
        name,
        machine,
        build,
        bugcheck,
        modules: 0,
        unloaded: 0,
        processors: (1, 1),
        context: machine.context_size(),
    }
}

const DUMPS: [Known; 7] = [
    Known {
        modules: 151,
        unloaded: 4,
        processors: (16, 16),
        context: 0x640,
        ..known("triage_x64", Machine::Amd64, 19_041, 0x1000_007E)
    },
    Known {
        modules: 245,
        unloaded: 11,
        processors: (8, 8),
        ..known("triage_arm64", Machine::Arm64, 22_000, 0x1C8)
    },
    Known {
        modules: 206,
        unloaded: 8,
        processors: (16, 16),
        context: 0x640,
        ..known("102622-15671-01", Machine::Amd64, 19_041, 0x50)
    },
    Known {
        modules: 192,
        unloaded: 7,
        processors: (12, 12),
        context: 0x6C0,
        ..known("100623-6156-01", Machine::Amd64, 19_041, 0x50)
    },
    Known {
        modules: 156,
        unloaded: 9,
        ..known("083125-14875-01", Machine::Amd64, 19_041, 0x4A)
    },
    Known {
        modules: 112,
        unloaded: 9,
        ..known("Mini021809-01", Machine::X86, 2600, 0x1000_008E)
    },
    Known {
        modules: 95,
        unloaded: 12,
        ..known("Mini121206-01", Machine::X86, 2600, 0x7F)
    },
];

#[test]
fn dumps_hold_what_they_are_known_to_hold() {
    for known in DUMPS {
        let name = known.name;
        with(name, |machine| {
            assert_eq!(machine.machine(), known.machine, "{name}");
            let header = machine.header();
            assert_eq!(header.minor_version(), Some(known.build), "{name}");
            assert_eq!(machine.bugcheck().unwrap().code, known.bugcheck, "{name}");
            assert_eq!(machine.modules().len(), known.modules, "{name}");
            assert_eq!(machine.unloaded_drivers().len(), known.unloaded, "{name}");
            assert_eq!(header.number_processors(), Some(known.processors.0), "{name}");
            assert_eq!(machine.processors().len(), known.processors.1, "{name}");
            let kernel = &machine.modules()[0];
            assert!(kernel.name_text().starts_with("nt"), "{name}: {}", kernel.name_text());
            assert!(kernel.time_date_stamp.is_some() && kernel.checksum.is_some(), "{name}");

            let found = machine.debugger_data().unwrap();
            assert!(!found.encoded && found.flag.is_none(), "{name}");
            assert_eq!(Some(found.address), header.kd_debugger_data_block(), "{name}");
            assert!(matches!(
                found.origin,
                DebuggerDataOrigin::Header | DebuggerDataOrigin::Copy
            ));
            assert!(found.data.has_known_size() && found.data.is_plausible(), "{name}");
            assert_eq!(found.data.kern_base(), Some(kernel.base), "{name}");
            assert_eq!(
                found.data.ps_loaded_module_list(),
                header.ps_loaded_module_list(),
                "{name}"
            );
            assert_eq!(
                found.data.ps_active_process_head(),
                header.ps_active_process_head(),
                "{name}"
            );
            assert_eq!(found.data.mm_page_size(), Some(0x1000), "{name}");
            assert_eq!(found.data.pae_enabled(), header.pae_enabled(), "{name}");

            check_processors(machine, &known);
            assert!(machine.patches().is_empty() && machine.processes().is_empty(), "{name}");
            assert!(machine.physical_memory().is_none() && machine.pfn_database().is_none());
            assert!(machine.guesses().is_empty(), "{name}: {:?}", machine.guesses());
            let findings = machine.findings();
            assert!(findings.is_empty(), "{name}: {findings:?}");
        });
    }
}

fn check_processors(machine: &MachineImage<'_>, known: &Known) {
    let name = known.name;
    for processor in machine.processors() {
        let context = processor.context.as_ref().unwrap();
        assert!(
            matches!(context.bytes.len(), size if size == known.context || size == machine.machine().context_size())
        );
        let registers = machine.machine().context(&context.bytes).unwrap();
        assert!(
            registers.stack_pointer() != 0 && registers.instruction_pointer() != 0,
            "{name}"
        );
        assert!(processor.current_thread.is_some(), "{name}");
        let special = processor.special_registers.unwrap();
        if machine.machine() != Machine::Arm64 {
            assert_eq!(
                special.cr0 & 0x8000_0001,
                0x8000_0001,
                "{name}: paging and protection are on"
            );
            let kernel = |base: u64| is_kernel_address(VirtAddr(base), machine.machine());
            assert!(kernel(special.idt_base) && kernel(special.gdt_base), "{name}");
        }
    }
    let stopped = machine.stopped_processor().unwrap();
    let triage = machine.triage().unwrap();
    let top = triage.fields().top_of_stack.0;
    let saved = stopped.context.as_ref().unwrap();
    let stack_pointer = machine.machine().context(&saved.bytes).unwrap().stack_pointer();
    if saved.address.is_some() {
        // The stack in the dump starts where the saved stack pointer was.
        assert_eq!(stack_pointer, top, "{name}");
    } else {
        // Dumps that the kernel wrote have no saved context but the header's, which may be of a frame further up.
        assert!(stack_pointer >= top && stack_pointer - top < 0x100, "{name}");
    }
    // It reaches to the base of the current thread's stack, wherever the dump has that thread's memory.
    let reader = KernelReader::new(machine.kernel_memory(), machine.machine());
    let data = &machine.debugger_data().unwrap().data;
    if let Some(stack) = stack_of(&reader, data, stopped.current_thread.unwrap())
        && stack.contains(VirtAddr(top))
    {
        let size = triage.section(SectionKind::CallStack).unwrap().size;
        assert_eq!(top + size, stack.end.0, "{name}");
    }
}

#[test]
fn fields_of_the_debugger_data() {
    with("triage_x64", |machine| {
        let data = &machine.debugger_data().unwrap().data;
        assert_eq!(data.size(), 0x380);
        assert_eq!(data.kern_base(), Some(VirtAddr(0xFFFF_F804_7BA0_0000)));
        assert_eq!(data.record().list[0].get(), 0xFFFF_F804_7C64_0770);
        assert_eq!(data.mm_pfn_database(), Some(VirtAddr(0xFFFF_F804_7C6F_C500)));
        let offsets = [
            (data.offset_kthread_next_processor(), 0x218),
            (data.offset_kthread_teb(), 0xF0),
            (data.offset_kthread_kernel_stack(), 0x58),
            (data.offset_kthread_initial_stack(), 0x28),
            (data.offset_kthread_apc_process(), 0xB8),
            (data.offset_kthread_state(), 0x184),
            (data.size_eprocess(), 0xA40),
            (data.offset_eprocess_peb(), 0x550),
            (data.offset_eprocess_parent_cid(), 0x540),
            (data.offset_eprocess_directory_table_base(), 0x28),
            (data.size_prcb(), 0xAF00),
            (data.offset_prcb_dpc_routine(), 0x312A),
            (data.offset_prcb_current_thread(), 8),
            (data.offset_prcb_mhz(), 0x44),
            (data.offset_prcb_vendor_string(), 0x8590),
            (data.offset_prcb_proc_state_context(), 0x1F0),
            (data.offset_prcb_number(), 0x24),
            (data.size_ethread(), 0x898),
            (data.size_pcr(), 0xB080),
            (data.offset_pcr_self_pcr(), 0x18),
            (data.offset_pcr_current_prcb(), 0x20),
            (data.offset_pcr_contained_prcb(), 0x180),
            (data.offset_prcb_proc_state_special_reg(), 0x100),
            (data.offset_prcb_context(), 0x85C0),
            (data.offset_kthread_stack_limit(), 0x30),
            (data.offset_kthread_stack_base(), 0x38),
            (data.offset_ethread_irp_list(), 0x4B0),
            (data.offset_prcb_idle_thread(), 0x18),
            (data.offset_prcb_isr_stack(), 0x85D8),
            (data.size_kdpc_stack_frame(), 0x50),
            (data.offset_kthread_wait_reason(), 0x283),
        ];
        for (index, (found, expected)) in offsets.into_iter().enumerate() {
            assert_eq!(found, Some(expected), "the offset number {index}");
        }
        assert_eq!(data.offset_kthread_bstore(), None, "zero: not provided");
        assert_eq!(data.pte_base(), Some(VirtAddr(0xFFFF_FD80_0000_0000)));
        assert_eq!((data.gdt_r0_code(), data.gdt_r3_code()), (Some(0x10), Some(0x33)));
        assert_eq!(data.l1tf_high_physical_bit_index(), Some(0));
        assert_eq!(data.retpoline_stub_size(), Some(0x1000));
        assert_eq!(
            data.offset_kthread_shadow_stack_base(),
            None,
            "behind the end of the block"
        );

        // Extended state is there of all processors but the one that stopped the others.
        let extended = machine.processors().iter().filter(|processor| {
            let context = processor.context.as_ref().unwrap();
            extended_size(&context.bytes, Machine::Amd64) == Some(0x640) && context.bytes.len() == 0x640
        });
        assert_eq!(extended.count(), 15);
        let special = machine.stopped_processor().unwrap().special_registers.unwrap();
        assert_eq!((special.cr0, special.cr4), (0x8005_0031, 0x35_0EF8));
    });
    with("triage_arm64", |machine| {
        let data = &machine.debugger_data().unwrap().data;
        assert_eq!(data.size_prcb(), Some(0x9680));
        assert_eq!(data.offset_prcb_context(), Some(0x8A0));
        assert_eq!(data.offset_kthread_apc_process(), Some(0xB0));
        assert_eq!(data.offset_eprocess_mm_hot_patch_context(), Some(0xAB8));
        assert_eq!(data.pte_base(), Some(VirtAddr(0xFFFF_A880_0000_0000)));
        assert_eq!(data.flags(), Some(0x10));
        assert_eq!(data.retpoline_stub_function_table(), None);
        let special = machine.stopped_processor().unwrap().special_registers.unwrap();
        assert_eq!(
            (special.cr3, special.ttbr1),
            (0x0040_0000_946A_A000, 0x0040_0000_946A_A800)
        );
        assert_eq!(machine.header().directory_table_base(), Some(PhysAddr(0x946A_A000)));
    });
    with("Mini021809-01", |machine| {
        let data = &machine.debugger_data().unwrap().data;
        assert_eq!(data.size(), 0x290);
        assert_eq!(data.kern_base(), Some(VirtAddr(0x804D_7000)));
        assert_eq!(data.pae_enabled(), Some(true));
        assert_eq!(data.size_prcb(), None);
    });
}

#[test]
fn modules_of_the_first_dump() {
    with("triage_x64", |machine| {
        let kernel = &machine.modules()[0];
        assert_eq!(kernel.name_text(), "ntoskrnl.exe");
        assert_eq!(kernel.base, VirtAddr(0xFFFF_F804_7BA0_0000));
        assert_eq!(kernel.size, 0x104_6000);
        assert_eq!(
            (kernel.checksum, kernel.time_date_stamp),
            (Some(0xA5_938C), Some(0x0D83_33E6))
        );
        let path = String::from_utf16(kernel.full_name.as_ref().unwrap()).unwrap();
        assert_eq!(path, r"\SystemRoot\system32\ntoskrnl.exe");
        assert_eq!(machine.modules()[1].name_text(), "hal.dll");
    });
}

/// The first pages of full dumps: their memory is not there, and nothing is made up for it.
#[test]
fn headers_alone() {
    for (part, machine_type, bugcheck) in [
        ("dmp64.hexpat", Machine::Amd64, 0x5454_414D),
        ("coredump_win10_64bit", Machine::Amd64, 0),
        ("coredump_win7_32bit", Machine::X86, 0),
    ] {
        with(part, |machine| {
            assert_eq!(machine.machine(), machine_type);
            assert_eq!(machine.bugcheck().unwrap().code, bugcheck, "{part}");
            assert!(machine.debugger_data().is_none(), "{part}");
            assert!(machine.modules().is_empty() && machine.processes().is_empty() && machine.processors().is_empty());
            assert!(machine.pfn_database().is_none() && machine.shared_user_data().is_none());
            assert!(!machine.findings().is_empty(), "{part}");
        });
    }
}
