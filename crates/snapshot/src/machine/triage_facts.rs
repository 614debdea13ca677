//! What the sections of a triage dump tell of the machine.

use dotdump_format::kernel::DebuggerData;
use dotdump_format::kernel::triage::{Driver, SectionKind, Triage};
use dotdump_format::{Error, Findings};

use super::processors::{PrcbOffsets, special_registers_in};
use super::{KernelModule, Processor, ProcessorContext, UnloadedDriver};
use crate::triage::TriageMemory;

/// More than any section has that is read here, in bytes.
const LARGEST_SECTION: usize = 0x20000;

/// The copy of `KDDEBUGGER_DATA64`; empty where there is none.
pub(super) fn debugger_data(triage: &Triage<'_>) -> Result<Vec<u8>, Error> {
    Ok(triage.bytes(SectionKind::DebuggerData, LARGEST_SECTION)?.into_owned())
}

/// The driver list.
pub(super) fn modules(triage: &Triage<'_>, findings: &mut Findings) -> Vec<KernelModule> {
    let drivers = triage.drivers(findings).unwrap_or_else(|error| {
        findings.push(error.into_finding("DriverList"));
        Vec::new()
    });
    drivers.into_iter().map(module).collect()
}

fn module(driver: Driver) -> KernelModule {
    let known = |number: u32| Some(number).filter(|number| *number != 0);
    // Dumps that were made from bigger ones have paths, those of the kernel have names.
    let is_path = driver
        .name
        .as_ref()
        .is_some_and(|name| name.contains(&u16::from(b'\\')));
    let (full_name, base_name) = if is_path {
        (driver.name, None)
    } else {
        (None, driver.name)
    };
    KernelModule {
        entry: None,
        base: driver.entry.base(),
        size: driver.entry.size_of_image(),
        entry_point: driver.entry.entry_point(),
        checksum: known(driver.entry.check_sum()),
        time_date_stamp: known(driver.entry.time_date_stamp()),
        full_name,
        base_name,
    }
}

/// The unloaded drivers.
pub(super) fn unloaded_drivers(triage: &Triage<'_>, findings: &mut Findings) -> Vec<UnloadedDriver> {
    let drivers = triage.unloaded_drivers(findings).unwrap_or_else(|error| {
        findings.push(error.into_finding("UnloadedDrivers"));
        Vec::new()
    });
    let drivers = drivers.iter().map(|driver| UnloadedDriver {
        name: driver.name(),
        range: driver.range(),
        time: None,
    });
    drivers.collect()
}

/// The processors that were `found` in the dump's blocks, and the one whose `KPRCB` the dump has a copy of.
///
/// A dump that the kernel wrote has that copy and nothing of the others, not even where the copied structure lay.
pub(super) fn processors(
    mut found: Vec<Processor>,
    triage: &Triage<'_>,
    memory: &TriageMemory<'_>,
    data: &DebuggerData,
) -> Result<Vec<Processor>, Error> {
    let copies = memory.copies();
    let Some(number) = copies.processor else {
        return Ok(found);
    };
    if found.iter().any(|processor| processor.number == number) {
        return Ok(found);
    }
    let prcb = triage.bytes(SectionKind::Prcb, LARGEST_SECTION)?;
    let special = PrcbOffsets::of(data, data.machine()).special_registers;
    let special = special.and_then(|offset| prcb.get(usize::try_from(offset).ok()?..));
    let context = triage.context()?.map(|bytes| ProcessorContext {
        address: None,
        bytes: bytes.into_owned(),
    });
    found.push(Processor {
        number,
        prcb: copies.prcb,
        current_thread: copies.thread,
        context,
        special_registers: special.and_then(|bytes| special_registers_in(bytes, data.machine())),
    });
    Ok(found)
}
