//! What `KUSER_SHARED_DATA` tells of a machine.

use dotdump_format::kernel::shared_user_data::{self, KUserSharedData};

use super::reader::KernelReader;

/// Facts of `KUSER_SHARED_DATA`. A fact that is implausible, as older systems have something else in its place, is
/// `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedUserData {
    /// Major and minor version of Windows NT.
    pub version: (u32, u32),
    /// The build number.
    pub build: Option<u32>,
    /// `VER_NT_*`.
    pub product_type: Option<u32>,
    /// `VER_SUITE_*`.
    pub suite_mask: Option<u32>,
    /// FILETIME, UTC.
    pub system_time: Option<u64>,
    /// Time since the start in 100 ns.
    pub interrupt_time: Option<u64>,
    /// How often this system was started.
    pub boot_id: Option<u32>,
    /// How many processors are active.
    pub active_processors: Option<u32>,
    /// Pages of physical memory.
    pub physical_pages: Option<u32>,
    /// Components of extended state that are enabled.
    pub xstate_features: Option<u64>,
}

/// Reads it; `None` where there is none at its address. That it is there shows that the address space is one of Windows.
#[must_use]
pub fn shared_user_data(reader: &KernelReader<'_>) -> Option<SharedUserData> {
    /// Windows 2000.
    const FIRST_BUILD: u32 = 2195;

    let data: KUserSharedData = reader.record(shared_user_data::address(reader.machine()))?;
    let version = (data.nt_major_version.get(), data.nt_minor_version.get());
    if !matches!(version, (5 | 6, 0..=4) | (10, 0)) {
        return None;
    }
    let modern = version.0 >= 6;
    let nonzero = |number: u32| Some(number).filter(|number| *number != 0);
    // Checked builds have bits above the number.
    let build = nonzero(data.nt_build_number.get() & 0xFFFF).filter(|build| *build >= FIRST_BUILD);
    Some(SharedUserData {
        version,
        build,
        product_type: Some(data.nt_product_type.get()).filter(|product| (1..=3).contains(product)),
        suite_mask: nonzero(data.suite_mask.get()),
        system_time: data.system_time.value().filter(|time| *time != 0),
        interrupt_time: data.interrupt_time.value().filter(|time| *time != 0),
        boot_id: nonzero(data.boot_id.get()).filter(|_| modern),
        active_processors: nonzero(data.active_processor_count.get()).filter(|count| modern && *count <= 2048),
        physical_pages: nonzero(data.number_of_physical_pages.get()),
        xstate_features: Some(data.xstate_enabled_features.get()).filter(|features| modern && features & 3 == 3),
    })
}
