//! Captures of processes that crash: by the kernel's `core_pattern`, and by a handler of signals that asks for one.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dotdump_tests::capture::CRASH_ADDRESS;
use dotdump_tests::minidump::Dump;
use dotdump_tests::places;
use dotdump_tests::program::{capture_well, dotdump};
use dotdump_tests::stackwalk;
use dotdump_tests::target::{Target, hex};

const TARGET: &str = env!("CARGO_BIN_EXE_capture-target");
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
const SIGSEGV: u32 = 11;
/// `SEGV_MAPERR`.
const NOT_MAPPED: u32 = 1;

/// The kernel's setting, put back when this is dropped.
struct CorePattern(String);

impl CorePattern {
    fn set(line: &str) -> Option<Self> {
        let before = fs::read_to_string(CORE_PATTERN).expect("a setting");
        // The kernel keeps 127 bytes, and cuts off the rest without a word.
        assert!(line.len() < 128, "{line}");
        if let Err(error) = fs::write(CORE_PATTERN, line) {
            places::skip(&format!("{CORE_PATTERN}: {error}"));
            return None;
        }
        Some(Self(before))
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = fs::write(CORE_PATTERN, &self.0);
    }
}

/// What every dump of the crash must say.
fn assert_crash(target: &Target, path: &Path, thread: u64) {
    let dump = Dump::open(path);
    let exception = dump.exception().expect("an exception");
    assert_eq!(u64::from(exception.thread_id), thread);
    let thread_id = exception.thread_id;
    assert_eq!((exception.code, exception.flags), (SIGSEGV, NOT_MAPPED));
    assert_eq!(exception.address, CRASH_ADDRESS as u64);
    let mut ids: Vec<u64> = dump.threads().iter().map(|thread| u64::from(thread.id)).collect();
    ids.sort_unstable();
    let expected: Vec<u64> = target
        .threads()
        .iter()
        .filter_map(|thread| thread["tid"].as_u64())
        .collect();
    assert_eq!(ids, expected);
    // Its registers are those of the instruction that crashed, which is in the program.
    let module = &target.truth["modules"][0];
    let program = hex(&module["start"])..hex(&module["end"]);
    assert!(
        program.contains(&exception.context.rip()),
        "{:#x}",
        exception.context.rip()
    );
    let truth = target
        .threads()
        .iter()
        .find(|known| known["tid"] == thread_id)
        .expect("a thread");
    assert!(exception.context.rsp() < hex(&truth["words"]));
    assert_eq!(dump.words(hex(&truth["object_pointer"]), 1), [hex(&truth["object"])]);
    if let Some(report) = stackwalk::walk(path) {
        let report = report.expect("a report");
        assert_eq!(
            report["crash_info"]["type"], "SIGSEGV / SEGV_MAPERR",
            "{}",
            report["crash_info"]
        );
        assert_eq!(hex(&report["crash_info"]["address"]), CRASH_ADDRESS as u64);
        assert_eq!(report["crashing_thread"]["thread_id"], thread_id);
    }
}

#[test]
fn the_kernel_starts_a_capture_of_a_process_that_crashes() {
    let folder = tempfile::Builder::new()
        .prefix("dd")
        .tempdir_in("/tmp")
        .expect("a folder");
    // The line must be short.
    let program = folder.path().join("d");
    symlink(dotdump(), &program).expect("a link");
    let output = folder.path().join("c.dmp");
    let line = |letters: &str| {
        let (program, output) = (program.display(), output.display());
        format!("|{program} capture --core-pattern %P %i %s %u %E -o {letters} {output}")
    };
    for letters in ["-m", "-ma"] {
        let mut target = Target::start(TARGET, &["--threads", "10", "--spinning", "1"]);
        let crashing = target
            .threads()
            .iter()
            .find(|thread| thread["kind"] == "crash")
            .expect("a thread");
        let crashing = crashing["tid"].as_u64().expect("an id");
        let Some(_setting) = CorePattern::set(&line(letters)) else {
            return;
        };
        target.tell("crash");
        target.ends();
        // The kernel does not wait for the capture unless it is told to.
        let end = Instant::now() + Duration::from_secs(30);
        while !output.is_file() {
            assert!(Instant::now() < end, "no dump");
            thread::sleep(Duration::from_millis(5));
        }
        assert_crash(&target, &output, crashing);
        fs::remove_file(&output).expect("a file");
    }
}

#[test]
fn a_handler_of_signals_tells_where_the_crash_is_described() {
    let mut target = Target::start(TARGET, &["--threads", "10", "--spinning", "1"]);
    target.tell("handle");
    target.tell("crash");
    let told = target.told();
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    let text = |name: &str| told[name].as_str().expect("a text").to_owned();
    let thread = told["tid"].as_u64().expect("an id");
    let [information, context] = [text("siginfo"), text("ucontext")];
    for letters in ["-m", "-ma"] {
        let options = [
            letters,
            "-xc",
            &context,
            "-xt",
            &thread.to_string(),
            "--signal-info",
            &information,
            "-o",
            "-q",
        ];
        capture_well(target.id(), &output, &options);
        assert_crash(&target, &output, thread);
    }
}
