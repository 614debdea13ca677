//! `MMPFN`: what the kernel knows of a page of physical memory. The PFN database is an array of them.
//!
//! The structure differs from build to build. The layouts of 64-bit Windows are those that MemProcFS and Ghidra have,
//! those of 32-bit Windows are known from public symbols of Vista to 8.1.

use super::machine::Machine;
use crate::addr::{Pfn, VirtAddr};

/// On which list a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PageLocation {
    /// Free, and full of zeros.
    Zeroed,
    /// Free.
    Free,
    /// Out of every working set, its contents safe elsewhere.
    Standby,
    /// Out of every working set, its contents only here.
    Modified,
    /// The same, and not to be written for now.
    ModifiedNoWrite,
    /// Broken.
    Bad,
    /// In use.
    Active,
    /// Being read or written.
    Transition,
}

impl PageLocation {
    /// From its number, of which the low three bits count.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number & 7 {
            0 => Self::Zeroed,
            1 => Self::Free,
            2 => Self::Standby,
            3 => Self::Modified,
            4 => Self::ModifiedNoWrite,
            5 => Self::Bad,
            6 => Self::Active,
            _ => Self::Transition,
        }
    }
}

/// What an entry of the database says of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageState {
    /// On which list the page is.
    pub location: PageLocation,
    /// Whether its contents are newer than their copy on disk.
    pub modified: bool,
    /// How many hold it.
    pub reference_count: u16,
    /// How many page tables map it, where it is active.
    pub share_count: u64,
    /// Whether [`PageState::pte_address`] is that of a prototype: the page is shared.
    pub prototype: bool,
    /// The page-table entry (or prototype) that maps it, or did so last.
    pub pte_address: VirtAddr,
    /// What that entry was, or will be when the page is taken away.
    pub original_pte: u64,
    /// The page of the table that holds the entry.
    pub pte_frame: Pfn,
}

impl PageState {
    /// Whether its contents come from a file: its original entry is that of a subsection.
    #[must_use]
    pub const fn is_file_backed(&self) -> bool {
        self.prototype && self.original_pte & 1 << 10 != 0
    }
}

/// Where the fields of `MMPFN` are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PfnLayout {
    /// The size of an entry.
    pub size: usize,
    pte_address: usize,
    original_pte: usize,
    original_pte_size: usize,
    share_count: usize,
    /// Reference count of 16 bits; behind it the byte with the location.
    state: usize,
    frame: usize,
    frame_bits: u32,
    prototype_bit: u32,
    pointer_size: usize,
}

/// 64-bit Windows from 10 on.
const LAYOUT_64: PfnLayout = PfnLayout {
    size: 0x30,
    pte_address: 0x08,
    original_pte: 0x10,
    original_pte_size: 8,
    share_count: 0x18,
    state: 0x20,
    frame: 0x28,
    frame_bits: 36,
    prototype_bit: 57,
    pointer_size: 8,
};

/// 64-bit Windows from Vista to 8.1.
const LAYOUT_64_EARLY: PfnLayout = PfnLayout {
    pte_address: 0x10,
    original_pte: 0x20,
    share_count: 0x08,
    state: 0x18,
    ..LAYOUT_64
};

/// 32-bit Windows from Vista to 8.1 with PAE.
const LAYOUT_PAE: PfnLayout = PfnLayout {
    size: 0x1C,
    pte_address: 0x08,
    original_pte: 0x10,
    original_pte_size: 8,
    share_count: 0x04,
    state: 0x0C,
    frame: 0x18,
    frame_bits: 25,
    prototype_bit: 27,
    pointer_size: 4,
};

/// The same without PAE.
const LAYOUT_X86: PfnLayout = PfnLayout {
    size: 0x18,
    original_pte_size: 4,
    frame: 0x14,
    ..LAYOUT_PAE
};

impl PfnLayout {
    /// The layout of a build; `None` where it is not known.
    #[must_use]
    pub const fn of(machine: Machine, build: u32, pae: bool) -> Option<Self> {
        Some(match (machine, build) {
            (Machine::Amd64 | Machine::Arm64, 10_240..) => LAYOUT_64,
            (Machine::Amd64, 6000..10_240) => LAYOUT_64_EARLY,
            (Machine::X86, 6000..10_240) if pae => LAYOUT_PAE,
            (Machine::X86, 6000..10_240) => LAYOUT_X86,
            _ => return None,
        })
    }

    /// Reads an entry; `None` where `entry` is shorter than one.
    #[must_use]
    pub fn read(&self, entry: &[u8]) -> Option<PageState> {
        let entry = entry.get(..self.size)?;
        let number = |offset: usize, size: usize| {
            let mut value = [0; 8];
            value
                .get_mut(..size)?
                .copy_from_slice(entry.get(offset..offset + size)?);
            Some(u64::from_le_bytes(value))
        };
        let [low, high, flags] = *entry.get(self.state..self.state + 3)? else {
            return None;
        };
        let frame = number(self.frame, self.pointer_size)?;
        Some(PageState {
            location: PageLocation::of(flags),
            modified: flags & 0x10 != 0,
            reference_count: u16::from_le_bytes([low, high]),
            share_count: number(self.share_count, self.pointer_size)?,
            prototype: frame >> self.prototype_bit & 1 == 1,
            pte_address: VirtAddr(number(self.pte_address, self.pointer_size)?),
            original_pte: number(self.original_pte, self.original_pte_size)?,
            pte_frame: Pfn(frame & ((1 << self.frame_bits) - 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_windows_10() {
        let words: [u64; 6] = [
            2,
            0xFFFF_F6BF_FD28_0040,
            0x0000_0000_0000_04C0,
            3,
            0x0000_0000_0516_0002,
            1 << 57 | 0x1234_5678,
        ];
        let bytes = words.map(u64::to_le_bytes).concat();
        let layout = PfnLayout::of(Machine::Amd64, 19_041, false).unwrap();
        let state = layout.read(&bytes).unwrap();
        assert_eq!(state.location, PageLocation::Active);
        assert!(state.modified && state.prototype && state.is_file_backed());
        assert_eq!(state.reference_count, 2);
        assert_eq!(state.share_count, 3);
        assert_eq!(state.pte_address, VirtAddr(0xFFFF_F6BF_FD28_0040));
        assert_eq!(state.pte_frame, Pfn(0x1234_5678));
        assert_eq!(layout.read(&bytes[..0x2F]), None);
    }

    #[test]
    fn layouts_fit_their_size() {
        for machine in [Machine::X86, Machine::Amd64, Machine::Arm64] {
            for build in [2600, 6000, 7601, 9600, 10_240, 26_100] {
                for pae in [false, true] {
                    if let Some(layout) = PfnLayout::of(machine, build, pae) {
                        assert!(layout.read(&[0; 0x30][..layout.size]).is_some(), "{machine} {build}");
                    }
                }
            }
        }
        assert_eq!(PfnLayout::of(Machine::X86, 2600, false), None);
    }
}
