//! Is all that a dump kept the same as in the dump, the core, or the process of a machine, that it was made from?
//!
//! The comparison knows what a conversion may change: file offsets, the bits of a context that tell how it came about,
//! the extended state that was cut off, words that a filter erased, folders of module names, the comment, and the exception where options
//! named another one.
//! Everything else has to be equal, byte for byte.

mod content;
mod memory;
mod records;

use std::ops::Deref;

use dotdump_format::minidump::{MiniDumpType, StreamType};
use dotdump_format::{Error, FileOffset, ReadAt};
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};
use serde::Serialize;

use crate::exception::ExceptionRequest;
use crate::manifest::{Manifest, SourceIdentity};

/// The most differences that are told with their text.
const TOLD: usize = 100;

/// Something that is not the same in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The stream, record or field.
    pub what: String,
    /// What is not the same.
    pub message: String,
}

/// What a dump does not have of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Streams by name.
    pub streams: Vec<String>,
    /// Threads.
    pub threads: u64,
    /// Modules.
    pub modules: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Ranges of memory: addresses without a gap count as one.
    pub memory_ranges: u64,
}

/// What filters took out of what a dump has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Words of memory that are zero.
    pub words: u64,
    /// Ranges of memory in which words were erased.
    pub ranges: u64,
    /// Names of modules without their folders.
    pub module_paths: u64,
}

/// What [`against`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Against {
    /// Whether all that the dump has is the same in the source.
    pub same: bool,
    /// What is not, at most 100 of them.
    pub differences: Vec<Difference>,
    /// How many differences there were in all.
    pub differences_total: u64,
    /// Bytes of memory that were compared.
    pub memory_compared: u64,
    /// Bytes of code that came from files of the modules' images, as the manifest says.
    pub memory_from_images: u64,
    /// What the dump does not have.
    pub left_out: LeftOut,
    /// What filters took out of what it has.
    pub erased: Erased,
    /// What is no difference, but good to know.
    pub notes: Vec<String>,
    /// Comments, and the exception, where others were put in on purpose.
    pub replaced: Vec<String>,
}

impl Against {
    fn differ(&mut self, what: impl Into<String>, message: impl Into<String>) {
        self.differences_total += 1;
        if self.differences.len() < TOLD {
            self.differences.push(Difference {
                what: what.into(),
                message: message.into(),
            });
        }
    }
}

/// One of the two that are compared: a process, and the file that its extents refer to.
#[derive(Clone, Copy)]
struct Side<'a> {
    process: &'a dyn ProcessSnapshot,
    file: &'a dyn ReadAt,
}

impl Side<'_> {
    fn flags(&self) -> MiniDumpType {
        MiniDumpType::from_bits_retain(self.process.header().flags.get())
    }
}

impl<'a> Deref for Side<'a> {
    type Target = dyn ProcessSnapshot + 'a;

    fn deref(&self) -> &Self::Target {
        self.process
    }
}

impl<'a> From<&'a MinidumpSnapshot<'_>> for Side<'a> {
    fn from(process: &'a MinidumpSnapshot<'_>) -> Self {
        Self {
            process,
            file: process.dump().source(),
        }
    }
}

/// Compares all that `dump` has with `source`.
///
/// # Errors
/// [`Error::Read`] where a medium fails.
pub fn against(dump: &MinidumpSnapshot<'_>, source: &MinidumpSnapshot<'_>) -> Result<Against, Error> {
    let first = Manifest::read(source.dump()).unwrap_or_default();
    compare(dump, source.into(), first.as_ref())
}

/// Compares all that `dump` has with a process that is in no minidump: of a machine, or of a core. `file` is where its
/// memory is.
///
/// # Errors
/// [`Error::Read`] where a medium fails.
pub fn against_process(
    dump: &MinidumpSnapshot<'_>,
    process: &dyn ProcessSnapshot,
    file: &dyn ReadAt,
) -> Result<Against, Error> {
    compare(dump, Side { process, file }, None)
}

/// Compares; `first` is the manifest of the source, where that was made by a conversion as well.
fn compare(snapshot: &MinidumpSnapshot<'_>, source: Side<'_>, first: Option<&Manifest>) -> Result<Against, Error> {
    let mut report = Against::default();
    let manifest = Manifest::read(snapshot.dump()).unwrap_or_default();
    let dump = Side::from(snapshot);
    identity(dump, source, (manifest.as_ref(), first), &mut report)?;
    records::threads(dump, source, &mut report)?;
    if manifest
        .as_ref()
        .is_some_and(|manifest| ExceptionRequest::is_among(&manifest.options))
    {
        report.replaced.push(StreamType::EXCEPTION.to_string());
    } else {
        records::exception(dump, source, &mut report)?;
    }
    records::modules(dump, source, &mut report)?;
    records::system_info(dump, source, &mut report);
    records::misc_info(dump, source, &mut report)?;
    streams(dump, source, &mut report)?;
    memory::compare(dump, source, manifest.as_ref(), &mut report)?;
    report.same = report.differences_total == 0;
    Ok(report)
}

/// Whether this is the dump from which the other one was made, and the same kind of process.
fn identity(
    dump: Side<'_>,
    source: Side<'_>,
    (manifest, first): (Option<&Manifest>, Option<&Manifest>),
    report: &mut Against,
) -> Result<(), Error> {
    if dump.endian() != source.endian() {
        report.differ(
            "byte order",
            format!("{:?}, {:?} in the source", dump.endian(), source.endian()),
        );
    }
    let (mine, theirs) = (
        dump.header().time_date_stamp.get(),
        source.header().time_date_stamp.get(),
    );
    if mine != theirs {
        report.differ(
            "MINIDUMP_HEADER.TimeDateStamp",
            format!("{mine:#x}, {theirs:#x} in the source"),
        );
    }
    let Some(manifest) = manifest else { return Ok(()) };
    let found = SourceIdentity::of(source.process, source.file)?;
    if manifest.source == found {
        return Ok(());
    }
    // Converted again: both come from the same dump.
    if first.is_some_and(|theirs| theirs.source == manifest.source) {
        return Ok(());
    }
    let told = |identity: &SourceIdentity| {
        format!(
            "{} bytes, time {:#x}, flags {}, checksum of the head {}",
            identity.size, identity.time, identity.flags, identity.head_crc32
        )
    };
    report.notes.push(format!(
        "the dump was made from another file ({}), not from this one ({})",
        told(&manifest.source),
        told(&found)
    ));
    Ok(())
}

/// Streams that other comparisons cover, or that say nothing of the process.
fn is_covered(stream_type: StreamType) -> bool {
    matches!(
        stream_type,
        StreamType::UNUSED
            | StreamType::RESERVED_0
            | StreamType::RESERVED_1
            | StreamType::THREAD_LIST
            | StreamType::THREAD_EX_LIST
            | StreamType::MODULE_LIST
            | StreamType::MEMORY_LIST
            | StreamType::MEMORY64_LIST
            | StreamType::EXCEPTION
            | StreamType::SYSTEM_INFO
            | StreamType::MISC_INFO
            | StreamType::DOTDUMP_MANIFEST
    )
}

/// Compares the streams that are carried.
fn streams(dump: Side<'_>, source: Side<'_>, report: &mut Against) -> Result<(), Error> {
    let (mine, theirs) = (dump.stream_types(), source.stream_types());
    for stream_type in mine.iter().copied().filter(|stream_type| !is_covered(*stream_type)) {
        let difference = content::compare(dump, source, stream_type)?;
        let Some(difference) = difference else { continue };
        if matches!(stream_type, StreamType::COMMENT_A | StreamType::COMMENT_W) {
            report.replaced.push(stream_type.to_string());
        } else {
            report.differ(stream_type.to_string(), difference);
        }
    }
    let has = |stream_type: &StreamType| match *stream_type {
        StreamType::MEMORY_LIST | StreamType::MEMORY64_LIST => {
            mine.contains(&StreamType::MEMORY_LIST) || mine.contains(&StreamType::MEMORY64_LIST)
        }
        StreamType::THREAD_LIST | StreamType::THREAD_EX_LIST => {
            mine.contains(&StreamType::THREAD_LIST) || mine.contains(&StreamType::THREAD_EX_LIST)
        }
        StreamType::UNUSED | StreamType::RESERVED_0 | StreamType::RESERVED_1 | StreamType::DOTDUMP_MANIFEST => true,
        other => mine.contains(&other),
    };
    report.left_out.streams = theirs
        .iter()
        .filter(|stream_type| !has(stream_type))
        .map(ToString::to_string)
        .collect();
    Ok(())
}

/// Whether two runs of two files have the same bytes: where the first difference is.
fn first_difference(one: &[u8], two: &[u8], offset: FileOffset) -> Option<FileOffset> {
    let at = one.iter().zip(two).position(|(one, two)| one != two)?;
    Some(offset.saturating_add(at as u64))
}
