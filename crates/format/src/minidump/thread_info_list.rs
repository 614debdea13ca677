//! `ThreadInfoListStream` (17): times, start address and affinity of threads, also of some that the ThreadList lacks.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::{Head, copy_sized_list, write_sized_list};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Endian, Record, record};
use crate::table::Table;

record! {
    /// `MINIDUMP_THREAD_INFO` (`minidumpapiset.h`), 64 bytes.
    pub struct ThreadInfo[64] {
        /// The system's id of the thread.
        pub thread_id: U32,
        /// [`ThreadDumpFlags`].
        pub dump_flags: U32,
        /// An HRESULT: why the thread could not be dumped; 0 where it could.
        pub dump_error: U32,
        /// Its exit status; 0x103 while it runs.
        pub exit_status: U32,
        /// When it was made: a FILETIME, 100 ns since 1601.
        pub create_time: U64,
        /// When it ended: a FILETIME; 0 while it runs.
        pub exit_time: U64,
        /// Time spent in the kernel, in 100 ns.
        pub kernel_time: U64,
        /// Time spent in the program, in 100 ns.
        pub user_time: U64,
        /// The address of the function with which it was started.
        pub start_address: U64,
        /// The processors that it may use, one bit each.
        pub affinity: U64,
    }
}

bitflags::bitflags! {
    /// `MINIDUMP_THREAD_INFO_*` (`minidumpapiset.h`). Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct ThreadDumpFlags: u32 {
        /// It could not be dumped.
        const ERROR_THREAD = 0x1;
        /// It wrote the dump.
        const WRITING_THREAD = 0x2;
        /// It had ended.
        const EXITED_THREAD = 0x4;
        /// Times and addresses are not valid.
        const INVALID_INFO = 0x8;
        /// Its registers are not valid.
        const INVALID_CONTEXT = 0x10;
        /// The address of its environment block is not valid.
        const INVALID_TEB = 0x20;

        const _ = !0;
    }
}

impl ThreadInfo {
    /// How dumping it went.
    #[must_use]
    pub const fn dump_flags(&self) -> ThreadDumpFlags {
        ThreadDumpFlags::from_bits_retain(self.dump_flags.get())
    }
}

/// The threads of a ThreadInfoListStream.
#[derive(Clone, Copy, Debug)]
pub struct ThreadInfoList<'a> {
    /// The threads, in the order in which the system listed them.
    pub threads: Table<'a, ThreadInfo>,
    endian: Endian,
}

impl<'a> StreamContent<'a> for ThreadInfoList<'a> {
    const TYPE: StreamType = StreamType::THREAD_INFO_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        Ok(Self {
            threads: stream.sized_list(Head::Short, ThreadInfo::SIZE, "ThreadInfoList", findings)?,
            endian: stream.endian,
        })
    }
}

impl WriteStream for ThreadInfoList<'_> {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        copy_sized_list(layout, Head::Short, &self.threads, self.endian, "ThreadInfoList")
    }
}

/// Lays out a ThreadInfoList.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn write(layout: &mut Layout, threads: &[ThreadInfo]) -> Result<LocationDescriptor, Error> {
    write_sized_list(layout, Head::Short, threads, "ThreadInfoList")
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::THREAD_INFO_LIST;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            to in test_dump::endian(),
            threads in proptest::collection::vec(test_dump::record::<ThreadInfo>(), 0..8),
        ) {
            let file = test_dump::build(endian, TYPE, &[], |layout| write(layout, &threads));
            let list: ThreadInfoList<'_> = test_dump::read_clean(&file);
            prop_assert_eq!(&list.threads.to_vec().unwrap(), &threads);
            let copy = test_dump::build(to, TYPE, &file, |layout| list.write(layout));
            let list: ThreadInfoList<'_> = test_dump::read_clean(&copy);
            prop_assert_eq!(&list.threads.to_vec().unwrap(), &threads);
        }
    }

    // Sizes and offsets: section 3.15 of the format reference.
    #[test]
    fn the_head_is_12_bytes() {
        let thread = ThreadInfo {
            thread_id: 0x1F30.into(),
            dump_flags: 2.into(),
            exit_status: 0x103.into(),
            start_address: 0x11.into(),
            affinity: 0xFF.into(),
            ..ThreadInfo::default()
        };
        let file = test_dump::build(Endian::Little, TYPE, &[], |layout| write(layout, &[thread]));
        let bytes = &file[test_dump::STREAM..];
        assert_eq!(bytes[..12], [12, 0, 0, 0, 64, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(
            (bytes[12], bytes[13], bytes[16], bytes[24], bytes[25]),
            (0x30, 0x1F, 2, 3, 1)
        );
        assert_eq!((bytes[12 + 48], bytes[12 + 56]), (0x11, 0xFF));
        assert_eq!(bytes.len(), 12 + 64);
        assert_eq!(thread.dump_flags(), ThreadDumpFlags::WRITING_THREAD);
    }

    #[test]
    fn counts_and_sizes_out_of_bounds() {
        for (words, usable) in [
            ([12_u32, 64, u32::MAX], true),
            ([12, 1, u32::MAX], true),
            ([12, u32::MAX, 1], true),
            ([u32::MAX, 64, 1], true),
            ([12, 0, 1], false),
            ([0, 64, 1], false),
            ([11, 64, 1], false),
        ] {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend([0; 64]);
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            let (list, findings) = test_dump::read::<ThreadInfoList<'_>>(&file);
            assert_eq!(list.is_ok(), usable, "{words:?}");
            if let Ok(list) = list {
                assert!(list.threads.to_vec().is_ok() && !findings.is_empty(), "{words:?}");
            }
        }
    }

    #[test]
    fn damage_never_panics() {
        let threads = [ThreadInfo::default(); 2];
        let file = test_dump::build(Endian::Little, TYPE, &[], |layout| write(layout, &threads));
        test_dump::damaged(&file, |file| {
            if let Ok(list) = test_dump::read::<ThreadInfoList<'_>>(file).0 {
                let _ = list.threads.to_vec().unwrap();
            }
        });
    }
}
