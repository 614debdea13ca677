//! Holds a Windows process as it is, and has the system's own `MiniDumpWriteDump` write it.
//!
//! `windows_hold PID FOLDER` stops the process, writes `system-normal.dmp` and `system-full.dmp`, prints a line, and lets
//! the process go when its standard input ends: what others write meanwhile is of the same instant.

#[cfg(windows)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    windows::main()
}

#[cfg(not(windows))]
fn main() {
    eprintln!("this holds processes of Windows: build it for that");
}

#[cfg(windows)]
mod windows {
    use std::error::Error;
    use std::fs::File;
    use std::io::{self, Read as _};
    use std::os::windows::io::AsRawHandle;
    use std::path::{Path, PathBuf};

    use windows_sys::Win32::Foundation::HANDLE;
    use windows_sys::Win32::System::Diagnostics::Debug::{MiniDumpNormal, MiniDumpWithFullMemory, MiniDumpWriteDump};
    use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_ALL_ACCESS};

    #[link(name = "ntdll")]
    unsafe extern "system" {
        fn NtSuspendProcess(process: HANDLE) -> i32;
        fn NtResumeProcess(process: HANDLE) -> i32;
    }

    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        let mut arguments = std::env::args_os().skip(1);
        let id: u32 = arguments.next().ok_or("no process")?.to_string_lossy().parse()?;
        let folder = PathBuf::from(arguments.next().ok_or("no folder")?);
        // SAFETY: no pointers are passed.
        let process = unsafe { OpenProcess(PROCESS_ALL_ACCESS, 0, id) };
        if process.is_null() {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the handle is open.
        if unsafe { NtSuspendProcess(process) } < 0 {
            return Err("the process cannot be stopped".into());
        }
        write(process, id, MiniDumpNormal, &folder.join("system-normal.dmp"))?;
        write(process, id, MiniDumpWithFullMemory, &folder.join("system-full.dmp"))?;
        println!("held");
        io::stdin().read_to_end(&mut Vec::new())?;
        // SAFETY: the handle is open, and the process was stopped once.
        if unsafe { NtResumeProcess(process) } < 0 {
            return Err("the process cannot be let go".into());
        }
        Ok(())
    }

    fn write(process: HANDLE, id: u32, kind: i32, path: &Path) -> Result<(), Box<dyn Error>> {
        let file = File::create(path)?;
        // SAFETY: both handles are open, and no further information is passed.
        let written = unsafe {
            MiniDumpWriteDump(
                process,
                id,
                file.as_raw_handle(),
                kind,
                std::ptr::null(),
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        if written == 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }
}
