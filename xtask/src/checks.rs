//! The checks that are one command each.

use std::process::Command;

use crate::fixture::PROGRAM;
use crate::run::{cargo, run};

/// All code is formatted: the workspace, and the fixture's program, which is no part of it.
pub(crate) fn fmt() -> anyhow::Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(Command::new("rustfmt").args(["--edition", "2024", "--check", PROGRAM]))
}

/// No lint fires anywhere, tests and benchmarks included.
pub(crate) fn clippy() -> anyhow::Result<()> {
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The documentation builds and its links lead somewhere.
pub(crate) fn doc() -> anyhow::Result<()> {
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The format crate needs `alloc` only.
pub(crate) fn no_std() -> anyhow::Result<()> {
    run(&mut cargo(&["check", "-p", "dotdump-format", "--no-default-features"]))
}

/// The command for all tests, as the README has it.
pub(crate) const TEST: &[&str] = &["test", "--workspace"];

/// All tests pass.
pub(crate) fn test() -> anyhow::Result<()> {
    run(&mut cargo(TEST))
}
