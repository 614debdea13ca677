//! Process and thread environment blocks, and what they lead to (`-mp`).

use dotdump_format::minidump::system_info::{PlatformId, SystemInfo};
use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::{Memory, ProcessSnapshot, RangeSet};

use super::linux_data;
use super::windows_layout::{ENVIRONMENT_SIZE, WindowsLayout, X64, X86};
use super::wow64::Wow64Thread;
use crate::shortfall::Shortfalls;
use crate::words::Words;

/// The blocks of all threads and of the process; `None` where the source has none of them.
pub(crate) fn process_data(
    snapshot: &dyn ProcessSnapshot,
    words: &Words,
    foreign: &[Wow64Thread],
    shortfalls: &mut Shortfalls,
) -> Result<Option<RangeSet>, Error> {
    let platform = snapshot.system_info().map(SystemInfo::platform);
    if platform.is_some_and(PlatformId::is_linux) {
        return linux_data::linux_data(snapshot, words, shortfalls);
    }
    if !platform.is_some_and(PlatformId::is_windows) {
        shortfalls.warn(
            "-mp",
            "not applicable: only processes of Windows (PEB and TEB) and Linux have such data",
        );
        return Ok(None);
    }
    let layout = if words.size == 8 { &X64 } else { &X86 };
    let mut found = Found::new(snapshot.memory());
    found.peb = snapshot.environment_block();
    let mut without = Vec::new();
    for thread in snapshot.threads() {
        let teb = VirtAddr(thread.record.teb.get());
        if teb.0 == 0 || !found.thread(words, layout, teb)? {
            without.push(format!("{:#x}", thread.record.thread_id.get()));
        }
    }
    let no_thread = without.len() == snapshot.threads().len();
    if no_thread && !snapshot.is_resident_only() {
        shortfalls.refuse("-mp", "the source has no thread environment block (TEB) in its memory");
        return Ok(None);
    }
    shortfalls.warn_for("-mp", "no environment block (TEB) in the source for threads", &without);
    if !found.process(words, layout)? {
        shortfalls.warn("-mp", "the source has no process environment block (PEB) in its memory");
        if no_thread {
            return Ok(None);
        }
    }
    let mut all = found.ranges;

    let mut found = Found::new(snapshot.memory());
    for state in foreign {
        found.thread(&Words::x86(), &X86, state.teb32)?;
    }
    found.process(&Words::x86(), &X86)?;
    all.extend(&found.ranges);
    Ok(Some(all))
}

/// The blocks of one side of a process.
struct Found<'a> {
    memory: &'a dyn Memory,
    ranges: RangeSet,
    /// The PEB that the first TEB with one names.
    peb: Option<VirtAddr>,
    /// The arrays of static thread-local storage.
    tls_arrays: Vec<VirtAddr>,
    /// The blocks of fiber-local storage.
    fls_blocks: Vec<VirtAddr>,
}

impl<'a> Found<'a> {
    fn new(memory: &'a dyn Memory) -> Self {
        Self {
            memory,
            ranges: RangeSet::new(),
            peb: None,
            tls_arrays: Vec::new(),
            fls_blocks: Vec::new(),
        }
    }

    fn pointer(&self, words: &Words, address: VirtAddr) -> Result<Option<VirtAddr>, Error> {
        Ok(words
            .read(self.memory, address)?
            .filter(|value| *value != 0)
            .map(VirtAddr))
    }

    /// Whether anything of `range` is in the source.
    fn is_there(&self, range: VirtRange) -> Result<bool, Error> {
        Ok(self.memory.extents(range).next().transpose()?.is_some())
    }

    /// Adds the TEB at `teb`; tells whether it is in the source.
    fn thread(&mut self, words: &Words, layout: &WindowsLayout, teb: VirtAddr) -> Result<bool, Error> {
        let block = VirtRange::sized(teb, layout.teb_size);
        if !self.is_there(block)? {
            return Ok(false);
        }
        self.ranges.insert(block);
        if self.peb.is_none() {
            self.peb = self.pointer(words, teb.saturating_add(layout.teb_peb))?;
        }
        let tls = self.pointer(words, teb.saturating_add(layout.teb_tls_pointer))?;
        self.tls_arrays.extend(tls);
        let fls = self.pointer(words, teb.saturating_add(layout.teb_fls_data))?;
        self.fls_blocks.extend(fls);
        if let Some(slots) = self.pointer(words, teb.saturating_add(layout.teb_tls_expansion))? {
            self.ranges.insert(VirtRange::sized(slots, layout.tls_expansion_size));
        }
        Ok(true)
    }

    /// Adds the arrays of the threads' static thread-local storage; Windows' writers leave the blocks out to which
    /// their slots point. How many modules have such storage is not written anywhere near, but it is the same for all
    /// threads: no array goes on where the source's memory ends or a word is no pointer, and the last slots that no
    /// thread uses are none.
    fn thread_local_storage(&mut self, words: &Words) -> Result<(), Error> {
        const MOST: u64 = 1088;
        let size = words.size as u64;
        let mut slots = MOST;
        let mut used = 0;
        for array in &self.tls_arrays {
            // TLS_VECTOR: the room of the array stands two words before it.
            let room = words.read(self.memory, array.saturating_sub(2 * size))?;
            let room = room.map_or(0, |room| room & 0xFFFF_FFFF);
            let mut end = if (1..=MOST).contains(&room) {
                slots.min(room)
            } else {
                slots
            };
            for index in 0..end {
                match words.read(self.memory, array.saturating_add(index * size))? {
                    Some(0) => {}
                    Some(word) if word % 4 == 0 && (0x1_0000..1 << 47).contains(&word) => used = used.max(index + 1),
                    _ => {
                        end = index;
                        break;
                    }
                }
            }
            // An array that is not in the source says nothing about the others.
            if end > 0 {
                slots = end;
            }
        }
        for array in &self.tls_arrays {
            self.ranges.insert(VirtRange::sized(*array, slots.min(used) * size));
        }
        Ok(())
    }

    /// Adds what depends on the system's version (the other parts of the threads' data, the PEB and the process
    /// parameters); tells whether the PEB is in the source.
    fn process(&mut self, words: &Words, layout: &WindowsLayout) -> Result<bool, Error> {
        self.thread_local_storage(words)?;
        let Some(peb) = self.peb else { return Ok(false) };
        let build = dotdump_snapshot::memory::read_array::<2>(
            self.memory,
            // OSMajorVersion and OSMinorVersion are 32 bits each.
            peb.saturating_add(layout.peb_os_version + 8),
        )?;
        let build = build.map_or(0, u16::from_le_bytes);
        for block in &self.fls_blocks {
            self.ranges.insert(VirtRange::sized(*block, layout.fls_size(build)));
        }
        let block = VirtRange::sized(peb, layout.peb_size(build));
        if !self.is_there(block)? {
            return Ok(false);
        }
        self.ranges.insert(block);
        let Some(parameters) = self.pointer(words, peb.saturating_add(layout.peb_parameters))? else {
            return Ok(true);
        };
        self.ranges
            .insert(VirtRange::sized(parameters, layout.parameters_size(build)));
        for field in layout.parameter_strings {
            let string = parameters.saturating_add(field);
            let size = dotdump_snapshot::memory::read_array::<2>(self.memory, string)?.map(u16::from_le_bytes);
            let text = self.pointer(words, string.saturating_add(words.size as u64))?;
            if let (Some(size), Some(text)) = (size, text) {
                self.ranges.insert(VirtRange::sized(text, u64::from(size)));
            }
        }
        if let Some(environment) = self.pointer(words, parameters.saturating_add(layout.parameters_environment))? {
            self.ranges.insert(VirtRange::sized(environment, ENVIRONMENT_SIZE));
        }
        Ok(true)
    }
}
