//! File descriptors as handles.

use dotdump_format::minidump::handle_data::{DESCRIPTOR_2_SIZE, Handle, HandleData, HandleDescriptor};
use dotdump_format::minidump::name::Name;

use super::facts::LinuxHandle;

/// `FILE_GENERIC_READ` (`winnt.h`).
const FILE_GENERIC_READ: u32 = 0x12_0089;
/// `FILE_GENERIC_WRITE` (`winnt.h`).
const FILE_GENERIC_WRITE: u32 = 0x12_0116;
/// `OBJ_INHERIT` (`ntdef.h`): child processes get it.
const OBJ_INHERIT: u32 = 2;

/// `O_ACCMODE` (`fcntl.h`).
const O_ACCMODE: u32 = 3;
/// `O_CLOEXEC` (`fcntl.h`), on x86 and ARM64.
const O_CLOEXEC: u32 = 0o200_0000;

/// The format bits of `st_mode` (`sys/stat.h`).
const S_IFMT: u32 = 0o17_0000;

/// The kinds of file that `st_mode` tells, in words of Windows' debuggers where these have one.
const KINDS: [(u32, &str); 7] = [
    (0o10_0000, "File"),
    (0o04_0000, "Directory"),
    (0o02_0000, "CharDevice"),
    (0o06_0000, "BlockDevice"),
    (0o01_0000, "Pipe"),
    (0o14_0000, "Socket"),
    (0o12_0000, "SymbolicLink"),
];

/// What anonymous inodes are called (`anon_inode:[eventpoll]`), and what we call them.
const ANONYMOUS: [(&[u8], &str); 7] = [
    (b"eventfd", "EventFd"),
    (b"eventpoll", "Epoll"),
    (b"timerfd", "TimerFd"),
    (b"signalfd", "SignalFd"),
    (b"inotify", "InotifyFd"),
    (b"pidfd", "PidFd"),
    (b"io_uring", "IoUring"),
];

/// The HandleData stream.
pub(super) fn handle_data(handles: &[LinuxHandle]) -> HandleData {
    HandleData {
        descriptor_size: DESCRIPTOR_2_SIZE,
        handles: handles.iter().map(handle).collect(),
    }
}

fn handle(handle: &LinuxHandle) -> Handle {
    let mut record = HandleDescriptor {
        handle: u64::from(handle.descriptor).into(),
        handle_count: 1.into(),
        ..HandleDescriptor::default()
    };
    if let Some(flags) = handle.flags {
        record.granted_access = match flags & O_ACCMODE {
            0 => FILE_GENERIC_READ,
            1 => FILE_GENERIC_WRITE,
            _ => FILE_GENERIC_READ | FILE_GENERIC_WRITE,
        }
        .into();
        record.attributes = if flags & O_CLOEXEC == 0 { OBJ_INHERIT } else { 0 }.into();
    }
    let target = String::from_utf8_lossy(&handle.target);
    Handle {
        record,
        type_name: type_name(handle).map(Name::from),
        object_name: (!target.is_empty()).then(|| Name::from(&*target)),
        object_info: Vec::new(),
    }
}

/// What kind of thing a descriptor stands for; `None` where nothing tells.
fn type_name(handle: &LinuxHandle) -> Option<&'static str> {
    let target = &handle.target[..];
    if let Some(name) = target.strip_prefix(b"anon_inode:") {
        let name = name.strip_prefix(b"[").unwrap_or(name);
        let known = ANONYMOUS.iter().find(|(prefix, _)| name.starts_with(prefix));
        return Some(known.map_or("AnonInode", |(_, type_name)| *type_name));
    }
    if target.starts_with(b"/memfd:") {
        return Some("MemFd");
    }
    let format = handle.file_type & S_IFMT;
    if let Some((_, type_name)) = KINDS.iter().find(|(kind, _)| *kind == format) {
        return Some(type_name);
    }
    let by_target: [(&[u8], _); 3] = [(b"socket:", "Socket"), (b"pipe:", "Pipe"), (b"/", "File")];
    let found = by_target.iter().find(|(prefix, _)| target.starts_with(prefix));
    found.map(|(_, type_name)| *type_name)
}
