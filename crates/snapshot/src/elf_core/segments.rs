//! Program headers.

use dotdump_format::kernel::Machine;
use dotdump_format::{Error, FileOffset, Findings, PhysAddr, ReadAt};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, pod};

use super::refused;
use crate::placed_runs::{Placed, PlacedRunsBuilder};

/// More program headers than a core of a machine has: each stands for a range of memory. Above, a core is damaged.
const MOST_SEGMENTS: u64 = 1 << 20;

/// More note segments than any writer makes (it is one).
const MOST_NOTE_SEGMENTS: usize = 64;

/// Headers that are read at a time.
const CHUNK: u64 = 1 << 10;

/// What the program headers say.
pub(super) struct Segments<'a> {
    pub(super) machine: Machine,
    pub(super) runs: PlacedRunsBuilder<'a>,
    /// Where notes are, and how many bytes.
    pub(super) notes: Vec<(FileOffset, u64)>,
}

pub(super) fn read<'a>(source: &'a dyn ReadAt, findings: &mut Findings) -> Result<Segments<'a>, Error> {
    let mut ident = [0; 16];
    if source.size() < 64 {
        return Err(refused(
            0,
            "ELF header",
            format!("the file ends at {:#x}, within it", source.size()),
        ));
    }
    source.read_exact_at(FileOffset(0), &mut ident)?;
    match (&ident[..4], ident[4], ident[5]) {
        (b"\x7FELF", 1, 1) => read_of::<elf::FileHeader32<LittleEndian>>(source, findings),
        (b"\x7FELF", 2, 1) => read_of::<elf::FileHeader64<LittleEndian>>(source, findings),
        (b"\x7FELF", ..) => Err(refused(
            4,
            "ELF header",
            "a core of a big-endian or unknown machine".to_owned(),
        )),
        _ => Err(refused(
            0,
            "ELF header",
            format!("{:02x?} found, an ELF file's start expected", &ident[..4]),
        )),
    }
}

fn read_of<'a, Elf: FileHeader<Endian = LittleEndian>>(
    source: &'a dyn ReadAt,
    findings: &mut Findings,
) -> Result<Segments<'a>, Error> {
    let bytes = source.bytes(FileOffset(0), size_of::<Elf>())?;
    let (header, _) = pod::from_bytes::<Elf>(&bytes).map_err(|()| refused(0, "ELF header", "not whole".to_owned()))?;
    let endian = LittleEndian;
    if header.e_type(endian) != elf::ET_CORE {
        return Err(refused(16, "ELF header", "an ELF file, but no core".to_owned()));
    }
    let machine = match header.e_machine(endian) {
        elf::EM_386 => Machine::X86,
        elf::EM_X86_64 => Machine::Amd64,
        elf::EM_AARCH64 => Machine::Arm64,
        other => {
            let message = format!(
                "a core of a machine of type {}, which is not x86, x64 or ARM64",
                other.0
            );
            return Err(refused(18, "ELF header", message));
        }
    };
    let count = match header.e_phnum(endian) {
        elf::PN_XNUM => count_in_section::<Elf>(source, header.e_shoff(endian).into())?,
        count => u64::from(count),
    };
    let stride = size_of::<Elf::ProgramHeader>() as u64;
    if count > 0 && u64::from(header.e_phentsize(endian)) != stride {
        let message = format!(
            "program headers of {} bytes, {stride} expected",
            header.e_phentsize(endian)
        );
        return Err(refused(0, "ELF header", message));
    }
    let start: u64 = header.e_phoff(endian).into();
    let fits = source.size().saturating_sub(start) / stride;
    if count > fits.min(MOST_SEGMENTS) {
        let message =
            format!("{count} program headers expected, {fits} lie within the file; {MOST_SEGMENTS} are the most");
        findings.add(start, "program headers", message);
    }
    let count = count.min(fits).min(MOST_SEGMENTS);
    if count == 0 {
        return Err(refused(start, "program headers", "the core has none".to_owned()));
    }
    let mut segments = Segments {
        machine,
        runs: PlacedRunsBuilder::new(source, "PT_LOAD"),
        notes: Vec::new(),
    };
    let mut at = 0;
    while at < count {
        let now = CHUNK.min(count - at);
        let size = usize::try_from(now * stride).unwrap_or(0);
        let bytes = source.bytes(FileOffset(start + at * stride), size)?;
        let headers = pod::slice_from_all_bytes::<Elf::ProgramHeader>(&bytes).unwrap_or_default();
        for header in headers {
            segments.add(header, findings);
        }
        at += now;
    }
    Ok(segments)
}

impl Segments<'_> {
    fn add(&mut self, header: &impl ProgramHeader<Endian = LittleEndian>, findings: &mut Findings) {
        let endian = LittleEndian;
        let offset = FileOffset(header.p_offset(endian).into());
        let size = header.p_filesz(endian).into();
        match header.p_type(endian) {
            elf::PT_LOAD => {
                let start = PhysAddr(header.p_paddr(endian).into());
                self.runs.add(Placed { start, size, offset }, findings);
            }
            elf::PT_NOTE if self.notes.len() < MOST_NOTE_SEGMENTS => self.notes.push((offset, size)),
            _ => {}
        }
    }
}

/// The number of program headers where the file's header has no room for it: `sh_info` of the first section.
fn count_in_section<Elf: FileHeader<Endian = LittleEndian>>(source: &dyn ReadAt, at: u64) -> Result<u64, Error> {
    let size = size_of::<Elf::SectionHeader>();
    if at == 0 || at.checked_add(size as u64).is_none_or(|end| end > source.size()) {
        let message = "the number of program headers is in the first section's header, which is not there".to_owned();
        return Err(refused(at, "section header", message));
    }
    let bytes = source.bytes(FileOffset(at), size)?;
    let (section, _) = pod::from_bytes::<Elf::SectionHeader>(&bytes)
        .map_err(|()| refused(at, "section header", "not whole".to_owned()))?;
    Ok(u64::from(section.sh_info(LittleEndian)))
}
