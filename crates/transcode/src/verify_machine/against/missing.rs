//! Pages that the source's page tables lead to and the dump lacks.

use std::ops::ControlFlow;

use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::paging::{Mapping, PagingMode, Provenance, Visitor};
use dotdump_snapshot::{AddressSpace, MachineSnapshot, PageSet, PhysicalMemory};

use super::compare::parts;
use super::{Claim, MachineAgainst, MissingPage, TOLD};

/// Where the addresses of processes end on x86, unless the system was started with `/3GB`.
const X86_USER_END: u64 = 0x8000_0000;

/// The most levels of tables that there are.
const LEVELS: usize = 5;

/// The most missing pages that are told of one address space, for small and for large pages each: what is missing in
/// one is not to hide what is missing in others.
const TOLD_EACH: u32 = 4;

/// Looks at all page tables of `source`: at the kernel's addresses and, where the dump claims more than the kernel's
/// memory, at those of every process.
pub(super) fn find(
    dump: &dyn PhysicalMemory,
    pages: &dyn PhysicalMemory,
    lowest: Pfn,
    source: &dyn MachineSnapshot,
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    let Some(kernel) = source.kernel_space() else {
        report
            .notes
            .push("the source's page tables were not found: pages that should be there are not known".to_owned());
        return Ok(());
    };
    let mut finder = Finder {
        dump,
        pages,
        lowest,
        report,
        missing: PageSet::default(),
        looked_into: Default::default(),
        process_id: None,
        is_kernel: true,
        told: [0; 2],
        mode: kernel.mode(),
        error: None,
    };
    finder.space(kernel)?;
    for process in source.processes() {
        let Some(space) = source.process_space(process) else {
            continue;
        };
        // Of sessions, processes see different addresses of the kernel.
        finder.process_id = Some(process.id);
        finder.is_kernel = true;
        finder.space(&space)?;
        if finder.report.claim == Claim::Kernel {
            continue;
        }
        finder.is_kernel = false;
        finder.space(&space)?;
        // The field may hold a flag instead of a root.
        let shadow = process.user_directory_table_base.filter(|root| root.pfn().0 > 0);
        if let Some(root) = shadow {
            let shadow = AddressSpace::new(space.physical(), space.mode(), root, space.software());
            finder.space(&shadow)?;
        }
    }
    let missing = finder.missing.len();
    report.missing_total = missing;
    Ok(())
}

struct Finder<'a> {
    dump: &'a dyn PhysicalMemory,
    pages: &'a dyn PhysicalMemory,
    /// The lowest page that the dump can have.
    lowest: Pfn,
    report: &'a mut MachineAgainst,
    missing: PageSet,
    /// Tables by level: those that several address spaces have are looked into once.
    looked_into: [[PageSet; LEVELS]; 2],
    process_id: Option<u64>,
    is_kernel: bool,
    /// How many missing pages were told of the address space, small and large.
    told: [u32; 2],
    mode: PagingMode,
    error: Option<Error>,
}

impl Finder<'_> {
    fn space(&mut self, space: &AddressSpace<'_>) -> Result<(), Error> {
        self.mode = space.mode();
        let range = self.range();
        // A kernel dump need not have the tables of processes.
        if self.report.claim != Claim::Kernel || self.process_id.is_none() {
            self.require(space.root().pfn(), 1, range.start, None)?;
        }
        self.told = [0; 2];
        space.visit(range, self)?;
        self.error.take().map_or(Ok(()), Err)
    }

    fn range(&self) -> VirtRange {
        let range = |start, end| VirtRange::new(VirtAddr(start), VirtAddr(end));
        match (self.mode, self.is_kernel) {
            (PagingMode::X86 | PagingMode::Pae, true) => range(X86_USER_END, 1 << 32),
            (PagingMode::X86 | PagingMode::Pae, false) => range(0, X86_USER_END),
            (mode, true) => mode.kernel_half(),
            (mode, false) => mode.user_half(),
        }
    }

    /// Notes the pages of these that the source has and the dump lacks. `page_size` is `None` for a page table.
    fn require(&mut self, first: Pfn, count: u64, address: VirtAddr, page_size: Option<u64>) -> Result<(), Error> {
        let (dump, pages) = (self.dump, self.pages);
        let end = first.saturating_add(count);
        parts(pages, first.max(self.lowest), end, |from, to, there| {
            if there.is_some() {
                parts(dump, from, to, |from, to, there| {
                    if there.is_none() {
                        self.miss(
                            from,
                            to,
                            address.saturating_add((from.0 - first.0) * PAGE_SIZE),
                            page_size,
                        );
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn miss(&mut self, from: Pfn, to: Pfn, address: VirtAddr, page_size: Option<u64>) {
        let new = self.missing.insert_run(from, to.0 - from.0);
        if !self.is_kernel {
            self.report.missing_of_processes += new;
        }
        let is_large = page_size.is_some_and(|size| size > PAGE_SIZE);
        let told = &mut self.told[usize::from(is_large)];
        if new == 0 || *told >= TOLD_EACH || self.report.missing.len() >= TOLD {
            return;
        }
        *told += 1;
        self.report.missing.push(MissingPage {
            page: from,
            address,
            process_id: self.process_id.filter(|_| !self.is_kernel),
            is_table: page_size.is_none(),
            page_size: page_size.unwrap_or(PAGE_SIZE),
        });
    }

    fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

impl Visitor for Finder<'_> {
    fn table(&mut self, page: Pfn, level: u8, start: VirtAddr) -> bool {
        // Whether the root has to be there is asked once for each address space.
        if level == self.mode.levels() {
            return true;
        }
        let result = self.require(page, 1, start, None);
        self.note(result);
        let seen = &mut self.looked_into[usize::from(self.is_kernel)];
        let level = usize::from(level).wrapping_sub(1);
        seen.get_mut(level).is_some_and(|seen| seen.insert(page)) && self.error.is_none()
    }

    fn mapping(&mut self, mapping: &Mapping) {
        // What left the working sets may be left out: the owner has to ask for it.
        if mapping.provenance != Provenance::Valid || self.error.is_some() {
            return;
        }
        // With `/3GB` processes have addresses above 2 GiB, too.
        let is_x86 = matches!(self.mode, PagingMode::X86 | PagingMode::Pae);
        if is_x86 && self.is_kernel && mapping.rights.user && self.report.claim == Claim::Kernel {
            return;
        }
        let PhysAddr(physical) = mapping.physical;
        let first = Pfn(physical / PAGE_SIZE);
        let result = self.require(first, mapping.pages(), mapping.range.start, Some(mapping.page_size));
        self.note(result);
    }
}
