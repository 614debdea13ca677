//! The tasks of a developer, by name. What a task runs is printed before it is run, as a line for a shell.
//!
//! `cargo xtask ci` is what continuous integration runs.

mod bench;
mod checks;
mod fixture;
mod readme;
mod run;
mod validators;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of a developer, by name")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check that all code is formatted
    Fmt,
    /// Lint all targets; a warning is an error
    Clippy,
    /// Build the documentation; a warning is an error
    Doc,
    /// Check that the format crate needs no standard library
    NoStd,
    /// Run all tests; those whose tools or files are not there skip themselves
    Test,
    /// Install the validators and run the tests that need them; none may skip itself
    Validators,
    /// Build the fixture's program, let it crash, and write its dump into `fixtures/`
    Fixture(fixture::Arguments),
    /// Check that the option tables in the README are those of the flag table
    Readme(readme::Arguments),
    /// Measure time and memory, beside other programs, and print one table
    Bench(bench::Arguments),
    /// Check that capturing compiles for 32-bit and ARM64 Windows, whose standard library is built for it first
    OtherWindows,
    /// All of the above but the measurements and other Windows, as continuous integration runs them
    Ci,
}

fn main() -> ExitCode {
    match perform(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task) -> anyhow::Result<()> {
    match task {
        Task::Fmt => checks::fmt(),
        Task::Clippy => checks::clippy(),
        Task::Doc => checks::doc(),
        Task::NoStd => checks::no_std(),
        Task::Test => checks::test(),
        Task::Validators => validators::install_and_test(),
        Task::Fixture(arguments) => fixture::make(arguments),
        Task::Readme(arguments) => readme::check(arguments),
        Task::Bench(arguments) => bench::bench(arguments),
        Task::OtherWindows => validators::check_other_windows(),
        Task::Ci => ci(),
    }
}

/// Quick checks come first, so that a slip shows early.
fn ci() -> anyhow::Result<()> {
    checks::fmt()?;
    readme::check(&readme::Arguments::default())?;
    checks::no_std()?;
    checks::clippy()?;
    checks::doc()?;
    // Into the build folder: the one in the repository is not to change with each run.
    fixture::make(&fixture::Arguments::to(run::root().join("target/fixture")))?;
    if validators::install()? {
        validators::check_windows()?;
        validators::test_all()
    } else {
        checks::test()
    }
}
