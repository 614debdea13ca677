//! `MD_LINUX_MAPS` (0x47670009): the address space of a Linux process, as `/proc/PID/maps` had it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use super::list::MAX_ENTRIES;
use super::{Stream, StreamContent, StreamType};
use crate::addr::{FileOffset, VirtAddr, VirtRange};
use crate::error::{Error, Findings};

/// The longest line that is read, in bytes: twice what the kernel allows for a path, and its fields.
pub const MAX_LINE: usize = 8 << 10;

/// How many bytes a walk reads at a time.
const CHUNK: usize = 64 << 10;

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

/// The mappings of a LinuxMaps stream, which stay in the file until they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct LinuxMaps<'a> {
    stream: Stream<'a>,
}

impl<'a> StreamContent<'a> for LinuxMaps<'a> {
    const TYPE: StreamType = StreamType::LINUX_MAPS;

    fn read(stream: &Stream<'a>, _: &mut Findings) -> Result<Self, Error> {
        Ok(Self { stream: *stream })
    }
}

impl<'a> LinuxMaps<'a> {
    /// Walks the mappings in file order. A line that is none is an [`Error::Malformed`], after which the walk goes on;
    /// after an [`Error::Read`] it ends.
    #[must_use]
    pub fn iter(&self) -> LinuxMapsIter<'a> {
        LinuxMapsIter {
            stream: self.stream,
            read: 0,
            buffer: Vec::new(),
            line: 0,
            too_long: None,
        }
    }

    /// All mappings, at most [`MAX_ENTRIES`]. Lines that are none become findings.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn to_vec(&self, findings: &mut Findings) -> Result<Vec<LinuxMapping>, Error> {
        let mut mappings = Vec::new();
        for mapping in self {
            if mappings.len() as u64 >= MAX_ENTRIES {
                let message = alloc::format!("more than {MAX_ENTRIES} mappings; the rest is left out");
                findings.add(self.stream.offset, WHAT, message);
                break;
            }
            match mapping {
                Ok(mapping) => mappings.push(mapping),
                Err(Error::Malformed(finding)) => findings.push(finding),
                Err(error) => return Err(error),
            }
        }
        Ok(mappings)
    }
}

impl<'a> IntoIterator for &LinuxMaps<'a> {
    type Item = Result<LinuxMapping, Error>;
    type IntoIter = LinuxMapsIter<'a>;

    fn into_iter(self) -> LinuxMapsIter<'a> {
        self.iter()
    }
}

const WHAT: &str = "LinuxMaps";

/// Walks a [`LinuxMaps`], holding one chunk of it.
#[derive(Debug)]
pub struct LinuxMapsIter<'a> {
    stream: Stream<'a>,
    /// How many bytes of the stream have been read: where the buffer ends.
    read: u64,
    buffer: Vec<u8>,
    /// Where the next line starts in the buffer.
    line: usize,
    /// Where a line started that turned out to be too long; its end is still to come.
    too_long: Option<FileOffset>,
}

impl LinuxMapsIter<'_> {
    /// Where byte `at` of the buffer lies in the file.
    fn offset_of(&self, at: usize) -> FileOffset {
        let behind = (self.buffer.len() - at) as u64;
        self.stream.offset.saturating_add(self.read).saturating_sub(behind)
    }

    /// Drops what was walked over and reads on. The lines in the buffer stay below [`MAX_LINE`].
    fn fill(&mut self) -> Result<(), Error> {
        if self.buffer.len() - self.line > MAX_LINE {
            self.too_long.get_or_insert(self.offset_of(self.line));
            self.line = self.buffer.len();
        }
        self.buffer.drain(..self.line);
        self.line = 0;
        let more = (self.stream.size - self.read).min(CHUNK as u64);
        let bytes = self.stream.bytes_at(self.read, more)?;
        self.buffer.extend_from_slice(&bytes);
        self.read += more;
        Ok(())
    }

    /// The next line, and where it starts; `None` at the end.
    fn next_line(&mut self) -> Result<Option<(FileOffset, Vec<u8>)>, Error> {
        loop {
            let ahead = &self.buffer[self.line..];
            let length = ahead.iter().position(|byte| *byte == b'\n');
            let at_end = self.read >= self.stream.size;
            if length.is_none() && at_end && ahead.is_empty() && self.too_long.is_none() {
                return Ok(None);
            }
            let Some(length) = length.or(at_end.then_some(ahead.len())) else {
                self.fill()?;
                continue;
            };
            let start = self.too_long.unwrap_or(self.offset_of(self.line));
            let line = &self.buffer[self.line..self.line + length];
            let line = (self.too_long.is_none() && length <= MAX_LINE).then(|| line.to_vec());
            self.too_long = None;
            self.line = (self.line + length + 1).min(self.buffer.len());
            let too_long = || Error::malformed(start, WHAT, alloc::format!("a line of more than {MAX_LINE} bytes"));
            return line.map(|line| Some((start, line))).ok_or_else(too_long);
        }
    }
}

impl Iterator for LinuxMapsIter<'_> {
    type Item = Result<LinuxMapping, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (start, line) = match self.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return None,
                Err(error) => {
                    if !matches!(error, Error::Malformed(_)) {
                        self.stream.size = 0;
                        self.buffer = vec![];
                        self.line = 0;
                    }
                    return Some(Err(error));
                }
            };
            if line.is_empty() {
                continue;
            }
            let malformed = || {
                let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
                Error::malformed(
                    start,
                    WHAT,
                    alloc::format!("{shown:?}, a line of /proc/PID/maps expected"),
                )
            };
            return Some(LinuxMapping::parse(&line).ok_or_else(malformed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linux_text::LinuxMapsText;
    use super::super::third_party_tests::{STREAM_AT, file_with, read_stream};
    use super::*;
    use crate::record::Endian;
    use proptest::prelude::*;

    fn read_text(text: Vec<u8>) -> (Vec<LinuxMapping>, Findings) {
        let file = file_with(Endian::Little, &LinuxMapsText::new(text));
        let (mappings, findings) = read_stream(&file, |stream, findings| {
            LinuxMaps::read(stream, findings)?.to_vec(findings)
        });
        (mappings.unwrap(), findings)
    }

    prop_compose! {
        fn any_mapping()(
            range in any::<(u64, u64)>(),
            letters in any::<[bool; 4]>(),
            offset in any::<u64>(),
            device in any::<(u32, u32)>(),
            inode in any::<u64>(),
            path in prop::option::of("[/\\[][^\n]{0,100}"),
        ) -> LinuxMapping {
            let [read, write, execute, shared] = letters;
            LinuxMapping {
                range: VirtRange::new(VirtAddr(range.0.min(range.1)), VirtAddr(range.0.max(range.1))),
                permissions: Permissions { read, write, execute, shared },
                offset,
                device,
                inode,
                path: path.map(String::into_bytes),
            }
        }
    }

    proptest! {
        #[test]
        fn read_gives_what_was_written(mappings in prop::collection::vec(any_mapping(), 0..20)) {
            let mut text = Vec::new();
            for mapping in &mappings {
                mapping.push_line(&mut text);
            }
            let (again, findings) = read_text(text);
            prop_assert_eq!(again, mappings);
            prop_assert!(findings.is_empty());
        }

        #[test]
        fn any_text_ends(text in prop::collection::vec(any::<u8>(), 0..500)) {
            read_text(text);
        }
    }

    // Lines of a Breakpad dump of Ubuntu; the numbers read off by eye.
    const LINES: &[u8] =
        b"00400000-00401000 r-xp 00000000 fc:01 11019295                           /tmp/a b (deleted)\n\
        006d2000-006f3000 rw-p 00000000 00:00 0                                  [heap]\n\
        7f2565d33000-7f2565d34000 rw-p 00000000 00:00 0 \n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]";

    #[test]
    fn known_lines() {
        let (mappings, findings) = read_text(LINES.to_vec());
        assert!(findings.is_empty());
        let [file, heap, anonymous, vsyscall] = &mappings[..] else {
            panic!("{mappings:?}");
        };
        assert_eq!(file.range, VirtRange::new(VirtAddr(0x40_0000), VirtAddr(0x40_1000)));
        assert_eq!((file.offset, file.device, file.inode), (0, (0xFC, 1), 11_019_295));
        assert_eq!(file.permissions.to_string(), "r-xp");
        assert!(file.is_deleted());
        assert_eq!(file.file(), Some(&b"/tmp/a b"[..]));
        assert_eq!(heap.special_name(), Some(&b"[heap]"[..]));
        assert_eq!((heap.file(), heap.is_deleted()), (None, false));
        assert_eq!(anonymous.path, None);
        assert_eq!(vsyscall.range.end, VirtAddr(0xFFFF_FFFF_FF60_1000));
    }

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

    #[test]
    fn junk_lines_are_passed_over() {
        let junk: [&[u8]; 7] = [
            b"junk",
            b"2000-1000 r--p 0 0:0 0",
            b"+1000-2000 r--p 0 0:0 0",
            b"10000000000000000-20000000000000000 r--p 0 0:0 0",
            b"1000-2000 r-?p 0 0:0 0",
            b"1000-2000 r--p 0 100000000:0 0",
            b"\0",
        ];
        for line in junk {
            let (mappings, findings) = read_text([line, b"\n\n", LINES].concat());
            assert_eq!(
                (mappings.len(), findings.total()),
                (4, 1),
                "{:?}",
                String::from_utf8_lossy(line)
            );
            assert_eq!(findings.as_slice()[0].offset, FileOffset(u64::from(STREAM_AT)));
        }
    }

    #[test]
    fn long_lines_are_passed_over() {
        // Within a chunk, across chunks, and at the end of the stream.
        for length in [MAX_LINE + 1, 3 * CHUNK + 17] {
            let long = vec![b'a'; length];
            let (mappings, findings) = read_text([LINES, b"\n", &long, b"\n", LINES].concat());
            assert_eq!((mappings.len(), findings.total()), (8, 1));
            assert_eq!(
                findings.as_slice()[0].offset.0,
                u64::from(STREAM_AT) + LINES.len() as u64 + 1
            );
            let (mappings, findings) = read_text([LINES, b"\n", &long].concat());
            assert_eq!((mappings.len(), findings.total()), (4, 1));
        }
    }
}
