//! The program under test.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use wait4::Wait4 as _;

use crate::places::workspace;

/// The program, built once as users get it. `DOTDUMP_PROGRAM` names another one to test.
///
/// # Panics
/// Where it cannot be built.
pub fn dotdump() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("DOTDUMP_PROGRAM") {
        Some(program) => program.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "-q", "-p", "dotdump", "--message-format=json"])
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "dotdump does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(message.get("executable")?.as_str()?.to_owned()));
    PathBuf::from(program.expect("cargo names the program"))
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs the program with these arguments.
///
/// # Panics
/// Where it cannot be started.
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    let output = Command::new(dotdump()).args(arguments).stdin(Stdio::null()).output();
    output.expect("the program starts").into()
}

/// Converts `source` into `output` with these options.
#[must_use]
pub fn convert(source: &Path, output: &Path, options: &[&str]) -> Run {
    let mut arguments: Vec<&OsStr> = vec!["convert".as_ref(), source.as_ref(), output.as_ref()];
    arguments.extend(options.iter().map(OsStr::new));
    run(&arguments)
}

/// Converts, and expects that to work.
///
/// # Panics
/// Where it does not.
pub fn convert_well(source: &Path, output: &Path, options: &[&str]) -> Run {
    let run = convert(source, output, options);
    assert_eq!(run.code, Some(0), "{} {options:?}: {}", source.display(), run.stderr);
    run
}

/// Captures the process `pid` into `output` with these options.
#[must_use]
pub fn capture(pid: u32, output: &Path, options: &[&str]) -> Run {
    let pid = pid.to_string();
    let mut arguments: Vec<&OsStr> = vec!["capture".as_ref(), "--pid".as_ref(), pid.as_ref(), output.as_ref()];
    arguments.extend(options.iter().map(OsStr::new));
    run(&arguments)
}

/// Captures, and expects that to work.
///
/// # Panics
/// Where it does not.
pub fn capture_well(pid: u32, output: &Path, options: &[&str]) -> Run {
    let run = capture(pid, output, options);
    assert_eq!(run.code, Some(0), "{pid} {options:?}: {}", run.stderr);
    run
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The time of processors that it used, in the program and in the system on its behalf. Waiting for a busy machine
    /// or a slow disk is not in it.
    pub time: Duration,
    /// The largest resident set in bytes, mapped files included.
    pub memory: u64,
}

/// Runs the program without reading what it prints, and measures it. After `limit` it is killed.
///
/// # Errors
/// Where it cannot be started or waited for.
pub fn measure<S: AsRef<OsStr>>(arguments: &[S], limit: Duration) -> io::Result<Cost> {
    // The limit is kept by another program, so that a hanging run costs no thread here.
    let mut child = Command::new("timeout")
        .args(["-s", "KILL", &format!("{}", limit.as_secs_f64())])
        .arg(dotdump())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let result = child.wait4()?;
    Ok(Cost {
        code: result.status.code(),
        time: result.rusage.utime + result.rusage.stime,
        memory: result.rusage.maxrss,
    })
}
