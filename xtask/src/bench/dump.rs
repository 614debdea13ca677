//! Dumps to measure with: laid out by the format crate, their memory holes where nothing was asked for.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, bail};
use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::context::ContextAmd64;
use dotdump_format::minidump::context::ContextFlags;
use dotdump_format::minidump::list::write_list;
use dotdump_format::minidump::memory_info_list::{self, MemoryInfo, MemoryProtect, MemoryState, MemoryType};
use dotdump_format::minidump::memory_list::MemoryDescriptor;
use dotdump_format::minidump::memory64_list::{Memory64ListHeader, MemoryDescriptor64};
use dotdump_format::minidump::misc_info::{MiscInfo, MiscInfoRecord};
use dotdump_format::minidump::module_list::{self, Module, OwnedModule};
use dotdump_format::minidump::system_info::{PlatformId, ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{
    DirectoryEntry, Header, LocationDescriptor, MiniDumpType, StreamType, WriteStream as _, write_directory,
    write_string,
};
use dotdump_format::{Endian, Record as _, VirtAddr, VirtRange};
use zerocopy::IntoBytes as _;

/// Makes the bytes of a piece of memory.
type Fill<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Bulk memory starts on a page of the file.
const PAGE: u64 = 4096;

/// A full dump of a 64-bit Windows process.
#[derive(Default)]
pub(super) struct Dump {
    /// The memory, ascending. Each range is a region of its own: `udmp-parser` wants that.
    pub(super) ranges: Vec<VirtRange>,
    pub(super) threads: Vec<ThreadState>,
    /// The images, which need not be in the memory.
    pub(super) modules: Vec<VirtRange>,
    /// What stands in the memory; the rest is zero and takes no room on the disk.
    pub(super) contents: Vec<(VirtAddr, Vec<u8>)>,
}

/// What is known of a thread.
pub(super) struct ThreadState {
    pub(super) teb: u64,
    pub(super) stack_pointer: u64,
    pub(super) instruction_pointer: u64,
}

impl Dump {
    /// `count` ranges of `size` bytes with a gap behind each, and one thread on the last of them.
    pub(super) fn of_ranges(count: u64, size: u64) -> Self {
        let start = |index: u64| 0x1_0000_0000 + index * 2 * size;
        let ranges: Vec<VirtRange> = (0..count)
            .map(|index| VirtRange::sized(VirtAddr(start(index)), size))
            .collect();
        let module = VirtRange::sized(VirtAddr(0x7FF6_0000_0000), 1 << 20);
        Self {
            ranges,
            threads: vec![ThreadState {
                teb: 0,
                stack_pointer: start(count - 1),
                instruction_pointer: module.start.0,
            }],
            modules: vec![module],
            contents: Vec::new(),
        }
    }

    /// Adds a range, which must come after all others.
    pub(super) fn push(&mut self, range: VirtRange) {
        self.ranges.push(range);
    }

    /// Writes the dump; `fill` gives the bytes of memory that is no hole, chunk by chunk.
    pub(super) fn write(&self, path: &Path, fill: Option<Fill<'_>>) -> anyhow::Result<()> {
        let (plan, base) = self.plan()?;
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut output = std::io::BufWriter::new(&file);
        for piece in &plan {
            match piece {
                Piece::Bytes(bytes) => output.write_all(bytes)?,
                Piece::Zeros { size } => output.write_all(&vec![0; usize::try_from(*size)?])?,
                other => bail!("{other:?} in a plan that has none"),
            }
        }
        output.flush()?;
        drop(output);
        let size: u64 = self.ranges.iter().map(|range| range.size()).sum();
        if let Some(fill) = fill {
            let mut chunk = vec![0; 1 << 20];
            let mut at = 0;
            while at < size {
                let step = chunk.len().min(usize::try_from(size - at)?);
                fill(&mut chunk[..step]);
                file.write_all_at(&chunk[..step], base + at)?;
                at += step as u64;
            }
        }
        file.set_len(base + size)?;
        for (address, bytes) in &self.contents {
            file.write_all_at(bytes, base + self.place(*address)?)?;
        }
        Ok(())
    }

    /// How far into the memory the bytes of an address lie.
    fn place(&self, address: VirtAddr) -> anyhow::Result<u64> {
        let mut before = 0;
        for range in &self.ranges {
            if range.contains(address) {
                return Ok(before + (address.0 - range.start.0));
            }
            before += range.size();
        }
        bail!("{address} is in no range")
    }

    /// All but the memory, and where that starts in the file.
    fn plan(&self) -> anyhow::Result<(Vec<Piece>, u64)> {
        const STREAMS: usize = 6;

        let mut layout = Layout::new(Endian::Little);
        let header = layout.reserve(Header::SIZE);
        let directory = layout.reserve(STREAMS * DirectoryEntry::SIZE);
        let misc = MiscInfo::new(MiscInfoRecord::default()).write(&mut layout)?;
        let mut entries = vec![
            entry(StreamType::SYSTEM_INFO, system_info(&mut layout)?),
            entry(StreamType::MISC_INFO, misc),
            entry(StreamType::THREAD_LIST, self.threads(&mut layout)?),
            entry(StreamType::MODULE_LIST, self.modules(&mut layout)?),
            entry(
                StreamType::MEMORY_INFO_LIST,
                memory_info_list::write(&mut layout, &self.regions())?,
            ),
        ];
        layout.align(8);
        let size = Memory64ListHeader::SIZE + self.ranges.len() * MemoryDescriptor64::SIZE;
        let base = layout.end().saturating_add(size as u64).0.next_multiple_of(PAGE);
        let at = layout.push_record(&Memory64ListHeader {
            number_of_memory_ranges: (self.ranges.len() as u64).into(),
            base_rva: base.into(),
        });
        let descriptors: Vec<MemoryDescriptor64> = self
            .ranges
            .iter()
            .map(|range| MemoryDescriptor64 {
                start_of_memory_range: range.start.0.into(),
                data_size: range.size().into(),
            })
            .collect();
        layout.push_bytes(descriptors.as_bytes());
        entries.push(entry(
            StreamType::MEMORY64_LIST,
            layout.location(at, size as u64, "Memory64List")?,
        ));
        layout.align(PAGE);
        let record = Header {
            version: u32::from(dotdump_format::minidump::VERSION).into(),
            time_date_stamp: 1_700_000_000.into(),
            flags: (MiniDumpType::WITH_FULL_MEMORY | MiniDumpType::WITH_FULL_MEMORY_INFO)
                .bits()
                .into(),
            ..Header::default()
        };
        write_directory(&mut layout, header, directory, record, &entries)?;
        Ok((layout.finish().pieces, base))
    }

    fn regions(&self) -> Vec<MemoryInfo> {
        self.ranges
            .iter()
            .map(|range| MemoryInfo {
                base_address: range.start.0.into(),
                allocation_base: range.start.0.into(),
                allocation_protect: MemoryProtect::READWRITE.bits().into(),
                region_size: range.size().into(),
                state: MemoryState::COMMIT.bits().into(),
                protect: MemoryProtect::READWRITE.bits().into(),
                memory_type: MemoryType::PRIVATE.bits().into(),
                ..MemoryInfo::default()
            })
            .collect()
    }

    fn threads(&self, layout: &mut Layout) -> anyhow::Result<LocationDescriptor> {
        let mut records = Vec::new();
        for (id, thread) in (1_u32..).zip(&self.threads) {
            let context = ContextAmd64 {
                context_flags: (ContextFlags::AMD64_CONTROL.0 | ContextFlags::AMD64_INTEGER.0).into(),
                rsp: thread.stack_pointer.into(),
                rip: thread.instruction_pointer.into(),
                ..ContextAmd64::default()
            };
            layout.align(16);
            let at = layout.push_record(&context);
            let range = self
                .ranges
                .iter()
                .find(|range| range.contains(VirtAddr(thread.stack_pointer)));
            let size = range.map_or(0, |range| range.end.0 - thread.stack_pointer);
            records.push(Thread {
                thread_id: id.into(),
                teb: thread.teb.into(),
                stack: MemoryDescriptor {
                    start_of_memory_range: thread.stack_pointer.into(),
                    memory: LocationDescriptor {
                        data_size: u32::try_from(size)?.into(),
                        rva: 0.into(),
                    },
                },
                thread_context: layout.location(at, ContextAmd64::SIZE as u64, "a context")?,
                ..Thread::default()
            });
        }
        Ok(write_list(layout, &records, "ThreadList")?)
    }

    fn modules(&self, layout: &mut Layout) -> anyhow::Result<LocationDescriptor> {
        let mut modules = Vec::new();
        for (index, range) in self.modules.iter().enumerate() {
            modules.push(OwnedModule {
                record: Module {
                    base_of_image: range.start.0.into(),
                    size_of_image: u32::try_from(range.size())?.into(),
                    ..Module::default()
                },
                name: format!("C:\\bench\\module{index}.dll").encode_utf16().collect(),
                cv_record: None,
                misc_record: None,
            });
        }
        Ok(module_list::write(layout, &modules)?)
    }
}

fn entry(stream_type: StreamType, location: LocationDescriptor) -> DirectoryEntry {
    DirectoryEntry {
        stream_type: stream_type.0.into(),
        location,
    }
}

fn system_info(layout: &mut Layout) -> anyhow::Result<LocationDescriptor> {
    let record = SystemInfo {
        processor_architecture: ProcessorArchitecture::AMD64.0.into(),
        number_of_processors: 8,
        major_version: 10.into(),
        build_number: 19_045.into(),
        platform_id: PlatformId::WIN32_NT.0.into(),
        csd_version_rva: write_string(layout, "")?.0.into(),
        ..SystemInfo::default()
    };
    let at = layout.push_record(&record);
    Ok(layout.location(at, SystemInfo::SIZE as u64, "SystemInfo")?)
}
