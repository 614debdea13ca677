//! The requirements of all readers, each declared once.
//!
//! They come from reading the readers' sources and from opening files with single changes in them. A requirement that
//! one reader alone has is a limit of what that reader gets out of a dump; what would make a dump unsound for every
//! reader is damage.

use dotdump_format::FileOffset;
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::minidump::{MiniDumpType, StreamType};
use dotdump_snapshot::ProcessSnapshot;

use super::facts::{Facts, Tally};

/// What a violation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The dump breaks the format.
    Damage,
    /// One reader refuses or loses something.
    Limit,
}

/// A requirement that is not met.
pub(super) struct Violation {
    pub(super) offset: FileOffset,
    pub(super) what: &'static str,
    pub(super) message: String,
}

/// One requirement.
pub struct Check {
    /// Its name, for scripts.
    pub name: &'static str,
    /// Who has it.
    pub reader: &'static str,
    /// What it asks of a dump.
    pub demands: &'static str,
    /// What a violation means.
    pub weight: Weight,
    find: fn(&Facts<'_>) -> Option<Violation>,
}

impl Check {
    pub(super) fn violation(&self, facts: &Facts<'_>) -> Option<Violation> {
        (self.find)(facts)
    }
}

fn violation(offset: FileOffset, what: &'static str, message: impl Into<String>) -> Option<Violation> {
    Some(Violation {
        offset,
        what,
        message: message.into(),
    })
}

fn tallied(tally: &Tally, what: &'static str) -> Option<Violation> {
    let (offset, message) = tally.told()?;
    violation(offset, what, message)
}

fn above(facts: &Facts<'_>, stream: StreamType, what: &'static str, count: u64, limit: u64) -> Option<Violation> {
    if count <= limit {
        return None;
    }
    violation(
        facts.offset_of(stream),
        what,
        format!("{count} {what}, at most {limit} are read"),
    )
}

fn missing(facts: &Facts<'_>, any_of: &[StreamType]) -> Option<Violation> {
    if any_of.iter().any(|stream| facts.stream(*stream).is_some()) {
        return None;
    }
    let names: Vec<String> = any_of.iter().map(ToString::to_string).collect();
    violation(FileOffset(0), "directory", format!("no {}", names.join(" and no ")))
}

/// Declares the checks.
macro_rules! checks {
    ($($name:literal, $reader:ident, $weight:ident, $demands:literal, $find:expr;)*) => {
        /// All checks, in the order in which they are told.
        pub const CHECKS: &[Check] = &[$(Check {
            name: $name,
            reader: $reader,
            demands: $demands,
            weight: Weight::$weight,
            find: $find,
        },)*];
    };
}

const EVERY: &str = "every reader";
const WINDBG: &str = "WinDbg";
const VISUAL_STUDIO: &str = "Visual Studio";
const LLDB: &str = "LLDB";
const RUST_MINIDUMP: &str = "rust-minidump";
const BREAKPAD: &str = "Breakpad";
const UDMP: &str = "udmp-parser";
const SKELSEC: &str = "skelsec minidump";
const CLRMD: &str = "ClrMD";
const PYPYKATZ: &str = "Volatility and pypykatz";

/// Runtimes of managed code.
const RUNTIMES: &[&str] = &[
    "coreclr.dll",
    "clr.dll",
    "mscorwks.dll",
    "libcoreclr.so",
    "libcoreclr.dylib",
];

/// The module whose memory readers of credentials want.
const LSASRV: &[&str] = &["lsasrv.dll"];

checks! {
    "system-info", EVERY, Damage, "a SystemInfo stream: registers cannot be read without it",
        |facts| missing(facts, &[StreamType::SYSTEM_INFO]);
    "memory-ranges-end", EVERY, Damage, "memory ranges that end within the address space",
        |facts| tallied(&facts.memory.wraps, "memory");
    "memory-overlaps-agree", EVERY, Damage, "the same bytes wherever a dump has an address more than once",
        |facts| tallied(&facts.memory.contradictions, "memory");
    "memory-overlaps-few", EVERY, Limit, "few enough overlapping memory ranges to compare them all",
        |facts| facts.memory.uncompared.then(|| Violation {
            offset: FileOffset(0),
            what: "memory",
            message: "so many memory ranges overlap that not all of them were compared".to_owned(),
        });
    "memory-ranges-have-bytes", EVERY, Limit, "a file offset for each memory range",
        |facts| tallied(&facts.memory.absent, "MemoryList");

    "windbg-threads", WINDBG, Limit, "a ThreadList with a thread; else there is no current thread for any command",
        |facts| facts.snapshot.threads().is_empty().then(|| Violation {
            offset: facts.offset_of(StreamType::THREAD_LIST),
            what: "ThreadList",
            message: "no threads".to_owned(),
        });
    "windbg-module-list", WINDBG, Limit, "a ModuleList",
        |facts| missing(facts, &[StreamType::MODULE_LIST]);
    "windbg-memory-list", WINDBG, Limit, "a MemoryList or a Memory64List",
        |facts| missing(facts, &[StreamType::MEMORY_LIST, StreamType::MEMORY64_LIST]);
    "windbg-memory64-list-size", WINDBG, Damage, "a Memory64List of 16 bytes and 16 for each range",
        |facts| {
            let stream = facts.stream(StreamType::MEMORY64_LIST)?;
            let expected = facts.memory.in_list64.saturating_mul(16).saturating_add(16);
            let message = format!("{} bytes for {} ranges", stream.claimed_size, facts.memory.in_list64);
            if stream.claimed_size == expected { None } else { violation(stream.offset, "Memory64List", message) }
        };
    "windbg-full-memory-flag", WINDBG, Limit, "MiniDumpWithFullMemory in the header beside a Memory64List",
        |facts| flag(facts, StreamType::MEMORY64_LIST, MiniDumpType::WITH_FULL_MEMORY);
    "windbg-full-memory-info-flag", WINDBG, Limit,
        "MiniDumpWithFullMemoryInfo in the header beside a MemoryInfoList",
        |facts| flag(facts, StreamType::MEMORY_INFO_LIST, MiniDumpType::WITH_FULL_MEMORY_INFO);

    "visual-studio-thread-context", VISUAL_STUDIO, Limit, "an exception, or a thread with registers",
        |facts| {
            let registers = facts.snapshot.threads().iter().any(|thread| thread.context.is_some());
            let message = "no exception, and no thread with registers";
            if registers || facts.snapshot.exception().is_some() {
                None
            } else {
                violation(facts.offset_of(StreamType::THREAD_LIST), "ThreadList", message)
            }
        };
    "visual-studio-managed-memory", VISUAL_STUDIO, Limit, "full memory or the heap, to debug managed code",
        |facts| {
            let runtime = facts.module(RUNTIMES)?;
            let heap = MiniDumpType::WITH_FULL_MEMORY | MiniDumpType::WITH_PRIVATE_READ_WRITE_MEMORY;
            let message = format!("{} is loaded, but neither all memory nor the heap is there", runtime.name_text());
            if facts.flags.intersects(heap) { None } else { violation(FileOffset(24), "header", message) }
        };

    "lldb-streams-in-file", LLDB, Limit, "every stream within the file; else it refuses the file",
        |facts| {
            let outside = facts.streams.iter().find(|stream| stream.claimed_size > stream.size)?;
            violation(outside.offset, "directory", format!("{} runs past the end of the file", outside.stream_type))
        };
    "lldb-unique-streams", LLDB, Limit, "each type of stream once; exceptions may be more",
        |facts| twice(facts, true);
    "lldb-even-strings", LLDB, Limit, "strings of an even number of bytes",
        |facts| tallied(&facts.strings.odd, "MINIDUMP_STRING");
    "lldb-architecture", LLDB, Limit, "an x86, AMD64, ARM or ARM64 processor",
        |facts| {
            let architecture = facts.system_info.as_ref()?.architecture();
            let known = [
                ProcessorArchitecture::X86, ProcessorArchitecture::AMD64, ProcessorArchitecture::ARM,
                ProcessorArchitecture::ARM64, ProcessorArchitecture::ARM64_OLD,
            ];
            let offset = facts.offset_of(StreamType::SYSTEM_INFO);
            if known.contains(&architecture) { None } else { violation(offset, "SystemInfo", architecture.to_string()) }
        };
    "lldb-process-id", LLDB, Limit, "a process id in MiscInfo or LinuxProcStatus",
        |facts| if facts.process_id { None } else { violation(FileOffset(0), "directory", "no process id") };
    "lldb-module-names", LLDB, Limit, "a name that can be read for each module",
        |facts| tallied(&facts.strings.nameless_modules, "ModuleList");

    "rust-minidump-list-sizes", RUST_MINIDUMP, Limit, "lists of exactly their count and entries, or 4 bytes more",
        |facts| list_size(facts);
    "rust-minidump-memory64-complete", RUST_MINIDUMP, Limit, "all bytes that a Memory64List claims",
        |facts| {
            let missing = facts.snapshot.missing_bytes();
            let message = format!("{missing:#x} bytes of memory lie past the end of the file");
            if missing == 0 { None } else { violation(facts.offset_of(StreamType::MEMORY64_LIST), "memory", message) }
        };
    "rust-minidump-entry-sizes", RUST_MINIDUMP, Limit,
        "entries of 48 (MemoryInfoList), 64 (ThreadInfoList), 24 (UnloadedModuleList), 32 or 40 bytes (HandleData)",
        |facts| {
            let odd = facts.entry_sizes.first()?;
            violation(odd.offset, "list", format!("{}: entries of {} bytes", odd.stream, odd.size))
        };
    "rust-minidump-utf16", RUST_MINIDUMP, Limit, "names without lone surrogates",
        |facts| tallied(&facts.strings.not_utf16, "MINIDUMP_STRING");
    "rust-minidump-context-cpu", RUST_MINIDUMP, Limit, "context flags that name the processor and nothing else",
        |facts| tallied(&facts.odd_contexts, "CONTEXT");
    "rust-minidump-module-names", RUST_MINIDUMP, Limit, "a name that can be read for each module",
        |facts| tallied(&facts.strings.nameless_modules, "ModuleList");

    "breakpad-streams", BREAKPAD, Limit, "at most 128 streams",
        |facts| {
            let count = u64::from(facts.snapshot.header().number_of_streams.get());
            above(facts, StreamType::UNUSED, "streams", count, 128)
        };
    "breakpad-threads", BREAKPAD, Limit, "at most 4,096 threads",
        |facts| above(facts, StreamType::THREAD_LIST, "threads", facts.snapshot.threads().len() as u64, 4096);
    "breakpad-modules", BREAKPAD, Limit, "at most 2,048 modules",
        |facts| above(facts, StreamType::MODULE_LIST, "modules", facts.snapshot.modules().len() as u64, 2048);
    "breakpad-unloaded-modules", BREAKPAD, Limit, "at most 2,048 unloaded modules",
        |facts| above(facts, StreamType::UNLOADED_MODULE_LIST, "unloaded modules", facts.unloaded_modules, 2048);
    "breakpad-memory-list", BREAKPAD, Limit, "a MemoryList: it reads no Memory64List",
        |facts| missing(facts, &[StreamType::MEMORY_LIST]);
    "breakpad-memory-regions", BREAKPAD, Limit, "at most 4,096 memory ranges",
        |facts| above(facts, StreamType::MEMORY_LIST, "memory ranges", facts.memory.in_list, 4096);
    "breakpad-memory-region-size", BREAKPAD, Limit, "memory ranges of at most 64 MiB",
        |facts| {
            let (longest, limit) = (facts.memory.longest, 64 << 20);
            above(facts, StreamType::MEMORY_LIST, "bytes in one memory range", longest, limit)
        };
    "breakpad-empty-ranges", BREAKPAD, Limit, "no memory range of 0 bytes; else the whole list is lost",
        |facts| tallied(&facts.memory.empty, "memory");
    "breakpad-strings", BREAKPAD, Limit, "names of at most 1,024 code units",
        |facts| tallied(&facts.strings.long, "MINIDUMP_STRING");
    "breakpad-debug-records", BREAKPAD, Limit, "debug records of modules of at most 32,768 bytes",
        |facts| tallied(&facts.long_debug_records, "ModuleList");
    "breakpad-context-size", BREAKPAD, Limit, "at most 16,384 bytes of extended state",
        |facts| tallied(&facts.long_contexts, "CONTEXT");
    "breakpad-list-sizes", BREAKPAD, Limit, "lists of exactly their count and entries, or 4 bytes more",
        |facts| list_size(facts);
    "breakpad-module-overlap", BREAKPAD, Limit, "modules that do not overlap",
        |facts| tallied(&facts.module_overlaps, "ModuleList");
    "breakpad-unique-streams", BREAKPAD, Limit, "each type of stream once",
        |facts| twice(facts, false);

    "udmp-header-flags", UDMP, Limit, "no bits above 0x1fffff in the upper half of the header's flags",
        |facts| {
            let upper = facts.snapshot.header().flags.get() >> 32;
            let message = format!("{upper:#x} in the upper half of the flags");
            if upper & !0x1F_FFFF == 0 { None } else { violation(FileOffset(24), "header", message) }
        };
    "udmp-streams", UDMP, Limit, "at least one stream",
        |facts| facts.streams.is_empty().then(|| Violation {
            offset: FileOffset(8),
            what: "header",
            message: "no streams".to_owned(),
        });
    "udmp-unique-streams", UDMP, Limit, "each type of stream once",
        |facts| twice(facts, false);
    "udmp-list-padding", UDMP, Limit, "no padding after the counts of ThreadList and ModuleList",
        |facts| {
            let stream = facts.list_sizes.iter().find(|list| {
                list.padded && matches!(list.stream, StreamType::THREAD_LIST | StreamType::MODULE_LIST)
            })?;
            violation(stream.offset, "list", format!("{} has 4 bytes of padding", stream.stream))
        };
    "udmp-memory64-list", UDMP, Limit, "a Memory64List: it reads no MemoryList",
        |facts| missing(facts, &[StreamType::MEMORY64_LIST]);
    "udmp-memory-info-list", UDMP, Limit, "a MemoryInfoList",
        |facts| missing(facts, &[StreamType::MEMORY_INFO_LIST]);
    "udmp-memory-info-size", UDMP, Limit, "a MemoryInfoList of 16 bytes and 48 for each region",
        |facts| {
            let stream = facts.stream(StreamType::MEMORY_INFO_LIST)?;
            let message = format!("{} bytes", stream.claimed_size);
            let exact = stream.claimed_size >= 16 && (stream.claimed_size - 16).is_multiple_of(48);
            if exact { None } else { violation(stream.offset, "MemoryInfoList", message) }
        };
    "udmp-unique-regions", UDMP, Limit, "regions with different addresses",
        |facts| tallied(&facts.memory.same_region, "MemoryInfoList");
    "udmp-region-starts", UDMP, Limit, "Memory64List ranges that start with a region of the MemoryInfoList",
        |facts| tallied(&facts.memory.off_region, "Memory64List");
    "udmp-exception-thread", UDMP, Limit, "the thread of the exception in the ThreadList",
        |facts| {
            let id = facts.snapshot.exception()?.0.thread_id;
            let listed = facts.snapshot.threads().iter().any(|thread| thread.record.thread_id == id);
            let offset = facts.offset_of(StreamType::EXCEPTION);
            if listed { None } else { violation(offset, "Exception", format!("thread {id:#x} is not listed")) }
        };
    "udmp-ascii-names", UDMP, Limit, "names of modules in printable ASCII",
        |facts| tallied(&facts.strings.not_ascii_modules, "ModuleList");

    "skelsec-known-streams", SKELSEC, Limit, "of the types up to 0xffff, only those that it knows",
        |facts| {
            let unknown = facts.streams.iter().find(|stream| {
                let known = stream.stream_type.0 <= 22
                    || stream.stream_type == StreamType::THREAD_NAMES
                    || (0x8000..=0x800B).contains(&stream.stream_type.0);
                !known && !stream.stream_type.is_third_party()
            })?;
            violation(unknown.offset, "directory", unknown.stream_type.to_string())
        };
    "skelsec-product-type", SKELSEC, Limit, "a ProductType of 1, 2 or 3",
        |facts| {
            let product = facts.system_info.as_ref()?.product_type;
            let offset = facts.offset_of(StreamType::SYSTEM_INFO);
            if (1..=3).contains(&product) { None } else { violation(offset, "SystemInfo", format!("{product}")) }
        };
    "skelsec-platform", SKELSEC, Limit, "a PlatformId of Windows",
        |facts| {
            let platform = facts.system_info.as_ref()?.platform();
            let offset = facts.offset_of(StreamType::SYSTEM_INFO);
            if platform.is_windows() { None } else { violation(offset, "SystemInfo", platform.to_string()) }
        };
    "skelsec-csd-version", SKELSEC, Limit, "a service pack string, which may be empty",
        |facts| {
            let absent = facts.system_info.as_ref()?.csd_version_rva.get() == 0;
            let offset = facts.offset_of(StreamType::SYSTEM_INFO);
            if absent { violation(offset, "SystemInfo", "no service pack string") } else { None }
        };

    "clrmd-debug-records", CLRMD, Limit, "a CodeView record of the managed runtime, to find its debugging library",
        |facts| {
            let runtime = facts.module(RUNTIMES)?;
            let message = format!("{} has no CodeView record", runtime.name_text());
            let offset = facts.offset_of(StreamType::MODULE_LIST);
            if runtime.cv_record.is_some() { None } else { violation(offset, "ModuleList", message) }
        };
    "pypykatz-build-number", PYPYKATZ, Limit, "the build number of Windows",
        |facts| {
            let info = facts.system_info.as_ref()?;
            let offset = facts.offset_of(StreamType::SYSTEM_INFO);
            let known = !info.platform().is_windows() || info.build_number.get() != 0;
            if known { None } else { violation(offset, "SystemInfo", "build 0") }
        };
    "pypykatz-full-memory", PYPYKATZ, Limit, "all memory of a process with lsasrv.dll",
        |facts| {
            facts.module(LSASRV)?;
            let full = facts.flags.contains(MiniDumpType::WITH_FULL_MEMORY);
            let message = "lsasrv.dll is loaded, but not all memory is there";
            if full { None } else { violation(FileOffset(24), "header", message) }
        };
}

/// A stream beside which the header lacks its flag.
fn flag(facts: &Facts<'_>, stream: StreamType, flag: MiniDumpType) -> Option<Violation> {
    facts.stream(stream)?;
    if facts.flags.contains(flag) {
        return None;
    }
    violation(
        FileOffset(24),
        "header",
        format!("a {stream}, but no {:#x} in the flags", flag.bits()),
    )
}

/// A type that two streams have.
fn twice(facts: &Facts<'_>, exceptions_may: bool) -> Option<Violation> {
    let mut types: Vec<u32> = facts
        .streams
        .iter()
        .map(|stream| stream.stream_type)
        .filter(|stream_type| !exceptions_may || *stream_type != StreamType::EXCEPTION)
        .map(|stream_type| stream_type.0)
        .collect();
    types.sort_unstable();
    let pair = types.windows(2).find(|pair| pair[0] == pair[1])?;
    let double = StreamType(pair[0]);
    violation(
        facts.offset_of(double),
        "directory",
        format!("{double} occurs more than once"),
    )
}

/// A counted list whose size is not that of its entries.
fn list_size(facts: &Facts<'_>) -> Option<Violation> {
    let odd = facts.list_sizes.iter().find(|list| !list.exact && !list.padded)?;
    let message = format!("{}: {} bytes for {} entries", odd.stream, odd.size, odd.count);
    violation(odd.offset, "list", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_whose_they_are() {
        let mut names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        for check in CHECKS {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(check.name.chars().all(legal), "{}", check.name);
            assert!(!check.demands.is_empty());
        }
    }
}
