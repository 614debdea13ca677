//! Images in kernel memory: their headers, exports and sections.

use dotdump_format::kernel::MachineType;
use dotdump_format::pe::{
    DOS_SIGNATURE, DataDirectory, E_LFANEW, ExportDirectory, FileHeader, NT_SIGNATURE, OPTIONAL_HEADER_32,
    OPTIONAL_HEADER_64, OptionalHeader32, OptionalHeader64, SectionHeader,
};
use dotdump_format::{Endian, Record, VirtAddr, VirtRange};

use super::reader::KernelReader;

/// Names that the kernel's image has had for itself.
const KERNEL_NAMES: [&[u8]; 4] = [b"ntoskrnl.exe", b"ntkrnlmp.exe", b"ntkrnlpa.exe", b"ntkrpamp.exe"];

/// The headers of an image.
#[derive(Clone, Debug)]
pub struct PeImage {
    /// Where it starts.
    pub base: VirtAddr,
    /// Its processor.
    pub machine: MachineType,
    /// `TimeDateStamp`.
    pub time_date_stamp: u32,
    /// `SizeOfImage` in bytes.
    pub size: u32,
    /// `CheckSum`.
    pub checksum: u32,
    exports: u32,
    sections: Vec<SectionHeader>,
}

impl PeImage {
    /// Reads the headers of the image at `base`; `None` where there is none.
    #[must_use]
    pub fn read(reader: &KernelReader<'_>, base: VirtAddr) -> Option<Self> {
        /// NT headers lie within the first page; so does all that is read of them.
        const HEADERS: usize = 0x1000;
        if reader.array::<2>(base)? != DOS_SIGNATURE {
            return None;
        }
        let page = reader.bytes(base, HEADERS);
        let lfanew = u32::from_le_bytes(page.get(E_LFANEW..E_LFANEW + 4)?.try_into().ok()?);
        let nt = page.get(usize::try_from(lfanew).ok()?..)?;
        if nt.get(..4)? != NT_SIGNATURE {
            return None;
        }
        let file = FileHeader::read(&nt[4..], Endian::Little)?;
        let optional = nt.get(4 + FileHeader::SIZE..)?;
        let (size, checksum, directories, count) = match u16::from_le_bytes(*optional.first_chunk()?) {
            OPTIONAL_HEADER_32 => {
                let header = OptionalHeader32::read(optional, Endian::Little)?;
                (
                    header.size_of_image,
                    header.check_sum,
                    OptionalHeader32::SIZE,
                    header.number_of_rva_and_sizes,
                )
            }
            OPTIONAL_HEADER_64 => {
                let header = OptionalHeader64::read(optional, Endian::Little)?;
                (
                    header.size_of_image,
                    header.check_sum,
                    OptionalHeader64::SIZE,
                    header.number_of_rva_and_sizes,
                )
            }
            _ => return None,
        };
        let exports = (count.get() > 0)
            .then(|| DataDirectory::read(optional.get(directories..)?, Endian::Little))
            .flatten()
            .map_or(0, |directory| directory.virtual_address.get());
        let sections = optional
            .get(usize::from(file.size_of_optional_header.get())..)
            .unwrap_or_default()
            .chunks_exact(SectionHeader::SIZE)
            .take(usize::from(file.number_of_sections.get()))
            .filter_map(|bytes| SectionHeader::read(bytes, Endian::Little))
            .collect();
        Some(Self {
            base,
            machine: MachineType(file.machine.get()),
            time_date_stamp: file.time_date_stamp.get(),
            size: size.get(),
            checksum: checksum.get(),
            exports,
            sections,
        })
    }

    /// Its addresses.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        VirtRange::sized(self.base, u64::from(self.size))
    }

    /// The addresses of its sections that can be written and hold no code; all of the image where its headers name none.
    #[must_use]
    pub fn data(&self, reader: &KernelReader<'_>) -> Vec<VirtRange> {
        let image = self.range();
        let data: Vec<VirtRange> = self
            .sections
            .iter()
            .filter(|section| {
                let flags = section.characteristics.get();
                flags & SectionHeader::WRITE != 0 && flags & SectionHeader::EXECUTE == 0
            })
            .filter_map(|section| {
                let start = reader.at(self.base, u64::from(section.virtual_address.get()));
                VirtRange::sized(start, u64::from(section.virtual_size.get())).intersection(image)
            })
            .collect();
        if data.is_empty() { vec![image] } else { data }
    }

    /// The name that it has for itself.
    #[must_use]
    pub fn name(&self, reader: &KernelReader<'_>) -> Option<Vec<u8>> {
        let exports = self.export_directory(reader)?;
        Some(self.text(reader, exports.name.get()))
    }

    /// Whether it is the kernel's.
    #[must_use]
    pub fn is_kernel(&self, reader: &KernelReader<'_>) -> bool {
        self.machine == reader.machine().machine_type()
            && self
                .name(reader)
                .is_some_and(|name| KERNEL_NAMES.iter().any(|kernel| name.eq_ignore_ascii_case(kernel)))
    }

    /// Where a function or variable that it exports lies.
    #[must_use]
    pub fn export(&self, reader: &KernelReader<'_>, wanted: &str) -> Option<VirtAddr> {
        let exports = self.export_directory(reader)?;
        let entry = |table: u32, index: u32, size: u64| {
            let start = reader.at(self.base, u64::from(table));
            reader.at(start, u64::from(index) * size)
        };
        let (mut low, mut high) = (0, exports.number_of_names.get().min(1 << 16));
        while low < high {
            let middle = low + (high - low) / 2;
            let rva = reader.u32(entry(exports.address_of_names.get(), middle, 4))?;
            match self.text(reader, rva).as_slice().cmp(wanted.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let index = reader.u16(entry(exports.address_of_name_ordinals.get(), middle, 2))?;
                    let rva = reader.u32(entry(exports.address_of_functions.get(), u32::from(index), 4))?;
                    let address = reader.at(self.base, u64::from(rva));
                    return self.range().contains(address).then_some(address);
                }
            }
        }
        None
    }

    fn export_directory(&self, reader: &KernelReader<'_>) -> Option<ExportDirectory> {
        if self.exports == 0 || self.exports >= self.size {
            return None;
        }
        reader.record(reader.at(self.base, u64::from(self.exports)))
    }

    /// Text up to its NUL, at most 64 characters.
    fn text(&self, reader: &KernelReader<'_>, rva: u32) -> Vec<u8> {
        let mut text = reader.bytes(reader.at(self.base, u64::from(rva)), 64);
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        text
    }
}
