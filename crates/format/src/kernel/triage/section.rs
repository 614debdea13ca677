//! Where the parts of a triage dump are, in file order.

use alloc::format;
use alloc::vec::Vec;

use super::TriageFamily;
use super::driver_list::DriverEntry;
use super::fixed::{TriageDump32, TriageDump64, TriageFields};
use super::mm_storage::MmStorage;
use super::unloaded_drivers::UnloadedDriver;
use crate::addr::FileOffset;
use crate::error::Findings;
use crate::record::Record as _;

/// A part of a triage dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SectionKind {
    /// The `TRIAGE_DUMP`.
    TriageDump,
    /// `DUMP_MM_STORAGE`.
    MmStorage,
    /// Unloaded drivers.
    UnloadedDrivers,
    /// Copy of the `KPRCB`.
    Prcb,
    /// Copy of the `EPROCESS`.
    Process,
    /// Copy of the `ETHREAD`.
    Thread,
    /// The stack.
    CallStack,
    /// Itanium's second stack.
    BackingStore,
    /// The single page of data of old dumps.
    DataPage,
    /// Copy of the `KDDEBUGGER_DATA64`.
    DebuggerData,
    /// The driver list.
    DriverList,
    /// The names of the drivers.
    StringPool,
    /// The table of data blocks.
    DataBlocks,
    /// The bytes of the data blocks, and what follows them up to the valid marker.
    Data,
    /// The valid marker.
    ValidMarker,
}

impl SectionKind {
    /// Its name as `inspect` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TriageDump => "TRIAGE_DUMP",
            Self::MmStorage => "DUMP_MM_STORAGE",
            Self::UnloadedDrivers => "UnloadedDrivers",
            Self::Prcb => "Prcb",
            Self::Process => "Process",
            Self::Thread => "Thread",
            Self::CallStack => "CallStack",
            Self::BackingStore => "BStore",
            Self::DataPage => "DataPage",
            Self::DebuggerData => "DebuggerData",
            Self::DriverList => "DriverList",
            Self::StringPool => "StringPool",
            Self::DataBlocks => "DataBlocks",
            Self::Data => "Data",
            Self::ValidMarker => "ValidMarker",
        }
    }
}

/// A part of a triage dump and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub kind: SectionKind,
    /// Where it starts.
    pub offset: FileOffset,
    /// Its size in bytes, within the file.
    pub size: u64,
}

impl Section {
    /// The byte behind it.
    #[must_use]
    pub const fn end(&self) -> FileOffset {
        self.offset.saturating_add(self.size)
    }
}

/// How much a section has.
enum Extent {
    /// So many bytes.
    Bytes(u64),
    /// Everything up to the next section.
    UpToNext,
}

/// The sections that `fields` describe, by their offsets, cut to the file. `start` is where the `TRIAGE_DUMP` is.
pub(super) fn sections(
    fields: &TriageFields,
    is_64: bool,
    start: FileOffset,
    file: u64,
    findings: &mut Findings,
) -> Vec<Section> {
    use Extent::{Bytes, UpToNext};

    let fixed = if is_64 { TriageDump64::SIZE } else { TriageDump32::SIZE };
    let drivers = u64::from(fields.driver_count) * DriverEntry::record_size(is_64) as u64;
    let table = u64::from(fields.data_blocks_count) * 16;
    let data = if fields.data_blocks_count > 0 {
        u64::from(fields.data_blocks_offset) + table
    } else {
        0
    };
    let (backing_store, backing_store_size, _) = fields.backing_store;
    let offsets = [
        (SectionKind::TriageDump, start.0, Bytes(fixed as u64)),
        (
            SectionKind::MmStorage,
            fields.mm_offset.into(),
            Bytes(MmStorage::record_size(is_64) as u64),
        ),
        (
            SectionKind::UnloadedDrivers,
            fields.unloaded_drivers_offset.into(),
            UpToNext,
        ),
        (SectionKind::Prcb, fields.prcb_offset.into(), UpToNext),
        (SectionKind::Process, fields.process_offset.into(), UpToNext),
        (SectionKind::Thread, fields.thread_offset.into(), UpToNext),
        (
            SectionKind::CallStack,
            fields.call_stack_offset.into(),
            Bytes(fields.size_of_call_stack.into()),
        ),
        (
            SectionKind::BackingStore,
            backing_store.into(),
            Bytes(backing_store_size.into()),
        ),
        (
            SectionKind::DataPage,
            fields.data_page_offset.into(),
            Bytes(fields.data_page_size.into()),
        ),
        (
            SectionKind::DebuggerData,
            fields.debugger_data_offset.into(),
            Bytes(fields.debugger_data_size.into()),
        ),
        (
            SectionKind::DriverList,
            fields.driver_list_offset.into(),
            Bytes(drivers),
        ),
        (
            SectionKind::StringPool,
            fields.string_pool_offset.into(),
            Bytes(fields.string_pool_size.into()),
        ),
        (SectionKind::DataBlocks, fields.data_blocks_offset.into(), Bytes(table)),
        (SectionKind::Data, data, UpToNext),
        (SectionKind::ValidMarker, fields.valid_offset.into(), Bytes(4)),
    ];
    let mut starts: Vec<u64> = offsets.iter().map(|(_, offset, _)| *offset).collect();
    starts.sort_unstable();

    let mut sections = Vec::new();
    for (kind, offset, extent) in offsets {
        let room = file.saturating_sub(offset);
        let claimed = match extent {
            Bytes(size) => size,
            UpToNext => {
                let next = starts.iter().find(|start| **start > offset);
                next.map_or(room, |next| next - offset)
            }
        };
        if offset == 0 || claimed == 0 {
            continue;
        }
        if claimed > room {
            let message = format!("{claimed:#x} bytes expected, the file ends after {room:#x} of them");
            findings.add(offset, kind.name(), message);
        }
        if room > 0 {
            let (offset, size) = (FileOffset(offset), claimed.min(room));
            sections.push(Section { kind, offset, size });
        }
    }
    sections.sort_by_key(|section| (section.offset, section.kind));
    for pair in sections.windows(2) {
        if pair[0].end() > pair[1].offset {
            let message = format!("it lies over {}, which ends at {}", pair[0].kind.name(), pair[0].end());
            findings.add(pair[1].offset, pair[1].kind.name(), message);
        }
    }
    sections
}

/// How many entries of unloaded drivers a writer makes room for.
pub(super) fn unloaded_slots(family: TriageFamily, is_64: bool, used: usize) -> usize {
    match (family, is_64) {
        (TriageFamily::Offline, true) => used,
        _ => used.max(super::unloaded_drivers::UNLOADED_SLOTS),
    }
}

/// The size of the section of unloaded drivers, in bytes, for so many entries.
pub(super) fn unloaded_size(is_64: bool, slots: usize) -> usize {
    UnloadedDriver::count_size(is_64) + slots * UnloadedDriver::record_size(is_64)
}
