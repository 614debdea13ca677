//! A line of `/proc/PID/maps`: one mapping of a Linux process, and what it is in the terms of Windows.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::addr::{VirtAddr, VirtRange};

/// What a program may do with the pages of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Permissions {
    /// They can be read.
    pub read: bool,
    /// They can be written.
    pub write: bool,
    /// They can be executed.
    pub execute: bool,
    /// What is written is seen by others (`s`); otherwise it is the process's own (`p`).
    pub shared: bool,
}

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxMapping {
    /// Its addresses.
    pub range: VirtRange,
    /// What can be done with it.
    pub permissions: Permissions,
    /// Where in the file its first byte lies.
    pub offset: u64,
    /// The device that holds the file: major and minor number; 0 and 0 where there is no file.
    pub device: (u32, u32),
    /// The file's number on the device; 0 where there is no file.
    pub inode: u64,
    /// The file or a name in brackets as the kernel wrote it: newlines escaped as `\012`, and ` (deleted)` behind a
    /// file that is gone. `None` for memory without a name.
    pub path: Option<Vec<u8>>,
}

/// A mapping in the terms of Windows's `MEMORY_BASIC_INFORMATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfoFields {
    /// The first address.
    pub base: u64,
    /// The first address of the mapping that it belongs to: its own.
    pub allocation_base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// `MEM_COMMIT` (0x1000), or `MEM_RESERVE` (0x2000) for private memory without a file or access.
    pub state: u32,
    /// `PAGE_*`, one of them.
    pub protect: u32,
    /// `MEM_PRIVATE` (0x20000), or `MEM_MAPPED` (0x40000) for shared memory.
    pub memory_type: u32,
}

const PAGE_NOACCESS: u32 = 0x01;
const PAGE_READONLY: u32 = 0x02;
const PAGE_READWRITE: u32 = 0x04;
const PAGE_EXECUTE: u32 = 0x10;
const PAGE_EXECUTE_READ: u32 = 0x20;
const PAGE_EXECUTE_READWRITE: u32 = 0x40;
const MEM_COMMIT: u32 = 0x1000;
const MEM_RESERVE: u32 = 0x2000;
const MEM_PRIVATE: u32 = 0x2_0000;
const MEM_MAPPED: u32 = 0x4_0000;

impl Permissions {
    /// The permissions that four letters (`rw-p`) stand for.
    #[must_use]
    pub fn parse(letters: &[u8]) -> Option<Self> {
        let &[read, write, execute, shared] = letters else {
            return None;
        };
        let flag = |letter: u8, set: u8, clear: u8| (letter == set || letter == clear).then_some(letter == set);
        Some(Self {
            read: flag(read, b'r', b'-')?,
            write: flag(write, b'w', b'-')?,
            execute: flag(execute, b'x', b'-')?,
            shared: flag(shared, b's', b'p')?,
        })
    }

    /// The `PAGE_*` constant of Windows that comes closest. Windows has no memory that can only be written.
    #[must_use]
    pub const fn to_protect(self) -> u32 {
        match (self.read, self.write, self.execute) {
            (false, false, false) => PAGE_NOACCESS,
            (true, false, false) => PAGE_READONLY,
            (_, true, false) => PAGE_READWRITE,
            (false, false, true) => PAGE_EXECUTE,
            (true, false, true) => PAGE_EXECUTE_READ,
            (_, true, true) => PAGE_EXECUTE_READWRITE,
        }
    }
}

impl core::fmt::Display for Permissions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let letter = |set: bool, letter: char| if set { letter } else { '-' };
        f.write_char(letter(self.read, 'r'))?;
        f.write_char(letter(self.write, 'w'))?;
        f.write_char(letter(self.execute, 'x'))?;
        f.write_char(if self.shared { 's' } else { 'p' })
    }
}

impl LinuxMapping {
    /// The mapping that `line` describes; `None` where it is no line of `/proc/PID/maps`.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let (start, end) = split(field(&mut rest), b'-')?;
        let (start, end) = (number(start, 16)?, number(end, 16)?);
        let permissions = Permissions::parse(field(&mut rest))?;
        let offset = number(field(&mut rest), 16)?;
        let (major, minor) = split(field(&mut rest), b':')?;
        let device = |digits| u32::try_from(number(digits, 16)?).ok();
        let device = (device(major)?, device(minor)?);
        let inode = number(field(&mut rest), 10)?;
        let path = rest.trim_ascii_start();
        (start <= end).then(|| Self {
            range: VirtRange::new(VirtAddr(start), VirtAddr(end)),
            permissions,
            offset,
            device,
            inode,
            path: (!path.is_empty()).then(|| path.to_vec()),
        })
    }

    /// Adds its line to `text` as the kernel of a 64-bit machine writes it, newline included.
    pub fn push_line(&self, text: &mut Vec<u8>) {
        let Self {
            range,
            permissions,
            offset,
            device: (major, minor),
            inode,
            path,
        } = self;
        let (start, end) = (range.start.0, range.end.0);
        let mut line =
            alloc::format!("{start:08x}-{end:08x} {permissions} {offset:08x} {major:02x}:{minor:02x} {inode} ");
        if let Some(path) = path {
            // The column in which `show_map_vma` of the kernel starts the path.
            while line.len() < 73 {
                line.push(' ');
            }
            text.extend(line.as_bytes());
            text.extend(path);
        } else {
            text.extend(line.as_bytes());
        }
        text.push(b'\n');
    }

    /// The path, with what is not UTF-8 replaced.
    #[must_use]
    pub fn path_text(&self) -> Option<Cow<'_, str>> {
        self.path.as_deref().map(String::from_utf8_lossy)
    }

    /// The path of a file: without ` (deleted)`, and `None` for a [`LinuxMapping::special_name`].
    #[must_use]
    pub fn file(&self) -> Option<&[u8]> {
        let path = self.path.as_deref().filter(|path| path.first() != Some(&b'['))?;
        Some(path.strip_suffix(DELETED).unwrap_or(path))
    }

    /// Whether the file was deleted since it was mapped.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.path.as_deref().is_some_and(|path| path.ends_with(DELETED))
    }

    /// The name in brackets of memory that is no file, such as `[heap]`, `[stack]` and `[vdso]`.
    #[must_use]
    pub fn special_name(&self) -> Option<&[u8]> {
        self.path.as_deref().filter(|path| path.first() == Some(&b'['))
    }

    /// The mapping in the terms of Windows. That a mapping belongs to an ELF module (`MEM_IMAGE`, and one allocation
    /// base for its segments) shows only with its neighbours and is up to the caller.
    #[must_use]
    pub fn to_memory_info(&self) -> MemoryInfoFields {
        let protect = self.permissions.to_protect();
        let unused = protect == PAGE_NOACCESS && !self.permissions.shared && self.file().is_none();
        MemoryInfoFields {
            base: self.range.start.0,
            allocation_base: self.range.start.0,
            size: self.range.size(),
            state: if unused { MEM_RESERVE } else { MEM_COMMIT },
            protect,
            memory_type: if self.permissions.shared {
                MEM_MAPPED
            } else {
                MEM_PRIVATE
            },
        }
    }
}

const DELETED: &[u8] = b" (deleted)";

/// Takes the next word off `rest`.
fn field<'l>(rest: &mut &'l [u8]) -> &'l [u8] {
    let text = rest.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    word
}

fn split(word: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|byte| *byte == separator)?;
    Some((&word[..at], &word[at + 1..]))
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    // `from_str_radix` would also take a sign.
    digits.first().filter(|digit| digit.is_ascii_hexdigit())?;
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_in_terms_of_windows() {
        // The table of protections that minidump-writer and Crashpad agree on.
        let table = [
            (b"---", 0x01),
            (b"r--", 0x02),
            (b"rw-", 0x04),
            (b"-w-", 0x04),
            (b"--x", 0x10),
            (b"r-x", 0x20),
            (b"rwx", 0x40),
            (b"-wx", 0x40),
        ];
        for (letters, protect) in table {
            let line = [b"1000-3000 ", &letters[..], b"p 0 0:0 0"].concat();
            let fields = LinuxMapping::parse(&line).unwrap().to_memory_info();
            let state = if letters == b"---" { 0x2000 } else { 0x1000 };
            assert_eq!(
                (fields.protect, fields.state, fields.memory_type),
                (protect, state, 0x20000)
            );
            assert_eq!(
                (fields.base, fields.allocation_base, fields.size),
                (0x1000, 0x1000, 0x2000)
            );
        }
        let shared = LinuxMapping::parse(b"1000-3000 ---s 0 8:1 77 /dev/shm/x")
            .unwrap()
            .to_memory_info();
        assert_eq!((shared.state, shared.memory_type), (0x1000, 0x40000));
    }
}
