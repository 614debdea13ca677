//! The JSON document, written as it is made: its memory does not grow with the lists in the dump.

use std::io::{self, Write};
use std::path::Path;

use dotdump_format::Endian;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::memory_info_list::MemoryInfoList;
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::minidump::thread_info_list::ThreadInfoList;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::time::CivilTime;
use dotdump_snapshot::Blob;
use dotdump_transcode::manifest::Manifest;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::model::{ContextRow, Each, FindingRow, HandleRow, Hex, ModuleRow, Text, ThreadInfoRow, ThreadRow};
use super::model::{UnloadedRow, streams};
use super::opened::{Kind, Opened};
use super::{exceptions, streams as small};

/// The version of the document. It changes when a key changes its meaning, not when one is added.
const SCHEMA: u32 = 1;

/// Writes the document about a dump that was opened by `path`.
pub(super) fn write(out: &mut impl Write, opened: &Opened<'_>, path: &Path) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document { opened, path })?;
    out.write_all(b"\n")
}

/// The bits that an address of this processor has.
pub(super) fn address_mask(architecture: ProcessorArchitecture) -> u64 {
    let known = architecture.name().is_some() && architecture != ProcessorArchitecture::UNKNOWN;
    if known && architecture.pointer_size() == 4 {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    }
}

struct Document<'a, 'd> {
    opened: &'a Opened<'d>,
    path: &'a Path,
}

impl Serialize for Document<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.file(&mut map)?;
        self.system(&mut map)?;
        self.threads(&mut map)?;
        self.modules(&mut map)?;
        self.memory(&mut map)?;
        small::write(&mut map, self.opened)?;
        if self.opened.kind == Kind::Minidump {
            let manifest = self.opened.keep(Manifest::read(self.opened.dump()), "DotdumpManifest");
            map.serialize_entry("manifest", &manifest.flatten())?;
        }
        // All of the above may have found something.
        let findings = self.opened.findings();
        map.serialize_entry("findings_total", &findings.total())?;
        map.serialize_entry("findings", &Each(|| findings.as_slice().iter().map(FindingRow::of)))?;
        map.end()
    }
}

#[derive(Serialize)]
struct Version {
    major: u32,
    minor: u32,
    build: u32,
}

#[derive(Serialize)]
struct Memory {
    ranges: u64,
    bytes: u64,
    missing_bytes: u64,
    lists: Vec<List>,
}

#[derive(Serialize)]
struct List {
    stream: &'static str,
    ranges: u64,
}

#[derive(Serialize)]
struct Exception {
    thread_id: u32,
    code: Hex,
    name: Option<&'static str>,
    detail: Option<String>,
    flags: Hex,
    record: Hex,
    address: Hex,
    crash_address: Hex,
    parameters: Vec<Hex>,
    context: Option<ContextRow>,
}

impl Document<'_, '_> {
    fn file<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let dump = self.opened.dump();
        let header = dump.header();
        let time = header.time_date_stamp.get();
        map.serialize_entry("schema", &SCHEMA)?;
        map.serialize_entry("path", &Text(self.path.display()))?;
        map.serialize_entry("file_size", &self.opened.file_size)?;
        let kind = match self.opened.kind {
            Kind::Minidump => "user-minidump",
            Kind::Core => "elf-core",
        };
        map.serialize_entry("kind", kind)?;
        let endian = match dump.endian() {
            Endian::Little => "little",
            Endian::Big => "big",
        };
        map.serialize_entry("endian", endian)?;
        if self.opened.kind == Kind::Core {
            return Ok(());
        }
        map.serialize_entry("version_word", &Hex((header.version.get() >> 16).into()))?;
        map.serialize_entry("flags", &dump.flags().names())?;
        map.serialize_entry("flags_value", &Hex(header.flags.get()))?;
        map.serialize_entry("time", &(time != 0).then(|| iso8601(time.into())))?;
        map.serialize_entry("time_date_stamp", &time)?;
        map.serialize_entry("streams", &Each(|| streams(dump)))
    }

    fn system<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let info = self.opened.system();
        map.serialize_entry("arch", &info.map(|info| Text(info.architecture())))?;
        map.serialize_entry("os", &info.map(|info| Text(info.platform())))?;
        let version = info.map(|info| Version {
            major: info.major_version.get(),
            minor: info.minor_version.get(),
            build: info.build_number.get(),
        });
        map.serialize_entry("os_version", &version)?;
        map.serialize_entry("csd_version", &self.opened.csd_version())?;
        map.serialize_entry("product_type", &info.map(|info| info.product_type))?;
        map.serialize_entry("number_of_processors", &info.map(|info| info.number_of_processors))
    }

    fn threads<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let opened = self.opened;
        let threads = opened.snapshot.threads();
        map.serialize_entry(
            "threads",
            &Each(|| threads.iter().map(|thread| ThreadRow::of(opened, thread))),
        )?;
        let infos = opened.get::<ThreadInfoList<'_>>();
        let rows = || {
            infos.iter().flat_map(|list| {
                list.threads
                    .iter()
                    .map_while(|info| opened.keep(info, "ThreadInfoList").map(|info| ThreadInfoRow::of(&info)))
            })
        };
        map.serialize_entry("thread_infos", &Each(rows))?;
        let exception = opened.snapshot.exception();
        map.serialize_entry(
            "exception",
            &exception.map(|(record, context)| self.exception(record, context)),
        )
    }

    fn exception(&self, record: &ExceptionStream, context: Option<&Blob>) -> Exception {
        let opened = self.opened;
        let mask = address_mask(opened.snapshot.architecture());
        let described = exceptions::describe(record, opened.platform(), mask);
        let registers = context.and_then(|blob| opened.registers(blob, "Exception.ThreadContext"));
        Exception {
            thread_id: record.thread_id.get(),
            code: Hex(record.exception_code.get().into()),
            name: described.name,
            detail: described.detail,
            flags: Hex(record.exception_flags.get().into()),
            record: Hex(record.exception_record.get() & mask),
            address: Hex(record.exception_address.get() & mask),
            crash_address: Hex(described.crash_address),
            parameters: record.parameters().map(Hex).collect(),
            context: registers.map(ContextRow::of),
        }
    }

    fn modules<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let opened = self.opened;
        let modules = opened.snapshot.modules();
        map.serialize_entry(
            "modules",
            &Each(|| modules.iter().map(|module| ModuleRow::of(opened, module))),
        )?;
        let unloaded = opened.get::<UnloadedModuleList>().unwrap_or_default().modules;
        let rows = || unloaded.iter().map(|module| UnloadedRow::of(opened, module));
        map.serialize_entry("unloaded_modules", &Each(rows))?;
        let handles = opened.get::<HandleData>().unwrap_or_default().handles;
        map.serialize_entry(
            "handles",
            &Each(|| handles.iter().map(|handle| HandleRow::of(opened, handle))),
        )
    }

    fn memory<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let figures = self.opened.memory();
        let memory = Memory {
            ranges: figures.ranges,
            bytes: figures.bytes,
            missing_bytes: self.opened.snapshot.missing_bytes(),
            lists: figures
                .lists
                .iter()
                .map(|(stream, ranges)| List {
                    stream: stream.name().unwrap_or_default(),
                    ranges: *ranges,
                })
                .collect(),
        };
        map.serialize_entry("memory", &memory)?;
        let regions = self.opened.again::<MemoryInfoList<'_>>();
        map.serialize_entry("memory_info", &regions.map_or(0, |list| list.regions.len()))
    }
}

/// Seconds since 1970 as `2017-05-05T12:34:56Z`.
pub(super) fn iso8601(seconds: u64) -> String {
    let CivilTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = CivilTime::from_unix(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
