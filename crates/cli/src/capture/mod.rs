//! The subcommand `capture`.

mod all;
mod core_pattern;
mod live;
mod target;

use dotdump_capture::{CaptureOptions, LiveProcess, StoppedProcess};
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::manifest::SourceIdentity;
use dotdump_transcode::options::{MiniOptions, Subject};
use dotdump_transcode::prepare_snapshot;
use dotdump_transcode::readable::Readable;

use crate::arguments::{CaptureArguments, ProgressMode, Target, WritingArguments};
use crate::dump::{Output, Place, Told, check_image_folders, request, write};
use crate::exit::Exit;
use crate::misuse::Misuse;
use live::LiveDump;

/// Runs the subcommand.
pub(crate) fn run(arguments: &CaptureArguments) -> anyhow::Result<Exit> {
    let writing = &arguments.writing;
    let dump = &writing.dump;
    let checked = dump.options.check_for(Subject::Process);
    let checked = checked.and_then(|()| dump.exception.check_for(Subject::Process));
    checked.map_err(|error| Misuse(error.to_string()))?;
    let place = Place::check(writing, None)?;
    check_image_folders(writing)?;
    let allowed = arguments.allow_sensitive_process;
    let id = match &arguments.target {
        &Target::Id(id) => target::by_id(id, allowed)?,
        Target::Name(name) => target::by_name(name, allowed)?,
        Target::All => return all::run(arguments, &place),
        Target::Crashed(crash) => return core_pattern::run(crash, arguments, &place),
    };
    let mut told = Told::of(writing);
    if is_ancestor(id) {
        told.progress = ProgressMode::Never;
    }
    capture(id, writing, &place, &told)
}

/// Whether this program descends from a process: a terminal that is stopped takes no progress, and would be waited for.
fn is_ancestor(id: u32) -> bool {
    let parent = |id: u32| -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))?
            .trim()
            .parse()
            .ok()
    };
    std::iter::successors(parent(std::process::id()), |&id| parent(id)).any(|ancestor| ancestor == id)
}

/// Captures one process.
fn capture(id: u32, arguments: &WritingArguments, place: &Place<'_>, told: &Told) -> anyhow::Result<Exit> {
    let output = place.of_process(id)?;
    let stopped = LiveProcess::open(id, &options(arguments))?.stop()?;
    write_stopped(id, &stopped, output, arguments, place, told)
}

/// Writes the dump of a process that is stopped, and lets it run on as soon as all is read.
fn write_stopped(
    id: u32,
    stopped: &StoppedProcess,
    mut output: Output<'_>,
    arguments: &WritingArguments,
    place: &Place<'_>,
    told: &Told,
) -> anyhow::Result<Exit> {
    let request = request(arguments, None);
    // Until it runs on nothing is printed: who reads that may be what is stopped.
    let mut readable = Readable::new(stopped.snapshot());
    loop {
        let identity = SourceIdentity::live(&readable);
        let mut dump = LiveDump {
            conversion: prepare_snapshot(&readable, identity, &request, stopped.notes())?,
            stopped,
        };
        let error = match write(arguments, &mut dump, output, told) {
            Ok(exit) => return Ok(exit),
            Err(error) => error,
        };
        drop(dump);
        match error.downcast_ref() {
            Some(&WriteError::Vanished { address }) if readable.leave_out(address)? > 0 => {}
            _ => return Err(error),
        }
        output = place.of_process(id)?;
    }
}

/// What is to be gathered for the letters of `-m`.
fn options(arguments: &WritingArguments) -> CaptureOptions {
    let mini = arguments.dump.options.mini;
    CaptureOptions {
        handles: mini.contains(MiniOptions::HANDLES),
        extended_state: mini.contains(MiniOptions::AVX_STATE),
        unloaded_modules: mini.contains(MiniOptions::UNLOADED_MODULES),
        thread_info: mini.contains(MiniOptions::THREAD_INFO),
        ..CaptureOptions::default()
    }
}
