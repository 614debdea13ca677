//! Captures of a running process, beside other programs that make dumps of one.
//!
//! How long the process was stopped is seen by itself: a thread of it looks at the clock all the time, and the longest time
//! between two looks is the pause, whoever made it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::measure::{self, Run, median};
use super::scenarios::{Bench, LIMIT, built, dotdump, float, fresh};
use super::table::{Figures, Row};
use crate::run::{cargo, run};

/// Where the clock's figure is among the counters: it is the first thread after the main one, and each has 64 bytes.
const CLOCK: u64 = 64;

/// What the target's clock holds before it has measured anything.
const NOTHING: u64 = 1;

/// Builds what is measured here alone.
pub(super) fn build() -> anyhow::Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "dotdump-tests",
        "--bin",
        "capture-target",
    ]))
}

/// A process with 50 threads and a heap. It ends when this is dropped.
struct Target {
    child: Child,
    counters: File,
}

impl Target {
    fn start(folder: &Path, heap: u64) -> anyhow::Result<Self> {
        let mut child = Command::new(built("target/release/capture-target"))
            .args([
                "--threads",
                "50",
                "--spinning",
                "0",
                "--clock",
                "--solid",
                "--heap",
                &heap.to_string(),
            ])
            .arg("--folder")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the target does not start")?;
        // It tells all of itself when it is ready.
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let counters = File::options().read(true).write(true).open(folder.join("counters"))?;
        Ok(Self { child, counters })
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Forgets what the clock has measured.
    fn reset(&self) -> anyhow::Result<()> {
        Ok(self.counters.write_all_at(&NOTHING.to_le_bytes(), CLOCK)?)
    }

    /// The longest time without a look at the clock since.
    fn pause(&self) -> anyhow::Result<Duration> {
        let mut bytes = [0; 8];
        self.counters.read_exact_at(&mut bytes, CLOCK)?;
        Ok(Duration::from_nanos(u64::from_le_bytes(bytes)))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that makes a dump.
struct Subject {
    name: &'static str,
    program: String,
    arguments: Vec<String>,
    output: PathBuf,
    /// Where it tells for how long it stopped the target, if it does.
    report: Option<PathBuf>,
}

/// What it took: the middle run by time, the middle pause, and the middle of what it told of the pause itself.
struct Taken {
    run: Run,
    pause: Duration,
    told: Option<f64>,
    size: u64,
}

/// Captures of processes with heaps of different sizes.
pub(super) fn capture(bench: &Bench<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let heaps: &[u64] = if bench.quick { &[64 << 20] } else { &[1 << 30, 8 << 30] };
    for heap in heaps {
        let target = Target::start(bench.folder, *heap)?;
        small(bench, &target, *heap, rows)?;
        full(bench, &target, *heap, rows)?;
    }
    Ok(())
}

fn name(heap: u64) -> String {
    if heap < 1 << 30 {
        format!("{} MiB", heap >> 20)
    } else {
        format!("{} GiB", heap >> 30)
    }
}

fn own(bench: &Bench<'_>, target: &Target, options: &str) -> Subject {
    let (output, report) = (bench.path("own.dmp"), bench.path("report.json"));
    let (output_text, report_text) = (output.display().to_string(), report.display().to_string());
    let arguments = [
        "capture",
        "--pid",
        &target.pid(),
        &output_text,
        options,
        "-o",
        "-q",
        "--report",
        &report_text,
    ];
    Subject {
        name: "dotdump capture",
        program: dotdump(),
        arguments: arguments.map(str::to_owned).into(),
        output,
        report: Some(report),
    }
}

/// `-m`: threads and stacks.
fn small(bench: &Bench<'_>, target: &Target, heap: u64, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let output = bench.path("writer.dmp");
    let arguments = vec![target.pid(), output.display().to_string()];
    let subjects = [
        own(bench, target, "-m"),
        Subject {
            name: "minidump-writer 0.13",
            program: built("benches/peers/target/release/capture-minidump-writer"),
            arguments,
            output,
            report: None,
        },
        lldb(bench, target, "stack"),
    ];
    let taken = in_turn(bench, target, &subjects)?;
    let [own, writer, _] = &taken[..] else {
        unreachable!("three subjects")
    };
    let goal = own.pause < writer.pause && own.run.peak < LIMIT;
    let compared = "a pause below that of minidump-writer, 32 MiB";
    for (subject, taken) in subjects.iter().zip(&taken) {
        let is_own = subject.report.is_some();
        let goal = is_own.then(|| (compared.to_owned(), goal));
        rows.push(row(
            format!("capture -m, heap of {}", name(heap)),
            subject.name,
            taken,
            goal,
        ));
    }
    Ok(())
}

/// `-ma`: all memory.
fn full(bench: &Bench<'_>, target: &Target, heap: u64, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let gcore = bench.path("gcore.core");
    let commands = [
        "set debuginfod enabled off".to_owned(),
        format!("gcore {}", gcore.display()),
        "detach".to_owned(),
    ];
    let mut arguments = ["-nx", "-q", "-batch", "-p", &target.pid()].map(str::to_owned).to_vec();
    arguments.extend(commands.into_iter().flat_map(|command| ["-ex".to_owned(), command]));
    let writing = bench.path("zeros");
    let blocks = format!("count={}", heap >> 20);
    let subjects = [
        own(bench, target, "-ma"),
        Subject {
            name: "gdb gcore",
            program: "gdb".to_owned(),
            arguments,
            output: gcore,
            report: None,
        },
        lldb(bench, target, "full"),
        Subject {
            name: "dd conv=fsync of as many zeros",
            program: "dd".to_owned(),
            arguments: [
                "if=/dev/zero",
                &format!("of={}", writing.display()),
                "bs=1M",
                &blocks,
                "conv=fsync",
                "status=none",
            ]
            .map(str::to_owned)
            .into(),
            output: writing,
            report: None,
        },
    ];
    let taken = in_turn(bench, target, &subjects)?;
    let [own, gcore, ..] = &taken[..] else {
        unreachable!("four subjects")
    };
    let goal = 3 * own.pause <= gcore.pause && own.run.peak < LIMIT;
    for (subject, taken) in subjects.iter().zip(&taken) {
        let is_own = subject.report.is_some();
        let goal = is_own.then(|| ("a third of the pause of gcore, 32 MiB".to_owned(), goal));
        rows.push(row(
            format!("capture -ma, heap of {}", name(heap)),
            subject.name,
            taken,
            goal,
        ));
    }
    Ok(())
}

/// LLDB as a writer of minidumps. What is measured of its memory is without `lldb-server`, which reads for it.
fn lldb(bench: &Bench<'_>, target: &Target, style: &str) -> Subject {
    let names = ["lldb-22", "lldb-19", "lldb-16", "lldb-14"];
    let is_there = |name: &&&str| {
        let tried = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok()
    };
    let program = names.iter().find(is_there).unwrap_or(&"lldb");
    let output = bench.path("lldb.dmp");
    let save = format!(
        "process save-core --plugin-name=minidump --style {style} \"{}\"",
        output.display()
    );
    let attach = format!("process attach -p {}", target.pid());
    let arguments = [
        "-b",
        "-x",
        "-O",
        "settings set symbols.enable-external-lookup false",
        "-o",
        &attach,
        "-o",
        &save,
        "-o",
        "detach",
    ];
    Subject {
        name: "LLDB save-core",
        program: (*program).to_owned(),
        arguments: arguments.map(str::to_owned).into(),
        output,
        report: None,
    }
}

/// Runs the programs in turn. Each finds no output of before, and a disk that has nothing to write any more.
fn in_turn(bench: &Bench<'_>, target: &Target, subjects: &[Subject]) -> anyhow::Result<Vec<Taken>> {
    let mut all: Vec<Vec<Taken>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..=bench.runs {
        for (subject, taken) in subjects.iter().zip(&mut all) {
            fresh(&subject.output)?;
            target.reset()?;
            let arguments: Vec<&str> = subject.arguments.iter().map(String::as_str).collect();
            let run = measure::run(&subject.program, &arguments)?;
            let pause = target.pause()?;
            let size = subject
                .output
                .metadata()
                .with_context(|| format!("{} made nothing", subject.name))?
                .len();
            std::fs::remove_file(&subject.output)?;
            let told = match &subject.report {
                Some(report) => {
                    let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
                    report["pause_milliseconds"].as_f64()
                }
                None => None,
            };
            // The first round only warms the caches.
            if round > 0 {
                taken.push(Taken { run, pause, told, size });
            }
        }
    }
    Ok(all.into_iter().map(middle).collect())
}

fn middle(mut taken: Vec<Taken>) -> Taken {
    taken.sort_by_key(|taken| taken.pause);
    let at = taken.len() / 2;
    let (pause, size) = (taken[at].pause, taken[at].size);
    let mut told: Vec<f64> = taken.iter().filter_map(|taken| taken.told).collect();
    told.sort_by(f64::total_cmp);
    Taken {
        pause,
        size,
        told: told.get(told.len() / 2).copied(),
        run: median(taken.into_iter().map(|taken| taken.run).collect()),
    }
}

fn row(scenario: String, subject: &str, taken: &Taken, goal: Option<(String, bool)>) -> Row {
    let pause = taken.pause.as_secs_f64() * 1e3;
    let mut text = format!("{pause:.1} ms pause");
    if let Some(told) = taken.told {
        text += &format!(" (it says {told:.1})");
    }
    let stops = !subject.starts_with("dd ");
    let rate = float(taken.size) / taken.run.wall.as_secs_f64();
    let mut details = taken.run.to_json();
    details["pause_seconds"] = json!(stops.then_some(taken.pause.as_secs_f64()));
    details["told_pause_milliseconds"] = json!(taken.told);
    details["output_bytes"] = json!(taken.size);
    Row {
        scenario,
        subject: subject.to_owned(),
        figures: Figures {
            time: Some(taken.run.wall.as_secs_f64()),
            peak: Some(taken.run.peak),
            throughput: (taken.size > 1 << 24).then_some(rate),
            ratio: if stops { text } else { String::new() },
        },
        goal,
        details,
    }
}
