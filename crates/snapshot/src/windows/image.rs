//! An image in memory: what its headers, its version resource and its debug directory tell of a module.

use dotdump_format::minidump::module_list::{FixedFileInfo, Module};
use dotdump_format::pe::{
    DOS_SIGNATURE, DataDirectory, E_LFANEW, FileHeader, NT_SIGNATURE, OPTIONAL_HEADER_32, OPTIONAL_HEADER_64,
    OptionalHeader32, OptionalHeader64,
};
use dotdump_format::{Endian, Record, VirtAddr};

use crate::machine::KernelReader;

/// The longest CodeView record that is taken, in bytes.
const LONGEST_RECORD: u32 = 32_768;

/// The bit that tells a directory of resources from a resource.
const IS_DIRECTORY: u32 = 1 << 31;

/// What of an image's header a module needs.
pub(super) struct Image {
    base: VirtAddr,
    size: u32,
    checksum: u32,
    time_date_stamp: u32,
    /// `IMAGE_DLLCHARACTERISTICS_*`.
    characteristics: u16,
    /// RVA and size of the resource directory.
    resources: (u32, u32),
    /// RVA and size of the debug directory.
    debug: (u32, u32),
}

impl Image {
    pub(super) fn read(user: &KernelReader<'_>, base: VirtAddr) -> Option<Self> {
        /// Headers lie in the first page, or they are not Windows'.
        const HEADERS: usize = 0x1000;
        /// `IMAGE_DIRECTORY_ENTRY_RESOURCE`.
        const RESOURCE: usize = 2;
        /// `IMAGE_DIRECTORY_ENTRY_DEBUG`.
        const DEBUG: usize = 6;

        let page = user.bytes(base, HEADERS);
        if !page.starts_with(&DOS_SIGNATURE) {
            return None;
        }
        let lfanew = u32::from_le_bytes(*page.get(E_LFANEW..)?.first_chunk()?);
        let nt = page.get(usize::try_from(lfanew).ok()?..)?;
        let file = FileHeader::read(nt.strip_prefix(&NT_SIGNATURE)?, Endian::Little)?;
        let optional = nt.get(NT_SIGNATURE.len() + FileHeader::SIZE..)?;
        let (size, checksum, characteristics, fixed, count) = match u16::from_le_bytes(*optional.first_chunk()?) {
            OPTIONAL_HEADER_32 => {
                let header = OptionalHeader32::read(optional, Endian::Little)?;
                let fixed = OptionalHeader32::SIZE;
                (
                    header.size_of_image,
                    header.check_sum,
                    header.dll_characteristics,
                    fixed,
                    header.number_of_rva_and_sizes,
                )
            }
            OPTIONAL_HEADER_64 => {
                let header = OptionalHeader64::read(optional, Endian::Little)?;
                let fixed = OptionalHeader64::SIZE;
                (
                    header.size_of_image,
                    header.check_sum,
                    header.dll_characteristics,
                    fixed,
                    header.number_of_rva_and_sizes,
                )
            }
            _ => return None,
        };
        let directory = |index: usize| {
            let directory = optional
                .get(fixed + index * DataDirectory::SIZE..)
                .filter(|_| usize::try_from(count.get()).is_ok_and(|count| count > index))
                .and_then(|bytes| DataDirectory::read(bytes, Endian::Little))
                .unwrap_or_default();
            (directory.virtual_address.get(), directory.size.get())
        };
        Some(Self {
            base,
            size: size.get(),
            checksum: checksum.get(),
            time_date_stamp: file.time_date_stamp.get(),
            characteristics: characteristics.get(),
            resources: directory(RESOURCE),
            debug: directory(DEBUG),
        })
    }

    /// The module's record: base, size, version, and what tells one build from another.
    pub(super) fn record(&self, user: &KernelReader<'_>) -> Module {
        Module {
            base_of_image: self.base.0.into(),
            size_of_image: self.size.into(),
            check_sum: self.checksum.into(),
            time_date_stamp: self.time_date_stamp.into(),
            version_info: self.version(user).unwrap_or_default(),
            reserved0: u64::from(self.characteristics).into(),
            ..Module::default()
        }
    }

    /// Whether these bytes lie in the image.
    fn has(&self, rva: u32, size: u32) -> bool {
        rva != 0 && rva.checked_add(size).is_some_and(|end| end <= self.size)
    }

    /// The fixed part of the version resource; `None` where the image has none, or it is not in memory.
    fn version(&self, user: &KernelReader<'_>) -> Option<FixedFileInfo> {
        /// `RT_VERSION`.
        const VERSION: u32 = 16;
        /// Where `VS_FIXEDFILEINFO` starts in `VS_VERSIONINFO`: behind three words, the name `VS_VERSION_INFO`, and
        /// padding to a multiple of four.
        const FIXED: u32 = 40;
        const SIGNATURE: u32 = 0xFEEF_04BD;

        // Three levels: the type, the name, the language. Of the lower two any will do.
        let mut offset = self.resource_entry(user, 0, Some(VERSION))?;
        for _ in 0..2 {
            offset = self.resource_entry(user, offset & !IS_DIRECTORY, None)?;
        }
        if offset & IS_DIRECTORY != 0 {
            return None;
        }
        let data = self.resources.0.checked_add(offset).filter(|rva| self.has(*rva, 16))?;
        let rva = user.u32(user.at(self.base, u64::from(data)))?.checked_add(FIXED)?;
        let size = u32::try_from(FixedFileInfo::SIZE).ok()?;
        let rva = Some(rva).filter(|rva| self.has(*rva, size))?;
        let fixed: FixedFileInfo = user.record(user.at(self.base, u64::from(rva)))?;
        (fixed.signature.get() == SIGNATURE).then_some(fixed)
    }

    /// What the entry `id` of the resource directory (`IMAGE_RESOURCE_DIRECTORY`) at `offset` leads to; of any entry, the
    /// first one.
    fn resource_entry(&self, user: &KernelReader<'_>, offset: u32, id: Option<u32>) -> Option<u32> {
        /// The size of the directory without its entries, and where it has the numbers of those with names and with ids.
        const DIRECTORY: u32 = 16;
        const NAMED: u64 = 12;
        /// The size of an entry: an id, and the offset of what it leads to.
        const ENTRY: u32 = 8;

        let directory = self.resources.0.checked_add(offset)?;
        let directory = Some(directory).filter(|rva| self.resources.0 != 0 && self.has(*rva, DIRECTORY))?;
        let at = user.at(self.base, u64::from(directory));
        let [named, with_id] = [NAMED, NAMED + 2].map(|offset| user.u16(user.at(at, offset)));
        let (named, count) = (u32::from(named?), u32::from(named?) + u32::from(with_id?));
        // Entries with names come first.
        let mut entries = if id.is_some() { named } else { 0 }..count;
        entries.find_map(|index| {
            let entry = directory + DIRECTORY + index * ENTRY;
            let entry = Some(entry).filter(|rva| self.has(*rva, ENTRY))?;
            let entry = user.at(self.base, u64::from(entry));
            let found = user.u32(entry)?;
            id.is_none_or(|id| id == found).then(|| user.u32(user.at(entry, 4)))?
        })
    }

    /// The CodeView record; `None` where the image has none, or it is not in memory.
    pub(super) fn code_view(&self, user: &KernelReader<'_>) -> Option<Vec<u8>> {
        /// `IMAGE_DEBUG_DIRECTORY`: its size, and where its type, the record's size and its RVA are.
        const ENTRY: u32 = 28;
        const TYPE: u64 = 12;
        const SIZE: u64 = 16;
        const RVA: u64 = 20;
        /// `IMAGE_DEBUG_TYPE_CODEVIEW`.
        const CODE_VIEW: u32 = 2;
        /// Linkers write a handful.
        const MOST: u32 = 64;

        let (directory, size) = self.debug;
        for index in 0..(size / ENTRY).min(MOST) {
            let rva = directory
                .checked_add(index * ENTRY)
                .filter(|rva| self.has(*rva, ENTRY))?;
            let entry = user.at(self.base, u64::from(rva));
            if user.u32(user.at(entry, TYPE))? != CODE_VIEW {
                continue;
            }
            let size = user.u32(user.at(entry, SIZE))?.min(LONGEST_RECORD);
            let rva = user.u32(user.at(entry, RVA)).filter(|rva| self.has(*rva, size))?;
            let size = usize::try_from(size).ok()?;
            let bytes = user.bytes(user.at(self.base, u64::from(rva)), size);
            return (bytes.len() == size && size > 0).then_some(bytes);
        }
        None
    }
}
