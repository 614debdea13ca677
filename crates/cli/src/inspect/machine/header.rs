//! What the header of a kernel dump says. What is unset in it is `null` in JSON, and is not shown in the text.

use std::fmt::Write as _;

use dotdump_format::kernel::Machine as Processors;
use dotdump_format::kernel::filler::{FILLER_32, Filled as _};
use dotdump_format::kernel::header::Header;
use dotdump_format::time::{CivilTime, TICKS_PER_SECOND, filetime_to_unix};
use dotdump_snapshot::machine::Bugcheck;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::super::json::iso8601;
use super::super::model::{ContextRow, Hex, Text};
use super::super::opened::Registers;
use super::super::statuses::ntstatus;
use super::super::text::{Lines, duration};
use super::{Machine, attributes, bugchecks};
use crate::counted::counted;

#[derive(Serialize)]
struct DumpTypeRow {
    number: u32,
    name: Option<&'static str>,
}

#[derive(Serialize)]
struct BugcheckRow {
    code: Hex,
    name: Option<&'static str>,
    parameters: [Hex; 4],
}

/// `PHYSICAL_MEMORY_DESCRIPTOR` as it stands in the header.
#[derive(Serialize)]
struct MemoryBlockRow {
    number_of_pages: u64,
    runs: Vec<RunRow>,
}

#[derive(Serialize)]
struct RunRow {
    base_page: Hex,
    page_count: u64,
}

impl MemoryBlockRow {
    /// The runs; `None` where they are not set or make no sense.
    fn of(header: &Header) -> Option<Self> {
        let block = header.physical_memory().filter(|block| block.implausible().is_none())?;
        let runs = block.runs().map(|run| RunRow {
            base_page: Hex(run.base_page.0),
            page_count: run.page_count,
        });
        Some(Self {
            number_of_pages: block.number_of_pages(),
            runs: runs.collect(),
        })
    }
}

#[derive(Serialize)]
struct AttributesRow {
    value: Hex,
    names: Vec<String>,
}

/// The exception record of a header.
#[derive(Serialize)]
pub(super) struct ExceptionRow {
    code: Hex,
    name: Option<&'static str>,
    flags: Option<Hex>,
    record: Option<Hex>,
    address: Option<Hex>,
    parameters: Vec<Hex>,
}

impl ExceptionRow {
    /// The record; `None` where it is not set.
    pub(super) fn of(header: &Header) -> Option<Self> {
        macro_rules! row {
            ($record:expr) => {{
                let record = $record;
                let hex = |value: Option<u64>| value.map(Hex);
                let code = record.exception_code.set()?;
                let count = record.number_parameters.set().unwrap_or(0);
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let parameters = record.exception_information.iter().take(count);
                Self {
                    code: Hex(code.into()),
                    name: ntstatus(code),
                    flags: hex(record.exception_flags.set().map(u64::from)),
                    record: hex(record.exception_record.set().map(u64::from)),
                    address: hex(record.exception_address.set().map(u64::from)),
                    parameters: parameters.map(|parameter| Hex(parameter.get().into())).collect(),
                }
            }};
        }
        Some(match header {
            Header::Dump32(header) => row!(&header.exception),
            Header::Dump64(header) => row!(&header.exception),
        })
    }
}

/// The registers that the header holds; `None` where they are not set, or of a processor that is not known.
pub(super) fn registers(header: &Header) -> Option<Registers> {
    let machine = header.machine()?;
    let bytes = header.context_record().get(..machine.context_size())?;
    let filler = FILLER_32.to_le_bytes();
    let is_unset = bytes.chunks(4).all(|word| word == filler) || bytes.iter().all(|byte| *byte == 0);
    (!is_unset).then(|| Registers {
        size: bytes.len() as u64,
        context: machine.context(bytes),
        xstate: 0,
    })
}

/// The addresses that the crash is about: of the registers, the exception and the bugcheck.
pub(super) fn addresses(machine: &Machine<'_>) -> Vec<u64> {
    let context = registers(machine.snapshot.header()).and_then(|registers| registers.context);
    let exception = machine.exception().and_then(|exception| exception.address);
    let parameters = machine.bugcheck().map_or([0; 4], |bugcheck| bugcheck.parameters);
    let mut addresses = parameters.to_vec();
    addresses.extend(context.map(|context| context.instruction_pointer()));
    addresses.extend(exception.map(|address| address.0));
    addresses
}

/// The name of the processor, or its number; where the header does not say it is `machine`.
pub(super) fn processor_name(header: &Header, machine: Processors) -> String {
    let machine = header.machine_type().unwrap_or(machine.machine_type());
    Processors::of(machine).map_or_else(
        || format!("processor {:#x}", machine.0),
        |machine| machine.name().to_owned(),
    )
}

/// Adds the keys that the header fills, and `bugcheck`, which the memory may know where the header does not.
pub(super) fn write<M: SerializeMap>(map: &mut M, machine: &Machine<'_>) -> Result<(), M::Error> {
    let (header, bugcheck) = (machine.snapshot.header(), machine.bugcheck());
    let dump_type = header.dump_type();
    let dump_type = DumpTypeRow {
        number: dump_type.0,
        name: dump_type.name(),
    };
    map.serialize_entry("dump_type", &dump_type)?;
    map.serialize_entry("build", &header.minor_version())?;
    map.serialize_entry("checked_build", &header.major_version().map(|major| major == 0xC))?;
    map.serialize_entry("product_type", &header.product_type())?;
    map.serialize_entry("suite_mask", &header.suite_mask().map(|mask| Hex(mask.into())))?;
    map.serialize_entry("number_of_processors", &header.number_processors())?;
    map.serialize_entry("pae", &header.pae_enabled())?;
    let time = header.system_time().and_then(filetime_to_unix);
    map.serialize_entry("time", &time.map(iso8601))?;
    map.serialize_entry("system_time", &header.system_time().map(Hex))?;
    map.serialize_entry("system_up_time", &header.system_up_time().map(Hex))?;
    map.serialize_entry("boot_id", &header.boot_id())?;
    let bugcheck = bugcheck.map(|bugcheck| BugcheckRow {
        code: Hex(bugcheck.code.into()),
        name: bugchecks::name(bugcheck.code),
        parameters: bugcheck.parameters.map(Hex),
    });
    map.serialize_entry("bugcheck", &bugcheck)?;
    map.serialize_entry("exception", &machine.exception())?;
    map.serialize_entry("physical_memory_block", &MemoryBlockRow::of(header))?;
    map.serialize_entry("context", &registers(header).map(ContextRow::of))?;
    let root = header.directory_table_base().map(|root| Hex(root.0));
    map.serialize_entry("directory_table_base", &root)?;
    for (key, address) in [
        ("pfn_data_base", header.pfn_data_base()),
        ("ps_loaded_module_list", header.ps_loaded_module_list()),
        ("ps_active_process_head", header.ps_active_process_head()),
    ] {
        map.serialize_entry(key, &address.map(|address| Hex(address.0)))?;
    }
    let attributes = header.attributes().map(|value| AttributesRow {
        value: Hex(value.into()),
        names: attributes::names(value),
    });
    map.serialize_entry("attributes", &attributes)?;
    let fields = header.mini_dump_fields().map(|fields| Hex(fields.into()));
    map.serialize_entry("mini_dump_fields", &fields)?;
    map.serialize_entry("writer_status", &header.writer_status())?;
    map.serialize_entry("required_dump_space", &header.required_dump_space())?;
    map.serialize_entry("comment", &header.comment().map(lossy).map(Text))?;
    map.serialize_entry("version_user", &header.version_user().map(lossy).map(Text))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Adds the lines about the machine and what happened to it. `place` names what lies at a code address.
pub(super) fn lines(machine: &Machine<'_>, place: impl Fn(u64) -> String, lines: &mut Lines) {
    let header = machine.snapshot.header();
    if let Some(made) = made(header) {
        lines.labelled("made", &made);
    }
    if let Some(comment) = header.comment().map(lossy).filter(|comment| !comment.is_empty()) {
        lines.labelled("comment", &comment);
    }
    match machine.bugcheck() {
        None if !machine.contents.is_dump && machine.snapshot.debugger_data().is_some() => {
            lines.labelled("bugcheck", "none: memory of a running machine");
        }
        None => lines.labelled("bugcheck", "not known"),
        Some(Bugcheck { code: 0, .. }) => lines.labelled("bugcheck", "none"),
        Some(Bugcheck { code, parameters }) => {
            let name = bugchecks::name(code).unwrap_or("(a code without a name)");
            lines.labelled("bugcheck", &format!("{code:#x} {name}"));
            lines.more(&parameters.map(|parameter| format!("{parameter:#x}")).join(", "));
        }
    }
    if let Some(exception) = machine.exception() {
        let mut text = format!("{:#010x}", exception.code.0);
        if let Some(name) = exception.name {
            let _ = write!(text, " {name}");
        }
        if let Some(address) = exception.address {
            let _ = write!(text, " at {}", place(address.0));
        }
        lines.labelled("exception", &text);
    }
    let attributes = attributes::names(header.attributes().unwrap_or(0));
    if !attributes.is_empty() {
        lines.words("attributes", &attributes, 2);
    }
}

/// The system and its processors, in a line.
pub(super) fn system(machine: &Machine<'_>) -> String {
    let header = machine.snapshot.header();
    let mut system = match machine.is_windows() {
        true => "Windows",
        false => "no Windows kernel found",
    }
    .to_owned();
    if let Some(build) = header.minor_version() {
        let _ = write!(system, " build {build}");
    }
    if header.major_version() == Some(0xC) {
        system.push_str(" (checked)");
    }
    let _ = write!(system, ", {}", processor_name(header, machine.snapshot.machine()));
    if header.pae_enabled() == Some(true) {
        system.push_str(" with PAE");
    }
    if let Some(processors) = header.number_processors() {
        let _ = write!(system, ", {}", counted(processors.into(), "processor"));
    }
    system
}

fn made(header: &Header) -> Option<String> {
    let time = header.system_time().and_then(filetime_to_unix)?;
    let mut made = CivilTime::from_unix(time).to_string();
    if let Some(up) = header.system_up_time() {
        let _ = write!(made, ", up {}", duration(up / TICKS_PER_SECOND));
    }
    Some(made)
}

/// Adds registers, as many on a line as it takes.
pub(super) fn register_lines(registers: &Registers, place: impl Fn(u64) -> String, lines: &mut Lines) {
    let Some(context) = &registers.context else {
        return;
    };
    lines.labelled("context", &format!("at {}", place(context.instruction_pointer())));
    let words: Vec<String> = context
        .general_registers()
        .map(|(name, value)| format!("{name}={:#x}", value.low_u64()))
        .collect();
    lines.words("", &words, 12);
}
