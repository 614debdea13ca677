//! PE images as they lie in memory: headers, exports and the record that names their symbols.

use dotdump_format::kernel::Machine;

use crate::error::BuildError;
use crate::ram::PAGE;

/// A section of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static [u8],
    pub(crate) address: u32,
    pub(crate) size: u32,
    pub(crate) characteristics: u32,
}

/// Code that is executed.
pub(crate) const TEXT: u32 = 0x6000_0020;
/// Data that is read.
pub(crate) const RDATA: u32 = 0x4000_0040;
/// Data that is written.
pub(crate) const DATA: u32 = 0xC000_0040;

/// What an image says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) machine: Machine,
    /// A 32-bit image in spite of the machine, for WOW64.
    pub(crate) is_32: bool,
    pub(crate) name: &'a str,
    pub(crate) base: u64,
    pub(crate) size: u32,
    pub(crate) entry_point: u32,
    pub(crate) checksum: u32,
    pub(crate) time_date_stamp: u32,
    pub(crate) sections: &'a [Section],
    /// Where exports, the debug directory and the CodeView record go.
    pub(crate) directories: u32,
    /// Names and addresses within the image, sorted by name.
    pub(crate) exports: &'a [(&'static str, u32)],
    pub(crate) signature: [u8; 16],
}

/// A buffer that is written at offsets.
struct Buffer(Vec<u8>);

impl Buffer {
    fn put(&mut self, offset: u32, bytes: &[u8]) -> Result<(), BuildError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let room = start
            .checked_add(bytes.len())
            .and_then(|end| self.0.get_mut(start..end))
            .ok_or(BuildError::TooLarge("an image's header"))?;
        room.copy_from_slice(bytes);
        Ok(())
    }

    fn u16(&mut self, offset: u32, value: u16) -> Result<(), BuildError> {
        self.put(offset, &value.to_le_bytes())
    }

    fn u32(&mut self, offset: u32, value: u32) -> Result<(), BuildError> {
        self.put(offset, &value.to_le_bytes())
    }
}

const PE: u32 = 0x80;
const OPTIONAL: u32 = PE + 0x18;

impl Image<'_> {
    const fn has_32_bits(&self) -> bool {
        self.is_32 || matches!(self.machine, Machine::X86)
    }

    /// The bytes of its first page.
    pub(crate) fn header(&self) -> Result<Vec<u8>, BuildError> {
        let mut page = Buffer(vec![0; PAGE]);
        let wide = !self.has_32_bits();
        let machine = if self.is_32 { Machine::X86 } else { self.machine };
        let optional_size: u16 = if wide { 0xF0 } else { 0xE0 };
        page.put(0, b"MZ\x90\0")?;
        page.u32(0x3C, PE)?;
        page.put(PE, b"PE\0\0")?;
        page.u16(PE + 0x04, machine.machine_type().0)?;
        page.u16(PE + 0x06, u16::try_from(self.sections.len()).unwrap_or(u16::MAX))?;
        page.u32(PE + 0x08, self.time_date_stamp)?;
        page.u16(PE + 0x14, optional_size)?;
        page.u16(PE + 0x16, if wide { 0x22 } else { 0x102 })?;
        page.u16(OPTIONAL, if wide { 0x20B } else { 0x10B })?;
        page.u32(OPTIONAL + 0x10, self.entry_point)?;
        if wide {
            page.put(OPTIONAL + 0x18, &self.base.to_le_bytes())?;
        } else {
            page.put(OPTIONAL + 0x1C, &self.base.to_le_bytes()[..4])?;
        }
        page.u32(OPTIONAL + 0x20, 0x1000)?; // SectionAlignment
        page.u32(OPTIONAL + 0x24, 0x200)?; // FileAlignment
        page.u16(OPTIONAL + 0x28, 6)?; // MajorOperatingSystemVersion
        page.u16(OPTIONAL + 0x30, 6)?; // MajorSubsystemVersion
        page.u32(OPTIONAL + 0x38, self.size)?;
        page.u32(OPTIONAL + 0x3C, 0x400)?; // SizeOfHeaders
        page.u32(OPTIONAL + 0x40, self.checksum)?;
        page.u16(OPTIONAL + 0x44, 1)?; // IMAGE_SUBSYSTEM_NATIVE
        let directories = OPTIONAL + if wide { 0x70 } else { 0x60 };
        page.u32(directories - 4, 16)?; // NumberOfRvaAndSizes
        if !self.exports.is_empty() {
            page.u32(directories, self.directories)?;
            page.u32(directories + 4, self.export_size())?;
        }
        page.u32(directories + 6 * 8, self.debug_directory())?;
        page.u32(directories + 6 * 8 + 4, 0x1C)?;
        for (index, section) in (0..).zip(self.sections) {
            let at = OPTIONAL + u32::from(optional_size) + 0x28 * index;
            page.put(at, section.name)?;
            page.u32(at + 0x08, section.size)?;
            page.u32(at + 0x0C, section.address)?;
            page.u32(at + 0x10, section.size)?;
            page.u32(at + 0x14, section.address)?;
            page.u32(at + 0x24, section.characteristics)?;
        }
        Ok(page.0)
    }

    fn export_size(&self) -> u32 {
        let count = u32::try_from(self.exports.len()).unwrap_or(0);
        let names: usize = self.exports.iter().map(|(name, _)| name.len() + 1).sum();
        let names = names + self.name.len() + 1;
        0x28 + 10 * count + u32::try_from(names).unwrap_or(0)
    }

    fn debug_directory(&self) -> u32 {
        let exports = if self.exports.is_empty() { 0 } else { self.export_size() };
        self.directories + exports.next_multiple_of(16)
    }

    /// The name of its symbols: that of the image, but `.pdb`. The kernel's are called after how it was built.
    fn symbols_name(&self) -> String {
        if self.name == "ntoskrnl.exe" {
            return String::from("ntkrnlmp.pdb");
        }
        let stem = self.name.rsplit_once('.').map_or(self.name, |(stem, _)| stem);
        format!("{stem}.pdb")
    }

    /// The bytes that belong at [`Image::directories`]: exports, debug directory and CodeView record.
    pub(crate) fn directory_bytes(&self) -> Result<Vec<u8>, BuildError> {
        let mut bytes = Buffer(vec![0; PAGE]);
        let base = self.directories;
        if !self.exports.is_empty() {
            let count = u32::try_from(self.exports.len()).unwrap_or(0);
            let (functions, names, ordinals) = (0x28, 0x28 + 4 * count, 0x28 + 8 * count);
            let mut text = 0x28 + 10 * count;
            bytes.u32(0x0C, base + text)?;
            bytes.u32(0x10, 1)?; // Base
            bytes.u32(0x14, count)?;
            bytes.u32(0x18, count)?;
            bytes.u32(0x1C, base + functions)?;
            bytes.u32(0x20, base + names)?;
            bytes.u32(0x24, base + ordinals)?;
            bytes.put(text, self.name.as_bytes())?;
            text += u32::try_from(self.name.len()).unwrap_or(0) + 1;
            for (index, (name, address)) in (0..).zip(self.exports) {
                bytes.u32(functions + 4 * index, *address)?;
                bytes.u32(names + 4 * index, base + text)?;
                bytes.u16(ordinals + 2 * index, u16::try_from(index).unwrap_or(0))?;
                bytes.put(text, name.as_bytes())?;
                text += u32::try_from(name.len()).unwrap_or(0) + 1;
            }
        }
        let name = self.symbols_name();
        let directory = self.debug_directory() - base;
        let record = directory + 0x20;
        let size = 24 + u32::try_from(name.len()).unwrap_or(0) + 1;
        bytes.u32(directory + 0x04, self.time_date_stamp)?;
        bytes.u32(directory + 0x0C, 2)?; // IMAGE_DEBUG_TYPE_CODEVIEW
        bytes.u32(directory + 0x10, size)?;
        bytes.u32(directory + 0x14, base + record)?;
        bytes.u32(directory + 0x18, base + record)?;
        bytes.put(record, b"RSDS")?;
        bytes.put(record + 4, &self.signature)?;
        bytes.u32(record + 20, 1)?;
        bytes.put(record + 24, name.as_bytes())?;
        Ok(bytes.0)
    }
}
