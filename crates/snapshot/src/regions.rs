//! The map of an address space: which ranges are committed, how they are protected, what they are.

use dotdump_format::{VirtAddr, VirtRange};

/// A range of pages with the same attributes, as `VirtualQuery` reports it (`MEMORY_BASIC_INFORMATION`, `winnt.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The addresses.
    pub range: VirtRange,
    /// The start of the allocation to which it belongs; 0 where unknown.
    pub allocation_base: VirtAddr,
    /// `PAGE_*` of the allocation when it was made; 0 where unknown.
    pub allocation_protect: u32,
    /// `MEM_COMMIT` 0x1000, `MEM_RESERVE` 0x2000, `MEM_FREE` 0x10000.
    pub state: u32,
    /// `PAGE_*`.
    pub protect: u32,
    /// `MEM_PRIVATE` 0x20000, `MEM_MAPPED` 0x40000, `MEM_IMAGE` 0x1000000.
    pub kind: u32,
}

/// `MEM_COMMIT` (`winnt.h`).
pub const MEM_COMMIT: u32 = 0x1000;
/// `MEM_FREE` (`winnt.h`).
pub const MEM_FREE: u32 = 0x1_0000;
/// `MEM_RESERVE` (`winnt.h`).
pub const MEM_RESERVE: u32 = 0x2000;
/// `MEM_PRIVATE` (`winnt.h`).
pub const MEM_PRIVATE: u32 = 0x2_0000;
/// `MEM_MAPPED` (`winnt.h`).
pub const MEM_MAPPED: u32 = 0x4_0000;
/// `MEM_IMAGE` (`winnt.h`).
pub const MEM_IMAGE: u32 = 0x100_0000;
/// `PAGE_NOACCESS` (`winnt.h`).
pub const PAGE_NOACCESS: u32 = 0x1;
/// `PAGE_GUARD` (`winnt.h`).
pub const PAGE_GUARD: u32 = 0x100;

impl Region {
    /// Whether it has memory behind it that a debugger can read: committed, neither a guard page nor inaccessible.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        self.state == MEM_COMMIT && self.protect & 0xFF != 0 && self.protect & (PAGE_NOACCESS | PAGE_GUARD) == 0
    }

    /// Whether it is readable and can be written as the process's own pages: `PAGE_READWRITE` or
    /// `PAGE_EXECUTE_READWRITE`.
    #[must_use]
    pub const fn is_read_write(&self) -> bool {
        self.is_readable() && matches!(self.protect & 0xFF, 0x4 | 0x40)
    }

    /// Whether it is readable and can be written in any way, write-copy included.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.is_readable() && matches!(self.protect & 0xFF, 0x4 | 0x8 | 0x40 | 0x80)
    }

    /// Whether it holds code that can run.
    #[must_use]
    pub const fn is_executable(&self) -> bool {
        self.state == MEM_COMMIT && self.protect & 0xF0 != 0
    }
}
