//! Whole dumps of machines made by hand: headers and sections.

use std::cell::OnceCell;

use dotdump_format::kernel::filler::{FILLER_32, FILLER_64};
use dotdump_format::kernel::triage::{SectionKind, Triage};
use dotdump_format::kernel::{DumpType, Header, Machine};
use dotdump_format::{Findings, VirtAddr};
use dotdump_snapshot::MachineSnapshot as _;
use dotdump_snapshot::machine::{Processor, ProcessorContext};
use dotdump_transcode::machine::triage::{TriageRequest, select};

use crate::builder::*;
use crate::double::{Double, Given, blocks_of, found_debugger_data, render};

#[test]
fn the_header_is_that_of_a_debugger() {
    let machine = machine();
    // Cut in the middle of a character it would end there.
    let comment = format!("{}é", "x".repeat(126));
    let request = TriageRequest {
        comment: Some(&comment),
        secondary_size: 0x40,
        ..TriageRequest::default()
    };
    let selection = select(&machine, machine.kernel_memory(), &request).unwrap();
    let file = render(&selection.dump, Some(machine.kernel_memory()), &[]);
    let Header::Dump64(header) = Header::read(&file).unwrap() else {
        unreachable!()
    };
    assert_eq!(DumpType(header.dump_type.get()), DumpType::TRIAGE);
    assert_eq!(header.mini_dump_fields.get(), 0xCFF);
    assert_eq!(
        header.pfn_data_base.get(),
        PFN_DATABASE,
        "the variable, not what it holds"
    );
    assert_eq!(
        (header.attributes.get(), header.secondary_data_state.get()),
        (FILLER_32, FILLER_32)
    );
    assert_eq!((header.writer_status.get(), header.kd_secondary_version), (0, 0));
    assert!(header.physical_memory_block.starts_with(b"PAGEPAGE"));
    assert!(header.context_record[0x4D0..].iter().all(|byte| *byte == 0));
    let exception = header.exception;
    assert_eq!(
        (exception.exception_code.get(), exception.exception_flags.get()),
        (0x8000_0003, 1)
    );
    assert_eq!(
        (exception.exception_address.get(), exception.number_parameters.get()),
        (KERNEL + 0x2010, 0)
    );
    assert_eq!(exception.exception_information[0].get(), FILLER_64);
    assert_eq!((header.minor_version.get(), header.bug_check_code.get()), (19041, 0x50));
    assert_eq!(
        (header.comment[125], header.comment[126], header.comment[127]),
        (b'x', 0, b'E')
    );

    let mut findings = Findings::default();
    let header = Header::Dump64(header);
    let triage = Triage::open(&file, &header, &mut findings).unwrap();
    assert_eq!(triage.fields().service_pack_build, 0x200);
    let unloaded = triage.unloaded_drivers(&mut findings).unwrap();
    assert_eq!(String::from_utf16(&unloaded[0].name()).unwrap(), "dump_storpor");
    let drivers = triage.drivers(&mut findings).unwrap();
    assert_eq!(
        drivers[0].name.as_deref(),
        Some(utf16(r"\SystemRoot\system32\ntoskrnl.exe").as_slice())
    );
    assert_eq!(
        (drivers[0].entry.check_sum(), drivers[0].entry.time_date_stamp()),
        (0x1234, 0)
    );
    assert!(findings.is_empty(), "{:?}", findings.as_slice());
}

/// Without KDDEBUGGER_DATA64 there is what can be had without: registers, stack, drivers.
#[test]
fn without_debugger_data() {
    let mut machine = machine();
    machine.memory.put(DEBUGGER_DATA + 0x10, b"????");
    let selection = select(&machine, machine.kernel_memory(), &TriageRequest::default()).unwrap();
    assert_eq!(
        selection.dump.header.mini_dump_fields(),
        Some(0x8E3),
        "context, exception, stack, drivers, blocks"
    );
    assert_eq!(selection.dump.top_of_stack, VirtAddr(POINTER));
    assert!(
        selection
            .shortfalls
            .iter()
            .any(|shortfall| shortfall.message.contains("KDDEBUGGER_DATA64"))
    );
    let file = render(&selection.dump, Some(machine.kernel_memory()), &[]);
    let triage = Triage::open(&file, &selection.dump.header, &mut Findings::default()).unwrap();
    assert_eq!(
        (
            triage.section(SectionKind::Prcb),
            triage.section(SectionKind::DebuggerData)
        ),
        (None, None)
    );
    assert_eq!(triage.call_stack().unwrap().range, range(POINTER, 0x800));
    assert_eq!(triage.drivers(&mut Findings::default()).unwrap().len(), 1);

    // Decoded it is as good as in memory.
    let mut bytes = machine.memory.0[&DEBUGGER_DATA].clone();
    bytes[0x10..0x14].copy_from_slice(b"KDBG");
    machine.debugger_data = found_debugger_data(&bytes, VirtAddr(DEBUGGER_DATA), Machine::Amd64).into();
    let selection = select(&machine, machine.kernel_memory(), &TriageRequest::default()).unwrap();
    assert_eq!(selection.dump.header.mini_dump_fields(), Some(0xCFF));
}

/// What cannot be read of the end of a structure's copy is zero.
#[test]
fn copies_of_structures_are_whole() {
    let mut machine = machine();
    machine.memory.0.get_mut(&PROCESS).unwrap().truncate(0x100);
    machine.memory.put(PROCESS + 0xFF, &[7]);
    let selection = as_windows(&machine);
    let file = render(&selection.dump, Some(machine.kernel_memory()), &[]);
    let triage = Triage::open(&file, &selection.dump.header, &mut Findings::default()).unwrap();
    let process = triage.bytes(SectionKind::Process, usize::MAX).unwrap();
    assert_eq!(
        (process.len(), process[0], process[0xFF], process[0x100]),
        (0x180, 3, 7, 0)
    );
}

/// Windows XP on x86, whose KDDEBUGGER_DATA64 has no offsets: those of XP itself hold.
#[test]
fn windows_xp_on_x86() {
    let prcb = 0xFFDF_F120_u64;
    let (thread, process, stack) = (0x8132_0000_u64, 0x8133_0000_u64, 0xF667_8000_u64);
    let (kernel, debugger_data) = (0x804D_7000_u64, 0x8054_CD60_u64);
    let pointer = stack + 0x2C00;
    let mut memory = Given::default();
    let mut map = |at: u64, size: usize, words: &[(u64, u64)]| {
        memory.map(at, size);
        for (offset, value) in words {
            memory.put(at + offset, &u32::try_from(*value).unwrap().to_le_bytes());
        }
    };
    map(kernel, 0x1000, &[]);
    map(
        debugger_data,
        0x290,
        &[
            (0, 0x8054_0000),
            (4, 0x8055_0000),
            (0x14, 0x290),
            (0x18, kernel),
            (0x218, 0x8055_1000),
        ],
    );
    map(0x8055_1000, 4, &[(0, prcb)]);
    map(prcb, 0xC50, &[(4, thread)]);
    map(
        thread,
        0x258,
        &[(0, 6), (0x18, stack + 0x3000), (0x1C, stack), (0x44, process)],
    );
    map(process, 0x260, &[(0, 3)]);
    map(stack, 0x3000, &[(0x2C10, 0x8140_0001), (0x2C14, 0x7FFE_0000)]);
    map(0x8140_0000, 0x200, &[]);
    memory.put(debugger_data + 0x10, b"KDBG");
    let mut registers = vec![0; 0x2CC];
    registers[0xB8..0xBC].copy_from_slice(&u32::try_from(kernel + 0x10).unwrap().to_le_bytes());
    registers[0xC4..0xC8].copy_from_slice(&u32::try_from(pointer).unwrap().to_le_bytes());
    let mut header = Header::unset(Machine::X86);
    let Header::Dump32(fields) = &mut header else {
        unreachable!()
    };
    fields.machine_image_type = 0x14C.into();
    fields.number_processors = 1.into();
    fields.bug_check_code = 0x8E.into();
    fields.bug_check_parameters = [0.into(); 4];
    fields.kd_debugger_data_block = u32::try_from(debugger_data).unwrap().into();
    fields.context_record[..0x2CC].copy_from_slice(&registers);
    let machine = Double {
        header,
        memory,
        processors: vec![Processor {
            number: 0,
            prcb: Some(VirtAddr(prcb)),
            current_thread: Some(VirtAddr(thread)),
            context: Some(ProcessorContext {
                address: None,
                bytes: registers,
            }),
            special_registers: None,
        }],
        modules: Vec::new(),
        unloaded: Vec::new(),
        debugger_data: OnceCell::new(),
    };
    let selection = as_windows(&machine);
    let expected = [
        range(prcb, 0xC50),
        range(pointer, 0x400),
        range(0x8055_1000, 4),
        range(kernel, 0x1000),
        range(stack, 0x100),
        range(process, 0x100),
        range(0x8140_0001, 0x100),
    ];
    let mut found = blocks_of(&selection.dump);
    // The thread's stack ends where nothing is.
    found.retain(|block| block.start != VirtAddr(stack + 0x3000));
    assert_eq!(found, expected);
    let file = render(&selection.dump, Some(machine.kernel_memory()), &[]);
    let mut findings = Findings::default();
    let triage = Triage::open(&file, &selection.dump.header, &mut findings).unwrap();
    let sizes = [
        SectionKind::Prcb,
        SectionKind::Process,
        SectionKind::Thread,
        SectionKind::CallStack,
    ]
    .map(|kind| triage.section(kind).unwrap().size);
    assert_eq!(sizes, [0xC50, 0x260, 0x258, 0x400]);
    assert_eq!(
        triage.block_table().get(0).unwrap().address.get(),
        0xFFFF_FFFF_FFDF_F120,
        "sign-extended"
    );
    let stored = triage.bytes(SectionKind::DebuggerData, usize::MAX).unwrap();
    assert_eq!(
        stored[..0x10],
        [
            0xFFFF_FFFF_8054_0000_u64.to_le_bytes(),
            0xFFFF_FFFF_8055_0000_u64.to_le_bytes()
        ]
        .concat()
    );
    assert_eq!(triage.fields().top_of_stack, VirtAddr(pointer));
    assert!(findings.is_empty(), "{:?}", findings.as_slice());
}
