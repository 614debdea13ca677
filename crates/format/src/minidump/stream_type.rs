//! The numbers of streams and their names.

use core::fmt;

/// The type of a stream: a number in the directory. Numbers above 0xFFFF belong to applications.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamType(pub u32);

/// Lists each known stream once: constant, number, name as tools print it, and what it holds.
macro_rules! stream_types {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal;)*) => {
        impl StreamType {
            $($(#[$doc])* pub const $constant: Self = Self($number);)*

            /// All types that have a name here.
            pub const KNOWN: &'static [Self] = &[$(Self::$constant),*];

            /// The name by which the field knows it: the Windows headers' without its ending `Stream`, or that of its
            /// vendor's headers. `None` for a number that is not known.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

stream_types! {
    /// An entry without a stream.
    UNUSED = 0, "Unused";
    /// Never written.
    RESERVED_0 = 1, "Reserved0";
    /// Never written.
    RESERVED_1 = 2, "Reserved1";
    /// Threads, their stacks and registers.
    THREAD_LIST = 3, "ThreadList";
    /// Loaded modules.
    MODULE_LIST = 4, "ModuleList";
    /// Memory ranges, each with a 32-bit file offset.
    MEMORY_LIST = 5, "MemoryList";
    /// The exception for which the dump was made.
    EXCEPTION = 6, "Exception";
    /// Processor and operating system.
    SYSTEM_INFO = 7, "SystemInfo";
    /// Threads with a backing store (Itanium).
    THREAD_EX_LIST = 8, "ThreadExList";
    /// Memory ranges whose data lies together at the end of the file.
    MEMORY64_LIST = 9, "Memory64List";
    /// A comment in the writer's code page.
    COMMENT_A = 10, "CommentA";
    /// A comment in UTF-16.
    COMMENT_W = 11, "CommentW";
    /// Open handles.
    HANDLE_DATA = 12, "HandleData";
    /// Dynamic function tables (code made at run time).
    FUNCTION_TABLE = 13, "FunctionTable";
    /// Modules that were unloaded.
    UNLOADED_MODULE_LIST = 14, "UnloadedModuleList";
    /// Process id, times, build strings, extended state configuration.
    MISC_INFO = 15, "MiscInfo";
    /// The map of the address space.
    MEMORY_INFO_LIST = 16, "MemoryInfoList";
    /// Times and start addresses of threads.
    THREAD_INFO_LIST = 17, "ThreadInfoList";
    /// Traces of handle operations (Application Verifier).
    HANDLE_OPERATION_LIST = 18, "HandleOperationList";
    /// Security tokens.
    TOKEN = 19, "Token";
    /// Data of Microsoft's script engines; opaque.
    JAVA_SCRIPT_DATA = 20, "JavaScriptData";
    /// Memory figures of the system.
    SYSTEM_MEMORY_INFO = 21, "SystemMemoryInfo";
    /// Memory counters of the process.
    PROCESS_VM_COUNTERS = 22, "ProcessVmCounters";
    /// Intel Processor Trace buffers; opaque.
    IPT_TRACE = 23, "IptTrace";
    /// Names (descriptions) of threads.
    THREAD_NAMES = 24, "ThreadNames";
    /// Memory in compressed form; opaque.
    COMPRESSED_MEMORY = 25, "CompressedMemory";
    /// Memory in compressed form (SQL Server); opaque.
    COMPRESSED_MEMORY_SQL = 0x7000, "CompressedMemorySQL";
    /// Windows CE.
    CE_NULL = 0x8000, "ceStreamNull";
    /// Windows CE.
    CE_SYSTEM_INFO = 0x8001, "ceStreamSystemInfo";
    /// Windows CE.
    CE_EXCEPTION = 0x8002, "ceStreamException";
    /// Windows CE.
    CE_MODULE_LIST = 0x8003, "ceStreamModuleList";
    /// Windows CE.
    CE_PROCESS_LIST = 0x8004, "ceStreamProcessList";
    /// Windows CE.
    CE_THREAD_LIST = 0x8005, "ceStreamThreadList";
    /// Windows CE.
    CE_THREAD_CONTEXT_LIST = 0x8006, "ceStreamThreadContextList";
    /// Windows CE.
    CE_THREAD_CALL_STACK_LIST = 0x8007, "ceStreamThreadCallStackList";
    /// Windows CE.
    CE_MEMORY_VIRTUAL_LIST = 0x8008, "ceStreamMemoryVirtualList";
    /// Windows CE.
    CE_MEMORY_PHYSICAL_LIST = 0x8009, "ceStreamMemoryPhysicalList";
    /// Windows CE.
    CE_BUCKET_PARAMETERS = 0x800A, "ceStreamBucketParameters";
    /// Windows CE.
    CE_PROCESS_MODULE_MAP = 0x800B, "ceStreamProcessModuleMap";
    /// Windows CE.
    CE_DIAGNOSIS_LIST = 0x800C, "ceStreamDiagnosisList";
    /// The last number of Microsoft's range.
    LAST_RESERVED = 0xFFFF, "LastReserved";
    /// Wine: modules of the host system, laid out as a ModuleList.
    WINE_HOST_MODULE_LIST = 0xFFF0, "WineHostModuleList";
    /// Breakpad: which threads wrote and requested the dump.
    BREAKPAD_INFO = 0x4767_0001, "BreakpadInfo";
    /// Breakpad: a failed assertion.
    BREAKPAD_ASSERTION_INFO = 0x4767_0002, "AssertionInfo";
    /// `/proc/cpuinfo`.
    LINUX_CPU_INFO = 0x4767_0003, "LinuxCpuInfo";
    /// `/proc/PID/status`.
    LINUX_PROC_STATUS = 0x4767_0004, "LinuxProcStatus";
    /// `/etc/lsb-release`.
    LINUX_LSB_RELEASE = 0x4767_0005, "LinuxLsbRelease";
    /// `/proc/PID/cmdline`.
    LINUX_CMD_LINE = 0x4767_0006, "LinuxCmdLine";
    /// `/proc/PID/environ`.
    LINUX_ENVIRON = 0x4767_0007, "LinuxEnviron";
    /// `/proc/PID/auxv`.
    LINUX_AUXV = 0x4767_0008, "LinuxAuxv";
    /// `/proc/PID/maps`.
    LINUX_MAPS = 0x4767_0009, "LinuxMaps";
    /// The dynamic linker's list of shared objects.
    LINUX_DSO_DEBUG = 0x4767_000A, "LinuxDsoDebug";
    /// `/proc/PID/stat`.
    LINUX_PROC_STAT = 0x4767_000B, "LinuxProcStat";
    /// `/proc/uptime`.
    LINUX_PROC_UPTIME = 0x4767_000C, "LinuxProcUptime";
    /// A listing of `/proc/PID/fd`.
    LINUX_PROC_FD = 0x4767_000D, "LinuxProcFD";
    /// Crashpad: report and client ids, annotations.
    CRASHPAD_INFO = 0x4350_0001, "CrashpadInfo";
    /// Kasko (Syzygy).
    KASKO = 0x4B6B_0001, "Kasko";
    /// Chromium's stability report, a protocol buffer.
    STABILITY_REPORT = 0x4B6B_0002, "StabilityReport";
    /// Mozilla: the crash information sections of macOS.
    MOZ_MACOS_CRASH_INFO = 0x4D7A_0001, "MozMacosCrashInfo";
    /// Mozilla: the boot arguments of macOS.
    MOZ_MACOS_BOOTARGS = 0x4D7A_0002, "MozMacosBootargs";
    /// Mozilla: `/proc/PID/limits`.
    MOZ_LINUX_LIMITS = 0x4D7A_0003, "MozLinuxLimits";
    /// Mozilla: what the writer could not get, as JSON.
    MOZ_SOFT_ERRORS = 0x4D7A_0004, "MozSoftErrors";
    /// Facebook: the log of Android.
    FACEBOOK_LOGCAT = 0xFACE_1CA7, "FacebookLogcat";
    /// Facebook.
    FACEBOOK_APP_CUSTOM_DATA = 0xFACE_CAFA, "FacebookAppCustomData";
    /// Facebook.
    FACEBOOK_BUILD_ID = 0xFACE_CAFB, "FacebookBuildID";
    /// Facebook.
    FACEBOOK_APP_VERSION_NAME = 0xFACE_CAFC, "FacebookAppVersionName";
    /// Facebook.
    FACEBOOK_JAVA_STACK = 0xFACE_CAFD, "FacebookJavaStack";
    /// Facebook.
    FACEBOOK_DALVIK_INFO = 0xFACE_CAFE, "FacebookDalvikInfo";
    /// Facebook.
    FACEBOOK_UNWIND_SYMBOLS = 0xFACE_CAFF, "FacebookUnwindSymbols";
    /// Facebook.
    FACEBOOK_DUMP_ERROR_LOG = 0xFACE_CB00, "FacebookDumpErrorLog";
    /// Facebook.
    FACEBOOK_APP_STATE_LOG = 0xFACE_CCCC, "FacebookAppStateLog";
    /// Facebook.
    FACEBOOK_ABORT_REASON = 0xFACE_DEAD, "FacebookAbortReason";
    /// Facebook.
    FACEBOOK_THREAD_NAME = 0xFACE_E000, "FacebookThreadName";
    /// A mark that LLDB wrote the dump.
    LLDB_GENERATED = 0x4C4C_4442, "LLDBGenerated";
    /// dotdump: what was asked for, left out and erased, and where the checksums lie.
    DOTDUMP_MANIFEST = 0x6464_0001, "DotdumpManifest";
}

impl StreamType {
    /// Whether the number is one that applications may use as they like.
    #[must_use]
    pub const fn is_third_party(self) -> bool {
        self.0 > 0xFFFF
    }
}

impl fmt::Display for StreamType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for StreamType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
