//! Programs for Windows, built by a cross compiler and run under Wine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::places::{self, workspace};

/// The toolchain for Windows, by the name under which it is installed.
const TOOLCHAIN: &str = "+windows-cross";
/// What it builds for.
const TARGET: &str = "x86_64-pc-windows-gnu";

/// What builds and runs programs for Windows: the variables that both need.
pub struct Wine {
    environment: Vec<(String, String)>,
}

impl Wine {
    /// The one that is installed; `None` where there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let file = places::tools()?.join("windows-cross.env");
        let Ok(text) = fs::read_to_string(&file) else {
            places::skip(&format!("no compiler for Windows: {} is not there", file.display()));
            return None;
        };
        let words = text.lines().filter_map(|line| line.strip_prefix("export "));
        let variables = words.flat_map(str::split_whitespace).filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Some(Self {
            environment: variables.collect(),
        })
    }

    /// A program with these variables.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Builds `dotdump` and examples of this package for Windows, and gives the folder in which `dotdump.exe` and
    /// `examples` are.
    ///
    /// # Panics
    /// Where they do not build.
    #[must_use]
    pub fn build(&self, examples: &[&str]) -> PathBuf {
        // In a folder of its own: another compiler's work is of no use to this one.
        let folder = workspace().join("target/windows-cross");
        let mut cargo = self.command("cargo");
        cargo.args([TOOLCHAIN, "build", "-q", "--target", TARGET]);
        cargo.args(["-p", "dotdump", "--bin", "dotdump", "-p", "dotdump-tests"]);
        cargo.args(examples.iter().flat_map(|name| ["--example", *name]));
        cargo.arg("--target-dir").arg(&folder).current_dir(workspace());
        // What the one that runs this test has set is for itself.
        for variable in [
            "CARGO",
            "RUSTC",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            cargo.env_remove(variable);
        }
        let status = cargo.stdin(Stdio::null()).status().expect("cargo starts");
        assert!(status.success(), "dotdump and {examples:?} do not build for Windows");
        folder.join(TARGET).join("debug")
    }

    /// Copies a program without its debug information.
    ///
    /// # Panics
    /// Where that fails.
    pub fn strip(&self, from: &Path, to: &Path) {
        let mut strip = self.command("x86_64-w64-mingw32-strip");
        let status = strip.arg("-o").args([to, from]).status().expect("strip starts");
        assert!(status.success(), "{}", from.display());
    }
}
