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

use anyhow::Context as _;

use crate::arguments::InspectArguments;
use crate::exit::Exit;
use crate::source::{not_a_minidump, open};
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
