//! The memory of a process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::{Error, FileOffset, VirtAddr, VirtRange};
use dotdump_snapshot::memory::{Extent, Memory};
use dotdump_snapshot::ranges::{RangeSet, clipped};

use super::mappings;
use super::page_cache::{PAGE, PageCache};
use super::page_map::PageMap;
use super::process_vm;

/// The memory of a process: the readable mappings without those parts that cannot be read for all that.
///
/// What was read in small pieces is kept, as are answers about untouched pages: it shows one instant of a process that is
/// stopped, and nothing certain of one that runs.
pub(super) struct LiveMemory {
    process: u32,
    /// `/proc/PID/mem`.
    file: File,
    /// `/proc/PID/pagemap`, where it can be opened.
    page_map: Option<PageMap>,
    parts: Vec<Part>,
    /// Whether process_vm_readv works, which is faster than the file.
    direct: AtomicBool,
    cache: Mutex<PageCache>,
    known: Mutex<Known>,
}

/// A part of the memory.
#[derive(Clone, Copy, Debug)]
struct Part {
    range: VirtRange,
    /// Whether pages that were never touched are zeros: memory without a file that belongs to the process alone.
    /// Those are not to be touched: a reservation may be larger than the machine, and may have a handler for page faults
    /// in the process that is stopped.
    zero_filled: bool,
}

/// What the page map said of a range.
#[derive(Debug)]
struct Known {
    range: VirtRange,
    stored: Vec<VirtRange>,
}

impl LiveMemory {
    /// The memory of `process`: `mappings` without `unreadable`.
    pub(super) fn new(
        process: u32,
        file: File,
        page_map: Option<File>,
        mappings: &[LinuxMapping],
        mut unreadable: RangeSet,
    ) -> Self {
        let holes = unreadable.as_slice();
        let mut parts = Vec::with_capacity(mappings.len());
        for mapping in mappings.iter().filter(|mapping| mappings::is_readable(mapping)) {
            let zero_filled = mappings::is_zero_filled(mapping);
            let mut start = mapping.range.start;
            for hole in clipped(holes, mapping.range) {
                parts.push(Part {
                    range: VirtRange::new(start, hole.start),
                    zero_filled,
                });
                start = hole.end;
            }
            parts.push(Part {
                range: VirtRange::new(start, mapping.range.end),
                zero_filled,
            });
        }
        parts.retain(|part| !part.range.is_empty());
        Self {
            process,
            file,
            page_map: page_map.map(PageMap::new),
            parts,
            direct: AtomicBool::new(true),
            cache: Mutex::default(),
            known: Mutex::new(Known {
                range: VirtRange::sized(VirtAddr(0), 0),
                stored: Vec::new(),
            }),
        }
    }

    /// The parts from the one that contains `address` or follows it on.
    fn parts_from(&self, address: VirtAddr) -> &[Part] {
        let first = self.parts.partition_point(|part| part.range.end <= address);
        &self.parts[first..]
    }

    /// Reads memory of one part, and tells how many bytes were there.
    fn read_part(&self, part: Part, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        if !part.zero_filled || self.page_map.is_none() {
            return self.fetch(address, buffer);
        }
        let mut done = 0;
        while done < buffer.len() {
            let rest = VirtRange::sized(address.saturating_add(done as u64), (buffer.len() - done) as u64);
            let stored = self.stored(rest)?;
            let zeros = small(stored.start.0 - rest.start.0);
            buffer[done..done + zeros].fill(0);
            done += zeros;
            let size = small(stored.size());
            let read = self.fetch(stored.start, &mut buffer[done..done + size])?;
            done += read;
            if read < size {
                break;
            }
        }
        Ok(done)
    }

    /// [`Memory::next_stored`] within one zero-filled part.
    fn stored(&self, within: VirtRange) -> Result<VirtRange, Error> {
        let Some(page_map) = &self.page_map else {
            return Ok(within);
        };
        let mut rest = within;
        let mut known = lock(&self.known);
        while !rest.is_empty() {
            if !known.range.contains(rest.start) {
                let (stored, end) = page_map
                    .stored(rest)
                    .map_err(|error| self.failure(rest.start, rest.size(), &error))?;
                if end <= rest.start {
                    return Ok(rest);
                }
                *known = Known {
                    range: VirtRange::new(rest.start, end),
                    stored,
                };
            }
            if let Some(stored) = clipped(&known.stored, rest).next() {
                return Ok(stored);
            }
            rest = VirtRange::new(known.range.end.min(rest.end), rest.end);
        }
        Ok(VirtRange::sized(within.end, 0))
    }

    /// Reads from the process, and tells how many bytes were there.
    fn fetch(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.saturating_add(done as u64);
            match self.fetch_once(at, &mut buffer[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) => return Err(self.failure(at, (buffer.len() - done) as u64, &error)),
            }
        }
        Ok(done)
    }

    fn fetch_once(&self, address: VirtAddr, buffer: &mut [u8]) -> io::Result<usize> {
        if self.direct.load(Ordering::Relaxed) {
            match process_vm::read(self.process, address.0, buffer) {
                Ok(read) => return Ok(read),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EFAULT | libc::EIO | libc::EHWPOISON) => return Ok(0),
                    // Not in this kernel, or not allowed by a filter or a security module.
                    Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => self.direct.store(false, Ordering::Relaxed),
                    _ => return Err(error),
                },
            }
        }
        match self.file.read_at(buffer, address.0) {
            // The file is empty when the address space is gone.
            Ok(0) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EIO | libc::EHWPOISON)) => Ok(0),
            result => result,
        }
    }

    fn failure(&self, address: VirtAddr, size: u64, error: &io::Error) -> Error {
        let process = self.process;
        let reason = match error.raw_os_error() {
            Some(libc::ESRCH) => format!("process {process} has ended"),
            _ => format!("address {address} of process {process}: {error}"),
        };
        Error::Read {
            offset: FileOffset(address.0),
            size,
            reason,
        }
    }
}

impl Memory for LiveMemory {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let parts = self.parts_from(within.start).iter();
        Box::new(parts.map_while(move |part| {
            let range = part.range.intersection(within)?;
            Some(Ok(Extent { range, offset: None }))
        }))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        for part in self.parts_from(address) {
            let at = address.saturating_add(done as u64);
            if done == buffer.len() || part.range.start > at {
                break;
            }
            let size = small(part.range.end.0 - at.0).min(buffer.len() - done);
            let wanted = &mut buffer[done..done + size];
            let page = VirtRange::sized(at.align_down(PAGE as u64), PAGE as u64).intersection(part.range);
            let read = match page {
                Some(page) if size < PAGE / 2 && at.0 + size as u64 <= page.end.0 => {
                    lock(&self.cache).read(at, page, wanted, &mut |bytes| self.read_part(*part, page.start, bytes))?
                }
                _ => self.read_part(*part, at, wanted)?,
            };
            done += read;
            if read < size {
                break;
            }
        }
        Ok(done)
    }

    fn next_stored(&self, within: VirtRange) -> Result<VirtRange, Error> {
        let mut at = within.start;
        for part in self.parts_from(within.start) {
            let Some(range) = part.range.intersection(VirtRange::new(at, within.end)) else {
                break;
            };
            // What is in no part is not known to be zero.
            if range.start > at || !part.zero_filled {
                return Ok(VirtRange::new(at, within.end));
            }
            let stored = self.stored(range)?;
            if !stored.is_empty() {
                return Ok(stored);
            }
            at = range.end;
        }
        Ok(VirtRange::new(at, within.end))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A size that is no larger than a buffer.
fn small(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
