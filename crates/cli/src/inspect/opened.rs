//! A dump that is being looked at: its snapshot, the streams that both outputs need, and what was found on the way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use dotdump_format::minidump::breakpad_info::BreakpadInfo;
use dotdump_format::minidump::context::{Context, xstate::XState};
use dotdump_format::minidump::function_table::FunctionTables;
use dotdump_format::minidump::linux_text::{LinuxEnviron, LinuxProcStatus, LinuxProcUptime, MozSoftErrors};
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::mozilla::{MozMacosBootargs, MozMacosCrashInfo};
use dotdump_format::minidump::name::Name;
use dotdump_format::minidump::process_vm_counters::ProcessVmCounters;
use dotdump_format::minidump::system_info::{PlatformId, SystemInfo};
use dotdump_format::minidump::system_memory_info::SystemMemoryInfo;
use dotdump_format::minidump::thread_info_list::ThreadInfoList;
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::token::TokenList;
use dotdump_format::minidump::{Minidump, StreamContent, StreamType};
use dotdump_format::{Error, FileOffset, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::{Blob, LinuxProcess, MinidumpSnapshot, ModuleSnapshot, ProcessSnapshot, ThreadSnapshot};

/// The most bytes of names that one output repeats. A small file can have very many entries that all point to one long
/// name, so that what it says would be thousands of times larger than itself.
const MAX_REPEATED_TEXT: usize = 16 << 20;

/// The most memory ranges that are looked up for the stacks of all threads. Threads have one or a few each.
const MAX_STACK_STEPS: u32 = 1 << 20;

/// A dump that is being looked at.
pub(super) struct Opened<'a> {
    /// Threads, modules, memory.
    pub(super) snapshot: &'a dyn ProcessSnapshot,
    /// The streams.
    dump: &'a Minidump<'a>,
    /// What kind of file it is.
    pub(super) kind: Kind,
    /// The size of the file in bytes.
    pub(super) file_size: u64,
    /// Process id, times, build strings.
    pub(super) misc: Option<MiscInfo>,
    findings: RefCell<Findings>,
    thread_names: BTreeMap<u32, Name>,
    text_left: Cell<usize>,
    steps_left: Cell<u32>,
}

/// What kind of file is being looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A minidump.
    Minidump,
    /// The ELF core of a process: its streams are those that a dump of it would have.
    Core,
}

/// The registers of a thread and the names of what follows them.
pub(super) struct Registers {
    /// The size in the file in bytes, extended state included.
    pub(super) size: u64,
    /// The registers; `None` where they cannot be read.
    pub(super) context: Option<Context>,
    /// The components of the extended state, a bit for each.
    pub(super) xstate: u64,
}

/// The memory of a dump in figures.
#[derive(Default)]
pub(super) struct MemoryFigures {
    /// The streams that list it, with the number of ranges in each.
    pub(super) lists: Vec<(StreamType, u64)>,
    /// The ranges of all lists, or of a core, which has none.
    pub(super) ranges: u64,
    /// Bytes that are there. What two lists have counts once.
    pub(super) bytes: u64,
}

impl<'a> Opened<'a> {
    /// A minidump.
    pub(super) fn of_dump(snapshot: &'a MinidumpSnapshot<'a>) -> Self {
        let dump = snapshot.dump();
        Self::new(snapshot, dump, Kind::Minidump, dump.source().size())
    }

    /// A core of `file_size` bytes, and a minidump of the streams that a dump of it would have.
    pub(super) fn of_core(process: &'a LinuxProcess<'a>, streams: &'a Minidump<'a>, file_size: u64) -> Self {
        Self::new(process, streams, Kind::Core, file_size)
    }

    fn new(snapshot: &'a dyn ProcessSnapshot, dump: &'a Minidump<'a>, kind: Kind, file_size: u64) -> Self {
        let mut opened = Self {
            findings: RefCell::new(snapshot.findings().clone()),
            snapshot,
            dump,
            kind,
            file_size,
            misc: None,
            thread_names: BTreeMap::new(),
            text_left: Cell::new(MAX_REPEATED_TEXT),
            steps_left: Cell::new(MAX_STACK_STEPS),
        };
        opened.misc = opened.get();
        if let Some(names) = opened.get::<ThreadNames>() {
            for name in names.names {
                if let Some(text) = name.name {
                    // The first name that a thread has is the one that counts.
                    opened.thread_names.entry(name.thread_id).or_insert(text);
                }
            }
        }
        opened
    }

    /// The streams, by the file's header and directory.
    pub(super) fn dump(&self) -> &Minidump<'a> {
        self.dump
    }

    /// Processor and system.
    pub(super) fn system(&self) -> Option<&SystemInfo> {
        self.snapshot.system_info()
    }

    /// The operating system, if the dump says.
    pub(super) fn platform(&self) -> Option<PlatformId> {
        self.system().map(SystemInfo::platform)
    }

    /// The service pack, or the system's name and version; empty where there is none.
    pub(super) fn csd_version(&self) -> String {
        let units = self.snapshot.csd_version();
        String::from_utf16_lossy(units.split(|unit| *unit == 0).next().unwrap_or_default())
    }

    /// A stream, typed. To be called once for each type: what is wrong with it is noted.
    pub(super) fn get<T: StreamContent<'a>>(&self) -> Option<T> {
        let mut findings = Findings::default();
        let content = self.dump().get(&mut findings);
        self.findings.borrow_mut().append(findings);
        self.keep(content, "stream")?
    }

    /// A stream that was read before: what is wrong with it is noted already.
    pub(super) fn again<T: StreamContent<'a>>(&self) -> Option<T> {
        self.dump().get(&mut Findings::default()).ok()?
    }

    /// The value, or an error as a finding.
    pub(super) fn keep<T>(&self, result: Result<T, Error>, what: &'static str) -> Option<T> {
        result
            .map_err(|error| self.findings.borrow_mut().push(error.into_finding(what)))
            .ok()
    }

    /// What was found until now.
    pub(super) fn findings(&self) -> std::cell::Ref<'_, Findings> {
        self.findings.borrow()
    }

    /// Text of about `size` bytes that may be a repetition; `None` beyond [`MAX_REPEATED_TEXT`], where it is not even
    /// made.
    pub(super) fn repeated<T>(&self, size: usize, text: impl FnOnce() -> T) -> Option<T> {
        let left = self.text_left.get();
        if let Some(rest) = left.checked_sub(size) {
            self.text_left.set(rest);
            return Some(text());
        }
        if left > 0 {
            self.text_left.set(0);
            let message = format!("more than {MAX_REPEATED_TEXT} bytes of names; the rest is left out");
            self.findings.borrow_mut().add(FileOffset(0), "names", message);
        }
        None
    }

    /// A name that other records may have, too.
    pub(super) fn shared(&self, name: Option<&Name>) -> Option<String> {
        let name = name?;
        self.repeated(name.units().len() * 2, || name.text())
    }

    /// The name of a thread.
    pub(super) fn thread_name(&self, id: u32) -> Option<&Name> {
        self.thread_names.get(&id)
    }

    /// How many bytes of a thread's stack are there; `None` where finding out takes too long.
    pub(super) fn stack_bytes(&self, stack: VirtRange) -> Option<u64> {
        if self.steps_left.get() == 0 {
            return None;
        }
        let mut bytes = 0;
        for extent in self.snapshot.memory().extents(stack) {
            match self.steps_left.get().checked_sub(1) {
                Some(left) => self.steps_left.set(left),
                None => return None,
            }
            bytes += self.keep(extent, "ThreadList.Stack")?.range.size();
        }
        Some(bytes)
    }

    /// The registers that a blob holds.
    pub(super) fn registers(&self, blob: &Blob, what: &'static str) -> Option<Registers> {
        let endian = self.snapshot.endian();
        let bytes = self.keep(self.snapshot.bytes(blob), what)?;
        let context = Context::read(&bytes, self.snapshot.architecture(), endian);
        let context = context
            .map_err(|error| {
                let at = match blob {
                    Blob::File { offset, .. } => *offset,
                    Blob::Bytes(_) => FileOffset(0),
                };
                self.findings.borrow_mut().push(error.into_finding(at, what));
            })
            .ok();
        let xstate = context.as_ref().and_then(|context| {
            let state = XState::read(&bytes, context.base_size(), endian)?;
            let config = self.misc.as_ref().and_then(MiscInfo::xstate_data);
            Some(config.map_or(state, |config| state.with_config(config)).present())
        });
        Some(Registers {
            size: blob.size(),
            context,
            xstate: xstate.unwrap_or_default(),
        })
    }

    /// The registers of a thread; `None` where it has none.
    pub(super) fn thread_registers(&self, thread: &ThreadSnapshot) -> Option<Registers> {
        self.registers(thread.context.as_ref()?, "ThreadList.ThreadContext")
    }

    /// The module at an address.
    pub(super) fn module_at(&self, address: u64) -> Option<&ModuleSnapshot> {
        let modules = self.snapshot.modules().iter();
        modules
            .into_iter()
            .find(|module| module.range().contains(VirtAddr(address)))
    }

    /// The memory in figures.
    pub(super) fn memory(&self) -> MemoryFigures {
        use dotdump_format::minidump::memory_list::MemoryList;
        use dotdump_format::minidump::memory64_list::Memory64List;
        let mut figures = MemoryFigures::default();
        if let Some(list) = self.again::<MemoryList<'_>>() {
            figures.lists.push((StreamType::MEMORY_LIST, list.ranges.len()));
        }
        if let Some(list) = self.again::<Memory64List<'_>>() {
            figures.lists.push((StreamType::MEMORY64_LIST, list.ranges.len()));
        }
        let mut extents = 0;
        for extent in self.snapshot.memory().all() {
            let Some(extent) = self.keep(extent, "memory") else {
                break;
            };
            extents += 1;
            figures.bytes = figures.bytes.saturating_add(extent.range.size());
        }
        figures.ranges = match self.kind {
            Kind::Minidump => figures.lists.iter().map(|(_, ranges)| ranges).sum(),
            Kind::Core => extents,
        };
        figures
    }

    /// Reads the streams that the summary does not show, to find out whether they are sound.
    pub(super) fn check_others(&self) {
        self.get::<BreakpadInfo>();
        self.get::<FunctionTables<'_>>();
        self.get::<LinuxEnviron<'_>>();
        self.get::<LinuxProcStatus<'_>>();
        self.get::<LinuxProcUptime<'_>>();
        self.get::<MozMacosBootargs>();
        self.get::<MozMacosCrashInfo>();
        self.get::<MozSoftErrors<'_>>();
        self.get::<ProcessVmCounters>();
        self.get::<SystemMemoryInfo>();
        self.get::<ThreadInfoList<'_>>();
        self.get::<TokenList<'_>>();
    }
}
