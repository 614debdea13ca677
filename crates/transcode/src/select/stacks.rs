//! Which part of a thread's stack is kept.

use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::minidump::{StreamType, context};
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::memory::contiguous_end;
use dotdump_snapshot::{ProcessSnapshot, ThreadSnapshot};

use super::{stack_pointer, windows_layout};
use crate::shortfall::Shortfalls;
use crate::words::Words;

/// The longest stack that is taken on the word of bytes that merely lie next to each other.
const GUESSED_STACK: u64 = 1 << 20;

/// The size of a page of memory, in bytes.
const PAGE: u64 = 4096;

/// The size of an x86 CONTEXT, in bytes.
const X86_CONTEXT: usize = 716;

/// The stack of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadStack {
    /// The thread's id.
    pub thread: u32,
    /// From the stack pointer to the base; `None` where none of it is in the source.
    pub kept: Option<VirtRange>,
    /// All addresses that belong to the stack, unused ones below the stack pointer included.
    pub own: Option<VirtRange>,
}

/// The stacks of all threads, in the snapshot's order.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(crate) fn thread_stacks(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    lenient: bool,
    shortfalls: &mut Shortfalls,
) -> Result<Vec<ThreadStack>, Error> {
    let mut stacks = Vec::with_capacity(snapshot.threads().len());
    let mut without = Vec::new();
    for thread in snapshot.threads() {
        let (mut kept, own) = thread_stack(snapshot, words, thread)?;
        // Some of it must be there: a range without bytes would claim what the dump does not have.
        if let Some(range) = kept
            && snapshot.memory().extents(range).next().transpose()?.is_none()
        {
            kept = None;
        }
        let id = thread.record.thread_id.get();
        if kept.is_none() {
            without.push(format!("{id:#x}"));
        }
        stacks.push(ThreadStack { thread: id, kept, own });
    }
    let mut tell = |message: &str| {
        if lenient {
            shortfalls.warn("-m", message)
        } else {
            shortfalls.refuse("-m", message)
        }
    };
    if !stacks.is_empty() && without.len() == stacks.len() {
        tell("the source has no stack memory of any thread");
    } else if stacks.is_empty() && snapshot.stream_types().contains(&StreamType::THREAD_LIST) && is_damaged(snapshot) {
        tell("the source's list of threads cannot be read");
    } else if stacks.is_empty() {
        shortfalls.warn("-m", "the source has no threads");
    } else {
        shortfalls.warn_for("-m", "no stack memory in the source for threads", &without);
    }
    Ok(stacks)
}

fn is_damaged(snapshot: &dyn ProcessSnapshot) -> bool {
    !snapshot.findings().is_empty()
}

fn thread_stack(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    thread: &ThreadSnapshot,
) -> Result<(Option<VirtRange>, Option<VirtRange>), Error> {
    let Some(pointer) = lowest_stack_pointer(snapshot, thread)? else {
        // Without registers the recorded range is all that is known.
        let recorded = thread.stack();
        return Ok((recorded, recorded));
    };
    let teb = stack_of_teb(snapshot, words, thread, pointer)?;
    let recorded = thread.stack();
    let start = first_kept(snapshot, pointer);
    let whole = keeps_whole_stacks(snapshot);
    if let Some(own) = teb {
        let kept = if whole {
            own
        } else {
            VirtRange::new(start.max(own.start), own.end)
        };
        return Ok((Some(kept), Some(own)));
    }
    // A recorded stack that begins above the pointer was cut; one that ends at or below it belongs elsewhere.
    if let Some(recorded) = recorded
        && recorded.end > pointer
        && recorded.start <= pointer.saturating_add(GUESSED_STACK)
    {
        let kept = if whole {
            recorded
        } else {
            VirtRange::new(start.max(recorded.start), recorded.end)
        };
        // Linux writers start at the page of the pointer, so what lies below it in the range is the stack's as well.
        return Ok((
            Some(kept),
            Some(VirtRange::new(start.min(recorded.start), recorded.end)),
        ));
    }
    if let Some(region) = snapshot.region_at(pointer)?
        && region.is_readable()
    {
        let kept = VirtRange::new(start.max(region.range.start), region.range.end);
        // A dump of a Linux process records what is kept as the stack. What is made of the process itself has to be the
        // same, and a region may have more than a stack in it.
        let own = if is_windows(snapshot) { region.range } else { kept };
        return Ok((Some(kept), Some(own)));
    }
    let end = contiguous_end(snapshot.memory(), pointer, GUESSED_STACK)?;
    let guessed = (end > pointer).then(|| VirtRange::new(start, end));
    Ok((guessed.or(recorded), guessed.or(recorded)))
}

/// The stack pointer of a thread; of the thread that crashed the lower one of its own and the exception's, as the
/// thread may have gone on into a handler, or may have been recorded before it.
fn lowest_stack_pointer(snapshot: &dyn ProcessSnapshot, thread: &ThreadSnapshot) -> Result<Option<VirtAddr>, Error> {
    let own = match &thread.context {
        Some(context) => stack_pointer(snapshot, context)?,
        None => None,
    };
    let raised = match snapshot.exception() {
        Some((record, Some(context))) if record.thread_id == thread.record.thread_id => {
            stack_pointer(snapshot, context)?
        }
        _ => None,
    };
    let lowest = match (own, raised) {
        // On different stacks the lower one says nothing about the thread's.
        (Some(own), Some(raised)) if own.abs_diff(raised) > GUESSED_STACK => own,
        (Some(own), Some(raised)) => own.min(raised),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => return Ok(None),
    };
    Ok(Some(VirtAddr(lowest)))
}

/// Where the kept part begins. Windows' writers start at the pointer, on x86 four bytes below it; those of other systems
/// at its page, so that what leaf functions keep below the pointer is there as well.
fn first_kept(snapshot: &dyn ProcessSnapshot, pointer: VirtAddr) -> VirtAddr {
    if snapshot.system_info().is_some() && !is_windows(snapshot) {
        return pointer.align_down(PAGE);
    }
    match context::base_size(snapshot.architecture()) {
        Some(X86_CONTEXT) => pointer.saturating_sub(4),
        _ => pointer,
    }
}

fn is_windows(snapshot: &dyn ProcessSnapshot) -> bool {
    snapshot.system_info().is_some_and(|info| info.platform().is_windows())
}

/// Whether stacks are kept from their limit on, not from the stack pointer on: so does dbghelp on ARM64, as a dump with
/// 104 threads shows (Windows build 19042).
fn keeps_whole_stacks(snapshot: &dyn ProcessSnapshot) -> bool {
    snapshot.architecture() == ProcessorArchitecture::ARM64 && is_windows(snapshot)
}

/// The stack's limits from the thread's environment block, where the pointer lies within them.
fn stack_of_teb(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    thread: &ThreadSnapshot,
    pointer: VirtAddr,
) -> Result<Option<VirtRange>, Error> {
    let teb = thread.record.teb.get();
    if teb == 0 || !is_windows(snapshot) {
        return Ok(None);
    }
    let layout = if words.size == 8 {
        &windows_layout::X64
    } else {
        &windows_layout::X86
    };
    let base = words.read(snapshot.memory(), VirtAddr(teb).saturating_add(layout.teb_stack_base))?;
    let limit = words.read(
        snapshot.memory(),
        VirtAddr(teb).saturating_add(layout.teb_stack_base + words.size as u64),
    )?;
    let (Some(base), Some(limit)) = (base, limit) else {
        return Ok(None);
    };
    let own = VirtRange::new(VirtAddr(limit), VirtAddr(base));
    // Below the limit the pointer may stand for a moment while the guard page moves; elsewhere it is on another stack.
    let near = VirtRange::new(own.start.saturating_sub(GUESSED_STACK), own.end);
    Ok((!own.is_empty() && near.contains(pointer)).then(|| VirtRange::new(own.start.min(pointer), own.end)))
}
