//! Machines made by hand: every rule of the choice of memory by itself.

use dotdump_format::kernel::Header;
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::MachineSnapshot as _;
use dotdump_transcode::machine::triage::{Reason, TriageRequest, select};

use crate::builder::*;
use crate::double::{Double, Given, blocks_of};

/// What every dump has before anything that registers, parameters and pointers lead to.
fn always() -> Vec<VirtRange> {
    vec![
        range(VERIFIER_DATA, 0x9C),
        range(PRCBS[0], 0x400),
        range(CONTEXTS[0], 0x4D0),
        range(POINTER, 0x800),
        range(PRCBS[1], 0x400),
        range(CONTEXTS[1], 0x640),
        // The other processor was in user mode: its stack is none of the kernel's.
        range(PROCESSOR_BLOCK, 0x10),
        range(BUILD_LAB, 0x100),
    ]
}

/// All that Windows stores apart from what pointers lead to, with what the machine has no room for left out.
#[test]
fn blocks_come_in_the_order_of_windows() {
    let mut machine = machine();
    let page = POOL + 0x10_0000;
    machine.memory.map(page, 0x1000);
    machine.memory.map(POOL, 0x30);
    machine.memory.map(POOL + 0x1000, 0x10);
    machine.memory.put(REGISTERED_COUNT, &4_u32.to_le_bytes());
    let entries = [
        (POOL + 0x1000, POOL + 0x1010),
        // Not there, and backwards.
        (POOL + 0x5000, POOL + 0x5008),
        (POOL + 8, POOL),
        // There in part.
        (POOL + 0x20, POOL + 0x40),
    ];
    for (index, (start, end)) in entries.into_iter().enumerate() {
        machine.memory.put_pointer(REGISTERED + 16 * index as u64, start);
        machine.memory.put_pointer(REGISTERED + 16 * index as u64 + 8, end);
    }
    // The kernel's address counts, that of user mode and the small number do not.
    set_bugcheck(&mut machine, 0x50, [page + 0x123, 0x7FFE_0000, 2, page + 0x800]);
    let selection = as_windows(&machine);
    let mut expected = always();
    expected.extend([
        range(POOL + 0x1000, 0x10),
        range(POOL + 0x20, 0x10),
        range(page, 0x1000),
        range(REGISTERED_COUNT, 4),
        range(REGISTERED, 0x40),
        // The page of the instruction; other registers lead nowhere.
        range(KERNEL + 0x2000, 0x1000),
        // The thread's own pointers: the lower part of its stack, and its process.
        range(STACK, 0x100),
        range(PROCESS, 0x100),
    ]);
    assert_eq!(blocks_of(&selection.dump), expected);
    assert!(selection.dropped.is_empty());
    let reasons: Vec<_> = selection
        .kept
        .iter()
        .map(|count| (count.reason, count.blocks, count.bytes))
        .collect();
    assert_eq!(
        reasons,
        [
            (Reason::VerifierData, 1, 0x9C),
            (Reason::Processor, 2, 0x800),
            (Reason::ProcessorContext, 2, 0xB10),
            (Reason::ProcessorStack, 1, 0x800),
            (Reason::ProcessorTable, 1, 0x10),
            (Reason::BuildText, 1, 0x100),
            (Reason::Registered, 2, 0x20),
            (Reason::RegisteredTable, 2, 0x44),
            (Reason::ParameterPage, 1, 0x1000),
            (Reason::RegisterPage, 1, 0x1000),
            (Reason::Pointer, 2, 0x200),
        ]
    );
}

/// 256 bytes from each pointer on, what they lead to before the next pointer, cut around what is there; two levels from the
/// thread, three from the stack.
#[test]
fn pointers_are_followed_depth_first() {
    let mut machine = machine();
    machine.memory.put_pointer(THREAD + 0x30, 0);
    machine.memory.put_pointer(THREAD + 0xB8, 0);
    let at = |number: u64| POOL + 0x1000 * number;
    for number in 0..8 {
        machine.memory.map(at(number), 0x800);
    }
    machine.memory.map(at(9), 0x40);
    machine.memory.put_pointer(THREAD + 0x100, at(0) + 1);
    machine.memory.put_pointer(THREAD + 0x108, at(0) + 0x80);
    machine.memory.put_pointer(THREAD + 0x110, at(9) + 8);
    // Read from the pointer on, in words of its own alignment.
    machine.memory.put_pointer(at(0) + 1 + 0x10, at(1));
    machine.memory.put_pointer(at(1), at(2));
    machine.memory.put_pointer(POINTER + 0x10, at(3));
    machine.memory.put_pointer(at(3) + 8, at(4));
    machine.memory.put_pointer(at(4) + 8, at(5));
    machine.memory.put_pointer(at(5) + 8, at(6));
    // Around in circles, and where nothing is.
    machine.memory.put_pointer(at(4) + 0x20, at(3));
    machine.memory.put_pointer(POINTER + 0x18, at(8));
    machine.memory.put_pointer(POINTER + 0x20, u64::MAX - 2);
    let selection = as_windows(&machine);
    let mut expected = always();
    expected.extend([
        range(KERNEL + 0x2000, 0x1000),
        range(at(0) + 1, 0x100),
        range(at(1), 0x100),
        range(at(0) + 0x101, 0x7F),
        range(at(9) + 8, 0x38),
        range(at(3), 0x100),
        range(at(4), 0x100),
        range(at(5), 0x100),
    ]);
    let found: Vec<VirtRange> = blocks_of(&selection.dump)
        .into_iter()
        .filter(|block| block.start != VirtAddr(REGISTERED_COUNT))
        .collect();
    assert_eq!(found, expected);
}

/// The buffers of the watchdog: last processor first, those without anything in them left out.
#[test]
fn the_watchdogs_records_come_first() {
    let mut machine = machine();
    let block = POOL + 0x20_0000;
    machine.memory.map(block, 0x10);
    machine.memory.put(block, &0xAEBE_CEDE_u32.to_le_bytes());
    machine.memory.put(block + 8, &0x3F0_u32.to_le_bytes());
    machine.memory.put(block + 12, &0x100_u32.to_le_bytes());
    for (number, prcb) in PRCBS.into_iter().enumerate() {
        let buffer = POOL + 0x10_0000 * number as u64;
        machine.memory.map(buffer, 0x800);
        machine.memory.put_pointer(prcb + 0x3F0, buffer);
    }
    machine.memory.put(POOL + 0x7FF, &[1]);
    set_bugcheck(&mut machine, 0x133, [1, 0, block, 0]);
    let found = blocks_of(&as_windows(&machine).dump);
    assert_eq!(
        found[..3],
        [range(POOL, 0x800), range(block, 0x10), range(VERIFIER_DATA, 0x9C)]
    );
    machine.memory.put(POOL + 0x10_0000, &[1]);
    let found = blocks_of(&as_windows(&machine).dump);
    assert_eq!(found[..2], [range(POOL + 0x10_0000, 0x800), range(POOL, 0x800)]);
    // Another bugcheck has no such parameter.
    set_bugcheck(&mut machine, 0x50, [1, 0, block, 0]);
    assert_eq!(blocks_of(&as_windows(&machine).dump)[0], range(VERIFIER_DATA, 0x9C));
}

/// The header has the registers of a trap further up: the processor is the one on whose stack they lie, and the stack
/// starts where it really stopped.
#[test]
fn a_trap_further_up_the_stack() {
    let mut machine = machine();
    machine.processors.swap(0, 1);
    let trap = POINTER + 0x400;
    let Header::Dump64(fields) = &mut machine.header else {
        unreachable!()
    };
    fields.context_record[..0x4D0].copy_from_slice(&context(trap, KERNEL + 0x1000, 0));
    let selection = as_windows(&machine);
    assert_eq!(selection.dump.top_of_stack, VirtAddr(POINTER));
    assert_eq!(selection.dump.call_stack.size(), 0x800);
    let blocks = blocks_of(&selection.dump);
    assert!(blocks.contains(&range(trap, 0x400)), "{blocks:?}");
    assert!(
        blocks.contains(&range(CONTEXTS[0], 0x4D0)),
        "of the processor that stopped, without extended state"
    );
}

/// On a stack that is not the thread's, 0x2000 bytes, up to the first that is absent.
#[test]
fn a_stack_of_interrupts() {
    let mut machine = machine();
    let stack = POOL + 0x40_0000;
    machine.memory.map(stack, 0x3000);
    let Header::Dump64(fields) = &mut machine.header else {
        unreachable!()
    };
    for (pointer, size) in [(stack + 0x800, 0x2000), (stack + 0x2000, 0x1000)] {
        let registers = context(pointer, KERNEL + 0x2010, 0);
        fields.context_record[..0x4D0].copy_from_slice(&registers);
        machine.processors[0].context.as_mut().unwrap().bytes = registers;
        let request = TriageRequest::default();
        let source = Double {
            header: Header::Dump64(fields.clone()),
            memory: Given(machine.memory.0.clone()),
            processors: machine.processors.clone(),
            modules: Vec::new(),
            unloaded: Vec::new(),
            debugger_data: std::cell::OnceCell::new(),
        };
        let selection = select(&source, source.kernel_memory(), &request).unwrap();
        assert_eq!(selection.dump.top_of_stack, VirtAddr(pointer));
        assert_eq!(selection.dump.call_stack.size(), size);
        assert_eq!(selection.shortfalls.len(), 1, "no drivers: {:?}", selection.shortfalls);
    }
}

#[test]
fn additions_that_windows_does_not_make() {
    let mut machine = machine();
    // The leaf entry of the first parameter's page.
    let address = POOL + 0x12_3456;
    let entry = PTE_BASE + ((address & 0xFFFF_FFFF_FFFF) >> 9 & !7);
    machine.memory.map(entry, 8);
    set_bugcheck(&mut machine, 0x50, [address, 0, 0, 0]);
    let with = select(&machine, machine.kernel_memory(), &TriageRequest::default()).unwrap();
    let without = as_windows(&machine);
    let (with, without) = (blocks_of(&with.dump), blocks_of(&without.dump));
    assert_eq!(with[..without.len()], without, "they come last");
    // The code lies in a page that is stored already but for its first part.
    let expected = [
        range(KERNEL, 0x1000),
        range(KERNEL + 0x1F10, 0xF0),
        range(entry, 8),
        range(SHARED, 0x1000),
    ];
    assert_eq!(with[without.len()..], expected);
}
