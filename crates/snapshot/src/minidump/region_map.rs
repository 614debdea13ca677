//! The map of the address space of a minidump: its MemoryInfoList, or on Linux its copy of `/proc/PID/maps`.

use std::cell::OnceCell;

use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_format::minidump::list::MAX_ENTRIES;
use dotdump_format::minidump::memory_info_list::{MemoryInfo, MemoryInfoList};
use dotdump_format::minidump::{Minidump, StreamType};
use dotdump_format::{Error, Findings, Table, VirtAddr, VirtRange};

use super::lenient;
use crate::linux::regions::{in_order, regions_of};
use crate::regions::Region;

/// Regions one by one.
type Regions<'a> = Box<dyn Iterator<Item = Result<Region, Error>> + 'a>;

/// The regions of a process.
pub(super) enum RegionMap<'a> {
    /// The dump does not tell.
    Unknown,
    /// A list in the file, which nobody has walked yet: who never asks for a region need not read it.
    List {
        table: Table<'a, MemoryInfo>,
        mask: u64,
        order: OnceCell<Order>,
    },
    /// Regions in memory, in ascending order.
    Held(Vec<Region>),
}

/// What a walk over the list has shown.
pub(super) enum Order {
    /// It is in ascending order and stays in the file.
    Ascending,
    /// It is not: these are its regions, put in order.
    Held(Vec<Region>),
}

impl<'a> RegionMap<'a> {
    pub(super) fn read(dump: &Minidump<'a>, mask: u64, findings: &mut Findings) -> Result<Self, Error> {
        // On Linux the kernel's own text is the better source: a list was made from it.
        if let Some(maps) = lenient::<LinuxMaps<'a>>(dump, findings)? {
            let mappings = maps.to_vec(findings)?;
            if !mappings.is_empty() {
                return Ok(Self::of_linux(&mappings, findings));
            }
        }
        Ok(match lenient::<MemoryInfoList<'a>>(dump, findings)? {
            Some(list) if !list.regions.is_empty() => Self::List {
                table: list.regions,
                mask,
                order: OnceCell::new(),
            },
            _ => Self::Unknown,
        })
    }

    /// What is wrong with a list that was not looked at when it was opened.
    pub(super) fn add_findings(&self, findings: &mut Findings) {
        let Self::List { table, mask, order } = self else {
            return;
        };
        match order_of(table, *mask, order) {
            Ok(Order::Ascending) => {}
            Ok(Order::Held(_)) => findings.add(
                table.offset_of(0),
                "MemoryInfoList",
                "regions are not in ascending order or overlap",
            ),
            Err(error) => findings.push(error.into_finding("MemoryInfoList")),
        }
    }

    fn of_linux(mappings: &[LinuxMapping], findings: &mut Findings) -> Self {
        let (regions, ascending) = regions_of(mappings);
        if !ascending {
            findings.add(
                0,
                StreamType::LINUX_MAPS.to_string(),
                "mappings are not in ascending order or overlap",
            );
        }
        Self::Held(regions)
    }

    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// The regions that touch `within`, ascending.
    pub(super) fn iter(&self, within: VirtRange) -> Regions<'_> {
        match self {
            Self::Unknown => Box::new(std::iter::empty()),
            Self::List { table, mask, order } => match order_of(table, *mask, order) {
                Ok(Order::Ascending) => in_table(table, *mask, within),
                Ok(Order::Held(regions)) => in_memory(regions, within),
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
            Self::Held(regions) => in_memory(regions, within),
        }
    }

    pub(super) fn at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        let found = self.iter(VirtRange::sized(address, 1)).next().transpose()?;
        Ok(found.filter(|region| region.range.contains(address)))
    }
}

/// The order of a list, found out once.
fn order_of<'c>(table: &Table<'_, MemoryInfo>, mask: u64, order: &'c OnceCell<Order>) -> Result<&'c Order, Error> {
    if let Some(order) = order.get() {
        return Ok(order);
    }
    let mut end = VirtAddr(0);
    let mut ascending = true;
    table.for_each(|info| {
        let range = region_of(info, mask).range;
        ascending &= range.start >= end;
        end = end.max(range.end);
    })?;
    let found = if ascending {
        Order::Ascending
    } else {
        let regions = table.range(0, MAX_ENTRIES).map(|info| Ok(region_of(&info?, mask)));
        Order::Held(in_order(regions.collect::<Result<_, Error>>()?))
    };
    Ok(order.get_or_init(|| found))
}

/// The regions of an ascending list that touch `within`.
fn in_table<'t>(table: &'t Table<'_, MemoryInfo>, mask: u64, within: VirtRange) -> Regions<'t> {
    let first = match table.partition_point(|info| region_of(info, mask).range.end <= within.start) {
        Ok(first) => first,
        Err(error) => return Box::new(std::iter::once(Err(error))),
    };
    let regions = table
        .range(first, table.len())
        .map(move |info| Ok(region_of(&info?, mask)));
    Box::new(regions.take_while(move |region: &Result<Region, Error>| {
        region.as_ref().map_or(true, |region| region.range.start < within.end)
    }))
}

/// The regions that touch `within`.
fn in_memory(regions: &[Region], within: VirtRange) -> Regions<'_> {
    let first = regions.partition_point(|region| region.range.end <= within.start);
    let touching = regions[first..]
        .iter()
        .take_while(move |region| region.range.start < within.end);
    Box::new(touching.map(|region| Ok(*region)))
}

fn region_of(info: &MemoryInfo, mask: u64) -> Region {
    Region {
        range: VirtRange::sized(VirtAddr(info.base_address.get() & mask), info.region_size.get()),
        allocation_base: VirtAddr(info.allocation_base.get() & mask),
        allocation_protect: info.allocation_protect.get(),
        state: info.state.get(),
        protect: info.protect.get(),
        kind: info.memory_type.get(),
    }
}
