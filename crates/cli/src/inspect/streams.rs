//! The streams of which a dump has one record, or a few: process, system memory, comment, Crashpad, Breakpad, Linux.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dotdump_format::minidump::assertion_info::AssertionInfo;
use dotdump_format::minidump::breakpad_info::BreakpadInfo;
use dotdump_format::minidump::comment::{CommentA, CommentW};
use dotdump_format::minidump::crashpad_info::{CrashpadInfo, Dictionary};
use dotdump_format::minidump::function_table::FunctionTables;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_format::minidump::linux_text::{
    LinuxCmdLine, LinuxEnviron, LinuxLsbRelease, LinuxProcStatus, LinuxProcUptime, MozSoftErrors,
};
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::mozilla::{MozMacosBootargs, MozMacosCrashInfo};
use dotdump_format::minidump::process_vm_counters::ProcessVmCounters;
use dotdump_format::minidump::system_memory_info::SystemMemoryInfo;
use dotdump_format::minidump::token::TokenList;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::json::iso8601;
use super::model::{Each, Hex};
use super::opened::Opened;

/// The most lines of a Linux text that become keys. No such file has a tenth of them.
const MAX_KEYS: usize = 1000;

/// Adds the keys for these streams.
pub(super) fn write<M: SerializeMap>(map: &mut M, opened: &Opened<'_>) -> Result<(), M::Error> {
    let misc = opened.misc.as_ref();
    map.serialize_entry("process_id", &misc.and_then(MiscInfo::process_id))?;
    map.serialize_entry("build", &misc.and_then(MiscInfo::build_string))?;
    map.serialize_entry("writer", &misc.and_then(MiscInfo::dbg_bld_str))?;
    map.serialize_entry("misc", &misc.map(Misc::of))?;
    map.serialize_entry("comment", &comment(opened))?;
    map.serialize_entry(
        "system_memory",
        &opened.get::<SystemMemoryInfo>().as_ref().and_then(SystemMemory::of),
    )?;
    map.serialize_entry(
        "vm_counters",
        &opened.get::<ProcessVmCounters>().as_ref().map(VmCounters::of),
    )?;
    map.serialize_entry(
        "token_count",
        &opened.get::<TokenList<'_>>().map_or(0, |list| list.tokens.len()),
    )?;
    let tables = opened.get::<FunctionTables<'_>>();
    let tables = tables.map_or(0, |tables| tables.header.number_of_descriptors.get());
    map.serialize_entry("function_tables", &tables)?;
    map.serialize_entry("crashpad", &opened.get::<CrashpadInfo>().as_ref().map(Crashpad::of))?;
    map.serialize_entry(
        "breakpad_info",
        &opened.get::<BreakpadInfo>().as_ref().map(Breakpad::of),
    )?;
    map.serialize_entry("assertion", &opened.get::<AssertionInfo>().as_ref().map(Assertion::of))?;
    linux(map, opened)?;
    let bootargs = opened.get::<MozMacosBootargs>().and_then(|record| record.bootargs);
    map.serialize_entry("macos_boot_args", &bootargs)?;
    let messages = opened.get::<MozMacosCrashInfo>();
    let messages = || {
        messages
            .iter()
            .flat_map(|info| &info.records)
            .map(|record| lossy(&record.message))
    };
    map.serialize_entry("macos_crash_messages", &Each(messages))?;
    let errors = opened.get::<MozSoftErrors<'_>>();
    map.serialize_entry("soft_errors", &errors.as_ref().map(|text| text.text()))
}

/// The comment: the one in UTF-16 where there are two, for it has no code page to guess.
pub(super) fn comment(opened: &Opened<'_>) -> Option<String> {
    let narrow = opened.get::<CommentA>();
    match opened.get::<CommentW>() {
        Some(wide) => Some(wide.text()),
        None => narrow.map(|narrow| narrow.text()),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[derive(Serialize)]
struct Misc {
    size: usize,
    flags: Hex,
    process_create_time: Option<String>,
    process_user_seconds: Option<u32>,
    process_kernel_seconds: Option<u32>,
    processor_max_mhz: Option<u32>,
    processor_current_mhz: Option<u32>,
    process_integrity_level: Option<Hex>,
    protected_process: Option<u32>,
    time_zone: Option<TimeZone>,
    xstate_features: Option<Hex>,
}

#[derive(Serialize)]
struct TimeZone {
    bias_minutes: i32,
    standard_name: String,
    daylight_name: String,
}

impl Misc {
    fn of(misc: &MiscInfo) -> Self {
        let created = misc.process_create_time().filter(|time| *time != 0);
        Self {
            size: misc.size(),
            flags: Hex(misc.flags().bits().into()),
            process_create_time: created.map(|time| iso8601(time.into())),
            process_user_seconds: misc.process_user_time(),
            process_kernel_seconds: misc.process_kernel_time(),
            processor_max_mhz: misc.processor_max_mhz(),
            processor_current_mhz: misc.processor_current_mhz(),
            process_integrity_level: misc.process_integrity_level().map(|level| Hex(level.into())),
            protected_process: misc.protected_process(),
            time_zone: misc.time_zone().map(|zone| TimeZone {
                bias_minutes: zone.bias.get(),
                standard_name: zone.standard_name(),
                daylight_name: zone.daylight_name(),
            }),
            xstate_features: misc.xstate_data().map(|config| Hex(config.enabled_features.get())),
        }
    }
}

#[derive(Serialize)]
struct SystemMemory {
    page_size: u32,
    physical_pages: u32,
    available_pages: Option<u64>,
    committed_pages: Option<u64>,
    commit_limit_pages: Option<u64>,
}

impl SystemMemory {
    fn of(info: &SystemMemoryInfo) -> Option<Self> {
        let performance = info.basic_performance();
        Some(Self {
            page_size: info.page_size()?,
            physical_pages: info.record.basic.number_of_physical_pages.get(),
            available_pages: performance.map(|figures| figures.available_pages.get()),
            committed_pages: performance.map(|figures| figures.committed_pages.get()),
            commit_limit_pages: performance.map(|figures| figures.commit_limit.get()),
        })
    }
}

#[derive(Serialize)]
struct VmCounters {
    page_faults: u32,
    working_set: u64,
    peak_working_set: u64,
    pagefile_usage: u64,
    private_usage: Option<u64>,
    virtual_size: Option<u64>,
}

impl VmCounters {
    fn of(counters: &ProcessVmCounters) -> Self {
        let base = counters.base();
        Self {
            page_faults: base.page_fault_count.get(),
            working_set: base.working_set_size.get(),
            peak_working_set: base.peak_working_set_size.get(),
            pagefile_usage: base.pagefile_usage.get(),
            private_usage: counters.private_usage(),
            virtual_size: counters.virtual_size(),
        }
    }
}

#[derive(Serialize)]
struct Crashpad<'a> {
    version: u32,
    report_id: String,
    client_id: String,
    annotations: BTreeMap<String, String>,
    address_mask: Option<Hex>,
    modules: Vec<CrashpadModule<'a>>,
}

#[derive(Serialize)]
struct CrashpadModule<'a> {
    module_index: u32,
    version: u32,
    list_annotations: Vec<Cow<'a, str>>,
    simple_annotations: BTreeMap<String, String>,
    annotation_objects: Vec<CrashpadObject<'a>>,
}

#[derive(Serialize)]
struct CrashpadObject<'a> {
    name: Cow<'a, str>,
    #[serde(rename = "type")]
    annotation_type: u16,
    value: Option<Cow<'a, str>>,
    size: usize,
}

fn dictionary(entries: &Dictionary) -> BTreeMap<String, String> {
    let text = entries.iter().map(|(key, value)| (key.text(), value.text()));
    text.map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

impl<'a> Crashpad<'a> {
    fn of(info: &'a CrashpadInfo) -> Self {
        let modules = info.modules.iter().map(|module| CrashpadModule {
            module_index: module.module_index,
            version: module.version,
            list_annotations: module.list_annotations.iter().map(|text| text.text()).collect(),
            simple_annotations: dictionary(&module.simple_annotations),
            annotation_objects: module
                .annotation_objects
                .iter()
                .map(|object| CrashpadObject {
                    name: object.name.text(),
                    annotation_type: object.annotation_type,
                    value: object.text(),
                    size: object.value.len(),
                })
                .collect(),
        });
        Self {
            version: info.version,
            report_id: info.report_id.to_string(),
            client_id: info.client_id.to_string(),
            annotations: dictionary(&info.simple_annotations),
            address_mask: info.address_mask.map(Hex),
            modules: modules.collect(),
        }
    }
}

#[derive(Serialize)]
struct Breakpad {
    dump_thread_id: Option<u32>,
    requesting_thread_id: Option<u32>,
}

impl Breakpad {
    fn of(info: &BreakpadInfo) -> Self {
        Self {
            dump_thread_id: info.dump_thread(),
            requesting_thread_id: info.requesting_thread(),
        }
    }
}

#[derive(Serialize)]
struct Assertion {
    expression: String,
    function: String,
    file: String,
    line: u32,
    #[serde(rename = "type")]
    assertion_type: u32,
}

impl Assertion {
    fn of(info: &AssertionInfo) -> Self {
        Self {
            expression: info.expression(),
            function: info.function(),
            file: info.file(),
            line: info.line.get(),
            assertion_type: info.assertion_type.get(),
        }
    }
}

#[derive(Serialize)]
struct Linux<C, E> {
    command_line: Option<C>,
    environment: Option<E>,
    lsb_release: Option<BTreeMap<String, String>>,
    status: Option<BTreeMap<String, String>>,
    uptime: Option<String>,
    mappings: u64,
}

/// What the Linux streams say; null in a dump that has none of them.
fn linux<M: SerializeMap>(map: &mut M, opened: &Opened<'_>) -> Result<(), M::Error> {
    let command = opened.get::<LinuxCmdLine<'_>>();
    let environment = opened.get::<LinuxEnviron<'_>>();
    let pairs = |(key, value): (&[u8], &[u8])| (lossy(key), lossy(value));
    let release = opened.get::<LinuxLsbRelease<'_>>();
    let status = opened.get::<LinuxProcStatus<'_>>();
    let uptime = opened.get::<LinuxProcUptime<'_>>();
    let maps = opened.get::<LinuxMaps<'_>>();
    let linux = Linux {
        command_line: command.as_ref().map(|list| Each(|| list.items().map(lossy))),
        environment: environment.as_ref().map(|list| Each(|| list.items().map(lossy))),
        lsb_release: release.map(|text| text.assignments().take(MAX_KEYS).map(pairs).collect()),
        status: status.map(|text| text.pairs().take(MAX_KEYS).map(pairs).collect()),
        uptime: uptime.map(|text| text.text().trim().to_owned()),
        mappings: maps.map_or(0, |maps| maps.iter().count() as u64),
    };
    let is_there = linux.command_line.is_some()
        || linux.environment.is_some()
        || linux.lsb_release.is_some()
        || linux.status.is_some()
        || linux.mappings > 0;
    map.serialize_entry("linux", &is_there.then_some(linux))
}
