//! The header and the sub header.

use dotdump_format::kdump::{DiskDumpHeader32, DiskDumpHeader64, SIGNATURE, SubHeader32, SubHeader64};
use dotdump_format::{Endian, Error, FileOffset, PAGE_SIZE, ReadAt, Record};

/// No machine has more memory than 64 TiB of addresses; the rank index of so many pages takes 32 MiB.
const MOST_PAGES: u64 = 1 << 34;

/// What both headers say, for machines of either width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers {
    pub(super) status: u32,
    /// How many pages the bitmaps have bits for.
    pub(super) pages: u64,
    /// Where the bitmap of the pages in the file starts.
    pub(super) bitmap: FileOffset,
    /// Where the page descriptors start.
    pub(super) descriptors: FileOffset,
    /// Where the `VMCOREINFO` is, and its size; zero for none.
    pub(super) vmcoreinfo: (FileOffset, u64),
    /// Where the notes are, and their size.
    pub(super) notes: (FileOffset, u64),
}

/// The fields of the header that matter, of either width.
#[derive(Clone, Copy)]
struct Fields {
    version: u32,
    status: u32,
    block_size: u32,
    sub_header_blocks: u32,
    bitmap_blocks: u32,
    max_mapnr: u32,
}

impl Fields {
    /// Whether the numbers can be those of a header: in one of the other width they stand elsewhere.
    fn is_sound(&self) -> bool {
        let bits = u64::from(self.bitmap_blocks) * u64::from(self.block_size) * 8;
        self.block_size.is_power_of_two()
            && (512..=1 << 16).contains(&self.block_size)
            && (1..1 << 20).contains(&self.sub_header_blocks)
            && bits >= u64::from(self.max_mapnr)
    }
}

macro_rules! fields {
    ($header:expr) => {
        Fields {
            version: $header.version.get(),
            status: $header.status.get(),
            block_size: $header.block_size.get(),
            sub_header_blocks: $header.sub_header_blocks.get(),
            bitmap_blocks: $header.bitmap_blocks.get(),
            max_mapnr: $header.max_mapnr.get(),
        }
    };
}

macro_rules! sub_fields {
    ($sub:expr) => {
        Sub {
            split: $sub.split.get(),
            vmcoreinfo: (
                FileOffset($sub.vmcoreinfo_offset.get()),
                $sub.vmcoreinfo_size.get().into(),
            ),
            notes: (FileOffset($sub.note_offset.get()), $sub.note_size.get().into()),
            max_mapnr: $sub.max_mapnr_64.get(),
        }
    };
}

struct Sub {
    split: u32,
    vmcoreinfo: (FileOffset, u64),
    notes: (FileOffset, u64),
    max_mapnr: u64,
}

impl Headers {
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self, Error> {
        let bytes = at_most(source, FileOffset(0), DiskDumpHeader64::SIZE)?;
        if !bytes.starts_with(&SIGNATURE) || bytes.len() < DiskDumpHeader32::SIZE {
            return Err(refused(0, "no header of a kdump file".to_owned()));
        }
        let wide = fields!(DiskDumpHeader64::read_partial(&bytes, Endian::Little));
        let narrow = fields!(DiskDumpHeader32::read_partial(&bytes, Endian::Little));
        let (fields, is_64) = if wide.is_sound() {
            (wide, true)
        } else if narrow.is_sound() {
            (narrow, false)
        } else {
            let message = format!(
                "a header of version {:#x} with impossible numbers: damaged, or of a big-endian machine",
                wide.version
            );
            return Err(refused(8, message));
        };
        if !(1..=6).contains(&fields.version) {
            return Err(refused(8, format!("version {}, 1 to 6 expected", fields.version)));
        }
        let block = u64::from(fields.block_size);
        if block != PAGE_SIZE {
            let message = format!("blocks and pages of {block} bytes; only pages of {PAGE_SIZE} bytes are understood");
            return Err(refused(if is_64 { 428 } else { 416 }, message));
        }
        let sub = if is_64 {
            let bytes = at_most(source, FileOffset(block), SubHeader64::SIZE)?;
            sub_fields!(SubHeader64::read_partial(&bytes, Endian::Little))
        } else {
            let bytes = at_most(source, FileOffset(block), SubHeader32::SIZE)?;
            sub_fields!(SubHeader32::read_partial(&bytes, Endian::Little))
        };
        if fields.version >= 2 && sub.split != 0 {
            return Err(refused(
                block + 12,
                "one of several files of a split dump; `makedumpfile --reassemble` makes one of them".to_owned(),
            ));
        }
        let pages = match fields.version {
            6 if sub.max_mapnr > 0 => sub.max_mapnr,
            _ => u64::from(fields.max_mapnr),
        };
        // No sum below passes 2^53.
        let bitmaps = (1 + u64::from(fields.sub_header_blocks)) * block;
        let both = u64::from(fields.bitmap_blocks) * block;
        if pages > MOST_PAGES || pages > both * 8 {
            return Err(refused(
                block,
                format!("{pages:#x} pages in {both:#x} bytes of bitmaps"),
            ));
        }
        // Files with one bitmap are older than those with two.
        let bitmap = if pages <= both / 2 * 8 {
            bitmaps + both / 2
        } else {
            bitmaps
        };
        let from = |version: u32, part: (FileOffset, u64)| {
            if fields.version >= version {
                part
            } else {
                (FileOffset(0), 0)
            }
        };
        Ok(Self {
            status: fields.status,
            pages,
            bitmap: FileOffset(bitmap),
            descriptors: FileOffset(bitmaps + both),
            vmcoreinfo: from(3, sub.vmcoreinfo),
            notes: from(4, sub.notes),
        })
    }
}

/// Up to `size` bytes, fewer where the file ends before.
fn at_most(source: &dyn ReadAt, offset: FileOffset, size: usize) -> Result<std::borrow::Cow<'_, [u8]>, Error> {
    let left = usize::try_from(source.size().saturating_sub(offset.0)).unwrap_or(usize::MAX);
    source.bytes(offset, size.min(left))
}

fn refused(offset: u64, message: String) -> Error {
    Error::malformed(offset, "kdump header", message)
}
