//! A process in ten lines, as a minidump.

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::context::{ContextAmd64, ContextFlags, ContextX86};
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::list::reserve_list;
use dotdump_format::minidump::memory_info_list::{self, MemoryInfo};
use dotdump_format::minidump::memory64_list::{Memory64ListHeader, MemoryDescriptor64};
use dotdump_format::minidump::module_list::{self, Module, OwnedModule};
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{
    DirectoryEntry, Header, LocationDescriptor, StreamType, VERSION_NUMBER, write_directory, write_string,
};
use dotdump_format::{Endian, Record};
use zerocopy::IntoBytes;

/// A thread: id, TEB, instruction pointer, stack pointer.
#[derive(Clone, Copy, Default)]
pub(crate) struct TestThread {
    pub(crate) id: u32,
    pub(crate) teb: u64,
    pub(crate) ip: u64,
    pub(crate) sp: u64,
}

/// A region: start, size, protection, type. All are committed.
pub(crate) type TestRegion = (u64, u64, u32, u32);

/// A Windows process.
#[derive(Clone, Default)]
pub(crate) struct TestProcess {
    pub(crate) is_32_bit: bool,
    pub(crate) threads: Vec<TestThread>,
    /// Name, base, size.
    pub(crate) modules: Vec<(&'static str, u64, u32)>,
    /// Memory in ascending order.
    pub(crate) memory: Vec<(u64, Vec<u8>)>,
    pub(crate) regions: Option<Vec<TestRegion>>,
    /// The thread that crashed.
    pub(crate) crashed: Option<u32>,
}

/// `PAGE_READONLY`, `PAGE_READWRITE`, `PAGE_EXECUTE_READ` (`winnt.h`).
pub(crate) const R: u32 = 0x2;
pub(crate) const RW: u32 = 0x4;
pub(crate) const RX: u32 = 0x20;
/// `MEM_PRIVATE`, `MEM_IMAGE` (`winnt.h`).
pub(crate) const PRIVATE: u32 = 0x2_0000;
pub(crate) const IMAGE: u32 = 0x100_0000;

/// Memory of `size` bytes at `start` with 64-bit words at some addresses.
pub(crate) fn words(start: u64, size: usize, words: &[(u64, u64)]) -> (u64, Vec<u8>) {
    let mut bytes = vec![0; size];
    for (address, word) in words {
        let at = usize::try_from(address - start).unwrap();
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    (start, bytes)
}

/// The headers of a PE image with these sections: address, size, characteristics.
pub(crate) fn pe_headers(sections: &[(u32, u32, u32)]) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3C, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &0x8664_u16.to_le_bytes());
    put(0x86, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    put(0x94, &240_u16.to_le_bytes()); // SizeOfOptionalHeader
    put(0x98, &0x20B_u16.to_le_bytes()); // PE32+
    put(0x98 + 56, &0x1_0000_u32.to_le_bytes()); // SizeOfImage
    put(0x98 + 108, &16_u32.to_le_bytes()); // NumberOfRvaAndSizes
    for (index, (address, size, characteristics)) in sections.iter().enumerate() {
        let at = 0x98 + 240 + 40 * index;
        put(at, b".section");
        put(at + 8, &size.to_le_bytes());
        put(at + 12, &address.to_le_bytes());
        put(at + 36, &characteristics.to_le_bytes());
    }
    image
}

impl TestProcess {
    fn context(&self, thread: &TestThread) -> Vec<u8> {
        if self.is_32_bit {
            let narrow = |value: u64| u32::try_from(value).unwrap().into();
            let context = ContextX86 {
                context_flags: 0x1_0007.into(),
                eip: narrow(thread.ip),
                esp: narrow(thread.sp),
                ..ContextX86::default()
            };
            return context.as_bytes().to_vec();
        }
        let context = ContextAmd64 {
            context_flags: ContextFlags::AMD64_FULL.0.into(),
            rip: thread.ip.into(),
            rsp: thread.sp.into(),
            ..ContextAmd64::default()
        };
        context.as_bytes().to_vec()
    }

    /// The process as a full minidump.
    pub(crate) fn to_dump(&self) -> Vec<u8> {
        let mut layout = Layout::new(Endian::Little);
        let header = layout.reserve(Header::SIZE);
        let directory = layout.reserve(6 * DirectoryEntry::SIZE);
        let mut entries = Vec::new();
        let mut list = |kind: StreamType, location: LocationDescriptor| {
            entries.push(DirectoryEntry {
                stream_type: kind.0.into(),
                location,
            });
        };

        let room = layout.reserve(SystemInfo::SIZE);
        let info = SystemInfo {
            processor_architecture: if self.is_32_bit { 0 } else { 9 }.into(),
            platform_id: 2.into(),
            csd_version_rva: write_string(&mut layout, "").unwrap().0.into(),
            ..SystemInfo::default()
        };
        layout.fill_record(room, 0, &info);
        list(
            StreamType::SYSTEM_INFO,
            layout.location(room.offset, room.size as u64, "test").unwrap(),
        );

        let (room, location) = reserve_list::<Thread>(&mut layout, self.threads.len(), "test").unwrap();
        list(StreamType::THREAD_LIST, location);
        for (index, thread) in self.threads.iter().enumerate() {
            let context = self.context(thread);
            let at = layout.push_bytes(&context);
            let thread_context = layout.location(at, context.len() as u64, "test").unwrap();
            let record = Thread {
                thread_id: thread.id.into(),
                teb: thread.teb.into(),
                thread_context,
                ..Thread::default()
            };
            layout.fill_record(room, 4 + index * Thread::SIZE, &record);
            if self.crashed == Some(thread.id) {
                let record = ExceptionStream {
                    thread_id: thread.id.into(),
                    exception_code: 0xC000_0005.into(),
                    thread_context,
                    ..ExceptionStream::default()
                };
                let at = layout.push_record(&record);
                list(
                    StreamType::EXCEPTION,
                    layout.location(at, ExceptionStream::SIZE as u64, "test").unwrap(),
                );
            }
        }
        let modules = self.modules.iter().map(|(name, base, size)| OwnedModule {
            record: Module {
                base_of_image: (*base).into(),
                size_of_image: (*size).into(),
                ..Module::default()
            },
            name: name.encode_utf16().collect(),
            cv_record: None,
            misc_record: None,
        });
        let modules: Vec<OwnedModule> = modules.collect();
        list(
            StreamType::MODULE_LIST,
            module_list::write(&mut layout, &modules).unwrap(),
        );
        if let Some(regions) = &self.regions {
            let infos: Vec<MemoryInfo> = regions
                .iter()
                .map(|(start, size, protect, kind)| MemoryInfo {
                    base_address: (*start).into(),
                    region_size: (*size).into(),
                    state: 0x1000.into(),
                    protect: (*protect).into(),
                    memory_type: (*kind).into(),
                    ..MemoryInfo::default()
                })
                .collect();
            list(
                StreamType::MEMORY_INFO_LIST,
                memory_info_list::write(&mut layout, &infos).unwrap(),
            );
        }
        let room = layout.reserve(16 + 16 * self.memory.len());
        list(
            StreamType::MEMORY64_LIST,
            layout.location(room.offset, room.size as u64, "test").unwrap(),
        );
        let head = Memory64ListHeader {
            number_of_memory_ranges: (self.memory.len() as u64).into(),
            base_rva: layout.end().0.into(),
        };
        layout.fill_record(room, 0, &head);
        for (index, (start, bytes)) in self.memory.iter().enumerate() {
            let record = MemoryDescriptor64 {
                start_of_memory_range: (*start).into(),
                data_size: (bytes.len() as u64).into(),
            };
            layout.fill_record(room, 16 + 16 * index, &record);
            layout.push_bytes(bytes);
        }
        let record = Header {
            version: VERSION_NUMBER.into(),
            flags: 0x802.into(),
            ..Header::default()
        };
        write_directory(&mut layout, header, directory, record, &entries).unwrap();
        let [Piece::Bytes(file)] = &layout.finish().pieces[..] else {
            panic!("only bytes")
        };
        file.clone()
    }
}
