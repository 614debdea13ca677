//! The file formats of Windows crash dumps.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addr;
pub mod error;
pub mod layout;
pub mod minidump;
pub mod record;
pub mod source;
pub mod table;
#[cfg(test)]
mod test_dump;
pub mod time;

pub use addr::{FileOffset, Rva, VirtAddr, VirtRange};
pub use error::{Error, Finding, Findings};
pub use record::{Endian, Record};
pub use source::ReadAt;
pub use table::Table;
