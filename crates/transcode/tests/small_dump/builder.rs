//! A small x64 machine, made by hand.

use std::cell::OnceCell;

use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::MachineSnapshot as _;
use dotdump_snapshot::machine::{KernelModule, Processor, ProcessorContext, UnloadedDriver};
use dotdump_transcode::machine::triage::{TriageRequest, TriageSelection, select};

use crate::double::{Double, Given};

pub(crate) const KERNEL: u64 = 0xFFFF_F800_0000_0000;
pub(crate) const DEBUGGER_DATA: u64 = KERNEL + 0x10_0000;
pub(crate) const VARIABLES: u64 = KERNEL + 0x20_0000;
pub(crate) const PRCBS: [u64; 2] = [0xFFFF_9B00_0000_0180, 0xFFFF_9B00_0010_0180];
pub(crate) const CONTEXTS: [u64; 2] = [0xFFFF_9B00_0020_0340, 0xFFFF_9B00_0030_0340];
pub(crate) const THREAD: u64 = 0xFFFF_C000_0000_0000;
pub(crate) const PROCESS: u64 = 0xFFFF_C000_0010_0000;
pub(crate) const STACK: u64 = 0xFFFF_8500_0000_0000;
pub(crate) const STACK_END: u64 = STACK + 0x6000;
pub(crate) const POINTER: u64 = STACK_END - 0x800;
pub(crate) const POOL: u64 = 0xFFFF_D000_0000_0000;
pub(crate) const SHARED: u64 = 0xFFFF_F780_0000_0000;
pub(crate) const PTE_BASE: u64 = 0xFFFF_FD80_0000_0000;

/// Variables of the kernel.
pub(crate) const PROCESSOR_BLOCK: u64 = VARIABLES;
pub(crate) const BUILD_LAB: u64 = VARIABLES + 0x100;
pub(crate) const VERIFIER_DATA: u64 = VARIABLES + 0x200;
pub(crate) const REGISTERED_COUNT: u64 = VARIABLES + 0x300;
pub(crate) const REGISTERED: u64 = VARIABLES + 0x320;
pub(crate) const CSD_VERSION: u64 = VARIABLES + 0x400;
pub(crate) const PFN_DATABASE: u64 = VARIABLES + 0x410;

pub(crate) fn context(pointer: u64, instruction: u64, rax: u64) -> Vec<u8> {
    let mut context = vec![0; 0x4D0];
    context[0x30..0x34].copy_from_slice(&0x10_000F_u32.to_le_bytes());
    context[0x78..0x80].copy_from_slice(&rax.to_le_bytes());
    context[0x98..0xA0].copy_from_slice(&pointer.to_le_bytes());
    context[0xF8..0x100].copy_from_slice(&instruction.to_le_bytes());
    context
}

pub(crate) fn utf16(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// An x64 machine with two processors, of which the first one stopped.
pub(crate) fn machine() -> Double<Given> {
    let mut memory = Given::default();
    memory.map(KERNEL, 0x4000);
    memory.map(DEBUGGER_DATA, 0x380);
    memory.map(VARIABLES, 0x1000);
    memory.map(SHARED, 0x1000);
    let debugger_data: [(u64, u64); 11] = [
        (0x18, KERNEL),
        (0xC0, PFN_DATABASE),
        (0x208, BUILD_LAB),
        (0x218, PROCESSOR_BLOCK),
        (0x248, VERIFIER_DATA),
        (0x268, CSD_VERSION),
        (0x308, REGISTERED_COUNT),
        (0x310, REGISTERED),
        (0x340, 0x38 << 32 | 0x30),
        (0x360, PTE_BASE),
        (0x48, VARIABLES + 0x500),
    ];
    for (offset, value) in debugger_data {
        memory.put_pointer(DEBUGGER_DATA + offset, value);
    }
    memory.put(DEBUGGER_DATA + 0x10, b"KDBG\x80\x03\0\0");
    let halves = [
        (0x2A0, 0xB8),
        (0x2A8, 0x180),
        (0x2B0, 0x400),
        (0x2B4, 8),
        (0x2BE, 0x24),
        (0x2C0, 0x200),
        (0x338, 0x300),
    ];
    for (offset, value) in halves {
        memory.put(DEBUGGER_DATA + offset, &u16::to_le_bytes(value));
    }
    memory.put(CSD_VERSION, &0x1234_0200_u32.to_le_bytes());
    memory.put(BUILD_LAB, b"19041.vb_release");
    for (number, prcb) in PRCBS.into_iter().enumerate() {
        memory.map(prcb, 0x400);
        memory.put_pointer(PROCESSOR_BLOCK + 8 * number as u64, prcb);
        memory.put_pointer(prcb + 0x300, CONTEXTS[number]);
        // CONTEXT, and behind it CONTEXT_EX of 0x640 bytes in all.
        memory.map(CONTEXTS[number], 0x800);
        memory.put(CONTEXTS[number] + 0x4D0, &(-0x4D0_i32).to_le_bytes());
        memory.put(CONTEXTS[number] + 0x4D4, &0x640_u32.to_le_bytes());
    }
    memory.put_pointer(PRCBS[0] + 8, THREAD);
    memory.map(THREAD, 0x200);
    memory.put(THREAD, &[6]);
    memory.put_pointer(THREAD + 0x30, STACK);
    memory.put_pointer(THREAD + 0x38, STACK_END);
    memory.put_pointer(THREAD + 0xB8, PROCESS);
    memory.map(PROCESS, 0x180);
    memory.put(PROCESS, &[3]);
    memory.map(STACK, 0x6000);
    let contexts = [
        context(POINTER, KERNEL + 0x2010, 0),
        context(0x7FF0_0000, 0x7FF6_0000, 0),
    ];
    for (at, context) in CONTEXTS.into_iter().zip(&contexts) {
        memory.put(at, context);
    }

    let mut header = Header::unset(Machine::Amd64);
    let Header::Dump64(fields) = &mut header else {
        unreachable!()
    };
    fields.machine_image_type = 0x8664.into();
    fields.minor_version = 19041.into();
    fields.number_processors = 2.into();
    fields.bug_check_code = 0x50.into();
    fields.bug_check_parameters = [0.into(); 4];
    fields.pfn_data_base = 0x1111_0000.into();
    fields.attributes = 8.into();
    fields.physical_memory_block[0] = 1;
    fields.kd_debugger_data_block = DEBUGGER_DATA.into();
    fields.context_record[..0x4D0].copy_from_slice(&contexts[0]);
    let processors = PRCBS.into_iter().zip(CONTEXTS).zip(contexts).zip(0..);
    let processors = processors.map(|(((prcb, context), bytes), number)| Processor {
        number,
        prcb: Some(VirtAddr(prcb)),
        current_thread: (number == 0).then_some(VirtAddr(THREAD)),
        context: Some(ProcessorContext {
            address: Some(VirtAddr(context)),
            bytes,
        }),
        special_registers: None,
    });
    Double {
        header,
        processors: processors.collect(),
        memory,
        modules: vec![KernelModule {
            entry: None,
            base: VirtAddr(KERNEL),
            size: 0x4000,
            entry_point: VirtAddr(KERNEL + 0x1000),
            checksum: Some(0x1234),
            time_date_stamp: None,
            full_name: Some(utf16(r"\SystemRoot\system32\ntoskrnl.exe")),
            base_name: Some(utf16("ntoskrnl.exe")),
        }],
        unloaded: vec![UnloadedDriver {
            name: utf16("dump_storport.sys"),
            range: VirtRange::sized(VirtAddr(KERNEL + 0x50_0000), 0x2000),
            time: Some(1),
        }],
        debugger_data: OnceCell::new(),
    }
}

pub(crate) fn set_bugcheck(machine: &mut Double<Given>, code: u32, parameters: [u64; 4]) {
    let Header::Dump64(fields) = &mut machine.header else {
        unreachable!()
    };
    fields.bug_check_code = code.into();
    fields.bug_check_parameters = parameters.map(Into::into);
}

pub(crate) fn as_windows(machine: &Double<Given>) -> TriageSelection {
    let request = TriageRequest {
        as_windows: true,
        ..TriageRequest::default()
    };
    select(machine, machine.kernel_memory(), &request).unwrap()
}

pub(crate) fn range(start: u64, size: u64) -> VirtRange {
    VirtRange::sized(VirtAddr(start), size)
}
