//! Small dumps of machines (`-m`), from beginning to end.

use dotdump_format::kernel::triage::SectionKind;
use dotdump_format::kernel::{DumpType, TriageDump};
use dotdump_format::layout::Layout;
use dotdump_format::{Endian, Error, Findings};
use dotdump_snapshot::{DumpFile, Memory};

use super::convert::{Draft, MachineConversion, patched_space};
use super::header::set_required_space;
use super::manifest::{MachineManifest, PatchSpan};
use super::plan::{Planned, secondary_data};
use super::report::{MachineReport, SectionReport, WrittenPages};
use super::secondary::Secondary;
use super::select::PageSelection;
use super::triage::{TriageRequest, TriageSelection, copy, select};
use crate::convert::ConvertError;
use crate::options::MiniOptions;
use crate::shortfall::Shortfalls;

/// How often a dump is chosen again because its manifest turned out larger than was thought.
const ROUNDS: usize = 8;

/// What was laid out.
struct LaidOut {
    planned: Planned,
    patches: Vec<PatchSpan>,
    told: Shortfalls,
}

impl<'a> Draft<'a, '_> {
    /// Plans a small dump.
    pub(super) fn small(mut self) -> Result<MachineConversion<'a>, ConvertError> {
        self.tell_damage();
        let secondary = self.secondary()?;
        let again = self.made_alike(&secondary)?;
        if self.request.layout.is_some() {
            self.told.refuse("--layout", "a small dump has one layout only");
        }
        if self.request.options.mini != MiniOptions::empty() {
            let message = "letters of -m ask for parts of a process; a small dump of a machine has no such parts";
            self.told.warn(self.option, message);
        }
        self.tell_options();
        let mut secondary_size = self.least_secondary_size(&secondary, again.as_ref())?;
        let mut chosen = self.choose_small(secondary_size)?;
        self.check_small(&chosen);
        if self.told.is_refusal() {
            return Err(ConvertError::Refused(self.told.into_vec()));
        }
        // A budget is for all of the file, and how large the manifest is shows when it is known what was left out.
        for _ in 0..ROUNDS {
            let laid_out = self.lay_out_small(&chosen, &secondary, again.as_ref())?;
            let size = laid_out.planned.plan.size;
            match self.request.max_size {
                Some(limit) if limit < size => secondary_size += size - limit,
                _ => return Ok(self.small_conversion(chosen, laid_out, &secondary, again)),
            }
            chosen = self.choose_small(secondary_size)?;
        }
        let laid_out = self.lay_out_small(&chosen, &secondary, again.as_ref())?;
        Err(ConvertError::TooLarge {
            least: laid_out.planned.plan.size,
            limit: self.request.max_size.unwrap_or(0),
        })
    }

    /// How much of the file the secondary data takes at least, in bytes.
    fn least_secondary_size(&self, secondary: &Secondary, again: Option<&MachineManifest>) -> Result<u64, Error> {
        let empty = self.empty_manifest()?;
        let manifest = (!self.request.no_manifest).then(|| again.unwrap_or(&empty));
        let mut layout = Layout::new(Endian::Little);
        secondary_data(secondary, self.snapshot.header(), manifest, &mut layout)?;
        Ok(layout.end().0)
    }

    /// A dump in which there is nothing but a header is not what was asked for.
    fn check_small(&mut self, chosen: &TriageSelection) {
        let dump = &chosen.dump;
        if dump.blocks.is_empty() && dump.drivers.is_empty() && dump.call_stack.size() == 0 {
            self.object("no memory of the kernel can be read: the dump would be a header and nothing more".to_owned());
        }
    }

    fn choose_small(&self, secondary_size: u64) -> Result<TriageSelection, ConvertError> {
        let request = TriageRequest {
            comment: self.request.options.comment.as_deref(),
            max_size: self.request.max_size,
            secondary_size,
            as_windows: false,
        };
        match self.snapshot.triage() {
            // What is wrong with the source is among its findings already.
            Some(triage) => copy(triage, self.snapshot.header(), &request, &mut Findings::default()),
            None => {
                let physical = self.patched_memory();
                let space = patched_space(self.snapshot, physical.as_ref());
                let memory: &dyn Memory = match &space {
                    Some(space) => space,
                    None => self.snapshot.kernel_memory(),
                };
                select(self.snapshot, memory, &request)
            }
        }
    }

    fn lay_out_small(
        &self,
        chosen: &TriageSelection,
        secondary: &Secondary,
        again: Option<&MachineManifest>,
    ) -> Result<LaidOut, Error> {
        let mut told = self.told.clone();
        told.extend(chosen.shortfalls.iter().cloned());
        let patches = match again {
            Some(manifest) => manifest.patches.clone(),
            None => self.snapshot.patches().iter().map(PatchSpan::of).collect(),
        };
        let manifest = match again {
            _ if self.request.no_manifest => None,
            Some(manifest) => Some(manifest.clone()),
            None => Some(MachineManifest {
                blocks: chosen.kept.clone(),
                blocks_dropped: chosen.dropped.clone(),
                patches: patches.clone(),
                absent: told.as_slice().to_vec(),
                ..self.empty_manifest()?
            }),
        };
        let mut layout = Layout::new(Endian::Little);
        let room = chosen.dump.write(&mut layout)?;
        secondary_data(secondary, &chosen.dump.header, manifest.as_ref(), &mut layout)?;
        let mut header = chosen.dump.header.clone();
        set_required_space(&mut header, layout.end().0);
        layout.fill(room, 0, header.as_bytes());
        Ok(LaidOut {
            planned: Planned {
                plan: layout.finish(),
                dump_type: DumpType::TRIAGE,
                pages: 0,
                runs: 0,
            },
            patches,
            told,
        })
    }

    fn small_conversion(
        self,
        chosen: TriageSelection,
        laid_out: LaidOut,
        secondary: &Secondary,
        again: Option<MachineManifest>,
    ) -> MachineConversion<'a> {
        let LaidOut {
            planned, patches, told, ..
        } = laid_out;
        let (blocks, blocks_dropped, absent) = match again {
            Some(manifest) => (manifest.blocks, manifest.blocks_dropped, manifest.absent),
            None => (chosen.kept.clone(), chosen.dropped.clone(), told.into_vec()),
        };
        let report = MachineReport {
            written: WrittenPages::of(&planned, None),
            sections: sections(&chosen.dump),
            blocks,
            blocks_dropped,
            absent,
            patches,
            ..self.empty_report(secondary)
        };
        self.finished(PageSelection::default(), planned, report)
    }

    /// The secondary data of the source.
    pub(super) fn secondary(&self) -> Result<Secondary, Error> {
        match self.file {
            Some(file) => Secondary::read(file as &DumpFile, self.snapshot.secondary_data()),
            None => Ok(Secondary::default()),
        }
    }
}

/// What a dump has, apart from its header: in no certain order, as that depends on who made it.
fn sections(dump: &TriageDump) -> Vec<SectionReport> {
    let blocks: u64 = dump.blocks.iter().map(|block| block.data.size()).sum();
    let one = |kind: SectionKind, size| (kind, 1, size);
    let sections = [
        one(SectionKind::Prcb, dump.prcb.size()),
        one(SectionKind::Process, dump.process.size()),
        one(SectionKind::Thread, dump.thread.size()),
        one(SectionKind::CallStack, dump.call_stack.size()),
        one(SectionKind::DebuggerData, dump.debugger_data.size()),
        (
            SectionKind::UnloadedDrivers,
            dump.unloaded.len(),
            dump.unloaded.iter().map(|driver| driver.as_bytes().len() as u64).sum(),
        ),
        (
            SectionKind::DriverList,
            dump.drivers.len(),
            dump.drivers
                .iter()
                .map(|driver| driver.entry.as_bytes().len() as u64)
                .sum(),
        ),
        (SectionKind::Data, dump.blocks.len(), blocks),
    ];
    let there = sections.into_iter().filter(|(_, _, size)| *size > 0);
    there
        .map(|(kind, entries, size)| SectionReport {
            name: kind.name(),
            entries: entries as u64,
            size,
        })
        .collect()
}
