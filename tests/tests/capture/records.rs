//! Handles, texts, and the report.

use super::*;

#[test]
fn handles_have_their_numbers_kinds_and_names() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mh"]);
    let handles: BTreeMap<u64, _> = dump
        .handles()
        .into_iter()
        .map(|handle| (handle.handle, handle))
        .collect();
    let mut expected = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", target.id())).expect("open files") {
        let entry = entry.expect("an open file");
        let number: u64 = entry.file_name().to_str().expect("a number").parse().expect("a number");
        expected.insert(
            number,
            fs::read_link(entry.path()).expect("a link").display().to_string(),
        );
    }
    let names: BTreeMap<u64, String> = handles
        .iter()
        .map(|(number, handle)| (*number, handle.name.clone()))
        .collect();
    assert_eq!(names, expected);
    let mut kinds = BTreeMap::new();
    for file in target.truth["files"].as_array().expect("files") {
        let number = file["descriptor"].as_u64().expect("a number");
        let (kind, found) = (
            file["kind"].as_str().expect("a kind"),
            handles[&number].kind.to_lowercase(),
        );
        assert!(!found.is_empty(), "{file}");
        assert_eq!(*kinds.entry(kind).or_insert_with(|| found.clone()), found, "{file}");
        let is_named_for_it = ["eventfd", "epoll", "timerfd", "inotify", "memfd"].contains(&kind);
        assert!(!is_named_for_it || found.contains(kind), "{file}: {found}");
    }
    // What /dev/null was opened for: FILE_GENERIC_READ.
    let number = target.truth["files"]
        .as_array()
        .expect("files")
        .iter()
        .find(|file| file["kind"] == "device");
    let number = number.and_then(|file| file["descriptor"].as_u64()).expect("a number");
    assert_eq!(handles[&number].access, 0x12_0089);
    let Captured { dump, .. } = captured(&target, &["-m"]);
    assert_eq!(dump.stream(12), None);
}

#[test]
fn texts_of_the_system_are_carried() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let file = |name: &str| fs::read(format!("/proc/{}/{name}", target.id())).expect("a file");
    // Breakpad's: LinuxCmdLine, LinuxEnviron, LinuxAuxv, LinuxMaps.
    for (stream, name) in [
        (0x4767_0006, "cmdline"),
        (0x4767_0007, "environ"),
        (0x4767_0008, "auxv"),
        (0x4767_0009, "maps"),
    ] {
        assert!(dump.stream_bytes(stream) == Some(&file(name)), "{name}");
    }
    let text = |stream| String::from_utf8_lossy(dump.stream_bytes(stream).expect("a stream")).into_owned();
    assert!(text(0x4767_0003).contains("vendor_id"));
    assert!(text(0x4767_0004).contains(&format!("\nPid:\t{}\n", target.id())));
    assert_eq!(text(0x4D7A_0003), String::from_utf8_lossy(&file("limits")));
}

#[test]
fn the_report_tells_the_pause_and_the_target_runs_on() {
    let target = target();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, report) = (folder.path().join("out.dmp"), folder.path().join("report.json"));
    for options in LETTERS {
        capture_well(
            target.id(),
            &path,
            &[options, "-o", "-q", "--report", report.to_str().expect("a path")],
        );
        let report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("a report");
        let pause = report["pause_milliseconds"]
            .as_f64()
            .unwrap_or_else(|| panic!("{report}"));
        assert!(pause > 0.0 && pause < 60_000.0, "{options}: {pause}");
        assert_eq!(target.runs_on(), Ok(()), "{options}");
    }
}
