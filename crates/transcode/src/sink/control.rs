//! What the work tells while it runs, and how it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SinkError;

/// A request to stop, shared between the one who asks (a signal, another thread) and the work, which looks at
/// it between chunks and then ends with [`SinkError::Cancelled`], cleaning up on its way.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Not asked to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler: setting it asks to stop.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Is told how far the output has come.
pub trait Progress {
    /// How many bytes the output will have. Told once, before any [`Progress::advance`], where it is known.
    fn total(&self, bytes: u64);

    /// That `bytes` more were written.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
impl Progress for () {
    fn total(&self, _bytes: u64) {}

    fn advance(&self, _bytes: u64) {}
}

/// What the work is connected to while it runs.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

impl<'a> Control<'a> {
    /// From its parts.
    #[must_use]
    pub const fn new(cancel: &'a Cancel, progress: &'a dyn Progress) -> Self {
        Self { cancel, progress }
    }

    /// To be called between chunks of work.
    ///
    /// # Errors
    /// [`SinkError::Cancelled`] where it was asked to stop.
    pub fn check(&self) -> Result<(), SinkError> {
        if self.cancel.is_cancelled() {
            Err(SinkError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Who is told how far the output has come.
    #[must_use]
    pub const fn progress(&self) -> &'a dyn Progress {
        self.progress
    }
}
