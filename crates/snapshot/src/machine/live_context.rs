//! Registers that a monitor noted, put where Windows would have saved them.

use dotdump_format::kernel::{DebuggerData, Machine};

use super::{Processor, ProcessorContext};
use crate::core_notes::CpuState;

/// Gives each of the kernel's processors the registers that a monitor noted for it, and adds the processors that the
/// kernel does not show.
///
/// Monitors and the kernel need not count alike: on x64 the base of GS in the kernel is the address of the `KPCR`, which
/// tells whose registers they are. Where it does not, the numbers do.
pub fn join(
    mut processors: Vec<Processor>,
    cpus: &[CpuState],
    machine: Machine,
    data: Option<&DebuggerData>,
) -> Vec<Processor> {
    let prcb_in_pcr = data.and_then(DebuggerData::offset_pcr_contained_prcb);
    let pcr_of = |processor: &Processor| processor.prcb.and_then(|prcb| prcb.0.checked_sub(prcb_in_pcr?));
    for cpu in cpus {
        let special_registers = cpu.special_registers();
        let base = special_registers.map(|registers| registers.kernel_gs_base);
        let by_base = processors
            .iter()
            .position(|processor| base.is_some_and(|base| base != 0 && pcr_of(processor) == Some(base)));
        let index = by_base.or_else(|| processors.iter().position(|processor| processor.number == cpu.number));
        let context = cpu
            .to_context(machine)
            .map(|bytes| ProcessorContext { address: None, bytes });
        match index.and_then(|index| processors.get_mut(index)) {
            Some(processor) => {
                let address = processor.context.as_ref().and_then(|context| context.address);
                processor.context = context.map(|context| ProcessorContext { address, ..context });
                processor.special_registers = special_registers;
            }
            None => processors.push(Processor {
                number: cpu.number,
                prcb: None,
                current_thread: None,
                context,
                special_registers,
            }),
        }
    }
    processors
}
