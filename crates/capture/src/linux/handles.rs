//! Open file descriptors.

use std::collections::HashSet;

use dotdump_snapshot::linux::LinuxHandle;
use rustix::fs::{AtFlags, StatxFlags};

use super::folder::Folder;

/// File systems whose server or daemon may not answer: no question is asked that may wait for one.
const REMOTE: [&str; 11] = [
    "nfs", "cifs", "smb", "ncp", "9p", "ceph", "afs", "coda", "fuse", "autofs", "virtiofs",
];

/// No list of mounts is larger.
const LARGEST_TEXT: u64 = 32 << 20;

/// The open files of a process, ascending; `None` where they cannot be listed. None of them is opened or asked for
/// anything that may take long.
pub(super) fn read(folder: &Folder) -> Option<Vec<LinuxHandle>> {
    let mut descriptors = folder.numbers("fd").ok()?;
    descriptors.sort_unstable();
    let remote = remote_mounts(folder);
    Some(
        descriptors
            .into_iter()
            .filter_map(|descriptor| handle(folder, descriptor, remote.as_ref()))
            .collect(),
    )
}

fn handle(folder: &Folder, descriptor: u32, remote: Option<&HashSet<u32>>) -> Option<LinuxHandle> {
    // It may have been closed meanwhile.
    let target = folder.link(&format!("fd/{descriptor}")).ok()?;
    let info = folder
        .read(&format!("fdinfo/{descriptor}"), 1 << 16)
        .unwrap_or_default();
    let info = String::from_utf8_lossy(&info);
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let mount = field("mnt_id").and_then(|mount| mount.parse::<u32>().ok());
    let may_ask = match (mount, remote) {
        (Some(mount), Some(remote)) => !remote.contains(&mount),
        _ => false,
    };
    Some(LinuxHandle {
        descriptor,
        file_type: type_by_name(&target)
            .or_else(|| may_ask.then(|| type_by_statx(folder, descriptor)).flatten())
            .unwrap_or(0),
        flags: field("flags").and_then(|flags| u32::from_str_radix(flags, 8).ok()),
        target,
    })
}

/// The type of what has no path (`S_IFMT`); the kernel's own files without a name have none at all.
fn type_by_name(target: &[u8]) -> Option<u32> {
    if target.starts_with(b"socket:[") {
        Some(libc::S_IFSOCK)
    } else if target.starts_with(b"pipe:[") {
        Some(libc::S_IFIFO)
    } else if target.starts_with(b"/memfd:") {
        Some(libc::S_IFREG)
    } else if target.starts_with(b"/") {
        None
    } else {
        Some(0)
    }
}

fn type_by_statx(folder: &Folder, descriptor: u32) -> Option<u32> {
    let (place, name) = folder.place(&format!("fd/{descriptor}"));
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(place, name, flags, StatxFlags::TYPE).ok()?;
    Some(u32::from(stat.stx_mode) & libc::S_IFMT)
}

/// The mounts of remote file systems, by their numbers; `None` where they cannot be known.
fn remote_mounts(folder: &Folder) -> Option<HashSet<u32>> {
    let text = folder.read("mountinfo", LARGEST_TEXT).ok()?;
    Some(parse_remote_mounts(&String::from_utf8_lossy(&text)))
}

/// The number comes first in a line, the type of the file system first behind a lone dash (proc_pid_mountinfo(5)).
fn parse_remote_mounts(text: &str) -> HashSet<u32> {
    text.lines()
        .filter_map(|line| {
            let (fields, rest) = line.split_once(" - ")?;
            let kind = rest.split(' ').next()?;
            let number = fields.split(' ').next()?.parse().ok()?;
            REMOTE.iter().any(|remote| kind.starts_with(remote)).then_some(number)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of proc_pid_mountinfo(5), and mounts over a network as Linux lists them.
    #[test]
    fn remote_mounts_by_type() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                    40 35 0:50 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2\n\
                    41 35 0:51 / /mnt/a rw - fuse.sshfs user@server: rw\n\
                    no mount\n";
        assert_eq!(parse_remote_mounts(text), HashSet::from([40, 41]));
    }
}
