//! One conversion from beginning to end: choose, filter, plan; then write.

use dotdump_format::{Error, FileOffset};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot, RangeSet};

use crate::execute::{self, Done, Origin, WriteError};
use crate::filter::StackFilter;
use crate::manifest::{BLOCK, Checksums, Erased, Manifest, SCHEMA, SourceIdentity, hex16};
use crate::options::MiniOptions;
use crate::plan::{Ingredients, Planned, plan};
use crate::report::{self, ClassReport, ErasedReport, MemoryReport, Report, StreamReport, Written};
use crate::request::Request;
use crate::select::{MemoryClass, Selection, select, select_again, trim_to};
use crate::shortfall::{Shortfall, Shortfalls};
use crate::sink::Sink;

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
    snapshot: &'a MinidumpSnapshot<'a>,
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
    let options = request.options.mini;
    // A dump that was already cut down with the same options is what was asked for: choosing again from what is left
    // would lose what was found through memory that is no longer there.
    let before = Manifest::read(snapshot.dump()).unwrap_or_default();
    let again = before.filter(|manifest| manifest.schema == SCHEMA && manifest.options == request.canonical());

    let mut selection = match &again {
        Some(_) => select_again(snapshot, snapshot.flags())?,
        None => select(snapshot, options, &request.images, request.force, &mut shortfalls)?,
    };
    if shortfalls.is_refusal() {
        return Err(ConvertError::Refused(shortfalls.into_vec()));
    }
    let filter = match (&again, options.contains(MiniOptions::FILTER_MEMORY)) {
        (None, true) => Some(StackFilter::new(
            snapshot,
            &selection.stacks,
            filtered_beside_stacks(&selection),
        )?),
        _ => None,
    };
    let mut planned = build(
        snapshot,
        request,
        &selection,
        filter.as_ref(),
        again.as_ref(),
        &mut shortfalls,
    )?;
    if let Some(limit) = request.max_size
        && again.is_none()
    {
        fit(
            snapshot,
            request,
            &mut selection,
            filter.as_ref(),
            limit,
            &mut planned,
            &mut shortfalls,
        )?;
    }
    if let Some(again) = &again {
        // What the first conversion could not have is still what is missing.
        for shortfall in &again.absent {
            shortfalls.warn(&shortfall.option, shortfall.message.clone());
        }
    }
    let report = report(snapshot, request, &mut selection, filter.as_ref(), &planned, shortfalls);
    Ok(Conversion {
        snapshot,
        filter,
        planned,
        report,
    })
}

/// Memory that was only taken because stacks point to it: it is filtered as the stacks are.
fn filtered_beside_stacks(selection: &Selection) -> RangeSet {
    let indirect = selection
        .classes
        .iter()
        .filter(|class| class.class == MemoryClass::Indirect);
    indirect.fold(RangeSet::new(), |mut all, class| {
        all.extend(&class.ranges);
        all
    })
}

fn build(
    snapshot: &MinidumpSnapshot<'_>,
    request: &Request,
    selection: &Selection,
    filter: Option<&StackFilter>,
    again: Option<&Manifest>,
    shortfalls: &mut Shortfalls,
) -> Result<Planned, ConvertError> {
    let mut told = shortfalls.clone();
    let manifest = if request.no_manifest {
        None
    } else {
        Some(manifest(snapshot, request, filter, again, &told)?)
    };
    let mut ingredients = Ingredients {
        snapshot,
        request,
        selection,
        filter,
        manifest,
    };
    let planned = plan(ingredients.clone(), &mut told)?;
    if again.is_some() || told.as_slice().len() == shortfalls.as_slice().len() {
        *shortfalls = told;
        return Ok(planned);
    }
    // With very many ranges a plan is large: not two at once.
    drop(planned);
    // Planning found more that is missing: the manifest has to say so as well.
    if let Some(manifest) = &mut ingredients.manifest {
        manifest.absent = told.as_slice().to_vec();
    }
    *shortfalls = told;
    Ok(plan(ingredients, &mut Shortfalls::default())?)
}

/// Plans again with less and less memory until the file is small enough.
fn fit(
    snapshot: &MinidumpSnapshot<'_>,
    request: &Request,
    selection: &mut Selection,
    filter: Option<&StackFilter>,
    limit: u64,
    planned: &mut Planned,
    shortfalls: &mut Shortfalls,
) -> Result<(), ConvertError> {
    // Each round may change the tables before the memory; a few rounds settle that.
    const ROUNDS: usize = 8;
    let mut room = None;
    for _ in 0..ROUNDS {
        if planned.plan.size <= limit {
            return Ok(());
        }
        let memory: u64 = planned.ranges.iter().map(|range| range.size()).sum();
        let tables = planned.plan.size - memory;
        let target = limit
            .saturating_sub(tables)
            .min(room.map_or(u64::MAX, |room: u64| room - room / 16));
        room = Some(target);
        if !trim_to(selection, target, shortfalls) {
            let least = tables + selection.union().bytes();
            return Err(ConvertError::TooLarge { least, limit });
        }
        *planned = build(snapshot, request, selection, filter, None, shortfalls)?;
    }
    if planned.plan.size <= limit {
        Ok(())
    } else {
        Err(ConvertError::TooLarge {
            least: planned.plan.size,
            limit,
        })
    }
}

fn manifest(
    snapshot: &MinidumpSnapshot<'_>,
    request: &Request,
    filter: Option<&StackFilter>,
    again: Option<&Manifest>,
    shortfalls: &Shortfalls,
) -> Result<Manifest, Error> {
    if let Some(again) = again {
        return Ok(again.clone());
    }
    let source = snapshot.dump().source();
    let head_size = source.size().min(4096);
    let head = source.bytes(FileOffset(0), usize::try_from(head_size).unwrap_or(0))?;
    let header = snapshot.header();
    Ok(Manifest {
        schema: SCHEMA,
        tool: concat!("dotdump ", env!("CARGO_PKG_VERSION")).to_owned(),
        options: request.canonical(),
        source: SourceIdentity {
            size: source.size(),
            time: header.time_date_stamp.get(),
            flags: format!("{:#x}", header.flags.get()),
            head_crc32: format!("{:#010x}", crc32fast::hash(&head)),
        },
        left_out: Vec::new(),
        absent: shortfalls.as_slice().to_vec(),
        erased: filter.map_or_else(Vec::new, |filter| {
            filter.areas().iter().map(|area| Erased::of(area.range)).collect()
        }),
        checksums: Checksums {
            offset: hex16(0),
            block: BLOCK,
        },
    })
}

fn report(
    snapshot: &dyn ProcessSnapshot,
    request: &Request,
    selection: &mut Selection,
    filter: Option<&StackFilter>,
    planned: &Planned,
    shortfalls: Shortfalls,
) -> Report {
    let classes = selection.classes.iter_mut().map(|class| ClassReport {
        class: class.class,
        ranges: class.ranges.as_slice().len() as u64,
        bytes: class.ranges.bytes(),
        absent: class.absent,
    });
    Report {
        schema: report::SCHEMA,
        asked: request.canonical(),
        written: Written {
            size: planned.plan.size,
            flags: planned.flags.iter_names().map(|(name, _)| name.to_owned()).collect(),
            streams: planned
                .directory
                .iter()
                .map(|entry| StreamReport {
                    stream_type: entry.stream_type.get(),
                    name: dotdump_format::minidump::StreamType(entry.stream_type.get()).to_string(),
                    size: u64::from(entry.location.data_size.get()),
                })
                .collect(),
            threads: snapshot.threads().len() as u64,
            modules: snapshot.modules().len() as u64,
            memory: MemoryReport {
                ranges: planned.ranges.len() as u64,
                bytes: planned.ranges.iter().map(|range| range.size()).sum(),
            },
            memory_by_class: classes.filter(|class| class.bytes > 0 || class.absent > 0).collect(),
        },
        absent: shortfalls.into_vec(),
        left_out: planned.left_out.clone(),
        erased: ErasedReport {
            words: None,
            ranges: filter.map_or_else(Vec::new, |filter| {
                filter.areas().iter().map(|area| Erased::of(area.range)).collect()
            }),
            module_paths: planned.shortened_paths,
        },
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

    /// Writes the output, and completes the report. The caller finishes the sink.
    ///
    /// # Errors
    /// [`WriteError`]; the sink is then to be dropped.
    pub fn write(&mut self, source: &DumpFile, sink: &mut dyn Sink) -> Result<Done, WriteError> {
        let origin = Origin {
            file: source.file(),
            memory: self.snapshot.memory(),
            filter: self.filter.as_ref(),
        };
        let done = execute::write(&self.planned.plan, &origin, sink)?;
        self.report.erased.words = self.filter.as_ref().map(|_| done.erased_words);
        Ok(done)
    }
}
