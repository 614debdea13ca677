//! The threads.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CString;
use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use dotdump_tests::capture::{self, CLOCK, CRASH_ADDRESS, OBJECT};
use serde_json::{Value, json};

use crate::registers::{self, Registers};
use crate::run::{Options, hex};

/// The words on each stack that are known.
const WORDS: usize = 16;

thread_local! {
    static OWN: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

static CRASH: AtomicBool = AtomicBool::new(false);

/// What there is of threads when all do what they shall.
pub(crate) struct Threads {
    pub(crate) truth: Value,
    pub(crate) counters_path: PathBuf,
}

/// Lets a thread crash.
pub(crate) fn crash() {
    CRASH.store(true, Ordering::SeqCst);
}

/// Makes a handler of signals tell where a crash is described, and wait.
pub(crate) fn handle() {
    extern "C" fn handler(_: libc::c_int, information: *const libc::siginfo_t, context: *const libc::c_void) {
        // SAFETY: the call has no arguments.
        let tid = unsafe { libc::gettid() };
        // The thread that crashes holds no lock.
        println!(
            "{}",
            json!({ "tid": tid, "siginfo": hex(information as u64), "ucontext": hex(context as u64) })
        );
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }
    // SAFETY: all zeros is a valid value; the handler has the form that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()),
            0,
            "sigaction"
        );
    }
}

/// Ends the main thread alone.
pub(crate) fn leave() {
    // SAFETY: the thread is not needed any more, and nothing that others use is on its stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Numbers in a file that others can see too: one for each thread, 64 bytes apart.
fn counters(options: &Options) -> (PathBuf, &'static [AtomicU64]) {
    let path = options.folder.join("counters");
    let size = 64 * (options.threads + 2);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .expect("a file");
    file.set_len(size as u64).expect("a size");
    // SAFETY: the mapping is as large as the file, and never goes away; a word of it is only used as an atomic one.
    let counters = unsafe {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let address = libc::mmap(ptr::null_mut(), size, access, flags, file.as_raw_fd(), 0);
        assert_ne!(address, libc::MAP_FAILED, "the counters");
        std::slice::from_raw_parts(address.cast(), size / 8)
    };
    (path, counters)
}

/// Starts them all.
pub(crate) fn start(options: &Options) -> Threads {
    let level = registers::level();
    let (counters_path, counters) = counters(options);
    let (sender, told) = mpsc::channel();
    let mut truth = vec![json!({
        "tid": std::process::id(),
        "name": "capture-target",
        "kind": "main",
    })];
    for index in 1..options.threads {
        let kind = match index {
            _ if index <= options.spinning => "spin",
            _ if options.clock && index == options.spinning + 1 => "clock",
            4 => "crash",
            _ => ["futex", "read", "nanosleep", "epoll"][index % 4],
        };
        let sender = sender.clone();
        let counter = &counters[8 * index];
        let start = move || run(kind, index, counter, level, &sender);
        thread::Builder::new().spawn(start).expect("a thread");
        let (mut thread, registers) = told.recv().expect("a thread's truth");
        while counter.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(Shared(registers)) = registers {
            // SAFETY: the thread has entered the loop, in which it does not write them any more.
            thread["registers"] = unsafe { &*registers }.truth(level);
        }
        truth.push(thread);
    }
    Threads {
        truth: Value::Array(truth),
        counters_path,
    }
}

struct Shared(*mut Registers);

// SAFETY: the other thread only reads them, when they do not change any more.
unsafe impl Send for Shared {}

/// What a thread has on its stack: known words, a text, and the only pointer to an object on the heap.
#[repr(C)]
struct Locals {
    words: UnsafeCell<[u64; WORDS]>,
    secret: UnsafeCell<[u8; 64]>,
    object: UnsafeCell<*mut u64>,
}

fn run(
    kind: &'static str,
    index: usize,
    counter: &'static AtomicU64,
    level: registers::Level,
    sender: &mpsc::Sender<(Value, Option<Shared>)>,
) {
    let name = capture::thread_name(kind, index);
    let text = CString::new(&*name).expect("a name");
    // SAFETY: the name is a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, text.as_ptr()) };
    let mut random = capture::seed("stack", index);
    let object = {
        // Found through the stack alone: nothing else may keep its address.
        let mut random = capture::seed("object", index);
        let words: Vec<u64> = (0..OBJECT / 8).map(|_| random.next()).collect();
        Box::into_raw(words.into_boxed_slice()).cast::<u64>()
    };
    let locals = Locals {
        words: UnsafeCell::new(std::array::from_fn(|_| random.next())),
        secret: UnsafeCell::new(capture::secret(index)),
        object: UnsafeCell::new(object),
    };
    let locals = black_box(&locals);
    OWN.set([random.next(), index as u64]);
    // SAFETY: the call has no arguments.
    let tid = unsafe { libc::gettid() };
    let truth = json!({
        "tid": tid,
        "name": name,
        "kind": kind,
        "index": index,
        "words": hex(locals.words.get() as u64),
        "secret": hex(locals.secret.get() as u64),
        "object": hex(object as u64),
        "object_pointer": hex(locals.object.get() as u64),
        "own": hex(OWN.with(|own| ptr::from_ref(own) as u64)),
        "own_value": hex(OWN.get()[0]),
    });
    if kind == "spin" {
        let registers = Box::into_raw(Registers::new(0x5EED_0000 + index as u64, counter.as_ptr()));
        let _ = sender.send((truth, Some(Shared(registers))));
        // It is there to be seen, not to keep others from their work.
        // SAFETY: the call takes numbers; 0 is this thread.
        let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) };
        Registers::spin(registers, level);
    }
    let _ = sender.send((truth, None));
    match kind {
        "clock" => clock(counter),
        "crash" => loop {
            counter.fetch_add(1, Ordering::SeqCst);
            if CRASH.load(Ordering::SeqCst) {
                // SAFETY: none: it crashes, and shall.
                unsafe { ptr::with_exposed_provenance_mut::<u32>(CRASH_ADDRESS).write_volatile(1) };
            }
            thread::sleep(Duration::from_millis(5));
        },
        _ => park(kind, counter),
    }
    black_box(locals);
}

/// The longest time between two looks at the clock is what the counter holds, in nanoseconds; who writes
/// [`CLOCK`](capture::CLOCK) there starts anew.
fn clock(longest: &AtomicU64) {
    // Others are not to hold it up. Who may not ask for that has a less exact clock.
    // SAFETY: the call takes numbers; 0 is this thread.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    longest.store(CLOCK, Ordering::SeqCst);
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        let gap = u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX);
        last = now;
        if gap > longest.load(Ordering::Relaxed) {
            longest.store(gap, Ordering::Relaxed);
        }
    }
}

/// Waits in the kernel, again and again.
fn park(kind: &str, counter: &AtomicU64) {
    let wait = Duration::from_millis(20);
    let word = AtomicU32::new(0);
    // SAFETY: the calls take numbers, and what they point to lives longer than they take.
    unsafe {
        let mut pipe = [0; 2];
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0, "a pipe");
        let epoll = libc::epoll_create1(0);
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        loop {
            counter.fetch_add(1, Ordering::SeqCst);
            match kind {
                "futex" => {
                    libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, &raw const time);
                }
                // Nobody ever writes: the only thing that it waits for is the end.
                "read" => {
                    let mut byte = 0_u8;
                    let read = libc::read(pipe[0], (&raw mut byte).cast(), 1);
                    assert_eq!(read, -1, "a signal alone may interrupt it");
                }
                "epoll" => {
                    let mut event = libc::epoll_event { events: 0, u64: 0 };
                    libc::epoll_wait(epoll, &raw mut event, 1, 20);
                }
                _ => thread::sleep(wait),
            }
        }
    }
}
