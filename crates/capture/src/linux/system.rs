//! What is known of the system that a process runs on.

use std::fs::File;
use std::io::{self, Read};

use dotdump_format::minidump::StreamType;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::folder::Folder;

/// Texts of the system are cut here: 4,096 processors take about 6 MiB of `/proc/cpuinfo`.
const LARGEST_TEXT: u64 = 8 << 20;

/// Of `/proc/stat`.
#[derive(Default)]
pub(super) struct KernelStatistics {
    /// When the system was started, in seconds since 1970.
    pub(super) boot_time: Option<u64>,
    /// The processors that are online; 0 where unknown.
    pub(super) processors: u32,
}

impl KernelStatistics {
    pub(super) fn read() -> Self {
        let text = read("/proc/stat").unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// One line for each processor (`cpu0 …`), one with the time (`btime …`).
    fn parse(text: &str) -> Self {
        let is_processor = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()))
        };
        Self {
            boot_time: text
                .lines()
                .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()),
            processors: u32::try_from(text.lines().filter(is_processor).count()).unwrap_or(0),
        }
    }
}

/// System, release, version and machine, as `uname -srvm` prints them.
pub(super) fn name() -> String {
    let name = rustix::system::uname();
    [name.sysname(), name.release(), name.version(), name.machine()]
        .map(|part| part.to_string_lossy().into_owned())
        .join(" ")
}

/// Texts that describe the system: the processors, and the distribution that the process sees.
pub(super) fn texts(folder: &Folder) -> Vec<(StreamType, Vec<u8>)> {
    let mut texts = Vec::new();
    if let Ok(text) = read("/proc/cpuinfo") {
        texts.push((StreamType::LINUX_CPU_INFO, text));
    }
    if let Some(text) = distribution(folder) {
        texts.push((StreamType::LINUX_LSB_RELEASE, text));
    }
    texts
}

/// What describes the distribution, in the root folder of the process: that of a container is another one than ours.
fn distribution(folder: &Folder) -> Option<Vec<u8>> {
    const FILES: [&str; 2] = ["etc/lsb-release", "etc/os-release"];

    let (place, name) = folder.place("root");
    let root = rustix::fs::openat(
        place,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let Ok(root) = root else {
        return FILES.iter().find_map(|name| read(&format!("/{name}")).ok());
    };
    // The files are the process's to make: neither do they lead out of its root, nor is a pipe waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    FILES.iter().find_map(|name| {
        let file = rustix::fs::openat2(&root, *name, flags, Mode::empty(), inside).ok()?;
        let is_plain = rustix::fs::fstat(&file).ok()?.st_mode & libc::S_IFMT == libc::S_IFREG;
        is_plain.then(|| read_file(file.into()).ok()).flatten()
    })
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    read_file(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

fn read_file(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LARGEST_TEXT).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// proc_stat(5): the sum of all processors comes first and is none of them.
    #[test]
    fn statistics_of_the_kernel() {
        let statistics =
            KernelStatistics::parse("cpu  1 2 3\ncpu0 1 2 3\ncpu1 0 0 0\nintr 5\nctxt 7\nbtime 1763856000\n");
        assert_eq!(statistics.boot_time, Some(1_763_856_000));
        assert_eq!(statistics.processors, 2);
    }
}
