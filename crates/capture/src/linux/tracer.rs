//! The thread that traces.
//!
//! Tracing belongs to one thread of the operating system, and ends with it: the kernel then lets all that it traced run
//! on. So the tracing has a thread for itself, and whatever happens to this program, nothing stays stopped: a thread that
//! ends, a program that is killed, and a program that goes on are the same to the target.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dotdump_snapshot::linux::LinuxArchitecture;

use super::folder::Folder;
use super::priority::Precedence;
use super::ptrace::{self, State};
use super::refusal;
use super::registers::{self, Registers};
use crate::CaptureError;

/// What to stop, and what to read.
pub(super) struct Wanted {
    /// The process.
    pub(super) folder: Folder,
    /// The processor whose registers it has.
    pub(super) architecture: LinuxArchitecture,
    /// Whether to read registers beyond those of a CONTEXT.
    pub(super) extended_state: bool,
    /// For how long to wait until all threads are stopped.
    pub(super) timeout: Duration,
}

/// The threads of a process that is stopped.
#[derive(Default)]
pub(super) struct StoppedThreads {
    /// Those that run the program's code, by id, with their registers where they could be had.
    pub(super) threads: Vec<(u32, Registers)>,
    /// What could not be had.
    pub(super) notes: Vec<String>,
}

/// A process that is stopped until this is dropped.
pub(super) struct Tracer {
    held: Mutex<Held>,
}

enum Held {
    Stopped {
        /// Dropped to let the target run on.
        release: Sender<()>,
        thread: JoinHandle<Duration>,
        /// That of the thread that stopped it, which is the one to read it.
        precedence: Option<Precedence>,
    },
    Released(Duration),
}

impl Tracer {
    /// Stops the threads of a process, and reads their registers.
    pub(super) fn stop(wanted: Wanted) -> Result<(Self, StoppedThreads), CaptureError> {
        let id = wanted.folder.id();
        // The thread that is started inherits it.
        let precedence = Precedence::take();
        let (outcome_sender, outcome) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("tracer".to_owned())
            .spawn(move || trace(&wanted, &outcome_sender, &released))
            .map_err(|source| CaptureError::System {
                id,
                action: "start a thread to trace the threads".to_owned(),
                source,
            })?;
        // The thread sends one outcome, and nothing only where it panicked.
        let threads = outcome.recv().unwrap_or(Err(CaptureError::Ended { id }))?;
        let held = Mutex::new(Held::Stopped {
            release,
            thread,
            precedence,
        });
        Ok((Self { held }, threads))
    }

    /// Lets the process run on, and tells for how long it was stopped. A second call only tells.
    pub(super) fn release(&self) -> Duration {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match std::mem::replace(&mut *held, Held::Released(Duration::ZERO)) {
            Held::Stopped {
                release,
                thread,
                precedence,
            } => {
                drop(release);
                let pause = thread.join().unwrap_or_default();
                drop(precedence);
                pause
            }
            Held::Released(pause) => pause,
        };
        *held = Held::Released(pause);
        pause
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.release();
    }
}

/// What the thread does: stop, report, wait, let go.
fn trace(wanted: &Wanted, outcome: &Sender<Result<StoppedThreads, CaptureError>>, released: &Receiver<()>) -> Duration {
    let mut traced = Traced {
        wanted,
        threads: HashMap::new(),
        order: Vec::new(),
        since: None,
    };
    let stopped = traced.stop().and_then(|notes| traced.registers(notes));
    let is_stopped = stopped.is_ok();
    if outcome.send(stopped).is_ok() && is_stopped {
        // Nothing is ever sent: this waits until the sender is gone.
        let _ = released.recv();
    }
    traced.release()
}

/// What is known of a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was asked to stop.
    Waiting,
    /// It is stopped; the signal is given back to it.
    Stopped { signal: i32 },
    /// It ended, or cannot be traced because it has no code of the program to run.
    Gone,
}

struct Traced<'a> {
    wanted: &'a Wanted,
    threads: HashMap<u32, Known>,
    /// The threads as the system lists them.
    order: Vec<u32>,
    /// When the first one was asked to stop.
    since: Option<Instant>,
}

impl Traced<'_> {
    /// Stops all threads, those included that are born meanwhile: a listing that is made when all known threads are
    /// stopped and shows no other one is complete. Tells what could not be stopped.
    fn stop(&mut self) -> Result<Vec<String>, CaptureError> {
        let id = self.wanted.folder.id();
        let mut notes = Vec::new();
        loop {
            let listed = self
                .wanted
                .folder
                .threads()
                .map_err(|error| refusal::of_reading(id, "list the threads", error))?;
            let new: Vec<u32> = listed
                .into_iter()
                .filter(|thread| !self.threads.contains_key(thread))
                .collect();
            if new.is_empty() {
                break;
            }
            for &thread in &new {
                let known = self.seize(thread, &mut notes)?;
                self.threads.insert(thread, known);
                self.order.push(thread);
            }
            let since = *self.since.get_or_insert_with(Instant::now);
            for thread in new {
                if self.threads.get(&thread) == Some(&Known::Waiting) && ptrace::interrupt(raw(thread)).is_err() {
                    self.threads.insert(thread, Known::Gone);
                }
            }
            self.wait_until(since + self.wanted.timeout);
        }
        if !self
            .threads
            .values()
            .any(|known| matches!(known, Known::Stopped { .. } | Known::Waiting))
        {
            return Err(CaptureError::Ended { id });
        }
        let waiting: Vec<u32> = self
            .order
            .iter()
            .copied()
            .filter(|thread| self.threads[thread] == Known::Waiting)
            .collect();
        for thread in waiting {
            let doing = if self.is_uninterruptible(thread) {
                ", for it waits for the system and cannot be interrupted"
            } else {
                ""
            };
            notes.push(format!(
                "thread {thread} did not stop{doing}: it has no registers, and may have changed memory meanwhile"
            ));
        }
        Ok(notes)
    }

    /// Starts to trace one thread.
    fn seize(&self, thread: u32, notes: &mut Vec<String>) -> Result<Known, CaptureError> {
        let Err(error) = ptrace::seize(raw(thread)) else {
            return Ok(Known::Waiting);
        };
        if error.raw_os_error() == Some(libc::ESRCH) {
            return Ok(Known::Gone);
        }
        // Threads that ended and those of the kernel are refused in the same way as those that one may not trace.
        let folder = self.wanted.folder.thread(thread);
        match folder.stat() {
            Ok(stat) if matches!(stat.state, 'Z' | 'X') => Ok(Known::Gone),
            Ok(stat) if refusal::is_of_kernel(&stat) => {
                notes.push(format!(
                    "thread {thread} ({}) is the kernel's own and was left out",
                    stat.comm
                ));
                Ok(Known::Gone)
            }
            Ok(_) => Err(refusal::of_tracing(&self.wanted.folder, &folder, error)),
            Err(_) => Ok(Known::Gone),
        }
    }

    /// Waits until the threads that were asked to are stopped, or until `deadline`.
    fn wait_until(&mut self, deadline: Instant) {
        let impatient = deadline - self.wanted.timeout * 9 / 10;
        /// Most threads stop within microseconds; after so many looks it is worth to sleep between them.
        const EAGER_LOOKS: u32 = 64;
        const SHORTEST_SLEEP: Duration = Duration::from_micros(20);
        const LONGEST_SLEEP: Duration = Duration::from_millis(1);

        let mut waiting: Vec<u32> = self
            .order
            .iter()
            .copied()
            .filter(|thread| self.threads[thread] == Known::Waiting)
            .collect();
        let mut looks = 0;
        let mut sleep = SHORTEST_SLEEP;
        loop {
            waiting.retain(|&thread| self.look(thread) == Known::Waiting);
            if waiting.is_empty() {
                return;
            }
            let now = Instant::now();
            // What waits for the system when it was asked long ago will do so for longer than anybody wants to wait.
            if now >= deadline || now >= impatient && waiting.iter().all(|&thread| self.is_uninterruptible(thread)) {
                return;
            }
            looks += 1;
            if looks < EAGER_LOOKS {
                thread::yield_now();
            } else {
                thread::sleep(sleep);
                sleep = (sleep * 2).min(LONGEST_SLEEP);
            }
        }
    }

    /// Whether a thread waits for the system in a way that ends neither by a signal nor by a tracer: for a disk, or for the
    /// end of `vfork`.
    fn is_uninterruptible(&self, thread: u32) -> bool {
        self.wanted
            .folder
            .thread(thread)
            .stat()
            .is_ok_and(|stat| stat.state == 'D')
    }

    /// Asks what a thread does that was waited for.
    fn look(&mut self, thread: u32) -> Known {
        let known = match ptrace::state(raw(thread)) {
            Ok(State::Running) => Known::Waiting,
            Ok(State::Stopped { signal }) => Known::Stopped { signal },
            Ok(State::Ended) => {
                if thread != self.wanted.folder.id() {
                    let _ = ptrace::reap(raw(thread));
                }
                Known::Gone
            }
            Err(_) => Known::Gone,
        };
        self.threads.insert(thread, known);
        known
    }

    /// The registers of the stopped threads.
    fn registers(&self, notes: Vec<String>) -> Result<StoppedThreads, CaptureError> {
        let mut stopped = StoppedThreads {
            threads: Vec::with_capacity(self.order.len()),
            notes,
        };
        for &thread in &self.order {
            match self.threads[&thread] {
                Known::Gone => {}
                Known::Waiting => stopped.threads.push((thread, Registers::default())),
                Known::Stopped { .. } => {
                    match registers::read(raw(thread), self.wanted.architecture, self.wanted.extended_state) {
                        Ok(registers) => stopped.threads.push((thread, registers)),
                        // It was killed while it was stopped.
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                        Err(error) => {
                            stopped
                                .notes
                                .push(format!("the registers of thread {thread} cannot be read: {error}"));
                            stopped.threads.push((thread, Registers::default()));
                        }
                    }
                }
            }
        }
        if stopped.threads.is_empty() {
            let id = self.wanted.folder.id();
            return Err(CaptureError::Ended { id });
        }
        Ok(stopped)
    }

    /// Lets all threads run on. Those that did not stop are let go by the kernel when this thread ends.
    fn release(mut self) -> Duration {
        for thread in std::mem::take(&mut self.order) {
            let known = match self.threads.get(&thread) {
                Some(Known::Waiting) => self.look(thread),
                Some(known) => *known,
                None => continue,
            };
            if let Known::Stopped { signal } = known {
                // What cannot be let go was killed.
                let _ = ptrace::detach(raw(thread), signal);
            }
        }
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

/// A thread's id as the kernel takes it; no thread has the number that stands for one that is too large.
fn raw(thread: u32) -> i32 {
    i32::try_from(thread).unwrap_or(i32::MAX)
}
