//! What a process was at one instant.
//!
//! A [`ProcessSnapshot`] shows a process: its threads with their registers, its modules, its memory by address, the map
//! of its address space, and whatever else was recorded. Whoever makes a dump, compares two, or looks into one only
//! knows this trait. [`MinidumpSnapshot`] implements it over minidumps of any writer and either byte order; it smooths
//! what differs between them: lists with padding, memory in one list or two or only behind threads, ranges in no order,
//! sign-extended addresses, Linux' text instead of a list of regions.
//!
//! # Memory
//!
//! [`Memory`] gives the bytes at an address, or tells that they are not there; it never makes them up. A full dump can
//! have a million ranges: where its list is sorted, as Windows writes it, the list stays in the file and is searched
//! there, with a mark in memory for every few ranges.
//!
//! ```
//! use dotdump_format::{VirtAddr, VirtRange};
//! use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/crash-full.dmp");
//! let file = DumpFile::open(path.as_ref(), true)?;
//! let snapshot = MinidumpSnapshot::open(&file)?;
//!
//! // The program's ELF header lies where its module begins.
//! let module = &snapshot.modules()[0];
//! assert_eq!(module.name_text(), "/usr/bin/jobserver");
//! let mut magic = [0; 4];
//! assert_eq!(snapshot.memory().read(module.range().start, &mut magic)?, 4);
//! assert_eq!(&magic, b"\x7fELF");
//!
//! // Nothing is mapped at address 0, and the region around the crash's stack can be written.
//! assert_eq!(snapshot.memory().read(VirtAddr(0), &mut magic)?, 0);
//! let (exception, _) = snapshot.exception().expect("the program crashed");
//! let thread = snapshot.threads().iter().find(|thread| thread.record.thread_id == exception.thread_id).unwrap();
//! let stack = thread.stack().unwrap();
//! assert!(snapshot.region_at(stack.start)?.unwrap().is_read_write());
//!
//! // Everything that is there, in ascending order.
//! let all = VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX));
//! let bytes: u64 = snapshot.memory().extents(all).map(|extent| Ok(extent?.range.size())).sum::<Result<_, dotdump_format::Error>>()?;
//! assert_eq!(bytes, 10_018_816);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Damage
//!
//! A broken file is no reason to see nothing. What is wrong is gathered in [`ProcessSnapshot::findings`], each with its
//! place, and the rest is there.
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
