//! The memory of a triage dump.

use dotdump_format::kernel::triage::{SectionKind, StoredMemory, Triage};
use dotdump_format::kernel::{DebuggerData, Header, Machine};
use dotdump_format::{Error, FileOffset, Findings, VirtAddr, VirtRange};

use crate::extent_memory::ExtentMemory;
use crate::memory::{Extent, Memory};

/// How many data blocks are looked at. Windows' dumps have up to 2,700 of some hundred bytes each; a table of more
/// than this is damaged, and shall not fill the memory.
const MOST_BLOCKS: u64 = 1 << 18;

/// How much of a `KDDEBUGGER_DATA64` is read, in bytes: more than any version has.
const DEBUGGER_DATA: usize = 0x1000;

/// The first byte of a `KPROCESS`: the type of the object.
const PROCESS_OBJECT: u8 = 3;

/// The first byte of a `KTHREAD`: the type of the object.
const THREAD_OBJECT: u8 = 6;

/// The memory of a triage dump by virtual address: its data blocks, the stack, the `KDDEBUGGER_DATA64`, and the copies of
/// `KPRCB`, `EPROCESS` and `ETHREAD` where it can be told whence they came. Where pieces lie over each other, the one
/// that comes first in this order counts.
///
/// On 32-bit machines all addresses are below 2^32.
pub struct TriageMemory<'a> {
    pieces: ExtentMemory<'a>,
    copies: Copies,
}

/// Where the structures lay that a triage dump has copies of. `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// The `KPRCB`: a processor's whose data block equals the copy. Only dumps that were made from bigger ones have such
    /// blocks.
    pub prcb: Option<VirtAddr>,
    /// The `EPROCESS`.
    pub process: Option<VirtAddr>,
    /// The `ETHREAD`.
    pub thread: Option<VirtAddr>,
    /// The number of the processor.
    pub processor: Option<u32>,
}

/// Where XP on x86, whose `KDDEBUGGER_DATA64` has no offsets, keeps the same: measured on its dumps.
mod xp {
    /// In a `KPRCB`: the thread that runs.
    pub(super) const PRCB_CURRENT_THREAD: u64 = 4;
    /// In a `KPRCB`: the number of its processor.
    pub(super) const PRCB_NUMBER: u64 = 0x10;
    /// In a `KTHREAD`: its process.
    pub(super) const THREAD_PROCESS: u64 = 0x44;
}

impl<'a> TriageMemory<'a> {
    /// The memory of `triage`, whose header is `header`.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn new(triage: &Triage<'a>, header: &Header, findings: &mut Findings) -> Result<Self, Error> {
        let mut pieces = Vec::new();
        if triage.block_count() > MOST_BLOCKS {
            let message = format!("{} blocks found, at most {MOST_BLOCKS} are read", triage.block_count());
            findings.add(triage.block_table().offset_of(0), "DataBlocks", message);
        }
        for block in triage.blocks().take(usize::try_from(MOST_BLOCKS).unwrap_or(usize::MAX)) {
            pieces.push(block?);
        }
        pieces.extend(triage.call_stack());
        let at = header.kd_debugger_data_block();
        pieces.extend(at.and_then(|at| triage.placed(SectionKind::DebuggerData, at)));
        let mut memory = Self {
            pieces: ExtentMemory::new(triage.source(), extents_of(&pieces)),
            copies: Copies::default(),
        };
        memory.copies = find_copies(triage, header, &memory)?;
        let Copies {
            prcb, process, thread, ..
        } = memory.copies;
        let copies = [
            (SectionKind::Prcb, prcb),
            (SectionKind::Process, process),
            (SectionKind::Thread, thread),
        ];
        pieces.extend(copies.into_iter().filter_map(|(kind, at)| triage.placed(kind, at?)));
        pieces.extend(triage.data_page());
        memory.pieces = ExtentMemory::new(triage.source(), extents_of(&pieces));
        Ok(memory)
    }

    /// Where the structures lay that the dump has copies of.
    #[must_use]
    pub const fn copies(&self) -> &Copies {
        &self.copies
    }
}

fn extents_of(pieces: &[StoredMemory]) -> Vec<Extent> {
    let extent = |piece: &StoredMemory| Extent {
        range: piece.range,
        offset: Some(piece.offset),
    };
    pieces.iter().map(extent).collect()
}

/// Follows the pointers from the copies to the structures. A copy that is not what it should be is none: dumps exist in
/// which a writer stored something else.
fn find_copies(triage: &Triage<'_>, header: &Header, memory: &TriageMemory<'_>) -> Result<Copies, Error> {
    let Some(machine) = header.machine() else {
        return Ok(Copies::default());
    };
    let debugger_data = triage.bytes(SectionKind::DebuggerData, DEBUGGER_DATA)?;
    let data = DebuggerData::read(&debugger_data, machine);
    let data = data.as_ref();
    let xp = |offset| (machine == Machine::X86).then_some(offset);
    let pointer = |kind, offset: Option<u64>| -> Result<Option<VirtAddr>, Error> {
        let Some(offset) = offset else { return Ok(None) };
        let bytes = in_section(triage, kind, offset, machine.pointer_size())?;
        Ok(bytes.map(VirtAddr).filter(|address| address.0 != 0))
    };
    let is = |kind, object| -> Result<bool, Error> { Ok(in_section(triage, kind, 0, 1)? == Some(u64::from(object))) };

    let mut copies = Copies::default();
    let current = data
        .and_then(DebuggerData::offset_prcb_current_thread)
        .or_else(|| xp(xp::PRCB_CURRENT_THREAD));
    if is(SectionKind::Thread, THREAD_OBJECT)? {
        copies.thread = pointer(SectionKind::Prcb, current)?;
        let process = data
            .and_then(DebuggerData::offset_kthread_apc_process)
            .or_else(|| xp(xp::THREAD_PROCESS));
        if is(SectionKind::Process, PROCESS_OBJECT)? {
            copies.process = pointer(SectionKind::Thread, process)?;
        }
    }
    let known = data.and_then(DebuggerData::offset_prcb_number);
    if let Some(number) = known.or_else(|| xp(xp::PRCB_NUMBER)) {
        // XP's is a byte.
        let size = if known.is_none() { 1 } else { 4 };
        let number = in_section(triage, SectionKind::Prcb, number, size)?;
        copies.processor = number.and_then(|number| u32::try_from(number).ok());
    }
    copies.prcb = find_prcb(triage, machine, data, copies.processor, memory)?;
    Ok(copies)
}

/// The address of the processor's `KPRCB`, where the memory there is the same as the copy.
fn find_prcb(
    triage: &Triage<'_>,
    machine: Machine,
    data: Option<&DebuggerData>,
    processor: Option<u32>,
    memory: &TriageMemory<'_>,
) -> Result<Option<VirtAddr>, Error> {
    /// More than any `KPRCB` has.
    const MOST: usize = 0x20000;

    let (Some(array), Some(processor)) = (data.and_then(DebuggerData::ki_processor_block), processor) else {
        return Ok(None);
    };
    let size = machine.pointer_size();
    let mut entry = [0; 8];
    let at = array.saturating_add(u64::from(processor) * size as u64);
    if memory.read(at, &mut entry[..size])? != size {
        return Ok(None);
    }
    let address = VirtAddr(u64::from_le_bytes(entry));
    let copy = triage.bytes(SectionKind::Prcb, MOST)?;
    let mut there = vec![0; copy.len()];
    let whole = memory.read(address, &mut there)? == copy.len();
    Ok((whole && !copy.is_empty() && *there == *copy).then_some(address))
}

/// A number of `size` bytes in a section; `None` where the section does not reach so far.
fn in_section(triage: &Triage<'_>, kind: SectionKind, offset: u64, size: usize) -> Result<Option<u64>, Error> {
    let Some(section) = triage.section(kind) else {
        return Ok(None);
    };
    let end = offset.saturating_add(size as u64);
    if end > section.size {
        return Ok(None);
    }
    let mut bytes = [0; 8];
    let at = FileOffset(section.offset.0.saturating_add(offset));
    triage.source().read_exact_at(at, &mut bytes[..size])?;
    Ok(Some(u64::from_le_bytes(bytes)))
}

impl Memory for TriageMemory<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        self.pieces.extents(within)
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        self.pieces.read(address, buffer)
    }
}
