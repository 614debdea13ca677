//! The subcommand `inspect`: what is in a dump, for people ([`text`]) and for programs ([`json`]).

mod exceptions;
mod json;
mod model;
mod names;
mod opened;
mod statuses;
mod streams;
mod summary;
mod text;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use dotdump_format::{FileOffset, ReadAt as _};
use dotdump_snapshot::DumpFile;

use crate::arguments::InspectArguments;
use crate::convert::open;
use crate::exit::Exit;
use opened::Opened;

/// Runs the subcommand.
pub(crate) fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let file = open(&arguments.dump, !arguments.no_mmap)?;
    let opened = Opened::new(&file).with_context(|| not_a_minidump(&file, &arguments.dump))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if arguments.json {
        json::write(&mut out, &opened, &arguments.dump)
    } else {
        out.write_all(summary::of(&opened, &arguments.dump).as_bytes())
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads the output may have seen enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        written => written.context("standard output").map(|()| Exit::Success),
    }
}

/// What to say of a file that cannot be opened as a minidump: its name, and what it is where that can be told.
fn not_a_minidump(file: &DumpFile, path: &Path) -> String {
    let mut start = [0; 8];
    match file.read_exact_at(FileOffset(0), &mut start) {
        Ok(()) if start.starts_with(b"PAGE") => {
            let magic = String::from_utf8_lossy(&start);
            format!("{}: a kernel dump ({magic:?}), no user minidump", path.display())
        }
        _ => path.display().to_string(),
    }
}
