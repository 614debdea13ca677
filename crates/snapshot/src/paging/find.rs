//! Finding page tables in memory that says nothing of them, and how they are built.

use dotdump_format::kernel::Machine;
use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};

use super::cache::read_table;
use super::mode::Entry;
use super::{AddressSpace, PagingMode, SoftwarePtes};
use crate::memory::read_array;
use crate::physical::PhysicalMemory;

/// Where 64-bit kernels have `KUSER_SHARED_DATA`.
pub const KUSER_SHARED_DATA_64: VirtAddr = VirtAddr(0xFFFF_F780_0000_0000);
/// Where 32-bit kernels have `KUSER_SHARED_DATA`.
pub const KUSER_SHARED_DATA_32: VirtAddr = VirtAddr(0xFFDF_0000);

/// Windows puts the tables of the system process at the start of memory, x86 and x64.
const LOW_PAGES: u64 = (16 << 20) / PAGE_SIZE;
/// Where memory starts differs between ARM64 machines; so many pages from there on are looked at.
const PAGES_ARM64: u64 = (1 << 30) / PAGE_SIZE;
/// The real-mode code that starts processors lies in the first mebibyte.
const LOW_STUB_PAGES: std::ops::Range<u64> = 1..0x100;
/// So many pages that look like a root are tried.
const CANDIDATES: usize = 256;

/// What told where the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootSource {
    /// The code that starts processors (`PROCESSOR_START_BLOCK`), which holds CR3.
    LowStub,
    /// A page whose entries map it as a table of itself.
    SelfMap,
}

/// Page tables of the kernel that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRoot {
    /// How they are built.
    pub mode: PagingMode,
    /// The top table.
    pub root: PhysAddr,
    /// What told.
    pub source: RootSource,
}

impl AddressSpace<'_> {
    /// Whether a `KUSER_SHARED_DATA` of a known version of Windows is where the kernel has it.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn has_shared_data(&self) -> Result<bool, Error> {
        /// `NtMajorVersion`.
        const MAJOR_VERSION: u64 = 0x26C;

        let at = match self.mode {
            PagingMode::X86 | PagingMode::Pae => KUSER_SHARED_DATA_32,
            _ => KUSER_SHARED_DATA_64,
        };
        let version = read_array(self, VirtAddr(at.0 + MAJOR_VERSION))?.map(u32::from_le_bytes);
        Ok(matches!(version, Some(5 | 6 | 10)))
    }

    /// Whether the head of a list lies at `head` and its neighbours know it. An empty list does not count: zeros, or any
    /// page that maps itself, would pass for one.
    fn has_list(&self, head: VirtAddr) -> Result<bool, Error> {
        let is_wide = !matches!(self.mode, PagingMode::X86 | PagingMode::Pae);
        let pointer = |address: u64| -> Result<Option<u64>, Error> {
            Ok(if is_wide {
                read_array(self, VirtAddr(address))?.map(u64::from_le_bytes)
            } else {
                read_array(self, VirtAddr(address))?.map(|bytes| u64::from(u32::from_le_bytes(bytes)))
            })
        };
        let size = if is_wide { 8 } else { 4 };
        let (Some(next), Some(last)) = (pointer(head.0)?, pointer(head.0.saturating_add(size))?) else {
            return Ok(false);
        };
        Ok(next != head.0 && pointer(next.saturating_add(size))? == Some(head.0) && pointer(last)? == Some(head.0))
    }
}

/// Whether `space` maps the heads of lists (such as `PsLoadedModuleList`, `PsActiveProcessHead`) and these hold
/// together. A root of user mode, as it is used where page tables are shadowed, does not map them. Addresses of 0 are
/// left out; where none are left, the answer is no.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn lists_are_there(space: &AddressSpace<'_>, heads: &[VirtAddr]) -> Result<bool, Error> {
    for head in heads.iter().filter(|head| head.0 != 0) {
        if space.has_list(*head)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How the tables at `root` are built, told by the one way in which lists of the kernel (their heads at `heads`) can be
/// read through them. `pae` is the header's `PaeEnabled`, where it has one. `None` where there is no such way: the root
/// may be one of user mode, and [`find_root`] may know better.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn choose_mode(
    physical: &dyn PhysicalMemory,
    machine: Machine,
    root: PhysAddr,
    pae: Option<bool>,
    heads: &[VirtAddr],
) -> Result<Option<PagingMode>, Error> {
    for mode in modes(machine, pae, heads) {
        let space = AddressSpace::new(physical, *mode, root, SoftwarePtes::None);
        if lists_are_there(&space, heads)? {
            return Ok(Some(*mode));
        }
    }
    Ok(None)
}

/// The modes of a machine, the likeliest first.
fn modes(machine: Machine, pae: Option<bool>, heads: &[VirtAddr]) -> &'static [PagingMode] {
    let is_wide = |head: &VirtAddr| PagingMode::FourLevel.linear(*head).is_none();
    match machine {
        Machine::X86 if pae == Some(false) => &[PagingMode::X86, PagingMode::Pae],
        Machine::X86 => &[PagingMode::Pae, PagingMode::X86],
        Machine::Amd64 if heads.iter().any(is_wide) => &[PagingMode::FiveLevel, PagingMode::FourLevel],
        Machine::Amd64 => &[PagingMode::FourLevel, PagingMode::FiveLevel],
        Machine::Arm64 => &[PagingMode::Arm64],
    }
}

/// Looks for the tables of the kernel: in the code that starts processors, then among the pages where Windows puts
/// them, for one that maps itself. `machine` is the processor where it is known. What is found has a
/// `KUSER_SHARED_DATA`, and the heads of lists at `heads`, where some are given. Of several the one that maps most of
/// the kernel's half is taken: roots of user mode have little of it.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn find_root(
    physical: &dyn PhysicalMemory,
    machine: Option<Machine>,
    heads: &[VirtAddr],
) -> Result<Option<FoundRoot>, Error> {
    let is_wanted = |candidate: Machine| machine.is_none_or(|machine| machine == candidate);
    let confirmed = |found: &FoundRoot| -> Result<bool, Error> {
        let space = AddressSpace::new(physical, found.mode, found.root, SoftwarePtes::None);
        Ok(space.has_shared_data()? && (heads.iter().all(|head| head.0 == 0) || lists_are_there(&space, heads)?))
    };
    if is_wanted(Machine::Amd64) {
        for found in low_stubs(physical)? {
            if confirmed(&found)? {
                return Ok(Some(found));
            }
        }
    }
    let mut candidates = Vec::new();
    if machine != Some(Machine::Arm64) {
        scan(physical, LOW_PAGES, Some(Pfn(LOW_PAGES)), &mut |page, bytes| {
            if is_wanted(Machine::Amd64) {
                candidates.extend(x64_root(page, bytes));
            }
            if is_wanted(Machine::X86) {
                candidates.extend(x86_roots(page, bytes));
            }
            candidates.len() < CANDIDATES
        })?;
    }
    if let Some(best) = best(candidates, confirmed)? {
        return Ok(Some(best));
    }
    let mut candidates = Vec::new();
    if is_wanted(Machine::Arm64) {
        scan(physical, PAGES_ARM64, None, &mut |page, bytes| {
            candidates.extend(arm64_root(page, bytes));
            candidates.len() < CANDIDATES
        })?;
    }
    best(candidates, confirmed)
}

/// A page that looks like a root, and how much of the kernel's half it maps.
type Candidate = (usize, FoundRoot);

/// The candidate with the most of the kernel's half that is confirmed, the lowest one of several.
fn best(
    mut candidates: Vec<Candidate>,
    confirmed: impl Fn(&FoundRoot) -> Result<bool, Error>,
) -> Result<Option<FoundRoot>, Error> {
    candidates.sort_by_key(|(mapped, found)| (std::cmp::Reverse(*mapped), found.root));
    for (_, found) in candidates {
        if confirmed(&found)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Shows `each` the first `limit` pages that are there, up to `end`, as long as it returns true.
fn scan(
    physical: &dyn PhysicalMemory,
    limit: u64,
    end: Option<Pfn>,
    each: &mut dyn FnMut(PhysAddr, &[u64]) -> bool,
) -> Result<(), Error> {
    let mut left = limit;
    let mut entries = Vec::new();
    for run in physical.runs(Pfn(0)) {
        let run = run?;
        for page in run.first.0..run.end().0 {
            if left == 0 || end.is_some_and(|end| page >= end.0) {
                return Ok(());
            }
            left -= 1;
            read_table(physical, PagingMode::FourLevel, Pfn(page), &mut entries)?;
            if let Some(address) = Pfn(page).address().filter(|_| !entries.is_empty())
                && !each(address, &entries)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Roots that the code for starting processors holds.
fn low_stubs(physical: &dyn PhysicalMemory) -> Result<Vec<FoundRoot>, Error> {
    let stubs = startup_pages(physical)?.into_iter();
    let roots = stubs.flat_map(|(_, root)| {
        [PagingMode::FourLevel, PagingMode::FiveLevel].map(|mode| FoundRoot {
            mode,
            root,
            source: RootSource::LowStub,
        })
    });
    Ok(roots.collect())
}

/// Pages with the code from which the processors of an x64 machine start (`PROCESSOR_START_BLOCK`), and the root of page
/// tables that it holds: readers find the kernel's tables by it. It begins with a jump, and has the address of 64-bit
/// code and CR3 at fixed places, the same in all versions (layout known from open memory-forensics tools).
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn startup_pages(physical: &dyn PhysicalMemory) -> Result<Vec<(Pfn, PhysAddr)>, Error> {
    let mut found = Vec::new();
    let mut entries = Vec::new();
    for page in LOW_STUB_PAGES {
        read_table(physical, PagingMode::FourLevel, Pfn(page), &mut entries)?;
        if entries.is_empty() {
            continue;
        }
        let (jump, target, root) = (entries[0], entries[0x70 / 8], entries[0xA0 / 8]);
        if jump & 0xFFFF_FFFF_FFFF_00FF == 0x0000_0001_0006_00E9
            && target & 0xFFFF_F800_0000_0003 == 0xFFFF_F800_0000_0000
            && root & 0xFFFF_FF00_0000_0FFF == 0
        {
            found.push((Pfn(page), PhysAddr(root)));
        }
    }
    Ok(found)
}

/// How many entries of the kernel's half are valid, if one of them is for the table itself and each half has room.
fn self_mapped(mode: PagingMode, page: PhysAddr, entries: &[u64]) -> Option<usize> {
    /// Entries that every kernel has: for the table itself, and for all the rest, which with five levels may be one.
    const MAPPED: usize = 2;
    /// Empty entries that every root has in each half.
    const FREE: usize = 0x40;

    let (lower, upper) = entries.split_at(entries.len() / 2);
    let level = mode.levels();
    // Only the processor's own bits count: whether the tables are Windows' is what is asked.
    let place = super::mode::Place {
        level,
        kernel: true,
        windows: false,
    };
    // For the kernel alone, and written. Each architecture sets bits here that mean something else to the other.
    let (bits, expected) = if mode == PagingMode::Arm64 {
        (0x0060_0000_0000_0073, 0x0060_0000_0000_0003)
    } else {
        // Accessed and written or not.
        (0xF9F, 0x3)
    };
    let is_self = |entry: &u64| {
        let target = mode.decode(*entry, place);
        entry & bits == expected && matches!(target, Entry::Table { address, .. } if address == page)
    };
    let free = |half: &[u64]| half.iter().filter(|entry| **entry == 0).count();
    let mapped = upper.iter().filter(|entry| **entry & 1 != 0).count();
    (mapped >= MAPPED && free(lower) > FREE && free(upper) > FREE && upper.iter().any(is_self)).then_some(mapped)
}

fn x64_root(page: PhysAddr, entries: &[u64]) -> Vec<Candidate> {
    let Some(mapped) = self_mapped(PagingMode::FourLevel, page, entries) else {
        return Vec::new();
    };
    // Both look the same from the top.
    [PagingMode::FourLevel, PagingMode::FiveLevel]
        .map(|mode| (mapped, found(mode, page)))
        .into()
}

fn arm64_root(page: PhysAddr, entries: &[u64]) -> Option<Candidate> {
    Some((
        self_mapped(PagingMode::Arm64, page, entries)?,
        found(PagingMode::Arm64, page),
    ))
}

/// Roots of 32-bit kernels. Those of PAE refer to the four pages behind them and have nothing else; those without map
/// themselves at 0xC0000000.
fn x86_roots(page: PhysAddr, entries: &[u64]) -> Option<Candidate> {
    /// The entry for 0xC0000000, in pairs of entries of 4 bytes.
    const SELF_MAP: usize = 0xC00 / 8;

    let (directories, rest) = entries.split_at(4);
    let mut next = page.0 + 1;
    let is_pae = directories.iter().all(|entry| {
        next += PAGE_SIZE;
        *entry == next
    });
    if is_pae && rest.iter().all(|entry| *entry == 0) {
        return Some((directories.len(), found(PagingMode::Pae, page)));
    }
    // The first entry is that of a table: valid, written, accessed, for user mode.
    if entries[SELF_MAP] & 0xFFFF_F003 == page.0 + 3 && entries[0] & 0xFF == 0x67 {
        let kernel = entries[entries.len() / 2..]
            .iter()
            .flat_map(|pair| [pair & 1, pair >> 32 & 1]);
        return Some((kernel.filter(|valid| *valid == 1).count(), found(PagingMode::X86, page)));
    }
    None
}

const fn found(mode: PagingMode, root: PhysAddr) -> FoundRoot {
    FoundRoot {
        mode,
        root,
        source: RootSource::SelfMap,
    }
}
