//! Counters of a process's memory.

use std::os::windows::io::{AsHandle, OwnedHandle};

use dotdump_format::minidump::process_vm_counters::{BaseCounters, ProcessVmCounters, VmCounterFlags, VmCounters2};

use super::native::{Plain, process_information};

/// `ProcessVmCounters`.
const VM_COUNTERS: u32 = 3;

/// `VM_COUNTERS_EX` (`ntpsapi.h`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Counters {
    peak_virtual_size: usize,
    virtual_size: usize,
    page_fault_count: u32,
    peak_working_set_size: usize,
    working_set_size: usize,
    quota_peak_paged_pool_usage: usize,
    quota_paged_pool_usage: usize,
    quota_peak_non_paged_pool_usage: usize,
    quota_non_paged_pool_usage: usize,
    pagefile_usage: usize,
    peak_pagefile_usage: usize,
    private_usage: usize,
}

// SAFETY: numbers.
unsafe impl Plain for Counters {}

/// The counters of a process; `None` where the system does not tell them.
pub(super) fn process(process: &OwnedHandle) -> Option<ProcessVmCounters> {
    let counters: Counters = process_information(process.as_handle(), VM_COUNTERS).ok()?;
    let bytes = |bytes: usize| (bytes as u64).into();
    let flags = VmCounterFlags::BASE | VmCounterFlags::VIRTUAL_SIZE | VmCounterFlags::EX;
    Some(ProcessVmCounters::V2(VmCounters2 {
        base: BaseCounters {
            revision: 2.into(),
            flags: flags.bits().into(),
            page_fault_count: counters.page_fault_count.into(),
            peak_working_set_size: bytes(counters.peak_working_set_size),
            working_set_size: bytes(counters.working_set_size),
            quota_peak_paged_pool_usage: bytes(counters.quota_peak_paged_pool_usage),
            quota_paged_pool_usage: bytes(counters.quota_paged_pool_usage),
            quota_peak_non_paged_pool_usage: bytes(counters.quota_peak_non_paged_pool_usage),
            quota_non_paged_pool_usage: bytes(counters.quota_non_paged_pool_usage),
            pagefile_usage: bytes(counters.pagefile_usage),
            peak_pagefile_usage: bytes(counters.peak_pagefile_usage),
        },
        peak_virtual_size: bytes(counters.peak_virtual_size),
        virtual_size: bytes(counters.virtual_size),
        private_usage: bytes(counters.private_usage),
        ..VmCounters2::default()
    }))
}
