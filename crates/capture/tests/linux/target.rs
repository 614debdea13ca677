//! The programs that are captured: this test's own, started again to play a role.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{memory, registers, survival};

/// Says which role to play.
const ROLE: &str = "DOTDUMP_CAPTURE_ROLE";

/// What a role says when it is ready starts with this, and has values by name behind it.
const READY: &str = "ready";

/// A program that plays a role, until this is dropped.
pub(crate) struct Target {
    child: Child,
    values: HashMap<String, u64>,
}

impl Target {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
        command.args(["--exact", "target::play", "--nocapture"]).env(ROLE, role);
        Self::spawn(&mut command)
    }

    /// Starts a program that says when it is ready.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starting the target");
        let mut values = HashMap::new();
        for line in BufReader::new(child.stdout.as_mut().expect("its output")).lines() {
            let line = line.expect("a line");
            // The test harness writes the name of the test on the same line.
            let Some((_, said)) = line.split_once(READY) else {
                continue;
            };
            for value in said.split_whitespace() {
                let (name, number) = value.split_once('=').expect("name=value");
                values.insert(name.to_owned(), number.parse().expect("a number"));
            }
            break;
        }
        Self { child, values }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A value that it said.
    pub(crate) fn value(&self, name: &str) -> u64 {
        self.values[name]
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killing the target");
    }

    /// Whether it still runs; reaps it where it does not.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("asking for the target").is_none()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the test that a role is ready.
pub(crate) fn ready(values: &[(&str, u64)]) {
    let values: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    println!("{READY} {}", values.join(" "));
}

/// Waits for the end.
pub(crate) fn wait_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Plays the role that the environment names; passes at once where it names none.
#[test]
fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.as_str() {
        "sleep" => {
            ready(&[]);
            wait_for_ever();
        }
        "registers" => registers::play(),
        "memory" => memory::play(),
        "threads" => survival::play_threads(),
        "capturer" => survival::play_capturer(),
        "signals" => survival::play_signals(),
        "faults" => memory::play_faults(),
        _ => panic!("unknown role {role}"),
    }
}

/// The state and the tracer of each thread of a process.
pub(crate) fn threads(id: u32) -> Vec<(u32, char, u32)> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{id}/task")).expect("the threads") {
        let path = entry.expect("a thread").path();
        // It may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(path.join("status")) else {
            continue;
        };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let number = |name| field(name).and_then(|text| text.parse().ok()).expect("a number");
        let state = field("State:").and_then(|text| text.chars().next()).expect("a state");
        threads.push((number("Pid:"), state, number("TracerPid:")));
    }
    threads
}

/// Waits until no thread is traced or stopped: the kernel lets go when the tracer's thread has ended, which is a moment
/// after the tracer said so.
pub(crate) fn expect_running(id: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let threads = threads(id);
        let held: Vec<_> = threads
            .iter()
            .filter(|(_, state, tracer)| matches!(state, 't' | 'T') || *tracer != 0)
            .collect();
        if held.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "threads are still held: {held:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
