//! A stopped process as a snapshot.

use std::borrow::Cow;

use dotdump_format::layout::Layout;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::process_vm_counters::ProcessVmCounters;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::system_memory_info::SystemMemoryInfo;
use dotdump_format::minidump::thread_info_list::{self, ThreadInfo};
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::token::TokenList;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{Header, LocationDescriptor, StreamType, WriteStream};
use dotdump_format::{Endian, Error, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::minidump::MadeMemoryInfo;
use dotdump_snapshot::{Blob, Content, Memory, ModuleSnapshot, ProcessSnapshot, Region, ThreadSnapshot};

use super::memory::LiveMemory;

/// A Windows process as it was when it was stopped. Its memory is read from it when it is asked for.
pub(super) struct WindowsProcess {
    pub(super) memory: LiveMemory,
    pub(super) header: Header,
    pub(super) system_info: SystemInfo,
    pub(super) service_pack: Vec<u16>,
    pub(super) threads: Vec<ThreadSnapshot>,
    pub(super) thread_infos: Option<Vec<ThreadInfo>>,
    pub(super) thread_names: ThreadNames,
    pub(super) modules: Vec<ModuleSnapshot>,
    pub(super) unloaded_modules: Option<UnloadedModuleList>,
    pub(super) misc_info: MiscInfo,
    pub(super) handles: Option<HandleData>,
    pub(super) tokens: Option<TokenList<'static>>,
    pub(super) counters: Option<ProcessVmCounters>,
    pub(super) system_memory: Option<SystemMemoryInfo>,
    pub(super) environment_block: Option<VirtAddr>,
    pub(super) findings: Findings,
}

/// A ThreadInfoList of live threads.
struct ThreadInfos<'a>(&'a [ThreadInfo]);

impl WriteStream for ThreadInfos<'_> {
    fn stream_type(&self) -> StreamType {
        StreamType::THREAD_INFO_LIST
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        thread_info_list::write(layout, self.0)
    }
}

fn typed<'a>(value: impl WriteStream + 'a) -> Content<'a> {
    Content::Typed(Box::new(value))
}

impl ProcessSnapshot for WindowsProcess {
    fn endian(&self) -> Endian {
        Endian::Little
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn system_info(&self) -> Option<&SystemInfo> {
        Some(&self.system_info)
    }

    fn csd_version(&self) -> &[u16] {
        &self.service_pack
    }

    fn threads(&self) -> &[ThreadSnapshot] {
        &self.threads
    }

    fn modules(&self) -> &[ModuleSnapshot] {
        &self.modules
    }

    fn exception(&self) -> Option<(&ExceptionStream, Option<&Blob>)> {
        None
    }

    fn memory(&self) -> &dyn Memory {
        &self.memory
    }

    fn has_regions(&self) -> bool {
        true
    }

    fn regions(&self) -> Box<dyn Iterator<Item = Result<Region, Error>> + '_> {
        Box::new(self.memory.regions().iter().map(|region| Ok(*region)))
    }

    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        Ok(self.memory.region_at(address))
    }

    fn stream_types(&self) -> Vec<StreamType> {
        let mut types = vec![
            StreamType::SYSTEM_INFO,
            StreamType::MISC_INFO,
            StreamType::THREAD_LIST,
            StreamType::MODULE_LIST,
            StreamType::MEMORY64_LIST,
            StreamType::MEMORY_INFO_LIST,
        ];
        let optional = [
            (self.thread_infos.is_some(), StreamType::THREAD_INFO_LIST),
            (!self.thread_names.names.is_empty(), StreamType::THREAD_NAMES),
            (self.unloaded_modules.is_some(), StreamType::UNLOADED_MODULE_LIST),
            (self.handles.is_some(), StreamType::HANDLE_DATA),
            (self.tokens.is_some(), StreamType::TOKEN),
            (self.counters.is_some(), StreamType::PROCESS_VM_COUNTERS),
            (self.system_memory.is_some(), StreamType::SYSTEM_MEMORY_INFO),
        ];
        types.extend(optional.into_iter().filter_map(|(there, kind)| there.then_some(kind)));
        types
    }

    fn stream(&self, stream_type: StreamType, _: &mut Findings) -> Result<Option<Content<'_>>, Error> {
        Ok(match stream_type {
            StreamType::SYSTEM_INFO => Some(typed(self.system_info)),
            StreamType::MISC_INFO => Some(typed(self.misc_info)),
            StreamType::MEMORY_INFO_LIST => Some(typed(MadeMemoryInfo(self.memory.regions().to_vec()))),
            StreamType::THREAD_INFO_LIST => self.thread_infos.as_deref().map(|infos| typed(ThreadInfos(infos))),
            StreamType::THREAD_NAMES => Some(typed(self.thread_names.clone())),
            StreamType::UNLOADED_MODULE_LIST => self.unloaded_modules.clone().map(typed),
            StreamType::HANDLE_DATA => self.handles.clone().map(typed),
            StreamType::TOKEN => self.tokens.clone().map(typed),
            StreamType::PROCESS_VM_COUNTERS => self.counters.map(typed),
            StreamType::SYSTEM_MEMORY_INFO => self.system_memory.map(typed),
            _ => None,
        })
    }

    fn misc_info(&self, _: &mut Findings) -> Result<Option<MiscInfo>, Error> {
        Ok(Some(self.misc_info))
    }

    fn bytes<'b>(&'b self, blob: &'b Blob) -> Result<Cow<'b, [u8]>, Error> {
        match blob {
            Blob::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Blob::File { offset, size } => Err(Error::Read {
                offset: *offset,
                size: *size,
                reason: "the records of a live process are in no file".to_owned(),
            }),
        }
    }

    fn missing_bytes(&self) -> u64 {
        0
    }

    fn environment_block(&self) -> Option<VirtAddr> {
        self.environment_block
    }

    fn other_code(&self) -> Result<Vec<VirtRange>, Error> {
        let unloaded = self.unloaded_modules.iter().flat_map(|list| &list.modules);
        Ok(unloaded.map(|module| module.range()).collect())
    }

    fn unwind_infos(&self, _: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
        Ok(())
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
