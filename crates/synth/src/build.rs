//! A machine while it is being made, and the order in which that happens.

use dotdump_format::kernel::Machine;
use dotdump_format::{Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::paging::PagingMode;

use crate::allocator::LOW_STUB;
use crate::builder::{MachineBuilder, UP_TIME};
use crate::error::BuildError;
use crate::kernel_image::Kernel;
use crate::machine::SynthMachine;
use crate::profile::Profile;
use crate::ram::{MemoryMap, Ram};
use crate::random::Random;
use crate::section::{Libraries, Prototypes};
use crate::truth::{Blob, GroundTruth, Space, join};
use crate::world::World;

/// Tags of secondary data that real dumps have, as they lie in the file.
const TAGS: [[u8; 16]; 3] = [
    // {6C7AC389-4313-47DC-9F34-A8800A0FB56C}: values of the registry that describe the processor
    *b"\x89\xC3\x7A\x6C\x13\x43\xDC\x47\x9F\x34\xA8\x80\x0A\x0F\xB5\x6C",
    // {BC5C008F-1E3A-44D7-988D-86F6884C6758}: the SMBIOS table
    *b"\x8F\x00\x5C\xBC\x3A\x1E\xD7\x44\x98\x8D\x86\xF6\x88\x4C\x67\x58",
    // {2B88B710-1C93-4F7C-B06C-655ECC50DECC}: the last one of every dump
    *b"\x10\xB7\x88\x2B\x93\x1C\x7C\x4F\xB0\x6C\x65\x5E\xCC\x50\xDE\xCC",
];

/// A machine that is being made.
pub(crate) struct Build<'a> {
    pub(crate) options: &'a MachineBuilder,
    pub(crate) machine: Machine,
    pub(crate) profile: Profile,
    pub(crate) world: World,
    pub(crate) kernel: Kernel,
    pub(crate) random: Random,
    pub(crate) time: u64,
    /// The page of `KUSER_SHARED_DATA`.
    pub(crate) shared_user_data: u64,
    /// The `SUBSECTION` that all sections have in common.
    pub(crate) subsection: u64,
    pub(crate) libraries: Libraries,
    pub(crate) prototypes: Prototypes,
}

impl Build<'_> {
    pub(crate) fn all(&mut self) -> Result<SynthMachine, BuildError> {
        self.shared_user_data = self.shared_user_data()?;
        self.libraries = self.shared_libraries()?;
        self.make_prototypes()?;
        let mut processes = self.processes()?;
        let modules = self.modules()?;
        let unloaded_drivers = self.unloaded_drivers()?;
        self.filler()?;
        self.gigabyte()?;
        self.kernel_states()?;
        self.loose_pages()?;
        self.physical_memory_block()?;
        let processors = self.processors(&mut processes)?;
        let debugger_data = self.debugger_data()?;
        let triage_blocks = self.triage_blocks()?;
        self.version()?;
        self.bugcheck()?;
        self.low_stub()?;
        self.lowest_table()?;
        self.map_pfn_database()?;
        // Only now has the kernel's half all of its tables.
        for process in processes.iter().skip(1) {
            self.world.share_kernel_half(process.process.directory_table_base.0)?;
        }
        self.fill_pfn_database()?;
        let blobs = self.blobs();
        let truth = GroundTruth {
            root: PhysAddr(self.world.root),
            self_map: VirtRange::sized(VirtAddr(self.world.places.self_map), self.world.places.self_map_size),
            mappings: join(std::mem::take(&mut self.world.mappings)),
            unmapped: std::mem::take(&mut self.world.unmapped),
            processes,
            modules,
            unloaded_drivers,
            processors,
            debugger_data,
            bugcheck: self.options.bugcheck,
            pfn_database: VirtAddr(self.world.places.pfn_database),
            pfn_entry_size: self.profile.page.size,
            frames: std::mem::take(&mut self.world.frames),
            triage_blocks,
            blobs,
            symbols: self.kernel.symbols(),
        };
        let no_memory = Ram::new(MemoryMap::new(vec![(Pfn(0), 1)])?);
        Ok(SynthMachine {
            mode: self.options.mode,
            software_ptes: self.world.software.kind,
            build: self.profile.build,
            time: self.time,
            up_time: UP_TIME,
            truth,
            ram: std::mem::replace(&mut self.world.ram, no_memory),
        })
    }

    /// The `PROCESSOR_START_BLOCK` in low memory that x64 processors start from: a jump, the kernel's entry point, and
    /// the root of page tables.
    fn low_stub(&mut self) -> Result<(), BuildError> {
        if self.machine != Machine::Amd64 || !self.world.ram.map().contains(PhysAddr(LOW_STUB).pfn()) {
            return Ok(());
        }
        let address = self.world.places.kernel - 0x10_0000;
        self.world.map_kernel(address, LOW_STUB, 1, crate::world::DATA)?;
        self.world.u64(address, 0x0000_0001_0006_00E9)?;
        self.world.u64(address + 0x70, self.kernel.entry_point & !3)?;
        let root = self.world.root;
        self.world.u64(address + 0xA0, root)
    }

    /// Tables for the lowest addresses of the System process, left over from the start of the machine: by the entry
    /// for them readers know a root of these machines.
    fn lowest_table(&mut self) -> Result<(), BuildError> {
        if matches!(self.options.mode, PagingMode::X86 | PagingMode::Arm64) {
            let root = self.world.root;
            self.world.entry_at(Space::Process(4), root, 0, 1)?;
        }
        Ok(())
    }

    /// `NtBuildNumber` and `NtBuildLab`.
    fn version(&mut self) -> Result<(), BuildError> {
        let build = self.profile.build;
        self.world
            .u32(self.kernel.symbol("NtBuildNumber"), 0xF000_0000 | build)?;
        let lab = format!("{build}.1.synthetic_release.240101-0000\0");
        self.world.write(self.kernel.symbol("NtBuildLab"), lab.as_bytes())
    }

    fn bugcheck(&mut self) -> Result<(), BuildError> {
        let bugcheck = self.options.bugcheck;
        let at = self.kernel.symbol("KiBugCheckData");
        self.world.pointer(at, u64::from(bugcheck.code))?;
        for (index, parameter) in (1..).zip(bugcheck.parameters) {
            self.world.pointer(at + index * self.world.pointer_size(), parameter)?;
        }
        Ok(())
    }

    /// Data that drivers asked to have in small dumps.
    fn triage_blocks(&mut self) -> Result<Vec<VirtRange>, BuildError> {
        let mut blocks = Vec::new();
        let table = self.kernel.symbol("IopTriageDumpDataBlocks");
        let pointer = self.world.pointer_size();
        for (index, size) in (0..).zip([0x40, 0x1234, 0x800_u64]) {
            let start = self.world.allocate(size)?;
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            self.random.fill(&mut bytes);
            self.world.write(start, &bytes)?;
            self.world.pointer(table + 2 * pointer * index, start)?;
            self.world
                .pointer(table + 2 * pointer * index + pointer, start + size)?;
            blocks.push(VirtRange::sized(VirtAddr(start), size));
        }
        let count = u32::try_from(blocks.len()).unwrap_or(0);
        self.world
            .u32(self.kernel.symbol("IopNumTriageDumpDataBlocks"), count)?;
        Ok(blocks)
    }

    fn blobs(&mut self) -> Vec<Blob> {
        (0..self.options.blobs)
            .map(|index| {
                let mut data = vec![0; usize::try_from(16 + self.random.below(3000)).unwrap_or(16)];
                self.random.fill(&mut data);
                let tag = TAGS[usize::try_from(index).unwrap_or(0) % TAGS.len()];
                Blob { tag, data }
            })
            .collect()
    }
}
