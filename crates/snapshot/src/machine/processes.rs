//! The processes of a machine.
//!
//! `PsActiveProcessHead` links all `EPROCESS`, but where the links and names are in that structure differs from build to
//! build, and no table says it. So the structure tells it itself: the identifier is always in front of the links, and
//! the first process is `System` with the identifier 4. MemProcFS finds the fields alike on Vista to 11. Offsets that
//! `KDDEBUGGER_DATA64` has are used instead where it has them.

use std::collections::HashMap;

use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::{PAGE_SIZE, PhysAddr, VirtAddr};

use super::Process;
use super::reader::KernelReader;

/// More processes than any system has.
const MOST_PROCESSES: usize = 65_536;
/// No `EPROCESS` is larger, in bytes.
const LARGEST: usize = 0x1400;
/// `ImageFileName`: 15 bytes and a NUL.
const NAME: usize = 16;
/// The type of a process among dispatcher objects: the first byte of `EPROCESS`.
const PROCESS_OBJECT: u8 = 3;

/// Where fields are in `EPROCESS`, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessOffsets {
    /// `DirectoryTableBase`.
    pub directory_table_base: u64,
    /// `ActiveProcessLinks`. `UniqueProcessId` is in front of it.
    pub links: u64,
    /// `ImageFileName`; `None` where it is not found.
    pub name: Option<u64>,
    /// `InheritedFromUniqueProcessId`; `None` where it is not found.
    pub parent: Option<u64>,
    /// `Peb`; `None` where it is not found.
    pub peb: Option<u64>,
    /// `UserDirectoryTableBase`; `None` where page tables are not shadowed.
    pub user_directory_table_base: Option<u64>,
    /// Those of the names above that were told from the contents of processes, not by the kernel's own table.
    pub guessed: Vec<&'static str>,
}

/// What finding the fields of `EPROCESS` may go by.
pub struct ProcessHints<'a> {
    /// The kernel's table.
    pub data: Option<&'a DebuggerData>,
    /// `EPROCESS` of some processes, known by other ways: `PsInitialSystemProcess`, the processes of running threads.
    pub known: Vec<VirtAddr>,
    /// Whether a page is the root of user mode's own page tables.
    pub is_user_root: &'a dyn Fn(PhysAddr) -> bool,
}

/// The processes of the list at `head`, and how they were read; empty where the list or the fields are not found.
#[must_use]
pub fn processes(
    reader: &KernelReader<'_>,
    head: VirtAddr,
    hints: &ProcessHints<'_>,
) -> (Vec<Process>, Option<ProcessOffsets>) {
    let links = reader.list(head, MOST_PROCESSES, "PsActiveProcessHead");
    let Some(offsets) = Finder { reader, hints }.offsets(&links) else {
        if let Some(first) = links.first() {
            let message = format!("the fields of EPROCESS are not found; the first one's links are at {first}");
            reader.note(*first, "PsActiveProcessHead", message);
        }
        return (Vec::new(), None);
    };
    let processes = links.iter().filter_map(|links| process(reader, &offsets, *links));
    (processes.collect(), Some(offsets))
}

fn process(reader: &KernelReader<'_>, offsets: &ProcessOffsets, links: VirtAddr) -> Option<Process> {
    let eprocess = reader.before(links, offsets.links);
    let word = |offset: u64| reader.word(reader.at(eprocess, offset));
    let id = reader.word(reader.before(links, reader.pointer_size()));
    let root = word(offsets.directory_table_base);
    let (Some(id), Some(root)) = (id, root) else {
        reader.note(
            links,
            "EPROCESS",
            format!("the process at {eprocess} is not all in the source"),
        );
        return None;
    };
    let user_root = offsets.user_directory_table_base.and_then(word);
    Some(Process {
        eprocess,
        id,
        parent_id: offsets.parent.and_then(word),
        name: offsets
            .name
            .map(|offset| name_of(&reader.bytes(reader.at(eprocess, offset), NAME)))
            .unwrap_or_default(),
        directory_table_base: PhysAddr(root),
        // Processes that are not shadowed have 0 or a flag there.
        user_directory_table_base: user_root.filter(|root| *root >= PAGE_SIZE).map(PhysAddr),
        peb: VirtAddr(offsets.peb.and_then(word).unwrap_or_default()),
    })
}

/// The text of an `ImageFileName`.
fn name_of(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    text.iter().map(|byte| char::from(*byte)).collect()
}

struct Finder<'a> {
    reader: &'a KernelReader<'a>,
    hints: &'a ProcessHints<'a>,
}

impl Finder<'_> {
    fn offsets(&self, list: &[VirtAddr]) -> Option<ProcessOffsets> {
        let reader = self.reader;
        let pointer = reader.pointer_size();
        let data = self.hints.data;
        let system = *list
            .iter()
            .find(|links| reader.word(reader.before(**links, pointer)) == Some(4))?;
        let directory_table_base = data
            .and_then(DebuggerData::offset_eprocess_directory_table_base)
            .unwrap_or(if reader.machine() == Machine::X86 { 0x18 } else { 0x28 });
        let links = self.links(list, system)?;
        let mut guessed = vec!["ActiveProcessLinks"];
        let start = |links_at: VirtAddr| reader.before(links_at, links);
        let size = data.and_then(DebuggerData::size_eprocess).map(usize::try_from);
        let size = size.and_then(Result::ok).unwrap_or(LARGEST).min(LARGEST);
        let first = reader.bytes(start(system), size);
        // The second process is the kernel's own as well on newer systems; a later one has user mode.
        let others: Vec<Vec<u8>> = list
            .iter()
            .filter(|links_at| **links_at != system)
            .take(8)
            .map(|links_at| reader.bytes(start(*links_at), size))
            .collect();
        let fields = Fields {
            reader,
            links,
            system: &first,
            others: &others,
        };
        let mut or_guess = |known: Option<u64>, guess: Option<u64>, name: &'static str| {
            if known.is_none() && guess.is_some() {
                guessed.push(name);
            }
            known.or(guess)
        };
        let name = or_guess(None, fields.name(), "ImageFileName");
        let parent = data.and_then(DebuggerData::offset_eprocess_parent_cid);
        let parent = or_guess(parent, fields.parent(name), "InheritedFromUniqueProcessId");
        let peb = data.and_then(DebuggerData::offset_eprocess_peb);
        let peb = or_guess(peb, fields.peb(), "Peb");
        let user_root = fields.user_root(directory_table_base, self.hints.is_user_root);
        let user_directory_table_base = or_guess(None, user_root, "UserDirectoryTableBase");
        Some(ProcessOffsets {
            directory_table_base,
            links,
            name,
            parent,
            peb,
            user_directory_table_base,
            guessed,
        })
    }

    /// The offset of the links: from an `EPROCESS` that is known to links of the list shortly behind it, else from the
    /// links of `System` back to what looks like the start of a process.
    fn links(&self, list: &[VirtAddr], system: VirtAddr) -> Option<u64> {
        let mut votes: HashMap<u64, usize> = HashMap::new();
        for known in &self.hints.known {
            let behind = list.iter().filter_map(|links| links.0.checked_sub(known.0));
            if let Some(offset) = behind.filter(|offset| *offset < LARGEST as u64).min() {
                *votes.entry(offset).or_default() += 1;
            }
        }
        let voted = votes
            .into_iter()
            .max_by_key(|(_, votes)| *votes)
            .map(|(offset, _)| offset);
        voted.filter(|offset| self.starts_process(system, *offset)).or_else(|| {
            (0x40..LARGEST as u64)
                .step_by(8)
                .find(|offset| list.iter().take(4).all(|links| self.starts_process(*links, *offset)))
        })
    }

    /// Whether a process starts `offset` in front of its links: with its type, the list of those who wait for it, and
    /// further on the root of its page tables.
    fn starts_process(&self, links: VirtAddr, offset: u64) -> bool {
        let reader = self.reader;
        let start = reader.before(links, offset);
        let pointer = reader.pointer_size();
        if !start.0.is_multiple_of(8) || reader.array::<1>(start) != Some([PROCESS_OBJECT]) {
            return false;
        }
        let waiters = reader.at(start, 8);
        let mutual = reader
            .kernel_pointer(waiters)
            .is_some_and(|next| next == waiters || reader.pointer(reader.at(next, pointer)) == Some(waiters));
        let root_at = if reader.machine() == Machine::X86 { 0x18 } else { 0x28 };
        mutual
            && reader
                .word(reader.at(start, root_at))
                .is_some_and(|root| root & !0xFFF != 0)
    }
}

/// Fields that the contents of `System` and of some other processes betray.
struct Fields<'a> {
    reader: &'a KernelReader<'a>,
    links: u64,
    system: &'a [u8],
    others: &'a [Vec<u8>],
}

impl Fields<'_> {
    /// `System` is the name of the first process.
    fn name(&self) -> Option<u64> {
        let behind = usize::try_from(self.links).ok()?;
        let places = self.system.get(behind..)?.windows(8).enumerate();
        let mut found = places.step_by(4).filter(|(_, bytes)| *bytes == b"System\0\0");
        found.next().map(|(index, _)| self.links + index as u64)
    }

    /// `System` has no parent; it is the parent of the first processes.
    fn parent(&self, name: Option<u64>) -> Option<u64> {
        let end = name.unwrap_or(self.system.len() as u64);
        let pointer = self.reader.pointer_size();
        self.slots(self.links + 2 * pointer, end).find(|offset| {
            let first = self.others.first().and_then(|other| self.word(other, *offset));
            self.word(self.system, *offset) == Some(0)
                && first == Some(4)
                && self.others.iter().all(|other| {
                    let parent = self.word(other, *offset);
                    parent.is_some_and(|parent| parent != 0 && parent < 1 << 24 && parent.is_multiple_of(4))
                })
        })
    }

    /// `System` has no PEB; programs have one on a page of its own in user mode.
    fn peb(&self) -> Option<u64> {
        self.slots(self.links, self.system.len() as u64).find(|offset| {
            let mut pebs = self.others.iter().filter_map(|other| self.word(other, *offset));
            let is_peb = |peb: u64| peb >= 0x1_0000 && peb.is_multiple_of(PAGE_SIZE) && peb < self.user_end();
            let some = self
                .others
                .iter()
                .filter_map(|other| self.word(other, *offset))
                .any(is_peb);
            self.word(self.system, *offset) == Some(0) && some && pebs.all(|peb| peb == 0 || is_peb(peb))
        })
    }

    /// The user's root of `System`: a page that is one, beside the kernel's.
    fn user_root(&self, directory_table_base: u64, is_user_root: &dyn Fn(PhysAddr) -> bool) -> Option<u64> {
        if self.reader.machine() != Machine::Amd64 {
            return None;
        }
        let kernel_root = self.word(self.system, directory_table_base)? & !0xFFF;
        self.slots(0x100, self.system.len() as u64).find(|offset| {
            self.word(self.system, *offset).is_some_and(|root| {
                let page = root & !0xFFF;
                root & 0xFFE == 0 && page != 0 && page != kernel_root && page < 1 << 52 && is_user_root(PhysAddr(page))
            })
        })
    }

    const fn user_end(&self) -> u64 {
        match self.reader.machine() {
            Machine::X86 => 0xC000_0000,
            Machine::Amd64 | Machine::Arm64 => 1 << 47,
        }
    }

    fn slots(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + use<> {
        let step = if self.reader.pointer_size() == 4 { 4 } else { 8 };
        (from..to).step_by(step)
    }

    fn word(&self, process: &[u8], offset: u64) -> Option<u64> {
        let size = usize::try_from(self.reader.pointer_size()).ok()?;
        let start = usize::try_from(offset).ok()?;
        let mut word = [0; 8];
        word[..size].copy_from_slice(process.get(start..start.checked_add(size)?)?);
        Some(u64::from_le_bytes(word))
    }
}
