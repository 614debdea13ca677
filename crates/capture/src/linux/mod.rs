//! Processes of Linux.
//!
//! All that need not be of one instant is read while the process runs. Then its threads are stopped by ptrace, their
//! registers and the map of the address space are read, and the memory is left to be read by whoever writes the dump.
//!
//! System calls that were waiting go on by themselves when the process runs on, but for the few that the kernel ends
//! with `EINTR` after every stop (`epoll_wait`, `semop`, `sigtimedwait`, …: signal(7)), as after `SIGSTOP` and `SIGCONT`.

mod crashed;
mod folder;
mod gather;
mod handles;
mod mappings;
mod memory;
mod page_cache;
mod page_map;
mod priority;
mod process_vm;
mod processes;
mod ptrace;
mod refusal;
mod registers;
mod system;
mod tracer;

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use dotdump_format::Findings;
use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::time::unix_to_filetime;
use dotdump_snapshot::ProcessSnapshot;
use dotdump_snapshot::linux::{LinuxFacts, LinuxModules, LinuxProcess, LinuxSignal, LinuxThread};

use self::folder::Folder;
use self::gather::{Gathered, ThreadFacts};
use self::mappings::{Looked, Unreadable};
use self::memory::LiveMemory;
use self::page_map::PageMap;
use self::registers::Registers;
use self::tracer::{StoppedThreads, Tracer, Wanted};
use crate::{CaptureError, CaptureOptions};

pub use crashed::crashed;
pub use processes::processes;

/// Nobody waits longer for threads to stop; times stay far from their limits.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A process that runs.
pub struct LiveProcess {
    folder: Folder,
    /// The thread that still has memory: the main one in general.
    main: Folder,
    options: CaptureOptions,
    before: Before,
}

/// What was found before the stop.
struct Before {
    gathered: Gathered,
    looked: Looked,
    modules: LinuxModules,
}

impl LiveProcess {
    /// Opens a process, and gathers what need not be of one instant.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(id: u32, options: &CaptureOptions) -> Result<Self, CaptureError> {
        let folder = Folder::open(id).map_err(|error| refusal::of_opening(id, error))?;
        let main = refusal::check(&folder)?;
        let before = Before::look(&folder, &main, options)?;
        Ok(Self {
            folder,
            main,
            options: options.clone(),
            before,
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.folder.id()
    }

    /// Stops it.
    ///
    /// # Errors
    /// [`CaptureError`]; it then runs as before.
    pub fn stop(self) -> Result<StoppedProcess, CaptureError> {
        let Self {
            folder,
            main,
            options,
            mut before,
        } = self;
        let (mut tracer, mut stopped) = Tracer::stop(before.wanted(&folder, &options))?;
        if gather::read_auxv(&main) != before.gathered.auxv {
            // It executed another program since it was looked at.
            tracer.release();
            before = Before::look(&folder, &main, &options)?;
            (tracer, stopped) = Tracer::stop(before.wanted(&folder, &options))?;
        }
        let StoppedThreads { threads, notes } = stopped;
        let known = std::mem::take(&mut before.gathered.threads);
        let facts = |id| {
            known
                .get(&id)
                .cloned()
                .unwrap_or_else(|| ThreadFacts::read(&folder, id))
        };
        let threads = threads
            .into_iter()
            .map(|(id, registers)| thread(id, facts(id), registers))
            .collect();
        Ok(StoppedProcess {
            snapshot: before.into_process(&folder, &main, threads, None, Vec::new())?,
            notes,
            hold: Hold::Traced(tracer),
        })
    }
}

impl Before {
    fn look(folder: &Folder, main: &Folder, options: &CaptureOptions) -> Result<Self, CaptureError> {
        let mut before = Self {
            gathered: Gathered::read(folder, main, options)?,
            looked: Looked::default(),
            modules: LinuxModules::default(),
        };
        let now = before.memory(folder, main)?;
        // What this finds is worth a shorter pause and nothing else: modules that come and go meanwhile are found again.
        before.modules = LinuxModules::find(
            before.gathered.architecture,
            &now.mappings,
            &before.gathered.auxv,
            &now.memory,
            &LinuxModules::default(),
            &mut Findings::default(),
        )
        .unwrap_or_default();
        Ok(before)
    }

    /// What to stop.
    fn wanted(&self, folder: &Folder, options: &CaptureOptions) -> Wanted {
        Wanted {
            folder: folder.clone(),
            architecture: self.gathered.architecture,
            extended_state: options.extended_state,
            timeout: options.stop_timeout.min(LONGEST_TIMEOUT),
        }
    }

    /// The map of the address space and the memory as they are now.
    fn memory(&mut self, folder: &Folder, main: &Folder) -> Result<MemoryNow, CaptureError> {
        let file = main.file("mem").map_err(|error| refusal::of_memory(folder, error))?;
        let (text, mappings) = mappings::read(main).map_err(|error| refusal::of_memory(folder, error))?;
        if mappings.is_empty() {
            return Err(CaptureError::Ended { id: folder.id() });
        }
        let page_map = main.file("pagemap").ok();
        let guards = page_map
            .as_ref()
            .and_then(|file| file.try_clone().ok())
            .map(PageMap::new);
        // Any thread of a process stands for its memory.
        let unreadable = self.looked.look(main, &mappings, guards.as_ref());
        let mut absent = unreadable.empty.clone();
        absent.extend(&unreadable.withheld);
        let memory = LiveMemory::new(main.id(), file, page_map, &mappings, absent);
        Ok(MemoryNow {
            text,
            mappings,
            memory,
            unreadable,
        })
    }

    /// The process, now that it is stopped and its threads are known.
    fn into_process(
        mut self,
        folder: &Folder,
        main: &Folder,
        threads: Vec<LinuxThread>,
        signal: Option<LinuxSignal>,
        guesses: Vec<String>,
    ) -> Result<LinuxProcess<'static>, CaptureError> {
        let now = self.memory(folder, main)?;
        let Self { gathered, modules, .. } = self;
        let mut texts = gathered.texts;
        texts.push((StreamType::LINUX_MAPS, now.text));
        let facts = LinuxFacts {
            architecture: gathered.architecture,
            process_id: folder.id(),
            time: filetime_now(),
            threads,
            mappings: now.mappings,
            auxv: gathered.auxv,
            texts,
            handles: gathered.handles,
            system: gathered.system,
            boot_time: gathered.boot_time,
            ticks_per_second: gathered.ticks_per_second,
            signal,
            empty: now.unreadable.empty,
            unreadable: now.unreadable.withheld,
            guesses,
        };
        Ok(LinuxProcess::new(facts, Box::new(now.memory), &modules)?)
    }
}

/// The memory at one time.
struct MemoryNow {
    /// The text of the map.
    text: Vec<u8>,
    mappings: Vec<LinuxMapping>,
    memory: LiveMemory,
    unreadable: Unreadable,
}

fn thread(id: u32, facts: ThreadFacts, registers: Registers) -> LinuxThread {
    LinuxThread {
        id,
        name: facts.name,
        general: registers.general,
        floating_point: registers.floating_point,
        fxsave: registers.fxsave,
        xstate: registers.xstate,
        tls_base: registers.tls_base,
        stat: facts.stat,
        affinity: facts.affinity,
    }
}

/// The time as FILETIME.
fn filetime_now() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    unix_to_filetime(since_1970.as_secs()).unwrap_or(0) + u64::from(since_1970.subsec_nanos()) / 100
}

/// A process that is stopped until this is dropped.
pub struct StoppedProcess {
    snapshot: LinuxProcess<'static>,
    notes: Vec<String>,
    hold: Hold,
}

/// What keeps a process from running.
enum Hold {
    /// Its threads are traced.
    Traced(Tracer),
    /// The kernel waits until its core is read, since the time that is given, and goes on when this program ends; the
    /// pause that was told.
    Crashed(Instant, OnceLock<Duration>),
}

impl StoppedProcess {
    /// What it is.
    #[must_use]
    pub fn snapshot(&self) -> &dyn ProcessSnapshot {
        &self.snapshot
    }

    /// The same with what it was made from.
    #[must_use]
    pub const fn process(&self) -> &LinuxProcess<'static> {
        &self.snapshot
    }

    /// What could not be had of it, and what was guessed, as sentences for a report.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets it run on, and tells for how long it was stopped. What was not read of its memory before is no more of that
    /// instant. A second call does nothing and tells the same.
    pub fn resume(&self) -> Duration {
        match &self.hold {
            Hold::Traced(tracer) => tracer.release(),
            Hold::Crashed(since, told) => *told.get_or_init(|| since.elapsed()),
        }
    }
}
