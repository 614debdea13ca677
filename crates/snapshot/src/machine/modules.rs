//! Loaded modules of the kernel, and drivers that were unloaded.

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::debugger_data::DebuggerData;
use dotdump_format::kernel::loader::{
    KldrDataTableEntry32, KldrDataTableEntry64, UNLOADED_DRIVER_SLOTS, UnloadedDriverSlot32, UnloadedDriverSlot64,
};
use dotdump_format::kernel::triage::unloaded_drivers::{UnicodeString32, UnicodeString64};
use dotdump_format::{VirtAddr, VirtRange};

use super::pe_image::PeImage;
use super::reader::KernelReader;
use super::{KernelModule, UnloadedDriver};

/// No system has as many modules.
const MOST_MODULES: usize = 10_000;

/// What both widths of an entry have.
struct Entry {
    base: VirtAddr,
    size: u32,
    entry_point: VirtAddr,
    full_name: (VirtAddr, u16),
    base_name: (VirtAddr, u16),
    checksum: u32,
    /// Where the kernel has the time stamp, and where the loader of user mode would have it.
    stamps: [u32; 2],
}

impl Entry {
    fn read(reader: &KernelReader<'_>, address: VirtAddr) -> Option<Self> {
        match reader.machine() {
            Machine::X86 => {
                let entry: KldrDataTableEntry32 = reader.record(address)?;
                let name = |name: UnicodeString32| (VirtAddr(u64::from(name.buffer.get())), name.length.get());
                Some(Self {
                    base: VirtAddr(u64::from(entry.dll_base.get())),
                    size: entry.size_of_image.get(),
                    entry_point: VirtAddr(u64::from(entry.entry_point.get())),
                    full_name: name(entry.full_dll_name),
                    base_name: name(entry.base_dll_name),
                    checksum: entry.check_sum.get(),
                    stamps: [entry.time_date_stamp.get(), entry.coverage_section_size.get()],
                })
            }
            Machine::Amd64 | Machine::Arm64 => {
                let entry: KldrDataTableEntry64 = reader.record(address)?;
                let name = |name: UnicodeString64| (VirtAddr(name.buffer.get()), name.length.get());
                let low_half = entry.coverage_section.get() & 0xFFFF_FFFF;
                Some(Self {
                    base: VirtAddr(entry.dll_base.get()),
                    size: entry.size_of_image.get(),
                    entry_point: VirtAddr(entry.entry_point.get()),
                    full_name: name(entry.full_dll_name),
                    base_name: name(entry.base_dll_name),
                    checksum: entry.check_sum.get(),
                    stamps: [entry.time_date_stamp.get(), u32::try_from(low_half).unwrap_or_default()],
                })
            }
        }
    }
}

/// The modules of the list at `head`, in its order.
///
/// Where a module's own header is in memory, its time stamp is taken from there. It also shows in which of two places
/// the entries have theirs, for modules without one.
#[must_use]
pub fn modules(reader: &KernelReader<'_>, head: VirtAddr) -> Vec<KernelModule> {
    let mut modules = Vec::new();
    let mut without_header = Vec::new();
    let mut place = None;
    for address in reader.list(head, MOST_MODULES, "PsLoadedModuleList") {
        let Some(entry) = Entry::read(reader, address) else {
            reader.note(
                address,
                "PsLoadedModuleList",
                format!("the entry at {address} is not all in the source"),
            );
            continue;
        };
        if !reader.is_kernel(entry.base) {
            let message = format!(
                "the entry at {address} has a module at {}, out of the kernel",
                entry.base
            );
            reader.note(address, "PsLoadedModuleList", message);
            continue;
        }
        let header = PeImage::read(reader, entry.base);
        let header_stamp = header.map(|image| image.time_date_stamp);
        if place.is_none() {
            place = header_stamp.and_then(|stamp| entry.stamps.iter().position(|candidate| *candidate == stamp));
        }
        if header_stamp.is_none() {
            without_header.push((modules.len(), entry.stamps));
        }
        let string = |(buffer, length)| reader.utf16(buffer, length).filter(|name| !name.is_empty());
        modules.push(KernelModule {
            entry: Some(address),
            base: entry.base,
            size: entry.size,
            entry_point: entry.entry_point,
            checksum: known(entry.checksum),
            time_date_stamp: header_stamp.and_then(known),
            full_name: string(entry.full_name),
            base_name: string(entry.base_name),
        });
    }
    for (index, stamps) in without_header {
        modules[index].time_date_stamp = known(stamps[place.unwrap_or(0)]);
    }
    modules
}

/// Checksums and time stamps are 0 where the kernel does not know them.
fn known(number: u32) -> Option<u32> {
    Some(number).filter(|number| *number != 0)
}

/// Drivers that were unloaded, newest first.
#[must_use]
pub fn unloaded_drivers(reader: &KernelReader<'_>, data: &DebuggerData) -> Vec<UnloadedDriver> {
    let array = data
        .mm_unloaded_drivers()
        .and_then(|variable| reader.kernel_pointer(variable));
    let next = data.mm_last_unloaded_driver().and_then(|variable| reader.u32(variable));
    let (Some(array), Some(next)) = (array, next) else {
        // A system that has unloaded nothing has no array.
        return Vec::new();
    };
    let first = next % UNLOADED_DRIVER_SLOTS;
    (1..=UNLOADED_DRIVER_SLOTS)
        .filter_map(|back| {
            let slot = (first + UNLOADED_DRIVER_SLOTS - back) % UNLOADED_DRIVER_SLOTS;
            slot_at(reader, array, u64::from(slot))
        })
        .collect()
}

fn slot_at(reader: &KernelReader<'_>, array: VirtAddr, index: u64) -> Option<UnloadedDriver> {
    let (name, length, start, end, time) = match reader.machine() {
        Machine::X86 => {
            let slot: UnloadedDriverSlot32 = reader.record(reader.at(array, index * 0x18))?;
            (
                VirtAddr(u64::from(slot.name.buffer.get())),
                slot.name.length.get(),
                u64::from(slot.start_address.get()),
                u64::from(slot.end_address.get()),
                slot.current_time.get(),
            )
        }
        Machine::Amd64 | Machine::Arm64 => {
            let slot: UnloadedDriverSlot64 = reader.record(reader.at(array, index * 0x28))?;
            (
                VirtAddr(slot.name.buffer.get()),
                slot.name.length.get(),
                slot.start_address.get(),
                slot.end_address.get(),
                slot.current_time.get(),
            )
        }
    };
    // A slot that was never used, or whose name was freed while the ring was being written.
    if length == 0 || start == 0 {
        return None;
    }
    Some(UnloadedDriver {
        name: reader.utf16(name, length)?,
        range: VirtRange::new(VirtAddr(start), VirtAddr(end)),
        time: Some(time),
    })
}
