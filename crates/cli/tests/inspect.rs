//! `inspect` on dumps whose contents are known: the fixture, and real ones that `minidump-stackwalk` reads, too.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn inspect(arguments: &[&str], dump: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dotdump"))
        .arg("inspect")
        .args(arguments)
        .arg(dump)
        .output()
        .expect("the command starts")
}

fn json(dump: &Path) -> Value {
    let output = inspect(&["--json"], dump);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", dump.display());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}", dump.display()))
}

fn text(dump: &Path) -> String {
    let output = inspect(&[], dump);
    assert!(output.status.success(), "{}", dump.display());
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn workspace() -> &'static Path {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    folder.expect("this crate lies two folders into the workspace")
}

fn fixture(name: &str) -> PathBuf {
    workspace().join("fixtures").join(name)
}

/// Whether a missing corpus or tool is a failure.
fn is_required() -> bool {
    env::var("DOTDUMP_REQUIRE_VALIDATORS").is_ok_and(|value| value == "1")
}

/// All dumps of the corpus whose names start so; none, with a message, where there is no corpus and none is required.
fn corpus(prefix: &str) -> Vec<PathBuf> {
    let beside = || workspace().parent().map(|parent| parent.join("shared/corpus"));
    let folder = env::var_os("DOTDUMP_CORPUS").map(PathBuf::from).or_else(beside);
    let Some(entries) = folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else {
        assert!(!is_required(), "no dumps in {folder:?} (DOTDUMP_CORPUS)");
        eprintln!("skipped: no dumps in {folder:?} (DOTDUMP_CORPUS)");
        return Vec::new();
    };
    let mut dumps: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(".dmp")
        })
        .collect();
    assert!(!dumps.is_empty(), "no {prefix}*.dmp in {folder:?}");
    dumps.sort();
    dumps
}

fn hex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_fixture_is_as_it_was_made() {
    let truth: Value = serde_json::from_slice(&fs::read(fixture("crash-full.json")).unwrap()).unwrap();
    let dump = json(&fixture("crash-full.dmp"));
    assert_eq!(dump["schema"], 1);
    assert_eq!(dump["kind"], "user-minidump");
    assert_eq!(dump["file_size"], truth["file_size"]);
    assert_eq!((&dump["arch"], &dump["os"]), (&"amd64".into(), &"linux".into()));
    let flags = ["MiniDumpWithFullMemory", "MiniDumpWithFullMemoryInfo"];
    assert_eq!(dump["flags"], serde_json::json!(flags));
    assert_eq!(dump["findings"], serde_json::json!([]));
    assert_eq!(dump["process_id"], truth["process_id"]);
    for key in ["bytes", "ranges"] {
        assert_eq!(dump["memory"][key], truth["memory"][key], "{key}");
    }

    let crash = &truth["crash"];
    let exception = &dump["exception"];
    assert_eq!(exception["thread_id"], crash["thread_id"]);
    assert_eq!(exception["address"], crash["address"]);
    assert_eq!(hex(&exception["code"]), crash["signal"].as_u64());
    assert_eq!(hex(&exception["flags"]), crash["code"].as_u64());
    assert_eq!(exception["name"], "SIGSEGV");
    let registers = &exception["context"]["registers"];
    assert_eq!(hex(&registers["rip"]), hex(&crash["instruction_pointer"]));

    let threads = list(&truth["threads"]);
    assert_eq!(list(&dump["threads"]).len(), threads.len());
    for (thread, expected) in list(&dump["threads"]).iter().zip(threads) {
        assert_eq!(thread["id"], expected["id"]);
        assert_eq!(thread["name"], expected["name"]);
        assert_eq!(thread["teb"], expected["thread_pointer"]);
        assert_eq!(thread["stack"]["start"], expected["stack"]["start"]);
        assert_eq!(thread["stack"]["size"], expected["stack"]["size"]);
        assert_eq!(thread["stack"]["bytes"], expected["stack"]["size"]);
        let registers = &thread["context"]["registers"];
        assert_eq!(hex(&registers["rip"]), hex(&expected["instruction_pointer"]));
        assert_eq!(hex(&registers["rsp"]), hex(&expected["stack_pointer"]));
    }

    let module = &dump["modules"][0];
    assert_eq!(list(&dump["modules"]).len(), 1);
    for key in ["name", "base", "size"] {
        assert_eq!(module[key], truth["module"][key], "{key}");
    }
    assert_eq!(module["code_id"], truth["module"]["build_id"]);
}

#[test]
fn mapped_or_read_it_is_the_same() {
    for dump in [&[fixture("crash-full.dmp")], &corpus("mdmp-x86-win7")[..]].concat() {
        let mapped = inspect(&["--json"], &dump).stdout;
        assert!(
            mapped == inspect(&["--json", "--no-mmap"], &dump).stdout,
            "{}",
            dump.display()
        );
        assert!(
            mapped == inspect(&["--json"], &dump).stdout,
            "{}: a second run",
            dump.display()
        );
    }
}

#[test]
fn the_summary_fits_a_screen() {
    let dumps = [corpus("mdmp-"), corpus("synth-mdmp-"), vec![fixture("crash-full.dmp")]].concat();
    for dump in dumps {
        let (text, name) = (text(&dump), dump.display());
        assert!(text.lines().count() <= 40, "{name}:\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{name}:\n{text}");
        assert!(
            !text.chars().any(|letter| letter.is_control() && letter != '\n'),
            "{name}"
        );
    }
}

#[test]
fn the_summary_names_the_crash() {
    let text = text(&fixture("crash-full.dmp"));
    for line in [
        "SIGSEGV, SEGV_MAPERR, address 0x18",
        "\"billing\" at jobserver+0x1760",
        "findings    none",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn what_is_no_minidump_is_refused_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.dmp");
    for (bytes, told) in [
        (&b""[..], "0 bytes"),
        (b"no dump at all", "not a dump: 14 bytes that start with [6e, 6f"),
        (
            b"\x7fELF and more of it, longer than any header",
            "an ELF file, but no core",
        ),
        (b"PAGEDU64 and no more than a part of its header", "within the header"),
        (b"MSCF\0\0\0\0\x20\0\0\0", "a CAB; unpack the dump"),
        (
            b"MDMP\x93\xa7\0\0\x01\0\0\0\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "offset 0xc",
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        for arguments in [&["--json"][..], &[]] {
            let output = inspect(arguments, &path);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(output.stdout.is_empty());
            assert!(error.contains(told) && error.contains("x.dmp"), "{error}");
        }
    }
}

#[test]
fn damage_is_a_finding() {
    let bytes = fs::read(fixture("crash-full.dmp")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.dmp");
    for size in [5_000_000, 20_000] {
        fs::write(&path, &bytes[..size]).unwrap();
        let dump = json(&path);
        assert!(!list(&dump["findings"]).is_empty(), "{size}");
        assert!(dump["memory"]["missing_bytes"].as_u64() > Some(0), "{size}");
        assert!(text(&path).contains("past the end of the file"), "{size}");
    }
    for dump in corpus("bad-") {
        let (json, text) = (inspect(&["--json"], &dump), inspect(&[], &dump));
        assert!(matches!(json.status.code(), Some(0 | 1)), "{}", dump.display());
        assert_eq!(json.status.code(), text.status.code(), "{}", dump.display());
        if json.status.success() {
            let document: Value = serde_json::from_slice(&json.stdout).unwrap();
            let total = document["findings_total"].as_u64().unwrap();
            let said = format!("  {total} finding");
            let text = String::from_utf8_lossy(&text.stdout);
            assert!(total > 0 && text.contains(&said), "{}: {total}\n{text}", dump.display());
        }
    }
}

#[test]
fn known_dumps_of_the_corpus() {
    for dump in corpus("mdmp-x64-win10-debugdiag-greemate") {
        assert_eq!(json(&dump)["comment"], "FirstChance_av_AccessViolation");
    }
    for dump in corpus("mdmp-x64-win10-dbghelp-mwhax7") {
        assert_eq!(list(&json(&dump)["handles"]).len(), 179);
    }
}

/// What `minidump-stackwalk` reads in a dump; `None` where it is not installed.
fn stackwalk(dump: &Path) -> Option<Value> {
    let home = env::var_os("HOME").map(PathBuf::from)?;
    let program = home.join(".cache/dotdump-validators/cargo/bin/minidump-stackwalk");
    if !program.exists() {
        assert!(!is_required(), "{} is missing", program.display());
        eprintln!("skipped: no {}", program.display());
        return None;
    }
    let output = Command::new(program).arg("--json").arg(dump).output();
    let output = output.expect("it starts").stdout;
    Some(serde_json::from_slice(&output).unwrap_or_else(|error| panic!("{}: {error}", dump.display())))
}

/// Compares registers. Both programs name those of ARM in more than one way.
fn assert_same_registers(ours: &Value, theirs: &Value, dump: &str) {
    for (name, value) in theirs.as_object().expect("registers") {
        let aliases: &[&str] = match name.as_str() {
            "fp" => &["x29", "r11"],
            "lr" => &["x30", "r14"],
            "sp" => &["r13"],
            "pc" => &["r15"],
            _ => &[],
        };
        let mut names = [name.as_str()].into_iter().chain(aliases.iter().copied());
        let found = names.find_map(|name| ours.get(name));
        assert_eq!(found.and_then(hex), hex(value), "{dump}: {name}");
    }
}

fn last_part(path: &Value) -> &str {
    let path = path.as_str().unwrap_or_default();
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

#[test]
fn the_same_as_minidump_stackwalk_on_all_intact_dumps() {
    for path in corpus("mdmp-") {
        let Some(theirs) = stackwalk(&path) else { return };
        let ours = json(&path);
        let dump = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_same_threads(&ours, &theirs, &dump);
        assert_same_modules(&ours, &theirs, &dump);
    }
}

fn assert_same_threads(ours: &Value, theirs: &Value, dump: &str) {
    let threads = list(&ours["threads"]);
    assert_eq!(Some(threads.len() as u64), theirs["thread_count"].as_u64(), "{dump}");
    let named = |name: &Value| name.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    for (thread, walked) in threads.iter().zip(list(&theirs["threads"])) {
        assert_eq!(thread["id"], walked["thread_id"], "{dump}");
        assert_eq!(named(&thread["name"]), named(&walked["thread_name"]), "{dump}");
    }
    let exception = &ours["exception"];
    let Some(crashed) = theirs["crash_info"]["crashing_thread"].as_u64() else {
        return;
    };
    if exception.is_null() {
        return;
    }
    let crashed = &threads[usize::try_from(crashed).unwrap()];
    assert_eq!(crashed["id"], exception["thread_id"], "{dump}");
    let address = &theirs["crash_info"]["address"];
    assert_eq!(hex(&exception["crash_address"]), hex(address), "{dump}");
    let frame = &theirs["crashing_thread"]["frames"][0];
    assert_same_registers(&exception["context"]["registers"], &frame["registers"], dump);
}

fn assert_same_modules(ours: &Value, theirs: &Value, dump: &str) {
    let sorted = |modules: &[Value], base: &str| {
        let mut modules = modules.to_vec();
        modules.sort_by_key(|module| hex(&module[base]));
        modules
    };
    let modules = sorted(list(&ours["modules"]), "base");
    let expected = sorted(list(&theirs["modules"]), "base_addr");
    assert_eq!(modules.len(), expected.len(), "{dump}");
    for (module, expected) in modules.iter().zip(&expected) {
        let base = &expected["base_addr"];
        assert_eq!(hex(&module["base"]), hex(base), "{dump}");
        // It gives zeros to a file without an id.
        let id = expected["debug_id"].as_str().unwrap_or_default();
        let id = if id.bytes().all(|digit| digit == b'0') { "" } else { id };
        assert_eq!(module["debug_id"].as_str().unwrap_or_default(), id, "{dump} {base}");
        if !module["debug_id"].is_null() {
            let file = last_part(&expected["debug_file"]);
            assert_eq!(last_part(&module["debug_file"]), file, "{dump} {base}");
        }
        assert_eq!(
            last_part(&module["name"]),
            last_part(&expected["filename"]),
            "{dump} {base}"
        );
        if let Some(version) = expected["version"].as_str() {
            assert_eq!(module["version"], version, "{dump} {base}");
        }
    }
}
