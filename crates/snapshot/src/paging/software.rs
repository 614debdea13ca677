//! Entries that the processor finds invalid and Windows does not.
//!
//! Their bits are those of `MMPTE_SOFTWARE`, `MMPTE_TRANSITION` and `MMPTE_PROTOTYPE` in the public symbols of `ntoskrnl`.

use dotdump_format::{PhysAddr, VirtAddr};

use super::{PagingMode, Rights, SoftwarePtes};

const VALID: u64 = 1;
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;

/// What Windows reads in an invalid entry of a table of pages, or in a prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SoftwareEntry {
    /// Nothing.
    Unused,
    /// A page on a standby or modified list.
    Transition { address: PhysAddr, rights: Rights },
    /// Where the prototype lies. The second address is the same with its high bit inverted, where that may be.
    Prototype {
        address: VirtAddr,
        inverted: Option<VirtAddr>,
    },
    /// The process's VADs say what belongs here.
    Vad,
    /// A page of zeros that nobody has asked for.
    DemandZero,
    /// A page of a page file.
    PageFile { number: u8, page: u64 },
}

impl SoftwarePtes {
    /// How a build of Windows lays them out. `high_bit` and `swizzle_bit` are `L1tfHighPhysicalBitIndex` and
    /// `L1tfSwizzleBitIndex` of `KDDEBUGGER_DATA64`, 0 where it does not say.
    #[must_use]
    pub const fn of_build(build: u32, high_bit: u8, swizzle_bit: u8) -> Self {
        match build {
            0..10240 => Self::Early,
            10240..17134 => Self::Middle,
            _ => Self::Late { high_bit, swizzle_bit },
        }
    }

    /// Reads an invalid entry.
    pub(super) fn decode(self, mode: PagingMode, entry: u64) -> SoftwareEntry {
        if self == Self::None || entry == 0 || entry & VALID != 0 {
            return SoftwareEntry::Unused;
        }
        if entry & PROTOTYPE != 0 {
            return self.prototype(mode, entry);
        }
        let number = match self {
            // In entries of 4 bytes nothing ever moved.
            _ if mode == PagingMode::X86 => entry >> 1,
            Self::None | Self::Early => entry >> 1,
            Self::Middle => entry >> 6,
            Self::Late { .. } => entry >> 12,
        };
        let entry = entry & !self.inverted(entry);
        if entry & TRANSITION != 0 {
            let address = match (mode, self) {
                (PagingMode::X86, _) => 0xFFFF_F000,
                (PagingMode::Pae, _) => 0x3F_FFFF_F000,
                (_, Self::Late { .. }) => 0x000F_FFFF_FFFF_F000,
                _ => 0x0000_FFFF_FFFF_F000,
            };
            return SoftwareEntry::Transition {
                address: PhysAddr(entry & address),
                rights: self.rights(mode, entry),
            };
        }
        let number = u8::try_from(number & 0xF).unwrap_or(0);
        let page = if mode == PagingMode::X86 {
            entry >> 12
        } else {
            entry >> 32
        };
        if number == 0 && page == 0 {
            SoftwareEntry::DemandZero
        } else {
            SoftwareEntry::PageFile { number, page }
        }
    }

    /// Whether a prototype says that its page is in a file: it then refers to the `SUBSECTION`.
    pub(super) const fn is_subsection(self, mode: PagingMode, entry: u64) -> bool {
        let is_wide = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel | PagingMode::Arm64);
        // From build 22621 on it is the bare address; nothing else looks like one of the kernel.
        entry & VALID == 0 && entry & PROTOTYPE != 0
            || is_wide && matches!(self, Self::Late { .. }) && entry & 0xFFFF_8000_0000_000F == 0xFFFF_8000_0000_0000
    }

    fn prototype(self, mode: PagingMode, entry: u64) -> SoftwareEntry {
        match mode {
            PagingMode::X86 => SoftwareEntry::Prototype {
                address: VirtAddr(0x8000_0000 | entry >> 1 & 0x7FFF_FC00 | entry << 1 & 0x3FF),
                inverted: None,
            },
            PagingMode::Pae => match entry >> 32 {
                0xFFFF_FFFF => SoftwareEntry::Vad,
                address => SoftwareEntry::Prototype {
                    address: VirtAddr(address),
                    inverted: None,
                },
            },
            _ if entry >> 16 & 0xFFFF_FFFF == 0xFFFF_FFFF => SoftwareEntry::Vad,
            _ => {
                let extended = |entry: u64| PagingMode::FourLevel.address(entry >> 16);
                let inverted = self.inverted(entry);
                SoftwareEntry::Prototype {
                    address: extended(entry),
                    inverted: (entry & inverted != 0).then(|| extended(entry & !inverted)),
                }
            }
        }
    }

    /// The bits of an entry that are set against speculation on its address, and not part of it. Where it is not set in
    /// an entry that may have it, nothing was done to that one.
    const fn inverted(self, entry: u64) -> u64 {
        match self {
            Self::Late { high_bit, swizzle_bit }
                if high_bit != 0 && high_bit < 64 && swizzle_bit < 64 && entry >> swizzle_bit & 1 == 0 =>
            {
                1 << high_bit
            }
            _ => 0,
        }
    }

    /// What an entry's `Protection` allows. The values are those of `MM_*` in public symbols and debugger output.
    const fn rights(self, mode: PagingMode, entry: u64) -> Rights {
        let protection = match (self, mode) {
            (Self::Middle, PagingMode::X86) => entry >> 5 & 7,
            (Self::Middle, _) => entry >> 1 & 7,
            _ => entry >> 5 & 7,
        };
        Rights {
            // READWRITE and EXECUTE_READWRITE; pages that are copied when written are not written themselves.
            write: matches!(protection, 4 | 6),
            user: true,
            // Entries of 4 bytes have no bit against it.
            execute: matches!(mode, PagingMode::X86) || matches!(protection, 2 | 3 | 6 | 7),
        }
    }
}
