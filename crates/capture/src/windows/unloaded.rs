//! Modules that were unloaded, as the loader of the process remembers them.
//!
//! It does so in an array of `RTL_UNLOAD_EVENT_TRACE` in its `ntdll`, which is at the same address in every process
//! of one kind: where it is in this one.

use std::ptr;

use dotdump_format::minidump::name::Name;
use dotdump_format::minidump::unloaded_module_list::{UnloadedModule, UnloadedModuleList, UnloadedModuleRecord};
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::machine::KernelReader;
use dotdump_snapshot::{Memory, ModuleSnapshot};

use super::modules::MACHINE;
use super::native::functions;

/// The largest array that is read: Windows keeps 64 entries of about 0x70 bytes.
const MOST_ENTRIES: u32 = 1024;
const LARGEST_ENTRY: u32 = 0x400;
/// The characters of a name.
const NAME: usize = 32;
/// The size in bytes of an entry without its version: base, size, sequence, time stamp, checksum, name.
const ENTRY: u64 = 2 * size_of::<usize>() as u64 + 3 * 4 + 2 * NAME as u64;

/// The modules that the process's loader remembers, oldest first; `None` where it keeps no list. `loaded` are the
/// process's modules: the list has to lie in one of them.
pub(super) fn unloaded_modules(memory: &dyn Memory, loaded: &[ModuleSnapshot]) -> Option<UnloadedModuleList> {
    let get = functions().get_unload_event_trace_ex?;
    let (mut size, mut count, mut array) = (ptr::null_mut::<u32>(), ptr::null_mut::<u32>(), ptr::null_mut());
    // SAFETY: the places are written.
    unsafe { get(&raw mut size, &raw mut count, &raw mut array) };
    if size.is_null() || count.is_null() || array.is_null() {
        return None;
    }
    // SAFETY: they lie in this process's ntdll, which stays loaded.
    let (size, count) = unsafe { (size.read(), count.read()) };
    if u64::from(size) < ENTRY || size > LARGEST_ENTRY {
        return None;
    }
    // The array itself is made when the first module is unloaded, and this is where its address is.
    let place = VirtAddr(array.addr() as u64);
    if !loaded.iter().any(|module| module.range().contains(place)) {
        return None;
    }
    let user = KernelReader::new(memory, MACHINE);
    let array = user.pointer(place)?;
    let mut modules = Vec::new();
    if array.0 != 0 {
        for index in 0..count.min(MOST_ENTRIES) {
            let entry = user.at(array, u64::from(index) * u64::from(size));
            modules.extend(module(&user, entry));
        }
    }
    modules.sort_by_key(|(sequence, _)| *sequence);
    Some(UnloadedModuleList {
        modules: modules.into_iter().map(|(_, module)| module).collect(),
    })
}

/// The module in an entry, and its place in the sequence; `None` where the entry is unused.
fn module(user: &KernelReader<'_>, entry: VirtAddr) -> Option<(u32, UnloadedModule)> {
    let pointer = user.pointer_size();
    let base = user.pointer(entry)?;
    let size = user.word(user.at(entry, pointer))?;
    let number = |index: u64| user.u32(user.at(entry, 2 * pointer + 4 * index));
    let (sequence, time, checksum) = (number(0)?, number(1)?, number(2)?);
    let name = user.bytes(user.at(entry, 2 * pointer + 12), 2 * NAME);
    let size = u32::try_from(size).ok().filter(|size| *size > 0)?;
    if base.0 == 0 || VirtRange::sized(base, size.into()).is_empty() {
        return None;
    }
    let (units, _) = name.as_chunks();
    let name: Vec<u16> = units
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .collect();
    let record = UnloadedModuleRecord {
        base_of_image: base.0.into(),
        size_of_image: size.into(),
        check_sum: checksum.into(),
        time_date_stamp: time.into(),
        ..UnloadedModuleRecord::default()
    };
    let name = Some(Name::from(name));
    Some((sequence, UnloadedModule { record, name }))
}
