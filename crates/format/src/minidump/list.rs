//! The shapes that most lists share: a 32-bit count and the records, or a head that states its own sizes; and the
//! limits for lists that are held in memory.

use alloc::borrow::Cow;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::{LocationDescriptor, Stream};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece, Reservation, count};
use crate::record::{Endian, Record, record};
use crate::table::{Shape, Table, TableIter};

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

    /// The head of a list that states its own sizes, with a 32-bit count. The last field is not in every such list.
    pub struct SizedHead[16] {
        /// Where the first entry starts, in bytes from the start of the stream.
        pub size_of_header: U32,
        /// The distance between entries, in bytes.
        pub size_of_entry: U32,
        /// How many entries there are.
        pub number_of_entries: U32,
        /// Zero.
        pub reserved: U32,
    }

    /// The head of a list that states its own sizes, with a 64-bit count.
    pub struct WideHead[16] {
        /// Where the first entry starts, in bytes from the start of the stream.
        pub size_of_header: U32,
        /// The distance between entries, in bytes.
        pub size_of_entry: U32,
        /// How many entries there are.
        pub number_of_entries: U64,
    }
}

/// The heads of lists that state their own sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// 12 bytes: a 32-bit count (UnloadedModuleList, ThreadInfoList).
    Short,
    /// 16 bytes: a 32-bit count and a reserved word (HandleData, HandleOperationList).
    Reserved,
    /// 16 bytes: a 64-bit count (MemoryInfoList).
    Wide,
}

impl Head {
    /// Its size in bytes.
    #[must_use]
    pub const fn size(self) -> u32 {
        match self {
            Self::Short => 12,
            Self::Reserved | Self::Wide => 16,
        }
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

    /// A list that states its own sizes. Entries longer than `T` keep their distance and lose their tail; of entries
    /// that are shorter, the missing fields are zero, and below `least` bytes that is a finding.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the stream has no such head, or one that cannot be followed.
    pub fn sized_list<T: Record>(
        &self,
        head: Head,
        least: usize,
        what: &'static str,
        findings: &mut Findings,
    ) -> Result<Table<'a, T>, Error> {
        let bytes = self.bytes_at(0, u64::from(head.size()))?;
        let sizes = SizedHead::read_partial(&bytes, self.endian);
        let claimed = match head {
            Head::Wide => WideHead::read_partial(&bytes, self.endian).number_of_entries.get(),
            Head::Short | Head::Reserved => u64::from(sizes.number_of_entries.get()),
        };
        let (header, entry) = (sizes.size_of_header.get(), sizes.size_of_entry.get());
        if header < head.size() {
            return Err(Error::malformed(
                self.offset,
                what,
                alloc::format!("a header of {header} bytes, at least {} expected", head.size()),
            ));
        }
        if entry == 0 && claimed > 0 {
            return Err(Error::malformed(
                self.offset.saturating_add(4),
                what,
                alloc::format!("{claimed} entries of 0 bytes"),
            ));
        }
        if claimed > 0 && u64::from(entry) < least as u64 {
            findings.add(
                self.offset.saturating_add(4),
                what,
                alloc::format!("entries of {entry} bytes, at least {least} expected"),
            );
        }
        let shape = Shape {
            offset: self.offset.saturating_add(u64::from(header)),
            end: self.end(),
            stride: usize::try_from(entry).unwrap_or(usize::MAX),
            claimed,
        };
        Ok(Table::new(self.source, self.endian, shape, what, findings))
    }
}

/// The entries of a list that is going to be held in memory: at most [`MAX_ENTRIES`], more are a finding.
pub fn held<'a, T: Record>(table: &Table<'a, T>, what: &'static str, findings: &mut Findings) -> TableIter<'a, T> {
    if table.len() > MAX_ENTRIES {
        findings.add(
            table.offset_of(MAX_ENTRIES),
            what,
            alloc::format!("{} entries, at most {MAX_ENTRIES} are read", table.len()),
        );
    }
    table.range(0, MAX_ENTRIES)
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

/// Lays out a list of `records` behind a 32-bit count.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn write_list<T: Record>(
    layout: &mut Layout,
    records: &[T],
    what: &'static str,
) -> Result<LocationDescriptor, Error> {
    let (room, location) = reserve_list::<T>(layout, records.len(), what)?;
    for (index, record) in records.iter().enumerate() {
        layout.fill_record(room, 4 + index * T::SIZE, record);
    }
    Ok(location)
}

/// Lays out the head of a list of `len` entries of `entry` bytes, as one record.
fn push_head(layout: &mut Layout, head: Head, entry: u32, len: u64, what: &'static str) -> Result<(), Error> {
    if head == Head::Wide {
        layout.push_record(&WideHead {
            size_of_header: head.size().into(),
            size_of_entry: entry.into(),
            number_of_entries: len.into(),
        });
        return Ok(());
    }
    let record = SizedHead {
        size_of_header: head.size().into(),
        size_of_entry: entry.into(),
        number_of_entries: u32::try_from(len).map_err(|_| too_large(what, len))?.into(),
        reserved: 0.into(),
    };
    let bytes = zerocopy::transmute!(record.in_order(layout.endian()));
    let bytes: [u8; 16] = bytes;
    layout.push_bytes(&bytes[..head.size() as usize]);
    Ok(())
}

/// A size or count of a list that needs more than 32 bits.
fn too_large(what: &'static str, value: u64) -> Error {
    Error::TooLarge {
        what: Cow::Borrowed(what),
        value,
        limit: u64::from(u32::MAX),
    }
}

/// Room for `len` entries of `entry` bytes behind a head, which is written; the room starts with the first entry. The
/// place is that of the whole list.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn reserve_sized_list(
    layout: &mut Layout,
    head: Head,
    entry: u32,
    len: usize,
    what: &'static str,
) -> Result<(Reservation, LocationDescriptor), Error> {
    let size = u64::from(entry).saturating_mul(len as u64);
    let whole = size.saturating_add(u64::from(head.size()));
    layout.align(4);
    // Before room is made for it: a list that cannot be addressed must not be allocated either.
    let location = layout.location(layout.end(), whole, what)?;
    push_head(layout, head, entry, len as u64, what)?;
    let room = layout.reserve(usize::try_from(size).map_err(|_| too_large(what, size))?);
    Ok((room, location))
}

/// Lays out `records` behind a head.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit.
pub fn write_sized_list<T: Record>(
    layout: &mut Layout,
    head: Head,
    records: &[T],
    what: &'static str,
) -> Result<LocationDescriptor, Error> {
    let (room, location) = reserve_sized_list(layout, head, count(T::SIZE, what)?, records.len(), what)?;
    for (index, record) in records.iter().enumerate() {
        layout.fill_record(room, index * T::SIZE, record);
    }
    Ok(location)
}

/// Lays out a table of another file, of byte order `endian`, behind a head of its own. Its entries, which must not hold
/// file offsets, are copied as they are, with what they have beyond `T`; only for another byte order they are rewritten.
///
/// # Errors
/// [`Error::TooLarge`] where the count or the place does not fit; [`Error::Read`] where the medium fails.
pub fn copy_sized_list<T: Record>(
    layout: &mut Layout,
    head: Head,
    table: &Table<'_, T>,
    endian: Endian,
    what: &'static str,
) -> Result<LocationDescriptor, Error> {
    if endian != layout.endian() {
        return write_sized_list(layout, head, &table.to_vec()?, what);
    }
    let size = table.len().saturating_mul(table.stride() as u64);
    layout.align(4);
    let location = layout.location(layout.end(), size.saturating_add(u64::from(head.size())), what)?;
    push_head(layout, head, count(table.stride(), what)?, table.len(), what)?;
    layout.push(Piece::CopyFrom {
        offset: table.offset_of(0),
        size,
    });
    Ok(location)
}
