//! Whatever happens to a capture, its target runs on as before, and who asked is told what was wrong.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dotdump_tests::damage::Random;
use dotdump_tests::minidump::Dump;
use dotdump_tests::places;
use dotdump_tests::program::{Run, capture, capture_well, dotdump};
use dotdump_tests::target::Target;

const TARGET: &str = env!("CARGO_BIN_EXE_capture-target");

/// How a run that must come to an end did so; `None` where it did not.
fn end(child: &mut Child) -> Option<Option<i32>> {
    let limit = Instant::now() + Duration::from_secs(60);
    while Instant::now() < limit {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status.code());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn start(target: &Target, output: &Path, options: &str) -> Child {
    let mut command = Command::new(dotdump());
    command
        .args(["capture", "--pid", &target.pid(), options, "-o", "-q"])
        .arg(output);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

/// The names of a folder's files.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect()
}

/// As long as a capture takes: the middle of several.
fn duration(target: &Target, output: &Path, options: &str) -> Duration {
    let mut durations = [(); 9].map(|()| {
        let before = Instant::now();
        capture_well(target.id(), output, &[options, "-o", "-q"]);
        before.elapsed()
    });
    durations.sort();
    durations[4]
}

#[test]
fn a_killed_capturer_leaves_the_target_running() {
    let target = Target::start(TARGET, &["--threads", "50", "--spinning", "1", "--heap", "33554432"]);
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    let mut random = Random(1);
    for options in ["-m", "-ma"] {
        let longest = duration(&target, &output, options) * 9 / 8;
        let mut ended = 0;
        for round in 0..500 {
            fs::remove_file(&output).unwrap_or_default();
            let mut child = start(&target, &output, options);
            let microseconds = usize::try_from(longest.as_micros()).expect("short");
            thread::sleep(Duration::from_micros(random.below(microseconds) as u64));
            child.kill().expect("a signal");
            let status = child.wait().expect("its end");
            ended += usize::from(status.success());
            assert_eq!(target.runs_on(), Ok(()), "{options}, round {round}");
            for name in files(folder.path()) {
                // Nobody is left to remove a file that has no name of its own yet.
                let is_temporary = name.starts_with(".dotdump-") && name.ends_with(".tmp");
                assert!(name == "out.dmp" || is_temporary, "{name}");
                if is_temporary {
                    fs::remove_file(folder.path().join(name)).expect("a file");
                } else {
                    let bytes = fs::metadata(&output).expect("a file").len();
                    assert!(status.success() || bytes > 0, "a file that is not whole");
                    let _ = Dump::open(&output);
                }
            }
        }
        // Some were over before the signal, and some were not.
        assert!((1..500).contains(&ended), "{options}: {ended} of 500 came to their end");
    }
}

#[test]
fn a_target_that_ends_meanwhile_is_told_of_and_nothing_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    let options = ["--threads", "30", "--spinning", "1", "--heap", "16777216"];
    let longest = duration(&Target::start(TARGET, &options), &output, "-ma") * 5 / 4;
    let mut random = Random(2);
    let mut failed = 0;
    for round in 0..200 {
        fs::remove_file(&output).unwrap_or_default();
        let mut target = Target::start(TARGET, &options);
        let letters = ["-ma", "-m", "-mA", "-mw"][round % 4];
        let mut command = Command::new(dotdump());
        command
            .args(["capture", "--pid", &target.pid(), letters, "-q"])
            .arg(&output);
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a capture");
        let microseconds = usize::try_from(longest.as_micros()).expect("short");
        thread::sleep(Duration::from_micros(random.below(microseconds) as u64));
        if round % 2 == 0 {
            target.kill();
        }
        target.wait();
        let code = end(&mut child).unwrap_or_else(|| panic!("round {round} hangs"));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("a pipe"), &mut text).expect("a text");
        match code {
            Some(0) => assert_eq!(files(folder.path()), ["out.dmp"], "round {round}"),
            Some(1) => {
                failed += 1;
                assert_eq!(files(folder.path()), [""; 0], "round {round}: {text}");
                let pid = target.pid();
                assert!(text.contains(&pid), "round {round}: {text}");
                let reasons = ["ended", "no process", "zombie"];
                assert!(
                    reasons.iter().any(|reason| text.contains(reason)),
                    "round {round}: {text}"
                );
            }
            _ => panic!("round {round}: {code:?} {text}"),
        }
    }
    assert!((1..200).contains(&failed), "{failed} of 200 failed");
}

#[test]
fn a_full_disk_is_told_of_and_the_target_runs_on() {
    let target = Target::start(TARGET, &["--threads", "20", "--heap", "33554432"]);
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    // No file may be larger than 8 MiB, and the signal that tells of it is ignored: a write fails.
    let output_text = output.to_str().expect("a path");
    let script = "ulimit -f 16384; trap '' XFSZ; exec \"$@\"";
    let run = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(dotdump())
        .args(["capture", "--pid", &target.pid(), output_text, "-ma"])
        .output()
        .expect("a capture");
    let run = Run::from(run);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("too large"), "{}", run.stderr);
    assert_eq!(files(folder.path()), [""; 0]);
    assert_eq!(target.runs_on(), Ok(()));

    // A device that is always full.
    let run = Command::new(dotdump())
        .args(["capture", "--pid", &target.pid(), "-", "-ma"])
        .stdout(fs::File::options().write(true).open("/dev/full").expect("a device"))
        .output()
        .expect("a capture");
    let run = Run::from(run);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.to_lowercase().contains("no space left"), "{}", run.stderr);
    assert_eq!(target.runs_on(), Ok(()));
}

/// A small file system, where one may be mounted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder.path());
        let result = mount.stderr(Stdio::null()).status();
        if result.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        places::skip("a file system cannot be mounted");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_file_system_is_left_as_it_was() {
    let Some(disk) = SmallDisk::mount() else { return };
    let target = Target::start(TARGET, &["--threads", "20", "--heap", "33554432"]);
    let output = disk.0.path().join("out.dmp");
    let run = capture(target.id(), &output, &["-ma"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.to_lowercase().contains("no space left"), "{}", run.stderr);
    assert_eq!(files(disk.0.path()), [""; 0]);
    assert_eq!(target.runs_on(), Ok(()));
    // A small one fits.
    capture_well(target.id(), &output, &["-m"]);
    assert_eq!(target.runs_on(), Ok(()));
}

/// Another process, killed when this is dropped.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_another_one_traces_is_left_to_it() {
    let target = Target::start(TARGET, &["--threads", "5"]);
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-batch", "-p", &target.pid(), "-ex", "shell sleep 60"])
        .stderr(Stdio::null());
    let gdb = match gdb.stdin(Stdio::null()).stdout(Stdio::null()).spawn() {
        Ok(child) => Other(child),
        Err(error) => return places::skip(&format!("gdb: {error}")),
    };
    let tracer = gdb.0.id().to_string();
    let end = Instant::now() + Duration::from_secs(60);
    while target.status("TracerPid") != tracer {
        assert!(Instant::now() < end, "gdb does not trace");
        thread::sleep(Duration::from_millis(5));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let run = capture(target.id(), &folder.path().join("out.dmp"), &["-ma"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains(&tracer) && run.stderr.contains("gdb"),
        "{}",
        run.stderr
    );
    assert_eq!(target.status("TracerPid"), tracer);
    assert_eq!(files(folder.path()), [""; 0]);
    drop(gdb);
    // gdb attaches by SIGSTOP; where it is killed too early, that stops the process, and somebody has to let it go on.
    drop(target.stop());
    assert_eq!(target.runs_on(), Ok(()));
}

#[test]
fn a_stopped_process_is_captured_and_stays_stopped() {
    let target = Target::start(TARGET, &["--threads", "10", "--spinning", "1"]);
    let stop = target.stop();
    let before = target.counters();
    let folder = tempfile::tempdir().expect("a folder");
    for options in ["-m", "-ma"] {
        let output = folder.path().join("out.dmp");
        capture_well(target.id(), &output, &[options, "-o"]);
        assert_eq!(Dump::open(&output).threads().len(), 10);
        target.is_stopped();
        assert_eq!(target.counters(), before, "{options}");
    }
    drop(stop);
    assert_eq!(target.runs_on(), Ok(()));
}

#[test]
fn what_has_no_memory_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    let refused = |pid: u32, word: &str| {
        let run = capture(pid, &output, &["-m"]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(
            run.stderr.contains(&pid.to_string()) && run.stderr.contains(word),
            "{word}: {}",
            run.stderr
        );
        assert_eq!(files(folder.path()), [""; 0]);
    };
    // The largest id that Linux can give is below this.
    refused(1 << 22, "no process");

    let mut child = Command::new("true").spawn().expect("a process");
    while !fs::read_to_string(format!("/proc/{}/stat", child.id()))
        .expect("statistics")
        .contains(") Z ")
    {
        thread::sleep(Duration::from_millis(1));
    }
    refused(child.id(), "zombie");
    child.wait().expect("its end");
    refused(child.id(), "no process");

    // The thread that starts the kernel's others, where this is not in a container.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        refused(2, "kernel");
    }
}

#[test]
fn a_process_whose_main_thread_has_ended_can_be_captured() {
    let mut target = Target::start(TARGET, &["--threads", "6", "--spinning", "1"]);
    target.tell("leave");
    while !target.status("State").starts_with('Z') {
        thread::sleep(Duration::from_millis(1));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    for options in ["-m", "-ma"] {
        capture_well(target.id(), &output, &[options, "-o"]);
        let mut found: Vec<u32> = Dump::open(&output).threads().iter().map(|thread| thread.id).collect();
        found.sort_unstable();
        let others = target.threads()[1..].iter();
        let others: Vec<u32> = others
            .filter_map(|thread| u32::try_from(thread["tid"].as_u64()?).ok())
            .collect();
        assert_eq!(found, others, "{options}");
    }
}

#[test]
fn a_process_of_another_user_is_refused_with_what_helps() {
    if !rustix::process::geteuid().is_root() {
        return places::skip("only root can be somebody else");
    }
    let target = Target::start(TARGET, &["--threads", "3"]);
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("permissions");
    // Nobody may look into the folder where the program was built.
    let program = folder.path().join("dotdump");
    fs::copy(dotdump(), &program).expect("a program");
    let run = Command::new(&program)
        .args([OsStr::new("capture"), "--pid".as_ref(), target.pid().as_ref()])
        .arg(folder.path().join("out.dmp"))
        .uid(65_534)
        .gid(65_534)
        .output()
        .expect("a capture");
    let run = Run::from(run);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let text = run.stderr.to_lowercase();
    assert!(text.contains("not allowed") && text.contains(&target.pid()), "{text}");
    assert!(
        text.contains("root") && text.contains("setcap cap_sys_ptrace,cap_dac_read_search=ep"),
        "{text}"
    );
    assert_eq!(files(folder.path()), ["dotdump"]);
    assert_eq!(target.runs_on(), Ok(()));

    // What it tells helps.
    let given = Command::new("setcap")
        .arg("cap_sys_ptrace,cap_dac_read_search=ep")
        .arg(&program)
        .output();
    if !given.is_ok_and(|given| given.status.success()) {
        return places::skip("setcap is not there, or not allowed");
    }
    let output = folder.path().join("out.dmp");
    let run = Command::new(&program)
        .args([OsStr::new("capture"), "--pid".as_ref(), target.pid().as_ref()])
        .arg(&output)
        .uid(65_534)
        .gid(65_534)
        .output()
        .expect("a capture");
    let run = Run::from(run);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(Dump::open(&output).threads().len(), target.threads().len());
    assert_eq!(target.runs_on(), Ok(()));
}

#[test]
fn threads_that_come_and_go_meanwhile_hold_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.dmp");
    let script = "import threading\nwhile True:\n t = [threading.Thread(target=lambda: None) for _ in range(20)]\n \
                  [x.start() for x in t]\n [x.join() for x in t]\n";
    let mut python = Command::new("python3");
    let process = match python.args(["-c", script]).stdin(Stdio::null()).spawn() {
        Ok(child) => Other(child),
        Err(error) => return places::skip(&format!("python3: {error}")),
    };
    thread::sleep(Duration::from_millis(200));
    for round in 0..50 {
        capture_well(process.0.id(), &output, &["-m", "-o", "-q"]);
        let dump = Dump::open(&output);
        assert_eq!(dump.threads()[0].id, process.0.id(), "round {round}");
        assert!(
            dump.contexts().iter().all(|(_, context)| context.rsp() != 0),
            "round {round}"
        );
    }
    // A line of `stat`: the state is behind the name. It was not left stopped.
    for _ in 0..100 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.0.id())).expect("statistics");
        assert!(!stat.contains(") t ") && !stat.contains(") T "), "{stat}");
        thread::sleep(Duration::from_millis(1));
    }
}
