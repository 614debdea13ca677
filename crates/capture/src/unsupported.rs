//! Systems whose processes cannot be captured.

use std::time::Duration;

use dotdump_snapshot::ProcessSnapshot;

use crate::{CaptureError, CaptureOptions, ProcessEntry};

/// The processes of this machine.
///
/// # Errors
/// [`CaptureError::Unsupported`].
pub fn processes() -> Result<Vec<ProcessEntry>, CaptureError> {
    Err(CaptureError::Unsupported)
}

/// A process that runs.
pub struct LiveProcess {
    id: u32,
}

impl LiveProcess {
    /// Opens a process, and gathers what need not be of one instant.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(id: u32, options: &CaptureOptions) -> Result<Self, CaptureError> {
        let _ = (id, options);
        Err(CaptureError::Unsupported)
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
        Err(CaptureError::Unsupported)
    }
}

/// A process that is stopped until this is dropped.
pub struct StoppedProcess {
    never: std::convert::Infallible,
}

impl StoppedProcess {
    /// What it is.
    #[must_use]
    pub fn snapshot(&self) -> &dyn ProcessSnapshot {
        match self.never {}
    }

    /// What could not be had of it, and what was guessed, as sentences for a report.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self.never {}
    }

    /// Lets it run on, and tells for how long it was stopped. What was not read of its memory before is no more of that
    /// instant. A second call does nothing and tells the same.
    pub fn resume(&self) -> Duration {
        match self.never {}
    }
}
