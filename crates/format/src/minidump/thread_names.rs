//! `ThreadNamesStream` (24): names (descriptions) of threads.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::{held, reserve_list};
use super::name::{Name, NameReader, NameWriter};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Record, record};

record! {
    /// `MINIDUMP_THREAD_NAME` (`minidumpapiset.h`), 12 bytes.
    pub struct ThreadNameRecord[12] {
        /// The system's id of the thread.
        pub thread_id: U32,
        /// Its name, a `MINIDUMP_STRING`: a 64-bit file offset.
        pub rva_of_thread_name: U64,
    }
}

/// The name of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadName {
    /// The system's id of the thread.
    pub thread_id: u32,
    /// Its name, which may be empty; `None` where it cannot be read.
    pub name: Option<Name>,
}

/// A ThreadNamesStream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ThreadNames {
    /// The names, in file order.
    pub names: Vec<ThreadName>,
}

impl ThreadNames {
    /// The first name that a thread has.
    #[must_use]
    pub fn of(&self, thread_id: u32) -> Option<&Name> {
        self.names
            .iter()
            .filter(|name| name.thread_id == thread_id)
            .find_map(|name| name.name.as_ref())
    }
}

impl<'a> StreamContent<'a> for ThreadNames {
    const TYPE: StreamType = StreamType::THREAD_NAMES;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let table = stream.counted_list::<ThreadNameRecord>("ThreadNames", findings)?;
        let mut texts = NameReader::new(*stream);
        let mut names = Vec::new();
        for record in held(&table, "ThreadNames", findings) {
            let record = record?;
            names.push(ThreadName {
                thread_id: record.thread_id.get(),
                name: texts.read(record.rva_of_thread_name.get(), "ThreadNames.ThreadName", findings),
            });
        }
        Ok(Self { names })
    }
}

impl WriteStream for ThreadNames {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let (room, location) = reserve_list::<ThreadNameRecord>(layout, self.names.len(), "ThreadNames")?;
        let mut texts = NameWriter::default();
        for (index, name) in self.names.iter().enumerate() {
            let record = ThreadNameRecord {
                thread_id: name.thread_id.into(),
                rva_of_thread_name: u64::from(texts.write(layout, name.name.as_ref())?.0).into(),
            };
            layout.fill_record(room, 4 + index * ThreadNameRecord::SIZE, &record);
        }
        Ok(location)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Endian;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::THREAD_NAMES;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            names in proptest::collection::vec((any::<u32>(), proptest::option::of(test_dump::units())), 0..8),
        ) {
            let names = names
                .into_iter()
                .map(|(thread_id, units)| ThreadName { thread_id, name: units.map(Name::from) })
                .collect();
            let names = ThreadNames { names };
            prop_assert_eq!(test_dump::read_clean::<ThreadNames>(&test_dump::file_of(&names, endian)), names);
        }
    }

    /// One name at file offset `rva`; offsets from section 3.19 of the format reference.
    fn one(count: u32, rva: u64) -> Vec<u8> {
        let mut bytes = Vec::from(count.to_le_bytes());
        bytes.extend(0x46BC_u32.to_le_bytes());
        bytes.extend(rva.to_le_bytes());
        bytes.extend(b"\x04\0\0\0a\0b\0");
        test_dump::raw(Endian::Little, TYPE, &bytes)
    }

    #[test]
    fn the_record_is_packed() {
        let file = one(1, test_dump::STREAM as u64 + 16);
        let names: ThreadNames = test_dump::read_clean(&file);
        assert_eq!(names.of(0x46BC).map(Name::text).as_deref(), Some("ab"));
        assert_eq!(names.of(1), None);
    }

    #[test]
    fn damage_is_a_finding_or_an_error() {
        for rva in [1 << 32, u64::MAX, 1_000_000] {
            let file = one(1, rva);
            let (names, findings) = test_dump::read::<ThreadNames>(&file);
            assert_eq!(names.unwrap().names[0].name, None);
            assert_eq!(findings.total(), 1);
        }
        let file = one(u32::MAX, 0);
        let (names, findings) = test_dump::read::<ThreadNames>(&file);
        assert!(names.unwrap().names.len() <= 2 && !findings.is_empty());
        test_dump::damaged(&one(1, test_dump::STREAM as u64 + 16), |file| {
            let _ = test_dump::read::<ThreadNames>(file);
        });
    }
}
