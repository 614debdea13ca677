//! Private pages (`-mw`), and whether a source has all memory (`-mf`).

use dotdump_format::minidump::{MiniDumpType, StreamType};
use dotdump_format::{Error, VirtAddr};
use dotdump_snapshot::regions::MEM_PRIVATE;
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use crate::shortfall::Shortfalls;

/// The private pages that can be written; `None` where the source has no map of the address space to tell.
pub(crate) fn private_read_write(
    snapshot: &dyn ProcessSnapshot,
    shortfalls: &mut Shortfalls,
) -> Result<Option<RangeSet>, Error> {
    if !snapshot.has_regions() {
        shortfalls.refuse(
            "-mw",
            "the source lacks the map of the address space (MemoryInfoList or LinuxMaps) that tells which pages are private",
        );
        return Ok(None);
    }
    let mut pages = RangeSet::new();
    for region in snapshot.regions() {
        let region = region?;
        if region.kind == MEM_PRIVATE && region.is_read_write() {
            pages.insert(region.range);
        }
    }
    pages.settle();
    Ok(Some(pages))
}

/// Refuses `-mf` where the source does not have all memory, or warns where that is accepted. Tells whether it is a full
/// dump, if perhaps a cut one.
pub(crate) fn check_full(
    snapshot: &dyn ProcessSnapshot,
    lenient: bool,
    shortfalls: &mut Shortfalls,
) -> Result<bool, Error> {
    let flags = MiniDumpType::from_bits_retain(snapshot.header().flags.get());
    let mut there = 0;
    for extent in snapshot.memory().all() {
        there += extent?.range.size();
    }
    let is_full = there > 0
        && snapshot.stream_types().contains(&StreamType::MEMORY64_LIST)
        && (flags.contains(MiniDumpType::WITH_FULL_MEMORY) || snapshot.has_regions());
    let mut tell = |message: String| {
        if lenient {
            shortfalls.warn("-mf", message);
        } else {
            shortfalls.refuse("-mf", format!("{message} (--force or -mA writes what is there)"));
        }
    };
    if !is_full {
        let message = format!("full memory was asked for, but the source is no full dump: it holds {there} bytes");
        tell(message);
        return Ok(false);
    }
    if snapshot.missing_bytes() > 0 {
        let missing = snapshot.missing_bytes();
        tell(match snapshot.first_missing() {
            Some(first) => format!("{missing} bytes of readable memory cannot be read, first at {first}"),
            None => format!("the source is cut off: {missing} bytes of its memory are missing"),
        });
        return Ok(true);
    }
    let (absent, first) = declared_and_absent(snapshot)?;
    if absent > 0 {
        let first = first.unwrap_or_default();
        tell(format!(
            "{absent} bytes of readable memory are not in the source, first at {first}"
        ));
    }
    Ok(true)
}

/// How much memory Windows' map of the address space declares as committed and readable that is not in the source, and
/// where it begins. Linux' maps list memory that no writer can read.
fn declared_and_absent(snapshot: &dyn ProcessSnapshot) -> Result<(u64, Option<VirtAddr>), Error> {
    let is_windows = snapshot.system_info().is_some_and(|info| info.platform().is_windows());
    if !is_windows || !snapshot.has_regions() {
        return Ok((0, None));
    }
    let mut memory = snapshot.memory().all();
    let mut next = memory.next().transpose()?;
    let (mut absent, mut first) = (0, None);
    for region in snapshot.regions() {
        let region = region?;
        if !region.is_readable() {
            continue;
        }
        let mut at = region.range.start;
        while at < region.range.end {
            let Some(extent) = next else {
                absent += region.range.end.0 - at.0;
                first = first.or(Some(at));
                break;
            };
            if extent.range.end <= at {
                next = memory.next().transpose()?;
                continue;
            }
            let start = extent.range.start.min(region.range.end).max(at);
            if start > at {
                absent += start.0 - at.0;
                first = first.or(Some(at));
            }
            at = start.max(extent.range.end.min(region.range.end));
        }
    }
    Ok((absent, first))
}
