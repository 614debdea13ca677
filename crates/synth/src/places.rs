//! Where in virtual memory a machine has what.

use dotdump_snapshot::paging::PagingMode;

use crate::error::BuildError;

/// Base addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The lowest address of the window in which page tables show themselves.
    pub(crate) self_map: u64,
    /// The size of that window.
    pub(crate) self_map_size: u64,
    pub(crate) kernel: u64,
    pub(crate) drivers: u64,
    pub(crate) unloaded: u64,
    pub(crate) nonpaged_pool: u64,
    pub(crate) nonpaged_pool_size: u64,
    pub(crate) paged_pool: u64,
    pub(crate) paged_pool_size: u64,
    pub(crate) stacks: u64,
    pub(crate) stacks_size: u64,
    /// Pages that compress well.
    pub(crate) filler: u64,
    pub(crate) filler_size: u64,
    /// The page of 1 GiB; 32-bit machines have none.
    pub(crate) gigabyte: u64,
    pub(crate) shared_user_data: u64,
    pub(crate) pfn_database: u64,
    pub(crate) pfn_database_size: u64,
    pub(crate) user: UserPlaces,
    /// What user mode can address.
    pub(crate) highest_user: u64,
    pub(crate) system_start: u64,
}

/// Base addresses in a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserPlaces {
    pub(crate) image: u64,
    pub(crate) libraries: u64,
    pub(crate) peb: u64,
    pub(crate) tebs: u64,
    pub(crate) heap: u64,
    pub(crate) stacks: u64,
    /// Pages of which every one has another state.
    pub(crate) states: u64,
    pub(crate) shared_user_data: u64,
}

/// User mode of 32-bit machines, and the 32-bit half of WOW64 processes.
pub(crate) const USER_32: UserPlaces = UserPlaces {
    image: 0x0040_0000,
    libraries: 0x7700_0000,
    peb: 0x7EFD_E000,
    tebs: 0x7EF0_0000,
    heap: 0x0100_0000,
    stacks: 0x0200_0000,
    states: 0x0300_0000,
    shared_user_data: 0x7FFE_0000,
};

const USER_64: UserPlaces = UserPlaces {
    image: 0x7FF6_0000_0000,
    libraries: 0x7FFB_1000_0000,
    peb: 0x00D5_1234_0000,
    tebs: 0x00D5_1235_0000,
    heap: 0x01D0_1000_0000,
    stacks: 0x00D5_2000_0000,
    states: 0x01D0_2000_0000,
    shared_user_data: 0x7FFE_0000,
};

impl Places {
    /// Those of a machine whose root shows itself through entry `slot`, where it can be chosen.
    pub(crate) const fn of(mode: PagingMode, slot: Option<u64>) -> Result<Self, BuildError> {
        match (mode, slot) {
            (PagingMode::X86, None) => Ok(Self::of_32(4 << 20)),
            (PagingMode::Pae, None) => Ok(Self::of_32(8 << 20)),
            (PagingMode::X86 | PagingMode::Pae, Some(_)) => Err(BuildError::Options(
                "the page tables of 32-bit machines show themselves at 0xC0000000",
            )),
            (PagingMode::FourLevel, slot) => Self::of_64(39, or(slot, 0x1ED)),
            (PagingMode::Arm64, slot) => Self::of_64(39, or(slot, 0x151)),
            (PagingMode::FiveLevel, slot) => Self::of_64(48, or(slot, 0x1A2)),
        }
    }

    const fn of_32(self_map_size: u64) -> Self {
        Self {
            self_map: 0xC000_0000,
            self_map_size,
            kernel: 0x8280_0000,
            drivers: 0x8800_0000,
            unloaded: 0x8900_0000,
            nonpaged_pool: 0x8400_0000,
            nonpaged_pool_size: 0x400_0000,
            paged_pool: 0x8A00_0000,
            paged_pool_size: 0x200_0000,
            stacks: 0x8C00_0000,
            stacks_size: 0x400_0000,
            filler: 0x9000_0000,
            filler_size: 0x1000_0000,
            gigabyte: 0,
            shared_user_data: 0xFFDF_0000,
            pfn_database: 0xA000_0000,
            pfn_database_size: 0x2000_0000,
            user: USER_32,
            highest_user: 0x7FFE_FFFF,
            system_start: 0x8000_0000,
        }
    }

    const fn of_64(shift: u32, slot: u64) -> Result<Self, BuildError> {
        // The places below are taken, and the lower half is user mode's.
        let used: &[u64] = if shift == 39 {
            &[0x14A, 0x170, 0x1A0, 0x1C0, 0x1EF, 0x1F0, 0x1F5]
        } else {
            &[0x11C, 0x1FF]
        };
        let mut index = 0;
        while index < used.len() {
            if used[index] == slot {
                return Err(BuildError::Options(
                    "this entry of the root is taken: choose another for the self-map",
                ));
            }
            index += 1;
        }
        if slot < 256 || slot > 511 {
            return Err(BuildError::Options(
                "the self-map is an entry of the upper half: 256 to 511",
            ));
        }
        // With five levels, part of the kernel lies where four levels have no addresses.
        let far = if shift == 48 {
            0xFF1C_0000_0000_0000
        } else {
            0xFFFF_0000_0000_0000
        };
        let sign = if shift == 48 {
            0xFE00_0000_0000_0000
        } else {
            0xFFFF_0000_0000_0000
        };
        Ok(Self {
            self_map: sign | slot << shift,
            self_map_size: 1 << shift,
            kernel: 0xFFFF_F801_4000_0000,
            drivers: 0xFFFF_F801_5000_0000,
            unloaded: 0xFFFF_F801_6000_0000,
            nonpaged_pool: far | 0xA500_0000_0000,
            nonpaged_pool_size: 0x1000_0000,
            paged_pool: 0xFFFF_B800_0000_0000,
            paged_pool_size: 0x1000_0000,
            stacks: far | 0xD000_0000_0000,
            stacks_size: 0x1000_0000,
            filler: far | 0xA500_1000_0000,
            filler_size: 0x10_0000_0000,
            gigabyte: far | 0xE000_0000_0000,
            shared_user_data: 0xFFFF_F780_0000_0000,
            pfn_database: 0xFFFF_FA80_0000_0000,
            pfn_database_size: 0x200_0000_0000,
            user: USER_64,
            highest_user: 0x7FFF_FFFE_FFFF,
            system_start: 0xFFFF_8000_0000_0000,
        })
    }
}

const fn or(value: Option<u64>, default: u64) -> u64 {
    match value {
        Some(value) => value,
        None => default,
    }
}
