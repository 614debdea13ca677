//! Linux processes: what the kernel tells of them, in the terms of minidumps.
//!
//! A live process and an ELF core tell the same things in different places: registers as the kernel's register sets, the
//! map of the address space, the auxiliary vector, the signal. [`LinuxFacts`] are these things as they were read;
//! [`LinuxProcess`] shows them as a [`ProcessSnapshot`](crate::ProcessSnapshot).

mod auxv;
pub mod core;
mod counters;
mod elf_image;
pub mod facts;
mod handles;
mod link_map;
mod module_name;
pub mod modules;
mod process;
mod program_start;
pub(crate) mod regions;
pub mod registers;
pub mod signal;
mod system_info;
mod threads;
pub mod ucontext;
mod unloaded;
mod x87;

pub use facts::{LinuxArchitecture, LinuxFacts, LinuxHandle, LinuxSignal, LinuxSystem, LinuxThread, ThreadStat};
pub use modules::LinuxModules;
pub use process::LinuxProcess;
pub use program_start::ProgramStart;
