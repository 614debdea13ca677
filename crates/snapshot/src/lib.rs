//! What a process or a machine was at one instant.
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
//! # Machines
//!
//! A [`MachineSnapshot`] shows a whole machine: its header, physical memory, the kernel's address space and those of
//! processes, processors with their registers, loaded and unloaded modules, processes, the page frame database.
//! [`MachineFile`] tells kernel dumps of all types, ELF cores, kdump files and raw images apart and finds pages in them
//! ([`PhysicalMemory`]); [`MachineImage`] is the machine in such a file. Without symbols, all that the kernel tells
//! starts at its `KDDEBUGGER_DATA64` ([`machine::find_debugger_data`]).
//!
//! ```
//! use dotdump_format::kernel::{DumpType, Header, Machine, MemoryRun};
//! use dotdump_format::{Pfn, PhysAddr};
//! use dotdump_snapshot::machine::MachineOptions;
//! use dotdump_snapshot::{MachineFile, MachineImage, MachineSnapshot};
//!
//! // A complete dump with two pages, and no kernel in them. Of a file, give it a [`DumpFile`].
//! # let mut header = Header::unset(Machine::Amd64);
//! # header.set_physical_memory(&[MemoryRun { base_page: Pfn(0x100), page_count: 2 }])?;
//! # if let Header::Dump64(fields) = &mut header {
//! #     fields.machine_image_type = 0x8664.into();
//! #     fields.dump_type = DumpType::FULL.0.into();
//! # }
//! # let mut bytes = header.as_bytes().to_vec();
//! # bytes.extend([0x5A; 0x2000]);
//! let file = MachineFile::open(&bytes, &MachineOptions::default())?;
//! let machine = MachineImage::open(&file)?;
//!
//! // Physical memory: what is not there is never made up.
//! let memory = machine.physical_memory().expect("it is no triage dump");
//! let mut word = [0; 4];
//! assert_eq!(memory.read(PhysAddr(0x10_0010), &mut word)?, 4);
//! assert_eq!(word, [0x5A; 4]);
//! assert_eq!(memory.read(PhysAddr(0x10_2000), &mut word)?, 0);
//!
//! // What the kernel knows, as far as it is found.
//! for module in machine.modules() {
//!     let mut magic = [0; 2];
//!     let there = machine.kernel_memory().read(module.base, &mut magic)?;
//!     println!("{:#x} {} {:02x?}", module.base.0, module.name_text(), &magic[..there]);
//! }
//! for process in machine.processes() {
//!     println!("{} {}: page tables at {:#x}", process.id, process.name, process.directory_table_base.0);
//! }
//! assert!(!machine.findings().is_empty(), "there is no kernel in it");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An address is translated by [`AddressSpace`], which says at which level and why it fails; [`MachineProcess`] makes a
//! [`ProcessSnapshot`] of a process of a machine.
//!
//! # Damage
//!
//! A broken file is no reason to see nothing. What is wrong is gathered in [`ProcessSnapshot::findings`], each with its
//! place, and the rest is there.
#![deny(unsafe_code)]

pub mod core_notes;
pub mod detect;
pub mod elf_core;
pub mod elf_headers;
mod extent_memory;
pub mod file;
pub mod kdump;
pub mod kernel_dump;
pub mod linux;
pub mod machine;
pub mod machine_process;
mod map;
pub mod memory;
pub mod minidump;
pub mod page_set;
pub mod paging;
pub mod patched;
pub mod physical;
mod placed_runs;
pub mod process;
pub mod ranges;
pub mod raw_memory;
pub mod regions;
pub mod triage;
pub mod windows;

pub use file::DumpFile;
pub use kernel_dump::KernelDumpMemory;
pub use linux::LinuxProcess;
pub use machine::{MachineFile, MachineImage, MachineSnapshot};
pub use machine_process::MachineProcess;
pub use memory::{Extent, Memory};
pub use minidump::MinidumpSnapshot;
pub use page_set::PageSet;
pub use paging::AddressSpace;
pub use patched::PatchedMemory;
pub use physical::{PagePlace, PageRun, PhysicalMemory};
pub use process::{Blob, Content, ModuleSnapshot, ProcessSnapshot, ThreadSnapshot};
pub use ranges::RangeSet;
pub use regions::Region;
pub use triage::TriageMemory;
