//! The dump header that is right for a machine.

use dotdump_format::kernel::header::{ExceptionRecord32, ExceptionRecord64};
use dotdump_format::kernel::{DumpType, Header, Machine};

use crate::error::BuildError;
use crate::machine::SynthMachine;

/// By whose conventions a header is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HeaderStyle {
    /// The kernel's own at the time of the crash: `PfnDataBase` is the database's base.
    #[default]
    Crash,
    /// A debugger's: `PfnDataBase` is the address of the variable that holds the base.
    Debugger,
}

const BREAKPOINT: u32 = 0x8000_0003;
const NONCONTINUABLE: u32 = 1;

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

impl SynthMachine {
    /// The header of a dump of this machine, for a body of `dump_type`. What depends on the file, its size, is unset.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`] where an address does not fit.
    pub fn header(&self, dump_type: DumpType, style: HeaderStyle) -> Result<Header, BuildError> {
        let truth = &self.truth;
        let mut header = Header::unset(self.machine());
        let symbol = |name| truth.symbol(name).map_or(0, |address| address.0);
        let pfn_data_base = match style {
            HeaderStyle::Crash => truth.pfn_database.0,
            HeaderStyle::Debugger => symbol("MmPfnDatabase"),
        };
        let context = truth
            .processors
            .first()
            .map(|processor| processor.context.as_slice())
            .unwrap_or_default();
        let context = &context[..context.len().min(self.machine().context_size())];
        let pc = self.crash_address();
        let machine = u32::from(self.machine().machine_type().0);
        let processors = u32::try_from(truth.processors.len()).map_err(|_| BuildError::TooLarge("processors"))?;
        let parameters = truth.bugcheck.parameters;
        match &mut header {
            Header::Dump32(header) => {
                header.major_version = 0xF.into();
                header.minor_version = self.build.into();
                header.directory_table_base = low(truth.root.0).into();
                header.pfn_data_base = low(pfn_data_base).into();
                header.ps_loaded_module_list = low(symbol("PsLoadedModuleList")).into();
                header.ps_active_process_head = low(symbol("PsActiveProcessHead")).into();
                header.machine_image_type = machine.into();
                header.number_processors = processors.into();
                header.bug_check_code = truth.bugcheck.code.into();
                header.bug_check_parameters = parameters.map(|parameter| low(parameter).into());
                header.pae_enabled = u8::from(self.mode == dotdump_snapshot::paging::PagingMode::Pae);
                header.kd_debugger_data_block = low(truth.debugger_data.address.0).into();
                header.context_record[..context.len()].copy_from_slice(context);
                header.exception = ExceptionRecord32 {
                    exception_code: BREAKPOINT.into(),
                    exception_flags: NONCONTINUABLE.into(),
                    exception_record: 0.into(),
                    exception_address: low(pc).into(),
                    number_parameters: 0.into(),
                    ..header.exception
                };
                header.dump_type = dump_type.0.into();
                header.secondary_data_state = 0.into();
                header.product_type = 1.into();
                header.suite_mask = 0x110.into();
                header.system_time = self.time.into();
                header.system_up_time = self.up_time.into();
            }
            Header::Dump64(header) => {
                header.major_version = 0xF.into();
                header.minor_version = self.build.into();
                header.directory_table_base = truth.root.0.into();
                header.pfn_data_base = pfn_data_base.into();
                header.ps_loaded_module_list = symbol("PsLoadedModuleList").into();
                header.ps_active_process_head = symbol("PsActiveProcessHead").into();
                header.machine_image_type = machine.into();
                header.number_processors = processors.into();
                header.bug_check_code = truth.bugcheck.code.into();
                header.bug_check_parameters = parameters.map(Into::into);
                header.kd_debugger_data_block = truth.debugger_data.address.0.into();
                header.context_record[..context.len()].copy_from_slice(context);
                header.exception = ExceptionRecord64 {
                    exception_code: BREAKPOINT.into(),
                    exception_flags: NONCONTINUABLE.into(),
                    exception_record: 0.into(),
                    exception_address: pc.into(),
                    number_parameters: 0.into(),
                    ..header.exception
                };
                header.dump_type = dump_type.0.into();
                header.system_time = self.time.into();
                header.system_up_time = self.up_time.into();
                header.secondary_data_state = 0.into();
                header.product_type = 1.into();
                header.suite_mask = 0x110.into();
                header.boot_id = 7.into();
            }
        }
        Ok(header)
    }

    /// The program counter of the processor that stopped.
    fn crash_address(&self) -> u64 {
        let context = self
            .truth
            .processors
            .first()
            .map(|processor| processor.context.as_slice());
        let context = context.unwrap_or_default();
        let (offset, size) = match self.machine() {
            Machine::X86 => (0xB8, 4),
            Machine::Amd64 => (0xF8, 8),
            Machine::Arm64 => (0x108, 8),
        };
        let mut bytes = [0; 8];
        if let Some(field) = context.get(offset..offset + size) {
            bytes[..size].copy_from_slice(field);
        }
        u64::from_le_bytes(bytes)
    }
}
