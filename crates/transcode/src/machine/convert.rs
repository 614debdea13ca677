//! One conversion of a machine from beginning to end: choose, plan; then write.

use dotdump_format::{Error, Findings, ReadAt};
use dotdump_snapshot::patched::PatchedMemory;
use dotdump_snapshot::{AddressSpace, DumpFile, MachineSnapshot, PhysicalMemory};

use super::header::{MAX_COMMENT, comment_that_fits};
use super::manifest::{MachineIdentity, MachineManifest, PatchSpan, SCHEMA};
use super::plan::{Ingredients, Planned, plan};
use super::report::{self, BlobReport, MachineReport, WrittenPages};
use super::secondary::Secondary;
use super::select::PageSelection;
use super::sums;
use crate::convert::ConvertError;
use crate::execute::{self, Origin, PageOrigin, WriteError};
use crate::manifest::{BLOCK, Checksums, hex16};
use crate::options::DumpKind;
use crate::request::{PageLayout, Request};
use crate::shortfall::Shortfalls;
use crate::sink::Sink;

/// How many places of damage are told one by one.
const TOLD_DAMAGE: usize = 8;

/// A conversion that is planned and can be written.
pub struct MachineConversion<'a> {
    snapshot: &'a dyn MachineSnapshot,
    file: Option<&'a DumpFile>,
    /// The pages with patches over them; `None` for a source without pages.
    physical: Option<PatchedMemory<'a>>,
    selection: PageSelection,
    planned: Planned,
    /// What it keeps, drops and lacks.
    pub report: MachineReport,
}

/// Plans a dump of a machine: nothing is written yet. `file` is what places of pages and of secondary
/// data refer to; `None` for a live machine.
///
/// # Errors
/// [`ConvertError`].
pub fn prepare<'a>(
    snapshot: &'a dyn MachineSnapshot,
    file: Option<&'a DumpFile>,
    request: &Request,
) -> Result<MachineConversion<'a>, ConvertError> {
    let mut draft = Draft {
        snapshot,
        file,
        request,
        option: request.options.kind.option(),
        layout: request.layout.unwrap_or(PageLayout::Bitmap),
        told: Shortfalls::default(),
    };
    if request.options.kind == DumpKind::Mini {
        return draft.small();
    }
    let Some(physical) = snapshot.physical_memory() else {
        let message = match snapshot.triage() {
            Some(_) => "the source has no pages: a small memory dump can only be made into another one (-m)",
            None => "the source has no pages: nothing lies behind its header",
        };
        return Err(draft.refused(message.to_owned()));
    };
    draft.conversion(physical)
}

/// A dump that is being planned.
pub(super) struct Draft<'a, 'r> {
    pub(super) snapshot: &'a dyn MachineSnapshot,
    pub(super) file: Option<&'a DumpFile>,
    pub(super) request: &'r Request,
    /// The option that asks for it, as it is told.
    pub(super) option: &'static str,
    /// How pages are found.
    pub(super) layout: PageLayout,
    /// What is missing.
    pub(super) told: Shortfalls,
}

impl<'a> Draft<'a, '_> {
    fn conversion(mut self, physical: &'a dyn PhysicalMemory) -> Result<MachineConversion<'a>, ConvertError> {
        let snapshot = self.snapshot;
        self.tell_damage();
        let secondary = self.secondary()?;
        let again = self.made_alike(&secondary)?;
        let choice = match &again {
            Some(manifest) => self.choose_again(physical, manifest)?,
            None => self.choose(physical, &secondary)?,
        };
        self.check_layout(&choice.selection);
        self.tell_options();
        if self.told.is_refusal() {
            return Err(ConvertError::Refused(self.told.into_vec()));
        }
        let pages = &choice.selection.pages;
        let patches: Vec<PatchSpan> = match &again {
            Some(manifest) => manifest.patches.clone(),
            None => snapshot
                .patches()
                .iter()
                .filter(|patch| pages.contains(patch.address.pfn()))
                .map(PatchSpan::of)
                .collect(),
        };
        let absent = match &again {
            // What the first conversion could not have is still what is missing.
            Some(manifest) => manifest.absent.clone(),
            None => self.told.as_slice().to_vec(),
        };
        let manifest = match again {
            _ if self.request.no_manifest => None,
            Some(manifest) => Some(manifest),
            None => Some(MachineManifest {
                kept: choice.kept.clone(),
                dropped: choice.dropped.clone(),
                patches: patches.clone(),
                absent: absent.clone(),
                ..self.empty_manifest()?
            }),
        };
        let planned = plan(&Ingredients {
            header: snapshot.header(),
            pages,
            coverage: choice.coverage,
            layout: self.layout,
            comment: self.request.options.comment.as_deref(),
            is_cut: choice.dropped.iter().any(|count| count.pages > 0),
            secondary: &secondary,
            manifest: manifest.as_ref(),
        })?;
        if let Some(limit) = self.request.max_size.filter(|limit| *limit < planned.plan.size) {
            let size = planned.plan.size;
            let message = format!(
                "the dump takes {size} bytes, more than {limit}: of a dump of pages nothing can be left out, only -m \
                 can be made to fit"
            );
            self.option = "--max-size";
            return Err(self.refused(message));
        }
        let report = MachineReport {
            written: WrittenPages::of(&planned, Some(self.layout)),
            kept: choice.kept,
            dropped: choice.dropped,
            absent,
            patches,
            ..self.empty_report(&secondary)
        };
        Ok(self.finished(choice.selection, planned, report))
    }

    pub(super) fn finished(
        self,
        selection: PageSelection,
        planned: Planned,
        report: MachineReport,
    ) -> MachineConversion<'a> {
        MachineConversion {
            snapshot: self.snapshot,
            file: self.file,
            physical: self.patched_memory(),
            selection,
            planned,
            report,
        }
    }

    /// The pages of the source with patches over them; `None` where it has none.
    pub(super) fn patched_memory(&self) -> Option<PatchedMemory<'a>> {
        let physical = self.snapshot.physical_memory()?;
        Some(PatchedMemory::new(physical, self.snapshot.patches()))
    }

    /// A manifest of which nothing but the request and the source is told.
    pub(super) fn empty_manifest(&self) -> Result<MachineManifest, Error> {
        let file = self.file.map(|file| file as &dyn ReadAt);
        Ok(MachineManifest {
            schema: SCHEMA,
            tool: concat!("dotdump ", env!("CARGO_PKG_VERSION")).to_owned(),
            options: self.request.canonical(),
            source: MachineIdentity::of(file, self.snapshot.header())?,
            kept: Vec::new(),
            dropped: Vec::new(),
            blocks: Vec::new(),
            blocks_dropped: Vec::new(),
            patches: Vec::new(),
            absent: Vec::new(),
            checksums: Checksums {
                offset: hex16(0),
                block: BLOCK,
            },
        })
    }

    /// A report of which nothing but the request and secondary data is told.
    pub(super) fn empty_report(&self, secondary: &Secondary) -> MachineReport {
        let blobs = secondary.blobs.iter().map(|blob| BlobReport {
            tag: blob.tag.to_string(),
            size: blob.size.into(),
        });
        MachineReport {
            schema: report::SCHEMA,
            asked: self.request.canonical(),
            written: WrittenPages::default(),
            kept: Vec::new(),
            dropped: Vec::new(),
            sections: Vec::new(),
            blocks: Vec::new(),
            blocks_dropped: Vec::new(),
            absent: Vec::new(),
            patches: Vec::new(),
            secondary_data: blobs.collect(),
            left_out: secondary.finding.iter().map(ToString::to_string).collect(),
        }
    }

    fn refused(&mut self, message: String) -> ConvertError {
        self.told.refuse(self.option, message);
        ConvertError::Refused(std::mem::take(&mut self.told).into_vec())
    }

    /// What is broken in the source is missing in what is made of it.
    pub(super) fn tell_damage(&mut self) {
        let header = self.snapshot.header();
        if self.snapshot.debugger_data().is_none()
            && header.kd_debugger_data_block().is_none()
            && header.ps_loaded_module_list().is_none()
        {
            let message = "no Windows kernel was found in the source: of a dump of it debuggers can show memory and \
                           registers, but no modules, processes and threads";
            if self.request.options.kind == DumpKind::Mini && self.snapshot.triage().is_none() {
                // What a small dump keeps is found from the kernel's structures.
                let message = "no Windows kernel was found in the source: what belongs into a small dump would be guessed \
                               from pointers; -f keeps all pages, --force writes the guess";
                self.object(message.to_owned());
            } else {
                self.told.warn(self.option, message);
            }
        }
        let findings = self.snapshot.findings();
        for finding in findings.as_slice().iter().take(TOLD_DAMAGE) {
            self.told.warn(self.option, format!("the source is damaged: {finding}"));
        }
        let more = findings.total().saturating_sub(TOLD_DAMAGE as u64);
        if more > 0 {
            self.told
                .warn(self.option, format!("the source is damaged in {more} more places"));
        }
    }

    /// The manifest of a source that was made with the same options, and is what was asked for: what was missing or
    /// dropped then cannot be seen in it any more. A source that is not as it was written is treated as any other.
    pub(super) fn made_alike(&mut self, secondary: &Secondary) -> Result<Option<MachineManifest>, Error> {
        let (Some(file), Some(blob)) = (self.file, secondary.manifest) else {
            return Ok(None);
        };
        let manifest = match MachineManifest::read(file, blob.data, blob.size.into()) {
            Ok(manifest) => manifest,
            Err(Error::Malformed(finding)) => {
                self.told.warn(self.option, format!("the source is damaged: {finding}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if manifest.schema != SCHEMA || manifest.options != self.request.canonical() {
            return Ok(None);
        }
        let mut findings = Findings::default();
        sums::check(file, &mut findings)?;
        if let Some(finding) = findings.as_slice().first() {
            let message = format!("the source is not as dotdump wrote it: {finding}");
            self.told.warn(self.option, message);
            return Ok(None);
        }
        Ok(Some(manifest))
    }

    pub(super) fn tell_options(&mut self) {
        let snapshot = self.snapshot;
        if let Some(comment) = &self.request.options.comment
            && comment_that_fits(comment).len() < comment.len()
        {
            let message = format!("the header has room for {MAX_COMMENT} bytes of comment; the rest is left out");
            self.told.warn("-c", message);
        }
        if self.request.options.kind == (DumpKind::Full { avx_state: true }) {
            self.tell_extended_state(snapshot);
        }
    }

    /// `y` of `-fy`: extended state lies in memory, behind the `CONTEXT` of each processor that was stopped; there is
    /// no other place for it.
    fn tell_extended_state(&mut self, snapshot: &dyn MachineSnapshot) {
        let size = snapshot.machine().context_size();
        let processors = snapshot.processors();
        let with = processors.iter().filter(|processor| {
            let context = processor.context.as_ref();
            context.is_some_and(|context| context.address.is_some() && context.bytes.len() > size)
        });
        let (with, all) = (with.count(), processors.len());
        if with < all || all == 0 {
            let message = format!(
                "extended processor state is in the memory of {with} of {all} processors, and is kept there; for the \
                 others the source has none, and the header has no room for any"
            );
            self.told.warn(self.option, message);
        } else {
            let message = format!(
                "extended processor state of all {all} processors is in memory, behind their CONTEXTs, and is kept \
                 there; the header has no room for it"
            );
            self.told.note(self.option, message);
        }
    }
}

/// The kernel's address space over pages with patches; `None` where there are none, and the snapshot's own shows the
/// same.
pub(super) fn patched_space<'p>(
    snapshot: &dyn MachineSnapshot,
    physical: Option<&'p PatchedMemory<'_>>,
) -> Option<AddressSpace<'p>> {
    let physical = physical.filter(|_| !snapshot.patches().is_empty())?;
    let space = snapshot.kernel_space()?;
    Some(AddressSpace::new(
        physical,
        space.mode(),
        space.root(),
        space.software(),
    ))
}

impl MachineConversion<'_> {
    /// The size of the output in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.planned.plan.size
    }

    /// The plan itself.
    #[must_use]
    pub const fn planned(&self) -> &Planned {
        &self.planned
    }

    /// The pages that it keeps, and why.
    #[must_use]
    pub const fn selection(&self) -> &PageSelection {
        &self.selection
    }

    /// Writes the output. The caller finishes the sink.
    ///
    /// # Errors
    /// [`WriteError`]; the sink is then to be dropped.
    pub fn write(&self, sink: &mut dyn Sink) -> Result<(), WriteError> {
        let pages = self.physical.as_ref().map(|physical| PageOrigin {
            physical,
            chosen: &self.selection.pages,
        });
        // What is read by address has the patches, too.
        let patched = patched_space(self.snapshot, self.physical.as_ref());
        let origin = Origin {
            file: self.file.map(DumpFile::file),
            memory: match &patched {
                Some(space) => space,
                None => self.snapshot.kernel_memory(),
            },
            filter: None,
            pages,
        };
        execute::write(&self.planned.plan, &origin, sink)?;
        Ok(())
    }
}
