//! Cores of Linux processes that are made while the tests run: by the kernel and by a debugger.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dotdump_format::VirtAddr;
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot as _};
use dotdump_tests::places::{self, skip};
use dotdump_tests::program::{convert_well, run};
use dotdump_tests::validators::{self, Verdict};
use serde_json::Value;

/// Fills 64 KiB, tells where they are, and stops or crashes with known registers.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *wait_for_ever(void *unused) { for (;;) pause(); return unused; }
int main(int count, char **arguments) {
    pthread_t thread;
    pthread_create(&thread, 0, wait_for_ever, 0);
    usleep(100000);
    unsigned char *heap = malloc(0x10000);
    for (int at = 0; at < 0x10000; at++) heap[at] = (unsigned char)(at % 251);
    printf("%p\n", (void *)heap);
    fflush(stdout);
    if (count > 1 && !strcmp(arguments[1], "crash"))
        __asm__ volatile("mov $0x1122334455667788, %%r12\n mov $0xCAFE, %%ebx\n movb $1, (%%rax)"
                         : : "a"(0x1234L) : "r12", "rbx", "memory");
    for (;;) pause();
}
"#;

/// A process in the making: where its heap is, and its core.
struct Made {
    heap: u64,
    core: PathBuf,
    program: PathBuf,
}

/// Compiles the program; `None` where there is no compiler.
fn compile(folder: &Path) -> Option<PathBuf> {
    let (source, program) = (folder.join("victim.c"), folder.join("victim"));
    fs::write(&source, PROGRAM).expect("a source");
    let compiled = Command::new("cc")
        .args(["-O1", "-g", "-pthread", "-Wl,--build-id", "-o"])
        .args([&program, &source])
        .status();
    match compiled {
        Ok(status) => {
            assert!(status.success(), "the program does not compile");
            Some(program)
        }
        Err(error) => {
            skip(&format!("cc: {error}"));
            None
        }
    }
}

/// A variable in the program's environment.
const VARIABLE: (&str, &str) = ("DOTDUMP_VARIABLE", "two words");

/// Starts the program and reads where its heap is.
fn start(program: &Path, argument: &str) -> (Child, u64) {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$1\""])
        .arg(program)
        .arg(argument)
        .env(VARIABLE.0, VARIABLE.1)
        .current_dir(program.parent().expect("a folder"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let output = child.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let heap = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).expect("an address");
    (child, heap)
}

/// A core that the kernel wrote of a crash.
fn kernel_core(folder: &Path) -> Option<Made> {
    let program = compile(folder)?;
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" {
        skip(&format!("the kernel writes cores elsewhere: {}", pattern.trim()));
        return None;
    }
    let (mut child, heap) = start(&program, "crash");
    let id = child.id();
    child.wait().expect("its end");
    let core = [folder.join("core"), folder.join(format!("core.{id}"))];
    let Some(core) = core.into_iter().find(|core| core.exists()) else {
        skip("the kernel wrote no core");
        return None;
    };
    Some(Made { heap, core, program })
}

/// A core that a debugger wrote of a process that runs on.
fn debuggers_core(folder: &Path) -> Option<Made> {
    let program = compile(folder)?;
    let (mut child, heap) = start(&program, "wait");
    let written = Command::new("gcore")
        .arg("-o")
        .arg(folder.join("copy"))
        .arg(child.id().to_string())
        .stdin(Stdio::null())
        .output();
    let core = folder.join(format!("copy.{}", child.id()));
    child.kill().expect("killed");
    child.wait().expect("its end");
    match written {
        Ok(written) if core.exists() => {
            assert!(written.status.success());
            Some(Made { heap, core, program })
        }
        Ok(written) => {
            skip(&format!("gcore: {}", String::from_utf8_lossy(&written.stderr)));
            None
        }
        Err(error) => {
            skip(&format!("gcore: {error}"));
            None
        }
    }
}

fn inspected(file: &Path) -> Value {
    let shown = run(&["inspect".as_ref(), "--json".as_ref(), file.as_os_str()]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    serde_json::from_slice(&shown.stdout).expect("JSON")
}

/// What gdb says of expressions in a core.
fn gdb(made: &Made, expressions: &[&str]) -> Option<Vec<u64>> {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch"]);
    for expression in expressions {
        command.args(["-ex", &format!("printf \"=%lx\\n\", {expression}")]);
    }
    let output = match command.arg(&made.program).arg(&made.core).output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("gdb: {error}"));
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let values = text
        .lines()
        .filter_map(|line| u64::from_str_radix(line.strip_prefix('=')?, 16).ok());
    let values: Vec<u64> = values.collect();
    assert_eq!(values.len(), expressions.len(), "{text}");
    Some(values)
}

/// The build id that the linker put into the program.
fn build_id(program: &Path) -> String {
    let output = Command::new("readelf")
        .arg("-n")
        .arg(program)
        .output()
        .expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: ").map(str::to_owned));
    line.expect("a build id")
}

fn register(thread: &Value, name: &str) -> u64 {
    let text = thread["context"]["registers"][name].as_str().expect("a register");
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
}

/// Takes away what only dumps with the letter y keep.
fn without_extended_state(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(without_extended_state),
        Value::Object(fields) => {
            if let Some(Value::Object(context)) = fields.get_mut("context") {
                context.retain(|key, _| key == "registers");
            }
        }
        _ => {}
    }
}

/// What every core has to show, and every dump that is made of it.
fn check(made: &Made, folder: &Path) {
    let core = inspected(&made.core);
    assert_eq!(core["kind"], "elf-core");
    assert_eq!(core["findings_total"], 0, "{:#}", core["findings"]);

    // The current thread of a debugger is the one with the signal.
    if let Some(values) = gdb(made, &["$rip", "$rsp", "$rbp", "$fs_base"]) {
        let threads = core["threads"].as_array().expect("threads");
        let current = threads.iter().find(|thread| register(thread, "rip") == values[0]);
        let is_same = |thread: &&Value| register(thread, "rsp") == values[1] && register(thread, "rbp") == values[2];
        let same = threads.iter().find(is_same).or(current).expect("the thread");
        assert_eq!((register(same, "rip"), register(same, "rsp")), (values[0], values[1]));
        assert_eq!(same["teb"], format!("{:#x}", values[3]));
    }
    assert_eq!(core["threads"].as_array().map(Vec::len), Some(2));
    // The stack of the program has them whole, the core's own record only parted at spaces.
    let command = core["linux"]["command_line"].as_array().expect("arguments");
    assert_eq!(
        (command.len(), &command[0]),
        (2, &Value::from(made.program.to_string_lossy().as_ref()))
    );
    let environment = core["linux"]["environment"].as_array().expect("variables");
    assert!(
        environment.contains(&Value::from(format!("{}={}", VARIABLE.0, VARIABLE.1))),
        "{environment:?}"
    );
    assert_eq!(core["threads"][0]["name"], "victim");
    let program = &core["modules"][0];
    assert_eq!(program["name"], made.program.to_string_lossy().as_ref());
    let id = program["code_id"].as_str().expect("a code id").to_lowercase();
    assert_eq!(id, build_id(&made.program));

    for options in ["-m", "-mfFty", "-mpi", "-mc"] {
        let output = folder.join(format!("{options}.dmp"));
        convert_well(&made.core, &output, &[options, "-q", "-o"]);
        let dump = inspected(&output);
        for key in ["threads", "modules", "exception", "process_id"] {
            let (mut found, mut wanted) = (dump[key].clone(), core[key].clone());
            if !options.contains('y') {
                without_extended_state(&mut found);
                without_extended_state(&mut wanted);
            }
            assert_eq!(found, wanted, "{options}: {key}");
        }
        let verified = run(&[
            "verify".as_ref(),
            output.as_os_str(),
            "--against".as_ref(),
            made.core.as_os_str(),
        ]);
        assert_eq!(
            verified.code,
            Some(0),
            "{options}: {}{}",
            verified.text(),
            verified.stderr
        );
        if places::validators().is_some() {
            for tool in ["minidump-crate", "stackwalk-rust", "breakpad", "lldb"] {
                let answer = validators::ask(tool, &output).expect("the script");
                let good = matches!(answer.verdict, Verdict::Ok | Verdict::Skip);
                assert!(good, "{options}: {tool}: {:?} {}", answer.verdict, answer.line);
            }
        }
    }

    // Everything that the core has is in a full dump, and the heap is what the program made it.
    let full = folder.join("-mfFty.dmp");
    let written = fs::metadata(&made.core)
        .and_then(|core| core.modified())
        .expect("a time");
    let seconds = written
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    assert_eq!(inspected(&full)["time_date_stamp"], seconds);
    assert_eq!(inspected(&full)["memory"]["bytes"], core["memory"]["bytes"]);
    let file = DumpFile::open(&full, true).expect("the dump");
    let snapshot = MinidumpSnapshot::open(&file).expect("a minidump");
    let mut heap = vec![0; 0x10000];
    let read = snapshot.memory().read(VirtAddr(made.heap), &mut heap).expect("memory");
    assert_eq!(read, heap.len());
    assert!((0_usize..).zip(&heap).all(|(at, byte)| usize::from(*byte) == at % 251));
}

#[test]
fn a_core_of_the_kernel() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(made) = kernel_core(folder.path()) else { return };
    check(&made, folder.path());
    let core = inspected(&made.core);
    let exception = &core["exception"];
    assert_eq!(exception["name"], "SIGSEGV");
    assert_eq!(exception["crash_address"], "0x1234");
    assert_eq!(exception["thread_id"], core["process_id"]);
    assert_eq!(register(exception, "r12"), 0x1122_3344_5566_7788);
    assert_eq!(register(exception, "rbx"), 0xCAFE);
    assert_eq!(core["linux"]["command_line"][1], "crash", "{:#}", core["linux"]);
}

#[test]
fn a_core_of_a_debugger() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(made) = debuggers_core(folder.path()) else {
        return;
    };
    check(&made, folder.path());
    assert_eq!(inspected(&made.core)["exception"], Value::Null);
}

#[test]
fn what_a_core_is_not_good_for_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(made) = debuggers_core(folder.path()) else {
        return;
    };
    let output = folder.path().join("no.dmp");
    for (arguments, told) in [
        (
            vec!["verify".as_ref(), made.core.as_os_str()],
            "only dumps can be verified",
        ),
        (
            vec![
                "convert".as_ref(),
                made.core.as_os_str(),
                output.as_os_str(),
                "-k".as_ref(),
            ],
            "-k",
        ),
        (
            vec![
                "convert".as_ref(),
                made.core.as_os_str(),
                output.as_os_str(),
                "--process".as_ref(),
                "1".as_ref(),
            ],
            "--process is refused",
        ),
    ] {
        let refused = run(&arguments);
        assert!(
            refused.code.is_some_and(|code| code != 0) && refused.stderr.contains(told),
            "{}",
            refused.stderr
        );
    }
    assert!(!output.exists());
}
