//! Windows processes, captured by dotdump under Wine: what is known of them is in the dump, and Wine's own
//! `MiniDumpWriteDump` says the same of the same stopped process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use dotdump_tests::minidump::Dump;
use dotdump_tests::minidump_process::Context;
use dotdump_tests::validators::{self, Verdict};
use dotdump_tests::wine::Wine;
use serde_json::Value;
use tempfile::TempDir;

/// `ThreadListStream`.
const THREAD_LIST: u32 = 3;
/// `ModuleListStream`.
const MODULE_LIST: u32 = 4;
/// `TokenStream`.
const TOKEN: u32 = 19;
/// `SystemMemoryInfoStream`.
const SYSTEM_MEMORY_INFO: u32 = 21;
/// The page with the system's clock, which goes on while the process is stopped.
const SHARED_USER_DATA: u64 = 0x7FFE_0000;
const PAGE: u64 = 0x1000;

/// The sets of letters with which it is captured.
const LETTERS: [&str; 11] = ["", "a", "A", "h", "u", "t", "F", "i", "p", "y", "hutFiwpdcy"];

/// The name of the dump with some letters. Wine's file names do not tell upper from lower case: for a capital letter there
/// are two small ones.
fn name(letters: &str) -> String {
    let doubled = letters.chars().flat_map(|letter| {
        let small = letter.to_ascii_lowercase();
        [Some(small), letter.is_ascii_uppercase().then_some(small)]
    });
    format!("dotdump-m{}", doubled.flatten().collect::<String>())
}

/// A path as programs under Wine take it: the root of the file system is a drive of its own.
fn in_wine(path: &Path) -> String {
    format!("Z:{}", path.display())
}

/// A program that runs until its standard input ends.
struct Piped {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Piped {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("wine starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().expect("its status") {
                assert!(status.success(), "{status}");
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("a program does not run on");
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // Those that have ended are no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The dumps of one process, and what it says of itself.
struct Captured {
    folder: TempDir,
    /// The name of its program.
    program: String,
    truth: Value,
}

impl Captured {
    fn make() -> Option<Self> {
        let wine = Wine::find()?;
        let programs = wine.build(&["windows_target", "windows_hold"]);
        let folder = TempDir::new().expect("a folder");
        // Found by its name: there is one of it, also where others run this test.
        let program = format!("dotdump-target-{}.exe", std::process::id());
        let target = folder.path().join(&program);
        // Wine's writer reads debug information, and does not survive that of Rust.
        wine.strip(&programs.join("examples/windows_target.exe"), &target);
        let mut target = Piped::start(wine.command("wine").arg(&target));
        let truth: Value = serde_json::from_str(&target.line()).expect("facts");
        let process = truth["process"].to_string();
        let capture = |of: [&str; 2], name: &str, options: &str| {
            let mut capture = wine.command("wine");
            capture.arg(programs.join("dotdump.exe")).arg("capture").args(of);
            capture.arg(in_wine(&folder.path().join(format!("{name}.dmp"))));
            let captured = capture.arg(options).stdin(Stdio::null()).output().expect("wine starts");
            let told = String::from_utf8_lossy(&[captured.stdout, captured.stderr].concat()).into_owned();
            assert!(captured.status.success(), "{name}: {told}");
            assert!(told.contains("paused for "), "{name}: {told}");
        };
        capture(["--name", &program], "running", "-m");
        let mut hold = wine.command("wine");
        hold.arg(programs.join("examples/windows_hold.exe")).arg(&process);
        let mut hold = Piped::start(hold.arg(in_wine(folder.path())));
        assert_eq!(hold.line().trim_end(), "held");
        for letters in LETTERS {
            capture(["--pid", &process], &name(letters), &format!("-m{letters}"));
        }
        hold.end();
        // It ends by itself when nobody can write to it any more: it was let go.
        target.end();
        Some(Self { folder, program, truth })
    }

    fn dump(&self, name: &str) -> Dump {
        Dump::open(&self.folder.path().join(format!("{name}.dmp")))
    }

    fn number(&self, name: &str) -> u64 {
        self.truth[name].as_u64().unwrap_or_else(|| panic!("{name}"))
    }

    /// The words that the process wrote into its block.
    fn pattern(&self) -> Vec<u8> {
        let words = 0..self.number("size") / 8;
        words
            .flat_map(|word| (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED).to_le_bytes())
            .collect()
    }
}

/// All tests look at the same dumps: Wine takes half a minute to write its own.
fn captured() -> Option<&'static Captured> {
    static CAPTURED: OnceLock<Option<Captured>> = OnceLock::new();
    CAPTURED.get_or_init(Captured::make).as_ref()
}

fn contexts(dump: &Dump) -> BTreeMap<u32, Context> {
    dump.contexts().into_iter().collect()
}

fn id(value: &Value) -> u32 {
    u32::try_from(value["id"].as_u64().expect("an id")).expect("an id")
}

#[test]
fn threads_have_the_registers_that_the_system_tells() {
    let Some(captured) = captured() else { return };
    let (ours, systems) = (
        contexts(&captured.dump("dotdump-m")),
        contexts(&captured.dump("system-normal")),
    );
    assert_eq!(ours.keys().collect::<Vec<_>>(), systems.keys().collect::<Vec<_>>());
    for (thread, context) in &ours {
        let other = &systems[thread];
        assert_eq!(
            (context.general(), context.rip()),
            (other.general(), other.rip()),
            "{thread}"
        );
        assert_eq!(
            (context.mxcsr(), context.xmm(1)),
            (other.mxcsr(), other.xmm(1)),
            "{thread}"
        );
    }
    let spinning = &captured.truth["spinning"];
    let context = &ours[&id(spinning)];
    let byte = |byte: u64| byte * 0x0101_0101_0101_0101;
    let mut expected = [
        0x10, 0x30, 0x40, 0x20, 0, 0x70, 0x50, 0x60, 8, 9, 10, 11, 12, 13, 14, 15,
    ]
    .map(byte);
    expected[4] = context.rsp();
    assert_eq!(context.general(), expected);
    let code = spinning["code"].as_u64().expect("an address");
    assert!((code..code + 0x200).contains(&context.rip()), "{:#x}", context.rip());
}

#[test]
fn the_upper_halves_of_vector_registers_are_kept_on_request() {
    let Some(captured) = captured() else { return };
    let spinning = &captured.truth["spinning"];
    assert_eq!(spinning["avx"], true, "every processor that runs the tests has AVX");
    let context = &contexts(&captured.dump("dotdump-my"))[&id(spinning)];
    let words = [0x1111_0000_0000_0000_u64, 0x2222, 0x3333, 0x4444_0000_0000_0000];
    let expected: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(context.vector(1)[..32], expected);
    assert!(
        contexts(&captured.dump("dotdump-m"))
            .values()
            .all(|context| context.0.len() == 1232)
    );
}

#[test]
fn threads_are_held_as_often_as_others_hold_them() {
    let Some(captured) = captured() else { return };
    for (name, count) in [("running", 0), ("dotdump-m", 1)] {
        let dump = captured.dump(name);
        let list = dump.stream_bytes(THREAD_LIST).expect("threads");
        let counts: Vec<u32> = list[4..]
            .chunks_exact(48)
            .map(|record| u32::from_le_bytes(record[4..8].try_into().expect("a number")))
            .collect();
        assert_eq!(counts, vec![count; dump.threads().len()], "{name}");
    }
}

#[test]
fn the_system_has_the_memory_that_it_tells_programs() {
    let Some(captured) = captured() else { return };
    let dump = captured.dump("dotdump-m");
    let stream = dump.stream_bytes(SYSTEM_MEMORY_INFO).expect("memory of the system");
    let u32_at = |at: usize| u64::from(u32::from_le_bytes(stream[at..at + 4].try_into().expect("a number")));
    let u64_at = |at: usize| u64::from_le_bytes(stream[at..at + 8].try_into().expect("a number"));
    // MINIDUMP_SYSTEM_BASIC_INFORMATION, at offset 4.
    assert_eq!(u32_at(8), captured.number("page_size"));
    assert_eq!(u32_at(12), captured.number("physical_memory") / PAGE);
    assert_eq!(u32_at(24), captured.number("granularity"));
    assert_eq!(u64_at(28), captured.number("lowest_address"));
    assert_eq!(u64_at(36), captured.number("highest_address"));
    assert_eq!(u64_at(44), captured.number("processor_mask"));
    assert_eq!(u32_at(52), captured.number("processors"));
    // The revision, of which the size is a matter.
    assert_eq!((stream[0], stream.len()), (1, 492));
}

/// Base, size, checksum, time stamp and version of each module, as bytes.
fn module_records(dump: &Dump) -> Vec<Vec<u8>> {
    let list = dump.stream_bytes(MODULE_LIST).expect("modules");
    let count = u32::from_le_bytes(list[..4].try_into().expect("a number")) as usize;
    let records = list[4..].chunks_exact(108).take(count);
    records
        .map(|record| [&record[..20], &record[24..76]].concat())
        .collect()
}

#[test]
fn modules_are_those_that_the_system_lists() {
    let Some(captured) = captured() else { return };
    let (ours, systems) = (captured.dump("dotdump-m"), captured.dump("system-normal"));
    let names = |dump: &Dump| dump.modules().into_iter().map(|module| module.name).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&systems));
    assert_eq!(module_records(&ours), module_records(&systems));
    assert!(names(&ours)[0].ends_with(&captured.program));
    let unloaded = captured.dump("dotdump-mu").unloaded_modules();
    assert!(unloaded.iter().any(|(_, name)| name == "winmm.dll"), "{unloaded:?}");
}

#[test]
fn stacks_are_kept_from_the_stack_pointer_to_their_base() {
    let Some(captured) = captured() else { return };
    let (ours, all) = (captured.dump("dotdump-m"), captured.dump("system-full"));
    let contexts = contexts(&ours);
    for thread in ours.threads() {
        let (start, size) = thread.stack;
        assert_eq!(start, contexts[&thread.id].rsp());
        // TEB.NtTib.StackBase.
        assert_eq!(start + size, all.words(thread.teb + 8, 1)[0]);
        let size = usize::try_from(size).expect("a size");
        assert_eq!(ours.read(start, size), all.read(start, size), "{}", thread.id);
    }
    for parked in captured.truth["parked"].as_array().expect("threads") {
        let place = parked["stack"].as_u64().expect("an address");
        let number = parked["name"]
            .as_str()
            .and_then(|name| name.strip_prefix("parked-"))
            .expect("a name");
        let value = 0x57AC_0000_0000_0000 + number.parse::<u64>().expect("a number");
        assert_eq!(ours.words(place, 8), [value; 8]);
    }
}

#[test]
fn all_memory_is_that_which_the_system_reads() {
    let Some(captured) = captured() else { return };
    let (ours, systems) = (captured.dump("dotdump-ma"), captured.dump("system-full"));
    let ranges = |dump: &Dump| {
        let ranges = dump.memory.iter().map(|(start, size, _)| (*start, *size));
        ranges.collect::<BTreeSet<(u64, u64)>>()
    };
    let (kept, all) = (ranges(&ours), ranges(&systems));
    for (start, size) in &kept {
        assert!(all.contains(&(*start, *size)), "{start:#x} of {size:#x}");
        if *start != SHARED_USER_DATA {
            let size = usize::try_from(*size).expect("a size");
            assert!(ours.read(*start, size) == systems.read(*start, size), "{start:#x}");
        }
    }
    // Wine also writes what a program must not touch: of committed memory that alone is missing.
    let regions = ours.regions();
    for (start, size) in all.difference(&kept) {
        let region = regions.iter().find(|region| region.base == *start).expect("a region");
        assert_eq!(region.size, *size);
        assert!(region.protect & 0x101 != 0, "{start:#x}: {:#x}", region.protect);
    }
}

#[test]
fn a_block_reads_back_and_its_guards_stay_untouched() {
    let Some(captured) = captured() else { return };
    let (block, pattern) = (captured.number("block"), captured.pattern());
    let closed = [captured.number("noaccess"), captured.number("guard")];
    for name in ["dotdump-ma", "dotdump-maa", "dotdump-mhutffiwpdcy"] {
        let dump = captured.dump(name);
        for page in 0..captured.number("size") / PAGE {
            let at = usize::try_from(page * PAGE).expect("an offset");
            let read = dump.read(block + page * PAGE, 0x1000);
            if closed.contains(&page) {
                assert!(read.is_empty(), "{name}: {page}");
            } else if page != captured.number("readonly") || name != "dotdump-mhutffiwpdcy" {
                assert!(read == pattern[at..at + 0x1000], "{name}: {page}");
            }
        }
    }
    let regions = captured.dump("dotdump-mff").regions();
    let protection = |name: &str| {
        let start = block + PAGE * captured.number(name);
        let region = regions.iter().find(|region| region.base == start).expect(name);
        (region.size, region.state, region.protect)
    };
    assert_eq!(protection("noaccess"), (PAGE, 0x1000, 0x01));
    assert_eq!(protection("guard"), (PAGE, 0x1000, 0x104));
    assert_eq!(protection("readonly"), (PAGE, 0x1000, 0x02));
    // All of the address space, without a gap.
    assert!(
        regions
            .windows(2)
            .all(|pair| pair[0].base + pair[0].size == pair[1].base)
    );
    assert_eq!(regions[0].base, 0);
}

#[test]
fn handles_have_types_and_names() {
    let Some(captured) = captured() else { return };
    let handles = captured.dump("dotdump-mh").handles();
    let find = |name: &str| {
        let handle = captured.number(name);
        handles
            .iter()
            .find(|found| found.handle == handle)
            .unwrap_or_else(|| panic!("{name}"))
    };
    let event = find("event");
    assert_eq!(event.kind, "Event");
    assert!(event.name.ends_with(r"\dotdump-test-event"), "{}", event.name);
    let file = find("file");
    assert_eq!(file.kind, "File");
    assert!(file.name.ends_with(&captured.program), "{}", file.name);
    // A pipe's name is not asked for: somebody may be reading from it.
    assert_eq!((find("pipe").kind.as_str(), find("pipe").name.as_str()), ("File", ""));
    assert!(captured.dump("dotdump-m").handles().is_empty());
}

#[test]
fn threads_have_names_times_and_their_own_data() {
    let Some(captured) = captured() else { return };
    let (dump, all) = (captured.dump("dotdump-mt"), captured.dump("dotdump-ma"));
    let names: BTreeMap<u32, String> = dump.thread_names().into_iter().collect();
    let infos: BTreeMap<u32, u64> = dump
        .thread_infos()
        .iter()
        .map(|info| (info.id, info.create_time))
        .collect();
    assert_eq!(infos.len(), dump.threads().len());
    assert!(
        infos.values().all(|time| *time > 132_000_000_000_000_000),
        "after 2019: {infos:?}"
    );
    for (index, parked) in (0..).zip(captured.truth["parked"].as_array().expect("threads")) {
        assert_eq!(names[&id(parked)], parked["name"].as_str().expect("a name"));
        let local = parked["local"].as_u64().expect("an address");
        assert_eq!(all.words(local, 1), [0xABCD_0000 + index]);
    }
    assert_eq!(u64::from(dump.process_id().expect("an id")), captured.number("process"));
    let user = dump.stream_bytes(TOKEN).expect("a token");
    // The first field of the stream is its size, and there is one token.
    assert_eq!(
        u32::from_le_bytes(user[..4].try_into().expect("a number")) as usize,
        user.len()
    );
    assert_eq!(user[4..8], [1, 0, 0, 0]);
}

#[test]
fn every_dump_is_read_by_others() {
    let Some(captured) = captured() else { return };
    for name in [
        "dotdump-m",
        "dotdump-mi",
        "dotdump-mp",
        "dotdump-my",
        "dotdump-mhutffiwpdcy",
        "dotdump-ma",
    ] {
        let path = captured.folder.path().join(format!("{name}.dmp"));
        let Some(answers) = validators::ask_all(&path) else {
            return;
        };
        for answer in answers {
            let reads = matches!(answer.verdict, Verdict::Ok | Verdict::Partly | Verdict::Skip);
            assert!(reads, "{name}: {}: {}", answer.tool, answer.line);
        }
        let threads = captured.dump(name).threads().len() as u64;
        let walked = validators::ask("stackwalk-rust", &path).expect("a reader");
        assert_eq!(walked.number("threads"), Some(threads), "{}", walked.line);
    }
}
