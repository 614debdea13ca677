//! Process and thread environment blocks, and what they lead to (`-mp`).

use dotdump_format::{Error, VirtAddr, VirtRange};
use dotdump_snapshot::{Memory, ProcessSnapshot, RangeSet};

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
    if !snapshot.system_info().is_some_and(|info| info.platform().is_windows()) {
        shortfalls.warn(
            "-mp",
            "not applicable: only Windows processes have environment blocks (PEB and TEB)",
        );
        return Ok(None);
    }
    let layout = if words.size == 8 { &X64 } else { &X86 };
    let mut found = Found {
        memory: snapshot.memory(),
        ranges: RangeSet::new(),
        peb: None,
    };
    let mut without = Vec::new();
    for thread in snapshot.threads() {
        let teb = VirtAddr(thread.record.teb.get());
        if teb.0 == 0 || !found.thread(words, layout, teb)? {
            without.push(format!("{:#x}", thread.record.thread_id.get()));
        }
    }
    if without.len() == snapshot.threads().len() {
        shortfalls.refuse("-mp", "the source has no thread environment block (TEB) in its memory");
        return Ok(None);
    }
    shortfalls.warn_for("-mp", "no environment block (TEB) in the source for threads", &without);
    let has_process = match found.peb {
        Some(peb) => found.process(words, layout, peb)?,
        None => false,
    };
    if !has_process {
        shortfalls.warn("-mp", "the source has no process environment block (PEB) in its memory");
    }
    for state in foreign {
        found.peb = None;
        if found.thread(&Words::x86(), &X86, state.teb32)?
            && let Some(peb32) = found.peb
        {
            found.process(&Words::x86(), &X86, peb32)?;
        }
    }
    Ok(Some(found.ranges))
}

struct Found<'a> {
    memory: &'a dyn Memory,
    ranges: RangeSet,
    /// The PEB that the first TEB with one names.
    peb: Option<VirtAddr>,
}

impl Found<'_> {
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
        let pointer_size = words.size as u64;
        if let Some(array) = self.pointer(words, teb.saturating_add(layout.teb_tls_pointer))? {
            self.thread_local_storage(words, array)?;
        }
        for (field, size) in [
            (layout.teb_tls_expansion, layout.tls_expansion_size),
            // FLS_DATA: two list links and eight chunk pointers (Windows 10 and later).
            (layout.teb_fls_data, 10 * pointer_size),
        ] {
            if let Some(target) = self.pointer(words, teb.saturating_add(field))? {
                self.ranges.insert(VirtRange::sized(target, size));
            }
        }
        Ok(true)
    }

    /// Adds the array of a thread's static thread-local storage and the beginning of each block. How many modules
    /// have such storage is not written anywhere near: the array ends where a word is no pointer.
    fn thread_local_storage(&mut self, words: &Words, array: VirtAddr) -> Result<(), Error> {
        const MODULES: u64 = 64;
        const BLOCK: u64 = 0x100;
        let mut used = 0;
        for index in 0..MODULES {
            let slot = array.saturating_add(index * words.size as u64);
            let Some(block) = words.read(self.memory, slot)? else {
                break;
            };
            if block == 0 {
                continue;
            }
            let block = VirtRange::sized(VirtAddr(block), BLOCK);
            if !self.is_there(VirtRange::sized(block.start, 1))? {
                break;
            }
            self.ranges.insert(block);
            used = index + 1;
        }
        self.ranges.insert(VirtRange::sized(array, used * words.size as u64));
        Ok(())
    }

    /// Adds the PEB at `peb` and the process parameters; tells whether the PEB is in the source.
    fn process(&mut self, words: &Words, layout: &WindowsLayout, peb: VirtAddr) -> Result<bool, Error> {
        let build = dotdump_snapshot::memory::read_array::<2>(
            self.memory,
            // OSMajorVersion and OSMinorVersion are 32 bits each.
            peb.saturating_add(layout.peb_os_version + 8),
        )?;
        let block = VirtRange::sized(peb, layout.peb_size(build.map_or(0, u16::from_le_bytes)));
        if !self.is_there(block)? {
            return Ok(false);
        }
        self.ranges.insert(block);
        let Some(parameters) = self.pointer(words, peb.saturating_add(layout.peb_parameters))? else {
            return Ok(true);
        };
        let Some([maximum_length, length]) = self.lengths(parameters)? else {
            return Ok(true);
        };
        self.ranges.insert(VirtRange::sized(
            parameters,
            u64::from(length.min(maximum_length).min(0x1000)),
        ));
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

    /// `RTL_USER_PROCESS_PARAMETERS.MaximumLength` and `.Length`.
    fn lengths(&self, parameters: VirtAddr) -> Result<Option<[u32; 2]>, Error> {
        let bytes = dotdump_snapshot::memory::read_array::<8>(self.memory, parameters)?;
        Ok(bytes.map(|bytes| {
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            [word(0), word(4)]
        }))
    }
}
