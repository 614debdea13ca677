//! What a machine is to be like.

use dotdump_snapshot::machine::Bugcheck;
use dotdump_snapshot::paging::PagingMode;

use crate::build::Build;
use crate::entry::{Shape, SoftwareEntries};
use crate::error::BuildError;
use crate::kernel_image::Kernel;
use crate::machine::{SynthMachine, machine_of};
use crate::places::Places;
use crate::profile::Profile;
use crate::ram::{MemoryMap, Ram};
use crate::random::Random;
use crate::section::{Libraries, Prototypes};
use crate::world::World;

/// What a machine is to be like. The same options give the same machine, byte for byte.
#[derive(Clone, Debug)]
pub struct MachineBuilder {
    pub(crate) mode: PagingMode,
    pub(crate) seed: u64,
    pub(crate) build_number: u32,
    pub(crate) memory: MemoryMap,
    pub(crate) processors: u32,
    pub(crate) processes: usize,
    pub(crate) threads: u64,
    pub(crate) user_pages: u64,
    pub(crate) pool_pages: u64,
    pub(crate) loose_pages: u64,
    pub(crate) unloaded_drivers: u64,
    pub(crate) self_map: Option<u64>,
    pub(crate) large_kernel: bool,
    pub(crate) gigabyte_page: bool,
    pub(crate) encode_debugger_data: bool,
    pub(crate) shadow: bool,
    pub(crate) l1tf: (u8, u8),
    pub(crate) bugcheck: Bugcheck,
    pub(crate) blobs: u64,
}

/// How long every machine has run: an hour and a bit, in 100 ns ticks.
pub(crate) const UP_TIME: u64 = 36_123_456_789;
/// When every machine stopped, but for a little that depends on the seed: January 2024.
const TIME: u64 = 0x01DA_3B00_0000_0000;

impl MachineBuilder {
    /// A machine of 64 MiB with two processors, twelve processes (MemProcFS takes no fewer than 11) and a plain `KDDEBUGGER_DATA64`, of a build that page
    /// tables of this kind go with: 7601 for x86, 19041 and 26100 for x64 with four and five levels, 22000 for ARM64.
    #[must_use]
    pub fn new(mode: PagingMode) -> Self {
        let build_number = match mode {
            PagingMode::X86 | PagingMode::Pae => 7601,
            PagingMode::FourLevel => 19041,
            PagingMode::FiveLevel => 26100,
            PagingMode::Arm64 => 22000,
        };
        Self {
            mode,
            seed: 7,
            build_number,
            memory: MemoryMap::pc(64 << 20),
            processors: 2,
            processes: 12,
            threads: 2,
            user_pages: 24,
            pool_pages: 0,
            loose_pages: 4,
            unloaded_drivers: 3,
            self_map: None,
            large_kernel: false,
            gigabyte_page: false,
            encode_debugger_data: false,
            shadow: false,
            l1tf: (0, 0),
            bugcheck: Bugcheck {
                code: 0xE2,
                parameters: [0xFA4E, 0, 0, 0],
            },
            blobs: 3,
        }
    }

    /// Numbers, page contents and keys depend on it.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The build number, which decides about the layouts of structures. Known are 7601 (x86, PAE, x64), 19041 and 26100
    /// (x64) and 22000 (ARM64); others get the layouts of the known one before them.
    #[must_use]
    pub const fn build_number(mut self, build: u32) -> Self {
        self.build_number = build;
        self
    }

    /// Where it has memory.
    #[must_use]
    pub fn memory(mut self, map: MemoryMap) -> Self {
        self.memory = map;
        self
    }

    /// The number of processors: 1 to 64. The first one stopped in the kernel; every other one of the rest ran a
    /// program in user mode.
    #[must_use]
    pub const fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// The number of processes, the System process included. With three or more, the last one is a 32-bit program
    /// where the machine has 64 bits.
    #[must_use]
    pub const fn processes(mut self, count: usize) -> Self {
        self.processes = count;
        self
    }

    /// The number of threads of each process but System.
    #[must_use]
    pub const fn threads(mut self, count: u64) -> Self {
        self.threads = count;
        self
    }

    /// The number of pages of each program: 3 or more.
    #[must_use]
    pub const fn user_pages(mut self, count: u64) -> Self {
        self.user_pages = count;
        self
    }

    /// The number of further kernel pages, which compress well.
    #[must_use]
    pub const fn pool_pages(mut self, count: u64) -> Self {
        self.pool_pages = count;
        self
    }

    /// The number of pages in each state that no address leads to.
    #[must_use]
    pub const fn loose_pages(mut self, count: u64) -> Self {
        self.loose_pages = count;
        self
    }

    /// The number of drivers that were unloaded; the last 50 are remembered.
    #[must_use]
    pub const fn unloaded_drivers(mut self, count: u64) -> Self {
        self.unloaded_drivers = count;
        self
    }

    /// The entry of the root through which page tables show themselves: 256 to 511, not on 32-bit machines.
    #[must_use]
    pub const fn self_map(mut self, entry: u64) -> Self {
        self.self_map = Some(entry);
        self
    }

    /// Maps the kernel's image with large pages, of which everything is writable and executable.
    #[must_use]
    pub const fn large_kernel(mut self, large: bool) -> Self {
        self.large_kernel = large;
        self
    }

    /// Maps a page of 1 GiB; the memory must have room for it.
    #[must_use]
    pub const fn gigabyte_page(mut self, map: bool) -> Self {
        self.gigabyte_page = map;
        self
    }

    /// Encodes the `KDDEBUGGER_DATA64`, as x64 Windows does from build 9200 on where no debugger was attached.
    #[must_use]
    pub const fn encode_debugger_data(mut self, encode: bool) -> Self {
        self.encode_debugger_data = encode;
        self
    }

    /// Shadows page tables, as x64 Windows does against Meltdown: each process but `smss.exe` has a second root for
    /// user mode.
    #[must_use]
    pub const fn shadow_page_tables(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// Protects invalid page-table entries against L1TF: bit `high_bit` of them is inverted, unless `swizzle_bit` is
    /// set. From build 17134 on.
    #[must_use]
    pub const fn l1tf(mut self, high_bit: u8, swizzle_bit: u8) -> Self {
        self.l1tf = (high_bit, swizzle_bit);
        self
    }

    /// Why it stopped.
    #[must_use]
    pub const fn bugcheck(mut self, bugcheck: Bugcheck) -> Self {
        self.bugcheck = bugcheck;
        self
    }

    /// The number of secondary data blobs.
    #[must_use]
    pub const fn blobs(mut self, count: u64) -> Self {
        self.blobs = count;
        self
    }

    pub(crate) fn up_time_low(&self) -> u32 {
        u32::try_from(UP_TIME & 0xFFFF_FFFF).unwrap_or(0)
    }

    pub(crate) fn up_time_high(&self) -> u32 {
        u32::try_from(UP_TIME >> 32).unwrap_or(0)
    }

    fn check(&self) -> Result<(), BuildError> {
        let x64 = matches!(self.mode, PagingMode::FourLevel | PagingMode::FiveLevel);
        if !(1..=64).contains(&self.processors) {
            return Err(BuildError::Options("a machine has 1 to 64 processors"));
        }
        if self.encode_debugger_data && !(x64 && self.build_number >= 9200) {
            return Err(BuildError::Options(
                "only x64 from build 9200 on encodes the debugger's data",
            ));
        }
        if self.shadow && !(x64 && self.build_number >= 10240) {
            return Err(BuildError::Options(
                "only x64 from build 10240 on shadows its page tables",
            ));
        }
        if self.l1tf.0 != 0 && (self.build_number < 17134 || !(32..52).contains(&self.l1tf.0) || self.l1tf.1 >= 12) {
            return Err(BuildError::Options(
                "protection against L1TF is of build 17134 and later, and inverts one of the bits 32 to 51",
            ));
        }
        Ok(())
    }

    /// Makes the machine.
    ///
    /// # Errors
    /// [`BuildError`] where options contradict each other or the machine's memory is too small for them.
    pub fn build(&self) -> Result<SynthMachine, BuildError> {
        self.check()?;
        let machine = machine_of(self.mode);
        let profile = Profile::of(self.mode, self.build_number)?;
        let shape = Shape::of(self.mode);
        let software = SoftwareEntries {
            shape,
            kind: Profile::software_ptes(self.build_number, self.l1tf.0, self.l1tf.1),
        };
        let places = Places::of(self.mode, self.self_map)?;
        let mut random = Random::new(self.seed);
        let mut world = World::new(Ram::new(self.memory.clone()), software, places)?;
        let kernel = Kernel::load(&mut world, machine, self.large_kernel, &mut random)?;
        let subsection = world.allocate(0x40)?;
        let time = TIME + random.below(1 << 40);
        let mut build = Build {
            options: self,
            machine,
            profile,
            world,
            kernel,
            random,
            time,
            shared_user_data: 0,
            subsection,
            libraries: Libraries::default(),
            prototypes: Prototypes::default(),
        };
        build.all()
    }
}
