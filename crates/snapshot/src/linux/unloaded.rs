//! Files that are mapped and were deleted: programs, libraries and plain files.

use dotdump_format::VirtRange;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::name::Name;
use dotdump_format::minidump::unloaded_module_list::{UnloadedModule, UnloadedModuleList, UnloadedModuleRecord};

use super::module_name::tells_nothing;
use super::regions::images;
use crate::process::ModuleSnapshot;

/// The deleted files that are still mapped, by address: modules, which are loaded all the same, with their whole image,
/// other files with the mappings that follow each other. Linux keeps no record of what was unloaded and unmapped. Files
/// that never had a name of their own were not deleted.
pub(super) fn unloaded_modules(mappings: &[LinuxMapping], modules: &[ModuleSnapshot]) -> UnloadedModuleList {
    let images = images(mappings);
    let mut loaded: Vec<VirtRange> = modules.iter().map(ModuleSnapshot::range).collect();
    loaded.sort_unstable();
    let module_at = |range: VirtRange| {
        let at = loaded.partition_point(|module| module.end <= range.start);
        loaded.get(at).copied().filter(|module| module.start < range.end)
    };
    let mut found: Vec<Deleted<'_>> = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.is_deleted()) {
        let Some(file) = mapping.file().filter(|file| !tells_nothing(file)) else {
            continue;
        };
        let module = module_at(mapping.range);
        let deleted = Deleted {
            file,
            offset: mapping.offset,
            range: module.unwrap_or(mapping.range),
            is_image: module.is_some() || images.binary_search(&file).is_ok(),
        };
        match found.last_mut() {
            Some(last) if last.goes_on_with(&deleted) => {
                last.range.end = last.range.end.max(deleted.range.end);
                last.offset = deleted.offset;
            }
            _ => found.push(deleted),
        }
    }
    found.sort_by_key(|deleted| deleted.range);
    UnloadedModuleList {
        modules: found.iter().map(Deleted::to_module).collect(),
    }
}

/// A deleted file, or a part of one.
struct Deleted<'m> {
    file: &'m [u8],
    /// How far into the file its last mapping begins.
    offset: u64,
    range: VirtRange,
    is_image: bool,
}

impl Deleted<'_> {
    /// Whether `next` is more of the same. Between the segments of an image there may be gaps.
    fn goes_on_with(&self, next: &Self) -> bool {
        let touches = next.range.start <= self.range.end;
        self.file == next.file && (touches || (self.is_image && self.offset < next.offset))
    }

    fn to_module(&self) -> UnloadedModule {
        let name = self.file.rsplit(|byte| *byte == b'/').next().unwrap_or(self.file);
        UnloadedModule {
            record: UnloadedModuleRecord {
                base_of_image: self.range.start.0.into(),
                size_of_image: u32::try_from(self.range.size()).unwrap_or(u32::MAX).into(),
                ..UnloadedModuleRecord::default()
            },
            name: Some(Name::from(&*format!("{} (deleted)", String::from_utf8_lossy(name)))),
        }
    }
}
