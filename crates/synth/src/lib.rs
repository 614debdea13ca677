//! Makes the physical memory of NT-like machines, with the ground truth of everything in it.
//!
//! A [`MachineBuilder`] says what a machine is to be like: how its page tables are built, how much memory it has and
//! where, how many processors, processes and threads, of which build its structures are. [`MachineBuilder::build`]
//! makes it: a [`SynthMachine`], which is [physical memory](dotdump_snapshot::PhysicalMemory) and knows what is in it
//! ([`GroundTruth`]). Pages that nobody wrote to take no room, so that machines of many gigabytes cost little.
//!
//! ```
//! use dotdump_snapshot::paging::PagingMode;
//! use dotdump_synth::{MachineBuilder, Space};
//!
//! let machine = MachineBuilder::new(PagingMode::FourLevel).seed(1).processors(4).encode_debugger_data(true).build()?;
//! assert_eq!(machine.truth.processes[0].process.name, "System");
//!
//! // The kernel's image starts where the list of modules says.
//! let mut magic = [0; 2];
//! machine.read_kernel(machine.truth.modules[0].base, &mut magic);
//! assert_eq!(&magic, b"MZ");
//! # Ok::<(), dotdump_synth::BuildError>(())
//! ```
//!
//! # What is in a machine
//!
//! The kernel's image with exports and the record that names its symbols; `KDDEBUGGER_DATA64`, plain or encoded, with
//! the code that decodes it; `KPCR`, `KPRCB` and saved registers of each processor; loaded and unloaded modules;
//! processes with threads, kernel stacks, trap frames, environment blocks and loaders' lists, one of them a 32-bit
//! program; `KUSER_SHARED_DATA`; page-table entries and pages in every state; the PFN database.
//!
//! # What it proves, and what it does not
//!
//! It proves that readers and writers handle what is described here, and that a smaller dump tells the same as a bigger
//! one. It is not Windows: what pages a real machine has, what its pool, VADs and stacks look like and what WinDbg
//! thinks of a dump, it cannot tell. The same hands made it and the readers: the layouts are checked against real dumps
//! by other tests.
#![forbid(unsafe_code)]

mod allocator;
mod build;
mod builder;
mod context;
mod debugger_data;
pub mod dump;
mod entry;
pub mod error;
pub mod header;
pub mod hostile;
mod image;
mod kernel_image;
mod kernel_memory;
mod loader;
pub mod machine;
mod modules;
mod pfn_database;
mod places;
mod process;
pub mod process_core;
mod processor;
mod profile;
pub mod ram;
pub mod random;
mod section;
mod shared_user_data;
mod thread;
pub mod truth;
mod user;
mod world;

pub use builder::MachineBuilder;
pub use dump::Dump;
pub use error::BuildError;
pub use header::HeaderStyle;
pub use machine::SynthMachine;
pub use ram::{MemoryMap, Ram};
pub use random::Random;
pub use truth::{GroundTruth, Space};
