//! The dump of a process that is stopped.

use std::time::Duration;

use dotdump_capture::StoppedProcess;
use dotdump_transcode::Conversion;
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::shortfall::Shortfall;
use dotdump_transcode::sink::Sink;

use crate::dump::{PlannedDump, summary_of_process};

/// How many bytes of output are held in memory so that the process need not wait for the disk.
const HELD: usize = 12 << 20;

/// The minidump of a process that waits until it is written.
pub(super) struct LiveDump<'a> {
    pub(super) conversion: Conversion<'a>,
    pub(super) stopped: &'a StoppedProcess,
}

impl PlannedDump for LiveDump<'_> {
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
        let report = &self.conversion.report;
        let mut text = summary_of_process(report, head);
        if let Some(milliseconds) = report.pause_milliseconds {
            text.push_str(&format!("  paused for {milliseconds:.1} ms\n"));
        }
        text
    }

    fn write(&mut self, sink: &mut dyn Sink) -> Result<(), WriteError> {
        self.conversion.write(None, sink).map(drop)
    }

    fn held(&self) -> usize {
        HELD
    }

    fn release(&mut self) {
        self.conversion.report.pause_milliseconds = Some(milliseconds(self.stopped.resume()));
    }
}

/// To the microsecond: what is beyond that is no more than noise.
fn milliseconds(pause: Duration) -> f64 {
    (pause.as_secs_f64() * 1e6).round() / 1e3
}
