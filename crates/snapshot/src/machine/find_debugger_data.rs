//! Finding the `KDDEBUGGER_DATA64` of a machine, plain or encoded.

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::debugger_data::{DebuggerData, KdDebuggerData64, OWNER_TAG};
use dotdump_format::kernel::debugger_data_encoding::Encoding;
use dotdump_format::kernel::version::DbgKdGetVersion64;
use dotdump_format::{Record, VirtAddr, VirtRange};

use super::pe_image::PeImage;
use super::reader::KernelReader;

/// How a block was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DebuggerDataOrigin {
    /// The dump's header says where it is.
    Header,
    /// The dump has a copy of it.
    Copy,
    /// The version block of a processor's `KPCR` leads to it.
    VersionBlock,
    /// The kernel's image was searched for it.
    Search,
    /// The first parameter of the bugcheck points to a plain copy, as the driver of QEMU's guests leaves it.
    BugcheckParameter,
}

/// A block that was found.
#[derive(Clone, Debug)]
pub struct FoundDebuggerData {
    /// The plain block.
    pub data: DebuggerData,
    /// Where the kernel has the block, plain or encoded.
    pub address: VirtAddr,
    /// How it was found.
    pub origin: DebuggerDataOrigin,
    /// Whether it is encoded in memory.
    pub encoded: bool,
    /// Where `KdpDataBlockEncoded` is, the byte that says so; known only where it is encoded.
    pub flag: Option<VirtAddr>,
}

/// What is known of a machine before its block is.
#[derive(Clone, Debug, Default)]
pub struct DebuggerDataHints {
    /// Where the header says that it is.
    pub header: Option<VirtAddr>,
    /// A copy that the dump has.
    pub copy: Vec<u8>,
    /// The `KPCR` of processors.
    pub processors: Vec<VirtAddr>,
    /// The first parameter of the bugcheck.
    pub bugcheck_parameter: Option<VirtAddr>,
    /// Where the kernel's image starts, where the list of modules says so.
    pub kernel_base: Option<VirtAddr>,
}

/// Where `KPCR` has the pointer to the version block.
const fn version_block_offset(machine: Machine) -> Option<u64> {
    match machine {
        Machine::X86 => Some(0x34),
        Machine::Amd64 => Some(0x108),
        Machine::Arm64 => None,
    }
}

/// The version block that a processor's `KPCR` points to. Only that of the first processor does, and often not even
/// that.
#[must_use]
pub fn version_block(reader: &KernelReader<'_>, processor: VirtAddr) -> Option<DbgKdGetVersion64> {
    let offset = version_block_offset(reader.machine())?;
    let block = reader.kernel_pointer(reader.at(processor, offset))?;
    let version: DbgKdGetVersion64 = reader.record(block)?;
    (version.machine() == reader.machine().machine_type()).then_some(version)
}

/// Finds the block. `kernel` finds the kernel's image and is called only where nothing cheaper helps.
pub fn find_debugger_data(
    reader: &KernelReader<'_>,
    hints: &DebuggerDataHints,
    kernel: impl FnOnce() -> Option<PeImage>,
) -> Option<FoundDebuggerData> {
    let finder = Finder { reader };
    if let Some(address) = hints.header
        && let Some(data) = finder.plain(address)
    {
        return Some(finder.found(data, address, DebuggerDataOrigin::Header));
    }
    if let Some(data) = DebuggerData::read(&hints.copy, reader.machine()) {
        let address = hints.header.unwrap_or_default();
        return Some(finder.found(data, address, DebuggerDataOrigin::Copy));
    }
    for processor in &hints.processors {
        if let Some(found) = finder.by_version_block(*processor) {
            return Some(found);
        }
    }
    if let (Some(address), Some(base)) = (hints.header, hints.kernel_base)
        && let Some(found) = finder.encoded(address, base, DebuggerDataOrigin::Header)
    {
        return Some(found);
    }
    let image = kernel();
    if let Some(image) = &image {
        if let Some(address) = hints.header
            && let Some(found) = finder.encoded(address, image.base, DebuggerDataOrigin::Header)
        {
            return Some(found);
        }
        if let Some(found) = finder.search(image) {
            return Some(found);
        }
    }
    // Last, as any pointer to a block would do here. The block at the header's address stays the one that debuggers look
    // at.
    let pointer = hints.bugcheck_parameter?;
    let data = finder.plain(pointer)?;
    Some(FoundDebuggerData {
        encoded: hints.header.is_some_and(|address| address != pointer),
        ..finder.found(
            data,
            hints.header.unwrap_or(pointer),
            DebuggerDataOrigin::BugcheckParameter,
        )
    })
}

struct Finder<'a> {
    reader: &'a KernelReader<'a>,
}

impl Finder<'_> {
    fn found(&self, data: DebuggerData, address: VirtAddr, origin: DebuggerDataOrigin) -> FoundDebuggerData {
        FoundDebuggerData {
            data,
            address,
            origin,
            encoded: false,
            flag: None,
        }
    }

    /// The plain block at `address`.
    fn plain(&self, address: VirtAddr) -> Option<DebuggerData> {
        let bytes = self.reader.bytes(address, KdDebuggerData64::SIZE);
        DebuggerData::read(&bytes, self.reader.machine()).filter(DebuggerData::is_plausible)
    }

    /// The encoded block at `address`.
    fn encoded(&self, address: VirtAddr, base: VirtAddr, origin: DebuggerDataOrigin) -> Option<FoundDebuggerData> {
        if self.reader.machine() == Machine::X86 {
            return None;
        }
        let bytes = self.reader.bytes(address, LARGEST_BLOCK);
        let encoding = Encoding::solve(&bytes, base)?;
        let plain = encoding.decode(&bytes)?;
        let data = DebuggerData::read(&plain, self.reader.machine()).filter(DebuggerData::is_plausible)?;
        let image = PeImage::read(self.reader, base);
        Some(FoundDebuggerData {
            encoded: true,
            flag: image.and_then(|image| self.flag(&image, encoding)),
            ..self.found(data, address, origin)
        })
    }

    fn by_version_block(&self, processor: VirtAddr) -> Option<FoundDebuggerData> {
        let reader = self.reader;
        let version = version_block(reader, processor)?;
        let mask = |address: u64| reader.at(VirtAddr(address), 0);
        let address = reader.kernel_pointer(mask(version.debugger_data_list.get()))?;
        let origin = DebuggerDataOrigin::VersionBlock;
        match self.plain(address) {
            Some(data) => Some(self.found(data, address, origin)),
            None => self.encoded(address, mask(version.kern_base.get()), origin),
        }
    }

    /// Looks for the block in the data of the kernel's image.
    fn search(&self, image: &PeImage) -> Option<FoundDebuggerData> {
        let machine = self.reader.machine();
        let mut plain = None;
        let mut encoded = None;
        for range in image.data(self.reader) {
            self.windows(range, |address, bytes| {
                // The links in front of the tag are pointers, so that it lies on a boundary of them.
                for (index, start) in bytes.windows(0x18).enumerate().step_by(8) {
                    if start[0x10..0x14] == OWNER_TAG
                        && let Some(data) = DebuggerData::read(&bytes[index..], machine)
                        && data.kern_base() == Some(image.base)
                        && data.is_plausible()
                    {
                        plain = Some((data, self.reader.at(address, index as u64)));
                        return true;
                    }
                    if machine != Machine::X86
                        && encoded.is_none()
                        && Encoding::solve(&bytes[index..], image.base).is_some()
                    {
                        encoded = Some(self.reader.at(address, index as u64));
                    }
                }
                false
            });
        }
        if let Some((data, address)) = plain {
            return Some(self.found(data, address, DebuggerDataOrigin::Search));
        }
        self.encoded(encoded?, image.base, DebuggerDataOrigin::Search)
    }

    /// Calls `each` with pieces of a range that overlap so far that every block is whole in one of them, until it
    /// returns true.
    fn windows(&self, range: VirtRange, mut each: impl FnMut(VirtAddr, &[u8]) -> bool) {
        const PIECE: u64 = 1 << 16;
        let mut at = range.start;
        while at < range.end {
            let size = (range.end.0 - at.0).min(PIECE + LARGEST_BLOCK as u64);
            let bytes = self.reader.bytes(at, usize::try_from(size).unwrap_or(0));
            if each(at, &bytes) {
                return;
            }
            // Where a page is absent, the search goes on behind it.
            let whole = bytes.len() as u64 == size;
            let next = if whole {
                at.checked_add(PIECE)
            } else {
                at.checked_add(bytes.len() as u64)
                    .and_then(|end| end.align_down(PAGE).checked_add(PAGE))
            };
            let Some(next) = next else { return };
            at = next;
        }
    }

    /// Where `KdpDataBlockEncoded` is: two numbers among the kernel's data are `KiWaitNever` and `KiWaitAlways`, and only
    /// for them the encoding leads to a byte of 1 in the image.
    fn flag(&self, image: &PeImage, encoding: Encoding) -> Option<VirtAddr> {
        /// Bits that addresses of an image differ in, at most.
        const WITHIN: u32 = 25;
        /// More random numbers than any kernel has in its data.
        const MOST: usize = 1 << 20;

        let image_range = image.range();
        let mut numbers = Vec::new();
        for range in image.data(self.reader) {
            self.windows(range, |_, bytes| {
                let (words, _) = bytes.as_chunks();
                // Pieces overlap; numbers that are taken twice do no harm.
                numbers.extend(
                    words
                        .iter()
                        .map(|word| u64::from_le_bytes(*word))
                        .filter(|word| looks_random(*word)),
                );
                numbers.len() >= MOST
            });
        }
        numbers.sort_unstable();
        numbers.dedup();
        let rotation = u64::from(encoding.rotation());
        // The address is the combination of one part from either number, so that upper bits of it and of the first
        // part give those of the second.
        let mut second: Vec<(u64, u64)> = numbers
            .iter()
            .map(|always| (encoding.flag_address(0, *always).0 >> WITHIN, *always))
            .collect();
        second.sort_unstable();
        for never in numbers.iter().filter(|never| **never & 63 == rotation) {
            let first = never.rotate_left(encoding.rotation()) >> WITHIN;
            for upper in image_range.start.0 >> WITHIN..=image_range.end.0 >> WITHIN {
                let wanted = upper ^ first;
                let from = second.partition_point(|(part, _)| *part < wanted);
                for (_, always) in second[from..].iter().take_while(|(part, _)| *part == wanted) {
                    let flag = encoding.flag_address(*never, *always);
                    if image_range.contains(flag) && self.reader.array(flag) == Some([1_u8]) {
                        return Some(flag);
                    }
                }
            }
        }
        None
    }
}

/// The largest block that is looked for, in bytes.
const LARGEST_BLOCK: usize = 0x1000;

const PAGE: u64 = dotdump_format::PAGE_SIZE;

/// Whether a word may be one of the keys, which are random: no small number and no pointer.
const fn looks_random(word: u64) -> bool {
    let upper = word >> 47;
    upper != 0 && upper != 0x1_FFFF && word.count_ones() >= 8 && word.count_ones() <= 56
}
