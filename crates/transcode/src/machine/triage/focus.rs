//! The processor that stopped the machine, and what ran on it.

use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::machine::Processor;

use super::target::Target;

/// The processor that stopped, its thread and process.
#[derive(Debug, Default)]
pub(super) struct Focus<'a> {
    pub(super) processor: Option<&'a Processor>,
    /// Its copy of the `KPRCB`, `EPROCESS` and `ETHREAD`; empty where they are not known.
    pub(super) prcb: Vec<u8>,
    pub(super) process: Vec<u8>,
    pub(super) thread: Vec<u8>,
    /// Where the thread is.
    pub(super) thread_at: Option<VirtAddr>,
    /// Its stack, from the stack pointer on.
    pub(super) stack: VirtRange,
}

impl<'a> Focus<'a> {
    /// Looks at the processor that stopped.
    pub(super) fn find(target: &Target<'a>) -> Result<Self, Error> {
        let processor = match target.snapshot.stopped_processor() {
            Some(processor) => Some(processor),
            None => likely_processor(target)?,
        };
        let mut focus = Focus {
            processor,
            ..Focus::default()
        };
        let prcb = processor.and_then(|processor| processor.prcb);
        focus.thread_at = match (processor.and_then(|processor| processor.current_thread), prcb) {
            (Some(thread), _) => Some(thread),
            (None, Some(prcb)) => target.current_thread(prcb)?,
            (None, None) => None,
        };
        let process = match focus.thread_at {
            Some(thread) => target.process_of(thread)?,
            None => None,
        };
        focus.prcb = copy(target, prcb, target.prcb_size())?;
        focus.thread = copy(target, focus.thread_at, target.thread_size())?;
        focus.process = copy(target, process, target.process_size())?;
        focus.stack = stack(target, processor, focus.thread_at)?;
        Ok(focus)
    }
}

/// A structure; what cannot be read of its end is zero. Nothing where its start cannot be read.
fn copy(target: &Target<'_>, at: Option<VirtAddr>, size: Option<u64>) -> Result<Vec<u8>, Error> {
    let (Some(at), Some(size)) = (at, size.and_then(|size| usize::try_from(size).ok())) else {
        return Ok(Vec::new());
    };
    let mut bytes = target.prefix(at, size)?;
    if !bytes.is_empty() {
        bytes.resize(size, 0);
    }
    Ok(bytes)
}

/// The stack that the registers point to which the processor saved; where these are not known, or lie where nothing is,
/// that of the header's registers.
fn stack(target: &Target<'_>, processor: Option<&Processor>, thread: Option<VirtAddr>) -> Result<VirtRange, Error> {
    let saved = processor.and_then(|processor| target.stack_pointer(processor.context.as_ref()?));
    let header = target.header_registers();
    let header = header.map(|registers| VirtAddr(registers.stack_pointer()));
    for pointer in saved.into_iter().chain(header) {
        let stack = target.stack_from(pointer, thread)?;
        if !stack.is_empty() {
            return Ok(stack);
        }
    }
    Ok(VirtRange::sized(header.or(saved).unwrap_or_default(), 0))
}

/// Where the source does not tell which processor stopped: the one whose stack pointer the header has, or on whose
/// thread's stack that lies, as the header's registers may be those of a trap further up. The first one where nothing
/// tells.
fn likely_processor<'a>(target: &Target<'a>) -> Result<Option<&'a Processor>, Error> {
    let processors = target.snapshot.processors();
    if let Some(registers) = target.header_registers() {
        let pointer = registers.stack_pointer();
        let same = processors.iter().find(|processor| {
            let context = processor.context.as_ref();
            let saved = context.and_then(|context| target.registers(&context.bytes));
            saved.is_some_and(|saved| saved.stack_pointer() == pointer)
        });
        if same.is_some() {
            return Ok(same);
        }
        for processor in processors {
            if let Some(thread) = processor.current_thread
                && let Some(stack) = target.thread_stack(thread)?
                && stack.contains(VirtAddr(pointer))
            {
                return Ok(Some(processor));
            }
        }
    }
    Ok(processors.first())
}
