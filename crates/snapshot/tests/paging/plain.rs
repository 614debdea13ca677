//! Physical memory as a file has it in a few runs, with no more than a test needs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dotdump_format::{Error, FileOffset, PAGE_SIZE, Pfn, PhysAddr};
use dotdump_snapshot::{PagePlace, PageRun, PhysicalMemory};

pub(crate) struct Plain {
    file: File,
    runs: Vec<PageRun>,
}

impl Plain {
    /// `runs` as first page, number of pages, and file offset.
    pub(crate) fn open(path: &Path, runs: &[(u64, u64, u64)]) -> Self {
        Self {
            file: File::open(path).unwrap(),
            runs: runs
                .iter()
                .map(|(first, pages, offset)| PageRun {
                    first: Pfn(*first),
                    pages: *pages,
                    place: PagePlace::File(FileOffset(*offset)),
                })
                .collect(),
        }
    }

    /// The same without all before a page.
    pub(crate) fn from(mut self, first: u64) -> Self {
        self.runs = self.runs.iter().filter_map(|run| run.from(Pfn(first))).collect();
        self
    }

    /// A 64-bit ELF core whose `PT_LOAD` segments are its memory.
    pub(crate) fn elf(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let word = |at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).unwrap();
            u64::from_le_bytes(bytes)
        };
        let (headers, count) = (word(0x20), word(0x38) & 0xFFFF);
        let segments = (0..count).map(|index| headers + index * 0x38);
        let loads = segments.filter(|at| word(*at) & 0xFFFF_FFFF == 1);
        let runs: Vec<_> = loads
            .map(|at| (word(at + 0x18) / PAGE_SIZE, word(at + 0x20) / PAGE_SIZE, word(at + 8)))
            .collect();
        Self::open(path, &runs)
    }

    /// A dump of 64-bit Windows of type 1, by the descriptor of its memory in the header.
    pub(crate) fn full_dump(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let word = |at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).unwrap();
            u64::from_le_bytes(bytes)
        };
        let mut offset = 0x2000;
        let mut runs = Vec::new();
        for index in 0..word(0x88) & 0xFFFF_FFFF {
            let at = 0x98 + index * 16;
            runs.push((word(at), word(at + 8), offset));
            offset += word(at + 8) * PAGE_SIZE;
        }
        Self::open(path, &runs)
    }
}

impl PhysicalMemory for Plain {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        Ok(self.runs.iter().find_map(|run| run.from(from)))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        Ok(self
            .next_run(page)?
            .filter(|run| run.first == page)
            .map(|run| run.place))
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.saturating_add(done as u64);
            let Some(run) = self.next_run(at.pfn())?.filter(|run| run.first == at.pfn()) else {
                break;
            };
            let PagePlace::File(offset) = run.place else { break };
            let left = run.pages * PAGE_SIZE - at.offset_in_page();
            let size = usize::try_from(left).unwrap().min(buffer.len() - done);
            let place = offset.0 + at.offset_in_page();
            self.file.read_exact_at(&mut buffer[done..done + size], place).unwrap();
            done += size;
        }
        Ok(done)
    }

    fn pages_present(&self) -> u64 {
        self.runs.iter().map(|run| run.pages).sum()
    }

    fn end(&self) -> Pfn {
        self.runs.iter().map(PageRun::end).max().unwrap_or_default()
    }
}
