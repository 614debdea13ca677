//! Opening kernel dumps of machines with much memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use dotdump_format::kernel::bitmap::SIGNATURE_FULL;
use dotdump_format::kernel::{BitmapLayout, DumpType, Header, Machine, MemoryRun};
use dotdump_format::{PAGE_SIZE, Pfn, PhysAddr};
use serde_json::json;
use zerocopy::IntoBytes as _;

use super::measure::{self, Run};
use super::scenarios::{Bench, built};
use super::table::{Figures, Row};
use crate::run::root;

/// The pages of a dump.
#[derive(Clone, Copy)]
enum Pages {
    /// All of them, by a bitmap.
    All,
    /// Every other one, by a bitmap.
    EveryOther,
    /// All of them but those below 4 GiB where devices are, by runs.
    Runs,
}

impl Pages {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "bitmap, all pages",
            Self::EveryOther => "bitmap, every other page",
            Self::Runs => "runs",
        }
    }

    /// Writes the dump: holes, and a mark at the start of some of its pages. Gives what a program that opens it says,
    /// and the addresses that it is asked for.
    fn write(self, path: &Path, total: u64) -> anyhow::Result<(String, Vec<String>)> {
        let file = File::create(path)?;
        let mut header = Header::unset(Machine::Amd64);
        let Header::Dump64(fields) = &mut header else {
            unreachable!("of a 64-bit machine")
        };
        fields.major_version = 15.into();
        fields.minor_version = 19041.into();
        fields.machine_image_type = u32::from(Machine::Amd64.machine_type().0).into();
        fields.number_processors = 1.into();
        fields.directory_table_base = 0x1000.into();
        let dump_type = if matches!(self, Self::Runs) {
            DumpType::FULL
        } else {
            DumpType::BITMAP_FULL
        };
        fields.dump_type = dump_type.0.into();
        let hole = 0xC_0000..0x10_0000;
        let (first_page, pages) = if matches!(self, Self::Runs) {
            let runs = [
                MemoryRun {
                    base_page: Pfn(1),
                    page_count: 0x9F,
                },
                MemoryRun {
                    base_page: Pfn(0x100),
                    page_count: hole.start - 0x100,
                },
                MemoryRun {
                    base_page: Pfn(hole.end),
                    page_count: total - (hole.start - 0x100) - 0x9F,
                },
            ];
            header.set_physical_memory(&runs)?;
            (header.size(), total)
        } else {
            let layout = BitmapLayout::new(header.size(), Pfn(total))?;
            let (byte, pages) = if matches!(self, Self::All) {
                (0xFF, total)
            } else {
                (0x55, total / 2)
            };
            let bitmap = vec![byte; usize::try_from(layout.bitmap_size())?];
            file.write_all_at(layout.header(SIGNATURE_FULL, pages).as_bytes(), layout.body.0)?;
            file.write_all_at(&bitmap, layout.bitmap.0)?;
            (layout.first_page.0, pages)
        };
        file.write_all_at(header.as_bytes(), 0)?;
        file.set_len(first_page + pages * PAGE_SIZE)?;
        let mut expected = pages.to_string();
        let mut addresses = Vec::new();
        for index in [0x123, pages / 2, pages - 1] {
            let page = match self {
                Self::All => index,
                Self::EveryOther => index * 2,
                Self::Runs if index < 0x9F => index + 1,
                Self::Runs if index < 0x9F + hole.start - 0x100 => index - 0x9F + 0x100,
                Self::Runs => index - 0x9F - (hole.start - 0x100) + hole.end,
            };
            let mark = index << 16 | 0xD0;
            file.write_all_at(&mark.to_le_bytes(), first_page + index * PAGE_SIZE)?;
            expected += &format!(" {mark:x}");
            addresses.push(format!("{:x}", Pfn(page).address().map_or(0, PhysAddr::get)));
        }
        Ok((expected, addresses))
    }
}

/// Python with LeechCore, where the validators' scripts installed it.
fn leechcore() -> Option<PathBuf> {
    let folder = std::env::var_os("VALIDATORS_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/dotdump-validators")))?;
    let venv = folder.join("venv");
    let library = std::fs::read_dir(venv.join("lib")).ok()?.flatten();
    let installed = library
        .into_iter()
        .any(|python| python.path().join("site-packages/leechcorepyc").is_dir());
    installed.then(|| venv.join("bin/python"))
}

const LEECHCORE: &str = "LeechCore, from Python";
/// What LeechCore's program says of a dump that it refuses: it has a limit of runs.
const REFUSED: &str = "cannot open it";

/// The first line of what a program said.
fn said(run: &Run) -> &str {
    run.output.lines().next().unwrap_or_default()
}

/// The time that the program took for the work alone, where it says so in its second line.
fn own_time(run: &Run) -> Option<f64> {
    run.output.lines().nth(1)?.parse().ok()
}

/// Opening large dumps, beside two other libraries.
pub(super) fn open(bench: &Bench, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let gibibytes = if bench.quick { 4 } else { 64 };
    let total = gibibytes << 18;
    let script = root().join("benches/peers/open_leechcore.py").display().to_string();
    let python = leechcore().map(|python| python.display().to_string());
    if python.is_none() {
        eprintln!("LeechCore is not installed, and not measured");
    }
    for pages in [Pages::All, Pages::EveryOther, Pages::Runs] {
        let path = bench.path("pages.dmp");
        let (expected, addresses) = pages.write(&path, total)?;
        let path = path.display().to_string();
        let mut programs = vec![
            ("dotdump", built("target/release/examples/open_pages"), None),
            (
                "kdmp-parser 0.8",
                built("benches/peers/target/release/open-kdmp-parser"),
                None,
            ),
        ];
        if let Some(python) = &python {
            programs.push((LEECHCORE, python.clone(), Some(script.as_str())));
        }
        let medians = bench.in_turn(
            programs
                .iter()
                .map(|(_, program, script)| -> Box<dyn FnMut() -> anyhow::Result<Run>> {
                    let arguments = script.iter().copied().chain([path.as_str()]);
                    let arguments: Vec<&str> = arguments.chain(addresses.iter().map(String::as_str)).collect();
                    Box::new(move || measure::run(program, &arguments))
                })
                .collect(),
        )?;
        for ((subject, ..), run) in programs.iter().zip(&medians) {
            let refused = *subject == LEECHCORE && said(run) == REFUSED;
            ensure!(
                refused || said(run) == expected,
                "{subject}: {:?}, not {expected:?}",
                said(run)
            );
        }
        let own = &medians[0];
        let kdmp_parser = medians.get(1).context("kdmp-parser")?;
        let faster = kdmp_parser.wall.as_secs_f64() / own.wall.as_secs_f64();
        for ((subject, ..), run) in programs.iter().zip(&medians) {
            let is_own = std::ptr::eq(run, own);
            let refused = said(run) == REFUSED;
            let seconds = own_time(run).unwrap_or(run.wall.as_secs_f64());
            let ratio = if is_own {
                format!("{faster:.0} times faster than kdmp-parser")
            } else if refused {
                REFUSED.to_owned()
            } else {
                String::new()
            };
            let met = seconds < 0.002 && run.peak < 8 << 20 && faster >= 100.0;
            rows.push(Row {
                scenario: format!("open {gibibytes} GiB, {}", pages.name()),
                subject: (*subject).to_owned(),
                figures: Figures {
                    time: (!refused).then_some(seconds),
                    peak: (!refused).then_some(run.peak),
                    throughput: None,
                    ratio,
                },
                goal: is_own.then(|| ("2 ms, 8 MiB, 100 times".to_owned(), met)),
                details: json!({ "run": run.to_json(), "without_start_seconds": own_time(run) }),
            });
        }
    }
    Ok(())
}
