//! What the names in a dump are like.

use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::module_list::ModuleList;
use dotdump_format::minidump::thread_names::ThreadNameRecord;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{Minidump, StreamType, read_string_units};
use dotdump_format::{Endian, Error, FileOffset, Findings};

use super::facts::Tally;

/// The most names that are looked at.
const MAX_NAMES: u64 = 1 << 18;

/// The most bytes of names that are looked at: many entries may point to one long name.
const MAX_TEXT: usize = 32 << 20;

/// The most code units of a name that Breakpad reads.
const BREAKPAD_UNITS: usize = 1024;

/// What the names are like.
#[derive(Debug, Default)]
pub(super) struct StringFacts {
    /// Names whose length in bytes is odd.
    pub(super) odd: Tally,
    /// Names with lone surrogates.
    pub(super) not_utf16: Tally,
    /// Names above 1,024 code units.
    pub(super) long: Tally,
    /// Modules whose name is absent or cannot be read.
    pub(super) nameless_modules: Tally,
    /// Names of modules that are not printable ASCII.
    pub(super) not_ascii_modules: Tally,
}

impl StringFacts {
    pub(super) fn gather(dump: &Minidump<'_>, csd_version: u32) -> Result<Self, Error> {
        let mut look = Look {
            dump,
            facts: Self::default(),
            names: MAX_NAMES,
            text: MAX_TEXT,
        };
        let mut scratch = Findings::default();
        look.at(u64::from(csd_version), "SystemInfo.CSDVersion");
        if let Ok(Some(list)) = dump.get::<ModuleList<'_>>(&mut scratch) {
            for (index, module) in (0..).zip(&list.modules) {
                if look.is_done() {
                    break;
                }
                let name = look.at(u64::from(module?.module_name_rva.get()), "ModuleList.ModuleName");
                let at = list.modules.offset_of(index);
                match name {
                    None => look.facts.nameless_modules.note(at, || format!("module {index}")),
                    Some(units) if units.iter().any(|unit| !(0x20..0x7F).contains(unit)) => {
                        look.facts
                            .not_ascii_modules
                            .note(at, || String::from_utf16_lossy(&units));
                    }
                    Some(_) => {}
                }
            }
        }
        if let Ok(Some(list)) = dump.get::<UnloadedModuleList>(&mut scratch) {
            for module in &list.modules {
                look.at(
                    u64::from(module.record.module_name_rva.get()),
                    "UnloadedModuleList.ModuleName",
                );
            }
        }
        if let Some(stream) = dump.stream(StreamType::THREAD_NAMES)
            && let Ok(names) = stream.counted_list::<ThreadNameRecord>("ThreadNames", &mut scratch)
        {
            for name in names.iter() {
                if look.is_done() {
                    break;
                }
                look.at(name?.rva_of_thread_name.get(), "ThreadNames");
            }
        }
        if let Ok(Some(handles)) = dump.get::<HandleData>(&mut scratch) {
            for handle in &handles.handles {
                look.at(u64::from(handle.record.type_name_rva.get()), "HandleData.TypeName");
                look.at(u64::from(handle.record.object_name_rva.get()), "HandleData.ObjectName");
            }
        }
        Ok(look.facts)
    }
}

struct Look<'d, 'a> {
    dump: &'d Minidump<'a>,
    facts: StringFacts,
    names: u64,
    text: usize,
}

impl Look<'_, '_> {
    fn is_done(&self) -> bool {
        self.names == 0 || self.text == 0
    }

    /// Looks at the name at `offset` and returns it; `None` where there is none that can be read.
    fn at(&mut self, offset: u64, what: &'static str) -> Option<Vec<u16>> {
        if offset == 0 || self.is_done() {
            return None;
        }
        self.names -= 1;
        let offset = FileOffset(offset);
        let (source, endian) = (self.dump.source(), self.dump.endian());
        let units = read_string_units(source, endian, offset).ok()?;
        let mut length = [0; 4];
        source.read_exact_at(offset, &mut length).ok()?;
        let length = match endian {
            Endian::Little => u32::from_le_bytes(length),
            Endian::Big => u32::from_be_bytes(length),
        };
        self.text = self.text.saturating_sub(units.len() * 2);
        if !length.is_multiple_of(2) {
            self.facts.odd.note(offset, || format!("{what}: {length} bytes"));
        }
        if units.len() > BREAKPAD_UNITS {
            self.facts
                .long
                .note(offset, || format!("{what}: {} code units", units.len()));
        }
        if char::decode_utf16(units.iter().copied()).any(|unit| unit.is_err()) {
            self.facts.not_utf16.note(offset, || what.to_owned());
        }
        Some(units)
    }
}
