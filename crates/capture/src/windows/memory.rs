//! The memory of a live process, and the map of its address space.

use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;

use dotdump_format::{Error, PAGE_SIZE, VirtAddr, VirtRange};
use dotdump_snapshot::{Extent, Memory, Region};
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Memory::{MEMORY_BASIC_INFORMATION, VirtualQueryEx};

use super::native::raw;

/// More regions than any process has.
const MOST_REGIONS: usize = 1 << 24;

/// The map of a process's address space: all of its user half, free parts included, ascending.
pub(super) fn regions(process: &OwnedHandle) -> io::Result<Vec<Region>> {
    let mut regions = Vec::new();
    let mut address = 0_usize;
    while regions.len() < MOST_REGIONS {
        let mut info = MEMORY_BASIC_INFORMATION::default();
        // SAFETY: the handle is open; the record is as large as it says; the address is not followed here.
        let size = unsafe {
            VirtualQueryEx(
                raw(process.as_handle()),
                ptr::without_provenance(address),
                &raw mut info,
                size_of::<MEMORY_BASIC_INFORMATION>(),
            )
        };
        if size == 0 {
            break;
        }
        let base = info.BaseAddress.addr();
        let Some(end) = base.checked_add(info.RegionSize).filter(|end| *end > address) else {
            break;
        };
        regions.push(Region {
            range: VirtRange::new(VirtAddr(base as u64), VirtAddr(end as u64)),
            allocation_base: VirtAddr(info.AllocationBase.addr() as u64),
            allocation_protect: info.AllocationProtect,
            state: info.State,
            protect: info.Protect,
            kind: info.Type,
        });
        address = end;
    }
    if regions.is_empty() {
        return Err(io::Error::last_os_error());
    }
    Ok(regions)
}

/// The memory of a process that is stopped. What its map says to be readable is there: guard pages are never touched,
/// since reading one would take its guard away.
pub(super) struct LiveMemory {
    process: Arc<OwnedHandle>,
    regions: Vec<Region>,
}

impl LiveMemory {
    /// The memory of a process with this map.
    pub(super) const fn new(process: Arc<OwnedHandle>, regions: Vec<Region>) -> Self {
        Self { process, regions }
    }

    /// The map.
    pub(super) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The region that contains an address.
    pub(super) fn region_at(&self, address: VirtAddr) -> Option<Region> {
        let after = self.regions.partition_point(|region| region.range.end <= address);
        self.regions
            .get(after)
            .filter(|region| region.range.contains(address))
            .copied()
    }

    /// Reads within one region: at once, and where that fails page by page up to the first that cannot be read.
    fn read_region(&self, address: VirtAddr, buffer: &mut [u8]) -> usize {
        let read = self.read_once(address, buffer);
        if read == buffer.len() {
            return read;
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = address.saturating_add(done as u64);
            let left = PAGE_SIZE - at.0 % PAGE_SIZE;
            let end = usize::try_from(left).map_or(buffer.len(), |left| buffer.len().min(done + left));
            let read = self.read_once(at, &mut buffer[done..end]);
            done += read;
            if done < end {
                break;
            }
        }
        done
    }

    /// Reads all of the buffer, or tells how much of it at most.
    fn read_once(&self, address: VirtAddr, buffer: &mut [u8]) -> usize {
        let Ok(start) = usize::try_from(address.0) else {
            return 0;
        };
        let mut read = 0;
        // SAFETY: the handle is open, and the buffer is as large as it says; the address is another process's.
        let done = unsafe {
            ReadProcessMemory(
                raw(self.process.as_handle()),
                ptr::without_provenance(start),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut read,
            )
        };
        if done == 0 { 0 } else { read.min(buffer.len()) }
    }
}

impl Memory for LiveMemory {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let first = self.regions.partition_point(|region| region.range.end <= within.start);
        let extents = self.regions[first..]
            .iter()
            .take_while(move |region| region.range.start < within.end)
            .filter(|region| region.is_readable());
        Box::new(extents.filter_map(move |region| {
            let extent = Extent {
                range: region.range,
                offset: None,
            };
            extent.clip(within).map(Ok)
        }))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some(region) = self.region_at(at).filter(Region::is_readable) else {
                break;
            };
            let left = region.range.end.checked_offset_from(at).unwrap_or(0);
            let end = usize::try_from(left).map_or(buffer.len(), |left| buffer.len().min(done.saturating_add(left)));
            let read = self.read_region(at, &mut buffer[done..end]);
            done += read;
            if done < end {
                break;
            }
        }
        Ok(done)
    }
}
