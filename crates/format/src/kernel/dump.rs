//! A kernel dump as a whole: its header, and what its body is.

use alloc::format;
use alloc::string::String;

use super::bitmap::{self, BitmapHeader, PageBitmap};
use super::header::{DumpType, Header};
use super::machine::{Machine, MachineType};
use super::physical_memory::{end_of_pages, pages_from};
use super::range::{self, PageRanges};
use super::secondary_data::SecondaryData;
use super::summary;
use super::triage::{TriageDump32, TriageDump64};
use crate::addr::FileOffset;
use crate::error::{Error, Findings};
use crate::record::Record as _;
use crate::source::ReadAt;

/// `InsufficientDumpfileSize` of `DUMP_FILE_ATTRIBUTES` (`mindumpdef.h`).
pub const ATTRIBUTE_INSUFFICIENT_DUMPFILE_SIZE: u32 = 0x4;
/// `LiveDumpGeneratedDump` of `DUMP_FILE_ATTRIBUTES` (`mindumpdef.h`).
pub const ATTRIBUTE_LIVE_DUMP_GENERATED_DUMP: u32 = 0x10;
/// `EncryptedDumpData` of `DUMP_FILE_ATTRIBUTES` (`mindumpdef.h`).
pub const ATTRIBUTE_ENCRYPTED_DUMP_DATA: u32 = 0x100;

/// The last four bytes of a triage dump's primary data.
const TRIAGE_VALID: [u8; 4] = *b"TRGD";

/// What lies behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The pages of the header's runs, all of them usable ([`usable_runs`]).
    ///
    /// [`usable_runs`]: super::physical_memory::PhysicalMemoryDescriptor::usable_runs
    Runs {
        /// Where the first page is.
        first_page: FileOffset,
        /// How many pages the runs have.
        pages: u64,
    },
    /// A bitmap and pages, as Windows 8 and later write them.
    Bitmap(PageBitmap),
    /// A bitmap and pages, as Windows 2000 to 7 wrote them.
    Summary(PageBitmap),
    /// Ranges and pages.
    Ranges(PageRanges),
    /// A small memory dump.
    Triage {
        /// Where it starts.
        offset: FileOffset,
    },
    /// Nothing.
    HeaderOnly,
}

/// A kernel dump. Reading one reads its header and that of its body, nothing else.
#[derive(Clone, Debug)]
pub struct KernelDump {
    /// The header.
    pub header: Header,
    /// What lies behind it.
    pub body: Body,
    /// What is wrong with either.
    pub findings: Findings,
}

impl KernelDump {
    /// Opens the dump in `source`. What the body starts with counts for more than the type that the header names.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no kernel dump, and for dumps whose contents nobody can read: of processors that
    /// are not known, encrypted, compressed, of an unknown type. [`Error::Read`] where the medium fails.
    pub fn open(source: &dyn ReadAt) -> Result<Self, Error> {
        let header = Header::read(source)?;
        let mut findings = Findings::default();
        check_machine(&header, &mut findings)?;
        if attributes(&header) & ATTRIBUTE_ENCRYPTED_DUMP_DATA != 0 {
            return Err(Error::malformed(
                if header.is_64() { 0x1050 } else { 0x8A0 },
                "Attributes",
                "the dump is encrypted (EncryptedDumpData); it has to be decrypted with its key first",
            ));
        }
        let body = body(source, &header, &mut findings)?;
        if let Body::Bitmap(bitmap) = &body {
            refuse_compressed(source, &header, bitmap)?;
        }
        Ok(Self { header, body, findings })
    }

    /// Where the body starts: behind the header.
    #[must_use]
    pub const fn body_offset(&self) -> FileOffset {
        FileOffset(self.header.size())
    }

    /// Where the primary data ends, be it within the file or not: secondary data starts there. Reads the whole bitmap
    /// or table of ranges of a dump that has one.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn primary_end(&self, source: &dyn ReadAt) -> Result<FileOffset, Error> {
        Ok(match &self.body {
            Body::Runs { first_page, pages } => end_of_pages(*first_page, *pages),
            Body::Bitmap(bitmap) | Body::Summary(bitmap) => end_of_pages(bitmap.first_page, bitmap.count(source)?),
            Body::Ranges(ranges) => {
                let mut all = ranges.ranges(source);
                for range in &mut all {
                    match range {
                        // A table that breaks off leaves the pages before that.
                        Ok(_) | Err(Error::Malformed(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                end_of_pages(ranges.first_page, all.pages())
            }
            Body::Triage { offset } => FileOffset(triage_size(source, *offset)?.into()),
            Body::HeaderOnly => self.body_offset(),
        })
    }

    /// The secondary data; `None` where there is none. Reads what [`KernelDump::primary_end`] reads.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn secondary_data(&self, source: &dyn ReadAt) -> Result<Option<SecondaryData>, Error> {
        SecondaryData::read(source, self.primary_end(source)?)
    }
}

/// The attributes; none where they are not set. Tools that fill headers with zeros or other letters than Windows does
/// leave values that have the highest bits set.
#[must_use]
pub fn attributes(header: &Header) -> u32 {
    header.attributes().filter(|bits| bits >> 24 == 0).unwrap_or(0)
}

fn check_machine(header: &Header, findings: &mut Findings) -> Result<(), Error> {
    let offset = FileOffset(if header.is_64() { 0x30 } else { 0x20 });
    let refused = match header.machine_type() {
        Some(MachineType::IA64) => Some("Itanium (IA-64)"),
        Some(MachineType::EBC) => Some("EFI byte code"),
        _ => None,
    };
    if let Some(name) = refused {
        let message = format!("dumps of {name} machines are not supported");
        return Err(Error::malformed(offset, "MachineImageType", message));
    }
    let found = header.machine_image_type();
    let fits = header
        .machine()
        .is_some_and(|machine| (machine != Machine::X86) == header.is_64());
    if !fits {
        let width = if header.is_64() { "64-bit" } else { "32-bit" };
        let message = match found {
            Some(number) => format!("{number:#x} in a {width} header"),
            None => String::from("not set"),
        };
        findings.add(offset, "MachineImageType", message);
    }
    Ok(())
}

fn body(source: &dyn ReadAt, header: &Header, findings: &mut Findings) -> Result<Body, Error> {
    let offset = FileOffset(header.size());
    let dump_type = header.dump_type();
    let start = start_of(source, offset)?;
    let (magic, valid_dump) = (&start[..4], &start[4..8]);
    // A file that was cut has its header at least.
    let whole = source.size() >= offset.0 + size_of::<BitmapHeader>() as u64;
    if !whole && matches!(dump_type.0, 2 | 5..=0xA) {
        let message = format!("the file ends at {:#x}, within the header of the body", source.size());
        findings.add(offset, "body", message);
        return Ok(Body::HeaderOnly);
    }
    let is_bitmap = whole
        && (magic == bitmap::SIGNATURE_FULL || magic == bitmap::SIGNATURE_KERNEL)
        && valid_dump == bitmap::VALID_DUMP;
    if is_bitmap {
        let found = match summary::read(source, offset, header.is_64(), findings)? {
            Some(bitmap) => Body::Summary(bitmap),
            None => Body::Bitmap(PageBitmap::read(source, offset, findings)?),
        };
        let named = if matches!(found, Body::Summary(_)) {
            2..=2
        } else {
            5..=7
        };
        check_type(header, named.contains(&dump_type.0), "a bitmap", findings);
        return Ok(found);
    }
    let is_range = whole && magic == range::MARKER.to_le_bytes() && valid_dump == range::SIGNATURE;
    if is_range {
        check_type(header, (8..=0xA).contains(&dump_type.0), "ranges", findings);
        return PageRanges::read(source, offset, dump_type, findings).map(Body::Ranges);
    }
    if dump_type == DumpType::TRIAGE && source.size() < offset.0.saturating_add(fixed_size(header)) {
        let message = format!(
            "the file ends at {:#x}, within the record of a triage dump",
            source.size()
        );
        findings.add(offset, "TRIAGE_DUMP", message);
        return Ok(Body::HeaderOnly);
    }
    if dump_type == DumpType::TRIAGE || is_triage(source, &start)? {
        check_type(header, dump_type == DumpType::TRIAGE, "a triage dump", findings);
        return Ok(Body::Triage { offset });
    }
    if dump_type == DumpType::HEADER {
        return Ok(Body::HeaderOnly);
    }
    runs(source, header, &start, findings)
}

/// The body of a dump that has runs and no magic of its own.
fn runs(source: &dyn ReadAt, header: &Header, start: &[u8; 16], findings: &mut Findings) -> Result<Body, Error> {
    let offset = FileOffset(header.size());
    let dump_type = header.dump_type();
    let other = matches!(dump_type.0, 2 | 5..=0xA);
    let stored = header.physical_memory().filter(|_| !other);
    let implausible = match &stored {
        Some(stored) => stored.implausible(),
        None => Some(String::from("not set")),
    };
    let pages = stored.map_or(0, |stored| stored.usable_runs().map(|run| run.page_count).sum());
    match implausible {
        // Runs may be there with any type and mean nothing for the file: without a type that says so, they have to
        // describe one whose pages start in it.
        None if dump_type == DumpType::FULL || pages_from(offset, source.size()) > 0 => {
            check_type(header, matches!(dump_type.0, 0 | 1), "runs", findings);
        }
        Some(message) if dump_type == DumpType::FULL && pages > 0 => {
            findings.add(if header.is_64() { 0x88 } else { 0x64 }, "PhysicalMemoryBlock", message);
        }
        _ => {
            let runs = implausible.map_or_else(String::new, |what| format!(", PhysicalMemoryBlock: {what}"));
            return Err(Error::malformed(
                type_at(header),
                "DumpType",
                format!(
                    "{dump_type}, the body starts with `{}`{runs}",
                    start[..8].escape_ascii()
                ),
            ));
        }
    }
    Ok(Body::Runs {
        first_page: offset,
        pages,
    })
}

fn check_type(header: &Header, fits: bool, body: &str, findings: &mut Findings) {
    if !fits {
        let message = format!("{}, the body has {body}", header.dump_type());
        findings.add(type_at(header), "DumpType", message);
    }
}

/// Where the header names the type.
const fn type_at(header: &Header) -> FileOffset {
    FileOffset(if header.is_64() { 0xF98 } else { 0xF88 })
}

/// The first bytes of the body; zero where the file has ended.
fn start_of(source: &dyn ReadAt, offset: FileOffset) -> Result<[u8; 16], Error> {
    let mut start = [0; 16];
    let there = source.size().saturating_sub(offset.0);
    let there = usize::try_from(there).map_or(start.len(), |there| there.min(start.len()));
    source.read_exact_at(offset, &mut start[..there])?;
    Ok(start)
}

/// Whether the body is that of a triage dump, whatever the header says: it then leads to its own end mark.
fn is_triage(source: &dyn ReadAt, start: &[u8; 16]) -> Result<bool, Error> {
    let [_, _, _, _, size @ ..] = *start;
    let [s0, s1, s2, s3, v0, v1, v2, v3, ..] = size;
    let (size, valid) = (
        u32::from_le_bytes([s0, s1, s2, s3]),
        u32::from_le_bytes([v0, v1, v2, v3]),
    );
    if valid.checked_add(4) != Some(size) || u64::from(size) > source.size() {
        return Ok(false);
    }
    let mut mark = [0; 4];
    source.read_exact_at(FileOffset(valid.into()), &mut mark)?;
    Ok(mark == TRIAGE_VALID)
}

/// The size of the record that a triage dump starts with.
fn fixed_size(header: &Header) -> u64 {
    let size = match header.is_64() {
        true => TriageDump64::SIZE,
        false => TriageDump32::SIZE,
    };
    size as u64
}

/// `SizeOfDump` of a triage dump.
fn triage_size(source: &dyn ReadAt, offset: FileOffset) -> Result<u32, Error> {
    let start = start_of(source, offset)?;
    Ok(u32::from_le_bytes([start[4], start[5], start[6], start[7]]))
}

/// Live dumps can be compressed, in a way that nothing public describes and no field tells. Their pages do not fit the
/// file; those of a live dump that was cut do not either, and nothing tells the two apart.
fn refuse_compressed(source: &dyn ReadAt, header: &Header, bitmap: &PageBitmap) -> Result<(), Error> {
    let bits = attributes(header);
    let live = bits & ATTRIBUTE_LIVE_DUMP_GENERATED_DUMP != 0 && bits & ATTRIBUTE_INSUFFICIENT_DUMPFILE_SIZE == 0;
    let fit = pages_from(bitmap.first_page, source.size());
    let claimed = bitmap.claimed_pages.min(bitmap.bits);
    if !live || claimed <= fit {
        return Ok(());
    }
    Err(Error::malformed(
        bitmap
            .body
            .saturating_add(core::mem::offset_of!(BitmapHeader, total_present_pages) as u64),
        "TotalPresentPages",
        format!("a live dump of {claimed:#x} pages, of which the file has room for {fit:#x}: it is compressed or cut"),
    ))
}

#[cfg(test)]
mod tests;
