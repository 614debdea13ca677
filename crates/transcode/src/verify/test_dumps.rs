//! For tests: dumps to verify, made by the writer of the format and by conversions.

use std::path::{Path, PathBuf};

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::context::{Context, ContextAmd64, ContextFlags};
use dotdump_format::minidump::list::write_list;
use dotdump_format::minidump::memory_list::MemoryDescriptor;
use dotdump_format::minidump::module_list::{self, Module, OwnedModule};
use dotdump_format::minidump::system_info::{ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{DirectoryEntry, Header, LocationDescriptor, StreamType, write_directory, write_string};
use dotdump_format::{Endian, Record};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot};

use crate::options::DumpOptions;
use crate::report::Report;
use crate::sink::{Cancel, Control, Destination};
use crate::{Request, prepare};

/// A dump that the project made: full memory of a program that crashed.
pub(super) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/crash-full.dmp")
}

/// What letters ask for.
pub(super) fn request(letters: &str) -> Request {
    Request {
        options: DumpOptions {
            mini: letters.parse().expect("letters"),
            ..DumpOptions::default()
        },
        ..Request::default()
    }
}

/// The bytes of a conversion.
pub(super) fn convert(source: &Path, request: &Request) -> (Vec<u8>, Report) {
    let file = DumpFile::open(source, true).expect("a dump");
    let snapshot = MinidumpSnapshot::open(&file).expect("a dump");
    let mut conversion = prepare(&snapshot, request).expect("a plan");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.dmp");
    let destination = Destination::file(&path, false, None).expect("a place");
    let cancel = Cancel::new();
    let mut sink = destination
        .open(Some(conversion.size()), Control::new(&cancel, &()))
        .expect("a file");
    conversion.write(Some(&file), sink.as_mut()).expect("written");
    sink.finish().expect("finished");
    (std::fs::read(&path).expect("there"), conversion.report)
}

/// A range of a MemoryList: address, bytes, and how many more bytes it claims.
pub(super) struct Range<'a> {
    pub(super) start: u64,
    pub(super) bytes: &'a [u8],
}

/// An AMD64 dump with one thread, one module and these memory ranges.
pub(super) fn small(ranges: &[Range<'_>]) -> Vec<u8> {
    const STREAMS: usize = 4;
    let mut layout = Layout::new(Endian::Little);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(STREAMS * DirectoryEntry::SIZE);
    let mut entries = Vec::new();
    let mut list = |stream_type: StreamType, location: LocationDescriptor| {
        entries.push(DirectoryEntry {
            stream_type: stream_type.0.into(),
            location,
        });
    };

    let csd = write_string(&mut layout, "").expect("fits");
    let system = SystemInfo {
        processor_architecture: ProcessorArchitecture::AMD64.0.into(),
        product_type: 1,
        build_number: 19_045.into(),
        platform_id: 2.into(),
        csd_version_rva: csd.0.into(),
        ..SystemInfo::default()
    };
    let at = layout.push_record(&system);
    list(StreamType::SYSTEM_INFO, layout.location(at, 56, "test").expect("fits"));

    let context = Context::from(ContextAmd64 {
        context_flags: ContextFlags::AMD64_FULL.0.into(),
        rip: 0x7FF6_0000_1000.into(),
        rsp: 0x10_0000.into(),
        ..ContextAmd64::default()
    });
    let bytes = context.write_to(Endian::Little);
    let at = layout.push_bytes(&bytes);
    let thread = Thread {
        thread_id: 7.into(),
        thread_context: layout.location(at, bytes.len() as u64, "test").expect("fits"),
        ..Thread::default()
    };
    list(
        StreamType::THREAD_LIST,
        write_list(&mut layout, &[thread], "test").expect("fits"),
    );

    let module = OwnedModule {
        record: Module {
            base_of_image: 0x7FF6_0000_0000.into(),
            size_of_image: 0x1_0000.into(),
            ..Module::default()
        },
        name: "C:\\a.exe".encode_utf16().collect(),
        cv_record: Some(Piece::Bytes(
            b"RSDS\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0a.pdb\0".to_vec(),
        )),
        misc_record: None,
    };
    list(
        StreamType::MODULE_LIST,
        module_list::write(&mut layout, &[module]).expect("fits"),
    );

    let mut descriptors = Vec::new();
    for range in ranges {
        let at = layout.push_bytes(range.bytes);
        descriptors.push(MemoryDescriptor {
            start_of_memory_range: range.start.into(),
            memory: layout.location(at, range.bytes.len() as u64, "test").expect("fits"),
        });
    }
    list(
        StreamType::MEMORY_LIST,
        write_list(&mut layout, &descriptors, "test").expect("fits"),
    );
    let record = Header {
        version: dotdump_format::minidump::VERSION_NUMBER.into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &entries).expect("fits");
    let mut file = Vec::new();
    for piece in layout.finish().pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    file
}
