//! Small memory dumps (triage dumps) of anything that shows itself as a machine.
//!
//! [`select`] imitates what Windows does when it makes a small dump of a bigger one: copies of the structures of the processor
//! that stopped, lists of drivers, and blocks of memory in the order in which Windows stores them. [`copy`] makes a small
//! dump of a small dump. Both give a [`TriageDump`], which lays itself out, and an account of its memory.

mod additions;
mod blocks;
mod budget;
mod bugcheck;
mod copy;
mod focus;
mod follow;
mod gather;
mod header;
mod reason;
mod target;

use dotdump_format::Error;
use dotdump_format::kernel::triage::string_pool::LONGEST_NAME;
use dotdump_format::kernel::triage::{Driver, DriverEntry, MmStorage, UnloadedDriver, as_debuggers_store};
use dotdump_format::kernel::{DebuggerData, TriageDump, TriageFamily};
use dotdump_format::layout::Piece;
use dotdump_snapshot::machine::KernelModule;
use dotdump_snapshot::{MachineSnapshot, Memory};

use super::header::set_comment;
use crate::convert::ConvertError;
use crate::shortfall::{Shortfall, Shortfalls};

use blocks::{Blocks, Limits, MOST_FOLLOWED};
use focus::Focus;
use target::Target;

pub use copy::copy;
pub use reason::{Reason, ReasonCount};

/// The option that asks for a small dump, as shortfalls name it.
const OPTION: &str = "-m";

/// Bits of `MiniDumpFields` of sections that may be absent.
mod section_bits {
    pub(super) const PRCB: u32 = 0x004;
    pub(super) const PROCESS: u32 = 0x008;
    pub(super) const THREAD: u32 = 0x010;
    pub(super) const STACK: u32 = 0x020;
    pub(super) const DRIVER_LIST: u32 = 0x040;
    pub(super) const DEBUGGER_DATA: u32 = 0x400;
    pub(super) const DATA_BLOCKS: u32 = 0x800;
}

/// What is wanted of a small dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriageRequest<'a> {
    /// The comment; `None` keeps that of the source.
    pub comment: Option<&'a str>,
    /// How large the file may be in bytes.
    pub max_size: Option<u64>,
    /// How much of that the secondary data will take, in bytes.
    pub secondary_size: u64,
    /// Leave out what Windows does not put into the small dumps that it makes of bigger ones: the kernel's headers, the code
    /// around the instruction, page-table entries, `KUSER_SHARED_DATA`.
    pub as_windows: bool,
}

/// A small dump, chosen and ready to be laid out.
#[derive(Clone, Debug)]
pub struct TriageSelection {
    /// The dump. [`Piece::Read`] in it are addresses of the kernel.
    pub dump: TriageDump,
    /// Memory that is kept, by reason. Empty for a copy of a small dump, which does not tell reasons.
    pub kept: Vec<ReasonCount>,
    /// Memory that would be kept if the file could be larger, by reason. Empty for a copy as well.
    pub dropped: Vec<ReasonCount>,
    /// What the source lacks, or what the user should know.
    pub shortfalls: Vec<Shortfall>,
}

/// Chooses what goes into a small dump of a machine. `memory` is its kernel's, with what debuggers need to differ from the
/// source: a machine's patches are not looked at here. The header does not yet say how large the file is.
///
/// # Errors
/// [`ConvertError::Format`] where the source cannot be read or the dump does not fit the format;
/// [`ConvertError::TooLarge`] where it cannot be made small enough.
pub fn select(
    snapshot: &dyn MachineSnapshot,
    memory: &dyn Memory,
    request: &TriageRequest<'_>,
) -> Result<TriageSelection, ConvertError> {
    let target = Target::new(snapshot, memory);
    let focus = Focus::find(&target)?;
    let mut shortfalls = Shortfalls::default();
    tell_what_is_missing(&target, &focus, &mut shortfalls);

    let make = |limits: Limits| -> Result<Made, Error> {
        let blocks = gather::gather(&target, &focus, !request.as_windows, limits)?;
        let (kept, is_cut) = (blocks.counts(), blocks.is_cut);
        let dump = describe(&target, &focus, blocks, request.comment)?;
        Ok(Made { dump, kept, is_cut })
    };
    let all = make(Limits::NONE)?;
    if all.is_cut {
        let message =
            format!("memory that pointers lead to is more than {MOST_FOLLOWED:#x} bytes, of which the first are kept");
        shortfalls.note(OPTION, message);
    }
    let kept_of_all = all.kept.clone();
    let made = budget::fit(all, request, make)?;
    let dropped = budget::difference(&kept_of_all, &made.kept);
    if !dropped.is_empty() {
        let bytes: u64 = dropped.iter().map(|count| count.bytes).sum();
        shortfalls.note(
            "--max-size",
            format!("{bytes} bytes of less valuable memory are left out"),
        );
    }
    Ok(TriageSelection {
        dump: made.dump,
        kept: made.kept,
        dropped,
        shortfalls: shortfalls.into_vec(),
    })
}

/// A dump under some limits.
struct Made {
    dump: TriageDump,
    kept: Vec<ReasonCount>,
    is_cut: bool,
}

fn tell_what_is_missing(target: &Target<'_>, focus: &Focus<'_>, shortfalls: &mut Shortfalls) {
    if target.debugger_data().is_none() {
        let message = "the source has no readable KDDEBUGGER_DATA64: debuggers need it, and without it the structures of \
                       the processor, its thread and process are not found";
        shortfalls.warn(OPTION, message);
    } else {
        let copies = [
            ("KPRCB", &focus.prcb),
            ("EPROCESS", &focus.process),
            ("ETHREAD", &focus.thread),
        ];
        let absent: Vec<String> = copies
            .into_iter()
            .filter(|(_, copy)| copy.is_empty())
            .map(|(name, _)| name.to_owned())
            .collect();
        shortfalls.warn_for(
            OPTION,
            "structures of the processor that stopped cannot be read",
            &absent,
        );
    }
    if focus.stack.is_empty() {
        shortfalls.warn(OPTION, "the stack of the processor that stopped cannot be read");
    }
    if target.snapshot.modules().is_empty() {
        shortfalls.warn(OPTION, "the list of drivers cannot be read");
    }
}

/// The dump with all of its sections.
fn describe(
    target: &Target<'_>,
    focus: &Focus<'_>,
    blocks: Blocks<'_>,
    comment: Option<&str>,
) -> Result<TriageDump, Error> {
    let is_64 = target.is_64();
    let debugger_data = as_debuggers_store(&target.debugger_data_bytes()?, target.machine);
    let blocks: Vec<_> = blocks.into_blocks().into_iter().map(|(_, block)| block).collect();
    let drivers: Vec<Driver> = target
        .snapshot
        .modules()
        .iter()
        .map(|module| driver(module, is_64))
        .collect();
    let unloaded = target.snapshot.unloaded_drivers().iter();
    let present = [
        (section_bits::PRCB, !focus.prcb.is_empty()),
        (section_bits::PROCESS, !focus.process.is_empty()),
        (section_bits::THREAD, !focus.thread.is_empty()),
        (section_bits::STACK, !focus.stack.is_empty()),
        (section_bits::DRIVER_LIST, !drivers.is_empty()),
        (section_bits::DEBUGGER_DATA, !debugger_data.is_empty()),
        (section_bits::DATA_BLOCKS, !blocks.is_empty()),
    ];
    let absent = present.iter().filter(|(_, is_there)| !is_there);
    let fields = absent.fold(TriageFamily::FIELDS_OFFLINE, |fields, (bit, _)| fields & !bit);
    let mut dump = TriageDump {
        header: header::new(target, focus, fields),
        family: TriageFamily::Offline,
        service_pack_build: service_pack(target)?,
        triage_options: TriageFamily::OPTIONS_OFFLINE,
        mm: MmStorage::empty(is_64),
        unloaded: unloaded
            .map(|driver| UnloadedDriver::new(&driver.name, driver.range, is_64))
            .collect(),
        prcb: Piece::Bytes(focus.prcb.clone()),
        process: Piece::Bytes(focus.process.clone()),
        thread: Piece::Bytes(focus.thread.clone()),
        top_of_stack: focus.stack.start,
        call_stack: Piece::Read {
            address: focus.stack.start,
            size: focus.stack.size(),
        },
        debugger_data: Piece::Bytes(debugger_data),
        drivers,
        blocks,
        least_size: 0,
    };
    if let Some(comment) = comment {
        set_comment(&mut dump.header, comment);
    }
    Ok(dump)
}

fn driver(module: &KernelModule, is_64: bool) -> Driver {
    let name = module.full_name.as_ref().or(module.base_name.as_ref());
    let mut name = name.cloned().unwrap_or_default();
    name.truncate(usize::try_from(LONGEST_NAME).unwrap_or(usize::MAX));
    let (check_sum, time_date_stamp) = (module.checksum.unwrap_or(0), module.time_date_stamp.unwrap_or(0));
    Driver {
        entry: DriverEntry::new(module.base, module.size, check_sum, time_date_stamp, is_64),
        name: Some(name),
    }
}

/// The low word of `CmNtCSDVersion`; 0 where it cannot be read.
fn service_pack(target: &Target<'_>) -> Result<u32, Error> {
    let Some(at) = target.field(DebuggerData::cm_nt_csd_version) else {
        return Ok(0);
    };
    Ok(target.word(at)?.unwrap_or(0) & 0xFFFF)
}
