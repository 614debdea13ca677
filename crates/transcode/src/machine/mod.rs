//! Dumps of machines: from anything that shows itself as a [`MachineSnapshot`] to a kernel dump.
//!
//! [`prepare`] chooses pages ([`select`]), derives the header ([`header`]) and lays the dump
//! out ([`plan`]); the plan is then written front to back. A [`manifest`] travels in the dump's secondary data, and
//! checksums of everything before them, which [`sums`] takes again. [`triage`] chooses what small dumps have.
//!
//! [`MachineSnapshot`]: dotdump_snapshot::MachineSnapshot

mod choose;
pub mod convert;
mod coverage;
pub mod header;
pub mod manifest;
pub mod plan;
pub mod report;
mod secondary;
pub mod select;
mod small;
pub mod sums;
pub mod triage;

pub use convert::{MachineConversion, prepare};
pub use coverage::Coverage;
pub use manifest::MachineManifest;
pub use report::MachineReport;
