//! What a conversion tells of itself (`--report`, `--dry-run`).

use serde::Serialize;

use dotdump_format::minidump::StreamType;
use dotdump_snapshot::ProcessSnapshot;

use crate::filter::StackFilter;
use crate::manifest::{LeftOut, Span};
use crate::plan::Planned;
use crate::request::Request;
use crate::select::{MemoryClass, Selection};
use crate::shortfall::{Shortfall, Shortfalls};

/// The version of the report's layout.
pub const SCHEMA: u32 = 1;

/// What was asked, written, absent and erased.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The options, in the spelling of the command line.
    pub asked: String,
    /// What the dump contains.
    pub written: Written,
    /// What was asked for and could not be had.
    pub absent: Vec<Shortfall>,
    /// Streams of the source that were not taken.
    pub left_out: Vec<LeftOut>,
    /// What the filters took out.
    pub erased: ErasedReport,
    /// For how long a live process was stopped, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_milliseconds: Option<f64>,
}

/// What a dump contains.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Written {
    /// The size of the file in bytes.
    pub size: u64,
    /// `MINIDUMP_TYPE` bits of the header, by the names of the Windows headers.
    pub flags: Vec<String>,
    /// Its streams.
    pub streams: Vec<StreamReport>,
    /// The number of threads.
    pub threads: u64,
    /// The number of modules.
    pub modules: u64,
    /// The memory, all classes together.
    pub memory: MemoryReport,
    /// The memory by the rule that asked for it. Ranges that several rules asked for count for each.
    pub memory_by_class: Vec<ClassReport>,
}

/// A stream of the output.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// Its type.
    #[serde(rename = "type")]
    pub stream_type: u32,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// How much memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MemoryReport {
    /// The number of ranges.
    pub ranges: u64,
    /// The number of bytes.
    pub bytes: u64,
}

/// The memory of one rule.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// The rule.
    pub class: MemoryClass,
    /// The number of ranges.
    pub ranges: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// Bytes that were wanted and are not in the source.
    pub absent: u64,
}

/// What the filters took out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ErasedReport {
    /// Words of memory that became zero; only known once the dump is written.
    pub words: Option<u64>,
    /// The addresses in which words were looked at: first address in hexadecimal, and bytes.
    pub ranges: Vec<Span>,
    /// Module names that lost their folders.
    pub module_paths: u64,
}

impl Report {
    /// The report of a conversion that is planned.
    #[must_use]
    pub fn new(
        snapshot: &dyn ProcessSnapshot,
        request: &Request,
        selection: &mut Selection,
        filter: Option<&StackFilter>,
        planned: &Planned,
        shortfalls: Shortfalls,
    ) -> Self {
        let erased = filter
            .into_iter()
            .flat_map(StackFilter::areas)
            .map(|area| Span::of(area.range))
            .collect();
        Self {
            schema: SCHEMA,
            asked: request.canonical(),
            written: Written::new(snapshot, selection, planned),
            absent: shortfalls.into_vec(),
            left_out: planned.left_out.clone(),
            erased: ErasedReport {
                words: None,
                ranges: erased,
                module_paths: planned.shortened_paths,
            },
            pause_milliseconds: None,
        }
    }
}

impl Written {
    fn new(snapshot: &dyn ProcessSnapshot, selection: &mut Selection, planned: &Planned) -> Self {
        let classes = selection.classes.iter_mut().map(|class| ClassReport {
            class: class.class,
            ranges: class.ranges.as_slice().len() as u64,
            bytes: class.ranges.bytes(),
            absent: class.absent,
        });
        let streams = planned.directory.iter().map(|entry| {
            let stream_type = StreamType(entry.stream_type.get());
            let size = u64::from(entry.location.data_size.get());
            StreamReport {
                stream_type: stream_type.0,
                name: stream_type.to_string(),
                size,
            }
        });
        Self {
            size: planned.plan.size,
            flags: planned.flags.names(),
            streams: streams.collect(),
            threads: snapshot.threads().len() as u64,
            modules: snapshot.modules().len() as u64,
            memory: MemoryReport {
                ranges: planned.ranges.len() as u64,
                bytes: planned.ranges.iter().map(|range| range.size()).sum(),
            },
            memory_by_class: classes.filter(|class| class.bytes > 0 || class.absent > 0).collect(),
        }
    }
}
