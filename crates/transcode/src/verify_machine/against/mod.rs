//! Is all that a kernel dump has the same as in its source, and is all there that it claims to have?
//!
//! A conversion may change what its manifest declares, the layout, and what the header says of the layout. A dump with
//! pages must have every page that the source's page tables lead to, of the kernel or of everything as its type has it,
//! also where such a page is all zero: to debuggers a missing page is no memory, not zeros.

mod compare;
mod header;
mod missing;
mod triage;

use dotdump_format::kernel::{Body, KernelDump};
use dotdump_format::{Error, Pfn, PhysAddr, ReadAt, VirtAddr};
use dotdump_snapshot::{MachineSnapshot, PhysicalMemory};
use serde::Serialize;

use crate::machine::Coverage;
use crate::machine::manifest::{MANIFEST_TAG, MachineManifest};
use crate::verify::against::Difference;

/// The most differences that are told with their text, and the most missing pages.
const TOLD: usize = 100;

/// How much is compared at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// What a dump claims to have of a machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// All of it.
    Complete,
    /// What the kernel's addresses lead to.
    Kernel,
    /// What any address leads to.
    Active,
    /// A few structures.
    Triage,
    /// Nothing.
    Header,
}

/// A page that a dump should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MissingPage {
    /// The page.
    #[serde(serialize_with = "page_number")]
    pub page: Pfn,
    /// An address that leads to it.
    #[serde(serialize_with = "address")]
    pub address: VirtAddr,
    /// The process whose address it is; `None` for one of the kernel.
    pub process_id: Option<u64>,
    /// Whether it is a page table.
    pub is_table: bool,
    /// The size in bytes of the page that it is a part of: 4 KiB, or that of a large page.
    pub page_size: u64,
}

/// What a dump does not have of its source, and need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PagesLeftOut {
    /// Pages.
    pub pages: u64,
    /// Those of them that are not all zero; counted for complete dumps alone.
    pub with_content: u64,
}

/// What [`against`] found.
#[derive(Clone, Debug, Serialize)]
pub struct MachineAgainst {
    /// Whether all that the dump has is the same in the source, and all there that it claims to have.
    pub same: bool,
    /// What it claims to have.
    pub claim: Claim,
    /// What is not the same, at most 100 of them.
    pub differences: Vec<Difference>,
    /// How many differences there were in all.
    pub differences_total: u64,
    /// Pages that were compared.
    pub pages_compared: u64,
    /// Those of them whose only differences the manifest declares.
    pub pages_patched: u64,
    /// Bytes of a triage dump that were compared.
    pub memory_compared: u64,
    /// Pages that it should have and has not: a few of each address space.
    pub missing: Vec<MissingPage>,
    /// How many of these there were in all.
    pub missing_total: u64,
    /// How many of them only addresses of processes lead to.
    pub missing_of_processes: u64,
    /// What it does not have of the source, missing pages included.
    pub left_out: PagesLeftOut,
    /// What is no difference, but good to know.
    pub notes: Vec<String>,
}

impl MachineAgainst {
    fn new(claim: Claim) -> Self {
        Self {
            same: false,
            claim,
            differences: Vec::new(),
            differences_total: 0,
            pages_compared: 0,
            pages_patched: 0,
            memory_compared: 0,
            missing: Vec::new(),
            missing_total: 0,
            missing_of_processes: 0,
            left_out: PagesLeftOut::default(),
            notes: Vec::new(),
        }
    }

    fn differ(&mut self, what: impl Into<String>, message: impl Into<String>) {
        self.differences_total += 1;
        if self.differences.len() < TOLD {
            self.differences.push(Difference {
                what: what.into(),
                message: message.into(),
            });
        }
    }
}

/// Bytes that the dump declares not to be those of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Declared {
    start: PhysAddr,
    size: u64,
}

/// Compares the kernel dump in `file`, whose machine is `dump`, with the machine that it was made from.
///
/// # Errors
/// [`Error::Malformed`] for what is no kernel dump; [`Error::Read`] where a medium fails.
pub fn against(
    file: &dyn ReadAt,
    dump: &dyn MachineSnapshot,
    source: &dyn MachineSnapshot,
) -> Result<MachineAgainst, Error> {
    let opened = KernelDump::open(file)?;
    let manifest = manifest(file, &opened)?;
    let claim = match (&opened.body, dump.physical_memory()) {
        (Body::Triage { .. }, _) => Claim::Triage,
        (Body::HeaderOnly, _) | (_, None) => Claim::Header,
        (_, Some(pages)) => match Coverage::of_dump(&opened.header, pages, manifest.as_ref()) {
            Coverage::Complete => Claim::Complete,
            Coverage::Kernel => Claim::Kernel,
            Coverage::Active => Claim::Active,
        },
    };
    let mut report = MachineAgainst::new(claim);
    header::compare(dump, source, &mut report);
    match (claim, dump.physical_memory(), source.physical_memory()) {
        (Claim::Header, ..) => report
            .notes
            .push("the dump is a header, and has no memory to compare".to_owned()),
        (Claim::Triage, ..) => triage::compare(file, dump, source, &mut report)?,
        (_, Some(mine), Some(theirs)) => {
            let declared = declared(manifest.as_ref(), &mut report);
            compare::patches(mine, source.patches(), &declared, &mut report)?;
            compare::pages(mine, theirs, &declared, &mut report)?;
            let lowest = lowest_page(&opened.body, theirs, &mut report)?;
            compare::left_out(mine, theirs, lowest, &mut report)?;
            missing::find(mine, theirs, lowest, source, &mut report)?;
        }
        _ => report.differ("pages", "the source has none"),
    }
    report.same = report.differences_total == 0 && report.missing_total == 0;
    Ok(report)
}

/// The lowest page that a dump can have: in a table of ranges, page 0 is the end mark.
fn lowest_page(body: &Body, source: &dyn PhysicalMemory, report: &mut MachineAgainst) -> Result<Pfn, Error> {
    if !matches!(body, Body::Ranges(_)) {
        return Ok(Pfn(0));
    }
    if source.place(Pfn(0))?.is_some() {
        report
            .notes
            .push("page 0 is in the source; a dump with ranges cannot have it".to_owned());
    }
    Ok(Pfn(1))
}

/// The manifest that the dump carries. One that cannot be read is told by the checks of the dump alone.
fn manifest(file: &dyn ReadAt, dump: &KernelDump) -> Result<Option<MachineManifest>, Error> {
    let Some(data) = dump.secondary_data(file)? else {
        return Ok(None);
    };
    for blob in data.blobs(file) {
        let blob = match blob {
            Ok(blob) => blob,
            Err(Error::Malformed(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if blob.tag == MANIFEST_TAG {
            return match MachineManifest::read(file, blob.data, blob.size.into()) {
                Ok(manifest) => Ok(Some(manifest)),
                Err(Error::Malformed(_)) => Ok(None),
                Err(error) => Err(error),
            };
        }
    }
    Ok(None)
}

/// The places that the manifest declares, sorted.
fn declared(manifest: Option<&MachineManifest>, report: &mut MachineAgainst) -> Vec<Declared> {
    let mut declared = Vec::new();
    for patch in manifest.map_or(&[][..], |manifest| &manifest.patches) {
        let digits = patch.address.strip_prefix("0x").unwrap_or(&patch.address);
        match u64::from_str_radix(digits, 16) {
            Ok(start) => declared.push(Declared {
                start: PhysAddr(start),
                size: patch.size,
            }),
            Err(_) => report.differ("manifest", format!("`{}` is no address of a patch", patch.address)),
        }
    }
    declared.sort_by_key(|patch| patch.start);
    declared
}

fn page_number<S: serde::Serializer>(page: &Pfn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{page:#x}"))
}

fn address<S: serde::Serializer>(address: &VirtAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}
