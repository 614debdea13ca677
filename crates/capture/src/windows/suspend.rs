//! Stopping a process.
//!
//! Since Windows 11 (and Server 2022) a process can be stopped by an object: it runs on when the last handle of that object
//! is closed, and the system closes those of a program that ends for whatever reason. Where there is no such object
//! `NtSuspendProcess` counts every thread up, and nobody counts it down again when the capturing program is killed while
//! the process is stopped: that time is kept short, and another program can undo it (`NtResumeProcess`, or "Resume" in a
//! task manager).
//!
//! Attaching as a debugger would make the system let the process go as well, but starts a thread in it, and waits for
//! that thread: in a process whose loader lock is held, the one case in which a dump is wanted most, that never ends.

use std::io;
use std::os::windows::io::{AsHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::native::{check, functions, missing, raw};

/// `PROCESS_STATE_ALL_ACCESS` (`ntpsapi.h`).
const STATE_ALL_ACCESS: u32 = 0x1F_0001;
/// `ProcessStateChangeSuspend`.
const SUSPEND: u32 = 0;

/// How a process is held.
enum Hold {
    /// By an object that holds it as long as it is open.
    Object(#[expect(dead_code, reason = "held for its end")] OwnedHandle),
    /// By a count.
    Count(Arc<OwnedHandle>),
}

/// A process that is stopped until this is dropped.
pub(super) struct Suspension {
    hold: Option<Hold>,
    since: Instant,
}

impl Suspension {
    /// Stops all threads of a process.
    pub(super) fn new(process: &Arc<OwnedHandle>) -> io::Result<Self> {
        let since = Instant::now();
        let hold = match by_object(process) {
            Ok(object) => Hold::Object(object),
            Err(_) => by_count(process)?,
        };
        Ok(Self {
            hold: Some(hold),
            since,
        })
    }

    /// Lets the process run on; tells for how long it was stopped.
    pub(super) fn end(mut self) -> Duration {
        self.release();
        self.since.elapsed()
    }

    fn release(&mut self) {
        if let Some(Hold::Count(process)) = self.hold.take()
            && let Some(resume) = functions().resume_process
        {
            // SAFETY: the handle is open, and this process was counted up once.
            let _ = unsafe { resume(raw(process.as_handle())) };
        }
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        self.release();
    }
}

fn by_object(process: &OwnedHandle) -> io::Result<OwnedHandle> {
    let create = functions().create_process_state_change.ok_or_else(missing)?;
    let change = functions().change_process_state.ok_or_else(missing)?;
    let process = raw(process.as_handle());
    let mut object = ptr::null_mut();
    // SAFETY: the process is open, the object is written in place, and no attributes are passed.
    check(unsafe { create(&raw mut object, STATE_ALL_ACCESS, ptr::null(), process, 0) })?;
    // SAFETY: the handle was just made, and nobody else has it.
    let object = unsafe { OwnedHandle::from_raw_handle(object) };
    // SAFETY: both handles are open, and no further information is passed.
    check(unsafe { change(raw(object.as_handle()), process, SUSPEND, ptr::null(), 0, 0) })?;
    Ok(object)
}

fn by_count(process: &Arc<OwnedHandle>) -> io::Result<Hold> {
    let suspend = functions().suspend_process.ok_or_else(missing)?;
    // SAFETY: the handle is open.
    check(unsafe { suspend(raw(process.as_handle())) })?;
    Ok(Hold::Count(Arc::clone(process)))
}
