//! Reading pointer-sized words of a target.

use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{Endian, Error, VirtAddr, VirtRange};
use dotdump_snapshot::memory::read_array;
use dotdump_snapshot::{Memory, ProcessSnapshot};

/// How a target's words are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The size of a pointer in bytes: 4 or 8.
    pub size: usize,
    /// The byte order.
    pub endian: Endian,
    /// The bits of a word that can belong to an address: on ARM64 the upper ones may hold a signature (pointer
    /// authentication) or a tag.
    pub address_mask: u64,
}

/// How much is read at a time.
const CHUNK: u64 = 64 << 10;

impl Words {
    /// The words of a snapshot's process.
    #[must_use]
    pub fn of(snapshot: &dyn ProcessSnapshot) -> Self {
        Self::of_architecture(snapshot.architecture(), snapshot.endian())
    }

    /// The words of a processor.
    #[must_use]
    pub fn of_architecture(architecture: ProcessorArchitecture, endian: Endian) -> Self {
        let address_mask = match architecture {
            // User addresses have at most 48 bits; see ARM's Architecture Reference Manual on pointer authentication.
            ProcessorArchitecture::ARM64 | ProcessorArchitecture::ARM64_OLD => (1 << 48) - 1,
            _ => u64::MAX,
        };
        Self {
            size: architecture.pointer_size(),
            endian,
            address_mask,
        }
    }

    /// The 32-bit words of x86 code.
    #[must_use]
    pub const fn x86() -> Self {
        Self {
            size: 4,
            endian: Endian::Little,
            address_mask: u64::MAX,
        }
    }

    /// The word in the first [`Words::size`] bytes.
    ///
    /// # Panics
    /// Where there are fewer bytes.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> u64 {
        match (self.size, self.endian) {
            (8, Endian::Little) => u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            (8, Endian::Big) => u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            (_, Endian::Little) => u64::from(u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))),
            (_, Endian::Big) => u64::from(u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))),
        }
    }

    /// The word at `address`; `None` where it is absent.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn read(&self, memory: &dyn Memory, address: VirtAddr) -> Result<Option<u64>, Error> {
        if self.size == 8 {
            Ok(read_array::<8>(memory, address)?.map(|bytes| self.decode(&bytes)))
        } else {
            Ok(read_array::<4>(memory, address)?.map(|bytes| self.decode(&bytes)))
        }
    }

    /// Calls `each` for every aligned word of `range` that is there.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn for_each(
        &self,
        memory: &dyn Memory,
        range: VirtRange,
        mut each: impl FnMut(VirtAddr, u64),
    ) -> Result<(), Error> {
        let step = self.size as u64;
        let mut buffer = Vec::new();
        for extent in memory.extents(range) {
            let extent = extent?.range;
            let mut at = extent.start.saturating_add(step - 1).align_down(step);
            while at < extent.end {
                let size = usize::try_from((extent.end.0 - at.0).min(CHUNK)).unwrap_or(0);
                buffer.resize(size, 0);
                let there = memory.read(at, &mut buffer)?;
                for (index, word) in buffer[..there].chunks_exact(self.size).enumerate() {
                    each(at.saturating_add(index as u64 * step), self.decode(word));
                }
                at = at.saturating_add(CHUNK);
            }
        }
        Ok(())
    }
}
