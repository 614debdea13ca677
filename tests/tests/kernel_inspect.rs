//! `inspect` on dumps of machines whose contents are known.

use std::path::Path;

use dotdump_tests::machines::{image, image_file, truth};
use dotdump_tests::places::corpus_file;
use dotdump_tests::program::run;
use serde_json::{Value, json};

fn inspect(dump: &Path) -> Value {
    let run = run(&["inspect".as_ref(), "--json".as_ref(), dump.as_os_str()]);
    assert_eq!(run.code, Some(0), "{}: {}", dump.display(), run.stderr);
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{}: {error}", dump.display()))
}

fn summary(dump: &Path) -> String {
    let run = run(&["inspect".as_ref(), dump.as_os_str()]);
    assert_eq!(run.code, Some(0), "{}: {}", dump.display(), run.stderr);
    run.text()
}

/// What the header of a dump of the corpus says, as it was measured with other tools.
struct Known {
    file: &'static str,
    arch: &'static str,
    build: u64,
    processors: u64,
    dump_type: u64,
    bugcheck: u64,
    name: Option<&'static str>,
    parameters: [u64; 4],
    root: u64,
    program_counter: (&'static str, u64),
}

const HEADERS: [Known; 10] = [
    Known {
        file: "kernel-x64-triage-b19041-bc1000007e",
        arch: "amd64",
        build: 19041,
        processors: 16,
        dump_type: 4,
        bugcheck: 0x1000_007E,
        name: Some("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"),
        parameters: [
            0xFFFF_FFFF_C000_0005,
            0xFFFF_F804_8B58_334C,
            0xFFFF_8504_2989_1EE8,
            0xFFFF_8504_2989_1720,
        ],
        root: 0x1A_D000,
        program_counter: ("rip", 0xFFFF_F804_8B58_334C),
    },
    Known {
        file: "kernel-arm64-triage-b22000",
        arch: "arm64",
        build: 22000,
        processors: 8,
        dump_type: 4,
        bugcheck: 0x1C8,
        name: Some("MANUALLY_INITIATED_POWER_BUTTON_HOLD"),
        parameters: [0x1B58, 0xFFFF_F803_F3A2_0860, 0, 0],
        root: 0x946A_A000,
        program_counter: ("pc", 0xFFFF_F803_F32D_E014),
    },
    Known {
        file: "kernel-x64-triage-b19041-bc4a",
        arch: "amd64",
        build: 19041,
        processors: 1,
        dump_type: 4,
        bugcheck: 0x4A,
        name: Some("IRQL_GT_ZERO_AT_SYSTEM_SERVICE"),
        parameters: [0x7FFE_7350_D0C4, 2, 0, 0xFFFF_A704_EEB6_BEC0],
        root: 0x7108_E000,
        program_counter: ("rip", 0xFFFF_F807_5C00_B6F0),
    },
    Known {
        file: "kernel-x64-triage-b19041-bc50-daimuvg",
        arch: "amd64",
        build: 19041,
        processors: 16,
        dump_type: 4,
        bugcheck: 0x50,
        name: Some("PAGE_FAULT_IN_NONPAGED_AREA"),
        parameters: [0xFFFF_FFFF_FFFF_FFB4, 0, 0xFFFF_F804_206C_B873, 2],
        root: 0x1_DE26_0000,
        program_counter: ("rip", 0xFFFF_F804_1EBF_8F60),
    },
    Known {
        file: "kernel-x64-triage-b19041-bc50-ojusha",
        arch: "amd64",
        build: 19041,
        processors: 12,
        dump_type: 4,
        bugcheck: 0x50,
        name: Some("PAGE_FAULT_IN_NONPAGED_AREA"),
        parameters: [0xFFFF_E78F_9034_5F71, 0x11, 0xFFFF_E78F_9034_5F71, 2],
        root: 0x1A_D000,
        program_counter: ("rip", 0xFFFF_F805_531F_BCA0),
    },
    Known {
        file: "kernel-x86-triage-b2600-bc1000008e",
        arch: "x86",
        build: 2600,
        processors: 1,
        dump_type: 4,
        bugcheck: 0x1000_008E,
        name: Some("KERNEL_MODE_EXCEPTION_NOT_HANDLED"),
        parameters: [0xC000_0005, 0xF8CF_45AD, 0xF667_BBB0, 0],
        root: 0x770_02C0,
        program_counter: ("eip", 0xF8CF_45AD),
    },
    Known {
        file: "kernel-x86-triage-b2600-bc7f",
        arch: "x86",
        build: 2600,
        processors: 1,
        dump_type: 4,
        bugcheck: 0x7F,
        name: Some("UNEXPECTED_KERNEL_MODE_TRAP"),
        parameters: [0; 4],
        root: 0xEC2_F000,
        program_counter: ("eip", 0x8052_66BF),
    },
    Known {
        file: "kernel-x64-full-b19045",
        arch: "amd64",
        build: 19045,
        processors: 4,
        dump_type: 1,
        bugcheck: 0x5454_414D,
        name: None,
        parameters: [0x4E4F_4F4D, 0x534C_4F53, 0x4E4F_4F4D, 0x534C_4F53],
        root: 0x1A_D002,
        program_counter: ("rip", 0xFFFF_F807_2AA9_136D),
    },
    Known {
        file: "kernel-x64-full-b9200",
        arch: "amd64",
        build: 9200,
        processors: 8,
        dump_type: 1,
        bugcheck: 0,
        name: None,
        parameters: [0; 4],
        root: 0x3_E6B1_A000,
        program_counter: ("rip", 0xFFFF_F805_197B_2F8F),
    },
    Known {
        file: "kernel-x86-full-b7601",
        arch: "x86",
        build: 7601,
        processors: 2,
        dump_type: 1,
        bugcheck: 0,
        name: None,
        parameters: [0; 4],
        root: 0xBF62_F2E0,
        program_counter: ("eip", 0xA013_3516),
    },
];

fn hex(value: u64) -> Value {
    json!(format!("{value:#x}"))
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[test]
fn headers_of_real_dumps_say_what_other_tools_read_in_them() {
    for known in HEADERS {
        let Some(path) = corpus_file(known.file) else { return };
        let dump = inspect(&path);
        let file = known.file;
        assert_eq!(
            (&dump["schema"], &dump["kind"]),
            (&json!(1), &json!("kernel-dump")),
            "{file}"
        );
        assert_eq!(
            (&dump["arch"], &dump["os"]),
            (&json!(known.arch), &json!("windows")),
            "{file}"
        );
        assert_eq!(dump["build"], known.build, "{file}");
        assert_eq!(dump["number_of_processors"], known.processors, "{file}");
        assert_eq!(dump["dump_type"]["number"], known.dump_type, "{file}");
        let bugcheck = json!({
            "code": hex(known.bugcheck),
            "name": known.name,
            "parameters": known.parameters.map(hex),
        });
        assert_eq!(dump["bugcheck"], bugcheck, "{file}");
        assert_eq!(dump["directory_table_base"], hex(known.root), "{file}");
        let (register, value) = known.program_counter;
        assert_eq!(number(&dump["context"]["registers"][register]), Some(value), "{file}");
        assert_eq!(dump["exception"]["name"], "BREAKPOINT", "{file}");

        let summary = summary(&path);
        assert!(
            summary.contains(&format!("Windows build {}, {}", known.build, known.arch)),
            "{summary}"
        );
        if let Some(name) = known.name {
            assert!(summary.contains(&format!("{:#x} {name}", known.bugcheck)), "{summary}");
        }
        assert!(summary.contains(&format!("{register}={value:#x}")), "{summary}");
    }
}

/// What stands in a triage dump, as it was measured with other tools.
struct KnownTriage {
    file: &'static str,
    writer: &'static str,
    drivers: usize,
    unloaded: usize,
    data_blocks: u64,
    size_of_dump: u64,
    /// The stack's offset and size.
    stack: (u64, u64),
    blobs: usize,
    /// The first module's name (as its file name), base, size and time stamp.
    kernel: Option<(&'static str, u64, u64, u64)>,
}

const TRIAGE: [KnownTriage; 7] = [
    KnownTriage {
        file: "kernel-x64-triage-b19041-bc1000007e",
        writer: "offline",
        drivers: 151,
        unloaded: 4,
        data_blocks: 1831,
        size_of_dump: 0x13_A28C,
        stack: (0xE390, 0x2118),
        blobs: 20,
        kernel: Some(("ntoskrnl.exe", 0xFFFF_F804_7BA0_0000, 0x104_6000, 0x0D83_33E6)),
    },
    KnownTriage {
        file: "kernel-arm64-triage-b22000",
        writer: "offline",
        drivers: 245,
        unloaded: 11,
        data_blocks: 679,
        size_of_dump: 0xA_C46C,
        stack: (0xCF50, 0xB60),
        blobs: 42,
        kernel: None,
    },
    KnownTriage {
        file: "kernel-x64-triage-b19041-bc4a",
        writer: "crash-time",
        drivers: 156,
        unloaded: 9,
        data_blocks: 33,
        size_of_dump: 0x1_B600,
        stack: (0xE2A8, 0x378),
        blobs: 29,
        kernel: None,
    },
    KnownTriage {
        file: "kernel-x64-triage-b19041-bc50-daimuvg",
        writer: "offline",
        drivers: 206,
        unloaded: 8,
        data_blocks: 1360,
        size_of_dump: 0x12_30D4,
        stack: (0xE470, 0x1278),
        blobs: 37,
        kernel: None,
    },
    KnownTriage {
        file: "kernel-x64-triage-b19041-bc50-ojusha",
        writer: "offline",
        drivers: 192,
        unloaded: 7,
        data_blocks: 1567,
        size_of_dump: 0xF_F074,
        stack: (0xE438, 0x1128),
        blobs: 34,
        kernel: None,
    },
    KnownTriage {
        file: "kernel-x86-triage-b2600-bc1000008e",
        writer: "crash-time",
        drivers: 112,
        unloaded: 9,
        data_blocks: 6,
        size_of_dump: 0x1_0000,
        stack: (0x2980, 0x440),
        blobs: 3,
        kernel: None,
    },
    KnownTriage {
        file: "kernel-x86-triage-b2600-bc7f",
        writer: "crash-time",
        drivers: 95,
        unloaded: 12,
        data_blocks: 4,
        size_of_dump: 0x1_0000,
        stack: (0x2978, 0x554),
        blobs: 0,
        kernel: None,
    },
];

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn triage_dumps_have_the_sections_drivers_and_blobs_that_were_measured() {
    for known in TRIAGE {
        let Some(path) = corpus_file(known.file) else { return };
        let dump = inspect(&path);
        let file = known.file;
        assert_eq!(dump["findings"], json!([]), "{file}");
        let triage = &dump["triage"];
        assert_eq!(triage["writer"], known.writer, "{file}");
        assert_eq!(triage["data_blocks"], known.data_blocks, "{file}");
        assert_eq!(triage["size_of_dump"], known.size_of_dump, "{file}");
        let stack = json!({ "name": "CallStack", "offset": hex(known.stack.0), "size": known.stack.1 });
        assert!(list(&triage["sections"]).contains(&stack), "{file}: {triage}");
        assert_eq!(triage["drivers"], known.drivers, "{file}");
        assert_eq!(list(&dump["modules"]).len(), known.drivers, "{file}");
        assert_eq!(list(&dump["unloaded_modules"]).len(), known.unloaded, "{file}");
        assert_eq!(list(&dump["secondary_data"]).len(), known.blobs, "{file}");
        assert_eq!(dump["physical_memory"], Value::Null, "{file}");
        if let Some((name, base, size, stamp)) = known.kernel {
            let kernel = &dump["modules"][0];
            assert_eq!((&kernel["name"], &kernel["base"]), (&json!(name), &hex(base)), "{file}");
            assert_eq!(
                (&kernel["size"], &kernel["timestamp"]),
                (&json!(size), &json!(stamp)),
                "{file}"
            );
        }
        // All dumps with secondary data have the processor's values in the registry.
        let names = list(&dump["secondary_data"]).iter().map(|blob| &blob["name"]);
        let has_processor = names.into_iter().any(|name| name == "processor registry values");
        assert_eq!(has_processor, known.blobs > 0, "{file}");

        let summary = summary(&path);
        let modules = format!("{} modules", known.drivers);
        assert!(summary.contains(&modules) && summary.contains("CallStack"), "{summary}");
        assert!(summary.contains("findings    none"), "{summary}");
    }
}

#[test]
fn a_dump_of_which_only_the_header_is_left_shows_the_header() {
    for (file, runs, pages, last) in [
        ("kernel-x64-full-b9200", 4, 0x3F_FC6F_u64, None),
        ("kernel-x86-full-b7601", 2, 786_301, None),
        ("kernel-x64-full-b19045", 0, 0, Some(2)),
    ] {
        let Some(path) = corpus_file(file) else { return };
        let dump = inspect(&path);
        let memory = &dump["physical_memory"];
        assert_eq!(memory["pages_present"], last.unwrap_or(0), "{file}");
        assert!(dump["findings_total"].as_u64() > Some(0), "{file}");
        if runs > 0 {
            let block = &dump["physical_memory_block"];
            assert_eq!(list(&block["runs"]).len(), runs, "{file}");
            assert_eq!(block["number_of_pages"], pages, "{file}");
            assert_eq!(memory["pages_described"], pages, "{file}");
        }
    }
}

/// The images of the NT-shaped machine: the file, its ground truth, and what kind it is.
const MACHINES: [(&str, &str, &str); 12] = [
    ("nt2-bitmap.dmp", "nt2", "kernel dump"),
    ("nt2-full.dmp", "nt2", "kernel dump"),
    ("nt2-bugcheck.dmp", "nt2", "kernel dump"),
    ("nt2-live.dmp", "nt2", "kernel dump"),
    ("nt2-live.elf", "nt2", "ELF core"),
    ("nt2-live.img", "nt2", "raw memory"),
    ("nt2-live.kdump", "nt2", "kdump"),
    ("nt2-live.flat.kdump", "nt2", "flattened kdump"),
    ("nt2-large-full.dmp", "nt2-large", "kernel dump"),
    ("nt2-large-live.dmp", "nt2-large", "kernel dump"),
    ("nt4-encoded-live.dmp", "nt4-encoded", "kernel dump"),
    ("nt4-encoded-live.elf", "nt4-encoded", "ELF core"),
];

/// A number of the ground truth as `inspect` writes addresses.
fn address(value: &Value) -> Value {
    hex(value.as_u64().expect("a number"))
}

#[test]
fn images_of_machines_show_what_was_built_into_them() {
    for (file, machine, container) in MACHINES {
        let (Some(path), Some(truth)) = (image(file), truth(machine)) else {
            return;
        };
        let shown = inspect(&path);
        assert_eq!(shown["container"], container, "{file}");
        let kind = if container == "kernel dump" {
            "kernel-dump"
        } else {
            "physical-memory"
        };
        assert_eq!(shown["kind"], kind, "{file}");
        assert_eq!(
            (&shown["arch"], &shown["os"]),
            (&json!("amd64"), &json!("windows")),
            "{file}"
        );
        assert_eq!(shown["build"], truth["build"], "{file}");
        assert_eq!(shown["findings"], json!([]), "{file}");

        let modules: Vec<Value> = list(&truth["modules"])
            .iter()
            .map(|module| {
                let (base, entry) = (address(&module["base"]), address(&module["entry"]));
                json!([
                    module["name"],
                    module["path"],
                    base,
                    module["size"],
                    address(&module["entry_point"]),
                    entry
                ])
            })
            .collect();
        let found: Vec<Value> = list(&shown["modules"])
            .iter()
            .map(|module| {
                let keys = ["name", "path", "base", "size", "entry_point", "entry"];
                Value::from(keys.map(|key| module[key].clone()).to_vec())
            })
            .collect();
        assert_eq!(found, modules, "{file}");

        let unloaded = list(&truth["unloaded_drivers"]).iter().rev();
        let unloaded: Vec<Value> = unloaded
            .map(|driver| json!([driver["name"], address(&driver["start"])]))
            .collect();
        let found = list(&shown["unloaded_modules"]).iter();
        let found: Vec<Value> = found.map(|driver| json!([driver["name"], driver["base"]])).collect();
        assert_eq!(found, unloaded, "{file}");

        let processes: Vec<Value> = list(&truth["processes"])
            .iter()
            .map(|process| {
                json!([
                    process["pid"],
                    process["name"],
                    address(&process["eprocess"]),
                    address(&process["dtb"])
                ])
            })
            .collect();
        let found: Vec<Value> = list(&shown["processes"])
            .iter()
            .map(|process| {
                json!([
                    process["id"],
                    process["name"],
                    process["eprocess"],
                    process["directory_table_base"]
                ])
            })
            .collect();
        assert_eq!(found, processes, "{file}");

        let prcbs: Vec<Value> = list(&truth["processors"])
            .iter()
            .map(|each| address(&each["prcb"]))
            .collect();
        let found = list(&shown["processors"]).iter();
        let found: Vec<Value> = found.map(|processor| processor["prcb"].clone()).collect();
        assert_eq!(found, prcbs, "{file}");
    }
}

#[test]
fn registers_of_a_live_capture_are_those_that_the_monitor_saw() {
    for (file, registers) in [
        ("nt2-live.elf", "nt2-live.cpus.json"),
        ("nt2-live.kdump", "nt2-live.cpus.json"),
        ("nt4-encoded-live.elf", "nt4-encoded-live.cpus.json"),
    ] {
        let (Some(path), Some(registers)) = (image(file), image_file(registers)) else {
            return;
        };
        let registers = std::fs::read_to_string(registers).expect("the registers");
        let expected: Vec<Value> = serde_json::from_str(&registers).expect("JSON");
        let shown = inspect(&path);
        let processors = list(&shown["processors"]);
        assert_eq!(processors.len(), expected.len(), "{file}");
        for expected in &expected {
            // The monitor numbers processors in another order than the kernel, which starts them.
            let control_region = expected["gs_base"].as_u64().expect("a number");
            let prcb = hex(control_region + 0x180);
            let processor = processors.iter().find(|processor| processor["prcb"] == prcb);
            let processor = processor.unwrap_or_else(|| panic!("{file}: no processor with {prcb}"));
            for name in ["rax", "rbx", "rsp", "rip"] {
                let found = number(&processor["context"]["registers"][name]);
                assert_eq!(
                    found,
                    expected[name].as_u64(),
                    "{file}: {name} of {}",
                    processor["number"]
                );
            }
            if processor["special_registers"] != Value::Null {
                let found = number(&processor["special_registers"]["cr3"]);
                assert_eq!(
                    found,
                    expected["cr3"].as_u64(),
                    "{file}: CR3 of {}",
                    processor["number"]
                );
            }
        }
    }
}

#[test]
fn a_raw_image_with_a_hole_needs_its_map() {
    let (Some(path), Some(map)) = (image("nt2-live.img"), image_file("nt2-mtree.txt")) else {
        return;
    };
    let with_map = |path: &Path| {
        let arguments = [
            "inspect".as_ref(),
            "--json".as_ref(),
            "--memory-map".as_ref(),
            map.as_os_str(),
            path.as_os_str(),
        ];
        run(&arguments)
    };
    let shown = with_map(&path);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(list(&shown["modules"]).len(), 6);
    // A file that says itself where its memory lies takes none.
    let Some(path) = image("nt2-bitmap.dmp") else { return };
    let refused = with_map(&path);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--memory-map is refused"), "{}", refused.stderr);
}

#[test]
fn a_file_that_is_no_image_of_memory_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("zeros.img");
    std::fs::write(&path, vec![0; 2 << 20]).expect("a file");
    let run = run(&["inspect".as_ref(), path.as_os_str()]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("not a dump") && run.stderr.contains("--memory-map"),
        "{}",
        run.stderr
    );
}

#[test]
fn what_windows_did_not_set_is_not_shown() {
    let Some(path) = corpus_file("kernel-x64-triage-b19041-bc1000007e") else {
        return;
    };
    // A dump that a debugger made: attributes and comment hold filler, the writer's status does not.
    let dump = inspect(&path);
    assert_eq!((&dump["attributes"], &dump["comment"]), (&Value::Null, &Value::Null));
    assert_eq!(dump["writer_status"], 0);
    assert_eq!(dump["exception"]["parameters"], json!([]));
}
