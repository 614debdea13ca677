//! Streams that hold a file of `/proc` or `/etc` as it was, and what such files have in common.

use alloc::borrow::Cow;
use alloc::string::String;

use super::held::place_bytes;
use super::list::MAX_TEXT;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;

/// `/proc/cpuinfo`: [`LinuxText::pairs`].
pub type LinuxCpuInfo<'a> = LinuxText<'a, { StreamType::LINUX_CPU_INFO.0 }>;
/// `/proc/PID/status`: [`LinuxText::pairs`].
pub type LinuxProcStatus<'a> = LinuxText<'a, { StreamType::LINUX_PROC_STATUS.0 }>;
/// `/etc/lsb-release` or `/etc/os-release`: [`LinuxText::assignments`].
pub type LinuxLsbRelease<'a> = LinuxText<'a, { StreamType::LINUX_LSB_RELEASE.0 }>;
/// `/proc/PID/cmdline`: [`LinuxText::items`].
pub type LinuxCmdLine<'a> = LinuxText<'a, { StreamType::LINUX_CMD_LINE.0 }>;
/// `/proc/PID/environ`: [`LinuxText::items`].
pub type LinuxEnviron<'a> = LinuxText<'a, { StreamType::LINUX_ENVIRON.0 }>;
/// `/proc/PID/maps` as text. [`LinuxMaps`](super::linux_maps::LinuxMaps) walks it without holding it.
pub type LinuxMapsText<'a> = LinuxText<'a, { StreamType::LINUX_MAPS.0 }>;
/// `/proc/PID/stat`.
pub type LinuxProcStat<'a> = LinuxText<'a, { StreamType::LINUX_PROC_STAT.0 }>;
/// `/proc/uptime`.
pub type LinuxProcUptime<'a> = LinuxText<'a, { StreamType::LINUX_PROC_UPTIME.0 }>;
/// A listing of `/proc/PID/fd`.
pub type LinuxProcFd<'a> = LinuxText<'a, { StreamType::LINUX_PROC_FD.0 }>;
/// `/proc/PID/limits`.
pub type MozLinuxLimits<'a> = LinuxText<'a, { StreamType::MOZ_LINUX_LIMITS.0 }>;
/// What the writer could not get, as JSON.
pub type MozSoftErrors<'a> = LinuxText<'a, { StreamType::MOZ_SOFT_ERRORS.0 }>;

/// A stream of type `TYPE` that is a text without NUL at its end. Bytes, because nothing makes paths and arguments
/// UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxText<'a, const TYPE: u32> {
    /// The text.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a, const TYPE: u32> LinuxText<'a, TYPE> {
    /// The stream with this text.
    #[must_use]
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The lines, without their ends.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let lines = (!text.is_empty()).then(|| text.split(|byte| *byte == b'\n'));
        lines.into_iter().flatten()
    }

    /// The lines of the form `key: value`, trimmed. Others are passed over.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines().filter_map(|line| split_at(line, b':'))
    }

    /// The value of the first `key: value` line with this key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        first(self.pairs(), key)
    }

    /// The lines of the form `KEY=value` or `KEY="value"`, without the quotes. Others, such as comments, are passed
    /// over. Escapes within quotes stay as they are.
    pub fn assignments(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let unquoted = |value| quoted(value, b'"').or_else(|| quoted(value, b'\'')).unwrap_or(value);
        self.lines()
            .filter(|line| !line.trim_ascii_start().starts_with(b"#"))
            .filter_map(|line| split_at(line, b'='))
            .map(move |(key, value)| (key, unquoted(value)))
    }

    /// The value of the first `KEY=value` line with this key.
    #[must_use]
    pub fn assigned(&self, key: &str) -> Option<&[u8]> {
        first(self.assignments(), key)
    }

    /// The items of a list in which each item ends with a NUL. The last one may lack it.
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        let list = self.bytes.strip_suffix(&[0]).unwrap_or(&self.bytes);
        let items = (!self.bytes.is_empty()).then(|| list.split(|byte| *byte == 0));
        items.into_iter().flatten()
    }

    /// The value of the first `NAME=value` item with this name.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let variables = self.items().filter_map(|item| {
            let at = item.iter().position(|byte| *byte == b'=')?;
            Some((&item[..at], &item[at + 1..]))
        });
        first(variables, name)
    }
}

fn split_at(line: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == separator)?;
    Some((line[..at].trim_ascii(), line[at + 1..].trim_ascii()))
}

fn quoted(value: &[u8], quote: u8) -> Option<&[u8]> {
    value.strip_prefix(&[quote])?.strip_suffix(&[quote])
}

fn first<'t>(mut pairs: impl Iterator<Item = (&'t [u8], &'t [u8])>, key: &str) -> Option<&'t [u8]> {
    pairs.find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
}

impl<'a, const TYPE: u32> StreamContent<'a> for LinuxText<'a, TYPE> {
    const TYPE: StreamType = StreamType(TYPE);

    fn read(stream: &Stream<'a>, _: &mut Findings) -> Result<Self, Error> {
        stream.bytes(MAX_TEXT as u64).map(Self::new)
    }
}

impl<const TYPE: u32> WriteStream for LinuxText<'_, TYPE> {
    fn stream_type(&self) -> StreamType {
        StreamType(TYPE)
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        place_bytes(layout, &self.bytes, "LinuxText")
    }
}

#[cfg(test)]
mod tests {
    use super::super::third_party_tests::{RawStream, file_with, read_stream};
    use super::*;
    use crate::record::Endian;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn texts<'t>(pairs: impl Iterator<Item = (&'t [u8], &'t [u8])>) -> Vec<(&'t str, &'t str)> {
        let text = |bytes| core::str::from_utf8(bytes).unwrap();
        pairs.map(|(key, value)| (text(key), text(value))).collect()
    }

    proptest! {
        #[test]
        fn read_gives_what_was_written(bytes in prop::collection::vec(any::<u8>(), 0..200), big in any::<bool>()) {
            let text = MozSoftErrors::new(bytes);
            let file = file_with(if big { Endian::Big } else { Endian::Little }, &text);
            let (again, findings) = read_stream(&file, MozSoftErrors::read);
            prop_assert_eq!(again.as_ref(), Ok(&text));
            prop_assert!(findings.is_empty());
            // No bytes make the parsers fail.
            let _ = (text.pairs().count(), text.assignments().count(), text.items().count());
        }

        #[test]
        fn lists_split_where_they_were_joined(
            items in prop::collection::vec(prop::collection::vec(1_u8.., 0..9), 0..9),
        ) {
            let joined: Vec<u8> = items.iter().flat_map(|item| item.iter().copied().chain([0])).collect();
            let text = LinuxCmdLine::new(joined);
            prop_assert_eq!(text.items().map(<[u8]>::to_vec).collect::<Vec<_>>(), items);
        }
    }

    #[test]
    fn key_and_value_lines() {
        let text = LinuxProcStatus::new(&b"Name:\tcat me\nPid:\t42\njunk\n\nGroups:\t\nTime: 10:20\n"[..]);
        assert_eq!(
            texts(text.pairs()),
            [("Name", "cat me"), ("Pid", "42"), ("Groups", ""), ("Time", "10:20")]
        );
        assert_eq!(text.value("Pid"), Some(&b"42"[..]));
        assert_eq!(text.value("PID"), None);
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn assignments_lose_their_quotes() {
        let text = LinuxLsbRelease::new(&b"# A=comment\nID=ubuntu\nNAME=\"Ubuntu 18.04.1 LTS\"\nX='y z'\nQ=\"\nE="[..]);
        assert_eq!(
            texts(text.assignments()),
            [
                ("ID", "ubuntu"),
                ("NAME", "Ubuntu 18.04.1 LTS"),
                ("X", "y z"),
                ("Q", "\""),
                ("E", "")
            ]
        );
        assert_eq!(text.assigned("NAME"), Some(&b"Ubuntu 18.04.1 LTS"[..]));
    }

    #[test]
    fn lists_keep_empty_items() {
        let items = |bytes: &'static [u8]| LinuxCmdLine::new(bytes).items().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(items(b"sh\0-c\0\0"), [&b"sh"[..], b"-c", b""]);
        assert_eq!(items(b"sh\0-c"), [&b"sh"[..], b"-c"]);
        assert_eq!(items(b""), [b""; 0]);
        assert_eq!(LinuxEnviron::new(&b"A=1\0B=2=3\0"[..]).variable("B"), Some(&b"2=3"[..]));
    }

    #[test]
    fn a_huge_text_is_not_held() {
        let bytes = vec![b'x'; MAX_TEXT + 1];
        let raw = RawStream {
            stream_type: StreamType::LINUX_CPU_INFO,
            bytes: &bytes,
            behind: &[],
        };
        let file = file_with(Endian::Little, &raw);
        assert!(matches!(
            read_stream(&file, LinuxCpuInfo::read).0,
            Err(Error::TooLarge { .. })
        ));
    }
}
