//! Writing a triage dump, in the order and by the rules of either family.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use zerocopy::IntoBytes as _;

use super::data_blocks::TriageDataBlock;
use super::driver_list::{Driver, DriverEntry};
use super::fixed::{TriageDump32, TriageDump64, TriageFields};
use super::mm_storage::MmStorage;
use super::section::{unloaded_size, unloaded_slots};
use super::sign_extended::extend;
use super::unloaded_drivers::UnloadedDriver;
use super::{CRASH_TIME_UNIT, SectionKind, Triage, TriageFamily, VALID_MARKER, XP_SIZE, string_pool};
use crate::addr::{FileOffset, VirtAddr};
use crate::error::{Error, Findings};
use crate::kernel::header::Header;
use crate::layout::{Layout, Piece, Reservation, count};
use crate::record::Record as _;

/// Memory that goes into the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it lay.
    pub address: VirtAddr,
    /// Its bytes.
    pub data: Piece,
}

/// A triage dump that is to be written. An empty piece is a section that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriageDump {
    /// The header, ready to be stored.
    pub header: Header,
    /// In which order, and by which rules, sections follow each other.
    pub family: TriageFamily,
    /// Low word of `CmNtCSDVersion`.
    pub service_pack_build: u32,
    /// `TriageOptions`.
    pub triage_options: u32,
    /// Counters of the memory manager.
    pub mm: MmStorage,
    /// Unloaded drivers, newest first. They must be of the header's width.
    pub unloaded: Vec<UnloadedDriver>,
    /// Copy of the `KPRCB`.
    pub prcb: Piece,
    /// Copy of the `EPROCESS`.
    pub process: Piece,
    /// Copy of the `ETHREAD`.
    pub thread: Piece,
    /// The lowest address of the stack.
    pub top_of_stack: VirtAddr,
    /// The stack.
    pub call_stack: Piece,
    /// Copy of the `KDDEBUGGER_DATA64`.
    pub debugger_data: Piece,
    /// Loaded modules, in load order. They must be of the header's width.
    pub drivers: Vec<Driver>,
    /// Data blocks, in table order. None may be empty.
    pub blocks: Vec<Block>,
    /// The primary data is at least this long, in bytes: [`XP_SIZE`] for dumps of Windows XP, otherwise 0.
    pub least_size: u64,
}

impl TriageDump {
    /// What a triage dump has, to be written again. Bytes stay in the source; what lies outside of the sections and behind
    /// the data is not taken.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn of(triage: &Triage<'_>, header: Header, findings: &mut Findings) -> Result<Self, Error> {
        let copy = |kind| match triage.section(kind) {
            Some(section) => Piece::CopyFrom {
                offset: section.offset,
                size: section.size,
            },
            None => absent(),
        };
        let mut blocks = Vec::new();
        for block in triage.blocks() {
            let block = block?;
            if !block.range.is_empty() {
                blocks.push(Block {
                    address: block.range.start,
                    data: Piece::CopyFrom {
                        offset: block.offset,
                        size: block.range.size(),
                    },
                });
            }
        }
        let fields = triage.fields();
        let is_64 = triage.is_64();
        let mm = triage.mm_storage()?;
        Ok(Self {
            header,
            family: triage.family(),
            service_pack_build: fields.service_pack_build,
            triage_options: fields.triage_options,
            mm: mm.unwrap_or_else(|| MmStorage::empty(is_64)),
            unloaded: triage.unloaded_drivers(findings)?,
            prcb: copy(SectionKind::Prcb),
            process: copy(SectionKind::Process),
            thread: copy(SectionKind::Thread),
            top_of_stack: fields.top_of_stack,
            call_stack: copy(SectionKind::CallStack),
            debugger_data: copy(SectionKind::DebuggerData),
            drivers: triage.drivers(findings)?,
            blocks,
            least_size: if !is_64 && triage.end().0 == XP_SIZE {
                XP_SIZE
            } else {
                0
            },
        })
    }

    /// The size of the file up to the end of the valid marker in bytes, where secondary data starts.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where it is not below 4 GiB.
    pub fn size(&self) -> Result<u64, Error> {
        let mut layout = Layout::new(crate::record::Endian::Little);
        let _header = self.write(&mut layout)?;
        Ok(layout.end().0)
    }

    /// Lays it out at the start of `layout`, and tells where the header is, for whoever wants to change it once the size
    /// of the file is known.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where something does not lie below 4 GiB; [`Error::Malformed`] where entries are not of the
    /// header's width.
    pub fn write(&self, layout: &mut Layout) -> Result<Reservation, Error> {
        let is_64 = self.header.is_64();
        self.check_widths(is_64)?;
        let header = layout.reserve(self.header.as_bytes().len());
        layout.fill(header, 0, self.header.as_bytes());
        let fixed = layout.reserve(if is_64 { TriageDump64::SIZE } else { TriageDump32::SIZE });
        let mut fields = TriageFields {
            service_pack_build: self.service_pack_build,
            triage_options: self.triage_options,
            context_offset: offset(self.header.context_offset(), "ContextOffset")?,
            exception_offset: offset(self.header.exception_offset(), "ExceptionOffset")?,
            top_of_stack: self.top_of_stack,
            ..TriageFields::default()
        };

        fields.mm_offset = place(layout, "MmOffset")?;
        layout.push_bytes(&self.mm.to_bytes(is_64));
        let unloaded_last = is_64 && self.family == TriageFamily::CrashTime;
        if !unloaded_last {
            fields.unloaded_drivers_offset = self.write_unloaded(layout, is_64)?;
        }
        fields.prcb_offset = section(layout, &self.prcb, "PrcbOffset")?;
        fields.process_offset = section(layout, &self.process, "ProcessOffset")?;
        fields.thread_offset = section(layout, &self.thread, "ThreadOffset")?;
        fields.call_stack_offset = section(layout, &self.call_stack, "CallStackOffset")?;
        fields.size_of_call_stack = size(&self.call_stack, "SizeOfCallStack")?;
        fields.debugger_data_offset = section(layout, &self.debugger_data, "DebuggerDataOffset")?;
        fields.debugger_data_size = size(&self.debugger_data, "DebuggerDataSize")?;
        if unloaded_last {
            fields.unloaded_drivers_offset = self.write_unloaded(layout, is_64)?;
        }
        self.write_drivers(layout, is_64, &mut fields)?;
        let slack = self.write_blocks(layout, is_64, &mut fields)?;
        fields.valid_offset = self.write_end(layout, is_64, slack)?;
        fields.size_of_dump = offset(layout.end(), "SizeOfDump")?;

        if is_64 {
            layout.fill_record(fixed, 0, &TriageDump64::from(&fields));
        } else {
            layout.fill_record(fixed, 0, &TriageDump32::from(&fields));
        }
        Ok(header)
    }

    fn check_widths(&self, is_64: bool) -> Result<(), Error> {
        let drivers = self
            .drivers
            .iter()
            .map(|driver| matches!(driver.entry, DriverEntry::Dump64(_)));
        let unloaded = self
            .unloaded
            .iter()
            .map(|entry| matches!(entry, UnloadedDriver::Dump64(_)));
        if drivers.chain(unloaded).any(|wide| wide != is_64) {
            let message = format!(
                "a driver's entry is not that of a {}-bit dump",
                if is_64 { 64 } else { 32 }
            );
            return Err(Error::malformed(FileOffset(0), SectionKind::DriverList.name(), message));
        }
        Ok(())
    }

    fn write_unloaded(&self, layout: &mut Layout, is_64: bool) -> Result<u32, Error> {
        let at = place(layout, "UnloadedDriversOffset")?;
        let slots = unloaded_slots(self.family, is_64, self.unloaded.len());
        let room = layout.reserve(unloaded_size(is_64, slots));
        let used = count(self.unloaded.len(), "unloaded drivers")?;
        layout.fill(room, 0, &used.to_le_bytes());
        let mut within = UnloadedDriver::count_size(is_64);
        for entry in &self.unloaded {
            layout.fill(room, within, entry.as_bytes());
            within += entry.as_bytes().len();
        }
        Ok(at)
    }

    /// The driver list, and the string pool behind it.
    fn write_drivers(&self, layout: &mut Layout, is_64: bool, fields: &mut TriageFields) -> Result<(), Error> {
        let list = place(layout, "DriverListOffset")?;
        let entry_size = DriverEntry::record_size(is_64);
        let pool = FileOffset(list.into())
            .saturating_add((self.drivers.len() * entry_size) as u64)
            .saturating_add(7)
            .align_down(8);
        let (mut entries, mut strings) = (Vec::new(), Vec::new());
        // The kernel reckons with a terminator, padding and a length for every name, and aligns the sum alone.
        let mut reserved = 0;
        for driver in &self.drivers {
            let name = driver.name.as_deref().unwrap_or_default();
            let mut entry = driver.entry;
            entry.set_name_offset(offset(pool.saturating_add(strings.len() as u64), "DriverNameOffset")?);
            entries.extend_from_slice(entry.as_bytes());
            strings.extend(string_pool::to_bytes(name));
            reserved += 2 * name.len() + 15;
        }
        if self.family == TriageFamily::CrashTime {
            strings.resize(reserved.next_multiple_of(8).max(strings.len()), 0);
        }
        layout.push_bytes(&entries);
        layout.align(8);
        layout.push_bytes(&strings);
        fields.driver_list_offset = list;
        fields.driver_count = count(self.drivers.len(), "DriverCount")?;
        fields.string_pool_offset = offset(pool, "StringPoolOffset")?;
        fields.string_pool_size = count(strings.len(), "StringPoolSize")?;
        Ok(())
    }

    /// The table of data blocks and their bytes. Gives the bytes by which their space exceeds them: it is reckoned with
    /// every block rounded up to 8, although they are stored without gaps.
    fn write_blocks(&self, layout: &mut Layout, is_64: bool, fields: &mut TriageFields) -> Result<u64, Error> {
        if self.blocks.is_empty() {
            return Ok(0);
        }
        fields.data_blocks_offset = place(layout, "DataBlocksOffset")?;
        fields.data_blocks_count = count(self.blocks.len(), "DataBlocksCount")?;
        let mut next = layout
            .end()
            .saturating_add((self.blocks.len() * TriageDataBlock::SIZE) as u64);
        let mut slack = 0;
        let mut table = Vec::with_capacity(self.blocks.len() * TriageDataBlock::SIZE);
        for block in &self.blocks {
            let record = TriageDataBlock {
                address: if is_64 {
                    block.address.0
                } else {
                    extend(block.address.0)
                }
                .into(),
                offset: offset(next, "DataBlock.Offset")?.into(),
                size: size(&block.data, "DataBlock.Size")?.into(),
            };
            table.extend_from_slice(record.as_bytes());
            next = next.saturating_add(block.data.size());
            slack += block.data.size().wrapping_neg() & 7;
        }
        layout.push_bytes(&table);
        for block in &self.blocks {
            layout.push(block.data.clone());
        }
        Ok(slack)
    }

    /// The valid marker, with what goes before it. The kernel puts one right behind the data and another one, which
    /// counts, at the end of its last unit.
    fn write_end(&self, layout: &mut Layout, is_64: bool, slack: u64) -> Result<u32, Error> {
        zeros(layout, slack);
        // Without data the sections before may end anywhere.
        if self.blocks.is_empty() {
            layout.align(8);
        }
        let least = self.least_size.saturating_sub(4);
        match (self.family, is_64) {
            (TriageFamily::CrashTime, true) => {
                let end = layout.end().saturating_add(4).0.next_multiple_of(CRASH_TIME_UNIT);
                if layout.end().saturating_add(8).0 <= end {
                    layout.push_bytes(&VALID_MARKER);
                }
                zeros(layout, (end - 4).saturating_sub(layout.end().0));
            }
            _ => zeros(layout, least.saturating_sub(layout.end().0)),
        }
        let at = offset(layout.end(), "ValidOffset")?;
        layout.push_bytes(&VALID_MARKER);
        Ok(at)
    }
}

fn absent() -> Piece {
    Piece::Zeros { size: 0 }
}

/// Adds zeros: few of them to the bytes before.
fn zeros(layout: &mut Layout, size: u64) {
    match usize::try_from(size) {
        Ok(few @ 0..4096) => {
            layout.push_bytes(&vec![0; few]);
        }
        _ => {
            layout.push(Piece::Zeros { size });
        }
    }
}

/// The next multiple of 8, where a section starts.
fn place(layout: &mut Layout, what: &'static str) -> Result<u32, Error> {
    layout.align(8);
    offset(layout.end(), what)
}

/// Adds a section and tells where it starts: 0 where it is absent.
fn section(layout: &mut Layout, piece: &Piece, what: &'static str) -> Result<u32, Error> {
    if piece.size() == 0 {
        return Ok(0);
    }
    let at = place(layout, what)?;
    layout.push(piece.clone());
    Ok(at)
}

fn offset(at: FileOffset, what: &'static str) -> Result<u32, Error> {
    u32::try_from(at.0).map_err(|_| too_large(at.0, what))
}

fn size(piece: &Piece, what: &'static str) -> Result<u32, Error> {
    u32::try_from(piece.size()).map_err(|_| too_large(piece.size(), what))
}

fn too_large(value: u64, what: &'static str) -> Error {
    Error::TooLarge {
        what: what.into(),
        value,
        limit: u32::MAX.into(),
    }
}
