//! Mozilla's streams of macOS: the crash information sections of the modules (0x4D7A0001), and the boot arguments of
//! the machine (0x4D7A0002).

use alloc::string::String;
use alloc::vec::Vec;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::held::{Follow, place_bytes, place_record};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream, write_string};
use crate::addr::FileOffset;
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Record, record};

/// How many records a crash information stream has room for.
pub const MAX_RECORDS: usize = 20;

record! {
    /// `MINIDUMP_MAC_CRASH_INFO` (rust-minidump's `format.rs`), 172 bytes.
    pub struct MacCrashInfoHead[172] {
        /// The type of the stream once more.
        pub stream_type: U32,
        /// How many of the places are used.
        pub record_count: U32,
        /// The size of the fixed part of each record in bytes: where its strings start.
        pub record_start_size: U32,
        /// Where the records lie.
        pub records: [LocationDescriptor; 20],
    }

    /// The fixed part of `MINIDUMP_MAC_CRASH_INFO_RECORD_5` (rust-minidump's `format.rs`), 40 bytes. Version 1 ends
    /// after `version`, version 4 after `dialog_mode`.
    pub struct MacCrashRecordHead[40] {
        /// The type of the stream once more.
        pub stream_type: U64,
        /// Version of the section.
        pub version: U64,
        /// From version 4 on: the thread.
        pub thread: U64,
        /// From version 4 on: how the system's dialog should look.
        pub dialog_mode: U64,
        /// From version 5 on: why the program was aborted.
        pub abort_cause: U64,
    }

    /// `MINIDUMP_MAC_BOOTARGS` (rust-minidump's `format.rs`), 12 bytes.
    pub struct MacBootargsRecord[12] {
        /// The type of the stream once more.
        pub stream_type: U32,
        /// Where the boot arguments lie: a 64-bit file offset of a `MINIDUMP_STRING`.
        pub bootargs: U64,
    }
}

/// The crash information section (`__DATA,__crash_info`) of one module. Strings are bytes, without their NUL.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MacCrashRecord {
    /// Version of the section. What follows is there from version 4 on.
    pub version: u64,
    /// The thread.
    pub thread: u64,
    /// How the system's dialog should look.
    pub dialog_mode: u64,
    /// From version 5 on: why the program was aborted.
    pub abort_cause: u64,
    /// The module.
    pub module_path: Vec<u8>,
    /// What it says.
    pub message: Vec<u8>,
    /// What identifies the crash.
    pub signature_string: Vec<u8>,
    /// The call stack as text.
    pub backtrace: Vec<u8>,
    /// What it says besides.
    pub message2: Vec<u8>,
}

/// The size of the fixed part of a record of this version.
fn fixed_size(version: u64) -> usize {
    match version {
        0..4 => 16,
        4 => 32,
        _ => MacCrashRecordHead::SIZE,
    }
}

/// The contents of a MozMacosCrashInfo stream. All records have the same version.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MozMacosCrashInfo {
    /// The records, at most [`MAX_RECORDS`].
    pub records: Vec<MacCrashRecord>,
}

impl<'a> StreamContent<'a> for MozMacosCrashInfo {
    const TYPE: StreamType = StreamType::MOZ_MACOS_CRASH_INFO;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let head: MacCrashInfoHead = stream.head()?;
        let mut follow = Follow::new(stream, findings);
        let claimed = usize::try_from(head.record_count.get()).unwrap_or(usize::MAX);
        if claimed > MAX_RECORDS {
            let message = alloc::format!("{claimed}, at most {MAX_RECORDS} expected");
            follow.note(
                stream.offset.saturating_add(4),
                "MozMacosCrashInfo.RecordCount",
                message,
            );
        }
        let start = usize::try_from(head.record_start_size.get()).unwrap_or(usize::MAX);
        let mut records = Vec::new();
        for location in &head.records[..claimed.min(MAX_RECORDS)] {
            let Some((at, size)) = location.place() else {
                follow.note(stream.offset, RECORD, String::from("a record without a place"));
                continue;
            };
            let bytes = follow.bytes(at, size, RECORD);
            // What could not be had was noted already.
            if !bytes.is_empty() {
                records.extend(read_record(&bytes, at, start, stream, &mut follow));
            }
        }
        Ok(Self { records })
    }
}

const RECORD: &str = "MozMacosCrashInfo.Record";

fn read_record(
    bytes: &[u8],
    at: FileOffset,
    start: usize,
    stream: &Stream<'_>,
    follow: &mut Follow<'_, '_>,
) -> Option<MacCrashRecord> {
    let all = MacCrashRecordHead::read_partial(bytes, stream.endian);
    let version = all.version.get();
    let fixed = fixed_size(version);
    let Some(strings) = bytes.get(start..).filter(|_| start >= fixed) else {
        let size = bytes.len();
        let message = alloc::format!("{size} bytes with strings from {start} on, version {version} has {fixed} before");
        follow.note(at, RECORD, message);
        return None;
    };
    // Without this, the strings of an older version would be taken for fields.
    let head = MacCrashRecordHead::read_partial(&bytes[..fixed], stream.endian);
    let mut strings = strings.split(|byte| *byte == 0);
    let mut string = || strings.next().unwrap_or_default().to_vec();
    let mut record = MacCrashRecord {
        version,
        thread: head.thread.get(),
        dialog_mode: head.dialog_mode.get(),
        abort_cause: head.abort_cause.get(),
        ..MacCrashRecord::default()
    };
    if version >= 4 {
        record.module_path = string();
        record.message = string();
        record.signature_string = string();
        record.backtrace = string();
        record.message2 = string();
    }
    Some(record)
}

impl WriteStream for MozMacosCrashInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::MOZ_MACOS_CRASH_INFO
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        if self.records.len() > MAX_RECORDS {
            return Err(Error::TooLarge {
                what: "MozMacosCrashInfo.RecordCount".into(),
                value: self.records.len() as u64,
                limit: MAX_RECORDS as u64,
            });
        }
        let start = self.records.iter().map(|record| fixed_size(record.version)).max();
        let start = start.unwrap_or(MacCrashRecordHead::SIZE);
        let mut head = MacCrashInfoHead {
            stream_type: self.stream_type().0.into(),
            record_count: count(self.records.len(), "MozMacosCrashInfo.RecordCount")?.into(),
            record_start_size: count(start, "MozMacosCrashInfo.RecordStartSize")?.into(),
            ..MacCrashInfoHead::default()
        };
        for (place, record) in head.records.iter_mut().zip(&self.records) {
            let fixed = MacCrashRecordHead {
                stream_type: u64::from(self.stream_type().0).into(),
                version: record.version.into(),
                thread: record.thread.into(),
                dialog_mode: record.dialog_mode.into(),
                abort_cause: record.abort_cause.into(),
            }
            .in_order(layout.endian());
            let mut bytes = fixed.as_bytes()[..fixed_size(record.version)].to_vec();
            bytes.resize(start, 0);
            if record.version >= 4 {
                let strings = [
                    &record.module_path,
                    &record.message,
                    &record.signature_string,
                    &record.backtrace,
                    &record.message2,
                ];
                bytes.extend(strings.into_iter().flat_map(|string| string.iter().copied().chain([0])));
            }
            *place = place_bytes(layout, &bytes, RECORD)?;
        }
        place_record(layout, &head, "MozMacosCrashInfo")
    }
}

/// The contents of a MozMacosBootargs stream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MozMacosBootargs {
    /// The boot arguments of the machine; `None` where the file has none.
    pub bootargs: Option<String>,
}

impl<'a> StreamContent<'a> for MozMacosBootargs {
    const TYPE: StreamType = StreamType::MOZ_MACOS_BOOTARGS;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let record: MacBootargsRecord = stream.head()?;
        let at = FileOffset(record.bootargs.get());
        let mut follow = Follow::new(stream, findings);
        let bootargs = (at.0 != 0)
            .then(|| follow.text(at, "MozMacosBootargs.Bootargs"))
            .flatten();
        Ok(Self { bootargs })
    }
}

impl WriteStream for MozMacosBootargs {
    fn stream_type(&self) -> StreamType {
        StreamType::MOZ_MACOS_BOOTARGS
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let rva = match &self.bootargs {
            Some(bootargs) => u64::from(write_string(layout, bootargs)?.0),
            None => 0,
        };
        let record = MacBootargsRecord {
            stream_type: self.stream_type().0.into(),
            bootargs: rva.into(),
        };
        place_record(layout, &record, "MozMacosBootargs")
    }
}

#[cfg(test)]
mod tests {
    use super::super::third_party_tests::{RawStream, STREAM_AT, assert_round_trip, file_with, read_stream, words};
    use super::*;
    use crate::record::Endian;
    use alloc::vec;
    use proptest::prelude::*;

    fn record(version: u64) -> impl Strategy<Value = MacCrashRecord> {
        let string = || prop::collection::vec(1_u8.., 0..20);
        let strings = (string(), string(), string(), string(), string());
        (any::<(u64, u64, u64)>(), strings).prop_map(move |((thread, dialog_mode, abort_cause), strings)| {
            let mut record = MacCrashRecord {
                version,
                ..MacCrashRecord::default()
            };
            if version >= 4 {
                (record.thread, record.dialog_mode) = (thread, dialog_mode);
                (record.module_path, record.message) = (strings.0, strings.1);
                (record.signature_string, record.backtrace, record.message2) = (strings.2, strings.3, strings.4);
            }
            if version >= 5 {
                record.abort_cause = abort_cause;
            }
            record
        })
    }

    proptest! {
        #[test]
        fn crash_info_reads_as_written(
            records in (1..7_u64).prop_flat_map(|version| prop::collection::vec(record(version), 0..=20)),
        ) {
            assert_round_trip(&MozMacosCrashInfo { records });
        }

        #[test]
        fn bootargs_read_as_written(bootargs in prop::option::of("[^\0]{0,40}")) {
            assert_round_trip(&MozMacosBootargs { bootargs });
        }
    }

    fn read_raw<T: for<'a> StreamContent<'a>>(bytes: &[u8], behind: &[u8]) -> (Result<T, Error>, Findings) {
        let raw = RawStream {
            stream_type: T::TYPE,
            bytes,
            behind,
        };
        let file = file_with(Endian::Little, &raw);
        read_stream(&file, |stream, findings| T::read(stream, findings))
    }

    /// The fixed part with `count` records, all at `place`.
    fn head(count: u32, start: u32, place: [u32; 2]) -> Vec<u8> {
        let places: Vec<u32> = [place; MAX_RECORDS].concat();
        words(&[&[0x4D7A_0001, count, start], &places[..]].concat())
    }

    const BEHIND: u32 = STREAM_AT + 172;

    #[test]
    fn a_newer_version_keeps_its_strings() {
        // Laid out by hand after rust-minidump: version 9 has 8 bytes more in front of the strings, and a sixth string.
        let fixed = words(&[0x4D7A_0001, 0, 9, 0, 1, 0, 2, 0, 3, 0, 4, 0]);
        let bytes = [&fixed[..], b"/usr/lib/x\0abort() called\0\0\0dyld2 mode\0more\0"].concat();
        let size = u32::try_from(bytes.len()).unwrap();
        let (info, findings) = read_raw::<MozMacosCrashInfo>(&head(1, 48, [size, BEHIND]), &bytes);
        assert!(findings.is_empty());
        let record = MacCrashRecord {
            version: 9,
            thread: 1,
            dialog_mode: 2,
            abort_cause: 3,
            module_path: b"/usr/lib/x".to_vec(),
            message: b"abort() called".to_vec(),
            message2: b"dyld2 mode".to_vec(),
            ..MacCrashRecord::default()
        };
        assert_eq!(info.unwrap().records, [record]);
    }

    #[test]
    fn hostile_crash_info() {
        assert!(matches!(
            read_raw::<MozMacosCrashInfo>(&[0; 171], &[]).0,
            Err(Error::Malformed(_))
        ));
        let read = |head: Vec<u8>, behind: &[u8]| {
            let (info, findings) = read_raw::<MozMacosCrashInfo>(&head, behind);
            (info.unwrap().records.len(), findings.total())
        };
        // Too many records without a place; places past the end; strings that start in front of or behind the record.
        assert_eq!(read(head(u32::MAX, 40, [0, 0]), &[]), (0, 21));
        assert_eq!(read(head(2, 40, [u32::MAX, u32::MAX]), &[]), (0, 1));
        assert_eq!(read(head(2, 40, [100, u32::MAX]), &[]), (0, 2));
        let record = words(&[0x4D7A_0001, 0, 5, 0, 1, 0, 2, 0, 3, 0]);
        assert_eq!(read(head(1, 39, [40, BEHIND]), &record), (0, 1));
        assert_eq!(read(head(1, u32::MAX, [40, BEHIND]), &record), (0, 1));
        // A record that is the stream itself, and 20 times the same one of a megabyte.
        assert_eq!(read(head(1, 40, [172, STREAM_AT]), &[]).1, 0);
        let long = [record, vec![b'a'; 1 << 20]].concat();
        let (info, findings) = read_raw::<MozMacosCrashInfo>(&head(20, 40, [40 + (1 << 20), BEHIND]), &long);
        assert_eq!((info.unwrap().records.len(), findings.total()), (7, 1));
    }

    #[test]
    fn bootargs_have_their_place_at_byte_4() {
        let place = |rva: u64| [&words(&[0x4D7A_0002])[..], &rva.to_le_bytes()].concat();
        let string = [&[4, 0, 0, 0][..], b"-\0v\0\0\0"].concat();
        let (bootargs, findings) = read_raw::<MozMacosBootargs>(&place(u64::from(STREAM_AT) + 12), &string);
        assert_eq!(bootargs.unwrap().bootargs.as_deref(), Some("-v"));
        assert!(findings.is_empty());
        let (bootargs, findings) = read_raw::<MozMacosBootargs>(&place(u64::MAX), &[]);
        assert_eq!((bootargs.unwrap().bootargs, findings.total()), (None, 1));
    }
}
