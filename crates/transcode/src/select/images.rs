//! Data and code segments of modules (`-md`, `-mc`).
//!
//! Which addresses they are stands in the headers of the image: those in the dump's own memory, or those of a file in
//! a folder of images. The bytes always come from the dump.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::minidump::codeview::CodeView;
use dotdump_format::{Error, VirtRange};
use dotdump_snapshot::{ModuleSnapshot, ProcessSnapshot, RangeSet, Region};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader};
use object::{Endianness, LittleEndian as LE, elf, pe};

use crate::shortfall::Shortfalls;

/// The bytes at the start of an image in which its headers are looked for. Real headers take 0x400 to 0x1000 bytes.
const HEADER_BYTES: usize = 64 << 10;

/// Which segments are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segments {
    /// Those that can be written (`IMAGE_SCN_MEM_WRITE`, `PF_W`).
    Data,
    /// Those with code (`IMAGE_SCN_CNT_CODE` or `IMAGE_SCN_MEM_EXECUTE`, `PF_X`).
    Code,
}

impl Segments {
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Data => "data segments",
            Self::Code => "code segments",
        }
    }

    /// The bit of a dump that holds such segments.
    const fn flag(self) -> MiniDumpType {
        match self {
            Self::Data => MiniDumpType::WITH_DATA_SEGS,
            Self::Code => MiniDumpType::WITH_CODE_SEGS,
        }
    }

    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Data => "-md",
            Self::Code => "-mc",
        }
    }

    fn wants_section(self, characteristics: pe::SectionFlags) -> bool {
        match self {
            Self::Data => characteristics.contains(pe::IMAGE_SCN_MEM_WRITE),
            Self::Code => {
                characteristics.contains(pe::IMAGE_SCN_CNT_CODE) || characteristics.contains(pe::IMAGE_SCN_MEM_EXECUTE)
            }
        }
    }

    fn wants_segment(self, flags: elf::ProgramFlags) -> bool {
        match self {
            Self::Data => flags.contains(elf::PF_W),
            Self::Code => flags.contains(elf::PF_X),
        }
    }

    fn wants_region(self, region: &Region) -> bool {
        match self {
            Self::Data => region.is_writable(),
            Self::Code => region.is_executable(),
        }
    }
}

/// The addresses of the wanted segments of all modules.
pub(crate) fn segments(
    snapshot: &dyn ProcessSnapshot,
    kind: Segments,
    folders: &ImageFolders,
    shortfalls: &mut Shortfalls,
) -> Result<RangeSet, Error> {
    let mut found = RangeSet::new();
    let mut unknown = Vec::new();
    let modules = snapshot.modules();
    let mut guessed = Vec::new();
    let flags = MiniDumpType::from_bits_retain(snapshot.header().flags.get());
    let is_cut_down = flags.contains(kind.flag()) && !flags.contains(MiniDumpType::WITH_FULL_MEMORY);
    for module in modules {
        match module_segments(snapshot, module, kind, folders)? {
            Some(ranges) => ranges.into_iter().for_each(|range| found.insert(range)),
            None if snapshot.has_regions() => guessed.push(module.range()),
            // What a dump with such segments has of an image was put there for them.
            None if is_cut_down => {
                for extent in snapshot.memory().extents(module.range()) {
                    found.insert(extent?.range);
                }
            }
            None => unknown.push(base_name(&module.name_text()).to_owned()),
        }
    }
    // Without headers the protection of an image's pages tells which of its sections they are.
    if !guessed.is_empty() {
        let images: Vec<VirtRange> = guessed.into_iter().collect::<RangeSet>().into_vec();
        for region in snapshot.regions() {
            let region = region?;
            if kind.wants_region(&region) {
                for part in dotdump_snapshot::ranges::clipped(&images, region.range) {
                    found.insert(part);
                }
            }
        }
    }
    if modules.is_empty() {
        shortfalls.warn(kind.option(), "the source has no list of modules");
    }
    let message = format!(
        "cannot locate the {} of modules whose headers are not in the source",
        kind.describe()
    );
    shortfalls.warn_for(kind.option(), &message, &unknown);
    found.settle();
    Ok(found)
}

fn module_segments(
    snapshot: &dyn ProcessSnapshot,
    module: &ModuleSnapshot,
    kind: Segments,
    folders: &ImageFolders,
) -> Result<Option<Vec<VirtRange>>, Error> {
    let image = module.range();
    let mut headers = vec![0; HEADER_BYTES.min(usize::try_from(image.size()).unwrap_or(HEADER_BYTES))];
    let there = snapshot.memory().read(image.start, &mut headers)?;
    headers.truncate(there);
    if let Some(segments) = parse(&headers, image, kind) {
        return Ok(Some(segments));
    }
    let build_id = match &module.cv_record {
        Some(blob) => match CodeView::parse(&snapshot.bytes(blob)?, snapshot.endian()) {
            CodeView::ElfBuildId(id) => Some(id),
            _ => None,
        },
        None => None,
    };
    Ok(folders
        .headers_of(module, build_id.as_deref())
        .and_then(|headers| parse(&headers, image, kind)))
}

/// The wanted segments of the image whose headers these are, cut to the image's addresses.
fn parse(headers: &[u8], image: VirtRange, kind: Segments) -> Option<Vec<VirtRange>> {
    let clip = |start: u64, size: u64| {
        let start = image.start.checked_add(start)?;
        VirtRange::sized(start, size).intersection(image)
    };
    if headers.starts_with(b"MZ") {
        let sections = PeHeaders::parse(headers)?.sections;
        let wanted = sections
            .iter()
            .filter(|section| kind.wants_section(section.characteristics));
        return Some(
            wanted
                .filter_map(|section| clip(section.address, section.size))
                .collect(),
        );
    }
    if headers.starts_with(&elf::ELFMAG) {
        let segments = elf_segments(headers)?;
        let first = segments.iter().map(|segment| segment.address).min()? & !0xFFF;
        let wanted = segments.iter().filter(|segment| kind.wants_segment(segment.flags));
        return Some(
            wanted
                .filter_map(|segment| clip(segment.address - first, segment.size))
                .collect(),
        );
    }
    None
}

struct PeSection {
    address: u64,
    size: u64,
    characteristics: pe::SectionFlags,
}

struct PeHeaders {
    time_date_stamp: u32,
    size_of_image: u32,
    sections: Vec<PeSection>,
}

impl PeHeaders {
    fn parse(data: &[u8]) -> Option<Self> {
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
            sections: sections
                .iter()
                .map(|section| PeSection {
                    address: u64::from(section.virtual_address.get(LE)),
                    size: u64::from(size(section)),
                    characteristics: section.characteristics.get(LE),
                })
                .collect(),
        })
    }
}

struct ElfSegment {
    address: u64,
    size: u64,
    flags: elf::ProgramFlags,
}

/// The loaded segments of an ELF image of either word size.
fn elf_segments(data: &[u8]) -> Option<Vec<ElfSegment>> {
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
fn elf_build_id(data: &[u8]) -> Option<Vec<u8>> {
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

/// The last part of a path of any system.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// Folders with the images of modules (`--image-path`).
#[derive(Clone, Debug, Default)]
pub struct ImageFolders {
    folders: Vec<PathBuf>,
}

impl ImageFolders {
    /// These folders, the first one first.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// The headers of the image that is `module`'s: a file of its name, the same build.
    fn headers_of(&self, module: &ModuleSnapshot, build_id: Option<&[u8]>) -> Option<Vec<u8>> {
        let name = module.name_text();
        let name = base_name(&name);
        self.folders
            .iter()
            .filter_map(|folder| file_named(folder, name))
            .find_map(|path| {
                let headers = first_bytes(&path)?;
                is_build_of(&headers, module, build_id).then_some(headers)
            })
    }
}

/// A file in `folder` whose name is `name`; Windows' names differ in case.
fn file_named(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if !name.is_empty() && exact.is_file() {
        return Some(exact);
    }
    let entries = std::fs::read_dir(folder).ok()?;
    let mut alike: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|other| other.to_string_lossy().eq_ignore_ascii_case(name))
        })
        .collect();
    alike.sort();
    alike.into_iter().next()
}

fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

fn is_build_of(headers: &[u8], module: &ModuleSnapshot, build_id: Option<&[u8]>) -> bool {
    if let Some(pe) = PeHeaders::parse(headers) {
        return pe.time_date_stamp == module.record.time_date_stamp.get()
            && pe.size_of_image == module.record.size_of_image.get();
    }
    build_id.is_some() && elf_build_id(headers).as_deref() == build_id
}
