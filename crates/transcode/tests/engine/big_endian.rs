//! Dumps of big-endian machines stay big-endian: the file and the memory in it have one byte order, and readers swap
//! both or neither.

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::context::ContextPpc;
use dotdump_format::minidump::list::reserve_list;
use dotdump_format::minidump::memory_list::{self, MemoryDescriptor};
use dotdump_format::minidump::module_list::{self, Module, OwnedModule};
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{
    DirectoryEntry, Header, LocationDescriptor, StreamType, VERSION_NUMBER, write_directory, write_string,
};
use dotdump_format::{Endian, Record, VirtAddr};
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};
use zerocopy::IntoBytes;

use super::filter::convert_with;

const CODE: u32 = 0x1000;
const HEAP: u32 = 0x20_0000;
const SP: u32 = 0xBFFF_0000;
const SECRET: u32 = 0x5345_4352;

/// A dump such as Breakpad wrote on PowerPC Macs: one thread, whose stack has pointers to code and to the heap, and a
/// number.
fn dump() -> Vec<u8> {
    let mut layout = Layout::new(Endian::Big);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(4 * DirectoryEntry::SIZE);
    let room = layout.reserve(SystemInfo::SIZE);
    let info = SystemInfo {
        processor_architecture: 3.into(),
        platform_id: 0x8101.into(),
        csd_version_rva: write_string(&mut layout, "10.4").unwrap().0.into(),
        ..SystemInfo::default()
    };
    layout.fill_record(room, 0, &info);
    let system = layout.location(room.offset, room.size as u64, "test").unwrap();

    let mut context = ContextPpc {
        context_flags: 0x2000_0001.into(),
        srr0: (CODE + 0x10).into(),
        ..ContextPpc::default()
    };
    context.r[1] = SP.into();
    let at = layout.push_record(&context);
    let thread_context = layout.location(at, ContextPpc::SIZE as u64, "test").unwrap();

    let (threads, thread_list) = reserve_list::<Thread>(&mut layout, 1, "test").unwrap();
    let module = OwnedModule {
        record: Module {
            base_of_image: u64::from(CODE).into(),
            size_of_image: 0x1000.into(),
            ..Module::default()
        },
        name: "prog".encode_utf16().collect(),
        cv_record: None,
        misc_record: None,
    };
    let modules = module_list::write(&mut layout, &[module]).unwrap();
    let (room, memory) = memory_list::reserve(&mut layout, 2).unwrap();
    let stack: Vec<u8> = [CODE + 8, SECRET, HEAP + 0x400, SP + 4]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    let mut heap = vec![0; 0x1000];
    heap[0x400..0x404].copy_from_slice(&SECRET.to_be_bytes());
    for (index, (start, bytes)) in [(HEAP, &heap), (SP, &stack)].into_iter().enumerate() {
        let at = layout.push_bytes(bytes);
        let memory = layout.location(at, bytes.len() as u64, "test").unwrap();
        let record = MemoryDescriptor {
            start_of_memory_range: u64::from(start).into(),
            memory,
        };
        layout.fill_record(room, 4 + 16 * index, &record);
        if start == SP {
            let record = Thread {
                thread_id: 9.into(),
                stack: record,
                thread_context,
                ..Thread::default()
            };
            layout.fill_record(threads, 4, &record);
        }
    }
    let entry = |kind: StreamType, location: LocationDescriptor| DirectoryEntry {
        stream_type: kind.0.into(),
        location,
    };
    let entries = [
        entry(StreamType::SYSTEM_INFO, system),
        entry(StreamType::THREAD_LIST, thread_list),
        entry(StreamType::MODULE_LIST, modules),
        entry(StreamType::MEMORY_LIST, memory),
    ];
    let record = Header {
        version: VERSION_NUMBER.into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &entries).unwrap();
    let [Piece::Bytes(file)] = &layout.finish().pieces[..] else {
        panic!("only bytes")
    };
    file.clone()
}

fn memory_of(dump: &[u8], address: u32, size: usize) -> Vec<u8> {
    let snapshot = MinidumpSnapshot::open(&dump).unwrap();
    let mut bytes = vec![0; size];
    let there = snapshot
        .memory()
        .read(VirtAddr(u64::from(address)), &mut bytes)
        .unwrap();
    bytes.truncate(there);
    bytes
}

#[test]
fn a_big_endian_dump_is_cut_down_in_its_own_byte_order() {
    let source = dump();
    let small = convert_with(&source, "i");
    assert_eq!(&small[..6], b"PMDM\0\0", "the signature is swapped");
    let snapshot = MinidumpSnapshot::open(&small).unwrap();
    assert_eq!(snapshot.endian(), Endian::Big);
    assert_eq!(snapshot.modules()[0].name_text(), "prog");
    assert_eq!(String::from_utf16(snapshot.csd_version()).unwrap(), "10.4");
    let thread = &snapshot.threads()[0];
    assert_eq!(thread.record.thread_id.get(), 9);
    let context = snapshot.bytes(thread.context.as_ref().unwrap()).unwrap().into_owned();
    let mut expected = ContextPpc {
        context_flags: 0x2000_0001.into(),
        srr0: (CODE + 0x10).into(),
        ..ContextPpc::default()
    };
    expected.r[1] = SP.into();
    assert_eq!(context, expected.in_order(Endian::Big).as_bytes());
    // The pointer on the stack was read in the target's byte order: 256 bytes before it and 768 from it on.
    let heap: Vec<_> = snapshot.memory().all().map(|extent| extent.unwrap().range).collect();
    assert_eq!((heap[0].start.0, heap[0].size()), (u64::from(HEAP) + 0x300, 0x400));
    assert_eq!(memory_of(&small, SP, 16), memory_of(&source, SP, 16));
    assert_eq!(convert_with(&small, "i"), small);
}

#[test]
fn the_filter_reads_big_endian_words() {
    let small = convert_with(&dump(), "ri");
    let words: Vec<u8> = [CODE + 8, 0, 0, SP + 4]
        .iter()
        .flat_map(|word: &u32| word.to_be_bytes())
        .collect();
    assert_eq!(memory_of(&small, SP, 16), words);
    assert_eq!(memory_of(&small, HEAP + 0x400, 4), [0; 4]);
}
