//! `/proc/PID`, held open: what is read through it is of the same process, also where the id is given to another one.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use procfs::FromRead;
use procfs::process::Stat;
use rustix::fs::{CWD, Dir, Mode, OFlags};

/// A process or one of its threads.
#[derive(Clone)]
pub(super) struct Folder {
    id: u32,
    folder: Arc<OwnedFd>,
    /// Where the files are in there: empty, or `task/TID/`.
    prefix: String,
}

impl Folder {
    /// The process of this id.
    pub(super) fn open(id: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, format!("/proc/{id}"), flags, Mode::empty())?;
        Ok(Self {
            id,
            folder: Arc::new(folder),
            prefix: String::new(),
        })
    }

    /// The id of the process, or that of the thread.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// A thread of the process.
    pub(super) fn thread(&self, thread: u32) -> Self {
        Self {
            id: thread,
            folder: Arc::clone(&self.folder),
            prefix: format!("task/{thread}/"),
        }
    }

    /// Opens one of its files for reading.
    pub(super) fn file(&self, name: &str) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.folder, self.path(name), flags, Mode::empty())?;
        Ok(file.into())
    }

    /// The bytes of one of its files, `limit` at most.
    pub(super) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What one of its links says.
    pub(super) fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.folder, self.path(name), Vec::new())?.into_bytes())
    }

    /// The names in one of its folders that are numbers, as the system lists them.
    pub(super) fn numbers(&self, name: &str) -> io::Result<Vec<u32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.folder, self.path(name), flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in Dir::new(folder)? {
            if let Some(number) = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }

    /// The threads of the process.
    pub(super) fn threads(&self) -> io::Result<Vec<u32>> {
        self.numbers("task")
    }

    /// Its statistics.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        let bytes = self.read("stat", TEXT)?;
        Stat::from_read(bytes.as_slice()).map_err(io::Error::other)
    }

    /// The text of a field of its status.
    pub(super) fn status(&self) -> io::Result<Status> {
        Ok(Status(self.read("status", TEXT)?))
    }

    /// The folder and the path in it, for calls that this has no function for.
    pub(super) fn place(&self, name: &str) -> (&OwnedFd, impl AsRef<Path> + rustix::path::Arg + use<>) {
        (&self.folder, self.path(name))
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Texts of a page or a few are cut here.
const TEXT: u64 = 1 << 20;

/// The text of `/proc/PID/status`.
pub(super) struct Status(pub(super) Vec<u8>);

impl Status {
    /// The words of a field; none where it is missing.
    pub(super) fn words(&self, field: &str) -> impl Iterator<Item = &str> {
        self.0
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(field.as_bytes())?.strip_prefix(b":"))
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or_default()
            .split_ascii_whitespace()
    }

    /// The first number of a field.
    pub(super) fn number(&self, field: &str) -> Option<u32> {
        self.words(field).next()?.parse().ok()
    }

    /// A field that is one hexadecimal number.
    pub(super) fn mask(&self, field: &str) -> Option<u64> {
        u64::from_str_radix(self.words(field).next()?, 16).ok()
    }
}
