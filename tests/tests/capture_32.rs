//! A 32-bit program on a 64-bit system is captured as what it is.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dotdump_tests::minidump::Dump;
use dotdump_tests::program::capture_well;
use dotdump_tests::validators::{self, Verdict};
use dotdump_tests::{places, stackwalk};

/// It needs no library: tells that it is there, fills its registers and computes with them.
const SOURCE: &str = "
    .globl _start
_start:
    mov $4, %eax
    mov $1, %ebx
    mov $text, %ecx
    mov $6, %edx
    int $0x80
    movups vector, %xmm5
    push $0x5eed0001
    push $0x5eed0002
    mov $0xa1a10001, %eax
    mov $0xb1b10002, %ebx
    mov $0xc1c10003, %ecx
    mov $0xd1d10004, %edx
    mov $0x51510005, %esi
    mov $0xd1d10006, %edi
    mov $0xb9b90007, %ebp
1:  pause
    jmp 1b
    .data
text: .ascii \"ready\\n\"
    .balign 16
vector: .quad 0x1122334455667788, 0x99aabbccddeeff00
known: .long 0x5eed0003
";

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path) -> Option<Program> {
    let (source, program) = (folder.join("program.s"), folder.join("program32"));
    fs::write(&source, SOURCE).expect("a file");
    let built = Command::new("cc")
        .args(["-m32", "-nostdlib", "-static", "-Wl,--build-id=sha1", "-o"])
        .args([&program, &source])
        .stderr(Stdio::null())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        places::skip("there is no compiler for 32-bit programs");
        return None;
    }
    let mut child = match Command::new(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => Program(child),
        Err(error) => {
            places::skip(&format!("32-bit programs do not run: {error}"));
            return None;
        }
    };
    let mut ready = [0; 6];
    let output = child.0.stdout.as_mut().expect("its output");
    output.read_exact(&mut ready).expect("a word");
    Some(child)
}

#[test]
fn registers_and_stack_are_those_of_32_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = start(folder.path()) else { return };
    let output = folder.path().join("out.dmp");
    for options in ["-m", "-my", "-ma", "-mA"] {
        capture_well(program.0.id(), &output, &[options, "-o", "-q"]);
        let dump = Dump::open(&output);
        // SystemInfo.ProcessorArchitecture: x86.
        assert_eq!(dump.stream_bytes(7).expect("SystemInfo")[..2], [0, 0], "{options}");
        let contexts = dump.contexts();
        let [(_, context)] = &contexts[..] else {
            panic!("{options}: {} threads", contexts.len())
        };
        let bytes = &context.0;
        assert!(
            bytes.len() == 716 || options == "-my",
            "{options}: {} bytes",
            bytes.len()
        );
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(word(0) & 0xFFFF_0000, 0x1_0000, "CONTEXT_i386");
        // edi, esi, ebx, edx, ecx, eax, ebp: CONTEXT of winnt.h.
        let general: Vec<u32> = (0..7).map(|index| word(0x9C + 4 * index)).collect();
        let expected = [
            0xD1D1_0006,
            0x5151_0005,
            0xB1B1_0002,
            0xD1D1_0004,
            0xC1C1_0003,
            0xA1A1_0001,
            0xB9B9_0007,
        ];
        assert_eq!(general, expected, "{options}");
        // xmm5 in the image of FXSAVE.
        let vector = [
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0xFF, 0xEE, 0xDD, 0xCC, 0xBB, 0xAA, 0x99,
        ];
        assert_eq!(bytes[0xCC + 160 + 5 * 16..][..16], vector, "{options}");
        let stack = dump.read(u64::from(word(0xC4)), 8);
        assert_eq!(stack, [2, 0, 0xED, 0x5E, 1, 0, 0xED, 0x5E], "{options}");
        let module = &dump.modules()[0];
        assert!(module.name.ends_with("/program32"), "{module:?}");
        assert!(
            (module.base..module.base + module.size).contains(&u64::from(word(0xB8))),
            "{options}"
        );
        assert_eq!(module.build_id.as_ref().map(Vec::len), Some(20), "{options}");
    }
}

#[test]
fn readers_see_a_32_bit_processor() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = start(folder.path()) else { return };
    let output = folder.path().join("out.dmp");
    for options in ["-m", "-mA"] {
        capture_well(program.0.id(), &output, &[options, "-o", "-q"]);
        if let Some(report) = stackwalk::walk(&output) {
            let report = report.expect("a report");
            assert_eq!(report["system_info"]["cpu_arch"], "x86");
            let registers = &report["threads"][0]["frames"][0]["registers"];
            assert!(registers.is_null() || registers["eax"] == "0xa1a10001", "{registers}");
        }
        for answer in validators::ask_all(&output).into_iter().flatten() {
            let is_read =
                answer.verdict == Verdict::Ok || answer.verdict == Verdict::Skip && answer.tool.starts_with("udmp");
            assert!(is_read, "{options}: {answer:?}");
            if answer.tool == "lldb" {
                assert!(
                    answer.field("triple").is_some_and(|triple| triple.starts_with("i")),
                    "{answer:?}"
                );
            }
        }
    }
}
