//! The JSON document about a machine.

use std::io::{self, Write};
use std::path::Path;

use dotdump_snapshot::MachineSnapshot;
use dotdump_snapshot::machine::DebuggerDataOrigin;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::super::model::{Each, FindingRow, Hex, Text};
use super::contents::{BlobRow, TriageRow};
use super::rows::{ModuleRow, ProcessRow, ProcessorRow, UnloadedRow};
use super::{Machine, header};

/// The version of the document. It changes when a key changes its meaning, not when one is added.
const SCHEMA: u32 = 1;

/// Writes the document about a machine in the file `path`.
pub(in super::super) fn write(out: &mut impl Write, machine: &Machine<'_>, path: &Path) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document { machine, path })?;
    out.write_all(b"\n")
}

struct Document<'a, 'm> {
    machine: &'a Machine<'m>,
    path: &'a Path,
}

#[derive(Serialize)]
struct DebuggerData {
    address: Hex,
    size: Option<u32>,
    origin: Option<&'static str>,
    encoded: Option<bool>,
}

impl DebuggerData {
    /// The block that was found, else the place that the header has for it.
    fn of(snapshot: &dyn MachineSnapshot) -> Option<Self> {
        if let Some(found) = snapshot.debugger_data() {
            return Some(Self {
                address: Hex(found.address.0),
                size: Some(found.data.size()),
                origin: Some(origin(found.origin)),
                encoded: Some(found.encoded),
            });
        }
        let address = snapshot.header().kd_debugger_data_block()?;
        Some(Self {
            address: Hex(address.0),
            size: None,
            origin: None,
            encoded: None,
        })
    }
}

const fn origin(origin: DebuggerDataOrigin) -> &'static str {
    match origin {
        DebuggerDataOrigin::Header => "header",
        DebuggerDataOrigin::Copy => "copy",
        DebuggerDataOrigin::VersionBlock => "version-block",
        DebuggerDataOrigin::Search => "search",
        DebuggerDataOrigin::BugcheckParameter => "bugcheck-parameter",
    }
}

impl Serialize for Document<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let machine = self.machine;
        let (snapshot, contents) = (machine.snapshot, &machine.contents);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", &SCHEMA)?;
        map.serialize_entry("path", &Text(self.path.display()))?;
        map.serialize_entry("file_size", &contents.source.size())?;
        map.serialize_entry("kind", machine.kind())?;
        map.serialize_entry("container", contents.container)?;
        let arch = header::processor_name(snapshot.header(), snapshot.machine());
        map.serialize_entry("arch", &arch)?;
        map.serialize_entry("os", &machine.is_windows().then_some("windows"))?;
        header::write(&mut map, machine)?;
        map.serialize_entry("debugger_data", &DebuggerData::of(snapshot))?;
        map.serialize_entry("physical_memory", &machine.pages())?;
        self.lists(&mut map)?;
        map.serialize_entry("triage", &snapshot.triage().map(TriageRow::of))?;
        let blobs = || {
            let blobs = machine.blobs();
            blobs.map_while(|blob| machine.keep(blob, "DumpBlob").map(|blob| BlobRow::of(&blob)))
        };
        map.serialize_entry("secondary_data", &Each(blobs))?;
        map.serialize_entry("manifest", &machine.manifest())?;
        map.serialize_entry("guesses", &snapshot.guesses())?;
        // All of the above may have found something.
        let findings = machine.findings();
        map.serialize_entry("findings_total", &findings.total())?;
        map.serialize_entry("findings", &Each(|| findings.as_slice().iter().map(FindingRow::of)))?;
        map.end()
    }
}

impl Document<'_, '_> {
    /// What the machine has several of.
    fn lists<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let snapshot = self.machine.snapshot;
        let (processor, processors) = (snapshot.machine(), snapshot.processors());
        let rows = || processors.iter().map(|row| ProcessorRow::of(processor, row));
        map.serialize_entry("processors", &Each(rows))?;
        let modules = snapshot.modules();
        map.serialize_entry("modules", &Each(|| modules.iter().map(ModuleRow::of)))?;
        let unloaded = snapshot.unloaded_drivers();
        map.serialize_entry("unloaded_modules", &Each(|| unloaded.iter().map(UnloadedRow::of)))?;
        let processes = snapshot.processes();
        map.serialize_entry("processes", &Each(|| processes.iter().map(ProcessRow::of)))
    }
}
