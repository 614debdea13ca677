//! Captures of a process that tells what it is: what a dump has of it is compared with that, by readers of their own.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod letters;
mod memory;
mod modules;
mod readers;
mod records;
mod threads;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use dotdump_tests::capture::{self, OBJECT};
use dotdump_tests::minidump::Dump;
use dotdump_tests::minidump_process::{Context, Module};
use dotdump_tests::program::capture_well;
use dotdump_tests::target::{Target, bytes, hex};
use dotdump_tests::validators::Verdict;
use dotdump_tests::{parallel, places, stackwalk, validators};
use serde_json::Value;

/// Every letter alone, and all together.
const LETTERS: [&str; 16] = [
    "-m", "-mA", "-ma", "-mf", "-mF", "-mh", "-mu", "-mt", "-mi", "-mp", "-mw", "-md", "-mc", "-mr", "-mR", "-my",
];

/// The target of all tests but those that do something to it. One capture at a time: a process has one tracer.
fn target() -> MutexGuard<'static, Target> {
    static TARGET: OnceLock<Mutex<Target>> = OnceLock::new();
    let start = || {
        let options = ["--threads", "50", "--spinning", "2", "--heap", "67108864"];
        Mutex::new(Target::start_with_library(
            env!("CARGO_BIN_EXE_capture-target"),
            &options,
        ))
    };
    TARGET.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}

/// A capture, and what holds the file.
struct Captured {
    dump: Dump,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn captured(target: &Target, options: &[&str]) -> Captured {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.dmp");
    capture_well(target.id(), &path, &[options, &["-q"]].concat());
    Captured {
        dump: Dump::open(&path),
        path,
        _folder: folder,
    }
}

/// The threads of a kind, by what tells of them.
fn of_kind<'a>(target: &'a Target, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    target.threads().iter().filter(move |thread| thread["kind"] == kind)
}

fn tid(thread: &Value) -> u32 {
    thread["tid"]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .expect("an id")
}

fn index(thread: &Value) -> usize {
    thread["index"]
        .as_u64()
        .and_then(|index| usize::try_from(index).ok())
        .expect("an index")
}

fn contexts(dump: &Dump) -> BTreeMap<u32, Context> {
    dump.contexts().into_iter().collect()
}

/// All threads but the main one, which tells less of itself.
fn others(target: &Target) -> &[Value] {
    &target.threads()[1..]
}
