//! The process runs on, whatever happens.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dotdump_capture::{CaptureError, CaptureOptions, LiveProcess};
use dotdump_format::VirtAddr;

use crate::target::{self, Target};

/// What the threads of the role have done, so that a test sees whether they go on.
static WORK: AtomicU64 = AtomicU64::new(0);

/// Threads that work, sleep, and start others that end at once.
pub(crate) fn play_threads() {
    for _ in 0..4 {
        thread::spawn(|| {
            loop {
                WORK.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(200));
            }
        });
        thread::spawn(|| target::wait_for_ever());
    }
    thread::spawn(|| {
        loop {
            let _ = thread::spawn(|| ()).join();
        }
    });
    target::ready(&[("work", (&raw const WORK).expose_provenance() as u64)]);
    target::wait_for_ever();
}

/// Captures a process over and over, or holds it, until it is killed.
pub(crate) fn play_capturer() {
    let id = std::env::var("DOTDUMP_CAPTURE_TARGET")
        .expect("a target")
        .parse()
        .expect("an id");
    let hold = std::env::var_os("DOTDUMP_CAPTURE_HOLD").is_some();
    if !hold {
        target::ready(&[]);
    }
    loop {
        let stopped = match LiveProcess::open(id, &CaptureOptions::default()).and_then(LiveProcess::stop) {
            Ok(stopped) => stopped,
            Err(error) => {
                println!("{error}");
                std::process::exit(1);
            }
        };
        if hold {
            target::ready(&[]);
            target::wait_for_ever();
        }
        stopped.resume();
    }
}

/// A program that counts the signals that it gets, of which none must be lost.
pub(crate) fn play_signals() {
    extern "C" fn count(_: i32) {
        WORK.fetch_add(1, Ordering::Relaxed);
    }
    let handler: extern "C" fn(i32) = count;
    // SAFETY: the handler does nothing but to change an atomic number.
    unsafe { libc::signal(libc::SIGRTMIN(), handler as libc::sighandler_t) };
    // The more threads there are to stop, the longer the main one gets signals while it is traced and not yet stopped.
    for _ in 0..100 {
        thread::spawn(|| target::wait_for_ever());
    }
    target::ready(&[("work", (&raw const WORK).expose_provenance() as u64)]);
    loop {
        std::hint::spin_loop();
    }
}

fn capture(id: u32) -> dotdump_capture::StoppedProcess {
    let live = LiveProcess::open(id, &CaptureOptions::default()).expect("opening");
    live.stop().expect("stopping")
}

/// How much work a target has done.
fn work(target: &Target) -> u64 {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open(format!("/proc/{}/mem", target.id())).expect("its memory");
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, target.value("work")).expect("reading");
    u64::from_le_bytes(bytes)
}

/// Waits until the target has gone on working.
fn expect_work(target: &Target) {
    let before = work(target);
    let deadline = Instant::now() + Duration::from_secs(20);
    while work(target) == before {
        assert!(Instant::now() < deadline, "it does not work any more");
        thread::sleep(Duration::from_millis(1));
    }
}

/// While it is stopped all its threads are, and no other one is there; afterwards all of them work on.
#[test]
fn all_threads_are_stopped_and_run_on() {
    let target = Target::start("threads");
    for _ in 0..20 {
        let stopped = capture(target.id());
        let threads = target::threads(target.id());
        assert!(
            threads
                .iter()
                .all(|(_, state, tracer)| *state == 't' && Path::new(&format!("/proc/self/task/{tracer}")).exists()),
            "{threads:?}"
        );
        let mut listed: Vec<u32> = threads.iter().map(|(thread, ..)| *thread).collect();
        let mut captured: Vec<u32> = stopped
            .process()
            .facts()
            .threads
            .iter()
            .map(|thread| thread.id)
            .collect();
        listed.sort_unstable();
        captured.sort_unstable();
        assert_eq!(captured, listed);
        assert_eq!(stopped.notes(), [""; 0]);
        let first = work(&target);
        assert!(
            stopped
                .process()
                .facts()
                .threads
                .iter()
                .all(|thread| !thread.general.is_empty())
        );
        let mut bytes = [0; 8];
        let memory = stopped.snapshot().memory();
        assert_eq!(
            memory
                .read(VirtAddr(target.value("work")), &mut bytes)
                .expect("reading"),
            8
        );
        assert_eq!(u64::from_le_bytes(bytes), first);
        let pause = stopped.resume();
        assert_eq!(stopped.resume(), pause);
        target::expect_running(target.id());
        expect_work(&target);
    }
}

/// A process that was stopped by a signal before stays stopped, and goes on when it is told to.
#[test]
fn a_stopped_process_stays_stopped() {
    let target = Target::start("threads");
    let is_stopped = || {
        target::threads(target.id())
            .iter()
            .all(|(_, state, tracer)| *state == 'T' && *tracer == 0)
    };
    let expect_stopped = || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_stopped() {
            assert!(Instant::now() < deadline, "{:?}", target::threads(target.id()));
            thread::sleep(Duration::from_millis(1));
        }
    };
    send(&target, libc::SIGSTOP);
    expect_stopped();
    let stopped = capture(target.id());
    assert!(
        stopped
            .process()
            .facts()
            .threads
            .iter()
            .all(|thread| !thread.general.is_empty())
    );
    stopped.resume();
    expect_stopped();
    drop(stopped);
    expect_stopped();
    send(&target, libc::SIGCONT);
    target::expect_running(target.id());
    expect_work(&target);
}

fn send(target: &Target, signal: i32) {
    let id = i32::try_from(target.id()).expect("an id");
    // SAFETY: a signal is sent to a process of this test.
    assert_eq!(unsafe { libc::kill(id, signal) }, 0);
}

fn capturer(target: &Target, hold: bool) -> Target {
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    command
        .args(["--exact", "target::play", "--nocapture"])
        .env("DOTDUMP_CAPTURE_ROLE", "capturer")
        .env("DOTDUMP_CAPTURE_TARGET", target.id().to_string());
    if hold {
        command.env("DOTDUMP_CAPTURE_HOLD", "1");
    }
    Target::spawn(&mut command)
}

/// A signal that a thread was about to get when it was stopped is given back to it, also where the capturer is killed
/// while it holds the thread. (Signals from `SIGRTMIN` on are counted by the kernel, signal(7).)
#[test]
fn signals_are_given_back() {
    let target = Target::start("signals");
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                send(&target, libc::SIGRTMIN());
                sent += 1;
                thread::sleep(Duration::from_micros(20));
            }
            sent
        });
        for _ in 0..20 {
            drop(capture(target.id()));
            drop(capturer(&target, true));
        }
        done.store(true, Ordering::Relaxed);
        sender.join().expect("sending")
    });
    target::expect_running(target.id());
    let deadline = Instant::now() + Duration::from_secs(20);
    while work(&target) != sent {
        assert!(Instant::now() < deadline, "{} of {sent} signals came", work(&target));
        thread::sleep(Duration::from_millis(1));
    }
}

/// The capturer is killed at random moments.
#[test]
fn a_killed_capturer_lets_go() {
    let target = Target::start("threads");
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..50 {
        let mut capturer = capturer(&target, false);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep(Duration::from_micros(random % 30_000));
        assert!(capturer.runs(), "round {round}");
        capturer.kill();
        drop(capturer);
        target::expect_running(target.id());
    }
    expect_work(&target);
}

/// A process that ends between the look at it and the stop.
#[test]
fn a_process_that_ends_before_the_stop() {
    let mut target = Target::start("sleep");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    target.kill();
    while target.runs() {
        thread::sleep(Duration::from_millis(1));
    }
    let error = live.stop().err().expect("an error");
    assert!(
        matches!(error, CaptureError::Ended { id } if id == target.id()),
        "{error}"
    );
}
