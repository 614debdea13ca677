//! The records of Linux: `siginfo_t` and `ucontext_t`, which signal handlers are called with.

use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{Endian, VirtAddr};
use dotdump_snapshot::ProcessSnapshot;
use dotdump_snapshot::linux::{LinuxArchitecture, ucontext};

use super::ExceptionRequest;
use super::found::{Exception, Lack, Told};

/// `MD_EXCEPTION_CODE_LIN_DUMP_REQUESTED` (Breakpad's `minidump_exception_linux.h`): no signal, a dump was asked for.
pub(super) const DUMP_REQUESTED: u32 = 0xFFFF_FFFF;

/// The size of a `siginfo_t` in bytes, and of that part of it that has to be there: number, code and address.
const SIGINFO: usize = 128;
const SIGINFO_HEAD: usize = 24;

/// The signals that there are: 1 to 64.
const SIGNALS: std::ops::RangeInclusive<u32> = 1..=64;

/// Reads what a request names.
pub(super) fn read(snapshot: &dyn ProcessSnapshot, request: &ExceptionRequest) -> Result<Told, Lack> {
    for (is_given, option, message) in [
        (
            request.jit_debug_info.is_some(),
            "-j",
            "a JIT_DEBUG_INFO is made by Windows, and this is a Linux process; --signal-info and -xc name what it has instead",
        ),
        (
            request.pointers.is_some(),
            "-xp",
            "a Linux process has no EXCEPTION_POINTERS; --signal-info and -xc name what they would lead to",
        ),
    ] {
        if is_given {
            return Err(Lack::Inapplicable(option, message));
        }
    }
    let memory = snapshot.memory();
    let mut told = Told::default();
    if request.thread.is_some()
        && request.context.is_none()
        && request.record.is_none()
        && request.signal_info.is_none()
    {
        return Ok(told);
    }
    let architecture = architecture(snapshot, request.first().unwrap_or_default())?;
    if let Some(address) = request.context {
        let Some(found) = ucontext::context_of_ucontext(architecture, memory, address)? else {
            return Err(absent("-xc", "ucontext_t", address));
        };
        for range in &found.ranges {
            told.ranges.insert(*range);
        }
        told.context = Some(found.context);
    }
    let record = request.signal_info.map(|address| ("--signal-info", address));
    if let Some((option, address)) = record.or(request.record.map(|address| ("-xr", address))) {
        let mut siginfo = vec![0; SIGINFO];
        let there = memory.read(address, &mut siginfo)?;
        if there < SIGINFO_HEAD {
            return Err(absent(option, "siginfo_t", address));
        }
        siginfo.truncate(there);
        told.keep(address, there);
        let number = siginfo.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if !SIGNALS.contains(&number) {
            let message =
                format!("there is no siginfo_t at {address}: it would begin with the number of a signal, not {number}");
            return Err(Lack::Refused(option, message));
        }
        told.exception = Some(Exception::Signal(architecture, siginfo));
    }
    Ok(told)
}

/// The processor, where the layouts of its records are known.
fn architecture(snapshot: &dyn ProcessSnapshot, option: &'static str) -> Result<LinuxArchitecture, Lack> {
    Ok(match (snapshot.architecture(), snapshot.endian()) {
        (ProcessorArchitecture::X86, Endian::Little) => LinuxArchitecture::X86,
        (ProcessorArchitecture::AMD64, Endian::Little) => LinuxArchitecture::Amd64,
        (ProcessorArchitecture::ARM64 | ProcessorArchitecture::ARM64_OLD, Endian::Little) => LinuxArchitecture::Arm64,
        (other, _) => {
            let message = format!("the records of Linux programs of {other} are not known; x86, x86-64 and ARM64 are");
            return Err(Lack::Refused(option, message));
        }
    })
}

fn absent(option: &'static str, what: &str, address: VirtAddr) -> Lack {
    Lack::Refused(
        option,
        format!("the source lacks memory at {address}, where the {what} should be"),
    )
}
