//! `ThreadExListStream` (8): threads of Itanium programs, which have a second stack. It stands in the place of a
//! ThreadList.

use super::list::write_list;
use super::memory_list::MemoryDescriptor;
use super::thread_list::Thread;
use super::{LocationDescriptor, Stream, StreamContent, StreamType};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::record;
use crate::table::Table;

record! {
    /// `MINIDUMP_THREAD_EX` (`minidumpapiset.h`), 64 bytes.
    pub struct ThreadEx[64] {
        /// What every thread has.
        pub thread: Thread,
        /// Its register stack (backing store).
        pub backing_store: MemoryDescriptor,
    }
}

/// The threads of a ThreadExListStream.
#[derive(Clone, Copy, Debug)]
pub struct ThreadExList<'a> {
    /// The threads, in the order in which the system listed them.
    pub threads: Table<'a, ThreadEx>,
}

impl<'a> StreamContent<'a> for ThreadExList<'a> {
    const TYPE: StreamType = StreamType::THREAD_EX_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        Ok(Self {
            threads: stream.counted_list("ThreadExList", findings)?,
        })
    }
}

/// Lays out a ThreadExList. What the threads refer to must have its place already.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn write(layout: &mut Layout, threads: &[ThreadEx]) -> Result<LocationDescriptor, Error> {
    write_list(layout, threads, "ThreadExList")
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Endian, Record};
    use crate::test_dump;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            threads in proptest::collection::vec(test_dump::record::<ThreadEx>(), 0..5),
        ) {
            let file = test_dump::build(endian, StreamType::THREAD_EX_LIST, &[], |layout| write(layout, &threads));
            let list: ThreadExList<'_> = test_dump::read_clean(&file);
            prop_assert_eq!(list.threads.to_vec().unwrap(), threads);
        }
    }

    // Offsets: section 3.1 and 3.2 of the format reference.
    #[test]
    fn fields_lie_where_the_format_has_them() {
        let mut bytes = [0_u8; 4 + 64];
        bytes[0] = 1;
        bytes[4] = 7;
        bytes[4 + 16] = 0x11;
        bytes[4 + 40] = 0x22;
        bytes[4 + 48] = 0x33;
        bytes[4 + 60] = 0x44;
        let file = test_dump::raw(Endian::Little, StreamType::THREAD_EX_LIST, &bytes);
        let thread = test_dump::read_clean::<ThreadExList<'_>>(&file).threads.get(0).unwrap();
        assert_eq!(thread.thread.thread_id.get(), 7);
        assert_eq!(thread.thread.teb.get(), 0x11);
        assert_eq!(thread.thread.thread_context.data_size.get(), 0x22);
        assert_eq!(thread.backing_store.start_of_memory_range.get(), 0x33);
        assert_eq!(thread.backing_store.memory.rva.get(), 0x44);
    }

    #[test]
    fn damage_is_a_finding_or_an_error() {
        let threads: Vec<ThreadEx> = alloc::vec![ThreadEx::default(); 2];
        let file = test_dump::build(Endian::Little, StreamType::THREAD_EX_LIST, &[], |layout| {
            write(layout, &threads)
        });
        test_dump::damaged(&file, |file| {
            let (list, findings) = test_dump::read::<ThreadExList<'_>>(file);
            if let Ok(list) = list {
                assert!(list.threads.len() <= 2 && list.threads.to_vec().is_ok());
                let claimed = u32::from_le_bytes(file[test_dump::STREAM..][..4].try_into().unwrap());
                assert!(!findings.is_empty() || u64::from(claimed) == list.threads.len());
            }
        });
        assert_eq!(ThreadEx::SIZE, 64);
    }
}
