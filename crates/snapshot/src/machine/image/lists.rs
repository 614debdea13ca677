//! Processors, processes and the PFN database.

use dotdump_format::kernel::pfn::PfnLayout;
use dotdump_format::kernel::{DebuggerData, Header};
use dotdump_format::{PAGE_SIZE, Pfn, PhysAddr};

use super::MachineImage;
use crate::machine::pfn_database::{FoundPfnDatabase, PfnDatabaseHints};
use crate::machine::processes::{self, ProcessHints, ProcessOffsets};
use crate::machine::{MachineSnapshot, PfnDatabase, Process, Processor, live_context, processors, triage_facts};
use crate::paging::PagingMode;

impl MachineImage<'_> {
    pub(super) fn processes_and_offsets(&self) -> &(Vec<Process>, Option<ProcessOffsets>) {
        self.processes.get_or_init(|| {
            let (Some(head), None) = (self.process_list(), self.source.triage()) else {
                return (Vec::new(), None);
            };
            let data = self.data();
            let image = self.kernel_image();
            self.with(self.kernel_memory(), |reader| {
                let initial = image
                    .and_then(|image| image.export(reader, "PsInitialSystemProcess"))
                    .and_then(|variable| reader.kernel_pointer(variable));
                let of_thread = data.and_then(DebuggerData::offset_kthread_apc_process);
                let running = self
                    .processors()
                    .iter()
                    .filter_map(|processor| reader.kernel_pointer(reader.at(processor.current_thread?, of_thread?)));
                let hints = ProcessHints {
                    data,
                    known: initial.into_iter().chain(running).collect(),
                    is_user_root: &|page| self.is_user_root(page),
                };
                processes::processes(reader, head, &hints)
            })
        })
    }

    /// Whether a page is the user's root of `System`: it maps itself in the kernel's half, and nothing in the user's.
    pub(super) fn is_user_root(&self, page: PhysAddr) -> bool {
        let Some(physical) = self.source.physical_memory() else {
            return false;
        };
        let mut table = vec![0; 0x1000];
        match physical.read(page, &mut table) {
            Ok(0x1000) => {}
            Ok(_) => return false,
            Err(error) => {
                self.note(error, "UserDirectoryTableBase");
                return false;
            }
        }
        let (words, _) = table.as_chunks();
        let entries = words.iter().map(|word| u64::from_le_bytes(*word));
        let maps_itself = |entry: u64| entry & 1 == 1 && entry & 0x000F_FFFF_FFFF_F000 == page.0;
        entries.clone().take(256).all(|entry| entry == 0) && entries.skip(256).any(maps_itself)
    }

    pub(super) fn find_processors(&self) -> Vec<Processor> {
        let data = self.data();
        let count = self.source.header().and_then(Header::number_processors);
        let found = data.map_or_else(Vec::new, |data| {
            self.with(self.kernel_memory(), |reader| {
                // A small dump need not have more than one.
                let complete = self.source.triage().is_none();
                processors::processors(reader, data, count, complete)
            })
        });
        if let (Some(triage), Some(memory), Some(data)) = (self.source.triage(), self.source.triage_memory(), data) {
            return match triage_facts::processors(found, triage, memory, data) {
                Ok(found) => found,
                Err(error) => {
                    self.note(error, "Prcb");
                    Vec::new()
                }
            };
        }
        live_context::join(found, self.source.cpus(), self.machine, data)
    }

    pub(super) fn find_pfn_database(&self) -> Option<FoundPfnDatabase> {
        let space = self.kernel_space()?;
        let data = self.data();
        let layout = PfnLayout::of(self.machine, self.build()?, self.has_pae())?;
        let root = self.kernel_root()?.root;
        let known = [
            data.and_then(DebuggerData::kern_base),
            self.debugger_data().map(|found| found.address),
            self.module_list(),
            self.processors().first().and_then(|processor| processor.prcb),
            self.processors().first().and_then(|processor| processor.current_thread),
        ];
        let mut active = vec![Pfn(space.root().0 / PAGE_SIZE), Pfn(root.0 / PAGE_SIZE)];
        for address in known.into_iter().flatten() {
            match space.translate(address) {
                Ok(Ok(translation)) => active.push(translation.address.pfn()),
                // The oracle only needs one page of them.
                Ok(Err(_)) => {}
                Err(error) => self.note(error, "MmPfnDatabase"),
            }
        }
        let hints = PfnDatabaseHints {
            header: self.source.header().and_then(Header::pfn_data_base),
            variable: data.and_then(DebuggerData::mm_pfn_database),
            active,
        };
        self.with(space, |reader| {
            PfnDatabase::find(reader, layout, &hints).map(|database| database.found())
        })
    }

    pub(super) fn has_pae(&self) -> bool {
        self.kernel_root().is_some_and(|root| root.mode == PagingMode::Pae)
    }
}
