//! Memory that Windows leaves out of the small dumps that it makes of bigger ones, and debuggers are glad of.

use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::{Error, PAGE_SIZE, VirtAddr, VirtRange};

use super::blocks::Blocks;
use super::focus::Focus;
use super::gather::page_registers;
use super::reason::Reason;
use super::target::Target;

/// How much code is stored on either side of the instruction, in bytes: as in the dumps that the kernel writes.
const CODE: u64 = 0x100;

/// Adds the headers of the kernel's image, the code around the instruction, the page-table entries of registers and
/// parameters, and `KUSER_SHARED_DATA`.
pub(super) fn add(target: &Target<'_>, focus: &Focus<'_>, blocks: &mut Blocks<'_>) -> Result<(), Error> {
    let kernel = target.field(DebuggerData::kern_base);
    let kernel = kernel.or_else(|| Some(target.snapshot.modules().first()?.base));
    if let Some(base) = kernel {
        blocks.add(Reason::KernelHeader, VirtRange::sized(base, PAGE_SIZE))?;
    }
    let registers = target.header_registers();
    if let Some(registers) = &registers {
        let instruction = VirtAddr(registers.instruction_pointer());
        if target.is_kernel(instruction) {
            let start = instruction.saturating_sub(CODE);
            blocks.add(Reason::Code, VirtRange::new(start, instruction.saturating_add(CODE)))?;
        }
    }
    let bugcheck = target.snapshot.bugcheck();
    let mut addresses: Vec<u64> = bugcheck.map_or_else(Vec::new, |bugcheck| bugcheck.parameters.to_vec());
    let saved = focus.processor.and_then(|processor| processor.context.as_ref());
    let saved = saved.and_then(|context| target.registers(&context.bytes));
    for registers in saved.iter().chain(&registers) {
        let values = page_registers(target.machine)
            .iter()
            .filter_map(|name| registers.register(name));
        addresses.extend(values.map(|value| value.low_u64()));
    }
    for address in addresses {
        add_entries(target, VirtAddr(address), blocks)?;
    }
    let shared = match target.machine {
        Machine::X86 => 0xFFDF_0000,
        Machine::Amd64 | Machine::Arm64 => 0xFFFF_F780_0000_0000,
    };
    blocks.add(Reason::SharedUserData, VirtRange::sized(VirtAddr(shared), PAGE_SIZE))
}

/// The page-table entries of an address, where page tables map themselves: the leaf first. They tell the physical address.
fn add_entries(target: &Target<'_>, address: VirtAddr, blocks: &mut Blocks<'_>) -> Result<(), Error> {
    let Some(base) = target.field(DebuggerData::pte_base).filter(|_| target.is_64()) else {
        return Ok(());
    };
    let mut entry = address;
    for _ in 0..4 {
        entry = base.saturating_add((entry.0 & 0xFFFF_FFFF_FFFF) >> 9 & !7);
        blocks.add(Reason::PageTables, VirtRange::sized(entry, 8))?;
    }
    Ok(())
}
