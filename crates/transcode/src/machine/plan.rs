//! Laying out a dump of a machine.

use dotdump_format::kernel::bitmap::{SIGNATURE_FULL, SIGNATURE_KERNEL};
use dotdump_format::kernel::secondary_data::{write_blob, write_header};
use dotdump_format::kernel::{BitmapLayout, DumpType, Header, MemoryRun, RangeLayout};
use dotdump_format::layout::{Layout, Piece, Plan};
use dotdump_format::{Endian, Error, Pfn};
use dotdump_snapshot::PageSet;

use super::coverage::Coverage;
use super::header::{Derivation, derive};
use super::manifest::{CHECKSUMS_TAG, MANIFEST_TAG, MachineManifest};
use super::secondary::Secondary;
use crate::manifest::{BLOCK, hex16};
use crate::request::PageLayout;

/// The type of a dump with the pages of `coverage`.
#[must_use]
pub const fn dump_type(coverage: Coverage, layout: PageLayout) -> DumpType {
    match (layout, coverage) {
        (PageLayout::Runs, _) => DumpType::FULL,
        (PageLayout::Bitmap, Coverage::Complete | Coverage::Active) => DumpType::BITMAP_FULL,
        (PageLayout::Bitmap, Coverage::Kernel) => DumpType::BITMAP_KERNEL,
        (PageLayout::Range, Coverage::Complete) => DumpType::RANGE_FULL,
        (PageLayout::Range, Coverage::Active) => DumpType::RANGE_ACTIVE,
        (PageLayout::Range, Coverage::Kernel) => DumpType::RANGE_KERNEL,
    }
}

/// Whether the type promises all memory, so that an attribute has to say that pages were left out.
const fn is_filtered(coverage: Coverage, dump_type: DumpType) -> bool {
    !matches!(coverage, Coverage::Complete) && matches!(dump_type, DumpType::FULL | DumpType::BITMAP_FULL)
}

/// What goes into a dump.
#[derive(Clone, Copy)]
pub(super) struct Ingredients<'a> {
    pub(super) header: &'a Header,
    pub(super) pages: &'a PageSet,
    pub(super) coverage: Coverage,
    pub(super) layout: PageLayout,
    pub(super) comment: Option<&'a str>,
    /// The source has pages that are not among them.
    pub(super) is_cut: bool,
    pub(super) secondary: &'a Secondary,
    pub(super) manifest: Option<&'a MachineManifest>,
}

/// A dump as it will be.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its pieces.
    pub plan: Plan,
    /// Its type.
    pub dump_type: DumpType,
    /// How many pages it has.
    pub pages: u64,
    /// How many runs of pages those are.
    pub runs: u64,
}

/// Lays out a dump.
///
/// # Errors
/// [`Error::TooLarge`] where the pages do not fit the layout.
pub(super) fn plan(ingredients: &Ingredients<'_>) -> Result<Planned, Error> {
    let Ingredients { header, pages, .. } = *ingredients;
    let dump_type = dump_type(ingredients.coverage, ingredients.layout);
    let mut layout = Layout::new(Endian::Little);
    let room = layout.reserve(header.as_bytes().len());
    let body = body(ingredients, dump_type, &mut layout)?;
    layout.push(Piece::Pages {
        first: Pfn(0),
        end: pages.end(),
        pages: pages.len(),
    });
    secondary_data(ingredients.secondary, header, ingredients.manifest, &mut layout)?;
    let derivation = Derivation {
        dump_type,
        size: layout.end().0,
        runs: body.runs.as_deref(),
        comment: ingredients.comment,
        is_filtered: is_filtered(ingredients.coverage, dump_type),
        is_cut: ingredients.is_cut,
    };
    layout.fill(room, 0, derive(header, &derivation)?.as_bytes());
    Ok(Planned {
        plan: layout.finish(),
        dump_type,
        pages: pages.len(),
        runs: body.number_of_runs,
    })
}

/// What was laid out in front of the pages.
struct Body {
    number_of_runs: u64,
    runs: Option<Vec<MemoryRun>>,
}

fn body(ingredients: &Ingredients<'_>, dump_type: DumpType, layout: &mut Layout) -> Result<Body, Error> {
    let Ingredients { header, pages, .. } = *ingredients;
    let mut body = Body {
        number_of_runs: count_runs(pages),
        runs: None,
    };
    match ingredients.layout {
        PageLayout::Runs => {
            let runs = pages.runs().take(header.max_runs() + 1).map(|(first, end)| MemoryRun {
                base_page: first,
                page_count: end.0 - first.0,
            });
            body.runs = Some(runs.collect());
        }
        PageLayout::Bitmap => {
            let bitmap = BitmapLayout::new(header.size(), pages.end())?;
            let signature = match ingredients.coverage {
                Coverage::Kernel => SIGNATURE_KERNEL,
                Coverage::Complete | Coverage::Active => SIGNATURE_FULL,
            };
            bitmap.write(layout, signature, pages.len(), |layout| {
                layout.push(Piece::PageBitmap { bits: bitmap.bits });
            });
        }
        PageLayout::Range => {
            let number = usize::try_from(body.number_of_runs).unwrap_or(usize::MAX);
            let ranges = RangeLayout::new(header.size(), number)?;
            ranges.write_table(layout, dump_type, pages.len(), |layout| {
                layout.push(Piece::PageRanges {
                    first: Pfn(0),
                    ranges: body.number_of_runs,
                });
            });
        }
    }
    Ok(body)
}

/// How many runs the pages are: how many of them have no page of the set right before them.
pub(super) fn count_runs(pages: &PageSet) -> u64 {
    let mut runs = 0;
    // Where the last word ends, if its last page is in the set.
    let mut joined = None;
    let mut next = pages.next_word(Pfn(0));
    while let Some((page, bits)) = next {
        let before = bits << 1 | u64::from(joined == Some(page));
        runs += u64::from((bits & !before).count_ones());
        let end = page.checked_add(64);
        joined = end.filter(|_| bits >> 63 == 1);
        next = end.and_then(|end| pages.next_word(end));
    }
    runs
}

/// Lays out the secondary data: the source's, the manifest, and behind everything that they cover the checksums.
///
/// # Errors
/// [`Error::TooLarge`] where a blob takes 4 GiB or more.
pub(super) fn secondary_data(
    secondary: &Secondary,
    header: &Header,
    manifest: Option<&MachineManifest>,
    layout: &mut Layout,
) -> Result<(), Error> {
    if secondary.blobs.is_empty() && manifest.is_none() {
        return Ok(());
    }
    write_header(layout, secondary.build_number.unwrap_or_else(|| build_number(header)));
    for blob in &secondary.blobs {
        write_blob(layout, blob.tag, to_usize(blob.size.into()), |layout| {
            layout.push(Piece::CopyFrom {
                offset: blob.data,
                size: blob.size.into(),
            });
        })?;
    }
    let Some(manifest) = manifest else { return Ok(()) };
    let mut manifest = manifest.clone();
    manifest.checksums.block = BLOCK;
    manifest.checksums.offset = hex16(0);
    let size = manifest.to_bytes().len();
    // Where the sums come to lie does not depend on how that number reads.
    let mut room = None;
    write_blob(layout, MANIFEST_TAG, size, |layout| room = Some(layout.reserve(size)))?;
    let sums = layout.end().saturating_add(BLOB_HEADER);
    manifest.checksums.offset = hex16(sums.0);
    if let Some(room) = room {
        layout.fill(room, 0, &manifest.to_bytes());
    }
    let size = sums.0.div_ceil(BLOCK) * 4;
    write_blob(layout, CHECKSUMS_TAG, to_usize(size), |layout| {
        layout.push(Piece::Checksums { block: BLOCK, size });
    })
}

/// A size as the writer of blobs takes it, which refuses what is larger than 4 GiB.
fn to_usize(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The size of what stands in front of a blob's data, in bytes.
const BLOB_HEADER: u64 = size_of::<dotdump_format::kernel::secondary_data::BlobHeader>() as u64;

/// `NtBuildNumber`: the build, and in the highest four bits whether it is a free one.
fn build_number(header: &Header) -> u32 {
    const FREE: u32 = 0xF;
    header.major_version().unwrap_or(FREE) << 28 | header.minor_version().unwrap_or(0) & 0x0FFF_FFFF
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_counted(runs in prop::collection::vec((0_u64..400_000, 1_u64..300), 0..40), long in 0_u64..100_000) {
            let mut pages = PageSet::default();
            pages.insert_run(Pfn(50_000), long);
            for (first, count) in runs {
                pages.insert_run(Pfn(first), count);
            }
            prop_assert_eq!(count_runs(&pages), pages.runs().count() as u64);
        }
    }
}
