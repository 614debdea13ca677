//! Finding the kernel's image without being told where it is.

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::loader::{KldrDataTableEntry32, KldrDataTableEntry64};
use dotdump_format::{PAGE_SIZE, VirtAddr, VirtRange};

use super::pe_image::PeImage;
use super::reader::KernelReader;

/// No kernel image is as large, in bytes.
const LARGEST_IMAGE: u64 = 32 << 20;

/// How many pages of a region are looked at.
const MOST_PAGES: u64 = 1 << 20;

/// Where the list of loaded modules says that its first one is: the kernel always is. The list's head need not be right.
#[must_use]
pub fn first_module(reader: &KernelReader<'_>, list: VirtAddr) -> Option<VirtAddr> {
    let first = reader.kernel_pointer(list)?;
    // The neighbours of an entry of a list point back to it.
    if reader.pointer(reader.at(first, reader.pointer_size()))? != list {
        return None;
    }
    let base = match reader.machine() {
        Machine::X86 => u64::from(reader.record::<KldrDataTableEntry32>(first)?.dll_base.get()),
        Machine::Amd64 | Machine::Arm64 => reader.record::<KldrDataTableEntry64>(first)?.dll_base.get(),
    };
    let base = VirtAddr(base);
    (reader.is_kernel(base) && base.0.is_multiple_of(PAGE_SIZE)).then_some(base)
}

/// The code that an x64 processor runs at its first exception, by its interrupt table.
#[must_use]
pub fn first_handler(reader: &KernelReader<'_>, table: VirtAddr) -> Option<VirtAddr> {
    if reader.machine() != Machine::Amd64 || !reader.is_kernel(table) {
        return None;
    }
    // The address is in three parts: bits 0 to 15, 16 to 31 and 32 to 63.
    let gate = reader.array::<16>(table)?;
    let address = u64::from_le_bytes([gate[0], gate[1], gate[6], gate[7], gate[8], gate[9], gate[10], gate[11]]);
    Some(VirtAddr(address)).filter(|address| reader.is_kernel(*address))
}

/// The kernel's image around an address that may lie in it: the first image below it, if that is the kernel's and
/// reaches so far.
#[must_use]
pub fn kernel_around(reader: &KernelReader<'_>, address: VirtAddr) -> Option<PeImage> {
    let mut page = address.align_down(PAGE_SIZE);
    let lowest = page.saturating_sub(LARGEST_IMAGE);
    while page > lowest && reader.is_kernel(page) {
        if let Some(image) = PeImage::read(reader, page)
            && image.is_kernel(reader)
        {
            return image.range().contains(address).then_some(image);
        }
        page = page.saturating_sub(PAGE_SIZE);
    }
    None
}

/// The kernel's image, looked for in the region where Windows puts it.
///
/// That region is what the boot loader maps. MemProcFS searches the same one on x64.
#[must_use]
pub fn search_kernel(reader: &KernelReader<'_>) -> Option<PeImage> {
    let region = match reader.machine() {
        Machine::X86 => VirtRange::new(VirtAddr(0x8000_0000), VirtAddr(0xA000_0000)),
        Machine::Amd64 | Machine::Arm64 => {
            VirtRange::new(VirtAddr(0xFFFF_F800_0000_0000), VirtAddr(0xFFFF_F808_0000_0000))
        }
    };
    let mut left = MOST_PAGES;
    for extent in reader.memory().extents(region) {
        let range = extent.ok()?.range;
        let mut page = range.start.align_down(PAGE_SIZE);
        while page < range.end {
            left = left.checked_sub(1)?;
            if let Some(image) = PeImage::read(reader, page)
                && image.is_kernel(reader)
            {
                return Some(image);
            }
            page = page.checked_add(PAGE_SIZE)?;
        }
    }
    None
}
