//! The streams of a minidump in the form in which an output takes them.
//!
//! A stream with file offsets in it is read and written anew; any other is carried byte for byte.

use std::borrow::Cow;

use dotdump_format::layout::Layout;
use dotdump_format::minidump::crashpad_info::CrashpadInfo;
use dotdump_format::minidump::function_table::FunctionTables;
use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::handle_operation_list::HandleOperationList;
use dotdump_format::minidump::linux_auxv::WordSize;
use dotdump_format::minidump::linux_dso_debug::LinuxDsoDebug;
use dotdump_format::minidump::memory_info_list::{self, MemoryInfo, MemoryInfoList};
use dotdump_format::minidump::module_list::{self, ModuleList, OwnedModule};
use dotdump_format::minidump::mozilla::{MozMacosBootargs, MozMacosCrashInfo};
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::minidump::thread_info_list::ThreadInfoList;
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::token::TokenList;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{
    LocationDescriptor, Minidump, Stream, StreamContent, StreamType, WriteStream, read_string_units,
};
use dotdump_format::{Error, Findings, Rva, VirtAddr, VirtRange};

use super::{MAX_DEBUG_RECORD, blob};
use crate::linux::regions::with_gaps;
use crate::process::{Blob, Content};
use crate::regions::Region;

/// A stream as an output takes it.
pub(super) fn content<'a>(
    dump: &Minidump<'a>,
    stream: &Stream<'a>,
    architecture: ProcessorArchitecture,
    findings: &mut Findings,
) -> Result<Content<'a>, Error> {
    fn typed<'a, T: StreamContent<'a> + WriteStream + 'a>(
        stream: &Stream<'a>,
        findings: &mut Findings,
    ) -> Result<Content<'a>, Error> {
        Ok(Content::Typed(Box::new(T::read(stream, findings)?)))
    }
    match stream.stream_type {
        StreamType::HANDLE_DATA => typed::<HandleData>(stream, findings),
        StreamType::UNLOADED_MODULE_LIST => typed::<UnloadedModuleList>(stream, findings),
        StreamType::THREAD_NAMES => typed::<ThreadNames>(stream, findings),
        StreamType::CRASHPAD_INFO => typed::<CrashpadInfo>(stream, findings),
        StreamType::MOZ_MACOS_CRASH_INFO => typed::<MozMacosCrashInfo>(stream, findings),
        StreamType::MOZ_MACOS_BOOTARGS => typed::<MozMacosBootargs>(stream, findings),
        StreamType::LINUX_DSO_DEBUG => {
            let word = if architecture.pointer_size() == 8 {
                WordSize::Eight
            } else {
                WordSize::Four
            };
            Ok(Content::Typed(Box::new(LinuxDsoDebug::read(stream, word, findings)?)))
        }
        StreamType::WINE_HOST_MODULE_LIST => Ok(Content::Typed(Box::new(host_modules(dump, stream, findings)?))),
        // What these hold has no file offsets, but a list whose head makes no sense is of no use to a reader.
        StreamType::THREAD_INFO_LIST => typed::<ThreadInfoList<'_>>(stream, findings),
        StreamType::HANDLE_OPERATION_LIST => typed::<HandleOperationList<'_>>(stream, findings),
        StreamType::TOKEN => typed::<TokenList<'_>>(stream, findings),
        // Readers want the exact size, so a list that has another one is written anew.
        StreamType::MEMORY_INFO_LIST => {
            let list = MemoryInfoList::read(stream, findings)?;
            if stream.size == stream.claimed_size && stream.size == 16 + list.regions.len() * 48 {
                return Ok(verbatim(stream));
            }
            Ok(Content::Typed(Box::new(list)))
        }
        _ => {
            if stream.size < stream.claimed_size {
                let message = format!("{} bytes, of which {} are there", stream.claimed_size, stream.size);
                return Err(Error::malformed(
                    stream.offset,
                    Cow::Owned(stream.stream_type.to_string()),
                    message,
                ));
            }
            Ok(verbatim(stream))
        }
    }
}

fn verbatim(stream: &Stream<'_>) -> Content<'static> {
    Content::Verbatim(Blob::File {
        offset: stream.offset,
        size: stream.size,
    })
}

/// Wine's list of the host's modules: laid out as a ModuleList under another number.
struct HostModules(Vec<OwnedModule>);

impl WriteStream for HostModules {
    fn stream_type(&self) -> StreamType {
        StreamType::WINE_HOST_MODULE_LIST
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        module_list::write(layout, &self.0)
    }
}

fn host_modules(dump: &Minidump<'_>, stream: &Stream<'_>, findings: &mut Findings) -> Result<HostModules, Error> {
    const WHAT: &str = "WineHostModuleList";
    let list = ModuleList::read(stream, findings)?;
    let mut modules = Vec::new();
    for record in super::bounded(&list.modules, WHAT, findings) {
        let record = record?;
        let name = match Rva(record.module_name_rva.get()).offset() {
            Some(offset) => read_string_units(stream.source, stream.endian, offset).unwrap_or_else(|error| {
                findings.push(error.into_finding(WHAT));
                Vec::new()
            }),
            None => Vec::new(),
        };
        let mut piece = |location| blob(dump, location, MAX_DEBUG_RECORD, WHAT, findings).map(|blob| blob.to_piece());
        let (cv_record, misc_record) = (piece(&record.cv_record), piece(&record.misc_record));
        modules.push(OwnedModule {
            record,
            name,
            cv_record,
            misc_record,
        });
    }
    Ok(HostModules(modules))
}

/// A MemoryInfoList made from a map in another form.
pub struct MadeMemoryInfo(pub Vec<Region>);

impl MadeMemoryInfo {
    /// That of a Linux process: its regions, which ascend, and the gaps between them, as Windows' lists have them.
    #[must_use]
    pub fn of_linux(regions: &[Region], architecture: ProcessorArchitecture) -> Self {
        Self(with_gaps(regions, architecture))
    }
}

impl WriteStream for MadeMemoryInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::MEMORY_INFO_LIST
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let infos: Vec<MemoryInfo> = self.0.iter().map(info_of).collect();
        memory_info_list::write(layout, &infos)
    }
}

fn info_of(region: &Region) -> MemoryInfo {
    MemoryInfo {
        base_address: region.range.start.0.into(),
        allocation_base: region.allocation_base.0.into(),
        allocation_protect: region.allocation_protect.into(),
        region_size: region.range.size().into(),
        state: region.state.into(),
        protect: region.protect.into(),
        memory_type: region.kind.into(),
        ..MemoryInfo::default()
    }
}

/// Unloaded modules, and code made at run time.
pub(super) fn other_code(dump: &Minidump<'_>) -> Result<Vec<VirtRange>, Error> {
    let mut ranges = Vec::new();
    let mut findings = Findings::default();
    if let Some(list) = super::lenient::<UnloadedModuleList>(dump, &mut findings)? {
        ranges.extend(list.modules.iter().map(|module| module.range()));
    }
    if let Some(tables) = super::lenient::<FunctionTables<'_>>(dump, &mut findings)? {
        for table in tables.iter() {
            match table {
                Ok(table) => ranges.push(table.descriptor.range()),
                Err(Error::Malformed(_)) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ranges)
}

/// The unwind information of code made at run time.
pub(super) fn unwind_infos(dump: &Minidump<'_>, each: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
    let mut findings = Findings::default();
    let Some(tables) = super::lenient::<FunctionTables<'_>>(dump, &mut findings)? else {
        return Ok(());
    };
    for table in tables.iter() {
        let table = match table {
            Ok(table) => table,
            Err(Error::Malformed(_)) => break,
            Err(error) => return Err(error),
        };
        for address in table.unwind_addresses() {
            if !each(address?) {
                return Ok(());
            }
        }
    }
    Ok(())
}
