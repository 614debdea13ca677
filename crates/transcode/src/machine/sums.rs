//! The checksums of a dump of a machine, taken again.

use dotdump_format::kernel::triage::{Section, Triage};
use dotdump_format::kernel::{Body, KernelDump};
use dotdump_format::{Error, FileOffset, Findings, PAGE_SIZE, ReadAt};

use super::manifest::{MachineManifest, SCHEMA};
use super::secondary::Secondary;
use crate::verify::{DamagedBlock, ManifestReport, check_blocks};

/// Takes the checksums of a kernel dump that has a manifest.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn check(source: &dyn ReadAt, findings: &mut Findings) -> Result<ManifestReport, Error> {
    const WHAT: &str = "manifest";
    let mut report = ManifestReport::default();
    let secondary = Secondary::of(source)?;
    if let Some(finding) = secondary.finding {
        findings.push(finding);
    }
    let Some(blob) = secondary.manifest else {
        if let Some(sums) = secondary.checksums {
            findings.add(sums.header, WHAT, "checksums without a manifest");
        }
        return Ok(report);
    };
    report.present = true;
    let manifest = match MachineManifest::read(source, blob.data, blob.size.into()) {
        Ok(manifest) => manifest,
        Err(Error::Malformed(finding)) => {
            findings.push(finding);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.options = Some(manifest.options.clone());
    if manifest.schema != SCHEMA {
        findings.add(
            blob.data,
            WHAT,
            format!("version {}, {SCHEMA} expected", manifest.schema),
        );
        return Ok(report);
    }
    let block = manifest.checksums.block;
    let Some(sums) = manifest.checksums.offset().filter(|_| block > 0) else {
        findings.add(blob.data, WHAT, "no place and size of checksums");
        return Ok(report);
    };
    report.blocks = sums.0.div_ceil(block);
    // The last blob is padded to eight bytes.
    let table = report
        .blocks
        .checked_mul(4)
        .and_then(|table| table.checked_next_multiple_of(8));
    let expected = table.and_then(|table| sums.checked_add(table));
    if expected != Some(FileOffset(source.size())) {
        let expected = expected.map_or_else(|| "more than any file".to_owned(), |end| format!("{end}"));
        findings.add(
            source.size(),
            WHAT,
            format!("the file has {:#x} bytes, {expected} were written", source.size()),
        );
    }
    if secondary.checksums.is_none_or(|blob| blob.data != sums) {
        findings.add(sums, WHAT, "the blob of checksums is not where the manifest says");
    }
    check_blocks(source, block, sums, &mut report)?;
    let parts = Parts::of(source)?;
    for damaged in &mut report.damaged {
        damaged.holds = parts.of_block(damaged);
        let message = format!(
            "{} bytes are not those that were written; they hold {}",
            damaged.size,
            damaged.holds.join(", ")
        );
        findings.add(damaged.offset, "file", message);
    }
    let untold = report.damaged_total - report.damaged.len() as u64;
    if untold > 0 {
        findings.add(
            sums,
            "file",
            format!("{untold} more blocks are not as they were written"),
        );
    }
    Ok(report)
}

/// Where the parts of a dump lie.
struct Parts {
    /// The sections of a small dump, which has no pages.
    sections: Vec<Section>,
    header: FileOffset,
    pages: FileOffset,
    end: FileOffset,
}

impl Parts {
    fn of(source: &dyn ReadAt) -> Result<Self, Error> {
        let dump = KernelDump::open(source)?;
        let header = dump.body_offset();
        let pages = match &dump.body {
            Body::Runs { first_page, .. } => *first_page,
            Body::Bitmap(bitmap) | Body::Summary(bitmap) => bitmap.first_page,
            Body::Ranges(ranges) => ranges.first_page,
            Body::Triage { .. } | Body::HeaderOnly => header,
        };
        let sections = match dump.body {
            Body::Triage { .. } => {
                // What is wrong with them is told where the dump itself is looked at.
                match Triage::open(source, &dump.header, &mut Findings::default()) {
                    Ok(triage) => triage.sections().to_vec(),
                    Err(Error::Malformed(_)) => Vec::new(),
                    Err(error) => return Err(error),
                }
            }
            _ => Vec::new(),
        };
        Ok(Self {
            sections,
            header,
            pages,
            end: dump.primary_end(source)?,
        })
    }

    fn of_block(&self, block: &DamagedBlock) -> Vec<String> {
        let (start, end) = (block.offset, block.offset.saturating_add(block.size));
        let mut parts = Vec::new();
        if start < self.header {
            parts.push("the header".to_owned());
        }
        for section in &self.sections {
            if start < section.end() && end > section.offset {
                parts.push(section.kind.name().to_owned());
            }
        }
        if start < self.pages && end > self.header {
            parts.push("the table of pages".to_owned());
        }
        if self.sections.is_empty() && start < self.end && end > self.pages {
            let number = |at: FileOffset| at.0.saturating_sub(self.pages.0) / PAGE_SIZE;
            let last = number(FileOffset(end.min(self.end).0 - 1));
            parts.push(format!("pages {} to {last} of the file", number(start)));
        }
        if end > self.end {
            parts.push("secondary data".to_owned());
        }
        parts
    }
}
