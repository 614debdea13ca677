//! A header for a source that has none: what can be told of the machine, and filler for all else.

use dotdump_format::kernel::Machine;
use dotdump_format::kernel::header::Header;
use dotdump_format::{PhysAddr, VirtAddr};
use zerocopy::byteorder::little_endian::U64;

use super::{Bugcheck, SharedUserData};

/// `LIVE_SYSTEM_DUMP`: the bugcheck of machines that were dumped without one, as QEMU has it.
pub const LIVE_SYSTEM_DUMP: u32 = 0x161;
const LIVE: Bugcheck = Bugcheck {
    code: LIVE_SYSTEM_DUMP,
    parameters: [0; 4],
};
/// `STATUS_BREAKPOINT`, the exception in nearly all headers.
const BREAKPOINT: u32 = 0x8000_0003;
/// `KD_SECONDARY_VERSION_AMD64_CONTEXT`: contexts are as they have been since Windows Server 2003 SP1.
const SECONDARY_VERSION_AMD64: u8 = 2;

/// What is known of a machine. What is `None` stays unset.
#[derive(Clone, Debug, Default)]
pub struct MachineFacts {
    /// `MajorVersion`: 0xF for a free build.
    pub major_version: Option<u32>,
    /// The build number.
    pub build: Option<u32>,
    /// The kernel's root of page tables.
    pub directory_table_base: Option<PhysAddr>,
    /// Whether page tables of x86 have three levels.
    pub pae: Option<bool>,
    /// The PFN database.
    pub pfn_data_base: Option<VirtAddr>,
    /// `PsLoadedModuleList`.
    pub ps_loaded_module_list: Option<VirtAddr>,
    /// `PsActiveProcessHead`.
    pub ps_active_process_head: Option<VirtAddr>,
    /// How many processors there are.
    pub number_processors: Option<u32>,
    /// The kernel's own note of a bugcheck.
    pub bugcheck: Option<Bugcheck>,
    /// `KDDEBUGGER_DATA64`.
    pub kd_debugger_data_block: Option<VirtAddr>,
    /// The facts of `KUSER_SHARED_DATA`.
    pub shared: Option<SharedUserData>,
    /// The `CONTEXT` of the processor that stopped, or of one that runs the kernel.
    pub context: Option<Vec<u8>>,
}

/// Sets fields that have the same name in both headers and are as wide as a number of the machine or 32 bits.
macro_rules! set {
    ($header:ident, $($field:ident = $value:expr;)*) => {
        match &mut $header {
            Header::Dump32(header) => {
                $(if let Some(value) = $value.and_then(|value| u32::try_from(u64::from(value)).ok()) {
                    header.$field = value.into();
                })*
            }
            Header::Dump64(header) => {
                $(if let Some(value) = $value {
                    header.$field = value.into();
                })*
            }
        }
    };
}

/// The header. Its type, runs and size are unset: they are the writer's.
#[must_use]
pub fn derive_header(machine: Machine, facts: &MachineFacts) -> Header {
    let mut header = Header::unset(machine);
    let shared = facts.shared;
    let bugcheck = facts.bugcheck.unwrap_or(LIVE);
    set! { header,
        major_version = facts.major_version;
        minor_version = facts.build.or_else(|| shared.and_then(|shared| shared.build));
        directory_table_base = facts.directory_table_base.map(|root| root.0);
        pfn_data_base = facts.pfn_data_base.map(|base| base.0);
        ps_loaded_module_list = facts.ps_loaded_module_list.map(|list| list.0);
        ps_active_process_head = facts.ps_active_process_head.map(|list| list.0);
        machine_image_type = Some(u32::from(machine.machine_type().0));
        number_processors = facts.number_processors;
        bug_check_code = Some(bugcheck.code);
        kd_debugger_data_block = facts.kd_debugger_data_block.map(|block| block.0);
        product_type = shared.and_then(|shared| shared.product_type);
        suite_mask = shared.and_then(|shared| shared.suite_mask);
        boot_id = shared.and_then(|shared| shared.boot_id);
    }
    put_bugcheck_parameters(&mut header, bugcheck);
    put_registers(&mut header, facts.context.as_deref(), machine);
    let times = (
        shared.and_then(|shared| shared.system_time),
        shared.and_then(|shared| shared.interrupt_time),
    );
    match &mut header {
        Header::Dump32(header) => {
            if let Some(pae) = facts.pae {
                header.pae_enabled = pae.into();
            }
            put_times(&mut header.system_time, &mut header.system_up_time, times);
        }
        Header::Dump64(header) => {
            if machine == Machine::Amd64 {
                header.kd_secondary_version = SECONDARY_VERSION_AMD64;
            }
            put_times(&mut header.system_time, &mut header.system_up_time, times);
        }
    }
    header
}

fn put_times(system: &mut U64, up: &mut U64, (time, since_start): (Option<u64>, Option<u64>)) {
    if let Some(time) = time {
        *system = time.into();
    }
    if let Some(time) = since_start {
        *up = time.into();
    }
}

/// The header that Windows left for its monitor, as of the moment when the monitor stopped it: with the registers of a
/// processor, and with the bugcheck that the kernel notes by then. Without one its code says that the machine was live.
#[must_use]
pub fn replace_live_fields(mut header: Header, bugcheck: Option<Bugcheck>, context: Option<&[u8]>) -> Header {
    let Some(machine) = header.machine() else {
        return header;
    };
    let bugcheck = bugcheck.unwrap_or(LIVE);
    set! { header, bug_check_code = Some(bugcheck.code); }
    put_bugcheck_parameters(&mut header, bugcheck);
    put_registers(&mut header, context, machine);
    header
}

fn put_bugcheck_parameters(header: &mut Header, bugcheck: Bugcheck) {
    match header {
        Header::Dump32(header) => {
            for (field, parameter) in header.bug_check_parameters.iter_mut().zip(bugcheck.parameters) {
                *field = low_half(parameter).into();
            }
        }
        Header::Dump64(header) => header.bug_check_parameters = bugcheck.parameters.map(Into::into),
    }
}

/// Stores a context, and the exception that nearly all headers have: a breakpoint where the context is.
fn put_registers(header: &mut Header, context: Option<&[u8]>, machine: Machine) {
    let Some(context) = context.and_then(|context| context.get(..machine.context_size())) else {
        return;
    };
    let Some(registers) = machine.context(context) else {
        return;
    };
    let instruction = registers.instruction_pointer();
    macro_rules! put {
        ($header:ident, $address:expr) => {{
            // What may follow the context stays filler.
            if let Some(field) = $header.context_record.get_mut(..context.len()) {
                field.copy_from_slice(context);
            }
            $header.exception.exception_code = BREAKPOINT.into();
            $header.exception.exception_flags = 1.into();
            $header.exception.exception_record = 0.into();
            $header.exception.exception_address = $address.into();
            $header.exception.number_parameters = 0.into();
        }};
    }
    match header {
        Header::Dump32(header) => put!(header, low_half(instruction)),
        Header::Dump64(header) => put!(header, instruction),
    }
}

fn low_half(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dotdump_format::kernel::filler::{FILLER_32, FILLER_64};

    use super::*;

    #[test]
    fn what_is_not_known_stays_filler() {
        let header = derive_header(Machine::Amd64, &MachineFacts::default());
        let Header::Dump64(raw) = &header else {
            panic!("a header of 32 bits")
        };
        assert_eq!(raw.directory_table_base.get(), FILLER_64);
        assert_eq!(raw.dump_type.get(), FILLER_32);
        assert_eq!(raw.number_processors.get(), FILLER_32);
        assert_eq!(raw.exception.exception_code.get(), FILLER_32);
        assert!(raw.context_record.chunks_exact(4).all(|bytes| bytes == b"PAGE"));
        assert!(raw.physical_memory_block.chunks_exact(4).all(|bytes| bytes == b"PAGE"));
        assert_eq!(header.machine(), Some(Machine::Amd64));
        assert_eq!(header.bug_check_code(), Some(0x161));
        assert_eq!(header.bug_check_parameters(), Some([0; 4]));
        assert_eq!(raw.kd_secondary_version, 2);
        assert_eq!(raw.secondary_data_state.get(), FILLER_32);
    }

    #[test]
    fn what_is_known_is_where_debuggers_look() {
        let mut context = vec![0; Machine::X86.context_size()];
        context[0xB8..0xBC].copy_from_slice(&0x8050_1234_u32.to_le_bytes());
        let facts = MachineFacts {
            major_version: Some(0xF),
            build: Some(7601),
            directory_table_base: Some(PhysAddr(0xBF62_F2E0)),
            pae: Some(true),
            ps_loaded_module_list: Some(VirtAddr(0x8297_3810)),
            number_processors: Some(4),
            bugcheck: Some(Bugcheck {
                code: 0xD1,
                parameters: [0x8000_0000, 2, 0, 0xF7A8_1234],
            }),
            context: Some(context.clone()),
            ..MachineFacts::default()
        };
        let header = derive_header(Machine::X86, &facts);
        let bytes = header.as_bytes();
        let number = |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
        assert_eq!(&bytes[..8], b"PAGEDUMP");
        assert_eq!((number(0x08), number(0x0C)), (0xF, 7601));
        assert_eq!(number(0x10), 0xBF62_F2E0);
        assert_eq!(number(0x18), 0x8297_3810);
        assert_eq!((number(0x20), number(0x24), number(0x28)), (0x14C, 4, 0xD1));
        assert_eq!(number(0x38), 0xF7A8_1234);
        assert_eq!(number(0x5C), 0x4547_4101, "one byte of PaeEnabled, filler behind it");
        assert_eq!(&bytes[0x320..0x320 + context.len()], context);
        assert_eq!(
            (number(0x7D0), number(0x7D4), number(0x7DC), number(0x7E0)),
            (BREAKPOINT, 1, 0x8050_1234, 0)
        );
        assert_eq!(number(0x7E4), FILLER_32);
    }
}
