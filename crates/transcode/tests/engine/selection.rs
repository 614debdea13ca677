//! Which memory each option chooses, on processes small enough that the answer can be worked out by hand from the rules
//! in docs/options.md.

use crate::common::{IMAGE, PRIVATE, R, RW, RX, TestProcess, TestThread, pe_headers, words};
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};
use dotdump_transcode::options::DumpOptions;
use dotdump_transcode::shortfall::Severity;
use dotdump_transcode::{Conversion, ConvertError, Request, prepare};

const CODE: u64 = 0x1_4000_0000;
const HEAP: u64 = 0x2_0000;
const STACK: u64 = 0x10_0000;
const BASE: u64 = STACK + 0x4000;
const TEB: u64 = 0x7FF0_0000;

/// One thread whose stack has a pointer into the heap, one into code, one into itself, and a number.
fn process() -> TestProcess {
    let sp = STACK + 0x3000;
    TestProcess {
        threads: vec![TestThread {
            id: 1,
            teb: TEB,
            ip: CODE + 0x1234,
            sp,
        }],
        modules: vec![("C:\\app\\a.exe", CODE, 0x1_0000)],
        memory: vec![
            words(HEAP, 0x2000, &[(HEAP + 0x1010, 0x5EC2E7)]),
            words(
                STACK,
                0x4000,
                &[
                    (sp - 0x800, HEAP + 0x1F00), // below the stack pointer: not looked at, and not kept
                    (sp + 0x10, HEAP + 0x1010),
                    (sp + 0x18, CODE + 0x2000),
                    (sp + 0x20, sp + 0x100),
                    (sp + 0x28, 0x1234),
                ],
            ),
            words(TEB, 0x2000, &[(TEB + 8, BASE), (TEB + 0x10, STACK + 0x1000)]),
            (
                CODE,
                pe_headers(&[
                    (0x1000, 0x3000, 0x6000_0020),
                    (0x5000, 0x10, 0xC000_0040),
                    (0x6000, 0x20, 0x4000_0040),
                ]),
            ),
            (CODE + 0x1000, vec![0xCC; 0x3000]),
            (CODE + 0x5000, vec![0xDD; 0x2000]),
        ],
        regions: Some(vec![
            (HEAP, 0x2000, RW, PRIVATE),
            (STACK, 0x4000, RW, PRIVATE),
            (TEB, 0x2000, RW, PRIVATE),
            (CODE, 0x1000, R, IMAGE),
            (CODE + 0x1000, 0x3000, RX, IMAGE),
            (CODE + 0x5000, 0x2000, RW, IMAGE),
        ]),
        crashed: Some(1),
        ..TestProcess::default()
    }
}

fn request(letters: &str) -> Request {
    let options = DumpOptions {
        mini: letters.parse().unwrap(),
        ..DumpOptions::default()
    };
    Request {
        options,
        ..Request::default()
    }
}

/// What `-m` with these letters makes of a dump: the conversion's answer.
fn with<T>(dump: &[u8], request: &Request, look: impl FnOnce(Result<Conversion<'_>, ConvertError>) -> T) -> T {
    let snapshot = MinidumpSnapshot::open(&dump).unwrap();
    look(prepare(&snapshot, request))
}

/// The ranges that `-m` with these letters keeps.
fn kept(process: &TestProcess, letters: &str) -> Vec<(u64, u64)> {
    with(&process.to_dump(), &request(letters), |conversion| {
        let conversion = conversion.unwrap_or_else(|error| panic!("-m{letters}: {error}"));
        conversion
            .planned()
            .ranges
            .iter()
            .map(|range| (range.start.0, range.size()))
            .collect()
    })
}

const SP: u64 = STACK + 0x3000;
const STACK_KEPT: (u64, u64) = (SP, 0x1000);
const WINDOW: (u64, u64) = (CODE + 0x1234 - 0x80, 0x100);

#[test]
fn stacks_and_code_are_always_kept() {
    assert_eq!(kept(&process(), ""), [STACK_KEPT, WINDOW]);
}

#[test]
fn an_x86_stack_begins_four_bytes_early() {
    let process = TestProcess {
        is_32_bit: true,
        threads: vec![TestThread {
            id: 1,
            teb: 0,
            ip: 0x40_1000,
            sp: SP,
        }],
        modules: vec![("a.exe", 0x40_0000, 0x1_0000)],
        memory: vec![(STACK, vec![0; 0x4000])],
        ..TestProcess::default()
    };
    assert_eq!(kept(&process, ""), [(SP - 4, 0x1004)]);
}

#[test]
fn without_a_teb_the_stack_ends_with_its_region() {
    let mut process = process();
    process.threads[0].teb = 0;
    assert_eq!(kept(&process, ""), [STACK_KEPT, WINDOW]);
    // And without regions where the bytes end.
    process.regions = None;
    assert_eq!(kept(&process, ""), [STACK_KEPT, WINDOW]);
}

#[test]
fn indirect_memory_is_256_bytes_before_and_768_after_each_pointer() {
    // The pointer of the stack to itself reaches from 0x100 below the pointer's target.
    assert_eq!(kept(&process(), "i"), [(HEAP + 0xF10, 0x400), STACK_KEPT, WINDOW]);
    // Cut to the region where it ends early.
    let mut process = process();
    process.memory[1] = words(STACK, 0x4000, &[(SP + 8, HEAP + 0x1FF0)]);
    assert_eq!(kept(&process, "i"), [(HEAP + 0x1EF0, 0x110), STACK_KEPT, WINDOW]);
    // Own-stack pointers reach below the stack pointer.
    process.memory[1] = words(STACK, 0x4000, &[(SP + 8, SP + 0x40)]);
    assert_eq!(kept(&process, "i"), [(SP - 0xC0, 0x10C0), WINDOW]);
}

#[test]
fn segments_come_from_the_headers_in_the_dump() {
    assert_eq!(kept(&process(), "d"), [STACK_KEPT, WINDOW, (CODE + 0x5000, 0x10)]);
    assert_eq!(kept(&process(), "c"), [STACK_KEPT, (CODE + 0x1000, 0x3000)]);
}

#[test]
fn without_headers_the_protection_of_pages_tells_the_segments() {
    let mut process = process();
    process.memory[3].1.fill(0);
    assert_eq!(kept(&process, "d"), [STACK_KEPT, WINDOW, (CODE + 0x5000, 0x2000)]);
    process.regions = None;
    with(&process.to_dump(), &request("d"), |conversion| {
        let absent = conversion.unwrap().report.absent;
        assert_eq!(absent[0].severity, Severity::Warning);
        assert!(absent[0].message.contains("a.exe"), "{absent:?}");
    });
}

#[test]
fn headers_can_come_from_a_folder_of_images() {
    let mut process = process();
    let headers = std::mem::take(&mut process.memory[3].1);
    process.memory.remove(3);
    process.regions = None;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("A.EXE"), &headers).unwrap();
    let images = dotdump_transcode::select::ImageFolders::new(vec![folder.path().to_owned()]);
    let request = Request { images, ..request("d") };
    let ranges = |request: &Request| {
        with(&process.to_dump(), request, |conversion| {
            conversion
                .unwrap()
                .planned()
                .ranges
                .iter()
                .map(|range| (range.start.0, range.size()))
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(ranges(&request), [STACK_KEPT, WINDOW, (CODE + 0x5000, 0x10)]);
    // Another build of the same name is not taken.
    let mut other = headers;
    other[0x88] = 1; // TimeDateStamp
    std::fs::write(folder.path().join("A.EXE"), other).unwrap();
    assert_eq!(ranges(&request), [STACK_KEPT, WINDOW]);
}

#[test]
fn private_pages_need_the_map_of_the_address_space() {
    let mut process = process();
    assert_eq!(
        kept(&process, "w"),
        [(HEAP, 0x2000), (STACK, 0x4000), (TEB, 0x2000), WINDOW]
    );
    process.regions = None;
    with(&process.to_dump(), &request("w"), |conversion| {
        let error = conversion.err().expect("a refusal").to_string();
        assert!(error.contains("-mw") && error.contains("MemoryInfoList"), "{error}");
    });
}

/// Sizes of build 19041 (x64): PEB 0x7C8, process parameters 0x440, fiber-local storage 2 + 4,080 pointers; the texts
/// are stored in their length, the environment in its first 8 KiB.
#[test]
fn environment_blocks_lead_to_the_process_parameters() {
    const PEB: u64 = 0x7FF1_0000;
    const PARAMETERS: u64 = 0x30_0000;
    const TEXT: u64 = 0x31_0000;
    const ENVIRONMENT: u64 = 0x32_0000;
    const TLS: u64 = 0x33_0000;
    const FLS: u64 = 0x34_0000;
    let mut process = process();
    process.memory[2] = words(
        TEB,
        0x2000,
        &[
            (TEB + 8, BASE),
            (TEB + 0x10, STACK + 0x1000),
            (TEB + 0x58, TLS),
            (TEB + 0x60, PEB),
            (TEB + 0x17C8, FLS),
        ],
    );
    process.memory.splice(
        2..2,
        [
            words(
                PARAMETERS,
                0x1000,
                // A UNICODE_STRING: length and maximum length (16 bits each), then the pointer.
                &[
                    (PARAMETERS + 0x70, 0x0032_0030),
                    (PARAMETERS + 0x78, TEXT + 8),
                    (PARAMETERS + 0x80, ENVIRONMENT),
                ],
            ),
            (TEXT, vec![0x41; 0x100]),
            (ENVIRONMENT, vec![0x42; 0x3000]),
            words(TLS, 0x100, &[(TLS, HEAP), (TLS + 8, HEAP + 0x20)]),
            (FLS, vec![0; 0x9000]),
        ],
    );
    let teb = process.memory.iter().position(|(start, _)| *start == TEB).unwrap();
    process.memory.insert(
        teb + 1,
        words(PEB, 0x1000, &[(PEB + 0x20, PARAMETERS), (PEB + 0x120, 19_041)]),
    );
    process.regions = None;
    assert_eq!(
        kept(&process, "p"),
        [
            STACK_KEPT,
            (PARAMETERS, 0x440),
            (TEXT + 8, 0x30),
            (ENVIRONMENT, 0x2000),
            (TLS, 0x10),
            (FLS, 4082 * 8),
            (TEB, 0x2000),
            (PEB, 0x7C8),
            WINDOW,
        ]
    );
}

#[test]
fn environment_blocks_need_a_teb_in_memory() {
    assert_eq!(kept(&process(), "p"), [STACK_KEPT, (TEB, 0x2000), WINDOW]);
    let mut process = process();
    process.memory.remove(2);
    with(&process.to_dump(), &request("p"), |conversion| {
        assert!(conversion.err().expect("a refusal").to_string().contains("TEB"));
    });
}

#[test]
fn full_memory_keeps_the_ranges_of_the_source() {
    let process = process();
    let all: Vec<_> = process
        .memory
        .iter()
        .map(|(start, bytes)| (*start, bytes.len() as u64))
        .collect();
    assert_eq!(kept(&process, "f"), all);
    let mut dump = process.to_dump();
    dump.truncate(dump.len() - 0x800);
    with(&dump, &request("f"), |conversion| {
        assert!(conversion.err().expect("a refusal").to_string().contains("2048 bytes"));
    });
    with(&dump, &request("A"), |conversion| {
        let conversion = conversion.unwrap();
        let ranges = &conversion.planned().ranges;
        assert_eq!(
            ranges.iter().map(|range| range.size()).sum::<u64>(),
            all.iter().map(|(_, size)| size).sum::<u64>() - 0x800
        );
    });
}

#[test]
fn a_dump_without_any_stack_is_refused() {
    let mut process = process();
    process.memory.remove(1);
    process.memory.remove(1);
    process.regions = None;
    with(&process.to_dump(), &request(""), |conversion| {
        assert!(
            conversion
                .err()
                .expect("a refusal")
                .to_string()
                .contains("no stack memory")
        );
    });
}

#[test]
fn a_size_limit_drops_the_least_valuable_memory_first() {
    let dump = process().to_dump();
    let ranges = |letters: &str, max_size| {
        let request = Request {
            max_size: Some(max_size),
            ..request(letters)
        };
        with(&dump, &request, |conversion| {
            let conversion = conversion.unwrap();
            assert!(
                conversion.size() <= max_size,
                "{} bytes, {max_size} allowed",
                conversion.size()
            );
            conversion
                .planned()
                .ranges
                .iter()
                .map(|range| (range.start.0, range.size()))
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(ranges("iw", 0x10_0000).len(), 4);
    let left = ranges("iw", 0x3000);
    for (start, size) in [(HEAP + 0xF10, 0x400), STACK_KEPT, WINDOW] {
        let held = left
            .iter()
            .any(|(other, length)| *other <= start && start + size <= other + length);
        assert!(held, "{start:#x} went before the private pages: {left:x?}");
    }
    assert!(
        left.iter().map(|(_, size)| size).sum::<u64>() < 0x4000,
        "of the private pages a part is left"
    );
    let request = Request {
        max_size: Some(0x1000),
        ..request("iw")
    };
    with(&dump, &request, |conversion| {
        assert!(matches!(
            conversion.err(),
            Some(ConvertError::TooLarge { limit: 0x1000, .. })
        ));
    });
}

#[test]
fn what_has_no_content_leaves_no_flag() {
    let mut process = process();
    process.regions = None;
    process.memory[3].1.fill(0);
    with(&process.to_dump(), &request("dih"), |conversion| {
        let conversion = conversion.unwrap();
        assert_eq!(conversion.planned().flags.bits(), 0x40, "indirect memory only");
        let asked: Vec<_> = conversion
            .report
            .absent
            .iter()
            .map(|shortfall| shortfall.option.as_str())
            .collect();
        assert_eq!(asked, ["-md", "-mh"]);
    });
}

#[test]
fn a_snapshot_masks_sign_extended_addresses_of_32_bit_processes() {
    let process = TestProcess {
        is_32_bit: true,
        threads: vec![TestThread {
            id: 1,
            ip: 0x9000_1000,
            sp: 0x8001_0000,
            ..TestThread::default()
        }],
        modules: vec![("a.exe", 0xFFFF_FFFF_9000_0000, 0x1_0000)],
        memory: vec![(0xFFFF_FFFF_8001_0000, vec![1; 0x100])],
        ..TestProcess::default()
    };
    let dump = process.to_dump();
    let snapshot = MinidumpSnapshot::open(&dump).unwrap();
    assert_eq!(snapshot.modules()[0].range().start.0, 0x9000_0000);
    let extent = snapshot.memory().all().next().unwrap().unwrap();
    assert_eq!(extent.range.start.0, 0x8001_0000);
}

#[test]
fn what_a_size_limit_drops_takes_its_flag_with_it() {
    let dump = process().to_dump();
    // Room for what every dump has and for the manifest's words on what was dropped.
    let least = with(&dump, &request(""), |conversion| conversion.unwrap().size()) + 0xC0;
    for (letters, max_size, flags) in [
        ("w", 0x10_0000, 0x200),
        ("w", least, 0),
        ("f", 0x10_0000, 2),
        ("f", 0x4000, 0),
    ] {
        let request = Request {
            max_size: Some(max_size),
            ..request(letters)
        };
        with(&dump, &request, |conversion| {
            let conversion = conversion.unwrap();
            assert_eq!(
                conversion.planned().flags.bits(),
                flags,
                "-m{letters} in {max_size:#x} bytes"
            );
            let told: Vec<_> = conversion
                .report
                .absent
                .iter()
                .filter(|told| told.option == "--max-size")
                .collect();
            assert_eq!(
                told.len(),
                usize::from(max_size < 0x10_0000),
                "each class is told once: {told:?}"
            );
        });
    }
}

#[test]
fn a_damaged_list_is_told() {
    let mut dump = process().to_dump();
    // The entry of the directory with this type: 4 (ModuleList). Its offset comes 8 bytes behind.
    let entry = (32..)
        .step_by(12)
        .find(|at| dump[*at..*at + 4] == 4_u32.to_le_bytes())
        .unwrap();
    dump[entry + 8..entry + 12].copy_from_slice(&0x7FFF_FFFF_u32.to_le_bytes());
    with(&dump, &request(""), |conversion| {
        let absent = conversion.unwrap().report.absent;
        assert!(
            absent.iter().any(|told| told.message.contains("ModuleList")),
            "{absent:?}"
        );
    });
}

/// Memory that the map of the address space declares readable belongs to a full dump.
#[test]
fn a_full_dump_has_all_that_its_regions_declare() {
    let mut process = process();
    process.memory.remove(0);
    with(&process.to_dump(), &request("f"), |conversion| {
        let error = conversion.err().expect("a refusal").to_string();
        assert!(error.contains("8192 bytes") && error.contains("0x20000"), "{error}");
    });
    with(&process.to_dump(), &request("A"), |conversion| {
        assert!(
            conversion
                .unwrap()
                .report
                .absent
                .iter()
                .any(|told| told.message.contains("8192 bytes"))
        );
    });
}
