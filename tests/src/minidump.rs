//! A reader of minidumps for what tests expect: the few tables that they ask about, read without the engine.
//!
//! It is for sound files only, and panics on others.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::compare::Ranges;

/// `ThreadListStream`.
pub const THREAD_LIST: u32 = 3;
/// `MemoryListStream`.
pub const MEMORY_LIST: u32 = 5;
/// `SystemInfoStream`.
pub const SYSTEM_INFO: u32 = 7;
/// `Memory64ListStream`.
pub const MEMORY64_LIST: u32 = 9;
/// `MemoryInfoListStream`.
pub const MEMORY_INFO_LIST: u32 = 16;
/// Breakpad's copy of `/proc/PID/maps`.
pub const LINUX_MAPS: u32 = 0x4767_0009;

/// As much of a file is read at once; its tables are to lie in it.
const LARGE: u64 = 64 << 20;

/// A thread's record.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Its id.
    pub id: u32,
    /// Its environment block.
    pub teb: u64,
    /// Its stack: address and size.
    pub stack: (u64, u64),
}

/// A dump.
#[derive(Debug)]
pub struct Dump {
    file: File,
    /// The file; of a very large one all that comes before its memory.
    data: Vec<u8>,
    /// The flags of its header.
    pub flags: u64,
    /// Its directory: type, size and offset of each stream that is used.
    pub streams: Vec<(u32, u64, usize)>,
    /// Its memory: address, size and offset of each range that is not empty, of both lists.
    pub memory: Vec<(u64, u64, usize)>,
}

impl Dump {
    /// Reads a file.
    ///
    /// # Panics
    /// Where it is no sound minidump.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut data = Vec::new();
        let read = file.by_ref().take(LARGE).read_to_end(&mut data);
        read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut dump = Self {
            file,
            data,
            flags: 0,
            streams: Vec::new(),
            memory: Vec::new(),
        };
        assert_eq!(&dump.data[..4], b"MDMP", "{}", path.display());
        dump.flags = dump.u64(24);
        let directory = dump.offset(12);
        let streams = (0..dump.offset(8)).map(|index| directory + 12 * index);
        let streams = streams.map(|at| (dump.u32(at), u64::from(dump.u32(at + 4)), dump.offset(at + 8)));
        dump.streams = streams.filter(|(kind, ..)| *kind != 0).collect();
        dump.memory = dump.read_memory();
        dump
    }

    fn read_memory(&self) -> Vec<(u64, u64, usize)> {
        let mut memory = Vec::new();
        if let Some((at, count)) = self.list(MEMORY_LIST, 16) {
            let entries = (0..count).map(|index| at + 16 * index);
            memory.extend(entries.map(|at| (self.u64(at), u64::from(self.u32(at + 8)), self.offset(at + 12))));
        }
        if let Some((_, at)) = self.stream(MEMORY64_LIST) {
            let mut offset = usize::try_from(self.u64(at + 8)).expect("an offset");
            for index in 0..usize::try_from(self.u64(at)).expect("a count") {
                let (start, size) = (self.u64(at + 16 + 16 * index), self.u64(at + 24 + 16 * index));
                memory.push((start, size, offset));
                offset += usize::try_from(size).expect("a size");
            }
        }
        memory.retain(|(_, size, _)| *size > 0);
        memory
    }

    pub(crate) fn bytes(&self, at: usize, size: usize) -> &[u8] {
        &self.data[at..at + size]
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.data[at..at + 4].try_into().expect("four bytes"))
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.data[at..at + 8].try_into().expect("eight bytes"))
    }

    pub(crate) fn offset(&self, at: usize) -> usize {
        usize::try_from(self.u32(at)).expect("an offset")
    }

    /// Size and offset of a stream.
    #[must_use]
    pub fn stream(&self, kind: u32) -> Option<(u64, usize)> {
        let found = self.streams.iter().find(|stream| stream.0 == kind);
        found.map(|(_, size, at)| (*size, *at))
    }

    /// Where the entries of a list of fixed entries start (some writers pad the count to eight bytes), and their number.
    pub(crate) fn list(&self, kind: u32, entry: usize) -> Option<(usize, usize)> {
        let (size, at) = self.stream(kind)?;
        let count = self.offset(at);
        let padded = size == (8 + count * entry) as u64;
        Some((at + if padded { 8 } else { 4 }, count))
    }

    /// The threads.
    #[must_use]
    pub fn threads(&self) -> Vec<Thread> {
        let (start, count) = self.list(THREAD_LIST, 48).unwrap_or_default();
        let records = (0..count).map(|index| start + 48 * index);
        records
            .map(|at| Thread {
                id: self.u32(at),
                teb: self.u64(at + 16),
                stack: (self.u64(at + 24), u64::from(self.u32(at + 32))),
            })
            .collect()
    }

    /// Whether it is of Windows (`VER_PLATFORM_WIN32_NT` and its predecessors).
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.stream(SYSTEM_INFO).is_some_and(|(_, at)| self.u32(at + 20) <= 3)
    }

    /// Whether its processor has 32-bit addresses.
    #[must_use]
    pub fn is_32_bit(&self) -> bool {
        self.stream(SYSTEM_INFO)
            .is_some_and(|(_, at)| matches!(self.u32(at) & 0xFFFF, 0 | 5))
    }

    /// Whether it tells which regions its address space has.
    #[must_use]
    pub fn has_map(&self) -> bool {
        let info = self
            .stream(MEMORY_INFO_LIST)
            .is_some_and(|(_, at)| self.u64(at + 8) > 0);
        info || self.stream(LINUX_MAPS).is_some_and(|(size, _)| size > 1)
    }

    /// The addresses of its memory. Those of 32-bit processes come without the sign that some writers extend.
    #[must_use]
    pub fn addresses(&self) -> Ranges {
        let mask = if self.is_32_bit() { 0xFFFF_FFFF } else { u64::MAX };
        self.memory
            .iter()
            .map(|(start, size, _)| (start & mask, (start & mask) + size))
            .collect()
    }

    /// Whether any byte of these addresses is there.
    #[must_use]
    pub fn has_any(&self, start: u64, size: u64) -> bool {
        let mut memory = self.memory.iter();
        memory.any(|(at, length, _)| *at < start.saturating_add(size) && start < at.saturating_add(*length))
    }

    /// Memory, as far as it is there without a gap.
    ///
    /// # Panics
    /// Where the file cannot be read.
    #[must_use]
    pub fn read(&self, address: u64, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let at = address + bytes.len() as u64;
            let mut memory = self.memory.iter();
            let Some((start, length, offset)) = memory.find(|(start, length, _)| *start <= at && at - start < *length)
            else {
                break;
            };
            let step = usize::try_from(length - (at - start))
                .expect("a size")
                .min(size - bytes.len());
            let mut file = &self.file;
            file.seek(SeekFrom::Start(*offset as u64 + (at - start)))
                .expect("a place");
            let before = bytes.len();
            bytes.resize(before + step, 0);
            file.read_exact(&mut bytes[before..]).expect("memory in the file");
        }
        bytes
    }

    /// Words of memory, as far as they are there.
    ///
    /// # Panics
    /// Where the file cannot be read.
    #[must_use]
    pub fn words(&self, address: u64, count: usize) -> Vec<u64> {
        let bytes = self.read(address, 8 * count);
        let words = bytes.chunks_exact(8).map(|word| word.try_into().expect("eight bytes"));
        words.map(u64::from_le_bytes).collect()
    }
}
