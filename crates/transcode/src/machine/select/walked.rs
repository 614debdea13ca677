//! Which pages the page tables of a machine lead to.

use dotdump_format::kernel::Machine;
use dotdump_format::{Error, Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::machine::Process;
use dotdump_snapshot::paging::{Mapping, PagingMode, Provenance, Visitor, startup_pages};
use dotdump_snapshot::{AddressSpace, MachineSnapshot, PageSet};

/// Pages of one half of the address spaces of a machine, as far as the source has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    /// Page tables.
    pub(super) tables: PageSet,
    /// Pages behind valid entries.
    pub(super) valid: PageSet,
    /// Pages behind entries in transition.
    pub(super) transition: PageSet,
    /// Pages that were reached by way of prototype entries.
    pub(super) prototype: PageSet,
}

impl Half {
    /// Those of the 64 pages from `page` on that some address leads to.
    pub(super) fn mapped(&self, page: Pfn) -> u64 {
        self.valid.word(page) | self.transition.word(page) | self.prototype.word(page)
    }
}

/// Both halves.
#[derive(Clone, Debug, Default)]
pub(super) struct Walked {
    pub(super) kernel: Half,
    pub(super) user: Half,
    /// Pages with the code from which processors start.
    pub(super) startup: PageSet,
    pub(super) walks: Walks,
}

/// What walks over page tables saw, and what they could not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walks {
    /// How many pages of page tables of the kernel there are.
    pub kernel_tables: u64,
    /// How many times a table was needed that the source lacks.
    pub absent_tables: u64,
    /// How many walks were given up, because tables are used again and again.
    pub stopped_walks: u64,
}

/// Walks the tables of the kernel and of all processes. Tables that several of them have are looked into once.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(super) fn walk(snapshot: &dyn MachineSnapshot, present: &PageSet) -> Result<Walked, Error> {
    let mut kernel = Gatherer::new(present, true);
    let mut user = Gatherer::new(present, false);
    if let Some(space) = snapshot.kernel_space() {
        kernel.space(space)?;
        user.space(space)?;
    }
    for process in snapshot.processes() {
        if let Some(space) = snapshot.process_space(process) {
            kernel.space(&space)?;
            user.space(&space)?;
            if let Some(root) = shadow_root(process) {
                let shadow = AddressSpace::new(space.physical(), space.mode(), root, space.software());
                kernel.space(&shadow)?;
                user.space(&shadow)?;
            }
        }
    }
    let mut startup = PageSet::default();
    if let (Machine::Amd64, Some(physical)) = (snapshot.machine(), snapshot.physical_memory()) {
        for (page, _) in startup_pages(physical)? {
            startup.insert(page);
        }
    }
    Ok(Walked {
        startup,
        walks: Walks {
            kernel_tables: kernel.half.tables.len(),
            absent_tables: kernel.walks.absent_tables + user.walks.absent_tables,
            stopped_walks: kernel.walks.stopped_walks + user.walks.stopped_walks,
        },
        kernel: kernel.half,
        user: user.half,
    })
}

/// The root of user mode's own tables; the field may hold a flag instead.
fn shadow_root(process: &Process) -> Option<PhysAddr> {
    process.user_directory_table_base.filter(|root| root.pfn().0 > 0)
}

/// The addresses of the kernel, or those of processes. Where x86 maps page tables themselves is in neither: what is
/// there was seen as tables.
fn ranges(mode: PagingMode, is_kernel: bool) -> Vec<VirtRange> {
    let range = |start, end| VirtRange::new(VirtAddr(start), VirtAddr(end));
    match (mode, is_kernel) {
        (PagingMode::X86, true) => vec![range(USER_END, TABLES), range(0xC040_0000, 1 << 32)],
        (PagingMode::Pae, true) => vec![range(USER_END, TABLES), range(0xC080_0000, 1 << 32)],
        // With /3GB processes reach further up; the entries say whose the pages are.
        (PagingMode::X86 | PagingMode::Pae, false) => vec![range(0, TABLES)],
        (_, true) => vec![mode.kernel_half()],
        (_, false) => vec![mode.user_half()],
    }
}

/// Where the addresses of processes end on x86, unless the system was started with `/3GB`.
const USER_END: u64 = 0x8000_0000;

/// Where x86 maps its page tables.
const TABLES: u64 = 0xC000_0000;

/// The most levels of tables that there are.
const LEVELS: usize = 5;

struct Gatherer<'a> {
    present: &'a PageSet,
    is_kernel: bool,
    half: Half,
    /// The tables that were looked into, by level, the lowest first.
    seen: [PageSet; LEVELS],
    mode: PagingMode,
    root: Pfn,
    walks: Walks,
}

impl<'a> Gatherer<'a> {
    fn new(present: &'a PageSet, is_kernel: bool) -> Self {
        Self {
            present,
            is_kernel,
            half: Half::default(),
            seen: Default::default(),
            mode: PagingMode::FourLevel,
            root: Pfn(0),
            walks: Walks::default(),
        }
    }

    fn space(&mut self, space: &AddressSpace<'_>) -> Result<(), Error> {
        self.mode = space.mode();
        self.root = space.root().pfn();
        let is_new = self.note(self.root, self.mode.levels());
        // The tables of PAE's root do not fill a page: others may lie in the same one.
        if is_new || self.mode == PagingMode::Pae {
            for range in ranges(self.mode, self.is_kernel) {
                let visit = space.visit(range, self)?;
                self.walks.stopped_walks += u64::from(visit.stopped_at.is_some());
            }
        }
        Ok(())
    }

    /// Notes a table; whether it is there and was not looked into before.
    fn note(&mut self, page: Pfn, level: u8) -> bool {
        let Some(seen) = self.seen.get_mut(usize::from(level).wrapping_sub(1)) else {
            return false;
        };
        if !self.present.contains(page) {
            self.walks.absent_tables += 1;
            return false;
        }
        self.half.tables.insert(page);
        seen.insert(page)
    }

    /// Whether a mapping is of the half that is being walked: with `/3GB` x86 has pages of both in one place.
    fn is_ours(&self, mapping: &Mapping) -> bool {
        match self.mode {
            PagingMode::X86 | PagingMode::Pae if (USER_END..TABLES).contains(&mapping.range.start.0) => {
                mapping.rights.user != self.is_kernel
            }
            _ => true,
        }
    }
}

impl Visitor for Gatherer<'_> {
    fn table(&mut self, page: Pfn, level: u8, _start: VirtAddr) -> bool {
        let top = self.mode.levels();
        if level == top {
            return page == self.root;
        }
        // The view of the tables upon themselves: a root in the place of a lower table.
        let is_root = self.seen[usize::from(top) - 1].contains(page);
        !is_root && self.note(page, level)
    }

    fn mapping(&mut self, mapping: &Mapping) {
        if !self.is_ours(mapping) {
            return;
        }
        let pages = match mapping.provenance {
            Provenance::Valid => &mut self.half.valid,
            Provenance::Transition => &mut self.half.transition,
            Provenance::Prototype => &mut self.half.prototype,
        };
        pages.insert_common(mapping.physical.pfn(), mapping.pages(), self.present);
    }
}
