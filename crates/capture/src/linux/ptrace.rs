//! The calls of ptrace(2) and waitid(2), one function each.
//!
//! All but [`seize`] work only on the operating system's thread that seized the target, and all but [`interrupt`] and
//! [`state`] only while the target is stopped.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// The register sets of `elf.h`, as `PTRACE_GETREGSET` takes them.
pub(super) mod register_set {
    /// General registers.
    pub(in super::super) const NT_PRSTATUS: usize = 1;
    /// Floating-point registers.
    pub(in super::super) const NT_PRFPREG: usize = 2;
    /// The image of FXSAVE, of a 32-bit program.
    pub(in super::super) const NT_PRXFPREG: usize = 0x46E6_2B7F;
    /// The three segments for thread-local data of a 32-bit program, `struct user_desc` each.
    pub(in super::super) const NT_386_TLS: usize = 0x200;
    /// The image of XSAVE in its standard format.
    pub(in super::super) const NT_X86_XSTATE: usize = 0x202;
    /// `TPIDR_EL0`, and `TPIDR2_EL0` behind it where the processor has it.
    pub(in super::super) const NT_ARM_TLS: usize = 0x401;
}

/// No register set is larger.
const LARGEST_SET: usize = 1 << 20;

/// What a thread that is traced does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It runs, or waits.
    Running,
    /// It is stopped.
    Stopped {
        /// The signal that it was about to get; 0 where it was stopped for another reason.
        signal: i32,
    },
    /// It ended.
    Ended,
}

/// Starts to trace a thread, which runs on. When the tracer ends, so does the tracing.
pub(super) fn seize(thread: i32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, thread, 0, ptr::null_mut())
}

/// Asks a thread to stop.
pub(super) fn interrupt(thread: i32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, thread, 0, ptr::null_mut())
}

/// Lets a stopped thread run on untraced, and gives it `signal` where that is not 0.
pub(super) fn detach(thread: i32, signal: i32) -> io::Result<()> {
    let signal = usize::try_from(signal).unwrap_or(0);
    request(libc::PTRACE_DETACH, thread, 0, ptr::without_provenance_mut(signal))
}

/// The registers of one set of a stopped thread. `buffer` is grown where it is too small, and cut to what there is.
pub(super) fn registers(thread: i32, set: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut size = 512;
    loop {
        buffer.clear();
        buffer.resize(size.max(buffer.capacity()).next_multiple_of(16), 0);
        let mut vector = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        request(libc::PTRACE_GETREGSET, thread, set, ptr::from_mut(&mut vector).cast())?;
        // A set that fills the buffer may have been cut.
        if vector.iov_len < buffer.len() || buffer.len() >= LARGEST_SET {
            buffer.truncate(vector.iov_len);
            return Ok(());
        }
        size = buffer.len() * 2;
    }
}

/// The 64-bit general registers of a stopped thread that runs 32-bit code in a 64-bit program.
#[cfg(target_arch = "x86_64")]
pub(super) fn general_registers(thread: i32) -> io::Result<Vec<u8>> {
    let mut registers = vec![0; size_of::<libc::user_regs_struct>()];
    request(libc::PTRACE_GETREGS, thread, 0, registers.as_mut_ptr().cast())?;
    Ok(registers)
}

/// The 64-bit floating-point registers of a stopped thread that runs 32-bit code in a 64-bit program.
#[cfg(target_arch = "x86_64")]
pub(super) fn floating_point_registers(thread: i32) -> io::Result<Vec<u8>> {
    let mut registers = vec![0; size_of::<libc::user_fpregs_struct>()];
    request(libc::PTRACE_GETFPREGS, thread, 0, registers.as_mut_ptr().cast())?;
    Ok(registers)
}

/// What a traced thread does. Its stop stays unread in the kernel: if this program is killed while the thread is about to
/// get a signal, the kernel still delivers that.
pub(super) fn state(thread: i32) -> io::Result<State> {
    let info = wait(thread, libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT)?;
    // SAFETY: waitid fills in the fields of SIGCHLD, or leaves the zeros that it was given.
    let (id, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match info.si_code {
        _ if id == 0 => State::Running,
        libc::CLD_TRAPPED | libc::CLD_STOPPED => State::Stopped {
            // Stops for other reasons than a signal have the event in the second byte.
            signal: if status >> 8 == 0 { status & 0x7F } else { 0 },
        },
        _ => State::Ended,
    })
}

/// Lets go of a thread that ended, other than the main one: a program that executes another one waits for that.
pub(super) fn reap(thread: i32) -> io::Result<()> {
    wait(thread, libc::WEXITED).map(drop)
}

fn wait(thread: i32, events: i32) -> io::Result<libc::siginfo_t> {
    let id = libc::id_t::try_from(thread).map_err(|_| io::ErrorKind::InvalidInput)?;
    let options = events | libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is a siginfo_t that the kernel may write.
    let result = unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: siginfo_t is made of integers, for which zeros are valid, as is what the kernel wrote over them.
    Ok(unsafe { info.assume_init() })
}

/// The type of a request in the system's C library.
#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

fn request(request: Request, thread: i32, address: usize, data: *mut libc::c_void) -> io::Result<()> {
    let address: *mut libc::c_void = ptr::without_provenance_mut(address);
    // SAFETY: the requests made here write nothing into this process but through `data`, which is null, a number, or a
    // buffer of the size that the request fills (GETREGS, GETFPREGS) or that it is told (GETREGSET).
    let result = unsafe { libc::ptrace(request, thread, address, data) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
