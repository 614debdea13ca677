//! Letting the disk work while a file is still written.
//!
//! A system keeps what is written in memory, and waits long before it writes by itself. A file that has to be on the
//! disk before it gets its name would be copied first and written to the disk only then.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// How much is written before the disk is asked to start on it, in bytes. Small files need no help.
const STEP: u64 = 128 << 20;

/// Asks for a file's bytes to be on the disk, now and then, on a thread of its own.
#[derive(Default)]
pub(super) struct EarlySync {
    worker: Option<Worker>,
    /// Where the file ended when the disk was last asked.
    asked: u64,
    /// Whether there can be no thread, or is to be none.
    given_up: bool,
}

struct Worker {
    requests: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl EarlySync {
    /// Never asks.
    pub(super) fn disable(&mut self) {
        self.given_up = true;
    }

    /// The file reaches up to `position`.
    pub(super) fn passed(&mut self, position: u64, file: &File) {
        if position - self.asked < STEP || self.given_up {
            return;
        }
        self.asked = position;
        if self.worker.is_none() {
            self.worker = start(file).ok();
            self.given_up = self.worker.is_none();
        }
        if let Some(worker) = &self.worker {
            // A request that waits already covers this one; a thread that has failed tells so at the end.
            let _ = worker.requests.try_send(());
        }
    }

    /// Waits for what was asked for. The system tells an error of the disk only once, to whoever asks first: it must
    /// not be lost.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(Worker { requests, thread }) = self.worker.take() else {
            return Ok(());
        };
        drop(requests);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn start(file: &File) -> io::Result<Worker> {
    let file = file.try_clone()?;
    let (requests, asked) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("early-sync".to_owned())
        .spawn(move || asked.iter().try_for_each(|()| file.sync_data()))?;
    Ok(Worker { requests, thread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_asked_once_a_step() {
        let file = tempfile::tempfile().expect("a file");
        let mut early = EarlySync::default();
        early.passed(STEP - 1, &file);
        assert!(early.worker.is_none(), "small files need no help");
        for position in [STEP, STEP + 1, 2 * STEP, 9 * STEP] {
            early.passed(position, &file);
            assert!(early.worker.is_some());
            assert_eq!(early.asked / STEP, position / STEP);
        }
        early.finish().expect("the disk takes it");
        early.finish().expect("nothing is left to wait for");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_error_of_the_disk_is_told_at_the_end() {
        // A pipe has no disk behind it.
        let (_reader, writer) = io::pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut early = EarlySync::default();
        early.passed(STEP, &file);
        early.passed(2 * STEP, &file);
        early.finish().expect_err("it cannot be synchronized");
    }
}
