//! Memory that is kept whatever the options are, so that the stacks can be walked.

use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::memory::read_array;
use dotdump_snapshot::{ProcessSnapshot, RangeSet};

use super::windows_layout::SHARED_USER_DATA;

/// What Windows' own writers always store: the page shared with every process, and the unwind information of code made
/// at run time.
pub(crate) fn unwinding(snapshot: &dyn ProcessSnapshot) -> Result<RangeSet, Error> {
    let mut ranges = RangeSet::new();
    if snapshot.system_info().is_some_and(|info| info.platform().is_windows()) {
        let (start, size) = SHARED_USER_DATA;
        ranges.insert(VirtRange::sized(VirtAddr(start), size));
    }
    let mut failed = None;
    snapshot.unwind_infos(&mut |address| {
        match unwind_info(snapshot, address) {
            Ok(range) => ranges.insert(range),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(ranges),
    }
}

/// `UNW_FLAG_EHANDLER` and `UNW_FLAG_UHANDLER`: the address of a handler follows (x64 exception handling,
/// Microsoft's ABI documentation).
const HANDLER: u8 = 0x1 | 0x2;

/// `UNW_FLAG_CHAININFO`: a `RUNTIME_FUNCTION` follows.
const CHAINED: u8 = 0x4;

/// The addresses of the `UNWIND_INFO` at `address`: a head of four bytes, codes of two bytes each (an even number of
/// them), and what its flags say.
fn unwind_info(snapshot: &dyn ProcessSnapshot, address: VirtAddr) -> Result<VirtRange, Error> {
    let Some([version_and_flags, _, codes, _]) = read_array::<4>(snapshot.memory(), address)? else {
        return Ok(VirtRange::default());
    };
    let flags = version_and_flags >> 3;
    let tail = if flags & CHAINED != 0 {
        12
    } else if flags & HANDLER != 0 {
        4
    } else {
        0
    };
    Ok(VirtRange::sized(
        address,
        4 + u64::from(codes).next_multiple_of(2) * 2 + tail,
    ))
}
