//! Finding the exception that a request names.

use dotdump_format::minidump::context;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::linux::{LinuxArchitecture, LinuxSignal, signal};
use dotdump_snapshot::{Blob, ProcessSnapshot, RangeSet, ThreadSnapshot};

use super::{ExceptionRequest, linux, windows};
use crate::convert::ConvertError;
use crate::options::OptionsError;
use crate::shortfall::Shortfalls;

/// What was read at the addresses of a request.
#[derive(Default)]
pub(super) struct Told {
    /// The thread that a record names.
    pub(super) thread: Option<u32>,
    /// The exception.
    pub(super) exception: Option<Exception>,
    /// The registers.
    pub(super) context: Option<Vec<u8>>,
    /// Where all this is.
    pub(super) ranges: RangeSet,
}

impl Told {
    /// Notes that something of `size` bytes is at `address`.
    pub(super) fn keep(&mut self, address: VirtAddr, size: usize) {
        self.ranges.insert(VirtRange::sized(address, size as u64));
    }
}

/// An exception whose thread is not known yet.
pub(super) enum Exception {
    /// One of Windows.
    Record(ExceptionStream),
    /// A signal: the bytes of its `siginfo_t`.
    Signal(LinuxArchitecture, Vec<u8>),
}

/// Why there is nothing to store: what prevents it, after the option that asked for it.
pub(super) enum Lack {
    /// Such a process has nothing of the kind.
    Inapplicable(&'static str, &'static str),
    /// It is not there, or is not what it should be.
    Refused(&'static str, String),
    /// The medium failed.
    Failed(Error),
}

impl From<Error> for Lack {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The exception that a request names.
#[derive(Default)]
pub(crate) struct Found {
    /// The exception and its registers; `None` where none is asked for.
    pub(crate) exception: Option<(ExceptionStream, Option<Blob>)>,
    /// The memory that it was read from.
    pub(crate) ranges: RangeSet,
}

/// Finds the exception in a process. `None` where none is asked for, and where it cannot be had: then `shortfalls` has a
/// refusal that says why.
///
/// # Errors
/// [`ConvertError::Options`] for what such a process does not have; [`ConvertError::Format`] where the medium fails.
pub(crate) fn find(
    snapshot: &dyn ProcessSnapshot,
    request: &ExceptionRequest,
    shortfalls: &mut Shortfalls,
) -> Result<Option<Found>, ConvertError> {
    let Some(option) = request.first() else {
        return Ok(None);
    };
    let platform = snapshot.system_info().map(SystemInfo::platform);
    let (told, unknown_code) = match platform {
        Some(platform) if platform.is_windows() => (windows::read(snapshot, request), windows::BREAKPOINT),
        Some(platform) if platform.is_linux() => (linux::read(snapshot, request), linux::DUMP_REQUESTED),
        _ => {
            return Err(inapplicable(
                option,
                "an exception can only be read from a process of Windows or Linux",
            ));
        }
    };
    match told.and_then(|told| complete(snapshot, request.thread, told, option, unknown_code, shortfalls)) {
        Ok(found) => Ok(Some(found)),
        Err(Lack::Refused(option, message)) => {
            shortfalls.refuse(option, message);
            Ok(None)
        }
        Err(Lack::Inapplicable(option, reason)) => Err(inapplicable(option, reason)),
        Err(Lack::Failed(error)) => Err(error.into()),
    }
}

fn inapplicable(option: &str, reason: &'static str) -> ConvertError {
    ConvertError::Options(OptionsError::Refused {
        option: option.to_owned(),
        reason,
    })
}

/// Makes up for what the records did not tell.
fn complete(
    snapshot: &dyn ProcessSnapshot,
    wanted: Option<u32>,
    told: Told,
    option: &'static str,
    unknown_code: u32,
    shortfalls: &mut Shortfalls,
) -> Result<Found, Lack> {
    let (architecture, endian) = (snapshot.architecture(), snapshot.endian());
    let stack_pointer = |bytes: &[u8]| context::stack_pointer_of(bytes, architecture, endian);
    let thread = match (wanted, told.thread) {
        (Some(id), _) => by_id(snapshot, id).ok_or_else(|| no_thread("-xt", id))?,
        (None, Some(id)) => by_id(snapshot, id).ok_or_else(|| no_thread(option, id))?,
        (None, None) => {
            let pointer = told.context.as_deref().and_then(stack_pointer);
            let thread = likely(snapshot, pointer.map(VirtAddr))?
                .ok_or_else(|| Lack::Refused(option, "the source has no threads that it could belong to".to_owned()))?;
            let message = format!(
                "the exception is taken for that of thread {}; -xt names another",
                thread.record.thread_id
            );
            shortfalls.note(option, message);
            thread
        }
    };
    let registers = match told.context {
        Some(bytes) => Some(Blob::Bytes(bytes)),
        None => thread.context.clone(),
    };
    let bytes = registers.as_ref().map(|blob| snapshot.bytes(blob)).transpose()?;
    let pointer = bytes.and_then(|bytes| context::instruction_pointer_of(&bytes, architecture, endian));
    let record = match told.exception {
        Some(Exception::Record(record)) => Some(record),
        Some(Exception::Signal(processor, siginfo)) => {
            let thread_id = thread.record.thread_id.get();
            signal::exception(processor, &LinuxSignal { thread_id, siginfo }, pointer)
        }
        None => None,
    };
    let mut record = record.unwrap_or_else(|| ExceptionStream {
        exception_code: unknown_code.into(),
        exception_address: pointer.unwrap_or(0).into(),
        ..ExceptionStream::default()
    });
    record.thread_id = thread.record.thread_id;
    Ok(Found {
        exception: Some((record, registers)),
        ranges: told.ranges,
    })
}

fn no_thread(option: &'static str, id: u32) -> Lack {
    Lack::Refused(option, format!("the source has no thread {id} ({id:#x})"))
}

fn by_id(snapshot: &dyn ProcessSnapshot, id: u32) -> Option<&ThreadSnapshot> {
    snapshot
        .threads()
        .iter()
        .find(|thread| thread.record.thread_id.get() == id)
}

/// The thread that an exception belongs to whose registers have this stack pointer: the one on whose stack that is, as
/// the source recorded it or by the region around the thread's own stack pointer; else that of the source's exception.
fn likely(snapshot: &dyn ProcessSnapshot, stack_pointer: Option<VirtAddr>) -> Result<Option<&ThreadSnapshot>, Error> {
    if let Some(pointer) = stack_pointer {
        let region = snapshot.region_at(pointer)?.map(|region| region.range);
        for thread in snapshot.threads() {
            let own = own_stack_pointer(snapshot, thread)?;
            let is_near = |range: VirtRange| own.is_some_and(|own| range.contains(own));
            if thread.stack().is_some_and(|stack| stack.contains(pointer)) || region.is_some_and(is_near) {
                return Ok(Some(thread));
            }
        }
    }
    let crashed = snapshot.exception().map(|(record, _)| record.thread_id.get());
    let crashed = crashed.and_then(|id| by_id(snapshot, id));
    Ok(crashed.or_else(|| snapshot.threads().first()))
}

fn own_stack_pointer(snapshot: &dyn ProcessSnapshot, thread: &ThreadSnapshot) -> Result<Option<VirtAddr>, Error> {
    let Some(blob) = &thread.context else {
        return Ok(None);
    };
    let pointer = context::stack_pointer_of(&snapshot.bytes(blob)?, snapshot.architecture(), snapshot.endian());
    Ok(pointer.map(VirtAddr))
}
