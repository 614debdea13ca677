//! A dump of very many runs takes no more memory than one of few: alone in a process, whose peak is looked at.
#![cfg(target_os = "linux")]

use std::fs::File;

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::{Endian, Error, FileOffset, PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::{Extent, Memory, PagePlace, PageRun, PageSet, PhysicalMemory};
use dotdump_transcode::execute::{Origin, PageOrigin, write};
use dotdump_transcode::sink::{Cancel, Control, StreamSink};

/// Pages of the machine: 2 GiB.
const PAGES: u64 = 1 << 19;

/// Every other page, one behind the other in a file.
struct EveryOther;

impl PhysicalMemory for EveryOther {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let first = Pfn(from.0.next_multiple_of(2));
        Ok((first.0 < PAGES).then_some(PageRun {
            first,
            pages: 1,
            place: PagePlace::File(FileOffset(first.0 / 2 * PAGE_SIZE)),
        }))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        Ok(self
            .next_run(page)?
            .filter(|run| run.first == page)
            .map(|run| run.place))
    }

    fn read(&self, _: PhysAddr, _: &mut [u8]) -> Result<usize, Error> {
        panic!("all pages are in the file")
    }

    fn pages_present(&self) -> u64 {
        PAGES / 2
    }

    fn end(&self) -> Pfn {
        Pfn(PAGES)
    }
}

struct Nothing;

impl Memory for Nothing {
    fn extents(&self, _: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        Box::new(std::iter::empty())
    }

    fn read(&self, _: VirtAddr, _: &mut [u8]) -> Result<usize, Error> {
        Ok(0)
    }
}

/// The most memory that this process has had so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_other_page_of_many() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGES / 2 * PAGE_SIZE).unwrap();
    let mut chosen = PageSet::default();
    let before = peak();
    let physical: &dyn PhysicalMemory = &EveryOther;
    for run in physical.runs(Pfn(0)) {
        let run = run.unwrap();
        chosen.insert_run(run.first, run.pages);
    }
    let mut layout = Layout::new(Endian::Little);
    layout.push(Piece::PageBitmap { bits: PAGES });
    layout.push(Piece::PageRanges {
        first: Pfn(0),
        ranges: PAGES / 2,
    });
    layout.push(Piece::Pages {
        first: Pfn(0),
        end: Pfn(PAGES),
        pages: PAGES / 2,
    });
    let size = (layout.end().0).div_ceil(1 << 20) * 4;
    layout.push(Piece::Checksums { block: 1 << 20, size });
    let plan = layout.finish();
    assert_eq!(plan.pieces.len(), 4);
    let origin = Origin {
        file: Some(&file),
        memory: &Nothing,
        filter: None,
        pages: Some(PageOrigin {
            physical,
            chosen: &chosen,
        }),
    };
    let cancel = Cancel::new();
    let null = File::options().write(true).open("/dev/null").unwrap();
    let mut sink = StreamSink::new(null, "nowhere", None, Control::new(&cancel, &()));
    write(&plan, &origin, &mut sink).unwrap();
    // The set has a bit for each page: 64 KiB. Chunks and sums take a few MiB.
    let grown = peak() - before;
    assert!(grown < 16 << 10, "{grown} KiB");
}
