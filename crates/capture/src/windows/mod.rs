//! Processes of Windows.
//!
//! A process is captured by a program of its own kind: the build for x64 captures 64-bit processes, and 32-bit ones in
//! their 64-bit view, as debuggers of the system do; the 32-bit build captures 32-bit ones.
//!
//! What a system lacks is left out, with a note where that loses something: older versions of Windows have no thread
//! names, Wine has no tokens of others. Each function that may be missing is looked up when the program runs.
#![allow(unsafe_code)]

mod context;
mod counters;
mod handles;
mod memory;
mod misc;
mod modules;
mod native;
mod object_names;
mod open;
mod processes;
mod snapshot;
mod suspend;
mod system;
mod system_memory;
mod threads;
mod token;
mod unloaded;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::misc_info::MiscInfoRecord;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::system_memory_info::SystemMemoryInfo;
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::token::TokenList;
use dotdump_format::minidump::{Header, MiniDumpType, SIGNATURE, VERSION_NUMBER};
use dotdump_format::{Findings, VirtAddr};
use dotdump_snapshot::ProcessSnapshot;

use crate::{CaptureError, CaptureOptions, ProcessEntry};
use memory::LiveMemory;
use snapshot::WindowsProcess;
use suspend::Suspension;

/// The processes of this machine.
///
/// # Errors
/// [`CaptureError::System`] where the system does not list them.
pub fn processes() -> Result<Vec<ProcessEntry>, CaptureError> {
    processes::list().map_err(|error| failed(0, "list the processes", error))
}

fn failed(id: u32, action: &str, source: io::Error) -> CaptureError {
    CaptureError::System {
        id,
        action: action.to_owned(),
        source,
    }
}

/// A process that runs.
pub struct LiveProcess {
    id: u32,
    options: CaptureOptions,
    handle: Arc<OwnedHandle>,
    environment_block: Option<VirtAddr>,
    system: (SystemInfo, Vec<u16>),
    system_memory: Option<SystemMemoryInfo>,
    misc: MiscInfoRecord,
    tokens: Option<TokenList<'static>>,
    handles: Option<HandleData>,
    extended_features: u64,
    notes: Vec<String>,
}

impl LiveProcess {
    /// Opens a process, and gathers what need not be of one instant: handles with their names, its token, the system.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(id: u32, options: &CaptureOptions) -> Result<Self, CaptureError> {
        let handle = Arc::new(open::open(id)?);
        let mut notes = Vec::new();
        let token = token::tokens(&handle, id);
        let (tokens, integrity) = match token {
            Ok((tokens, integrity)) => (Some(tokens), integrity),
            Err(error) => {
                notes.push(format!("the process's token cannot be read: {error}"));
                (None, None)
            }
        };
        let handles = if options.handles {
            match handles::handles(&handle, id, &mut notes) {
                Ok(handles) => Some(handles),
                Err(error) => {
                    notes.push(format!("the process's handles cannot be listed: {error}"));
                    None
                }
            }
        } else {
            None
        };
        let extended_features = if options.extended_state {
            context::extended_features()
        } else {
            0
        };
        Ok(Self {
            id,
            options: options.clone(),
            environment_block: modules::environment_block(&handle),
            system: system::system_info(),
            system_memory: system_memory::system_memory(),
            misc: misc::lasting(&handle, id, integrity),
            tokens,
            handles,
            extended_features,
            notes,
            handle,
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Stops it.
    ///
    /// # Errors
    /// [`CaptureError`]; it then runs as before.
    pub fn stop(self) -> Result<StoppedProcess, CaptureError> {
        let Self { id, handle, .. } = self;
        let fail = |action, error| failed(id, action, error);
        let before = threads::open_threads(&handle, id).map_err(|error| fail("list the threads", error))?;
        let counts = threads::suspend_counts(&before);
        drop(before);
        let suspension = Suspension::new(&handle).map_err(|error| fail("stop the threads", error))?;
        let opened = threads::open_threads(&handle, id).map_err(|error| fail("list the threads", error))?;
        let threads = threads::gather(&handle, &opened, &counts, self.extended_features);
        let regions = memory::regions(&handle).map_err(|error| fail("read the map", error))?;
        let memory = LiveMemory::new(Arc::clone(&handle), regions);
        let mut findings = Findings::default();
        let mut notes = self.notes;
        if opened.is_empty() {
            return Err(CaptureError::Ended { id });
        }
        for thread in &threads.without_registers {
            notes.push(format!("the registers of thread {thread} cannot be read"));
        }
        let modules = match self.environment_block {
            Some(peb) => modules::modules(&handle, peb, &memory, &mut findings),
            None => Vec::new(),
        };
        if modules.is_empty() {
            notes.push("the process has no list of modules yet: its loader has not run".to_owned());
        }
        let unloaded_modules = if self.options.unloaded_modules {
            unloaded::unloaded_modules(&memory, &modules)
        } else {
            None
        };
        let thread_infos = self.options.thread_info.then_some(threads.infos);
        Ok(StoppedProcess {
            process: WindowsProcess {
                memory,
                header: header(),
                system_info: self.system.0,
                service_pack: self.system.1,
                threads: threads.threads,
                thread_infos,
                thread_names: ThreadNames { names: threads.names },
                modules,
                unloaded_modules,
                misc_info: misc::misc_info(&handle, self.misc, threads.xstate),
                handles: self.handles,
                tokens: self.tokens,
                counters: counters::process(&handle),
                system_memory: self.system_memory,
                environment_block: self.environment_block,
                findings,
            },
            notes,
            suspension: RefCell::new(Some(suspension)),
            pause: Cell::default(),
        })
    }
}

/// The header of a dump of this moment.
fn header() -> Header {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    let flags = MiniDumpType::WITH_FULL_MEMORY
        .union(MiniDumpType::WITH_FULL_MEMORY_INFO)
        .union(MiniDumpType::WITH_THREAD_INFO);
    Header {
        signature: SIGNATURE.into(),
        version: VERSION_NUMBER.into(),
        time_date_stamp: u32::try_from(now).unwrap_or(0).into(),
        flags: flags.bits().into(),
        ..Header::default()
    }
}

/// A process that is stopped until this is dropped.
pub struct StoppedProcess {
    process: WindowsProcess,
    notes: Vec<String>,
    suspension: RefCell<Option<Suspension>>,
    pause: Cell<Duration>,
}

impl StoppedProcess {
    /// What it is.
    #[must_use]
    pub fn snapshot(&self) -> &dyn ProcessSnapshot {
        &self.process
    }

    /// What could not be had of it, and what was guessed, as sentences for a report.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets it run on, and tells for how long it was stopped. What was not read of its memory before is no more of that
    /// instant. A second call does nothing and tells the same.
    pub fn resume(&self) -> Duration {
        if let Some(suspension) = self.suspension.borrow_mut().take() {
            self.pause.set(suspension.end());
        }
        self.pause.get()
    }
}
