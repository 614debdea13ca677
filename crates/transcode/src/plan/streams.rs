//! Which streams of a source stay, and in which order they lie.

use dotdump_format::Error;
use dotdump_format::layout::Layout;
use dotdump_format::minidump::{LocationDescriptor, MiniDumpType, StreamType};
use dotdump_snapshot::Content;

use super::Planner;
use crate::manifest::LeftOut;
use crate::options::MiniOptions;
use crate::shortfall::{Shortfalls, listed};

/// What is done with a stream.
enum Fate {
    /// The planner makes it itself.
    Own,
    /// It is carried.
    Keep,
    /// It is not taken, as options say.
    Drop(&'static str),
    /// It is not taken, and the user should know.
    Lose(&'static str),
}

fn fate(planner: &Planner<'_>, stream_type: StreamType) -> Fate {
    let options = planner.options();
    let only_with = |option, reason| {
        if options.contains(option) {
            Fate::Keep
        } else {
            Fate::Drop(reason)
        }
    };
    let filters = MiniOptions::FILTER_MEMORY | MiniOptions::FILTER_PATHS;
    match stream_type {
        StreamType::UNUSED | StreamType::RESERVED_0 | StreamType::RESERVED_1 => Fate::Drop("holds nothing"),
        StreamType::THREAD_LIST
        | StreamType::THREAD_EX_LIST
        | StreamType::MODULE_LIST
        | StreamType::MEMORY_LIST
        | StreamType::MEMORY64_LIST
        | StreamType::EXCEPTION
        | StreamType::SYSTEM_INFO
        | StreamType::DOTDUMP_MANIFEST => Fate::Own,
        StreamType::UNLOADED_MODULE_LIST => only_with(MiniOptions::UNLOADED_MODULES, "without -mu"),
        StreamType::MEMORY_INFO_LIST => only_with(MiniOptions::FULL_MEMORY_INFO, "without -mF"),
        // It says whose registers were not found: without it they would pass for zeros.
        StreamType::THREAD_INFO_LIST if planner.snapshot.is_resident_only() => Fate::Keep,
        StreamType::THREAD_INFO_LIST => only_with(MiniOptions::THREAD_INFO, "without -mt"),
        StreamType::HANDLE_DATA | StreamType::HANDLE_OPERATION_LIST => only_with(MiniOptions::HANDLES, "without -mh"),
        StreamType::JAVA_SCRIPT_DATA | StreamType::IPT_TRACE => {
            only_with(MiniOptions::FULL_MEMORY, "data of a runtime or a trace, without -mf")
        }
        StreamType::TOKEN if options.intersects(filters) => Fate::Drop("holds the user's identity, with -mr or -mR"),
        StreamType::LINUX_ENVIRON | StreamType::LINUX_CMD_LINE if options.contains(MiniOptions::FILTER_MEMORY) => {
            Fate::Drop("holds what the user gave the program, with -mr")
        }
        StreamType::COMMENT_A | StreamType::COMMENT_W if planner.request.options.comment.is_some() => {
            Fate::Drop("replaced by -c")
        }
        StreamType::COMPRESSED_MEMORY | StreamType::COMPRESSED_MEMORY_SQL => {
            Fate::Lose("memory in a compressed form whose layout is not public")
        }
        ce if (StreamType::CE_NULL.0..=StreamType::CE_DIAGNOSIS_LIST.0).contains(&ce.0) => {
            Fate::Lose("a stream of Windows CE, whose file offsets are not known")
        }
        _ => Fate::Keep,
    }
}

/// An entry for the list of streams that were not taken.
pub(super) fn left_out(stream_type: StreamType, reason: &str) -> LeftOut {
    LeftOut {
        stream_type: stream_type.0,
        name: stream_type.to_string(),
        reason: reason.to_owned(),
    }
}

/// The streams to carry, in their order in the file. What was asked for and is not there becomes a shortfall.
pub(super) fn choose(planner: &mut Planner<'_>, shortfalls: &mut Shortfalls) -> Vec<StreamType> {
    let mut kept = Vec::new();
    let mut unknown = Vec::new();
    let types = planner.snapshot.stream_types();
    for stream_type in &types {
        match fate(planner, *stream_type) {
            Fate::Own => {}
            Fate::Keep => {
                if stream_type.name().is_none() {
                    unknown.push(stream_type.to_string());
                }
                kept.push(*stream_type);
            }
            Fate::Drop(reason) => planner.left_out.push(left_out(*stream_type, reason)),
            Fate::Lose(reason) => {
                planner.left_out.push(left_out(*stream_type, reason));
                shortfalls.warn("-m", format!("the stream {stream_type} was left out: {reason}"));
            }
        }
    }
    if !unknown.is_empty() {
        let message = "streams of unknown kinds are carried as they are, file offsets in them included";
        shortfalls.note("-m", listed(message, &unknown));
    }
    let options = planner.options();
    for (option, letter, stream_type) in [
        (MiniOptions::FULL_MEMORY_INFO, "-mF", StreamType::MEMORY_INFO_LIST),
        (MiniOptions::HANDLES, "-mh", StreamType::HANDLE_DATA),
        (MiniOptions::UNLOADED_MODULES, "-mu", StreamType::UNLOADED_MODULE_LIST),
        (MiniOptions::THREAD_INFO, "-mt", StreamType::THREAD_INFO_LIST),
    ] {
        if options.contains(option) && !types.contains(&stream_type) {
            if stream_type == StreamType::MEMORY_INFO_LIST && planner.snapshot.has_regions() {
                // It is made from the map that the source has in another form.
                kept.push(stream_type);
            } else {
                shortfalls.warn(letter, format!("the source has no {stream_type}"));
            }
        }
    }
    kept.sort_by_key(|stream_type| file_rank(*stream_type));
    kept
}

/// The order of streams in the file, as Windows' writers have it.
const FILE_ORDER: [StreamType; 12] = [
    StreamType::MISC_INFO,
    StreamType::THREAD_INFO_LIST,
    StreamType::UNLOADED_MODULE_LIST,
    StreamType::FUNCTION_TABLE,
    StreamType::TOKEN,
    StreamType::SYSTEM_MEMORY_INFO,
    StreamType::PROCESS_VM_COUNTERS,
    StreamType::THREAD_NAMES,
    StreamType::MEMORY_INFO_LIST,
    StreamType::HANDLE_DATA,
    StreamType::HANDLE_OPERATION_LIST,
    StreamType::BREAKPAD_INFO,
];

fn file_rank(stream_type: StreamType) -> (usize, u32) {
    let known = FILE_ORDER.iter().position(|candidate| *candidate == stream_type);
    (known.unwrap_or(FILE_ORDER.len()), stream_type.0)
}

/// The order of the directory, as Windows' writers have it.
const DIRECTORY_ORDER: [StreamType; 17] = [
    StreamType::THREAD_LIST,
    StreamType::THREAD_EX_LIST,
    StreamType::THREAD_INFO_LIST,
    StreamType::MODULE_LIST,
    StreamType::UNLOADED_MODULE_LIST,
    StreamType::FUNCTION_TABLE,
    StreamType::TOKEN,
    StreamType::MEMORY_LIST,
    StreamType::MEMORY64_LIST,
    StreamType::MEMORY_INFO_LIST,
    StreamType::EXCEPTION,
    StreamType::SYSTEM_INFO,
    StreamType::MISC_INFO,
    StreamType::HANDLE_DATA,
    StreamType::SYSTEM_MEMORY_INFO,
    StreamType::PROCESS_VM_COUNTERS,
    StreamType::THREAD_NAMES,
];

/// Where a stream stands in the directory.
pub(super) fn directory_rank(stream_type: StreamType) -> (usize, u32) {
    let known = DIRECTORY_ORDER.iter().position(|candidate| *candidate == stream_type);
    (known.unwrap_or(DIRECTORY_ORDER.len()), stream_type.0)
}

/// The flag that a reader expects in the header beside a stream.
pub(super) fn flag_of(stream_type: StreamType) -> MiniDumpType {
    match stream_type {
        StreamType::HANDLE_DATA => MiniDumpType::WITH_HANDLE_DATA,
        StreamType::UNLOADED_MODULE_LIST => MiniDumpType::WITH_UNLOADED_MODULES,
        StreamType::MEMORY_INFO_LIST => MiniDumpType::WITH_FULL_MEMORY_INFO,
        StreamType::THREAD_INFO_LIST => MiniDumpType::WITH_THREAD_INFO,
        StreamType::TOKEN => MiniDumpType::WITH_TOKEN_INFORMATION,
        StreamType::IPT_TRACE => MiniDumpType::WITH_IPT_TRACE,
        _ => MiniDumpType::empty(),
    }
}

/// Lays out a carried stream.
pub(super) fn place(
    content: Content<'_>,
    layout: &mut Layout,
    stream_type: StreamType,
) -> Result<LocationDescriptor, Error> {
    layout.align(8);
    match content {
        Content::Typed(value) => value.write(layout),
        Content::Verbatim(blob) => {
            let size = blob.size();
            let offset = layout.push(blob.to_piece());
            layout.location(offset, size, stream_type.name().unwrap_or("a stream"))
        }
    }
}
