//! Captures of a process that tells what it is: what a dump has of it is compared with that, by readers of their own.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

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

#[test]
fn all_threads_are_there_the_main_one_first() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let threads = dump.threads();
    assert_eq!(threads[0].id, target.id());
    let mut ids: Vec<u32> = threads.iter().map(|thread| thread.id).collect();
    ids.sort_unstable();
    let mut expected: Vec<u32> = target.threads().iter().map(tid).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(dump.process_id(), Some(target.id()));
}

#[test]
fn general_registers_are_those_that_the_threads_have_set() {
    let target = target();
    for options in [["-m"], ["-my"]] {
        let Captured { dump, .. } = captured(&target, &options);
        let contexts = contexts(&dump);
        assert!(of_kind(&target, "spin").count() > 1);
        for thread in of_kind(&target, "spin") {
            let (context, truth) = (&contexts[&tid(thread)], &thread["registers"]);
            let general: Vec<u64> = truth["general"]
                .as_array()
                .expect("registers")
                .iter()
                .map(hex)
                .collect();
            assert_eq!(context.general(), general[..]);
            let [start, end] = [0, 1].map(|index| hex(&truth["loop"][index]));
            assert!((start..end).contains(&context.rip()), "{:#x}", context.rip());
            let mxcsr = u32::try_from(truth["mxcsr"].as_u64().expect("a number")).expect("32 bits");
            assert_eq!(context.mxcsr(), [mxcsr; 2]);
            // What FLDPI loads (Intel's manual, volume 1, 8.3.8).
            assert_eq!(
                context.st(0),
                [0x35, 0xC2, 0x68, 0x21, 0xA2, 0xDA, 0x0F, 0xC9, 0x00, 0x40]
            );
            for (index, vector) in truth["vector"].as_array().expect("registers")[..16].iter().enumerate() {
                assert_eq!(context.xmm(index), bytes(vector)[..16], "xmm{index}");
            }
        }
    }
}

#[test]
fn extended_registers_are_there_with_y_and_the_ones_that_the_threads_have_set() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-my"]);
    let with = contexts(&dump);
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let without = contexts(&dump);
    for thread in of_kind(&target, "spin") {
        assert_eq!(without[&tid(thread)].0.len(), 1232);
        let (context, truth) = (&with[&tid(thread)], &thread["registers"]);
        let vectors = truth["vector"].as_array().expect("registers");
        assert!(vectors.len() >= 16);
        for (index, vector) in vectors.iter().enumerate() {
            let expected = bytes(vector);
            assert_eq!(
                context.vector(index)[..expected.len()],
                expected,
                "vector register {index}"
            );
        }
        for (index, mask) in truth["mask"].as_array().into_iter().flatten().enumerate() {
            assert_eq!(context.mask(index), Some(hex(mask)), "k{index}");
        }
        if truth["tiles"].is_string() {
            let configuration = context.component(17).expect("the tiles' configuration");
            assert_eq!((configuration[0], configuration[48]), (1, 16));
            assert!(context.component(18).expect("tiles") == bytes(&truth["tiles"]), "tiles");
        }
    }
    // All contexts have the size that MINIDUMP_MISC_INFO_5.XStateData.ContextSize tells (offset 836).
    let Captured { dump, .. } = captured(&target, &["-my"]);
    let misc = dump.stream_bytes(15).expect("MiscInfo");
    let size = u32::from_le_bytes(misc[836..840].try_into().expect("four bytes")) as usize;
    assert!(
        dump.contexts().iter().all(|(_, context)| context.0.len() == size),
        "{size}"
    );
}

#[test]
fn stacks_hold_what_the_threads_keep_on_them_with_every_option() {
    let target = target();
    for options in LETTERS.into_iter().filter(|options| *options != "-mr") {
        let Captured { dump, .. } = captured(&target, &[options]);
        let contexts = contexts(&dump);
        let stacks: BTreeMap<u32, (u64, u64)> = dump.threads().iter().map(|thread| (thread.id, thread.stack)).collect();
        for thread in others(&target) {
            let name = format!("{options}: {}", thread["name"]);
            let mut random = capture::seed("stack", index(thread));
            let expected: Vec<u64> = (0..16).map(|_| random.next()).collect();
            assert_eq!(dump.words(hex(&thread["words"]), 16), expected, "{name}");
            assert_eq!(
                dump.read(hex(&thread["secret"]), 64),
                capture::secret(index(thread)),
                "{name}"
            );
            assert_eq!(
                dump.words(hex(&thread["object_pointer"]), 1),
                [hex(&thread["object"])],
                "{name}"
            );
            // The thread's stack is what its record says it is: from the red zone below its top up to its end.
            let (rsp, (start, size)) = (contexts[&tid(thread)].rsp(), stacks[&tid(thread)]);
            assert!(
                start <= rsp && rsp < hex(&thread["words"]),
                "{name}: {start:#x} {rsp:#x}"
            );
            assert!(hex(&thread["words"]) < start + size, "{name}");
            assert_eq!(
                dump.read(start, usize::try_from(size).expect("a size")).len() as u64,
                size,
                "{name}"
            );
        }
    }
}

#[test]
fn names_of_threads_are_theirs() {
    let target = target();
    let expected: BTreeMap<u32, &str> = target
        .threads()
        .iter()
        .map(|thread| (tid(thread), thread["name"].as_str().expect("a name")))
        .collect();
    let Captured { dump, path, _folder } = captured(&target, &["-m"]);
    let names = dump.thread_names();
    let names: BTreeMap<u32, &str> = names.iter().map(|(id, name)| (*id, &**name)).collect();
    assert_eq!(names, expected);
    // As a crash reporter sees them.
    if let Some(report) = stackwalk::walk(&path) {
        let report = report.expect("a report");
        for thread in report["threads"].as_array().expect("threads") {
            assert_eq!(thread["thread_name"], expected[&tid_of(&thread["thread_id"])]);
        }
    }
}

fn tid_of(value: &Value) -> u32 {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id")
}

#[test]
fn modules_and_their_build_ids_are_those_that_the_linker_has() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let modules: BTreeMap<u64, Module> = dump.modules().into_iter().map(|module| (module.base, module)).collect();
    let program = fs::read_link(format!("/proc/{}/exe", target.id())).expect("a program");
    assert_eq!(
        dump.modules()[0].name,
        program.to_str().expect("a path"),
        "the program comes first"
    );
    let library = target.truth["library"]["path"].as_str();
    for truth in target.truth["modules"].as_array().expect("modules") {
        let module = &modules[&hex(&truth["start"])];
        assert_eq!(module.build_id.as_deref(), Some(&*bytes(&truth["build_id"])), "{truth}");
        assert!(module.base + module.size >= hex(&truth["end"]), "{truth} {module:?}");
        assert!(
            module.base + module.size <= hex(&truth["end"]).next_multiple_of(4096),
            "{truth} {module:?}"
        );
        let path = match truth["path"].as_str().expect("a path") {
            "" => program.clone(),
            // In the kernel's own there is no file.
            "linux-vdso.so.1" => continue,
            path if Some(path) == library => {
                assert_eq!(module.name, path);
                continue;
            }
            path => PathBuf::from(path),
        };
        // The linker goes through links, the kernel tells where they end.
        let same = fs::canonicalize(&module.name).expect("a file") == fs::canonicalize(&path).expect("a file");
        assert!(same, "{} is not {}", module.name, path.display());
        assert_eq!(Some(bytes(&truth["build_id"])), readelf(&path), "{}", path.display());
    }
    assert_eq!(
        modules.len(),
        target.truth["modules"].as_array().expect("modules").len(),
        "{modules:#x?}"
    );
}

/// The build id of a file, as binutils has it.
fn readelf(path: &std::path::Path) -> Option<Vec<u8>> {
    let output = Command::new("readelf").arg("-n").arg(path).output().expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout);
    let id = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "))?;
    Some(bytes(&Value::from(id)))
}

/// What is known of memory beside the heap.
fn assert_memory(target: &Target, dump: &Dump) {
    let memory = &target.truth["memory"];
    for file in memory["files"].as_array().expect("files") {
        let (start, readable) = (hex(&file["start"]), 8192);
        let mut random = capture::seed(file["name"].as_str().expect("a name"), 0);
        let mut expected: Vec<u64> = (0..768).map(|_| random.next()).collect();
        // It was changed in memory, and behind its end is nothing up to the end of the page.
        expected[0] = 0xC4A6_ED00;
        expected.resize(1024, 0);
        assert_eq!(dump.words(start, 1024), expected, "{file}");
        assert!(
            !dump.has_any(start + readable, 8192),
            "{file}: pages behind the file's end"
        );
    }
    let guard = hex(&memory["guard"]);
    assert_eq!(dump.words(guard, 1), [0x6A4D_0000]);
    assert!(!dump.has_any(guard + 4096, 4096), "a page that may not be touched");
    assert_eq!(dump.words(guard + 8192, 1), [0x6A4D_0002]);
    if memory["pages_behind_guards"].is_string() {
        let guarded = hex(&memory["pages_behind_guards"]);
        assert_eq!(dump.words(guarded, 1), [0x6A4D_1000]);
        assert!(!dump.has_any(guarded + 4096, 4096), "a page behind a guard");
        assert_eq!(dump.words(guarded + 8192, 1), [0x6A4D_1002]);
    }
    if target.truth["library"].is_object() {
        let known = hex(&target.truth["library"]["known_value"]);
        assert_eq!(dump.words(known, 4), [0x5EE_DED1, 0x5EE_DED2, 0x5EE_DED3, 0x5EE_DED4]);
    }
    assert_statics(target, dump);
    for thread in others(target) {
        assert_eq!(
            dump.words(hex(&thread["own"]), 2),
            [hex(&thread["own_value"]), index(thread) as u64]
        );
        let mut random = capture::seed("object", index(thread));
        let expected: Vec<u64> = (0..OBJECT / 8).map(|_| random.next()).collect();
        assert_eq!(dump.words(hex(&thread["object"]), OBJECT / 8), expected);
    }
}

fn assert_statics(target: &Target, dump: &Dump) {
    let memory = &target.truth["memory"];
    assert_eq!(dump.words(hex(&memory["data"]), 16), [0x5EED_DA7A_5E63_0001; 16]);
    let mut random = capture::seed("statics", 0);
    let expected: Vec<u64> = (0..16).map(|_| random.next()).collect();
    assert_eq!(dump.words(hex(&memory["bss"]), 16), expected);
}

/// What was never used costs neither the target nor the disk anything.
fn assert_untouched(target: &Target, captured: &Captured, resident: u64) {
    let mut never = 0;
    for (start, size) in target.untouched() {
        let found = captured.dump.read(start, usize::try_from(size).expect("a size"));
        assert!(found.iter().all(|byte| *byte == 0));
        assert_eq!(found.len() as u64, size, "{start:#x}");
        never += size;
    }
    let file = fs::metadata(&captured.path).expect("a file");
    let (length, used) = (file.len(), file.blocks() * 512);
    assert!(
        used + never < length + (2 << 20),
        "{used} of {length} bytes used, {never} never touched"
    );
    let after = target.resident();
    assert!(after < resident + 1024, "{resident} KiB became {after} KiB");
}

#[test]
fn full_memory_is_that_of_the_target_and_what_was_never_used_is_a_hole() {
    let target = target();
    for options in ["-ma", "-mA", "-mf"] {
        let resident = target.resident();
        let captured = captured(&target, &[options]);
        target.assert_heap(&captured.dump);
        assert_memory(&target, &captured.dump);
        assert_untouched(&target, &captured, resident);
    }
}

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
fn a_deleted_library_is_an_unloaded_module_with_u() {
    let target = target();
    if target.truth["library"].is_null() {
        return;
    }
    let Captured { dump, .. } = captured(&target, &["-mu"]);
    let start = target.truth["modules"]
        .as_array()
        .expect("modules")
        .iter()
        .find_map(|module| {
            let is_library = module["path"] == target.truth["library"]["path"];
            is_library.then(|| hex(&module["start"]))
        });
    let unloaded = dump.unloaded_modules();
    let found = unloaded.iter().find(|(base, _)| Some(*base) == start);
    let (_, name) = found.unwrap_or_else(|| panic!("{start:x?} is not among {unloaded:x?}"));
    assert!(name.contains("libdeleted.so"), "{name}");
    let Captured { dump, .. } = captured(&target, &["-m"]);
    assert_eq!(dump.stream(14), None);
}

/// Whether any of the memory has this text.
fn has_text(dump: &Dump, text: &[u8]) -> bool {
    dump.memory.iter().any(|(start, size, _)| {
        let bytes = dump.read(*start, usize::try_from(*size).expect("a size"));
        bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn the_environment_and_thread_local_data_are_there_with_p() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mp"]);
    assert!(has_text(&dump, b"TARGET_VARIABLE=what the environment says\0"));
    for thread in others(&target) {
        assert_eq!(dump.words(hex(&thread["own"]), 1), [hex(&thread["own_value"])]);
    }
    let (heap, size) = target.heap();
    assert!(!dump.has_any(heap, size));
}

#[test]
fn data_segments_are_there_with_d_and_code_with_c() {
    let target = target();
    let (heap, size) = target.heap();
    let first = of_kind(&target, "spin").next().expect("a thread");
    let [start, end] = [0, 1].map(|index| hex(&first["registers"]["loop"][index]));

    let Captured { dump, .. } = captured(&target, &["-md"]);
    assert_statics(&target, &dump);
    assert!(!dump.has_any(heap, size));

    let Captured { dump, .. } = captured(&target, &["-mc"]);
    // inc qword ptr [r15]; pause; jmp
    let code = dump.read(start, usize::try_from(end - start).expect("a size"));
    assert_eq!(code[..5], [0x49, 0xFF, 0x07, 0xF3, 0x90]);
    // All of the program's code, as its file has it.
    let program = fs::read(format!("/proc/{}/exe", target.id())).expect("a program");
    let base = target.truth["modules"][0]["start"].clone();
    for (offset, address, size) in executable_segments(&program) {
        let found = dump.read(hex(&base) + address, size);
        assert!(
            found == program[offset..offset + size],
            "{} of {size} bytes",
            found.len()
        );
    }
    assert!(!dump.has_any(heap, size));
    assert!(!dump.has_any(hex(&target.truth["memory"]["data"]), 8));
}

/// Offset, address and size in the file of each segment of code (`PT_LOAD` with `PF_X`) of a 64-bit ELF file.
fn executable_segments(file: &[u8]) -> Vec<(usize, u64, usize)> {
    let wide = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
    let index = |at: usize| usize::try_from(wide(at)).expect("small");
    let headers = (0..usize::from(u16::from_le_bytes([file[56], file[57]]))).map(|header| index(32) + 56 * header);
    headers
        .filter(|at| file[*at..at + 4] == [1, 0, 0, 0] && file[at + 4] & 1 == 1)
        .map(|at| (index(at + 8), wide(at + 16), index(at + 32)))
        .collect()
}

#[test]
fn private_memory_is_there_with_w() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mw"]);
    target.assert_heap(&dump);
    assert_statics(&target, &dump);
    let shared = &target.truth["memory"]["files"][1];
    assert_eq!(shared["name"], "shared");
    assert!(
        !dump.has_any(hex(&shared["start"]), 8192),
        "shared memory is not private"
    );
}

#[test]
fn what_stacks_point_to_is_there_with_i() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mi"]);
    for thread in others(&target) {
        let mut random = capture::seed("object", index(thread));
        // 256 bytes before and 768 behind are what WinDbg takes.
        let expected: Vec<u64> = (0..768 / 8).map(|_| random.next()).collect();
        assert_eq!(
            dump.words(hex(&thread["object"]), 768 / 8),
            expected,
            "{}",
            thread["name"]
        );
    }
    let Captured { dump, .. } = captured(&target, &["-m"]);
    assert!(
        others(&target)
            .iter()
            .all(|thread| !dump.has_any(hex(&thread["object"]) + 256, 512))
    );
}

#[test]
fn nothing_but_what_unwinding_needs_is_left_with_r() {
    let target = target();
    let Captured { dump, path, _folder } = captured(&target, &["-mr"]);
    for thread in others(&target) {
        assert_eq!(dump.words(hex(&thread["words"]), 16), [0; 16], "{}", thread["name"]);
        assert_eq!(dump.read(hex(&thread["secret"]), 64), [0; 64], "{}", thread["name"]);
        assert_eq!(dump.words(hex(&thread["object_pointer"]), 1), [0], "{}", thread["name"]);
    }
    let file = fs::read(&path).expect("a file");
    for text in ["the secret of thread", "what the environment says"] {
        assert!(
            !file.windows(text.len()).any(|window| window == text.as_bytes()),
            "{text}"
        );
    }
    // The stacks can be walked for all that: the same frames as without.
    let Captured {
        path: whole,
        _folder: _whole,
        ..
    } = captured(&target, &["-m"]);
    if let Some((without, with)) = lldb(&path).zip(lldb(&whole)) {
        let spinning: Vec<u32> = of_kind(&target, "spin").map(tid).collect();
        assert!(spinning.iter().all(|id| without[id].len() > 3), "{without:?}");
        for id in spinning {
            assert_eq!(without[&id], with[&id]);
        }
    }
}

#[test]
fn times_of_threads_are_there_with_t() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mt"]);
    let stat = fs::read_to_string("/proc/stat").expect("statistics");
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .expect("the start of the system");
    let boot: u64 = boot.parse().expect("a number");
    let infos: BTreeMap<u32, _> = dump.thread_infos().into_iter().map(|info| (info.id, info)).collect();
    assert_eq!(infos.len(), target.threads().len());
    for thread in target.threads() {
        let task = format!("/proc/{}/task/{}", target.id(), tid(thread));
        let fields = fs::read_to_string(format!("{task}/stat")).expect("statistics");
        let (_, fields) = fields.rsplit_once(") ").expect("a name");
        // The first of these is field 3; 22 is the start, 14 and 15 the times, in ticks of 10 ms.
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("ticks") * 100_000;
        let info = infos[&tid(thread)];
        assert_eq!(
            info.create_time,
            boot * 10_000_000 + ticks(22) + 116_444_736_000_000_000
        );
        assert!(info.user_time <= ticks(14) && info.kernel_time <= ticks(15), "{info:?}");
        let status = fs::read_to_string(format!("{task}/status")).expect("a status");
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed:"))
            .expect("processors");
        let allowed = u64::from_str_radix(&allowed.trim().replace(',', ""), 16).expect("a mask");
        assert_eq!(info.affinity, allowed);
    }
    assert!(of_kind(&target, "spin").all(|thread| infos[&tid(thread)].user_time > 0));
}

#[test]
fn regions_are_those_of_the_kernels_list_with_upper_f() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mF"]);
    let mut regions = dump.regions();
    assert_eq!(regions.first().map(|region| region.base), Some(0));
    // The kernel's page for system calls of old lies in its own half, which is no part of the address space.
    regions.retain(|region| region.base < 1 << 63);
    let end = regions.last().map(|region| region.base + region.size);
    assert_eq!(end, Some(0x7FFF_FFFF_F000));
    for pair in regions.windows(2) {
        assert_eq!(
            pair[0].base + pair[0].size,
            pair[1].base,
            "the whole address space, without a gap"
        );
    }
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.id())).expect("maps");
    let mut described = 0;
    for line in maps.lines().filter(|line| !line.ends_with("[vsyscall]")) {
        let (range, rest) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (address(start), address(end));
        described += end - start;
        let protection = match &rest[..3] {
            "---" => 1,
            "r--" => 2,
            "rw-" => 4,
            "r-x" => 0x20,
            other => panic!("{other} is not expected of the target"),
        };
        let within = regions
            .iter()
            .filter(|region| region.base < end && region.base + region.size > start);
        let within: Vec<_> = within.collect();
        assert!(!within.is_empty());
        for region in within {
            assert_ne!(region.state, 0x1_0000, "{line}: {region:x?}");
            // What is committed but cannot be read is told apart from the mapping around it.
            let is_known =
                region.protect == protection || region.protect == 8 && protection == 4 || region.protect <= 1;
            assert!(is_known, "{line}: {region:x?}");
        }
    }
    let free = regions.iter().filter(|region| region.state == 0x1_0000);
    let all: u64 = regions.iter().map(|region| region.size).sum();
    assert_eq!(all - free.map(|region| region.size).sum::<u64>(), described);
}

#[test]
fn paths_of_modules_are_names_with_upper_r() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mR"]);
    let names: Vec<String> = dump.modules().into_iter().map(|module| module.name).collect();
    assert!(
        names.iter().all(|name| !name.is_empty() && !name.contains('/')),
        "{names:?}"
    );
    assert_eq!(names[0], "capture-target");
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
fn independent_readers_read_every_option() {
    if places::validators().is_none() || places::tools().is_none() {
        return;
    }
    let mut problems = Vec::new();
    let target = target();
    for options in LETTERS.into_iter().chain(["-mFhutidcpwy", "-may"]) {
        let captured = captured(&target, &[options]);
        let answers = validators::ask_all(&captured.path).expect("validators");
        for answer in &answers {
            let is_read = match answer.verdict {
                Verdict::Ok => true,
                // It wants lists that are only there on request.
                Verdict::Skip => answer.tool.starts_with("udmp"),
                _ => false,
            };
            let count = answer
                .number("threads")
                .is_none_or(|count| count == target.threads().len() as u64);
            if !is_read || !count {
                problems.push(format!("{options}: {answer:?}"));
            }
        }
        let sums: Vec<_> = answers.iter().filter_map(|answer| answer.memory.as_ref()).collect();
        if sums.windows(2).any(|pair| pair[0] != pair[1]) {
            problems.push(format!("{options}: checksums differ: {sums:?}"));
        }
    }
    parallel::fail_with(&problems);
}

#[test]
fn crash_reporters_see_the_system_and_walk_the_stacks() {
    let target = target();
    let Captured { path, _folder, .. } = captured(&target, &["-m"]);
    let Some(report) = stackwalk::walk(&path) else { return };
    let report = report.expect("a report");
    assert_eq!(report["system_info"]["os"], "Linux");
    assert_eq!(report["system_info"]["cpu_arch"], "amd64");
    assert_eq!(report["pid"], target.id());
    let modules = report["modules"].as_array().expect("modules");
    for truth in target.truth["modules"].as_array().expect("modules") {
        let module = modules
            .iter()
            .find(|module| hex(&module["base_addr"]) == hex(&truth["start"]))
            .expect("a module");
        assert_eq!(module["code_id"], truth["build_id"], "{truth}");
    }
}

/// The names of the functions on each thread's stack, as LLDB sees them; `None` where it is not there.
fn lldb(dump: &std::path::Path) -> Option<BTreeMap<u32, Vec<String>>> {
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
    let script = "script [print('SEEN', t.GetThreadID(), *[(f.GetFunctionName() or '?').split('::')[0].split('<')[0] \
                  for f in t]) for t in lldb.process]";
    let output = Command::new(program)
        .args(["-b", "-O", "settings set symbols.enable-external-lookup false"])
        .arg("-o")
        .arg(format!("target create --core \"{}\"", dump.display()))
        .args(["-o", script])
        .stdin(Stdio::null())
        .output()
        .expect("lldb starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = text.lines().filter_map(|line| line.strip_prefix("SEEN "));
    let threads: BTreeMap<u32, Vec<String>> = seen
        .map(|line| {
            let mut words = line.split(' ');
            let id = words.next().and_then(|id| id.parse().ok()).expect("an id");
            (id, words.map(str::to_owned).collect())
        })
        .collect();
    assert!(!threads.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(threads)
}

#[test]
fn debuggers_see_what_each_thread_does() {
    let target = target();
    for options in ["-m", "-ma"] {
        let Captured { path, _folder, .. } = captured(&target, &[options]);
        let Some(threads) = lldb(&path) else { return };
        assert_eq!(threads.len(), target.threads().len());
        for thread in target.threads() {
            let frames = &threads[&tid(thread)];
            let expected = match thread["kind"].as_str() {
                Some("spin") => "capture_target_spin_sse",
                Some("epoll") => "epoll_wait",
                Some("futex") => "syscall",
                Some("main" | "read") => "read",
                _ => "clock_nanosleep",
            };
            // A thread that was just awake is elsewhere for a moment.
            let is_waiting = matches!(thread["kind"].as_str(), Some("spin" | "main" | "read"));
            let seen = frames.iter().any(|frame| frame.contains(expected));
            let runs = frames.iter().any(|frame| frame == "capture_target" || frame == "main");
            assert!(seen || !is_waiting && runs, "{options}: {}: {frames:?}", thread["name"]);
            assert!(runs, "{options}: {}: {frames:?}", thread["name"]);
        }
    }
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
