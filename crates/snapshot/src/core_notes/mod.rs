//! The notes of ELF cores and kdump files: processors, and what the guest told the monitor of itself.

mod cpu_state;

use dotdump_format::core_note::{NT_PRSTATUS, NoteHeader, PrStatusAmd64, PrStatusArm64, PrStatusX86, QemuCpuState};
use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, Record};

pub use cpu_state::{CpuRegisters, CpuState};

/// Names and payloads above these sizes in bytes are not looked at.
const LARGEST_NAME: u32 = 64;
const LARGEST_PAYLOAD: u32 = 1 << 20;

/// More notes than any machine has processors.
const MOST_NOTES: usize = 1 << 16;

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
        let end = offset.0.saturating_add(size).min(source.size());
        if end.saturating_sub(offset.0) < size {
            findings.add(
                offset,
                "notes",
                format!("{size:#x} bytes of notes pass the end of the file"),
            );
        }
        let mut at = offset.0;
        for _ in 0..MOST_NOTES {
            if end.saturating_sub(at) < NoteHeader::SIZE as u64 {
                break;
            }
            let header = source.bytes(FileOffset(at), NoteHeader::SIZE)?;
            let header = NoteHeader::read_partial(&header, Endian::Little);
            let (name_size, payload_size) = (header.name_size.get(), header.payload_size.get());
            let name_at = at + NoteHeader::SIZE as u64;
            let payload_at = name_at + u64::from(name_size).next_multiple_of(4);
            let next = payload_at + u64::from(payload_size).next_multiple_of(4);
            if payload_at + u64::from(payload_size) > end {
                findings.add(
                    at,
                    "note",
                    format!("{payload_size:#x} bytes of it pass the end of the notes"),
                );
                break;
            }
            if name_size <= LARGEST_NAME && payload_size <= LARGEST_PAYLOAD {
                let name = source.bytes(FileOffset(name_at), small(name_size))?;
                let payload = source.bytes(FileOffset(payload_at), small(payload_size))?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let place = FileOffset(payload_at);
                match (name, header.note_type.get()) {
                    (b"QEMU", 0) => match QemuCpuState::read(&payload, Endian::Little) {
                        Some(state) if state.version.get() == 1 => notes.cpus.push(CpuState::from_qemu(state)),
                        _ => findings.add(place, "QEMU note", "440 bytes of version 1 expected".to_owned()),
                    },
                    (b"CORE", NT_PRSTATUS) => match status(&payload, machine) {
                        Some(registers) => statuses.push(registers),
                        None => findings.add(
                            place,
                            "CORE note",
                            format!("{payload_size:#x} bytes are not the registers of this machine's processors"),
                        ),
                    },
                    (b"VMCOREINFO", _) => notes.vmcoreinfo(&payload, place, findings),
                    _ => {}
                }
            }
            at = next;
        }
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

/// A size that was found to be small.
fn small(size: u32) -> usize {
    usize::try_from(size).unwrap_or(0)
}
