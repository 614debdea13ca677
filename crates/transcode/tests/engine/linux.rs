//! Linux processes that are in no file, as the project's own dump of one shows them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::path::Path;

use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::memory_list::MemoryDescriptor;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::{Header, StreamType};
use dotdump_format::{Endian, Error, FileOffset, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::{
    Blob, Content, DumpFile, Extent, Memory, MinidumpSnapshot, ModuleSnapshot, ProcessSnapshot, Region, ThreadSnapshot,
};
use dotdump_transcode::execute::WriteError;
use dotdump_transcode::manifest::SourceIdentity;
use dotdump_transcode::options::DumpOptions;
use dotdump_transcode::readable::Readable;
use dotdump_transcode::report::Report;
use dotdump_transcode::select::MemoryClass;
use dotdump_transcode::sink::{Sink, SinkError};
use dotdump_transcode::verify;
use dotdump_transcode::{ConvertError, Request, prepare, prepare_snapshot};

const PAGE: u64 = 4096;

/// An output in memory, which notes its holes.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    holes: u64,
}

impl Sink for Buffer {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.bytes.extend(bytes);
        Ok(())
    }

    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        let start = self.bytes.len();
        self.bytes.resize(start + usize::try_from(len).unwrap(), 0);
        dotdump_snapshot::file::read_exact(source, FileOffset(offset), &mut self.bytes[start..]).unwrap();
        Ok(())
    }

    fn hole(&mut self, len: u64) -> Result<(), SinkError> {
        self.bytes.resize(self.bytes.len() + usize::try_from(len).unwrap(), 0);
        self.holes += len;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A process whose memory is in no file: its pages of zeros were never used, and some of its memory may be gone.
struct Live<'a> {
    recorded: &'a MinidumpSnapshot<'a>,
    threads: Vec<ThreadSnapshot>,
    modules: Vec<ModuleSnapshot>,
    memory: LiveMemory<'a>,
}

struct LiveMemory<'a> {
    recorded: &'a dyn Memory,
    gone: Option<VirtRange>,
    /// How many bytes were read.
    read: Cell<u64>,
}

impl<'a> Live<'a> {
    /// With or without the stacks that the dump's list of threads tells.
    fn new(recorded: &'a MinidumpSnapshot<'a>, with_stacks: bool) -> Self {
        let mut threads = recorded.threads().to_vec();
        if !with_stacks {
            for thread in &mut threads {
                thread.record.stack = MemoryDescriptor::default();
            }
        }
        let memory = LiveMemory {
            recorded: recorded.memory(),
            gone: None,
            read: Cell::new(0),
        };
        Self {
            recorded,
            threads,
            modules: recorded.modules().to_vec(),
            memory,
        }
    }
}

impl Memory for LiveMemory<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let extents = self.recorded.extents(within);
        Box::new(extents.map(|extent| {
            Ok(Extent {
                offset: None,
                ..extent?
            })
        }))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let wanted = VirtRange::sized(address, buffer.len() as u64);
        let size = match self.gone.and_then(|gone| gone.intersection(wanted)) {
            Some(gone) => usize::try_from(gone.start.0 - address.0).unwrap(),
            None => buffer.len(),
        };
        let there = self.recorded.read(address, &mut buffer[..size])?;
        self.read.set(self.read.get() + there as u64);
        Ok(there)
    }

    fn next_stored(&self, within: VirtRange) -> Result<VirtRange, Error> {
        let is_zero = |at: VirtAddr| {
            let mut page = [0; 4096];
            let there = self.recorded.read(at.align_down(PAGE), &mut page).unwrap();
            page[..there].iter().all(|byte| *byte == 0)
        };
        let mut start = within.start;
        while start < within.end && is_zero(start) {
            start = start.align_down(PAGE).saturating_add(PAGE);
        }
        let mut end = start;
        while end < within.end && !is_zero(end) {
            end = end.align_down(PAGE).saturating_add(PAGE);
        }
        Ok(VirtRange::new(start.min(within.end), end.min(within.end)))
    }
}

impl ProcessSnapshot for Live<'_> {
    fn endian(&self) -> Endian {
        self.recorded.endian()
    }

    fn header(&self) -> &Header {
        self.recorded.header()
    }

    fn system_info(&self) -> Option<&SystemInfo> {
        self.recorded.system_info()
    }

    fn csd_version(&self) -> &[u16] {
        self.recorded.csd_version()
    }

    fn threads(&self) -> &[ThreadSnapshot] {
        &self.threads
    }

    fn modules(&self) -> &[ModuleSnapshot] {
        &self.modules
    }

    fn exception(&self) -> Option<(&ExceptionStream, Option<&Blob>)> {
        self.recorded.exception()
    }

    fn memory(&self) -> &dyn Memory {
        &self.memory
    }

    fn has_regions(&self) -> bool {
        self.recorded.has_regions()
    }

    fn regions(&self) -> Box<dyn Iterator<Item = Result<Region, Error>> + '_> {
        self.recorded.regions()
    }

    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        self.recorded.region_at(address)
    }

    fn stream_types(&self) -> Vec<StreamType> {
        self.recorded.stream_types()
    }

    fn stream(&self, stream_type: StreamType, findings: &mut Findings) -> Result<Option<Content<'_>>, Error> {
        self.recorded.stream(stream_type, findings)
    }

    fn misc_info(&self, findings: &mut Findings) -> Result<Option<MiscInfo>, Error> {
        self.recorded.misc_info(findings)
    }

    fn bytes<'b>(&'b self, blob: &'b Blob) -> Result<Cow<'b, [u8]>, Error> {
        self.recorded.bytes(blob)
    }

    fn missing_bytes(&self) -> u64 {
        self.recorded.missing_bytes()
    }

    fn other_code(&self) -> Result<Vec<VirtRange>, Error> {
        self.recorded.other_code()
    }

    fn unwind_infos(&self, each: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
        self.recorded.unwind_infos(each)
    }

    fn findings(&self) -> &Findings {
        self.recorded.findings()
    }
}

fn fixture() -> DumpFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/crash-full.dmp");
    DumpFile::open(&path, true).unwrap()
}

fn request(letters: &str) -> Request {
    let options = DumpOptions {
        mini: letters.parse().unwrap(),
        ..DumpOptions::default()
    };
    Request {
        options,
        no_manifest: true,
        ..Request::default()
    }
}

fn captured(live: &Live<'_>, file: &DumpFile, request: &Request) -> (Buffer, Report) {
    let mut conversion = prepare_snapshot(live, SourceIdentity::live(live), request, &[]).unwrap();
    let mut out = Buffer::default();
    conversion.write(Some(file), &mut out).unwrap();
    assert_eq!(out.bytes.len() as u64, conversion.size());
    (out, conversion.report)
}

fn converted(dump: &[u8], request: &Request) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.dmp");
    std::fs::write(&path, dump).unwrap();
    let file = DumpFile::open(&path, true).unwrap();
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    let mut conversion = prepare(&snapshot, request).unwrap();
    let mut out = Buffer::default();
    conversion.write(Some(&file), &mut out).unwrap();
    out.bytes
}

/// Whether a process is shrunk as it is captured or afterwards is one: the dumps are the same, byte for byte.
#[test]
fn a_small_capture_is_a_full_one_converted() {
    let file = fixture();
    let recorded = MinidumpSnapshot::open(&file).unwrap();
    for with_stacks in [true, false] {
        let live = Live::new(&recorded, with_stacks);
        let (full, _) = captured(&live, &file, &request("fFhuty"));
        for letters in [
            "",
            "i",
            "d",
            "c",
            "w",
            "p",
            "F",
            "h",
            "u",
            "t",
            "y",
            "R",
            "r",
            "idp",
            "idcwpFhuty",
            "ir",
            "iwpR",
            "fFhuty",
            "A",
        ] {
            let (direct, _) = captured(&live, &file, &request(letters));
            let converted = converted(&full.bytes, &request(letters));
            assert!(
                direct.bytes == converted,
                "-m{letters}, stacks {with_stacks}: {} and {} bytes",
                direct.bytes.len(),
                converted.len()
            );
        }
    }
}

/// Pages that were never used are neither read nor written, and have the right sums.
#[test]
fn unused_pages_become_holes() {
    let file = fixture();
    let recorded = MinidumpSnapshot::open(&file).unwrap();
    let live = Live::new(&recorded, true);
    let request = Request {
        no_manifest: false,
        ..request("a")
    };
    let before = live.memory.read.get();
    let (out, report) = captured(&live, &file, &request);
    let read = live.memory.read.get() - before;
    assert!(out.holes > 64 << 10, "{} bytes of holes", out.holes);
    assert!(
        read < report.written.memory.bytes - out.holes + (1 << 20),
        "{read} bytes were read of {}",
        report.written.memory.bytes
    );
    let snapshot = MinidumpSnapshot::open(&out.bytes).unwrap();
    let verified = verify::verify(&snapshot).unwrap();
    assert!(verified.sound, "{:?}", verified.findings);
    assert!(verified.manifest.present, "{:?}", verified.manifest);
    for extent in recorded.memory().all() {
        let range = extent.unwrap().range;
        let mut bytes = [
            vec![0; usize::try_from(range.size()).unwrap()],
            vec![1; usize::try_from(range.size()).unwrap()],
        ];
        assert_eq!(
            recorded.memory().read(range.start, &mut bytes[0]).unwrap(),
            bytes[0].len()
        );
        assert_eq!(
            snapshot.memory().read(range.start, &mut bytes[1]).unwrap(),
            bytes[1].len()
        );
        assert!(bytes[0] == bytes[1], "{range:?}");
    }
}

/// What the kernel put at the top of the first stack, in this order: see `create_elf_tables` of Linux.
#[test]
fn the_data_of_process_and_threads_is_what_the_kernel_gave() {
    let file = fixture();
    let recorded = MinidumpSnapshot::open(&file).unwrap();
    let live = Live::new(&recorded, true);
    let (out, report) = captured(&live, &file, &request("p"));
    assert!(
        report
            .written
            .flags
            .contains(&"MiniDumpWithProcessThreadData".to_owned()),
        "{:?}",
        report.written.flags
    );
    let class = report
        .written
        .memory_by_class
        .iter()
        .find(|class| class.class == MemoryClass::ProcessThreadData);
    let class = class.expect("there is such data");
    assert!((1..0x8000).contains(&class.bytes), "{} bytes", class.bytes);

    let snapshot = MinidumpSnapshot::open(&out.bytes).unwrap();
    let word = |address: u64| {
        let mut bytes = [0; 8];
        let there = snapshot.memory().read(VirtAddr(address), &mut bytes).unwrap();
        (there == 8).then(|| u64::from_le_bytes(bytes))
    };
    for thread in recorded.threads() {
        let pointer = thread.record.teb.get();
        let mut bytes = [0; 8];
        recorded.memory().read(VirtAddr(pointer), &mut bytes).unwrap();
        assert_eq!(
            word(pointer),
            Some(u64::from_le_bytes(bytes)),
            "thread pointer {pointer:#x}"
        );
    }
}

/// Memory that turns out to be unreadable is left out by `-mA`, and `-ma` refuses with its place.
#[test]
fn memory_that_cannot_be_read_is_left_out_or_told() {
    let file = fixture();
    let recorded = MinidumpSnapshot::open(&file).unwrap();
    let heap = recorded
        .memory()
        .all()
        .map(|extent| extent.unwrap().range)
        .max_by_key(|range| range.size())
        .unwrap();
    let gone = VirtRange::sized(heap.start.saturating_add(0x20_0000), 3 * PAGE);
    let mut live = Live::new(&recorded, true);
    live.memory.gone = Some(gone);

    let mut readable = Readable::new(&live);
    let identity = || SourceIdentity::live(&live);
    let mut conversion = prepare_snapshot(&readable, identity(), &request("A"), &[]).unwrap();
    let error = conversion.write(Some(&file), &mut Buffer::default()).unwrap_err();
    let WriteError::Vanished { address } = error else {
        panic!("{error}")
    };
    assert_eq!(address, gone.start);
    drop(conversion);
    assert_eq!(readable.leave_out(address).unwrap(), gone.size());
    assert_eq!(readable.unreadable(), [gone]);

    let mut conversion = prepare_snapshot(&readable, identity(), &request("A"), &[]).unwrap();
    let mut out = Buffer::default();
    conversion.write(Some(&file), &mut out).unwrap();
    let told: Vec<String> = conversion.report.absent.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} bytes of readable memory cannot be read, first at {}",
        gone.size(),
        gone.start
    );
    assert!(told.iter().any(|told| told.contains(&message)), "{told:?}");
    let snapshot = MinidumpSnapshot::open(&out.bytes).unwrap();
    let ranges: Vec<VirtRange> = snapshot
        .memory()
        .extents(heap)
        .map(|extent| extent.unwrap().range)
        .collect();
    assert_eq!(
        ranges,
        [
            VirtRange::new(heap.start, gone.start),
            VirtRange::new(gone.end, heap.end)
        ]
    );

    let refused = prepare_snapshot(&readable, identity(), &request("a"), &[])
        .err()
        .unwrap();
    assert!(
        matches!(&refused, ConvertError::Refused(_)) && refused.to_string().contains(&message),
        "{refused}"
    );
}

/// The variables of the program lie where its symbols say (`crash-full.json`), those that start as zeros in no mapping of
/// its file.
#[test]
fn data_segments_have_the_variables_that_start_as_zeros() {
    const PRICES: VirtRange = VirtRange::new(VirtAddr(0x20_4F00), VirtAddr(0x20_6F00));
    const COUNTERS: VirtRange = VirtRange::new(VirtAddr(0x20_6F00), VirtAddr(0x21_6F00));
    const END_OF_FILE_MAPPINGS: u32 = 0x7000;
    let file = fixture();
    let recorded = MinidumpSnapshot::open(&file).unwrap();
    let mut live = Live::new(&recorded, true);
    for size in [recorded.modules()[0].record.size_of_image.get(), END_OF_FILE_MAPPINGS] {
        live.modules[0].record.size_of_image = size.into();
        let (out, _) = captured(&live, &file, &request("d"));
        let snapshot = MinidumpSnapshot::open(&out.bytes).unwrap();
        for wanted in [PRICES, COUNTERS] {
            let there: u64 = snapshot
                .memory()
                .extents(wanted)
                .map(|extent| extent.unwrap().range.size())
                .sum();
            assert_eq!(there, wanted.size(), "{wanted:?} of a module of {size:#x} bytes");
        }
        let heap = VirtRange::new(VirtAddr(0x7FFF_F76F_7000), VirtAddr(0x7FFF_F7FF_7000));
        assert!(
            snapshot.memory().extents(heap).next().is_none(),
            "the heap is no data of the program"
        );
    }
}
