use dotdump_format::kernel::{Header, Machine as Processors, SecondaryData, Triage};
use dotdump_format::{Error, Findings, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::machine::derive_header::{MachineFacts, derive_header};
use dotdump_snapshot::machine::{
    Bugcheck, FoundDebuggerData, KernelModule, Patch, PfnDatabase, Process, Processor, ProcessorContext,
    SharedUserData, UnloadedDriver,
};
use dotdump_snapshot::{AddressSpace, Extent, MachineSnapshot, Memory, PhysicalMemory};
use serde_json::{Value, json};

use super::*;

/// A machine that is only what a test says.
struct Double {
    header: Header,
    processors: Vec<Processor>,
    modules: Vec<KernelModule>,
    unloaded: Vec<UnloadedDriver>,
    processes: Vec<Process>,
    bugcheck: Option<Bugcheck>,
    findings: Findings,
}

struct Nothing;

impl Memory for Nothing {
    fn extents(&self, _within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        Box::new(std::iter::empty())
    }

    fn read(&self, _address: VirtAddr, _buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(0)
    }
}

impl MachineSnapshot for Double {
    fn machine(&self) -> Processors {
        Processors::Amd64
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn physical_memory(&self) -> Option<&dyn PhysicalMemory> {
        None
    }

    fn kernel_memory(&self) -> &dyn Memory {
        &Nothing
    }

    fn kernel_space(&self) -> Option<&AddressSpace<'_>> {
        None
    }

    fn process_space(&self, _process: &Process) -> Option<AddressSpace<'_>> {
        None
    }

    fn bugcheck(&self) -> Option<Bugcheck> {
        self.bugcheck
    }

    fn processors(&self) -> &[Processor] {
        &self.processors
    }

    fn modules(&self) -> &[KernelModule] {
        &self.modules
    }

    fn unloaded_drivers(&self) -> &[UnloadedDriver] {
        &self.unloaded
    }

    fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn stopped_processor(&self) -> Option<&Processor> {
        None
    }

    fn debugger_data(&self) -> Option<&FoundDebuggerData> {
        None
    }

    fn shared_user_data(&self) -> Option<SharedUserData> {
        None
    }

    fn pfn_database(&self) -> Option<PfnDatabase<'_>> {
        None
    }

    fn triage(&self) -> Option<&Triage<'_>> {
        None
    }

    fn secondary_data(&self) -> Option<&SecondaryData> {
        None
    }

    fn patches(&self) -> &[Patch] {
        &[]
    }

    fn guesses(&self) -> Vec<String> {
        Vec::new()
    }

    fn findings(&self) -> Findings {
        self.findings.clone()
    }
}

fn utf16(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn module(name: &str, base: u64) -> KernelModule {
    KernelModule {
        entry: None,
        base: VirtAddr(base),
        size: 0x1000,
        entry_point: VirtAddr(base + 0x10),
        checksum: Some(7),
        time_date_stamp: Some(0x6031_B8D0),
        full_name: Some(utf16(&format!(r"\SystemRoot\system32\{name}"))),
        base_name: None,
    }
}

fn double() -> Double {
    let mut header = Header::unset(Processors::Amd64);
    if let Header::Dump64(header) = &mut header {
        header.minor_version = 19041.into();
    }
    let mut context = vec![0; 0x4D0];
    context[0xF8..0x100].copy_from_slice(&0xFFFF_F805_0000_2345_u64.to_le_bytes());
    Double {
        header,
        processors: vec![Processor {
            number: 3,
            prcb: Some(VirtAddr(0xFFFF_F780_0000_0180)),
            current_thread: None,
            context: Some(ProcessorContext {
                address: None,
                bytes: context,
            }),
            special_registers: None,
        }],
        modules: (0..10)
            .map(|index| module(&format!("driver{index}.sys"), 0xFFFF_F805_0000_0000 + index * 0x1000))
            .collect(),
        unloaded: vec![UnloadedDriver {
            name: utf16("gone.sys"),
            range: VirtRange::sized(VirtAddr(0xFFFF_F805_1000_0000), 0x2000),
            time: None,
        }],
        processes: vec![Process {
            eprocess: VirtAddr(0xFFFF_8000_0000_0040),
            id: 4,
            parent_id: Some(0),
            name: "System".into(),
            directory_table_base: PhysAddr(0x1AD000),
            user_directory_table_base: None,
            peb: VirtAddr(0),
        }],
        bugcheck: Some(Bugcheck {
            code: 0xD1,
            parameters: [1, 2, 3, 0xFFFF_F805_0000_9004],
        }),
        findings: Findings::default(),
    }
}

fn looked_at<T>(double: &Double, look: impl FnOnce(&Machine<'_>) -> T) -> T {
    let source: &[u8] = &[0; 100];
    let contents = Contents {
        source: &source,
        container: "raw memory",
        is_dump: false,
        described: None,
    };
    look(&Machine::new(double, contents))
}

#[test]
fn the_document_has_what_the_machine_shows() {
    let document: Value = looked_at(&double(), |machine| {
        let mut text = Vec::new();
        write(&mut text, machine, "memory.raw".as_ref()).expect("memory takes all");
        serde_json::from_slice(&text).expect("JSON")
    });
    assert_eq!(document["kind"], "physical-memory");
    assert_eq!(document["container"], "raw memory");
    assert_eq!(
        (&document["build"], &document["context"]),
        (&json!(19041), &Value::Null)
    );
    assert_eq!(
        (&document["arch"], &document["os"]),
        (&json!("amd64"), &json!("windows"))
    );
    assert_eq!(
        document["bugcheck"],
        json!({ "code": "0xd1", "name": "DRIVER_IRQL_NOT_LESS_OR_EQUAL", "parameters": ["0x1", "0x2", "0x3", "0xfffff80500009004"] })
    );
    assert_eq!(document["processors"][0]["number"], 3);
    assert_eq!(
        document["processors"][0]["context"]["registers"]["rip"],
        "0xfffff80500002345"
    );
    assert_eq!(
        document["modules"][1],
        json!({
            "name": "driver1.sys",
            "path": r"\SystemRoot\system32\driver1.sys",
            "base": "0xfffff80500001000",
            "size": 0x1000,
            "timestamp": 0x6031_B8D0,
            "checksum": 7,
            "entry_point": "0xfffff80500001010",
            "entry": null,
        })
    );
    assert_eq!(
        document["unloaded_modules"],
        json!([{ "name": "gone.sys", "base": "0xfffff80510000000", "size": 0x2000, "time": null }])
    );
    assert_eq!(document["processes"][0]["name"], "System");
    assert_eq!(document["processes"][0]["peb"], Value::Null);
    assert_eq!(document["findings_total"], 0);
}

#[test]
fn the_summary_shows_what_the_crash_is_about() {
    let mut double = double();
    double.findings.add(0x40_u64, "PsLoadedModuleList", "it never ends");
    let text = looked_at(&double, |machine| of(machine, "memory.raw".as_ref()));
    assert!(text.starts_with("memory.raw: raw memory, 100 B\n"), "{text}");
    assert!(text.contains("0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL"), "{text}");
    assert!(text.contains("driver2.sys+0x345 (0xfffff80500002345)"), "{text}");
    // The last of ten modules is the one that the bugcheck names.
    assert!(text.contains("10 modules, 2 of them not shown"), "{text}");
    assert!(text.contains("driver9.sys") && !text.contains("driver7.sys"), "{text}");
    assert!(text.contains("time stamp 6031b8d0"), "{text}");
    assert!(text.contains("1 unloaded") && text.contains("gone.sys"), "{text}");
    assert!(
        text.contains("PsLoadedModuleList at file offset 0x40: it never ends"),
        "{text}"
    );
}

#[test]
fn a_machine_that_runs_something_else_has_no_bugcheck() {
    let mut double = double();
    double.header = Header::unset(Processors::Amd64);
    let text = looked_at(&double, |machine| of(machine, "memory.raw".as_ref()));
    assert!(
        text.contains("no Windows kernel found, amd64") && !text.contains("bugcheck"),
        "{text}"
    );
}

#[test]
fn a_running_machine_has_no_bugcheck_and_no_exception() {
    let facts = MachineFacts {
        build: Some(19041),
        context: Some(vec![0; Processors::Amd64.context_size()]),
        ..MachineFacts::default()
    };
    let double = Double {
        header: derive_header(Processors::Amd64, &facts),
        bugcheck: None,
        ..double()
    };
    assert_eq!(double.header.bug_check_code(), Some(0x161));
    let document: Value = looked_at(&double, |machine| {
        let mut text = Vec::new();
        write(&mut text, machine, "memory.raw".as_ref()).expect("memory takes all");
        serde_json::from_slice(&text).expect("JSON")
    });
    assert_eq!(document["os"], "windows");
    assert_eq!(
        (&document["bugcheck"], &document["exception"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn text_from_a_dump_gives_the_terminal_no_orders() {
    let mut double = double();
    double.processes[0].name = "\x1b[2J".into();
    double.modules.truncate(1);
    double.modules[0].base_name = Some(utf16("a\x1b]0;x\x07\n.sys"));
    double.unloaded[0].name = utf16("\u{202E}sys");
    let text = looked_at(&double, |machine| of(machine, "memory.raw".as_ref()));
    assert!(
        text.chars().all(|letter| letter == '\n' || !letter.is_control()),
        "{text:?}"
    );
    assert!(!text.contains('\u{202E}'), "{text:?}");
}
