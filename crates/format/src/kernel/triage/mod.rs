//! Triage dumps (`DumpType` 4): what Windows calls small memory dumps.
//!
//! Behind the [header](super::header) stands a [`TRIAGE_DUMP`](fixed), which gives the offset of every section: copies of
//! the `KPRCB`, `EPROCESS` and `ETHREAD` of the processor that stopped, its stack, the `KDDEBUGGER_DATA64`, lists of loaded and
//! unloaded drivers, and a table of [data blocks](data_blocks), pieces of memory by address. A marker, `TRGD`, ends it;
//! secondary data may follow.
//!
//! ```text
//! 0x0000  header, with CONTEXT and exception
//! 0x2000  TRIAGE_DUMP64 ──► all that follows (0x1000 and TRIAGE_DUMP32 in 32-bit dumps)
//!         DUMP_MM_STORAGE, unloaded drivers, KPRCB, EPROCESS, ETHREAD, stack, KDDEBUGGER_DATA64
//!         driver list ──► string pool
//!         data block table ──► data
//!         TRGD
//! ```
//!
//! Not everything is as Microsoft's headers would have it, which do not describe this type at all; layout and rules were
//! measured on eighteen real dumps of x86, x64 and ARM64 from Windows XP to build 26100 and agree with what rizin and
//! Ghidra read, where these agree with the files.

pub mod data_blocks;
pub mod driver_list;
mod family;
pub mod fixed;
pub mod mm_storage;
mod read;
pub mod section;
mod sign_extended;
mod stored_debugger_data;
pub mod string_pool;
#[cfg(test)]
mod tests;
pub mod unloaded_drivers;
mod write;

pub use data_blocks::StoredMemory;
pub use driver_list::{Driver, DriverEntry};
pub use family::TriageFamily;
pub use fixed::TriageFields;
pub(super) use fixed::{TriageDump32, TriageDump64};
pub use mm_storage::MmStorage;
pub use read::Triage;
pub use section::{Section, SectionKind};
pub use stored_debugger_data::as_debuggers_store;
pub use unloaded_drivers::UnloadedDriver;
pub use write::{Block, TriageDump};

/// The bytes of the valid marker.
pub const VALID_MARKER: [u8; 4] = *b"TRGD";

/// Windows XP makes all its triage dumps this long, in bytes, whatever is in them.
pub const XP_SIZE: u64 = 0x10000;

/// Dumps that the kernel of 64-bit Windows writes end on a multiple of this many bytes.
pub const CRASH_TIME_UNIT: u64 = 0x200;
