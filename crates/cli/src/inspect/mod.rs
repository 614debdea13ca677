//! The subcommand `inspect`: what is in a dump, for people ([`text`]) and for programs ([`json`]).

mod core_streams;
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
use std::path::Path;

use anyhow::Context as _;
use dotdump_format::ReadAt as _;
use dotdump_format::minidump::Minidump;
use dotdump_snapshot::MinidumpSnapshot;
use dotdump_snapshot::machine::MachineFile;

use crate::arguments::InspectArguments;
use crate::exit::Exit;
use crate::source::{Shown, image, machine_options, open, process_core, shown};
use machine::{Contents, Machine};
use opened::Opened;

/// Runs the subcommand.
pub(crate) fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let path = &arguments.dump;
    let file = open(path, !arguments.no_mmap)?;
    let written = match shown(&file, path, arguments.memory_map.is_some())? {
        Shown::Process => {
            let snapshot = MinidumpSnapshot::open(&file).with_context(|| path.display().to_string())?;
            print(&Opened::of_dump(&snapshot), path, arguments.json)
        }
        Shown::ProcessCore => {
            let process = process_core(&file, path)?;
            let streams = core_streams::streams(&process)?;
            let dump = Minidump::open(&streams)?;
            print(&Opened::of_core(&process, &dump, file.size()), path, arguments.json)
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

/// Prints what is in a process.
fn print(opened: &Opened<'_>, path: &Path, as_json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match as_json {
        true => json::write(&mut out, opened, path),
        false => out.write_all(summary::of(opened, path).as_bytes()),
    };
    written.and_then(|()| out.flush())
}
