//! `MD_BREAKPAD_INFO_STREAM` (0x47670001): which threads wrote and requested the dump.

use zerocopy::byteorder::little_endian::U32;

use super::held::place_record;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::record;

/// [`BreakpadInfo::validity`]: the dump thread is valid.
pub const DUMP_THREAD_ID_VALID: u32 = 1;
/// [`BreakpadInfo::validity`]: the requesting thread is valid.
pub const REQUESTING_THREAD_ID_VALID: u32 = 2;

record! {
    /// `MDRawBreakpadInfo` (Breakpad's `minidump_format.h`), 12 bytes.
    pub struct BreakpadInfo[12] {
        /// Which of the fields are valid.
        pub validity: U32,
        /// The thread that wrote the dump, of no interest in a report.
        pub dump_thread_id: U32,
        /// The thread that asked for the dump: the one that crashed.
        pub requesting_thread_id: U32,
    }
}

impl BreakpadInfo {
    /// The contents that name these threads.
    #[must_use]
    pub fn new(dump_thread: Option<u32>, requesting_thread: Option<u32>) -> Self {
        let valid = |thread: Option<u32>, bit| thread.map_or(0, |_| bit);
        let validity = valid(dump_thread, DUMP_THREAD_ID_VALID) | valid(requesting_thread, REQUESTING_THREAD_ID_VALID);
        Self {
            validity: validity.into(),
            dump_thread_id: dump_thread.unwrap_or_default().into(),
            requesting_thread_id: requesting_thread.unwrap_or_default().into(),
        }
    }

    /// The thread that wrote the dump, where it is known.
    #[must_use]
    pub fn dump_thread(&self) -> Option<u32> {
        (self.validity.get() & DUMP_THREAD_ID_VALID != 0).then_some(self.dump_thread_id.get())
    }

    /// The thread that asked for the dump, where it is known.
    #[must_use]
    pub fn requesting_thread(&self) -> Option<u32> {
        (self.validity.get() & REQUESTING_THREAD_ID_VALID != 0).then_some(self.requesting_thread_id.get())
    }
}

impl<'a> StreamContent<'a> for BreakpadInfo {
    const TYPE: StreamType = StreamType::BREAKPAD_INFO;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let info: Self = stream.head()?;
        let known = DUMP_THREAD_ID_VALID | REQUESTING_THREAD_ID_VALID;
        // Firefox's dumps through Windows Error Reporting have parts of pointers here.
        if info.validity.get() & !known != 0 {
            let message = alloc::format!("{:#x}, no bits but {known:#x} expected", info.validity);
            findings.add(stream.offset, "BreakpadInfo.Validity", message);
        }
        Ok(info)
    }
}

impl WriteStream for BreakpadInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::BREAKPAD_INFO
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        place_record(layout, self, "BreakpadInfo")
    }
}

#[cfg(test)]
mod tests {
    use super::super::third_party_tests::{RawStream, assert_round_trip, file_with, read_stream, words};
    use super::*;
    use crate::record::Endian;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn read_gives_what_was_written(dump in any::<Option<u32>>(), requesting in any::<Option<u32>>()) {
            let info = BreakpadInfo::new(dump, requesting);
            prop_assert_eq!((info.dump_thread(), info.requesting_thread()), (dump, requesting));
            assert_round_trip(&info);
        }
    }

    #[test]
    fn known_bytes_and_a_short_stream() {
        let bytes = words(&[2, 7, 9]);
        let mut raw = RawStream {
            stream_type: StreamType::BREAKPAD_INFO,
            bytes: &bytes,
            behind: b"more",
        };
        let file = file_with(Endian::Little, &raw);
        let info = read_stream(&file, BreakpadInfo::read).0.unwrap();
        assert_eq!((info.dump_thread(), info.requesting_thread()), (None, Some(9)));
        let pointer = words(&[0x8EF0_A7A0, 0x15D, 0x8EF0_A7A0]);
        raw.bytes = &pointer;
        let file = file_with(Endian::Little, &raw);
        let (info, findings) = read_stream(&file, BreakpadInfo::read);
        assert_eq!((info.unwrap().dump_thread(), findings.total()), (None, 1));
        raw.bytes = &bytes[..11];
        let file = file_with(Endian::Little, &raw);
        assert!(matches!(
            read_stream(&file, BreakpadInfo::read).0,
            Err(Error::Malformed(_))
        ));
    }
}
