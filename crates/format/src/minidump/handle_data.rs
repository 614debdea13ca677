//! `HandleDataStream` (12): the handles of the process, with the names of their objects and what the system told about
//! them.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::{Head, held, reserve_sized_list};
use super::name::{Name, NameReader, NameWriter};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::addr::Rva;
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Record, record};

/// The most pieces of information that are read for one handle: a chain that is longer runs in a circle.
pub const MAX_OBJECT_INFORMATION: usize = 64;

/// The size of a `MINIDUMP_HANDLE_DESCRIPTOR`, the first 32 bytes of a [`HandleDescriptor`].
pub const DESCRIPTOR_1_SIZE: u32 = 32;

/// The size of a `MINIDUMP_HANDLE_DESCRIPTOR_2`.
pub const DESCRIPTOR_2_SIZE: u32 = 40;

record! {
    /// `MINIDUMP_HANDLE_DESCRIPTOR_2` (`minidumpapiset.h`), 40 bytes. `MINIDUMP_HANDLE_DESCRIPTOR` is its first 32.
    pub struct HandleDescriptor[40] {
        /// The handle.
        pub handle: U64,
        /// The name of its object's type, a `MINIDUMP_STRING`; 0 where it is unknown.
        pub type_name_rva: U32,
        /// The name of its object, a `MINIDUMP_STRING`; 0 where it has none.
        pub object_name_rva: U32,
        /// 1 protected from being closed, 2 inherited by child processes.
        pub attributes: U32,
        /// What may be done through it: an access mask.
        pub granted_access: U32,
        /// How many handles the object has.
        pub handle_count: U32,
        /// How many references the object has.
        pub pointer_count: U32,
        /// The first piece of information about the object; 0 where there is none.
        pub object_info_rva: U32,
        /// Zero.
        pub reserved0: U32,
    }

    /// `MINIDUMP_HANDLE_OBJECT_INFORMATION` (`minidumpapiset.h`), 12 bytes, before the information itself.
    pub struct ObjectInformationHeader[12] {
        /// The next piece about the same object; 0 after the last.
        pub next_info_rva: U32,
        /// [`ObjectInformation::info_type`].
        pub info_type: U32,
        /// The size of the information in bytes.
        pub size_of_info: U32,
    }
}

/// One piece of information about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInformation {
    /// `MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`: 1 thread, 2 and 3 mutant, 4 and 5 process, 6 event, 7 section,
    /// 8 semaphore.
    pub info_type: u32,
    /// The information, in a layout that depends on the type, the system and the processor.
    pub data: Vec<u8>,
}

/// One handle.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Handle {
    /// Its record. The file offsets in it are zero: what they point to is held here.
    pub record: HandleDescriptor,
    /// The name of its object's type, such as "Event"; `None` where it is unknown.
    pub type_name: Option<Name>,
    /// The name of its object; `None` where it has none.
    pub object_name: Option<Name>,
    /// What the system told about the object.
    pub object_info: Vec<ObjectInformation>,
}

/// A HandleDataStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleData {
    /// The size of a descriptor in the file: [`DESCRIPTOR_1_SIZE`] or [`DESCRIPTOR_2_SIZE`].
    pub descriptor_size: u32,
    /// The handles, in the order in which the system listed them.
    pub handles: Vec<Handle>,
}

impl Default for HandleData {
    fn default() -> Self {
        Self {
            descriptor_size: DESCRIPTOR_2_SIZE,
            handles: Vec::new(),
        }
    }
}

/// The chain of information that starts at `rva`.
fn read_chain(
    stream: &Stream<'_>,
    names: &mut NameReader<'_>,
    rva: u32,
    findings: &mut Findings,
) -> Result<Vec<ObjectInformation>, Error> {
    const WHAT: &str = "HandleData.ObjectInfo";
    let mut chain = Vec::new();
    let mut next = Rva(rva);
    while let Some(offset) = next.offset() {
        if chain.len() == MAX_OBJECT_INFORMATION {
            findings.add(
                offset,
                WHAT,
                alloc::format!("more than {MAX_OBJECT_INFORMATION} pieces for one handle"),
            );
            break;
        }
        let start = offset.saturating_add(ObjectInformationHeader::SIZE as u64);
        let file = stream.source.size();
        if start.0 > file {
            findings.add(offset, WHAT, alloc::format!("beyond the end of the file at {file:#x}"));
            break;
        }
        let bytes = stream.source.bytes(offset, ObjectInformationHeader::SIZE)?;
        let header = ObjectInformationHeader::read_partial(&bytes, stream.endian);
        let size = header.size_of_info.get();
        if u64::from(size) > file - start.0 {
            findings.add(
                offset,
                WHAT,
                alloc::format!("{size} bytes, but the file ends at {file:#x}"),
            );
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if !names.take(
            size.saturating_add(ObjectInformationHeader::SIZE),
            offset,
            WHAT,
            findings,
        ) {
            break;
        }
        chain.push(ObjectInformation {
            info_type: header.info_type.get(),
            data: stream.source.bytes(start, size)?.into_owned(),
        });
        next = Rva(header.next_info_rva.get());
    }
    Ok(chain)
}

impl<'a> StreamContent<'a> for HandleData {
    const TYPE: StreamType = StreamType::HANDLE_DATA;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let least = DESCRIPTOR_1_SIZE as usize;
        let table = stream.sized_list::<HandleDescriptor>(Head::Reserved, least, "HandleData", findings)?;
        let descriptor_size = if table.stride() > least {
            DESCRIPTOR_2_SIZE
        } else {
            DESCRIPTOR_1_SIZE
        };
        if table.stride() > DESCRIPTOR_2_SIZE as usize {
            findings.add(
                stream.offset.saturating_add(4),
                "HandleData.SizeOfDescriptor",
                alloc::format!("{}, of which the first {DESCRIPTOR_2_SIZE} are read", table.stride()),
            );
        }
        let mut names = NameReader::new(*stream);
        let mut handles = Vec::new();
        for record in held(&table, "HandleData", findings) {
            let mut record = record?;
            let type_name = names.read(record.type_name_rva.get().into(), "HandleData.TypeName", findings);
            let object_name = names.read(record.object_name_rva.get().into(), "HandleData.ObjectName", findings);
            let object_info = read_chain(stream, &mut names, record.object_info_rva.get(), findings)?;
            record.type_name_rva = 0.into();
            record.object_name_rva = 0.into();
            record.object_info_rva = 0.into();
            handles.push(Handle {
                record,
                type_name,
                object_name,
                object_info,
            });
        }
        Ok(Self {
            descriptor_size,
            handles,
        })
    }
}

/// Lays out a chain of information and gives its place: 0 for an empty one.
fn write_chain(layout: &mut Layout, chain: &[ObjectInformation]) -> Result<Rva, Error> {
    let mut next = Rva(0);
    // From the last to the first: each piece needs the place of the one after it.
    for piece in chain.iter().rev() {
        layout.align(4);
        let header = ObjectInformationHeader {
            next_info_rva: next.0.into(),
            info_type: piece.info_type.into(),
            size_of_info: count(piece.data.len(), "HandleData.SizeOfInfo")?.into(),
        };
        let offset = layout.push_record(&header);
        layout.push_bytes(&piece.data);
        next = layout.rva(offset, layout.end().0 - offset.0, "HandleData.ObjectInfo")?;
    }
    Ok(next)
}

impl WriteStream for HandleData {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        // The short descriptor has no room for information.
        let informed = self.handles.iter().any(|handle| !handle.object_info.is_empty());
        let size = if informed || self.descriptor_size > DESCRIPTOR_1_SIZE {
            DESCRIPTOR_2_SIZE
        } else {
            DESCRIPTOR_1_SIZE
        };
        let (room, location) = reserve_sized_list(layout, Head::Reserved, size, self.handles.len(), "HandleData")?;
        let size = size as usize;
        let mut names = NameWriter::default();
        for (index, handle) in self.handles.iter().enumerate() {
            let mut record = handle.record;
            record.type_name_rva = names.write(layout, handle.type_name.as_ref())?.0.into();
            record.object_name_rva = names.write(layout, handle.object_name.as_ref())?.0.into();
            record.object_info_rva = write_chain(layout, &handle.object_info)?.0.into();
            let record = record.in_order(layout.endian());
            layout.fill(room, index * size, &zerocopy::IntoBytes::as_bytes(&record)[..size]);
        }
        Ok(location)
    }
}

#[cfg(test)]
mod tests;
