//! What every source of a kernel dump shows: the machine as it was at one instant.

pub mod bugcheck;
pub mod derive_header;
pub mod find_debugger_data;
pub mod find_kernel;
pub mod image;
pub mod kernel_space;
pub mod live_context;
pub mod machine_file;
pub mod modules;
pub mod pe_image;
pub mod pfn_database;
pub mod processes;
pub mod processors;
pub mod reader;
pub mod shared_user_data;
mod triage_facts;

use dotdump_format::kernel::{Header, Machine, SecondaryData, Triage};
use dotdump_format::{Findings, PhysAddr, VirtAddr, VirtRange};

pub use find_debugger_data::{DebuggerDataOrigin, FoundDebuggerData};
pub use image::MachineImage;
pub use kernel_space::{KernelRoot, RootOrigin};
pub use machine_file::{MachineFile, MachineOptions};
pub use pfn_database::PfnDatabase;
pub use reader::KernelReader;
pub use shared_user_data::SharedUserData;

use crate::memory::Memory;
use crate::paging::AddressSpace;
use crate::physical::PhysicalMemory;

/// A processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Its number.
    pub number: u32,
    /// Its `KPRCB`; `None` where it is not known (of a source that has nothing but registers).
    pub prcb: Option<VirtAddr>,
    /// The `KTHREAD` that ran on it.
    pub current_thread: Option<VirtAddr>,
    /// Its `CONTEXT`: where it lies in memory, and its bytes, extended state behind it included. `None` where the source
    /// lacks it.
    pub context: Option<ProcessorContext>,
    /// Control registers.
    pub special_registers: Option<SpecialRegisters>,
}

/// The `CONTEXT` of a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorContext {
    /// Where it lies in virtual memory; `None` where it was made from registers.
    pub address: Option<VirtAddr>,
    /// `CONTEXT`, and behind it `CONTEXT_EX` and extended state where it has some.
    pub bytes: Vec<u8>,
}

/// Registers of `KSPECIAL_REGISTERS` that say how the processor sees memory. Zero where the machine has no such one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR2: the last faulting address.
    pub cr2: u64,
    /// CR3, or TTBR0 on ARM64.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// TTBR1 on ARM64.
    pub ttbr1: u64,
    /// Base of the interrupt table.
    pub idt_base: u64,
    /// Base of the global descriptor table.
    pub gdt_base: u64,
    /// Base of GS while the kernel runs: the `KPCR` on x64.
    pub kernel_gs_base: u64,
}

/// A loaded module of the kernel: of `PsLoadedModuleList` or of a triage dump's driver list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelModule {
    /// The `KLDR_DATA_TABLE_ENTRY`; `None` in a triage dump.
    pub entry: Option<VirtAddr>,
    /// `DllBase`.
    pub base: VirtAddr,
    /// `SizeOfImage` in bytes.
    pub size: u32,
    /// `EntryPoint`.
    pub entry_point: VirtAddr,
    /// `CheckSum`; `None` where it is not known.
    pub checksum: Option<u32>,
    /// `TimeDateStamp`: seconds since 1970, or a hash in reproducible builds; `None` where it is not known.
    pub time_date_stamp: Option<u32>,
    /// `FullDllName`; `None` where it cannot be read.
    pub full_name: Option<Vec<u16>>,
    /// `BaseDllName`; `None` where it cannot be read.
    pub base_name: Option<Vec<u16>>,
}

impl KernelModule {
    /// The addresses of its image.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        VirtRange::sized(self.base, u64::from(self.size))
    }

    /// Its file's name without folders; empty where it has none.
    #[must_use]
    pub fn name_text(&self) -> String {
        let name = self.base_name.as_deref().or(self.full_name.as_deref());
        let text = String::from_utf16_lossy(name.unwrap_or_default());
        text.rsplit('\\').next().unwrap_or_default().to_owned()
    }
}

/// A driver that was unloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnloadedDriver {
    /// Its name, of which triage dumps keep 12 characters.
    pub name: Vec<u16>,
    /// Where it lay.
    pub range: VirtRange,
    /// When it was unloaded: FILETIME; `None` in triage dumps.
    pub time: Option<u64>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its `EPROCESS`.
    pub eprocess: VirtAddr,
    /// `UniqueProcessId`.
    pub id: u64,
    /// `InheritedFromUniqueProcessId`; `None` where it is not known.
    pub parent_id: Option<u64>,
    /// `ImageFileName`: at most 15 bytes.
    pub name: String,
    /// `DirectoryTableBase`, as it is stored.
    pub directory_table_base: PhysAddr,
    /// `UserDirectoryTableBase`: the root of user mode's own tables where page tables are shadowed.
    pub user_directory_table_base: Option<PhysAddr>,
    /// The PEB; zero for processes without user mode.
    pub peb: VirtAddr,
}

/// Why the machine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bugcheck {
    /// Its code; 0 where it was dumped without one.
    pub code: u32,
    /// Its parameters.
    pub parameters: [u64; 4],
}

/// Bytes that differ from the source in every dump that is made of it, because debuggers need them so: a decoded
/// `KDDEBUGGER_DATA64`, the registers of processors that the source keeps apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they go.
    pub address: PhysAddr,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What they are, for the report.
    pub what: &'static str,
}

/// A machine as it was at one instant.
///
/// Opening one reads little; what takes reading (modules, processes, …) is found when it is first asked for. Lists are
/// empty where the source does not have them or they cannot be read; [`MachineSnapshot::findings`] then says why. What a
/// source need not know of its machine has an answer for that.
pub trait MachineSnapshot {
    /// The processor.
    fn machine(&self) -> Machine;

    /// The header: the source's own, or for a source that has none what can be told of the machine, all else unset.
    fn header(&self) -> &Header;

    /// The pages; `None` for a source that has none (a triage dump, a header).
    fn physical_memory(&self) -> Option<&dyn PhysicalMemory>;

    /// Kernel memory by virtual address: through the page tables, or the blocks of a triage dump.
    fn kernel_memory(&self) -> &dyn Memory;

    /// The kernel's address space; `None` for a source without pages, or whose page tables are not found.
    fn kernel_space(&self) -> Option<&AddressSpace<'_>>;

    /// The address space of a process; `None` for a source without pages.
    fn process_space(&self, process: &Process) -> Option<AddressSpace<'_>>;

    /// Why it stopped; `None` where the source does not say.
    fn bugcheck(&self) -> Option<Bugcheck>;

    /// The processors that are in the source. It may have fewer than the machine.
    fn processors(&self) -> &[Processor];

    /// The processor whose registers the header has; `None` where that cannot be told.
    fn stopped_processor(&self) -> Option<&Processor> {
        None
    }

    /// Loaded modules of the kernel, in load order.
    fn modules(&self) -> &[KernelModule];

    /// Unloaded drivers, newest first.
    fn unloaded_drivers(&self) -> &[UnloadedDriver];

    /// Processes, in the kernel's order.
    fn processes(&self) -> &[Process];

    /// The kernel's table of contents, decoded; `None` where it is not found.
    fn debugger_data(&self) -> Option<&FoundDebuggerData> {
        None
    }

    /// `KUSER_SHARED_DATA`; `None` where it is not in the source.
    fn shared_user_data(&self) -> Option<SharedUserData> {
        None
    }

    /// The PFN database; `None` where it is not found, or its layout is not known.
    fn pfn_database(&self) -> Option<PfnDatabase<'_>> {
        None
    }

    /// The sections of a triage dump; `None` for any other source.
    fn triage(&self) -> Option<&Triage<'_>> {
        None
    }

    /// Where the secondary data is; `None` where there is none.
    fn secondary_data(&self) -> Option<&SecondaryData> {
        None
    }

    /// What of all this was told from contents, not by the source or by the kernel's own tables: sentences for a report.
    /// Everything is looked at for it.
    fn guesses(&self) -> Vec<String> {
        Vec::new()
    }

    /// Bytes that have to differ from the source in what is made of it.
    fn patches(&self) -> &[Patch];

    /// What is wrong with the source. Everything is looked at for it.
    fn findings(&self) -> Findings;
}
