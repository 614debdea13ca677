//! The process as a snapshot.

use std::borrow::Cow;

use dotdump_format::minidump::breakpad_info::BreakpadInfo;
use dotdump_format::minidump::exception::ExceptionStream;

use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{Header, MiniDumpType, SIGNATURE, StreamType, VERSION_NUMBER, WriteStream};
use dotdump_format::time::{filetime_to_unix, unix_to_filetime};
use dotdump_format::{Endian, Error, Findings, VirtAddr, VirtRange};

use super::facts::LinuxFacts;
use super::modules::LinuxModules;
use super::{counters, handles, regions, signal, system_info, threads, unloaded};
use crate::memory::Memory;
use crate::minidump::MadeMemoryInfo;
use crate::process::{Blob, Content, ModuleSnapshot, ProcessSnapshot, ThreadSnapshot};
use crate::regions::Region;

/// A Linux process as a [`ProcessSnapshot`].
pub struct LinuxProcess<'m> {
    facts: LinuxFacts,
    memory: Box<dyn Memory + 'm>,
    modules: LinuxModules,
    header: Header,
    system_info: SystemInfo,
    csd_version: Vec<u16>,
    threads: Vec<ThreadSnapshot>,
    exception: Option<(ExceptionStream, Option<Blob>)>,
    regions: Vec<Region>,
    unloaded: UnloadedModuleList,
    findings: Findings,
    missing_bytes: u64,
}

impl<'m> LinuxProcess<'m> {
    /// Puts `facts` in the terms of minidumps. Modules that are in `known` are not looked into again.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn new(mut facts: LinuxFacts, memory: Box<dyn Memory + 'm>, known: &LinuxModules) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let modules = LinuxModules::find(
            facts.architecture,
            &facts.mappings,
            &facts.auxv,
            memory.as_ref(),
            known,
            &mut findings,
        )?;
        add_maps(&mut facts);
        let (regions, ascending) = regions::regions_of(&facts.mappings);
        if !ascending {
            findings.add(0, "maps", "mappings are not in ascending order or overlap");
        }
        let architecture = facts.architecture;
        let stacks = threads::Stacks::of(&facts, &regions);
        let snapshot = |thread| threads::snapshot(architecture, thread, &stacks);
        let threads: Vec<ThreadSnapshot> = facts.threads.iter().map(snapshot).collect();
        Ok(Self {
            header: header(&facts),
            system_info: system_info::system_info(&facts),
            csd_version: facts.system.name.encode_utf16().collect(),
            exception: exception(&facts, &threads),
            unloaded: unloaded::unloaded_modules(&facts.mappings, &modules.modules),
            facts,
            memory,
            modules,
            threads,
            regions,
            findings,
            missing_bytes: 0,
        })
    }

    /// Adds what is wrong with the file that it was read from, and how many bytes of memory that claims to have and lacks.
    #[must_use]
    pub fn with_damage(mut self, findings: Findings, missing_bytes: u64) -> Self {
        let own = std::mem::replace(&mut self.findings, findings);
        self.findings.append(own);
        self.missing_bytes = missing_bytes;
        self
    }

    /// Sets when it was captured, in seconds since 1970, where only something other than what it was read from tells it.
    #[must_use]
    pub fn captured_at(mut self, seconds: u64) -> Self {
        self.facts.time = unix_to_filetime(seconds).unwrap_or(0);
        self.header.time_date_stamp = u32::try_from(seconds).unwrap_or(0).into();
        self
    }

    /// What it was made from.
    #[must_use]
    pub const fn facts(&self) -> &LinuxFacts {
        &self.facts
    }
}

/// Sees to it that the map goes along as a text: who reads the dump later has it from there.
fn add_maps(facts: &mut LinuxFacts) {
    if facts.mappings.is_empty()
        || facts
            .texts
            .iter()
            .any(|(stream_type, _)| *stream_type == StreamType::LINUX_MAPS)
    {
        return;
    }
    let mut text = Vec::new();
    for mapping in &facts.mappings {
        mapping.push_line(&mut text);
    }
    facts.texts.push((StreamType::LINUX_MAPS, text));
}

/// The header of a dump with everything: all memory is there.
fn header(facts: &LinuxFacts) -> Header {
    let mut flags = MiniDumpType::WITH_FULL_MEMORY
        | MiniDumpType::WITH_FULL_MEMORY_INFO
        | MiniDumpType::WITH_THREAD_INFO
        | MiniDumpType::WITH_UNLOADED_MODULES;
    flags.set(MiniDumpType::WITH_HANDLE_DATA, facts.handles.is_some());
    let has_xstate = facts.threads.iter().any(|thread| thread.xstate.is_some());
    flags.set(MiniDumpType::WITH_AVX_XSTATE_CONTEXT, has_xstate);
    let seconds = filetime_to_unix(facts.time).and_then(|seconds| u32::try_from(seconds).ok());
    Header {
        signature: SIGNATURE.into(),
        version: VERSION_NUMBER.into(),
        time_date_stamp: seconds.unwrap_or(0).into(),
        flags: flags.bits().into(),
        ..Header::default()
    }
}

/// The signal as an exception, with the registers of its thread.
fn exception(facts: &LinuxFacts, threads: &[ThreadSnapshot]) -> Option<(ExceptionStream, Option<Blob>)> {
    let raised = facts.signal.as_ref()?;
    let thread = threads
        .iter()
        .find(|thread| thread.record.thread_id == raised.thread_id);
    let context = thread.and_then(|thread| thread.context.clone());
    let pointer = match &context {
        Some(Blob::Bytes(context)) => threads::instruction_pointer(facts.architecture, context),
        _ => None,
    };
    Some((signal::exception(facts.architecture, raised, pointer)?, context))
}

fn typed<'a>(stream: impl WriteStream + 'a) -> Content<'a> {
    Content::Typed(Box::new(stream))
}

impl ProcessSnapshot for LinuxProcess<'_> {
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
        &self.csd_version
    }

    fn threads(&self) -> &[ThreadSnapshot] {
        &self.threads
    }

    fn modules(&self) -> &[ModuleSnapshot] {
        &self.modules.modules
    }

    fn exception(&self) -> Option<(&ExceptionStream, Option<&Blob>)> {
        self.exception
            .as_ref()
            .map(|(record, context)| (record, context.as_ref()))
    }

    fn memory(&self) -> &dyn Memory {
        self.memory.as_ref()
    }

    fn has_regions(&self) -> bool {
        !self.regions.is_empty()
    }

    fn regions(&self) -> Box<dyn Iterator<Item = Result<Region, Error>> + '_> {
        Box::new(self.regions.iter().map(|region| Ok(*region)))
    }

    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        Ok(regions::region_at(&self.regions, address).copied())
    }

    fn stream_types(&self) -> Vec<StreamType> {
        let facts = &self.facts;
        let mut types = vec![
            StreamType::SYSTEM_INFO,
            StreamType::MISC_INFO,
            StreamType::THREAD_LIST,
            StreamType::THREAD_INFO_LIST,
            StreamType::MODULE_LIST,
            StreamType::UNLOADED_MODULE_LIST,
            StreamType::MEMORY64_LIST,
        ];
        for (stream_type, is_there) in [
            (StreamType::EXCEPTION, self.exception.is_some()),
            (
                StreamType::THREAD_NAMES,
                facts.threads.iter().any(|thread| thread.name.is_some()),
            ),
            (StreamType::MEMORY_INFO_LIST, self.has_regions()),
            (StreamType::HANDLE_DATA, facts.handles.is_some()),
            (StreamType::PROCESS_VM_COUNTERS, counters::vm_counters(facts).is_some()),
            (StreamType::BREAKPAD_INFO, self.exception.is_some()),
            (StreamType::LINUX_AUXV, !facts.auxv.is_empty()),
            (StreamType::LINUX_DSO_DEBUG, self.modules.dso_debug().is_some()),
        ] {
            if is_there {
                types.push(stream_type);
            }
        }
        for (stream_type, _) in &facts.texts {
            if !types.contains(stream_type) {
                types.push(*stream_type);
            }
        }
        types
    }

    fn stream(&self, stream_type: StreamType, findings: &mut Findings) -> Result<Option<Content<'_>>, Error> {
        let facts = &self.facts;
        if !self.stream_types().contains(&stream_type) {
            return Ok(None);
        }
        let verbatim = |bytes: &[u8]| Content::Verbatim(Blob::Bytes(bytes.to_vec()));
        Ok(match stream_type {
            StreamType::SYSTEM_INFO => Some(typed(self.system_info)),
            StreamType::MISC_INFO => self.misc_info(findings)?.map(typed),
            StreamType::THREAD_INFO_LIST => Some(typed(threads::ThreadInfos(facts))),
            StreamType::THREAD_NAMES => Some(typed(threads::names(&facts.threads))),
            StreamType::UNLOADED_MODULE_LIST => Some(typed(self.unloaded.clone())),
            StreamType::MEMORY_INFO_LIST => {
                let architecture = facts.architecture.to_minidump();
                let mut holes = facts.empty.clone();
                holes.extend(&facts.unreadable);
                let regions = regions::without(&self.regions, holes.as_slice());
                Some(typed(MadeMemoryInfo::of_linux(&regions, architecture)))
            }
            StreamType::HANDLE_DATA => facts.handles.as_deref().map(|list| typed(handles::handle_data(list))),
            StreamType::PROCESS_VM_COUNTERS => counters::vm_counters(facts).map(typed),
            StreamType::BREAKPAD_INFO => facts
                .signal
                .as_ref()
                .map(|signal| typed(BreakpadInfo::new(None, Some(signal.thread_id)))),
            StreamType::LINUX_AUXV => Some(verbatim(&facts.auxv)),
            StreamType::LINUX_DSO_DEBUG => self.modules.dso_debug().cloned().map(typed),
            _ => counters::text(facts, stream_type).map(verbatim),
        })
    }

    fn misc_info(&self, _: &mut Findings) -> Result<Option<MiscInfo>, Error> {
        Ok(Some(counters::misc_info(&self.facts)))
    }

    fn bytes<'b>(&'b self, blob: &'b Blob) -> Result<Cow<'b, [u8]>, Error> {
        match blob {
            Blob::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Blob::File { offset, size } => Err(Error::Read {
                offset: *offset,
                size: *size,
                reason: "the records of a Linux process are in no file".to_owned(),
            }),
        }
    }

    /// Memory in readable mappings that cannot be read, and what a file claims to have of it and lacks.
    fn missing_bytes(&self) -> u64 {
        let mut unreadable = self.facts.unreadable.clone();
        let unreadable: u64 = unreadable.as_slice().iter().map(|range| range.size()).sum();
        unreadable.saturating_add(self.missing_bytes)
    }

    fn first_missing(&self) -> Option<VirtAddr> {
        let mut unreadable = self.facts.unreadable.clone();
        unreadable.as_slice().first().map(|range| range.start)
    }

    fn other_code(&self) -> Result<Vec<VirtRange>, Error> {
        Ok(regions::executable(&self.regions).collect())
    }

    fn unwind_infos(&self, _: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
        Ok(())
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
