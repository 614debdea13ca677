//! A machine in a file.

mod header;
mod kernel;
mod lists;
mod patches;

use std::cell::{OnceCell, RefCell};

use dotdump_format::kernel::{DebuggerData, Header, Machine, SecondaryData, Triage};
use dotdump_format::{Error, FileOffset, Findings, VirtAddr, VirtRange};

use super::kernel_space::{KernelRoot, RootOrigin, find_kernel_root, machine_of};
use super::pe_image::PeImage;
use super::pfn_database::FoundPfnDatabase;
use super::processes::ProcessOffsets;
use super::{
    Bugcheck, DebuggerDataOrigin, FoundDebuggerData, KernelModule, KernelReader, MachineFile, MachineSnapshot, Patch,
    PfnDatabase, Process, Processor, SharedUserData, UnloadedDriver,
};
use super::{bugcheck, modules, processors, shared_user_data, triage_facts};
use crate::memory::{Extent, Memory};
use crate::paging::{AddressSpace, SoftwarePtes};
use crate::physical::PhysicalMemory;

/// The machine that a [`MachineFile`] is of.
///
/// Opening one reads nothing but what tells the processor. Everything else is found when it is first asked for.
///
/// ```no_run
/// use dotdump_snapshot::machine::MachineOptions;
/// use dotdump_snapshot::{DumpFile, MachineImage, MachineSnapshot, MachineFile};
///
/// let file = DumpFile::open("MEMORY.DMP".as_ref(), true)?;
/// let source = MachineFile::open(&file, &MachineOptions::default())?;
/// let machine = MachineImage::open(&source)?;
/// for process in machine.processes() {
///     println!("{:6} {}", process.id, process.name);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MachineImage<'s> {
    source: &'s MachineFile<'s>,
    machine: Machine,
    root: OnceCell<Option<KernelRoot>>,
    /// The kernel's space before it is known how invalid entries are laid out.
    first_space: OnceCell<Option<AddressSpace<'s>>>,
    space: OnceCell<Option<AddressSpace<'s>>>,
    header: OnceCell<Header>,
    debugger_data: OnceCell<Option<FoundDebuggerData>>,
    kernel: OnceCell<Option<PeImage>>,
    shared: OnceCell<Option<SharedUserData>>,
    processors: OnceCell<Vec<Processor>>,
    stopped: OnceCell<Option<usize>>,
    modules: OnceCell<Vec<KernelModule>>,
    unloaded: OnceCell<Vec<UnloadedDriver>>,
    processes: OnceCell<(Vec<Process>, Option<ProcessOffsets>)>,
    pfn_database: OnceCell<Option<FoundPfnDatabase>>,
    secondary_data: OnceCell<Option<SecondaryData>>,
    patches: OnceCell<Vec<Patch>>,
    findings: RefCell<Findings>,
}

/// Of a source without memory.
struct NoMemory;

impl Memory for NoMemory {
    fn extents(&self, _within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        Box::new(std::iter::empty())
    }

    fn read(&self, _address: VirtAddr, _buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(0)
    }
}

impl<'s> MachineImage<'s> {
    /// The machine in `source`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a raw image in which nothing of Windows is found and whose processor is not told either;
    /// [`Error::Read`] where the medium fails.
    pub fn open(source: &'s MachineFile<'s>) -> Result<Self, Error> {
        let root = OnceCell::new();
        let machine = match (source.machine(), source.header()) {
            (Some(machine), _) => machine,
            (None, Some(header)) if header.is_64() => Machine::Amd64,
            (None, Some(_)) => Machine::X86,
            (None, None) => {
                let found = source
                    .physical_memory()
                    .map(|physical| find_kernel_root(physical, source))
                    .transpose()?
                    .flatten();
                let Some(found) = found else {
                    return Err(Error::malformed(
                        FileOffset(0),
                        "memory",
                        "no page tables of Windows were found in it, and its processor is not told",
                    ));
                };
                root.get_or_init(|| Some(found));
                machine_of(found.mode)
            }
        };
        Ok(Self {
            source,
            machine,
            root,
            first_space: OnceCell::new(),
            space: OnceCell::new(),
            header: OnceCell::new(),
            debugger_data: OnceCell::new(),
            kernel: OnceCell::new(),
            shared: OnceCell::new(),
            processors: OnceCell::new(),
            stopped: OnceCell::new(),
            modules: OnceCell::new(),
            unloaded: OnceCell::new(),
            processes: OnceCell::new(),
            pfn_database: OnceCell::new(),
            secondary_data: OnceCell::new(),
            patches: OnceCell::new(),
            findings: RefCell::default(),
        })
    }

    /// The file that it is read from.
    #[must_use]
    pub const fn source(&self) -> &'s MachineFile<'s> {
        self.source
    }

    /// The kernel's page tables; `None` where they are not found.
    pub fn kernel_root(&self) -> Option<KernelRoot> {
        *self.root.get_or_init(|| {
            let found = self
                .source
                .physical_memory()
                .map(|physical| find_kernel_root(physical, self.source));
            match found.transpose() {
                Ok(found) => found.flatten(),
                Err(error) => {
                    self.note(error, "page tables");
                    None
                }
            }
        })
    }

    /// How the fields of `EPROCESS` were read; `None` where there are no processes.
    #[must_use]
    pub fn process_offsets(&self) -> Option<&ProcessOffsets> {
        self.processes_and_offsets().1.as_ref()
    }

    /// The kernel's image; `None` where its headers are not in the source.
    pub fn kernel_image(&self) -> Option<&PeImage> {
        self.kernel
            .get_or_init(|| self.with(self.first_memory(), |reader| self.find_kernel(reader)))
            .as_ref()
    }

    fn note(&self, error: Error, what: &'static str) {
        self.findings.borrow_mut().push(error.into_finding(what));
    }

    /// Calls `find` with a reader of `memory`, and keeps its findings.
    fn with<T>(&self, memory: &dyn Memory, find: impl FnOnce(&KernelReader<'_>) -> T) -> T {
        let reader = KernelReader::new(memory, self.machine);
        let found = find(&reader);
        self.findings.borrow_mut().append(reader.into_findings());
        found
    }

    fn space_with(&self, software: SoftwarePtes) -> Option<AddressSpace<'s>> {
        let root = self.kernel_root()?;
        let physical = self.source.physical_memory()?;
        Some(AddressSpace::new(physical, root.mode, root.root, software))
    }

    /// Kernel memory for what has to be known before the layout of invalid entries is: such things are never paged out.
    fn first_memory(&self) -> &dyn Memory {
        let space = self.first_space.get_or_init(|| self.space_with(SoftwarePtes::None));
        match (self.source.virtual_memory(), space) {
            (Some(memory), _) => memory,
            (None, Some(space)) => space,
            (None, None) => &NoMemory,
        }
    }

    fn data(&self) -> Option<&DebuggerData> {
        self.debugger_data().map(|found| &found.data)
    }
}

impl MachineSnapshot for MachineImage<'_> {
    fn machine(&self) -> Machine {
        self.machine
    }

    fn header(&self) -> &Header {
        match (self.source.kernel_dump(), self.source.header()) {
            (Some(_), Some(header)) => header,
            _ => self.header.get_or_init(|| self.make_header()),
        }
    }

    fn physical_memory(&self) -> Option<&dyn PhysicalMemory> {
        self.source.physical_memory()
    }

    fn kernel_memory(&self) -> &dyn Memory {
        match (self.source.virtual_memory(), self.kernel_space()) {
            (Some(memory), _) => memory,
            (None, Some(space)) => space,
            (None, None) => &NoMemory,
        }
    }

    fn kernel_space(&self) -> Option<&AddressSpace<'_>> {
        self.space
            .get_or_init(|| self.space_with(self.software_ptes()))
            .as_ref()
    }

    fn process_space(&self, process: &Process) -> Option<AddressSpace<'_>> {
        let kernel = self.kernel_space()?;
        let root = process.directory_table_base;
        let space = AddressSpace::new(kernel.physical(), kernel.mode(), root, kernel.software());
        Some(space.with_kernel(kernel))
    }

    fn bugcheck(&self) -> Option<Bugcheck> {
        bugcheck::from_header(self.header())
    }

    fn processors(&self) -> &[Processor] {
        self.processors.get_or_init(|| self.find_processors())
    }

    fn stopped_processor(&self) -> Option<&Processor> {
        let index = *self.stopped.get_or_init(|| {
            if let Some(memory) = self.source.triage_memory() {
                let number = memory.copies().processor?;
                return self
                    .processors()
                    .iter()
                    .position(|processor| processor.number == number);
            }
            let data = self.data()?;
            self.with(self.kernel_memory(), |reader| {
                processors::stopped_processor(reader, data, self.processors(), self.header().context_record())
            })
        });
        self.processors().get(index?)
    }

    fn modules(&self) -> &[KernelModule] {
        self.modules.get_or_init(|| {
            if let Some(triage) = self.source.triage() {
                return triage_facts::modules(triage, &mut self.findings.borrow_mut());
            }
            let Some(list) = self.module_list() else {
                return Vec::new();
            };
            self.with(self.kernel_memory(), |reader| modules::modules(reader, list))
        })
    }

    fn unloaded_drivers(&self) -> &[UnloadedDriver] {
        self.unloaded.get_or_init(|| {
            if let Some(triage) = self.source.triage() {
                return triage_facts::unloaded_drivers(triage, &mut self.findings.borrow_mut());
            }
            let Some(data) = self.data() else {
                return Vec::new();
            };
            self.with(self.kernel_memory(), |reader| modules::unloaded_drivers(reader, data))
        })
    }

    fn processes(&self) -> &[Process] {
        &self.processes_and_offsets().0
    }

    fn debugger_data(&self) -> Option<&FoundDebuggerData> {
        self.debugger_data.get_or_init(|| self.find_debugger_data()).as_ref()
    }

    fn shared_user_data(&self) -> Option<SharedUserData> {
        *self
            .shared
            .get_or_init(|| self.with(self.first_memory(), shared_user_data::shared_user_data))
    }

    fn pfn_database(&self) -> Option<PfnDatabase<'_>> {
        let found = *self.pfn_database.get_or_init(|| self.find_pfn_database());
        Some(PfnDatabase::new(self.kernel_memory(), found?))
    }

    fn triage(&self) -> Option<&Triage<'_>> {
        self.source.triage()
    }

    fn secondary_data(&self) -> Option<&SecondaryData> {
        let found = self.secondary_data.get_or_init(|| {
            self.source.secondary_data().unwrap_or_else(|error| {
                self.note(error, "DumpBlob");
                None
            })
        });
        found.as_ref()
    }

    fn patches(&self) -> &[Patch] {
        self.patches.get_or_init(|| self.make_patches())
    }

    fn guesses(&self) -> Vec<String> {
        let mut guesses = Vec::new();
        if let Some(root) = self.kernel_root() {
            match root.origin {
                RootOrigin::Header if root.confirmed => {}
                RootOrigin::Header => {
                    guesses.push("nothing of the kernel is found through the header's page tables".to_owned());
                }
                origin => {
                    let whence = match origin {
                        RootOrigin::Header | RootOrigin::Processor => "a processor's CR3",
                        RootOrigin::LowStub => "the code that starts processors",
                        RootOrigin::SelfMap => "a page that maps itself",
                    };
                    guesses.push(format!("page tables at {}, from {whence}", root.root));
                }
            }
        }
        if let Some(found) = self.debugger_data() {
            let at = found.address;
            match found.origin {
                DebuggerDataOrigin::Header | DebuggerDataOrigin::Copy | DebuggerDataOrigin::VersionBlock => {}
                DebuggerDataOrigin::Search => {
                    guesses.push(format!("KDDEBUGGER_DATA64 at {at}, found in the kernel's data"));
                }
                DebuggerDataOrigin::BugcheckParameter => {
                    guesses.push(format!(
                        "KDDEBUGGER_DATA64 of {at}, from a copy that the bugcheck's parameter points to"
                    ));
                }
            }
        }
        if let Some(offsets) = self.process_offsets() {
            guesses.extend(
                offsets
                    .guessed
                    .iter()
                    .map(|field| format!("where EPROCESS has {field}, told from its contents")),
            );
        }
        if self.pfn_database().is_some_and(|database| !database.is_confirmed()) {
            guesses.push("the PFN database: no entry of a page in use leads back to its page".to_owned());
        }
        guesses
    }

    fn findings(&self) -> Findings {
        self.header();
        self.processors();
        self.modules();
        self.unloaded_drivers();
        self.processes();
        self.patches();
        self.secondary_data();
        self.pfn_database();
        let mut findings = self.source.findings().clone();
        findings.append(self.findings.borrow().clone());
        if self.source.physical_memory().is_some() && self.kernel_root().is_none() {
            findings.add(
                FileOffset(0),
                "DirectoryTableBase",
                "no page tables of Windows were found".to_owned(),
            );
        }
        if self.debugger_data().is_none() && (self.source.physical_memory().is_some() || self.source.triage().is_some())
        {
            findings.add(
                FileOffset(0),
                "KdDebuggerDataBlock",
                "not found, neither plain nor encoded".to_owned(),
            );
        }
        findings
    }
}
