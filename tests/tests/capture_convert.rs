//! A small dump out of a full one of a stopped process is the one that is captured of it directly.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::path::Path;

use dotdump_tests::minidump::Dump;
use dotdump_tests::parallel;
use dotdump_tests::program::{capture_well, convert_well};
use dotdump_tests::target::Target;

const OPTIONS: [&str; 18] = [
    "-m", "-mi", "-md", "-mc", "-mw", "-mp", "-mh", "-mu", "-mt", "-mF", "-mr", "-mR", "-my", "-mir", "-mdiphut",
    "-ma", "-mA", "-mf",
];

/// What the kernel tells anew each time: the frequency of processors, how often the process was held up, and how many
/// pages of files it has mapped, which reading them adds to (`ProcessVmCounters`, `LinuxCpuInfo`, `LinuxProcStatus`,
/// `LinuxProcStat`).
const CHANGING: [u32; 4] = [22, 0x4767_0003, 0x4767_0004, 0x4767_000B];
/// Those that have offsets of other things, which the sizes of the former move: they are compared by what they say.
const WITH_OFFSETS: [u32; 9] = [3, 4, 5, 6, 7, 12, 14, 24, 0x4767_000A];
/// The checksums and the source that they are of.
const MANIFEST: u32 = 0x6464_0001;
/// `ThreadInfoListStream`.
const THREAD_INFO: u32 = 17;

/// What is in a dump, without what is of the moment at which it was made.
fn differences(direct: &Path, converted: &Path) -> Vec<String> {
    let (left, right) = (Dump::open(direct), Dump::open(converted));
    let mut different = Vec::new();
    let mut compare = |what: &str, is_same: bool| {
        if !is_same {
            different.push(what.to_owned());
        }
    };
    compare("flags", left.flags == right.flags);
    let kinds = |dump: &Dump| dump.streams.iter().map(|stream| stream.0).collect::<Vec<_>>();
    compare(
        &format!("streams {:x?} {:x?}", kinds(&left), kinds(&right)),
        kinds(&left) == kinds(&right),
    );
    compare("contexts", left.contexts() == right.contexts());
    compare("names of threads", left.thread_names() == right.thread_names());
    compare("modules", left.modules() == right.modules());
    compare("unloaded modules", left.unloaded_modules() == right.unloaded_modules());
    compare("handles", left.handles() == right.handles());
    compare("regions", left.regions() == right.regions());
    compare("exception", left.exception() == right.exception());
    compare("addresses of memory", left.addresses() == right.addresses());
    for (start, size, _) in &left.memory {
        let size = usize::try_from(*size).expect("a size");
        compare(
            &format!("memory at {start:#x}"),
            left.read(*start, size) == right.read(*start, size),
        );
    }
    for (kind, size, _) in &left.streams {
        let is_of_the_moment = CHANGING.contains(kind) || [MANIFEST, THREAD_INFO].contains(kind);
        if !is_of_the_moment && !WITH_OFFSETS.contains(kind) {
            let is_same = left.stream_bytes(*kind) == right.stream_bytes(*kind);
            compare(&format!("stream {kind:#x} of {size} bytes"), is_same);
        }
    }
    // Their times alone go on.
    let threads = |dump: &Dump| {
        let infos = dump.thread_infos().into_iter();
        infos
            .map(|info| (info.id, info.create_time, info.affinity))
            .collect::<Vec<_>>()
    };
    compare("threads' start and affinity", threads(&left) == threads(&right));
    different
}

/// The bytes of a file, with zeros for what is of the moment; `None` where texts of other sizes moved everything.
fn timeless(path: &Path) -> (Vec<(u32, u64, usize)>, Vec<u8>) {
    let dump = Dump::open(path);
    let mut bytes = fs::read(path).expect("a dump");
    // TimeDateStamp and CheckSum.
    bytes[16..24].fill(0);
    let mut streams = dump.streams.clone();
    streams.retain(|stream| stream.0 != MANIFEST);
    for (kind, size, at) in &dump.streams {
        let size = usize::try_from(*size).expect("a size");
        if CHANGING.contains(kind) || *kind == THREAD_INFO {
            bytes[*at..at + size].fill(0);
        } else if *kind == MANIFEST {
            bytes.drain(*at..at + size);
        }
    }
    // The manifest's place in the directory.
    let (start, count) = (32, dump.streams.len());
    for entry in 0..count {
        let at = start + 12 * entry;
        if bytes[at..at + 4] == MANIFEST.to_le_bytes() {
            bytes[at..at + 12].fill(0);
        }
    }
    (streams, bytes)
}

#[test]
fn a_small_dump_of_a_full_one_is_the_one_captured_of_the_stopped_process() {
    let options = ["--threads", "20", "--spinning", "2", "--heap", "33554432"];
    let target = Target::start_with_library(env!("CARGO_BIN_EXE_capture-target"), &options);
    let stop = target.stop();
    let folder = tempfile::tempdir().expect("a folder");
    let full = folder.path().join("full.dmp");
    capture_well(target.id(), &full, &["-may", "-q"]);
    let mut problems = Vec::new();
    for options in OPTIONS {
        let (direct, converted) = (folder.path().join("direct.dmp"), folder.path().join("converted.dmp"));
        capture_well(target.id(), &direct, &[options, "-o", "-q"]);
        convert_well(&full, &converted, &[options, "-o", "-q"]);
        let different = differences(&direct, &converted);
        let found = different.len();
        problems.extend(different.into_iter().map(|what| format!("{options}: {what}")));
        let ((left_streams, left), (right_streams, right)) = (timeless(&direct), timeless(&converted));
        // A number in a text of the kernel may have got a digit more, which moves what comes after it.
        if found == 0 && left_streams == right_streams && left != right {
            let at = left.iter().zip(&right).position(|(left, right)| left != right);
            problems.push(format!("{options}: {at:?} of {} and {} bytes", left.len(), right.len()));
        }
    }
    drop(stop);
    assert_eq!(target.runs_on(), Ok(()));
    parallel::fail_with(&problems);
}
