//! Functions of the system that are in no import library, or not in every version of Windows (nor in Wine): looked up when
//! the program runs. One that is missing is `None`, and its user falls back.

use std::ffi::CStr;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{HANDLE, RtlNtStatusToDosError};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};

/// `NTSTATUS`.
pub(super) type Status = i32;

/// What a function that is looked up is before its type is known.
type Address = unsafe extern "system" fn() -> isize;

/// Finds a function in a library that every process has loaded.
fn address(library: &CStr, name: &CStr) -> Option<Address> {
    // SAFETY: both names end with NUL, and the libraries that are asked for are never unloaded.
    unsafe { GetProcAddress(GetModuleHandleA(library.as_ptr().cast()), name.as_ptr().cast()) }
}

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident: $library:literal $name:literal fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions, as far as this system has them.
        pub(super) struct Functions {
            $($(#[$doc])* pub(super) $field: Option<unsafe extern "system" fn($($argument),*) -> $result>,)*
        }

        impl Functions {
            fn find() -> Self {
                Self {
                    $($field: address($library, $name).map(|address| {
                        // SAFETY: a function of this name in this library has this type, as the Windows SDK or the
                        // headers of its driver kit declare it.
                        unsafe {
                            std::mem::transmute::<Address, unsafe extern "system" fn($($argument),*) -> $result>(address)
                        }
                    }),)*
                }
            }
        }
    };
}

functions! {
    /// Stops all threads of a process: process.
    suspend_process: c"ntdll.dll" c"NtSuspendProcess" fn(HANDLE) -> Status;
    /// Undoes that: process.
    resume_process: c"ntdll.dll" c"NtResumeProcess" fn(HANDLE) -> Status;
    /// Makes an object that stops a process as long as it lives: object, access, attributes, process, reserved.
    create_process_state_change: c"ntdll.dll" c"NtCreateProcessStateChange"
        fn(*mut HANDLE, u32, *const std::ffi::c_void, HANDLE, u64) -> Status;
    /// Stops a process by such an object: object, process, change, information, its size, reserved.
    change_process_state: c"ntdll.dll" c"NtChangeProcessState"
        fn(HANDLE, HANDLE, u32, *const std::ffi::c_void, usize, u64) -> Status;
    /// The thread after another one: process, thread, access, attributes, flags, the next one.
    get_next_thread: c"ntdll.dll" c"NtGetNextThread" fn(HANDLE, HANDLE, u32, u32, u32, *mut HANDLE) -> Status;
    /// What a process tells: process, class, buffer, its size, the needed size.
    query_information_process: c"ntdll.dll" c"NtQueryInformationProcess"
        fn(HANDLE, u32, *mut std::ffi::c_void, u32, *mut u32) -> Status;
    /// What a thread tells: thread, class, buffer, its size, the needed size.
    query_information_thread: c"ntdll.dll" c"NtQueryInformationThread"
        fn(HANDLE, u32, *mut std::ffi::c_void, u32, *mut u32) -> Status;
    /// What the system tells: class, buffer, its size, the needed size.
    query_system_information: c"ntdll.dll" c"NtQuerySystemInformation"
        fn(u32, *mut std::ffi::c_void, u32, *mut u32) -> Status;
    /// What an object tells: handle, class, buffer, its size, the needed size.
    query_object: c"ntdll.dll" c"NtQueryObject" fn(HANDLE, u32, *mut std::ffi::c_void, u32, *mut u32) -> Status;
    /// What power management tells: level, input, its size, output, its size.
    power_information: c"ntdll.dll" c"NtPowerInformation"
        fn(u32, *const std::ffi::c_void, u32, *mut std::ffi::c_void, u32) -> Status;
    /// The system's version, also where a manifest would hide it: OSVERSIONINFOEXW.
    get_version: c"ntdll.dll" c"RtlGetVersion" fn(*mut std::ffi::c_void) -> Status;
    /// Where the loader keeps what was unloaded: size of an entry, their number, pointer to their array.
    get_unload_event_trace_ex: c"ntdll.dll" c"RtlGetUnloadEventTraceEx"
        fn(*mut *mut u32, *mut *mut u32, *mut *mut std::ffi::c_void) -> ();
    /// A thread's name: thread, a string to be freed with LocalFree.
    get_thread_description: c"kernel32.dll" c"GetThreadDescription" fn(HANDLE, *mut *mut u16) -> i32;
    /// The components of extended state that the system saves.
    get_enabled_xstate_features: c"kernel32.dll" c"GetEnabledXStateFeatures" fn() -> u64;
    /// Makes a context with room for extended state: buffer, flags, the context in it, its size, compaction mask.
    initialize_context2: c"kernel32.dll" c"InitializeContext2"
        fn(*mut std::ffi::c_void, u32, *mut *mut std::ffi::c_void, *mut u32, u64) -> i32;
    /// The same in versions before that: buffer, flags, the context in it, its size.
    initialize_context: c"kernel32.dll" c"InitializeContext"
        fn(*mut std::ffi::c_void, u32, *mut *mut std::ffi::c_void, *mut u32) -> i32;
    /// Which components a context has: context, mask.
    get_xstate_features_mask: c"kernel32.dll" c"GetXStateFeaturesMask" fn(*const std::ffi::c_void, *mut u64) -> i32;
    /// Which components to get: context, mask.
    set_xstate_features_mask: c"kernel32.dll" c"SetXStateFeaturesMask" fn(*mut std::ffi::c_void, u64) -> i32;
    /// Where a component is in a context: context, component, its size.
    locate_xstate_feature: c"kernel32.dll" c"LocateXStateFeature"
        fn(*const std::ffi::c_void, u32, *mut u32) -> *mut std::ffi::c_void;
}

/// The functions of this system.
pub(super) fn functions() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(Functions::find)
}

/// `STATUS_INFO_LENGTH_MISMATCH`: the buffer is too small.
const INFO_LENGTH_MISMATCH: Status = 0xC000_0004_u32.cast_signed();
/// `STATUS_BUFFER_OVERFLOW`, `STATUS_BUFFER_TOO_SMALL`: likewise.
const TOO_SMALL: [Status; 3] = [
    INFO_LENGTH_MISMATCH,
    0x8000_0005_u32.cast_signed(),
    0xC000_0023_u32.cast_signed(),
];

/// The answer that a status stands for.
pub(super) fn check(status: Status) -> io::Result<()> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: the function takes any number.
    let code = unsafe { RtlNtStatusToDosError(status) };
    Err(io::Error::from_raw_os_error(code.cast_signed()))
}

/// A function that this system does not have.
pub(super) fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::Unsupported)
}

/// The handle as the system takes it.
pub(super) fn raw(handle: BorrowedHandle<'_>) -> HANDLE {
    handle.as_raw_handle()
}

/// A record of fixed size that a process tells of itself. `T` is plain data as the system declares it for `class`.
pub(super) fn process_information<T: Plain>(process: BorrowedHandle<'_>, class: u32) -> io::Result<T> {
    let query = functions().query_information_process.ok_or_else(missing)?;
    fixed(|buffer, size, length| {
        // SAFETY: the buffer is as large as it says, and the handle is open.
        unsafe { query(raw(process), class, buffer, size, length) }
    })
}

/// A record of fixed size that a thread tells of itself.
pub(super) fn thread_information<T: Plain>(thread: BorrowedHandle<'_>, class: u32) -> io::Result<T> {
    let query = functions().query_information_thread.ok_or_else(missing)?;
    fixed(|buffer, size, length| {
        // SAFETY: the buffer is as large as it says, and the handle is open.
        unsafe { query(raw(thread), class, buffer, size, length) }
    })
}

/// Plain data: any bytes are a valid value.
///
/// # Safety
/// That must hold for the type, padding apart.
pub(super) unsafe trait Plain: Default {}

// SAFETY: numbers.
unsafe impl Plain for u32 {}
// SAFETY: numbers.
unsafe impl Plain for usize {}

fn fixed<T: Plain>(query: impl FnOnce(*mut std::ffi::c_void, u32, *mut u32) -> Status) -> io::Result<T> {
    let mut value = T::default();
    let size = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut length = 0;
    check(query((&raw mut value).cast(), size, &raw mut length))?;
    Ok(value)
}

/// Information of a size that is not known beforehand, at most `limit` bytes, in a buffer aligned for any record.
pub(super) fn growing(
    limit: usize,
    mut query: impl FnMut(*mut std::ffi::c_void, u32, *mut u32) -> Status,
) -> io::Result<Bytes> {
    let mut bytes = Bytes::new(0x400);
    loop {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut length = 0;
        let status = query(bytes.words.as_mut_ptr().cast(), size, &raw mut length);
        if !TOO_SMALL.contains(&status) {
            check(status)?;
            return Ok(bytes);
        }
        // What is told may have grown when it is asked for again; some tell no size.
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).max(bytes.len());
        let wanted = wanted.saturating_add(wanted / 2);
        if wanted > limit {
            return Err(io::Error::from_raw_os_error(122));
        }
        bytes = Bytes::new(wanted);
    }
}

/// Bytes that are aligned for any record of the system.
pub(super) struct Bytes {
    words: Vec<u128>,
}

impl Bytes {
    /// At least `len` zero bytes.
    pub(super) fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(size_of::<u128>())],
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.words.len() * size_of::<u128>()
    }

    /// Where they start.
    pub(super) fn address(&self) -> usize {
        self.words.as_ptr().addr()
    }

    /// The same for a function that fills them.
    pub(super) fn as_mut_ptr(&mut self) -> *mut std::ffi::c_void {
        self.words.as_mut_ptr().cast()
    }

    /// All of them.
    pub(super) fn as_slice(&self) -> &[u8] {
        zerocopy::IntoBytes::as_bytes(self.words.as_slice())
    }

    /// The array of `N` bytes at `offset`.
    pub(super) fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.as_slice().get(offset..)?.first_chunk().copied()
    }

    /// The number of 32 bits at `offset`.
    pub(super) fn u32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// The number at `offset` that is as wide as a pointer.
    pub(super) fn word(&self, offset: usize) -> Option<usize> {
        self.array(offset).map(usize::from_le_bytes)
    }

    /// The characters of the `UNICODE_STRING` at `offset`, whose buffer lies within these bytes.
    pub(super) fn unicode_string(&self, offset: usize) -> Option<Vec<u16>> {
        let length = usize::from(u16::from_le_bytes(self.array(offset)?));
        if length == 0 {
            return Some(Vec::new());
        }
        let buffer = self.word(offset.checked_add(size_of::<usize>())?)?;
        let start = buffer.checked_sub(self.address())?;
        let bytes = self.as_slice().get(start..start.checked_add(length)?)?;
        let (units, _) = bytes.as_chunks();
        Some(units.iter().map(|unit| u16::from_le_bytes(*unit)).collect())
    }
}
