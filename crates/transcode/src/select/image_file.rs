//! Files of images: where their code lies, and what loading them changed.

use std::fs::File;

use dotdump_format::{FileOffset, VirtRange};
use dotdump_snapshot::elf_headers::{ElfHeaders, MAX_HEADERS};
use object::pe;
use object::read::ReadRef;
use object::read::pe::ImageNtHeaders;

use super::image_code::Relocation;
use super::image_headers::PeHeaders;
use super::segments::Segments;

/// Code as it lies in an image's file.
pub(crate) struct FileCode {
    pub(crate) range: VirtRange,
    pub(crate) offset: FileOffset,
}

/// Where an image's file has its code, and what loading it changed.
pub(crate) struct ImageLayout {
    pub(crate) code: Vec<FileCode>,
    /// In ascending order.
    pub(crate) relocations: Vec<Relocation>,
    /// The real base less the preferred one.
    pub(crate) delta: u64,
}

impl ImageLayout {
    /// The layout of an image that was loaded at `module`; `None` where the file is damaged.
    pub(crate) fn read(file: &File, module: VirtRange) -> Option<Self> {
        let cache = object::ReadCache::new(file);
        let start = cache.range(0, MAX_HEADERS as u64);
        let headers = start.read_bytes_at(0, start.len().ok()?.min(cache.len().ok()?)).ok()?;
        let code = |start: u64, size: u64, raw: (u64, u64)| {
            let start = module.start.checked_add(start)?;
            let range = VirtRange::sized(start, size.min(raw.1)).intersection(module)?;
            Some(FileCode {
                range,
                offset: FileOffset(raw.0),
            })
        };
        if headers.starts_with(b"MZ") {
            let pe = PeHeaders::parse(headers)?;
            let delta = module.start.0.wrapping_sub(pe.image_base);
            let wanted = pe
                .sections
                .iter()
                .filter(|section| Segments::Code.wants_section(section.characteristics));
            let code = wanted
                .filter_map(|section| code(section.address, section.size, section.raw))
                .collect();
            let relocations = if delta == 0 {
                Vec::new()
            } else {
                pe_relocations(&cache, module)?
            };
            return Some(Self {
                code,
                relocations,
                delta,
            });
        }
        let elf = ElfHeaders::parse(headers)?;
        let first = elf.loaded().map(|segment| segment.address).min()? & !0xFFF;
        let wanted = elf
            .loaded()
            .filter(|segment| Segments::Code.wants_segment(segment.flags));
        let code = wanted
            .filter_map(|segment| code(segment.address - first, segment.size, segment.raw))
            .collect();
        // Code of ELF images does not depend on its address; where it does, it is marked as such and rare.
        Some(Self {
            code,
            relocations: Vec::new(),
            delta: 0,
        })
    }
}

/// The relocations of a PE image, in ascending order; `None` where they are damaged.
fn pe_relocations<'a, R: ReadRef<'a>>(data: R, module: VirtRange) -> Option<Vec<Relocation>> {
    fn read<'a, Pe: ImageNtHeaders, R: ReadRef<'a>>(data: R, module: VirtRange) -> Option<Vec<Relocation>> {
        let dos = pe::ImageDosHeader::parse(data).ok()?;
        let mut offset = u64::from(dos.nt_headers_offset());
        let (headers, directories) = Pe::parse(data, &mut offset).ok()?;
        let sections = headers.sections(data, offset).ok()?;
        // An image without relocations can only be loaded at its preferred base.
        let mut blocks = directories.relocation_blocks(data, &sections).ok()??;
        let mut relocations = Vec::new();
        while let Some(block) = blocks.next().ok()? {
            for relocation in block {
                let size = match relocation.typ {
                    pe::IMAGE_REL_BASED_ABSOLUTE => continue,
                    pe::IMAGE_REL_BASED_HIGHLOW => 4,
                    pe::IMAGE_REL_BASED_DIR64 => 8,
                    _ => return None,
                };
                relocations.push(Relocation {
                    at: module.start.checked_add(relocation.virtual_address.into())?,
                    size,
                });
            }
        }
        relocations.sort_unstable();
        Some(relocations)
    }
    match data.read_bytes_at(0, 2).ok()? {
        b"MZ" => {
            read::<pe::ImageNtHeaders64, R>(data, module).or_else(|| read::<pe::ImageNtHeaders32, R>(data, module))
        }
        _ => None,
    }
}
