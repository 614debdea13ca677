//! Where a dump and its report go.

use std::fs::File;
use std::path::{Path, PathBuf};

use dotdump_transcode::sink::Destination;
use jiff::Zoned;
use jiff::civil::DateTime;

use super::unique_name::unique_name;
use crate::arguments::{ProgressMode, WritingArguments};
use crate::misuse::Misuse;
use crate::report_file::ReportFile;

/// Checked outputs: what cannot be one is told before any work is done.
pub(crate) struct Output<'a> {
    /// How it is called.
    pub(super) path: PathBuf,
    /// `None` where the dump will not be written: a terminal is shown the plan of a dry run, which it could not be shown
    /// the dump of.
    pub(super) destination: Option<Destination>,
    pub(super) report: Option<ReportFile<'a>>,
}

/// How a dump is told of.
pub(crate) struct Told {
    /// What stands in front of warnings, where there are several dumps.
    pub(crate) subject: String,
    /// When to show progress.
    pub(crate) progress: ProgressMode,
}

impl Told {
    /// As the command line has it.
    pub(crate) const fn of(arguments: &WritingArguments) -> Self {
        Self {
            subject: String::new(),
            progress: arguments.progress,
        }
    }
}

/// Where outputs may go, before it is known which process they are of.
pub(crate) struct Place<'p> {
    arguments: &'p WritingArguments,
    /// What is read, which no output may replace.
    source: Option<&'p File>,
    /// When the program began; all names that it makes have this time.
    time: DateTime,
}

impl<'p> Place<'p> {
    /// Checks what can be checked already.
    ///
    /// # Errors
    /// Where there can be no output at all.
    pub(crate) fn check(arguments: &'p WritingArguments, source: Option<&'p File>) -> anyhow::Result<Self> {
        if arguments.dump.options.unique && arguments.to_standard_output() {
            let message = "-u is refused: standard output has no name that something could be appended to";
            return Err(Misuse(message.to_owned()).into());
        }
        let place = Self {
            arguments,
            source,
            time: Zoned::now().datetime(),
        };
        place.of_process(0)?;
        Ok(place)
    }

    /// The outputs for the process with this id; 0 for a machine, and where the id is not known.
    ///
    /// # Errors
    /// Where one cannot be written.
    pub(crate) fn of_process<'a>(&self, id: u32) -> anyhow::Result<Output<'a>> {
        let arguments = self.arguments;
        let options = &arguments.dump.options;
        let named = |path: &Path, is_unique: bool| match is_unique {
            true => unique_name(path, std::process::id(), self.time, id),
            false => path.to_owned(),
        };
        let path = named(&arguments.output, options.unique);
        let to_standard_output = arguments.to_standard_output();
        let destination = match (to_standard_output, arguments.dry_run) {
            (true, true) => None,
            (true, false) => Some(Destination::standard_output()?),
            (false, _) => Some(Destination::file(&path, options.overwrite, self.source)?),
        };
        let report = arguments.report.as_deref().map(|report| {
            // Reports of many processes are no one file either.
            let report = named(report, options.all_processes);
            ReportFile::check(&report, self.source, (!to_standard_output).then_some(&path))
        });
        Ok(Output {
            path,
            destination,
            report: report.transpose()?,
        })
    }
}
