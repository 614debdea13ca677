//! The independent readers: one script each, with a common meaning of exit codes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::places;

/// The readers of minidumps that answer within a second.
pub const TOOLS: [&str; 9] = [
    "file",
    "minidump-crate",
    "stackwalk-rust",
    "breakpad",
    "lldb",
    "llvm-yaml",
    "skelsec",
    "udmp-parser",
    "udmp-cpp",
];

/// The readers of 64-bit kernel dumps.
pub const KERNEL_TOOLS: [&str; 5] = ["file", "kdmp-parser", "kdmp-cpp", "leechcore", "volatility"];

/// What a reader makes of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It read it.
    Ok,
    /// It read it and complains about parts.
    Partly,
    /// It refused it.
    Refused,
    /// It crashed, or did not come to an end.
    Crashed,
    /// It does not handle this kind of dump.
    Skip,
}

/// The answer of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The script's name without `check-`.
    pub tool: &'static str,
    /// What it makes of the dump.
    pub verdict: Verdict,
    /// The first line that it printed.
    pub line: String,
    /// The bytes or pages of memory that it read and their checksum, for a reader that reads all memory.
    pub memory: Option<(u64, String)>,
}

impl Answer {
    /// A number out of its line, as in `threads=3`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// A value out of its line.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.line
            .split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Asks one reader; `None` where the scripts are not there.
///
/// # Panics
/// Where its script cannot be started, or the reader is missing and may not be.
#[must_use]
pub fn ask(tool: &'static str, dump: &Path) -> Option<Answer> {
    let script = places::validators()?.join(format!("check-{tool}"));
    let output = Command::new(&script)
        .arg(dump)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or_default().to_owned();
    let verdict = match output.status.code() {
        Some(0) => Verdict::Ok,
        Some(3) => Verdict::Partly,
        Some(77) => Verdict::Skip,
        Some(1) => Verdict::Refused,
        _ => Verdict::Crashed,
    };
    if verdict == Verdict::Skip && line.contains("is not installed") {
        places::skip(&format!("check-{tool}: {line}"));
    }
    let mut answer = Answer {
        tool,
        verdict,
        line,
        memory: None,
    };
    let amount = answer.number("bytes").or_else(|| answer.number("pages"));
    let amount = amount.filter(|amount| *amount > 0);
    answer.memory = amount.zip(answer.field("crc").map(str::to_owned));
    Some(answer)
}

/// Asks all of them.
#[must_use]
pub fn ask_all(dump: &Path) -> Option<Vec<Answer>> {
    TOOLS.iter().map(|tool| ask(tool, dump)).collect()
}

/// Whether a reader skips a dump because of a list that is left out unless it was asked for: udmp-parser wants
/// `MemoryInfoList`, and `Memory64List` beside it.
fn misses_a_list(answer: &Answer) -> bool {
    let reasons: &[&str] = match answer.tool {
        "udmp-parser" => &["directory 16 is required", "directory 9 is required"],
        "udmp-cpp" => &["wants MemoryInfoList beside Memory64List"],
        _ => &[],
    };
    reasons.iter().any(|reason| answer.line.contains(reason))
}

/// What is wrong with an output, given what the readers say of its source: who read the source must read the output,
/// and those that checksum all memory must agree.
#[must_use]
pub fn objections(source: &[Answer], output: &[Answer]) -> Vec<String> {
    let mut objections = Vec::new();
    for (before, after) in source.iter().zip(output) {
        let worse = match (before.verdict, after.verdict) {
            (Verdict::Ok | Verdict::Partly, Verdict::Skip) => !misses_a_list(after),
            (Verdict::Ok, _) => after.verdict != Verdict::Ok,
            (Verdict::Partly, _) => matches!(after.verdict, Verdict::Refused | Verdict::Crashed),
            (Verdict::Skip | Verdict::Refused | Verdict::Crashed, _) => false,
        };
        if worse {
            objections.push(format!(
                "{}: {:?} on the source, {:?} on the output: {}",
                after.tool, before.verdict, after.verdict, after.line
            ));
        }
    }
    let sums: Vec<_> = output
        .iter()
        .filter_map(|answer| Some((answer.tool, answer.memory.as_ref()?)))
        .collect();
    if sums.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        objections.push(format!("checksums of the memory differ: {sums:?}"));
    }
    objections
}
