//! Finding the kernel's image and its table of contents, and what both say of the machine.

use dotdump_format::VirtAddr;
use dotdump_format::kernel::{DebuggerData, Header};

use super::MachineImage;
use crate::machine::find_debugger_data::{DebuggerDataHints, find_debugger_data};
use crate::machine::pe_image::PeImage;
use crate::machine::{FoundDebuggerData, KernelReader, MachineSnapshot, find_kernel, triage_facts};
use crate::paging::SoftwarePtes;

impl MachineImage<'_> {
    pub(super) fn find_kernel(&self, reader: &KernelReader<'_>) -> Option<PeImage> {
        let list = self.source.header().and_then(Header::ps_loaded_module_list);
        if let Some(base) = list.and_then(|list| find_kernel::first_module(reader, list))
            && let Some(image) = PeImage::read(reader, base)
        {
            return Some(image);
        }
        // The list's head is a variable of the kernel, and what processors run when they are interrupted is its code.
        let handlers = self.source.cpus().iter().filter_map(|cpu| {
            let table = VirtAddr(cpu.special_registers()?.idt_base);
            find_kernel::first_handler(reader, table)
        });
        let within: Vec<VirtAddr> = list.into_iter().chain(handlers).collect();
        let around = within
            .into_iter()
            .find_map(|address| find_kernel::kernel_around(reader, address));
        around.or_else(|| find_kernel::search_kernel(reader))
    }

    pub(super) fn find_debugger_data(&self) -> Option<FoundDebuggerData> {
        let header = self.source.header();
        let own = |address: Option<VirtAddr>| address.filter(|address| address.0 != 0);
        let copy = match self.source.triage().map(triage_facts::debugger_data) {
            None => Vec::new(),
            Some(Ok(copy)) => copy,
            Some(Err(error)) => {
                self.note(error, "DebuggerData");
                Vec::new()
            }
        };
        self.with(self.first_memory(), |reader| {
            let list = own(header.and_then(Header::ps_loaded_module_list));
            let gs_bases = self.source.cpus().iter().filter_map(|cpu| {
                let base = VirtAddr(cpu.special_registers()?.kernel_gs_base);
                reader.is_kernel(base).then_some(base)
            });
            let hints = DebuggerDataHints {
                header: own(header.and_then(Header::kd_debugger_data_block)),
                copy,
                processors: gs_bases.collect(),
                bugcheck_parameter: header
                    .and_then(Header::bug_check_parameters)
                    .map(|parameters| VirtAddr(parameters[0])),
                kernel_base: list.and_then(|list| find_kernel::first_module(reader, list)),
            };
            find_debugger_data(reader, &hints, || self.kernel_image().cloned())
        })
    }

    /// The build number, from the header or `KUSER_SHARED_DATA`.
    pub(super) fn build(&self) -> Option<u32> {
        let header = self.source.header().and_then(Header::minor_version);
        header.or_else(|| self.shared_user_data()?.build)
    }

    /// Page tables as they have to be read: with prototypes, pages in transition and bits that were inverted.
    pub(super) fn software_ptes(&self) -> SoftwarePtes {
        let Some(build) = self.build() else {
            return SoftwarePtes::None;
        };
        let bit = |index: Option<u64>| index.and_then(|index| u8::try_from(index).ok()).unwrap_or(0);
        let data = self.data();
        SoftwarePtes::of_build(
            build,
            bit(data.and_then(DebuggerData::l1tf_high_physical_bit_index)),
            bit(data.and_then(DebuggerData::l1tf_swizzle_bit_index)),
        )
    }

    /// An address of the header, or of `KDDEBUGGER_DATA64` where the header has none.
    pub(super) fn list_head(
        &self,
        of_header: fn(&Header) -> Option<VirtAddr>,
        of_data: fn(&DebuggerData) -> Option<VirtAddr>,
        export: &str,
    ) -> Option<VirtAddr> {
        let header = self.source.header().and_then(of_header).filter(|head| head.0 != 0);
        header.or_else(|| self.data().and_then(of_data)).or_else(|| {
            let image = self.kernel_image()?;
            self.with(self.kernel_memory(), |reader| image.export(reader, export))
        })
    }

    pub(super) fn module_list(&self) -> Option<VirtAddr> {
        let name = "PsLoadedModuleList";
        self.list_head(Header::ps_loaded_module_list, DebuggerData::ps_loaded_module_list, name)
    }

    pub(super) fn process_list(&self) -> Option<VirtAddr> {
        let name = "PsActiveProcessHead";
        self.list_head(
            Header::ps_active_process_head,
            DebuggerData::ps_active_process_head,
            name,
        )
    }
}
