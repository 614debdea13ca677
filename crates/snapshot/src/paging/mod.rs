//! Address spaces: from virtual to physical addresses by the page tables of the machine.
//!
//! [`AddressSpace::translate`] walks for one address and tells at which level and why there is no way on;
//! [`AddressSpace::visit`] and [`AddressSpace::mappings`] give all that is mapped, as runs; as [`Memory`](crate::Memory)
//! an address space shows what of it the source has. [`find_root`] and [`choose_mode`] are for sources that do not say
//! where the tables are or how they are built.
//!
//! Tables may be anything: walks go down by one level at a time, and those that see everything look into each page at
//! each level once, plus a fixed number of times ([`Visit::stopped_at`]).

mod cache;
mod failure;
mod find;
mod memory;
mod mode;
mod software;
mod translate;
mod walk;

#[cfg(test)]
mod find_tests;
#[cfg(test)]
mod software_tests;
#[cfg(test)]
mod test_tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk_tests;

use std::cell::RefCell;

use dotdump_format::{Pfn, PhysAddr, VirtAddr, VirtRange};

use crate::physical::PhysicalMemory;
use cache::Cache;

pub use find::{
    FoundRoot, KUSER_SHARED_DATA_32, KUSER_SHARED_DATA_64, RootSource, choose_mode, find_root, lists_are_there,
    startup_pages,
};
pub use walk::{Mappings, Visit};

/// How a machine's page tables are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PagingMode {
    /// x86 without PAE: two levels, entries of 4 bytes, large pages of 4 MiB.
    X86,
    /// x86 with PAE: three levels, entries of 8 bytes, large pages of 2 MiB.
    Pae,
    /// x64 with four levels: large pages of 2 MiB and 1 GiB.
    FourLevel,
    /// x64 with five levels (LA57).
    FiveLevel,
    /// ARM64 with 4 KiB granules: four levels, both halves under one root as Windows keeps them.
    Arm64,
}

/// How Windows lays out page-table entries that the processor finds invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SoftwarePtes {
    /// They are not Windows' and mean nothing.
    None,
    /// Up to Windows 8.1.
    Early,
    /// Of the first builds of Windows 10, up to 17133: the number of the page file is in other bits.
    Middle,
    /// From build 17134 on, with the bit that says that high address bits are inverted, as `KDDEBUGGER_DATA64` gives it.
    Late {
        /// `L1tfHighPhysicalBitIndex`: the bit of the entry that is inverted; 0 for none.
        high_bit: u8,
        /// `L1tfSwizzleBitIndex`.
        swizzle_bit: u8,
    },
}

/// What made a translation possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provenance {
    /// The entry is valid.
    Valid,
    /// The page left the working set but is still in memory, on a standby or modified list.
    Transition,
    /// The entry refers to a prototype, whose own entry is valid or in transition.
    Prototype,
}

/// Where a virtual address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address.
    pub address: PhysAddr,
    /// The size in bytes of the page that it lies in: 4 KiB, 2 MiB, 4 MiB or 1 GiB.
    pub page_size: u64,
    /// What made it possible.
    pub provenance: Provenance,
    /// Rights, all levels together.
    pub rights: Rights,
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// It can be written.
    pub write: bool,
    /// User mode has access.
    pub user: bool,
    /// Code in it can be executed.
    pub execute: bool,
}

impl Rights {
    /// All of them.
    pub const ALL: Self = Self {
        write: true,
        user: true,
        execute: true,
    };

    /// Those that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            write: self.write && other.write,
            user: self.user && other.user,
            execute: self.execute && other.execute,
        }
    }
}

/// Why a virtual address has no physical one. The level counts from the leaf: 1 is the table of 4 KiB pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslateFailure {
    /// The address.
    pub address: VirtAddr,
    /// The level of the table whose entry ends the walk; 0 where the address itself is impossible.
    pub level: u8,
    /// Where that entry lies, where it was reached.
    pub entry_at: Option<PhysAddr>,
    /// The entry, where it could be read.
    pub entry: Option<u64>,
    /// What is wrong.
    pub reason: FailureReason,
}

/// See [`TranslateFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureReason {
    /// Bits above the address space's width are not copies of the highest one.
    NotCanonical,
    /// The entry is zero or otherwise unused.
    NotPresent,
    /// The table is not in the source.
    TableAbsent,
    /// The entry has bits that no valid one has.
    Reserved,
    /// The page is in a page file.
    PageFile {
        /// Which one.
        number: u8,
        /// The page in it.
        page: u64,
    },
    /// The page reads as zeros once somebody asks for it.
    DemandZero,
    /// The page is in a file, or known to the process's VADs alone.
    FileBacked,
    /// A prototype entry leads nowhere.
    PrototypeAbsent,
}

/// Pages that follow one another in both spaces, with equal rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The virtual addresses.
    pub range: VirtRange,
    /// Where they start in physical memory. It need not be in the source.
    pub physical: PhysAddr,
    /// The size of the pages in bytes.
    pub page_size: u64,
    /// What made the translation possible.
    pub provenance: Provenance,
    /// Rights, all levels together.
    pub rights: Rights,
}

/// Sees the page tables of an address space.
pub trait Visitor {
    /// A table at `page`, of `level` (1 is the lowest), for the addresses from `start` on. Whether to look into it:
    /// saying no skips tables that were seen before.
    fn table(&mut self, page: Pfn, level: u8, start: VirtAddr) -> bool;

    /// Pages that are mapped. In ascending order of addresses.
    fn mapping(&mut self, mapping: &Mapping);

    /// Several of them at once, which is how they come; saves a visitor that does little with each the calls.
    fn mappings(&mut self, mappings: &[Mapping]) {
        for mapping in mappings {
            self.mapping(mapping);
        }
    }
}

impl Mapping {
    /// How many pages of 4 KiB it touches. That of the last page of all, whose end is no number, is counted too.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.range.size().div_ceil(dotdump_format::PAGE_SIZE)
    }
}

/// One address space of a machine: a root of page tables over physical memory.
pub struct AddressSpace<'a> {
    physical: &'a dyn PhysicalMemory,
    mode: PagingMode,
    root: PhysAddr,
    software: SoftwarePtes,
    /// Where prototype entries are looked up; the space itself where that is not set.
    kernel: Option<&'a AddressSpace<'a>>,
    cache: RefCell<Cache>,
}

impl<'a> AddressSpace<'a> {
    /// The address space whose top table is at `root`: a value of CR3, of TTBR0 or TTBR1, or of `DirectoryTableBase`.
    /// Bits of it that do not belong to the address (PCID, ASID) are ignored.
    #[must_use]
    pub fn new(physical: &'a dyn PhysicalMemory, mode: PagingMode, root: PhysAddr, software: SoftwarePtes) -> Self {
        Self {
            physical,
            mode,
            root: mode.root(root),
            software,
            kernel: None,
            cache: RefCell::default(),
        }
    }

    /// The same with the kernel's address space, in which prototype entries lie. Without it they are looked up in the
    /// space itself, which finds them as long as its root maps the kernel too.
    #[must_use]
    pub const fn with_kernel(mut self, kernel: &'a AddressSpace<'a>) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// How its tables are built.
    #[must_use]
    pub const fn mode(&self) -> PagingMode {
        self.mode
    }

    /// Its top table.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// How invalid entries are read.
    #[must_use]
    pub const fn software(&self) -> SoftwarePtes {
        self.software
    }

    /// The memory that it maps.
    #[must_use]
    pub const fn physical(&self) -> &'a dyn PhysicalMemory {
        self.physical
    }
}
