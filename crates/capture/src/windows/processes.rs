//! The processes of this machine.

use std::io;
use std::os::windows::io::{AsHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};

use super::native::raw;
use crate::ProcessEntry;

/// All processes, in the system's order; its own two without memory left out.
pub(super) fn list() -> io::Result<Vec<ProcessEntry>> {
    // SAFETY: no pointers are passed.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot.addr() == usize::MAX {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).map_err(io::Error::other)?,
        ..PROCESSENTRY32W::default()
    };
    let mut processes = Vec::new();
    // SAFETY: the snapshot is open, and the entry tells its size.
    let mut more = unsafe { Process32FirstW(raw(snapshot.as_handle()), &raw mut entry) };
    while more != 0 {
        if entry.th32ProcessID != 0 && entry.th32ProcessID != 4 {
            let name = entry.szExeFile.split(|unit| *unit == 0).next().unwrap_or_default();
            processes.push(ProcessEntry {
                id: entry.th32ProcessID,
                name: String::from_utf16_lossy(name),
            });
        }
        // SAFETY: as above.
        more = unsafe { Process32NextW(raw(snapshot.as_handle()), &raw mut entry) };
    }
    Ok(processes)
}
