//! Opening a process, with the rights that a capture needs.

use std::io;
use std::os::windows::io::{AsHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, HANDLE, LUID};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_DEBUG_NAME, SE_PRIVILEGE_ENABLED,
    TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, IsWow64Process, OpenProcess, OpenProcessToken, PROCESS_DUP_HANDLE,
    PROCESS_QUERY_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SET_INFORMATION, PROCESS_SUSPEND_RESUME,
    PROCESS_VM_READ,
};

use super::native::raw;
use crate::CaptureError;

/// Without these nothing can be captured.
const NEEDED: u32 = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_SUSPEND_RESUME;
/// With these there are handles, and a stop that ends with the program that asked for it.
const WANTED: u32 = NEEDED | PROCESS_DUP_HANDLE | PROCESS_SET_INFORMATION;

/// `STILL_ACTIVE`.
const STILL_ACTIVE: u32 = 0x103;

/// What can be done about a process that must not be opened.
const REMEDY: &str = "run this as the same user, or as an administrator (an elevated prompt): of other users' processes \
                      it needs the privilege SeDebugPrivilege; protected processes and those of antivirus programs \
                      cannot be opened at all";

/// Opens a process for everything that a capture does.
pub(super) fn open(id: u32) -> Result<OwnedHandle, CaptureError> {
    if id == std::process::id() {
        return Err(CaptureError::NotCapturable {
            id,
            reason: "it is the program that captures, which cannot stop itself".to_owned(),
        });
    }
    if id == 0 || id == 4 {
        return Err(CaptureError::NotCapturable {
            id,
            reason: "it is the system's own process, which has no memory of a program".to_owned(),
        });
    }
    enable_debug_privilege();
    let process = open_with(id, WANTED).or_else(|_| open_with(id, NEEDED));
    let process = process.map_err(|error| refusal(id, error))?;
    let mut code = 0;
    // SAFETY: the handle is open, and the number is written in place.
    let asked = unsafe { GetExitCodeProcess(raw(process.as_handle()), &raw mut code) };
    if asked != 0 && code != STILL_ACTIVE {
        return Err(CaptureError::NotCapturable {
            id,
            reason: format!("it has ended with exit code {code:#x}, and only its handle is still open"),
        });
    }
    if cfg!(target_pointer_width = "32") && is_wow64(own())? && !is_wow64(raw(process.as_handle()))? {
        return Err(CaptureError::NotCapturable {
            id,
            reason: "it is a 64-bit process, and this is the 32-bit build: use the 64-bit one".to_owned(),
        });
    }
    Ok(process)
}

fn open_with(id: u32, access: u32) -> io::Result<OwnedHandle> {
    // SAFETY: no pointers are passed.
    let handle = unsafe { OpenProcess(access, 0, id) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn refusal(id: u32, error: io::Error) -> CaptureError {
    let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
    match code {
        Some(ERROR_INVALID_PARAMETER) => CaptureError::NoSuchProcess { id },
        // One that may be asked what it is exists; so does one that may not even be asked.
        Some(ERROR_ACCESS_DENIED) => {
            let protected = open_with(id, PROCESS_QUERY_LIMITED_INFORMATION).is_ok();
            let remedy = if protected && has_debug_privilege() {
                "it is a protected process, which only signed programs of the system may read".to_owned()
            } else {
                REMEDY.to_owned()
            };
            CaptureError::Denied {
                id,
                action: "open",
                remedy,
            }
        }
        _ => CaptureError::System {
            id,
            action: "open a handle".to_owned(),
            source: error,
        },
    }
}

fn own() -> HANDLE {
    // SAFETY: a pseudo handle that is always valid.
    unsafe { GetCurrentProcess() }
}

/// Whether a process is a 32-bit one on a 64-bit system.
fn is_wow64(process: HANDLE) -> Result<bool, CaptureError> {
    let mut answer = 0;
    // SAFETY: the handle is open, and the answer is written in place.
    let asked = unsafe { IsWow64Process(process, &raw mut answer) };
    Ok(asked != 0 && answer != 0)
}

/// Enables the privilege to debug other users' processes. Whoever does not have it goes without.
fn enable_debug_privilege() {
    let _ = set_debug_privilege();
}

fn has_debug_privilege() -> bool {
    set_debug_privilege().is_ok()
}

fn set_debug_privilege() -> io::Result<()> {
    let mut token = ptr::null_mut();
    // SAFETY: the pseudo handle is valid, and the token is written in place.
    let opened = unsafe { OpenProcessToken(own(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &raw mut token) };
    if opened == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut luid = LUID::default();
    // SAFETY: the name ends with NUL, and the number is written in place.
    if unsafe { LookupPrivilegeValueW(ptr::null(), SE_DEBUG_NAME, &raw mut luid) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let state = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Luid: luid,
            Attributes: SE_PRIVILEGE_ENABLED,
        }],
    };
    // SAFETY: the token is open, and the record has the one privilege that it counts.
    let set = unsafe {
        AdjustTokenPrivileges(
            raw(token.as_handle()),
            0,
            &raw const state,
            0,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    // It succeeds also where nothing was set; the last error tells.
    let error = io::Error::last_os_error();
    if set == 0 || error.raw_os_error().is_some_and(|code| code != 0) {
        return Err(error);
    }
    Ok(())
}
