//! The process that tests of capturing capture: started, asked what it is, and watched while it runs on.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::capture::{self, UNIT};
use crate::minidump::Dump;

/// What a test waits for takes no longer than this, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running target. It is killed when this is dropped.
pub struct Target {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it says of itself.
    pub truth: Value,
    /// Where its files are.
    pub folder: TempDir,
}

/// A number that the truth has as text.
///
/// # Panics
/// Where it is none.
#[must_use]
pub fn hex(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .unwrap_or_else(|| panic!("{value} is no address"))
}

/// The bytes of a text of hexadecimal digits.
///
/// # Panics
/// Where it is none.
#[must_use]
pub fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default().as_bytes();
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    text.chunks(2)
        .map(|pair| {
            digit(pair[0])
                .zip(digit(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .expect("digits")
        })
        .collect()
}

impl Target {
    /// Starts the program and waits until it is ready.
    ///
    /// # Panics
    /// Where it does not get there.
    #[must_use]
    pub fn start(program: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(options).arg("--folder").arg(folder.path());
        Self::start_command(command, folder)
    }

    /// Starts it with a library that it loads and deletes, where there is a compiler for C.
    ///
    /// # Panics
    /// Where it does not get ready.
    #[must_use]
    pub fn start_with_library(program: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(options).arg("--folder").arg(folder.path());
        match library(folder.path()) {
            Some(path) => _ = command.arg("--library").arg(path),
            None => crate::places::skip("there is no compiler for C: no deleted library"),
        }
        Self::start_command(command, folder)
    }

    /// Starts a command that becomes the program.
    ///
    /// # Panics
    /// Where it does not get ready.
    #[must_use]
    pub fn start_command(mut command: Command, folder: TempDir) -> Self {
        let mut child = command
            .env("TARGET_VARIABLE", "what the environment says")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the target starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut target = Self {
            child,
            output,
            truth: Value::Null,
            folder,
        };
        target.truth = target.told();
        target
    }

    /// What it tells next.
    ///
    /// # Panics
    /// Where that is nothing.
    pub fn told(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its output");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its id, as an argument.
    #[must_use]
    pub fn pid(&self) -> String {
        self.id().to_string()
    }

    /// Gives it an order.
    ///
    /// # Panics
    /// Where it does not take any.
    pub fn tell(&mut self, word: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{word}").expect("a line");
    }

    /// Kills it, but leaves its remains.
    ///
    /// # Panics
    /// Where that fails.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
    }

    /// Waits for the end that it comes to by itself.
    ///
    /// # Panics
    /// Where it does not.
    pub fn ends(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("its state").is_none() {
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it end, and waits for that.
    ///
    /// # Panics
    /// Where that fails.
    pub fn wait(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("its end");
    }

    /// The threads that it told of.
    ///
    /// # Panics
    /// Where it told of none.
    #[must_use]
    pub fn threads(&self) -> &[Value] {
        self.truth["threads"].as_array().expect("threads")
    }

    /// That the heap in `dump` is what it was filled with. It is read piece by piece, for it may be large.
    ///
    /// # Panics
    /// Where it is not.
    pub fn assert_heap(&self, dump: &Dump) {
        let (start, size) = self.heap();
        assert!(size >= 8 * UNIT as u64);
        let mut expected = vec![0; UNIT];
        for unit in 0..usize::try_from(size).expect("a size") / UNIT {
            expected.fill(0);
            if let Some(mut random) = capture::heap_unit(unit) {
                for word in expected.chunks_exact_mut(8) {
                    word.copy_from_slice(&random.next().to_le_bytes());
                }
            }
            let found = dump.read(start + (unit * UNIT) as u64, UNIT);
            assert!(found == expected, "unit {unit} of the heap has {} bytes", found.len());
        }
    }

    /// Where its heap is, and its size.
    #[must_use]
    pub fn heap(&self) -> (u64, u64) {
        let heap = &self.truth["memory"]["heap"];
        (hex(&heap["start"]), heap["size"].as_u64().unwrap_or(0))
    }

    /// Where nothing was ever touched: address and size.
    #[must_use]
    pub fn untouched(&self) -> Vec<(u64, u64)> {
        let never = &self.truth["memory"]["untouched"];
        let (start, size) = self.heap();
        let units = (0..size / UNIT as u64).filter(|unit| unit % 8 == 7);
        units
            .map(|unit| (start + unit * UNIT as u64, UNIT as u64))
            .chain([(hex(&never["start"]), never["size"].as_u64().unwrap_or(0))])
            .collect()
    }

    /// The counters of its threads, in their order.
    ///
    /// # Panics
    /// Where they cannot be read.
    #[must_use]
    pub fn counters(&self) -> Vec<u64> {
        let bytes = fs::read(self.folder.path().join("counters")).expect("the counters");
        let counters = bytes.chunks_exact(64).map(|line| &line[..8]);
        counters
            .take(self.threads().len())
            .map(|counter| u64::from_le_bytes(counter.try_into().expect("eight bytes")))
            .collect()
    }

    /// What a file of `/proc` says of it, such as `status`.
    ///
    /// # Panics
    /// Where it is gone.
    #[must_use]
    pub fn status(&self, name: &str) -> String {
        status(&PathBuf::from(format!("/proc/{}/status", self.id())), name).expect("a status")
    }

    /// Its resident set in KiB.
    ///
    /// # Panics
    /// Where it is gone.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.status("VmRSS").trim_end_matches(" kB").parse().expect("a number")
    }

    /// What is wrong with one of its threads that should run as if nothing had been: stopped, traced, or gone.
    #[must_use]
    pub fn disturbed(&self) -> Option<String> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.id()));
        for thread in self.threads() {
            let path = tasks.join(thread["tid"].to_string()).join("status");
            let Some((state, tracer)) = status(&path, "State").zip(status(&path, "TracerPid")) else {
                return Some(format!("{} is gone", thread["name"]));
            };
            if state.starts_with(['t', 'T', 'X', 'Z']) || tracer != "0" {
                return Some(format!("{}: state {state}, traced by {tracer}", thread["name"]));
            }
        }
        None
    }

    /// Stops it by a signal, as a shell does, and waits until all of its threads are.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn stop(&self) -> Stop {
        signal(self.id(), rustix::process::Signal::STOP);
        let stop = Stop(self.id());
        self.is_stopped();
        stop
    }

    /// Waits until all of its threads are stopped by a signal. Threads that are let go by a tracer get there by
    /// themselves, a moment later.
    ///
    /// # Panics
    /// Where they do not.
    pub fn is_stopped(&self) {
        let end = Instant::now() + PATIENCE;
        while self.states().iter().any(|state| !state.starts_with('T')) {
            assert!(Instant::now() < end, "{:?}", self.states());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The states of its threads.
    ///
    /// # Panics
    /// Where one is gone.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.id()));
        let threads = self
            .threads()
            .iter()
            .map(|thread| tasks.join(thread["tid"].to_string()).join("status"));
        threads.map(|path| status(&path, "State").expect("a state")).collect()
    }

    /// Waits until it runs on: no thread is stopped or traced, and all that count do so.
    ///
    /// # Errors
    /// What is wrong, where it does not come to that.
    pub fn runs_on(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        // The kernel lets the threads of a killed tracer go when that is gone, which may be a moment later.
        while let Some(trouble) = self.disturbed() {
            if Instant::now() > end {
                return Err(trouble);
            }
            thread::sleep(Duration::from_millis(1));
        }
        let before = self.counters();
        loop {
            let after = self.counters();
            let resting = self
                .threads()
                .iter()
                .zip(before.iter().zip(&after))
                .find(|(thread, (before, after))| {
                    !matches!(thread["kind"].as_str(), Some("main" | "read" | "clock")) && before == after
                });
            let Some((thread, _)) = resting else { return Ok(()) };
            if Instant::now() > end {
                return Err(format!("{} does not run", thread["name"]));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A target that a signal has stopped; it goes on when this is dropped.
pub struct Stop(u32);

impl Drop for Stop {
    fn drop(&mut self) {
        signal(self.0, rustix::process::Signal::CONT);
    }
}

fn signal(id: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(id)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("an id");
    rustix::process::kill_process(pid, signal).expect("a signal");
}

/// A field of a `status` file.
fn status(path: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// Compiles a small library.
fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("library.c"), folder.join("libdeleted.so"));
    let text = "const unsigned long known_value[4] = { 0x5EEDED1, 0x5EEDED2, 0x5EEDED3, 0x5EEDED4 };\n";
    fs::write(&source, text).expect("a file");
    let result = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,--build-id=sha1", "-o"])
        .args([&library, &source])
        .status();
    result.is_ok_and(|status| status.success()).then_some(library)
}
