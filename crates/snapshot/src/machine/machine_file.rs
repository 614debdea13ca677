//! Files that a machine is read from: kernel dumps, ELF cores, kdump files, raw images of memory.

use dotdump_format::kernel::{Body, Header, KernelDump, Machine, SecondaryData, Triage};
use dotdump_format::{Error, Findings, ReadAt};

use crate::core_notes::CpuState;
use crate::detect::{Container, detect};
use crate::elf_core::ElfCore;
use crate::kdump::Kdump;
use crate::kernel_dump::KernelDumpMemory;
use crate::memory::Memory;
use crate::physical::PhysicalMemory;
use crate::raw_memory::{MemoryMap, RawMemory};
use crate::triage::TriageMemory;

/// How to open a file that does not say everything itself.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// Where the parts of a raw image lie in physical memory; without it the file is memory from address 0 on.
    pub memory_map: Option<MemoryMap>,
    /// The processor, where neither header nor notes say it.
    pub machine: Option<Machine>,
}

/// An open file with the memory of a machine. Opening one reads its headers and tables of pages.
///
/// This is what a [`MachineImage`](super::MachineImage) looks into.
pub struct MachineFile<'a> {
    source: &'a dyn ReadAt,
    container: Container,
    contents: Contents<'a>,
    machine: Option<Machine>,
    findings: Findings,
}

enum Contents<'a> {
    Dump {
        dump: KernelDump,
        memory: Option<KernelDumpMemory<'a>>,
    },
    Triage {
        dump: KernelDump,
        triage: Triage<'a>,
        memory: TriageMemory<'a>,
    },
    Raw(RawMemory<'a>),
    Elf(ElfCore<'a>),
    Kdump(Kdump<'a>),
}

impl<'a> MachineFile<'a> {
    /// Opens a file. One that is nothing else is a raw image.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a minidump, and for a file that is too damaged to be what it says it is;
    /// [`Error::Read`] where the medium fails.
    pub fn open(source: &'a dyn ReadAt, options: &MachineOptions) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let container = detect(source)?;
        let contents = match container {
            Container::Minidump => {
                return Err(Error::malformed(
                    0_u64,
                    "Signature",
                    "a minidump is of a process, not of a machine",
                ));
            }
            Container::ProcessCore => {
                return Err(Error::malformed(
                    0_u64,
                    "ELF header",
                    "the core is of a process, not of a machine",
                ));
            }
            Container::KernelDump => dump(source, &mut findings)?,
            Container::ElfCore => {
                let core = ElfCore::open(source)?;
                findings.append(core.findings().clone());
                Contents::Elf(core)
            }
            Container::Kdump | Container::FlattenedKdump => {
                let kdump = Kdump::open(source)?;
                findings.append(kdump.findings().clone());
                Contents::Kdump(kdump)
            }
            Container::Raw => {
                let raw = match &options.memory_map {
                    Some(map) => RawMemory::open_with_map(source, map),
                    None => RawMemory::open(source),
                };
                findings.append(raw.findings().clone());
                Contents::Raw(raw)
            }
        };
        let machine = match &contents {
            Contents::Dump { dump, .. } | Contents::Triage { dump, .. } => dump.header.machine(),
            Contents::Elf(core) => Some(
                core.windows_header()
                    .and_then(Header::machine)
                    .unwrap_or(core.machine()),
            ),
            Contents::Kdump(kdump) => kdump.windows_header().and_then(Header::machine).or(kdump.machine()),
            Contents::Raw(_) => None,
        };
        Ok(Self {
            source,
            container,
            contents,
            machine: machine.or(options.machine),
            findings,
        })
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &'a dyn ReadAt {
        self.source
    }

    /// What kind of file it is.
    #[must_use]
    pub const fn container(&self) -> Container {
        self.container
    }

    /// The processor; `None` for a raw image, which does not say.
    #[must_use]
    pub const fn machine(&self) -> Option<Machine> {
        self.machine
    }

    /// The kernel dump; `None` where it is none.
    #[must_use]
    pub const fn kernel_dump(&self) -> Option<&KernelDump> {
        match &self.contents {
            Contents::Dump { dump, .. } | Contents::Triage { dump, .. } => Some(dump),
            Contents::Raw(_) | Contents::Elf(_) | Contents::Kdump(_) => None,
        }
    }

    /// The header of a kernel dump, or the one that Windows left for its monitor in the notes of another file.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        match &self.contents {
            Contents::Dump { dump, .. } | Contents::Triage { dump, .. } => Some(&dump.header),
            Contents::Elf(core) => core.windows_header(),
            Contents::Kdump(kdump) => kdump.windows_header(),
            Contents::Raw(_) => None,
        }
    }

    /// The pages; `None` for a triage dump and a header.
    #[must_use]
    pub fn physical_memory(&self) -> Option<&dyn PhysicalMemory> {
        match &self.contents {
            Contents::Dump { memory, .. } => memory.as_ref().map(|memory| memory as &dyn PhysicalMemory),
            Contents::Triage { .. } => None,
            Contents::Raw(raw) => Some(raw),
            Contents::Elf(core) => Some(core),
            Contents::Kdump(kdump) => Some(kdump),
        }
    }

    /// The sections of a triage dump.
    #[must_use]
    pub const fn triage(&self) -> Option<&Triage<'a>> {
        match &self.contents {
            Contents::Triage { triage, .. } => Some(triage),
            _ => None,
        }
    }

    /// The memory of a triage dump.
    #[must_use]
    pub const fn triage_memory(&self) -> Option<&TriageMemory<'a>> {
        match &self.contents {
            Contents::Triage { memory, .. } => Some(memory),
            _ => None,
        }
    }

    /// The processors that a monitor noted.
    #[must_use]
    pub fn cpus(&self) -> &[CpuState] {
        match &self.contents {
            Contents::Elf(core) => core.cpus(),
            Contents::Kdump(kdump) => kdump.cpus(),
            Contents::Dump { .. } | Contents::Triage { .. } | Contents::Raw(_) => &[],
        }
    }

    /// Where the secondary data of a kernel dump is; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is damaged at its start; [`Error::Read`] where the medium fails.
    pub fn secondary_data(&self) -> Result<Option<SecondaryData>, Error> {
        match &self.contents {
            Contents::Dump {
                memory: Some(memory), ..
            } => memory.secondary_data(),
            Contents::Dump { dump, .. } | Contents::Triage { dump, .. } => dump.secondary_data(self.source),
            Contents::Raw(_) | Contents::Elf(_) | Contents::Kdump(_) => Ok(None),
        }
    }

    /// What is wrong with the file itself.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Kernel memory of a file whose memory is by virtual addresses.
    pub(super) fn virtual_memory(&self) -> Option<&dyn Memory> {
        self.triage_memory().map(|memory| memory as &dyn Memory)
    }
}

fn dump<'a>(source: &'a dyn ReadAt, findings: &mut Findings) -> Result<Contents<'a>, Error> {
    let dump = KernelDump::open(source)?;
    findings.append(dump.findings.clone());
    if let Body::Triage { .. } = dump.body {
        let triage = Triage::open(source, &dump.header, findings)?;
        let memory = TriageMemory::new(&triage, &dump.header, findings)?;
        return Ok(Contents::Triage { dump, triage, memory });
    }
    let memory = KernelDumpMemory::open(source, &dump)?;
    if let Some(memory) = &memory {
        findings.append(memory.findings().clone());
    }
    Ok(Contents::Dump { dump, memory })
}
