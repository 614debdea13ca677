//! One conversion from beginning to end: choose, filter, plan; then write.

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::{Error, Findings, PAGE_SIZE, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::{DumpFile, MachineProcess, MinidumpSnapshot, ProcessSnapshot, RangeSet, ThreadSnapshot};

use crate::exception::{self, Found, WithException};
use crate::execute::{self, Done, Origin, WriteError};
use crate::filter::StackFilter;
use crate::manifest::{BLOCK, Checksums, Manifest, SCHEMA, SourceIdentity, Span, hex16, spans};
use crate::options::{MiniOptions, OptionsError};
use crate::plan::{Ingredients, Planned, plan};
use crate::report::Report;
use crate::request::Request;
use crate::select::{ImageMemory, SHARED_USER_DATA, Selection, select, select_again, tell_trimmed, trim_to};
use crate::shortfall::{Shortfall, Shortfalls};
use crate::sink::Sink;
use crate::verify;
use crate::words::Words;

/// Why no dump was planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The source lacks what an option needs; a dump without it would be false or empty.
    #[error("{}", refusals(.0))]
    Refused(Vec<Shortfall>),
    /// The source cannot be read, or the dump does not fit the format.
    #[error(transparent)]
    Format(#[from] Error),
    /// The options go against each other.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The dump cannot be made small enough.
    #[error("the dump takes {least} bytes at least, more than --max-size allows ({limit})")]
    TooLarge {
        /// The size that cannot be gone below, in bytes.
        least: u64,
        /// What was asked for, in bytes.
        limit: u64,
    },
}

fn refusals(shortfalls: &[Shortfall]) -> String {
    let refused = shortfalls
        .iter()
        .filter(|shortfall| shortfall.severity == crate::shortfall::Severity::Refusal);
    refused.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A conversion that is planned and can be written.
pub struct Conversion<'a> {
    memory: ImageMemory<'a>,
    filter: Option<StackFilter>,
    planned: Planned,
    /// What it keeps, lacks and erases.
    pub report: Report,
}

/// Plans a conversion: nothing is written yet.
///
/// # Errors
/// [`ConvertError`].
pub fn prepare<'a>(snapshot: &'a MinidumpSnapshot<'a>, request: &Request) -> Result<Conversion<'a>, ConvertError> {
    let mut shortfalls = Shortfalls::default();
    tell_damage(snapshot.findings_of_opening(), &mut shortfalls);
    let again = made_alike(snapshot, request, &mut shortfalls)?;
    let identity = SourceIdentity::of(snapshot, snapshot.dump().source())?;
    prepare_draft(snapshot, identity, request, again, shortfalls)
}

/// Plans a dump of a process that was found in a machine: nothing is written yet. `source` is the machine's file;
/// [`Conversion::write`] copies from it. What was guessed of the process is noted in the report.
///
/// # Errors
/// [`ConvertError`].
pub fn prepare_process<'a>(
    process: &'a MachineProcess<'_>,
    source: &dyn ReadAt,
    request: &Request,
) -> Result<Conversion<'a>, ConvertError> {
    let mut shortfalls = Shortfalls::default();
    tell_damage(process.findings(), &mut shortfalls);
    for guess in process.guesses() {
        shortfalls.note(PROCESS, format!("guessed: {guess}"));
    }
    let walked = process.walked();
    for (pages, what) in [
        (walked.page_file, "in page files"),
        (walked.demand_zero, "zero and were never used"),
        (walked.file_backed, "in mapped files"),
        (process.missing_bytes() / PAGE_SIZE, "in memory that the source lacks"),
    ] {
        if pages > 0 {
            shortfalls.warn(
                PROCESS,
                format!("{pages} pages of the process are {what}: the dump lacks them"),
            );
        }
    }
    if !has_memory(process)? {
        let message = "the source has no memory of this process, as dumps of kernel memory and of other processes have \
                       none";
        if request.force {
            shortfalls.warn(PROCESS, message);
        } else {
            shortfalls.refuse(PROCESS, format!("{message} (--force writes what is known of it)"));
            return Err(ConvertError::Refused(shortfalls.into_vec()));
        }
    }
    let identity = SourceIdentity::of(process, source)?;
    prepare_draft(process, identity, request, None, shortfalls)
}

/// Whether there is a page that is the process's own: one that all processes share belongs to the kernel.
fn has_memory(process: &MachineProcess<'_>) -> Result<bool, Error> {
    let (shared, _) = SHARED_USER_DATA;
    let shared = VirtRange::new(VirtAddr(shared), VirtAddr(shared + PAGE_SIZE));
    for extent in process.memory().all() {
        if extent?.range != shared {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The option that asks for a process of a machine.
const PROCESS: &str = "--process";

/// Plans a dump of a process that is in no minidump, such as a live one: nothing is written yet. `notes` are told in the
/// report.
///
/// # Errors
/// [`ConvertError`].
pub fn prepare_snapshot<'a>(
    snapshot: &'a dyn ProcessSnapshot,
    identity: SourceIdentity,
    request: &Request,
    notes: &[String],
) -> Result<Conversion<'a>, ConvertError> {
    let mut shortfalls = Shortfalls::default();
    tell_damage(snapshot.findings(), &mut shortfalls);
    for note in notes {
        shortfalls.note("-m", note.clone());
    }
    prepare_draft(snapshot, identity, request, None, shortfalls)
}

fn prepare_draft<'a>(
    snapshot: &'a dyn ProcessSnapshot,
    identity: SourceIdentity,
    request: &Request,
    again: Option<Manifest>,
    mut shortfalls: Shortfalls,
) -> Result<Conversion<'a>, ConvertError> {
    request.exception.check()?;
    // What was made with the same options has the exception that they name.
    let found = match again {
        Some(_) => None,
        None => exception::find(snapshot, &request.exception, &mut shortfalls)?,
    };
    if shortfalls.is_refusal() {
        return Err(ConvertError::Refused(shortfalls.into_vec()));
    }
    let Found { exception, ranges } = found.unwrap_or_default();
    let source = snapshot;
    let snapshot: &dyn ProcessSnapshot = &WithException::new(source, exception);
    let mut draft = Draft::choose(source, snapshot, ranges, identity, request, again, shortfalls)?;
    let (mut planned, mut told) = draft.plan()?;
    if let Some(limit) = request.max_size
        && draft.again.is_none()
    {
        (planned, told) = draft.fit(limit, planned, told)?;
    }
    if let Some(again) = &draft.again {
        // What the first conversion could not have is still what is missing.
        told = Shortfalls::from(again.absent.clone());
    }
    let report = Report::new(
        snapshot,
        request,
        &mut draft.selection,
        draft.filter.as_ref(),
        &planned,
        told,
    );
    Ok(Conversion {
        memory: draft.memory,
        filter: draft.filter,
        planned,
        report,
    })
}

/// How many places of damage are told one by one.
const TOLD_DAMAGE: usize = 8;

/// What is broken in the source is missing in what is made of it.
fn tell_damage(findings: &Findings, shortfalls: &mut Shortfalls) {
    for finding in findings.as_slice().iter().take(TOLD_DAMAGE) {
        shortfalls.warn("-m", format!("the source is damaged: {finding}"));
    }
    let more = findings.total().saturating_sub(TOLD_DAMAGE as u64);
    if more > 0 {
        shortfalls.warn("-m", format!("the source is damaged in {more} more places"));
    }
}

/// The manifest of a source that was already cut down with the same options, and is what was asked for: choosing again
/// from what is left would lose what was found through memory that is no longer there. A source that is not as it was
/// written, or that lacks what its options promise, is treated as any other.
fn made_alike(
    snapshot: &MinidumpSnapshot<'_>,
    request: &Request,
    shortfalls: &mut Shortfalls,
) -> Result<Option<Manifest>, Error> {
    let manifest = match Manifest::read(snapshot.dump()) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(None),
        Err(Error::Malformed(finding)) => {
            shortfalls.warn("-m", format!("the source is damaged: {finding}"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let is_alike = manifest.schema == SCHEMA
        && manifest.options == request.canonical()
        && request.images.is_empty()
        && snapshot.findings_of_opening().is_empty()
        && snapshot.missing_bytes() == 0;
    if !is_alike || request.options.mini.contains(MiniOptions::FILTER_MEMORY) && !is_filtered(snapshot, &manifest) {
        return Ok(None);
    }
    let mut findings = Findings::default();
    verify::sums(snapshot, &mut findings)?;
    if let Some(finding) = findings.as_slice().first() {
        shortfalls.warn("-m", format!("the source is not as dotdump wrote it: {finding}"));
        return Ok(None);
    }
    Ok(Some(manifest))
}

/// Whether a dump and its manifest say that every stack in it was filtered.
fn is_filtered(snapshot: &MinidumpSnapshot<'_>, manifest: &Manifest) -> bool {
    let erased: RangeSet = manifest.erased.iter().filter_map(Span::range).collect();
    let erased = erased.into_vec();
    let mut stacks = snapshot.threads().iter().filter_map(ThreadSnapshot::stack);
    snapshot.flags().contains(MiniDumpType::FILTER_MEMORY)
        && stacks.all(|stack| dotdump_snapshot::ranges::clipped(&erased, stack).next().is_some())
}

/// What is chosen, before it is laid out.
struct Draft<'a, 'r> {
    snapshot: &'r dyn ProcessSnapshot,
    identity: SourceIdentity,
    request: &'r Request,
    /// The manifest of a source that was made with the same options.
    again: Option<Manifest>,
    memory: ImageMemory<'a>,
    selection: Selection,
    filter: Option<StackFilter>,
    /// What the choice lacks; laying it out may find more.
    shortfalls: Shortfalls,
}

impl<'a, 'r> Draft<'a, 'r> {
    /// Chooses the memory. `source` and `snapshot` differ in nothing but the exception; `records` is where that lies.
    fn choose(
        source: &'a dyn ProcessSnapshot,
        snapshot: &'r dyn ProcessSnapshot,
        records: RangeSet,
        identity: SourceIdentity,
        request: &'r Request,
        again: Option<Manifest>,
        mut shortfalls: Shortfalls,
    ) -> Result<Self, ConvertError> {
        let options = request.options.mini;
        let memory = if again.is_none() && options.contains(MiniOptions::CODE_SEGMENTS) {
            ImageMemory::new(source, &request.images, &mut shortfalls)?
        } else {
            ImageMemory::none(source.memory())
        };
        let mut selection = match &again {
            Some(_) => {
                let flags = MiniDumpType::from_bits_retain(snapshot.header().flags.get());
                select_again(snapshot, flags)?
            }
            None => select(snapshot, request, &memory, &mut shortfalls)?,
        };
        if shortfalls.is_refusal() {
            return Err(ConvertError::Refused(shortfalls.into_vec()));
        }
        selection.add_exception_records(source.memory(), records)?;
        let filter = match (&again, options.contains(MiniOptions::FILTER_MEMORY)) {
            (None, true) => Some(StackFilter::new(snapshot, &selection.stacks, selection.beside.clone())?),
            _ => None,
        };
        Ok(Self {
            snapshot,
            identity,
            request,
            again,
            memory,
            selection,
            filter,
            shortfalls,
        })
    }

    /// Lays out what is chosen. The second value is all that is missing.
    fn plan(&self) -> Result<(Planned, Shortfalls), ConvertError> {
        let mut told = self.shortfalls.clone();
        tell_trimmed(&self.selection, &mut told);
        let known = told.clone();
        let manifest = if self.request.no_manifest {
            None
        } else {
            Some(self.manifest(&told)?)
        };
        let mut ingredients = Ingredients {
            snapshot: self.snapshot,
            request: self.request,
            memory: &self.memory,
            selection: &self.selection,
            filter: self.filter.as_ref(),
            manifest,
        };
        let planned = plan(ingredients.clone(), &mut told)?;
        if self.again.is_some() || told.as_slice().len() == known.as_slice().len() {
            return Ok((planned, told));
        }
        // With very many ranges a plan is large: not two at once.
        drop(planned);
        // Laying it out found more that is missing: the manifest has to say so as well.
        if let Some(manifest) = &mut ingredients.manifest {
            manifest.absent = told.as_slice().to_vec();
        }
        Ok((plan(ingredients, &mut known.clone())?, told))
    }

    /// Plans again with less and less memory until the file is small enough.
    fn fit(
        &mut self,
        limit: u64,
        mut planned: Planned,
        mut told: Shortfalls,
    ) -> Result<(Planned, Shortfalls), ConvertError> {
        // Each round may change the tables in front of the memory; a few rounds settle that.
        const ROUNDS: usize = 8;
        let mut room = u64::MAX;
        for _ in 0..ROUNDS {
            if planned.plan.size <= limit {
                return Ok((planned, told));
            }
            let memory: u64 = planned.ranges.iter().map(|range| range.size()).sum();
            let tables = planned.plan.size - memory;
            room = limit.saturating_sub(tables).min(room - room / 16);
            let is_enough = trim_to(&mut self.selection, room);
            (planned, told) = self.plan()?;
            if !is_enough && planned.plan.size > limit {
                break;
            }
        }
        if planned.plan.size <= limit {
            Ok((planned, told))
        } else {
            Err(ConvertError::TooLarge {
                least: planned.plan.size,
                limit,
            })
        }
    }

    fn manifest(&self, shortfalls: &Shortfalls) -> Result<Manifest, Error> {
        if let Some(again) = &self.again {
            return Ok(again.clone());
        }
        let ranges = self.selection.addresses();
        let size = Words::of(self.snapshot).size;
        let areas = || self.filter.iter().flat_map(StackFilter::areas);
        Ok(Manifest {
            schema: SCHEMA,
            tool: concat!("dotdump ", env!("CARGO_PKG_VERSION")).to_owned(),
            options: self.request.canonical(),
            source: self.identity.clone(),
            left_out: Vec::new(),
            absent: shortfalls.as_slice().to_vec(),
            erased: spans(areas().map(|area| area.range).collect()),
            erased_32: spans(
                areas()
                    .filter(|area| area.words.size < size)
                    .map(|area| area.range)
                    .collect(),
            ),
            from_images: spans(self.memory.taken(&ranges)?.into_vec()),
            checksums: Checksums {
                offset: hex16(0),
                block: BLOCK,
            },
        })
    }
}

impl Conversion<'_> {
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

    /// Writes the output, and completes the report. `source` is the file that the places of memory refer to; `None` for a
    /// live process. The caller finishes the sink.
    ///
    /// # Errors
    /// [`WriteError`]; the sink is then to be dropped.
    pub fn write(&mut self, source: Option<&DumpFile>, sink: &mut dyn Sink) -> Result<Done, WriteError> {
        let origin = Origin {
            file: source.map(DumpFile::file),
            memory: &self.memory,
            filter: self.filter.as_ref(),
            pages: None,
        };
        let done = execute::write(&self.planned.plan, &origin, sink)?;
        self.report.erased.words = self.filter.as_ref().map(|_| done.erased_words);
        Ok(done)
    }
}
