//! A capture of a large process. A program of its own: the system counts the memory of whoever starts a program as that
//! program's, up to the moment when it is one.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use dotdump_tests::minidump::Dump;
use dotdump_tests::program::measure;
use dotdump_tests::target::Target;

#[test]
fn a_gibibyte_of_heap_reads_back_and_the_capturer_stays_small() {
    let options = ["--threads", "50", "--spinning", "1", "--heap", "1073741824"];
    let target = Target::start(env!("CARGO_BIN_EXE_capture-target"), &options);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.dmp");
    let resident = target.resident();
    let pid = target.pid();
    let arguments = ["capture", "--pid", &pid, path.to_str().expect("a path"), "-ma", "-q"];
    let cost = measure(&arguments, Duration::from_secs(600)).expect("a run");
    assert_eq!(cost.code, Some(0));
    assert!(cost.memory < 32 << 20, "{} KiB", cost.memory >> 10);
    target.assert_heap(&Dump::open(&path));
    let after = target.resident();
    assert!(after < resident + 1024, "{resident} KiB became {after} KiB");
    let file = fs::metadata(&path).expect("a file");
    assert!(
        file.blocks() * 512 < file.len() - (1 << 30),
        "{} of {}",
        file.blocks() * 512,
        file.len()
    );
    assert_eq!(target.runs_on(), Ok(()));
}
