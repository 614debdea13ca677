//! Live processes as snapshots.
//!
//! [`LiveProcess::open`] looks at a process while it runs, and gathers all that need not be of one instant;
//! [`LiveProcess::stop`] stops its threads and gives a [`StoppedProcess`], whose
//! [`snapshot`](StoppedProcess::snapshot) a dump is written from. The process goes on when that is told to
//! [`resume`](StoppedProcess::resume), when it is dropped, and when the capturing program ends for whatever reason.
//!
//! The same names are there on Linux ([`linux`]) and on Windows; elsewhere [`LiveProcess::open`] refuses.

mod error;
#[cfg(target_os = "linux")]
pub mod linux;
mod options;
#[cfg(not(any(target_os = "linux", windows)))]
mod unsupported;
#[cfg(windows)]
pub mod windows;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(any(target_os = "linux", windows)))]
use unsupported as platform;
#[cfg(windows)]
use windows as platform;

pub use error::CaptureError;
pub use options::CaptureOptions;
pub use platform::{LiveProcess, StoppedProcess, processes};

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Its id.
    pub id: u32,
    /// The name of its program, without folders: on Linux the last part of the path of its executable (its `comm` where
    /// that cannot be read), on Windows the image's name.
    pub name: String,
}
