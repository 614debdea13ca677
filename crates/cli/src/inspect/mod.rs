//! The subcommand `inspect`: what is in a dump, for people ([`text`]) and for programs ([`json`]).

mod exceptions;
mod json;
mod machine;
mod model;
mod names;
mod opened;
mod statuses;
mod streams;
mod summary;
mod text;

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use dotdump_snapshot::machine::MachineFile;

use crate::arguments::InspectArguments;
use crate::exit::Exit;
use crate::source::{Shown, image, machine_options, open, shown};
use machine::{Contents, Machine};
use opened::Opened;

/// Runs the subcommand.
pub(crate) fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let path = &arguments.dump;
    let file = open(path, !arguments.no_mmap)?;
    let written = match shown(&file, path, arguments.memory_map.is_some())? {
        Shown::Process => {
            let opened = Opened::new(&file).with_context(|| path.display().to_string())?;
            let mut out = BufWriter::new(io::stdout().lock());
            let written = if arguments.json {
                json::write(&mut out, &opened, path)
            } else {
                out.write_all(summary::of(&opened, path).as_bytes())
            };
            written.and_then(|()| out.flush())
        }
        Shown::Machine => {
            let source = MachineFile::open(&file, &machine_options(arguments.memory_map.as_deref())?);
            let source = source.with_context(|| path.display().to_string())?;
            let image = image(&source, path)?;
            let machine = Machine::new(&image, Contents::of(&source));
            let mut out = BufWriter::new(io::stdout().lock());
            let written = if arguments.json {
                machine::write(&mut out, &machine, path)
            } else {
                out.write_all(machine::of(&machine, path).as_bytes())
            };
            written.and_then(|()| out.flush())
        }
    };
    match written {
        // Whoever reads the output may have seen enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        written => written.context("standard output").map(|()| Exit::Success),
    }
}
