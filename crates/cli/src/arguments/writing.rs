//! What every subcommand that writes a dump is told alike.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use super::{DumpArguments, ProgressMode};
use crate::size::parse_size;

/// The output, what is to be in it, and what is told of it.
#[derive(Debug, Args)]
pub(crate) struct WritingArguments {
    /// The dump to write; - is standard output
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) dump: DumpArguments,

    /// A folder with images (EXE, DLL, ELF) of the modules, for their headers and code. May be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) image_path: Vec<PathBuf>,

    /// Drop the least valuable memory until the dump is no larger: bytes, or with K, M, G, T as powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,

    /// Fail (with exit code 3) where the source lacks something that was asked for
    #[arg(long)]
    pub(crate) strict: bool,

    /// Accept a source that does not have what an option needs, such as all memory for -mf
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the plan and its size, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Write what was asked, written, absent and erased to this file, as JSON
    #[arg(long, value_name = "FILE", value_parser = report_file())]
    pub(crate) report: Option<PathBuf>,

    /// Leave out the checksums that verify uses
    #[arg(long)]
    pub(crate) no_manifest: bool,

    /// Whether to show progress on standard error
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ProgressMode::Auto)]
    pub(crate) progress: ProgressMode,

    /// Print neither warnings nor progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl WritingArguments {
    /// Whether the dump goes to standard output.
    pub(crate) fn to_standard_output(&self) -> bool {
        self.output.as_os_str() == "-"
    }
}

/// Refuses standard output: it has the dump or what is told of it.
fn report_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            return Err("the report cannot go to standard output, for the dump or its summary goes there; name a file");
        }
        Ok(path)
    })
}
