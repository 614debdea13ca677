//! A machine that was made.

use dotdump_format::kernel::Machine;
use dotdump_format::{Error, Pfn, PhysAddr, VirtAddr};
use dotdump_snapshot::paging::{PagingMode, SoftwarePtes};
use dotdump_snapshot::{PagePlace, PageRun, PhysicalMemory};

use crate::error::BuildError;
use crate::ram::Ram;
use crate::truth::{GroundTruth, Space};

/// The physical memory of a machine, and what is in it.
#[derive(Clone, Debug)]
pub struct SynthMachine {
    /// How its page tables are built.
    pub mode: PagingMode,
    /// How its invalid page-table entries are laid out.
    pub software_ptes: SoftwarePtes,
    /// The build number.
    pub build: u32,
    /// When it stopped: FILETIME, UTC.
    pub time: u64,
    /// How long it had run, in 100 ns ticks.
    pub up_time: u64,
    /// What is in it.
    pub truth: GroundTruth,
    pub(crate) ram: Ram,
}

impl SynthMachine {
    /// The processor.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        machine_of(self.mode)
    }

    /// Its memory.
    #[must_use]
    pub const fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Its memory, to change it. The ground truth stays as it is.
    pub const fn ram_mut(&mut self) -> &mut Ram {
        &mut self.ram
    }

    /// Where an address of a space is, by the ground truth.
    #[must_use]
    pub fn physical(&self, space: Space, address: VirtAddr) -> Option<PhysAddr> {
        let mappings = &self.truth.mappings;
        let behind = mappings.partition_point(|range| (range.space, range.mapping.range.start) <= (space, address));
        let range = mappings.get(behind.checked_sub(1)?)?;
        if range.space != space || address >= range.mapping.range.end {
            return None;
        }
        let offset = address.checked_offset_from(range.mapping.range.start)?;
        range.mapping.physical.checked_add(offset)
    }

    /// Overwrites kernel memory. The ground truth stays as it is.
    ///
    /// # Errors
    /// [`BuildError::NotMapped`] where the kernel has nothing at an address; what lies before is written.
    pub fn write_kernel(&mut self, address: VirtAddr, bytes: &[u8]) -> Result<(), BuildError> {
        let page = usize::try_from(dotdump_format::PAGE_SIZE).unwrap_or(1);
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = usize::try_from(at.0).unwrap_or(0) % page;
            let (here, more) = rest.split_at(rest.len().min(page - offset));
            let physical = self.physical(Space::Kernel, at).ok_or(BuildError::NotMapped(at.0))?;
            self.ram.write(physical, here)?;
            at = at.saturating_add(here.len() as u64);
            rest = more;
        }
        Ok(())
    }

    /// Reads kernel memory up to the first address that is not mapped; the number of bytes.
    #[must_use]
    pub fn read_kernel(&self, address: VirtAddr, buffer: &mut [u8]) -> usize {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let physical = self.physical(Space::Kernel, address.saturating_add(index as u64));
            let Some(physical) = physical else { return index };
            *byte = self.ram.number(physical, 1).to_le_bytes()[0];
        }
        buffer.len()
    }
}

/// The processor that has page tables of this kind.
pub(crate) const fn machine_of(mode: PagingMode) -> Machine {
    match mode {
        PagingMode::X86 | PagingMode::Pae => Machine::X86,
        PagingMode::FourLevel | PagingMode::FiveLevel => Machine::Amd64,
        PagingMode::Arm64 => Machine::Arm64,
    }
}

impl PhysicalMemory for SynthMachine {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        self.ram.next_run(from)
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        self.ram.place(page)
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        self.ram.read(address, buffer)
    }

    fn pages_present(&self) -> u64 {
        self.ram.pages_present()
    }

    fn end(&self) -> Pfn {
        self.ram.end()
    }
}
