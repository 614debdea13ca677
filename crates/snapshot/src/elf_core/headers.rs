//! The program headers of an ELF core, of a machine or of a process.

use std::ops::ControlFlow;

use dotdump_format::kernel::Machine;
use dotdump_format::{Error, FileOffset, Findings, ReadAt};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, pod};

use super::refused;

/// Headers that are read at a time.
const CHUNK: u64 = 1 << 10;

/// The largest size of an ELF header in bytes.
pub(crate) const HEADER_SIZE: usize = size_of::<elf::FileHeader64<LittleEndian>>();

/// What the header of an ELF core says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The processor.
    pub(crate) machine: Machine,
    /// Whether its fields have 64 bits.
    pub(crate) is_64: bool,
    /// Where the program headers are.
    pub(crate) start: FileOffset,
    /// Their size in bytes.
    pub(crate) stride: u64,
    /// Their number; `None` where it stands in the header of the first section, which is at [`Self::sections`].
    pub(crate) count: Option<u64>,
    sections: u64,
}

/// What a program header is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// Memory (`PT_LOAD`).
    Load,
    /// Notes (`PT_NOTE`).
    Note,
    /// Something else.
    Other,
}

/// A program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: SegmentKind,
    pub(crate) offset: FileOffset,
    pub(crate) virtual_address: u64,
    pub(crate) physical_address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
    /// Whether it can be read, written, executed: `PF_R` (4), `PF_W` (2), `PF_X` (1).
    pub(crate) flags: u32,
}

impl Head {
    /// Reads the header of an ELF file.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is no ELF core of an x86, x64 or ARM64 machine; [`Error::Read`] where the medium
    /// fails.
    pub(crate) fn read(source: &dyn ReadAt) -> Result<Self, Error> {
        let mut ident = [0; 16];
        if source.size() < HEADER_SIZE as u64 {
            return Err(refused(
                0,
                "ELF header",
                format!("the file ends at {:#x}, within it", source.size()),
            ));
        }
        source.read_exact_at(FileOffset(0), &mut ident)?;
        match (&ident[..4], ident[4], ident[5]) {
            (b"\x7FELF", 1, 1) => Self::read_of::<elf::FileHeader32<LittleEndian>>(source),
            (b"\x7FELF", 2, 1) => Self::read_of::<elf::FileHeader64<LittleEndian>>(source),
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

    fn read_of<Elf: FileHeader<Endian = LittleEndian>>(source: &dyn ReadAt) -> Result<Self, Error> {
        let bytes = source.bytes(FileOffset(0), size_of::<Elf>())?;
        let (header, _) =
            pod::from_bytes::<Elf>(&bytes).map_err(|()| refused(0, "ELF header", "not whole".to_owned()))?;
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
        let stride = size_of::<Elf::ProgramHeader>() as u64;
        let entry_size = header.e_phentsize(endian);
        if header.e_phnum(endian) > 0 && u64::from(entry_size) != stride {
            let message = format!("program headers of {entry_size} bytes, {stride} expected");
            return Err(refused(0, "ELF header", message));
        }
        Ok(Self {
            machine,
            is_64: header.is_type_64(),
            start: FileOffset(header.e_phoff(endian).into()),
            stride,
            count: match header.e_phnum(endian) {
                elf::PN_XNUM => None,
                count => Some(u64::from(count)),
            },
            sections: header.e_shoff(endian).into(),
        })
    }

    /// The number of program headers where the file's header has no room for it: `sh_info` of the first section. Linux
    /// writes that one at the very end; where the file was cut, the notes tell, which follow the program headers.
    fn extended_count(&self, source: &dyn ReadAt) -> Result<u64, Error> {
        let size = match self.is_64 {
            true => size_of::<elf::SectionHeader64<LittleEndian>>(),
            false => size_of::<elf::SectionHeader32<LittleEndian>>(),
        };
        let at = self.sections;
        if at == 0 || at.checked_add(size as u64).is_none_or(|end| end > source.size()) {
            let message = "the number of program headers is in the first section's header, which is not there";
            let by_notes = self.count_by_notes(source)?;
            return by_notes.ok_or_else(|| refused(at, "section header", message.to_owned()));
        }
        let bytes = source.bytes(FileOffset(at), size)?;
        let count = match self.is_64 {
            true => section_info::<elf::SectionHeader64<LittleEndian>>(&bytes),
            false => section_info::<elf::SectionHeader32<LittleEndian>>(&bytes),
        };
        count.ok_or_else(|| refused(at, "section header", "not whole".to_owned()))
    }

    /// The number of program headers by the place of the notes, where Linux put them: behind the program headers.
    pub(crate) fn count_by_notes(&self, source: &dyn ReadAt) -> Result<Option<u64>, Error> {
        let mut first = None;
        self.for_each(source, 1, &mut |segment| {
            first = Some(segment);
            ControlFlow::Break(())
        })?;
        let Some(first) = first.filter(|first| first.kind == SegmentKind::Note) else {
            return Ok(None);
        };
        let size = first.offset.0.checked_sub(self.start.0);
        Ok(size
            .filter(|size| size % self.stride == 0)
            .map(|size| size / self.stride))
    }

    /// Calls `each` with the program headers, at most `most` of them, until it breaks off.
    ///
    /// # Errors
    /// [`Error::Malformed`] where there are none; [`Error::Read`] where the medium fails.
    pub(crate) fn segments(
        &self,
        source: &dyn ReadAt,
        most: u64,
        findings: &mut Findings,
        each: &mut dyn FnMut(Segment) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let start = self.start;
        let count = match self.count {
            Some(count) => count,
            None => self.extended_count(source)?,
        };
        let fits = source.size().saturating_sub(start.0) / self.stride;
        if count > fits.min(most) {
            let message = format!("{count} program headers expected, {fits} lie within the file; {most} are the most");
            findings.add(start, "program headers", message);
        }
        let count = count.min(fits).min(most);
        if count == 0 {
            return Err(refused(start.0, "program headers", "the core has none".to_owned()));
        }
        self.for_each(source, count, each)
    }

    fn for_each(
        &self,
        source: &dyn ReadAt,
        count: u64,
        each: &mut dyn FnMut(Segment) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < count {
            let now = CHUNK.min(count - at);
            let size = usize::try_from(now * self.stride).unwrap_or(0);
            let place = FileOffset(self.start.0.saturating_add(at * self.stride));
            if place.0.saturating_add(size as u64) > source.size() {
                break;
            }
            let bytes = source.bytes(place, size)?;
            let gone_on = match self.is_64 {
                true => all_of::<elf::ProgramHeader64<LittleEndian>>(&bytes, each),
                false => all_of::<elf::ProgramHeader32<LittleEndian>>(&bytes, each),
            };
            if gone_on.is_break() {
                break;
            }
            at += now;
        }
        Ok(())
    }
}

fn all_of<Phdr: ProgramHeader<Endian = LittleEndian>>(
    bytes: &[u8],
    each: &mut dyn FnMut(Segment) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let endian = LittleEndian;
    for header in pod::slice_from_all_bytes::<Phdr>(bytes).unwrap_or_default() {
        each(Segment {
            kind: match header.p_type(endian) {
                elf::PT_LOAD => SegmentKind::Load,
                elf::PT_NOTE => SegmentKind::Note,
                _ => SegmentKind::Other,
            },
            offset: FileOffset(header.p_offset(endian).into()),
            virtual_address: header.p_vaddr(endian).into(),
            physical_address: header.p_paddr(endian).into(),
            file_size: header.p_filesz(endian).into(),
            memory_size: header.p_memsz(endian).into(),
            flags: header.p_flags(endian).0,
        })?;
    }
    ControlFlow::Continue(())
}

fn section_info<Shdr: SectionHeader<Endian = LittleEndian>>(bytes: &[u8]) -> Option<u64> {
    let (section, _) = pod::from_bytes::<Shdr>(bytes).ok()?;
    Some(u64::from(section.sh_info(LittleEndian)))
}
