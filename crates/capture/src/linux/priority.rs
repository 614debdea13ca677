//! Precedence over others while a process waits.

use rustix::process::{Pid, getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// The nice value that goes before all others (sched(7)).
const FIRST: i32 = -20;

/// A thread of this program that goes before others, where the system allows that (`CAP_SYS_NICE`), until this is dropped.
/// A process that waits for it waits for everything else that the processor has to do: above all for its own threads, of
/// which each that is let go could take the processor before the next one is.
#[derive(Debug)]
pub(super) struct Precedence {
    thread: Pid,
    before: i32,
}

impl Precedence {
    /// Lets the calling thread go first. `None` where that is not allowed, or is so already.
    pub(super) fn take() -> Option<Self> {
        let thread = gettid();
        let before = getpriority_process(Some(thread)).ok()?;
        (before > FIRST && setpriority_process(Some(thread), FIRST).is_ok()).then_some(Self { thread, before })
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        // A thread that has ended needs none.
        let _ = setpriority_process(Some(self.thread), self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_ends() {
        let nice = || getpriority_process(Some(gettid())).expect("its own");
        let before = nice();
        if let Some(precedence) = Precedence::take() {
            assert_eq!(nice(), FIRST);
            drop(precedence);
        }
        assert_eq!(nice(), before);
    }
}
