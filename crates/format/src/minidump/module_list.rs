//! `ModuleListStream` (4): loaded modules.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::reserve_list;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, write_string_units};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece};
use crate::record::{Record, record};
use crate::table::Table;

record! {
    /// `VS_FIXEDFILEINFO` (`verrsrc.h`), 52 bytes: the version resource of a module. All zero where it has none.
    pub struct FixedFileInfo[52] {
        /// 0xFEEF04BD, or 0 where there is no version.
        pub signature: U32,
        /// 0x00010000.
        pub struc_version: U32,
        /// File version: major and minor.
        pub file_version_ms: U32,
        /// File version: build and revision.
        pub file_version_ls: U32,
        /// Product version: major and minor.
        pub product_version_ms: U32,
        /// Product version: build and revision.
        pub product_version_ls: U32,
        /// Which bits of `file_flags` are valid.
        pub file_flags_mask: U32,
        /// Flags such as "debug" and "prerelease".
        pub file_flags: U32,
        /// Operating system; 0x40004 is Windows NT.
        pub file_os: U32,
        /// 1 program, 2 library, 3 driver.
        pub file_type: U32,
        /// Subtype of a driver or font.
        pub file_subtype: U32,
        /// Date, high half.
        pub file_date_ms: U32,
        /// Date, low half.
        pub file_date_ls: U32,
    }

    /// `MINIDUMP_MODULE` (`minidumpapiset.h`), 108 bytes.
    pub struct Module[108] {
        /// The first address.
        pub base_of_image: U64,
        /// Its size in memory, in bytes.
        pub size_of_image: U32,
        /// Checksum from its PE header.
        pub check_sum: U32,
        /// Time stamp from its PE header (`time_t`, or a hash where the build is reproducible).
        pub time_date_stamp: U32,
        /// Its name, a `MINIDUMP_STRING`.
        pub module_name_rva: U32,
        /// Its version.
        pub version_info: FixedFileInfo,
        /// Its CodeView record: which debug information belongs to it.
        pub cv_record: LocationDescriptor,
        /// Its `IMAGE_DEBUG_MISC` record; obsolete.
        pub misc_record: LocationDescriptor,
        /// Reserved; newer Windows puts the PE header's DllCharacteristics into the low 16 bits.
        pub reserved0: U64,
        /// Reserved.
        pub reserved1: U64,
    }
}

impl FixedFileInfo {
    /// The file version in four parts, or `None` where the module has no version resource.
    #[must_use]
    pub fn file_version(&self) -> Option<[u16; 4]> {
        let halves = |word: u32| [(word >> 16) as u16, (word & 0xFFFF) as u16];
        let ([major, minor], [build, revision]) =
            (halves(self.file_version_ms.get()), halves(self.file_version_ls.get()));
        (self.signature.get() == 0xFEEF_04BD).then_some([major, minor, build, revision])
    }

    /// The version of a shared library as writers of Linux dumps store it (Breakpad, minidump-writer): a whole word for
    /// each part, the words of the file version first, those of the product version behind them. `None` where there is
    /// none.
    #[must_use]
    pub fn library_version(&self) -> Option<[u32; 4]> {
        let parts = [
            self.file_version_ms,
            self.file_version_ls,
            self.product_version_ms,
            self.product_version_ls,
        ];
        (self.signature.get() == 0xFEEF_04BD).then_some(parts.map(|part| part.get()))
    }
}

/// The modules of a ModuleListStream. The first one is the program by convention.
#[derive(Clone, Copy, Debug)]
pub struct ModuleList<'a> {
    /// The modules, in the order in which they were loaded.
    pub modules: Table<'a, Module>,
}

impl<'a> StreamContent<'a> for ModuleList<'a> {
    const TYPE: StreamType = StreamType::MODULE_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        Ok(Self {
            modules: stream.counted_list("ModuleList", findings)?,
        })
    }
}

/// A module as it goes into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedModule {
    /// Its record; the file offsets in it are set when it is written.
    pub record: Module,
    /// Its name: UTF-16 code units. A module without a name gets an empty one: readers reject the whole list over a
    /// name that is absent.
    pub name: Vec<u16>,
    /// Its CodeView record.
    pub cv_record: Option<Piece>,
    /// Its `IMAGE_DEBUG_MISC` record.
    pub misc_record: Option<Piece>,
}

/// Lays out a ModuleListStream: the list, then the names, then the debug records.
///
/// # Errors
/// [`Error::TooLarge`] where a count, a size or an offset does not fit its field.
pub fn write(layout: &mut Layout, modules: &[OwnedModule]) -> Result<LocationDescriptor, Error> {
    let (room, location) = reserve_list::<Module>(layout, modules.len(), "ModuleList")?;
    let mut records = Vec::with_capacity(modules.len());
    for module in modules {
        let mut record = module.record;
        record.module_name_rva = write_string_units(layout, &module.name)?.0.into();
        records.push(record);
    }
    for (module, record) in modules.iter().zip(&mut records) {
        record.cv_record = place(layout, module.cv_record.as_ref(), "ModuleList.CvRecord")?;
        record.misc_record = place(layout, module.misc_record.as_ref(), "ModuleList.MiscRecord")?;
    }
    for (index, record) in records.iter().enumerate() {
        layout.fill_record(room, 4 + index * Module::SIZE, record);
    }
    Ok(location)
}

/// Adds a debug record; none has no place.
fn place(layout: &mut Layout, piece: Option<&Piece>, what: &'static str) -> Result<LocationDescriptor, Error> {
    let Some(piece) = piece else {
        return Ok(LocationDescriptor::default());
    };
    layout.align(4);
    let size = piece.size();
    let offset = layout.push(piece.clone());
    layout.location(offset, size, what)
}
