//! Finding the kernel's page tables: by the header, by the processors, or by looking for them.

use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{Error, PhysAddr, VirtAddr};

use super::MachineFile;
use crate::paging::{AddressSpace, PagingMode, RootSource, SoftwarePtes, choose_mode, find_root};
use crate::physical::PhysicalMemory;

/// What told where the kernel's page tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootOrigin {
    /// The dump's header.
    Header,
    /// A processor's CR3.
    Processor,
    /// The code that starts processors.
    LowStub,
    /// A page that maps itself.
    SelfMap,
}

/// The kernel's page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRoot {
    /// How they are built.
    pub mode: PagingMode,
    /// The top table, as whoever told of it has it.
    pub root: PhysAddr,
    /// Who told of it.
    pub origin: RootOrigin,
    /// Whether lists of the kernel or its `KUSER_SHARED_DATA` were seen through them.
    pub confirmed: bool,
}

/// Finds the kernel's page tables; `None` where there are none that hold anything of Windows and the header names none.
///
/// A header may have the root of user mode's own tables, which maps next to nothing of the kernel, and processors that
/// were stopped in user mode have such a root as well. So a root counts if the kernel's lists can be read through it.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn find_kernel_root(physical: &dyn PhysicalMemory, source: &MachineFile<'_>) -> Result<Option<KernelRoot>, Error> {
    let header = source.header();
    let heads: Vec<VirtAddr> = header
        .map(|header| [header.ps_loaded_module_list(), header.ps_active_process_head()])
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .filter(|head| head.0 != 0)
        .collect();
    let pae = header.and_then(Header::pae_enabled);
    let of_header = header.and_then(Header::directory_table_base);
    let of_processors: Vec<(PhysAddr, bool)> = source
        .cpus()
        .iter()
        .filter_map(|cpu| cpu.special_registers())
        .map(|registers| (PhysAddr(registers.cr3), registers.cr4 & LA57 != 0))
        .collect();
    let roots = of_header
        .map(|root| (root, RootOrigin::Header))
        .into_iter()
        .chain(of_processors.iter().map(|(root, _)| (*root, RootOrigin::Processor)));

    if let Some(machine) = source.machine() {
        for (root, origin) in roots.clone() {
            let mode = if heads.is_empty() {
                mode_with_shared_data(physical, machine, root, pae)?
            } else {
                choose_mode(physical, machine, root, pae, &heads)?
            };
            if let Some(mode) = mode {
                let confirmed = true;
                return Ok(Some(KernelRoot {
                    mode,
                    root,
                    origin,
                    confirmed,
                }));
            }
        }
    }
    for heads in [heads.as_slice(), &[]] {
        if let Some(found) = find_root(physical, source.machine(), heads)? {
            return Ok(Some(KernelRoot {
                mode: found.mode,
                root: found.root,
                origin: match found.source {
                    RootSource::LowStub => RootOrigin::LowStub,
                    RootSource::SelfMap => RootOrigin::SelfMap,
                },
                confirmed: true,
            }));
        }
    }
    // Nothing of Windows anywhere: the tables that are named may still map something. This is also how the memory of
    // other systems is read.
    let Some(machine) = source.machine() else {
        return Ok(None);
    };
    let five_levels = of_processors.iter().any(|(_, five_levels)| *five_levels);
    Ok(roots.into_iter().next().map(|(root, origin)| KernelRoot {
        mode: match machine {
            Machine::X86 if pae == Some(false) => PagingMode::X86,
            Machine::X86 => PagingMode::Pae,
            Machine::Amd64 if five_levels => PagingMode::FiveLevel,
            Machine::Amd64 => PagingMode::FourLevel,
            Machine::Arm64 => PagingMode::Arm64,
        },
        root,
        origin,
        confirmed: false,
    }))
}

/// The bit of CR4 for five levels.
const LA57: u64 = 1 << 12;

/// The mode in which a `KUSER_SHARED_DATA` can be read through the tables at `root`.
fn mode_with_shared_data(
    physical: &dyn PhysicalMemory,
    machine: Machine,
    root: PhysAddr,
    pae: Option<bool>,
) -> Result<Option<PagingMode>, Error> {
    let modes: &[PagingMode] = match (machine, pae) {
        (Machine::X86, Some(false)) => &[PagingMode::X86],
        (Machine::X86, Some(true)) => &[PagingMode::Pae],
        (Machine::X86, None) => &[PagingMode::Pae, PagingMode::X86],
        (Machine::Amd64, _) => &[PagingMode::FourLevel, PagingMode::FiveLevel],
        (Machine::Arm64, _) => &[PagingMode::Arm64],
    };
    for mode in modes {
        if AddressSpace::new(physical, *mode, root, SoftwarePtes::None).has_shared_data()? {
            return Ok(Some(*mode));
        }
    }
    Ok(None)
}

/// The processor whose page tables are built like that.
#[must_use]
pub const fn machine_of(mode: PagingMode) -> Machine {
    match mode {
        PagingMode::X86 | PagingMode::Pae => Machine::X86,
        PagingMode::FourLevel | PagingMode::FiveLevel => Machine::Amd64,
        PagingMode::Arm64 => Machine::Arm64,
    }
}
