//! Modules, by the loader's lists in the environment block of a process.

use dotdump_format::VirtAddr;
use dotdump_format::kernel::Machine;

use super::Notes;
use crate::machine::{KernelReader, Process};
use crate::process::ModuleSnapshot;
use crate::windows::{LoaderModules, image_module};

/// The modules of a process whose memory is `user`, in load order; those of 32 bits on a 64-bit system last.
pub(super) fn modules(
    process: &Process,
    user: &KernelReader<'_>,
    tebs: &[VirtAddr],
    notes: &mut Notes,
) -> Vec<ModuleSnapshot> {
    let mut modules = LoaderModules::default();
    if process.peb.0 != 0 && modules.read(user, process.peb) == 0 {
        let program = program(process, user);
        notes.add(match &program {
            Some(_) => "the loader's list of modules is not in memory: the program alone is known, by its header",
            None => "the loader's list of modules is not in memory",
        });
        if let Some(program) = program {
            modules.add(program);
        }
    }
    if user.machine() == Machine::X86 {
        return modules.into_modules();
    }
    let narrow = KernelReader::new(user.memory(), Machine::X86);
    if let Some(peb) = tebs.iter().find_map(|teb| wow64_peb(&narrow, *teb)) {
        let found = modules.read(&narrow, peb);
        notes.add(format!(
            "the process runs 32-bit code: its {found} modules of 32 bits are found through the environment block at {peb}, \
             0x2000 bytes behind a thread's own"
        ));
    }
    modules.into_modules()
}

/// The program itself, by the base that the environment block names and the name that the kernel has.
fn program(process: &Process, user: &KernelReader<'_>) -> Option<ModuleSnapshot> {
    let at = user.at(process.peb, 2 * user.pointer_size());
    let base = user.pointer(at).filter(|base| base.0 != 0)?;
    image_module(user, base, Some(process.name.encode_utf16().collect()))
}

/// The 32-bit environment block that a 32-bit thread environment block refers to. That one lies behind the thread's
/// 64-bit one, and knows its own address.
fn wow64_peb(narrow: &KernelReader<'_>, teb: VirtAddr) -> Option<VirtAddr> {
    let teb = teb
        .checked_add(0x2000)
        .filter(|teb| teb.0 > 0x2000 && teb.0 <= u64::from(u32::MAX))?;
    (narrow.pointer(narrow.at(teb, 0x18))? == teb)
        .then(|| narrow.pointer(narrow.at(teb, 0x30)))
        .flatten()
        .filter(|peb| peb.0 != 0)
}
