//! The kernel's memory while a machine is being built: reading and writing it by address, and its pools.

use dotdump_format::{PAGE_SIZE, PhysAddr};
use dotdump_snapshot::paging::PagingMode;

use crate::allocator::Zone;
use crate::error::BuildError;
use crate::world::{DATA, World};

/// Kernel memory that is handed out in order and mapped as needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    next: u64,
    mapped: u64,
    end: u64,
}

impl Pool {
    pub(crate) const fn new(start: u64, size: u64) -> Self {
        Self {
            next: start,
            mapped: start,
            end: start.saturating_add(size),
        }
    }
}

/// Which pool to take memory from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PoolKind {
    Nonpaged,
    Paged,
    Stacks,
}

impl World {
    /// The physical address of a kernel address.
    pub(crate) fn physical(&self, address: u64) -> Result<u64, BuildError> {
        self.physical_under(self.root, address)
    }

    /// The physical address of an address that is mapped under a root.
    pub(crate) fn physical_under(&self, root: u64, address: u64) -> Result<u64, BuildError> {
        let shape = self.shape;
        let mut table = root;
        for level in (1..=shape.levels).rev() {
            let entry = self.get_entry(table + shape.index(address, level) * shape.entry_size);
            if entry & 1 == 0 {
                return Err(BuildError::NotMapped(address));
            }
            let target = entry & shape.address_mask();
            let block = match shape.mode {
                PagingMode::Arm64 => entry & 2 == 0,
                PagingMode::Pae if level == 3 => false,
                _ => entry & 0x80 != 0,
            };
            if level == 1 || block {
                let size = shape.page_size(level);
                return Ok((target & !(size - 1)) | (address % size));
            }
            table = target;
        }
        Err(BuildError::NotMapped(address))
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), BuildError> {
        self.write_under(self.root, address, bytes)
    }

    /// Writes memory of an address space.
    pub(crate) fn write_under(&mut self, root: u64, mut address: u64, mut bytes: &[u8]) -> Result<(), BuildError> {
        while !bytes.is_empty() {
            let room = usize::try_from(PAGE_SIZE - address % PAGE_SIZE).unwrap_or(1);
            let (here, rest) = bytes.split_at(bytes.len().min(room));
            let physical = self.physical_under(root, address)?;
            self.ram.write(PhysAddr(physical), here)?;
            address += here.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    pub(crate) fn u8(&mut self, address: u64, value: u8) -> Result<(), BuildError> {
        self.write(address, &[value])
    }

    pub(crate) fn u16(&mut self, address: u64, value: u16) -> Result<(), BuildError> {
        self.write(address, &value.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, address: u64, value: u32) -> Result<(), BuildError> {
        self.write(address, &value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, address: u64, value: u64) -> Result<(), BuildError> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes a pointer or a number of a pointer's size.
    pub(crate) fn pointer(&mut self, address: u64, value: u64) -> Result<(), BuildError> {
        self.write(address, &value.to_le_bytes()[..self.pointer_bytes()])
    }

    /// The size of a pointer.
    pub(crate) const fn pointer_size(&self) -> u64 {
        if self.shape.is_32() { 4 } else { 8 }
    }

    const fn pointer_bytes(&self) -> usize {
        if self.shape.is_32() { 4 } else { 8 }
    }

    /// Links a ring of list entries: the head, and the nodes in order.
    pub(crate) fn link(&mut self, head: u64, nodes: &[u64]) -> Result<(), BuildError> {
        let mut ring = vec![head];
        ring.extend_from_slice(nodes);
        for (index, node) in ring.iter().enumerate() {
            self.pointer(*node, ring[(index + 1) % ring.len()])?;
            let blink = ring[(index + ring.len() - 1) % ring.len()];
            self.pointer(*node + self.pointer_size(), blink)?;
        }
        Ok(())
    }

    /// Takes zeroed memory from a pool.
    pub(crate) fn allocate_from(&mut self, kind: PoolKind, size: u64, align: u64) -> Result<u64, BuildError> {
        let index = kind as usize;
        let mut pool = self.pools[index];
        let start = pool.next.next_multiple_of(align);
        pool.next = start + size;
        if pool.next > pool.end {
            return Err(BuildError::TooLarge("a kernel pool"));
        }
        while pool.mapped < pool.next {
            let physical = self.allocator.allocate(Zone::Kernel)?;
            self.map_kernel(pool.mapped, physical, 1, DATA)?;
            pool.mapped += PAGE_SIZE;
        }
        self.pools[index] = pool;
        Ok(start)
    }

    /// Takes zeroed memory from the nonpaged pool.
    pub(crate) fn allocate(&mut self, size: u64) -> Result<u64, BuildError> {
        self.allocate_from(PoolKind::Nonpaged, size, 16)
    }

    /// Nonpaged pool by its physical address; `size` must be a power of two below a page.
    pub(crate) fn allocate_physical(&mut self, size: u64) -> Result<u64, BuildError> {
        let address = self.allocate_from(PoolKind::Nonpaged, size, size)?;
        self.physical(address)
    }

    /// Leaves the next page of a pool unmapped; its address.
    pub(crate) fn skip_page(&mut self, kind: PoolKind) -> u64 {
        let pool = &mut self.pools[kind as usize];
        let guard = pool.next.next_multiple_of(PAGE_SIZE);
        pool.next = guard + PAGE_SIZE;
        pool.mapped = pool.mapped.max(pool.next);
        guard
    }

    /// Puts the buffer of a text into the pool; the bytes of a `UNICODE_STRING` for it.
    pub(crate) fn unicode_string(&mut self, text: &str) -> Result<Vec<u8>, BuildError> {
        let bytes = utf16(text);
        let buffer = self.allocate(bytes.len() as u64)?;
        self.write(buffer, &bytes)?;
        counted(text, buffer, self.shape.is_32())
    }
}

/// The bytes of a text in UTF-16 with a NUL behind it.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// A `UNICODE_STRING` for a text at `buffer`.
pub(crate) fn counted(text: &str, buffer: u64, is_32: bool) -> Result<Vec<u8>, BuildError> {
    let length = u16::try_from(2 * text.encode_utf16().count()).map_err(|_| BuildError::TooLarge("a name"))?;
    let mut record = [length.to_le_bytes(), length.saturating_add(2).to_le_bytes()].concat();
    if is_32 {
        record.extend_from_slice(&buffer.to_le_bytes()[..4]);
    } else {
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&buffer.to_le_bytes());
    }
    Ok(record)
}
