//! Dumps and images of a machine, for tests to read. What is written goes through the writers of `dotdump-format`.

use std::fs::File;
use std::io::{Cursor, Error as IoError, Seek, SeekFrom, Write};
use std::path::Path;

use dotdump_format::kernel::header::DumpType;
use dotdump_format::kernel::{BitmapLayout, Header, MemoryRun, RangeLayout, bitmap, secondary_data};
use dotdump_format::layout::{Layout, Piece, Plan};
use dotdump_format::minidump::guid::Guid;
use dotdump_format::{Endian, Error, PAGE_SIZE, Pfn, Record};
use dotdump_snapshot::PageSet;

use crate::header::HeaderStyle;
use crate::machine::SynthMachine;
use crate::ram::PAGE;

/// A dump of a machine that is going to be written.
#[derive(Clone, Debug)]
pub struct Dump<'a> {
    machine: &'a SynthMachine,
    dump_type: DumpType,
    style: HeaderStyle,
    pages: Option<PageSet>,
    secondary_data: bool,
}

impl SynthMachine {
    /// A dump with all pages: of type 1 by runs, 5 and 6 by a bitmap, 8, 9 and 0xA by ranges.
    #[must_use]
    pub const fn dump(&self, dump_type: DumpType) -> Dump<'_> {
        Dump {
            machine: self,
            dump_type,
            style: HeaderStyle::Crash,
            pages: None,
            secondary_data: true,
        }
    }

    /// All pages that are not zero.
    #[must_use]
    pub fn pages_in_use(&self) -> PageSet {
        let mut pages = PageSet::default();
        for (page, bytes) in self.ram().written() {
            if bytes.iter().any(|byte| *byte != 0) {
                pages.insert(page);
            }
        }
        pages
    }

    /// All pages.
    #[must_use]
    pub fn pages(&self) -> PageSet {
        let mut pages = PageSet::default();
        for (first, count) in self.ram().map().runs() {
            pages.insert_run(*first, *count);
        }
        pages
    }

    /// Writes an image of physical memory: the byte at each offset is that of the same address. Pages that are zero
    /// and holes of memory are holes of the file.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn write_raw(&self, path: &Path) -> Result<u64, IoError> {
        let mut file = File::create(path)?;
        let size = self.ram().map().end().0 * PAGE_SIZE;
        file.set_len(size)?;
        for (page, bytes) in self.ram().written() {
            if bytes.iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(page.0 * PAGE_SIZE))?;
                file.write_all(bytes)?;
            }
        }
        Ok(size)
    }
}

impl Dump<'_> {
    /// By whose conventions the header is filled; by default the kernel's.
    #[must_use]
    pub const fn style(mut self, style: HeaderStyle) -> Self {
        self.style = style;
        self
    }

    /// The pages that are kept. A dump by runs has all pages of its runs, whatever is chosen.
    #[must_use]
    pub fn pages(mut self, pages: PageSet) -> Self {
        self.pages = Some(pages);
        self
    }

    /// Whether the machine's secondary data follows the pages; by default it does.
    #[must_use]
    pub const fn secondary_data(mut self, append: bool) -> Self {
        self.secondary_data = append;
        self
    }

    /// Writes it; its size.
    ///
    /// # Errors
    /// What the file system reports, and in its terms what cannot be written: more runs than a header takes, an unknown
    /// type.
    pub fn write(&self, path: &Path) -> Result<u64, IoError> {
        let mut file = File::create(path)?;
        self.write_to(&mut file)
    }

    /// Its bytes. For machines of little memory.
    ///
    /// # Errors
    /// What cannot be written: more runs than a header takes, an unknown type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, IoError> {
        let mut file = Cursor::new(Vec::new());
        self.write_to(&mut file)?;
        Ok(file.into_inner())
    }

    fn write_to<F: Write + Seek>(&self, file: &mut F) -> Result<u64, IoError> {
        let all = self.machine.pages();
        let pages = self
            .pages
            .as_ref()
            .filter(|_| self.dump_type != DumpType::FULL)
            .unwrap_or(&all);
        let tail = self.tail().map_err(IoError::other)?;
        let head_size = self.head(pages, 0).map_err(IoError::other)?.size;
        let tail_at = head_size + pages.len() * PAGE_SIZE;
        let size = tail_at + tail.size;
        write_plan(file, &self.head(pages, size).map_err(IoError::other)?)?;
        let mut at = head_size;
        for (first, end) in pages.runs() {
            self.write_pages(file, at, first, end)?;
            at += (end.0 - first.0) * PAGE_SIZE;
        }
        file.seek(SeekFrom::Start(tail_at))?;
        write_plan(file, &tail)?;
        if tail.size == 0 {
            // The last page may be a hole, which a file that grows by writing would lack.
            file.seek(SeekFrom::Start(size - 1))?;
            let mut last = [0];
            self.last_byte(pages, &mut last);
            file.write_all(&last)?;
        }
        Ok(size)
    }

    /// Writes the pages from `first` on that are not zero.
    fn write_pages<F: Write + Seek>(&self, file: &mut F, at: u64, first: Pfn, end: Pfn) -> Result<(), IoError> {
        for (page, bytes) in self.machine.ram().written_in(first, end) {
            if bytes.iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(at + (page.0 - first.0) * PAGE_SIZE))?;
                file.write_all(bytes)?;
            }
        }
        Ok(())
    }

    fn last_byte(&self, pages: &PageSet, last: &mut [u8; 1]) {
        let page = pages.end().saturating_sub(1);
        if let Some(byte) = self.machine.ram().page(page).and_then(|bytes| bytes.get(PAGE - 1)) {
            last[0] = *byte;
        }
    }

    /// What stands before the pages: the header and the body's own.
    fn head(&self, pages: &PageSet, size: u64) -> Result<Plan, Error> {
        let mut header = self.dump_header()?;
        match &mut header {
            Header::Dump32(header) => header.required_dump_space = size.into(),
            Header::Dump64(header) => header.required_dump_space = size.into(),
        }
        let mut layout = Layout::new(Endian::Little);
        layout.push(Piece::Bytes(header.as_bytes().to_vec()));
        match self.dump_type {
            DumpType::FULL => {}
            DumpType::BITMAP_FULL | DumpType::BITMAP_KERNEL => {
                let body = BitmapLayout::new(header.size(), self.machine.ram().map().end())?;
                let signature = if self.dump_type == DumpType::BITMAP_FULL {
                    bitmap::SIGNATURE_FULL
                } else {
                    bitmap::SIGNATURE_KERNEL
                };
                body.write(&mut layout, signature, pages.len(), |layout| {
                    push_bitmap(layout, body.bits, pages)
                });
            }
            DumpType::RANGE_KERNEL | DumpType::RANGE_ACTIVE | DumpType::RANGE_FULL => {
                let runs: Vec<MemoryRun> = pages.runs().map(|(first, end)| run(first, end.0 - first.0)).collect();
                RangeLayout::new(header.size(), runs.len())?.write(&mut layout, self.dump_type, &runs)?;
            }
            other => {
                return Err(Error::malformed(
                    0,
                    "DumpType",
                    format!("dumps of type {other} are not made"),
                ));
            }
        }
        Ok(layout.finish())
    }

    fn dump_header(&self) -> Result<Header, Error> {
        let mut header = self
            .machine
            .header(self.dump_type, self.style)
            .map_err(|error| Error::malformed(0, "DUMP_HEADER", error.to_string()))?;
        let runs: Vec<MemoryRun> = self
            .machine
            .ram()
            .map()
            .runs()
            .iter()
            .map(|(first, pages)| run(*first, *pages))
            .collect();
        match header.set_physical_memory(&runs) {
            Err(error) if self.dump_type == DumpType::FULL => return Err(error),
            // Only dumps by runs need them; the kernel leaves those out that do not fit.
            Ok(()) | Err(_) => {}
        }
        Ok(header)
    }

    /// What stands behind the pages: secondary data.
    fn tail(&self) -> Result<Plan, Error> {
        let mut layout = Layout::new(Endian::Little);
        let blobs = &self.machine.truth.blobs;
        if self.secondary_data && !blobs.is_empty() {
            secondary_data::write_header(&mut layout, 0xF000_0000 | self.machine.build);
            for blob in blobs {
                let tag = Guid::read(&blob.tag, Endian::Little)
                    .ok_or_else(|| Error::malformed(0, "DumpBlob", "a tag has 16 bytes"))?;
                let data = |layout: &mut Layout| {
                    layout.push(Piece::Bytes(blob.data.clone()));
                };
                secondary_data::write_blob(&mut layout, tag, blob.data.len(), data)?;
            }
        }
        Ok(layout.finish())
    }
}

const fn run(base_page: Pfn, page_count: u64) -> MemoryRun {
    MemoryRun { base_page, page_count }
}

/// Adds the bits of a set, long stretches without any as zeros.
fn push_bitmap(layout: &mut Layout, bits: u64, pages: &PageSet) {
    const CHUNK: u64 = 0x8000;
    for chunk in (0..bits).step_by(0x8000) {
        let end = bits.min(chunk + CHUNK);
        if pages.next_run(Pfn(chunk)).is_none_or(|(first, _)| first.0 >= end) {
            layout.push(Piece::Zeros {
                size: (end - chunk) / 8,
            });
            continue;
        }
        let words = (chunk..end)
            .step_by(64)
            .flat_map(|word| pages.word(Pfn(word)).to_le_bytes());
        layout.push(Piece::Bytes(words.collect()));
    }
}

/// Writes pieces that are bytes and zeros, from the file's position on.
fn write_plan<F: Write + Seek>(file: &mut F, plan: &Plan) -> Result<(), IoError> {
    for piece in &plan.pieces {
        match piece {
            Piece::Bytes(bytes) => file.write_all(bytes)?,
            Piece::Zeros { size } => {
                let skipped = i64::try_from(*size).map_err(IoError::other)?;
                file.seek(SeekFrom::Current(skipped))?;
            }
            other => return Err(IoError::other(format!("{other:?} is not for dumps that are made"))),
        }
    }
    Ok(())
}
