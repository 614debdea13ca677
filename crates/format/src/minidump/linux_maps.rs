//! `MD_LINUX_MAPS` (0x47670009): the address space of a Linux process, as `/proc/PID/maps` had it.

use alloc::string::String;
use alloc::vec::Vec;

use super::linux_mapping::LinuxMapping;
use super::list::MAX_ENTRIES;
use super::{Stream, StreamContent, StreamType};
use crate::addr::FileOffset;
use crate::error::{Error, Findings};

/// The longest line that is read, in bytes: twice what the kernel allows for a path, and its fields.
pub const MAX_LINE: usize = 8 << 10;

/// How many bytes a walk reads at a time.
const CHUNK: usize = 64 << 10;

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
                        self.buffer = Vec::new();
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
    use super::super::linux_mapping::Permissions;
    use super::super::linux_text::LinuxMapsText;
    use super::super::third_party_tests::{STREAM_AT, file_with, read_stream};
    use super::*;
    use crate::addr::{VirtAddr, VirtRange};
    use crate::record::Endian;
    use alloc::string::ToString;
    use alloc::vec;
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
