//! What the program headers say of a machine.

use std::ops::ControlFlow;

use dotdump_format::kernel::Machine;
use dotdump_format::{Error, FileOffset, Findings, PhysAddr, ReadAt};

use super::headers::{Head, SegmentKind};
use crate::placed_runs::{Placed, PlacedRunsBuilder};

/// More program headers than a core of a machine has: each stands for a range of memory. Above, a core is damaged.
const MOST_SEGMENTS: u64 = 1 << 20;

/// More note segments than any writer makes (it is one).
const MOST_NOTE_SEGMENTS: usize = 64;

/// What the program headers say.
pub(super) struct Segments<'a> {
    pub(super) machine: Machine,
    pub(super) runs: PlacedRunsBuilder<'a>,
    /// Where notes are, and how many bytes.
    pub(super) notes: Vec<(FileOffset, u64)>,
}

pub(super) fn read<'a>(source: &'a dyn ReadAt, findings: &mut Findings) -> Result<Segments<'a>, Error> {
    let head = Head::read(source)?;
    let mut segments = Segments {
        machine: head.machine,
        runs: PlacedRunsBuilder::new(source, "PT_LOAD"),
        notes: Vec::new(),
    };
    let mut of_runs = Findings::default();
    head.segments(source, MOST_SEGMENTS, findings, &mut |segment| {
        let (offset, size) = (segment.offset, segment.file_size);
        match segment.kind {
            SegmentKind::Load => {
                let start = PhysAddr(segment.physical_address);
                segments.runs.add(Placed { start, size, offset }, &mut of_runs);
            }
            SegmentKind::Note if segments.notes.len() < MOST_NOTE_SEGMENTS => segments.notes.push((offset, size)),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    findings.append(of_runs);
    Ok(segments)
}
