//! The tables of options in the README are made from the flag table.

use std::fs;

use anyhow::{Context, bail};
use dotdump_transcode::options::{TABLE_BEGIN, TABLE_END, replace_markdown_table};

use crate::run::root;

/// What the task is told.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Put the present tables into the README instead of checking them
    #[arg(long)]
    write: bool,
}

/// The README has the tables that the flag table makes.
pub(crate) fn check(arguments: &Arguments) -> anyhow::Result<()> {
    eprintln!("+ README.md against the flag table");
    let path = root().join("README.md");
    let document = fs::read_to_string(&path).context("README.md")?;
    let Some(fresh) = replace_markdown_table(&document) else {
        bail!("README.md lacks the lines {TABLE_BEGIN} and {TABLE_END}");
    };
    if fresh == document {
        return Ok(());
    }
    if arguments.write {
        return fs::write(&path, fresh).context("README.md");
    }
    bail!("the option tables in README.md are old: cargo xtask readme --write")
}
