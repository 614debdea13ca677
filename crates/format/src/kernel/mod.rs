//! Kernel dumps: `PAGEDUMP` (32-bit Windows) and `PAGEDU64` (64-bit Windows).
//!
//! A kernel dump is a [`header`] of one or two pages, and behind it what the header's [`DumpType`] says: the pages
//! of physical memory, chosen by runs, a bitmap or ranges, or a small *triage* dump with copies of a few structures.
//! Secondary data may follow. Everything is little-endian.

pub mod bitmap;
pub mod context;
pub mod debugger_data;
pub mod debugger_data_encoding;
pub mod dump;
pub mod filler;
pub mod header;
pub mod loader;
pub mod machine;
pub mod pfn;
pub mod physical_memory;
pub mod range;
pub mod secondary_data;
pub mod shared_user_data;
pub mod special_registers;
pub mod summary;
pub mod triage;
pub mod version;

pub use bitmap::{BitmapLayout, PageBitmap};
pub use debugger_data::DebuggerData;
pub use dump::{Body, KernelDump};
pub use header::{DumpHeader32, DumpHeader64, DumpType, Header};
pub use machine::{Machine, MachineType};
pub use physical_memory::MemoryRun;
pub use range::{PageRanges, RangeLayout};
pub use secondary_data::SecondaryData;
pub use triage::{Triage, TriageDump, TriageFamily};
