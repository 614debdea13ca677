//! Tables of equal records that stay in the file until they are asked for.

use core::marker::PhantomData;

use alloc::vec;
use alloc::vec::Vec;

use zerocopy::FromBytes as _;

use crate::addr::FileOffset;
use crate::error::{Error, Findings};
use crate::record::{Endian, Record};
use crate::source::ReadAt;

/// How many bytes a scan reads at a time, once it has gone on for a while.
const CHUNK: usize = 64 << 10;

/// How many bytes a scan reads first: a search that needs a few records should not read more.
const FIRST_CHUNK: usize = 1 << 10;

/// `len` records of type `T`, `stride` bytes apart, in a file. Holds no copy of them: memory does not grow with the
/// count, whatever a file claims. A stride below the size of `T` reads the missing fields as zero.
pub struct Table<'a, T> {
    source: &'a dyn ReadAt,
    endian: Endian,
    offset: FileOffset,
    stride: usize,
    len: u64,
    record: PhantomData<T>,
}

/// What a file says of a table.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Where its first record starts.
    pub offset: FileOffset,
    /// Where the room for it ends.
    pub end: FileOffset,
    /// The distance between records, in bytes.
    pub stride: usize,
    /// How many records it is said to have.
    pub claimed: u64,
}

impl<T> Clone for Table<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Table<'_, T> {}

impl<T> core::fmt::Debug for Table<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Table")
            .field("offset", &self.offset)
            .field("stride", &self.stride)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<'a, T: Record> Table<'a, T> {
    /// The table that `shape` describes, cut to what lies within it and the medium. What is missing becomes a finding
    /// about `what`.
    pub fn new(
        source: &'a dyn ReadAt,
        endian: Endian,
        shape: Shape,
        what: &'static str,
        findings: &mut Findings,
    ) -> Self {
        let Shape {
            offset, end, claimed, ..
        } = shape;
        let stride = shape.stride.max(1);
        let room = end.0.min(source.size()).saturating_sub(offset.0);
        let fits = room / stride as u64;
        if claimed > fits {
            findings.add(
                offset,
                what,
                alloc::format!(
                    "{claimed} entries of {stride} bytes expected, only {fits} lie within the stream and the file"
                ),
            );
        }
        Self {
            source,
            endian,
            offset,
            stride,
            len: claimed.min(fits),
            record: PhantomData,
        }
    }

    /// A table without entries.
    #[must_use]
    pub fn empty(source: &'a dyn ReadAt) -> Self {
        Self {
            source,
            endian: Endian::Little,
            offset: FileOffset(0),
            stride: T::SIZE,
            len: 0,
            record: PhantomData,
        }
    }

    /// How many records there are, within the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The distance between records, in bytes.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Where record `index` lies in the file. `index` may be `len`: the end of the table.
    #[must_use]
    pub const fn offset_of(&self, index: u64) -> FileOffset {
        self.offset.saturating_add(index.saturating_mul(self.stride as u64))
    }

    /// Record `index`.
    ///
    /// # Errors
    /// [`Error::Malformed`] where `index` is not below [`Table::len`]; [`Error::Read`] where the medium fails.
    pub fn get(&self, index: u64) -> Result<T, Error> {
        if index >= self.len {
            return Err(Error::malformed(
                self.offset,
                "table",
                alloc::format!("entry {index} asked for, {} there", self.len),
            ));
        }
        let bytes = self.source.bytes(self.offset_of(index), self.stride.min(T::SIZE))?;
        Ok(T::read_partial(&bytes, self.endian))
    }

    /// All records from the first on.
    #[must_use]
    pub fn iter(&self) -> TableIter<'a, T> {
        self.range(0, self.len)
    }

    /// The records `first..last`, cut to the table.
    #[must_use]
    pub fn range(&self, first: u64, last: u64) -> TableIter<'a, T> {
        let last = last.min(self.len);
        TableIter {
            table: *self,
            next: first.min(last),
            last,
            buffer: Vec::new(),
            at: 0,
            chunk: FIRST_CHUNK,
        }
    }

    /// Calls `each` for all records, which is faster than to ask an iterator for each of them.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails; `each` has then seen the records before.
    pub fn for_each(&self, mut each: impl FnMut(&T)) -> Result<(), Error> {
        let mut records = self.iter();
        if self.endian == Endian::Little && self.stride == T::SIZE {
            // The bytes are the records.
            while records.next < records.last {
                records.fill()?;
                let whole = <[T]>::ref_from_bytes(&records.buffer);
                whole.unwrap_or_default().iter().for_each(&mut each);
            }
            return Ok(());
        }
        records.try_for_each(|record| record.map(|record| each(&record)))
    }

    /// The number of leading records for which `predicate` holds, by binary search (they must come first).
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn partition_point(&self, mut predicate: impl FnMut(&T) -> bool) -> Result<u64, Error> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if predicate(&self.get(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// All records at once. Only for tables that a caller has found to be small.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        self.iter().collect()
    }
}

impl<'a, T: Record> IntoIterator for &Table<'a, T> {
    type Item = Result<T, Error>;
    type IntoIter = TableIter<'a, T>;

    fn into_iter(self) -> TableIter<'a, T> {
        self.iter()
    }
}

/// Walks a [`Table`], reading up to 64 KiB at a time. After an error it ends.
pub struct TableIter<'a, T> {
    table: Table<'a, T>,
    /// The first record that is not in the buffer.
    next: u64,
    last: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next record starts.
    at: usize,
    chunk: usize,
}

impl<T: Record> TableIter<'_, T> {
    fn fill(&mut self) -> Result<(), Error> {
        let per_chunk = (self.chunk / self.table.stride).max(1) as u64;
        self.chunk = (self.chunk * 2).min(CHUNK);
        let count = per_chunk.min(self.last - self.next);
        // A chunk is at most CHUNK bytes or one record, so this never truncates.
        let size = usize::try_from(count).unwrap_or(1) * self.table.stride;
        if self.buffer.len() != size {
            self.buffer = vec![0; size];
        }
        self.table
            .source
            .read_exact_at(self.table.offset_of(self.next), &mut self.buffer)?;
        self.next += count;
        self.at = 0;
        Ok(())
    }

    /// The next record where it is not in the buffer yet, or is shorter than `T`.
    #[cold]
    fn next_slowly(&mut self) -> Option<Result<T, Error>> {
        if self.at >= self.buffer.len() {
            if self.next >= self.last {
                return None;
            }
            if self.table.stride > CHUNK {
                // A stride this long comes from a damaged header: only the known part of each record is worth reading.
                self.next += 1;
                return Some(self.table.get(self.next - 1));
            }
            if let Err(error) = self.fill() {
                self.next = self.last;
                self.buffer.clear();
                return Some(Err(error));
            }
        }
        let record = T::read_partial(&self.buffer[self.at..][..self.table.stride], self.table.endian);
        self.at += self.table.stride;
        Some(Ok(record))
    }
}

impl<T: Record> Iterator for TableIter<'_, T> {
    type Item = Result<T, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // Nearly all records are read here: a copy of known size.
        if self.table.stride >= T::SIZE
            && let Some(bytes) = self.buffer.get(self.at..)
            && let Some(record) = T::read(bytes, self.table.endian)
        {
            self.at += self.table.stride;
            return Some(Ok(record));
        }
        self.next_slowly()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let buffered = (self.buffer.len() - self.at.min(self.buffer.len())) / self.table.stride;
        let left = usize::try_from(self.last - self.next).unwrap_or(usize::MAX);
        (0, left.checked_add(buffered))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::minidump::memory64_list::MemoryDescriptor64;

    proptest! {
        /// `for_each` sees what the iterator gives, whatever the byte order, the stride and the size of the file.
        #[test]
        fn for_each_sees_all_records(
            file in prop::collection::vec(any::<u8>(), 0..6000),
            stride in prop_oneof![Just(16_usize), Just(16), 1_usize..40],
            offset in 0_u64..40,
            big in any::<bool>(),
        ) {
            let shape = Shape { offset: FileOffset(offset), end: FileOffset(u64::MAX), stride, claimed: 1 << 40 };
            let endian = if big { Endian::Big } else { Endian::Little };
            let table = Table::<MemoryDescriptor64>::new(&file, endian, shape, "test", &mut Findings::default());
            let mut seen = Vec::new();
            table.for_each(|record| seen.push(*record)).unwrap();
            prop_assert_eq!(seen.len() as u64, table.len());
            prop_assert_eq!(table.len(), (file.len() as u64).saturating_sub(offset) / stride as u64);
            prop_assert!(seen.iter().zip(&table).all(|(seen, record)| *seen == record.unwrap()));
        }
    }

    /// Many chunks, as of a list with very many entries.
    #[test]
    fn for_each_goes_on_over_chunks() {
        let file: Vec<u8> = (0_u64..40_000).flat_map(|number| number.to_le_bytes()).collect();
        let shape = Shape {
            offset: FileOffset(0),
            end: FileOffset(u64::MAX),
            stride: 16,
            claimed: 20_000,
        };
        let table = Table::<MemoryDescriptor64>::new(&file, Endian::Little, shape, "test", &mut Findings::default());
        let mut next = 0;
        table
            .for_each(|record| {
                assert_eq!(
                    (record.start_of_memory_range.get(), record.data_size.get()),
                    (next, next + 1)
                );
                next += 2;
            })
            .unwrap();
        assert_eq!(next, 40_000);
    }

    #[test]
    fn for_each_tells_that_the_medium_fails() {
        struct Fails;
        impl ReadAt for Fails {
            fn size(&self) -> u64 {
                1 << 20
            }

            fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
                if offset.0 > 5000 {
                    let (size, reason) = (buffer.len() as u64, "broken".into());
                    return Err(Error::Read { offset, size, reason });
                }
                buffer.fill(1);
                Ok(())
            }
        }
        let shape = Shape {
            offset: FileOffset(0),
            end: FileOffset(1 << 20),
            stride: 16,
            claimed: 1 << 16,
        };
        let table = Table::<MemoryDescriptor64>::new(&Fails, Endian::Little, shape, "test", &mut Findings::default());
        let mut seen = 0;
        assert!(table.for_each(|_| seen += 1).is_err());
        assert!((100..1 << 16).contains(&seen), "the records before it: {seen}");
    }
}
