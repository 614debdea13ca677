//! Registers of a thread that has known values in them.

#[cfg(target_arch = "x86_64")]
use std::sync::atomic::{AtomicI32, Ordering};
#[cfg(target_arch = "x86_64")]
use std::thread;

use dotdump_capture::{CaptureOptions, LiveProcess};

use crate::target::{self, Target};

/// What is in `ymm7`.
#[cfg(target_arch = "x86_64")]
static VECTOR: [u8; 32] = *b"the low half....the high half...";

/// A thread that keeps known values in registers, and says its id.
#[cfg(target_arch = "x86_64")]
pub(crate) fn play() {
    static THREAD: AtomicI32 = AtomicI32::new(0);

    let has_avx = std::arch::is_x86_feature_detected!("avx");
    thread::spawn(move || {
        // SAFETY: gettid has no arguments.
        let id = unsafe { libc::gettid() };
        // SAFETY: the code changes registers that it declares, reads the 32 bytes of `VECTOR`, writes the number at
        // `THREAD` when the registers have their values, and never ends.
        unsafe {
            std::arch::asm!(
                "test ecx, ecx",
                "jz 2f",
                "vmovups ymm7, [rax]",
                "2:",
                "mov [rsi], edx",
                "3:",
                "pause",
                "jmp 3b",
                in("rax") VECTOR.as_ptr(),
                in("rcx") u64::from(has_avx),
                in("rdx") id,
                in("rsi") THREAD.as_ptr(),
                in("rdi") 0x0123_4567_89AB_CDEF_u64,
                in("r12") 0xFEDC_BA98_7654_3210_u64,
                in("r15") 0x1111_2222_3333_4444_u64,
                options(noreturn),
            );
        }
    });
    while THREAD.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let thread = u64::from(THREAD.load(Ordering::Relaxed).unsigned_abs());
    target::ready(&[("thread", thread), ("avx", u64::from(has_avx))]);
    target::wait_for_ever();
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn play() {
    target::ready(&[]);
    target::wait_for_ever();
}

/// The places of registers are those of `struct user_regs_struct` (`sys/user.h`), of `ymm7` that of the standard format of
/// XSAVE (Intel SDM volume 1, 13.4): the low half at 160 + 7 * 16, the high half at 576 + 7 * 16.
#[cfg(target_arch = "x86_64")]
#[test]
fn registers_of_a_spinning_thread() {
    let target = Target::start("registers");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let facts = stopped.process().facts();
    let thread = facts
        .threads
        .iter()
        .find(|thread| u64::from(thread.id) == target.value("thread"))
        .expect("the thread");
    let word = |index: usize| {
        let bytes = thread.general[index * 8..].first_chunk().expect("8 bytes");
        u64::from_le_bytes(*bytes)
    };
    assert_eq!(thread.general.len(), 27 * 8);
    assert_eq!(word(0), 0x1111_2222_3333_4444, "r15");
    assert_eq!(word(3), 0xFEDC_BA98_7654_3210, "r12");
    assert_eq!(word(14), 0x0123_4567_89AB_CDEF, "rdi");
    assert_eq!(thread.floating_point.as_ref().map(Vec::len), Some(512));
    if target.value("avx") == 1 {
        let xstate = thread.xstate.as_ref().expect("the extended state");
        assert_eq!(xstate[160 + 7 * 16..][..16], VECTOR[..16]);
        assert_eq!(xstate[576 + 7 * 16..][..16], VECTOR[16..]);
        // A CONTEXT has the low half, and what extends it the high one.
        let number = facts
            .threads
            .iter()
            .position(|it| it.id == thread.id)
            .expect("the thread");
        let context = stopped.snapshot().threads()[number]
            .context
            .as_ref()
            .expect("a context");
        let context = stopped.snapshot().bytes(context).expect("its bytes");
        for half in VECTOR.chunks(16) {
            assert!(context.windows(16).any(|bytes| bytes == half));
        }
    }
    drop(stopped);
    target::expect_running(target.id());
}

/// Registers beyond those of a CONTEXT are left out where they are not asked for.
#[cfg(target_arch = "x86_64")]
#[test]
fn extended_state_is_had_on_request() {
    let target = Target::start("sleep");
    let options = CaptureOptions {
        extended_state: false,
        ..CaptureOptions::default()
    };
    let live = LiveProcess::open(target.id(), &options).expect("opening");
    let stopped = live.stop().expect("stopping");
    assert!(
        stopped
            .process()
            .facts()
            .threads
            .iter()
            .all(|thread| thread.xstate.is_none())
    );
}
