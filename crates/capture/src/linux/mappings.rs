//! The map of an address space, and which parts of it can be read.

use std::collections::HashMap;
use std::io;

use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::ranges::RangeSet;

use super::folder::Folder;
use super::page_map::PageMap;
use super::process_vm;

/// No map is larger: the kernel allows 65,530 mappings unless told otherwise.
const LARGEST_MAP: u64 = 256 << 20;

/// The kernel's own mappings, which it writes while the process is stopped or which cannot be read from outside.
const SPECIAL: [&[u8]; 4] = [b"[vvar]", b"[vvar_vclock]", b"[vsyscall]", b"[uprobes]"];

/// The text of `/proc/PID/maps`, and the mappings in it.
pub(super) fn read(folder: &Folder) -> io::Result<(Vec<u8>, Vec<LinuxMapping>)> {
    let text = folder.read("maps", LARGEST_MAP)?;
    let mappings = text
        .split(|byte| *byte == b'\n')
        .filter_map(LinuxMapping::parse)
        .collect();
    Ok((text, mappings))
}

/// Whether the process can read a mapping, and others may.
pub(super) fn is_readable(mapping: &LinuxMapping) -> bool {
    mapping.permissions.read && !SPECIAL.contains(&mapping.path.as_deref().unwrap_or_default())
}

/// Whether pages of a mapping that were never touched are zeros: private memory without a file, in pages of any size.
pub(super) fn is_zero_filled(mapping: &LinuxMapping) -> bool {
    let path = mapping.path.as_deref().unwrap_or_default();
    let is_huge = path.starts_with(b"/anon_hugepage");
    let has_no_file = mapping.inode == 0 && mapping.device == (0, 0) && !path.starts_with(b"[v");
    !mapping.permissions.shared && (has_no_file || is_huge)
}

/// Whether a mapping is of a device, which may do something when it is read.
fn is_of_device(mapping: &LinuxMapping) -> bool {
    let path = mapping.path.as_deref().unwrap_or_default();
    let is_plain =
        path.starts_with(b"/dev/shm/") || path.starts_with(b"/dev/zero") || path.starts_with(b"/dev/hugepages/");
    let is_device = [b"/dev/".as_slice(), b"/sys/", b"/proc/", b"anon_inode:"]
        .iter()
        .any(|start| path.starts_with(start));
    is_device && !is_plain
}

/// What makes a mapping the same at two times.
type Identity = (VirtRange, u64, (u32, u32), u64, bool);

const fn identity(mapping: &LinuxMapping) -> Identity {
    (
        mapping.range,
        mapping.offset,
        mapping.device,
        mapping.inode,
        mapping.permissions.read,
    )
}

/// Parts of readable mappings that cannot be read for all that.
#[derive(Clone, Default)]
pub(super) struct Unreadable {
    /// What has no memory behind it, so that the process itself cannot read it either: guard regions, pages behind the
    /// end of a mapped file.
    pub(super) empty: RangeSet,
    /// What the process can read and others may not: memory of devices, and pages that a handler in the stopped process
    /// would have to bring.
    pub(super) withheld: RangeSet,
}

/// Finds [`Unreadable`] parts, and knows what it has looked at.
#[derive(Default)]
pub(super) struct Looked {
    /// Of each mapping the parts without memory.
    known: HashMap<Identity, Vec<VirtRange>>,
    /// Of each mapping the parts that are not to be read.
    withheld: HashMap<Identity, Vec<VirtRange>>,
}

impl Looked {
    /// Looks at those of `mappings` that were not looked at before, and gives the unreadable parts of all.
    pub(super) fn look(
        &mut self,
        folder: &Folder,
        mappings: &[LinuxMapping],
        page_map: Option<&PageMap>,
    ) -> Unreadable {
        let new: Vec<&LinuxMapping> = mappings
            .iter()
            .filter(|mapping| is_readable(mapping) && !self.known.contains_key(&identity(mapping)))
            .collect();
        for mapping in &new {
            let guards = page_map
                .map(|page_map| page_map.guards(mapping.range))
                .unwrap_or_default();
            self.known.insert(identity(mapping), guards);
        }
        self.look_at_flags(folder, &new, page_map);
        self.look_behind_files(&new, folder.id());
        let mut unreadable = Unreadable::default();
        for identity in mappings.iter().map(identity) {
            for range in self.known.get(&identity).into_iter().flatten() {
                unreadable.empty.insert(*range);
            }
            for range in self.withheld.get(&identity).into_iter().flatten() {
                unreadable.withheld.insert(*range);
            }
        }
        unreadable.empty.settle();
        unreadable.withheld.settle();
        unreadable
    }

    /// Finds the mappings that are dangerous to read. Their flags cost a walk over all page tables, so they are only asked
    /// for where there may be some.
    fn look_at_flags(&mut self, folder: &Folder, mappings: &[&LinuxMapping], page_map: Option<&PageMap>) {
        let is_shared = |mapping: &&&LinuxMapping| mapping.permissions.shared && !is_zero_filled(mapping);
        let handles_faults = mappings.iter().any(|mapping| is_shared(&mapping)) && has_fault_handler(folder);
        let suspects: Vec<&LinuxMapping> = mappings
            .iter()
            .filter(|mapping| is_of_device(mapping) || handles_faults && is_shared(mapping))
            .copied()
            .collect();
        if suspects.is_empty() {
            return;
        }
        let flags = flags_of_mappings(folder).unwrap_or_default();
        for mapping in suspects {
            let unreadable = match flags.get(&mapping.range.start.0) {
                // Of a device whose flags cannot be had it is not known what a read does.
                None if is_of_device(mapping) => vec![mapping.range],
                Some(flags) if flags.is_device => vec![mapping.range],
                Some(flags) if flags.has_handler => absent(mapping.range, page_map),
                _ => continue,
            };
            self.withheld.insert(identity(mapping), unreadable);
        }
    }

    /// Finds the pages behind the end of mapped files: mappings whose last page cannot be read are searched for the
    /// border.
    fn look_behind_files(&mut self, mappings: &[&LinuxMapping], process: u32) {
        let page_size = rustix::param::page_size() as u64;
        let files: Vec<&LinuxMapping> = mappings
            .iter()
            .copied()
            .filter(|mapping| mapping.inode != 0 && !is_zero_filled(mapping))
            .filter(|mapping| !self.withheld.contains_key(&identity(mapping)))
            .filter(|mapping| self.known.get(&identity(mapping)).is_none_or(Vec::is_empty))
            .collect();
        let lasts: Vec<u64> = files
            .iter()
            .map(|mapping| mapping.range.end.0.saturating_sub(page_size))
            .collect();
        let mut at = 0;
        while at < files.len() {
            let batch = &lasts[at..lasts.len().min(at + process_vm::MOST_PLACES)];
            let readable = match process_vm::readable(process, batch) {
                Ok(readable) => readable,
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => 0,
                // Reading will tell.
                Err(_) => return,
            };
            at += readable;
            if readable < batch.len() {
                let range = files[at].range;
                let border = border(range, page_size, |address| {
                    process_vm::readable(process, &[address]).is_ok()
                });
                let hole = VirtRange::new(border, range.end);
                self.known.insert(identity(files[at]), vec![hole]);
                at += 1;
            }
        }
    }
}

/// The first page of `range` that cannot be read, where none behind it can.
fn border(range: VirtRange, page_size: u64, is_readable: impl Fn(u64) -> bool) -> VirtAddr {
    let (mut low, mut high) = (0, range.size() / page_size);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_readable(range.start.0 + middle * page_size) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    range.start.saturating_add(low * page_size)
}

/// Whether a process handles page faults of its own, or did so for others.
fn has_fault_handler(folder: &Folder) -> bool {
    let descriptors = folder.numbers("fd").unwrap_or_default();
    descriptors
        .into_iter()
        .filter_map(|descriptor| folder.link(&format!("fd/{descriptor}")).ok())
        .any(|target| target == b"anon_inode:[userfaultfd]")
}

/// The pages of `range` that are not there: whoever reads one of them waits for the program to bring it, which is stopped.
fn absent(range: VirtRange, page_map: Option<&PageMap>) -> Vec<VirtRange> {
    let mut absent = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let rest = VirtRange::new(at, range.end);
        let Some((stored, end)) = page_map
            .and_then(|page_map| page_map.stored(rest).ok())
            .filter(|(_, end)| *end > at)
        else {
            absent.push(rest);
            break;
        };
        for stored in stored {
            absent.push(VirtRange::new(at, stored.start));
            at = stored.end;
        }
        absent.push(VirtRange::new(at, end.min(range.end)));
        at = end;
    }
    absent.retain(|range| !range.is_empty());
    absent
}

/// What reading a mapping may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flags {
    /// It may reach a device (`VM_IO` and `VM_PFNMAP`, which `VmFlags` calls `io` and `pf`).
    is_device: bool,
    /// It may wait for the program's handler of page faults (`VM_UFFD_MISSING` and `VM_UFFD_MINOR`: `um` and `ui`).
    has_handler: bool,
}

/// The flags of all mappings, by the addresses at which they start.
fn flags_of_mappings(folder: &Folder) -> io::Result<HashMap<u64, Flags>> {
    Ok(parse_flags(&folder.read("smaps", LARGEST_MAP)?))
}

fn parse_flags(smaps: &[u8]) -> HashMap<u64, Flags> {
    let mut all = HashMap::new();
    let mut start = None;
    for line in smaps.split(|byte| *byte == b'\n') {
        if let Some(words) = line.strip_prefix(b"VmFlags:") {
            let mut flags = Flags {
                is_device: false,
                has_handler: false,
            };
            for word in words.split(|byte| *byte == b' ') {
                flags.is_device |= matches!(word, b"io" | b"pf");
                flags.has_handler |= matches!(word, b"um" | b"ui");
            }
            all.extend(start.take().map(|start| (start, flags)));
        } else if let Some(mapping) = LinuxMapping::parse(line) {
            start = Some(mapping.range.start.0);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The border is found wherever it is, also at both ends.
    #[test]
    fn border_of_a_file() {
        for pages in 0..9_u64 {
            let range = VirtRange::sized(VirtAddr(0x10_0000), 8 * 0x1000);
            let end = 0x10_0000 + pages * 0x1000;
            assert_eq!(border(range, 0x1000, |address| address < end), VirtAddr(end));
        }
    }

    /// Lines as Linux 6.18 writes them.
    #[test]
    fn kinds_of_mappings() {
        let mapping = |line: &str| LinuxMapping::parse(line.as_bytes()).expect("a mapping");
        let heap = mapping("55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]");
        assert!(is_readable(&heap) && is_zero_filled(&heap) && !is_of_device(&heap));
        let shared = mapping("7f0000000000-7f0000010000 rw-s 00000000 00:01 1041 /dev/zero (deleted)");
        assert!(is_readable(&shared) && !is_zero_filled(&shared) && !is_of_device(&shared));
        let vvar = mapping("7ffd0a1f2000-7ffd0a1f6000 r--p 00000000 00:00 0                          [vvar]");
        assert!(!is_readable(&vvar) && !is_zero_filled(&vvar));
        let card = mapping("7f0000000000-7f0000010000 rw-s 00000000 00:06 400 /dev/dri/card0");
        assert!(is_of_device(&card));
        let huge = mapping("7f0000000000-7f0000200000 rw-p 00000000 00:0f 22 /anon_hugepage (deleted)");
        assert!(is_zero_filled(&huge) && !is_of_device(&huge));
        let guard = mapping("7f0000000000-7f0000001000 ---p 00000000 00:00 0 ");
        assert!(!is_readable(&guard));
    }

    /// `VmFlags` as proc_pid_smaps(5) has them.
    #[test]
    fn flags_by_mapping() {
        let text = "7f0000000000-7f0000010000 rw-s 00000000 00:06 400 /dev/dri/card0\n\
                    Size:                 64 kB\n\
                    VmFlags: rd wr sh mr mw me ms pf io de dd sd \n\
                    7f0000010000-7f0000020000 rw-s 00000000 00:01 1041 /memfd:guest (deleted)\n\
                    Rss:                   4 kB\n\
                    VmFlags: rd wr sh mr mw me ms um sd \n\
                    7f0000020000-7f0000030000 rw-p 00000000 00:00 0 \n\
                    VmFlags: rd wr mr mw me ac sd \n";
        let flags = parse_flags(text.as_bytes());
        let expected = |is_device, has_handler| Some(Flags { is_device, has_handler });
        assert_eq!(flags.get(&0x7F00_0000_0000).copied(), expected(true, false));
        assert_eq!(flags.get(&0x7F00_0001_0000).copied(), expected(false, true));
        assert_eq!(flags.get(&0x7F00_0002_0000).copied(), expected(false, false));
    }
}
