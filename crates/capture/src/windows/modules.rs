//! The modules of a stopped process.

use std::os::windows::io::{AsHandle, OwnedHandle};

use dotdump_format::kernel::Machine;
use dotdump_format::{Findings, VirtAddr};
use dotdump_snapshot::machine::KernelReader;
use dotdump_snapshot::windows::LoaderModules;
use dotdump_snapshot::{Memory, ModuleSnapshot};

use super::native::{Plain, process_information};

/// The processor for which this is built, and with it the processes that it captures.
pub(super) const MACHINE: Machine = if cfg!(target_arch = "x86_64") {
    Machine::Amd64
} else if cfg!(target_arch = "aarch64") {
    Machine::Arm64
} else {
    Machine::X86
};

/// `ProcessBasicInformation`.
const BASIC_INFORMATION: u32 = 0;
/// `ProcessWow64Information`.
const WOW64_INFORMATION: u32 = 26;

/// `PROCESS_BASIC_INFORMATION` (`winternl.h`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct BasicInformation {
    exit_status: i32,
    peb: usize,
    affinity: usize,
    base_priority: i32,
    id: usize,
    parent: usize,
}

// SAFETY: numbers.
unsafe impl Plain for BasicInformation {}

/// The address of a process's environment block; `None` where the system does not tell.
pub(super) fn environment_block(process: &OwnedHandle) -> Option<VirtAddr> {
    let basic: BasicInformation = process_information(process.as_handle(), BASIC_INFORMATION).ok()?;
    Some(VirtAddr(basic.peb as u64)).filter(|peb| peb.0 != 0)
}

/// The address of the environment block of a process's 32-bit side; `None` where it has none.
fn narrow_environment_block(process: &OwnedHandle) -> Option<VirtAddr> {
    if MACHINE == Machine::X86 {
        return None;
    }
    let peb: usize = process_information(process.as_handle(), WOW64_INFORMATION).ok()?;
    Some(VirtAddr(peb as u64)).filter(|peb| peb.0 != 0)
}

/// The modules by the lists of the process's loader, the program first; those of a 32-bit program on a 64-bit system
/// behind the others.
pub(super) fn modules(
    process: &OwnedHandle,
    peb: VirtAddr,
    memory: &dyn Memory,
    findings: &mut Findings,
) -> Vec<ModuleSnapshot> {
    let mut modules = LoaderModules::default();
    let user = KernelReader::new(memory, MACHINE);
    modules.read(&user, peb);
    findings.append(user.into_findings());
    if let Some(peb) = narrow_environment_block(process) {
        let narrow = KernelReader::new(memory, Machine::X86);
        modules.read(&narrow, peb);
        findings.append(narrow.into_findings());
    }
    modules.into_modules()
}
