//! A process out of a machine.
//!
//! What a debugger asks the system for when it dumps a process is found here in the machine's memory: the loader's lists
//! in the environment block, threads in the kernel's structures, registers in trap frames, the map of the address space
//! in the page tables. Much of that has no table that says where it is; it is told by its contents, and
//! [`MachineProcess::guesses`] says what was.

mod memory;
mod modules;
mod regions;
mod threads;
mod trap_frame;

use std::borrow::Cow;

use dotdump_format::kernel::Machine;
use dotdump_format::layout::Layout;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::misc_info::{self, MiscInfo, MiscInfoFlags, MiscInfoRecord};
use dotdump_format::minidump::system_info::{PlatformId, ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::thread_info_list::{self, ThreadInfo};
use dotdump_format::minidump::{Header, LocationDescriptor, MiniDumpType, StreamType, WriteStream};
use dotdump_format::minidump::{SIGNATURE, VERSION_NUMBER};
use dotdump_format::time::filetime_to_unix;
use dotdump_format::{Endian, Error, FileOffset, Findings, VirtAddr, VirtRange};

use crate::machine::{KernelReader, MachineSnapshot, Process};
use crate::memory::Memory;
use crate::minidump::MadeMemoryInfo;
use crate::paging::Visit;
use crate::process::{Blob, Content, ModuleSnapshot, ProcessSnapshot, ThreadSnapshot};
use crate::regions::Region;
use memory::UserMemory;
use regions::Map;

/// A process of a machine as a [`ProcessSnapshot`]. Its architecture is the machine's, also where the program has 32 bits
/// on a 64-bit system: that one's modules are listed behind the others.
pub struct MachineProcess<'m> {
    process: Process,
    memory: UserMemory<'m>,
    map: Map,
    header: Header,
    system_info: SystemInfo,
    threads: Vec<ThreadSnapshot>,
    thread_infos: Vec<ThreadInfo>,
    modules: Vec<ModuleSnapshot>,
    guesses: Vec<String>,
    findings: Findings,
}

impl<'m> MachineProcess<'m> {
    /// Gathers what `machine` knows of `process`: reads its lists and walks its page tables once. `None` where the source
    /// has no pages.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn open(machine: &'m dyn MachineSnapshot, process: &Process) -> Result<Option<Self>, Error> {
        let Some(space) = machine.process_space(process) else {
            return Ok(None);
        };
        let memory = UserMemory::new(space);
        let mut notes = Notes::default();
        let kernel = KernelReader::new(machine.kernel_memory(), machine.machine());
        let user = KernelReader::new(&memory, machine.machine());
        let found = threads::threads(machine, process, &kernel, &user, &mut notes);
        let tebs: Vec<VirtAddr> = found.iter().map(|thread| thread.teb).collect();
        let modules = modules::modules(process, &user, &tebs, &mut notes);
        let (threads, thread_infos) = found.into_iter().map(threads::Found::into_records).unzip();
        let mut findings = kernel.into_findings();
        findings.append(user.into_findings());
        let map = Map::walk(&memory, &modules, &mut findings)?;
        notes.guesses.push(
            "the map of the address space is that of the page tables: it lacks what is not in memory, and tells private \
             memory from mapped files only where a prototype does"
                .to_owned(),
        );
        let mut header = Header {
            signature: SIGNATURE.into(),
            version: VERSION_NUMBER.into(),
            ..Header::default()
        };
        let time = machine.shared_user_data().and_then(|data| data.system_time);
        let seconds = time.or(machine.header().system_time()).and_then(filetime_to_unix);
        header.time_date_stamp = seconds.and_then(|time| u32::try_from(time).ok()).unwrap_or(0).into();
        let flags = MiniDumpType::WITH_FULL_MEMORY
            .union(MiniDumpType::WITH_FULL_MEMORY_INFO)
            .union(MiniDumpType::WITH_THREAD_INFO);
        header.flags = flags.bits().into();
        let system_info = system_info(machine, &mut notes);
        Ok(Some(Self {
            process: process.clone(),
            memory,
            map,
            header,
            system_info,
            threads,
            thread_infos,
            modules,
            guesses: notes.guesses,
            findings,
        }))
    }

    /// The process, as the kernel lists it.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// What is known of each thread, in the order of [`ProcessSnapshot::threads`]: whether its registers and its
    /// environment block were found.
    #[must_use]
    pub fn thread_infos(&self) -> &[ThreadInfo] {
        &self.thread_infos
    }

    /// What was told by contents instead of a table that says so, as sentences for a report.
    #[must_use]
    pub fn guesses(&self) -> &[String] {
        &self.guesses
    }

    /// Pages that are not in memory, as far as page tables tell.
    #[must_use]
    pub const fn walked(&self) -> Visit {
        self.map.visit
    }
}

/// What was guessed so far.
#[derive(Default)]
struct Notes {
    guesses: Vec<String>,
}

impl Notes {
    fn add(&mut self, guess: impl Into<String>) {
        self.guesses.push(guess.into());
    }
}

fn system_info(machine: &dyn MachineSnapshot, notes: &mut Notes) -> SystemInfo {
    let architecture = match machine.machine() {
        Machine::X86 => ProcessorArchitecture::X86,
        Machine::Amd64 => ProcessorArchitecture::AMD64,
        Machine::Arm64 => ProcessorArchitecture::ARM64,
    };
    let mut info = SystemInfo {
        processor_architecture: architecture.0.into(),
        platform_id: PlatformId::WIN32_NT.0.into(),
        ..SystemInfo::default()
    };
    notes.add("the processor's model and features are not told by the machine; the fields are zero");
    let header = machine.header();
    let shared = machine.shared_user_data();
    let processors = shared
        .and_then(|data| data.active_processors)
        .or(header.number_processors());
    info.number_of_processors = processors.and_then(|count| u8::try_from(count).ok()).unwrap_or(u8::MAX);
    let Some(shared) = shared else {
        info.build_number = header.minor_version().unwrap_or(0).into();
        return info;
    };
    info.major_version = shared.version.0.into();
    info.minor_version = shared.version.1.into();
    info.build_number = shared.build.or(header.minor_version()).unwrap_or(0).into();
    let product = shared.product_type.and_then(|product| u8::try_from(product).ok());
    info.product_type = product.unwrap_or(0);
    // The field holds the lower half of the suites.
    let suites = shared.suite_mask.unwrap_or(0) & 0xFFFF;
    info.suite_mask = u16::try_from(suites).unwrap_or(0).into();
    info
}

/// A ThreadInfoList of what is known.
struct ThreadInfos<'a>(&'a [ThreadInfo]);

impl WriteStream for ThreadInfos<'_> {
    fn stream_type(&self) -> StreamType {
        StreamType::THREAD_INFO_LIST
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        thread_info_list::write(layout, self.0)
    }
}

impl ProcessSnapshot for MachineProcess<'_> {
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
        &[]
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
        Box::new(self.map.regions.iter().map(|region| Ok(*region)))
    }

    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        Ok(self.map.at(address))
    }

    fn stream_types(&self) -> Vec<StreamType> {
        vec![
            StreamType::SYSTEM_INFO,
            StreamType::MISC_INFO,
            StreamType::THREAD_LIST,
            StreamType::THREAD_INFO_LIST,
            StreamType::MODULE_LIST,
            StreamType::MEMORY_INFO_LIST,
            StreamType::MEMORY64_LIST,
        ]
    }

    fn stream(&self, stream_type: StreamType, findings: &mut Findings) -> Result<Option<Content<'_>>, Error> {
        Ok(match stream_type {
            StreamType::SYSTEM_INFO => Some(Content::Typed(Box::new(self.system_info))),
            StreamType::MISC_INFO => self.misc_info(findings)?.map(|misc| Content::Typed(Box::new(misc))),
            StreamType::THREAD_INFO_LIST => Some(Content::Typed(Box::new(ThreadInfos(&self.thread_infos)))),
            StreamType::MEMORY_INFO_LIST => Some(Content::Typed(Box::new(MadeMemoryInfo(self.map.regions.clone())))),
            _ => None,
        })
    }

    fn misc_info(&self, _: &mut Findings) -> Result<Option<MiscInfo>, Error> {
        let mut record = MiscInfoRecord::default();
        let Ok(id) = u32::try_from(self.process.id) else {
            return Ok(None);
        };
        record.process_id = id.into();
        record.flags1 = MiscInfoFlags::PROCESS_ID.bits().into();
        Ok(Some(MiscInfo::new(record).with_size(misc_info::SIZE_1)))
    }

    fn bytes<'b>(&'b self, blob: &'b Blob) -> Result<Cow<'b, [u8]>, Error> {
        match blob {
            Blob::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Blob::File { offset, size } => Err(Error::Read {
                offset: *offset,
                size: *size,
                reason: "the records of a machine's process are in no file".to_owned(),
            }),
        }
    }

    /// Pages that are mapped, but not in the source.
    fn missing_bytes(&self) -> u64 {
        self.map.missing
    }

    fn is_resident_only(&self) -> bool {
        true
    }

    fn environment_block(&self) -> Option<VirtAddr> {
        Some(self.process.peb).filter(|peb| peb.0 != 0)
    }

    fn other_code(&self) -> Result<Vec<VirtRange>, Error> {
        Ok(Vec::new())
    }

    fn unwind_infos(&self, _: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
        Ok(())
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

/// Where findings lie that have no place in the source.
const NOWHERE: FileOffset = FileOffset(0);
