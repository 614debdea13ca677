//! Page walks over 64 GiB of pages of 4 KiB, in this process: the tables are in a file and read by positioned reads.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use dotdump_format::{Error, FileOffset, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use dotdump_snapshot::paging::{Mapping, PagingMode, SoftwarePtes, Visitor};
use dotdump_snapshot::{AddressSpace, PagePlace, PageRun, PhysicalMemory};
use serde_json::json;

use super::scenarios::{Bench, Random};
use super::table::{Figures, Row};

/// Entries of a table.
const ENTRIES: u64 = 512;

/// Where the mapped pages are: behind all tables, in no source.
const FRAMES: u64 = 1 << 32;

/// Where they are mapped.
const START: u64 = 0xFFFF_A500_0000_0000;

/// What is mapped next to what.
#[derive(Clone, Copy)]
enum Frames {
    /// Neighbours are neighbours.
    InOrder,
    /// None is.
    Scattered,
}

/// Measures walks.
pub(super) fn walks(bench: &Bench<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let tables = if bench.quick { 512 } else { 32_768 };
    let gibibytes = (tables * ENTRIES * PAGE_SIZE) >> 30;
    for (frames, name) in [
        (Frames::InOrder, "frames in order"),
        (Frames::Scattered, "scattered frames"),
    ] {
        let memory = Tables::write(&bench.folder.join("tables"), tables, frames)?;
        let new = || AddressSpace::new(&memory, PagingMode::FourLevel, PhysAddr(0), SoftwarePtes::Early);
        let mut times = Vec::new();
        for _ in 0..bench.runs {
            let space = new();
            let mut seen = Seen::default();
            let start = Instant::now();
            space.visit(PagingMode::FourLevel.kernel_half(), &mut seen)?;
            times.push(start.elapsed());
            ensure!(seen.pages == tables * ENTRIES, "{} pages were found", seen.pages);
        }
        times.sort_unstable();
        let seconds = times[times.len() / 2].as_secs_f64();
        rows.push(row(
            format!("enumerate {gibibytes} GiB of 4 KiB pages"),
            name,
            seconds,
            Some(("0.1 s".to_owned(), seconds < 0.1)),
        ));

        // Warm: the tables are among those that an address space keeps.
        for (subject, kept, goal) in [
            ("1 GiB, tables kept", 512, true),
            ("all, tables read each time", tables, false),
        ] {
            let translations = 1_000_000_u32;
            let mut times = Vec::new();
            for _ in 0..bench.runs {
                let space = new();
                for table in 0..kept {
                    let _ = black_box(space.translate(VirtAddr(START + table * ENTRIES * PAGE_SIZE))?);
                }
                let mut random = Random(0x9E37_79B9_7F4A_7C15);
                let mut found = 0;
                let start = Instant::now();
                for _ in 0..translations {
                    let address = START + random.next() % (kept * ENTRIES * PAGE_SIZE);
                    found += u32::from(black_box(space.translate(VirtAddr(address))?).is_ok());
                }
                times.push(start.elapsed() / translations);
                ensure!(found == translations, "{found} of {translations} were found");
            }
            times.sort_unstable();
            let seconds = times[times.len() / 2].as_secs_f64();
            rows.push(row(
                format!("translate at random, {name}"),
                subject,
                seconds,
                goal.then(|| ("100 ns".to_owned(), seconds < 1e-7)),
            ));
        }
    }
    Ok(())
}

fn row(scenario: String, subject: &str, seconds: f64, goal: Option<(String, bool)>) -> Row {
    Row {
        scenario,
        subject: subject.to_owned(),
        figures: Figures {
            time: Some(seconds),
            peak: None,
            throughput: None,
            // Times of this size do not show in a column of milliseconds.
            ratio: if seconds < 1e-4 {
                format!("{:.0} ns", seconds * 1e9)
            } else {
                String::new()
            },
        },
        goal,
        details: json!({ "seconds": seconds }),
    }
}

#[derive(Default)]
struct Seen {
    pages: u64,
    sum: u64,
}

impl Visitor for Seen {
    fn table(&mut self, _: Pfn, _: u8, _: VirtAddr) -> bool {
        true
    }

    fn mapping(&mut self, mapping: &Mapping) {
        self.pages += mapping.pages();
        self.sum = self.sum.wrapping_add(mapping.physical.0);
    }
}

/// Page tables in a file, from its start on: physical memory that has nothing else.
struct Tables {
    file: File,
    pages: u64,
}

impl Tables {
    /// Four levels that map `tables` times 512 pages from [`START`] on.
    fn write(path: &Path, tables: u64, frames: Frames) -> anyhow::Result<Self> {
        const KERNEL: u64 = 0x63;

        let directories = tables.div_ceil(ENTRIES);
        // In this order: the root, the table of directories, the directories, the tables of pages.
        let (first_directory, first_table) = (2, 2 + directories);
        let mut out = BufWriter::new(File::create(path)?);
        let mut page = |entries: &mut dyn FnMut(u64) -> u64| -> std::io::Result<()> {
            for index in 0..ENTRIES {
                out.write_all(&entries(index).to_le_bytes())?;
            }
            Ok(())
        };
        let refer = |page: u64| (page * PAGE_SIZE) | KERNEL;
        let within = |index: u64, count: u64, first: u64| if index < count { refer(first + index) } else { 0 };
        let (top, middle) = (START >> 39 & 511, START >> 30 & 511);
        page(&mut |index| if index == top { refer(1) } else { 0 })?;
        page(&mut |index| {
            index
                .checked_sub(middle)
                .map_or(0, |index| within(index, directories, first_directory))
        })?;
        for directory in 0..directories {
            page(&mut |index| within(directory * ENTRIES + index, tables, first_table))?;
        }
        for table in 0..tables {
            page(&mut |index| {
                let number = table * ENTRIES + index;
                let frame = match frames {
                    Frames::InOrder => number,
                    Frames::Scattered => number.wrapping_mul(0x9E37_79B1) % (1 << 24) * 2,
                };
                (FRAMES + frame * PAGE_SIZE) | KERNEL
            })?;
        }
        out.flush()?;
        drop(out);
        Ok(Self {
            file: File::open(path)?,
            pages: first_table + tables,
        })
    }
}

impl PhysicalMemory for Tables {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let all = PageRun {
            first: Pfn(0),
            pages: self.pages,
            place: PagePlace::File(FileOffset(0)),
        };
        Ok(all.from(from))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        Ok((page.0 < self.pages).then_some(PagePlace::File(FileOffset(page.0 * PAGE_SIZE))))
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let left = (self.pages * PAGE_SIZE).saturating_sub(address.0);
        let size = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.file
            .read_exact_at(&mut buffer[..size], address.0)
            .map_err(|error| Error::Read {
                offset: FileOffset(address.0),
                size: size as u64,
                reason: error.to_string(),
            })?;
        Ok(size)
    }

    fn pages_present(&self) -> u64 {
        self.pages
    }

    fn end(&self) -> Pfn {
        Pfn(self.pages)
    }
}
