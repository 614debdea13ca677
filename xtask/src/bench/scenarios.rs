//! Whole programs that are measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use dotdump_format::{VirtAddr, VirtRange};
use serde_json::json;

use super::dump::{Dump, ThreadState};
use super::measure::{self, Run, median};
use super::table::{Figures, Row, mebibytes};
use crate::run::root;

/// What all scenarios share.
pub(super) struct Bench<'a> {
    /// Where the dumps go.
    pub(super) folder: &'a Path,
    /// Whether sizes are small.
    pub(super) quick: bool,
    /// How often each measurement is repeated.
    pub(super) runs: usize,
}

pub(super) const LIMIT: u64 = 32 << 20;

/// A program that was built, by its place in the target folder.
pub(super) fn built(path: &str) -> String {
    root().join(path).display().to_string()
}

pub(super) fn dotdump() -> String {
    built("target/release/dotdump")
}

#[expect(clippy::cast_precision_loss, reason = "sizes below 2^53")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

impl Bench<'_> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs several programs in turn, `runs` times, and gives the median of each.
    pub(super) fn in_turn(
        &self,
        mut programs: Vec<Box<dyn FnMut() -> anyhow::Result<Run> + '_>>,
    ) -> anyhow::Result<Vec<Run>> {
        let mut runs: Vec<Vec<Run>> = programs.iter().map(|_| Vec::new()).collect();
        // The first round only warms the caches.
        for round in 0..=self.runs {
            for (program, runs) in programs.iter_mut().zip(&mut runs) {
                let run = program()?;
                if round > 0 {
                    runs.push(run);
                }
            }
        }
        Ok(runs.into_iter().map(median).collect())
    }

    /// Opening and listing, beside two other libraries.
    pub(super) fn list(&self, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let programs = [
            ("dotdump", built("target/release/examples/list_ranges")),
            ("minidump 0.27", built("benches/peers/target/release/list-minidump")),
            (
                "udmp-parser 0.2",
                built("benches/peers/target/release/list-udmp-parser"),
            ),
        ];
        let counts: &[u64] = if self.quick { &[10_000] } else { &[10_000, 1_000_000] };
        for count in counts {
            let path = self.path("ranges.dmp");
            Dump::of_ranges(*count, 4096).write(&path, None)?;
            let argument = path.display().to_string();
            let medians = self.in_turn(
                programs
                    .iter()
                    .map(|(_, program)| -> Box<dyn FnMut() -> anyhow::Result<Run>> {
                        Box::new(|| measure::run(program, &[&argument]))
                    })
                    .collect(),
            )?;
            let expected = format!("{count} {} {count} {}\n", count * 4096, count * 4096);
            for run in &medians {
                ensure!(run.output == expected, "listed {:?}, not {expected:?}", run.output);
            }
            let own = &medians[0];
            let time = medians[1..].iter().map(|run| run.wall).min().unwrap_or_default();
            let peak = medians[1..].iter().map(|run| run.peak).min().unwrap_or_default();
            let faster = time.as_secs_f64() / own.wall.as_secs_f64();
            let smaller = float(peak) / float(own.peak);
            for ((subject, _), run) in programs.iter().zip(&medians) {
                let is_own = std::ptr::eq(run, own);
                let ratio = if is_own {
                    format!("{faster:.1} times faster, 1/{smaller:.1} of the memory")
                } else {
                    String::new()
                };
                rows.push(Row {
                    scenario: format!("list {count} ranges"),
                    subject: (*subject).to_owned(),
                    figures: Figures {
                        time: Some(run.wall.as_secs_f64()),
                        peak: Some(run.peak),
                        throughput: None,
                        ratio,
                    },
                    goal: (is_own && *count == 1_000_000)
                        .then(|| ("10 times, 1/10".to_owned(), faster >= 10.0 && smaller >= 10.0)),
                    details: run.to_json(),
                });
            }
        }
        Ok(())
    }

    /// A small dump out of a very large one.
    pub(super) fn small(&self, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let ranges = if self.quick { 1024 } else { 16_384 };
        let source = self.path("large.dmp");
        large_process(ranges).write(&source, None)?;
        let output = self.path("small.dmp");
        let (from, to) = (source.display().to_string(), output.display().to_string());
        let program = dotdump();
        let medians = self.in_turn(vec![Box::new(|| {
            measure::run(&program, &["convert", &from, &to, "-m", "-o", "--quiet"])
        })])?;
        let run = &medians[0];
        let written = output.metadata()?.len();
        // The descriptors, the regions and the rest before the memory, which a reader has to look at.
        let tables = (ranges + 128) * (16 + 48) + 64 * 2048;
        let allowed = written + tables;
        let met = run.wall.as_secs_f64() < 1.0 && run.peak < LIMIT && run.read <= allowed;
        rows.push(Row {
            scenario: format!("-m of {} GiB", ranges * 4 / 1024),
            subject: "dotdump convert".to_owned(),
            figures: Figures {
                time: Some(run.wall.as_secs_f64()),
                peak: Some(run.peak),
                throughput: None,
                ratio: format!(
                    "{} read, {} written, {} of tables",
                    mebibytes(run.read),
                    mebibytes(written),
                    mebibytes(tables)
                ),
            },
            goal: Some(("1 s, 32 MiB, read no more than written and tables".to_owned(), met)),
            details: json!({ "run": run.to_json(), "written_bytes": written, "table_bytes": tables }),
        });
        Ok(())
    }

    /// Conversions of a dump with very many ranges.
    pub(super) fn ranges(&self, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let count = if self.quick { 10_000 } else { 1_000_000 };
        let source = self.path("ranges.dmp");
        Dump::of_ranges(count, 4096).write(&source, None)?;
        let output = self.path("ranges-out.dmp");
        let (from, to) = (source.display().to_string(), output.display().to_string());
        let program = dotdump();
        for options in ["-m", "-mFw", "-ma"] {
            let medians = self.in_turn(vec![Box::new(|| {
                measure::run(&program, &["convert", &from, &to, options, "-o", "--quiet"])
            })])?;
            let run = &medians[0];
            rows.push(Row {
                scenario: format!("{options} of {count} ranges"),
                subject: "dotdump convert".to_owned(),
                figures: Figures {
                    time: Some(run.wall.as_secs_f64()),
                    peak: Some(run.peak),
                    throughput: None,
                    ratio: format!("{} read", mebibytes(run.read)),
                },
                goal: Some(("64 MiB".to_owned(), run.peak < 2 * LIMIT)),
                details: run.to_json(),
            });
            std::fs::remove_file(&output)?;
        }
        Ok(())
    }

    /// All of a dump of data that cannot be compressed, beside `cp`.
    pub(super) fn copy(&self, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let ranges = if self.quick { 16 } else { 1024 };
        let source = self.path("data.dmp");
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        Dump::of_ranges(ranges, 4 << 20).write(&source, Some(&mut |chunk| random.fill(chunk)))?;
        self.beside_cp(
            &BesideCp {
                scenario: format!("-ma of {}", mebibytes(source.metadata()?.len())),
                source: &source,
                options: &["-ma"],
                is_aligned: false,
            },
            rows,
        )
    }

    /// A conversion of all bytes of a dump.
    pub(super) fn beside_cp(&self, what: &BesideCp<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let size = what.source.metadata()?.len();
        let output = self.path("copy.dmp");
        let (from, to) = (what.source.display().to_string(), output.display().to_string());
        let program = dotdump();
        let convert = |more: &'static [&'static str]| -> Box<dyn FnMut() -> anyhow::Result<Run> + '_> {
            let (program, from, to, output) = (&program, &from, &to, &output);
            Box::new(move || {
                fresh(output)?;
                let mut arguments = vec!["convert", from, to, "--quiet"];
                arguments.extend(what.options);
                arguments.extend(more);
                measure::run(program, &arguments)
            })
        };
        // `cp` leaves its data in memory, what dotdump writes is on the disk when it ends: so `cp` is also measured
        // with the wait for the disk.
        let subjects = ["cp", "cp && sync", "dotdump convert", "dotdump convert --no-manifest"];
        let medians = self.in_turn(vec![
            Box::new(|| {
                fresh(&output)?;
                measure::run("cp", &[&from, &to])
            }),
            Box::new(|| {
                fresh(&output)?;
                let script = "cp \"$1\" \"$2\" && exec sync \"$2\"";
                measure::run("/bin/sh", &["-c", script, "sh", &from, &to])
            }),
            convert(&[]),
            convert(&["--no-manifest"]),
        ])?;
        // Where files can share their blocks, `cp` copies nothing.
        let shares = what.is_aligned && self.has_reflinks()?;
        let rate = |run: &Run| float(size) / run.wall.as_secs_f64();
        for (subject, run) in subjects.iter().zip(&medians) {
            let is_own = subject.starts_with("dotdump");
            let ratio = rate(run) / rate(&medians[0]);
            let goal = if shares {
                let met = run.wall.as_secs_f64() < 0.1 && run.peak < LIMIT;
                ("0.1 s, 32 MiB".to_owned(), met)
            } else {
                ("0.9 of cp, 32 MiB".to_owned(), ratio >= 0.9 && run.peak < LIMIT)
            };
            rows.push(Row {
                scenario: what.scenario.clone(),
                subject: (*subject).to_owned(),
                figures: Figures {
                    time: Some(run.wall.as_secs_f64()),
                    peak: is_own.then_some(run.peak),
                    throughput: Some(rate(run)),
                    ratio: format!("{ratio:.2} of cp, {:.2} of cp && sync", rate(run) / rate(&medians[1])),
                },
                goal: is_own.then_some(goal),
                details: run.to_json(),
            });
        }
        std::fs::remove_file(&output)?;
        Ok(())
    }

    /// Whether files in the folder can share blocks.
    fn has_reflinks(&self) -> anyhow::Result<bool> {
        let (from, to) = (self.path("shared"), self.path("shared-too"));
        std::fs::write(&from, [1; 4096])?;
        let output = Command::new("cp").arg("--reflink=always").args([&from, &to]).output()?;
        Ok(output.status.success())
    }
}

/// What [`Bench::beside_cp`] measures.
pub(super) struct BesideCp<'a> {
    pub(super) scenario: String,
    pub(super) source: &'a Path,
    /// Those of `convert`.
    pub(super) options: &'a [&'a str],
    /// Whether the bytes start at the same place of a block in the source and in the output.
    pub(super) is_aligned: bool,
}

/// Makes sure that the output is not there and that nothing waits to be written.
pub(super) fn fresh(output: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(output) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    ensure!(Command::new("sync").status().context("sync")?.success(), "sync failed");
    Ok(())
}

/// A process with 64 threads whose heap has `count` ranges of 4 MiB.
fn large_process(count: u64) -> Dump {
    const STACK: u64 = 256 << 10;
    const TEB: u64 = 0x2000;
    const USED: u64 = 16 << 10;

    let mut dump = Dump::default();
    let module = VirtRange::sized(VirtAddr(0x7FF6_0000_0000), 1 << 20);
    dump.modules.push(module);
    let (stacks, tebs) = (0x10_0000_0000_u64, 0x18_0000_0000_u64);
    for index in 0..64 {
        let start = stacks + index * 2 * STACK;
        let end = start + STACK;
        dump.push(VirtRange::new(VirtAddr(start), VirtAddr(end)));
        let pointer = end - USED;
        let words: Vec<u8> = (0..USED / 8)
            .flat_map(|word| (module.start.0 + word * 16).to_le_bytes())
            .collect();
        dump.contents.push((VirtAddr(pointer), words));
        let teb = tebs + index * TEB;
        let mut bytes = vec![0; 0x38];
        bytes[0x08..0x10].copy_from_slice(&end.to_le_bytes());
        bytes[0x10..0x18].copy_from_slice(&start.to_le_bytes());
        bytes[0x30..0x38].copy_from_slice(&teb.to_le_bytes());
        dump.contents.push((VirtAddr(teb), bytes));
        dump.threads.push(ThreadState {
            teb,
            stack_pointer: pointer,
            instruction_pointer: module.start.0 + 0x1000,
        });
    }
    for index in 0..64 {
        dump.push(VirtRange::sized(VirtAddr(tebs + index * TEB), TEB));
    }
    for index in 0..count {
        dump.push(VirtRange::sized(VirtAddr(0x100_0000_0000 + index * (8 << 20)), 4 << 20));
    }
    dump
}

/// Numbers that look random, always the same.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            word.copy_from_slice(&number[..word.len()]);
        }
    }
}
