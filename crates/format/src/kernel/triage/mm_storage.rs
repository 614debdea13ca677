//! `DUMP_MM_STORAGE32` and `DUMP_MM_STORAGE64`: a few counters of the memory manager.

use alloc::vec::Vec;

use zerocopy::IntoBytes as _;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::sign_extended::low_half;
use crate::record::{Endian, Record, record};

record! {
    /// `DUMP_MM_STORAGE32`, 0x34 bytes.
    pub struct MmStorage32[0x34] {
        /// 1.
        pub version: U32,
        /// 0x34.
        pub size: U32,
        /// `MmSpecialPoolTag`.
        pub special_pool_tag: U32,
        /// `MiTriageActionTaken`.
        pub triage_action_taken: U32,
        /// `MmVerifyDriverLevel`.
        pub verify_driver_level: U32,
        /// `KernelVerifier`.
        pub kernel_verifier: U32,
        /// `MmMaximumNonPagedPool` in pages.
        pub maximum_non_paged_pool: U32,
        /// `MmAllocatedNonPagedPool` in pages.
        pub allocated_non_paged_pool: U32,
        /// In pages.
        pub paged_pool_maximum: U32,
        /// In pages.
        pub paged_pool_allocated: U32,
        /// In pages.
        pub committed_pages: U32,
        /// In pages.
        pub committed_pages_peak: U32,
        /// In pages.
        pub commit_limit_maximum: U32,
    }

    /// `DUMP_MM_STORAGE64`, 0x50 bytes.
    pub struct MmStorage64[0x50] {
        /// 1.
        pub version: U32,
        /// 0x50.
        pub size: U32,
        /// `MmSpecialPoolTag`.
        pub special_pool_tag: U32,
        /// `MiTriageActionTaken`.
        pub triage_action_taken: U32,
        /// `MmVerifyDriverLevel`.
        pub verify_driver_level: U32,
        /// `KernelVerifier`.
        pub kernel_verifier: U32,
        /// `MmMaximumNonPagedPool` in pages.
        pub maximum_non_paged_pool: U64,
        /// `MmAllocatedNonPagedPool` in pages.
        pub allocated_non_paged_pool: U64,
        /// In pages.
        pub paged_pool_maximum: U64,
        /// In pages.
        pub paged_pool_allocated: U64,
        /// In pages.
        pub committed_pages: U64,
        /// In pages.
        pub committed_pages_peak: U64,
        /// In pages.
        pub commit_limit_maximum: U64,
    }
}

/// What both records say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MmStorage {
    /// 1.
    pub version: u32,
    /// The size of the record in bytes.
    pub size: u32,
    /// `MmSpecialPoolTag`.
    pub special_pool_tag: u32,
    /// `MiTriageActionTaken`.
    pub triage_action_taken: u32,
    /// `MmVerifyDriverLevel`.
    pub verify_driver_level: u32,
    /// `KernelVerifier`.
    pub kernel_verifier: u32,
    /// `MmMaximumNonPagedPool` in pages.
    pub maximum_non_paged_pool: u64,
    /// `MmAllocatedNonPagedPool` in pages.
    pub allocated_non_paged_pool: u64,
    /// In pages.
    pub paged_pool_maximum: u64,
    /// In pages.
    pub paged_pool_allocated: u64,
    /// In pages.
    pub committed_pages: u64,
    /// In pages.
    pub committed_pages_peak: u64,
    /// In pages.
    pub commit_limit_maximum: u64,
}

macro_rules! copied {
    ($from:expr => $into:ident, $number:expr) => {
        $into {
            version: $from.version.into(),
            size: $from.size.into(),
            special_pool_tag: $from.special_pool_tag.into(),
            triage_action_taken: $from.triage_action_taken.into(),
            verify_driver_level: $from.verify_driver_level.into(),
            kernel_verifier: $from.kernel_verifier.into(),
            maximum_non_paged_pool: $number($from.maximum_non_paged_pool).into(),
            allocated_non_paged_pool: $number($from.allocated_non_paged_pool).into(),
            paged_pool_maximum: $number($from.paged_pool_maximum).into(),
            paged_pool_allocated: $number($from.paged_pool_allocated).into(),
            committed_pages: $number($from.committed_pages).into(),
            committed_pages_peak: $number($from.committed_pages_peak).into(),
            commit_limit_maximum: $number($from.commit_limit_maximum).into(),
        }
    };
}

impl MmStorage {
    /// The size of the record in bytes.
    #[must_use]
    pub const fn record_size(is_64: bool) -> usize {
        if is_64 { MmStorage64::SIZE } else { MmStorage32::SIZE }
    }

    /// What dumps have that were made from bigger ones: version and size, no counters.
    #[must_use]
    pub fn empty(is_64: bool) -> Self {
        Self {
            version: 1,
            size: if is_64 { 0x50 } else { 0x34 },
            ..Self::default()
        }
    }

    /// Reads it from as many bytes as there are.
    #[must_use]
    pub fn read(bytes: &[u8], is_64: bool) -> Self {
        if is_64 {
            let record = MmStorage64::read_partial(bytes, Endian::Little);
            copied!(record => Self, U64::get)
        } else {
            let record = MmStorage32::read_partial(bytes, Endian::Little);
            copied!(record => Self, U32::get)
        }
    }

    /// Its bytes. The 32-bit record keeps the low halves of its counters.
    #[must_use]
    pub fn to_bytes(&self, is_64: bool) -> Vec<u8> {
        if is_64 {
            copied!(self => MmStorage64, u64::from).as_bytes().to_vec()
        } else {
            copied!(self => MmStorage32, low_half).as_bytes().to_vec()
        }
    }
}
