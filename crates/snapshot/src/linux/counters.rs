//! Times and memory counters of a Linux process.

use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::linux_text::LinuxProcStatus;
use dotdump_format::minidump::misc_info::{MiscInfo, MiscInfoFlags, MiscInfoRecord};
use dotdump_format::minidump::process_vm_counters::{ProcessVmCounters, VmCounterFlags, VmCounters2};

use super::facts::{LinuxFacts, ThreadStat};
use super::registers;
use super::threads::ticks;

/// Process id, when it was started, and the time that its threads took.
pub(super) fn misc_info(facts: &LinuxFacts) -> MiscInfo {
    let mut record = MiscInfoRecord::default();
    let mut flags = MiscInfoFlags::PROCESS_ID;
    record.process_id = facts.process_id.into();
    let seconds = |value: u64| u32::try_from(ticks(facts, value, 1)).unwrap_or(u32::MAX);
    let stat = Stat::of(facts);
    let threads = || facts.threads.iter().filter_map(|thread| thread.stat);
    let started = match &stat {
        Some(stat) => Some(stat.start_time),
        None => threads().map(|stat| stat.start_time).min(),
    };
    if let (Some(started), Some(boot)) = (started, facts.boot_time) {
        flags |= MiscInfoFlags::PROCESS_TIMES;
        let created = boot.saturating_add(ticks(facts, started, 1));
        record.process_create_time = u32::try_from(created).unwrap_or(u32::MAX).into();
        // The process's own sums have the threads that ended, too.
        let sum = |time: fn(&ThreadStat) -> u64| threads().fold(0, |sum: u64, stat| sum.saturating_add(time(&stat)));
        let (user, kernel) = match &stat {
            Some(stat) => (stat.user_time, stat.system_time),
            None => (sum(|stat| stat.user_time), sum(|stat| stat.system_time)),
        };
        record.process_user_time = seconds(user).into();
        record.process_kernel_time = seconds(kernel).into();
    }
    record.flags1 = flags.bits().into();
    if let Some(config) = registers::xstate_config(facts.architecture, &facts.threads) {
        record.xstate_data = config;
    }
    MiscInfo::new(record)
}

/// Fields of `/proc/PID/stat`.
struct Stat {
    page_faults: u64,
    user_time: u64,
    system_time: u64,
    start_time: u64,
}

impl Stat {
    fn of(facts: &LinuxFacts) -> Option<Self> {
        let text = text(facts, StreamType::LINUX_PROC_STAT)?;
        // The name may have spaces and parentheses; what follows it has none.
        let after = text.iter().rposition(|byte| *byte == b')')? + 1;
        let fields: Vec<&[u8]> = text[after..].trim_ascii().split(u8::is_ascii_whitespace).collect();
        // Fields are counted from 1, and the first after the name is the third.
        let field = |number: usize| core::str::from_utf8(fields.get(number - 3)?).ok()?.parse::<u64>().ok();
        Some(Self {
            page_faults: field(10)?.saturating_add(field(12)?),
            user_time: field(14)?,
            system_time: field(15)?,
            start_time: field(22)?,
        })
    }
}

/// The text that a stream carries.
pub(super) fn text(facts: &LinuxFacts, stream_type: StreamType) -> Option<&[u8]> {
    let (_, text) = facts.texts.iter().find(|(held, _)| *held == stream_type)?;
    Some(text)
}

/// The memory counters that `/proc/PID/status` has; `None` without it.
///
/// Resident memory is the working set; what is swapped out stands for the page file; private memory is the anonymous
/// one, resident or swapped out.
pub(super) fn vm_counters(facts: &LinuxFacts) -> Option<ProcessVmCounters> {
    let status = LinuxProcStatus::new(text(facts, StreamType::LINUX_PROC_STATUS)?);
    let bytes = |key: &str| -> Option<u64> {
        let value = core::str::from_utf8(status.value(key)?).ok()?;
        value.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let resident = bytes("VmRSS")?;
    let swapped = bytes("VmSwap").unwrap_or(0);
    let mut flags = VmCounterFlags::BASE;
    let mut counters = VmCounters2::default();
    counters.base.revision = 2.into();
    counters.base.working_set_size = resident.into();
    counters.base.peak_working_set_size = bytes("VmHWM").unwrap_or(resident).into();
    counters.base.pagefile_usage = swapped.into();
    counters.base.peak_pagefile_usage = swapped.into();
    let faults = Stat::of(facts).map_or(0, |stat| stat.page_faults);
    counters.base.page_fault_count = u32::try_from(faults).unwrap_or(u32::MAX).into();
    if let Some(size) = bytes("VmSize") {
        flags |= VmCounterFlags::VIRTUAL_SIZE;
        counters.virtual_size = size.into();
        counters.peak_virtual_size = bytes("VmPeak").unwrap_or(size).into();
    }
    if let Some(anonymous) = bytes("RssAnon") {
        flags |= VmCounterFlags::EX | VmCounterFlags::EX2;
        counters.private_usage = anonymous.saturating_add(swapped).into();
        counters.private_working_set_size = anonymous.into();
        counters.shared_commit_usage = bytes("RssShmem").unwrap_or(0).into();
    }
    counters.base.flags = flags.bits().into();
    Some(ProcessVmCounters::V2(counters))
}
