//! Headers of ELF images of either word size and byte order.

use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use object::{Endianness, elf};

/// The bytes at the start of an image in which its headers are looked for.
pub const MAX_HEADERS: usize = 64 << 10;

/// A program header: a segment of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfSegment {
    /// What it is: `PT_*`.
    pub kind: elf::ProgramType,
    /// What may be done with it: `PF_*`.
    pub flags: elf::ProgramFlags,
    /// Its address, as linked.
    pub address: u64,
    /// Its size in memory, in bytes.
    pub size: u64,
    /// Where its bytes lie in the file, and how many of them.
    pub raw: (u64, u64),
    /// Its alignment in bytes.
    pub align: u64,
}

/// Where the section headers lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionTable {
    /// File offset of the first.
    pub offset: u64,
    /// How many there are.
    pub count: u16,
    /// The size of one in bytes.
    pub entry_size: u16,
    /// Which of them holds the names.
    pub names: u16,
}

/// The headers of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfHeaders {
    /// Whether it is of 64 bits.
    pub is_64: bool,
    /// Its byte order.
    pub endian: Endianness,
    /// What it is: `ET_*`.
    pub kind: elf::FileType,
    /// Its entry point, as linked; 0 for none.
    pub entry: u64,
    /// Its segments, in the order of their headers.
    pub segments: Vec<ElfSegment>,
    /// Its section headers; `None` where it has none.
    pub sections: Option<SectionTable>,
}

impl ElfHeaders {
    /// The headers in the bytes at the start of an image; `None` where these are no ELF image's, or too few.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        match data.get(4)? {
            1 => Self::parse_as::<elf::FileHeader32<Endianness>>(data),
            2 => Self::parse_as::<elf::FileHeader64<Endianness>>(data),
            _ => None,
        }
    }

    fn parse_as<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<Self> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, data).ok()?;
        let sections = SectionTable {
            offset: header.e_shoff(endian).into(),
            count: header.e_shnum(endian),
            entry_size: header.e_shentsize(endian),
            names: header.e_shstrndx(endian).0,
        };
        Some(Self {
            is_64: header.is_type_64(),
            endian,
            kind: header.e_type(endian),
            entry: header.e_entry(endian).into(),
            segments: segments.iter().map(|segment| segment_of(segment, endian)).collect(),
            sections: (sections.offset > 0 && sections.count > 0).then_some(sections),
        })
    }

    /// How many bytes the headers take from the start of the image, told by its first 64; `None` where these are no ELF
    /// image's.
    #[must_use]
    pub fn size(data: &[u8]) -> Option<u64> {
        fn read<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<u64> {
            let header = H::parse(data).ok()?;
            let endian = header.endian().ok()?;
            let table = u64::from(header.e_phentsize(endian)) * u64::from(header.e_phnum(endian));
            let end = Into::<u64>::into(header.e_phoff(endian)).checked_add(table)?;
            Some(end.max(header.e_ehsize(endian).into()))
        }
        match data.get(4)? {
            1 => read::<elf::FileHeader32<Endianness>>(data),
            2 => read::<elf::FileHeader64<Endianness>>(data),
            _ => None,
        }
    }

    /// The segments that are loaded (`PT_LOAD`).
    pub fn loaded(&self) -> impl Iterator<Item = &ElfSegment> {
        self.segments_of(elf::PT_LOAD)
    }

    /// The segments of a kind.
    pub fn segments_of(&self, kind: elf::ProgramType) -> impl Iterator<Item = &ElfSegment> {
        self.segments.iter().filter(move |segment| segment.kind == kind)
    }

    /// The build id in `file`, the bytes at the start of the image's file.
    #[must_use]
    pub fn build_id(&self, file: &[u8]) -> Option<Vec<u8>> {
        self.segments_of(elf::PT_NOTE).find_map(|segment| {
            let (start, size) = segment.raw;
            let notes = usize::try_from(start).ok()?..usize::try_from(start.checked_add(size)?).ok()?;
            self.build_id_in(file.get(notes)?, segment.align)
        })
    }

    /// The build id in the bytes of a `PT_NOTE` segment with this alignment.
    #[must_use]
    pub fn build_id_in(&self, notes: &[u8], align: u64) -> Option<Vec<u8>> {
        // Notes look the same in images of 32 bits.
        let mut notes = NoteIterator::<elf::FileHeader64<Endianness>>::new(self.endian, align, notes).ok()?;
        while let Ok(Some(note)) = notes.next() {
            if note.name() == elf::ELF_NOTE_GNU && note.n_type(self.endian) == elf::NT_GNU_BUILD_ID {
                return Some(note.desc().to_vec());
            }
        }
        None
    }
}

fn segment_of<P: ProgramHeader<Endian = Endianness>>(header: &P, endian: Endianness) -> ElfSegment {
    ElfSegment {
        kind: header.p_type(endian),
        flags: header.p_flags(endian),
        address: header.p_vaddr(endian).into(),
        size: header.p_memsz(endian).into(),
        raw: (header.p_offset(endian).into(), header.p_filesz(endian).into()),
        align: header.p_align(endian).into(),
    }
}
