//! `/proc/PID/pagemap`: which pages of a process were ever touched.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use dotdump_format::{VirtAddr, VirtRange};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// Categories of pages (`PAGE_IS_*` of `linux/fs.h`).
pub(super) const PRESENT: u64 = 1 << 3;
pub(super) const SWAPPED: u64 = 1 << 4;
/// The page of zeros that all processes share.
pub(super) const ZERO: u64 = 1 << 5;
/// A page of a guard region (`MADV_GUARD_INSTALL`), since Linux 6.15.
pub(super) const GUARD: u64 = 1 << 8;

/// Bits of an entry (Documentation/admin-guide/mm/pagemap.rst).
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;

/// How many ranges one call gives.
const RANGES: usize = 512;
/// How many entries are read at a time where there is no call that gives ranges.
const ENTRIES: usize = 16 << 10;

/// `struct pm_scan_arg` (`linux/fs.h`).
#[repr(C)]
#[derive(Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    ranges: u64,
    range_count: u64,
    most_pages: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    wanted: u64,
}

/// `struct page_region` (`linux/fs.h`): a range of pages of the same categories.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRange {
    start: u64,
    end: u64,
    categories: u64,
}

/// `PAGEMAP_SCAN`: `_IOWR('f', 16, struct pm_scan_arg)`, since Linux 6.7. It gives the number of ranges.
struct Scan<'a> {
    arguments: &'a mut ScanArguments,
}

// SAFETY: the call takes a pointer to a `struct pm_scan_arg`, which is what `as_ptr` gives, and reads and writes that.
unsafe impl Ioctl for Scan<'_> {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<ScanArguments>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.arguments).cast()
    }

    unsafe fn output_from_ptr(count: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        usize::try_from(count).map_err(|_| rustix::io::Errno::OVERFLOW)
    }
}

const _: () = assert!(size_of::<ScanArguments>() == 96 && size_of::<PageRange>() == 24);

/// The page map of a process.
#[derive(Debug)]
pub(super) struct PageMap {
    file: File,
    page_size: u64,
    /// Whether the kernel has [`PAGEMAP_SCAN`].
    scans: AtomicBool,
}

impl PageMap {
    /// The page map in `file`.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            page_size: rustix::param::page_size() as u64,
            scans: AtomicBool::new(true),
        }
    }

    /// The ranges of pages from the start of `within` on that have contents of their own, in memory or swapped out, and
    /// the address up to which the answer goes.
    pub(super) fn stored(&self, within: VirtRange) -> io::Result<(Vec<VirtRange>, VirtAddr)> {
        if self.scans.load(Ordering::Relaxed) {
            match self.scan(within, 0, PRESENT | SWAPPED, PRESENT | SWAPPED | ZERO) {
                Ok((ranges, end)) => {
                    let stored = ranges.into_iter().filter(|(_, categories)| categories & ZERO == 0);
                    return Ok((joined(stored.map(|(range, _)| range)), end));
                }
                Err(_) => self.scans.store(false, Ordering::Relaxed),
            }
        }
        self.entries(within)
    }

    /// The guard regions in `within`; none where the kernel does not tell.
    pub(super) fn guards(&self, within: VirtRange) -> Vec<VirtRange> {
        let mut guards = Vec::new();
        let mut rest = within;
        while !rest.is_empty() {
            let Ok((ranges, end)) = self.scan(rest, GUARD, 0, GUARD) else {
                break;
            };
            guards.extend(ranges.into_iter().map(|(range, _)| range));
            if end <= rest.start {
                break;
            }
            rest = VirtRange::new(end.min(rest.end), rest.end);
        }
        guards
    }

    /// The ranges of pages that are in all categories of `all_of` and in one of `any_of`, with those of `wanted` that they
    /// are in, and the address up to which the answer goes.
    fn scan(
        &self,
        within: VirtRange,
        all_of: u64,
        any_of: u64,
        wanted: u64,
    ) -> io::Result<(Vec<(VirtRange, u64)>, VirtAddr)> {
        let mut ranges = [PageRange::default(); RANGES];
        let within = self.pages_of(within);
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            start: within.start.0,
            end: within.end.0,
            ranges: ranges.as_mut_ptr().expose_provenance() as u64,
            range_count: RANGES as u64,
            all_of,
            any_of,
            wanted,
            ..ScanArguments::default()
        };
        let scan = Scan {
            arguments: &mut arguments,
        };
        // SAFETY: at most `range_count` ranges are written to the array at `ranges`, which lives until the end of this
        // function.
        let count = unsafe { ioctl(&self.file, scan) }?;
        let found = ranges[..count.min(RANGES)]
            .iter()
            .map(|range| {
                let addresses = VirtRange::new(VirtAddr(range.start), VirtAddr(range.end));
                (addresses, range.categories)
            })
            .collect();
        Ok((found, VirtAddr(arguments.walk_end)))
    }

    /// [`Self::stored`], from the entries of the pages.
    fn entries(&self, within: VirtRange) -> io::Result<(Vec<VirtRange>, VirtAddr)> {
        let within = self.pages_of(within);
        let first = within.start.0 / self.page_size;
        let pages = (within.size() / self.page_size).min(ENTRIES as u64);
        let mut bytes = vec![0; usize::try_from(pages).unwrap_or(0) * 8];
        let read = self.file.read_at(&mut bytes, first * 8)?;
        if read < 8 {
            // The file is empty when the address space is gone.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        bytes.truncate(read);
        let pages = (read / 8) as u64;
        let stored = (first..).zip(bytes.as_chunks::<8>().0).filter_map(|(page, entry)| {
            let is_stored = u64::from_le_bytes(*entry) & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0;
            is_stored.then(|| VirtRange::sized(VirtAddr(page * self.page_size), self.page_size))
        });
        Ok((joined(stored), VirtAddr((first + pages) * self.page_size)))
    }

    /// The whole pages that `range` touches.
    fn pages_of(&self, range: VirtRange) -> VirtRange {
        let end = range
            .end
            .0
            .checked_next_multiple_of(self.page_size)
            .unwrap_or(range.end.0);
        VirtRange::new(range.start.align_down(self.page_size), VirtAddr(end))
    }
}

/// Ranges that touch as one.
fn joined(ranges: impl Iterator<Item = VirtRange>) -> Vec<VirtRange> {
    let mut joined: Vec<VirtRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}
