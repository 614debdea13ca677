//! What is in a machine: everything that a reader of it should find.

use std::collections::BTreeMap;

use dotdump_format::{Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::PageSet;
use dotdump_snapshot::machine::{Bugcheck, KernelModule, SpecialRegisters, UnloadedDriver};
use dotdump_snapshot::paging::{FailureReason, Mapping};

/// Whose address space something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The kernel's half, which all processes have in common.
    Kernel,
    /// The user half of the process with this id.
    Process(u64),
    /// What of the kernel's half is left under the roots that processes use in user mode where page tables are
    /// shadowed. These roots have the whole user half as well.
    Shadow,
}

/// Pages that are mapped.
///
/// Rights are those of all levels together. User pages of machines with shadowed page tables have those of user mode's
/// own tables: the kernel's root forbids execution of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    /// Whose address space it is in.
    pub space: Space,
    /// The addresses and what is there.
    pub mapping: Mapping,
}

/// An address without a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Whose address space it is in.
    pub space: Space,
    /// The address.
    pub address: VirtAddr,
    /// Why there is no page.
    pub reason: FailureReason,
}

/// `MMLISTS`: the list of the PFN database that a page is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PageState {
    /// Nobody's, and all zero.
    Zeroed = 0,
    /// Nobody's.
    Free = 1,
    /// Left the working set, unchanged since it was read or written out.
    Standby = 2,
    /// Left the working set and has to be written out.
    Modified = 3,
    /// As modified, but must not be written yet.
    ModifiedNoWrite = 4,
    /// Has hardware errors.
    Bad = 5,
    /// In use.
    Active = 6,
    /// On its way: being read or written.
    Transition = 7,
}

/// What a page is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageUse {
    /// For nothing.
    Nothing,
    /// The kernel's image, data, pool and stacks.
    Kernel,
    /// A page table of the kernel's half or of a process.
    PageTable {
        /// Its level: 1 is the lowest.
        level: u8,
        /// The process whose own it is; `None` for those of the kernel's half.
        process: Option<u64>,
    },
    /// Private memory of a process.
    Private {
        /// The process.
        process: u64,
    },
    /// Memory of a section, by prototype entries, which any number of processes can have mapped.
    Shared,
}

/// An entry of the PFN database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The list that it is on.
    pub state: PageState,
    /// What it is used for.
    pub usage: PageUse,
    /// `PteAddress`: where the entry lies that maps it, its prototype where it has one.
    pub pte_address: VirtAddr,
    /// `OriginalPte`: what becomes of that entry when the page goes.
    pub original_pte: u64,
    /// `PrototypePte`: the entry is a prototype.
    pub prototype: bool,
    /// `ReferenceCount`.
    pub reference_count: u16,
    /// `Modified`.
    pub modified: bool,
    /// `PteFrame`: the page that holds the entry.
    pub pte_frame: Pfn,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTruth {
    /// Its `ETHREAD`.
    pub ethread: VirtAddr,
    /// Its id.
    pub id: u64,
    /// Its process's id.
    pub process: u64,
    /// Its kernel stack.
    pub stack: VirtRange,
    /// The stack pointer that was saved when it lost the processor.
    pub kernel_stack: VirtAddr,
    /// Its `KTRAP_FRAME`, where it has come from user mode.
    pub trap_frame: Option<VirtAddr>,
    /// Program counter and stack pointer in user mode, as the trap frame has them.
    pub user_registers: Option<(u64, u64)>,
    /// Its TEB; zero without user mode.
    pub teb: VirtAddr,
    /// Its stack in user mode; empty without user mode.
    pub user_stack: VirtRange,
    /// Where it started.
    pub start_address: VirtAddr,
    /// Its state: 2 for running, 5 for waiting.
    pub state: u8,
}

/// An image in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserModule {
    /// Its file's path.
    pub path: String,
    /// The addresses of its image.
    pub range: VirtRange,
    /// `EntryPoint`.
    pub entry_point: VirtAddr,
    /// `TimeDateStamp`.
    pub time_date_stamp: u32,
    /// Whether it is in the list of 32-bit modules of a WOW64 process.
    pub wow64: bool,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTruth {
    /// What the kernel's list of processes tells.
    pub process: dotdump_snapshot::machine::Process,
    /// Its threads, in the kernel's order.
    pub threads: Vec<ThreadTruth>,
    /// The modules that its loader knows, in load order, the 32-bit ones of WOW64 last.
    pub modules: Vec<UserModule>,
    /// The PEB of its 32-bit half, where it has one.
    pub wow64_peb: Option<VirtAddr>,
    /// Its command line; empty without user mode.
    pub command_line: String,
}

/// A processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorTruth {
    /// Its number.
    pub number: u32,
    /// Its `KPCR`.
    pub pcr: VirtAddr,
    /// Its `KPRCB`.
    pub prcb: VirtAddr,
    /// The `KTHREAD` that runs on it.
    pub current_thread: VirtAddr,
    /// Where its `CONTEXT` lies.
    pub context_address: VirtAddr,
    /// `CONTEXT`, `CONTEXT_EX` and extended state.
    pub context: Vec<u8>,
    /// Control registers.
    pub special_registers: SpecialRegisters,
}

/// The `KDDEBUGGER_DATA64`, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebuggerDataTruth {
    /// Where it lies.
    pub address: VirtAddr,
    /// Its plain bytes.
    pub plain: Vec<u8>,
    /// Its bytes as they lie in memory.
    pub stored: Vec<u8>,
    /// The keys where it is encoded: `KiWaitNever`, `KiWaitAlways` and the address of `KdpDataBlockEncoded`.
    pub keys: Option<(u64, u64, u64)>,
}

/// A secondary data blob that belongs into dumps of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its tag as it lies in the file.
    pub tag: [u8; 16],
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Everything that is in a machine.
#[derive(Clone, Debug)]
pub struct GroundTruth {
    /// Root of the kernel's page tables: `DirectoryTableBase` of the System process, as it is stored.
    pub root: PhysAddr,
    /// The addresses through which the page tables show themselves. [`GroundTruth::mappings`] has nothing in there.
    pub self_map: VirtRange,
    /// All that is mapped, sorted by space and address; neighbours with equal rights are one.
    pub mappings: Vec<MappedRange>,
    /// Addresses whose entries say where the page went, or nothing.
    pub unmapped: Vec<Unmapped>,
    /// Processes in the kernel's order.
    pub processes: Vec<ProcessTruth>,
    /// Modules in load order.
    pub modules: Vec<KernelModule>,
    /// Unloaded drivers, newest first.
    pub unloaded_drivers: Vec<UnloadedDriver>,
    /// Processors.
    pub processors: Vec<ProcessorTruth>,
    /// The debugger's data.
    pub debugger_data: DebuggerDataTruth,
    /// Why it stopped.
    pub bugcheck: Bugcheck,
    /// Base of the PFN database.
    pub pfn_database: VirtAddr,
    /// Size in bytes of its entries.
    pub pfn_entry_size: u64,
    /// Entries of the PFN database; pages that are missing here are zeroed.
    pub frames: BTreeMap<Pfn, Frame>,
    /// Address ranges that drivers asked to have in small dumps.
    pub triage_blocks: Vec<VirtRange>,
    /// Secondary data.
    pub blobs: Vec<Blob>,
    /// Addresses of the kernel's symbols.
    pub symbols: BTreeMap<&'static str, VirtAddr>,
}

impl GroundTruth {
    /// The entry of a page in the PFN database.
    #[must_use]
    pub fn frame(&self, page: Pfn) -> Frame {
        self.frames.get(&page).copied().unwrap_or(Frame::ZEROED)
    }

    /// The pages that addresses of the spaces that `wanted` takes are mapped to.
    pub fn pages_mapped(&self, mut wanted: impl FnMut(Space) -> bool) -> PageSet {
        let mut pages = PageSet::default();
        for MappedRange { space, mapping } in &self.mappings {
            if wanted(*space) {
                pages.insert_run(mapping.physical.pfn(), mapping.range.size() / dotdump_format::PAGE_SIZE);
            }
        }
        pages
    }

    /// The pages that the kernel's half maps. What it maps through the page tables' own window is not among them.
    #[must_use]
    pub fn kernel_pages(&self) -> PageSet {
        self.pages_mapped(|space| space == Space::Kernel)
    }

    /// The pages that some process maps in its user half.
    #[must_use]
    pub fn user_pages(&self) -> PageSet {
        self.pages_mapped(|space| matches!(space, Space::Process(_)))
    }

    /// The pages whose entry `wanted` takes. Pages that are zeroed and were never used are not asked for.
    pub fn frames_where(&self, mut wanted: impl FnMut(&Frame) -> bool) -> PageSet {
        let mut pages = PageSet::default();
        for (page, frame) in &self.frames {
            if wanted(frame) {
                pages.insert(*page);
            }
        }
        pages
    }

    /// The pages that are page tables.
    #[must_use]
    pub fn page_tables(&self) -> PageSet {
        self.frames_where(|frame| matches!(frame.usage, PageUse::PageTable { .. }))
    }

    /// The address of a kernel symbol.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<VirtAddr> {
        self.symbols.get(name).copied()
    }
}

impl Frame {
    /// The entry of a page that was never used.
    pub const ZEROED: Self = Self {
        state: PageState::Zeroed,
        usage: PageUse::Nothing,
        pte_address: VirtAddr(0),
        original_pte: 0,
        prototype: false,
        reference_count: 0,
        modified: false,
        pte_frame: Pfn(0),
    };
}

/// Sorts ranges and joins those that follow one another in both spaces with equal rights.
pub(crate) fn join(mut ranges: Vec<MappedRange>) -> Vec<MappedRange> {
    ranges.sort_by_key(|range| (range.space, range.mapping.range.start));
    let mut joined: Vec<MappedRange> = Vec::new();
    for next in ranges {
        if let Some(last) = joined.last_mut() {
            let (before, after) = (&mut last.mapping, &next.mapping);
            if last.space == next.space
                && before.range.end == after.range.start
                && before.physical.0 + before.range.size() == after.physical.0
                && before.page_size == after.page_size
                && before.provenance == after.provenance
                && before.rights == after.rights
            {
                before.range.end = after.range.end;
                continue;
            }
        }
        joined.push(next);
    }
    joined
}
