//! Memory of a process: what is there, what is not, and what must not be touched.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

use dotdump_capture::{CaptureOptions, LiveProcess};
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::Memory;

use crate::target::{self, Target};

const PAGE: u64 = 0x1000;

/// A reservation that no machine has the memory for.
const RESERVATION: u64 = 1 << 44;

/// Pages of the mapped file that its bytes reach into, and those that are mapped.
const FILE_PAGES: u64 = 3;
const FILE_MAPPED: u64 = 8;

/// `MADV_GUARD_INSTALL` (`linux/mman.h`), since Linux 6.13.
const MADV_GUARD_INSTALL: i32 = 102;

const HEAP: usize = 3 << 20;

fn heap_byte(index: usize) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]
}

fn map(size: u64, protection: i32, flags: i32, file: i32) -> *mut u8 {
    let size = usize::try_from(size).expect("a size");
    // SAFETY: a new mapping is made where the kernel has room for it.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, file, 0) };
    assert_ne!(address, libc::MAP_FAILED);
    address.cast()
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// A program with a heap of known bytes, a huge reservation of which it touched two pages, a file that is mapped beyond
/// its end, and a guard region.
pub(crate) fn play() {
    let heap: Vec<u8> = (0..HEAP).map(heap_byte).collect();
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    let reserved = map(RESERVATION, read_write, private, -1);
    for page in [5, 1 << 30] {
        // SAFETY: the page lies in the mapping that was just made.
        unsafe { reserved.add(page * 0x1000).write(0xC3) };
    }
    let mut file = tempfile::tempfile().expect("a file");
    let size = usize::try_from(FILE_PAGES * PAGE).expect("a size") - 100;
    file.write_all(&vec![0x77; size]).expect("writing");
    let mapped = map(FILE_MAPPED * PAGE, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd());
    let guarded = map(16 * PAGE, read_write, private, -1);
    // SAFETY: both lie in the mapping that was just made, which nothing else knows.
    let guards = unsafe {
        guarded.write_bytes(0x99, 16 * 0x1000);
        libc::madvise(guarded.add(4 * 0x1000).cast(), 2 * 0x1000, MADV_GUARD_INSTALL) == 0
    };
    target::ready(&[
        ("heap", address(heap.as_ptr())),
        ("reserved", address(reserved)),
        ("mapped", address(mapped)),
        ("guarded", address(guarded)),
        ("guards", u64::from(guards)),
    ]);
    std::hint::black_box(&heap);
    target::wait_for_ever();
}

/// A program with shared memory whose missing pages it brings itself; the second of eight is there.
pub(crate) fn play_faults() {
    /// `struct uffdio_api` and `struct uffdio_register` (`linux/userfaultfd.h`), and the calls that take them.
    const UFFDIO_API: libc::Ioctl = 0xC018_AA3F_u32 as libc::Ioctl;
    const UFFDIO_REGISTER: libc::Ioctl = 0xC020_AA00_u32 as libc::Ioctl;
    const REGISTER_MISSING: u64 = 1;

    let shared = map(
        8 * PAGE,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        -1,
    );
    let mut api = [0xAA_u64, 0, 0];
    let mut register = [address(shared), 8 * PAGE, REGISTER_MISSING, 0];
    // SAFETY: the page lies in the mapping that was just made; the calls get records of the size that they read and write.
    let registered = unsafe {
        shared.add(0x1000).write(0x42);
        let descriptor = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
        let descriptor = i32::try_from(descriptor).expect("a descriptor");
        descriptor >= 0
            && libc::ioctl(descriptor, UFFDIO_API, api.as_mut_ptr()) == 0
            && libc::ioctl(descriptor, UFFDIO_REGISTER, register.as_mut_ptr()) == 0
    };
    target::ready(&[("shared", address(shared)), ("registered", u64::from(registered))]);
    target::wait_for_ever();
}

/// A field of `/proc/PID/status` in KiB.
fn kibibytes(id: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .expect("the field");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

fn page_of(start: u64, page: u64) -> VirtRange {
    VirtRange::sized(VirtAddr(start + page * PAGE), PAGE)
}

/// The extents in `range`, joined where they touch.
fn joined(memory: &dyn Memory, range: VirtRange) -> Vec<VirtRange> {
    let mut joined: Vec<VirtRange> = Vec::new();
    for extent in memory.extents(range) {
        let range = extent.expect("an extent").range;
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

#[test]
fn heap_reads_back_byte_for_byte() {
    let target = Target::start("memory");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let memory = stopped.snapshot().memory();
    let expected: Vec<u8> = (0..HEAP).map(heap_byte).collect();
    let heap = VirtAddr(target.value("heap"));
    let mut bytes = vec![0; HEAP];
    assert_eq!(memory.read(heap, &mut bytes).expect("reading"), HEAP);
    assert!(bytes == expected, "the heap differs");
    // Small pieces at odd places, across borders of pages, forwards and backwards.
    for index in (0..HEAP - 64).step_by(1009).chain((0..HEAP - 64).rev().step_by(7919)) {
        let mut piece = [0; 61];
        let at = heap.saturating_add(index as u64);
        assert_eq!(memory.read(at, &mut piece).expect("reading"), piece.len());
        assert_eq!(piece, expected[index..index + 61], "{index}");
    }
}

/// 16 TiB are read in no time, and nothing of it gets into the memory of the process: neither pages nor page tables.
#[test]
fn untouched_pages_stay_untouched() {
    let target = Target::start("memory");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let before = (kibibytes(target.id(), "RssAnon"), kibibytes(target.id(), "VmPTE"));
    let memory = stopped.snapshot().memory();
    let start = target.value("reserved");
    let reserved = VirtRange::sized(VirtAddr(start), RESERVATION);
    let mut rest = reserved;
    let mut touched = 0;
    while !rest.is_empty() {
        let stored = memory.next_stored(rest).expect("asking");
        touched += stored.size();
        if let Some(page) = [5, 1 << 30]
            .into_iter()
            .find(|page| stored.contains(page_of(start, *page).start))
        {
            let mut bytes = [0; 2];
            let there = memory.read(page_of(start, page).start, &mut bytes).expect("reading");
            assert_eq!((there, bytes), (2, [0xC3, 0]));
        }
        rest = if stored.is_empty() {
            stored
        } else {
            VirtRange::new(stored.end, reserved.end)
        };
    }
    // Two pages of any size up to 2 MiB.
    assert!((2 * PAGE..=4 << 20).contains(&touched), "{touched:#x} bytes are stored");
    let mut bytes = vec![1; 1 << 20];
    assert_eq!(
        memory.read(VirtAddr(start + (1 << 40)), &mut bytes).expect("reading"),
        bytes.len()
    );
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(
        (kibibytes(target.id(), "RssAnon"), kibibytes(target.id(), "VmPTE")),
        before
    );
}

#[test]
fn pages_behind_the_end_of_a_file_are_absent() {
    let target = Target::start("memory");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let memory = stopped.snapshot().memory();
    let mapped = VirtRange::sized(VirtAddr(target.value("mapped")), FILE_MAPPED * PAGE);
    let file = VirtRange::sized(mapped.start, FILE_PAGES * PAGE);
    assert_eq!(joined(memory, mapped), [file]);
    let mut bytes = vec![0; 1 << 16];
    let there = memory.read(mapped.start, &mut bytes).expect("reading");
    assert_eq!(there as u64, file.size());
    assert_eq!(bytes[there - 101..there - 99], [0x77, 0]);
    let mut empty = stopped.process().facts().empty.clone();
    assert!(empty.covers(VirtRange::new(file.end, mapped.end)));
    // The process itself cannot read them either, so that nothing is missing.
    assert_eq!(stopped.snapshot().missing_bytes(), 0);
}

#[test]
fn guard_regions_are_absent() {
    let target = Target::start("memory");
    if target.value("guards") == 0 {
        println!("skipped: this kernel has no guard regions");
        return;
    }
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let memory = stopped.snapshot().memory();
    let start = target.value("guarded");
    let mut bytes = [0; 1 << 16];
    assert_eq!(memory.read(VirtAddr(start), &mut bytes).expect("reading"), 4 * 0x1000);
    assert_eq!(bytes[0x3FFF], 0x99);
    let guarded = VirtRange::sized(VirtAddr(start), 16 * PAGE);
    let [before, behind] = joined(memory, guarded)[..] else {
        panic!("not two parts");
    };
    assert_eq!(before.end, page_of(start, 4).start);
    assert_eq!(behind.start, page_of(start, 6).start);
}

/// Nobody brings pages while the program is stopped: who touched one of them would wait for ever.
#[test]
fn pages_that_the_program_brings_are_absent() {
    let target = Target::start("faults");
    if target.value("registered") == 0 {
        println!("skipped: userfaultfd is not there or not allowed");
        return;
    }
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let memory = stopped.snapshot().memory();
    let shared = target.value("shared");
    assert_eq!(
        joined(memory, VirtRange::sized(VirtAddr(shared), 8 * PAGE)),
        [page_of(shared, 1)]
    );
    let mut bytes = [0; 2];
    assert_eq!(memory.read(VirtAddr(shared), &mut bytes).expect("reading"), 0);
    assert_eq!(memory.read(page_of(shared, 1).start, &mut bytes).expect("reading"), 2);
    assert_eq!(bytes, [0x42, 0]);
}

/// What is mapped for the kernel's own use is no memory of the program.
#[test]
fn special_mappings_are_absent() {
    let target = Target::start("sleep");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let facts = stopped.process().facts();
    for mapping in &facts.mappings {
        let is_there = !joined(stopped.snapshot().memory(), mapping.range).is_empty();
        let name = String::from_utf8_lossy(mapping.path.as_deref().unwrap_or_default());
        let expected = mapping.permissions.read && !name.starts_with("[vv") && !name.starts_with("[vs");
        assert_eq!(is_there, expected, "{name} at {:?}", mapping.range);
    }
}

/// A process that is killed while its memory is read gives an error, and the capture ends.
#[test]
fn reading_a_killed_process_fails() {
    let mut target = Target::start("memory");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    target.kill();
    let heap = VirtAddr(target.value("heap"));
    let mut bytes = vec![0; HEAP];
    // The address space goes a moment after the signal.
    let error = std::iter::repeat_with(|| stopped.snapshot().memory().read(heap, &mut bytes))
        .inspect(|_| std::thread::sleep(Duration::from_millis(1)))
        .find_map(Result::err);
    let message = error.expect("an error").to_string();
    assert!(message.contains("has ended"), "{message}");
    stopped.resume();
    assert!(
        !target.runs() || {
            std::thread::sleep(Duration::from_millis(200));
            !target.runs()
        }
    );
}
