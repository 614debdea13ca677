//! `HandleOperationListStream` (18): what Application Verifier recorded about handles being opened and closed.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::{Head, copy_sized_list, write_sized_list};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Endian, Record, record};
use crate::table::Table;

/// The number of return addresses that a record has room for (`AVRF_MAX_TRACES`).
pub const MAX_TRACES: u32 = 32;

record! {
    /// `AVRF_HANDLE_OPERATION` (`avrfsdk.h`), 288 bytes.
    pub struct HandleOperation[288] {
        /// The handle.
        pub handle: U64,
        /// The process that did it.
        pub process_id: U32,
        /// The thread that did it.
        pub thread_id: U32,
        /// 0 unused, 1 opened, 2 closed, 3 used while it was invalid.
        pub operation_type: U32,
        /// Padding.
        pub spare0: U32,
        /// How many return addresses are valid.
        pub depth: U32,
        /// A number of the stack trace.
        pub index: U32,
        /// The stack trace, innermost first.
        pub return_addresses: [U64; 32],
    }
}

impl HandleOperation {
    /// The valid return addresses, innermost first.
    pub fn trace(&self) -> impl Iterator<Item = u64> + '_ {
        let valid = self.depth.get().min(MAX_TRACES) as usize;
        self.return_addresses[..valid].iter().map(|address| address.get())
    }
}

/// The records of a HandleOperationListStream.
#[derive(Clone, Copy, Debug)]
pub struct HandleOperationList<'a> {
    /// The operations, in the order in which they were recorded.
    pub operations: Table<'a, HandleOperation>,
    endian: Endian,
}

impl<'a> StreamContent<'a> for HandleOperationList<'a> {
    const TYPE: StreamType = StreamType::HANDLE_OPERATION_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let least = HandleOperation::SIZE;
        Ok(Self {
            operations: stream.sized_list(Head::Reserved, least, "HandleOperationList", findings)?,
            endian: stream.endian,
        })
    }
}

impl WriteStream for HandleOperationList<'_> {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        copy_sized_list(
            layout,
            Head::Reserved,
            &self.operations,
            self.endian,
            "HandleOperationList",
        )
    }
}

/// Lays out a HandleOperationList.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn write(layout: &mut Layout, operations: &[HandleOperation]) -> Result<LocationDescriptor, Error> {
    write_sized_list(layout, Head::Reserved, operations, "HandleOperationList")
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::HANDLE_OPERATION_LIST;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            to in test_dump::endian(),
            operations in proptest::collection::vec(test_dump::record::<HandleOperation>(), 0..4),
        ) {
            let file = test_dump::build(endian, TYPE, &[], |layout| write(layout, &operations));
            let list: HandleOperationList<'_> = test_dump::read_clean(&file);
            prop_assert_eq!(&list.operations.to_vec().unwrap(), &operations);
            let copy = test_dump::build(to, TYPE, &file, |layout| list.write(layout));
            let list: HandleOperationList<'_> = test_dump::read_clean(&copy);
            prop_assert_eq!(&list.operations.to_vec().unwrap(), &operations);
        }
    }

    /// A list of entries that are 4 bytes longer than known; offsets from section 3.10 of the format reference.
    fn long_entries() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [16_u32, 292, 2, 0] {
            bytes.extend(word.to_le_bytes());
        }
        for number in 1..3_u8 {
            let mut entry = [0; 292];
            entry[0] = number;
            entry[8] = 0x21;
            entry[12] = 0x22;
            entry[16] = 2;
            entry[24] = 2;
            entry[28] = 9;
            entry[32] = 0x41;
            entry[40] = 0x42;
            entry[291] = 0xEE;
            bytes.extend(entry);
        }
        bytes
    }

    #[test]
    fn longer_entries_are_read_and_copied_whole() {
        let bytes = long_entries();
        let file = test_dump::raw(Endian::Little, TYPE, &bytes);
        let list: HandleOperationList<'_> = test_dump::read_clean(&file);
        let operation = list.operations.get(1).unwrap();
        assert_eq!(operation.handle.get(), 2);
        assert_eq!((operation.process_id.get(), operation.thread_id.get()), (0x21, 0x22));
        assert_eq!((operation.operation_type.get(), operation.index.get()), (2, 9));
        assert_eq!(operation.trace().collect::<Vec<_>>(), [0x41, 0x42]);
        let copy = test_dump::build(Endian::Little, TYPE, &file, |layout| list.write(layout));
        assert_eq!(copy[test_dump::STREAM..], bytes);
    }

    #[test]
    fn damage_is_a_finding_or_an_error() {
        let file = test_dump::raw(Endian::Little, TYPE, &long_entries()[..16 + 292]);
        test_dump::damaged(&file, |file| {
            if let Ok(list) = test_dump::read::<HandleOperationList<'_>>(file).0 {
                for operation in &list.operations {
                    assert!(operation.unwrap().trace().count() <= 32);
                }
            }
        });
        for (header, entry) in [(0, 288), (1, 288), (15, 288), (16, 0)] {
            let mut bytes = long_entries();
            bytes[..4].copy_from_slice(&u32::to_le_bytes(header));
            bytes[4..8].copy_from_slice(&u32::to_le_bytes(entry));
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            assert!(
                test_dump::read::<HandleOperationList<'_>>(&file).0.is_err(),
                "{header} {entry}"
            );
        }
        for (header, entry, count) in [(u32::MAX, 288, 1), (16, u32::MAX, 1), (16, 288, u32::MAX)] {
            let mut bytes = long_entries();
            for (at, word) in [header, entry, count].into_iter().enumerate() {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&u32::to_le_bytes(word));
            }
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            let (list, findings) = test_dump::read::<HandleOperationList<'_>>(&file);
            assert!(
                list.unwrap().operations.len() <= 2 && !findings.is_empty(),
                "{header} {entry} {count}"
            );
        }
    }
}
