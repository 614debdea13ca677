//! What is told of the dump of a process.

use std::fmt::Write as _;

use dotdump_transcode::report::Report;
use indicatif::HumanBytes;

use crate::counted::counted;

/// What was kept, for a person: `head` is what stands in front of the first line.
pub(crate) fn summary_of_process(report: &Report, head: &str) -> String {
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
