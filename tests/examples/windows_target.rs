//! A Windows process to be captured: it has threads, memory and objects with known contents, prints where they are as
//! JSON, and waits until its standard input ends.

#[cfg(all(windows, target_arch = "x86_64"))]
fn main() {
    windows::main();
}

#[cfg(not(all(windows, target_arch = "x86_64")))]
fn main() {
    eprintln!("this is a process of 64-bit Windows: build it for that");
}

#[cfg(all(windows, target_arch = "x86_64"))]
mod windows {
    use std::arch::{asm, is_x86_feature_detected};
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::fs::File;
    use std::io::Read as _;
    use std::os::windows::io::AsRawHandle as _;
    use std::ptr;
    use std::sync::mpsc;
    use std::thread;

    use serde_json::json;
    use windows_sys::Win32::Foundation::FreeLibrary;
    use windows_sys::Win32::System::LibraryLoader::LoadLibraryA;
    use windows_sys::Win32::System::Memory::{
        MEM_COMMIT, MEM_RESERVE, PAGE_GUARD, PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, VirtualAlloc, VirtualProtect,
    };
    use windows_sys::Win32::System::Pipes::CreateNamedPipeA;
    use windows_sys::Win32::System::SystemInformation::{
        GetSystemInfo, GlobalMemoryStatusEx, MEMORYSTATUSEX, SYSTEM_INFO,
    };
    use windows_sys::Win32::System::Threading::{CreateEventA, GetCurrentThreadId, Sleep};

    thread_local! {
        static LOCAL: Cell<u64> = const { Cell::new(0) };
    }

    /// What `word` of the pattern is.
    fn pattern(word: u64) -> u64 {
        word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED
    }

    pub(super) fn main() {
        const PARKED: usize = 6;

        let (tell, told) = mpsc::channel();
        let mut threads = Vec::new();
        for index in 0..PARKED {
            let tell = tell.clone();
            thread::Builder::new()
                .name(format!("parked-{index}"))
                .spawn(move || {
                    LOCAL.with(|local| local.set(0xABCD_0000 + index as u64));
                    let on_stack = [0x57AC_0000_0000_0000_u64 + index as u64; 8];
                    let local = LOCAL.with(|local| ptr::from_ref(local).addr());
                    // SAFETY: it takes nothing.
                    let id = unsafe { GetCurrentThreadId() };
                    let facts = json!({
                        "id": id, "name": format!("parked-{index}"), "local": local, "stack": on_stack.as_ptr().addr(),
                    });
                    tell.send(facts).expect("the main thread listens");
                    loop {
                        // SAFETY: it takes any number.
                        unsafe { Sleep(1000) };
                        std::hint::black_box(&on_stack);
                    }
                })
                .expect("a thread");
            threads.push(told.recv().expect("a thread tells itself"));
        }
        let (spin_tell, spin_told) = mpsc::channel();
        thread::Builder::new()
            .name("registers".to_owned())
            .spawn(move || {
                // SAFETY: it takes nothing.
                spin_tell
                    .send(unsafe { GetCurrentThreadId() })
                    .expect("the main thread listens");
                drop(spin_tell);
                spin();
            })
            .expect("a thread");
        let spinning = spin_told.recv().expect("a thread tells itself");
        let has_avx = is_x86_feature_detected!("avx");

        // 4 MiB with a pattern; a page in the middle that cannot be accessed, one that guards, and one read-only.
        const SIZE: usize = 4 << 20;
        // SAFETY: new memory of this size.
        let block = unsafe { VirtualAlloc(ptr::null(), SIZE, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) };
        assert!(!block.is_null());
        for word in 0..SIZE / 8 {
            // SAFETY: within the block.
            unsafe { block.cast::<u64>().add(word).write(pattern(word as u64)) };
        }
        let protect = |page: usize, protection: u32| {
            let mut before = 0;
            // SAFETY: a page of the block, which nobody uses.
            let done = unsafe { VirtualProtect(block.byte_add(page << 12), 1 << 12, protection, &raw mut before) };
            assert!(done != 0);
        };
        protect(100, PAGE_NOACCESS);
        protect(200, PAGE_READWRITE | PAGE_GUARD);
        protect(300, PAGE_READONLY);

        // SAFETY: the names end with NUL.
        let event = unsafe { CreateEventA(ptr::null(), 1, 0, c"dotdump-test-event".as_ptr().cast()) };
        // SAFETY: the name ends with NUL, and no attributes are passed.
        let pipe = unsafe {
            CreateNamedPipeA(
                c"\\\\.\\pipe\\dotdump-test-pipe".as_ptr().cast(),
                3,
                0,
                1,
                4096,
                4096,
                0,
                ptr::null(),
            )
        };
        let file = File::open(std::env::current_exe().expect("a program")).expect("its own file");
        // Loaded and unloaded, so that the loader remembers it.
        // SAFETY: the name ends with NUL; what was loaded is freed once.
        unsafe {
            let library = LoadLibraryA(c"winmm.dll".as_ptr().cast());
            if !library.is_null() {
                FreeLibrary(library);
            }
        }
        let mut system = SYSTEM_INFO::default();
        let mut memory = MEMORYSTATUSEX {
            dwLength: u32::try_from(size_of::<MEMORYSTATUSEX>()).expect("a small record"),
            ..MEMORYSTATUSEX::default()
        };
        // SAFETY: the record is written in place.
        unsafe { GetSystemInfo(&raw mut system) };
        // SAFETY: likewise, and it tells its size.
        assert!(unsafe { GlobalMemoryStatusEx(&raw mut memory) } != 0);

        let facts = json!({
            "process": std::process::id(),
            // SAFETY: it takes nothing.
            "main": unsafe { GetCurrentThreadId() },
            "parked": threads,
            "spinning": { "id": spinning, "avx": has_avx, "code": (spin as *const c_void).addr() },
            "block": block.addr(),
            "size": SIZE,
            "noaccess": 100, "guard": 200, "readonly": 300,
            "event": event.addr(), "pipe": pipe.addr(), "file": file.as_raw_handle().addr(),
            "page_size": system.dwPageSize, "granularity": system.dwAllocationGranularity,
            "processors": system.dwNumberOfProcessors, "processor_mask": system.dwActiveProcessorMask,
            "lowest_address": system.lpMinimumApplicationAddress.addr(),
            "highest_address": system.lpMaximumApplicationAddress.addr(),
            "physical_memory": memory.ullTotalPhys,
        });
        println!("{facts}");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(file);
        std::process::exit(0);
    }

    /// Spins with known values in all general registers but the stack pointer, and in the first vector registers.
    extern "C" fn spin() -> ! {
        let upper: [u64; 4] = [0x1111_0000_0000_0000, 0x2222, 0x3333, 0x4444_0000_0000_0000];
        if is_x86_feature_detected!("avx") {
            // SAFETY: it never comes back, so that no register need be kept.
            unsafe {
                asm!(
                    "vmovdqu ymm1, [rax]",
                    "mov rax, 0x1010101010101010",
                    "mov rbx, 0x2020202020202020",
                    "mov rcx, 0x3030303030303030",
                    "mov rdx, 0x4040404040404040",
                    "mov rsi, 0x5050505050505050",
                    "mov rdi, 0x6060606060606060",
                    "mov rbp, 0x7070707070707070",
                    "mov r8, 0x0808080808080808",
                    "mov r9, 0x0909090909090909",
                    "mov r10, 0x0A0A0A0A0A0A0A0A",
                    "mov r11, 0x0B0B0B0B0B0B0B0B",
                    "mov r12, 0x0C0C0C0C0C0C0C0C",
                    "mov r13, 0x0D0D0D0D0D0D0D0D",
                    "mov r14, 0x0E0E0E0E0E0E0E0E",
                    "mov r15, 0x0F0F0F0F0F0F0F0F",
                    "2:",
                    "pause",
                    "jmp 2b",
                    in("rax") &upper,
                    options(noreturn),
                );
            }
        }
        loop {
            std::hint::spin_loop();
        }
    }
}
