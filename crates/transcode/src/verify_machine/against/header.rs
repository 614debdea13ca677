//! What both headers say of the machine.

use std::fmt::LowerHex;

use dotdump_format::kernel::{Machine, filler};
use dotdump_snapshot::MachineSnapshot;

use super::MachineAgainst;

/// Compares the fields that say something of the machine, where both are set. Fields that say something of the file
/// (type, runs, sizes, comment, attributes) are those of another file.
pub(super) fn compare(dump: &dyn MachineSnapshot, source: &dyn MachineSnapshot, report: &mut MachineAgainst) {
    if dump.machine() != source.machine() {
        report.differ(
            "machine",
            format!("{}, {} in the source", dump.machine(), source.machine()),
        );
    }
    let (mine, theirs) = (dump.header(), source.header());
    let mut field = |name: &str, mine: Option<u64>, theirs: Option<u64>| {
        if let (Some(mine), Some(theirs)) = (mine, theirs)
            && mine != theirs
        {
            report.differ(name, format!("{}, {} in the source", hex(&mine), hex(&theirs)));
        }
    };
    let wide = |value: Option<u32>| value.map(u64::from);
    field("MinorVersion", wide(mine.minor_version()), wide(theirs.minor_version()));
    field(
        "NumberProcessors",
        wide(mine.number_processors()),
        wide(theirs.number_processors()),
    );
    field("BootId", wide(mine.boot_id()), wide(theirs.boot_id()));
    field("SystemTime", mine.system_time(), theirs.system_time());
    field("SystemUpTime", mine.system_up_time(), theirs.system_up_time());
    let address = |value: Option<dotdump_format::VirtAddr>| value.map(|address| address.0);
    let (mine_list, their_list) = (mine.ps_loaded_module_list(), theirs.ps_loaded_module_list());
    field("PsLoadedModuleList", address(mine_list), address(their_list));
    let (mine_list, their_list) = (mine.ps_active_process_head(), theirs.ps_active_process_head());
    field("PsActiveProcessHead", address(mine_list), address(their_list));
    let (mine_block, their_block) = (mine.kd_debugger_data_block(), theirs.kd_debugger_data_block());
    field("KdDebuggerDataBlock", address(mine_block), address(their_block));
    let root = |value: Option<dotdump_format::PhysAddr>| value.map(|root| root.0);
    field(
        "DirectoryTableBase",
        root(mine.directory_table_base()),
        root(theirs.directory_table_base()),
    );
    let (mine_context, their_context) = (context(dump), context(source));
    if let (Some(mine), Some(theirs)) = (mine_context, their_context)
        && mine != theirs
    {
        report.differ("ContextRecord", "other registers than in the source's header");
    }
    if let (Some(mine), Some(theirs)) = (dump.bugcheck(), source.bugcheck())
        && mine != theirs
    {
        report.differ("bugcheck", format!("{mine:x?}, {theirs:x?} in the source"));
    }
}

/// The registers in a header; `None` where they are not set. Behind the flags, whose bits tell how they came about.
fn context(machine: &dyn MachineSnapshot) -> Option<&[u8]> {
    let context = machine
        .header()
        .context_record()
        .get(..machine.machine().context_size())?;
    let flags = if machine.machine() == Machine::Amd64 { 0x30 } else { 0 };
    let is_set = filler::text(context).is_some() && context.iter().any(|byte| *byte != 0);
    is_set.then(|| &context[flags + 4..])
}

fn hex(value: &impl LowerHex) -> String {
    format!("{value:#x}")
}
