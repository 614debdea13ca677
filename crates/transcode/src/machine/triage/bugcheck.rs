//! Memory that belongs to certain bugchecks.

use dotdump_format::{Error, VirtAddr, VirtRange};

use super::blocks::Blocks;
use super::focus::Focus;
use super::reason::Reason;
use super::target::Target;

/// `DPC_WATCHDOG_VIOLATION`.
const DPC_WATCHDOG_VIOLATION: u32 = 0x133;

/// The first field of `DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK`.
const WATCHDOG_SIGNATURE: u32 = 0xAEBE_CEDE;

/// The size of that in bytes.
const WATCHDOG_BLOCK: u64 = 0x10;

/// The largest buffer that is believed, in bytes. Real ones have 0x41000.
const LARGEST_BUFFER: u64 = 1 << 20;

/// The largest stack of an interrupted thread that is stored, in bytes: as debuggers do.
const INTERRUPTED_STACK: u64 = 0x6000;

/// What is known of the bugcheck.
pub(super) struct Details {
    watchdog: Option<Watchdog>,
}

/// Where the deferred procedure calls of each processor are recorded: the `DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK` that the third parameter
/// points to has the place of the pointer in the `KPRCB`, and the size of what that points to.
struct Watchdog {
    at: VirtAddr,
    offset_in_prcb: u64,
    size: u64,
}

impl Details {
    pub(super) fn read(target: &Target<'_>) -> Result<Self, Error> {
        let watchdog = match target.snapshot.bugcheck() {
            Some(bugcheck) if bugcheck.code == DPC_WATCHDOG_VIOLATION => {
                Watchdog::read(target, VirtAddr(bugcheck.parameters[2]))?
            }
            _ => None,
        };
        Ok(Self { watchdog })
    }

    /// Adds what comes first in a dump.
    pub(super) fn add(&self, target: &Target<'_>, blocks: &mut Blocks<'_>) -> Result<(), Error> {
        let Some(watchdog) = &self.watchdog else {
            return Ok(());
        };
        for processor in target.snapshot.processors().iter().rev() {
            let Some(prcb) = processor.prcb else { continue };
            let Some(buffer) = target.pointer(prcb.saturating_add(watchdog.offset_in_prcb))? else {
                continue;
            };
            let buffer = VirtRange::sized(buffer, watchdog.size);
            // All processors but one have nothing in theirs, and there may be hundreds of them.
            if is_used(target, buffer)? {
                blocks.add(Reason::BugcheckData, buffer)?;
            }
        }
        blocks.add(Reason::BugcheckData, VirtRange::sized(watchdog.at, WATCHDOG_BLOCK))
    }

    /// The stack of the thread that was interrupted, where the processor stopped on another one; empty where that is no
    /// matter.
    pub(super) fn interrupted_stack(&self, target: &Target<'_>, focus: &Focus<'_>) -> Result<VirtRange, Error> {
        let (Some(_), Some(thread)) = (&self.watchdog, focus.thread_at) else {
            return Ok(VirtRange::default());
        };
        match target.thread_stack(thread)? {
            Some(stack) if !stack.contains(focus.stack.start) => {
                target.present(VirtRange::sized(stack.start, stack.size().min(INTERRUPTED_STACK)))
            }
            _ => Ok(VirtRange::default()),
        }
    }
}

impl Watchdog {
    fn read(target: &Target<'_>, at: VirtAddr) -> Result<Option<Self>, Error> {
        let (signature, offset, words) = (
            target.word(at)?,
            target.word(at.saturating_add(8))?,
            target.word(at.saturating_add(12))?,
        );
        let (Some(WATCHDOG_SIGNATURE), Some(offset), Some(words)) = (signature, offset, words) else {
            return Ok(None);
        };
        let size = u64::from(words) * 8;
        let is_believed = size <= LARGEST_BUFFER && target.prcb_size().is_some_and(|prcb| u64::from(offset) < prcb);
        Ok(is_believed.then_some(Self {
            at,
            offset_in_prcb: offset.into(),
            size,
        }))
    }
}

/// Whether there is something other than zeros in `range`.
fn is_used(target: &Target<'_>, range: VirtRange) -> Result<bool, Error> {
    let mut buffer = [0; 0x1000];
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from(range.end.0 - at.0)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let there = target.memory.read(at, &mut buffer[..wanted])?;
        if buffer[..there].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        if there == 0 {
            break;
        }
        at = at.saturating_add(there as u64);
    }
    Ok(false)
}
