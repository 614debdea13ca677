//! The threads of a stopped process.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use dotdump_format::minidump::context::xstate::XStateConfig;
use dotdump_format::minidump::thread_info_list::{ThreadDumpFlags, ThreadInfo};
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::thread_names::ThreadName;
use dotdump_snapshot::{Blob, ThreadSnapshot};
use windows_sys::Win32::Foundation::{FILETIME, LocalFree};
use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Threading::{
    GetExitCodeThread, GetPriorityClass, GetThreadPriority, GetThreadTimes, OpenThread, ResumeThread, SuspendThread,
    THREAD_GET_CONTEXT, THREAD_QUERY_INFORMATION, THREAD_SUSPEND_RESUME,
};

use super::context::{Registers, config};
use super::native::{Plain, functions, raw, thread_information};

/// What is done with a thread. Its count is asked for by suspending it where the system does not tell it.
const ACCESS: u32 = THREAD_GET_CONTEXT | THREAD_QUERY_INFORMATION | THREAD_SUSPEND_RESUME;
/// More threads than any process has.
const MOST_THREADS: usize = 1 << 20;
/// `ThreadBasicInformation`.
const BASIC_INFORMATION: u32 = 0;
/// `ThreadQuerySetWin32StartAddress`.
const START_ADDRESS: u32 = 9;
/// `ThreadSuspendCount`.
const SUSPEND_COUNT: u32 = 35;
/// What the system answers for a thread that cannot be counted.
const FAILED: u32 = u32::MAX;
/// `THREAD_PRIORITY_ERROR_RETURN`.
const NO_PRIORITY: i32 = i32::MAX;

/// `THREAD_BASIC_INFORMATION` (`ntpsapi.h`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct BasicInformation {
    exit_status: i32,
    teb: usize,
    process: usize,
    thread: usize,
    affinity: usize,
    priority: i32,
    base_priority: i32,
}

// SAFETY: numbers.
unsafe impl Plain for BasicInformation {}

/// A thread and its handle.
pub(super) struct OpenedThread {
    /// Its id.
    pub(super) id: u32,
    handle: OwnedHandle,
}

/// The threads of a process, in the order in which they were made.
pub(super) fn open_threads(process: &OwnedHandle, id: u32) -> io::Result<Vec<OpenedThread>> {
    let threads = next_threads(process);
    if threads.is_empty() {
        return listed_threads(id);
    }
    Ok(threads)
}

/// Goes from one thread to the next, where the system can.
fn next_threads(process: &OwnedHandle) -> Vec<OpenedThread> {
    let Some(next) = functions().get_next_thread else {
        return Vec::new();
    };
    let mut threads: Vec<OpenedThread> = Vec::new();
    while threads.len() < MOST_THREADS {
        let last = threads
            .last()
            .map_or(ptr::null_mut(), |thread| raw(thread.handle.as_handle()));
        let mut handle = ptr::null_mut();
        // SAFETY: both handles are open (or none, for the first thread), and the next one is written in place.
        let status = unsafe { next(raw(process.as_handle()), last, ACCESS, 0, 0, &raw mut handle) };
        if status < 0 || handle.is_null() {
            break;
        }
        // SAFETY: the handle was just made, and nobody else has it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        let Ok(basic) = thread_information::<BasicInformation>(handle.as_handle(), BASIC_INFORMATION) else {
            break;
        };
        let id = u32::try_from(basic.thread).unwrap_or(0);
        threads.push(OpenedThread { id, handle });
    }
    threads
}

/// Looks through the threads of all processes.
fn listed_threads(process: u32) -> io::Result<Vec<OpenedThread>> {
    // SAFETY: no pointers are passed.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if snapshot.addr() == usize::MAX {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = THREADENTRY32 {
        dwSize: u32::try_from(size_of::<THREADENTRY32>()).map_err(io::Error::other)?,
        ..THREADENTRY32::default()
    };
    let mut threads = Vec::new();
    // SAFETY: the snapshot is open, and the entry tells its size.
    let mut more = unsafe { Thread32First(raw(snapshot.as_handle()), &raw mut entry) };
    while more != 0 && threads.len() < MOST_THREADS {
        if entry.th32OwnerProcessID == process {
            // SAFETY: no pointers are passed.
            let handle = unsafe { OpenThread(ACCESS, 0, entry.th32ThreadID) };
            if !handle.is_null() {
                // SAFETY: the handle was just made, and nobody else has it.
                let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
                let id = entry.th32ThreadID;
                threads.push(OpenedThread { id, handle });
            }
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(raw(snapshot.as_handle()), &raw mut entry) };
    }
    Ok(threads)
}

/// How often each thread was suspended before the process is stopped.
pub(super) fn suspend_counts(threads: &[OpenedThread]) -> HashMap<u32, u32> {
    let count = |thread: &OpenedThread| thread_information(thread.handle.as_handle(), SUSPEND_COUNT).ok();
    threads
        .iter()
        .filter_map(|thread| Some((thread.id, count(thread)?)))
        .collect()
}

/// How often a thread is suspended, by suspending it once more.
fn count_by_suspending(thread: BorrowedHandle<'_>) -> Option<u32> {
    // SAFETY: the handle is open.
    let before = unsafe { SuspendThread(raw(thread)) };
    if before == FAILED {
        return None;
    }
    // SAFETY: the handle is open, and the thread was suspended once.
    unsafe { ResumeThread(raw(thread)) };
    Some(before)
}

/// What was had of the threads.
pub(super) struct Threads {
    /// Those in the list, with registers.
    pub(super) threads: Vec<ThreadSnapshot>,
    /// Times and start addresses, in the same order.
    pub(super) infos: Vec<ThreadInfo>,
    /// The names of those that have one.
    pub(super) names: Vec<ThreadName>,
    /// What describes the extended state in their contexts.
    pub(super) xstate: Option<XStateConfig>,
    /// Ids of those whose registers could not be read.
    pub(super) without_registers: Vec<u32>,
}

/// All about the threads of a stopped process. `counts` says how often they were suspended before that; `features` is the
/// extended state to read.
pub(super) fn gather(
    process: &OwnedHandle,
    opened: &[OpenedThread],
    counts: &HashMap<u32, u32>,
    features: u64,
) -> Threads {
    // SAFETY: the handle is open.
    let priority_class = unsafe { GetPriorityClass(raw(process.as_handle())) };
    let mut without_registers = Vec::new();
    let registers: Vec<Option<Registers>> = opened
        .iter()
        .map(|thread| {
            let registers = Registers::read(thread.handle.as_handle(), features).ok();
            if registers.is_none() {
                without_registers.push(thread.id);
            }
            registers
        })
        .collect();
    let xstate = config(features, registers.iter().flatten());
    let mut threads = Vec::with_capacity(opened.len());
    let mut infos = Vec::with_capacity(opened.len());
    let mut names = Vec::new();
    for (thread, registers) in opened.iter().zip(registers) {
        let handle = thread.handle.as_handle();
        let basic = thread_information::<BasicInformation>(handle, BASIC_INFORMATION).ok();
        // SAFETY: the handle is open.
        let priority = unsafe { GetThreadPriority(raw(handle)) };
        let priority = if priority == NO_PRIORITY { 0 } else { priority };
        let count = counts.get(&thread.id).copied();
        let count = count.or_else(|| Some(count_by_suspending(handle)?.saturating_sub(1)));
        let teb = basic.map_or(0, |basic| basic.teb as u64);
        infos.push(info(thread.id, handle, basic.as_ref(), registers.is_some()));
        threads.push(ThreadSnapshot {
            record: Thread {
                thread_id: thread.id.into(),
                suspend_count: count.unwrap_or(0).into(),
                priority_class: priority_class.into(),
                priority: priority.cast_unsigned().into(),
                teb: teb.into(),
                ..Thread::default()
            },
            context: Some(Blob::Bytes(match registers {
                Some(registers) => registers.into_bytes(xstate.as_ref()),
                // Readers want a context of each thread; the list of thread information says that it is not valid.
                None => vec![0; size_of::<CONTEXT>()],
            })),
            backing_store: None,
        });
        if let Some(name) = name(handle).filter(|name| !name.is_empty()) {
            names.push(ThreadName {
                thread_id: thread.id,
                name: Some(name.into()),
            });
        }
    }
    Threads {
        threads,
        infos,
        names,
        xstate,
        without_registers,
    }
}

/// A time of the system as a number: units of 100 ns.
pub(super) const fn ticks(time: FILETIME) -> u64 {
    (time.dwHighDateTime as u64) << 32 | time.dwLowDateTime as u64
}

fn info(id: u32, handle: BorrowedHandle<'_>, basic: Option<&BasicInformation>, has_context: bool) -> ThreadInfo {
    let mut flags = ThreadDumpFlags::empty();
    let [mut create, mut exit, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open, and the times are written in place.
    let timed = unsafe {
        GetThreadTimes(
            raw(handle),
            &raw mut create,
            &raw mut exit,
            &raw mut kernel,
            &raw mut user,
        )
    };
    let mut status = 0;
    // SAFETY: the handle is open, and the number is written in place.
    let ended = unsafe { GetExitCodeThread(raw(handle), &raw mut status) };
    let start = thread_information::<usize>(handle, START_ADDRESS);
    flags.set(
        ThreadDumpFlags::INVALID_INFO,
        timed == 0 || ended == 0 || basic.is_none(),
    );
    flags.set(ThreadDumpFlags::INVALID_CONTEXT, !has_context);
    flags.set(ThreadDumpFlags::INVALID_TEB, basic.is_none_or(|basic| basic.teb == 0));
    ThreadInfo {
        thread_id: id.into(),
        dump_flags: flags.bits().into(),
        exit_status: status.into(),
        create_time: ticks(create).into(),
        // Of a thread that runs the system tells anything.
        exit_time: 0.into(),
        kernel_time: ticks(kernel).into(),
        user_time: ticks(user).into(),
        start_address: (start.unwrap_or(0) as u64).into(),
        affinity: basic.map_or(0, |basic| basic.affinity as u64).into(),
        ..ThreadInfo::default()
    }
}

/// The name that a program gave to a thread.
fn name(thread: BorrowedHandle<'_>) -> Option<Vec<u16>> {
    /// More characters than the system takes.
    const LONGEST: usize = 1 << 15;

    let get = functions().get_thread_description?;
    let mut text = ptr::null_mut();
    // SAFETY: the handle is open, and the string's address is written in place.
    let result = unsafe { get(raw(thread), &raw mut text) };
    if result < 0 || text.is_null() {
        return None;
    }
    let mut units = Vec::new();
    // SAFETY: the string ends with NUL, and nothing behind that is read.
    while units.len() < LONGEST {
        let unit = unsafe { text.add(units.len()).read() };
        if unit == 0 {
            break;
        }
        units.push(unit);
    }
    // SAFETY: the string was made for the caller, who frees it, once.
    unsafe { LocalFree(text.cast()) };
    Some(units)
}
