//! The contract of the command line: exit codes, and what becomes of files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dotdump_tests::places::{fixture, skip};
use dotdump_tests::program::{Run, convert, convert_well, dotdump, run};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn source() -> PathBuf {
    fixture("crash-full.dmp")
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_demonstration_shrinks_the_fixture_and_leaves_it_alone() {
    let folder = folder();
    let before = crc32fast::hash(&fs::read(source()).expect("the fixture"));
    let output = folder.path().join("small.dmp");
    let done = convert_well(&source(), &output, &["-m"]);
    assert!(done.text().contains("5 threads, 1 module"), "{}", done.text());
    assert!(fs::metadata(&output).expect("an output").len() < 200_000);
    assert_eq!(crc32fast::hash(&fs::read(source()).expect("the fixture")), before);
    assert_eq!(files_in(folder.path()), ["small.dmp"]);
}

#[test]
fn a_file_is_replaced_only_where_that_was_asked_for() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    fs::write(&output, "precious").expect("a file");
    let refused = convert(&source(), &output, &["-m"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert_eq!(fs::read(&output).expect("the file"), b"precious");
    convert_well(&source(), &output, &["-m", "-o"]);
    assert!(fs::read(&output).expect("the file").starts_with(b"MDMP"));
    assert_eq!(files_in(folder.path()), ["out.dmp"]);
}

#[test]
fn the_source_is_never_the_output() {
    let folder = folder();
    let copy = folder.path().join("copy.dmp");
    fs::copy(source(), &copy).expect("a copy");
    let refused = convert(&copy, &copy, &["-m", "-o"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(fs::read(&copy).expect("the copy") == fs::read(source()).expect("the fixture"));
}

#[test]
fn standard_output_gets_the_same_bytes_as_a_file() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    convert_well(&source(), &output, &["-mi"]);
    let printed = convert_well(&source(), Path::new("-"), &["/mi"]);
    assert!(
        printed.stdout == fs::read(&output).expect("the output"),
        "-mi and /mi, file and stream"
    );
}

#[test]
fn wrong_command_lines_end_with_2() {
    for line in [
        vec!["convert", "-", "out.dmp"],
        vec!["convert", "a", "b", "-mq"],
        vec!["convert", "a"],
        vec!["convert", "a", "b", "-f", "-k"],
        vec!["convert", "a", "b", "-xp", "1000", "-xc", "2000"],
        vec!["convert", "a", "b", "-j", "0x1000", "-xt", "1"],
        vec!["convert", "a", "b", "-xr", "rsp"],
        vec!["convert", "a", "b", "-xt", "12ab"],
        vec!["nothing"],
        vec![],
    ] {
        let run = run(&line);
        assert_eq!(run.code, Some(2), "{line:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{line:?}");
    }
}

#[test]
fn an_exception_is_stored_where_it_can_be_had() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    // The fixture is a Linux process: it has no records of Windows, which is a mistake of who asks.
    for (options, told) in [
        (["-j", "1000"], "-j is refused: a JIT_DEBUG_INFO is made by Windows"),
        (
            ["/xp", "0x1000"],
            "-xp is refused: a Linux process has no EXCEPTION_POINTERS",
        ),
    ] {
        let run = convert(&source(), &output, &options);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(told) && !output.exists(), "{}", run.stderr);
    }
    // An address without memory, and a thread that is none, are the source's.
    for (options, told) in [
        (["--signal-info", "0000dead`00000000"], "lacks memory at 0xdead00000000"),
        (["-xc", "0xdead00000000"], "lacks memory at 0xdead00000000"),
        (["-xt", "1"], "-xt: the source has no thread 1"),
    ] {
        let run = convert(&source(), &output, &options);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(told) && !output.exists(), "{}", run.stderr);
    }
    convert_well(&source(), &output, &["-xt", "10795"]);
    let inspected = run(&["inspect", "--json", output.to_str().expect("text")]);
    let json: serde_json::Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    // 0xFFFFFFFF is Breakpad's number for a dump that was asked for.
    assert_eq!(json["exception"]["thread_id"], 10795);
    assert_eq!(json["exception"]["code"], "0xffffffff");
}

#[test]
fn sources_that_are_none_end_with_1() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let text = folder.path().join("text.dmp");
    fs::write(&text, "no dump at all, but long enough to hold a header of one").expect("a file");
    for source in [text.as_path(), Path::new("/nonexistent.dmp"), folder.path()] {
        let run = convert(source, &output, &["-m"]);
        assert_eq!(run.code, Some(1), "{}: {}", source.display(), run.stderr);
        assert!(!run.stderr.is_empty() && !output.exists());
    }
}

#[test]
fn strict_writes_nothing_where_something_is_missing() {
    let folder = folder();
    let (output, report) = (folder.path().join("out.dmp"), folder.path().join("report.json"));
    let strict = ["-mh", "--strict", "--report", report.to_str().expect("a path")];
    // A dump of a Linux process has no handles.
    assert_eq!(convert(&source(), &output, &strict).code, Some(3));
    assert_eq!(files_in(folder.path()), ["report.json"]);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    assert_eq!(report["absent"][0]["option"], "-mh");
    convert_well(&source(), &output, &["-mF", "--strict"]);
}

#[test]
fn a_dry_run_writes_nothing_and_knows_the_size() {
    let folder = folder();
    let (output, report) = (folder.path().join("out.dmp"), folder.path().join("report.json"));
    let options = ["-m", "--report", report.to_str().expect("a path")];
    convert_well(&source(), &output, &[&options[..], &["--dry-run"]].concat());
    assert_eq!(files_in(folder.path()), ["report.json"]);
    let planned: serde_json::Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    convert_well(&source(), &output, &options);
    assert_eq!(
        planned["written"]["size"],
        fs::metadata(&output).expect("an output").len()
    );
    assert_eq!(planned["written"]["threads"], 5);
    assert_eq!(planned["asked"], "-m");
}

#[test]
fn a_limit_is_kept() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    convert_well(&source(), &output, &["-mw", "--max-size", "100K", "-q"]);
    assert!(fs::metadata(&output).expect("an output").len() <= 100 << 10);
    let refused = convert(&source(), &output, &["-o", "-m", "--max-size", "1K"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(fs::metadata(&output).is_ok(), "what was there stays");
}

#[test]
fn a_comment_is_in_the_dump() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    convert_well(&source(), &output, &["-m", "-c", "ticket 4711"]);
    let bytes = fs::read(&output).expect("the output");
    let wide: Vec<u8> = "ticket 4711".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"ticket 4711") || has(&wide));
    let Ok(seen) = Command::new("obj2yaml-22").arg(&output).output() else {
        return skip("obj2yaml is not installed");
    };
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains("CommentW"), "{seen}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_an_output() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let output = folder.path().join("out.dmp");
    convert_well(&source(), &output, &["-m"]);
    assert_eq!(
        fs::metadata(&output).expect("an output").permissions().mode() & 0o777,
        0o600
    );
}

/// A full dump of `size` bytes of memory without a hole: a header, the tables and data that has to be read and written.
#[cfg(unix)]
fn large_dump(path: &Path, size: u64) {
    let mut bytes = Vec::new();
    let mut put = |values: &[u32]| values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    // MINIDUMP_HEADER with MiniDumpWithFullMemory, then the directory: SystemInfo (AMD64, Windows NT) and Memory64List.
    put(&[0x504D_444D, 0xA793, 2, 32, 0, 0, 2, 0]);
    put(&[7, 56, 56, 9, 32, 112]);
    put(&[9, 1, 10, 0, 19045, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    put(&[1, 0, 4096, 0, 0x1_0000, 0]);
    put(&[
        u32::try_from(size & 0xFFFF_FFFF).expect("32 bits"),
        u32::try_from(size >> 32).expect("32 bits"),
    ]);
    bytes.resize(4096, 0);
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(&bytes).expect("space");
    let part: Vec<u8> = (1..=251_u8).cycle().take(1 << 20).collect();
    for _ in 0..size >> 20 {
        file.write_all(&part).expect("space");
    }
}

/// Starts a conversion, sends a signal as soon as a file is there beside the source, and says how it ended.
#[cfg(unix)]
fn interrupted(source: &Path, output: &Path, signal: rustix::process::Signal) -> Run {
    use rustix::process::{Pid, kill_process};
    let folder = source.parent().expect("a folder");
    // Who runs this in the background may have these signals ignored, and a program leaves ignored signals alone.
    let mut child = Command::new("env")
        .arg("--default-signal=INT,TERM")
        .arg(dotdump())
        .args(["convert".as_ref(), source.as_os_str(), output.as_os_str()])
        .args(["-ma", "-q"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let start = Instant::now();
    // The signal has to come while the temporary file is written.
    while files_in(folder).len() < 2 && child.try_wait().expect("a child").is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "no file is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
    // It may have ended by now.
    let _ = kill_process(id, signal);
    child.wait_with_output().expect("an end").into()
}

#[cfg(unix)]
#[test]
fn signals_leave_nothing_behind() {
    use rustix::process::Signal;
    let folder = folder();
    let (source, output) = (folder.path().join("large.dmp"), folder.path().join("out.dmp"));
    large_dump(&source, 1 << 30);
    for signal in [Signal::INT, Signal::TERM] {
        // A copy may be faster than the signal, but not always.
        let stopped = (0..10).any(|_| {
            let run = interrupted(&source, &output, signal);
            if run.code == Some(0) {
                assert_eq!(files_in(folder.path()).len(), 2, "{signal:?}");
                fs::remove_file(&output).expect("an output");
                return false;
            }
            assert_eq!(run.code, Some(1), "{signal:?}: {}", run.stderr);
            assert!(run.stderr.contains("cancelled"), "{signal:?}: {}", run.stderr);
            assert_eq!(files_in(folder.path()), ["large.dmp"], "{signal:?}");
            true
        });
        assert!(stopped, "{signal:?} never came before the end");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let folder = folder();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&disk)
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        return skip("no right to mount a small disk");
    }
    let run = convert(&source(), &disk.join("out.dmp"), &["-ma", "-q"]);
    let left = files_in(&disk);
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.to_lowercase().contains("space") || run.stderr.contains("full"),
        "{}",
        run.stderr
    );
    assert_eq!(left, Vec::<String>::new());
}
