//! The subcommand `capture`: targets, outputs, messages and exit codes.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dotdump_tests::places::skip;
use dotdump_tests::program::{Run, dotdump, run};
use serde_json::Value;
use tempfile::TempDir;

/// A process to capture, which is ended at the end.
struct Target(Child);

impl Target {
    fn start(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().expect("the target starts"))
    }

    /// One that waits.
    fn waiting() -> Self {
        Self::start("sleep", &["1000"])
    }

    /// One with so much memory of its own, which cannot be left out as untouched.
    fn large(megabytes: u32) -> Self {
        let program = format!(
            "import os, sys, time; a = bytearray(os.urandom(1 << 20) * {megabytes}); \
             sys.stdout.write('x'); sys.stdout.flush(); time.sleep(1000)"
        );
        let mut target = Self::start("python3", &["-c", &program]);
        let mut ready = [0];
        let output = target.0.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut ready).expect("the target is ready");
        target
    }

    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Whether no thread of it is stopped or traced.
    fn runs(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).expect("a process");
        let mut statuses = tasks.map(|task| fs::read_to_string(task.expect("a task").path().join("status")));
        statuses.all(|status| {
            let status = status.expect("a status");
            status.contains("TracerPid:\t0\n") && !status.contains("State:\tT") && !status.contains("State:\tt")
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().expect("text")).collect();
    names.sort();
    names
}

fn capture(target: &[&str], output: &Path, options: &[&str]) -> Run {
    let mut arguments = vec!["capture"];
    arguments.extend(target);
    arguments.push(output.to_str().expect("text"));
    arguments.extend(options);
    run(&arguments)
}

fn inspected(dump: &Path) -> Value {
    let run = run(&["inspect", "--json", dump.to_str().expect("text")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_slice(&run.stdout).expect("JSON")
}

#[test]
fn a_process_is_captured_by_its_id_and_runs_on() {
    let (folder, target) = (folder(), Target::waiting());
    let (output, report) = (folder.path().join("out.dmp"), folder.path().join("report.json"));
    let report_option = ["--report", report.to_str().expect("text"), "-mht", "-c", "of a test"];
    let run = capture(&["--pid", &target.id()], &output, &report_option);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(target.runs());
    assert!(
        run.text().contains("written") && run.text().contains("paused for "),
        "{}",
        run.text()
    );
    let report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    let pause = report["pause_milliseconds"].as_f64().expect("a number");
    assert!(pause > 0.0 && pause < 60_000.0, "{pause}");
    let dump = inspected(&output);
    assert_eq!(dump["os"], "linux");
    assert_eq!(dump["threads"].as_array().expect("threads").len(), 1);
    assert_eq!(dump["threads"][0]["id"].as_u64(), Some(u64::from(target.0.id())));
    assert_eq!(dump["comment"], "of a test");
    assert!(dump["modules"][0]["name"].as_str().expect("a name").ends_with("sleep"));
    let verified = dotdump_tests::program::run(&["verify", output.to_str().expect("text")]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.text(), verified.stderr);
}

#[test]
fn a_process_is_captured_by_its_name() {
    let folder = folder();
    let name = format!("dotdump-target-{}", std::process::id());
    let program = folder.path().join(format!("{name}.bin"));
    fs::copy("/bin/sleep", &program).expect("a copy");
    let first = Target::start(&program, &["1000"]);
    let output = folder.path().join("out.dmp");
    for wanted in [name.clone(), format!("{name}.bin")] {
        let run = capture(&["--name", &wanted], &output, &["-o"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(
            inspected(&output)["threads"][0]["id"].as_u64(),
            Some(u64::from(first.0.id()))
        );
    }
    let second = Target::start(&program, &["1000"]);
    let run = capture(&["--name", &name], &output, &["-o"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for id in [first.id(), second.id()] {
        assert!(run.stderr.contains(&format!("{id} {name}.bin")), "{}", run.stderr);
    }
    let run = capture(&["--name", "dotdump-no-such-program"], &output, &["-o"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no process has this name"), "{}", run.stderr);
    // A pattern is a name like any other, and a number is no name.
    for (wanted, text) in [("dotdump-targe.*", "no patterns"), ("2147483646", "use --pid")] {
        let run = capture(&["--name", wanted], &output, &["-o"]);
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains(text), "{}", run.stderr);
    }
}

#[test]
fn what_holds_the_secrets_of_all_users_is_only_captured_where_that_is_meant() {
    let folder = folder();
    let program = folder.path().join("lsass.exe");
    fs::copy("/bin/sleep", &program).expect("a copy");
    let target = Target::start(&program, &["1000"]);
    let output = folder.path().join("out.dmp");
    let run = capture(&["--pid", &target.id()], &output, &[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("--allow-sensitive-process"), "{}", run.stderr);
    assert!(!output.exists());
    let run = capture(&["--pid", &target.id()], &output, &["--allow-sensitive-process"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn what_cannot_be_captured_is_told() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let told = |target: &str, text: &str| {
        let run = capture(&["--pid", target], &output, &[]);
        assert_eq!(run.code, Some(1), "{target}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{target}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(files_in(folder.path()).is_empty());
    };
    told("2147483646", "no process 2147483646");
    let mut child = Command::new("true").spawn().expect("a child");
    let start = Instant::now();
    let status = format!("/proc/{}/status", child.id());
    while !fs::read_to_string(&status).expect("a status").contains("State:\tZ") {
        assert!(start.elapsed() < Duration::from_secs(30), "it never ends");
        std::thread::sleep(Duration::from_millis(1));
    }
    told(&child.id().to_string(), "zombie");
    child.wait().expect("an end");
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        told("2", "kernel");
    } else {
        skip("no thread of the kernel can be seen");
    }
}

#[test]
fn wrong_command_lines_end_with_2() {
    let (folder, target) = (folder(), Target::waiting());
    let output = folder.path().join("out.dmp");
    let id = target.id();
    for (words, text) in [
        (&[][..], "nothing to capture"),
        (&["--pid", &id, "--name", "sleep"], "contradict each other"),
        (&["-a"], "-a needs -u"),
        (
            &["--pid", &id, "-f"],
            "a complete memory dump can only be made of a whole machine",
        ),
        (
            &["--pid", &id, "-k"],
            "a kernel memory dump can only be made of a whole machine",
        ),
        (
            &["--pid", &id, "-ka"],
            "a dump of active memory can only be made of a whole machine",
        ),
    ] {
        let run = capture(words, &output, &[]);
        assert_eq!(run.code, Some(2), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{words:?}: {}", run.stderr);
    }
    let run = capture(&["--pid", &id], Path::new("-"), &["-u"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("standard output has no name"), "{}", run.stderr);
    assert!(files_in(folder.path()).is_empty());
}

#[test]
fn a_file_is_replaced_only_where_that_was_asked_for() {
    let (folder, target) = (folder(), Target::waiting());
    let output = folder.path().join("out.dmp");
    fs::write(&output, "old").expect("a file");
    let run = capture(&["--pid", &target.id()], &output, &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("-o"), "{}", run.stderr);
    assert_eq!(fs::read(&output).expect("a file"), b"old");
    let run = capture(&["--pid", &target.id()], &folder.path().join("none/out.dmp"), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("there is no folder"), "{}", run.stderr);
    let run = capture(&["--pid", &target.id()], &output, &["/o"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fs::read(&output).expect("a file").starts_with(b"MDMP"));
}

#[test]
fn standard_output_gets_the_dump_and_nothing_else() {
    let (folder, target) = (folder(), Target::waiting());
    let run = capture(&["--pid", &target.id()], Path::new("-"), &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let output = folder.path().join("out.dmp");
    fs::write(&output, &run.stdout).expect("a file");
    assert_eq!(inspected(&output)["file_size"].as_u64(), Some(run.stdout.len() as u64));
}

#[test]
fn a_full_output_is_told_and_the_target_runs_on() {
    let target = Target::waiting();
    let run = capture(&["--pid", &target.id()], Path::new("/dev/full"), &["-mA"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("no space left"), "{}", run.stderr);
    assert!(target.runs());
}

#[test]
fn a_dry_run_writes_nothing_and_lets_the_target_run() {
    let (folder, target) = (folder(), Target::waiting());
    let output = folder.path().join("out.dmp");
    let run = capture(&["--pid", &target.id()], &output, &["-ma", "--dry-run"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.text().contains("would be written") && run.text().contains("paused for"),
        "{}",
        run.text()
    );
    assert!(files_in(folder.path()).is_empty() && target.runs());
}

/// The parts of a name that `-u` made: before, the id of the program, date, time, the id of the target, after.
fn parts_of_unique(name: &str) -> Vec<String> {
    let (stem, extension) = name.rsplit_once('.').expect("an extension");
    let mut parts: Vec<&str> = stem.rsplitn(5, '_').collect();
    parts.reverse();
    parts.push(extension);
    parts.into_iter().map(str::to_owned).collect()
}

#[test]
fn unique_names_tell_writer_time_and_target() {
    let (folder, target) = (folder(), Target::waiting());
    let run = capture(&["--pid", &target.id()], &folder.path().join("my_out.dmp"), &["-u"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let files = files_in(folder.path());
    let parts = parts_of_unique(&files[0]);
    assert_eq!((parts[0].as_str(), parts[5].as_str()), ("my_out", "dmp"), "{files:?}");
    assert_eq!(parts[4], format!("{:04x}", target.0.id()));
    assert!(run.text().contains(&files[0]), "{}", run.text());
    // The same name again, for the dump of the dump: its target is the one of the dump.
    let (source, output) = (folder.path().join(&files[0]), folder.path().join("again"));
    let run = dotdump_tests::program::convert(&source, &output, &["-u"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let files = files_in(folder.path());
    assert!(
        files[0].starts_with("again_") && files[0].ends_with(&format!("_{:04x}", target.0.id())),
        "{files:?}"
    );
    let run = dotdump_tests::program::convert(&source, &output, &["-u", "-a"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn all_processes_are_captured_each_to_its_file() {
    // In a PID namespace of its own there are no processes of others to disturb.
    let folder = folder();
    let script = r#"mount -t proc proc /proc && { sleep 1000 & sleep 1000 & true; } && "$0" capture -a -u "$1" --report "$2"; code=$?; kill %1 %2; exit $code"#;
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount", "--kill-child", "bash", "-c", script])
        .arg(dotdump())
        .args([folder.path().join("all.dmp"), folder.path().join("report.json")])
        .output();
    let Ok(output) = output else { return skip("no unshare") };
    let run = Run::from(output);
    if run.stderr.contains("unshare") {
        return skip("no right to make a PID namespace");
    }
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("3 processes written"), "{}", run.stderr);
    let files = files_in(folder.path());
    let dumps: Vec<&String> = files.iter().filter(|name| name.starts_with("all_")).collect();
    assert_eq!(dumps.len(), 3, "{files:?}");
    let programs = dumps.iter().map(|name| {
        let dump = inspected(&folder.path().join(name));
        let program = PathBuf::from(dump["modules"][0]["name"].as_str().expect("a name"));
        program.file_name().expect("a name").to_string_lossy().into_owned()
    });
    let mut programs: Vec<String> = programs.collect();
    programs.sort();
    assert_eq!(programs, ["bash", "sleep", "sleep"]);
    assert_eq!(
        files.iter().filter(|name| name.starts_with("report_")).count(),
        3,
        "{files:?}"
    );
}

#[test]
fn signals_leave_nothing_behind_and_the_target_runs() {
    use rustix::process::{Pid, Signal, kill_process};
    let (folder, target) = (folder(), Target::large(512));
    for signal in [Signal::INT, Signal::TERM] {
        // A capture may be faster than the signal, but not always.
        let stopped = (0..10).any(|_| {
            let mut child = Command::new("env")
                .arg("--default-signal=INT,TERM")
                .arg(dotdump())
                .args(["capture", "-q", "-mA", "--pid", &target.id()])
                .arg(folder.path().join("out.dmp"))
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program starts");
            let start = Instant::now();
            while files_in(folder.path()).is_empty() && child.try_wait().expect("a child").is_none() {
                assert!(start.elapsed() < Duration::from_secs(60), "no file is written");
                std::thread::sleep(Duration::from_millis(1));
            }
            let id = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
            // It may have ended by now.
            let _ = kill_process(id, signal);
            let run = Run::from(child.wait_with_output().expect("an end"));
            assert!(target.runs(), "{signal:?}");
            if run.code == Some(0) {
                fs::remove_file(folder.path().join("out.dmp")).expect("an output");
                return false;
            }
            assert_eq!(run.code, Some(1), "{signal:?}: {}", run.stderr);
            assert!(run.stderr.contains("cancelled"), "{signal:?}: {}", run.stderr);
            assert!(files_in(folder.path()).is_empty(), "{signal:?}");
            true
        });
        assert!(stopped, "{signal:?} never came before the end");
    }
}

#[test]
fn a_killed_capture_leaves_the_target_running() {
    let (folder, target) = (folder(), Target::large(512));
    let mut child = Command::new(dotdump())
        .args(["capture", "-q", "-mA", "--pid", &target.id()])
        .arg(folder.path().join("out.dmp"))
        .spawn()
        .expect("the program starts");
    let start = Instant::now();
    while files_in(folder.path()).is_empty() && child.try_wait().expect("a child").is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "no file is written");
    }
    child.kill().expect("a signal");
    let ended = child.wait().expect("an end");
    assert!(ended.success() || ended.signal() == Some(9), "{ended:?}");
    assert!(target.runs());
}
