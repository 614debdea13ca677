//! A process that dies, seen by the program that `core_pattern` names.
//!
//! The kernel starts that program with the core on its standard input. Up to the end of the notes it is read, for they
//! have the registers and the signal; then memory and all else is read from `/proc`, where the process still is: the
//! kernel holds it until the core is read or, where `kernel.core_pipe_limit` is not 0, until the program ends.

use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;
use std::time::Instant;

use dotdump_format::Findings;
use dotdump_snapshot::linux::LinuxThread;
use dotdump_snapshot::linux::core::{ProcessNotes, read_notes};

use super::folder::Folder;
use super::gather::ThreadFacts;
use super::{Before, Hold, StoppedProcess, refusal};
use crate::{CaptureError, CaptureOptions};

/// The process `id` (`%P` of `core_pattern`), of which `thread` (`%i`) got the signal that ends it, where that is known:
/// `core` is standard input, of which as much is read as needed. Until this program ends, nothing else may read it.
///
/// [`StoppedProcess::resume`] does nothing to such a process but tell the time since this was called.
///
/// # Errors
/// [`CaptureError`].
pub fn crashed(
    id: u32,
    thread: Option<u32>,
    mut core: &mut dyn Read,
    options: &CaptureOptions,
) -> Result<StoppedProcess, CaptureError> {
    let since = Instant::now();
    let folder = Folder::open(id).map_err(|error| refusal::of_opening(id, error))?;
    let mut findings = Findings::default();
    let notes = read_notes(&mut core, &mut findings)?;
    let names = Names::read(&folder)?;
    let first = notes.threads.first().map(|thread| thread.id);
    let crashed = thread
        .or(notes.signal.as_ref().map(|signal| signal.thread_id))
        .or(first);
    // The main thread may have ended before; that which crashed has not.
    let main = crashed
        .and_then(|thread| names.outside(thread))
        .map_or_else(|| folder.clone(), |thread| folder.thread(thread));
    let ProcessNotes {
        architecture,
        threads,
        signal,
        guesses,
        ..
    } = notes;
    let mut before = Before::look(&folder, &main, options)?;
    before.gathered.architecture = architecture;
    let mut threads: Vec<LinuxThread> = threads
        .into_iter()
        .map(|thread| with_facts(thread, &folder, &names, options))
        .collect();
    // The core has the thread that crashed first.
    threads.sort_by_key(|thread| thread.id != id);
    let signal = signal.map(|mut signal| {
        let thread = crashed.unwrap_or(signal.thread_id);
        signal.thread_id = names.outside(thread).unwrap_or(thread);
        signal
    });
    Ok(StoppedProcess {
        snapshot: before.into_process(&folder, &main, threads, signal, guesses)?,
        notes: findings
            .as_slice()
            .iter()
            .map(|finding| format!("the core of process {id}: {finding}"))
            .collect(),
        hold: Hold::Crashed(since, OnceLock::new()),
    })
}

/// The same thread with what the system tells of it, and by the id that it has here.
fn with_facts(thread: LinuxThread, folder: &Folder, names: &Names, options: &CaptureOptions) -> LinuxThread {
    let Some(id) = names.outside(thread.id) else {
        return thread;
    };
    let facts = ThreadFacts::read(folder, id);
    LinuxThread {
        id,
        name: facts.name.or(thread.name),
        stat: facts.stat.or(thread.stat),
        affinity: facts.affinity.or(thread.affinity),
        xstate: thread.xstate.filter(|_| options.extended_state),
        ..thread
    }
}

/// The ids of threads in the namespace of their process, which the core has, and here.
struct Names {
    outside: HashMap<u32, u32>,
}

impl Names {
    fn read(folder: &Folder) -> Result<Self, CaptureError> {
        let threads = folder
            .threads()
            .map_err(|error| refusal::of_reading(folder.id(), "list the threads", error))?;
        let name_inside = |thread: u32| {
            let status = folder.thread(thread).status().ok()?;
            status.words("NSpid").last()?.parse().ok()
        };
        Ok(Self {
            outside: threads
                .into_iter()
                .map(|thread| (name_inside(thread).unwrap_or(thread), thread))
                .collect(),
        })
    }

    fn outside(&self, inside: u32) -> Option<u32> {
        self.outside.get(&inside).copied()
    }
}
