//! What a file has beside the machine: the sections of a triage dump, secondary data, a manifest.

use dotdump_format::kernel::secondary_data::Blob;
use dotdump_format::kernel::{Body, Triage};
use dotdump_format::{Error, ReadAt};
use dotdump_snapshot::machine::MachineFile;
use dotdump_transcode::machine::MachineManifest;
use dotdump_transcode::machine::manifest::MANIFEST_TAG;
use serde::Serialize;

use super::super::model::{Hex, Text};
use super::{Machine, blobs};

/// What a file is, beside the machine that it shows.
pub(in super::super) struct Contents<'a> {
    /// The file.
    pub(in super::super) source: &'a dyn ReadAt,
    /// What kind of file it is.
    pub(in super::super) container: &'static str,
    /// Whether it is a kernel dump and not only memory.
    pub(in super::super) is_dump: bool,
    /// How many pages the file's own tables say that it has.
    pub(in super::super) described: Option<u64>,
}

impl<'a> Contents<'a> {
    /// What an open file has.
    pub(in super::super) fn of(source: &MachineFile<'a>) -> Self {
        Self {
            source: source.source(),
            container: source.container().name(),
            is_dump: source.kernel_dump().is_some(),
            described: source.kernel_dump().and_then(|dump| described(&dump.body)),
        }
    }
}

impl Machine<'_> {
    /// The blocks of secondary data. A broken one is an error and the last one.
    pub(super) fn blobs(&self) -> impl Iterator<Item = Result<Blob, Error>> + '_ {
        let chain = self.snapshot.secondary_data();
        chain.into_iter().flat_map(|chain| chain.blobs(self.contents.source))
    }

    /// What dotdump wrote about the dump's making; `None` where it did not make it.
    pub(super) fn manifest(&self) -> Option<MachineManifest> {
        let mut blobs = self.blobs().map_while(Result::ok);
        let blob = blobs.find(|blob| blob.tag == MANIFEST_TAG)?;
        let manifest = MachineManifest::read(self.contents.source, blob.data, blob.size.into());
        self.keep(manifest, "manifest")
    }
}

/// How many pages the tables of a dump say that it has.
fn described(body: &Body) -> Option<u64> {
    match body {
        Body::Runs { pages, .. } => Some(*pages),
        Body::Bitmap(bitmap) | Body::Summary(bitmap) => Some(bitmap.claimed_pages),
        Body::Ranges(ranges) => ranges.total_pages,
        Body::Triage { .. } | Body::HeaderOnly => None,
    }
}

/// The sections of a triage dump.
#[derive(Serialize)]
pub(super) struct TriageRow {
    writer: &'static str,
    options: Hex,
    size_of_dump: u32,
    service_pack_build: u32,
    drivers: u32,
    data_blocks: u64,
    top_of_stack: Hex,
    sections: Vec<SectionRow>,
}

#[derive(Serialize)]
struct SectionRow {
    name: &'static str,
    offset: Hex,
    size: u64,
}

impl TriageRow {
    pub(super) fn of(triage: &Triage<'_>) -> Self {
        let fields = triage.fields();
        let sections = triage.sections().iter().map(|section| SectionRow {
            name: section.kind.name(),
            offset: Hex(section.offset.0),
            size: section.size,
        });
        Self {
            writer: triage.family().name(),
            options: Hex(fields.triage_options.into()),
            size_of_dump: fields.size_of_dump,
            service_pack_build: fields.service_pack_build,
            drivers: fields.driver_count,
            data_blocks: triage.block_count(),
            top_of_stack: Hex(fields.top_of_stack.0),
            sections: sections.collect(),
        }
    }
}

/// A block of secondary data.
#[derive(Serialize)]
pub(super) struct BlobRow {
    guid: Text<dotdump_format::minidump::guid::Guid>,
    name: Option<&'static str>,
    offset: Hex,
    size: u32,
}

impl BlobRow {
    pub(super) fn of(blob: &Blob) -> Self {
        Self {
            guid: Text(blob.tag),
            name: blobs::name(&blob.tag),
            offset: Hex(blob.data.0),
            size: blob.size,
        }
    }
}
