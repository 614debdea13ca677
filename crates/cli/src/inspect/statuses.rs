//! Numbers of exceptions: NTSTATUS codes, signals, Mach exceptions.

/// Codes that Windows programs end with (`ntstatus.h`, and those of compilers, runtimes and crash reporters).
pub(super) fn ntstatus(code: u32) -> Option<&'static str> {
    Some(match code {
        0x0000_0000 => "SUCCESS",
        0x0000_0080 => "ABANDONED_WAIT_0",
        0x0000_0102 => "TIMEOUT",
        0x0517_A7ED => "simulated exception (Crashpad)",
        0x0000_DEAD => "dump requested",
        0x4000_0005 => "SEGMENT_NOTIFICATION",
        0x4000_0015 => "FATAL_APP_EXIT",
        0x4000_001F => "WX86_BREAKPOINT",
        0x4000_001E => "WX86_SINGLE_STEP",
        0x4001_0004 => "DBG_TERMINATE_PROCESS",
        0x4001_0005 => "DBG_CONTROL_C",
        0x4001_0006 => "DBG_PRINTEXCEPTION_C",
        0x4001_0008 => "DBG_CONTROL_BREAK",
        0x406D_1388 => "thread naming (Visual C++)",
        0x8000_0001 => "GUARD_PAGE_VIOLATION",
        0x8000_0002 => "DATATYPE_MISALIGNMENT",
        0x8000_0003 => "BREAKPOINT",
        0x8000_0004 => "SINGLE_STEP",
        0x8000_0007 => "WAKE_SYSTEM_DEBUGGER",
        0xC000_0005 => "ACCESS_VIOLATION",
        0xC000_0006 => "IN_PAGE_ERROR",
        0xC000_0008 => "INVALID_HANDLE",
        0xC000_000D => "INVALID_PARAMETER",
        0xC000_0017 => "NO_MEMORY",
        0xC000_001C => "INVALID_SYSTEM_SERVICE",
        0xC000_001D => "ILLEGAL_INSTRUCTION",
        0xC000_001E => "INVALID_LOCK_SEQUENCE",
        0xC000_0022 => "ACCESS_DENIED",
        0xC000_0025 => "NONCONTINUABLE_EXCEPTION",
        0xC000_0026 => "INVALID_DISPOSITION",
        0xC000_0027 => "UNWIND",
        0xC000_0028 => "BAD_STACK",
        0xC000_0029 => "INVALID_UNWIND_TARGET",
        0xC000_008C => "ARRAY_BOUNDS_EXCEEDED",
        0xC000_008D => "FLOAT_DENORMAL_OPERAND",
        0xC000_008E => "FLOAT_DIVIDE_BY_ZERO",
        0xC000_008F => "FLOAT_INEXACT_RESULT",
        0xC000_0090 => "FLOAT_INVALID_OPERATION",
        0xC000_0091 => "FLOAT_OVERFLOW",
        0xC000_0092 => "FLOAT_STACK_CHECK",
        0xC000_0093 => "FLOAT_UNDERFLOW",
        0xC000_0094 => "INTEGER_DIVIDE_BY_ZERO",
        0xC000_0095 => "INTEGER_OVERFLOW",
        0xC000_0096 => "PRIVILEGED_INSTRUCTION",
        0xC000_009A => "INSUFFICIENT_RESOURCES",
        0xC000_00FD => "STACK_OVERFLOW",
        0xC000_0135 => "DLL_NOT_FOUND",
        0xC000_0138 => "ORDINAL_NOT_FOUND",
        0xC000_0139 => "ENTRYPOINT_NOT_FOUND",
        0xC000_013A => "CONTROL_C_EXIT",
        0xC000_0142 => "DLL_INIT_FAILED",
        0xC000_0194 => "POSSIBLE_DEADLOCK",
        0xC000_02B4 => "FLOAT_MULTIPLE_FAULTS",
        0xC000_02B5 => "FLOAT_MULTIPLE_TRAPS",
        0xC000_0374 => "HEAP_CORRUPTION",
        0xC000_0409 => "STACK_BUFFER_OVERRUN",
        0xC000_0417 => "INVALID_CRUNTIME_PARAMETER",
        0xC000_0420 => "ASSERTION_FAILURE",
        0xC000_041D => "FATAL_USER_CALLBACK_EXCEPTION",
        0xC000_0428 => "INVALID_IMAGE_HASH",
        0xC000_0602 => "FAIL_FAST_EXCEPTION",
        0xC00E_06D7 => "delayed load: module or procedure not found",
        0xC06D_007E => "delayed load: module not found",
        0xC06D_007F => "delayed load: procedure not found",
        0xE000_0008 => "out of memory (Chromium)",
        0xE042_4D54 => "Windows Error Reporting",
        0xE043_4352 => "CLR exception",
        0xE043_4F4D => "CLR exception (before 4.0)",
        0xE06D_7363 => "C++ exception",
        _ => return None,
    })
}

/// Why a program failed fast (`FAST_FAIL_*` in `winnt.h`).
pub(super) fn fast_fail(code: u64) -> Option<&'static str> {
    Some(match code {
        0 => "LEGACY_GS_VIOLATION",
        1 => "VTGUARD_CHECK_FAILURE",
        2 => "STACK_COOKIE_CHECK_FAILURE",
        3 => "CORRUPT_LIST_ENTRY",
        4 => "INCORRECT_STACK",
        5 => "INVALID_ARG",
        6 => "GS_COOKIE_INIT",
        7 => "FATAL_APP_EXIT",
        8 => "RANGE_CHECK_FAILURE",
        9 => "UNSAFE_REGISTRY_ACCESS",
        10 => "GUARD_ICALL_CHECK_FAILURE",
        11 => "GUARD_WRITE_CHECK_FAILURE",
        39 => "CONTROL_INVALID_RETURN_ADDRESS",
        57 => "CONTROL_INVALID_RETURN_ADDRESS",
        _ => return None,
    })
}

/// Signals of Linux on all processors but MIPS (`signal.h`).
pub(super) fn signal(number: u32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    // Breakpad and Crashpad write -1 where nothing crashed.
    if number == u32::MAX {
        return Some("dump requested");
    }
    NAMES.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// Why the kernel sent a signal: `si_code` (`siginfo.h`).
pub(super) fn signal_code(number: u32, code: u32) -> Option<&'static str> {
    Some(match (number, code) {
        (_, 0) => "SI_USER",
        (_, 0x80) => "SI_KERNEL",
        (_, 0xFFFF_FFFF) => "SI_QUEUE",
        (_, 0xFFFF_FFFA) => "SI_TKILL",
        (4, 1) => "ILL_ILLOPC",
        (4, 2) => "ILL_ILLOPN",
        (4, 3) => "ILL_ILLADR",
        (4, 4) => "ILL_ILLTRP",
        (4, 5) => "ILL_PRVOPC",
        (5, 1) => "TRAP_BRKPT",
        (5, 2) => "TRAP_TRACE",
        (7, 1) => "BUS_ADRALN",
        (7, 2) => "BUS_ADRERR",
        (7, 3) => "BUS_OBJERR",
        (8, 1) => "FPE_INTDIV",
        (8, 2) => "FPE_INTOVF",
        (8, 3) => "FPE_FLTDIV",
        (11, 1) => "SEGV_MAPERR",
        (11, 2) => "SEGV_ACCERR",
        (11, 3) => "SEGV_BNDERR",
        (11, 4) => "SEGV_PKUERR",
        (31, 1) => "SYS_SECCOMP",
        _ => return None,
    })
}

/// Mach exceptions of macOS and iOS (`mach/exception_types.h`).
pub(super) fn mach_exception(number: u32) -> Option<&'static str> {
    Some(match number {
        1 => "EXC_BAD_ACCESS",
        2 => "EXC_BAD_INSTRUCTION",
        3 => "EXC_ARITHMETIC",
        4 => "EXC_EMULATION",
        5 => "EXC_SOFTWARE",
        6 => "EXC_BREAKPOINT",
        7 => "EXC_SYSCALL",
        8 => "EXC_MACH_SYSCALL",
        9 => "EXC_RPC_ALERT",
        10 => "EXC_CRASH",
        11 => "EXC_RESOURCE",
        12 => "EXC_GUARD",
        13 => "EXC_CORPSE_NOTIFY",
        0x4350_7378 | u32::MAX => "dump requested",
        _ => return None,
    })
}

/// The first code of a Mach exception (`mach/kern_return.h` and `mach/i386/exception.h`).
pub(super) fn mach_code(number: u32, code: u32) -> Option<&'static str> {
    Some(match (number, code) {
        (1, 1) => "KERN_INVALID_ADDRESS",
        (1, 2) => "KERN_PROTECTION_FAILURE",
        (1, 13) => "EXC_I386_GPFLT",
        (2, 1) => "EXC_I386_INVOP",
        (3, 1) => "EXC_I386_DIV",
        (6, 2) => "EXC_I386_BPT",
        (5, 0x10003) => "SIGABRT",
        _ => return None,
    })
}
