//! The dynamic linker's list of objects (`r_debug` and `link_map` of `link.h`), as it lies in the memory of a process.
//!
//! The auxiliary vector tells where the program's headers are, these where its dynamic section is, whose `DT_DEBUG`
//! leads to the list. All of it is memory that the program can write, so that every step is checked and none is taken
//! twice.

use std::collections::BTreeSet;

use dotdump_format::minidump::linux_auxv::AuxvType;
use dotdump_format::minidump::linux_dso_debug::{DsoLayout, LinkedObject, LinuxDsoDebug};
use dotdump_format::{Error, VirtAddr, VirtRange};
use object::elf;

use super::auxv::Auxv;
use super::elf_image::{WordReader, word_of};
use crate::memory::Memory;

/// The most objects that are followed: no program has so many.
const MAX_OBJECTS: usize = 1 << 14;

/// The most namespaces (`dlmopen`) that are followed: glibc has 16.
const MAX_NAMESPACES: usize = 64;

/// The most program headers of the program.
const MAX_PROGRAM_HEADERS: u64 = 256;

/// The list of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkMap {
    /// The list of the first namespace, and what stands in front of it.
    pub(super) debug: Option<LinuxDsoDebug>,
    /// The objects of all namespaces.
    pub(super) objects: Vec<LinkedObject>,
}

impl LinkMap {
    /// Follows the list.
    pub(super) fn read(auxv: &Auxv, memory: &dyn Memory) -> Result<Self, Error> {
        let reader = WordReader {
            memory,
            word: auxv.word.bytes(),
        };
        let mut found = Self::default();
        let Some(dynamic) = program_dynamic(auxv, &reader)? else {
            return Ok(found);
        };
        let section = reader.dynamic(dynamic)?;
        let Some(debug) = section.value(elf::DT_DEBUG).filter(|address| *address != 0) else {
            return Ok(found);
        };
        let mut seen = BTreeSet::new();
        let mut namespaces = BTreeSet::new();
        let mut next = debug;
        while next != 0 && namespaces.len() < MAX_NAMESPACES && namespaces.insert(next) {
            // r_version (padded to a word), r_map, r_brk, r_state (padded), r_ldbase.
            let Some([version, map, brk, _, ldbase]) = reader.words::<5>(next)? else {
                break;
            };
            // An int; the upper half is padding.
            let version = u32::try_from(version & 0xFFFF_FFFF).unwrap_or(0);
            if version == 0 {
                break;
            }
            let objects = objects(&reader, map, &mut seen)?;
            if found.debug.is_none() {
                found.debug = Some(LinuxDsoDebug {
                    layout: if reader.word == 8 {
                        DsoLayout::Natural64
                    } else {
                        DsoLayout::Bits32
                    },
                    version,
                    brk,
                    ldbase,
                    dynamic: dynamic.start.0,
                    dynamic_section: section.bytes.clone(),
                    objects: objects.clone(),
                });
            }
            found.objects.extend(objects);
            // r_debug_extended (version 2): r_next, for the namespaces of dlmopen.
            next = match version {
                2.. => reader
                    .words::<1>(next.saturating_add(5 * reader.word as u64))?
                    .map_or(0, |[next]| next),
                _ => 0,
            };
        }
        Ok(found)
    }
}

/// The dynamic section of the program.
fn program_dynamic(auxv: &Auxv, reader: &WordReader<'_>) -> Result<Option<VirtRange>, Error> {
    let value = |entry| auxv.value(entry);
    let (Some(headers), Some(size), Some(count)) =
        (value(AuxvType::PHDR), value(AuxvType::PHENT), value(AuxvType::PHNUM))
    else {
        return Ok(None);
    };
    let expected = if reader.word == 8 { 56 } else { 32 };
    if size != expected || count > MAX_PROGRAM_HEADERS {
        return Ok(None);
    }
    let bytes = reader.bytes(headers, size * count)?;
    let (mut bias, mut dynamic) = (None, None);
    for header in bytes.chunks_exact(usize::try_from(size).unwrap_or(usize::MAX)) {
        let number = |at: usize, size: usize| {
            let bytes = header.get(at..at + size).unwrap_or_default();
            word_of(bytes)
        };
        let kind = number(0, 4);
        // p_vaddr and p_memsz stand at 16 and 40, or at 8 and 20.
        let (address, memory_size) = match reader.word {
            8 => (number(16, 8), number(40, 8)),
            _ => (number(8, 4), number(20, 4)),
        };
        if kind == u64::from(elf::PT_PHDR.0) {
            bias = Some(headers.wrapping_sub(address));
        } else if kind == u64::from(elf::PT_DYNAMIC.0) {
            dynamic = Some((address, memory_size));
        }
    }
    // Without PT_PHDR the program is a static one that lies where it was linked to.
    let bias = bias.unwrap_or(0);
    let place = |(address, size): (u64, u64)| VirtRange::sized(VirtAddr(bias.wrapping_add(address)), size);
    Ok(dynamic.map(place))
}

/// The objects of one namespace.
fn objects(reader: &WordReader<'_>, map: u64, seen: &mut BTreeSet<u64>) -> Result<Vec<LinkedObject>, Error> {
    let mut objects = Vec::new();
    let mut next = map;
    while next != 0 && seen.len() < MAX_OBJECTS && seen.insert(next) {
        // l_addr, l_name, l_ld, l_next.
        let Some([addr, name, ld, after]) = reader.words::<4>(next)? else {
            break;
        };
        let name = reader.text(name)?;
        objects.push(LinkedObject {
            addr,
            ld,
            name: name.map(|name| String::from_utf8_lossy(&name).into_owned()),
        });
        next = after;
    }
    Ok(objects)
}
