//! What is read of a process while it runs: all that is the same a moment later, or means nothing once it is stopped.

use std::collections::HashMap;

use dotdump_format::minidump::StreamType;
use dotdump_snapshot::linux::{LinuxArchitecture, LinuxHandle, LinuxSystem, ThreadStat};
use procfs::process::Stat;

use super::folder::Folder;
use super::{handles, system};
use crate::{CaptureError, CaptureOptions};

/// No auxiliary vector is larger.
const LARGEST_AUXV: u64 = 64 << 10;

/// Command line and environment are cut here: the kernel starts no program with more.
const LARGEST_STRINGS: u64 = 8 << 20;

/// What was read of a process while it ran.
pub(super) struct Gathered {
    pub(super) architecture: LinuxArchitecture,
    pub(super) auxv: Vec<u8>,
    pub(super) texts: Vec<(StreamType, Vec<u8>)>,
    pub(super) handles: Option<Vec<LinuxHandle>>,
    pub(super) threads: HashMap<u32, ThreadFacts>,
    pub(super) system: LinuxSystem,
    pub(super) boot_time: Option<u64>,
    pub(super) ticks_per_second: u64,
}

/// What the system tells of a thread.
#[derive(Clone, Default)]
pub(super) struct ThreadFacts {
    pub(super) name: Option<Vec<u8>>,
    pub(super) stat: Option<ThreadStat>,
    pub(super) affinity: Option<u64>,
}

impl Gathered {
    /// Reads it. `main` is the thread that still has memory.
    pub(super) fn read(folder: &Folder, main: &Folder, options: &CaptureOptions) -> Result<Self, CaptureError> {
        let auxv = read_auxv(main);
        let kernel = system::KernelStatistics::read();
        let mut texts = Vec::new();
        for (stream, name) in [
            (StreamType::LINUX_PROC_STATUS, "status"),
            (StreamType::LINUX_PROC_STAT, "stat"),
            (StreamType::LINUX_CMD_LINE, "cmdline"),
            (StreamType::LINUX_ENVIRON, "environ"),
            (StreamType::MOZ_LINUX_LIMITS, "limits"),
        ] {
            if let Ok(text) = main.read(name, LARGEST_STRINGS)
                && !text.is_empty()
            {
                texts.push((stream, text));
            }
        }
        texts.extend(system::texts(folder));
        let threads = folder.threads().unwrap_or_default();
        Ok(Self {
            architecture: architecture(folder.id(), &auxv)?,
            auxv,
            texts,
            handles: if options.handles { handles::read(main) } else { None },
            threads: threads
                .into_iter()
                .map(|thread| (thread, ThreadFacts::read(folder, thread)))
                .collect(),
            system: LinuxSystem {
                name: system::name(),
                processors: kernel.processors,
            },
            boot_time: kernel.boot_time,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        })
    }
}

/// The auxiliary vector; empty where it cannot be read, and of threads that have ended.
pub(super) fn read_auxv(main: &Folder) -> Vec<u8> {
    main.read("auxv", LARGEST_AUXV).unwrap_or_default()
}

impl ThreadFacts {
    /// Reads what can be had of a thread.
    pub(super) fn read(folder: &Folder, thread: u32) -> Self {
        let folder = folder.thread(thread);
        let name = folder.read("comm", 256).ok().map(|mut name| {
            if name.last() == Some(&b'\n') {
                name.pop();
            }
            name
        });
        Self {
            name,
            stat: folder.stat().ok().map(|stat| thread_stat(&stat)),
            affinity: affinity(thread),
        }
    }
}

fn thread_stat(stat: &Stat) -> ThreadStat {
    ThreadStat {
        state: u8::try_from(stat.state).unwrap_or(b'?'),
        user_time: stat.utime,
        system_time: stat.stime,
        start_time: stat.starttime,
        nice: i32::try_from(stat.nice).unwrap_or(0),
    }
}

/// The first 64 processors on which a thread may run.
fn affinity(thread: u32) -> Option<u64> {
    let thread = rustix::thread::Pid::from_raw(i32::try_from(thread).ok()?)?;
    let set = rustix::thread::sched_getaffinity(Some(thread)).ok()?;
    Some(
        (0..64)
            .filter(|processor| set.is_set(*processor))
            .fold(0, |mask, processor| mask | 1 << processor),
    )
}

/// The processor of a program, by the words of its auxiliary vector: the entry for the size of a page (`AT_PAGESZ`, 6) is
/// only found where they are read as long as they are.
fn architecture(id: u32, auxv: &[u8]) -> Result<LinuxArchitecture, CaptureError> {
    const AT_PAGESZ: u64 = 6;

    let has_page_size = auxv.as_chunks::<16>().0.iter().any(|entry| {
        let (kind, value) = entry.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        word(kind) == AT_PAGESZ && word(value).is_power_of_two()
    });
    // A program without a vector that can be read is taken for one of the machine's own kind.
    let is_64_bit = has_page_size || auxv.is_empty();
    match (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"), is_64_bit) {
        (true, _, true) => Ok(LinuxArchitecture::Amd64),
        (true, _, false) => Ok(LinuxArchitecture::X86),
        (_, true, true) => Ok(LinuxArchitecture::Arm64),
        _ if cfg!(target_arch = "x86") => Ok(LinuxArchitecture::X86),
        _ => Err(CaptureError::NotCapturable {
            id,
            reason: "programs of this processor are not supported".to_owned(),
        }),
    }
}
