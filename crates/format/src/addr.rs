//! Typed addresses and offsets. They do not mix, they print in hexadecimal, and page arithmetic is on them.

use core::fmt;

/// Defines one 64-bit quantity as a type of its own.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// `self + bytes`, or `None` where that passes the end of the 64-bit space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// `self + bytes`, at most `u64::MAX`.
            #[must_use]
            pub const fn saturating_add(self, bytes: u64) -> Self {
                Self(self.0.saturating_add(bytes))
            }

            /// `self - bytes`, at least zero.
            #[must_use]
            pub const fn saturating_sub(self, bytes: u64) -> Self {
                Self(self.0.saturating_sub(bytes))
            }

            /// The distance in bytes from `origin` to `self`, or `None` where `self` lies before it.
            #[must_use]
            pub const fn checked_offset_from(self, origin: Self) -> Option<u64> {
                self.0.checked_sub(origin.0)
            }

            /// Rounds down to a multiple of `size`, which must be a power of two.
            #[must_use]
            pub const fn align_down(self, size: u64) -> Self {
                Self(self.0 & !(size - 1))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

quantity! {
    /// A position in a dump file, in bytes from its start.
    FileOffset
}

quantity! {
    /// A virtual address of the process or machine that was dumped.
    VirtAddr
}

quantity! {
    /// A physical address of the machine that was dumped.
    PhysAddr
}

quantity! {
    /// The number of a page of physical memory (page frame number): its physical address in units of [`PAGE_SIZE`].
    Pfn
}

/// The size of a page of physical memory in kernel dumps, in bytes. All machines that they are made of (x86, x64,
/// ARM64) have pages of this size.
pub const PAGE_SIZE: u64 = 0x1000;

impl PhysAddr {
    /// The page that it lies in.
    #[must_use]
    #[inline]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 / PAGE_SIZE)
    }

    /// The distance from the start of its page, in bytes; below [`PAGE_SIZE`].
    #[must_use]
    #[inline]
    pub const fn offset_in_page(self) -> u64 {
        self.0 % PAGE_SIZE
    }
}

impl Pfn {
    /// The address of the page's first byte; `None` where that is not below 2^64.
    #[must_use]
    #[inline]
    pub const fn address(self) -> Option<PhysAddr> {
        match self.0.checked_mul(PAGE_SIZE) {
            Some(address) => Some(PhysAddr(address)),
            None => None,
        }
    }
}

/// A 32-bit file offset, as most of a minidump's records hold it (`RVA` in `minidumpapiset.h`). Zero means "absent".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rva(pub u32);

impl Rva {
    /// The bare number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The same place as a file offset, or `None` for the "absent" value 0.
    #[must_use]
    #[inline]
    pub const fn offset(self) -> Option<FileOffset> {
        if self.0 == 0 {
            None
        } else {
            Some(FileOffset(self.0 as u64))
        }
    }

    /// An RVA for `offset`, or `None` at 4 GiB and above.
    #[must_use]
    #[inline]
    pub fn from_offset(offset: FileOffset) -> Option<Self> {
        u32::try_from(offset.0).ok().map(Self)
    }
}

impl fmt::Debug for Rva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Rva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A half-open range of virtual addresses. A range never wraps: its end is at most `u64::MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VirtRange {
    /// The first address.
    pub start: VirtAddr,
    /// The first address after the range.
    pub end: VirtAddr,
}

impl VirtRange {
    /// The range `[start, start + size)`, cut at the end of the address space.
    #[must_use]
    #[inline]
    pub const fn sized(start: VirtAddr, size: u64) -> Self {
        Self {
            start,
            end: start.saturating_add(size),
        }
    }

    /// The range `[start, end)`; empty where `end` is not after `start`.
    #[must_use]
    #[inline]
    pub const fn new(start: VirtAddr, end: VirtAddr) -> Self {
        if end.0 < start.0 {
            Self { start, end: start }
        } else {
            Self { start, end }
        }
    }

    /// The number of bytes.
    #[must_use]
    #[inline]
    pub const fn size(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Whether no address lies in it.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.end.0 == self.start.0
    }

    /// Whether `address` lies in it.
    #[must_use]
    #[inline]
    pub const fn contains(self, address: VirtAddr) -> bool {
        self.start.0 <= address.0 && address.0 < self.end.0
    }

    /// The addresses that both ranges have; `None` where there are none.
    #[must_use]
    #[inline]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        };
        (both.start < both.end).then_some(both)
    }
}

impl fmt::Debug for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start.0, self.end.0)
    }
}

impl fmt::Display for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
