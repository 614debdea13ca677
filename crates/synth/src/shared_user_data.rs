//! `KUSER_SHARED_DATA`: the page that the kernel shows to every process.

use crate::allocator::Zone;
use crate::build::Build;
use crate::error::BuildError;
use crate::kernel_memory::utf16;
use crate::world::DATA;
use dotdump_format::kernel::Machine;

/// `SYSTEM_INFO.wProcessorArchitecture`.
const fn architecture(machine: Machine) -> u16 {
    match machine {
        Machine::X86 => 0,
        Machine::Amd64 => 9,
        Machine::Arm64 => 12,
    }
}

impl Build<'_> {
    pub(crate) fn shared_user_data(&mut self) -> Result<u64, BuildError> {
        let at = self.world.places.shared_user_data;
        let physical = self.world.allocator.allocate(Zone::Kernel)?;
        self.world.map_kernel(at, physical, 1, DATA)?;
        let pages = u32::try_from(self.world.ram.map().pages()).unwrap_or(u32::MAX);
        let (major, minor) = self.profile.version;
        let [time_low, time_high] =
            [self.time, self.time >> 32].map(|time| u32::try_from(time & 0xFFFF_FFFF).unwrap_or(0));
        for (offset, value) in [
            (0x004, 0x0FA0_0000), // TickCountMultiplier
            (0x008, self.options.up_time_low()),
            (0x00C, self.options.up_time_high()),
            (0x010, self.options.up_time_high()),
            (0x014, time_low), // SystemTime
            (0x018, time_high),
            (0x01C, time_high),
            (0x260, self.profile.build),
            (0x264, 1), // NtProductType
            (0x268, 1), // ProductTypeIsValid
            (0x26C, major),
            (0x270, minor),
            (0x2C4, 7),     // BootId
            (0x2D0, 0x110), // SuiteMask
            (0x2E8, pages),
            (0x320, 0x8123), // TickCount
            (0x3C0, self.options.processors),
        ] {
            self.world.u32(at + offset, value)?;
        }
        self.world.write(at + 0x030, &utf16("C:\\Windows"))?;
        self.world.u16(at + 0x26A, architecture(self.machine))?;
        if self.machine == Machine::Amd64 {
            // XSTATE_CONFIGURATION: x87, SSE and AVX, and where the area has the latter.
            self.world.u64(at + 0x3D8, 7)?;
            self.world.u32(at + 0x3E8, 0x340)?;
            for (feature, offset, size) in [(0, 0, 0xA0), (1, 0xA0, 0x100), (2, 0x240, 0x100)] {
                self.world.u32(at + 0x3F0 + 8 * feature, offset)?;
                self.world.u32(at + 0x3F4 + 8 * feature, size)?;
            }
        }
        Ok(physical)
    }
}
