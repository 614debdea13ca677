//! How much of a machine a dump has.

use dotdump_format::kernel::dump::attributes;
use dotdump_format::kernel::{DumpType, Header};
use dotdump_snapshot::PhysicalMemory;

use super::header::FILTER_DUMP_FILE;
use super::manifest::MachineManifest;

/// How much of a machine's memory a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of it.
    Complete,
    /// That of the kernel.
    Kernel,
    /// That which was in use.
    Active,
}

impl Coverage {
    /// What a dump promises. Dumps by runs of any coverage are of one type: of those that dotdump made, `manifest` tells.
    #[must_use]
    pub fn of_dump(header: &Header, pages: &dyn PhysicalMemory, manifest: Option<&MachineManifest>) -> Self {
        let option = manifest.and_then(|manifest| manifest.options.split(' ').next());
        match option {
            Some("-k") if header.dump_type() == DumpType::FULL => Self::Kernel,
            _ => Self::of(header, pages),
        }
    }

    /// What a header promises of its dump. The type is not always the whole truth: a dump that calls itself complete may
    /// have left out pages that were not in use and say so elsewhere, and one of kernel pages may have all that the
    /// machine had.
    #[must_use]
    pub fn of(header: &Header, pages: &dyn PhysicalMemory) -> Self {
        match header.dump_type() {
            DumpType::SUMMARY | DumpType::BITMAP_KERNEL | DumpType::AUTOMATIC | DumpType::RANGE_KERNEL => {
                match header.physical_memory().filter(|runs| runs.implausible().is_none()) {
                    Some(runs) if runs.number_of_pages() <= pages.pages_present() => Self::Complete,
                    _ => Self::Kernel,
                }
            }
            DumpType::RANGE_ACTIVE => Self::Active,
            _ if attributes(header) & FILTER_DUMP_FILE != 0 => Self::Active,
            _ => Self::Complete,
        }
    }
}
