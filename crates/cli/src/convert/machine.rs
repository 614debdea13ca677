//! The dump of a machine.

use std::fmt::Write as _;

use dotdump_format::PAGE_SIZE;
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::machine::select::ReasonCount;
use dotdump_transcode::machine::{MachineConversion, triage};
use dotdump_transcode::shortfall::Shortfall;
use dotdump_transcode::sink::Sink;
use indicatif::HumanBytes;

use crate::counted::counted;
use crate::dump::PlannedDump;

/// The dump of a machine.
pub(super) struct MachineDump<'a>(pub(super) MachineConversion<'a>);

impl PlannedDump for MachineDump<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn absent(&self) -> &[Shortfall] {
        &self.0.report.absent
    }

    fn report(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&self.0.report)
    }

    fn summary(&self, head: &str) -> String {
        let report = &self.0.report;
        let written = &report.written;
        let mut text = String::new();
        let _ = writeln!(text, "{head}: {} ({})", HumanBytes(written.size), report.asked);
        let dump_type = written.dump_type;
        let _ = write!(text, "  type {:#x} ({})", dump_type.number, dump_type.name);
        match written.layout {
            Some(layout) => {
                let (pages, runs) = (counted(written.pages, "page"), counted(written.runs, "run"));
                let _ = writeln!(text, " by {layout}: {pages} in {runs}");
            }
            None => text.push('\n'),
        }
        reasons(&mut text, "kept", &report.kept);
        reasons(&mut text, "left out", &report.dropped);
        blocks(&mut text, "kept", &report.blocks);
        blocks(&mut text, "left out", &report.blocks_dropped);
        for patch in &report.patches {
            let size = counted(patch.size, "byte");
            let _ = writeln!(text, "  changed: {size} at {}: {}", patch.address, patch.what);
        }
        if !report.secondary_data.is_empty() {
            let bytes = report.secondary_data.iter().map(|blob| blob.size).sum();
            let blocks = counted(report.secondary_data.len() as u64, "block");
            let _ = writeln!(text, "  secondary data: {blocks}, {}", HumanBytes(bytes));
        }
        for left in &report.left_out {
            let _ = writeln!(text, "  left out: {left}");
        }
        text
    }

    fn write(&mut self, sink: &mut dyn Sink) -> Result<(), WriteError> {
        self.0.write(sink)
    }
}

/// Pages by the reason for which they are kept or not.
fn reasons(text: &mut String, verb: &str, counts: &[ReasonCount]) {
    for count in counts {
        let name = serde_json::to_value(count.reason).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        let pages = counted(count.pages, "page");
        let bytes = HumanBytes(count.pages.saturating_mul(PAGE_SIZE)).to_string();
        let _ = writeln!(text, "    {verb:<8} {name:<22} {pages:>16} {bytes:>12}");
    }
}

/// Memory of a small dump by the reason for which it is kept or not.
fn blocks(text: &mut String, verb: &str, counts: &[triage::ReasonCount]) {
    for count in counts {
        let name = serde_json::to_value(count.reason).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        let blocks = counted(count.blocks, "block");
        let bytes = HumanBytes(count.bytes).to_string();
        let _ = writeln!(text, "    {verb:<8} {name:<22} {blocks:>16} {bytes:>12}");
    }
}
