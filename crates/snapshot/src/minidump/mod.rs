//! A process as a minidump shows it.

mod carry;
mod memory_index;
pub(crate) mod overlap;
mod region_map;

use std::borrow::Cow;
use std::cell::OnceCell;

use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::list::MAX_TEXT;
use dotdump_format::minidump::memory_list::MemoryList;
use dotdump_format::minidump::memory64_list::Memory64List;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::module_list::{Module, ModuleList};
use dotdump_format::minidump::system_info::{ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::thread_list::{Thread, ThreadList};
use dotdump_format::minidump::{
    Header, LocationDescriptor, MiniDumpType, Minidump, StreamContent, StreamType, read_string_units,
};
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, Rva, Table, VirtAddr, VirtRange};

use crate::memory::Memory;
use crate::process::{Blob, Content, ModuleSnapshot, ProcessSnapshot, ThreadSnapshot};
use crate::regions::Region;
pub use carry::MadeMemoryInfo;
use memory_index::MemoryIndex;
use region_map::RegionMap;

/// The most threads, and the most modules, that are held in memory. Windows has no such limit, but no program comes near.
const MAX_HELD: u64 = 1 << 16;

/// The longest CodeView or `IMAGE_DEBUG_MISC` record that is carried, in bytes (Breakpad reads no longer ones).
const MAX_DEBUG_RECORD: u64 = 32_768;

/// The longest CONTEXT that is read, in bytes: an AMD64 one with AMX tiles has about 11,000.
const MAX_CONTEXT: u64 = 64 << 10;

/// An opened minidump as a [`ProcessSnapshot`].
pub struct MinidumpSnapshot<'a> {
    dump: Minidump<'a>,
    system_info: Option<SystemInfo>,
    csd_version: Vec<u16>,
    threads: Vec<ThreadSnapshot>,
    modules: Vec<ModuleSnapshot>,
    exception: Option<(ExceptionStream, Option<Blob>)>,
    memory: MemoryIndex<'a>,
    regions: RegionMap<'a>,
    findings: Findings,
    /// `findings`, and those of what is only looked at when it is needed.
    all_findings: OnceCell<Findings>,
}

impl<'a> MinidumpSnapshot<'a> {
    /// Opens the minidump in `source`: reads the lists of threads and modules, and walks the memory lists once.
    /// Regions are only read when they are asked for.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file is no minidump; [`Error::Read`] where the medium fails. Damage to a single
    /// stream is a finding.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, Error> {
        let dump = Minidump::open(source)?;
        let mut findings = dump.findings().clone();
        let system_info = lenient::<SystemInfo>(&dump, &mut findings)?;
        let csd_version = match system_info.and_then(|info| Rva(info.csd_version_rva.get()).offset()) {
            Some(offset) => read_string_units(source, dump.endian(), offset).unwrap_or_else(|error| {
                findings.push(error.into_finding("SystemInfo.CSDVersionRva"));
                Vec::new()
            }),
            None => Vec::new(),
        };
        let architecture = system_info.map_or(ProcessorArchitecture::UNKNOWN, |info| info.architecture());
        let mask = address_mask(architecture);

        let threads = read_threads(&dump, mask, &mut findings)?;
        let modules = read_modules(&dump, mask, &mut findings)?;
        let exception = lenient::<ExceptionStream>(&dump, &mut findings)?.map(|record| {
            let context = blob(
                &dump,
                &record.thread_context,
                MAX_CONTEXT,
                "Exception.ThreadContext",
                &mut findings,
            );
            (record, context)
        });
        let list = lenient::<MemoryList<'a>>(&dump, &mut findings)?;
        let list64 = lenient::<Memory64List<'a>>(&dump, &mut findings)?;
        let stacks = threads
            .iter()
            .filter_map(|thread| stack_bytes(&thread.record))
            .collect();
        let memory = MemoryIndex::new(source, list, list64, stacks, mask, &mut findings)?;
        let regions = RegionMap::read(&dump, mask, &mut findings)?;
        Ok(Self {
            dump,
            system_info,
            csd_version,
            threads,
            modules,
            exception,
            memory,
            regions,
            findings,
            all_findings: OnceCell::new(),
        })
    }

    /// The file.
    #[must_use]
    pub const fn dump(&self) -> &Minidump<'a> {
        &self.dump
    }

    /// What was found wrong when the dump was opened. [`ProcessSnapshot::findings`] also looks at the order of its
    /// regions, for which it walks them all.
    #[must_use]
    pub const fn findings_of_opening(&self) -> &Findings {
        &self.findings
    }

    /// What the writer says that the dump contains.
    #[must_use]
    pub const fn flags(&self) -> MiniDumpType {
        self.dump.flags()
    }

    /// The bits of an address that count in this dump's lists.
    #[must_use]
    pub fn address_mask(&self) -> u64 {
        address_mask(self.architecture())
    }
}

/// The bits of an address: old writers stored the addresses of 32-bit processes sign-extended.
fn address_mask(architecture: ProcessorArchitecture) -> u64 {
    match architecture {
        ProcessorArchitecture::UNKNOWN => u64::MAX,
        known if known.name().is_none() => u64::MAX,
        known if known.pointer_size() == 4 => u64::from(u32::MAX),
        _ => u64::MAX,
    }
}

/// A stream that a damaged file may lack: damage beyond use is a finding, not an error.
fn lenient<'a, T: StreamContent<'a>>(dump: &Minidump<'a>, findings: &mut Findings) -> Result<Option<T>, Error> {
    match dump.get::<T>(findings) {
        Ok(content) => Ok(content),
        Err(Error::Malformed(finding)) => {
            findings.push(finding);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The bytes that a location names; `None` where it names none. What lies past the end of the file is a finding.
fn blob(
    dump: &Minidump<'_>,
    location: &LocationDescriptor,
    limit: u64,
    what: &'static str,
    findings: &mut Findings,
) -> Option<Blob> {
    let (offset, size) = location.place()?;
    if offset.saturating_add(size).0 > dump.source().size() {
        let message = format!("{size} bytes, but the file ends at {:#x}", dump.source().size());
        findings.add(offset, what, message);
        return None;
    }
    if size > limit {
        findings.add(offset, what, format!("{size} bytes, at most {limit} expected"));
        return None;
    }
    Some(Blob::File { offset, size })
}

/// A thread's stack that has its own place in the file.
fn stack_bytes(thread: &Thread) -> Option<(u64, u64, FileOffset)> {
    let (offset, size) = thread.stack.memory.place()?;
    Some((thread.stack.start_of_memory_range.get(), size, offset))
}

/// The entries of a list that is held in memory, at most [`MAX_HELD`].
fn bounded<'a, T: dotdump_format::Record>(
    table: &Table<'a, T>,
    what: &'static str,
    findings: &mut Findings,
) -> dotdump_format::table::TableIter<'a, T> {
    if table.len() > MAX_HELD {
        findings.add(
            table.offset_of(0),
            what,
            format!("{} entries, only the first {MAX_HELD} are used", table.len()),
        );
    }
    table.range(0, MAX_HELD)
}

fn read_threads(dump: &Minidump<'_>, mask: u64, findings: &mut Findings) -> Result<Vec<ThreadSnapshot>, Error> {
    let table = match lenient::<ThreadList<'_>>(dump, findings)? {
        Some(list) => list.threads,
        None => Table::empty(dump.source()),
    };
    let mut threads = Vec::new();
    for record in bounded(&table, "ThreadList", findings) {
        threads.push(read_thread(dump, record?, mask, findings));
    }
    // Itanium dumps have a list with backing stores instead.
    if threads.is_empty()
        && let Some(list) = lenient::<dotdump_format::minidump::thread_ex_list::ThreadExList<'_>>(dump, findings)?
    {
        for record in bounded(&list.threads, "ThreadExList", findings) {
            let record = record?;
            let (start, size) = (
                record.backing_store.start_of_memory_range,
                record.backing_store.memory.data_size,
            );
            let store = VirtRange::sized(VirtAddr(start.get()), u64::from(size.get()));
            let thread = read_thread(dump, record.thread, mask, findings);
            threads.push(ThreadSnapshot {
                backing_store: Some(store),
                ..thread
            });
        }
    }
    Ok(threads)
}

fn read_thread(dump: &Minidump<'_>, mut record: Thread, mask: u64, findings: &mut Findings) -> ThreadSnapshot {
    let context = blob(
        dump,
        &record.thread_context,
        MAX_CONTEXT,
        "ThreadList.ThreadContext",
        findings,
    );
    record.teb.set(record.teb.get() & mask);
    let stack = &mut record.stack;
    stack
        .start_of_memory_range
        .set(stack.start_of_memory_range.get() & mask);
    ThreadSnapshot {
        record,
        context,
        backing_store: None,
    }
}

fn read_modules(dump: &Minidump<'_>, mask: u64, findings: &mut Findings) -> Result<Vec<ModuleSnapshot>, Error> {
    let Some(list) = lenient::<ModuleList<'_>>(dump, findings)? else {
        return Ok(Vec::new());
    };
    let mut names = NameReader { dump, text: 0 };
    let mut modules = Vec::new();
    for record in bounded(&list.modules, "ModuleList", findings) {
        let mut record: Module = record?;
        record.base_of_image.set(record.base_of_image.get() & mask);
        modules.push(ModuleSnapshot {
            name: names.read(record.module_name_rva.get(), "ModuleList.ModuleNameRva", findings),
            cv_record: blob(
                dump,
                &record.cv_record,
                MAX_DEBUG_RECORD,
                "ModuleList.CvRecord",
                findings,
            ),
            misc_record: blob(
                dump,
                &record.misc_record,
                MAX_DEBUG_RECORD,
                "ModuleList.MiscRecord",
                findings,
            ),
            record,
        });
    }
    Ok(modules)
}

/// Reads names, and notes when their sum passes [`MAX_TEXT`]: many entries may point to one long string.
struct NameReader<'a, 'd> {
    dump: &'d Minidump<'a>,
    text: usize,
}

impl NameReader<'_, '_> {
    fn read(&mut self, rva: u32, what: &'static str, findings: &mut Findings) -> Option<Vec<u16>> {
        let offset = Rva(rva).offset()?;
        if self.text > MAX_TEXT {
            return None;
        }
        match read_string_units(self.dump.source(), self.dump.endian(), offset) {
            Ok(units) => {
                self.text += units.len() * 2;
                if self.text > MAX_TEXT {
                    findings.add(
                        offset,
                        what,
                        format!("more than {MAX_TEXT} bytes of names; the rest is left out"),
                    );
                }
                Some(units)
            }
            Err(error) => {
                findings.push(error.into_finding(what));
                None
            }
        }
    }
}

impl ProcessSnapshot for MinidumpSnapshot<'_> {
    fn endian(&self) -> Endian {
        self.dump.endian()
    }

    fn header(&self) -> &Header {
        self.dump.header()
    }

    fn system_info(&self) -> Option<&SystemInfo> {
        self.system_info.as_ref()
    }

    fn csd_version(&self) -> &[u16] {
        &self.csd_version
    }

    fn threads(&self) -> &[ThreadSnapshot] {
        &self.threads
    }

    fn modules(&self) -> &[ModuleSnapshot] {
        &self.modules
    }

    fn exception(&self) -> Option<(&ExceptionStream, Option<&Blob>)> {
        self.exception
            .as_ref()
            .map(|(record, context)| (record, context.as_ref()))
    }

    fn memory(&self) -> &dyn Memory {
        &self.memory
    }

    fn has_regions(&self) -> bool {
        self.regions.is_known()
    }

    fn regions(&self) -> Box<dyn Iterator<Item = Result<Region, Error>> + '_> {
        self.regions.iter(VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX)))
    }

    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        self.regions.at(address)
    }

    fn stream_types(&self) -> Vec<StreamType> {
        let mut types = Vec::new();
        for stream in self.dump.streams() {
            if !types.contains(&stream.stream_type) {
                types.push(stream.stream_type);
            }
        }
        types
    }

    fn stream(&self, stream_type: StreamType, findings: &mut Findings) -> Result<Option<Content<'_>>, Error> {
        if let Some(stream) = self.dump.stream(stream_type) {
            return carry::content(&self.dump, &stream, self.architecture(), findings).map(Some);
        }
        if stream_type == StreamType::MEMORY_INFO_LIST && self.has_regions() {
            let regions = self.regions().collect::<Result<Vec<Region>, Error>>()?;
            // Only Linux tells of its regions in another form.
            let list = MadeMemoryInfo::of_linux(&regions, self.architecture());
            return Ok(Some(Content::Typed(Box::new(list))));
        }
        Ok(None)
    }

    fn bytes<'b>(&'b self, blob: &'b Blob) -> Result<Cow<'b, [u8]>, Error> {
        match blob {
            Blob::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Blob::File { offset, size } => {
                let limit = MAX_CONTEXT.max(MAX_DEBUG_RECORD);
                let size = usize::try_from(*size)
                    .ok()
                    .filter(|size| *size as u64 <= limit)
                    .ok_or(Error::TooLarge {
                        what: Cow::Borrowed("a record"),
                        value: *size,
                        limit,
                    })?;
                self.dump.source().bytes(*offset, size)
            }
        }
    }

    fn misc_info(&self, findings: &mut Findings) -> Result<Option<MiscInfo>, Error> {
        lenient(&self.dump, findings)
    }

    fn missing_bytes(&self) -> u64 {
        self.memory.missing
    }

    fn other_code(&self) -> Result<Vec<VirtRange>, Error> {
        // Linux tells of no code that was made at run time but that its pages can be executed, and deleted files that are
        // still mapped need not be code.
        if self.has_regions() && self.system_info.is_some_and(|info| info.platform().is_linux()) {
            let code = self
                .regions()
                .filter(|region| region.as_ref().map_or(true, Region::is_executable));
            return code.map(|region| Ok(region?.range)).collect();
        }
        carry::other_code(&self.dump)
    }

    fn unwind_infos(&self, each: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
        carry::unwind_infos(&self.dump, each)
    }

    fn findings(&self) -> &Findings {
        self.all_findings.get_or_init(|| {
            let mut findings = self.findings.clone();
            self.regions.add_findings(&mut findings);
            findings
        })
    }
}
