//! The header of a small dump.

use dotdump_format::VirtAddr;
use dotdump_format::kernel::filler::{self, FILLER_32};
use dotdump_format::kernel::header::{ExceptionRecord32, ExceptionRecord64};
use dotdump_format::kernel::{DebuggerData, DumpHeader32, DumpHeader64, DumpType, Header};

use super::super::header::blank_status;
use super::focus::Focus;
use super::target::Target;

/// `STATUS_BREAKPOINT`, what nearly all headers have for an exception.
const BREAKPOINT: u32 = 0x8000_0003;

/// The header of a dump that is made of a bigger one: that of the machine, and what debuggers set and leave unset.
pub(super) fn new(target: &Target<'_>, focus: &Focus<'_>, fields: u32) -> Header {
    let mut header = target.snapshot.header().clone();
    let context = context(target, focus);
    let instruction = target
        .registers(&context)
        .map_or(0, |registers| registers.instruction_pointer());
    let pfn_data_base = target.field(DebuggerData::mm_pfn_database);
    match &mut header {
        Header::Dump32(header) => new_32(header, &context, instruction, pfn_data_base, fields),
        Header::Dump64(header) => new_64(header, &context, instruction, pfn_data_base, fields),
    }
    header
}

/// The `CONTEXT`: that of the header, or where it has none that of the processor; empty where there is none.
fn context(target: &Target<'_>, focus: &Focus<'_>) -> Vec<u8> {
    let size = target.machine.context_size();
    if target.header_registers().is_some() {
        return target.snapshot.header().context_record()[..size].to_vec();
    }
    let context = focus.processor.and_then(|processor| processor.context.as_ref());
    context.map_or_else(Vec::new, |context| {
        context.bytes[..context.bytes.len().min(size)].to_vec()
    })
}

fn new_32(header: &mut DumpHeader32, context: &[u8], instruction: u64, pfn_data_base: Option<VirtAddr>, fields: u32) {
    header.dump_type = DumpType::TRIAGE.0.into();
    header.mini_dump_fields = fields.into();
    filler::fill(&mut header.physical_memory_block, 0x64);
    if let Some(at) = pfn_data_base.and_then(|at| u32::try_from(at.0).ok()) {
        header.pfn_data_base = at.into();
    }
    set_context(&mut header.context_record, context);
    if is_unset(header.exception.exception_code.get()) {
        let unset = &mut header.exception;
        *unset = ExceptionRecord32 {
            exception_code: BREAKPOINT.into(),
            exception_flags: 1.into(),
            exception_record: 0.into(),
            exception_address: u32::try_from(instruction).unwrap_or(0).into(),
            number_parameters: 0.into(),
            ..*unset
        };
    }
    header.secondary_data_state = FILLER_32.into();
    header.writer_status = 0.into();
    header.attributes = FILLER_32.into();
    filler::fill(&mut header.version_user, 0);
}

fn new_64(header: &mut DumpHeader64, context: &[u8], instruction: u64, pfn_data_base: Option<VirtAddr>, fields: u32) {
    header.dump_type = DumpType::TRIAGE.0.into();
    header.mini_dump_fields = fields.into();
    filler::fill(&mut header.physical_memory_block, 0x88);
    if let Some(at) = pfn_data_base {
        header.pfn_data_base = at.0.into();
    }
    set_context(&mut header.context_record, context);
    if is_unset(header.exception.exception_code.get()) {
        let unset = &mut header.exception;
        *unset = ExceptionRecord64 {
            exception_code: BREAKPOINT.into(),
            exception_flags: 1.into(),
            exception_record: 0.into(),
            exception_address: instruction.into(),
            number_parameters: 0.into(),
            ..*unset
        };
    }
    header.secondary_data_state = FILLER_32.into();
    header.writer_status = 0.into();
    header.kd_secondary_version = 0;
    header.attributes = FILLER_32.into();
    filler::fill(&mut header.version_user, 0);
    blank_status(&mut header.reserved_0);
}

/// Whether a header has no exception: the filler, or zeros as other writers leave.
const fn is_unset(exception_code: u32) -> bool {
    matches!(exception_code, 0 | FILLER_32)
}

/// The registers, and zeros behind them; filler where there are none.
fn set_context(record: &mut [u8], context: &[u8]) {
    if !context.is_empty() {
        record.fill(0);
        record[..context.len()].copy_from_slice(context);
    }
}
