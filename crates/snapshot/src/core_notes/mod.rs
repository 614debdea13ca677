//! The notes of ELF cores and kdump files: processors, and what the guest told the monitor of itself.

mod cpu_state;
pub(crate) mod walk;

use std::ops::ControlFlow;

use dotdump_format::core_note::{NT_PRSTATUS, PrStatusAmd64, PrStatusArm64, PrStatusX86, QemuCpuState};
use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, Record};

pub use cpu_state::{CpuRegisters, CpuState};

/// Payloads above this size in bytes are not looked at.
const LARGEST_PAYLOAD: u32 = 1 << 20;

/// What the notes of a machine say.
#[derive(Clone, Debug, Default)]
pub struct CoreNotes {
    /// Its processors, in the order of the notes.
    pub cpus: Vec<CpuState>,
    /// The header of a dump, as Windows made it for the monitor: the note of the `fw_cfg` device's driver.
    pub windows_header: Option<Header>,
    /// What a Linux kernel says of itself.
    pub vmcoreinfo: Option<String>,
}

impl CoreNotes {
    /// Reads the `size` bytes of notes at `offset`.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub(crate) fn read(
        source: &dyn ReadAt,
        offset: FileOffset,
        size: u64,
        machine: Option<Machine>,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let mut notes = Self::default();
        let mut statuses = Vec::new();
        walk::walk(source, offset, size, findings, &mut |note, findings| {
            let Some(payload) = note.payload(source, LARGEST_PAYLOAD)? else {
                return Ok(ControlFlow::Continue(()));
            };
            let place = note.place;
            match (note.name(), note.note_type) {
                (b"QEMU", 0) => match QemuCpuState::read(&payload, Endian::Little) {
                    Some(state) if state.version.get() == 1 => notes.cpus.push(CpuState::from_qemu(state)),
                    _ => findings.add(place, "QEMU note", "440 bytes of version 1 expected".to_owned()),
                },
                (b"CORE", NT_PRSTATUS) => match status(&payload, machine) {
                    Some(registers) => statuses.push(registers),
                    None => findings.add(
                        place,
                        "CORE note",
                        format!(
                            "{:#x} bytes are not the registers of this machine's processors",
                            payload.len()
                        ),
                    ),
                },
                (b"VMCOREINFO", _) => notes.vmcoreinfo(&payload, place, findings),
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if notes.cpus.is_empty() {
            notes.cpus = statuses;
        }
        for (number, cpu) in (0..).zip(&mut notes.cpus) {
            cpu.number = number;
        }
        Ok(notes)
    }

    /// Takes what a guest told the monitor.
    pub(crate) fn vmcoreinfo(&mut self, payload: &[u8], place: FileOffset, findings: &mut Findings) {
        if payload.is_empty() {
            return;
        }
        let is_header = payload.starts_with(b"PAGE") && matches!(payload.len(), 0x1000 | 0x2000);
        if is_header {
            match Header::read(&payload) {
                Ok(header) if header.size() == payload.len() as u64 => self.windows_header = Some(header),
                Ok(_) => findings.add(place, "VMCOREINFO", "a dump header of the other width".to_owned()),
                Err(error) => findings.push(error.into_finding("VMCOREINFO")),
            }
            return;
        }
        let text = payload.split(|byte| *byte == 0).next().unwrap_or_default();
        match std::str::from_utf8(text) {
            Ok(text) => self.vmcoreinfo = Some(text.to_owned()),
            Err(_) => findings.add(place, "VMCOREINFO", "neither text nor a dump header".to_owned()),
        }
    }
}

/// The registers in a `CORE` note; of a machine that is not known, by its size.
fn status(payload: &[u8], machine: Option<Machine>) -> Option<CpuState> {
    let fits = |wanted: Machine, size: usize| machine.is_none_or(|it| it == wanted) && payload.len() == size;
    if fits(Machine::Amd64, PrStatusAmd64::SIZE) {
        PrStatusAmd64::read(payload, Endian::Little).map(|status| CpuState::from_amd64(&status))
    } else if fits(Machine::X86, PrStatusX86::SIZE) {
        PrStatusX86::read(payload, Endian::Little).map(|status| CpuState::from_x86(&status))
    } else if fits(Machine::Arm64, PrStatusArm64::SIZE) {
        PrStatusArm64::read(payload, Endian::Little).map(CpuState::from_arm64)
    } else {
        None
    }
}
