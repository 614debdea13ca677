//! `SystemMemoryInfoStream` (21): memory figures of the system.

use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Record, record};

/// The size of `MINIDUMP_SYSTEM_MEMORY_INFO_1`, in bytes.
pub const SIZE_1: usize = 492;
/// The size of `MINIDUMP_SYSTEM_MEMORY_INFO_2`, in bytes.
pub const SIZE_2: usize = 524;

record! {
    /// `MINIDUMP_SYSTEM_BASIC_INFORMATION` (`minidumpapiset.h`), 52 bytes.
    pub struct BasicInformation[52] {
        /// The resolution of the system's timer, in 100 ns.
        pub timer_resolution: U32,
        /// The size of a page in bytes.
        pub page_size: U32,
        /// Physical memory, in pages.
        pub number_of_physical_pages: U32,
        /// The lowest physical page.
        pub lowest_physical_page_number: U32,
        /// The highest physical page.
        pub highest_physical_page_number: U32,
        /// To what the addresses of allocations are aligned, in bytes.
        pub allocation_granularity: U32,
        /// The lowest address of a program.
        pub minimum_user_mode_address: U64,
        /// The highest address of a program.
        pub maximum_user_mode_address: U64,
        /// The processors that are in use, one bit each.
        pub active_processors_affinity_mask: U64,
        /// How many processors there are.
        pub number_of_processors: U32,
    }

    /// `MINIDUMP_SYSTEM_FILECACHE_INFORMATION` (`minidumpapiset.h`), 60 bytes.
    pub struct FileCacheInformation[60] {
        /// The cache's size in bytes.
        pub current_size: U64,
        /// The cache's largest size so far, in bytes.
        pub peak_size: U64,
        /// Page faults in the cache.
        pub page_fault_count: U32,
        /// Its least working set, in pages.
        pub minimum_working_set: U64,
        /// Its largest working set, in pages.
        pub maximum_working_set: U64,
        /// The cache's size with pages in transition, in pages.
        pub current_size_including_transition_in_pages: U64,
        /// The largest size so far with pages in transition, in pages.
        pub peak_size_including_transition_in_pages: U64,
        /// Pages in transition that were used for something else.
        pub transition_re_purpose_count: U32,
        /// Flags of the cache.
        pub flags: U32,
    }

    /// `MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION` (`minidumpapiset.h`), 32 bytes.
    pub struct BasicPerformanceInformation[32] {
        /// Memory that is free at once, in pages.
        pub available_pages: U64,
        /// Committed memory, in pages.
        pub committed_pages: U64,
        /// How much may be committed, in pages.
        pub commit_limit: U64,
        /// The most committed memory so far, in pages.
        pub peak_commitment: U64,
    }

    /// `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2` (`minidumpapiset.h`), 376 bytes.
    pub struct PerformanceInformation[376] {
        /// Time without work, all processors added, in 100 ns.
        pub idle_process_time: U64,
        /// Bytes read.
        pub io_read_transfer_count: U64,
        /// Bytes written.
        pub io_write_transfer_count: U64,
        /// Bytes of other operations.
        pub io_other_transfer_count: U64,
        /// Reads.
        pub io_read_operation_count: U32,
        /// Writes.
        pub io_write_operation_count: U32,
        /// Other operations.
        pub io_other_operation_count: U32,
        /// Memory that is free at once, in pages.
        pub available_pages: U32,
        /// Committed memory, in pages.
        pub committed_pages: U32,
        /// How much may be committed, in pages.
        pub commit_limit: U32,
        /// The most committed memory so far, in pages.
        pub peak_commitment: U32,
        /// Page faults.
        pub page_fault_count: U32,
        /// Page faults that copied a page.
        pub copy_on_write_count: U32,
        /// Page faults for a page in transition.
        pub transition_count: U32,
        /// Page faults of the cache for a page in transition.
        pub cache_transition_count: U32,
        /// Page faults for a zeroed page.
        pub demand_zero_count: U32,
        /// Pages read to resolve page faults.
        pub page_read_count: U32,
        /// Read operations to resolve page faults.
        pub page_read_io_count: U32,
        /// Pages read by the cache.
        pub cache_read_count: U32,
        /// Read operations of the cache.
        pub cache_io_count: U32,
        /// Pages written to page files.
        pub dirty_pages_write_count: U32,
        /// Write operations to page files.
        pub dirty_write_io_count: U32,
        /// Pages written to mapped files.
        pub mapped_pages_write_count: U32,
        /// Write operations to mapped files.
        pub mapped_write_io_count: U32,
        /// Paged pool, in pages.
        pub paged_pool_pages: U32,
        /// Non-paged pool, in pages.
        pub non_paged_pool_pages: U32,
        /// Allocations of paged pool.
        pub paged_pool_allocs: U32,
        /// Releases of paged pool.
        pub paged_pool_frees: U32,
        /// Allocations of non-paged pool.
        pub non_paged_pool_allocs: U32,
        /// Releases of non-paged pool.
        pub non_paged_pool_frees: U32,
        /// Free page table entries of the system.
        pub free_system_ptes: U32,
        /// Resident code of the system, in pages.
        pub resident_system_code_page: U32,
        /// Drivers, in pages.
        pub total_system_driver_pages: U32,
        /// Code of the system, in pages.
        pub total_system_code_pages: U32,
        /// Non-paged allocations that a look-aside list served.
        pub non_paged_pool_lookaside_hits: U32,
        /// Paged allocations that a look-aside list served.
        pub paged_pool_lookaside_hits: U32,
        /// Free paged pool, in pages.
        pub available_paged_pool_pages: U32,
        /// Resident cache, in pages.
        pub resident_system_cache_page: U32,
        /// Resident paged pool, in pages.
        pub resident_paged_pool_page: U32,
        /// Resident drivers, in pages.
        pub resident_system_driver_page: U32,
        /// Fast reads of the cache that could not wait.
        pub cc_fast_read_no_wait: U32,
        /// Fast reads of the cache that could wait.
        pub cc_fast_read_wait: U32,
        /// Fast reads that did not get a resource.
        pub cc_fast_read_resource_miss: U32,
        /// Fast reads that were not possible.
        pub cc_fast_read_not_possible: U32,
        /// Fast MDL reads that could not wait.
        pub cc_fast_mdl_read_no_wait: U32,
        /// Fast MDL reads that could wait.
        pub cc_fast_mdl_read_wait: U32,
        /// Fast MDL reads that did not get a resource.
        pub cc_fast_mdl_read_resource_miss: U32,
        /// Fast MDL reads that were not possible.
        pub cc_fast_mdl_read_not_possible: U32,
        /// Mappings of the cache that could not wait.
        pub cc_map_data_no_wait: U32,
        /// Mappings of the cache that could wait.
        pub cc_map_data_wait: U32,
        /// Misses of mappings that could not wait.
        pub cc_map_data_no_wait_miss: U32,
        /// Misses of mappings that could wait.
        pub cc_map_data_wait_miss: U32,
        /// Mapped data that was pinned.
        pub cc_pin_mapped_data_count: U32,
        /// Pinning reads that could not wait.
        pub cc_pin_read_no_wait: U32,
        /// Pinning reads that could wait.
        pub cc_pin_read_wait: U32,
        /// Misses of pinning reads that could not wait.
        pub cc_pin_read_no_wait_miss: U32,
        /// Misses of pinning reads that could wait.
        pub cc_pin_read_wait_miss: U32,
        /// Copying reads that could not wait.
        pub cc_copy_read_no_wait: U32,
        /// Copying reads that could wait.
        pub cc_copy_read_wait: U32,
        /// Misses of copying reads that could not wait.
        pub cc_copy_read_no_wait_miss: U32,
        /// Misses of copying reads that could wait.
        pub cc_copy_read_wait_miss: U32,
        /// MDL reads that could not wait.
        pub cc_mdl_read_no_wait: U32,
        /// MDL reads that could wait.
        pub cc_mdl_read_wait: U32,
        /// Misses of MDL reads that could not wait.
        pub cc_mdl_read_no_wait_miss: U32,
        /// Misses of MDL reads that could wait.
        pub cc_mdl_read_wait_miss: U32,
        /// Read operations ahead of need.
        pub cc_read_ahead_ios: U32,
        /// Write operations of the lazy writer.
        pub cc_lazy_write_ios: U32,
        /// Pages written by the lazy writer.
        pub cc_lazy_write_pages: U32,
        /// Flushes of the cache.
        pub cc_data_flushes: U32,
        /// Pages flushed from the cache.
        pub cc_data_pages: U32,
        /// Switches between threads.
        pub context_switches: U32,
        /// Fills of the first-level translation buffer.
        pub first_level_tb_fills: U32,
        /// Fills of the second-level translation buffer.
        pub second_level_tb_fills: U32,
        /// System calls.
        pub system_calls: U32,
        /// Dirty pages of the cache.
        pub cc_total_dirty_pages: U64,
        /// From how many dirty pages on writers wait.
        pub cc_dirty_page_threshold: U64,
        /// Memory that may still be locked, in pages.
        pub resident_available_pages: I64,
        /// Committed memory that is shared, in pages.
        pub shared_committed_pages: U64,
        /// Pages allocated for MDLs. Not in revision 1.
        pub mdl_pages_allocated: U64,
        /// Pages of the page frame database. Not in revision 1.
        pub pfn_database_committed_pages: U64,
        /// Pages of the system's page tables. Not in revision 1.
        pub system_page_table_committed_pages: U64,
        /// Pages allocated contiguously. Not in revision 1.
        pub contiguous_pages_allocated: U64,
    }

    /// `MINIDUMP_SYSTEM_MEMORY_INFO_2` (`minidumpapiset.h`), 524 bytes. `MINIDUMP_SYSTEM_MEMORY_INFO_1` is its first 492.
    pub struct SystemMemoryInfoRecord[524] {
        /// 1 or 2: which record it is.
        pub revision: U16,
        /// [`SystemMemoryFlags`].
        pub flags: U16,
        /// Pages, addresses and processors. Always valid.
        pub basic: BasicInformation,
        /// The file cache.
        pub file_cache: FileCacheInformation,
        /// Commitment.
        pub basic_performance: BasicPerformanceInformation,
        /// Counters since the system was started.
        pub performance: PerformanceInformation,
    }
}

bitflags::bitflags! {
    /// `MINIDUMP_SYSMEMINFO1_*` (`minidumpapiset.h`): which fields are valid. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct SystemMemoryFlags: u16 {
        /// The last two fields of the file cache.
        const FILECACHE_TRANSITIONREPURPOSECOUNT_FLAGS = 0x1;
        /// [`BasicPerformanceInformation`].
        const BASICPERF = 0x2;
        /// `cc_total_dirty_pages` and `cc_dirty_page_threshold`.
        const PERF_CCTOTALDIRTYPAGES_CCDIRTYPAGETHRESHOLD = 0x4;
        /// `resident_available_pages` and `shared_committed_pages`.
        const PERF_RESIDENTAVAILABLEPAGES_SHAREDCOMMITPAGES = 0x8;
        /// `mdl_pages_allocated` and `pfn_database_committed_pages`.
        const PERF_MDLPAGESALLOCATED_PFNDATABASECOMMITTEDPAGES = 0x10;
        /// `system_page_table_committed_pages` and `contiguous_pages_allocated`.
        const PERF_SYSTEMPAGETABLECOMMITTEDPAGES_CONTIGUOUSPAGESALLOCATED = 0x20;

        const _ = !0;
    }
}

/// A SystemMemoryInfoStream of either revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemMemoryInfo {
    /// The record. What lies beyond [`SystemMemoryInfo::size`] is zero.
    pub record: SystemMemoryInfoRecord,
    size: usize,
}

impl SystemMemoryInfo {
    /// The record with the size that its revision has.
    #[must_use]
    pub fn new(mut record: SystemMemoryInfoRecord) -> Self {
        let size = if record.revision.get() < 2 { SIZE_1 } else { SIZE_2 };
        record.as_mut_bytes()[size..].zero();
        Self { record, size }
    }

    /// Its size in the file, in bytes: [`SIZE_1`] or [`SIZE_2`].
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Which fields are valid.
    #[must_use]
    pub const fn flags(&self) -> SystemMemoryFlags {
        SystemMemoryFlags::from_bits_retain(self.record.flags.get())
    }

    /// The size of a page in bytes; `None` where it is not a power of two from 512 to 1 MiB.
    #[must_use]
    pub fn page_size(&self) -> Option<u32> {
        let size = self.record.basic.page_size.get();
        ((1 << 9..=1 << 20).contains(&size) && size.is_power_of_two()).then_some(size)
    }

    /// Commitment, where it is valid.
    #[must_use]
    pub fn basic_performance(&self) -> Option<&BasicPerformanceInformation> {
        self.flags()
            .contains(SystemMemoryFlags::BASICPERF)
            .then_some(&self.record.basic_performance)
    }
}

impl<'a> StreamContent<'a> for SystemMemoryInfo {
    const TYPE: StreamType = StreamType::SYSTEM_MEMORY_INFO;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let there = stream.size.clamp(SIZE_1 as u64, SIZE_2 as u64);
        let record = SystemMemoryInfoRecord::read_partial(&stream.bytes_at(0, there)?, stream.endian);
        let info = Self::new(record);
        if stream.size != info.size as u64 {
            let (size, revision) = (info.size, record.revision);
            findings.add(
                stream.offset,
                "SystemMemoryInfo",
                alloc::format!("{} bytes of revision {revision}, {size} expected", stream.size),
            );
        }
        Ok(info)
    }
}

impl WriteStream for SystemMemoryInfo {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        layout.align(4);
        let offset = layout.push_bytes(&self.record.in_order(layout.endian()).as_bytes()[..self.size]);
        layout.location(offset, self.size as u64, "SystemMemoryInfo")
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::record::Endian;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::SYSTEM_MEMORY_INFO;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            mut record in test_dump::record::<SystemMemoryInfoRecord>(),
            revision in 1..3_u16,
        ) {
            record.revision = revision.into();
            let info = SystemMemoryInfo::new(record);
            let file = test_dump::file_of(&info, endian);
            prop_assert_eq!(file.len() - test_dump::STREAM, if revision == 1 { 492 } else { 524 });
            prop_assert_eq!(test_dump::read_clean::<SystemMemoryInfo>(&file), info);
        }
    }

    // Offsets: section 3.17 of the format reference.
    #[test]
    fn fields_lie_where_the_format_has_them() {
        let basic = offset_of!(SystemMemoryInfoRecord, basic);
        assert_eq!(basic, 4);
        assert_eq!(basic + offset_of!(BasicInformation, page_size), 8);
        assert_eq!(basic + offset_of!(BasicInformation, maximum_user_mode_address), 36);
        assert_eq!(basic + offset_of!(BasicInformation, number_of_processors), 52);
        assert_eq!(offset_of!(SystemMemoryInfoRecord, file_cache), 56);
        assert_eq!(offset_of!(SystemMemoryInfoRecord, basic_performance), 116);
        let performance = offset_of!(SystemMemoryInfoRecord, performance);
        assert_eq!(performance, 148);
        let dirty = performance + offset_of!(PerformanceInformation, cc_total_dirty_pages);
        assert_eq!(dirty, 148 + 4 * 8 + 70 * 4);
        assert_eq!(
            performance + offset_of!(PerformanceInformation, mdl_pages_allocated),
            492
        );
    }

    #[test]
    fn a_page_size_that_cannot_be_is_none() {
        for (size, expected) in [(4096, Some(4096)), (0, None), (4097, None), (1 << 31, None)] {
            let mut record = SystemMemoryInfoRecord::default();
            record.basic.page_size = size.into();
            assert_eq!(SystemMemoryInfo::new(record).page_size(), expected);
        }
    }

    #[test]
    fn a_size_that_does_not_fit_the_revision_is_a_finding_or_an_error() {
        for (size, usable, found) in [(491, false, 0), (500, true, 1), (524, true, 0), (600, true, 1)] {
            let mut bytes = Vec::from([2, 0, 0x3F, 0]);
            bytes.resize(size, 0);
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            let (info, findings) = test_dump::read::<SystemMemoryInfo>(&file);
            assert_eq!((info.is_ok(), findings.total()), (usable, found), "{size}");
        }
    }
}
