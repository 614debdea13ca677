//! How a machine is changed.

use dotdump_format::kernel::Machine;
use dotdump_format::{PAGE_SIZE, PhysAddr, VirtAddr};
use dotdump_snapshot::paging::PagingMode;

use crate::entry::Shape;
use crate::error::BuildError;
use crate::machine::SynthMachine;
use crate::random::Random;
use crate::truth::PageUse;

/// Fields of `KDDEBUGGER_DATA64` that are offsets and sizes: where, and how many bytes.
pub(super) const OFFSET_FIELDS: [(u64, usize); 3] = [(0x298, 0x2A), (0x2E0, 0x28), (0x338, 0x14)];
/// ... and that are addresses.
pub(super) const ADDRESS_FIELDS: [(u64, usize); 3] = [(0x48, 0xF0), (0x140, 0x150), (0x308, 0x10)];

#[derive(Clone, Copy)]
pub(super) enum Tables {
    Cyclic,
    Outside,
    Random,
}

#[derive(Clone, Copy)]
pub(super) enum Nowhere {
    Unmapped,
    User,
}

pub(super) struct Change<'a> {
    pub(super) machine: &'a mut SynthMachine,
    pub(super) random: Random,
    pub(super) pointer: usize,
}

impl Change<'_> {
    pub(super) fn symbol(&self, name: &str) -> Result<VirtAddr, BuildError> {
        self.machine
            .truth
            .symbol(name)
            .ok_or(BuildError::Options("the machine lacks a symbol"))
    }

    pub(super) fn read(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let read = self.machine.read_kernel(VirtAddr(at), &mut bytes[..self.pointer]);
        if read == self.pointer {
            u64::from_le_bytes(bytes)
        } else {
            0
        }
    }

    pub(super) fn write(&mut self, at: u64, value: u64) -> Result<(), BuildError> {
        let bytes = value.to_le_bytes();
        self.machine.write_kernel(VirtAddr(at), &bytes[..self.pointer])
    }

    pub(super) fn fill_symbol(&mut self, name: &str, bytes: &[u8]) -> Result<(), BuildError> {
        let at = self.symbol(name)?;
        self.machine.write_kernel(at, bytes)
    }

    pub(super) fn random_bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.random.fill(&mut bytes);
        bytes
    }

    /// An address that may lead anywhere.
    pub(super) fn wild_address(&mut self) -> u64 {
        let bits = self.random.bits();
        match self.random.below(4) {
            0 => bits,
            1 => u64::MAX - bits % 0x1000,
            2 => bits % 0x1_0000,
            _ => self.machine.truth.modules.first().map_or(0, |module| module.base.0) + bits % 0x1_0000,
        }
    }

    /// Changes entries in a third of all page tables, and in one at least.
    pub(super) fn tables(&mut self, how: Tables) -> Result<(), BuildError> {
        let shape = Shape::of(self.machine.mode);
        let tables: Vec<(u64, u8, bool)> = self
            .machine
            .truth
            .frames
            .iter()
            .filter_map(|(page, frame)| match frame.usage {
                PageUse::PageTable { level, process } => Some((page.0 * PAGE_SIZE, level, process.is_some())),
                _ => None,
            })
            .collect();
        let end = self.machine.ram().map().end().0 * PAGE_SIZE;
        for (index, (table, level, user)) in tables.iter().enumerate() {
            if index != 0 && self.random.below(3) != 0 {
                continue;
            }
            let entries = PAGE_SIZE / shape.entry_size;
            for _ in 0..4 {
                let slot = table + self.random.below(entries) * shape.entry_size;
                let other = self.random.choose(&tables).map_or(*table, |(other, _, _)| *other);
                let far = end + self.random.below(1 << 20) * PAGE_SIZE;
                let entry = match how {
                    Tables::Cyclic => {
                        shape.table(if self.random.below(2) == 0 { *table } else { other }, *level, *user)
                    }
                    Tables::Outside => shape.table(far, *level, *user),
                    Tables::Random => self.random.bits(),
                };
                let size = usize::try_from(shape.entry_size).unwrap_or(8);
                self.machine
                    .ram_mut()
                    .write(PhysAddr(slot), &entry.to_le_bytes()[..size])?;
            }
        }
        Ok(())
    }

    pub(super) fn self_pointing_root(&mut self) -> Result<(), BuildError> {
        let shape = Shape::of(self.machine.mode);
        let root = self.machine.truth.root.0;
        let count = if self.machine.mode == PagingMode::Pae {
            4
        } else {
            PAGE_SIZE / shape.entry_size
        };
        let size = usize::try_from(shape.entry_size).unwrap_or(8);
        let entry = shape.table(root & !0xFFF, shape.levels, true).to_le_bytes();
        for index in 0..count {
            self.machine
                .ram_mut()
                .write(PhysAddr(root + index * shape.entry_size), &entry[..size])?;
        }
        Ok(())
    }

    /// Makes the last entry of a list the one before the second, so that its head is left out.
    pub(super) fn ring(&mut self, head: &str) -> Result<(), BuildError> {
        let head = self.symbol(head)?.0;
        let first = self.read(head);
        let second = self.read(first);
        let last = self.read(head + self.pointer as u64);
        self.write(last, second)
    }

    pub(super) fn nowhere(&mut self, head: &str, place: Nowhere) -> Result<(), BuildError> {
        let head = self.symbol(head)?.0;
        let first = self.read(head);
        let target = match place {
            Nowhere::Unmapped => self.machine.truth.self_map.start.0.wrapping_sub(0x1000),
            Nowhere::User => 0x1000 + self.random.below(0x10_0000),
        };
        self.write(first, target)
    }

    pub(super) fn module_names(&mut self) -> Result<(), BuildError> {
        let offset = if self.pointer == 4 { 0x24 } else { 0x48 };
        let entries: Vec<u64> = self
            .machine
            .truth
            .modules
            .iter()
            .filter_map(|module| Some(module.entry?.0))
            .collect();
        for entry in entries {
            let buffer = self.wild_address();
            self.machine.write_kernel(VirtAddr(entry + offset), &[0xFF; 4])?;
            self.write(entry + offset + self.pointer as u64, buffer)?;
        }
        Ok(())
    }

    pub(super) fn next_to_itself(&mut self) -> Result<(), BuildError> {
        let head = self.symbol("PsActiveProcessHead")?.0;
        let first = self.read(head);
        self.write(first, first)
    }

    pub(super) fn process_roots(&mut self) -> Result<(), BuildError> {
        let offset = if self.pointer == 4 { 0x18 } else { 0x28 };
        let processes: Vec<u64> = self
            .machine
            .truth
            .processes
            .iter()
            .map(|process| process.process.eprocess.0)
            .collect();
        for process in processes {
            let root = self.wild_address();
            self.write(process + offset, root)?;
        }
        Ok(())
    }

    /// Threads of the first process with more than one. Both lists of every thread start at the addresses in its
    /// `ETHREAD` that lead to the next thread's.
    pub(super) fn threads(&mut self) -> Result<(), BuildError> {
        let threads = self
            .machine
            .truth
            .processes
            .iter()
            .find(|process| process.threads.len() > 1)
            .map(|process| {
                process
                    .threads
                    .iter()
                    .map(|thread| thread.ethread.0)
                    .collect::<Vec<_>>()
            })
            .unwrap_or_default();
        let [first, second, ..] = threads.as_slice() else {
            return Err(BuildError::Options("no process has two threads"));
        };
        let last = threads.last().copied().unwrap_or(*second);
        for offset in (0..0x800).step_by(self.pointer) {
            if self.read(first + offset) == second + offset {
                self.write(last + offset, second + offset)?;
            }
        }
        Ok(())
    }

    pub(super) fn unloaded(&mut self) -> Result<(), BuildError> {
        let table = self.symbol("MmUnloadedDrivers")?.0;
        let table = self.read(table);
        let bytes = self.random_bytes(50 * (4 * self.pointer + 8));
        self.machine.write_kernel(VirtAddr(table), &bytes)
    }

    /// Changes fields of the debugger's data as it lies in memory, as far as the block reaches.
    pub(super) fn debugger_data(&mut self, fields: &[(u64, usize)], addresses: bool) -> Result<(), BuildError> {
        let data = self.machine.truth.debugger_data.clone();
        let size = data.plain.len();
        let mut plain = data.plain;
        for (offset, length) in fields {
            let start = usize::try_from(*offset).unwrap_or(size).min(size);
            let field = &mut plain[start..size.min(start + length)];
            if addresses {
                for word in field.chunks_exact_mut(8) {
                    let bits = self.random.bits();
                    word.copy_from_slice(
                        &(if bits.is_multiple_of(2) {
                            bits
                        } else {
                            u64::MAX - bits % 0x1000
                        })
                        .to_le_bytes(),
                    );
                }
            } else {
                field.fill(0xFF);
            }
        }
        let stored = match data.keys {
            Some((never, always, flag)) => crate::debugger_data::encode(&plain, never, always, flag),
            None => plain,
        };
        self.machine.write_kernel(data.address, &stored)
    }

    pub(super) fn processors(&mut self) -> Result<(), BuildError> {
        let table = self.symbol("KiProcessorBlock")?.0;
        for index in 0..256 {
            let address = self.wild_address();
            self.write(table + index * self.pointer as u64, address)?;
        }
        Ok(())
    }

    pub(super) fn memory_block(&mut self) -> Result<(), BuildError> {
        let block = self.symbol("MmPhysicalMemoryBlock")?.0;
        let block = self.read(block);
        self.machine.write_kernel(VirtAddr(block), &[0xFF; 4])
    }

    pub(super) fn pfn_database(&mut self) -> Result<(), BuildError> {
        let base = self.machine.truth.pfn_database.0;
        let size = self.machine.truth.pfn_entry_size;
        let pages: Vec<u64> = self.machine.truth.frames.keys().map(|page| page.0).collect();
        for page in pages {
            if self.random.below(2) == 0 {
                let bytes = self.random_bytes(usize::try_from(size).unwrap_or(0));
                self.machine.write_kernel(VirtAddr(base + page * size), &bytes)?;
            }
        }
        Ok(())
    }

    pub(super) fn triage_blocks(&mut self) -> Result<(), BuildError> {
        let table = self.symbol("IopTriageDumpDataBlocks")?.0;
        for index in 0..16 {
            let (start, end) = (self.wild_address(), self.wild_address());
            let at = table + index * 2 * self.pointer as u64;
            self.write(at, start)?;
            self.write(at + self.pointer as u64, if index % 2 == 0 { end } else { u64::MAX })?;
        }
        self.fill_symbol("IopNumTriageDumpDataBlocks", &[0xFF; 4])
    }

    pub(super) fn images(&mut self) -> Result<(), BuildError> {
        let bases: Vec<VirtAddr> = self.machine.truth.modules.iter().map(|module| module.base).collect();
        for base in bases {
            let at = [0x3C, 0x84, 0x86, 0x94, 0xD0, 0x108, 0x150][usize::try_from(self.random.below(7)).unwrap_or(0)];
            self.machine.write_kernel(base.saturating_add(at), &[0xFF; 4])?;
        }
        Ok(())
    }

    pub(super) fn loaders(&mut self) -> Result<(), BuildError> {
        let wide = self.machine.machine() != Machine::X86;
        let processes: Vec<(crate::truth::Space, VirtAddr)> = self
            .machine
            .truth
            .processes
            .iter()
            .filter(|process| process.process.peb.0 != 0)
            .map(|process| (crate::truth::Space::Process(process.process.id), process.process.peb))
            .collect();
        for (space, peb) in processes {
            let offset = if wide { 0x18 } else { 0x0C };
            let Some(at) = self.machine.physical(space, peb.saturating_add(offset)) else {
                continue;
            };
            let ldr = VirtAddr(self.machine.ram().number(at, self.pointer));
            let list = ldr.saturating_add(if wide { 0x10 } else { 0x0C });
            let Some(head) = self.machine.physical(space, list) else {
                continue;
            };
            let first = self.machine.ram().number(head, self.pointer);
            let target = if self.random.below(2) == 0 {
                first
            } else {
                self.wild_address()
            };
            if let Some(first) = self.machine.physical(space, VirtAddr(first)) {
                self.machine
                    .ram_mut()
                    .write(first, &target.to_le_bytes()[..self.pointer])?;
            }
        }
        Ok(())
    }
}
