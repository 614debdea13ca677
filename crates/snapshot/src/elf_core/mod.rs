//! ELF cores of a whole machine, as QEMU's `dump-guest-memory` writes them: each `PT_LOAD` is a part of physical memory,
//! and notes have the registers of the processors.
//!
//! With `paging=true` QEMU writes a program header for each range of addresses that a processor maps. They are 65,000
//! and more, their number does not fit the file's header and stands in the first section's, and several may show the
//! same pages. Virtual addresses of program headers are not used: they are those of all processors mixed.

pub(crate) mod headers;
mod segments;

use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{Error, FileOffset, Findings, ReadAt};

use crate::core_notes::{CoreNotes, CpuState};
use crate::placed_runs::{PlacedRuns, physical_memory_by};

/// The memory and the processors in an ELF core.
pub struct ElfCore<'a> {
    machine: Machine,
    memory: PlacedRuns<'a>,
    notes: CoreNotes,
    findings: Findings,
}

impl<'a> ElfCore<'a> {
    /// Opens an ELF core: reads its program headers and notes.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is no ELF core of an x86, x64 or ARM64 machine, or has no program headers;
    /// [`Error::Read`] where the medium fails.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let segments = segments::read(source, &mut findings)?;
        let mut notes = CoreNotes::default();
        for &(offset, size) in &segments.notes {
            let more = CoreNotes::read(source, offset, size, Some(segments.machine), &mut findings)?;
            notes.cpus.extend(more.cpus);
            notes.windows_header = notes.windows_header.or(more.windows_header);
            notes.vmcoreinfo = notes.vmcoreinfo.or(more.vmcoreinfo);
        }
        for (number, cpu) in (0..).zip(&mut notes.cpus) {
            cpu.number = number;
        }
        Ok(Self {
            machine: segments.machine,
            memory: segments.runs.finish(&mut findings),
            notes,
            findings,
        })
    }

    /// The processor: x86 where it ran 32-bit code when the core was written.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// The processors.
    #[must_use]
    pub fn cpus(&self) -> &[CpuState] {
        &self.notes.cpus
    }

    /// The dump header that Windows made for the monitor.
    #[must_use]
    pub const fn windows_header(&self) -> Option<&Header> {
        self.notes.windows_header.as_ref()
    }

    /// What a Linux kernel told the monitor.
    #[must_use]
    pub fn vmcoreinfo(&self) -> Option<&str> {
        self.notes.vmcoreinfo.as_deref()
    }

    /// What is wrong with the file.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }
}

physical_memory_by!(ElfCore, memory);

/// The error for a file that cannot be opened as a core.
pub(crate) fn refused(offset: u64, what: &'static str, message: String) -> Error {
    Error::malformed(FileOffset(offset), what, message)
}
