//! What the checks ask about: gathered once, so that each check is a line.

use dotdump_format::minidump::context::ContextFlags;
use dotdump_format::minidump::context::ContextKind;
use dotdump_format::minidump::list::{Head, SizedHead};
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{LocationDescriptor, MiniDumpType, Stream, StreamType};
use dotdump_format::{Endian, Error, FileOffset, Findings, VirtAddr};
use dotdump_snapshot::{MinidumpSnapshot, ModuleSnapshot, ProcessSnapshot};

use super::memory::MemoryFacts;
use super::strings::StringFacts;

/// How often something occurs, and where first.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    first: Option<(FileOffset, String)>,
}

impl Tally {
    /// Notes one. The text is only made for the first.
    pub(super) fn note(&mut self, offset: FileOffset, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((offset, text()));
        }
    }

    /// The first one and a text that tells how many there are.
    pub(super) fn told(&self) -> Option<(FileOffset, String)> {
        let (offset, text) = self.first.as_ref()?;
        Some(match self.count {
            1 => (*offset, text.clone()),
            count => (*offset, format!("{count} times, first: {text}")),
        })
    }
}

/// A list whose size in the directory is not what its entries need.
#[derive(Debug)]
pub(super) struct ListSize {
    pub(super) stream: StreamType,
    pub(super) offset: FileOffset,
    pub(super) size: u64,
    pub(super) count: u64,
    pub(super) padded: bool,
    pub(super) exact: bool,
}

/// Entries of an unusual size.
#[derive(Debug)]
pub(super) struct EntrySize {
    pub(super) stream: StreamType,
    pub(super) offset: FileOffset,
    pub(super) size: u32,
}

/// What the checks ask about.
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a MinidumpSnapshot<'a>,
    pub(super) streams: Vec<Stream<'a>>,
    pub(super) system_info: Option<SystemInfo>,
    pub(super) flags: MiniDumpType,
    pub(super) memory: MemoryFacts,
    pub(super) strings: StringFacts,
    pub(super) list_sizes: Vec<ListSize>,
    pub(super) entry_sizes: Vec<EntrySize>,
    /// Contexts whose flags name another processor, or more than the processor and parts.
    pub(super) odd_contexts: Tally,
    /// Contexts with more extended state than Breakpad reads.
    pub(super) long_contexts: Tally,
    /// Debug records of modules that are longer than Breakpad reads.
    pub(super) long_debug_records: Tally,
    /// Modules that overlap others.
    pub(super) module_overlaps: Tally,
    pub(super) unloaded_modules: u64,
    pub(super) process_id: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(snapshot: &'a MinidumpSnapshot<'a>) -> Result<Self, Error> {
        let dump = snapshot.dump();
        let mut scratch = Findings::default();
        let streams: Vec<Stream<'a>> = dump.streams().collect();
        let system_info = snapshot.system_info().copied();
        let csd_version = system_info.map_or(0, |info| info.csd_version_rva.get());
        let unloaded = dump.get::<UnloadedModuleList>(&mut scratch).ok().flatten();
        let unloaded_modules = unloaded.map_or(0, |list| list.modules.len() as u64);
        let mut facts = Self {
            snapshot,
            system_info,
            flags: dump.flags(),
            memory: MemoryFacts::gather(snapshot)?,
            strings: StringFacts::gather(dump, csd_version)?,
            list_sizes: Vec::new(),
            entry_sizes: Vec::new(),
            odd_contexts: Tally::default(),
            long_contexts: Tally::default(),
            long_debug_records: Tally::default(),
            module_overlaps: Tally::default(),
            unloaded_modules,
            process_id: process_id(snapshot),
            streams,
        };
        facts.list_sizes();
        facts.contexts()?;
        facts.modules();
        Ok(facts)
    }

    /// The first stream of a type.
    pub(super) fn stream(&self, stream_type: StreamType) -> Option<&Stream<'a>> {
        self.streams.iter().find(|stream| stream.stream_type == stream_type)
    }

    /// Where a stream of this type lies; the start of the file where there is none.
    pub(super) fn offset_of(&self, stream_type: StreamType) -> FileOffset {
        self.stream(stream_type).map_or(FileOffset(0), |stream| stream.offset)
    }

    pub(super) fn modules(&mut self) {
        // A record that is longer than what is read is none in the snapshot; the directory of the list tells.
        const LONGEST: u32 = 32_768;
        let offset = self.offset_of(StreamType::MODULE_LIST);
        let mut ranges = Vec::new();
        for module in self.snapshot.modules() {
            for record in [&module.record.cv_record, &module.record.misc_record] {
                if record.data_size.get() > LONGEST {
                    self.long_debug_records.note(offset, || {
                        format!("{} bytes, module {}", record.data_size, module.name_text())
                    });
                }
            }
            ranges.push((module.range(), module));
        }
        ranges.sort_by_key(|(range, _)| *range);
        let mut end = VirtAddr(0);
        for (range, module) in ranges {
            if range.start < end {
                self.module_overlaps
                    .note(offset, || format!("{} at {range}", module.name_text()));
            }
            end = end.max(range.end);
        }
    }

    fn contexts(&mut self) -> Result<(), Error> {
        let snapshot = self.snapshot;
        let contexts = snapshot.threads().iter().filter_map(|thread| {
            let context = thread.context.as_ref()?;
            Some((context, thread.record.thread_context))
        });
        let exception = snapshot.exception().and_then(|(record, context)| {
            let context = context?;
            Some((context, record.thread_context))
        });
        let contexts: Vec<_> = contexts.chain(exception).collect();
        for (blob, location) in contexts {
            let bytes = snapshot.bytes(blob)?;
            self.context(&bytes, &location);
        }
        Ok(())
    }

    fn context(&mut self, bytes: &[u8], location: &LocationDescriptor) {
        // What Breakpad reads beyond the registers that it knows.
        const EXTENSION: usize = 16_384;
        let offset = FileOffset(u64::from(location.rva.get()));
        let (architecture, endian) = (self.snapshot.architecture(), self.snapshot.endian());
        let Some(kind) = ContextKind::of(bytes, architecture, endian) else {
            return;
        };
        if bytes.len() > kind.base_size() + EXTENSION {
            self.long_contexts.note(offset, || format!("{} bytes", bytes.len()));
        }
        let Some(flags) = kind.flags_of(bytes, endian) else {
            return;
        };
        let expected = processor_bits(kind);
        let processor = flags.0 & 0xFFFF_FF00;
        if !expected.contains(&processor) {
            self.odd_contexts.note(offset, || {
                format!("{:#x} in the flags, {:#x} expected", processor, expected[0])
            });
        }
    }

    fn list_sizes(&mut self) {
        let mut scratch = Findings::default();
        for stream in &self.streams {
            let record = match stream.stream_type {
                StreamType::THREAD_LIST => 48,
                StreamType::MODULE_LIST => 108,
                StreamType::MEMORY_LIST => 16,
                StreamType::THREAD_EX_LIST => 64,
                StreamType::THREAD_NAMES => 12,
                _ => 0,
            };
            if record > 0 {
                let Ok(bytes) = stream.bytes_at(0, 4) else { continue };
                let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_ref()) else {
                    continue;
                };
                let count = u64::from(match stream.endian {
                    Endian::Little => u32::from_le_bytes(bytes),
                    Endian::Big => u32::from_be_bytes(bytes),
                });
                let padded = stream.claimed_size == 8 + count * record;
                self.list_sizes.push(ListSize {
                    stream: stream.stream_type,
                    offset: stream.offset,
                    size: stream.claimed_size,
                    count,
                    padded,
                    exact: stream.claimed_size == 4 + count * record,
                });
                continue;
            }
            let (head, sizes): (Head, &[u32]) = match stream.stream_type {
                StreamType::HANDLE_DATA => (Head::Reserved, &[32, 40]),
                StreamType::UNLOADED_MODULE_LIST => (Head::Short, &[24]),
                StreamType::THREAD_INFO_LIST => (Head::Short, &[64]),
                StreamType::MEMORY_INFO_LIST => (Head::Wide, &[48]),
                _ => continue,
            };
            let Ok(table) = stream.sized_list::<SizedHead>(head, 0, "list", &mut scratch) else {
                continue;
            };
            let size = u32::try_from(table.stride()).unwrap_or(u32::MAX);
            if !table.is_empty() && !sizes.contains(&size) {
                self.entry_sizes.push(EntrySize {
                    stream: stream.stream_type,
                    offset: stream.offset,
                    size,
                });
            }
        }
    }

    /// Whether a module of one of these file names is loaded.
    pub(super) fn module(&self, names: &[&str]) -> Option<&ModuleSnapshot> {
        self.snapshot.modules().iter().find(|module| {
            let name = module.name_text();
            let file = name.rsplit(['\\', '/']).next().unwrap_or_default();
            names.iter().any(|candidate| file.eq_ignore_ascii_case(candidate))
        })
    }
}

/// The bits that a reader which compares them wants to see, the usual ones first.
fn processor_bits(kind: ContextKind) -> &'static [u32] {
    const X86: &[u32] = &[ContextFlags::X86.0];
    const AMD64: &[u32] = &[ContextFlags::AMD64.0];
    const ARM: &[u32] = &[ContextFlags::ARM.0];
    const ARM_BREAKPAD: &[u32] = &[ContextFlags::ARM_BREAKPAD.0];
    const ARM64: &[u32] = &[ContextFlags::ARM64.0];
    const ARM64_OLD: &[u32] = &[ContextFlags::ARM64_OLD.0];
    const MIPS: &[u32] = &[ContextFlags::MIPS.0, ContextFlags::MIPS64.0];
    const PPC: &[u32] = &[ContextFlags::PPC.0];
    const PPC64: &[u32] = &[ContextFlags::PPC64.0];
    const SPARC: &[u32] = &[ContextFlags::SPARC.0];
    const RISCV: &[u32] = &[ContextFlags::RISCV.0];
    const RISCV64: &[u32] = &[ContextFlags::RISCV64.0];
    match kind {
        ContextKind::X86 => X86,
        ContextKind::Amd64 => AMD64,
        ContextKind::Arm => ARM,
        ContextKind::ArmBreakpad => ARM_BREAKPAD,
        ContextKind::Arm64 => ARM64,
        ContextKind::Arm64Old => ARM64_OLD,
        ContextKind::Mips => MIPS,
        ContextKind::Ppc => PPC,
        ContextKind::Ppc64 => PPC64,
        ContextKind::Sparc => SPARC,
        ContextKind::RiscV => RISCV,
        ContextKind::RiscV64 => RISCV64,
    }
}

/// Whether LLDB finds the process id.
fn process_id(snapshot: &MinidumpSnapshot<'_>) -> bool {
    let mut scratch = Findings::default();
    let dump = snapshot.dump();
    if let Ok(Some(misc)) = dump.get::<MiscInfo>(&mut scratch)
        && misc.process_id().is_some()
    {
        return true;
    }
    // The line stands near the start of the text.
    const HEAD: u64 = 4096;
    let Some(status) = dump.stream(StreamType::LINUX_PROC_STATUS) else {
        return false;
    };
    let Ok(head) = status.bytes_at(0, status.size.min(HEAD)) else {
        return false;
    };
    head.windows(5).any(|window| window == b"\nPid:")
}
