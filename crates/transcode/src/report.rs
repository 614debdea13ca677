//! What a conversion tells of itself (`--report`, `--dry-run`).

use serde::Serialize;

use crate::manifest::LeftOut;
use crate::select::MemoryClass;
use crate::shortfall::Shortfall;

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
}

/// What a dump contains.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Written {
    /// The size of the file in bytes.
    pub size: u64,
    /// `MINIDUMP_TYPE` bits of the header, by name.
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
    pub ranges: Vec<crate::manifest::Erased>,
    /// Module names that lost their folders.
    pub module_paths: u64,
}
