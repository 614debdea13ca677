//! The map of the address space, put together from a core's segments and its list of mapped files.

use dotdump_format::minidump::linux_auxv::AuxvType;
use dotdump_format::minidump::linux_mapping::{LinuxMapping, Permissions};
use dotdump_format::{Error, VirtAddr, VirtRange};

use super::super::elf_image::{ElfImage, Found, PAGE};
use super::super::facts::{LinuxArchitecture, LinuxThread};
use super::notes::{MappedFile, ProcessNotes};
use crate::elf_headers::{ElfHeaders, ElfSegment};
use crate::memory::Memory;

/// What a segment says of its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapped {
    pub(super) range: VirtRange,
    pub(super) permissions: Permissions,
}

/// The map of an address space.
pub(super) struct Map {
    /// The mappings, ascending and apart.
    pub(super) mappings: Vec<LinuxMapping>,
    /// How many of them are of files alone, without anything that tells what may be done with them.
    pub(super) without_segment: usize,
}

/// Where the kernel maps the page of its oldest calls on x86-64.
const VSYSCALL: VirtAddr = VirtAddr(0xFFFF_FFFF_FF60_0000);

/// The most bytes of paths in a map. A path is repeated for each segment of its file, so that a small core could have
/// very many of a long one.
const MOST_PATHS: usize = 64 << 20;

/// Puts the map together.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(super) fn map(segments: Vec<Mapped>, notes: &ProcessNotes, memory: &dyn Memory) -> Result<Map, Error> {
    let segments = apart(
        segments,
        |segment| segment.range,
        |segment, start| segment.range.start = start,
    );
    let files = apart(
        notes.files.clone(),
        |file| file.range,
        |file, start| {
            file.offset = file.offset.saturating_add(start.0 - file.range.start.0);
            file.range.start = start;
        },
    );
    let mut builder = Builder {
        mappings: Vec::new(),
        told: Told::BySegment,
        paths_left: MOST_PATHS,
    };
    builder.add_segments(&segments, &files);
    builder.add_files(&files, &segments);
    let mut mappings = builder.mappings;
    mappings.sort_by_key(|(mapping, _)| mapping.range.start);
    let without_segment = give_permissions(&mut mappings, notes.architecture, memory)?;
    let mut mappings: Vec<LinuxMapping> = mappings.into_iter().map(|(mapping, _)| mapping).collect();
    name(&mut mappings, notes);
    Ok(Map {
        mappings,
        without_segment,
    })
}

/// Gives the parts of ELF files that no segment has the permissions that the files' own headers ask for, which the core
/// mostly has. Tells of how many parts they are unknown.
fn give_permissions(
    mappings: &mut [(LinuxMapping, Told)],
    architecture: LinuxArchitecture,
    memory: &dyn Memory,
) -> Result<usize, Error> {
    let mut unknown = 0;
    let mut image: Option<(Vec<u8>, ElfHeaders)> = None;
    for (mapping, told) in mappings {
        let Some(path) = &mapping.path else { continue };
        if mapping.offset == 0 {
            image = match ElfImage::read(memory, architecture.word_size(), mapping.range.start)? {
                Found::Image(found) => Some((path.clone(), found.headers)),
                Found::Other | Found::Absent => None,
            };
        }
        if *told == Told::BySegment {
            continue;
        }
        let headers = image.as_ref().filter(|(of, _)| of == path).map(|(_, headers)| headers);
        let at = |segment: &&ElfSegment| {
            let (start, size) = segment.raw;
            let start = start - start % PAGE;
            (start..start.saturating_add(size).saturating_add(PAGE)).contains(&mapping.offset)
        };
        match headers.and_then(|headers| headers.loaded().filter(at).last()) {
            Some(segment) => mapping.permissions = permissions_of(segment.flags.0),
            None => unknown += 1,
        }
    }
    Ok(unknown)
}

/// The permissions of a segment: `PF_R` (4), `PF_W` (2), `PF_X` (1).
pub(super) const fn permissions_of(flags: u32) -> Permissions {
    Permissions {
        read: flags & 4 != 0,
        write: flags & 2 != 0,
        execute: flags & 1 != 0,
        shared: false,
    }
}

/// Sorts ranges; of those that lie over each other, the later ones lose what the earlier ones have.
fn apart<T>(mut all: Vec<T>, range: fn(&T) -> VirtRange, cut: fn(&mut T, VirtAddr)) -> Vec<T> {
    all.sort_by_key(|it| range(it).start);
    let mut end = VirtAddr(0);
    all.retain_mut(|it| {
        if range(it).end <= end || range(it).is_empty() {
            return false;
        }
        if range(it).start < end {
            cut(it, end);
        }
        end = range(it).end;
        true
    });
    all
}

/// What tells of a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    BySegment,
    ByFile,
}

struct Builder {
    mappings: Vec<(LinuxMapping, Told)>,
    told: Told,
    paths_left: usize,
}

impl Builder {
    /// Adds the segments, each in parts where files begin and end.
    fn add_segments(&mut self, segments: &[Mapped], files: &[MappedFile]) {
        let mut next = 0;
        for Mapped { range, permissions } in segments {
            while files.get(next).is_some_and(|file| file.range.end <= range.start) {
                next += 1;
            }
            let mut at = range.start;
            for file in &files[next..] {
                let Some(part) = file.range.intersection(*range) else {
                    break;
                };
                self.push(VirtRange::new(at, part.start), *permissions, None);
                self.push(part, *permissions, Some(file));
                at = part.end;
            }
            self.push(VirtRange::new(at, range.end), *permissions, None);
        }
    }

    /// Adds the parts of files that no segment has.
    fn add_files(&mut self, files: &[MappedFile], segments: &[Mapped]) {
        let permissions = Permissions {
            read: true,
            ..Permissions::default()
        };
        self.told = Told::ByFile;
        let mut next = 0;
        for file in files {
            while segments
                .get(next)
                .is_some_and(|segment| segment.range.end <= file.range.start)
            {
                next += 1;
            }
            let mut at = file.range.start;
            let segments = segments[next..].iter().map(|segment| segment.range);
            for segment in segments.take_while(|segment| segment.start < file.range.end) {
                self.push(VirtRange::new(at, segment.start.max(at)), permissions, Some(file));
                at = segment.end;
            }
            self.push(VirtRange::new(at, file.range.end.max(at)), permissions, Some(file));
        }
    }

    fn push(&mut self, range: VirtRange, permissions: Permissions, file: Option<&MappedFile>) {
        if range.is_empty() {
            return;
        }
        let mut mapping = LinuxMapping {
            range,
            permissions,
            offset: 0,
            device: (0, 0),
            inode: 0,
            path: None,
        };
        if let Some(file) = file {
            mapping.offset = file.offset.saturating_add(range.start.0 - file.range.start.0);
            if let Some(left) = self.paths_left.checked_sub(file.path.len()) {
                self.paths_left = left;
                mapping.path = Some(escaped(&file.path)).filter(|path| !path.is_empty());
            }
        }
        self.mappings.push((mapping, self.told));
    }
}

/// A path as the kernel writes it into `/proc/PID/maps`, where a line ends at a newline.
fn escaped(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'\n').collect();
    parts.join(&b"\\012"[..])
}

/// Gives the memory that is no file the names that the kernel gives it, as far as registers and auxiliary vector tell.
fn name(mappings: &mut [LinuxMapping], notes: &ProcessNotes) {
    let mut at = |address: u64, name: &[u8]| {
        let after = mappings.partition_point(|mapping| mapping.range.end.0 <= address);
        if let Some(mapping) = mappings.get_mut(after)
            && mapping.range.contains(VirtAddr(address))
            && mapping.path.is_none()
        {
            mapping.path = Some(name.to_vec());
        }
    };
    if let Some(vdso) = notes.auxv_value(AuxvType::SYSINFO_EHDR) {
        at(vdso, b"[vdso]");
    }
    if notes.architecture == LinuxArchitecture::Amd64 {
        at(VSYSCALL.0, b"[vsyscall]");
    }
    // The path by which the program was started lies at the top of the main thread's stack, wherever that runs now.
    let top = notes.auxv_value(AuxvType::EXECFN);
    let main = notes
        .main_thread()
        .and_then(|thread| stack_pointer(notes.architecture, thread));
    if let Some(stack) = top.or(main) {
        at(stack, b"[stack]");
    }
}

/// The stack pointer of a thread.
fn stack_pointer(architecture: LinuxArchitecture, thread: &LinuxThread) -> Option<u64> {
    let index = match architecture {
        LinuxArchitecture::X86 => 15,
        LinuxArchitecture::Amd64 => 19,
        LinuxArchitecture::Arm64 => 31,
    };
    let size = architecture.word_size();
    let bytes = thread.general.get(index * size..)?.get(..size)?;
    let mut word = [0; 8];
    word[..size].copy_from_slice(bytes);
    Some(u64::from_le_bytes(word))
}
