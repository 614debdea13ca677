//! `ProcessVmCountersStream` (22): memory counters of the process, all sizes in bytes.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Record, record};

record! {
    /// The counters that both revisions start with, 72 bytes.
    pub struct BaseCounters[72] {
        /// 1 or 2: which record it is.
        pub revision: U16,
        /// Revision 2: [`VmCounterFlags`].
        pub flags: U16,
        /// Page faults.
        pub page_fault_count: U32,
        /// The largest working set so far.
        pub peak_working_set_size: U64,
        /// Memory that is resident.
        pub working_set_size: U64,
        /// The most paged pool so far.
        pub quota_peak_paged_pool_usage: U64,
        /// Paged pool.
        pub quota_paged_pool_usage: U64,
        /// The most non-paged pool so far.
        pub quota_peak_non_paged_pool_usage: U64,
        /// Non-paged pool.
        pub quota_non_paged_pool_usage: U64,
        /// Committed memory.
        pub pagefile_usage: U64,
        /// The most committed memory so far.
        pub peak_pagefile_usage: U64,
    }

    /// `MINIDUMP_PROCESS_VM_COUNTERS_1` (`minidumpapiset.h`), 80 bytes.
    pub struct VmCounters1[80] {
        /// What both revisions have.
        pub base: BaseCounters,
        /// Private committed memory.
        pub private_usage: U64,
    }

    /// `MINIDUMP_PROCESS_VM_COUNTERS_2` (`minidumpapiset.h`), 152 bytes. The flags say which fields are valid.
    pub struct VmCounters2[152] {
        /// What both revisions have.
        pub base: BaseCounters,
        /// The most address space so far.
        pub peak_virtual_size: U64,
        /// Address space in use.
        pub virtual_size: U64,
        /// Private committed memory.
        pub private_usage: U64,
        /// Resident memory that is not shared.
        pub private_working_set_size: U64,
        /// Committed memory that is shared.
        pub shared_commit_usage: U64,
        /// The job: committed memory that is shared.
        pub job_shared_commit_usage: U64,
        /// The job: private committed memory.
        pub job_private_commit_usage: U64,
        /// The job: the most private committed memory so far.
        pub job_peak_private_commit_usage: U64,
        /// The job: how much private memory it may commit.
        pub job_private_commit_limit: U64,
        /// The job: how much memory it may commit.
        pub job_total_commit_limit: U64,
    }
}

bitflags::bitflags! {
    /// `MINIDUMP_PROCESS_VM_COUNTERS_*` (`minidumpapiset.h`): which fields are valid. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct VmCounterFlags: u16 {
        /// The fields of [`BaseCounters`].
        const BASE = 0x1;
        /// The sizes of the address space.
        const VIRTUAL_SIZE = 0x2;
        /// The private usage.
        const EX = 0x4;
        /// The private working set and the shared commit usage.
        const EX2 = 0x8;
        /// The fields of the job.
        const JOB = 0x10;

        const _ = !0;
    }
}

/// A ProcessVmCountersStream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessVmCounters {
    /// Revision 1.
    V1(VmCounters1),
    /// Revision 2.
    V2(VmCounters2),
}

impl ProcessVmCounters {
    /// The counters that both revisions have.
    #[must_use]
    pub const fn base(&self) -> &BaseCounters {
        match self {
            Self::V1(counters) => &counters.base,
            Self::V2(counters) => &counters.base,
        }
    }

    /// The second revision, where it is that and `flags` are set.
    fn valid(&self, flags: VmCounterFlags) -> Option<&VmCounters2> {
        match self {
            Self::V1(_) => None,
            Self::V2(counters) => VmCounterFlags::from_bits_retain(counters.base.flags.get())
                .contains(flags)
                .then_some(counters),
        }
    }

    /// Private committed memory.
    #[must_use]
    pub fn private_usage(&self) -> Option<u64> {
        match self {
            Self::V1(counters) => Some(counters.private_usage.get()),
            Self::V2(_) => self
                .valid(VmCounterFlags::EX)
                .map(|counters| counters.private_usage.get()),
        }
    }

    /// Address space in use.
    #[must_use]
    pub fn virtual_size(&self) -> Option<u64> {
        self.valid(VmCounterFlags::VIRTUAL_SIZE)
            .map(|counters| counters.virtual_size.get())
    }

    /// Resident memory that is not shared.
    #[must_use]
    pub fn private_working_set_size(&self) -> Option<u64> {
        self.valid(VmCounterFlags::EX2)
            .map(|counters| counters.private_working_set_size.get())
    }

    /// Committed memory that is shared.
    #[must_use]
    pub fn shared_commit_usage(&self) -> Option<u64> {
        self.valid(VmCounterFlags::EX2)
            .map(|counters| counters.shared_commit_usage.get())
    }

    /// All counters, where those of the job are valid.
    #[must_use]
    pub fn job(&self) -> Option<&VmCounters2> {
        self.valid(VmCounterFlags::JOB)
    }
}

impl<'a> StreamContent<'a> for ProcessVmCounters {
    const TYPE: StreamType = StreamType::PROCESS_VM_COUNTERS;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        const WHAT: &str = "ProcessVmCounters";
        // The private usage has another place in each revision, so that the revision decides.
        let first: VmCounters1 = stream.head()?;
        if first.base.revision.get() < 2 {
            return Ok(Self::V1(first));
        }
        let there = stream.size.min(VmCounters2::SIZE as u64);
        if there < VmCounters2::SIZE as u64 {
            let (revision, size) = (first.base.revision, VmCounters2::SIZE);
            findings.add(
                stream.offset,
                WHAT,
                alloc::format!("{there} bytes of revision {revision}, {size} expected"),
            );
        }
        let bytes = stream.bytes_at(0, there)?;
        Ok(Self::V2(VmCounters2::read_partial(&bytes, stream.endian)))
    }
}

impl WriteStream for ProcessVmCounters {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        layout.align(4);
        let (offset, size) = match self {
            Self::V1(counters) => (layout.push_record(counters), VmCounters1::SIZE),
            Self::V2(counters) => (layout.push_record(counters), VmCounters2::SIZE),
        };
        layout.location(offset, size as u64, "ProcessVmCounters")
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::record::Endian;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::PROCESS_VM_COUNTERS;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            mut first in test_dump::record::<VmCounters1>(),
            mut second in test_dump::record::<VmCounters2>(),
        ) {
            first.base.revision = 1.into();
            second.base.revision = 2.into();
            for counters in [ProcessVmCounters::V1(first), ProcessVmCounters::V2(second)] {
                let file = test_dump::file_of(&counters, endian);
                prop_assert_eq!(test_dump::read_clean::<ProcessVmCounters>(&file), counters);
            }
        }
    }

    /// Each 64-bit field holds its own offset; offsets from section 3.18 of the format reference.
    fn numbered(revision: u8, flags: u8, size: u8) -> Vec<u8> {
        let mut bytes = Vec::from([revision, 0, flags, 0, 9, 0, 0, 0]);
        for offset in (8..size).step_by(8) {
            bytes.extend(u64::from(offset).to_le_bytes());
        }
        bytes
    }

    #[test]
    fn fields_lie_where_the_format_has_them() {
        let file = test_dump::raw(Endian::Little, TYPE, &numbered(1, 0, 80));
        let counters: ProcessVmCounters = test_dump::read_clean(&file);
        assert_eq!(counters.base().page_fault_count.get(), 9);
        assert_eq!(counters.base().working_set_size.get(), 16);
        assert_eq!(counters.base().peak_pagefile_usage.get(), 64);
        assert_eq!((counters.private_usage(), counters.virtual_size()), (Some(72), None));

        let file = test_dump::raw(Endian::Little, TYPE, &numbered(2, 0x1F, 152));
        let counters: ProcessVmCounters = test_dump::read_clean(&file);
        assert_eq!(
            (counters.virtual_size(), counters.private_usage()),
            (Some(80), Some(88))
        );
        assert_eq!(counters.private_working_set_size(), Some(96));
        assert_eq!(counters.shared_commit_usage(), Some(104));
        assert_eq!(counters.job().map(|job| job.job_total_commit_limit.get()), Some(144));
    }

    #[test]
    fn flags_say_what_is_valid() {
        let file = test_dump::raw(Endian::Little, TYPE, &numbered(2, 0x5, 152));
        let counters: ProcessVmCounters = test_dump::read_clean(&file);
        assert_eq!((counters.virtual_size(), counters.private_usage()), (None, Some(88)));
        assert_eq!((counters.private_working_set_size(), counters.job()), (None, None));
    }

    #[test]
    fn a_short_stream_is_a_finding_or_an_error() {
        let file = test_dump::raw(Endian::Little, TYPE, &numbered(2, 0x1F, 96));
        let (counters, findings) = test_dump::read::<ProcessVmCounters>(&file);
        assert_eq!(counters.unwrap().private_usage(), Some(88));
        assert_eq!(findings.total(), 1);
        let file = test_dump::raw(Endian::Little, TYPE, &numbered(1, 0, 72));
        assert!(test_dump::read::<ProcessVmCounters>(&file).0.is_err());
        test_dump::damaged(&test_dump::raw(Endian::Little, TYPE, &numbered(2, 0x1F, 152)), |file| {
            let _ = test_dump::read::<ProcessVmCounters>(file);
        });
    }
}
