//! The benchmarks: programs are run whole, next to the ones they are compared with, and what they take is written
//! into one table.

#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod dump;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod pages;
#[cfg(target_os = "linux")]
mod paging;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod stacks;
#[cfg(target_os = "linux")]
mod table;

use std::path::PathBuf;

use crate::run::root;

/// What the task is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Small sizes: tells whether everything works, not how fast
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// Repeat each measurement this often, and take the median
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The folder for the dumps: 20 GiB at most, removed at the end
    #[arg(long, default_value_os_t = root().join("target"))]
    folder: PathBuf,
    /// Where the figures go as JSON
    #[arg(long, default_value_os_t = root().join("target/bench.json"))]
    json: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Open a dump with very many ranges and list them
    List,
    /// `convert -m` out of a large dump
    Small,
    /// `convert -ma` beside `cp`
    Copy,
    /// The filter `r`
    Filter,
    /// `convert` of a dump with very many ranges
    Ranges,
    /// Open a kernel dump of a machine with much memory
    Pages,
    /// Page walks of a kernel dump
    Walks,
    /// `convert -k` and `-ka` of a machine with much memory
    Select,
    /// `convert -f` into another layout beside `cp`
    Reencode,
    /// `capture -m` and `-ma` of a running process beside other programs
    Capture,
}

/// Measures.
#[cfg(target_os = "linux")]
pub(crate) fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    use crate::run::{cargo, run};

    if cfg!(debug_assertions) {
        // Parts of the engine are measured in this very program.
        let mut command = cargo(&["run", "-q", "--release", "-p", "xtask", "--"]);
        return run(command.args(std::env::args_os().skip(1)));
    }
    let wanted = |scenario| arguments.only.is_empty() || arguments.only.contains(&scenario);
    run(&mut cargo(&["build", "--release", "-p", "dotdump"]))?;
    if wanted(Scenario::List) || wanted(Scenario::Pages) {
        run(&mut cargo(&[
            "build",
            "--release",
            "-p",
            "dotdump-snapshot",
            "--example",
            "list_ranges",
            "--example",
            "open_pages",
        ]))?;
    }
    if wanted(Scenario::List) || wanted(Scenario::Pages) || wanted(Scenario::Capture) {
        run(&mut cargo(&[
            "build",
            "--release",
            "--manifest-path",
            "benches/peers/Cargo.toml",
        ]))?;
    }
    if wanted(Scenario::Capture) {
        capture::build()?;
    }
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&arguments.folder)?;
    let bench = scenarios::Bench {
        folder: folder.path(),
        quick: arguments.quick,
        runs: arguments.runs.max(1),
    };
    let mut rows = Vec::new();
    if wanted(Scenario::List) {
        bench.list(&mut rows)?;
    }
    if wanted(Scenario::Small) {
        bench.small(&mut rows)?;
    }
    if wanted(Scenario::Ranges) {
        bench.ranges(&mut rows)?;
    }
    if wanted(Scenario::Filter) {
        stacks::filter(&bench, &mut rows)?;
    }
    if wanted(Scenario::Pages) {
        pages::open(&bench, &mut rows)?;
    }
    if wanted(Scenario::Walks) {
        paging::walks(&bench, &mut rows)?;
    }
    if wanted(Scenario::Select) {
        machines::select(&bench, &mut rows)?;
    }
    if wanted(Scenario::Copy) {
        bench.copy(&mut rows)?;
    }
    if wanted(Scenario::Reencode) {
        machines::reencode(&bench, &mut rows)?;
    }
    if wanted(Scenario::Capture) {
        capture::capture(&bench, &mut rows)?;
    }
    println!("{}", table::markdown(&rows));
    let machine = machine::describe(folder.path());
    println!("{machine}");
    let json = serde_json::json!({
        "quick": arguments.quick,
        "runs": bench.runs,
        "machine": machine,
        "rows": rows.iter().map(table::Row::to_json).collect::<Vec<_>>(),
    });
    std::fs::write(&arguments.json, serde_json::to_string_pretty(&json)? + "\n")?;
    Ok(())
}

/// Measures.
#[cfg(not(target_os = "linux"))]
pub(crate) fn bench(_: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("memory and time of programs are measured by means that only Linux has")
}
