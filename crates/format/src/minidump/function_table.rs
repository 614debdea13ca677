//! `FunctionTableStream` (13): the function tables that programs registered for code made at run time, needed to unwind
//! it.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::addr::{FileOffset, VirtAddr, VirtRange};
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Record, record};
use crate::table::{Shape, Table};

/// The longest native descriptor that is read, in bytes; those of Windows have 88 to 136.
pub const MAX_NATIVE_DESCRIPTOR: u32 = 64 << 10;

record! {
    /// `MINIDUMP_FUNCTION_TABLE_STREAM` (`minidumpapiset.h`), 24 bytes.
    pub struct FunctionTableHeader[24] {
        /// The size of this header.
        pub size_of_header: U32,
        /// The size of a [`FunctionTableDescriptor`].
        pub size_of_descriptor: U32,
        /// The size of the system's own descriptor, which follows each of these.
        pub size_of_native_descriptor: U32,
        /// The size of a function's entry: 12 for x64, 8 for ARM.
        pub size_of_function_entry: U32,
        /// How many tables there are.
        pub number_of_descriptors: U32,
        /// Bytes between this header and the first descriptor.
        pub size_of_align_pad: U32,
    }

    /// `MINIDUMP_FUNCTION_TABLE_DESCRIPTOR` (`minidumpapiset.h`), 32 bytes.
    pub struct FunctionTableDescriptor[32] {
        /// The first address of the code.
        pub minimum_address: U64,
        /// The first address after the code.
        pub maximum_address: U64,
        /// The address to which the entries are relative.
        pub base_address: U64,
        /// How many entries the table has.
        pub entry_count: U32,
        /// Bytes between the last entry and the next descriptor.
        pub size_of_align_pad: U32,
    }

    /// `RUNTIME_FUNCTION` of x64 (`winnt.h`), 12 bytes. All three are relative to the table's base address.
    pub struct RuntimeFunction[12] {
        /// The first address of the function.
        pub begin_address: U32,
        /// The first address after it.
        pub end_address: U32,
        /// Its unwind information; with bit 0 set, another RUNTIME_FUNCTION one byte below.
        pub unwind_data: U32,
    }
}

impl FunctionTableDescriptor {
    /// The addresses of the code.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        let (start, end) = (self.minimum_address.get(), self.maximum_address.get());
        VirtRange::new(VirtAddr(start), VirtAddr(end))
    }
}

/// The tables of a FunctionTableStream. They stay in the file until they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct FunctionTables<'a> {
    /// The header.
    pub header: FunctionTableHeader,
    stream: Stream<'a>,
}

/// One function table. Its entries stay in the file.
#[derive(Clone, Copy, Debug)]
pub struct FunctionTable<'a> {
    /// Its record.
    pub descriptor: FunctionTableDescriptor,
    /// Where the system's own descriptor starts.
    pub native_offset: FileOffset,
    /// The size of the system's own descriptor in bytes.
    pub native_size: u32,
    /// Its entries. For other processors than x64 they are not what the type says: see [`FunctionTable::is_x64`].
    pub entries: Table<'a, RuntimeFunction>,
    stream: Stream<'a>,
    entry_size: u32,
}

impl<'a> FunctionTables<'a> {
    /// Walks the tables. It ends after the first one that does not lie within the stream, which is an error.
    #[must_use]
    pub fn iter(&self) -> FunctionTableIter<'a> {
        let header = &self.header;
        FunctionTableIter {
            tables: *self,
            next: u64::from(header.size_of_header.get()) + u64::from(header.size_of_align_pad.get()),
            left: header.number_of_descriptors.get(),
        }
    }
}

impl<'a> IntoIterator for &FunctionTables<'a> {
    type Item = Result<FunctionTable<'a>, Error>;
    type IntoIter = FunctionTableIter<'a>;

    fn into_iter(self) -> FunctionTableIter<'a> {
        self.iter()
    }
}

/// Walks [`FunctionTables`].
#[derive(Clone, Debug)]
pub struct FunctionTableIter<'a> {
    tables: FunctionTables<'a>,
    /// Where the next descriptor starts, in bytes from the start of the stream.
    next: u64,
    left: u32,
}

impl<'a> FunctionTableIter<'a> {
    fn read(&mut self) -> Result<FunctionTable<'a>, Error> {
        let FunctionTables { header, stream } = self.tables;
        let descriptor: FunctionTableDescriptor = stream.record_at(self.next)?;
        let (native_size, entry_size) = (
            header.size_of_native_descriptor.get(),
            header.size_of_function_entry.get(),
        );
        // Each term is below 2^64 / 4 except the product of two 32-bit numbers, and `next` lies within the stream.
        let native = self.next + u64::from(header.size_of_descriptor.get());
        let entries = native + u64::from(native_size);
        let size = u64::from(descriptor.entry_count.get()) * u64::from(entry_size);
        let end = entries.saturating_add(size);
        if end > stream.size {
            return Err(Error::malformed(
                stream.offset.saturating_add(self.next),
                "FunctionTable",
                alloc::format!("a table up to byte {end} of a stream of {} bytes", stream.size),
            ));
        }
        let shape = Shape {
            offset: stream.offset.saturating_add(entries),
            end: stream.end(),
            stride: usize::try_from(entry_size).unwrap_or(usize::MAX),
            claimed: if entry_size == 0 {
                0
            } else {
                descriptor.entry_count.get().into()
            },
        };
        // The size was checked above, so that nothing can be found.
        let mut none = Findings::default();
        self.next = end.saturating_add(u64::from(descriptor.size_of_align_pad.get()));
        Ok(FunctionTable {
            descriptor,
            native_offset: stream.offset.saturating_add(native),
            native_size,
            entries: Table::new(stream.source, stream.endian, shape, "FunctionTable", &mut none),
            stream,
            entry_size,
        })
    }
}

impl<'a> Iterator for FunctionTableIter<'a> {
    type Item = Result<FunctionTable<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let table = self.read();
        if table.is_err() {
            self.left = 0;
        }
        Some(table)
    }
}

impl<'a> FunctionTable<'a> {
    /// Whether its entries have the size of those of x64. ARM's have 8 bytes: the start and the unwind information.
    #[must_use]
    pub const fn is_x64(&self) -> bool {
        self.entry_size as usize == size_of::<RuntimeFunction>()
    }

    /// The system's own descriptor: a copy of its `DYNAMIC_FUNCTION_TABLE`.
    ///
    /// # Errors
    /// [`Error::Malformed`] above [`MAX_NATIVE_DESCRIPTOR`] bytes; [`Error::Read`] where the medium fails.
    pub fn native(&self) -> Result<Cow<'a, [u8]>, Error> {
        if self.native_size > MAX_NATIVE_DESCRIPTOR {
            return Err(Error::malformed(
                self.native_offset,
                "FunctionTable.SizeOfNativeDescriptor",
                alloc::format!("{}, at most {MAX_NATIVE_DESCRIPTOR} expected", self.native_size),
            ));
        }
        self.stream.source.bytes(self.native_offset, self.native_size as usize)
    }

    /// The bytes of the entries `first..last`, in the file's byte order, cut to the table. A caller bounds the number.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn entry_bytes(&self, first: u64, last: u64) -> Result<Cow<'a, [u8]>, Error> {
        let last = last.min(self.entries.len());
        let (start, end) = (self.entries.offset_of(first.min(last)), self.entries.offset_of(last));
        let size = usize::try_from(end.0 - start.0).unwrap_or(usize::MAX);
        self.stream.source.bytes(start, size)
    }

    /// The addresses of the unwind information of its functions, in table order. Empty where it is not x64's.
    pub fn unwind_addresses(&self) -> impl Iterator<Item = Result<VirtAddr, Error>> + 'a {
        let base = self.descriptor.base_address.get();
        let last = if self.is_x64() { self.entries.len() } else { 0 };
        self.entries.range(0, last).map(move |entry| {
            // Bit 0 only says of what kind the target is.
            let target = u64::from(entry?.unwind_data.get() & !1);
            Ok(VirtAddr(base.wrapping_add(target)))
        })
    }
}

impl<'a> StreamContent<'a> for FunctionTables<'a> {
    const TYPE: StreamType = StreamType::FUNCTION_TABLE;

    fn read(stream: &Stream<'a>, _: &mut Findings) -> Result<Self, Error> {
        let header: FunctionTableHeader = stream.head()?;
        for (at, found, least) in [
            (0, header.size_of_header.get(), FunctionTableHeader::SIZE),
            (4, header.size_of_descriptor.get(), FunctionTableDescriptor::SIZE),
        ] {
            if u64::from(found) < least as u64 {
                return Err(Error::malformed(
                    stream.offset.saturating_add(at),
                    "FunctionTable",
                    alloc::format!("a size of {found} bytes, at least {least} expected"),
                ));
            }
        }
        Ok(Self {
            header,
            stream: *stream,
        })
    }
}

/// A function table that is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewFunctionTable {
    /// Its record. The count and the padding in it are those of what is written.
    pub descriptor: FunctionTableDescriptor,
    /// The system's own descriptor.
    pub native: Vec<u8>,
    /// The entries, in the byte order of the file.
    pub entries: Vec<u8>,
}

/// Function tables that are to be written. (A stream that is kept as it is needs none of this: nothing in it depends on
/// where it lies.)
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewFunctionTables {
    /// The size of each [`NewFunctionTable::native`] in bytes; longer ones are cut, shorter ones padded with zeros.
    pub native_size: u32,
    /// The size of an entry in bytes.
    pub entry_size: u32,
    /// The tables.
    pub tables: Vec<NewFunctionTable>,
}

impl WriteStream for NewFunctionTables {
    fn stream_type(&self) -> StreamType {
        StreamType::FUNCTION_TABLE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        // As Windows does it, each descriptor starts at a multiple of 8 in the file.
        layout.align(8);
        let start = layout.push_record(&FunctionTableHeader {
            size_of_header: count(FunctionTableHeader::SIZE, "FunctionTable")?.into(),
            size_of_descriptor: count(FunctionTableDescriptor::SIZE, "FunctionTable")?.into(),
            size_of_native_descriptor: self.native_size.into(),
            size_of_function_entry: self.entry_size.into(),
            number_of_descriptors: count(self.tables.len(), "FunctionTable.NumberOfDescriptors")?.into(),
            size_of_align_pad: 0.into(),
        });
        let entry_size = usize::try_from(self.entry_size).unwrap_or(usize::MAX).max(1);
        for table in &self.tables {
            let entries = table.entries.len() / entry_size;
            let bytes = &table.entries[..entries * entry_size];
            let mut native = table.native.clone();
            native.resize(usize::try_from(self.native_size).unwrap_or(usize::MAX), 0);
            let pad = native.len().wrapping_add(bytes.len()).wrapping_neg() & 7;
            let mut descriptor = table.descriptor;
            descriptor.entry_count = count(entries, "FunctionTable.EntryCount")?.into();
            descriptor.size_of_align_pad = count(pad, "FunctionTable.SizeOfAlignPad")?.into();
            layout.push_record(&descriptor);
            layout.push_bytes(&native);
            layout.push_bytes(bytes);
            layout.push_bytes(&[0; 8][..pad]);
        }
        let size = layout.end().0 - start.0;
        layout.location(start, size, "FunctionTable")
    }
}

#[cfg(test)]
mod tests;
