//! A machine of a few pages, and readers of what is made of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use dotdump_format::kernel::{Header, Machine, SecondaryData, Triage};
use dotdump_format::{Error, FileOffset, Findings, PAGE_SIZE, Pfn, PhysAddr};
use dotdump_snapshot::machine::{
    Bugcheck, FoundDebuggerData, KernelModule, Patch, PfnDatabase, Process, Processor, SharedUserData, UnloadedDriver,
};
use dotdump_snapshot::paging::{PagingMode, SoftwarePtes};
use dotdump_snapshot::{AddressSpace, DumpFile, MachineSnapshot, Memory, PagePlace, PageRun, PhysicalMemory};
use dotdump_transcode::machine::{MachineConversion, prepare};
use dotdump_transcode::options::{DumpKind, DumpOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::sink::{Sink, SinkError};
use dotdump_transcode::{ConvertError, Request};

pub(crate) type Page = [u8; 0x1000];

/// Pages by number.
#[derive(Clone, Default)]
pub(crate) struct Ram(pub(crate) BTreeMap<u64, Box<Page>>);

impl Ram {
    /// A page whose content tells its number.
    pub(crate) fn add(&mut self, page: u64) {
        let mut content = Box::new([0; 0x1000]);
        for (index, word) in content.chunks_exact_mut(8).enumerate() {
            let value = (page << 20 | index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            word.copy_from_slice(&value.to_le_bytes());
        }
        self.0.insert(page, content);
    }

    pub(crate) fn add_zeroed(&mut self, page: u64) {
        self.0.insert(page, Box::new([0; 0x1000]));
    }

    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
        let page = self.0.get_mut(&(address / PAGE_SIZE)).expect("a page that is there");
        page[usize::try_from(address % PAGE_SIZE).unwrap()..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn word(&self, address: u64) -> u64 {
        let page = &self.0[&(address / PAGE_SIZE)];
        let at = usize::try_from(address % PAGE_SIZE).unwrap();
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }
}

/// Where a test source has a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    InFile,
    Zero,
    Hidden,
}

/// The pages in a file, behind some bytes that belong to nothing.
pub(crate) struct TestPages {
    pub(crate) ram: Ram,
    pub(crate) file: DumpFile,
    runs: Vec<PageRun>,
    _temporary: tempfile::TempDir,
}

impl TestPages {
    /// Pages that are kept as `kept` says. `head` stands in front of them.
    pub(crate) fn new(ram: Ram, head: &[u8], kept: impl Fn(u64) -> Kept) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source");
        let mut file = File::create(&path).unwrap();
        file.write_all(head).unwrap();
        let mut offset = head.len() as u64;
        let mut runs: Vec<PageRun> = Vec::new();
        for (&number, content) in &ram.0 {
            let place = match kept(number) {
                Kept::InFile => {
                    file.write_all(&content[..]).unwrap();
                    offset += PAGE_SIZE;
                    PagePlace::File(FileOffset(offset - PAGE_SIZE))
                }
                Kept::Zero => {
                    assert!(content.iter().all(|byte| *byte == 0));
                    PagePlace::Zero
                }
                Kept::Hidden => PagePlace::Read,
            };
            match runs.last_mut() {
                Some(run) if run.end() == Pfn(number) && run.place.advanced(run.pages * PAGE_SIZE) == place => {
                    run.pages += 1;
                }
                _ => runs.push(PageRun {
                    first: Pfn(number),
                    pages: 1,
                    place,
                }),
            }
        }
        drop(file);
        Self {
            ram,
            file: DumpFile::open(&path, false).unwrap(),
            runs,
            _temporary: folder,
        }
    }
}

impl TestPages {
    /// Pages that lie one behind the other in a dump, from `first` on.
    pub(crate) fn in_dump(ram: Ram, dump: &[u8], first: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.dmp");
        std::fs::write(&path, dump).unwrap();
        let mut runs: Vec<PageRun> = Vec::new();
        for (index, &number) in (0..).zip(ram.0.keys()) {
            match runs.last_mut() {
                Some(run) if run.end() == Pfn(number) => run.pages += 1,
                _ => runs.push(PageRun {
                    first: Pfn(number),
                    pages: 1,
                    place: PagePlace::File(FileOffset(first + index * PAGE_SIZE)),
                }),
            }
        }
        Self {
            ram,
            file: DumpFile::open(&path, false).unwrap(),
            runs,
            _temporary: folder,
        }
    }
}

impl PhysicalMemory for TestPages {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let index = self.runs.partition_point(|run| run.end() <= from);
        Ok(self.runs.get(index).and_then(|run| run.from(from)))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        Ok(self
            .next_run(page)?
            .filter(|run| run.first == page)
            .map(|run| run.place))
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.saturating_add(done as u64);
            let Some(page) = self.ram.0.get(&at.pfn().0) else { break };
            let rest = &page[usize::try_from(at.offset_in_page()).unwrap()..];
            let step = rest.len().min(buffer.len() - done);
            buffer[done..done + step].copy_from_slice(&rest[..step]);
            done += step;
        }
        Ok(done)
    }

    fn pages_present(&self) -> u64 {
        self.ram.0.len() as u64
    }

    fn end(&self) -> Pfn {
        self.runs.last().map_or(Pfn(0), PageRun::end)
    }
}

/// A machine over test pages.
pub(crate) struct TestMachine<'a> {
    pub(crate) pages: &'a TestPages,
    pub(crate) machine: Machine,
    pub(crate) header: Header,
    pub(crate) space: AddressSpace<'a>,
    pub(crate) processes: Vec<Process>,
    pub(crate) processors: Vec<Processor>,
    pub(crate) patches: Vec<Patch>,
    pub(crate) secondary: Option<SecondaryData>,
}

impl<'a> TestMachine<'a> {
    pub(crate) fn new(pages: &'a TestPages, machine: Machine, mode: PagingMode, root: u64) -> Self {
        let mut header = Header::unset(machine);
        match &mut header {
            Header::Dump32(header) => {
                header.machine_image_type = u32::from(machine.machine_type().0).into();
                header.ps_loaded_module_list = 0x8055_0000.into();
            }
            Header::Dump64(header) => {
                header.machine_image_type = u32::from(machine.machine_type().0).into();
                header.ps_loaded_module_list = 0xFFFF_F800_0055_0000.into();
            }
        }
        Self {
            pages,
            machine,
            header,
            space: AddressSpace::new(pages, mode, PhysAddr(root), SoftwarePtes::Early),
            processes: Vec::new(),
            processors: Vec::new(),
            patches: Vec::new(),
            secondary: None,
        }
    }
}

impl MachineSnapshot for TestMachine<'_> {
    fn machine(&self) -> Machine {
        self.machine
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn physical_memory(&self) -> Option<&dyn PhysicalMemory> {
        Some(self.pages)
    }

    fn kernel_memory(&self) -> &dyn Memory {
        &self.space
    }

    fn kernel_space(&self) -> Option<&AddressSpace<'_>> {
        Some(&self.space)
    }

    fn process_space(&self, process: &Process) -> Option<AddressSpace<'_>> {
        let root = process.directory_table_base;
        Some(AddressSpace::new(
            self.pages,
            self.space.mode(),
            root,
            self.space.software(),
        ))
    }

    fn stopped_processor(&self) -> Option<&Processor> {
        None
    }

    fn debugger_data(&self) -> Option<&FoundDebuggerData> {
        None
    }

    fn shared_user_data(&self) -> Option<SharedUserData> {
        None
    }

    fn pfn_database(&self) -> Option<PfnDatabase<'_>> {
        None
    }

    fn triage(&self) -> Option<&Triage<'_>> {
        None
    }

    fn secondary_data(&self) -> Option<&SecondaryData> {
        self.secondary.as_ref()
    }

    fn guesses(&self) -> Vec<String> {
        Vec::new()
    }

    fn bugcheck(&self) -> Option<Bugcheck> {
        None
    }

    fn processors(&self) -> &[Processor] {
        &self.processors
    }

    fn modules(&self) -> &[KernelModule] {
        &[]
    }

    fn unloaded_drivers(&self) -> &[UnloadedDriver] {
        &[]
    }

    fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn patches(&self) -> &[Patch] {
        &self.patches
    }

    fn findings(&self) -> Findings {
        Findings::default()
    }
}

/// An output in memory.
#[derive(Default)]
pub(crate) struct Buffer(pub(crate) Vec<u8>);

impl Sink for Buffer {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.extend(bytes);
        Ok(())
    }

    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        // By position: another thread may move the file's own while it looks for holes.
        let start = self.0.len();
        self.0.resize(start + usize::try_from(len).unwrap(), 0);
        dotdump_snapshot::file::read_exact(source, FileOffset(offset), &mut self.0[start..]).unwrap();
        Ok(())
    }

    fn hole(&mut self, len: u64) -> Result<(), SinkError> {
        self.0.resize(self.0.len() + usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn position(&self) -> u64 {
        self.0.len() as u64
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        Ok(())
    }
}

pub(crate) const FULL: DumpKind = DumpKind::Full { avx_state: false };

pub(crate) fn request(kind: DumpKind, layout: PageLayout) -> Request {
    Request {
        options: DumpOptions {
            kind,
            ..DumpOptions::default()
        },
        layout: Some(layout),
        ..Request::default()
    }
}

/// What was asked for, planned and written.
pub(crate) fn convert<'a>(
    source: &'a TestMachine<'a>,
    request: &Request,
) -> Result<(Vec<u8>, MachineConversion<'a>), ConvertError> {
    let conversion = prepare(source, Some(&source.pages.file), request)?;
    let mut sink = Buffer::default();
    conversion.write(&mut sink).expect("what was planned can be written");
    assert_eq!(sink.0.len() as u64, conversion.size(), "the size is known before");
    assert_eq!(conversion.report.written.size, conversion.size());
    Ok((sink.0, conversion))
}

/// The message of a refusal.
pub(crate) fn refusal(source: &TestMachine<'_>, request: &Request) -> String {
    match prepare(source, Some(&source.pages.file), request) {
        Err(error @ ConvertError::Refused(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap())
}

fn u64_at(file: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap())
}

/// A dump as it is read here: by nothing but the offsets of the format's description.
pub(crate) struct Read {
    pub(crate) dump_type: u32,
    pub(crate) pages: BTreeMap<u64, Box<Page>>,
    /// Where the pages end.
    pub(crate) end: u64,
}

pub(crate) fn read(file: &[u8]) -> Read {
    assert_eq!(&file[..4], b"PAGE");
    let is_64 = match &file[4..8] {
        b"DU64" => true,
        b"DUMP" => false,
        other => panic!("{other:?}"),
    };
    let (body, dump_type) = if is_64 {
        (0x2000, u32_at(file, 0xF98))
    } else {
        (0x1000, u32_at(file, 0xF88))
    };
    let (first, numbers) = match dump_type {
        1 => runs(file, is_64, body),
        5 | 6 => bitmap(file, dump_type, body),
        8..=0xA => ranges(file, dump_type, body),
        other => panic!("type {other:#x}"),
    };
    let mut at = usize::try_from(first).unwrap();
    let mut pages = BTreeMap::new();
    for number in numbers {
        let page: Page = file[at..at + 0x1000].try_into().unwrap();
        assert!(pages.insert(number, Box::new(page)).is_none(), "page {number:#x} twice");
        at += 0x1000;
    }
    Read {
        dump_type,
        pages,
        end: at as u64,
    }
}

fn runs(file: &[u8], is_64: bool, body: u64) -> (u64, Vec<u64>) {
    let (count, total, first, stride) = if is_64 {
        (u32_at(file, 0x88), u64_at(file, 0x90), 0x98, 16)
    } else {
        (u32_at(file, 0x64), u64::from(u32_at(file, 0x68)), 0x6C, 8)
    };
    assert!(count <= if is_64 { 42 } else { 86 });
    let mut numbers = Vec::new();
    for index in 0..u64::from(count) {
        let at = first + stride * index;
        let (base, pages) = if is_64 {
            (u64_at(file, at), u64_at(file, at + 8))
        } else {
            let at = usize::try_from(at).unwrap();
            (u64::from(u32_at(file, at)), u64::from(u32_at(file, at + 4)))
        };
        numbers.extend(base..base + pages);
    }
    assert_eq!(numbers.len() as u64, total);
    (body, numbers)
}

fn bitmap(file: &[u8], dump_type: u32, body: u64) -> (u64, Vec<u64>) {
    let at = usize::try_from(body).unwrap();
    assert_eq!(
        &file[at..at + 8],
        if dump_type == 5 { b"FDMPDUMP" } else { b"SDMPDUMP" }
    );
    let (first, present, bits) = (
        u64_at(file, body + 0x20),
        u64_at(file, body + 0x28),
        u64_at(file, body + 0x30),
    );
    assert!(first % 0x1000 == 0 && bits % 64 == 0);
    let bit = |page: &u64| file[at + 0x38 + usize::try_from(page / 8).unwrap()] >> (page % 8) & 1 == 1;
    let numbers: Vec<u64> = (0..bits).filter(bit).collect();
    assert_eq!(numbers.len() as u64, present);
    let padding = &file[at + 0x38 + usize::try_from(bits / 8).unwrap()..usize::try_from(first).unwrap()];
    assert!(padding.iter().all(|byte| *byte == 0));
    (first, numbers)
}

fn ranges(file: &[u8], dump_type: u32, body: u64) -> (u64, Vec<u64>) {
    let at = usize::try_from(body).unwrap();
    assert_eq!((u32_at(file, at), &file[at + 4..at + 12]), (0x40, &b"RDMPDUMP"[..]));
    let (metadata, first) = (u64_at(file, body + 0x10), u64_at(file, body + 0x18));
    assert_eq!(metadata - 0x20, first - 0x2040);
    let mut numbers = Vec::new();
    for index in 0..metadata / 16 {
        let at = body + 0x30 + 16 * index;
        if at + 16 > first || u64_at(file, at) == 0 {
            break;
        }
        numbers.extend(u64_at(file, at)..u64_at(file, at) + u64_at(file, at + 8));
    }
    if dump_type == 0xA {
        assert_eq!(u64_at(file, body + 0x28), numbers.len() as u64);
    }
    (first, numbers)
}
