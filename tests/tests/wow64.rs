//! A 32-bit program on 64-bit Windows: the registers in its full dump are those of the 64-bit side, and its own state
//! lies in memory.

use std::path::Path;
use std::process::{Command, Stdio};

use dotdump_tests::places::{self, corpus_file};
use dotdump_tests::program::convert_well;
use dotdump_tests::{parallel, stackwalk, validators};

const OPTIONS: [&str; 7] = ["-m", "-mi", "-md", "-mw", "-mp", "-mFhut", "-ma"];

#[test]
fn every_option_gives_a_dump_that_the_readers_of_the_source_read() {
    let Some(source) = corpus_file("fizzbuzz_wow64") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    if places::validators().is_none() || places::tools().is_none() {
        return;
    }
    let before = validators::ask_all(&source).expect("validators");
    let walk = stackwalk::walk(&source).map(|report| stackwalk::essence(&report.expect("a report")));
    let problems = parallel::each(&OPTIONS, |options| {
        let output = folder.path().join(format!("{options}.dmp"));
        convert_well(&source, &output, &[options, "-q"]);
        let mut problems = validators::objections(&before, &validators::ask_all(&output).expect("validators"));
        if let (Some(walk), Some(report)) = (&walk, stackwalk::walk(&output)) {
            problems.extend(stackwalk::difference(
                walk,
                &stackwalk::essence(&report.expect("a report")),
            ));
        }
        problems
            .into_iter()
            .map(|problem| format!("{options}: {problem}"))
            .collect::<Vec<_>>()
    });
    parallel::fail_with(&problems.concat());
}

#[test]
fn a_small_dump_of_it_is_small() {
    let Some(source) = corpus_file("fizzbuzz_wow64") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("m.dmp");
    convert_well(&source, &output, &["-m", "-q"]);
    let size = output.metadata().expect("an output").len();
    assert!(size < 200_000, "{size} bytes");
}

#[test]
fn a_full_dump_of_it_has_all_its_memory() {
    let Some(source) = corpus_file("fizzbuzz_wow64") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("ma.dmp");
    convert_well(&source, &output, &["-ma", "-q"]);
    let open = |path: &Path| dotdump_tests::minidump::Dump::open(path).addresses();
    assert_eq!(open(&output), open(&source));
}

#[test]
fn lldb_sees_the_same_32_bit_threads_with_every_option() {
    let Some(source) = corpus_file("fizzbuzz_wow64") else {
        return;
    };
    let Some(before) = lldb(&source) else { return };
    // The 32-bit registers, not those of the 64-bit side that the dump's own records have.
    assert!(before.contains("('eip', '0x77ce01fd')"), "{before}");
    let folder = tempfile::tempdir().expect("a folder");
    let problems = parallel::each(&OPTIONS, |options| {
        let output = folder.path().join(format!("{options}.dmp"));
        convert_well(&source, &output, &[options, "-q"]);
        let after = lldb(&output)?;
        (after != before).then(|| format!("{options}:\n{before}\nbecame\n{after}"))
    });
    parallel::fail_with(&problems.into_iter().flatten().collect::<Vec<_>>());
}

/// The processor, and of each thread all registers and the addresses of its frames, as LLDB sees them.
fn lldb(dump: &Path) -> Option<String> {
    let Some(program) = ["lldb-22", "lldb-19", "lldb-16", "lldb-14"].into_iter().find(|name| {
        let tried = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok()
    }) else {
        places::skip("lldb is not installed");
        return None;
    };
    let script = "script [print('SEEN', lldb.target.GetTriple(), t.GetThreadID(), \
                  [(r.GetName(), r.GetValue()) for s in t.GetFrameAtIndex(0).GetRegisters() for r in s], \
                  [hex(f.GetPC()) for f in t]) for t in lldb.process]";
    let output = Command::new(program)
        .args(["-b", "-O", "settings set symbols.enable-external-lookup false"])
        .arg("-o")
        .arg(format!("target create --core \"{}\"", dump.display()))
        .args(["-o", script])
        .stdin(Stdio::null())
        .output()
        .expect("lldb starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen: Vec<&str> = text.lines().filter(|line| line.starts_with("SEEN")).collect();
    assert!(
        !seen.is_empty(),
        "{}: {text}{}",
        dump.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(seen.join("\n"))
}
