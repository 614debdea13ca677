//! What a conversion of a machine tells of itself (`--report`, `--dry-run`).

use serde::Serialize;

use super::manifest::PatchSpan;
use super::plan::Planned;
use super::select::ReasonCount;
use super::triage;
use crate::request::PageLayout;
use crate::shortfall::Shortfall;

/// The version of the report's layout.
pub const SCHEMA: u32 = 1;

/// What was asked, written, kept, dropped and absent.
#[derive(Clone, Debug, Serialize)]
pub struct MachineReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The options, in the spelling of the command line.
    pub asked: String,
    /// What the dump contains.
    pub written: WrittenPages,
    /// Pages that are kept, by reason.
    pub kept: Vec<ReasonCount>,
    /// Pages of the source that are not kept, by reason.
    pub dropped: Vec<ReasonCount>,
    /// What a small dump has besides its header.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<SectionReport>,
    /// Memory in a small dump, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<triage::ReasonCount>,
    /// Memory that a small dump had no room for, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks_dropped: Vec<triage::ReasonCount>,
    /// What was asked for and could not be had.
    pub absent: Vec<Shortfall>,
    /// Bytes that are not those of the source.
    pub patches: Vec<PatchSpan>,
    /// Secondary data that is carried over.
    pub secondary_data: Vec<BlobReport>,
    /// Parts of the source that are not taken: what and why.
    pub left_out: Vec<String>,
}

/// What a dump contains.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WrittenPages {
    /// The size of the file in bytes.
    pub size: u64,
    /// Its type.
    pub dump_type: DumpTypeReport,
    /// How its pages are found; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<&'static str>,
    /// The number of pages.
    pub pages: u64,
    /// The number of runs of pages.
    pub runs: u64,
}

/// A type of dump.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DumpTypeReport {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
}

/// A part of a small dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SectionReport {
    /// Its name.
    pub name: &'static str,
    /// How many entries or blocks it has; 1 for the copy of a structure.
    pub entries: u64,
    /// Their size in bytes, without what tells where they are.
    pub size: u64,
}

/// A blob of secondary data.
#[derive(Clone, Debug, Serialize)]
pub struct BlobReport {
    /// Its GUID.
    pub tag: String,
    /// Its size in bytes.
    pub size: u64,
}

impl WrittenPages {
    /// What a plan contains.
    #[must_use]
    pub fn of(planned: &Planned, layout: Option<PageLayout>) -> Self {
        Self {
            size: planned.plan.size,
            dump_type: DumpTypeReport {
                number: planned.dump_type.0,
                name: planned.dump_type.name().unwrap_or_default(),
            },
            layout: layout.map(PageLayout::name),
            pages: planned.pages,
            runs: planned.runs,
        }
    }
}
