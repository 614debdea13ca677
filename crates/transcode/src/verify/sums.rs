//! The checksums of a dump's manifest, taken again.

use dotdump_format::minidump::{DirectoryEntry, Header, Stream, StreamType};
use dotdump_format::{Error, FileOffset, Findings, ReadAt, Record};
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};
use serde::Serialize;

use super::hexadecimal;
use crate::manifest::{Manifest, SCHEMA};

/// How much is read at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// How many damaged blocks are told one by one.
const TOLD_BLOCKS: usize = 256;

/// How many streams and ranges are told for one block.
const TOLD_PARTS: usize = 8;

/// The manifest's text starts so, whatever the directory calls the stream.
const START_OF_TEXT: &[u8] = b"{\"schema\":";

/// What the checksums say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ManifestReport {
    /// Whether the dump has a manifest.
    pub present: bool,
    /// The options that it was made with, in the spelling of the command line.
    pub options: Option<String>,
    /// How many blocks have a checksum.
    pub blocks: u64,
    /// How many of them could be compared: the others were cut off, or their sums.
    pub checked: u64,
    /// How many of them are not as they were written.
    pub damaged_total: u64,
    /// The first of those.
    pub damaged: Vec<DamagedBlock>,
}

/// A block whose bytes are not those that were written.
#[derive(Clone, Debug, Serialize)]
pub struct DamagedBlock {
    /// Where it starts in the file.
    #[serde(serialize_with = "hexadecimal")]
    pub offset: FileOffset,
    /// Its size in bytes.
    pub size: u64,
    /// What lies in it: streams by name, memory by address, parts of a kernel dump by name and pages by number.
    pub holds: Vec<String>,
}

impl DamagedBlock {
    fn end(&self) -> FileOffset {
        self.offset.saturating_add(self.size)
    }

    fn touches(&self, start: FileOffset, end: FileOffset) -> bool {
        start < self.end() && end > self.offset
    }

    fn add(&mut self, part: String) {
        match self.holds.len() {
            held if held < TOLD_PARTS => self.holds.push(part),
            TOLD_PARTS => self.holds.push("more".to_owned()),
            _ => {}
        }
    }
}

/// Takes the checksums of a dump that has a manifest.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(crate) fn check(snapshot: &MinidumpSnapshot<'_>, findings: &mut Findings) -> Result<ManifestReport, Error> {
    let mut report = ManifestReport::default();
    let dump = snapshot.dump();
    let Some(stream) = dump.stream(StreamType::DOTDUMP_MANIFEST) else {
        lost_manifest(snapshot, findings);
        return Ok(report);
    };
    report.present = true;
    let manifest = match Manifest::read(dump) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(report),
        Err(Error::Malformed(finding)) => {
            findings.push(finding);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.options = Some(manifest.options.clone());
    let what = "DotdumpManifest";
    if manifest.schema != SCHEMA {
        findings.add(
            stream.offset,
            what,
            format!("version {}, {SCHEMA} expected", manifest.schema),
        );
        return Ok(report);
    }
    let size = dump.source().size();
    let block = manifest.checksums.block;
    let Some(sums) = manifest.checksums.offset().filter(|_| block > 0) else {
        findings.add(stream.offset, what, "no place and size of checksums");
        return Ok(report);
    };
    report.blocks = sums.0.div_ceil(block);
    let expected = report.blocks.checked_mul(4).and_then(|table| sums.checked_add(table));
    if expected.map(FileOffset::get) != Some(size) {
        let expected = expected.map_or_else(|| "more than any file".to_owned(), |end| format!("{end}"));
        findings.add(
            size,
            what,
            format!("the file has {size:#x} bytes, {expected} were written"),
        );
    }
    check_blocks(dump.source(), block, sums, &mut report)?;
    tell_what_they_hold(snapshot, &mut report.damaged)?;
    for block in &report.damaged {
        let message = format!(
            "{} bytes are not those that were written; they hold {}",
            block.size,
            block.holds.join(", ")
        );
        findings.add(block.offset, "file", message);
    }
    let untold = report.damaged_total - report.damaged.len() as u64;
    if untold > 0 {
        let message = format!("{untold} more blocks are not as they were written");
        findings.add(sums, "file", message);
    }
    Ok(report)
}

/// Compares all blocks of a file that are there with their sums, which lie at `sums`, where those are there.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(crate) fn check_blocks(
    source: &dyn ReadAt,
    block: u64,
    sums: FileOffset,
    report: &mut ManifestReport,
) -> Result<(), Error> {
    let mut check = Blocks {
        source,
        block,
        sums,
        report,
    };
    check.run()
}

struct Blocks<'a, 'r> {
    source: &'a dyn ReadAt,
    block: u64,
    sums: FileOffset,
    report: &'r mut ManifestReport,
}

impl Blocks<'_, '_> {
    fn run(&mut self) -> Result<(), Error> {
        let source = self.source;
        let there = self.sums.0.min(source.size());
        let mut buffer = Vec::new();
        let mut start = 0;
        let mut sum_at = self.sums;
        while start < there {
            let end = start.saturating_add(self.block).min(self.sums.0);
            if sum_at.saturating_add(4).0 > source.size() || end > there {
                // The file was cut, which is told; without the sum nothing can be said of the block.
                return Ok(());
            }
            let mut hasher = crc32fast::Hasher::new();
            let mut at = start;
            while at < end {
                let step = usize::try_from(CHUNK.min(end - at)).unwrap_or(0);
                if let Some(bytes) = source.lend(FileOffset(at), step) {
                    hasher.update(bytes);
                } else {
                    buffer.resize(step, 0);
                    source.read_exact_at(FileOffset(at), &mut buffer)?;
                    hasher.update(&buffer);
                }
                at += step as u64;
            }
            let mut sum = [0; 4];
            source.read_exact_at(sum_at, &mut sum)?;
            self.report.checked += 1;
            if hasher.finalize() != u32::from_le_bytes(sum) {
                self.damaged(FileOffset(start), end - start);
            }
            sum_at = sum_at.saturating_add(4);
            start = end;
        }
        Ok(())
    }

    fn damaged(&mut self, offset: FileOffset, size: u64) {
        self.report.damaged_total += 1;
        if self.report.damaged.len() < TOLD_BLOCKS {
            self.report.damaged.push(DamagedBlock {
                offset,
                size,
                holds: Vec::new(),
            });
        }
    }
}

/// Tells for each block which streams and which memory lie in it.
fn tell_what_they_hold(snapshot: &MinidumpSnapshot<'_>, blocks: &mut [DamagedBlock]) -> Result<(), Error> {
    if blocks.is_empty() {
        return Ok(());
    }
    let dump = snapshot.dump();
    let mut add = |start: FileOffset, end: FileOffset, part: &dyn Fn() -> String| {
        let first = blocks.partition_point(|block| block.end() <= start);
        for block in blocks[first..].iter_mut().take_while(|block| block.offset < end) {
            if block.touches(start, end) && block.holds.len() <= TOLD_PARTS {
                block.add(part());
            }
        }
    };
    add(FileOffset(0), FileOffset(Header::SIZE as u64), &|| {
        "the header".to_owned()
    });
    let header = dump.header();
    let directory = FileOffset(u64::from(header.stream_directory_rva.get()));
    let entries = u64::from(header.number_of_streams.get()) * DirectoryEntry::SIZE as u64;
    add(directory, directory.saturating_add(entries), &|| {
        "the directory".to_owned()
    });
    for stream in dump.streams() {
        add(stream.offset, stream.end(), &|| stream.stream_type.to_string());
    }
    // Threads and modules point to records outside of their lists, and all names lie apart as well.
    for (index, thread) in snapshot.threads().iter().enumerate() {
        if let Some((offset, size)) = thread.record.thread_context.place() {
            add(offset, offset.saturating_add(size), &|| {
                format!("registers of thread {index}")
            });
        }
    }
    for extent in snapshot.memory().all() {
        let extent = extent?;
        if let Some(offset) = extent.offset {
            add(offset, offset.saturating_add(extent.range.size()), &|| {
                format!("memory {}", extent.range)
            });
        }
    }
    for block in blocks {
        if block.holds.is_empty() {
            block.add("names or other records that streams point to".to_owned());
        }
    }
    Ok(())
}

/// Finds a manifest to which the directory does not lead: a damaged directory must not switch off the check that would
/// find the damage.
fn lost_manifest(snapshot: &MinidumpSnapshot<'_>, findings: &mut Findings) {
    const WHAT: &str = "DotdumpManifest";
    let dump = snapshot.dump();
    let starts_so = |stream: &Stream<'_>| {
        let start = stream.bytes_at(0, START_OF_TEXT.len() as u64);
        start.is_ok_and(|start| *start == *START_OF_TEXT)
    };
    if let Some(stream) = dump.streams().find(starts_so) {
        let message = format!("a manifest that the directory calls {}", stream.stream_type);
        findings.add(stream.offset, WHAT, message);
        return;
    }
    // An entry behind the last one that the header counts.
    const LOOKED_AT: u64 = 64;
    let header = dump.header();
    let end = FileOffset(u64::from(header.stream_directory_rva.get()))
        .saturating_add(u64::from(header.number_of_streams.get()) * DirectoryEntry::SIZE as u64);
    let size = dump.source().size();
    for index in 0..LOOKED_AT {
        let at = end.saturating_add(index * DirectoryEntry::SIZE as u64);
        let Some(past) = at
            .checked_add(DirectoryEntry::SIZE as u64)
            .filter(|past| past.0 <= size)
        else {
            return;
        };
        let Ok(bytes) = dump.source().bytes(at, DirectoryEntry::SIZE) else {
            return;
        };
        let entry = DirectoryEntry::read_partial(&bytes, snapshot.endian());
        if entry.stream_type.get() == StreamType::DOTDUMP_MANIFEST.0
            && u64::from(entry.location.rva.get()) >= past.0
            && entry
                .location
                .place()
                .is_some_and(|(offset, length)| offset.saturating_add(length).0 <= size)
        {
            findings.add(at, WHAT, "a manifest behind the end of the directory");
            return;
        }
    }
}
