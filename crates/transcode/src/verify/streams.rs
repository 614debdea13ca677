//! Reading every stream of a dump, and everything in it.

use dotdump_format::minidump::assertion_info::AssertionInfo;
use dotdump_format::minidump::breakpad_info::BreakpadInfo;
use dotdump_format::minidump::comment::{CommentA, CommentW};
use dotdump_format::minidump::context::Context;
use dotdump_format::minidump::crashpad_info::CrashpadInfo;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::function_table::FunctionTables;
use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::handle_operation_list::HandleOperationList;
use dotdump_format::minidump::linux_auxv::{LinuxAuxv, WordSize};
use dotdump_format::minidump::linux_dso_debug::LinuxDsoDebug;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_format::minidump::memory_info_list::MemoryInfoList;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::mozilla::{MozMacosBootargs, MozMacosCrashInfo};
use dotdump_format::minidump::process_vm_counters::ProcessVmCounters;
use dotdump_format::minidump::system_memory_info::SystemMemoryInfo;
use dotdump_format::minidump::thread_info_list::ThreadInfoList;
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::token::TokenList;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{Stream, StreamContent, StreamType};
use dotdump_format::{Error, Findings, Record, Table};
use dotdump_snapshot::{Blob, MinidumpSnapshot, ProcessSnapshot};

/// Walks all that opening the dump did not walk. What is wrong becomes a finding.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub(super) fn walk(snapshot: &MinidumpSnapshot<'_>, findings: &mut Findings) -> Result<(), Error> {
    contexts(snapshot, findings)?;
    let word = match snapshot.architecture().pointer_size() {
        8 => WordSize::Eight,
        _ => WordSize::Four,
    };
    let mut seen = Vec::new();
    for stream in snapshot.dump().streams() {
        // Of streams that occur twice the first is used; only the exceptions of LLDB count each.
        if seen.contains(&stream.stream_type) && stream.stream_type != StreamType::EXCEPTION {
            continue;
        }
        seen.push(stream.stream_type);
        match walk_stream(&stream, word, findings) {
            Ok(()) => {}
            Err(Error::Malformed(finding)) => findings.push(finding),
            Err(error) => {
                // What lies past the end is damage; what lies before it and cannot be read is the medium's failure.
                if let Error::Read { offset, size, .. } = &error
                    && offset.saturating_add(*size).0 <= stream.source.size()
                {
                    return Err(error);
                }
                let mut finding = error.into_finding("stream");
                finding.what = stream.stream_type.to_string().into();
                findings.push(finding);
            }
        }
    }
    Ok(())
}

fn walk_stream(stream: &Stream<'_>, word: WordSize, findings: &mut Findings) -> Result<(), Error> {
    fn read<'a, T: StreamContent<'a>>(stream: &Stream<'a>, findings: &mut Findings) -> Result<(), Error> {
        T::read(stream, findings).map(drop)
    }
    match stream.stream_type {
        StreamType::EXCEPTION => read::<ExceptionStream>(stream, findings),
        StreamType::COMMENT_A => read::<CommentA>(stream, findings),
        StreamType::COMMENT_W => read::<CommentW>(stream, findings),
        StreamType::HANDLE_DATA => read::<HandleData>(stream, findings),
        StreamType::FUNCTION_TABLE => function_tables(&FunctionTables::read(stream, findings)?),
        StreamType::UNLOADED_MODULE_LIST => read::<UnloadedModuleList>(stream, findings),
        StreamType::MISC_INFO => read::<MiscInfo>(stream, findings),
        StreamType::MEMORY_INFO_LIST => records(&MemoryInfoList::read(stream, findings)?.regions),
        StreamType::THREAD_INFO_LIST => records(&ThreadInfoList::read(stream, findings)?.threads),
        StreamType::HANDLE_OPERATION_LIST => records(&HandleOperationList::read(stream, findings)?.operations),
        StreamType::TOKEN => read::<TokenList<'_>>(stream, findings),
        StreamType::SYSTEM_MEMORY_INFO => read::<SystemMemoryInfo>(stream, findings),
        StreamType::PROCESS_VM_COUNTERS => read::<ProcessVmCounters>(stream, findings),
        StreamType::THREAD_NAMES => read::<ThreadNames>(stream, findings),
        StreamType::BREAKPAD_INFO => read::<BreakpadInfo>(stream, findings),
        StreamType::BREAKPAD_ASSERTION_INFO => read::<AssertionInfo>(stream, findings),
        StreamType::CRASHPAD_INFO => read::<CrashpadInfo>(stream, findings),
        StreamType::MOZ_MACOS_CRASH_INFO => read::<MozMacosCrashInfo>(stream, findings),
        StreamType::MOZ_MACOS_BOOTARGS => read::<MozMacosBootargs>(stream, findings),
        StreamType::LINUX_MAPS => LinuxMaps::read(stream, findings)?.to_vec(findings).map(drop),
        StreamType::LINUX_AUXV => LinuxAuxv::read(stream, word, findings).map(drop),
        StreamType::LINUX_DSO_DEBUG => LinuxDsoDebug::read(stream, word, findings).map(drop),
        // Opening the dump reads threads, modules, memory and system; the rest is text or has no known inside.
        _ => Ok(()),
    }
}

fn records<T: Record>(table: &Table<'_, T>) -> Result<(), Error> {
    table.iter().try_for_each(|record| record.map(drop))
}

fn function_tables(tables: &FunctionTables<'_>) -> Result<(), Error> {
    for table in tables.iter() {
        let table = table?;
        table.native()?;
        for address in table.unwind_addresses() {
            address?;
        }
    }
    Ok(())
}

/// Decodes the registers of all threads and of the exception.
fn contexts(snapshot: &MinidumpSnapshot<'_>, findings: &mut Findings) -> Result<(), Error> {
    let (architecture, endian) = (snapshot.architecture(), snapshot.endian());
    let mut decode = |blob: Option<&Blob>, what: &'static str| -> Result<(), Error> {
        let Some(blob) = blob else { return Ok(()) };
        let bytes = snapshot.bytes(blob)?;
        if let (Err(error), Blob::File { offset, .. }) = (Context::read(&bytes, architecture, endian), blob) {
            findings.push(error.into_finding(*offset, what));
        }
        Ok(())
    };
    for thread in snapshot.threads() {
        decode(thread.context.as_ref(), "ThreadList.ThreadContext")?;
    }
    decode(
        snapshot.exception().and_then(|(_, context)| context),
        "Exception.ThreadContext",
    )
}
