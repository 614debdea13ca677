//! What every source of a user dump shows: the process as it was at one instant.

use std::borrow::Cow;

use dotdump_format::layout::Piece;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::module_list::Module;
use dotdump_format::minidump::system_info::{ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{Header, StreamType, WriteStream};
use dotdump_format::{Endian, Error, FileOffset, Findings, VirtAddr, VirtRange};

use crate::memory::Memory;
use crate::regions::Region;

/// Bytes that belong to a snapshot: in its file, or in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// A run of the source file.
    File {
        /// Where it starts.
        offset: FileOffset,
        /// Its length in bytes.
        size: u64,
    },
    /// Bytes at hand.
    Bytes(Vec<u8>),
}

impl Blob {
    /// The number of bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// The same as a piece of a plan.
    #[must_use]
    pub fn to_piece(&self) -> Piece {
        match self {
            Self::File { offset, size } => Piece::CopyFrom {
                offset: *offset,
                size: *size,
            },
            Self::Bytes(bytes) => Piece::Bytes(bytes.clone()),
        }
    }
}

/// A stream of a snapshot that is carried into an output.
pub enum Content<'a> {
    /// A value that lays itself out, with all that it refers to.
    Typed(Box<dyn WriteStream + 'a>),
    /// Bytes without file offsets in them (or of an unknown kind), written as they are.
    Verbatim(Blob),
}

/// A thread.
#[derive(Clone, Debug)]
pub struct ThreadSnapshot {
    /// Its record. The file offsets in it are those of the source and mean nothing elsewhere.
    pub record: Thread,
    /// Its registers: a CONTEXT in the byte order of the snapshot; `None` where they were not captured.
    pub context: Option<Blob>,
    /// Its register backing store (Itanium).
    pub backing_store: Option<VirtRange>,
}

impl ThreadSnapshot {
    /// The stack as the source recorded it; `None` where it recorded none.
    #[must_use]
    pub fn stack(&self) -> Option<VirtRange> {
        let stack = &self.record.stack;
        let range = VirtRange::sized(
            VirtAddr(stack.start_of_memory_range.get()),
            u64::from(stack.memory.data_size.get()),
        );
        (!range.is_empty()).then_some(range)
    }
}

/// A loaded module.
#[derive(Clone, Debug)]
pub struct ModuleSnapshot {
    /// Its record. The file offsets in it are those of the source and mean nothing elsewhere.
    pub record: Module,
    /// Its name: UTF-16 code units; `None` where it cannot be read.
    pub name: Option<Vec<u16>>,
    /// Its CodeView record.
    pub cv_record: Option<Blob>,
    /// Its `IMAGE_DEBUG_MISC` record.
    pub misc_record: Option<Blob>,
}

impl ModuleSnapshot {
    /// The addresses of its image.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        VirtRange::sized(
            VirtAddr(self.record.base_of_image.get()),
            u64::from(self.record.size_of_image.get()),
        )
    }

    /// Its name as text; empty where it has none.
    #[must_use]
    pub fn name_text(&self) -> String {
        let units = self.name.as_deref().unwrap_or_default();
        String::from_utf16_lossy(units.split(|unit| *unit == 0).next().unwrap_or_default())
    }
}

/// A process as it was at one instant.
pub trait ProcessSnapshot {
    /// The byte order of its records.
    fn endian(&self) -> Endian;

    /// Version, time and flags. The counts and offsets in it mean nothing elsewhere.
    fn header(&self) -> &Header;

    /// Processor and system; `None` where the source does not say.
    fn system_info(&self) -> Option<&SystemInfo>;

    /// The service pack, or the system's name and version.
    fn csd_version(&self) -> &[u16];

    /// The processor; `UNKNOWN` where the source does not say.
    fn architecture(&self) -> ProcessorArchitecture {
        self.system_info()
            .map_or(ProcessorArchitecture::UNKNOWN, SystemInfo::architecture)
    }

    /// The threads, in the source's order.
    fn threads(&self) -> &[ThreadSnapshot];

    /// The modules, in the source's order; the program first by convention.
    fn modules(&self) -> &[ModuleSnapshot];

    /// The exception for which the snapshot was made, and its registers.
    fn exception(&self) -> Option<(&ExceptionStream, Option<&Blob>)>;

    /// The memory.
    fn memory(&self) -> &dyn Memory;

    /// Whether the source has a map of the address space.
    fn has_regions(&self) -> bool;

    /// The map of the address space, ascending; empty where the source has none.
    fn regions(&self) -> Box<dyn Iterator<Item = Result<Region, Error>> + '_>;

    /// The region that contains `address`; `None` where the source does not say.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error>;

    /// The types of all streams that the source has, each once, in the source's order.
    fn stream_types(&self) -> Vec<StreamType>;

    /// A stream in the form in which an output takes it; `None` where the source has none of this type.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is damaged beyond use; [`Error::Read`] where the medium fails.
    fn stream(&self, stream_type: StreamType, findings: &mut Findings) -> Result<Option<Content<'_>>, Error>;

    /// Process id, times, build strings; `None` where the source has none.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn misc_info(&self, findings: &mut Findings) -> Result<Option<MiscInfo>, Error>;

    /// The bytes of a blob.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn bytes<'a>(&'a self, blob: &'a Blob) -> Result<Cow<'a, [u8]>, Error>;

    /// Bytes of memory that the source claims to hold and does not have.
    fn missing_bytes(&self) -> u64;

    /// The first address of [`Self::missing_bytes`] where these are bytes that a live process has mapped and that cannot
    /// be read; `None` where there are none, and where the source is a file that lacks them.
    fn first_missing(&self) -> Option<VirtAddr> {
        None
    }

    /// Whether it has no more than the memory that was resident: pages that are not there were paged out or never
    /// used, and nothing is wrong with the source.
    fn is_resident_only(&self) -> bool {
        false
    }

    /// The process's environment block, where something other than its threads' blocks tells it.
    fn environment_block(&self) -> Option<VirtAddr> {
        None
    }

    /// Where code lies or lay that belongs to no loaded module: unloaded modules, and code made at run time. On Linux,
    /// where nothing tells of these, all memory that can be executed.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn other_code(&self) -> Result<Vec<VirtRange>, Error>;

    /// Calls `each` with the address of the unwind information of every function that was made at run time, as long as
    /// it returns true.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn unwind_infos(&self, each: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error>;

    /// What is wrong with the source.
    fn findings(&self) -> &Findings;
}
