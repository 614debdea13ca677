//! `convert` on machines: which options there are, and what becomes of them.

use std::fs;
use std::path::{Path, PathBuf};

use dotdump_tests::machines::{image, truth};
use dotdump_tests::places::{corpus_file, fixture};
use dotdump_tests::program::{convert, convert_well, run};
use serde_json::{Value, json};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn inspect(dump: &Path) -> Value {
    let run = run(&["inspect".as_ref(), "--json".as_ref(), dump.as_os_str()]);
    assert_eq!(run.code, Some(0), "{}: {}", dump.display(), run.stderr);
    serde_json::from_slice(&run.stdout).expect("JSON")
}

#[test]
fn options_that_the_source_cannot_use_are_refused_by_name() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let refused = |source: &Path, options: &[&str], told: &str| {
        let run = convert(source, &output, options);
        assert_eq!(run.code, Some(2), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(told), "{options:?}: {}", run.stderr);
        assert!(!output.exists(), "{options:?}");
    };
    let process = fixture("crash-full.dmp");
    for (options, told) in [
        (&["-f"][..], "-f is refused: a complete memory dump"),
        (&["/fy"], "-fy is refused"),
        (&["-k"], "-k is refused: a kernel memory dump"),
        (&["/ka"], "-ka is refused: a dump of active memory"),
        (&["-mi", "--layout", "bitmap"], "--layout is refused"),
        (&["--memory-map", "x"], "--memory-map is refused"),
        (&["--process", "4"], "--process is refused"),
    ] {
        refused(&process, options, told);
    }
    let Some(machine) = image("nt2-bitmap.dmp") else { return };
    for (options, told) in [
        (
            &["-mFhut"][..],
            "-mFhut is refused: the letters of -m are for dumps of processes",
        ),
        (&["-f", "--image-path", "."], "--image-path is refused"),
        (&["-m", "--layout", "runs"], "--layout is refused"),
        (&["-f", "--memory-map", "x"], "--memory-map is refused"),
        (&["-k", "--process", "748"], "-k is refused: a kernel memory dump"),
        (&["--process", "748", "--layout", "runs"], "--layout is refused"),
    ] {
        refused(&machine, options, told);
    }
}

#[test]
fn the_security_authority_is_refused_however_it_is_named() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let Some(source) = image("nt2-bitmap.dmp") else { return };
    for name in ["lsass.exe", "LSASS", "448", "0x1c0"] {
        let run = convert(&source, &output, &["-m", "--process", name]);
        assert_eq!(run.code, Some(2), "{name}: {}", run.stderr);
        assert!(
            run.stderr.contains("--allow-sensitive-process"),
            "{name}: {}",
            run.stderr
        );
        assert!(!output.exists(), "{name}");
    }
    let allowed = convert(
        &source,
        &output,
        &["-m", "--process", "lsass", "--allow-sensitive-process"],
    );
    assert!(!allowed.stderr.contains("--process is refused"), "{}", allowed.stderr);
}

#[test]
fn a_process_of_a_machine_becomes_a_minidump() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let (Some(source), Some(truth)) = (image("nt2-live.elf"), truth("nt2")) else {
        return;
    };
    // Its threads have no stacks in user mode, which A takes.
    let done = convert_well(&source, &output, &["-mA", "--process", "FakeApp"]);
    assert!(done.stderr.contains("guessed: "), "{}", done.stderr);
    let processes = truth["processes"].as_array().expect("a list");
    let process = processes.iter().find(|process| process["name"] == "fakeapp.exe");
    let process = process.expect("it was built");
    let dump = inspect(&output);
    assert_eq!(
        (&dump["kind"], &dump["os"]),
        (&json!("user-minidump"), &json!("windows"))
    );
    assert_eq!(dump["process_id"], process["pid"]);
    let ids = |threads: &Value, key: &str| -> Vec<Value> {
        let threads = threads.as_array().expect("a list").iter();
        threads.map(|thread| thread[key].clone()).collect()
    };
    assert_eq!(ids(&dump["threads"], "id"), ids(&process["threads"], "tid"));
}

#[test]
fn a_process_is_found_or_others_are_named() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let Some(source) = image("nt2-bitmap.dmp") else { return };
    for (name, told) in [
        (
            "svchost",
            "several processes have this name: 508 svchost.exe, 568 svchost.exe",
        ),
        (
            "nobody",
            "not among the processes of the machine: 4 System, 148 Registry",
        ),
    ] {
        let run = convert(&source, &output, &["-m", "--process", name]);
        assert_eq!(run.code, Some(1), "{name}: {}", run.stderr);
        assert!(run.stderr.contains(told), "{name}: {}", run.stderr);
        assert!(!output.exists(), "{name}");
    }
}

#[test]
fn every_kind_and_layout_has_its_type_and_is_the_same_as_its_source() {
    let folder = folder();
    for (options, dump_type) in [
        (&["-f"][..], 5),
        (&["-f", "--layout", "runs"], 1),
        (&["-f", "--layout", "range"], 0xA),
        (&["-k"], 6),
        (&["-k", "--layout", "range"], 8),
        (&["-ka"], 5),
        (&["-ka", "--layout", "range"], 9),
        (&["-k", "--layout", "runs"], 1),
        (&["-ka", "--layout", "runs"], 1),
    ] {
        // It has no page 0, which ranges could not hold.
        let Some(source) = image("nt2-live.dmp") else { return };
        let output = folder.path().join("out.dmp");
        let options = [options, &["-o"]].concat();
        convert_well(&source, &output, &options);
        let dump = inspect(&output);
        assert_eq!(dump["dump_type"]["number"], dump_type, "{options:?}");
        assert_eq!(dump["findings"], json!([]), "{options:?}");
        for key in ["modules", "processes", "unloaded_modules", "bugcheck"] {
            assert_eq!(dump[key], inspect(&source)[key], "{options:?}: {key}");
        }
        let verified = run(&[
            "verify".as_ref(),
            output.as_os_str(),
            "--against".as_ref(),
            source.as_os_str(),
        ]);
        assert_eq!(
            verified.code,
            Some(0),
            "{options:?}: {}{}",
            verified.text(),
            verified.stderr
        );
    }
}

#[test]
fn without_options_it_is_a_small_memory_dump() {
    let folder = folder();
    for file in ["nt2-live.img", "nt2-bugcheck.dmp", "nt4-encoded-live.elf"] {
        let Some(source) = image(file) else { return };
        let output = folder.path().join("out.dmp");
        let done = convert_well(&source, &output, &["-o"]);
        assert!(
            done.text().contains("(triage)") && done.text().contains("processor-stack"),
            "{}",
            done.text()
        );
        let (dump, source_of_it) = (inspect(&output), inspect(&source));
        assert_eq!(dump["dump_type"]["name"], "triage", "{file}");
        assert_eq!(dump["findings"], json!([]), "{file}");
        for key in ["context", "directory_table_base", "number_of_processors"] {
            assert_eq!(dump[key], source_of_it[key], "{file}: {key}");
        }
        // Memory of a running machine has none, a dump has to have one.
        match &source_of_it["bugcheck"] {
            Value::Null => assert_eq!(dump["bugcheck"]["name"], "LIVE_SYSTEM_DUMP", "{file}"),
            bugcheck => assert_eq!(&dump["bugcheck"], bugcheck, "{file}"),
        }
        for key in ["name", "base", "size", "timestamp"] {
            let of = |dump: &Value| -> Vec<Value> {
                let modules = dump["modules"].as_array().expect("a list").iter();
                modules.map(|module| module[key].clone()).collect()
            };
            assert_eq!(of(&dump), of(&source_of_it), "{file}: {key}");
        }
        let names = dump["secondary_data"].as_array().expect("a list");
        assert!(names.iter().any(|blob| blob["name"] == "dotdump manifest"), "{file}");
        let verified = run(&[
            "verify".as_ref(),
            output.as_os_str(),
            "--against".as_ref(),
            source.as_os_str(),
        ]);
        assert_eq!(verified.code, Some(0), "{file}: {}{}", verified.text(), verified.stderr);
    }
}

#[test]
fn a_small_dump_of_windows_own_is_the_same_again() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    for file in [
        "kernel-x64-triage-b19041-bc1000007e",
        "kernel-x64-triage-b19041-bc4a",
        "kernel-arm64-triage-b22000",
        "kernel-x86-triage-b2600-bc1000008e",
        "kernel-x86-triage-b2600-bc7f",
    ] {
        let Some(source) = corpus_file(file) else { return };
        convert_well(&source, &output, &["-o", "--no-manifest"]);
        let (mut dump, mut known) = (inspect(&output), inspect(&source));
        for document in [&mut dump, &mut known] {
            let document = document.as_object_mut().expect("an object");
            // The file's own name and size, and what says how large it is; blocks of secondary data are padded anew.
            for key in ["path", "file_size", "required_dump_space", "secondary_data"] {
                document.remove(key);
            }
        }
        assert_eq!(dump, known, "{file}");
        let verified = run(&[
            "verify".as_ref(),
            output.as_os_str(),
            "--against".as_ref(),
            source.as_os_str(),
        ]);
        assert_eq!(verified.code, Some(0), "{file}: {}{}", verified.text(), verified.stderr);
    }
}

#[test]
fn a_small_dump_fits_into_what_it_may_take() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let Some(source) = image("nt2-bugcheck.dmp") else {
        return;
    };
    let done = convert_well(&source, &output, &["-m", "--max-size", "160K"]);
    assert!(fs::metadata(&output).expect("an output").len() <= 160 << 10);
    assert!(done.text().contains("left out"), "{}", done.text());
    let refused = convert(&source, &output, &["-m", "-o", "--max-size", "16K"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("--max-size"), "{}", refused.stderr);
}

#[test]
fn pages_are_counted_by_the_reason_for_which_they_are_kept_or_not() {
    let folder = folder();
    let Some(source) = image("nt2-live.img") else { return };
    let (output, report) = (folder.path().join("out.dmp"), folder.path().join("report.json"));
    let report_path = report.to_str().expect("a path");
    let done = convert_well(&source, &output, &["-k", "--report", report_path]);
    assert!(
        done.text().contains("kernel-page-table") && done.text().contains("user-only"),
        "{}",
        done.text()
    );
    let report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    assert_eq!(report["asked"], "-k");
    let pages = |list: &str| -> u64 {
        let counts = report[list].as_array().expect("a list").iter();
        counts.map(|count| count["pages"].as_u64().expect("a number")).sum()
    };
    assert_eq!(pages("kept"), report["written"]["pages"].as_u64().expect("a number"));
    assert_eq!(pages("kept") + pages("dropped"), (64 << 20) / 4096);
}

#[test]
fn a_dry_run_knows_the_size_and_a_stream_has_the_same_bytes() {
    let folder = folder();
    let Some(source) = image("nt2-bitmap.dmp") else { return };
    let output = folder.path().join("out.dmp");
    let planned = convert_well(&source, &output, &["-k", "--dry-run"]);
    assert!(planned.text().contains("would be written"), "{}", planned.text());
    assert!(!output.exists());
    convert_well(&source, &output, &["-k"]);
    let streamed = convert_well(&source, Path::new("-"), &["-k"]);
    assert!(streamed.stdout == fs::read(&output).expect("the output"));
}

#[test]
fn converting_again_with_the_same_options_changes_nothing() {
    let folder = folder();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let Some(source) = image("nt2-bitmap.dmp") else { return };
    convert_well(&source, &path("first.dmp"), &["-ka"]);
    convert_well(&path("first.dmp"), &path("second.dmp"), &["-ka"]);
    assert!(fs::read(path("first.dmp")).expect("a dump") == fs::read(path("second.dmp")).expect("a dump"));
    let manifest = &inspect(&path("second.dmp"))["manifest"];
    assert_eq!(manifest["options"], "-ka");
}

#[test]
fn what_a_source_does_not_have_is_told() {
    let folder = folder();
    let output = folder.path().join("out.dmp");
    let Some(source) = image("nt2-bitmap.dmp") else { return };
    convert_well(&source, &output, &["-k"]);
    let again = folder.path().join("again.dmp");
    let run = convert(&output, &again, &["-f"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("the source has kernel memory only"),
        "{}",
        run.stderr
    );
    assert!(!again.exists());
    let Some(triage) = corpus_file("kernel-x64-triage-b19041-bc4a") else {
        return;
    };
    let run = convert(&triage, &again, &["-k"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("the source has no pages"), "{}", run.stderr);
    assert!(!again.exists());
}
