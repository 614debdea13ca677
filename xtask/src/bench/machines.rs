//! Conversions of kernel dumps of machines with much memory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::ensure;
use dotdump_format::kernel::DumpType;
use dotdump_format::{PAGE_SIZE, Pfn};
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::{PagePlace, PageSet, PhysicalMemory};
use dotdump_synth::{MachineBuilder, MemoryMap, SynthMachine};
use serde_json::json;

use super::measure;
use super::scenarios::{Bench, BesideCp, Random, dotdump};
use super::table::{Figures, Row, mebibytes};

/// Where memory starts above which the pages of devices lie.
const HIGH: Pfn = Pfn(0x10_0000);

/// What selection may take, beside a bit for each page.
const LIMIT: u64 = 64 << 20;

/// Choosing pages of a machine of which few are in use.
pub(super) fn select(bench: &Bench<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let gibibytes = if bench.quick { 4 } else { 64 };
    let builder = MachineBuilder::new(PagingMode::FourLevel).memory(MemoryMap::pc(gibibytes << 30));
    let machine = if bench.quick {
        builder
    } else {
        // About a gigabyte in use: 500 MiB of it programs, 256 MiB kernel memory, and the database of 16 million pages
        // as well, of which most is zero.
        builder
            .processors(8)
            .processes(128)
            .threads(8)
            .user_pages(1000)
            .pool_pages(65_536)
    }
    .build()?;
    let (source, output) = (bench.path("machine.dmp"), bench.path("selected.dmp"));
    let (from, to) = (source.display().to_string(), output.display().to_string());
    let program = dotdump();
    for (pages, name) in [
        (machine.pages(), "all pages"),
        (every_other(&machine), "every other page"),
    ] {
        machine.dump(DumpType::BITMAP_FULL).pages(pages).write(&source)?;
        for option in ["-k", "-ka"] {
            let medians = bench.in_turn(vec![
                Box::new(|| measure::run(&program, &["convert", &from, &to, option, "-o", "--quiet", "--dry-run"])),
                Box::new(|| measure::run(&program, &["convert", &from, &to, option, "-o", "--quiet"])),
            ])?;
            let written = output.metadata()?.len();
            let limit = LIMIT + machine.ram().end().0 / 8;
            for (subject, run) in ["dotdump convert --dry-run", "dotdump convert"].iter().zip(&medians) {
                let is_dry = subject.ends_with("run");
                let seconds = run.wall.as_secs_f64();
                let goal = if is_dry {
                    let met = seconds < 1.0 && run.peak < limit;
                    ("1 s, 64 MiB and a bit for each page".to_owned(), met)
                } else {
                    ("64 MiB and a bit for each page".to_owned(), run.peak < limit)
                };
                let dump = if is_dry {
                    String::new()
                } else {
                    format!(", a dump of {}", mebibytes(written))
                };
                rows.push(Row {
                    scenario: format!("{option} of {gibibytes} GiB, {name}"),
                    subject: (*subject).to_owned(),
                    figures: Figures {
                        time: Some(seconds),
                        peak: Some(run.peak),
                        throughput: None,
                        ratio: format!("{} read{dump}", mebibytes(run.read)),
                    },
                    goal: Some(goal),
                    details: json!({ "run": run.to_json(), "written_bytes": written }),
                });
            }
            std::fs::remove_file(&output)?;
        }
    }
    std::fs::remove_file(&source)?;
    Ok(())
}

/// The pages below 4 GiB, where what is in use lies, and every other one above.
fn every_other(machine: &SynthMachine) -> PageSet {
    let all = machine.pages();
    let mut pages = PageSet::default();
    let mut next = all.next_word(Pfn(0));
    while let Some((page, bits)) = next {
        let mask = if page < HIGH { u64::MAX } else { 0x5555_5555_5555_5555 };
        pages.insert_word(page, bits & mask);
        next = all.next_word(Pfn(page.0 + 64));
    }
    for (page, _) in machine.ram().written_in(HIGH, all.end()) {
        pages.insert(page);
    }
    pages
}

/// The same pages in another layout, beside `cp`.
pub(super) fn reencode(bench: &Bench<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bytes = if bench.quick { 64 << 20 } else { 8 << 30 };
    let machine = MachineBuilder::new(PagingMode::FourLevel)
        .memory(MemoryMap::pc(bytes))
        .build()?;
    let source = bench.path("data.dmp");
    for (dump_type, name, options) in [
        (DumpType::BITMAP_FULL, "bitmap to runs", ["-f", "--layout", "runs"]),
        (DumpType::FULL, "runs to bitmap", ["-f", "--layout", "bitmap"]),
    ] {
        let size = machine.dump(dump_type).secondary_data(false).write(&source)?;
        fill(&machine, &source, size - machine.ram().pages_present() * PAGE_SIZE)?;
        bench.beside_cp(
            &BesideCp {
                scenario: format!("-f of {}, {name}", mebibytes(size)),
                source: &source,
                options: &options,
                is_aligned: true,
            },
            rows,
        )?;
    }
    std::fs::remove_file(&source)?;
    Ok(())
}

/// Gives the pages of a dump that are zero random data; the first page is at `offset`.
fn fill(machine: &SynthMachine, dump: &Path, mut offset: u64) -> anyhow::Result<()> {
    const CHUNK: u64 = 1 << 20;

    let file: File = OpenOptions::new().write(true).open(dump)?;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut buffer = Vec::new();
    let memory: &dyn PhysicalMemory = machine.ram();
    for run in memory.runs(Pfn(0)) {
        let run = run?;
        let end = offset + run.pages * PAGE_SIZE;
        while offset < end {
            let step = CHUNK.min(end - offset);
            if run.place == PagePlace::Zero {
                buffer.resize(usize::try_from(step)?, 0);
                random.fill(&mut buffer);
                file.write_all_at(&buffer, offset)?;
            }
            offset += step;
        }
    }
    ensure!(offset == file.metadata()?.len(), "the dump has other pages");
    Ok(())
}
