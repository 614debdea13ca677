//! The user half of an address space.

use dotdump_format::{Error, VirtAddr, VirtRange};

use crate::memory::{Extent, Memory};
use crate::paging::AddressSpace;

/// An address space without the kernel's half.
pub(super) struct UserMemory<'m> {
    pub(super) space: AddressSpace<'m>,
    pub(super) half: VirtRange,
}

impl<'m> UserMemory<'m> {
    pub(super) fn new(space: AddressSpace<'m>) -> Self {
        Self {
            half: space.mode().user_half(),
            space,
        }
    }
}

impl Memory for UserMemory<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        match within.intersection(self.half) {
            Some(within) => self.space.extents(within),
            None => Box::new(std::iter::empty()),
        }
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let left = self.half.end.checked_offset_from(address).unwrap_or(0);
        let size = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.space.read(address, &mut buffer[..size])
    }
}
