//! `KDDEBUGGER_DATA64` (`wdbgexts.h`), the kernel's table of contents for debuggers: addresses of its variables and
//! offsets within its structures.
//!
//! The table grew over the years, and its header says how much of it there is ([`KNOWN_SIZES`]); fields behind that
//! end are not known. 32-bit Windows has the same table of 64-bit slots. In its raw memory pointers are zero-extended,
//! in what a debugger wrote they are sign-extended; [`DebuggerData`] gives the 32 bits.
//!
//! In memory the block may be [encoded](super::debugger_data_encoding).

mod fields;

use core::mem::size_of;

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::machine::Machine;
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::record::{Endian, Record};

pub use fields::{FIELDS, Field, FieldKind, KdDebuggerData64};

/// `KDBG`, the tag of the block.
pub const OWNER_TAG: [u8; 4] = *b"KDBG";

/// The sizes in bytes that the block has had: Windows XP, Server 2003, Vista, Server 2008, 7, 8 and 8.1, early 10, 10
/// from 1809 to 11 21H2, 11 24H2. Measured on real dumps (XP, 10, 11) and as Volatility has them.
pub const KNOWN_SIZES: [u32; 9] = [0x290, 0x318, 0x328, 0x330, 0x340, 0x360, 0x368, 0x380, 0x3A0];

/// The size in bytes of the block's header.
const HEADER_SIZE: u32 = 0x18;
/// Where `KernBase` ends: a block has at least so much.
const SMALLEST: u32 = 0x20;
/// No block is as large.
const TOO_LARGE: u32 = 0x1000;

/// A field as a plain number.
trait Number: Copy {
    fn widen(self) -> u64;
}

impl Number for u8 {
    fn widen(self) -> u64 {
        u64::from(self)
    }
}

impl Number for U16 {
    fn widen(self) -> u64 {
        u64::from(self.get())
    }
}

impl Number for U32 {
    fn widen(self) -> u64 {
        u64::from(self.get())
    }
}

impl Number for U64 {
    fn widen(self) -> u64 {
        self.get()
    }
}

/// A plain block, as far as it is there.
///
/// Fields that the block does not have, because it is older or cut, are `None`; so are addresses and offsets that are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebuggerData {
    record: KdDebuggerData64,
    machine: Machine,
    /// How many bytes of the record are filled from the block.
    known: usize,
}

impl DebuggerData {
    /// Reads a block; `None` where `bytes` do not start with a plain one of plausible size. Bytes behind the block are
    /// not looked at, and a block of which only the start is given is read as far as it goes.
    #[must_use]
    pub fn read(bytes: &[u8], machine: Machine) -> Option<Self> {
        let size = plain_size(bytes)?;
        let known = bytes.len().min(usize::try_from(size).ok()?).min(KdDebuggerData64::SIZE);
        let record = KdDebuggerData64::read_partial(&bytes[..known], Endian::Little);
        Some(Self { record, machine, known })
    }

    /// The size in bytes that the block says it has. It may be larger than the record that is known.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.record.size.get()
    }

    /// Whether a Windows is known whose block has this size.
    #[must_use]
    pub fn has_known_size(&self) -> bool {
        KNOWN_SIZES.contains(&self.size())
    }

    /// The record; zero behind the end of the block.
    #[must_use]
    pub const fn record(&self) -> &KdDebuggerData64 {
        &self.record
    }

    /// The block as far as it is known, byte for byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        use zerocopy::IntoBytes as _;
        &self.record.as_bytes()[..self.known]
    }

    /// The processor that it is of.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// Whether it looks like the block of a running kernel: its image starts on a page of the kernel's half, and the
    /// lists of modules and processes lie there as well.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let kernel = |address: VirtAddr| is_kernel_address(address, self.machine);
        self.kern_base()
            .is_some_and(|base| kernel(base) && base.0.is_multiple_of(PAGE_SIZE))
            && self.ps_loaded_module_list().is_none_or(kernel)
            && self.ps_active_process_head().is_none_or(kernel)
    }

    /// Whether page tables of x86 have three levels.
    #[must_use]
    pub fn pae_enabled(&self) -> Option<bool> {
        let flags = self.flags()?;
        (self.machine == Machine::X86).then_some(flags & 1 == 1)
    }

    /// The fields of the block that are there, with their values; addresses of 32-bit Windows cut to 32 bits.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, u64)> + '_ {
        FIELDS.iter().filter_map(|field| {
            let bytes = self.as_bytes().get(field.offset..field.offset + field.size)?;
            if field.kind == FieldKind::Unused {
                return None;
            }
            let mut value = [0; 8];
            value.get_mut(..bytes.len())?.copy_from_slice(bytes);
            let value = u64::from_le_bytes(value);
            let is_address = matches!(field.kind, FieldKind::Object | FieldKind::Variable);
            Some((field, if is_address { self.mask(value) } else { value }))
        })
    }

    const fn mask(&self, address: u64) -> u64 {
        match self.machine {
            Machine::X86 => address & 0xFFFF_FFFF,
            Machine::Amd64 | Machine::Arm64 => address,
        }
    }

    fn address(&self, offset: usize, value: U64) -> Option<VirtAddr> {
        let address = self.mask(self.number(offset, value)?);
        (address != 0).then_some(VirtAddr(address))
    }

    fn number<T: Number>(&self, offset: usize, value: T) -> Option<u64> {
        (offset + size_of::<T>() <= self.known).then(|| value.widen())
    }
}

/// The size that the block at the start of `bytes` says; `None` where it is not plain or its size is impossible.
#[must_use]
pub fn plain_size(bytes: &[u8]) -> Option<u32> {
    if bytes.len() < HEADER_SIZE as usize || bytes[0x10..0x14] != OWNER_TAG {
        return None;
    }
    let size = u32::from_le_bytes(bytes[0x14..0x18].try_into().ok()?);
    (size.is_multiple_of(8) && (SMALLEST..TOO_LARGE).contains(&size)).then_some(size)
}

/// Whether an address lies in the kernel's half of the address space.
#[must_use]
pub const fn is_kernel_address(address: VirtAddr, machine: Machine) -> bool {
    match machine {
        // The 3 GiB split of 32-bit Windows leaves the kernel the last gigabyte, the usual one the upper half.
        Machine::X86 => address.0 >= 0x8000_0000 && address.0 <= 0xFFFF_FFFF,
        // With five levels the kernel's half is larger.
        Machine::Amd64 => address.0 >= 0xFF00_0000_0000_0000,
        Machine::Arm64 => address.0 >= 0xFFFF_0000_0000_0000,
    }
}

#[cfg(test)]
mod tests;
