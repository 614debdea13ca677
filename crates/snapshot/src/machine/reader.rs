//! Reading the kernel's structures: numbers, pointers and strings at virtual addresses.

use std::cell::RefCell;

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::debugger_data::is_kernel_address;
use dotdump_format::{Endian, Error, FileOffset, Findings, Record, VirtAddr, VirtRange};

use crate::memory::Memory;

/// The kernel's memory as structures. What cannot be read is `None`; failures of the medium, and the damage that its
/// users tell it of, are gathered as findings.
pub struct KernelReader<'a> {
    memory: &'a dyn Memory,
    machine: Machine,
    findings: RefCell<Findings>,
}

impl<'a> KernelReader<'a> {
    /// A reader of `memory`, which is the kernel's.
    #[must_use]
    pub fn new(memory: &'a dyn Memory, machine: Machine) -> Self {
        Self {
            memory,
            machine,
            findings: RefCell::default(),
        }
    }

    /// The processor.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// The memory.
    #[must_use]
    pub const fn memory(&self) -> &'a dyn Memory {
        self.memory
    }

    /// What was found wrong.
    #[must_use]
    pub fn into_findings(self) -> Findings {
        self.findings.into_inner()
    }

    /// Notes that something at `address` is wrong.
    pub fn note(&self, address: VirtAddr, what: &'static str, message: String) {
        let offset = self.offset_of(address);
        self.findings.borrow_mut().add(offset, what, message);
    }

    /// Where in the file an address lies; 0 where it lies nowhere there.
    fn offset_of(&self, address: VirtAddr) -> FileOffset {
        let extent = self.memory.extents(VirtRange::sized(address, 1)).next();
        extent
            .and_then(Result::ok)
            .and_then(|extent| extent.offset)
            .unwrap_or_default()
    }

    /// Reads from `address` on; how many bytes were there.
    pub fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> usize {
        match self.memory.read(self.mask(address), buffer) {
            Ok(read) => read.min(buffer.len()),
            Err(error) => {
                self.failed(error);
                0
            }
        }
    }

    fn failed(&self, error: Error) {
        self.findings.borrow_mut().push(error.into_finding("kernel memory"));
    }

    /// As many bytes from `address` on as there are, at most `size`. The caller bounds `size`.
    #[must_use]
    pub fn bytes(&self, address: VirtAddr, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let read = self.read(address, &mut bytes);
        bytes.truncate(read);
        bytes
    }

    /// Exactly `N` bytes.
    #[must_use]
    pub fn array<const N: usize>(&self, address: VirtAddr) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.read(address, &mut bytes) == N).then_some(bytes)
    }

    /// A record.
    #[must_use]
    pub fn record<T: Record>(&self, address: VirtAddr) -> Option<T> {
        T::read(&self.bytes(address, T::SIZE), Endian::Little)
    }

    /// A number of 16 bits.
    #[must_use]
    pub fn u16(&self, address: VirtAddr) -> Option<u16> {
        self.array(address).map(u16::from_le_bytes)
    }

    /// A number of 32 bits.
    #[must_use]
    pub fn u32(&self, address: VirtAddr) -> Option<u32> {
        self.array(address).map(u32::from_le_bytes)
    }

    /// A number of 64 bits.
    #[must_use]
    pub fn u64(&self, address: VirtAddr) -> Option<u64> {
        self.array(address).map(u64::from_le_bytes)
    }

    /// A number as wide as a pointer.
    #[must_use]
    pub fn word(&self, address: VirtAddr) -> Option<u64> {
        match self.machine.pointer_size() {
            4 => self.u32(address).map(u64::from),
            _ => self.u64(address),
        }
    }

    /// A pointer.
    #[must_use]
    pub fn pointer(&self, address: VirtAddr) -> Option<VirtAddr> {
        self.word(address).map(VirtAddr)
    }

    /// A pointer into the kernel's half.
    #[must_use]
    pub fn kernel_pointer(&self, address: VirtAddr) -> Option<VirtAddr> {
        self.pointer(address).filter(|target| self.is_kernel(*target))
    }

    /// Whether an address lies in the kernel's half.
    #[must_use]
    pub fn is_kernel(&self, address: VirtAddr) -> bool {
        is_kernel_address(address, self.machine)
    }

    /// The size of a pointer in bytes.
    #[must_use]
    pub const fn pointer_size(&self) -> u64 {
        match self.machine {
            Machine::X86 => 4,
            Machine::Amd64 | Machine::Arm64 => 8,
        }
    }

    /// `address + bytes` in the machine's address space: on 32-bit machines it wraps there, as pointers do.
    #[must_use]
    pub const fn at(&self, address: VirtAddr, bytes: u64) -> VirtAddr {
        self.mask(VirtAddr(address.0.wrapping_add(bytes)))
    }

    /// `address - bytes`, wrapping likewise.
    #[must_use]
    pub const fn before(&self, address: VirtAddr, bytes: u64) -> VirtAddr {
        self.mask(VirtAddr(address.0.wrapping_sub(bytes)))
    }

    const fn mask(&self, address: VirtAddr) -> VirtAddr {
        match self.machine {
            Machine::X86 => VirtAddr(address.0 & 0xFFFF_FFFF),
            Machine::Amd64 | Machine::Arm64 => address,
        }
    }

    /// The characters of a `UNICODE_STRING`: `length` bytes at `buffer`. `None` where they are not all there, or are
    /// more than any path has.
    #[must_use]
    pub fn utf16(&self, buffer: VirtAddr, length: u16) -> Option<Vec<u16>> {
        /// Twice `MAX_PATH`: driver paths stay far below it.
        const LONGEST: u16 = 2 * 2 * 260;
        if length > LONGEST || !length.is_multiple_of(2) {
            return None;
        }
        let bytes = self.bytes(buffer, usize::from(length));
        (bytes.len() == usize::from(length)).then(|| {
            let (units, _) = bytes.as_chunks();
            units.iter().map(|unit| u16::from_le_bytes(*unit)).collect()
        })
    }

    /// The entries of a doubly linked list behind its head: the addresses of their links. Ends where the list does, at
    /// the first entry that cannot be read or was seen before, and after `limit` entries; all but the first with a
    /// finding.
    #[must_use]
    pub fn list(&self, head: VirtAddr, limit: usize, what: &'static str) -> Vec<VirtAddr> {
        let mut entries = Vec::new();
        let mut seen = std::collections::HashSet::from([head]);
        let mut at = head;
        let Some(mut next) = self.pointer(head) else {
            self.note(
                head,
                what,
                format!("the head of the list, {head}, is not in the source"),
            );
            return entries;
        };
        loop {
            if next == head {
                return entries;
            }
            if !self.is_kernel(next) {
                self.note(
                    at,
                    what,
                    format!("the list leads from {at} to {next}, out of the kernel"),
                );
                return entries;
            }
            if !seen.insert(next) {
                self.note(
                    at,
                    what,
                    format!("the list leads from {at} back to {next}, not to its head {head}"),
                );
                return entries;
            }
            if entries.len() >= limit {
                self.note(at, what, format!("the list has more than {limit} entries"));
                return entries;
            }
            let Some(behind) = self.pointer(next) else {
                self.note(
                    at,
                    what,
                    format!("the list leads from {at} to {next}, which is not in the source"),
                );
                return entries;
            };
            entries.push(next);
            (at, next) = (next, behind);
        }
    }
}
