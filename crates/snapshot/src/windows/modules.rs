//! Modules by the loader's lists in the environment block of a process.

use std::collections::HashSet;

use dotdump_format::VirtAddr;
use dotdump_format::kernel::Machine;
use dotdump_format::minidump::module_list::Module;

use super::image::Image;
use crate::machine::KernelReader;
use crate::process::{Blob, ModuleSnapshot};

/// More modules than any process has.
const MOST_MODULES: usize = 10_000;

/// Where fields are, in bytes: `PEB`, `PEB_LDR_DATA` and `LDR_DATA_TABLE_ENTRY` of public symbols, the same in all
/// versions of Windows.
struct Layout {
    ldr: u64,
    load_order: u64,
    dll_base: u64,
    size_of_image: u64,
    full_dll_name: u64,
    time_date_stamp: u64,
}

const LAYOUT_64: Layout = Layout {
    ldr: 0x18,
    load_order: 0x10,
    dll_base: 0x30,
    size_of_image: 0x40,
    full_dll_name: 0x48,
    time_date_stamp: 0x80,
};

const LAYOUT_32: Layout = Layout {
    ldr: 0x0C,
    load_order: 0x0C,
    dll_base: 0x18,
    size_of_image: 0x20,
    full_dll_name: 0x24,
    time_date_stamp: 0x44,
};

/// The modules of a process, gathered from the list of each of its loaders.
#[derive(Default)]
pub struct LoaderModules {
    bases: HashSet<u64>,
    modules: Vec<ModuleSnapshot>,
}

impl LoaderModules {
    /// Adds the modules in the list of the environment block at `peb`, in load order, the program first. `user` reads the
    /// process's memory as its loader does: for the 32-bit loader of a 64-bit process it is a reader of
    /// [`Machine::X86`]. Damage becomes findings of `user`. Returns how many were added.
    pub fn read(&mut self, user: &KernelReader<'_>, peb: VirtAddr) -> usize {
        let before = self.modules.len();
        read_list(user, peb, &mut self.bases, &mut self.modules);
        self.modules.len() - before
    }

    /// Adds a module that was found otherwise.
    pub fn add(&mut self, module: ModuleSnapshot) {
        self.bases.insert(module.record.base_of_image.get());
        self.modules.push(module);
    }

    /// The modules in the order in which they were added.
    #[must_use]
    pub fn into_modules(self) -> Vec<ModuleSnapshot> {
        self.modules
    }
}

fn read_list(user: &KernelReader<'_>, peb: VirtAddr, bases: &mut HashSet<u64>, modules: &mut Vec<ModuleSnapshot>) {
    const WHAT: &str = "InLoadOrderModuleList";

    let layout = if user.machine() == Machine::X86 {
        &LAYOUT_32
    } else {
        &LAYOUT_64
    };
    let Some(ldr) = user.pointer(user.at(peb, layout.ldr)).filter(|ldr| ldr.0 != 0) else {
        return;
    };
    let head = user.at(ldr, layout.load_order);
    let mut seen = HashSet::from([head]);
    let mut entry = head;
    loop {
        let Some(next) = user.pointer(entry) else {
            user.note(entry, WHAT, format!("the list ends at {entry}, which is not in memory"));
            return;
        };
        if next == head {
            return;
        }
        if !seen.insert(next) || seen.len() > MOST_MODULES {
            user.note(
                entry,
                WHAT,
                format!("the list leads from {entry} to {next} and not to its head {head}"),
            );
            return;
        }
        entry = next;
        let Some(base) = user.pointer(user.at(entry, layout.dll_base)).filter(|base| base.0 != 0) else {
            continue;
        };
        // On WOW64 the program itself is in both lists.
        if bases.insert(base.0) {
            modules.push(module(user, entry, base, layout));
        }
    }
}

fn module(user: &KernelReader<'_>, entry: VirtAddr, base: VirtAddr, layout: &Layout) -> ModuleSnapshot {
    let number = |offset: u64| user.u32(user.at(entry, offset)).unwrap_or(0);
    let (size, time) = (number(layout.size_of_image), number(layout.time_date_stamp));
    let name = user.at(entry, layout.full_dll_name);
    let name = user
        .u16(name)
        .zip(user.pointer(user.at(name, user.pointer_size())))
        .and_then(|(length, buffer)| user.utf16(buffer, length));
    if let Some(mut module) = image_module(user, base, name.clone()) {
        if size != 0 {
            module.record.size_of_image = size.into();
        }
        return module;
    }
    user.note(
        base,
        "module",
        format!("the header of the image at {base} is not in memory"),
    );
    ModuleSnapshot {
        record: Module {
            base_of_image: base.0.into(),
            size_of_image: size.into(),
            time_date_stamp: time.into(),
            ..Module::default()
        },
        name,
        cv_record: None,
        misc_record: None,
    }
}

/// The module of the image at `base`, as its headers describe it; `None` where they are not in memory.
#[must_use]
pub fn image_module(user: &KernelReader<'_>, base: VirtAddr, name: Option<Vec<u16>>) -> Option<ModuleSnapshot> {
    let image = Image::read(user, base)?;
    Some(ModuleSnapshot {
        record: image.record(user),
        name,
        cv_record: image.code_view(user).map(Blob::Bytes),
        misc_record: None,
    })
}
