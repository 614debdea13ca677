//! Page-table entries of every machine, and those that Windows stores where the processor sees nothing valid.

use dotdump_snapshot::paging::{PagingMode, Rights, SoftwarePtes};

const VALID: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;

/// Descriptor bits of ARM64: a table or a 4 KiB page, user access, read-only, inner shareable, accessed, not global,
/// never executed in kernel and in user mode, and Windows' own mark of a page that may be written.
const ARM_NOT_BLOCK: u64 = 1 << 1;
const ARM_USER: u64 = 1 << 6;
const ARM_READ_ONLY: u64 = 1 << 7;
const ARM_SHAREABLE: u64 = 3 << 8;
const ARM_ACCESSED: u64 = 1 << 10;
const ARM_NOT_GLOBAL: u64 = 1 << 11;
const ARM_KERNEL_NO_EXECUTE: u64 = 1 << 53;
const ARM_USER_NO_EXECUTE: u64 = 1 << 54;
const ARM_WRITABLE: u64 = 1 << 55;

/// `MM_READWRITE` in the protection field of software entries.
const PROTECTION: u64 = 4;
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;

/// How a machine's page tables are built up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) mode: PagingMode,
    /// The number of levels.
    pub(crate) levels: u8,
    /// The size of an entry in bytes.
    pub(crate) entry_size: u64,
    /// Bits of the index of all levels, apart from PAE's uppermost, which has 2.
    index_bits: u32,
}

impl Shape {
    pub(crate) const fn of(mode: PagingMode) -> Self {
        let (levels, entry_size, index_bits) = match mode {
            PagingMode::X86 => (2, 4, 10),
            PagingMode::Pae => (3, 8, 9),
            PagingMode::FourLevel | PagingMode::Arm64 => (4, 8, 9),
            PagingMode::FiveLevel => (5, 8, 9),
        };
        Self {
            mode,
            levels,
            entry_size,
            index_bits,
        }
    }

    /// Whether addresses have 32 bits.
    pub(crate) const fn is_32(&self) -> bool {
        matches!(self.mode, PagingMode::X86 | PagingMode::Pae)
    }

    /// The end of the physical memory that it reaches; of PAE, of what 32-bit Windows uses.
    pub(crate) const fn physical_limit(&self) -> u64 {
        match self.mode {
            PagingMode::X86 => 1 << 32,
            PagingMode::Pae => 1 << 36,
            PagingMode::Arm64 => 1 << 50,
            PagingMode::FourLevel | PagingMode::FiveLevel => 1 << 52,
        }
    }

    /// The size of what an entry of a level maps.
    pub(crate) const fn page_size(&self, level: u8) -> u64 {
        1 << (12 + self.index_bits * (level as u32 - 1))
    }

    /// The index of an address in the table of a level.
    pub(crate) const fn index(&self, address: u64, level: u8) -> u64 {
        let count = if matches!(self.mode, PagingMode::Pae) && level == 3 {
            4
        } else {
            1 << self.index_bits
        };
        address / self.page_size(level) % count
    }

    /// The bits of an entry that are an address.
    pub(crate) const fn address_mask(&self) -> u64 {
        match self.mode {
            PagingMode::X86 => 0xFFFF_F000,
            PagingMode::Arm64 => 0x0003_FFFF_FFFF_F000,
            PagingMode::Pae | PagingMode::FourLevel | PagingMode::FiveLevel => 0x000F_FFFF_FFFF_F000,
        }
    }

    /// The virtual address of the page-table entry that maps `address`, by the self-map whose lowest address is `base`.
    pub(crate) const fn entry_address(&self, base: u64, address: u64) -> u64 {
        let pages = match self.mode {
            PagingMode::X86 | PagingMode::Pae => 1 << 20,
            PagingMode::FourLevel | PagingMode::Arm64 => 1 << 36,
            PagingMode::FiveLevel => 1 << 45,
        };
        base + address / 0x1000 % pages * self.entry_size
    }

    /// The valid entry of a page at `physical`, of a table of `level`: 1, or more for large pages.
    pub(crate) const fn leaf(&self, physical: u64, level: u8, rights: Rights) -> u64 {
        let mut entry = physical | VALID;
        if matches!(self.mode, PagingMode::Arm64) {
            entry |= ARM_SHAREABLE | ARM_ACCESSED;
            entry |= if level == 1 { ARM_NOT_BLOCK } else { 0 };
            entry |= if rights.write { ARM_WRITABLE } else { ARM_READ_ONLY };
            entry |= if rights.user { ARM_USER | ARM_NOT_GLOBAL } else { 0 };
            entry |= match (rights.execute, rights.user) {
                (true, true) => ARM_KERNEL_NO_EXECUTE,
                (true, false) => ARM_USER_NO_EXECUTE,
                (false, _) => ARM_KERNEL_NO_EXECUTE | ARM_USER_NO_EXECUTE,
            };
            return entry;
        }
        entry |= ACCESSED;
        entry |= if rights.write { WRITE | DIRTY } else { 0 };
        entry |= if rights.user { USER } else { GLOBAL };
        entry |= if level > 1 { LARGE } else { 0 };
        if !rights.execute && !matches!(self.mode, PagingMode::X86) {
            entry |= NO_EXECUTE;
        }
        entry
    }

    /// The entry in a table of `level` that leads to a table at `physical`.
    pub(crate) const fn table(&self, physical: u64, level: u8, user: bool) -> u64 {
        match self.mode {
            // Page directory pointers have neither rights nor marks.
            PagingMode::Pae if level == 3 => physical | VALID,
            // The processor ignores the bits that forbid execution here; Windows sets them, and readers know its tables
            // by them.
            PagingMode::Arm64 => {
                let marks = ARM_SHAREABLE | ARM_ACCESSED | ARM_NOT_GLOBAL;
                physical | VALID | ARM_NOT_BLOCK | marks | ARM_KERNEL_NO_EXECUTE | ARM_USER_NO_EXECUTE
            }
            _ => physical | VALID | WRITE | ACCESSED | DIRTY | if user { USER } else { 0 },
        }
    }

    /// The entry that makes a table show itself: data, never code.
    pub(crate) const fn self_map(&self, physical: u64) -> u64 {
        let entry = self.table(physical, 1, false);
        match self.mode {
            PagingMode::X86 | PagingMode::Arm64 => entry,
            PagingMode::Pae | PagingMode::FourLevel | PagingMode::FiveLevel => entry | NO_EXECUTE,
        }
    }

    /// Marks an entry of a top-level table so that user mode's half cannot be executed through it.
    pub(crate) const fn not_executable(entry: u64) -> u64 {
        entry | NO_EXECUTE
    }

    /// What of `rights` this machine can express.
    pub(crate) const fn expressible(&self, mut rights: Rights) -> Rights {
        rights.execute |= matches!(self.mode, PagingMode::X86);
        rights
    }
}

/// Where a software entry keeps what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftwareEntries {
    pub(crate) shape: Shape,
    pub(crate) kind: SoftwarePtes,
}

impl SoftwareEntries {
    /// A page that left the working set and is still in memory.
    pub(crate) const fn transition(&self, physical: u64, swizzled: bool) -> u64 {
        self.swizzle(physical | TRANSITION | PROTECTION << 5, swizzled)
    }

    /// A page in page file `number`, at page `page` of it.
    pub(crate) const fn page_file(&self, number: u64, page: u64, swizzled: bool) -> u64 {
        let page_shift = if matches!(self.shape.mode, PagingMode::X86) {
            12
        } else {
            32
        };
        let number_shift = match self.kind {
            SoftwarePtes::Late { .. } => 12,
            SoftwarePtes::Middle => 6,
            SoftwarePtes::Early | SoftwarePtes::None => 1,
        };
        self.swizzle(page << page_shift | number << number_shift | PROTECTION << 5, swizzled)
    }

    /// A page that becomes zeros once somebody asks for it.
    pub(crate) const fn demand_zero() -> u64 {
        PROTECTION << 5
    }

    /// A reference to the prototype at a kernel address, and in a prototype to the subsection there.
    pub(crate) const fn prototype(&self, address: u64) -> u64 {
        match self.shape.mode {
            PagingMode::X86 => {
                let offset = address & 0x7FFF_FFFF;
                (offset & 0x7FFF_FC00) << 1 | (offset & 0x3FF) >> 1 | PROTOTYPE
            }
            PagingMode::Pae => address << 32 | PROTOTYPE,
            _ => address << 16 | PROTOTYPE,
        }
    }

    /// A reference to what only the VADs know; machines of 64 bits have it.
    pub(crate) const fn prototype_by_vad() -> u64 {
        0xFFFF_FFFF_FFFF_0000 | PROTOTYPE | PROTECTION << 5
    }

    /// Inverts the high address bit, as protection against L1TF does, or marks the entry as one that was left alone.
    const fn swizzle(&self, entry: u64, swizzled: bool) -> u64 {
        match self.kind {
            SoftwarePtes::Late { high_bit, swizzle_bit } if high_bit != 0 => {
                if swizzled {
                    entry ^ 1 << high_bit
                } else {
                    entry | 1 << swizzle_bit
                }
            }
            _ => entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Rights = Rights {
        write: true,
        user: false,
        execute: false,
    };

    #[test]
    fn entries_are_those_of_real_machines() {
        let x64 = Shape::of(PagingMode::FourLevel);
        assert_eq!(x64.leaf(0x12_3000, 1, DATA), 0x8000_0000_0012_3163);
        assert_eq!(x64.table(0x1A_D000, 4, false), 0x1A_D063);
        let arm64 = Shape::of(PagingMode::Arm64);
        // The bits by which MemProcFS finds a root that shows itself.
        let own = arm64.self_map(0x946A_A000);
        assert_eq!(own & 0x0063_FFFF_FFFF_F073, 0x0060_0000_946A_A003);
    }

    #[test]
    fn entries_have_the_addresses_that_the_kernel_publishes() {
        let x64 = Shape::of(PagingMode::FourLevel);
        assert_eq!(
            x64.entry_address(0xFFFF_F680_0000_0000, 0xFFFF_F800_0000_0000),
            0xFFFF_F6FC_0000_0000
        );
        let x86 = Shape::of(PagingMode::X86);
        assert_eq!(x86.entry_address(0xC000_0000, 0xC000_0000), 0xC030_0000);
        let pae = Shape::of(PagingMode::Pae);
        assert_eq!(pae.entry_address(0xC000_0000, 0xC000_0000), 0xC060_0000);
    }

    #[test]
    fn a_32_bit_prototype_keeps_its_address() {
        let entries = SoftwareEntries {
            shape: Shape::of(PagingMode::X86),
            kind: SoftwarePtes::Early,
        };
        let pte = entries.prototype(0x8A12_3450);
        assert_eq!(pte & 0x407, 0x400);
        assert_eq!(0x8000_0000 | pte >> 1 & 0x7FFF_FC00 | pte << 1 & 0x3FF, 0x8A12_3450);
    }
}
