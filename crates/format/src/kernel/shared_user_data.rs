//! `KUSER_SHARED_DATA` (`ntddk.h`): a page that every process can read, at the same address in every Windows.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::machine::Machine;
use crate::addr::VirtAddr;
use crate::record::record;

record! {
    /// `KSYSTEM_TIME`, 12 bytes: a time in 100 ns. The kernel writes the second copy of the high half first, so that a
    /// reader sees by two equal copies that it was not disturbed.
    pub struct SystemTime[12] {
        /// The low half.
        pub low: U32,
        /// The high half.
        pub high_1: U32,
        /// The high half again.
        pub high_2: U32,
    }

    /// The start of `KUSER_SHARED_DATA` (`ntddk.h`), 0x3E0 bytes.
    pub struct KUserSharedData[0x3E0] {
        /// Low half of the tick count; unused since Windows XP.
        pub tick_count_low: U32,
        /// What ticks are multiplied with.
        pub tick_count_multiplier: U32,
        /// Time since the start.
        pub interrupt_time: SystemTime,
        /// Time of day: FILETIME, UTC.
        pub system_time: SystemTime,
        /// What local time lacks of UTC.
        pub time_zone_bias: SystemTime,
        /// First machine number of images that can run.
        pub image_number_low: U16,
        /// Last such number.
        pub image_number_high: U16,
        /// Path of the Windows folder (UTF-16).
        pub nt_system_root: [U16; 260],
        /// Settings of no interest here.
        pub settings: [U32; 10],
        /// The build number; on older systems 0.
        pub nt_build_number: U32,
        /// `VER_NT_*`.
        pub nt_product_type: U32,
        /// Whether that is set.
        pub product_type_is_valid: u8,
        /// Reserved.
        pub reserved_0: u8,
        /// `PROCESSOR_ARCHITECTURE_*`; on older systems 0.
        pub native_processor_architecture: U16,
        /// Major version of Windows NT.
        pub nt_major_version: U32,
        /// Minor version of Windows NT.
        pub nt_minor_version: U32,
        /// `PF_*`.
        pub processor_features: [u8; 64],
        /// Reserved.
        pub reserved_1: [U32; 4],
        /// How often this system was started.
        pub boot_id: U32,
        /// When a trial ends.
        pub system_expiration_date: U64,
        /// `VER_SUITE_*`.
        pub suite_mask: U32,
        /// Bit 0: a kernel debugger is allowed, bit 1: it is there.
        pub kd_debugger_enabled: u8,
        /// `PROCESS_MITIGATION_*` of the system.
        pub mitigation_policies: u8,
        /// Cycles of a yield.
        pub cycles_per_yield: U16,
        /// The session at the console.
        pub active_console_id: U32,
        /// Counts dismounted volumes.
        pub dismount_count: U32,
        /// State of the COM+ package.
        pub com_plus_package: U32,
        /// Ticks at the last input.
        pub last_system_rit_event_tick_count: U32,
        /// Pages of physical memory, at most 2^32 of them.
        pub number_of_physical_pages: U32,
        /// Whether it was started in safe mode.
        pub safe_boot_mode: u8,
        /// Flags of virtualization.
        pub virtualization_flags: u8,
        /// Reserved.
        pub reserved_2: U16,
        /// Flags.
        pub shared_data_flags: U32,
        /// Reserved.
        pub reserved_3: U32,
        /// An instruction that returns; unused.
        pub test_ret_instruction: U64,
        /// Performance counter's frequency.
        pub qpc_frequency: U64,
        /// How system calls are done.
        pub system_call: [U64; 3],
        /// Ticks since the start.
        pub tick_count_quad: U64,
        /// Clocks and more, of no interest here.
        pub clocks: [U64; 19],
        /// How many processors are active.
        pub active_processor_count: U32,
        /// How many groups they form.
        pub active_group_count: u8,
        /// Reserved.
        pub reserved_4: u8,
        /// How the performance counter is read.
        pub qpc_data: U16,
        /// When the time zone's offset starts to hold.
        pub time_zone_bias_effective_start: U64,
        /// When it ends.
        pub time_zone_bias_effective_end: U64,
        /// `XState.EnabledFeatures`: the components of extended state.
        pub xstate_enabled_features: U64,
    }
}

impl SystemTime {
    /// The time; `None` where the kernel was just writing it.
    #[must_use]
    pub const fn value(&self) -> Option<u64> {
        let (high, again) = (self.high_1.get(), self.high_2.get());
        if high != again {
            return None;
        }
        Some((high as u64) << 32 | self.low.get() as u64)
    }
}

/// Where the kernel sees the page.
#[must_use]
pub const fn address(machine: Machine) -> VirtAddr {
    match machine {
        Machine::X86 => VirtAddr(0xFFDF_0000),
        Machine::Amd64 | Machine::Arm64 => VirtAddr(0xFFFF_F780_0000_0000),
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(KUserSharedData, interrupt_time) == 0x008);
    assert!(offset_of!(KUserSharedData, system_time) == 0x014);
    assert!(offset_of!(KUserSharedData, nt_build_number) == 0x260);
    assert!(offset_of!(KUserSharedData, native_processor_architecture) == 0x26A);
    assert!(offset_of!(KUserSharedData, nt_major_version) == 0x26C);
    assert!(offset_of!(KUserSharedData, boot_id) == 0x2C4);
    assert!(offset_of!(KUserSharedData, suite_mask) == 0x2D0);
    assert!(offset_of!(KUserSharedData, number_of_physical_pages) == 0x2E8);
    assert!(offset_of!(KUserSharedData, tick_count_quad) == 0x320);
    assert!(offset_of!(KUserSharedData, active_processor_count) == 0x3C0);
    assert!(offset_of!(KUserSharedData, xstate_enabled_features) == 0x3D8);
};
