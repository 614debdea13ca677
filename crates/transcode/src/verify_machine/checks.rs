//! The requirements of all readers of kernel dumps, each declared once.
//!
//! They are those that the readers' sources and documents state. A requirement that one reader alone has is a limit of
//! what that reader takes; what would make a dump unsound for every reader is damage.

use dotdump_format::kernel::bitmap::{self, BitmapLayout};
use dotdump_format::kernel::triage::TriageFamily;
use dotdump_format::kernel::{Body, DumpType, Machine};
use dotdump_format::{FileOffset, PAGE_SIZE};
use dotdump_snapshot::AddressSpace;
use serde::Serialize;

use super::facts::{BitmapFacts, Facts};
use super::triage_facts::TriageFacts;

/// What a violation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The dump breaks the format.
    Damage,
    /// One reader refuses or loses something.
    Limit,
}

/// A requirement that is not met.
pub(super) struct Violation {
    pub(super) offset: FileOffset,
    pub(super) what: &'static str,
    pub(super) message: String,
}

/// What a check comes to.
pub(super) enum Outcome {
    Ok,
    NotApplicable,
    Failed(Violation),
}

/// One requirement.
pub struct Check {
    /// Its name, for scripts.
    pub name: &'static str,
    /// Who has it.
    pub reader: &'static str,
    /// What it asks of a dump.
    pub demands: &'static str,
    /// What a violation means.
    pub weight: Weight,
    find: fn(&Facts<'_>) -> Outcome,
}

impl Check {
    pub(super) fn outcome(&self, facts: &Facts<'_>) -> Outcome {
        (self.find)(facts)
    }
}

/// The outcome of a check: whether it holds, and what is wrong where it does not.
fn holds(holds: bool, offset: FileOffset, what: &'static str, message: impl FnOnce() -> String) -> Outcome {
    if holds {
        return Outcome::Ok;
    }
    Outcome::Failed(Violation {
        offset,
        what,
        message: message(),
    })
}

/// Looks at what a dump may lack.
fn of<T>(subject: Option<T>, find: impl FnOnce(T) -> Outcome) -> Outcome {
    subject.map_or(Outcome::NotApplicable, find)
}

/// Looks at dumps with pages alone.
fn with_pages(facts: &Facts<'_>, find: impl FnOnce(u64) -> Outcome) -> Outcome {
    of(facts.pages, find)
}

fn with_bitmap(facts: &Facts<'_>, find: impl FnOnce(&BitmapFacts) -> Outcome) -> Outcome {
    of(facts.bitmap.as_ref(), find)
}

fn with_triage(facts: &Facts<'_>, find: impl FnOnce(&TriageFacts) -> Outcome) -> Outcome {
    of(facts.triage.as_ref(), find)
}

/// Whether a dump with pages is of one of the types that a reader knows, for 32 and 64 bits.
fn known_type(facts: &Facts<'_>, narrow: &[DumpType], wide: &[DumpType]) -> Outcome {
    with_pages(facts, |_| {
        let known = if facts.header.is_64() { wide } else { narrow };
        let found = facts.header.dump_type();
        holds(known.contains(&found), facts.dump_type_at(), "DumpType", || {
            let width = if facts.header.is_64() { 64 } else { 32 };
            format!("{found} of a {width}-bit machine is not opened")
        })
    })
}

/// Declares the checks.
macro_rules! checks {
    ($($name:literal, $reader:ident, $weight:ident, $demands:literal, $find:expr;)*) => {
        /// All checks, in the order in which they are told.
        pub const CHECKS: &[Check] = &[$(Check {
            name: $name,
            reader: $reader,
            demands: $demands,
            weight: Weight::$weight,
            find: $find,
        },)*];
    };
}

const EVERY: &str = "every reader";
const WINDBG: &str = "WinDbg";
const KDMP: &str = "kdmp-parser";
const LEECHCORE: &str = "LeechCore and MemProcFS";
const VOLATILITY: &str = "Volatility 3";
const MEMFLOW: &str = "memflow";
const RIZIN: &str = "rizin";

const FULL: DumpType = DumpType::FULL;
const BITMAP_FULL: DumpType = DumpType::BITMAP_FULL;
const BITMAP_KERNEL: DumpType = DumpType::BITMAP_KERNEL;

/// Where the counts of a bitmap's header lie behind its start.
const FIRST_PAGE: u64 = 0x20;
const TOTAL_PRESENT_PAGES: u64 = 0x28;
const PAGES: u64 = 0x30;

checks! {
    "machine-type", EVERY, Damage, "a processor in the header that goes with its width",
        |facts| {
            let found = facts.machine();
            let fits = found.is_some_and(|machine| (machine != Machine::X86) == facts.header.is_64());
            holds(fits, facts.field(0x20, 0x30), "MachineImageType", || match facts.header.machine_image_type() {
                Some(number) => format!("{number:#x}"),
                None => "not set".to_owned(),
            })
        };
    "dump-type", EVERY, Damage, "the type in the header that the body has",
        |facts| {
            let found = facts.header.dump_type();
            let fits = match &facts.body {
                Body::Runs { .. } => matches!(found.0, 0 | 1),
                Body::Bitmap(_) => matches!(found.0, 5..=7),
                Body::Summary(_) => found.0 == 2,
                Body::Ranges(_) => matches!(found.0, 8..=0xA),
                Body::Triage { .. } => found == DumpType::TRIAGE,
                // Of any other type it is what is left of a file that was cut, which reading has told.
                Body::HeaderOnly => true,
            };
            holds(fits, facts.dump_type_at(), "DumpType", || format!("{found}, the body is of another type"))
        };
    "runs-plausible", EVERY, Damage, "runs that ascend, do not overlap, and have as many pages as NumberOfPages says",
        |facts| {
            if !matches!(facts.body, Body::Runs { .. }) {
                return Outcome::NotApplicable;
            }
            let wrong = match facts.header.physical_memory() {
                Some(runs) => runs.implausible(),
                None => Some("not set".to_owned()),
            };
            holds(wrong.is_none(), facts.field(0x64, 0x88), "PhysicalMemoryBlock", || wrong.unwrap_or_default())
        };
    "runs-fit-header", EVERY, Damage, "no more runs than the header has room for: 86 or 42",
        |facts| of(facts.header.physical_memory(), |runs| {
            let most = facts.header.max_runs() as u64;
            let count = u64::from(runs.number_of_runs());
            // Windows leaves the union of triage dumps unset or has the machine's runs in it: the same holds there.
            holds(count <= most, facts.field(0x64, 0x88), "PhysicalMemoryBlock", || {
                format!("{count} runs, room is for {most}")
            })
        });
    "pages-in-file", EVERY, Damage, "all pages that the body describes",
        |facts| with_pages(facts, |pages| {
            let lost = facts.pages_cut_off();
            holds(lost == 0, FileOffset(facts.size), "pages", || {
                format!("{lost:#x} of {pages:#x} pages lie past the end of the file")
            })
        });
    "bitmap-counts", EVERY, Damage, "as many bits in the bitmap as TotalPresentPages says",
        |facts| with_bitmap(facts, |found| {
            let claimed = found.header.total_present_pages.get();
            let at = facts.field(0x1000, 0x2000).saturating_add(TOTAL_PRESENT_PAGES);
            holds(claimed == found.count, at, "TotalPresentPages", || {
                format!("{claimed:#x}, the bitmap has {:#x} pages", found.count)
            })
        });
    "exception-parameters", EVERY, Damage, "at most 15 parameters of the exception",
        |facts| {
            let at = facts.header.exception_offset().saturating_add(if facts.header.is_64() { 0x18 } else { 0x10 });
            let start = usize::try_from(at.0).unwrap_or(usize::MAX);
            let bytes = facts.header.as_bytes().get(start..start.saturating_add(4));
            let count = bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
            let count = count.filter(|count| *count != dotdump_format::kernel::filler::FILLER_32);
            of(count, |count| holds(count <= 15, at, "Exception.NumberParameters", || format!("{count} parameters")))
        };
    "secondary-data-whole", EVERY, Damage, "blobs that lie within the file",
        |facts| of(facts.chain.as_ref(), |chain| {
            holds(chain.broken.is_none(), chain.end, "DumpBlob", || {
                chain.broken.as_ref().map_or_else(String::new, |finding| finding.message.clone().into_owned())
            })
        });
    "secondary-data-ends-file", EVERY, Limit, "nothing behind the last blob: kernels leave there what was on the disk",
        |facts| of(facts.chain.as_ref().filter(|chain| chain.broken.is_none()), |chain| {
            holds(chain.end.0 >= facts.size, chain.end, "DumpBlob", || {
                format!("{:#x} bytes behind the last blob, which no reader looks at", facts.size - chain.end.0)
            })
        });
    "nothing-behind-pages", EVERY, Limit, "nothing behind the pages but secondary data",
        |facts| with_pages(facts, |_| {
            let more = facts.size.saturating_sub(facts.primary_end.0);
            let explained = more == 0 || facts.chain.is_some();
            holds(explained, facts.primary_end, "pages", || format!("{more:#x} bytes behind the last page"))
        });

    "triage-valid-mark", EVERY, Damage, "`TRGD` where ValidOffset says, at the end of the primary data",
        |facts| with_triage(facts, |triage| {
            let broken = facts.findings.as_slice().iter().find(|finding| {
                finding.what == "ValidMarker" || finding.what == "SizeOfDump"
            });
            let at = FileOffset(triage.fields.valid_offset.into());
            holds(broken.is_none(), at, "ValidMarker", || {
                broken.map_or_else(String::new, |finding| finding.message.clone().into_owned())
            })
        });
    "triage-size-in-file", EVERY, Damage, "a file of at least SizeOfDump bytes",
        |facts| with_triage(facts, |triage| {
            let size = u64::from(triage.fields.size_of_dump);
            holds(size <= facts.size, FileOffset(facts.size), "SizeOfDump", || {
                format!("{size:#x}, the file has {:#x} bytes", facts.size)
            })
        });
    "triage-blocks-in-dump", EVERY, Damage, "data blocks between the header and the end of the primary data",
        |facts| with_triage(facts, |triage| match triage.blocks_outside {
            None => Outcome::Ok,
            Some((at, count)) => holds(false, at, "DataBlocks", || format!("{count} blocks lie outside of the dump")),
        });
    "triage-names-in-pool", EVERY, Damage, "names of drivers within the string pool",
        |facts| with_triage(facts, |triage| match triage.names_outside {
            None => Outcome::Ok,
            Some((at, count)) => holds(false, at, "DriverList", || format!("{count} names lie outside of the pool")),
        });
    "triage-required-space", EVERY, Limit, "the file's size in RequiredDumpSpace, as kernels store it at crash time",
        |facts| with_triage(facts, |triage| {
            let space = facts.header.required_dump_space().filter(|_| triage.family == TriageFamily::CrashTime);
            of(space, |space| {
                holds(space == facts.size, facts.field(0xFA0, 0xFA0), "RequiredDumpSpace", || {
                    format!("{space:#x}, the file has {:#x} bytes", facts.size)
                })
            })
        });

    "windbg-debugger-data", WINDBG, Limit, "a KdDebuggerDataBlock that leads to `KDBG`, not encoded",
        |facts| {
            if matches!(facts.body, Body::HeaderOnly) {
                return Outcome::NotApplicable;
            }
            let at = facts.field(0x60, 0x80);
            let found = facts.debugger_data.as_ref().map(|start| &start[0x10..0x14]);
            holds(found == Some(b"KDBG"), at, "KdDebuggerDataBlock", || match (facts.header.kd_debugger_data_block(), found) {
                (None, _) => "not set".to_owned(),
                (Some(address), None) => format!("no memory at {address}"),
                (Some(address), Some(found)) => {
                    format!("`{}` at {address}, `KDBG` expected: the block is encoded or not there", found.escape_ascii())
                }
            })
        };
    "windbg-module-list", WINDBG, Limit, "memory at PsLoadedModuleList",
        |facts| with_pages(facts, |_| {
            let head = facts.header.ps_loaded_module_list();
            let fits = head.is_some_and(|head| facts.is_readable(head));
            holds(fits, facts.field(0x18, 0x20), "PsLoadedModuleList", || {
                head.map_or_else(|| "not set".to_owned(), |head| format!("no memory at {head}"))
            })
        });
    "windbg-process-list", WINDBG, Limit, "memory at PsActiveProcessHead",
        |facts| with_pages(facts, |_| {
            let head = facts.header.ps_active_process_head();
            let fits = head.is_some_and(|head| facts.is_readable(head));
            holds(fits, facts.field(0x1C, 0x28), "PsActiveProcessHead", || {
                head.map_or_else(|| "not set".to_owned(), |head| format!("no memory at {head}"))
            })
        });
    "windbg-selectors", WINDBG, Limit, "a context with segment selectors",
        |facts| {
            let (at, size) = match facts.machine() {
                Some(Machine::Amd64) => (0x38, 12),
                Some(Machine::X86) => (0x8C, 16),
                _ => return Outcome::NotApplicable,
            };
            of(facts.context.get(at..at + size), |selectors| {
                let set = selectors.iter().any(|byte| *byte != 0);
                holds(set, facts.header.context_offset(), "ContextRecord", || "all selectors are zero".to_owned())
            })
        };
    "windbg-kernel-context", WINDBG, Limit, "an instruction pointer of the kernel in the header's context",
        |facts| {
            let (at, size) = match facts.machine() {
                Some(Machine::Amd64) => (0xF8, 8),
                Some(Machine::X86) => (0xB8, 4),
                Some(Machine::Arm64) => (0x108, 8),
                None => return Outcome::NotApplicable,
            };
            of(facts.context.get(at..at + size), |bytes| {
                let kernel = bytes[size - 1] >> 7 == 1;
                holds(kernel, facts.header.context_offset(), "ContextRecord", || {
                    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
                    format!("the instruction pointer 0x{digits} is an address of user mode")
                })
            })
        };
    "page-tables", EVERY, Limit, "the top page table at DirectoryTableBase, to see virtual memory",
        |facts| with_pages(facts, |_| {
            let stored = facts.header.directory_table_base();
            let there = stored.is_some_and(|stored| {
                let mode = facts.snapshot.kernel_space().map(AddressSpace::mode);
                let root = mode.map_or(stored, |mode| mode.root(stored));
                let pages = facts.snapshot.physical_memory();
                pages.is_some_and(|pages| pages.place(root.pfn()).is_ok_and(|place| place.is_some()))
            });
            holds(there, facts.field(0x10, 0x10), "DirectoryTableBase", || match stored {
                Some(stored) => format!("no page at {stored}"),
                None => "not set".to_owned(),
            })
        });

    "kdmp-type", KDMP, Limit, "type 1, 5, 6, 8, 9 or 0xA",
        |facts| {
            let known = [FULL, BITMAP_FULL, BITMAP_KERNEL, DumpType::RANGE_KERNEL, DumpType::RANGE_ACTIVE, DumpType::RANGE_FULL];
            known_type(facts, &known, &known)
        };
    "kdmp-mxcsr", KDMP, Limit, "the same MXCSR in both of its places in a context of x64",
        |facts| {
            if facts.machine() != Some(Machine::Amd64) || facts.is_triage() {
                return Outcome::NotApplicable;
            }
            let (one, two) = (facts.context_u32(0x34), facts.context_u32(0x118));
            holds(one == two, facts.header.context_offset().saturating_add(0x34), "ContextRecord.MxCsr", || {
                format!("{:#x} and {:#x}", one.unwrap_or(0), two.unwrap_or(0))
            })
        };
    "kdmp-bitmap-tail", KDMP, Limit, "no pages behind the last 8 bits of the bitmap that are whole",
        |facts| with_bitmap(facts, |found| {
            let at = facts.field(0x1000, 0x2000).saturating_add(PAGES);
            holds(found.behind_8 == 0, at, "Pages", || format!("{} pages are not seen", found.behind_8))
        });
    "kdmp-ranges", KDMP, Limit, "MetadataSize that leads to FirstPageOffset",
        |facts| of(facts.ranges.as_ref(), |found| {
            let (size, first) = (found.metadata_size.get(), found.first_page.get());
            let fits = size.checked_sub(0x20).is_some_and(|size| first.checked_sub(0x2040) == Some(size));
            holds(fits, FileOffset(0x2010), "MetadataSize", || format!("{size:#x}, the first page is at {first:#x}"))
        });

    "leechcore-type", LEECHCORE, Limit, "type 1, 5 or 6; 1 alone of 32-bit machines",
        |facts| known_type(facts, &[FULL], &[FULL, BITMAP_FULL, BITMAP_KERNEL]);
    "leechcore-first-page", LEECHCORE, Limit, "a first page on the border of a page, in the first 16 MiB",
        |facts| with_bitmap(facts, |found| {
            let first = FileOffset(found.header.first_page.get());
            let fits = first.0.is_multiple_of(PAGE_SIZE) && first <= BitmapLayout::LEECHCORE_FIRST_PAGE;
            let at = facts.field(0x1000, 0x2000).saturating_add(FIRST_PAGE);
            holds(fits, at, "FirstPage", || format!("{first}"))
        });
    "leechcore-bits", LEECHCORE, Limit, "fewer than 2^31 bits, and no pages behind the last 64 that are whole",
        |facts| with_bitmap(facts, |found| {
            let bits = found.header.pages.get();
            let at = facts.field(0x1000, 0x2000).saturating_add(PAGES);
            if bits > 0x7FFF_FFFF {
                return holds(false, at, "Pages", || format!("{bits:#x} bits"));
            }
            holds(found.behind_64 == 0, at, "Pages", || format!("{} pages are not seen", found.behind_64))
        });
    "leechcore-runs", LEECHCORE, Limit, "at most 128 runs",
        |facts| runs_at_most(facts, 128);
    "leechcore-size", LEECHCORE, Limit, "a file of 16 MiB or more",
        |facts| with_pages(facts, |_| {
            holds(facts.size >= 16 << 20, FileOffset(facts.size), "file", || format!("{:#x} bytes", facts.size))
        });

    "volatility-type", VOLATILITY, Limit, "type 1 or 5",
        |facts| known_type(facts, &[FULL, BITMAP_FULL], &[FULL, BITMAP_FULL]);
    "volatility-pages", VOLATILITY, Limit, "at least one page",
        |facts| with_pages(facts, |pages| holds(pages > 0, facts.primary_end, "pages", || "none".to_owned()));

    "memflow-type", MEMFLOW, Limit, "type 1 or 5 of an x64 machine, with a bitmap that starts with `FDMP`",
        |facts| {
            if let Some(found) = &facts.bitmap
                && found.header.signature != bitmap::SIGNATURE_FULL
            {
                let signature = found.header.signature.escape_ascii();
                return holds(false, facts.field(0x1000, 0x2000), "Signature", || format!("{signature}"));
            }
            let known: &[DumpType] = if facts.machine() == Some(Machine::Amd64) { &[FULL, BITMAP_FULL] } else { &[] };
            known_type(facts, &[], known)
        };
    "memflow-runs", MEMFLOW, Limit, "at most 32 runs",
        |facts| runs_at_most(facts, 32);

    "rizin-type", RIZIN, Limit, "type 1, 4, 5 or 6 of a 64-bit machine",
        |facts| {
            let found = facts.header.dump_type();
            let known = facts.header.is_64() && [FULL, DumpType::TRIAGE, BITMAP_FULL, BITMAP_KERNEL].contains(&found);
            holds(known, facts.dump_type_at(), "DumpType", || {
                let width = if facts.header.is_64() { 64 } else { 32 };
                format!("{found} of a {width}-bit machine is not opened")
            })
        };
    "rizin-driver-names", RIZIN, Limit, "names of drivers of at most 1024 characters",
        |facts| with_triage(facts, |triage| of(triage.longest_name, |(at, length)| {
            holds(length <= 1024, at, "DUMP_STRING", || format!("{length} characters"))
        }));
}

fn runs_at_most(facts: &Facts<'_>, most: u32) -> Outcome {
    if !matches!(facts.body, Body::Runs { .. }) {
        return Outcome::NotApplicable;
    }
    of(facts.header.physical_memory(), |runs| {
        let count = runs.number_of_runs();
        holds(count <= most, facts.field(0x64, 0x88), "PhysicalMemoryBlock", || {
            format!("{count} runs, at most {most} are read")
        })
    })
}
