//! `inspect` for machines: kernel dumps and images of physical memory.

mod attributes;
mod blobs;
mod bugchecks;
mod contents;
mod header;
mod json;
mod rows;
mod summary;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use dotdump_format::{Error, Findings, VirtAddr};
use dotdump_snapshot::MachineSnapshot;
use dotdump_snapshot::machine::derive_header::LIVE_SYSTEM_DUMP;
use dotdump_snapshot::machine::{Bugcheck, KernelModule};

pub(super) use contents::Contents;
pub(super) use json::write;
pub(super) use summary::of;

use header::ExceptionRow;
use rows::PageFigures;

/// A machine that is being looked at.
pub(super) struct Machine<'a> {
    snapshot: &'a dyn MachineSnapshot,
    contents: Contents<'a>,
    findings: RefCell<Findings>,
}

impl<'a> Machine<'a> {
    /// Looks at a machine and at the file that shows it.
    pub(super) fn new(snapshot: &'a dyn MachineSnapshot, contents: Contents<'a>) -> Self {
        Self {
            snapshot,
            contents,
            findings: RefCell::default(),
        }
    }

    /// The value, or an error as a finding.
    fn keep<T>(&self, result: Result<T, Error>, what: &'static str) -> Option<T> {
        result
            .map_err(|error| self.findings.borrow_mut().push(error.into_finding(what)))
            .ok()
    }

    /// What was found until now.
    fn findings(&self) -> Findings {
        let mut findings = self.snapshot.findings();
        findings.append(self.findings.borrow().clone());
        findings
    }

    /// Its pages in figures; `None` for a source without pages.
    fn pages(&self) -> Option<PageFigures> {
        let memory = self.snapshot.physical_memory()?;
        self.keep(PageFigures::of(memory, self.contents.described), "physical memory")
    }

    /// Which kind of source it is, in JSON.
    fn kind(&self) -> &'static str {
        if self.contents.is_dump {
            "kernel-dump"
        } else {
            "physical-memory"
        }
    }

    /// Whether it is known to run Windows: other systems' memory can be looked at, too, and be put into a dump.
    fn is_windows(&self) -> bool {
        let header = self.snapshot.header();
        header.minor_version().is_some()
            || header.ps_loaded_module_list().is_some()
            || header.kd_debugger_data_block().is_some()
            || self.snapshot.debugger_data().is_some()
    }

    /// Why it stopped: as the machine's memory says, else the header.
    fn bugcheck(&self) -> Option<Bugcheck> {
        let header = self.snapshot.header();
        let told = || {
            Some(Bugcheck {
                code: header.bug_check_code()?,
                parameters: header.bug_check_parameters()?,
            })
        };
        // Of another system there is nothing to tell.
        let bugcheck = self.is_windows().then(|| self.snapshot.bugcheck().or_else(told))?;
        // The header of a source that has none of its own says this where nothing was noted: only of a dump it is a fact.
        bugcheck.filter(|bugcheck| self.contents.is_dump || bugcheck.code != LIVE_SYSTEM_DUMP)
    }

    /// The exception of the header; `None` where the header was not the source's own: its breakpoint is made up.
    fn exception(&self) -> Option<ExceptionRow> {
        let header = self.contents.is_dump.then(|| self.snapshot.header())?;
        ExceptionRow::of(header)
    }

    /// The module at an address.
    fn module_at(&self, address: u64) -> Option<&KernelModule> {
        let modules = self.snapshot.modules().iter();
        modules
            .into_iter()
            .find(|module| module.range().contains(VirtAddr(address)))
    }
}
