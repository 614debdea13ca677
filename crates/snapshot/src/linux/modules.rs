//! The modules of a Linux process: programs, libraries and the kernel's own, by the map of the address space and the
//! dynamic linker's list.
//!
//! A module is an ELF header in memory: at the start of a file's mapping where some of the file is mapped as code, at an
//! address that the dynamic linker or the auxiliary vector names, or in memory without a file that holds code. It reaches
//! as far as its `PT_LOAD` segments do, memory without a file behind its data included. Files that are mapped whole to be
//! looked at, such as by debuggers, are none.

use std::collections::BTreeSet;

use dotdump_format::minidump::codeview::CodeView;
use dotdump_format::minidump::linux_auxv::{AuxvType, WordSize};
use dotdump_format::minidump::linux_dso_debug::LinuxDsoDebug;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::module_list::Module;
use dotdump_format::{Endian, Error, FileOffset, Findings, VirtAddr, VirtRange};

use super::auxv::Auxv;
use super::elf_image::{ElfImage, Found, PAGE};
use super::facts::LinuxArchitecture;
use super::link_map::LinkMap;
use super::module_name::{self, tells_nothing};
use super::regions::images;
use crate::memory::Memory;
use crate::process::{Blob, ModuleSnapshot};

/// The most modules; readers take no more than some thousand.
const MAX_MODULES: usize = 1 << 14;

/// The most mappings of one file that are told apart.
const MAX_OWN: usize = 64;

/// The modules of a process.
#[derive(Clone, Debug, Default)]
pub struct LinuxModules {
    /// The modules, the program first, then by address.
    pub modules: Vec<ModuleSnapshot>,
    /// What was looked into, whether it was a module or not.
    seen: Vec<Seen>,
    link_map: LinkMap,
}

/// What was read at an address, and the mappings by which it is known again.
#[derive(Clone, Debug)]
struct Seen {
    base: VirtAddr,
    own: Vec<LinuxMapping>,
    image: Option<Image>,
}

/// What is told of an image.
#[derive(Clone, Debug, Default)]
struct Image {
    /// Its size in memory by its headers.
    size: Option<u64>,
    /// Its build id, or what stands for it.
    id: Option<Vec<u8>>,
    soname: Option<Vec<u8>>,
}

impl LinuxModules {
    /// Finds the modules. What `known` already has of a module with the same mappings is taken from there, so that its
    /// headers and notes are not read a second time.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn find(
        architecture: LinuxArchitecture,
        mappings: &[LinuxMapping],
        auxv: &[u8],
        memory: &dyn Memory,
        known: &Self,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let auxv = Auxv::parse(auxv, WordSize::from(architecture.to_minidump()));
        let link_map = LinkMap::read(&auxv, memory)?;
        let map = Map::new(mappings);
        let mut found = Self::default();
        let mut end = VirtAddr(0);
        for base in candidates(&map, mappings, &auxv, &link_map) {
            let Some(index) = map.index_of(base).filter(|_| base >= end) else {
                continue;
            };
            if found.modules.len() >= MAX_MODULES {
                findings.add(
                    FileOffset(0),
                    "modules",
                    format!("more than {MAX_MODULES}; the rest is left out"),
                );
                break;
            }
            let own = map.own(index);
            let image = match known.image(base, &own) {
                Some(image) => image.clone(),
                None => look(architecture, memory, base, &own)?,
            };
            if let Some(image) = &image {
                let range = map.extent(base, index, &own, image.size);
                end = range.end;
                found.modules.push(module(range, &own, image, &link_map, &auxv));
            }
            found.seen.push(Seen {
                base,
                own: own.into_iter().cloned().collect(),
                image,
            });
        }
        found.put_program_first(&auxv);
        found.link_map = link_map;
        Ok(found)
    }

    /// What the dynamic linker knows of the objects; `None` where there is none, such as in a static program.
    #[must_use]
    pub fn dso_debug(&self) -> Option<&LinuxDsoDebug> {
        self.link_map.debug.as_ref()
    }

    fn image(&self, base: VirtAddr, own: &[&LinuxMapping]) -> Option<&Option<Image>> {
        let at = self.seen.binary_search_by_key(&base, |seen| seen.base).ok()?;
        let seen = &self.seen[at];
        let same = seen.own.len() == own.len() && seen.own.iter().zip(own).all(|(seen, own)| seen == *own);
        same.then_some(&seen.image)
    }

    fn put_program_first(&mut self, auxv: &Auxv) {
        let holds = |entry| {
            let address = VirtAddr(auxv.value(entry)?);
            self.modules.iter().position(|module| module.range().contains(address))
        };
        if let Some(program) = holds(AuxvType::PHDR).or_else(|| holds(AuxvType::ENTRY)) {
            self.modules[..=program].rotate_right(1);
        }
    }
}

/// The mappings in ascending order.
struct Map<'m>(Vec<&'m LinuxMapping>);

impl<'m> Map<'m> {
    /// Of mappings that overlap, only a damaged source's, the one that starts first counts.
    fn new(mappings: &'m [LinuxMapping]) -> Self {
        let mut sorted: Vec<&LinuxMapping> = mappings.iter().collect();
        sorted.sort_by_key(|mapping| mapping.range);
        let mut end = VirtAddr(0);
        sorted.retain(|mapping| {
            let is_apart = mapping.range.start >= end && !mapping.range.is_empty();
            if is_apart {
                end = mapping.range.end;
            }
            is_apart
        });
        Self(sorted)
    }

    /// The mapping that holds `address`.
    fn index_of(&self, address: VirtAddr) -> Option<usize> {
        let index = self.0.partition_point(|mapping| mapping.range.end <= address);
        self.0.get(index)?.range.contains(address).then_some(index)
    }

    /// The mappings of the file that the mapping at `index` begins, itself first: up to where another file comes, or the
    /// same one from its start. Where only headers came so far, which some linkers give a segment of their own, the start
    /// of the file that follows them is the code.
    fn own(&self, index: usize) -> Vec<&'m LinuxMapping> {
        let first = self.0[index];
        let mut own = vec![first];
        let Some(file) = first.file() else { return own };
        for mapping in &self.0[index + 1..] {
            if mapping.file() == Some(file) {
                let only_headers = own.iter().all(|own| !own.permissions.execute && !own.permissions.write);
                let touches = own.last().is_some_and(|last| last.range.end == mapping.range.start);
                let begins_again = mapping.offset <= first.offset && !(only_headers && touches);
                if begins_again || own.len() >= MAX_OWN {
                    break;
                }
                own.push(mapping);
            } else if is_foreign(mapping) {
                break;
            }
        }
        own
    }

    /// The addresses of the module at `base`: as many as its headers say, or those of its file's mappings, and none of
    /// another file.
    fn extent(&self, base: VirtAddr, index: usize, own: &[&LinuxMapping], size: Option<u64>) -> VirtRange {
        let mapped = own.last().map_or(base, |last| last.range.end);
        let wanted = match size {
            Some(size) if size > 0 => base.saturating_add(size),
            _ => mapped,
        };
        let others = self.0[index + 1..]
            .iter()
            .take_while(|mapping| mapping.range.start < wanted);
        let file = own.first().and_then(|first| first.file());
        let other = others
            .into_iter()
            .find(|mapping| is_foreign(mapping) && mapping.file() != file);
        let end = other.map_or(wanted, |other| other.range.start);
        let most = u64::from(u32::MAX) / PAGE * PAGE;
        VirtRange::new(base, end.min(base.saturating_add(most)))
    }
}

/// Whether a mapping between those of an image belongs to something else. The linker and the program put memory without
/// a file there, the kernel may call it a heap, and copies of code in huge pages lie in files that only exist in memory.
fn is_foreign(mapping: &LinuxMapping) -> bool {
    match mapping.special_name() {
        Some(name) => name != b"[heap]" && !name.starts_with(b"[anon:"),
        None => mapping.file().is_some_and(|file| !tells_nothing(file)),
    }
}

/// Where modules may begin, ascending.
fn candidates(map: &Map<'_>, mappings: &[LinuxMapping], auxv: &Auxv, link_map: &LinkMap) -> BTreeSet<VirtAddr> {
    let images = images(mappings);
    let mut candidates = BTreeSet::new();
    for (index, mapping) in map.0.iter().enumerate() {
        let next = map.0.get(index + 1);
        let is_candidate = match (mapping.file(), mapping.special_name()) {
            (Some(file), _) => images.binary_search(&file).is_ok(),
            (None, Some(name)) => name == b"[vdso]",
            (None, None) => {
                let code_follows = next.is_some_and(|next| {
                    next.permissions.execute && next.file().is_none() && next.range.start == mapping.range.end
                });
                mapping.permissions.execute || code_follows
            }
        };
        if is_candidate && mapping.permissions.read {
            candidates.insert(mapping.range.start);
        }
    }
    let told = [AuxvType::BASE, AuxvType::SYSINFO_EHDR].map(|entry| auxv.value(entry));
    let program = auxv.value(AuxvType::PHDR).map(|headers| headers - headers % PAGE);
    candidates.extend(told.into_iter().flatten().chain(program).map(VirtAddr));
    for object in &link_map.objects {
        if object.addr != 0 {
            candidates.insert(VirtAddr(object.addr));
        }
        // Where its addresses do not start at 0, its file's mappings tell where it begins.
        let Some(mut index) = map.index_of(VirtAddr(object.ld)) else {
            continue;
        };
        let file = map.0[index].file();
        while file.is_some() && index > 0 && map.0[index - 1].file() == file {
            index -= 1;
        }
        candidates.insert(map.0[index].range.start);
    }
    candidates
}

/// What lies at `base`; `None` where it is no image.
fn look(
    architecture: LinuxArchitecture,
    memory: &dyn Memory,
    base: VirtAddr,
    own: &[&LinuxMapping],
) -> Result<Option<Image>, Error> {
    let image = match ElfImage::read(memory, architecture.word_size(), base)? {
        Found::Image(image) => image,
        Found::Other => return Ok(None),
        Found::Absent => {
            // A core may leave out what files hold, and other dumps nearly everything.
            let is_image = own.first().is_some_and(|first| {
                let is_program = first.offset == 0
                    && first.file().is_some_and(|file| !tells_nothing(file))
                    && own.iter().any(|mapping| mapping.permissions.execute);
                first.range.start == base && (is_program || module_name::is_vdso(first))
            });
            return Ok(is_image.then(Image::default));
        }
    };
    let address_of = |offset: u64| {
        let first = own.first()?.offset;
        own.iter().find_map(|mapping| {
            let at = offset.checked_add(first)?.checked_sub(mapping.offset)?;
            (at < mapping.range.size()).then(|| mapping.range.start.0.saturating_add(at))
        })
    };
    let id = match image.build_id()? {
        Some(id) => Some(id),
        None => image.text_hash(address_of)?,
    };
    Ok(Some(Image {
        size: image.size(),
        id,
        soname: image.soname()?,
    }))
}

/// The record of a module.
fn module(range: VirtRange, own: &[&LinuxMapping], image: &Image, link_map: &LinkMap, auxv: &Auxv) -> ModuleSnapshot {
    let linked = link_map
        .objects
        .iter()
        .find(|object| range.contains(VirtAddr(object.ld)));
    let is_vdso = auxv.value(AuxvType::SYSINFO_EHDR) == Some(range.start.0);
    let name = module_name::choose(&module_name::Sources {
        mapping: own.first().copied(),
        soname: image.soname.as_deref(),
        linked: linked.and_then(|object| object.name.as_deref()),
        is_vdso,
        base: range.start,
    });
    let record = Module {
        base_of_image: range.start.0.into(),
        size_of_image: u32::try_from(range.size()).unwrap_or(u32::MAX).into(),
        version_info: module_name::version(&name, image.soname.as_deref()),
        ..Module::default()
    };
    ModuleSnapshot {
        record,
        name: Some(name.encode_utf16().collect()),
        cv_record: image
            .id
            .clone()
            .map(|id| Blob::Bytes(CodeView::ElfBuildId(id).to_bytes(Endian::Little))),
        misc_record: None,
    }
}
