//! Headers of images: which sections or segments they have, and which build they are.

use object::read::elf::{FileHeader, ProgramHeader};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader};
use object::{Endianness, LittleEndian as LE, elf, pe};

/// The bytes at the start of an image in which its headers are looked for. Real headers take 0x400 to 0x1000 bytes.
pub(crate) const HEADER_BYTES: usize = 64 << 10;

pub(crate) struct PeSection {
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// Where its bytes lie in the file, and how many of them.
    pub(crate) raw: (u64, u64),
    pub(crate) characteristics: pe::SectionFlags,
}

pub(crate) struct PeHeaders {
    pub(crate) time_date_stamp: u32,
    pub(crate) size_of_image: u32,
    pub(crate) image_base: u64,
    pub(crate) sections: Vec<PeSection>,
}

impl PeHeaders {
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let dos = pe::ImageDosHeader::parse(data).ok()?;
        let offset = u64::from(dos.nt_headers_offset());
        let magic_at = usize::try_from(offset).ok()?.checked_add(24)?;
        match u16::from_le_bytes(data.get(magic_at..magic_at.checked_add(2)?)?.try_into().ok()?) {
            pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC => Self::parse_as::<pe::ImageNtHeaders64>(data, offset),
            pe::IMAGE_NT_OPTIONAL_HDR32_MAGIC => Self::parse_as::<pe::ImageNtHeaders32>(data, offset),
            _ => None,
        }
    }

    fn parse_as<Pe: ImageNtHeaders>(data: &[u8], mut offset: u64) -> Option<Self> {
        let (headers, _) = Pe::parse(data, &mut offset).ok()?;
        let sections = headers.sections(data, offset).ok()?;
        let size = |section: &pe::ImageSectionHeader| match section.virtual_size.get(LE) {
            0 => section.size_of_raw_data.get(LE),
            size => size,
        };
        Some(Self {
            time_date_stamp: headers.file_header().time_date_stamp.get(LE),
            size_of_image: headers.optional_header().size_of_image(),
            image_base: headers.optional_header().image_base(),
            sections: sections
                .iter()
                .map(|section| PeSection {
                    address: u64::from(section.virtual_address.get(LE)),
                    size: u64::from(size(section)),
                    raw: (
                        u64::from(section.pointer_to_raw_data.get(LE)),
                        u64::from(section.size_of_raw_data.get(LE)),
                    ),
                    characteristics: section.characteristics.get(LE),
                })
                .collect(),
        })
    }
}

pub(crate) struct ElfSegment {
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// Where its bytes lie in the file, and how many of them.
    pub(crate) raw: (u64, u64),
    pub(crate) flags: elf::ProgramFlags,
}

/// The loaded segments of an ELF image of either word size.
pub(crate) fn elf_segments(data: &[u8]) -> Option<Vec<ElfSegment>> {
    fn read<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<Vec<ElfSegment>> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let programs = header.program_headers(endian, data).ok()?;
        let loaded = programs.iter().filter(|program| program.p_type(endian) == elf::PT_LOAD);
        Some(
            loaded
                .map(|program| ElfSegment {
                    address: program.p_vaddr(endian).into(),
                    size: program.p_memsz(endian).into(),
                    raw: (program.p_offset(endian).into(), program.p_filesz(endian).into()),
                    flags: program.p_flags(endian),
                })
                .collect(),
        )
    }
    match data.get(4)? {
        1 => read::<elf::FileHeader32<Endianness>>(data),
        2 => read::<elf::FileHeader64<Endianness>>(data),
        _ => None,
    }
}

/// The build id of an ELF image of either word size.
pub(crate) fn elf_build_id(data: &[u8]) -> Option<Vec<u8>> {
    fn read<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<Vec<u8>> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        for program in header.program_headers(endian, data).ok()? {
            let Ok(Some(mut notes)) = program.notes(endian, data) else {
                continue;
            };
            while let Ok(Some(note)) = notes.next() {
                if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                    return Some(note.desc().to_vec());
                }
            }
        }
        None
    }
    match data.get(4)? {
        1 => read::<elf::FileHeader32<Endianness>>(data),
        2 => read::<elf::FileHeader64<Endianness>>(data),
        _ => None,
    }
}
