//! Data and code segments of modules (`-md`, `-mc`).
//!
//! Which addresses they are stands in the headers of the image: those in the dump's own memory, or those of a file in
//! a folder of images.

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::elf_headers::{ElfHeaders, MAX_HEADERS};
use dotdump_snapshot::{ModuleSnapshot, ProcessSnapshot, RangeSet, Region};
use object::{elf, pe};

use super::MemoryClass;
use super::image_folders::{ImageFolders, base_name, build_id_of};
use super::image_headers::PeHeaders;
use crate::options::MiniOptions;
use crate::shortfall::Shortfalls;

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
    pub(crate) const fn flag(self) -> MiniDumpType {
        match self {
            Self::Data => MiniDumpType::WITH_DATA_SEGS,
            Self::Code => MiniDumpType::WITH_CODE_SEGS,
        }
    }

    /// The option that asks for them.
    pub(crate) const fn option(self) -> MiniOptions {
        match self {
            Self::Data => MiniOptions::DATA_SEGMENTS,
            Self::Code => MiniOptions::CODE_SEGMENTS,
        }
    }

    /// Their class of memory.
    pub(crate) const fn class(self) -> MemoryClass {
        match self {
            Self::Data => MemoryClass::DataSegments,
            Self::Code => MemoryClass::CodeSegments,
        }
    }

    pub(crate) const fn letter(self) -> &'static str {
        match self {
            Self::Data => "-md",
            Self::Code => "-mc",
        }
    }

    pub(crate) fn wants_section(self, characteristics: pe::SectionFlags) -> bool {
        match self {
            Self::Data => characteristics.contains(pe::IMAGE_SCN_MEM_WRITE),
            Self::Code => {
                characteristics.contains(pe::IMAGE_SCN_CNT_CODE) || characteristics.contains(pe::IMAGE_SCN_MEM_EXECUTE)
            }
        }
    }

    pub(crate) fn wants_segment(self, flags: elf::ProgramFlags) -> bool {
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
    let mut bases: Vec<VirtAddr> = modules.iter().map(|module| module.range().start).collect();
    bases.sort_unstable();
    for module in modules {
        let next = bases.partition_point(|base| *base <= module.range().start);
        let next = bases.get(next).copied().unwrap_or(VirtAddr(u64::MAX));
        match module_segments(snapshot, module, next, kind, folders)? {
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
        shortfalls.warn(kind.letter(), "the source has no list of modules");
    }
    let message = format!(
        "cannot locate the {} of modules whose headers are not in the source",
        kind.describe()
    );
    shortfalls.warn_for(kind.letter(), &message, &unknown);
    found.settle();
    Ok(found)
}

/// The wanted segments of a module, which end before `next`, the base of the one above it.
fn module_segments(
    snapshot: &dyn ProcessSnapshot,
    module: &ModuleSnapshot,
    next: VirtAddr,
    kind: Segments,
    folders: &ImageFolders,
) -> Result<Option<Vec<VirtRange>>, Error> {
    let image = module.range();
    let mut headers = vec![0; MAX_HEADERS.min(usize::try_from(image.size()).unwrap_or(MAX_HEADERS))];
    let there = snapshot.memory().read(image.start, &mut headers)?;
    headers.truncate(there);
    if let Some(segments) = parse(&headers, image, next, kind) {
        return Ok(Some(segments));
    }
    let build_id = build_id_of(snapshot, module)?;
    let found = folders.find(module, build_id.as_deref());
    Ok(found.and_then(|(_, headers)| parse(&headers, image, next, kind)))
}

/// The wanted segments of the image whose headers these are, cut to the image's addresses. On Linux the pages of an ELF
/// image's variables that start as zeros (`.bss`) are no mapping of its file, and writers that go by these leave them out
/// of the image's size: such a segment may reach beyond it, up to the next module.
fn parse(headers: &[u8], image: VirtRange, next: VirtAddr, kind: Segments) -> Option<Vec<VirtRange>> {
    let clip_to = |bounds: VirtRange, start: u64, size: u64| {
        let start = image.start.checked_add(start)?;
        VirtRange::sized(start, size).intersection(bounds)
    };
    let clip = |start, size| clip_to(image, start, size);
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
        let elf = ElfHeaders::parse(headers)?;
        let first = elf.loaded().map(|segment| segment.address).min()? & !0xFFF;
        let wanted = elf.loaded().filter(|segment| kind.wants_segment(segment.flags));
        return Some(
            wanted
                .filter_map(|segment| {
                    let has_zeros = segment.size > segment.raw.1;
                    let end = if has_zeros { next.max(image.end) } else { image.end };
                    clip_to(VirtRange::new(image.start, end), segment.address - first, segment.size)
                })
                .collect(),
        );
    }
    None
}
