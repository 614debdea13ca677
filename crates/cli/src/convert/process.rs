//! The dump of a process.

use std::fmt::Write as _;

use dotdump_snapshot::DumpFile;
use dotdump_transcode::Conversion;
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::shortfall::Shortfall;
use dotdump_transcode::sink::Sink;
use indicatif::HumanBytes;

use super::PlannedDump;
use crate::counted::counted;

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
        let report = &self.conversion.report;
        let written = &report.written;
        let mut text = String::new();
        let _ = writeln!(text, "{head}: {} ({})", HumanBytes(written.size), report.asked);
        let memory = written.memory;
        let _ = writeln!(
            text,
            "  {}, {}, {} of memory in {}",
            counted(written.threads, "thread"),
            counted(written.modules, "module"),
            HumanBytes(memory.bytes),
            counted(memory.ranges, "range")
        );
        for class in &written.memory_by_class {
            let name = serde_json::to_value(class.class).unwrap_or_default();
            let absent = match class.absent {
                0 => String::new(),
                absent => format!(" ({} not in the source)", HumanBytes(absent)),
            };
            let name = name.as_str().unwrap_or_default();
            let _ = writeln!(
                text,
                "    {name:<22} {:>12}{absent}",
                HumanBytes(class.bytes).to_string()
            );
        }
        let streams: Vec<&str> = written.streams.iter().map(|stream| stream.name.as_str()).collect();
        let _ = writeln!(text, "  streams: {}", streams.join(", "));
        if !report.left_out.is_empty() {
            let left: Vec<&str> = report.left_out.iter().map(|left| left.name.as_str()).collect();
            let _ = writeln!(text, "  left out: {}", left.join(", "));
        }
        if let Some(words) = report.erased.words {
            let _ = writeln!(text, "  erased: {} of memory", counted(words, "word"));
        }
        if report.erased.module_paths > 0 {
            let names = counted(report.erased.module_paths, "module name");
            let _ = writeln!(text, "  shortened: {names}");
        }
        text
    }

    fn write(&mut self, sink: &mut dyn Sink) -> Result<(), WriteError> {
        self.conversion.write(self.source, sink).map(drop)
    }
}
