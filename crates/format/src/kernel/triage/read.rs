//! Reading a triage dump: the fixed record and the place of every section; contents when they are asked for.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

use super::data_blocks::{StoredMemory, TriageDataBlock};
use super::driver_list::{Driver, DriverEntry, DriverEntry32, DriverEntry64};
use super::fixed::{TriageDump32, TriageDump64, TriageFields};
use super::mm_storage::MmStorage;
use super::section::{self, Section, SectionKind};
use super::unloaded_drivers::{UnloadedDriver, UnloadedDriver32, UnloadedDriver64};
use super::{TriageFamily, VALID_MARKER, string_pool};
use crate::addr::{FileOffset, VirtAddr};
use crate::error::{Error, Findings};
use crate::kernel::header::Header;
use crate::record::{Endian, Record};
use crate::source::ReadAt;
use crate::table::{Shape, Table};

/// How many drivers are read: no system has so many, and the names of a damaged list shall not fill the memory.
const MOST_DRIVERS: u64 = 10_000;

/// How many unloaded drivers are read. The kernel remembers 50.
const MOST_UNLOADED: u64 = 1000;

/// A triage dump. Everything in it lies within the file.
#[derive(Clone)]
pub struct Triage<'a> {
    source: &'a dyn ReadAt,
    is_64: bool,
    context_size: usize,
    fields: TriageFields,
    sections: Vec<Section>,
    blocks: Table<'a, TriageDataBlock>,
}

impl core::fmt::Debug for Triage<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Triage")
            .field("fields", &self.fields)
            .field("sections", &self.sections)
            .finish_non_exhaustive()
    }
}

impl<'a> Triage<'a> {
    /// Reads the record behind `header`, the header of `source`, and finds the sections. Sections that do not lie within
    /// the file, or lie over each other, become findings.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file ends before or within the record; [`Error::Read`] where the medium fails.
    pub fn open(source: &'a dyn ReadAt, header: &Header, findings: &mut Findings) -> Result<Self, Error> {
        let is_64 = header.is_64();
        let start = FileOffset(header.size());
        let size = if is_64 { TriageDump64::SIZE } else { TriageDump32::SIZE };
        if start.saturating_add(size as u64).0 > source.size() {
            let message = format!("the file ends at {:#x}, within the record", source.size());
            return Err(Error::malformed(start, SectionKind::TriageDump.name(), message));
        }
        let bytes = source.bytes(start, size)?;
        let fields = if is_64 {
            TriageFields::from(&TriageDump64::read_partial(&bytes, Endian::Little))
        } else {
            TriageFields::from(&TriageDump32::read_partial(&bytes, Endian::Little))
        };
        let sections = section::sections(&fields, is_64, start, source.size(), findings);
        let blocks = if fields.data_blocks_offset == 0 {
            Table::empty(source)
        } else {
            let shape = Shape {
                offset: FileOffset(fields.data_blocks_offset.into()),
                end: FileOffset(u64::MAX),
                stride: TriageDataBlock::SIZE,
                claimed: fields.data_blocks_count.into(),
            };
            // The section was cut to the file before, with a finding.
            Table::new(source, Endian::Little, shape, "DataBlocks", &mut Findings::default())
        };
        let triage = Self {
            source,
            is_64,
            context_size: header.machine().map_or(0, |machine| machine.context_size()),
            fields,
            sections,
            blocks,
        };
        triage.check_end(findings)?;
        Ok(triage)
    }

    /// Whether the marker stands at the end.
    fn check_end(&self, findings: &mut Findings) -> Result<(), Error> {
        let marker = FileOffset(self.fields.valid_offset.into());
        if let Some(section) = self.section(SectionKind::ValidMarker)
            && section.size == 4
        {
            let found = self.source.bytes(section.offset, 4)?;
            if *found != VALID_MARKER {
                findings.add(marker, "ValidMarker", format!("{found:02x?} found, `TRGD` expected"));
            }
        }
        let size = u64::from(self.fields.size_of_dump);
        if size != marker.0 + 4 {
            let message = format!(
                "{size:#x} found, the end of the valid marker ({:#x}) expected",
                marker.0 + 4
            );
            findings.add(
                self.sections.first().map_or(marker, |first| first.offset),
                "SizeOfDump",
                message,
            );
        }
        Ok(())
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &'a dyn ReadAt {
        self.source
    }

    /// Whether it is of 64-bit Windows.
    #[must_use]
    pub const fn is_64(&self) -> bool {
        self.is_64
    }

    /// The record behind the header.
    #[must_use]
    pub const fn fields(&self) -> &TriageFields {
        &self.fields
    }

    /// Who wrote it.
    #[must_use]
    pub const fn family(&self) -> TriageFamily {
        TriageFamily::of(self.fields.triage_options)
    }

    /// Where secondary data starts if there is some: behind the valid marker.
    #[must_use]
    pub const fn end(&self) -> FileOffset {
        FileOffset(self.fields.size_of_dump as u64)
    }

    /// All sections that are there, in file order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Where a section is; `None` where it is absent.
    #[must_use]
    pub fn section(&self, kind: SectionKind) -> Option<Section> {
        self.sections.iter().find(|section| section.kind == kind).copied()
    }

    /// The first `limit` bytes of a section at most; none where it is absent.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn bytes(&self, kind: SectionKind, limit: usize) -> Result<Cow<'a, [u8]>, Error> {
        let Some(section) = self.section(kind) else {
            return Ok(Cow::Borrowed(&[]));
        };
        let size = usize::try_from(section.size).unwrap_or(usize::MAX);
        self.source.bytes(section.offset, size.min(limit))
    }

    /// The `CONTEXT` of the processor that stopped, where `ContextOffset` has it; `None` where it is not all there.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn context(&self) -> Result<Option<Cow<'a, [u8]>>, Error> {
        self.within(self.fields.context_offset, self.context_size)
    }

    /// The exception record, where `ExceptionOffset` has it: an
    /// [`ExceptionRecord32`](crate::kernel::header::ExceptionRecord32) or
    /// [`ExceptionRecord64`](crate::kernel::header::ExceptionRecord64); `None` where it is not all there.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn exception(&self) -> Result<Option<Cow<'a, [u8]>>, Error> {
        self.within(self.fields.exception_offset, if self.is_64 { 0x98 } else { 0x50 })
    }

    fn within(&self, offset: u32, size: usize) -> Result<Option<Cow<'a, [u8]>>, Error> {
        let offset = FileOffset(offset.into());
        if offset.0 == 0 || size == 0 || offset.saturating_add(size as u64).0 > self.source.size() {
            return Ok(None);
        }
        self.source.bytes(offset, size).map(Some)
    }

    /// Counters of the memory manager; `None` where they are absent.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn mm_storage(&self) -> Result<Option<MmStorage>, Error> {
        let bytes = self.bytes(SectionKind::MmStorage, MmStorage::record_size(self.is_64))?;
        Ok((!bytes.is_empty()).then(|| MmStorage::read(&bytes, self.is_64)))
    }

    /// Drivers that were unloaded, newest first.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn unloaded_drivers(&self, findings: &mut Findings) -> Result<Vec<UnloadedDriver>, Error> {
        let Some(section) = self.section(SectionKind::UnloadedDrivers) else {
            return Ok(Vec::new());
        };
        let count_size = UnloadedDriver::count_size(self.is_64);
        let bytes = self.bytes(SectionKind::UnloadedDrivers, count_size)?;
        let mut count = [0; 8];
        count[..bytes.len()].copy_from_slice(&bytes);
        let shape = Shape {
            offset: section.offset.saturating_add(count_size as u64),
            end: section.end(),
            stride: UnloadedDriver::record_size(self.is_64),
            claimed: u64::from_le_bytes(count),
        };
        let what = SectionKind::UnloadedDrivers.name();
        if self.is_64 {
            let table = Table::<UnloadedDriver64>::new(self.source, Endian::Little, shape, what, findings);
            let entries = table.range(0, MOST_UNLOADED);
            entries.map(|entry| entry.map(UnloadedDriver::Dump64)).collect()
        } else {
            let table = Table::<UnloadedDriver32>::new(self.source, Endian::Little, shape, what, findings);
            let entries = table.range(0, MOST_UNLOADED);
            entries.map(|entry| entry.map(UnloadedDriver::Dump32)).collect()
        }
    }

    /// Loaded modules, in load order. A name that cannot be read becomes a finding.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn drivers(&self, findings: &mut Findings) -> Result<Vec<Driver>, Error> {
        let what = SectionKind::DriverList.name();
        let Some(section) = self.section(SectionKind::DriverList) else {
            return Ok(Vec::new());
        };
        let claimed = u64::from(self.fields.driver_count);
        let shape = Shape {
            offset: section.offset,
            end: section.end(),
            stride: DriverEntry::record_size(self.is_64),
            claimed: claimed.min(MOST_DRIVERS),
        };
        if claimed > MOST_DRIVERS {
            let message = format!("{claimed} drivers found, at most {MOST_DRIVERS} expected");
            findings.add(section.offset, what, message);
        }
        // What the file lacks of the section was told when it was opened.
        let cut = &mut Findings::default();
        let entries: Vec<DriverEntry> = if self.is_64 {
            let table = Table::<DriverEntry64>::new(self.source, Endian::Little, shape, what, cut);
            table
                .iter()
                .map(|entry| entry.map(DriverEntry::Dump64))
                .collect::<Result<_, _>>()?
        } else {
            let table = Table::<DriverEntry32>::new(self.source, Endian::Little, shape, what, cut);
            table
                .iter()
                .map(|entry| entry.map(DriverEntry::Dump32))
                .collect::<Result<_, _>>()?
        };
        let mut drivers = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = self.name(entry, findings)?;
            drivers.push(Driver { entry, name });
        }
        Ok(drivers)
    }

    fn name(&self, entry: DriverEntry, findings: &mut Findings) -> Result<Option<Vec<u16>>, Error> {
        let offset = FileOffset(entry.name_offset().into());
        match string_pool::read(self.source, offset, FileOffset(self.source.size())) {
            Ok(name) => Ok(Some(name)),
            Err(Error::Malformed(finding)) => {
                findings.push(finding);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How many data blocks there are.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.blocks.len()
    }

    /// The table of data blocks as it is.
    #[must_use]
    pub fn block_table(&self) -> &Table<'a, TriageDataBlock> {
        &self.blocks
    }

    /// The data blocks in table order, cut to the file. They may lie over each other; the bytes agree then.
    pub fn blocks(&self) -> impl Iterator<Item = Result<StoredMemory, Error>> + '_ {
        self.blocks.iter().map(|block| {
            let block = block?;
            let offset = FileOffset(block.offset.get().into());
            Ok(self.stored(block.address.get(), block.size.get().into(), offset))
        })
    }

    fn stored(&self, address: u64, size: u64, offset: FileOffset) -> StoredMemory {
        StoredMemory::new(address, size, offset, self.is_64, self.source.size())
    }

    /// The stack at its address; `None` where it is absent.
    #[must_use]
    pub fn call_stack(&self) -> Option<StoredMemory> {
        self.placed(SectionKind::CallStack, self.fields.top_of_stack)
    }

    /// The single page of data of old dumps; `None` where it is absent, as it is in all dumps from Windows XP on.
    #[must_use]
    pub fn data_page(&self) -> Option<StoredMemory> {
        self.placed(SectionKind::DataPage, self.fields.data_page_address)
    }

    /// A section as memory at `address`; `None` where it is absent.
    #[must_use]
    pub fn placed(&self, kind: SectionKind, address: VirtAddr) -> Option<StoredMemory> {
        let section = self.section(kind)?;
        Some(self.stored(address.0, section.size, section.offset))
    }
}
