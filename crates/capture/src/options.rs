//! What to gather of a process.

use std::time::Duration;

/// What to gather beside threads, modules and memory: what takes time and is of no use to a dump without it is only had on
/// request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Open files or handles (`-mh`).
    pub handles: bool,
    /// Registers beyond those of a CONTEXT: AVX, AVX-512, AMX (`-my`).
    pub extended_state: bool,
    /// Unloaded modules (`-mu`).
    pub unloaded_modules: bool,
    /// Times and start addresses of threads (`-mt`).
    pub thread_info: bool,
    /// For how long to wait until all threads are stopped.
    pub stop_timeout: Duration,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            handles: true,
            extended_state: true,
            unloaded_modules: true,
            thread_info: true,
            stop_timeout: Duration::from_secs(5),
        }
    }
}
