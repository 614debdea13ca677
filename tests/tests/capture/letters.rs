//! The memory that each letter adds, and what the filter takes out.

use super::*;
use crate::memory::assert_statics;
use crate::readers::lldb;

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
