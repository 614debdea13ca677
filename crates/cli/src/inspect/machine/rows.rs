//! The rows of the JSON document about a machine.

use dotdump_format::kernel;
use dotdump_format::minidump::context::xstate::XState;
use dotdump_format::time::filetime_to_unix;
use dotdump_format::{Endian, Error, PhysAddr};
use dotdump_snapshot::PhysicalMemory;
use dotdump_snapshot::machine::{KernelModule, Process, Processor, ProcessorContext, SpecialRegisters, UnloadedDriver};
use serde::Serialize;

use super::super::json::iso8601;
use super::super::model::{ContextRow, Hex};
use super::super::opened::Registers;

/// A loaded module.
#[derive(Serialize)]
pub(super) struct ModuleRow {
    name: String,
    path: Option<String>,
    base: Hex,
    size: u32,
    timestamp: Option<u32>,
    checksum: Option<u32>,
    entry_point: Hex,
    entry: Option<Hex>,
}

impl ModuleRow {
    pub(super) fn of(module: &KernelModule) -> Self {
        Self {
            name: module.name_text(),
            path: module.full_name.as_deref().map(String::from_utf16_lossy),
            base: Hex(module.base.0),
            size: module.size,
            timestamp: module.time_date_stamp,
            checksum: module.checksum,
            entry_point: Hex(module.entry_point.0),
            entry: module.entry.map(|entry| Hex(entry.0)),
        }
    }
}

/// A driver that was unloaded.
#[derive(Serialize)]
pub(super) struct UnloadedRow {
    name: String,
    base: Hex,
    size: u64,
    time: Option<String>,
}

impl UnloadedRow {
    pub(super) fn of(driver: &UnloadedDriver) -> Self {
        Self {
            name: String::from_utf16_lossy(&driver.name),
            base: Hex(driver.range.start.0),
            size: driver.range.size(),
            time: driver.time.and_then(filetime_to_unix).map(iso8601),
        }
    }
}

/// A process.
#[derive(Serialize)]
pub(super) struct ProcessRow<'a> {
    id: u64,
    parent_id: Option<u64>,
    name: &'a str,
    eprocess: Hex,
    directory_table_base: Hex,
    user_directory_table_base: Option<Hex>,
    peb: Option<Hex>,
}

impl<'a> ProcessRow<'a> {
    pub(super) fn of(process: &'a Process) -> Self {
        let hex = |address: PhysAddr| Hex(address.0);
        Self {
            id: process.id,
            parent_id: process.parent_id,
            name: &process.name,
            eprocess: Hex(process.eprocess.0),
            directory_table_base: hex(process.directory_table_base),
            user_directory_table_base: process.user_directory_table_base.map(hex),
            peb: Some(Hex(process.peb.0)).filter(|peb| peb.0 != 0),
        }
    }
}

/// A processor.
#[derive(Serialize)]
pub(super) struct ProcessorRow {
    number: u32,
    prcb: Option<Hex>,
    current_thread: Option<Hex>,
    context_address: Option<Hex>,
    context: Option<ContextRow>,
    special_registers: Option<SpecialRow>,
}

#[derive(Serialize)]
struct SpecialRow {
    cr0: Hex,
    cr2: Hex,
    cr3: Hex,
    cr4: Hex,
    ttbr1: Hex,
    idt_base: Hex,
    gdt_base: Hex,
    kernel_gs_base: Hex,
}

impl SpecialRow {
    fn of(registers: &SpecialRegisters) -> Self {
        Self {
            cr0: Hex(registers.cr0),
            cr2: Hex(registers.cr2),
            cr3: Hex(registers.cr3),
            cr4: Hex(registers.cr4),
            ttbr1: Hex(registers.ttbr1),
            idt_base: Hex(registers.idt_base),
            gdt_base: Hex(registers.gdt_base),
            kernel_gs_base: Hex(registers.kernel_gs_base),
        }
    }
}

/// The registers of a processor; `None` where the source lacks them.
pub(super) fn registers_of(machine: kernel::Machine, context: &ProcessorContext) -> Registers {
    let state = XState::read(&context.bytes, machine.context_size(), Endian::Little);
    Registers {
        size: context.bytes.len() as u64,
        context: machine.context(&context.bytes),
        xstate: state.map_or(0, |state| state.present()),
    }
}

impl ProcessorRow {
    pub(super) fn of(machine: kernel::Machine, processor: &Processor) -> Self {
        let context = processor.context.as_ref();
        let address = context.and_then(|context| context.address);
        Self {
            number: processor.number,
            prcb: processor.prcb.map(|prcb| Hex(prcb.0)),
            current_thread: processor.current_thread.map(|thread| Hex(thread.0)),
            context_address: address.map(|address| Hex(address.0)),
            context: context.map(|context| ContextRow::of(registers_of(machine, context))),
            special_registers: processor.special_registers.as_ref().map(SpecialRow::of),
        }
    }
}

/// The pages of a machine in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PageFigures {
    /// How many runs of pages that are there, apart from each other.
    pub(super) runs: u64,
    /// How many pages the source says that it has.
    pub(super) pages_described: u64,
    /// How many of them are there.
    pub(super) pages_present: u64,
}

impl PageFigures {
    /// Counts the pages. `described` is what the file's own tables say, where they do.
    pub(super) fn of(memory: &dyn PhysicalMemory, described: Option<u64>) -> Result<Self, Error> {
        let (mut runs, mut end) = (0, None);
        for run in memory.runs(dotdump_format::Pfn(0)) {
            let run = run?;
            runs += u64::from(end != Some(run.first));
            end = Some(run.end());
        }
        let pages_present = memory.pages_present();
        Ok(Self {
            runs,
            pages_described: described.unwrap_or(pages_present),
            pages_present,
        })
    }
}
