//! Running a program and measuring what it takes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// What one run took.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// From start to exit.
    pub(super) wall: Duration,
    /// The largest resident set, mapped pages included, in bytes.
    pub(super) peak: u64,
    /// Bytes that it asked the system to read, those that were in memory included.
    pub(super) read: u64,
    /// What it printed.
    pub(super) output: String,
}

/// Runs a program. It is stopped when it exits, while what the system counts of it is still there: what `wait` tells
/// of a child's memory would include that of the process that started it.
pub(super) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<Run> {
    // The shell waits for a line, so that the program is seen from its beginning, and then becomes the program.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read line; exec \"$@\"", "sh", program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a shell")?;
    let pid = Pid::from_raw(child.id().cast_signed());
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL).context("cannot watch a program")?;
    let start = Instant::now();
    child.stdin.take().context("a pipe")?.write_all(b"\n")?;
    let result = to_exit(pid, start, &mut child);
    if result.is_err() {
        // It may be stopped; whatever its state, it must not stay.
        let _ = child.kill();
        let _ = waitpid(pid, None);
    }
    result.with_context(|| format!("{program} {}", arguments.join(" ")))
}

fn to_exit(pid: Pid, start: Instant, child: &mut Child) -> anyhow::Result<Run> {
    let mut run = Run::default();
    loop {
        match waitpid(pid, None)? {
            WaitStatus::PtraceEvent(..) => {
                run.wall = start.elapsed();
                run.peak = field(pid, "status", "VmHWM:")? * 1024;
                run.read = field(pid, "io", "rchar:")?;
                ptrace::cont(pid, None)?;
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal)?,
            WaitStatus::Exited(_, 0) => break,
            other => bail!("it ended badly: {other:?}"),
        }
    }
    // What the programs print is short: it was in the pipe all the time.
    child.stdout.take().context("a pipe")?.read_to_string(&mut run.output)?;
    Ok(run)
}

/// A number from a file that the system has on a process.
fn field(pid: Pid, file: &str, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.context(path)?.parse().context("a number")
}

/// The middle run of several by time, with the largest peak of all.
pub(super) fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by_key(|run| run.wall);
    let peak = runs.iter().map(|run| run.peak).max().unwrap_or(0);
    let mut middle = runs.swap_remove(runs.len() / 2);
    middle.peak = peak;
    middle
}

impl Run {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "seconds": self.wall.as_secs_f64(),
            "peak_bytes": self.peak,
            "read_bytes": self.read,
        })
    }
}
