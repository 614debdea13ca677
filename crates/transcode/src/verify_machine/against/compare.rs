//! Page by page.

use std::ops::ControlFlow;

use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr};
use dotdump_snapshot::machine::Patch;
use dotdump_snapshot::{PagePlace, PhysicalMemory};

use super::{CHUNK, Claim, Declared, MachineAgainst};

/// The size of a page, as an index.
const PAGE: usize = 0x1000;
const _: () = assert!(PAGE as u64 == PAGE_SIZE && CHUNK.is_multiple_of(PAGE));

/// Walks `first..end` by the runs of `memory`: pages that are there with their place, and pages that are not.
pub(super) fn parts(
    memory: &dyn PhysicalMemory,
    first: Pfn,
    end: Pfn,
    mut each: impl FnMut(Pfn, Pfn, Option<PagePlace>) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let mut at = first;
    while at < end {
        let run = memory.next_run(at)?.filter(|run| run.first < end);
        let (start, stop, place) = match run.and_then(|run| run.from(at)) {
            Some(run) if run.first == at => (at, run.end().min(end), Some(run.place)),
            Some(run) => (at, run.first, None),
            None => (at, end, None),
        };
        if each(start, stop, place)?.is_break() {
            break;
        }
        at = stop;
    }
    Ok(())
}

/// Compares all pages of `dump` with those of `source`.
pub(super) fn pages(
    dump: &dyn PhysicalMemory,
    source: &dyn PhysicalMemory,
    declared: &[Declared],
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    let (mut mine, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    for run in dump.runs(Pfn(0)) {
        let run = run?;
        parts(source, run.first, run.end(), |first, end, place| {
            let pages = end.0 - first.0;
            let Some(place) = place else {
                report.differ("pages", format!("{pages} pages from {first} on are not in the source"));
                return Ok(ControlFlow::Continue(()));
            };
            report.pages_compared += pages;
            if run.place == PagePlace::Zero && place == PagePlace::Zero {
                return Ok(ControlFlow::Continue(()));
            }
            let mut at = first;
            while at < end {
                let chunk = ((end.0 - at.0).min((CHUNK / PAGE) as u64), at);
                let size = usize::try_from(chunk.0).unwrap_or(1) * PAGE;
                let both = filled(dump, at, &mut mine[..size])? && filled(source, at, &mut theirs[..size])?;
                if !both || mine[..size] != theirs[..size] {
                    for page in at.0..at.0 + chunk.0 {
                        one_page(dump, source, Pfn(page), declared, report)?;
                    }
                }
                at = at.saturating_add(chunk.0);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

/// Reads whole pages; whether they could be read. Data that is damaged is no failure of the medium.
fn filled(memory: &dyn PhysicalMemory, page: Pfn, buffer: &mut [u8]) -> Result<bool, Error> {
    let Some(address) = page.address() else {
        return Ok(false);
    };
    match memory.read(address, buffer) {
        Ok(read) => Ok(read == buffer.len()),
        Err(Error::Malformed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn one_page(
    dump: &dyn PhysicalMemory,
    source: &dyn PhysicalMemory,
    page: Pfn,
    declared: &[Declared],
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    let (mut mine, mut theirs) = ([0; PAGE], [0; PAGE]);
    let Some(address) = page.address() else { return Ok(()) };
    for (memory, buffer, whose) in [(dump, &mut mine, "dump"), (source, &mut theirs, "source")] {
        if !filled(memory, page, buffer)? {
            report.differ(
                format!("page {page}"),
                format!("its data in the {whose} cannot be read"),
            );
            return Ok(());
        }
    }
    let differing = mine
        .iter()
        .zip(&theirs)
        .enumerate()
        .filter(|(_, (mine, theirs))| mine != theirs);
    let (mut undeclared, mut first, mut any) = (0_u64, None, false);
    for (at, _) in differing {
        any = true;
        let at = address.saturating_add(at as u64);
        if !is_declared(declared, at) {
            undeclared += 1;
            first.get_or_insert(at);
        }
    }
    match first {
        Some(first) => report.differ(
            format!("page {page}"),
            format!("{undeclared} bytes differ that no manifest declares, the first at {first}"),
        ),
        None if any => report.pages_patched += 1,
        None => {}
    }
    Ok(())
}

fn is_declared(declared: &[Declared], at: PhysAddr) -> bool {
    let before = &declared[..declared.partition_point(|patch| patch.start <= at)];
    before.iter().any(|patch| at.0 - patch.start.0 < patch.size)
}

/// Whether declared bytes are those that the source asks for.
pub(super) fn patches(
    dump: &dyn PhysicalMemory,
    patches: &[Patch],
    declared: &[Declared],
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    for span in declared {
        let wanted = patches
            .iter()
            .find(|patch| patch.address == span.start && patch.bytes.len() as u64 == span.size);
        let Some(wanted) = wanted else {
            report.notes.push(format!(
                "{:#x} bytes at {} are declared as changed, and the source does not say to what",
                span.size, span.start
            ));
            continue;
        };
        let mut found = vec![0; wanted.bytes.len()];
        let read = dump.read(wanted.address, &mut found)?;
        if found[..read] != wanted.bytes[..read] {
            report.differ(
                wanted.what,
                format!("at {} are other bytes than the source asks for", span.start),
            );
        }
    }
    Ok(())
}

/// Counts what the dump lacks of the source, from page `lowest` on. A complete dump lacks nothing but zeros.
pub(super) fn left_out(
    dump: &dyn PhysicalMemory,
    source: &dyn PhysicalMemory,
    lowest: Pfn,
    report: &mut MachineAgainst,
) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    let mut first = None;
    for run in source.runs(lowest) {
        let run = run?;
        parts(dump, run.first, run.end(), |start, end, place| {
            if place.is_some() {
                return Ok(ControlFlow::Continue(()));
            }
            report.left_out.pages += end.0 - start.0;
            if report.claim != Claim::Complete || run.place == PagePlace::Zero {
                return Ok(ControlFlow::Continue(()));
            }
            let mut at = start;
            while at < end {
                let pages = (end.0 - at.0).min((CHUNK / PAGE) as u64);
                let buffer = &mut buffer[..usize::try_from(pages).unwrap_or(1) * PAGE];
                let whole = filled(source, at, buffer)?;
                for (page, bytes) in (at.0..).zip(buffer.chunks(PAGE)) {
                    if !whole || bytes.iter().any(|byte| *byte != 0) {
                        report.left_out.with_content += 1;
                        first.get_or_insert(Pfn(page));
                    }
                }
                at = at.saturating_add(pages);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if let Some(first) = first {
        let pages = report.left_out.with_content;
        report.differ(
            "pages",
            format!("the dump calls itself complete and lacks {pages} pages that are not all zero, the first {first}"),
        );
    }
    Ok(())
}
