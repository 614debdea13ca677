//! The dump of a process in a file.

use dotdump_snapshot::DumpFile;
use dotdump_transcode::Conversion;
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::shortfall::Shortfall;
use dotdump_transcode::sink::Sink;

use crate::dump::{PlannedDump, summary_of_process};

/// The minidump of a process.
pub(super) struct ProcessDump<'a> {
    pub(super) conversion: Conversion<'a>,
    /// Where the places of memory refer to.
    pub(super) source: &'a DumpFile,
}

impl PlannedDump for ProcessDump<'_> {
    fn size(&self) -> u64 {
        self.conversion.size()
    }

    fn absent(&self) -> &[Shortfall] {
        &self.conversion.report.absent
    }

    fn report(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&self.conversion.report)
    }

    fn summary(&self, head: &str) -> String {
        summary_of_process(&self.conversion.report, head)
    }

    fn write(&mut self, sink: &mut dyn Sink) -> Result<(), WriteError> {
        self.conversion.write(Some(self.source), sink).map(drop)
    }
}
