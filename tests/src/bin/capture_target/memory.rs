//! Memory of all kinds.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::ptr;

use dotdump_tests::capture::{self, UNIT};
use serde_json::{Value, json};

use crate::run::{Options, hex};

const PAGE: usize = 4096;

/// In the data segment.
static mut INITIALIZED: [u64; 16] = [0x5EED_DA7A_5E63_0001; 16];
/// Zeros at first.
static mut ZEROED: [u64; 16] = [0; 16];

/// Maps memory.
fn map(size: usize, protection: i32, flags: i32, file: Option<&File>) -> *mut u8 {
    let descriptor = file.map_or(-1, |file| file.as_raw_fd());
    // SAFETY: the kernel chooses a place that is free.
    let address = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, descriptor, 0) };
    assert_ne!(address, libc::MAP_FAILED, "{size} bytes");
    address.cast()
}

/// Memory of its own, that starts at a multiple of [`UNIT`].
fn private(size: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let address = map(size + UNIT, libc::PROT_READ | libc::PROT_WRITE, flags, None);
    // SAFETY: the aligned start is within what was mapped.
    unsafe { address.add(address.align_offset(UNIT)) }
}

/// Makes it, and says what is where.
pub(crate) fn make(options: &Options) -> Value {
    let mut random = capture::seed("statics", 0);
    let values: [u64; 16] = std::array::from_fn(|_| random.next());
    // SAFETY: there are no other threads yet.
    unsafe { (&raw mut ZEROED).write_volatile(values) };
    json!({
        "heap": heap(options.heap, options.solid),
        "untouched": (!options.solid).then(|| untouched(options.heap)),
        "data": hex(&raw const INITIALIZED as u64),
        "bss": hex(&raw const ZEROED as u64),
        "files": files(options),
        "guard": guard(),
        "pages_behind_guards": guarded(),
    })
}

/// A pattern that can be computed, in which every eighth unit has never been touched unless it is to be solid.
fn heap(size: usize, solid: bool) -> Value {
    let address = private(size);
    // SAFETY: it is mapped, and nobody else knows of it. What is not touched here reads as zeros and stays away.
    let heap = unsafe { std::slice::from_raw_parts_mut(address, size) };
    capture::fill_heap(heap, solid);
    json!({ "start": hex(address as u64), "size": size })
}

/// Memory that is there and has never been touched.
fn untouched(size: usize) -> Value {
    json!({ "start": hex(private(size) as u64), "size": size })
}

/// A page that may not be touched between two with the word of its number.
fn guard() -> Value {
    let address = private(3 * PAGE);
    for page in 0..3 {
        // SAFETY: within what was mapped.
        unsafe { address.add(page * PAGE).cast::<u64>().write(0x6A4D_0000 + page as u64) };
    }
    // SAFETY: nothing uses the page.
    let result = unsafe { libc::mprotect(address.add(PAGE).cast(), PAGE, libc::PROT_NONE) };
    assert_eq!(result, 0, "mprotect");
    hex(address as u64)
}

/// The same, but the page is told to be away by a mark (`MADV_GUARD_INSTALL`), of which the list of mappings says
/// nothing; null where the system has no such marks.
fn guarded() -> Value {
    const MADV_GUARD_INSTALL: i32 = 102;

    let address = private(3 * PAGE);
    for page in 0..3 {
        // SAFETY: within what was mapped.
        unsafe { address.add(page * PAGE).cast::<u64>().write(0x6A4D_1000 + page as u64) };
    }
    // SAFETY: nothing uses the page.
    let result = unsafe { libc::madvise(address.add(PAGE).cast(), PAGE, MADV_GUARD_INSTALL) };
    if result == 0 { hex(address as u64) } else { Value::Null }
}

/// Files of a page and a half in mappings of four pages.
fn files(options: &Options) -> Value {
    let contents = |name: &str| -> Vec<u8> {
        let mut random = capture::seed(name, 0);
        (0..PAGE / 8 + PAGE / 16)
            .flat_map(|_| random.next().to_le_bytes())
            .collect()
    };
    let mut mapped = Vec::new();
    for (name, flags) in [
        ("private", libc::MAP_PRIVATE),
        ("shared", libc::MAP_SHARED),
        ("deleted", libc::MAP_SHARED),
    ] {
        let path = options.folder.join(format!("{name}.data"));
        fs::write(&path, contents(name)).expect("a file");
        let file = File::options().read(true).write(true).open(&path).expect("the file");
        let address = map(4 * PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, Some(&file));
        // SAFETY: the first page is of the file.
        unsafe { address.cast::<u64>().write(0xC4A6_ED00) };
        if name == "deleted" {
            fs::remove_file(&path).expect("the file");
        }
        mapped.push(json!({
            "name": name,
            "path": path,
            "start": hex(address as u64),
            "size": 4 * PAGE,
            // Behind the page in which the file ends there is nothing.
            "readable": 2 * PAGE,
        }));
    }
    Value::Array(mapped)
}
