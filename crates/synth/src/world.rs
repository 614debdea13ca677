//! The machine while it is being built: physical memory, page tables, and the places of kernel memory.

use std::collections::BTreeMap;

use dotdump_format::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::paging::{FailureReason, Mapping, PagingMode, Provenance, Rights};

use crate::allocator::{Allocator, Zone};
use crate::entry::{Shape, SoftwareEntries};
use crate::error::BuildError;
use crate::kernel_memory::Pool;
use crate::places::Places;
use crate::ram::Ram;
use crate::truth::{Frame, MappedRange, PageState, PageUse, Space, Unmapped};

/// Rights of the kernel's data.
pub(crate) const DATA: Rights = Rights {
    write: true,
    user: false,
    execute: false,
};
/// Rights of what the kernel only reads.
pub(crate) const READ_ONLY: Rights = Rights {
    write: false,
    user: false,
    execute: false,
};
/// Rights of the kernel's code.
pub(crate) const CODE: Rights = Rights {
    write: false,
    user: false,
    execute: true,
};

pub(crate) struct World {
    pub(crate) ram: Ram,
    pub(crate) shape: Shape,
    pub(crate) software: SoftwareEntries,
    pub(crate) places: Places,
    pub(crate) allocator: Allocator,
    /// The System process's root.
    pub(crate) root: u64,
    pub(crate) frames: BTreeMap<Pfn, Frame>,
    pub(crate) mappings: Vec<MappedRange>,
    pub(crate) unmapped: Vec<Unmapped>,
    pub(crate) pools: [Pool; 3],
}

impl World {
    /// Memory with an empty root of page tables that shows itself.
    pub(crate) fn new(ram: Ram, software: SoftwareEntries, places: Places) -> Result<Self, BuildError> {
        let shape = software.shape;
        let allocator = Allocator::new(ram.map(), shape.physical_limit())?;
        let pools = [
            Pool::new(places.nonpaged_pool, places.nonpaged_pool_size),
            Pool::new(places.paged_pool, places.paged_pool_size),
            Pool::new(places.stacks, places.stacks_size),
        ];
        let mut world = Self {
            ram,
            shape,
            software,
            places,
            allocator,
            root: 0,
            frames: BTreeMap::new(),
            mappings: Vec::new(),
            unmapped: Vec::new(),
            pools,
        };
        world.root = world.new_root(None)?;
        Ok(world)
    }

    // Page tables.

    /// A root of page tables that shows itself and is otherwise empty. PAE's four page directories belong to it.
    pub(crate) fn new_root(&mut self, process: Option<u64>) -> Result<u64, BuildError> {
        let shape = self.shape;
        if matches!(shape.mode, PagingMode::Pae) {
            return self.new_pae_root(process);
        }
        let root = self.allocator.allocate(Zone::Table)?;
        let slot = shape.index(self.places.self_map, shape.levels);
        self.put_entry(root + slot * shape.entry_size, shape.self_map(root))?;
        self.table_frame(root, shape.levels, process, self.places.self_map, root / PAGE_SIZE);
        Ok(root)
    }

    fn new_pae_root(&mut self, process: Option<u64>) -> Result<u64, BuildError> {
        let shape = self.shape;
        // The kernel's own pointers have a page of theirs with the directories right behind it; those of processes
        // share pages, so that their roots are not aligned to pages.
        let root = if self.root == 0 {
            self.allocator.allocate(Zone::Table)?
        } else {
            self.allocate_physical(0x20)?
        };
        let directories = (0..4)
            .map(|_| self.allocator.allocate(Zone::Table))
            .collect::<Result<Vec<u64>, _>>()?;
        for (index, directory) in (0_u64..).zip(&directories) {
            self.put_entry(root + 8 * index, shape.table(*directory, 3, false))?;
            self.put_entry(directories[3] + 8 * index, shape.self_map(*directory))?;
            let covered = index << 30;
            self.table_frame(*directory, 2, process, covered, directories[3] / PAGE_SIZE);
        }
        if self.root == 0 {
            self.frames.insert(
                Pfn(root / PAGE_SIZE),
                Frame {
                    state: PageState::Active,
                    usage: PageUse::PageTable { level: 3, process },
                    reference_count: 1,
                    ..Frame::ZEROED
                },
            );
        }
        Ok(root)
    }

    /// The address of the entry that maps `address` in the self-map's window, of a table of `level`.
    pub(crate) fn entry_address(&self, address: u64, level: u8) -> u64 {
        (0..level).fold(address, |address, _| {
            self.shape.entry_address(self.places.self_map, address)
        })
    }

    fn table_frame(&mut self, table: u64, level: u8, process: Option<u64>, covered: u64, parent: u64) {
        // The entry that maps the table as a page is that of the level above it.
        let pte_address = self.entry_address(covered, level + 1);
        self.frames.insert(
            Pfn(table / PAGE_SIZE),
            Frame {
                state: PageState::Active,
                usage: PageUse::PageTable { level, process },
                pte_address: VirtAddr(pte_address),
                reference_count: 1,
                pte_frame: Pfn(parent),
                ..Frame::ZEROED
            },
        );
    }

    fn put_entry(&mut self, at: u64, entry: u64) -> Result<(), BuildError> {
        let bytes = entry.to_le_bytes();
        let size = usize::try_from(self.shape.entry_size).unwrap_or(8);
        self.ram.write(PhysAddr(at), &bytes[..size])
    }

    pub(crate) fn get_entry(&self, at: u64) -> u64 {
        let size = usize::try_from(self.shape.entry_size).unwrap_or(8);
        self.ram.number(PhysAddr(at), size)
    }

    /// The physical address of the entry of `address` in the table of `level`; makes the tables above it.
    pub(crate) fn entry_at(&mut self, space: Space, root: u64, address: u64, level: u8) -> Result<u64, BuildError> {
        let shape = self.shape;
        let process = match space {
            Space::Process(id) => Some(id),
            Space::Kernel | Space::Shadow => None,
        };
        let mut table = root;
        for above in (level + 1..=shape.levels).rev() {
            let at = table + shape.index(address, above) * shape.entry_size;
            let mut entry = self.get_entry(at);
            if entry & 1 == 0 {
                let new = self.allocator.allocate(Zone::Table)?;
                entry = shape.table(new, above, process.is_some());
                self.put_entry(at, entry)?;
                self.table_frame(new, above - 1, process, address, table / PAGE_SIZE);
            }
            table = entry & shape.address_mask();
        }
        Ok(table + shape.index(address, level) * shape.entry_size)
    }

    /// Stores an entry of the lowest level.
    pub(crate) fn set_entry(&mut self, space: Space, root: u64, address: u64, entry: u64) -> Result<u64, BuildError> {
        let at = self.entry_at(space, root, address, 1)?;
        self.put_entry(at, entry)?;
        Ok(at)
    }

    /// Maps a page; what the PFN database says of it is left alone.
    pub(crate) fn map(
        &mut self,
        space: Space,
        root: u64,
        address: u64,
        physical: u64,
        level: u8,
        rights: Rights,
    ) -> Result<u64, BuildError> {
        let at = self.entry_at(space, root, address, level)?;
        self.put_entry(at, self.shape.leaf(physical, level, rights))?;
        self.note(space, address, physical, level, Provenance::Valid, rights);
        Ok(at)
    }

    /// Writes down that an address leads to a page.
    pub(crate) fn note(
        &mut self,
        space: Space,
        address: u64,
        physical: u64,
        level: u8,
        provenance: Provenance,
        rights: Rights,
    ) {
        let page_size = self.shape.page_size(level);
        self.mappings.push(MappedRange {
            space,
            mapping: Mapping {
                range: VirtRange::sized(VirtAddr(address), page_size),
                physical: PhysAddr(physical),
                page_size,
                provenance,
                rights: self.shape.expressible(rights),
            },
        });
    }

    /// Writes down that an address leads nowhere.
    pub(crate) fn note_unmapped(&mut self, space: Space, address: u64, reason: FailureReason) {
        self.unmapped.push(Unmapped {
            space,
            address: VirtAddr(address),
            reason,
        });
    }

    /// An active page that an entry at physical address `entry_at` maps at `address`.
    pub(crate) fn active(&mut self, physical: u64, address: u64, level: u8, entry_at: u64, usage: PageUse) {
        let first = physical / PAGE_SIZE;
        let pages = self.shape.page_size(level) / PAGE_SIZE;
        let frame = Frame {
            state: PageState::Active,
            usage,
            pte_address: VirtAddr(self.entry_address(address, level)),
            original_pte: SoftwareEntries::demand_zero(),
            prototype: false,
            reference_count: 1,
            modified: true,
            pte_frame: Pfn(entry_at / PAGE_SIZE),
        };
        for page in first..first + pages {
            self.frames.insert(Pfn(page), frame);
        }
    }

    /// Maps a page of the kernel.
    pub(crate) fn map_kernel(
        &mut self,
        address: u64,
        physical: u64,
        level: u8,
        rights: Rights,
    ) -> Result<(), BuildError> {
        let at = self.map(Space::Kernel, self.root, address, physical, level, rights)?;
        self.active(physical, address, level, at, PageUse::Kernel);
        Ok(())
    }

    /// Maps `pages` new pages of the kernel from `address` on.
    pub(crate) fn map_new(&mut self, address: u64, pages: u64, rights: Rights) -> Result<(), BuildError> {
        for page in 0..pages {
            let physical = self.allocator.allocate(Zone::Kernel)?;
            self.map_kernel(address + page * PAGE_SIZE, physical, 1, rights)?;
        }
        Ok(())
    }

    /// Gives a process's root the kernel's half, apart from the window in which page tables show themselves.
    pub(crate) fn share_kernel_half(&mut self, root: u64) -> Result<(), BuildError> {
        let shape = self.shape;
        if matches!(shape.mode, PagingMode::Pae) {
            for index in [2, 3] {
                let from = self.get_entry(self.root + 8 * index) & shape.address_mask();
                let to = self.get_entry(root + 8 * index) & shape.address_mask();
                // The first four entries of the last directory are the window.
                for entry in if index == 3 { 4 } else { 0 }..512 {
                    self.put_entry(to + 8 * entry, self.get_entry(from + 8 * entry))?;
                }
            }
            return Ok(());
        }
        let count = PAGE_SIZE / shape.entry_size;
        let own = shape.index(self.places.self_map, shape.levels);
        for index in (count / 2..count).filter(|index| *index != own) {
            let entry = self.get_entry(self.root + index * shape.entry_size);
            self.put_entry(root + index * shape.entry_size, entry)?;
        }
        Ok(())
    }

    /// Gives a shadow root the user half of a process's root, which keeps it without the right to execute.
    pub(crate) fn share_user_half(&mut self, root: u64, shadow: u64) -> Result<(), BuildError> {
        for index in 0..256 {
            let entry = self.get_entry(root + 8 * index);
            if entry != 0 {
                self.put_entry(shadow + 8 * index, entry)?;
                self.put_entry(root + 8 * index, Shape::not_executable(entry))?;
            }
        }
        Ok(())
    }
}
