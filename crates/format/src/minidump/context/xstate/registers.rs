//! The registers in extended state, put together from the components that hold their parts.

use zerocopy::byteorder::little_endian::{U16, U64};

use super::XState;
use super::layout::{extensible, feature};
use crate::minidump::context::field::Field;
use crate::minidump::context::{ContextAmd64, ContextKind, ContextX86, FxSave};
use crate::record::{Record, record};

record! {
    /// `XSAVE_CET_U_FORMAT` (`winnt.h`), 16 bytes: the shadow stack of a thread.
    pub struct CetUser[16] {
        /// Which protections are on; bit 0: shadow stack.
        pub ia32_cet_u_msr: U64,
        /// The shadow stack pointer.
        pub ia32_pl3_ssp_msr: U64,
    }

    /// The configuration of AMX tiles, 64 bytes, as the instruction `STTILECFG` stores it.
    pub struct TileConfig[64] {
        /// 0 where tiles are not in use.
        pub palette: u8,
        /// The row at which an interrupted instruction goes on.
        pub start_row: u8,
        /// Reserved.
        pub reserved: [u8; 14],
        /// For each tile the length of a row in bytes. The last eight are reserved.
        pub row_bytes: [U16; 16],
        /// For each tile the number of rows. The last eight are reserved.
        pub rows: [u8; 16],
    }

    /// An MPX bound register, 16 bytes.
    pub struct BoundRegister[16] {
        /// The lower bound.
        pub lower: U64,
        /// The upper bound; the CPU stores its complement, and so does the file.
        pub upper: U64,
    }

    /// MPX configuration and status, 16 bytes.
    pub struct BoundConfig[16] {
        /// BNDCFGU: configuration.
        pub config: U64,
        /// BNDSTATUS: status.
        pub status: U64,
    }
}

/// `first` and after it `second`.
fn joined<const N: usize>(first: &[u8], second: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (low, high) = bytes.split_at_mut_checked(first.len())?;
    low.copy_from_slice(first);
    high.get_mut(..second.len())?.copy_from_slice(second);
    Some(bytes)
}

impl XState<'_> {
    /// XMM*n*, which the base context has. x86 has 8 of them, AMD64 16.
    #[must_use]
    pub fn xmm(&self, n: usize) -> Option<[u8; 16]> {
        let (image, count) = match extensible(self.context.len())? {
            ContextKind::X86 => (core::mem::offset_of!(ContextX86, extended_registers), 8),
            _ => (core::mem::offset_of!(ContextAmd64, flt_save), 16),
        };
        if n >= count {
            return None;
        }
        let start = image + core::mem::offset_of!(FxSave, xmm) + n * 16;
        self.context.get(start..start + 16)?.try_into().ok()
    }

    /// YMM*n*, lowest byte first: XMM*n* from the base context and its upper half. `None` where the context has no room
    /// for AVX registers, there is no such register, or its half is missing.
    #[must_use]
    pub fn ymm(&self, n: usize) -> Option<[u8; 32]> {
        let low = self.xmm(n)?;
        let high: [u8; 16] = self.part(feature::AVX, n * 16)?;
        joined(&low, &high)
    }

    /// ZMM*n*, lowest byte first: YMM*n* and its upper half for the first sixteen. `None` as for [`XState::ymm`].
    #[must_use]
    pub fn zmm(&self, n: usize) -> Option<[u8; 64]> {
        match n {
            0..16 => {
                let low = self.ymm(n)?;
                let high: [u8; 32] = self.part(feature::AVX512_ZMM_HI256, n * 32)?;
                joined(&low, &high)
            }
            16..32 if extensible(self.context.len()) == Some(ContextKind::Amd64) => {
                self.part(feature::AVX512_HI16_ZMM, (n - 16) * 64)
            }
            _ => None,
        }
    }

    /// The mask register K*n*.
    #[must_use]
    pub fn opmask(&self, n: usize) -> Option<u64> {
        if n >= 8 {
            return None;
        }
        let bytes: [u8; 8] = self.part(feature::AVX512_KMASK, n * 8)?;
        Field { offset: 0, size: 8 }.get(&bytes, self.endian)
    }

    /// The rights for each protection key, 2 bits for each of 16.
    #[must_use]
    pub fn pkru(&self) -> Option<u32> {
        let bytes: [u8; 4] = self.part(feature::PKRU, 0)?;
        let rights = Field { offset: 0, size: 4 }.get(&bytes, self.endian)?;
        u32::try_from(rights).ok()
    }

    /// The shadow stack of the program.
    #[must_use]
    pub fn cet_u(&self) -> Option<CetUser> {
        let bytes: [u8; 16] = self.part(feature::CET_U, 0)?;
        CetUser::read(&bytes, self.endian)
    }

    /// The MPX bound register BND*n*.
    #[must_use]
    pub fn bound(&self, n: usize) -> Option<BoundRegister> {
        if n >= 4 {
            return None;
        }
        let bytes: [u8; 16] = self.part(feature::MPX_BNDREGS, n * 16)?;
        BoundRegister::read(&bytes, self.endian)
    }

    /// MPX configuration and status.
    #[must_use]
    pub fn bound_config(&self) -> Option<BoundConfig> {
        let bytes: [u8; 16] = self.part(feature::MPX_BNDCSR, 0)?;
        BoundConfig::read(&bytes, self.endian)
    }

    /// The configuration of the AMX tiles.
    #[must_use]
    pub fn tile_config(&self) -> Option<TileConfig> {
        let bytes: [u8; 64] = self.part(feature::AMX_TILECFG, 0)?;
        TileConfig::read(&bytes, self.endian)
    }

    /// The AMX tile TMM*n*: 16 rows of 64 bytes, of which [`XState::tile_config`] tells how many are in use.
    #[must_use]
    pub fn tile(&self, n: usize) -> Option<[u8; 1024]> {
        if n >= 8 {
            return None;
        }
        self.part(feature::AMX_TILEDATA, n * 1024)
    }
}
