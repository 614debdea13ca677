//! Signals as exceptions.
//!
//! A `siginfo_t` (`asm-generic/siginfo.h`) starts with three numbers; what follows them depends on the signal and on who
//! sent it, and starts at a multiple of a pointer's size:
//!
//! ```text
//! +0         si_signo
//! +4         si_errno
//! +8         si_code    above 0: the kernel tells what happened; else a process sent it
//! +12 or 16  faults: si_addr · SIGSYS: si_call_addr, si_syscall, si_arch · others: si_pid, si_uid
//! ```

use dotdump_format::minidump::exception::ExceptionStream;

use super::facts::{LinuxArchitecture, LinuxSignal};

const SIGILL: u32 = 4;
const SIGTRAP: u32 = 5;
const SIGBUS: u32 = 7;
const SIGFPE: u32 = 8;
const SIGSEGV: u32 = 11;
const SIGSYS: u32 = 31;

/// `si_code` of what the kernel sends without telling more, such as for an address that is none (a general protection
/// fault of x86). `si_addr` is zero then.
const SI_KERNEL: u32 = 0x80;

/// The exception stream of a signal: the signal's number as code, `si_code` as flags. `None` where these are not there.
///
/// `instruction_pointer` is that of the thread that got it: the address of signals that have none of their own. As
/// parameters it has
/// - none for faults (`SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGTRAP`) of the thread's own doing: what there is to
///   know is the address;
/// - the number of the system call and the `AUDIT_ARCH_*` of its convention, for a `SIGSYS` of a filter;
/// - the id of the process that sent it and of that process's user, for all others.
#[must_use]
pub fn exception(
    architecture: LinuxArchitecture,
    signal: &LinuxSignal,
    instruction_pointer: Option<u64>,
) -> Option<ExceptionStream> {
    let info = Info {
        bytes: &signal.siginfo,
        word: architecture.word_size(),
    };
    let (number, code) = (info.u32(0)?, info.u32(8)?);
    // Negative numbers and zero stand for processes that sent it.
    let is_kernels = (1..0x8000_0000).contains(&code) && code != SI_KERNEL;
    let (address, parameters) = match number {
        // What a tracer is told in the upper bits is no fault.
        SIGILL | SIGTRAP | SIGBUS | SIGFPE | SIGSEGV if is_kernels && code < SI_KERNEL => (info.address(), None),
        SIGSYS if is_kernels => (info.address(), info.pair(info.union() + info.word)),
        _ => (None, info.pair(info.union())),
    };
    let mut stream = ExceptionStream {
        thread_id: signal.thread_id.into(),
        exception_code: number.into(),
        exception_flags: code.into(),
        exception_address: address.or(instruction_pointer).unwrap_or(0).into(),
        ..ExceptionStream::default()
    };
    if let Some(parameters) = parameters {
        stream.number_parameters = 2.into();
        for (place, value) in stream.exception_information.iter_mut().zip(parameters) {
            *place = u64::from(value).into();
        }
    }
    Some(stream)
}

struct Info<'a> {
    bytes: &'a [u8],
    /// The size of a pointer.
    word: usize,
}

impl Info<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    /// Where that starts which depends on the signal.
    fn union(&self) -> usize {
        12_usize.next_multiple_of(self.word)
    }

    fn address(&self) -> Option<u64> {
        let bytes = self.bytes.get(self.union()..)?.get(..self.word)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn pair(&self, at: usize) -> Option<[u32; 2]> {
        Some([self.u32(at)?, self.u32(at + 4)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(words: &[u32]) -> LinuxSignal {
        let mut siginfo: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        siginfo.resize(128, 0);
        LinuxSignal { thread_id: 77, siginfo }
    }

    fn told(architecture: LinuxArchitecture, words: &[u32]) -> (u32, u32, u64, Vec<u64>) {
        let stream = exception(architecture, &signal(words), Some(0x40_1234)).expect("a whole siginfo_t");
        assert_eq!(stream.thread_id.get(), 77);
        (
            stream.exception_code.get(),
            stream.exception_flags.get(),
            stream.exception_address.get(),
            stream.parameters().collect(),
        )
    }

    #[test]
    fn faults_tell_the_address() {
        use LinuxArchitecture::{Amd64, Arm64, X86};
        // SEGV_MAPERR at 0x7FFF_0000_0010, BUS_ADRALN, ILL_ILLOPN, FPE_INTDIV, TRAP_BRKPT.
        for (number, code) in [(11, 1), (7, 1), (4, 2), (8, 1), (5, 1)] {
            for architecture in [Amd64, Arm64] {
                let words = [number, 0, code, 0xDEAD, 0x10, 0x7FFF];
                assert_eq!(told(architecture, &words), (number, code, 0x7FFF_0000_0010, vec![]));
            }
            assert_eq!(
                told(X86, &[number, 0, code, 0xFFFF_F010]),
                (number, code, 0xFFFF_F010, vec![])
            );
        }
    }

    #[test]
    fn what_others_sent_tells_the_sender_and_happened_where_the_thread_was() {
        // kill(): SI_USER; tgkill() as in abort(): SI_TKILL, -6; sigqueue(): SI_QUEUE, -1.
        for (number, code) in [(11, 0), (6, 0xFFFF_FFFA), (4, 0xFFFF_FFFF), (9, 0)] {
            let expected = (number, code, 0x40_1234, vec![4711, 1000]);
            assert_eq!(
                told(LinuxArchitecture::Amd64, &[number, 0, code, 0, 4711, 1000]),
                expected
            );
            assert_eq!(told(LinuxArchitecture::X86, &[number, 0, code, 4711, 1000]), expected);
        }
        // A general protection fault: the kernel tells no address.
        let told = told(LinuxArchitecture::Amd64, &[11, 0, 0x80, 0, 0, 0]);
        assert_eq!(told, (11, 0x80, 0x40_1234, vec![0, 0]));
    }

    #[test]
    fn a_filtered_system_call_tells_which_one() {
        // SYS_SECCOMP after a `syscall` at 0x55..02 for ptrace (101), AUDIT_ARCH_X86_64.
        let words = [31, 0, 1, 0, 0x5555_0002, 0x5555, 101, 0xC000_003E];
        let expected = (31, 1, 0x5555_5555_0002, vec![101, 0xC000_003E]);
        assert_eq!(told(LinuxArchitecture::Amd64, &words), expected);
        let words = [31, 0, 1, 0x5555_0002, 26, 0x4000_0003];
        let expected = (31, 1, 0x5555_0002, vec![26, 0x4000_0003]);
        assert_eq!(told(LinuxArchitecture::X86, &words), expected);
    }

    #[test]
    fn what_is_cut() {
        let mut signal = signal(&[11, 0, 1, 0, 0x10]);
        signal.siginfo.truncate(20);
        let stream = exception(LinuxArchitecture::Amd64, &signal, None).expect("number and code");
        assert_eq!(stream.exception_address.get(), 0);
        signal.siginfo.truncate(11);
        assert_eq!(exception(LinuxArchitecture::Amd64, &signal, None), None);
    }
}
