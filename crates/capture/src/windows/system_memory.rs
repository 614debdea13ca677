//! Memory figures of the system, as `SystemMemoryInfo` holds them.

use std::io;

use dotdump_format::minidump::system_memory_info::{
    BasicInformation, BasicPerformanceInformation, FileCacheInformation, PerformanceInformation, SystemMemoryFlags,
    SystemMemoryInfo, SystemMemoryInfoRecord,
};
use dotdump_format::{Endian, Record as _};

use super::native::{Bytes, check, functions, missing};

/// `SystemBasicInformation`.
const BASIC: u32 = 0;
/// `SystemPerformanceInformation`.
const PERFORMANCE: u32 = 2;
/// `SystemFileCacheInformation`.
const FILE_CACHE: u32 = 21;
/// `SystemBasicPerformanceInformation`, since Windows 8.
const BASIC_PERFORMANCE: u32 = 123;

/// Addresses and sizes of the system's records are as wide as this.
const WORD: usize = size_of::<usize>();
/// The size of `SYSTEM_BASIC_INFORMATION` (`winternl.h`).
const BASIC_SIZE: usize = 24 + 5 * WORD;
/// The size of `SYSTEM_FILECACHE_INFORMATION` without its last two fields, and with them.
const FILE_CACHE_SIZE: usize = 7 * WORD;
const FILE_CACHE_SIZE_WITH_TRANSITION: usize = FILE_CACHE_SIZE + 8;

/// How much of `SYSTEM_PERFORMANCE_INFORMATION` there is: before Windows 10; since then, which is what the first revision
/// of the stream holds; and since Windows 11 24H2, which is what the second one holds.
const PERFORMANCE_SIZE: usize = 312;
const PERFORMANCE_SIZE_1: usize = 344;
const PERFORMANCE_SIZE_2: usize = 376;

/// The figures of this moment; `None` where the system does not tell one of the parts that every reader takes as valid.
pub(super) fn system_memory() -> Option<SystemMemoryInfo> {
    // This class wants a buffer of exactly its size.
    let basic = basic(&query(BASIC, BASIC_SIZE, BASIC_SIZE)?)?;
    let performance = query(PERFORMANCE, 2 * PERFORMANCE_SIZE_2, PERFORMANCE_SIZE)?;
    let file_cache = query(FILE_CACHE, FILE_CACHE_SIZE_WITH_TRANSITION, FILE_CACHE_SIZE)?;
    let mut flags = SystemMemoryFlags::empty();
    flags.set(
        SystemMemoryFlags::FILECACHE_TRANSITIONREPURPOSECOUNT_FLAGS,
        file_cache.size >= FILE_CACHE_SIZE_WITH_TRANSITION,
    );
    flags.set(
        SystemMemoryFlags::PERF_CCTOTALDIRTYPAGES_CCDIRTYPAGETHRESHOLD
            | SystemMemoryFlags::PERF_RESIDENTAVAILABLEPAGES_SHAREDCOMMITPAGES,
        performance.size >= PERFORMANCE_SIZE_1,
    );
    let revision: u16 = if performance.size >= PERFORMANCE_SIZE_2 { 2 } else { 1 };
    flags.set(
        SystemMemoryFlags::PERF_MDLPAGESALLOCATED_PFNDATABASECOMMITTEDPAGES
            | SystemMemoryFlags::PERF_SYSTEMPAGETABLECOMMITTEDPAGES_CONTIGUOUSPAGESALLOCATED,
        revision >= 2,
    );
    let commitment = query(BASIC_PERFORMANCE, 4 * WORD, 4 * WORD).and_then(|answer| basic_performance(&answer));
    flags.set(SystemMemoryFlags::BASICPERF, commitment.is_some());
    let record = SystemMemoryInfoRecord {
        revision: revision.into(),
        flags: flags.bits().into(),
        basic,
        file_cache: self::file_cache(&file_cache)?,
        basic_performance: commitment.unwrap_or_default(),
        // The system's record is the stream's.
        performance: PerformanceInformation::read_partial(performance.known(), Endian::Little),
    };
    Some(SystemMemoryInfo::new(record))
}

/// What the system answered.
struct Answer {
    bytes: Bytes,
    /// How much of it the system wrote.
    size: usize,
}

impl Answer {
    /// What the system wrote.
    fn known(&self) -> &[u8] {
        self.bytes.as_slice().get(..self.size).unwrap_or_default()
    }

    /// A number that is as wide as a pointer.
    fn word(&self, offset: usize) -> Option<u64> {
        Some(self.bytes.word(offset)? as u64)
    }
}

/// Asks with a buffer of `room` bytes; `None` where the system knows no such class, or tells less than `least` bytes.
fn query(class: u32, room: usize, least: usize) -> Option<Answer> {
    let ask = || -> io::Result<Answer> {
        let query = functions().query_system_information.ok_or_else(missing)?;
        let mut bytes = Bytes::new(room);
        let room = u32::try_from(room).map_err(io::Error::other)?;
        let mut length = 0;
        // SAFETY: the buffer is at least as large as it says.
        check(unsafe { query(class, bytes.as_mut_ptr(), room, &raw mut length) })?;
        let size = usize::try_from(length.min(room)).map_err(io::Error::other)?;
        Ok(Answer { bytes, size })
    };
    ask().ok().filter(|answer| answer.size >= least)
}

fn basic(answer: &Answer) -> Option<BasicInformation> {
    let bytes = &answer.bytes;
    // A reserved number, six numbers, three words aligned as such, and a byte.
    let words = (4 + 6 * 4_usize).next_multiple_of(WORD);
    let [processors] = bytes.array(words + 3 * WORD)?;
    Some(BasicInformation {
        timer_resolution: bytes.u32(4)?.into(),
        page_size: bytes.u32(8)?.into(),
        number_of_physical_pages: bytes.u32(12)?.into(),
        lowest_physical_page_number: bytes.u32(16)?.into(),
        highest_physical_page_number: bytes.u32(20)?.into(),
        allocation_granularity: bytes.u32(24)?.into(),
        minimum_user_mode_address: answer.word(words)?.into(),
        maximum_user_mode_address: answer.word(words + WORD)?.into(),
        active_processors_affinity_mask: answer.word(words + 2 * WORD)?.into(),
        number_of_processors: u32::from(processors).into(),
    })
}

fn file_cache(answer: &Answer) -> Option<FileCacheInformation> {
    let word = |index: usize| answer.word(index * WORD).map(Into::into);
    let bytes = &answer.bytes;
    let has_transition = answer.size >= FILE_CACHE_SIZE_WITH_TRANSITION;
    let last = |offset: usize| bytes.u32(FILE_CACHE_SIZE + offset).filter(|_| has_transition);
    Some(FileCacheInformation {
        current_size: word(0)?,
        peak_size: word(1)?,
        // A number with padding behind it where words are wider.
        page_fault_count: bytes.u32(2 * WORD)?.into(),
        minimum_working_set: word(3)?,
        maximum_working_set: word(4)?,
        current_size_including_transition_in_pages: word(5)?,
        peak_size_including_transition_in_pages: word(6)?,
        transition_re_purpose_count: last(0).unwrap_or(0).into(),
        flags: last(4).unwrap_or(0).into(),
    })
}

fn basic_performance(answer: &Answer) -> Option<BasicPerformanceInformation> {
    let word = |index: usize| answer.word(index * WORD).map(Into::into);
    Some(BasicPerformanceInformation {
        available_pages: word(0)?,
        committed_pages: word(1)?,
        commit_limit: word(2)?,
        peak_commitment: word(3)?,
    })
}
