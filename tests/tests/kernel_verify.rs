//! `verify` on dumps of machines.

use std::path::Path;

use dotdump_tests::machines::image;
use dotdump_tests::places::{corpus_file, fixture};
use dotdump_tests::program::{Run, run};
use serde_json::{Value, json};

fn verify(dump: &Path, source: Option<&Path>, json: bool) -> Run {
    let mut arguments = vec!["verify".as_ref(), dump.as_os_str()];
    if let Some(source) = source {
        arguments.extend(["--against".as_ref(), source.as_os_str()]);
    }
    if json {
        arguments.push("--json".as_ref());
    }
    run(&arguments)
}

fn document(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr))
}

#[test]
fn windows_own_dumps_are_sound() {
    for file in [
        "kernel-x64-triage-b19041-bc4a",
        "kernel-x86-triage-b2600-bc7f",
        "kernel-arm64-triage-b22000",
    ] {
        let Some(path) = corpus_file(file) else { return };
        let told = verify(&path, None, true);
        assert_eq!(told.code, Some(0), "{file}: {}", told.stderr);
        let told = document(&told);
        assert_eq!(
            (&told["sound"], &told["manifest"]["present"]),
            (&json!(true), &json!(false)),
            "{file}"
        );
    }
}

#[test]
fn a_dump_of_which_only_the_header_is_left_is_damaged() {
    let Some(path) = corpus_file("kernel-x64-full-b9200") else {
        return;
    };
    let told = verify(&path, None, false);
    assert_eq!(told.code, Some(3), "{}", told.stderr);
    assert!(told.text().contains("[pages-in-file]"), "{}", told.text());
}

#[test]
fn a_mapped_page_that_is_left_out_is_missed_although_it_is_all_zero() {
    let (Some(dump), Some(source)) = (image("nt2-zeropeb-bitmap.dmp"), image("nt2-zeropeb-full.dmp")) else {
        return;
    };
    let told = verify(&dump, Some(&source), true);
    assert_eq!(told.code, Some(3), "{}", told.stderr);
    let told = document(&told);
    assert_eq!(told["against"]["same"], false);
    assert_eq!(told["against"]["differences_total"], 0);
    // The PEBs lie there: pages of zeros, which readers need all the same.
    let missing = told["against"]["missing"].as_array().expect("a list");
    assert!(
        missing
            .iter()
            .any(|missing| missing["address"] == "0x7ff5ffff0000" && missing["process_id"] == 148),
        "{missing:?}"
    );

    let told = verify(&source, Some(&source), false);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.text().contains("the same as in"), "{}", told.text());
}

#[test]
fn a_dump_is_compared_with_what_shows_the_same() {
    let Some(machine) = image("nt2-full.dmp") else { return };
    let process = fixture("crash-full.dmp");
    for (dump, source) in [(&machine, &process), (&process, &machine)] {
        let told = verify(dump, Some(source), false);
        assert_eq!(told.code, Some(2), "{}", told.stderr);
        assert!(told.stderr.contains("they cannot be compared"), "{}", told.stderr);
    }
    let Some(core) = image("nt2-live.elf") else { return };
    let told = verify(&core, None, false);
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(
        told.stderr.contains("it can be the source of --against"),
        "{}",
        told.stderr
    );
}
