//! `ThreadListStream` (3): threads with their stacks and registers.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::write_list;
use super::memory_list::MemoryDescriptor;
use super::{LocationDescriptor, Stream, StreamContent, StreamType};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::record;
use crate::table::Table;

record! {
    /// `MINIDUMP_THREAD` (`minidumpapiset.h`), 48 bytes.
    pub struct Thread[48] {
        /// The system's id of the thread.
        pub thread_id: U32,
        /// How often it was suspended, not counting the writer's own suspension.
        pub suspend_count: U32,
        /// Priority class of the process (0x20 is normal).
        pub priority_class: U32,
        /// Priority, a signed number.
        pub priority: U32,
        /// Address of its thread environment block; 0 where there is none. Crashpad on Linux: its thread pointer.
        pub teb: U64,
        /// Its stack. With an RVA of 0 and a size, the bytes are found by address in the memory lists.
        pub stack: MemoryDescriptor,
        /// Its registers, a CONTEXT of the dump's processor.
        pub thread_context: LocationDescriptor,
    }
}

/// The threads of a ThreadListStream.
#[derive(Clone, Copy, Debug)]
pub struct ThreadList<'a> {
    /// The threads, in the order in which the system listed them.
    pub threads: Table<'a, Thread>,
}

impl<'a> StreamContent<'a> for ThreadList<'a> {
    const TYPE: StreamType = StreamType::THREAD_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        Ok(Self {
            threads: stream.counted_list("ThreadList", findings)?,
        })
    }
}

/// Lays out a ThreadListStream of threads whose contexts, and stacks where they have file offsets, have their places.
/// Where these come later in the file, [`reserve_list`](super::list::reserve_list) makes the room.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn write(layout: &mut Layout, threads: &[Thread]) -> Result<LocationDescriptor, Error> {
    write_list(layout, threads, "ThreadList")
}
