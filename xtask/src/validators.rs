//! The validators: independent readers and writers of dumps that judge what dotdump writes.
//!
//! They are no part of the repository. `DOTDUMP_VALIDATORS` says where their scripts are; without it they are looked
//! for beside the repository.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::bail;

use crate::checks::TEST;
use crate::run::{cargo, root, run};

/// With this variable set, a test that finds a validator missing fails instead of skipping itself.
const REQUIRE: &str = "DOTDUMP_REQUIRE_VALIDATORS";

/// The package of the tests that use them.
const TESTS: &str = "dotdump-tests";

/// Where their scripts are, if they are there.
fn scripts() -> Option<PathBuf> {
    let folder = env::var_os("DOTDUMP_VALIDATORS").map_or_else(|| root().join("../shared/validators"), PathBuf::from);
    folder.join("install.sh").is_file().then_some(folder)
}

/// Installs them, with the Windows ones; what is installed already is left alone. `false` where they are not there.
pub(crate) fn install() -> anyhow::Result<bool> {
    let Some(folder) = scripts() else {
        eprintln!("no validators: neither in DOTDUMP_VALIDATORS nor in ../shared/validators");
        return Ok(false);
    };
    run(Command::new(folder.join("install.sh")).arg("windows"))?;
    install_readers_of_machines();
    Ok(true)
}

/// Installs the readers that are asked about images of machines. They need a newer QEMU than some systems have; the
/// tests that ask them say that they are skipped where they are missing.
fn install_readers_of_machines() {
    let folder = env::var_os("DOTDUMP_MACHINES").map_or_else(|| root().join("../shared/machines"), PathBuf::from);
    let script = folder.join("nt/install.sh");
    if !script.is_file() {
        eprintln!("no images of machines: neither in DOTDUMP_MACHINES nor in ../shared/machines");
    } else if let Err(error) = run(Command::new(script).arg("readers")) {
        eprintln!("the readers of machines are not installed: {error:#}");
    }
}

/// No lint fires in what is built for Windows, where the compiler for it has the linter. That it builds shows in the tests.
pub(crate) fn check_windows() -> anyhow::Result<()> {
    let has_clippy = windows_cargo(&["clippy", "--version"])
        .stderr(Stdio::null())
        .status()?
        .success();
    if !has_clippy {
        eprintln!("the compiler for Windows has no clippy: what it builds is not linted");
        return Ok(());
    }
    let mut command = windows_cargo(&["clippy", "--target", "x86_64-pc-windows-gnu"]);
    command.args([
        "--target-dir",
        "target/windows-cross",
        "-p",
        "dotdump-capture",
        "-p",
        "dotdump",
        "--",
        "-D",
        "warnings",
    ]);
    run(&mut command)
}

/// The capture of Windows processes builds for the other processors, for which the standard library is made first.
pub(crate) fn check_other_windows() -> anyhow::Result<()> {
    let mut command = windows_cargo(&["check", "-p", "dotdump-capture", "--target-dir", "target/windows-other"]);
    command.args([
        "--target",
        "i686-pc-windows-msvc",
        "--target",
        "aarch64-pc-windows-gnullvm",
    ]);
    command
        .arg("-Zbuild-std=core,alloc,std,panic_abort")
        .env("RUSTC_BOOTSTRAP", "1");
    run(&mut command)
}

fn windows_cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // The compiler that runs this task has set itself for all that it starts.
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command.arg("+windows-cross").args(arguments);
    command
}

/// All tests, and none may miss a validator.
pub(crate) fn test_all() -> anyhow::Result<()> {
    run(cargo(TEST).env(REQUIRE, "1"))
}

/// Installs the validators and runs the tests that use them.
pub(crate) fn install_and_test() -> anyhow::Result<()> {
    if !install()? {
        bail!("the validators are not there");
    }
    run(cargo(&["test", "-p", TESTS]).env(REQUIRE, "1"))
}
