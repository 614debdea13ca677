//! Choosing the pages of a dump, and whether there can be such a dump of the source at all.

use dotdump_format::kernel::{BitmapLayout, Machine};
use dotdump_format::{Error, PAGE_SIZE, Pfn};
use dotdump_snapshot::PhysicalMemory;
use dotdump_snapshot::machine::PfnDatabase;

use super::convert::Draft;
use super::coverage::Coverage;
use super::manifest::MachineManifest;
use super::plan::count_runs;
use super::secondary::Secondary;
use super::select::{self, PageReason, PageSelection, PageStates, ReasonCount};
use crate::options::DumpKind;
use crate::request::PageLayout;
use crate::shortfall::listed;

/// What is chosen, and how it may be called.
pub(super) struct Choice {
    pub(super) selection: PageSelection,
    pub(super) coverage: Coverage,
    pub(super) kept: Vec<ReasonCount>,
    pub(super) dropped: Vec<ReasonCount>,
}

impl Draft<'_, '_> {
    /// Notes what prevents the dump, unless the user wants what is there.
    pub(super) fn object(&mut self, message: String) {
        if self.request.force {
            self.told.warn(self.option, message);
        } else {
            self.told.refuse(self.option, message);
        }
    }

    /// All pages of a source that was made with the same options.
    pub(super) fn choose_again(
        &self,
        physical: &dyn PhysicalMemory,
        manifest: &MachineManifest,
    ) -> Result<Choice, Error> {
        let coverage = match self.request.options.kind {
            DumpKind::Kernel => Coverage::Kernel,
            DumpKind::KernelActive => Coverage::Active,
            DumpKind::Full { .. } | DumpKind::Mini => Coverage::of(self.snapshot.header(), physical),
        };
        Ok(Choice {
            selection: select::complete(select::present(physical)?),
            coverage,
            kept: manifest.kept.clone(),
            dropped: manifest.dropped.clone(),
        })
    }

    /// How much the source has.
    fn coverage(&self, physical: &dyn PhysicalMemory, secondary: &Secondary) -> Result<Coverage, Error> {
        let manifest = match (self.file, secondary.manifest) {
            (Some(file), Some(blob)) => match MachineManifest::read(file, blob.data, blob.size.into()) {
                Ok(manifest) => Some(manifest),
                // It was told when it was read before.
                Err(Error::Malformed(_)) => None,
                Err(error) => return Err(error),
            },
            _ => None,
        };
        Ok(Coverage::of_dump(self.snapshot.header(), physical, manifest.as_ref()))
    }

    pub(super) fn choose(&mut self, physical: &dyn PhysicalMemory, secondary: &Secondary) -> Result<Choice, Error> {
        let snapshot = self.snapshot;
        let there = self.coverage(physical, secondary)?;
        let mut present = select::present(physical)?;
        let has_page_zero = self.layout == PageLayout::Range && present.remove_run(Pfn(0), 1) == 1;
        if present.is_empty() {
            self.object("the source has no page at all".to_owned());
        }
        let (mut selection, coverage) = match self.request.options.kind {
            DumpKind::Full { .. } | DumpKind::Mini => {
                match there {
                    Coverage::Complete => {}
                    Coverage::Kernel => self.object(
                        "the source has kernel memory only: a complete dump of it would promise memory that is absent; \
                         -k keeps all that is there"
                            .to_owned(),
                    ),
                    Coverage::Active => self.object(
                        "the source has active memory only: a complete dump of it would promise memory that is absent; \
                         -ka keeps all that is there"
                            .to_owned(),
                    ),
                }
                (select::complete(present), there)
            }
            DumpKind::Kernel => {
                self.need_tables();
                (select::kernel(snapshot, &present)?, Coverage::Kernel)
            }
            DumpKind::KernelActive => {
                self.need_tables();
                if there == Coverage::Kernel {
                    let message =
                        "the source has kernel memory only, and none of processes; -k keeps all that is there";
                    self.object(message.to_owned());
                }
                let database = snapshot.pfn_database().filter(PfnDatabase::is_confirmed);
                if database.is_none() {
                    let message = "the page frame database is not found: what page tables lead to is kept instead, \
                                   without pages that left all working sets";
                    self.told.warn(self.option, message);
                }
                let states = database.as_ref().map(|database| database as &dyn PageStates);
                (select::active(snapshot, &present, states)?, Coverage::Active)
            }
        };
        if has_page_zero {
            selection.reasons.add(PageReason::PageZero, 1);
            let message = "page 0 is left out: the number 0 ends a table of ranges";
            self.told.warn("--layout range", message);
        }
        if !matches!(self.request.options.kind, DumpKind::Full { .. } | DumpKind::Mini) {
            self.check_choice(&selection)?;
        }
        Ok(Choice {
            coverage,
            kept: selection.reasons.list(true),
            dropped: selection.reasons.list(false),
            selection,
        })
    }

    /// Page tables decide what is kept; without them nothing would be.
    fn need_tables(&mut self) {
        if self.snapshot.kernel_space().is_none() {
            let message = "no page tables were found in the source: what belongs to the kernel is not known; -f keeps \
                           all pages";
            self.told.refuse(self.option, message);
        }
    }

    /// A dump in which a debugger would not find its way is not written.
    fn check_choice(&mut self, selection: &PageSelection) -> Result<(), Error> {
        let snapshot = self.snapshot;
        if self.told.is_refusal() {
            return Ok(());
        }
        let lost = select::lost(snapshot, &selection.pages)?;
        if !lost.is_empty() {
            let names: Vec<String> = lost
                .iter()
                .map(|lost| format!("{} ({})", lost.what, lost.address))
                .collect();
            self.object(listed("the dump would lack what debuggers start from", &names));
        }
        let walks = selection.walks;
        if walks.absent_tables > 0 {
            let message = format!(
                "the source lacks {} page tables: what they lead to is only kept where others lead to it too",
                walks.absent_tables
            );
            self.told.warn(self.option, message);
        }
        if walks.stopped_walks > 0 {
            let message = "page tables refer to each other in circles: not all of them were looked into";
            self.told.warn(self.option, message);
        }
        if walks.kernel_tables == 0 && !selection.pages.is_empty() {
            self.object("no page table of the kernel is in the source".to_owned());
        }
        Ok(())
    }

    /// Whether the pages can be laid out as asked for.
    pub(super) fn check_layout(&mut self, selection: &PageSelection) {
        let pages = &selection.pages;
        let header = self.snapshot.header();
        match self.layout {
            PageLayout::Runs => {
                let runs = count_runs(pages);
                let max = header.max_runs();
                if runs > max as u64 {
                    let message = format!(
                        "the pages lie in {runs} runs, and the header has room for {max}; --layout bitmap takes any \
                         number"
                    );
                    self.told.refuse("--layout runs", message);
                }
                if self.request.no_manifest && self.request.options.kind == DumpKind::Kernel {
                    let message = "dumps by runs do not say themselves that they have kernel memory only: without the \
                                   manifest this one will be taken for one of active memory";
                    self.told.warn("--no-manifest", message);
                }
            }
            PageLayout::Range => {
                if self.snapshot.machine() != Machine::Amd64 {
                    let message = format!(
                        "dumps by ranges exist for x64 only, the machine is {}; use --layout bitmap",
                        self.snapshot.machine()
                    );
                    self.told.refuse("--layout range", message);
                }
            }
            PageLayout::Bitmap => {
                let layout = BitmapLayout::new(header.size(), pages.end());
                let bitmap = layout
                    .ok()
                    .filter(|layout| layout.first_page > BitmapLayout::LEECHCORE_FIRST_PAGE);
                let Some(bitmap) = bitmap else { return };
                // No machine has so few pages so far up: a damaged run says so, and readers go through all of the bitmap.
                if bitmap.bitmap_size() / PAGE_SIZE > pages.len() {
                    self.object(format!(
                        "the last page of the source is {:#x}: a bitmap up to it takes {} bytes, more than all the pages; \
                         --layout range (x64) and --layout runs need none",
                        pages.end().saturating_sub(1).0,
                        bitmap.bitmap_size()
                    ));
                }
                let message = "the bitmap is so large that LeechCore and MemProcFS will not open the dump";
                self.told.note(self.option, message);
            }
        }
    }
}
