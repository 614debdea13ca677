//! The header of a machine whose source has none.

use dotdump_format::kernel::{DebuggerData, Header};

use super::MachineImage;
use crate::machine::derive_header::{MachineFacts, derive_header, replace_live_fields};
use crate::machine::find_debugger_data::version_block;
use crate::machine::{MachineSnapshot, bugcheck};
use crate::paging::PagingMode;

/// The identifier of the process `System`.
const SYSTEM: u64 = 4;

impl MachineImage<'_> {
    /// The header of a source that has none, or one that Windows made while it ran.
    pub(super) fn make_header(&self) -> Header {
        let data = self.data();
        let bugcheck =
            data.and_then(|data| self.with(self.kernel_memory(), |reader| bugcheck::from_kernel(reader, data)));
        let context = self.live_context();
        if let Some(header) = self.source.header() {
            return replace_live_fields(header.clone(), bugcheck, context.as_deref());
        }
        let shared = self.shared_user_data();
        let version = data.and_then(|_| self.version());
        let own = |count: usize| u32::try_from(count).ok().filter(|count| *count != 0);
        let facts = MachineFacts {
            major_version: version.map(|(major, _)| major),
            build: version.map(|(_, build)| build).or_else(|| self.build()),
            // A processor's root may be that of any process; the one of `System` is there as long as the machine is.
            directory_table_base: self
                .processes()
                .iter()
                .find(|process| process.id == SYSTEM)
                .map(|process| process.directory_table_base)
                .or_else(|| self.kernel_root().map(|root| root.root)),
            pae: self.kernel_root().map(|root| root.mode == PagingMode::Pae),
            pfn_data_base: self
                .pfn_database()
                .map(|database| database.base())
                .or_else(|| data.and_then(DebuggerData::mm_pfn_database)),
            ps_loaded_module_list: self.module_list(),
            ps_active_process_head: self.process_list(),
            number_processors: own(self.source.cpus().len())
                .or_else(|| shared.and_then(|shared| shared.active_processors))
                .or_else(|| own(self.processors().len())),
            bugcheck,
            kd_debugger_data_block: self.debugger_data().map(|found| found.address),
            shared,
            context,
        };
        derive_header(self.machine, &facts)
    }

    /// Major version and build, as `KdVersionBlock` behind `KPCR` has them.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let data = self.data()?;
        let in_pcr = data.offset_pcr_contained_prcb()?;
        self.with(self.kernel_memory(), |reader| {
            self.processors().iter().find_map(|processor| {
                let pcr = reader.before(processor.prcb?, in_pcr);
                let version = version_block(reader, pcr)?;
                Some((version.major_version.get().into(), version.minor_version.get().into()))
            })
        })
    }

    /// The context of a processor as the monitor noted it: of the first one that runs the kernel, as debuggers refuse
    /// others.
    pub(super) fn live_context(&self) -> Option<Vec<u8>> {
        let cpus = self.source.cpus();
        let cpu = cpus.iter().find(|cpu| cpu.in_kernel()).or_else(|| cpus.first());
        match cpu {
            Some(cpu) => cpu.to_context(self.machine),
            None => self
                .processors()
                .first()
                .and_then(|processor| processor.context.as_ref())
                .map(|context| context.bytes.clone()),
        }
    }
}
