//! A triage dump: copies of a few structures.

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::triage::{SectionKind, StoredMemory, Triage, as_debuggers_store};
use dotdump_format::{Error, Findings, PAGE_SIZE, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::MachineSnapshot;
use dotdump_snapshot::machine::UnloadedDriver;
use dotdump_snapshot::triage::TriageMemory;

use super::{CHUNK, MachineAgainst};

/// No `KDDEBUGGER_DATA64` is larger.
const LARGEST_DEBUGGER_DATA: u32 = 0x1000;

/// More data blocks than this are not looked at: real dumps have some thousands.
const MOST_BLOCKS: usize = 1 << 18;

/// Characters of an unloaded driver's name that triage dumps keep.
const UNLOADED_NAME: usize = 12;

/// Compares what lies at an address with the source's memory there, and lists with the source's.
pub(super) fn compare(
    file: &dyn ReadAt,
    dump: &dyn MachineSnapshot,
    source: &dyn MachineSnapshot,
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    // What is wrong with the file is told by the checks of the dump alone.
    let findings = &mut Findings::default();
    let triage = Triage::open(file, dump.header(), findings)?;
    let copies = *TriageMemory::new(&triage, dump.header(), findings)?.copies();
    let debugger_data = DebuggerData::of(dump, source)?;
    let placed = |kind, at: Option<VirtAddr>| at.and_then(|at| triage.placed(kind, at));
    let sections = [
        triage.call_stack(),
        placed(SectionKind::DebuggerData, dump.header().kd_debugger_data_block()),
        placed(SectionKind::Prcb, copies.prcb),
        placed(SectionKind::Process, copies.process),
        placed(SectionKind::Thread, copies.thread),
        triage.data_page(),
    ];
    for piece in triage
        .blocks()
        .take(MOST_BLOCKS)
        .chain(sections.into_iter().flatten().map(Ok))
    {
        memory(file, piece?, source, &debugger_data, report)?;
    }
    modules(dump, source, report);
    unloaded_drivers(dump, source, report);
    Ok(())
}

/// Compares a piece of memory.
fn memory(
    file: &dyn ReadAt,
    piece: StoredMemory,
    source: &dyn MachineSnapshot,
    debugger_data: &DebuggerData,
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    let StoredMemory { range, offset } = piece;
    let mut at = range.start;
    while at < range.end {
        let size = usize::try_from(range.end.0 - at.0).unwrap_or(CHUNK).min(CHUNK);
        let (mut mine, mut theirs) = (vec![0; size], vec![0; size]);
        file.read_exact_at(offset.saturating_add(at.0 - range.start.0), &mut mine)?;
        let found = read_patched(source, at, &mut theirs)?;
        report.memory_compared += found as u64;
        if found < size {
            absent(
                source.machine(),
                at.saturating_add(found as u64),
                &mine[found..],
                report,
            );
        }
        let (mine, theirs) = (&mine[..found], &mut theirs[..found]);
        if let Some(first) = first_difference(mine, theirs)
            && !debugger_data.explains(at, mine, theirs)
        {
            let first = at.saturating_add(first as u64);
            report.differ("memory", format!("the bytes at {first} are others in the source"));
        }
        at = at.saturating_add(size as u64);
    }
    Ok(())
}

fn first_difference(mine: &[u8], theirs: &[u8]) -> Option<usize> {
    mine.iter().zip(theirs).position(|(mine, theirs)| mine != theirs)
}

/// Bytes of which the source has none. Debuggers store zeros for a stack of user mode that they cannot read.
fn absent(machine: Machine, at: VirtAddr, bytes: &[u8], report: &mut MachineAgainst) {
    let user_end = if machine == Machine::X86 { 0x8000_0000 } else { 1 << 63 };
    if at.0 < user_end && bytes.iter().all(|byte| *byte == 0) {
        let note = format!(
            "{:#x} bytes of zeros at {at} stand for memory that could not be read",
            bytes.len()
        );
        report.notes.push(note);
    } else {
        report.differ(
            "memory",
            format!("{:#x} bytes at {at} are not in the source", bytes.len()),
        );
    }
}

/// Reads the source's memory as a dump of it would have it: with the bytes changed that have to be.
fn read_patched(source: &dyn MachineSnapshot, at: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
    let read = source.kernel_memory().read(at, buffer)?;
    let Some(space) = source.kernel_space().filter(|_| !source.patches().is_empty()) else {
        return Ok(read);
    };
    let mut done = 0;
    while done < read {
        let virt = at.saturating_add(done as u64);
        let left = usize::try_from(PAGE_SIZE - virt.0 % PAGE_SIZE)
            .unwrap_or(1)
            .min(read - done);
        if let Ok(translation) = space.translate(virt)? {
            for patch in source.patches() {
                overlay(
                    &mut buffer[done..done + left],
                    translation.address.0,
                    patch.address.0,
                    &patch.bytes,
                );
            }
        }
        done += left;
    }
    Ok(read)
}

/// Puts the bytes that belong at `from` into what is at `start`.
fn overlay(target: &mut [u8], start: u64, from: u64, bytes: &[u8]) {
    for (at, byte) in (from..).zip(bytes) {
        let index = at.checked_sub(start).and_then(|index| usize::try_from(index).ok());
        if let Some(target) = index.and_then(|index| target.get_mut(index)) {
            *target = *byte;
        }
    }
}

/// The source's `KDDEBUGGER_DATA64`, as debuggers store it.
#[derive(Default)]
struct DebuggerData {
    start: VirtAddr,
    stored: Vec<u8>,
}

impl DebuggerData {
    fn of(dump: &dyn MachineSnapshot, source: &dyn MachineSnapshot) -> Result<Self, Error> {
        let Some(start) = dump.header().kd_debugger_data_block() else {
            return Ok(Self::default());
        };
        let mut head = [0; 0x18];
        if read_patched(source, start, &mut head)? < head.len() {
            return Ok(Self::default());
        }
        let size = u32::from_le_bytes([head[0x14], head[0x15], head[0x16], head[0x17]]);
        let mut raw = vec![0; usize::try_from(size.min(LARGEST_DEBUGGER_DATA)).unwrap_or(0)];
        let read = read_patched(source, start, &mut raw)?;
        Ok(Self {
            start,
            stored: as_debuggers_store(&raw[..read], source.machine()),
        })
    }

    /// Whether the bytes at `at` are the same once the source's block is as debuggers store it.
    fn explains(&self, at: VirtAddr, mine: &[u8], theirs: &mut [u8]) -> bool {
        let block = VirtRange::sized(self.start, self.stored.len() as u64);
        if block.intersection(VirtRange::sized(at, mine.len() as u64)).is_none() {
            return false;
        }
        overlay(theirs, at.0, self.start.0, &self.stored);
        *mine == *theirs
    }
}

fn modules(dump: &dyn MachineSnapshot, source: &dyn MachineSnapshot, report: &mut MachineAgainst) {
    for module in dump.modules() {
        let name = module.name_text();
        let Some(same) = source.modules().iter().find(|other| other.base == module.base) else {
            report.differ("modules", format!("{name} at {} is not in the source", module.base));
            continue;
        };
        let both = |mine: Option<u32>, theirs: Option<u32>| mine.is_none() || theirs.is_none() || mine == theirs;
        if same.size != module.size
            || !same.name_text().eq_ignore_ascii_case(&name)
            || !both(module.time_date_stamp, same.time_date_stamp)
            || !both(module.checksum, same.checksum)
        {
            let message = format!(
                "{name} at {} has another name, size, checksum or time in the source",
                module.base
            );
            report.differ("modules", message);
        }
    }
}

fn unloaded_drivers(dump: &dyn MachineSnapshot, source: &dyn MachineSnapshot, report: &mut MachineAgainst) {
    let start = |driver: &UnloadedDriver| {
        let mut name = driver.name.clone();
        name.truncate(UNLOADED_NAME);
        name
    };
    for driver in dump.unloaded_drivers() {
        let found = source
            .unloaded_drivers()
            .iter()
            .any(|other| other.range == driver.range && start(other) == start(driver));
        if !found {
            let name = String::from_utf16_lossy(&driver.name);
            report.differ(
                "unloaded drivers",
                format!("{name} at {} is not in the source", driver.range),
            );
        }
    }
}
