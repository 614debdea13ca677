//! Why a process cannot be captured.

use std::io;

/// Why a process cannot be captured. In each case it runs on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There is no process of this id.
    #[error("there is no process {id}")]
    NoSuchProcess {
        /// The id.
        id: u32,
    },
    /// It ended while it was looked at.
    #[error("process {id} ended while it was captured")]
    Ended {
        /// The id.
        id: u32,
    },
    /// It is of a kind that has no memory to dump.
    #[error("process {id} cannot be captured: {reason}")]
    NotCapturable {
        /// The id.
        id: u32,
        /// Why: a zombie, a thread of the kernel, a thread of another process, ….
        reason: String,
    },
    /// The system does not allow it.
    #[error("not allowed to {action} process {id}: {remedy}")]
    Denied {
        /// The id.
        id: u32,
        /// What was tried.
        action: &'static str,
        /// What can be done about it.
        remedy: String,
    },
    /// Another debugger has it.
    #[error("process {id} is already traced by process {tracer}{name}: detach that first", name = .name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default())]
    Traced {
        /// The id.
        id: u32,
        /// The other debugger.
        tracer: u32,
        /// Its name, where known.
        name: Option<String>,
    },
    /// The system failed to do something.
    #[error("cannot {action} of process {id}")]
    System {
        /// The id.
        id: u32,
        /// What was tried, such as `read the registers`.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// This system's processes cannot be captured.
    #[error("live processes can be captured on Linux and on Windows only")]
    Unsupported,
    /// The source cannot be read.
    #[error(transparent)]
    Read(#[from] dotdump_format::Error),
}
