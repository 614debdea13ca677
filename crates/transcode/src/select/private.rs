//! Private pages (`-mw`), and whether a source has all memory (`-mf`).

use dotdump_format::Error;
use dotdump_format::minidump::{MiniDumpType, StreamType};
use dotdump_snapshot::regions::MEM_PRIVATE;
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use crate::options::MiniOptions;
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
    options: MiniOptions,
    force: bool,
    shortfalls: &mut Shortfalls,
) -> Result<bool, Error> {
    let flags = MiniDumpType::from_bits_retain(snapshot.header().flags.get());
    let is_full = snapshot.stream_types().contains(&StreamType::MEMORY64_LIST)
        && (flags.contains(MiniDumpType::WITH_FULL_MEMORY) || snapshot.has_regions());
    let mut there = 0;
    for extent in snapshot.memory().all() {
        there += extent?.range.size();
    }
    let lenient = force || options.contains(MiniOptions::IGNORE_INACCESSIBLE);
    let mut tell = |message: String| {
        if lenient {
            shortfalls.warn("-mf", message);
        } else {
            shortfalls.refuse("-mf", format!("{message} (--force or -mA writes what is there)"));
        }
    };
    if !is_full {
        tell(format!(
            "full memory was asked for, but the source is no full dump: it holds {there} bytes"
        ));
        return Ok(false);
    }
    if snapshot.missing_bytes() > 0 {
        tell(format!(
            "the source is cut off: {} bytes of its memory are missing",
            snapshot.missing_bytes()
        ));
    }
    Ok(true)
}
