//! The body of range dumps (types 8, 9 and 0xA), as newer debuggers write them: a table of ranges of pages, and the
//! pages behind it in the same order.
//!
//! Nothing public describes it; the layout is the one that kdmp-parser reads. The table has room for more ranges than it
//! holds: in types 8 and 9 a page number of zero ends it, in type 0xA the number of pages does.

use alloc::format;
use alloc::string::String;

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::header::DumpType;
use super::physical_memory::MemoryRun;
use crate::addr::{FileOffset, Pfn};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece, count};
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;
use crate::table::{Shape, Table, TableIter};

/// What the body starts with: probably the size of its header.
pub const MARKER: u32 = 0x40;
/// `RDMP`, the next four bytes.
pub const SIGNATURE: [u8; 4] = *b"RDMP";
/// `DUMP`, the four bytes behind those.
pub const VALID_DUMP: [u8; 4] = *b"DUMP";

/// What [`RangeHeader::metadata_size`] counts from the start of the body.
const METADATA_START: u64 = 0x20;

record! {
    /// The header of the body, 0x30 bytes. The table of ranges follows at once.
    pub struct RangeHeader[0x30] {
        /// [`MARKER`].
        pub marker: U32,
        /// [`SIGNATURE`].
        pub signature: [u8; 4],
        /// [`VALID_DUMP`].
        pub valid_dump: [u8; 4],
        /// Unused.
        pub reserved: U32,
        /// The bytes between 0x20 bytes into the body and the first page.
        pub metadata_size: U64,
        /// File offset of the first page.
        pub first_page: U64,
        /// How many ranges there are, in type 0xA.
        pub number_of_ranges: U32,
        /// Unknown.
        pub unknown_0: U16,
        /// Unknown.
        pub unknown_1: U16,
        /// How many pages there are, in type 0xA.
        pub total_number_of_pages: U64,
    }

    /// A range of pages, 16 bytes.
    pub struct PfnRange[16] {
        /// The first page; zero ends the table.
        pub page_frame_number: U64,
        /// The number of pages.
        pub number_of_pages: U64,
    }
}

/// A table of ranges in a file, and where their pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRanges {
    /// Where the body starts.
    pub body: FileOffset,
    /// How many ranges have room in front of the first page.
    pub max_ranges: u64,
    /// Where the first page is.
    pub first_page: FileOffset,
    /// How many pages there are, where the file says it.
    pub total_pages: Option<u64>,
}

impl PageRanges {
    /// Reads the header at `body`.
    ///
    /// # Errors
    /// [`Error::Malformed`] where there is no table between the header and the first page; [`Error::Read`] where the
    /// medium fails or the header is not whole.
    pub fn read(
        source: &dyn ReadAt,
        body: FileOffset,
        dump_type: DumpType,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let bytes = source.bytes(body, RangeHeader::SIZE)?;
        let header = RangeHeader::read_partial(&bytes, Endian::Little);
        let first_page = FileOffset(header.first_page.get());
        let metadata = header.metadata_size.get();
        let table = body.saturating_add(RangeHeader::SIZE as u64);
        let Some(room) = first_page.checked_offset_from(table) else {
            return Err(Error::malformed(
                body,
                "FirstPageOffset",
                format!("{first_page}: the table of ranges starts at {table}"),
            ));
        };
        if body.saturating_add(METADATA_START).checked_add(metadata) != Some(first_page) || metadata % 16 != 0 {
            findings.add(
                body,
                "MetadataSize",
                format!("{metadata:#x} does not lead to the first page at {first_page}"),
            );
        }
        let total = header.total_number_of_pages.get();
        Ok(Self {
            body,
            max_ranges: room / PfnRange::SIZE as u64,
            first_page,
            total_pages: Some(total).filter(|total| dump_type == DumpType::RANGE_FULL && *total > 0),
        })
    }

    /// The ranges in the order of their pages in the file. After an error there are no more: nothing tells where the
    /// pages behind it are.
    #[must_use]
    pub fn ranges<'a>(&self, source: &'a dyn ReadAt) -> Ranges<'a> {
        let shape = Shape {
            offset: self.body.saturating_add(RangeHeader::SIZE as u64),
            end: self.first_page,
            stride: PfnRange::SIZE,
            claimed: self.max_ranges,
        };
        let table = Table::new(source, Endian::Little, shape, "PfnRange", &mut Findings::default());
        Ranges {
            records: Some(table.iter()),
            table,
            next: 0,
            left: self.total_pages,
            pages: 0,
        }
    }
}

/// See [`PageRanges::ranges`].
pub struct Ranges<'a> {
    /// `None` once the table has ended.
    records: Option<TableIter<'a, PfnRange>>,
    table: Table<'a, PfnRange>,
    next: u64,
    left: Option<u64>,
    pages: u64,
}

impl Ranges<'_> {
    /// How many pages the ranges had so far.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    fn ended(&mut self) -> Option<Result<MemoryRun, Error>> {
        self.records = None;
        let left = self.left.filter(|left| *left > 0)?;
        Some(Err(
            self.broken(format!("{left:#x} pages more expected, the table ends"))
        ))
    }

    fn broken(&mut self, message: String) -> Error {
        self.records = None;
        Error::malformed(
            self.table.offset_of(self.next),
            format!("PfnRange[{}]", self.next),
            message,
        )
    }
}

impl Iterator for Ranges<'_> {
    type Item = Result<MemoryRun, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.left == Some(0) {
                self.records = None;
            }
            let record = match self.records.as_mut()?.next() {
                None => return self.ended(),
                Some(Err(error)) => {
                    self.records = None;
                    return Some(Err(error));
                }
                Some(Ok(record)) => record,
            };
            let run = MemoryRun {
                base_page: Pfn(record.page_frame_number.get()),
                page_count: record.number_of_pages.get(),
            };
            if run.base_page.0 == 0 {
                return self.ended();
            }
            if run.page_count == 0 {
                self.next += 1;
                continue;
            }
            let Some(pages) = run.end().and(self.pages.checked_add(run.page_count)) else {
                return Some(Err(self.broken(format!(
                    "no machine has {:#x} pages from {} on",
                    run.page_count, run.base_page
                ))));
            };
            if let Some(left) = self.left {
                let Some(rest) = left.checked_sub(run.page_count) else {
                    return Some(Err(self.broken(format!(
                        "{:#x} pages, TotalNumberOfPages leaves {left:#x}",
                        run.page_count
                    ))));
                };
                self.left = Some(rest);
            }
            self.pages = pages;
            self.next += 1;
            return Some(Ok(run));
        }
    }
}

/// Where the parts of a range dump's body go: a table of some ranges and one of zeros, and the pages at once behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLayout {
    /// Where the body starts: behind the dump's header.
    pub body: FileOffset,
    /// How many ranges there are.
    pub ranges: usize,
    /// Where the first page goes.
    pub first_page: FileOffset,
}

impl RangeLayout {
    /// The layout for a number of ranges, behind a header of `header_size` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where there are 2^32 ranges or more.
    pub fn new(header_size: u64, ranges: usize) -> Result<Self, Error> {
        count(ranges, "NumberOfRanges")?;
        let body = FileOffset(header_size);
        let table = body.saturating_add(RangeHeader::SIZE as u64);
        let size = (ranges as u64 + 1) * PfnRange::SIZE as u64;
        Ok(Self {
            body,
            ranges,
            first_page: table.saturating_add(size),
        })
    }

    /// Adds the body's header and the table; the pages come next, in the order of `ranges`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a range that cannot stand in the table: one that is empty, or starts at page 0, which
    /// would end it.
    ///
    /// # Panics
    /// Where the layout is not at [`RangeLayout::body`], or there is another number of ranges: errors of the caller.
    pub fn write(&self, layout: &mut Layout, dump_type: DumpType, ranges: &[MemoryRun]) -> Result<(), Error> {
        assert_eq!(ranges.len(), self.ranges, "as many ranges as were planned");
        for (index, run) in ranges.iter().enumerate() {
            if run.end().is_none() || run.base_page.0 == 0 {
                return Err(Error::malformed(
                    self.body
                        .saturating_add((RangeHeader::SIZE + index * PfnRange::SIZE) as u64),
                    "PfnRange",
                    format!(
                        "{:#x} pages from {} on cannot stand in the table",
                        run.page_count, run.base_page
                    ),
                ));
            }
        }
        let pages = ranges
            .iter()
            .fold(0, |sum: u64, run| sum.saturating_add(run.page_count));
        self.write_table(layout, dump_type, pages, |layout| {
            for run in ranges {
                layout.push_record(&PfnRange {
                    page_frame_number: run.base_page.0.into(),
                    number_of_pages: run.page_count.into(),
                });
            }
        });
        Ok(())
    }

    /// Adds the body's header for a table of `pages` pages, the pieces of the table ([`PfnRange::SIZE`] bytes for each
    /// range, which `table` adds), and its end; the pages come next, in the order of the ranges. No range may be empty
    /// or start at page 0, which would end the table.
    ///
    /// # Panics
    /// Where the layout is not at [`RangeLayout::body`], or the table has another size: errors of the caller.
    pub fn write_table(&self, layout: &mut Layout, dump_type: DumpType, pages: u64, table: impl FnOnce(&mut Layout)) {
        assert_eq!(layout.end(), self.body, "the body follows the header");
        let mut header = RangeHeader {
            marker: MARKER.into(),
            signature: SIGNATURE,
            valid_dump: VALID_DUMP,
            metadata_size: (self.first_page.0 - self.body.0 - METADATA_START).into(),
            first_page: self.first_page.0.into(),
            ..RangeHeader::default()
        };
        if dump_type == DumpType::RANGE_FULL {
            // `new` found that the number fits.
            header.number_of_ranges = u32::try_from(self.ranges).unwrap_or(u32::MAX).into();
            header.total_number_of_pages = pages.into();
        }
        layout.push_record(&header);
        table(layout);
        layout.push(Piece::Bytes([0; PfnRange::SIZE].into()));
        assert_eq!(layout.end(), self.first_page, "the table has its size");
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;

    const BODY: FileOffset = FileOffset(0x2000);

    fn run(base_page: u64, page_count: u64) -> MemoryRun {
        MemoryRun {
            base_page: Pfn(base_page),
            page_count,
        }
    }

    fn file(metadata_size: u64, total: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
        let header = RangeHeader {
            marker: MARKER.into(),
            signature: SIGNATURE,
            valid_dump: VALID_DUMP,
            metadata_size: metadata_size.into(),
            first_page: (0x2020 + metadata_size).into(),
            total_number_of_pages: total.into(),
            ..RangeHeader::default()
        };
        let mut file = vec![0; 0x2000];
        file.extend_from_slice(header.as_bytes());
        for (first, pages) in ranges {
            let range = PfnRange {
                page_frame_number: (*first).into(),
                number_of_pages: (*pages).into(),
            };
            file.extend_from_slice(range.as_bytes());
        }
        file
    }

    fn read(file: &[u8], dump_type: DumpType) -> (Vec<MemoryRun>, bool) {
        let mut findings = Findings::default();
        let ranges = PageRanges::read(&file, BODY, dump_type, &mut findings).unwrap();
        assert!(findings.is_empty());
        let all: Vec<_> = ranges.ranges(&file).collect();
        let whole = all.iter().all(Result::is_ok);
        assert!(all.iter().rev().skip(1).all(Result::is_ok), "nothing behind an error");
        (all.into_iter().flatten().collect(), whole)
    }

    /// A table with room for six ranges, and junk behind them, as a real dump of type 0xA has it.
    #[test]
    fn the_number_of_pages_ends_a_table_of_type_a() {
        let ranges = [
            (1, 0x9E),
            (0x100, 5),
            (0x200, 1),
            (0x300, 1),
            (0x400, 1),
            (0x500, 1),
            (0xBAD, 0xBAD),
        ];
        let (read_ranges, whole) = read(&file(0x70, 0xA7, &ranges), DumpType::RANGE_FULL);
        assert_eq!((read_ranges.len(), whole, read_ranges[5]), (6, true, run(0x500, 1)));
        let (read_ranges, whole) = read(&file(0x70, 0xA3, &ranges), DumpType::RANGE_FULL);
        assert_eq!((read_ranges.len(), whole), (2, true), "junk within the table");
        let (read_ranges, whole) = read(&file(0x70, 0xA2, &ranges), DumpType::RANGE_FULL);
        assert_eq!(
            (read_ranges.len(), whole),
            (1, false),
            "a range of more pages than there are"
        );
        let (read_ranges, whole) = read(&file(0x70, 0xA8, &ranges), DumpType::RANGE_FULL);
        assert_eq!(
            (read_ranges.len(), whole),
            (6, false),
            "fewer pages than there should be"
        );
    }

    #[test]
    fn page_zero_ends_a_table_of_the_other_types() {
        let ranges = [(1, 0x9E), (0, 5), (0x200, 1), (0, 0)];
        for dump_type in [DumpType::RANGE_KERNEL, DumpType::RANGE_ACTIVE] {
            assert_eq!(
                read(&file(0x50, 0x1234, &ranges), dump_type),
                (vec![run(1, 0x9E)], true)
            );
            // Without a zero the first page ends it.
            assert_eq!(
                read(&file(0x20, 0, &[(7, 1), (9, 1)]), dump_type),
                (vec![run(7, 1)], true)
            );
            assert_eq!(
                read(&file(0x30, 0, &[(7, 1), (u64::MAX, 1)]), dump_type),
                (vec![run(7, 1)], false)
            );
        }
    }

    #[test]
    fn a_size_that_leads_elsewhere_is_a_finding() {
        let mut file = file(0x50, 0, &[(7, 1), (0, 0)]);
        file[0x2010] = 0x60;
        let mut findings = Findings::default();
        let ranges = PageRanges::read(&file, BODY, DumpType::RANGE_KERNEL, &mut findings).unwrap();
        assert_eq!((findings.total(), ranges.max_ranges), (1, 4));
        file[0x2018..0x2020].fill(0);
        assert!(PageRanges::read(&file, BODY, DumpType::RANGE_KERNEL, &mut findings).is_err());
    }

    #[test]
    fn page_zero_is_not_written() {
        let plan = RangeLayout::new(0x2000, 1).unwrap();
        let mut layout = Layout::new(Endian::Little);
        layout.push_bytes(&[0; 0x2000]);
        assert!(plan.write(&mut layout, DumpType::RANGE_KERNEL, &[run(0, 1)]).is_err());
        assert_eq!(layout.end(), BODY, "nothing was laid out");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ranges in prop::collection::vec((1_u64..1 << 39, 1_u64..1 << 39), 0..300),
            dump_type in 8_u32..=0xA,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, pages)| run(first, pages)).collect();
            let dump_type = DumpType(dump_type);
            let plan = RangeLayout::new(0x2000, ranges.len()).unwrap();
            let mut layout = Layout::new(Endian::Little);
            layout.push_bytes(&[0; 0x2000]);
            plan.write(&mut layout, dump_type, &ranges).unwrap();
            prop_assert_eq!(layout.end(), plan.first_page);
            let [Piece::Bytes(file)] = &layout.finish().pieces[..] else { panic!("bytes") };
            // The invariant that kdmp-parser checks.
            let metadata = u64::from_le_bytes(file[0x2010..0x2018].try_into().unwrap());
            prop_assert_eq!(metadata - 0x20, plan.first_page.0 - 0x2040);
            prop_assert_eq!(read(file, dump_type), (ranges, true));
        }
    }
}
