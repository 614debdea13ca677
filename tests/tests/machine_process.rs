//! `--process`: a minidump of one process out of a machine, judged by ground truth and by the readers of minidumps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dotdump_tests::kernel_dump::{KernelDump, u64_at};
use dotdump_tests::machines::{image, truth};
use dotdump_tests::minidump::Dump;
use dotdump_tests::places::workspace;
use dotdump_tests::program::{Run, convert, convert_well, run};
use dotdump_tests::validators::{Answer, Verdict, ask, ask_all};
use dotdump_tests::{parallel, stackwalk};
use serde_json::Value;
use tempfile::TempDir;

const PAGE: usize = 4096;

/// What `-m` can be asked for that changes what is chosen.
const LETTERS: [&str; 9] = [
    "-m",
    "-mA",
    "-ma",
    "-mFhut",
    "-mi",
    "-mdpc",
    "-mw",
    "-mrR",
    "-mfFhutipwdcy",
];

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

/// The processes of a machine that have a user mode.
fn processes(truth: &Value) -> Vec<&Value> {
    let processes = truth["processes"].as_array().expect("a list").iter();
    processes
        .filter(|process| process.get("user_pages").is_some())
        .collect()
}

fn thread_ids(process: &Value) -> Vec<u64> {
    let threads = process["threads"].as_array().expect("a list").iter();
    threads.map(|thread| number(&thread["tid"])).collect()
}

/// The bytes of a machine's pages.
struct Pages {
    bytes: Vec<u8>,
    places: BTreeMap<u64, usize>,
}

impl Pages {
    fn read(path: &Path) -> Self {
        let at = |value: u64| usize::try_from(value).expect("a place");
        let bytes = fs::read(path).expect("an image");
        let places = match &bytes[..4] {
            b"PAGE" => KernelDump::read(path).places().0,
            b"\x7FELF" => {
                let headers = u64_at(&bytes, 0x20);
                let count = u64::from(u16::from_le_bytes([bytes[0x38], bytes[0x39]]));
                let mut places = BTreeMap::new();
                for header in (0..count).map(|index| at(headers + 56 * index)) {
                    // PT_LOAD: offset, physical address and size.
                    if bytes[header] == 1 {
                        let [offset, start, size] = [8, 24, 32].map(|field| u64_at(&bytes, header + field));
                        places.extend((0..size / 4096).map(|page| (start / 4096 + page, at(offset + page * 4096))));
                    }
                }
                places
            }
            _ => (0..bytes.len() / PAGE).map(|page| (page as u64, page * PAGE)).collect(),
        };
        Self { bytes, places }
    }

    fn page(&self, address: u64) -> Option<&[u8]> {
        let place = *self.places.get(&(address / 4096))?;
        Some(&self.bytes[place..place + PAGE])
    }
}

/// The pages that a process has in memory: those of its image, its environment block, and one in transition.
fn resident(process: &Value) -> Vec<(u64, u64)> {
    let pages = process["user_pages"].as_array().expect("a list").iter();
    let mut resident: Vec<_> = pages.map(|page| (number(&page["va"]), number(&page["pa"]))).collect();
    resident.push((number(&process["peb"]["va"]), number(&process["peb"]["pa"])));
    for entry in process["software_ptes"].as_array().expect("a list") {
        if entry["kind"] == "transition" {
            resident.push((number(&entry["va"]), number(&entry["pte"]) & 0xF_FFFF_FFFF_F000));
        }
    }
    resident
}

#[test]
fn every_process_has_its_threads_and_its_pages() {
    let folder = folder();
    for (name, machine) in [
        ("nt2-full.dmp", "nt2"),
        ("nt2-live.elf", "nt2"),
        ("nt2-live.img", "nt2"),
        ("nt4-encoded-live.elf", "nt4-encoded"),
        ("nt2-high-bitmap.dmp", "nt2-high"),
    ] {
        let (Some(source), Some(truth)) = (image(name), truth(machine)) else {
            return;
        };
        let pages = Pages::read(&source);
        for process in processes(&truth) {
            let id = process["pid"].to_string();
            let what = format!("{name} {id} {}", process["name"]);
            let output = folder.path().join(format!("{name}-{id}.dmp"));
            let options = ["-ma", "--process", &id, "--allow-sensitive-process", "-q"];
            convert_well(&source, &output, &options);
            let dump = Dump::open(&output);
            let ids: Vec<u64> = dump.threads().iter().map(|thread| u64::from(thread.id)).collect();
            assert_eq!(ids, thread_ids(process), "{what}");

            let resident: BTreeMap<u64, &[u8]> = resident(process)
                .into_iter()
                .filter_map(|(address, place)| Some((address, pages.page(place)?)))
                .collect();
            let mut kept = BTreeMap::new();
            let file = fs::read(&output).expect("the dump");
            for (start, size, at) in &dump.memory {
                for (page, bytes) in file[*at..][..usize::try_from(*size).expect("a size")]
                    .chunks(PAGE)
                    .enumerate()
                {
                    kept.insert(start + (page * PAGE) as u64, bytes);
                }
            }
            let addresses = |pages: &BTreeMap<u64, &[u8]>| pages.keys().copied().collect::<BTreeSet<u64>>();
            assert_eq!(addresses(&kept), addresses(&resident), "{what}");
            assert!(kept == resident, "{what}: other bytes");
            // LLDB takes the longest, and is asked about one process of each machine.
            let tools: &[&'static str] = if id == "748" {
                &["lldb", "minidump-crate", "udmp-cpp", "udmp-parser"]
            } else {
                &["minidump-crate", "udmp-cpp"]
            };
            for tool in tools {
                let Some(answer) = ask(tool, &output) else { return };
                assert_eq!(answer.verdict, Verdict::Ok, "{what}: {answer:?}");
                assert_eq!(answer.number("threads"), Some(ids.len() as u64), "{what}: {answer:?}");
                assert_eq!(answer.number("modules"), Some(0), "{what}: {answer:?}");
            }
        }
    }
}

/// Whether a reader says that it is not for such dumps: it wants lists that were not asked for, or knows few processors.
fn may_skip(answer: &Answer) -> bool {
    let reasons: &[&str] = match answer.tool {
        "udmp-parser" => &["is required but not present", "other architectures than x86 and x64"],
        "udmp-cpp" => &["wants MemoryInfoList beside Memory64List"],
        "skelsec" => &["does not know this processor"],
        _ => &[],
    };
    reasons.iter().any(|reason| answer.line.contains(reason))
}

/// Asks all readers about a process, with all sets of letters.
fn check_readers(source: &Path, process: &str, threads: &[u64], modules: usize) {
    let folder = folder();
    parallel::each(&LETTERS, |letters| {
        let what = format!("{} {process} {letters}", source.display());
        let output = folder.path().join(format!("app{letters}.dmp"));
        convert_well(source, &output, &[letters, "--process", process, "-q"]);
        let Some(answers) = ask_all(&output) else { return };
        for answer in answers {
            assert!(
                answer.verdict == Verdict::Ok || answer.verdict == Verdict::Skip && may_skip(&answer),
                "{what}: {answer:?}"
            );
            // Without paths LLDB takes two modules of one name for one.
            let merges = answer.tool == "lldb" && letters.contains('R');
            for (name, count) in [("threads", threads.len()), ("modules", modules)] {
                let found = answer.number(name).filter(|_| name == "threads" || !merges);
                assert!(found.is_none_or(|found| found == count as u64), "{what}: {answer:?}");
            }
        }
        let Some(walked) = stackwalk::walk(&output) else { return };
        let walked = walked.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = walked["threads"].as_array().expect("a list").iter();
        let found: Vec<u64> = found.map(|thread| number(&thread["thread_id"])).collect();
        assert_eq!(found, threads, "{what}");

        let told = verify(&output, Some(source));
        assert_eq!(told.code, Some(0), "{what}: {}{}", told.text(), told.stderr);
        assert!(told.text().contains("the same as in"), "{what}: {}", told.text());
    });
}

#[test]
fn a_process_without_stacks_opens_in_every_reader() {
    let (Some(source), Some(truth)) = (image("nt2-live.elf"), truth("nt2")) else {
        return;
    };
    let process = processes(&truth)
        .into_iter()
        .find(|process| process["name"] == "fakeapp.exe");
    check_readers(&source, "FakeApp", &thread_ids(process.expect("it was built")), 0);
}

/// What the synthetic machine has of a process.
#[derive(Default)]
struct Made {
    /// Id, environment block and end of the stack of each thread.
    threads: Vec<(u64, u64, u64)>,
    /// Base, size and path of each module.
    modules: BTreeMap<u64, (u64, String)>,
}

/// A synthetic machine of this mode as a full dump, and its processes by id. It is there as long as its folder.
fn made(mode: &str) -> (TempDir, PathBuf, HashMap<u64, Made>) {
    let folder = folder();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "-q", "-p", "dotdump-synth", "--example", "write_dumps", "--"])
        .arg(folder.path())
        .arg(mode)
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut processes = HashMap::<u64, Made>::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.splitn(5, ' ');
        let kind = words.next().unwrap_or_default();
        if !["thread", "module"].contains(&kind) {
            continue;
        }
        let mut number = || {
            let word = words.next().expect("a number");
            let hexadecimal = word.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
            hexadecimal.unwrap_or_else(|| word.parse()).expect("a number")
        };
        let (process, first, second) = (number(), number(), number());
        let process = processes.entry(process).or_default();
        if kind == "thread" {
            process.threads.push((first, second, number()));
        } else {
            let path = words.next().expect("a path").to_owned();
            process.modules.insert(first, (second, path));
        }
    }
    let dump = folder.path().join("full.dmp");
    (folder, dump, processes)
}

/// Threads with registers and stacks, modules of both sides.
fn check_made(mode: &str, process: u64) {
    let (_machine, source, processes) = made(mode);
    let truth = &processes[&process];
    let ids: Vec<u64> = truth.threads.iter().map(|thread| thread.0).collect();
    assert!(!ids.is_empty() && truth.modules.len() > 1, "{mode}");
    check_readers(&source, &process.to_string(), &ids, truth.modules.len());

    let folder = folder();
    let output = folder.path().join("app.dmp");
    convert_well(&source, &output, &["-m", "--process", &process.to_string(), "-q"]);
    let dump = Dump::open(&output);
    for (thread, (id, teb, end)) in dump.threads().iter().zip(&truth.threads) {
        assert_eq!((u64::from(thread.id), thread.teb), (*id, *teb), "{mode}");
        let (start, size) = thread.stack;
        assert_eq!(start + size, *end, "{mode}");
        assert!(dump.has_any(start, size), "{mode}");
    }
    let Some(walked) = stackwalk::walk(&output) else { return };
    let walked = walked.expect("it is read");
    let hexadecimal = |value: &Value| {
        let digits = value
            .as_str()
            .and_then(|text| text.strip_prefix("0x"))
            .expect("a number");
        u64::from_str_radix(digits, 16).expect("a number")
    };
    let modules = walked["modules"].as_array().expect("a list").iter();
    let found: BTreeMap<u64, (u64, &str)> = modules
        .map(|module| {
            let (base, end) = (hexadecimal(&module["base_addr"]), hexadecimal(&module["end_addr"]));
            (base, (end - base, module["filename"].as_str().expect("a name")))
        })
        .collect();
    let expected: BTreeMap<u64, (u64, &str)> = truth
        .modules
        .iter()
        .map(|(base, (size, path))| (*base, (*size, path.rsplit('\\').next().unwrap_or(path))))
        .collect();
    assert_eq!(found, expected, "{mode}");
    if mode != "arm64" {
        // The registers are those of trap frames: they point into a module.
        for thread in walked["threads"].as_array().expect("a list") {
            assert!(thread["frames"][0]["module"].is_string(), "{mode}: {thread}");
        }
    }
}

#[test]
fn a_process_of_64_bits_has_registers_stacks_and_modules() {
    check_made("x64", 628);
}

#[test]
fn a_process_of_32_bits_on_64_has_the_modules_of_both_sides() {
    check_made("x64", 748);
}

#[test]
fn a_process_of_32_bits_has_registers_stacks_and_modules() {
    check_made("x86", 628);
}

#[test]
fn a_process_of_arm64_has_stacks_and_modules() {
    check_made("arm64", 628);
}

#[test]
fn words_on_stacks_are_erased_as_those_of_other_processes() {
    const SECRET: [u8; 8] = 0x1122_3344_5566_7788_u64.to_le_bytes();
    let (_machine, source, processes) = made("x64");
    let folder = folder();
    let (patched, output) = (folder.path().join("machine.dmp"), folder.path().join("app.dmp"));
    convert_well(&source, &output, &["-ma", "--process", "628", "-q"]);
    let at = |dump: &Dump, address: u64| {
        let mut memory = dump.memory.iter();
        let (start, _, at) = memory
            .find(|(start, size, _)| (*start..start + size).contains(&address))
            .expect("it was kept");
        at + usize::try_from(address - start).expect("an offset")
    };
    // The last page of each stack gets a word that points nowhere, above the stack pointer.
    let ends: Vec<u64> = processes[&628].threads.iter().map(|thread| thread.2).collect();
    let (dump, bytes) = (Dump::open(&output), fs::read(&output).expect("the dump"));
    let mut machine = fs::read(&source).expect("the machine");
    for end in &ends {
        let stack = &bytes[at(&dump, end - 4096)..][..PAGE];
        assert!(
            stack.iter().any(|byte| *byte != 0),
            "a page without contents cannot be found"
        );
        for page in machine[0x2000..].chunks_exact_mut(PAGE).filter(|page| *page == stack) {
            page[PAGE - 0x100..][..8].copy_from_slice(&SECRET);
        }
    }
    fs::write(&patched, machine).expect("the machine");
    for (letters, kept) in [("-m", SECRET), ("-mr", [0; 8])] {
        convert_well(&patched, &output, &[letters, "-o", "--process", "628", "-q"]);
        let (dump, bytes) = (Dump::open(&output), fs::read(&output).expect("the dump"));
        for end in &ends {
            let place = at(&dump, end - 0x100);
            assert_eq!(bytes[place..place + 8], kept, "{letters}");
        }
        let told = verify(&output, Some(&patched));
        assert_eq!(told.code, Some(0), "{}{}", told.text(), told.stderr);
        let erased = format!("erased: {} words", ends.len());
        assert_eq!(told.text().contains(&erased), letters == "-mr", "{}", told.text());
    }
}

fn verify(dump: &Path, source: Option<&Path>) -> Run {
    let mut arguments = vec!["verify".as_ref(), dump.as_os_str()];
    if let Some(source) = source {
        arguments.extend(["--against".as_ref(), source.as_os_str()]);
    }
    run(&arguments)
}

#[test]
fn a_process_is_compared_with_its_machine() {
    let folder = folder();
    let output = folder.path().join("app.dmp");
    let images = [
        "nt2-live.img",
        "nt2-live.elf",
        "nt2-live.kdump",
        "nt2-full.dmp",
        "nt2-live.dmp",
    ]
    .map(image);
    let [Some(raw), Some(core), Some(packed), Some(before), Some(own)] = images else {
        return;
    };
    convert_well(&raw, &output, &["-ma", "--process", "748", "-q"]);
    for same in [&raw, &core, &packed, &own] {
        let told = verify(&output, Some(same));
        assert_eq!(told.code, Some(0), "{}: {}{}", same.display(), told.text(), told.stderr);
    }
    // The same process before it ran.
    let told = verify(&output, Some(&before));
    assert_eq!(told.code, Some(3), "{}{}", told.text(), told.stderr);
    assert!(told.text().contains("differs: memory: "), "{}", told.text());
    // A byte that was damaged.
    let mut bytes = fs::read(&output).expect("the dump");
    let (_, _, at) = Dump::open(&output).memory[1];
    bytes[at + 77] ^= 1;
    fs::write(&output, bytes).expect("the dump");
    for packing in [&raw, &packed] {
        let told = verify(&output, Some(packing));
        assert_eq!(told.code, Some(3), "{}", told.stderr);
        assert!(
            told.text().contains("differs: memory: 1 bytes differ"),
            "{}",
            told.text()
        );
    }
}

#[test]
fn what_is_not_resident_is_missing_and_told() {
    let folder = folder();
    let (output, report) = (folder.path().join("app.dmp"), folder.path().join("report.json"));
    let Some(source) = image("nt2-full.dmp") else { return };
    let path = report.to_string_lossy().into_owned();
    let done = convert_well(&source, &output, &["-ma", "--process", "748", "--report", &path]);
    assert!(
        done.stderr.contains("1 pages of the process are in page files"),
        "{}",
        done.stderr
    );
    let told: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    let absent = told["absent"].as_array().expect("a list");
    let has = |severity: &str, part: &str| {
        let mut absent = absent.iter().filter(|entry| entry["severity"] == severity);
        absent.any(|entry| entry["message"].as_str().is_some_and(|message| message.contains(part)))
    };
    for guess in [
        "guessed: threads: the list in EPROCESS+",
        "guessed: ids of threads",
        "guessed: the map of",
    ] {
        assert!(has("note", guess), "{guess}: {absent:?}");
    }
    for lack in [
        "in page files",
        "zero and were never used",
        "in mapped files",
        "no stack memory",
        "HandleData",
    ] {
        assert!(has("warning", lack), "{lack}: {absent:?}");
    }

    fs::remove_file(&output).expect("the dump");
    for letters in LETTERS {
        let refused = convert(&source, &output, &[letters, "--process", "748", "--strict"]);
        assert_eq!(refused.code, Some(3), "{letters}: {}", refused.stderr);
        assert!(!output.exists(), "{letters}");
    }
}

#[test]
fn a_process_is_one_that_can_be_dumped() {
    let folder = folder();
    let output = folder.path().join("app.dmp");
    let Some(source) = image("nt2-full.dmp") else { return };
    for (name, code, part) in [
        ("svchost.exe", 1, "508 svchost.exe, 568 svchost.exe; name one by its id"),
        ("SVCHOST", 1, "508 svchost.exe, 568 svchost.exe; name one by its id"),
        ("note", 1, "688 notepad.exe"),
        ("689", 1, "688 notepad.exe"),
        ("4", 2, "no user mode"),
        ("system", 2, "no user mode"),
        ("LSASS.EXE", 2, "--allow-sensitive-process"),
        ("448", 2, "--allow-sensitive-process"),
    ] {
        let told = convert(&source, &output, &["-m", "--process", name]);
        assert_eq!(told.code, Some(code), "{name}: {}", told.stderr);
        assert!(told.stderr.contains(part), "{name}: {}", told.stderr);
        assert!(!output.exists(), "{name}");
    }
    for name in ["notepad", "NotePad.exe", "688", "0x2B0"] {
        convert_well(&source, &output, &["-m", "-o", "--process", name]);
    }
}
