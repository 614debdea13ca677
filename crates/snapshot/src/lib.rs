//! What a process was at one instant.
#![deny(unsafe_code)]

pub mod file;
mod map;
pub mod memory;
pub mod minidump;
pub mod process;
pub mod ranges;
pub mod regions;

pub use file::DumpFile;
pub use memory::{Extent, Memory};
pub use minidump::MinidumpSnapshot;
pub use process::{Blob, Content, ModuleSnapshot, ProcessSnapshot, ThreadSnapshot};
pub use ranges::RangeSet;
pub use regions::Region;
