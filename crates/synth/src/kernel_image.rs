//! The kernel's image: headers, a little code, and the variables that its other parts refer to.

use std::collections::BTreeMap;

use dotdump_format::kernel::Machine;
use dotdump_format::{PAGE_SIZE, VirtAddr};
use dotdump_snapshot::paging::{PagingMode, Rights};

use crate::allocator::Zone;
use crate::error::BuildError;
use crate::image::{self, Image, Section};
use crate::random::Random;
use crate::world::{CODE, DATA, READ_ONLY, World};

/// The image's size where it is mapped with pages of 4 KiB.
const SMALL: u32 = 0xE000;
/// ... and with large ones: within what MemProcFS takes for a kernel.
const LARGE: u32 = 0x80_0000;

const SECTIONS: [Section; 4] = [
    Section {
        name: b".text",
        address: 0x1000,
        size: 0x4000,
        characteristics: image::TEXT,
    },
    // A section that real kernels have, too; readers know them by it.
    Section {
        name: b"POOLCODE",
        address: 0x5000,
        size: 0x1000,
        characteristics: image::TEXT,
    },
    Section {
        name: b".rdata",
        address: 0x6000,
        size: 0x2000,
        characteristics: image::RDATA,
    },
    Section {
        name: b".data",
        address: 0x8000,
        size: 0x6000,
        characteristics: image::DATA,
    },
];

/// Functions: name, offset in the image. `KiDivideErrorFault` is the first of 32, 16 bytes each.
const FUNCTIONS: [(&str, u64); 7] = [
    ("KeBugCheckEx", 0x1000),
    ("KiIdleLoop", 0x1400),
    ("KiDivideErrorFault", 0x1800),
    ("KdCopyDataBlock", 0x2000),
    ("KiSystemStartup", 0x3000),
    ("KiSystemServiceUser", 0x3400),
    ("KiPageFaultShadow", 0x3800),
];

/// Variables: name and size in bytes, one behind the other, each aligned to 16.
const VARIABLES: [(&str, u64); 27] = [
    ("KdDebuggerDataBlock", 0x400),
    ("KdVersionBlock", 0x28),
    ("KdpDebuggerDataListHead", 16),
    ("KdpDataBlockEncoded", 1),
    ("KiWaitNever", 8),
    ("KiWaitAlways", 8),
    ("PsLoadedModuleList", 16),
    ("PsActiveProcessHead", 16),
    ("PsInitialSystemProcess", 8),
    ("PsIdleProcess", 8),
    ("PspCidTable", 8),
    ("KiBugCheckData", 40),
    ("MmPfnDatabase", 8),
    ("MmLowestPhysicalPage", 8),
    ("MmHighestPhysicalPage", 8),
    ("MmNumberOfPhysicalPages", 8),
    ("MmHighestUserAddress", 8),
    ("MmSystemRangeStart", 8),
    ("MmUserProbeAddress", 8),
    ("MmUnloadedDrivers", 8),
    ("MmLastUnloadedDriver", 4),
    ("MmPhysicalMemoryBlock", 8),
    ("NtBuildNumber", 4),
    ("NtBuildLab", 0x60),
    ("IopNumTriageDumpDataBlocks", 4),
    ("IopTriageDumpDataBlocks", 16 * 16),
    ("KiProcessorBlock", 8 * 256),
];

/// The kernel's image as it was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) base: u64,
    pub(crate) size: u32,
    pub(crate) entry_point: u64,
    pub(crate) checksum: u32,
    pub(crate) time_date_stamp: u32,
    symbols: BTreeMap<&'static str, u64>,
}

impl Kernel {
    /// Loads it, with large pages or with those of 4 KiB that are as writable and executable as their sections.
    pub(crate) fn load(
        world: &mut World,
        machine: Machine,
        large: bool,
        random: &mut Random,
    ) -> Result<Self, BuildError> {
        let base = world.places.kernel;
        let size = if large { LARGE } else { SMALL };
        let mut symbols: BTreeMap<&'static str, u64> =
            FUNCTIONS.iter().map(|(name, offset)| (*name, base + offset)).collect();
        let mut next = base + u64::from(SECTIONS[3].address);
        for (name, size) in VARIABLES {
            symbols.insert(name, next);
            next += size.next_multiple_of(16);
        }
        let kernel = Self {
            base,
            size,
            entry_point: base + 0x3000,
            checksum: 0x00A5_938C,
            time_date_stamp: 0x5F3A_0000 | u32::from_le_bytes([random.bits().to_le_bytes()[0], 1, 0, 0]),
            symbols,
        };
        kernel.map(world, large)?;
        kernel.fill(world, machine, random)?;
        Ok(kernel)
    }

    fn map(&self, world: &mut World, large: bool) -> Result<(), BuildError> {
        if large {
            let page = world.shape.page_size(2);
            for start in (0..u64::from(self.size)).step_by(usize::try_from(page).unwrap_or(usize::MAX)) {
                let physical = world
                    .allocator
                    .contiguous(page / PAGE_SIZE, page)
                    .ok_or(BuildError::MemoryFull)?;
                let rights = Rights {
                    write: true,
                    user: false,
                    execute: true,
                };
                world.map_kernel(self.base + start, physical, 2, rights)?;
            }
            return Ok(());
        }
        for offset in (0..self.size).step_by(0x1000) {
            let section = SECTIONS
                .iter()
                .find(|section| (section.address..section.address + section.size).contains(&offset));
            let rights = match section.map(|section| section.characteristics) {
                Some(image::TEXT) => CODE,
                Some(image::DATA) => DATA,
                _ => READ_ONLY,
            };
            let physical = world.allocator.allocate(Zone::Kernel)?;
            world.map_kernel(self.base + u64::from(offset), physical, 1, rights)?;
        }
        Ok(())
    }

    fn fill(&self, world: &mut World, machine: Machine, random: &mut Random) -> Result<(), BuildError> {
        let offset = |name| u32::try_from(self.symbol(name) - self.base).unwrap_or(0);
        let exports =
            ["NtBuildNumber", "PsInitialSystemProcess", "PsLoadedModuleList"].map(|name| (name, offset(name)));
        let mut signature = [0; 16];
        random.fill(&mut signature);
        let image = Image {
            machine,
            is_32: false,
            name: "ntoskrnl.exe",
            base: self.base,
            size: self.size,
            entry_point: 0x3000,
            checksum: self.checksum,
            time_date_stamp: self.time_date_stamp,
            sections: &SECTIONS,
            directories: SECTIONS[2].address,
            exports: &exports,
            signature,
        };
        world.write(self.base, &image.header()?)?;
        world.write(self.base + u64::from(image.directories), &image.directory_bytes()?)?;
        // Breakpoints between the functions, as linkers leave them.
        let filler = if machine == Machine::Arm64 {
            [0, 0, 0x3E, 0xD4]
        } else {
            [0xCC; 4]
        };
        world.write(self.base + 0x1000, &filler.repeat(0x5000 / 4))
    }

    /// The address of a symbol. All names are literals of this crate; a test asks for each.
    pub(crate) fn symbol(&self, name: &str) -> u64 {
        self.symbols.get(name).copied().unwrap_or(self.base)
    }

    /// All symbols.
    pub(crate) fn symbols(&self) -> BTreeMap<&'static str, VirtAddr> {
        self.symbols
            .iter()
            .map(|(name, address)| (*name, VirtAddr(*address)))
            .collect()
    }

    /// The code that decodes the debugger's data, from which those who have no symbols learn where the keys are.
    pub(crate) fn write_decoder(&self, world: &mut World, words: u32) -> Result<(), BuildError> {
        let start = self.symbol("KdCopyDataBlock");
        let mut code: Vec<u8> = Vec::new();
        // An instruction with an address relative to its own end, `tail` bytes of operand behind it.
        let relative = |code: &mut Vec<u8>, opcode: &[u8], name: &str, tail: &[u8]| {
            code.extend_from_slice(opcode);
            let end = start + (code.len() + 4 + tail.len()) as u64;
            let distance = self.symbol(name).wrapping_sub(end).to_le_bytes();
            code.extend_from_slice(&distance[..4]);
            code.extend_from_slice(tail);
        };
        relative(&mut code, &[0x80, 0x3D], "KdpDataBlockEncoded", &[0]); // cmp byte ptr [rip + E], 0
        relative(&mut code, &[0x48, 0x8D, 0x15], "KdDebuggerDataBlock", &[]); // lea rdx, [rip + block]
        code.extend_from_slice(&[0x41, 0xB8]); // mov r8d, words
        code.extend_from_slice(&words.to_le_bytes());
        relative(&mut code, &[0x4C, 0x8B, 0x15], "KiWaitNever", &[]); // mov r10, [rip + N]
        relative(&mut code, &[0x4C, 0x8B, 0x1D], "KiWaitAlways", &[]); // mov r11, [rip + A]
        relative(&mut code, &[0x4C, 0x8D, 0x0D], "KdpDataBlockEncoded", &[]); // lea r9, [rip + E]
        code.extend_from_slice(&[
            0x48, 0x8B, 0x02, // again: mov rax, [rdx]
            0x49, 0x33, 0xC2, // xor rax, r10
            0x41, 0x8A, 0xCA, // mov cl, r10b
            0x48, 0xD3, 0xC0, // rol rax, cl
            0x49, 0x33, 0xC1, // xor rax, r9
            0x48, 0x0F, 0xC8, // bswap rax
            0x49, 0x33, 0xC3, // xor rax, r11
            0x48, 0x89, 0x02, // mov [rdx], rax
            0x48, 0x83, 0xC2, 0x08, // add rdx, 8
            0x41, 0xFF, 0xC8, // dec r8d
            0x75, 0xDF, // jnz again
            0xC3, // ret
        ]);
        world.write(start, &code)
    }

    /// Whether a machine can have its kernel encode the debugger's data.
    pub(crate) const fn can_encode(mode: PagingMode) -> bool {
        matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_fit_into_their_section() {
        let used: u64 = VARIABLES.iter().map(|(_, size)| size.next_multiple_of(16)).sum();
        assert!(used <= u64::from(SECTIONS[3].size), "{used:#x}");
    }
}
