//! A small dump of a small dump: its sections are copied.

use std::collections::HashSet;

use dotdump_format::kernel::triage::{Block, SectionKind, Triage};
use dotdump_format::kernel::{DebuggerData, Header, TriageDump};
use dotdump_format::{Error, Findings, VirtAddr};
use dotdump_snapshot::{Memory as _, TriageMemory};

use super::super::header;
use super::{TriageRequest, TriageSelection};
use crate::convert::ConvertError;
use crate::shortfall::Shortfalls;

/// How much of a `KDDEBUGGER_DATA64` is read in bytes; the newest has 0x3A0.
const DEBUGGER_DATA: usize = 0x1000;

/// More processors than Windows supports.
const MOST_PROCESSORS: u32 = 4096;

/// A small dump again, with what was asked for changed and nothing else: the family stays, and so do the header's claims.
/// Junk in its slack is not taken. Where it must become smaller, blocks go from the last one backwards, which are those
/// that Windows thought of last; those of processors stay.
///
/// # Errors
/// [`ConvertError::Format`] where the source cannot be read or the dump does not fit the format;
/// [`ConvertError::TooLarge`] where it cannot be made small enough.
pub fn copy(
    triage: &Triage<'_>,
    source: &Header,
    request: &TriageRequest<'_>,
    findings: &mut Findings,
) -> Result<TriageSelection, ConvertError> {
    let mut dump = TriageDump::of(triage, source.clone(), findings)?;
    let mut shortfalls = Shortfalls::default();
    if let Some(limit) = request.max_size {
        let dropped = shrink(
            &mut dump,
            triage,
            limit.saturating_sub(request.secondary_size),
            findings,
        )?;
        let size = dump.size()?.saturating_add(request.secondary_size);
        if size > limit {
            return Err(ConvertError::TooLarge { least: size, limit });
        }
        if let Some((blocks, bytes)) = dropped {
            shortfalls.note(
                "--max-size",
                format!("the last {blocks} data blocks ({bytes} bytes) are left out"),
            );
        }
    }
    if let Some(comment) = request.comment {
        header::set_comment(&mut dump.header, comment);
    }
    Ok(TriageSelection {
        dump,
        kept: Vec::new(),
        dropped: Vec::new(),
        shortfalls: shortfalls.into_vec(),
    })
}

/// Drops blocks until the primary data takes at most `limit` bytes, and tells how many and how many bytes.
fn shrink(
    dump: &mut TriageDump,
    triage: &Triage<'_>,
    limit: u64,
    findings: &mut Findings,
) -> Result<Option<(u64, u64)>, Error> {
    let size = dump.size()?;
    if size <= limit {
        return Ok(None);
    }
    let protected = processors(dump, triage, findings)?;
    // The end of a dump of the kernel is rounded up, and one of XP has a fixed size: that is counted when it is tried.
    let mut excess = size - limit;
    let (mut blocks, mut bytes) = (0, 0);
    loop {
        let mut freed = 0;
        let mut kept: Vec<Block> = Vec::new();
        for block in std::mem::take(&mut dump.blocks).into_iter().rev() {
            if freed >= excess || protected.contains(&block.address) {
                kept.push(block);
            } else {
                let size = block.data.size();
                freed += size.saturating_add(7) / 8 * 8 + 16;
                blocks += 1;
                bytes += size;
            }
        }
        kept.reverse();
        dump.blocks = kept;
        let size = dump.size()?;
        if size <= limit || freed == 0 {
            return Ok(Some((blocks, bytes)).filter(|(blocks, _)| *blocks > 0));
        }
        excess = size - limit;
    }
}

/// Where the blocks of processors start: each `KPRCB`, and the table of these.
fn processors(dump: &TriageDump, triage: &Triage<'_>, findings: &mut Findings) -> Result<HashSet<VirtAddr>, Error> {
    let mut found = HashSet::new();
    let Some(machine) = dump.header.machine() else {
        return Ok(found);
    };
    let debugger_data = triage.bytes(SectionKind::DebuggerData, DEBUGGER_DATA)?;
    let data = DebuggerData::read(&debugger_data, machine);
    let Some(table) = data.as_ref().and_then(DebuggerData::ki_processor_block) else {
        return Ok(found);
    };
    let memory = TriageMemory::new(triage, &dump.header, findings)?;
    let count = dump.header.number_processors().unwrap_or(0).min(MOST_PROCESSORS);
    let size = machine.pointer_size();
    found.insert(table);
    for index in 0..u64::from(count) {
        let mut entry = [0; 8];
        let at = table.saturating_add(index * size as u64);
        if memory.read(at, &mut entry[..size])? != size {
            break;
        }
        found.insert(VirtAddr(u64::from_le_bytes(entry)));
    }
    Ok(found)
}
