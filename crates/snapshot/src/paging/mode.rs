//! The shape of page tables: levels, indices, and what the processor reads in an entry.

use dotdump_format::{PhysAddr, VirtAddr, VirtRange};

use super::{PagingMode, Rights};

/// Bits 12 to 51: the address in an entry of 8 bytes, of x86 and x64.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// The address in an entry of ARM64.
const ADDRESS_ARM64: u64 = 0x0003_FFFF_FFFF_F000;

const VALID: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
/// Windows' own bit for "can be written": the processor's is set with the first write.
const SOFTWARE_WRITE: u64 = 1 << 11;
const NO_EXECUTE: u64 = 1 << 63;

/// ARM64: a table or, in the lowest one, a page.
const ARM64_TABLE: u64 = 1 << 1;
const ARM64_READ_ONLY: u64 = 1 << 7;
/// Written by the processor's own dirty management: the page can be written although it is read-only now.
const ARM64_DIRTY_MODIFIER: u64 = 1 << 51;
const ARM64_PRIVILEGED_NO_EXECUTE: u64 = 1 << 53;
const ARM64_USER_NO_EXECUTE: u64 = 1 << 54;
const ARM64_TABLE_PRIVILEGED_NO_EXECUTE: u64 = 1 << 59;
const ARM64_TABLE_USER_NO_EXECUTE: u64 = 1 << 60;
const ARM64_TABLE_READ_ONLY: u64 = 1 << 62;

/// What the processor reads in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The table of the next lower level.
    Table { address: PhysAddr, rights: Rights },
    /// Where a page starts.
    Page { address: PhysAddr, rights: Rights },
    /// Nothing: the other bits are the system's own.
    Invalid,
    /// Valid, with bits that do not go together.
    Reserved,
}

/// What the meaning of an entry depends on beside its bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The level of its table.
    pub(super) level: u8,
    /// Whether it is for addresses of the kernel.
    pub(super) kernel: bool,
    /// Whether the tables are Windows'.
    pub(super) windows: bool,
}

impl PagingMode {
    /// How many levels of tables there are. The root's level is this number, that of the tables of 4 KiB pages is 1.
    #[must_use]
    pub const fn levels(self) -> u8 {
        match self {
            Self::X86 => 2,
            Self::Pae => 3,
            Self::FourLevel | Self::Arm64 => 4,
            Self::FiveLevel => 5,
        }
    }

    /// How many bits of an address the tables translate.
    #[must_use]
    pub const fn address_bits(self) -> u8 {
        match self {
            Self::X86 | Self::Pae => 32,
            Self::FourLevel | Self::Arm64 => 48,
            Self::FiveLevel => 57,
        }
    }

    /// The size of an entry in bytes.
    #[must_use]
    pub const fn entry_size(self) -> u64 {
        match self {
            Self::X86 => 4,
            _ => 8,
        }
    }

    /// The addresses of user mode. On x86 they are those of a system without `/3GB`.
    #[must_use]
    pub const fn user_half(self) -> VirtRange {
        VirtRange {
            start: VirtAddr(0),
            end: VirtAddr(1 << (self.address_bits() - 1)),
        }
    }

    /// The addresses of the kernel. On x86 they are those of a system without `/3GB`.
    #[must_use]
    pub const fn kernel_half(self) -> VirtRange {
        match self {
            Self::X86 | Self::Pae => VirtRange {
                start: VirtAddr(1 << 31),
                end: VirtAddr(1 << 32),
            },
            _ => VirtRange {
                start: VirtAddr(u64::MAX << (self.address_bits() - 1)),
                end: VirtAddr(u64::MAX),
            },
        }
    }

    /// Whether `address` is one of the kernel's.
    #[must_use]
    pub const fn is_kernel_address(self, address: VirtAddr) -> bool {
        let half = self.kernel_half();
        // The last address of all is the end of a range that cannot say so.
        half.start.0 <= address.0 && (address.0 < half.end.0 || half.end.0 == u64::MAX)
    }

    /// The top table's address in a value of CR3, TTBR0 or TTBR1: without PCID, ASID and, on ARM64, without the offset
    /// of the kernel's half.
    #[must_use]
    pub const fn root(self, value: PhysAddr) -> PhysAddr {
        PhysAddr(
            value.0
                & match self {
                    Self::X86 => 0xFFFF_F000,
                    Self::Pae => 0xFFFF_FFE0,
                    Self::FourLevel | Self::FiveLevel => ADDRESS,
                    Self::Arm64 => ADDRESS_ARM64,
                },
        )
    }

    /// The bits of an address below those that pick an entry of a table of `level`: an entry maps 2 to this power bytes.
    pub(super) const fn shift(self, level: u8) -> u8 {
        match self {
            Self::X86 => 12 + 10 * (level - 1),
            _ => 12 + 9 * (level - 1),
        }
    }

    /// How many entries a table of `level` has.
    pub(super) const fn entries(self, level: u8) -> u16 {
        match (self, level) {
            (Self::X86, _) => 1024,
            (Self::Pae, 3) => 4,
            _ => 512,
        }
    }

    /// Half of the addresses that the tables translate, which is where the kernel's start when counted without gap.
    pub(super) const fn half(self) -> u64 {
        1 << (self.address_bits() - 1)
    }

    /// An address without the copies of its highest bit, so that there is no gap between the halves; `None` where they
    /// are no copies.
    pub(super) const fn linear(self, address: VirtAddr) -> Option<u64> {
        let linear = address.0 & (u64::MAX >> (64 - self.address_bits()));
        if self.address(linear).0 == address.0 {
            Some(linear)
        } else {
            None
        }
    }

    /// The inverse of [`PagingMode::linear`].
    pub(super) const fn address(self, linear: u64) -> VirtAddr {
        match self {
            Self::X86 | Self::Pae => VirtAddr(linear),
            _ if linear >= self.half() => VirtAddr(linear | u64::MAX << self.address_bits()),
            _ => VirtAddr(linear),
        }
    }

    /// A range without the gap between the halves: start and end as [`PagingMode::linear`] counts. A range that ends at
    /// the last address of all has it in it.
    pub(super) fn linear_range(self, range: VirtRange) -> (u64, u64) {
        let all = 1 << self.address_bits();
        let cut = |address: VirtAddr| match self.linear(address) {
            Some(linear) => linear,
            None if matches!(self, Self::X86 | Self::Pae) => all,
            None => self.half(),
        };
        let end = if range.end.0 == u64::MAX { all } else { cut(range.end) };
        (cut(range.start), end)
    }

    /// Which entry of its table of `level` is that of an address.
    pub(super) fn index(self, linear: u64, level: u8) -> u16 {
        let index = linear >> self.shift(level) & u64::from(self.entries(level) - 1);
        u16::try_from(index).unwrap_or(0)
    }

    /// The bits of a valid entry of a table of pages that are its address.
    pub(super) const fn page_address_bits(self) -> u64 {
        match self {
            Self::X86 => 0xFFFF_F000,
            Self::Pae | Self::FourLevel | Self::FiveLevel => ADDRESS,
            Self::Arm64 => ADDRESS_ARM64,
        }
    }

    /// The bits of a valid entry of a table of pages that its translation and its rights come from.
    pub(super) const fn meaningful(self) -> u64 {
        match self {
            Self::X86 => 0xFFFF_F000 | VALID | WRITE | USER | SOFTWARE_WRITE,
            Self::Pae | Self::FourLevel | Self::FiveLevel => {
                ADDRESS | VALID | WRITE | USER | SOFTWARE_WRITE | NO_EXECUTE
            }
            Self::Arm64 => {
                ADDRESS_ARM64
                    | VALID
                    | ARM64_TABLE
                    | ARM64_READ_ONLY
                    | ARM64_DIRTY_MODIFIER
                    | ARM64_PRIVILEGED_NO_EXECUTE
                    | ARM64_USER_NO_EXECUTE
            }
        }
    }

    /// What the processor reads in `entry`.
    pub(super) fn decode(self, entry: u64, place: Place) -> Entry {
        if entry & VALID == 0 {
            return Entry::Invalid;
        }
        match self {
            Self::X86 => decode_x86(entry, place),
            Self::Pae | Self::FourLevel | Self::FiveLevel => self.decode_x64(entry, place),
            Self::Arm64 => decode_arm64(entry, place),
        }
    }

    fn decode_x64(self, entry: u64, place: Place) -> Entry {
        let level = place.level;
        if level == self.levels() && self == Self::Pae {
            // Entries of the page-directory-pointer table have no rights.
            return match entry & LARGE {
                0 => Entry::Table {
                    address: PhysAddr(entry & ADDRESS),
                    rights: Rights::ALL,
                },
                _ => Entry::Reserved,
            };
        }
        let is_page = level == 1 || entry & LARGE != 0;
        // Where Windows shadows page tables, the kernel's root keeps user mode from being executed by the kernel. That
        // says nothing of the pages.
        let shadowed = place.windows && level == self.levels() && !place.kernel;
        let rights = Rights {
            write: entry & WRITE != 0 || is_page && place.windows && entry & SOFTWARE_WRITE != 0,
            user: entry & USER != 0,
            execute: entry & NO_EXECUTE == 0 || shadowed,
        };
        if !is_page {
            let address = PhysAddr(entry & ADDRESS);
            return Entry::Table { address, rights };
        }
        if level > 3 {
            return Entry::Reserved;
        }
        // In a large page's entry the lowest bit of the address says how it is cached.
        let address = PhysAddr(entry & ADDRESS).align_down(1 << self.shift(level));
        Entry::Page { address, rights }
    }
}

fn decode_x86(entry: u64, place: Place) -> Entry {
    let is_page = place.level == 1 || entry & LARGE != 0;
    let rights = Rights {
        write: entry & WRITE != 0 || is_page && place.windows && entry & SOFTWARE_WRITE != 0,
        user: entry & USER != 0,
        execute: true,
    };
    match (place.level, is_page) {
        (1, _) => Entry::Page {
            address: PhysAddr(entry & 0xFFFF_F000),
            rights,
        },
        // PSE-36: bits 13 to 20 are bits 32 to 39 of the address.
        (_, true) => Entry::Page {
            address: PhysAddr(entry & 0xFFC0_0000 | (entry >> 13 & 0xFF) << 32),
            rights,
        },
        (_, false) => Entry::Table {
            address: PhysAddr(entry & 0xFFFF_F000),
            rights,
        },
    }
}

fn decode_arm64(entry: u64, place: Place) -> Entry {
    let address = PhysAddr(entry & ADDRESS_ARM64);
    let is_table = entry & ARM64_TABLE != 0;
    if place.level > 1 && is_table {
        let no_execute = if place.kernel {
            ARM64_TABLE_PRIVILEGED_NO_EXECUTE
        } else {
            ARM64_TABLE_USER_NO_EXECUTE
        };
        let rights = Rights {
            write: entry & ARM64_TABLE_READ_ONLY == 0,
            user: !place.kernel,
            execute: entry & no_execute == 0,
        };
        return Entry::Table { address, rights };
    }
    // A page has the bit, a block has not, and the root has no blocks.
    if (place.level == 1) != is_table || place.level == 4 {
        return Entry::Reserved;
    }
    let no_execute = if place.kernel {
        ARM64_PRIVILEGED_NO_EXECUTE
    } else {
        ARM64_USER_NO_EXECUTE
    };
    let rights = Rights {
        write: entry & ARM64_READ_ONLY == 0 || entry & ARM64_DIRTY_MODIFIER != 0,
        user: !place.kernel,
        execute: entry & no_execute == 0,
    };
    Entry::Page {
        address: address.align_down(1 << PagingMode::Arm64.shift(place.level)),
        rights,
    }
}
