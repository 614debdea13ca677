//! What the figures were measured on, without its name.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Processor, memory, kernel and file system.
pub(super) fn describe(folder: &Path) -> String {
    let value = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        line.unwrap_or_default().trim_matches([' ', '\t', ':']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory: u64 = value("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder).output();
    let system = system.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}, {cores} cores, {} GiB of memory, Linux {}, {}",
        value("/proc/cpuinfo", "model name"),
        memory.div_ceil(1 << 20),
        kernel.trim(),
        system.unwrap_or_default(),
    )
}
