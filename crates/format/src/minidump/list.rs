//! The shape that most lists share: a 32-bit count and the records; and the limits for lists that are held in memory.

use zerocopy::byteorder::little_endian::U32;

use super::{LocationDescriptor, Stream};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Reservation, count};
use crate::record::{Record, record};
use crate::table::{Shape, Table};

/// The most entries of a list that are held in memory at once. Lists that are only walked have no limit.
pub const MAX_ENTRIES: u64 = 1 << 18;

/// The most bytes of text and payloads that one stream may bring into memory, so that a small file whose entries all
/// point to one long string cannot fill it.
pub const MAX_TEXT: usize = 8 << 20;

record! {
    /// The count in front of a list.
    pub struct Count[4] {
        /// How many entries follow.
        pub count: U32,
    }
}

impl<'a> Stream<'a> {
    /// A list that starts with a 32-bit count (ThreadList, ModuleList, MemoryList, ThreadNames). Old writers put four
    /// bytes of padding after the count; the size of the stream tells.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the stream has no count.
    pub fn counted_list<T: Record>(&self, what: &'static str, findings: &mut Findings) -> Result<Table<'a, T>, Error> {
        let claimed = u64::from(self.head::<Count>()?.count.get());
        let padded = self.claimed_size == 8 + claimed * T::SIZE as u64;
        let offset = self.offset.saturating_add(if padded { 8 } else { 4 });
        let shape = Shape {
            offset,
            end: self.end(),
            stride: T::SIZE,
            claimed,
        };
        Ok(Table::new(self.source, self.endian, shape, what, findings))
    }
}

/// Room for a list of `len` records behind a 32-bit count, which is filled in. Record *i* goes `4 + i * T::SIZE` bytes
/// into it.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn reserve_list<T: Record>(
    layout: &mut Layout,
    len: usize,
    what: &'static str,
) -> Result<(Reservation, LocationDescriptor), Error> {
    layout.align(4);
    let number = Count {
        count: count(len, what)?.into(),
    };
    let room = layout.reserve(4 + len * T::SIZE);
    layout.fill_record(room, 0, &number);
    let location = layout.location(room.offset, room.size as u64, what)?;
    Ok((room, location))
}
