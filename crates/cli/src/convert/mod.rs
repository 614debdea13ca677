//! The subcommand `convert`.

mod applicable;
mod chosen_process;
mod machine;
mod process;

use anyhow::{Context as _, bail};
use dotdump_format::Findings;
use dotdump_snapshot::machine::MachineFile;
use dotdump_snapshot::{MachineProcess, MinidumpSnapshot, ProcessSnapshot};
use dotdump_transcode::manifest::SourceIdentity;
use dotdump_transcode::{prepare, prepare_process, prepare_snapshot};

use crate::arguments::ConvertArguments;
use crate::dump::{Place, Told, check_image_folders, request, write};
use crate::exit::Exit;
use crate::source::{Shown, image, machine_options, open, process_core, shown};
use machine::MachineDump;
use process::ProcessDump;

/// Runs the subcommand.
pub(crate) fn run(arguments: &ConvertArguments) -> anyhow::Result<Exit> {
    let path = &arguments.source;
    let writing = &arguments.writing;
    let source = open(path, !arguments.no_mmap)?;
    let shown = shown(&source, path, arguments.memory_map.is_some())?;
    applicable::check(arguments, shown)?;
    let place = Place::check(writing, Some(source.file()))?;
    let request = request(writing, arguments.layout.map(Into::into));
    let told = Told::of(writing);
    match shown {
        Shown::Process => {
            check_image_folders(writing)?;
            let snapshot = MinidumpSnapshot::open(&source).with_context(|| path.display().to_string())?;
            let output = place.of_process(process_id(&snapshot)?)?;
            let mut dump = ProcessDump {
                conversion: prepare(&snapshot, &request)?,
                source: &source,
            };
            write(writing, &mut dump, output, &told)
        }
        Shown::ProcessCore => {
            check_image_folders(writing)?;
            let process = process_core(&source, path)?;
            let output = place.of_process(process.facts().process_id)?;
            let identity = SourceIdentity::of(&process, &source)?;
            let mut dump = ProcessDump {
                conversion: prepare_snapshot(&process, identity, &request, &process.facts().guesses)?,
                source: &source,
            };
            write(writing, &mut dump, output, &told)
        }
        Shown::Machine => {
            let file = MachineFile::open(&source, &machine_options(arguments.memory_map.as_deref())?);
            let file = file.with_context(|| path.display().to_string())?;
            let image = image(&file, path)?;
            if let Some(wanted) = &arguments.process {
                check_image_folders(writing)?;
                let process = chosen_process::find(&image, wanted, arguments.allow_sensitive_process)?;
                let output = place.of_process(u32::try_from(process.id).unwrap_or(0))?;
                let Some(process) = MachineProcess::open(&image, process)? else {
                    bail!(
                        "{}: --process {wanted}: the source has no pages of processes",
                        path.display()
                    );
                };
                let mut dump = ProcessDump {
                    conversion: prepare_process(&process, &source, &request)?,
                    source: &source,
                };
                return write(writing, &mut dump, output, &told);
            }
            let conversion = dotdump_transcode::machine::prepare(&image, Some(&source), &request)?;
            write(writing, &mut MachineDump(conversion), place.of_process(0)?, &told)
        }
    }
}

/// The id of a process, where the dump says it.
fn process_id(snapshot: &dyn ProcessSnapshot) -> anyhow::Result<u32> {
    // What is wrong with the record is told where it is written.
    let info = snapshot.misc_info(&mut Findings::default())?;
    Ok(info.and_then(|info| info.process_id()).unwrap_or(0))
}
