//! Whether a debugger finds its way in what was chosen.

use dotdump_format::{Error, VirtAddr};
use dotdump_snapshot::{AddressSpace, MachineSnapshot, Memory, PageSet};

use super::chosen::ChosenMemory;

/// Something that the source has at a kernel address, and what was chosen has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What it is.
    pub what: String,
    /// Where it lies.
    pub address: VirtAddr,
}

/// What debuggers start from and walk along, and would not find in `pages`, although the source has it. Nothing, unless
/// the choice was wrong.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn lost(snapshot: &dyn MachineSnapshot, pages: &PageSet) -> Result<Vec<Lost>, Error> {
    let (Some(source), Some(space)) = (snapshot.physical_memory(), snapshot.kernel_space()) else {
        return Ok(Vec::new());
    };
    let chosen = ChosenMemory { source, pages };
    let result = AddressSpace::new(&chosen, space.mode(), space.root(), space.software());
    let mut lost = Vec::new();
    let mut check = |what: &dyn Fn() -> String, address: Option<VirtAddr>| {
        if let Some(address) = address.filter(|address| address.0 != 0)
            && is_there(space, address)?
            && !is_there(&result, address)?
        {
            lost.push(Lost { what: what(), address });
        }
        Ok::<(), Error>(())
    };
    let header = snapshot.header();
    check(&|| "PsLoadedModuleList".to_owned(), header.ps_loaded_module_list())?;
    check(&|| "PsActiveProcessHead".to_owned(), header.ps_active_process_head())?;
    check(&|| "KdDebuggerDataBlock".to_owned(), header.kd_debugger_data_block())?;
    for processor in snapshot.processors() {
        let number = processor.number;
        check(&|| format!("the KPRCB of processor {number}"), processor.prcb)?;
        check(
            &|| format!("the thread of processor {number}"),
            processor.current_thread,
        )?;
        let context = processor.context.as_ref().and_then(|context| context.address);
        check(&|| format!("the CONTEXT of processor {number}"), context)?;
        if let Some(registers) = processor.special_registers {
            check(
                &|| format!("the IDT of processor {number}"),
                Some(VirtAddr(registers.idt_base)),
            )?;
            check(
                &|| format!("the GDT of processor {number}"),
                Some(VirtAddr(registers.gdt_base)),
            )?;
        }
    }
    for module in snapshot.modules() {
        check(&|| format!("the list entry of {}", module.name_text()), module.entry)?;
        check(&|| format!("the headers of {}", module.name_text()), Some(module.base))?;
    }
    for process in snapshot.processes() {
        check(&|| format!("the EPROCESS of {}", process.name), Some(process.eprocess))?;
    }
    Ok(lost)
}

fn is_there(space: &AddressSpace<'_>, address: VirtAddr) -> Result<bool, Error> {
    Ok(space.read(address, &mut [0])? == 1)
}
