//! `DUMP_HEADER32` and `DUMP_HEADER64` (`mindumpdef.h`): the first page, or the first two, of a kernel dump.
//!
//! Windows fills the header with the letters `PAGE` and then stores what it knows, so that every field may be unset
//! ([`super::filler`]), and the gaps between fields hold filler as well. [`Header`] shows both widths alike.

use alloc::boxed::Box;
use alloc::format;
use core::fmt;

use zerocopy::FromBytes as _;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::filler::{self, Filled};
use super::machine::{Machine, MachineType};
use crate::addr::{FileOffset, PAGE_SIZE, PhysAddr, VirtAddr};
use crate::error::Error;
use crate::record::record;
use crate::source::ReadAt;

/// `PAGE`, the first four bytes of a kernel dump.
pub const SIGNATURE: [u8; 4] = *b"PAGE";
/// `DUMP`, the next four bytes of a 32-bit dump.
pub const VALID_DUMP_32: [u8; 4] = *b"DUMP";
/// `DU64`, the next four bytes of a 64-bit dump.
pub const VALID_DUMP_64: [u8; 4] = *b"DU64";

/// The size of the `PHYSICAL_MEMORY_DESCRIPTOR` union in both headers, in bytes.
pub const PHYSICAL_MEMORY_BLOCK_SIZE: usize = 700;

record! {
    /// `EXCEPTION_RECORD32` (`winnt.h`), 0x50 bytes.
    pub struct ExceptionRecord32[0x50] {
        /// `NTSTATUS`.
        pub exception_code: U32,
        /// `EXCEPTION_NONCONTINUABLE` (1) or 0.
        pub exception_flags: U32,
        /// Address of a nested record.
        pub exception_record: U32,
        /// The instruction.
        pub exception_address: U32,
        /// How many of the parameters are used; what lies behind them may be anything.
        pub number_parameters: U32,
        /// The parameters.
        pub exception_information: [U32; 15],
    }

    /// `EXCEPTION_RECORD64` (`winnt.h`), 0x98 bytes.
    pub struct ExceptionRecord64[0x98] {
        /// `NTSTATUS`.
        pub exception_code: U32,
        /// `EXCEPTION_NONCONTINUABLE` (1) or 0.
        pub exception_flags: U32,
        /// Address of a nested record.
        pub exception_record: U64,
        /// The instruction.
        pub exception_address: U64,
        /// How many of the parameters are used; what lies behind them may be anything.
        pub number_parameters: U32,
        /// Alignment.
        pub unused_alignment: U32,
        /// The parameters.
        pub exception_information: [U64; 15],
    }

    /// `DUMP_HEADER32` (`mindumpdef.h`), 0x1000 bytes.
    pub struct DumpHeader32[0x1000] {
        /// [`SIGNATURE`].
        pub signature: [u8; 4],
        /// [`VALID_DUMP_32`].
        pub valid_dump: [u8; 4],
        /// 0xF for a free build, 0xC for a checked one.
        pub major_version: U32,
        /// The build number.
        pub minor_version: U32,
        /// CR3; with PAE the 32-byte aligned address of the four page directory pointers.
        pub directory_table_base: U32,
        /// The PFN database, or the variable that points to it.
        pub pfn_data_base: U32,
        /// Address of the list head of loaded modules.
        pub ps_loaded_module_list: U32,
        /// Address of the list head of processes.
        pub ps_active_process_head: U32,
        /// `IMAGE_FILE_MACHINE_*`.
        pub machine_image_type: U32,
        /// How many processors the machine has.
        pub number_processors: U32,
        /// The bugcheck.
        pub bug_check_code: U32,
        /// Its parameters.
        pub bug_check_parameters: [U32; 4],
        /// Text; seldom set.
        pub version_user: [u8; 32],
        /// 1 where page tables have three levels.
        pub pae_enabled: u8,
        /// Version of what follows `KD_SECONDARY_VERSION_*`.
        pub kd_secondary_version: u8,
        /// Unused.
        pub spare_3: [u8; 2],
        /// Address of the `KDDEBUGGER_DATA64`.
        pub kd_debugger_data_block: U32,
        /// `PHYSICAL_MEMORY_DESCRIPTOR32`.
        pub physical_memory_block: [u8; PHYSICAL_MEMORY_BLOCK_SIZE],
        /// `CONTEXT` of the processor that stopped.
        pub context_record: [u8; 1200],
        /// The exception; nearly always a made-up breakpoint.
        pub exception: ExceptionRecord32,
        /// Text.
        pub comment: [u8; 128],
        /// `DUMP_FILE_ATTRIBUTES`.
        pub attributes: U32,
        /// How often this system was started.
        pub boot_id: U32,
        /// Reserved.
        pub reserved_0: [u8; 1760],
        /// [`DumpType`].
        pub dump_type: U32,
        /// Sections of a triage dump.
        pub mini_dump_fields: U32,
        /// State of the secondary data; carries no information.
        pub secondary_data_state: U32,
        /// `VER_NT_*`.
        pub product_type: U32,
        /// `VER_SUITE_*`.
        pub suite_mask: U32,
        /// What the writer says of its success.
        pub writer_status: U32,
        /// Size of the dump in bytes, by several conventions.
        pub required_dump_space: U64,
        /// Reserved.
        pub reserved_2: [u8; 16],
        /// Time since the start, in 100 ns ticks.
        pub system_up_time: U64,
        /// When the machine stopped: FILETIME, UTC.
        pub system_time: U64,
        /// Reserved.
        pub reserved_3: [u8; 56],
    }

    /// `DUMP_HEADER64` (`mindumpdef.h`), 0x2000 bytes.
    pub struct DumpHeader64[0x2000] {
        /// [`SIGNATURE`].
        pub signature: [u8; 4],
        /// [`VALID_DUMP_64`].
        pub valid_dump: [u8; 4],
        /// 0xF for a free build, 0xC for a checked one.
        pub major_version: U32,
        /// The build number.
        pub minor_version: U32,
        /// CR3 or TTBR: root of the page tables, with PCID or ASID bits.
        pub directory_table_base: U64,
        /// The PFN database, or the variable that points to it.
        pub pfn_data_base: U64,
        /// Address of the list head of loaded modules.
        pub ps_loaded_module_list: U64,
        /// Address of the list head of processes.
        pub ps_active_process_head: U64,
        /// `IMAGE_FILE_MACHINE_*`.
        pub machine_image_type: U32,
        /// How many processors the machine has.
        pub number_processors: U32,
        /// The bugcheck.
        pub bug_check_code: U32,
        /// Alignment.
        pub unused_alignment_0: U32,
        /// Its parameters.
        pub bug_check_parameters: [U64; 4],
        /// Text; seldom set.
        pub version_user: [u8; 32],
        /// Address of the `KDDEBUGGER_DATA64`.
        pub kd_debugger_data_block: U64,
        /// `PHYSICAL_MEMORY_DESCRIPTOR64`.
        pub physical_memory_block: [u8; PHYSICAL_MEMORY_BLOCK_SIZE],
        /// Alignment.
        pub unused_alignment_1: U32,
        /// `CONTEXT` of the processor that stopped.
        pub context_record: [u8; 3000],
        /// The exception; nearly always a made-up breakpoint.
        pub exception: ExceptionRecord64,
        /// [`DumpType`].
        pub dump_type: U32,
        /// Alignment.
        pub unused_alignment_2: U32,
        /// Size of the dump in bytes, by several conventions.
        pub required_dump_space: U64,
        /// When the machine stopped: FILETIME, UTC.
        pub system_time: U64,
        /// Text.
        pub comment: [u8; 128],
        /// Time since the start, in 100 ns ticks.
        pub system_up_time: U64,
        /// Sections of a triage dump.
        pub mini_dump_fields: U32,
        /// State of the secondary data; carries no information.
        pub secondary_data_state: U32,
        /// `VER_NT_*`.
        pub product_type: U32,
        /// `VER_SUITE_*`.
        pub suite_mask: U32,
        /// What the writer says of its success.
        pub writer_status: U32,
        /// Unused.
        pub unused_1: u8,
        /// Version of what follows `KD_SECONDARY_VERSION_*`.
        pub kd_secondary_version: u8,
        /// Unused; build 26100 sets the first byte.
        pub unused: [u8; 2],
        /// `DUMP_FILE_ATTRIBUTES`.
        pub attributes: U32,
        /// How often this system was started.
        pub boot_id: U32,
        /// Reserved; build 26100 stores a status record and its version here.
        pub reserved_0: [u8; 4008],
    }
}

/// `DUMP_TYPE_*` (`mindumpdef.h`): what lies behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DumpType(pub u32);

impl DumpType {
    /// Nothing is said.
    pub const UNKNOWN: Self = Self(0);
    /// All pages, by the runs of the header.
    pub const FULL: Self = Self(1);
    /// Kernel pages by a bitmap, as Windows 2000 to 7 wrote them.
    pub const SUMMARY: Self = Self(2);
    /// The header alone.
    pub const HEADER: Self = Self(3);
    /// A small memory dump.
    pub const TRIAGE: Self = Self(4);
    /// All pages, or all active ones, by a bitmap.
    pub const BITMAP_FULL: Self = Self(5);
    /// Kernel pages by a bitmap.
    pub const BITMAP_KERNEL: Self = Self(6);
    /// What the setting "automatic" is called; such dumps say [`DumpType::BITMAP_KERNEL`].
    pub const AUTOMATIC: Self = Self(7);
    /// Kernel pages by ranges.
    pub const RANGE_KERNEL: Self = Self(8);
    /// Kernel and user pages by ranges.
    pub const RANGE_ACTIVE: Self = Self(9);
    /// All pages by ranges.
    pub const RANGE_FULL: Self = Self(0xA);

    /// Its name; `None` for a type that nobody knows.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::UNKNOWN => "unknown",
            Self::FULL => "full",
            Self::SUMMARY => "summary",
            Self::HEADER => "header",
            Self::TRIAGE => "triage",
            Self::BITMAP_FULL => "bitmap-full",
            Self::BITMAP_KERNEL => "bitmap-kernel",
            Self::AUTOMATIC => "automatic",
            Self::RANGE_KERNEL => "range-kernel",
            Self::RANGE_ACTIVE => "range-kernel-and-user",
            Self::RANGE_FULL => "range-full",
            _ => return None,
        })
    }
}

impl fmt::Display for DumpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{:#x} ({name})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// A header of either width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// Of 32-bit Windows.
    Dump32(Box<DumpHeader32>),
    /// Of 64-bit Windows.
    Dump64(Box<DumpHeader64>),
}

/// Reads a field that has the same name in both headers.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty = |$header:ident| $value:expr;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> Option<$type> {
            match self {
                Self::Dump32($header) => $value,
                Self::Dump64($header) => $value,
            }
        })*
    };
}

impl Header {
    /// Reads the header of a kernel dump.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file does not start as one or ends within its header; [`Error::Read`] where the
    /// medium fails.
    pub fn read(source: &dyn ReadAt) -> Result<Self, Error> {
        let start: [u8; 8] = bytes_at(source, 8)?.as_ref().try_into().unwrap_or_default();
        match (&start[..4], &start[4..]) {
            (b"PAGE", b"DUMP") => {
                let bytes = bytes_at(source, size_of::<DumpHeader32>())?;
                let header = DumpHeader32::read_from_bytes(&bytes).map_err(|_| not_whole(source.size()))?;
                Ok(Self::Dump32(Box::new(header)))
            }
            (b"PAGE", b"DU64") => {
                let bytes = bytes_at(source, size_of::<DumpHeader64>())?;
                let header = DumpHeader64::read_from_bytes(&bytes).map_err(|_| not_whole(source.size()))?;
                Ok(Self::Dump64(Box::new(header)))
            }
            _ => Err(Error::malformed(
                FileOffset(0),
                "Signature",
                format!("{start:02x?} found, `PAGEDUMP` or `PAGEDU64` expected"),
            )),
        }
    }

    /// A header of which nothing but its signature is set.
    #[must_use]
    pub fn unset(machine: Machine) -> Self {
        use zerocopy::IntoBytes as _;
        match machine {
            Machine::X86 => {
                let mut header = Box::<DumpHeader32>::default();
                filler::fill(header.as_mut_bytes(), 0);
                header.valid_dump = VALID_DUMP_32;
                Self::Dump32(header)
            }
            Machine::Amd64 | Machine::Arm64 => {
                let mut header = Box::<DumpHeader64>::default();
                filler::fill(header.as_mut_bytes(), 0);
                header.valid_dump = VALID_DUMP_64;
                Self::Dump64(header)
            }
        }
    }

    /// Its bytes, as they stand in the file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        use zerocopy::IntoBytes as _;
        match self {
            Self::Dump32(header) => header.as_bytes(),
            Self::Dump64(header) => header.as_bytes(),
        }
    }

    /// Its size in bytes: also where the body starts.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self {
            Self::Dump32(_) => PAGE_SIZE,
            Self::Dump64(_) => 2 * PAGE_SIZE,
        }
    }

    /// Whether it is that of 64-bit Windows.
    #[must_use]
    pub const fn is_64(&self) -> bool {
        matches!(self, Self::Dump64(_))
    }

    /// The processor; `None` for those whose dumps are not understood, and where it is not set.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        Machine::of(self.machine_type()?)
    }

    /// The processor's number; `None` where it is not set.
    #[must_use]
    pub fn machine_type(&self) -> Option<MachineType> {
        u16::try_from(self.machine_image_type()?).ok().map(MachineType)
    }

    /// What lies behind the header, as it says.
    #[must_use]
    pub fn dump_type(&self) -> DumpType {
        DumpType(match self {
            Self::Dump32(header) => header.dump_type.get(),
            Self::Dump64(header) => header.dump_type.get(),
        })
    }

    fields! {
        /// 0xF for a free build, 0xC for a checked one.
        major_version: u32 = |header| header.major_version.set();
        /// The build number.
        minor_version: u32 = |header| header.minor_version.set();
        /// `IMAGE_FILE_MACHINE_*`.
        machine_image_type: u32 = |header| header.machine_image_type.set();
        /// How many processors the machine has.
        number_processors: u32 = |header| header.number_processors.set();
        /// The bugcheck's code.
        bug_check_code: u32 = |header| header.bug_check_code.set();
        /// CR3 or TTBR as it is stored: with PCID or ASID bits.
        directory_table_base: PhysAddr = |header| header.directory_table_base.set().map(phys);
        /// The PFN database, or the variable that points to it.
        pfn_data_base: VirtAddr = |header| header.pfn_data_base.set().map(virt);
        /// The list head of loaded modules.
        ps_loaded_module_list: VirtAddr = |header| header.ps_loaded_module_list.set().map(virt);
        /// The list head of processes.
        ps_active_process_head: VirtAddr = |header| header.ps_active_process_head.set().map(virt);
        /// The `KDDEBUGGER_DATA64`.
        kd_debugger_data_block: VirtAddr = |header| header.kd_debugger_data_block.set().map(virt);
        /// Size of the dump in bytes, by several conventions.
        required_dump_space: u64 = |header| header.required_dump_space.set();
        /// When the machine stopped: FILETIME, UTC.
        system_time: u64 = |header| header.system_time.set();
        /// Time since the start, in 100 ns ticks.
        system_up_time: u64 = |header| header.system_up_time.set();
        /// Sections of a triage dump.
        mini_dump_fields: u32 = |header| header.mini_dump_fields.set();
        /// State of the secondary data; carries no information.
        secondary_data_state: u32 = |header| header.secondary_data_state.set();
        /// `VER_NT_*`.
        product_type: u32 = |header| header.product_type.set();
        /// `VER_SUITE_*`.
        suite_mask: u32 = |header| header.suite_mask.set();
        /// What the writer says of its success.
        writer_status: u32 = |header| header.writer_status.set();
        /// `DUMP_FILE_ATTRIBUTES`.
        attributes: u32 = |header| header.attributes.set();
        /// How often this system was started.
        boot_id: u32 = |header| header.boot_id.set();
    }

    /// The bugcheck's parameters; `None` where they are not set.
    #[must_use]
    pub fn bug_check_parameters(&self) -> Option<[u64; 4]> {
        match self {
            Self::Dump32(header) => {
                let parameters = header.bug_check_parameters;
                parameters[0].set()?;
                Some(parameters.map(|parameter| u64::from(parameter.get())))
            }
            Self::Dump64(header) => {
                let parameters = header.bug_check_parameters;
                parameters[0].set()?;
                Some(parameters.map(U64::get))
            }
        }
    }

    /// Whether page tables have three levels (x86 only); `None` where it is not set.
    #[must_use]
    pub fn pae_enabled(&self) -> Option<bool> {
        match self {
            Self::Dump32(header) => match header.pae_enabled {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            Self::Dump64(_) => None,
        }
    }

    /// The comment; `None` where it is not set.
    #[must_use]
    pub fn comment(&self) -> Option<&[u8]> {
        filler::text(match self {
            Self::Dump32(header) => &header.comment,
            Self::Dump64(header) => &header.comment,
        })
    }

    /// The text of the writer; `None` where it is not set.
    #[must_use]
    pub fn version_user(&self) -> Option<&[u8]> {
        filler::text(match self {
            Self::Dump32(header) => &header.version_user,
            Self::Dump64(header) => &header.version_user,
        })
    }

    /// The bytes of the `PHYSICAL_MEMORY_DESCRIPTOR` union.
    #[must_use]
    pub fn physical_memory_block(&self) -> &[u8; PHYSICAL_MEMORY_BLOCK_SIZE] {
        match self {
            Self::Dump32(header) => &header.physical_memory_block,
            Self::Dump64(header) => &header.physical_memory_block,
        }
    }

    /// The room for the `CONTEXT`: more bytes than any machine's has. Filler or zeros follow it.
    #[must_use]
    pub fn context_record(&self) -> &[u8] {
        match self {
            Self::Dump32(header) => &header.context_record,
            Self::Dump64(header) => &header.context_record,
        }
    }

    /// Where the `CONTEXT` lies in the file.
    #[must_use]
    pub const fn context_offset(&self) -> FileOffset {
        match self {
            Self::Dump32(_) => FileOffset(0x320),
            Self::Dump64(_) => FileOffset(0x348),
        }
    }

    /// Where the exception record lies in the file.
    #[must_use]
    pub const fn exception_offset(&self) -> FileOffset {
        match self {
            Self::Dump32(_) => FileOffset(0x7D0),
            Self::Dump64(_) => FileOffset(0xF00),
        }
    }
}

fn virt(value: impl Into<u64>) -> VirtAddr {
    VirtAddr(value.into())
}

fn phys(value: impl Into<u64>) -> PhysAddr {
    PhysAddr(value.into())
}

fn bytes_at(source: &dyn ReadAt, size: usize) -> Result<alloc::borrow::Cow<'_, [u8]>, Error> {
    if source.size() < size as u64 {
        return Err(not_whole(source.size()));
    }
    source.bytes(FileOffset(0), size)
}

fn not_whole(size: u64) -> Error {
    Error::malformed(
        FileOffset(0),
        "DUMP_HEADER",
        format!("the file ends at {size:#x}, within the header of a kernel dump"),
    )
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(DumpHeader64, kd_debugger_data_block) == 0x80);
    assert!(offset_of!(DumpHeader64, context_record) == 0x348);
    assert!(offset_of!(DumpHeader64, exception) == 0xF00);
    assert!(offset_of!(DumpHeader64, dump_type) == 0xF98);
    assert!(offset_of!(DumpHeader64, comment) == 0xFB0);
    assert!(offset_of!(DumpHeader64, attributes) == 0x1050);
    assert!(offset_of!(DumpHeader64, reserved_0) == 0x1058);
    assert!(offset_of!(DumpHeader32, pae_enabled) == 0x5C);
    assert!(offset_of!(DumpHeader32, physical_memory_block) == 0x64);
    assert!(offset_of!(DumpHeader32, context_record) == 0x320);
    assert!(offset_of!(DumpHeader32, exception) == 0x7D0);
    assert!(offset_of!(DumpHeader32, attributes) == 0x8A0);
    assert!(offset_of!(DumpHeader32, dump_type) == 0xF88);
    assert!(offset_of!(DumpHeader32, system_up_time) == 0xFB8);
};
