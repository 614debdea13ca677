//! The header of a dump, derived from that of its source: what is known is kept, what is unset stays filler.

use dotdump_format::Error;
use dotdump_format::kernel::dump::attributes;
use dotdump_format::kernel::filler;
use dotdump_format::kernel::{DumpType, Header, MemoryRun};

/// `FilterDumpFile` of `DUMP_FILE_ATTRIBUTES` (`mindumpdef.h`): pages were left out.
pub const FILTER_DUMP_FILE: u32 = 0x40;

/// The longest comment that a header has room for, in bytes: a NUL follows it.
pub const MAX_COMMENT: usize = 127;

/// The size of the status record that build 26100 puts into the reserved part of the header, as it says itself (measured
/// on a dump of that build).
const STATUS_SIZE: u32 = 0x298;
/// Where the text lies in that record: the last 0x100 bytes of it.
const STATUS_TEXT: std::ops::Range<usize> = 0x198..0x298;

/// What makes a header differ from that of its source.
#[derive(Clone, Copy, Debug)]
pub struct Derivation<'a> {
    /// What lies behind it.
    pub dump_type: DumpType,
    /// The size of the file in bytes.
    pub size: u64,
    /// The runs of pages that follow it; `None` where pages are found by other means.
    pub runs: Option<&'a [MemoryRun]>,
    /// The comment; `None` keeps that of the source.
    pub comment: Option<&'a str>,
    /// Pages were left out, and the type does not say so.
    pub is_filtered: bool,
    /// The source has pages that the dump has not.
    pub is_cut: bool,
}

/// The header of a dump that is made of a source with header `source`.
///
/// # Errors
/// [`Error::TooLarge`] where the runs do not fit.
pub fn derive(source: &Header, derivation: &Derivation<'_>) -> Result<Header, Error> {
    let mut header = source.clone();
    match derivation.runs {
        Some(runs) => header.set_physical_memory(runs)?,
        None => {
            let is_real = header
                .physical_memory()
                .is_some_and(|runs| runs.implausible().is_none());
            if !is_real {
                header.unset_physical_memory();
            }
        }
    }
    let attributes = match derivation.is_filtered {
        true => Some(attributes(&header) | FILTER_DUMP_FILE),
        false => None,
    };
    macro_rules! set {
        ($header:ident) => {{
            $header.dump_type = derivation.dump_type.0.into();
            if let Some(attributes) = attributes {
                $header.attributes = attributes.into();
            }
        }};
    }
    match &mut header {
        Header::Dump32(header) => set!(header),
        Header::Dump64(header) => {
            set!(header);
            if derivation.is_cut {
                blank_status(&mut header.reserved_0);
            }
        }
    }
    set_required_space(&mut header, derivation.size);
    if let Some(comment) = derivation.comment {
        set_comment(&mut header, comment);
    }
    Ok(header)
}

/// Sets the size of the file in bytes.
pub(super) fn set_required_space(header: &mut Header, size: u64) {
    match header {
        Header::Dump32(header) => header.required_dump_space = size.into(),
        Header::Dump64(header) => header.required_dump_space = size.into(),
    }
}

/// The part of a comment that a header has room for.
#[must_use]
pub fn comment_that_fits(comment: &str) -> &str {
    let mut end = comment.len().min(MAX_COMMENT);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    &comment[..end]
}

/// Sets the comment. What does not fit is cut off.
pub(super) fn set_comment(header: &mut Header, comment: &str) {
    let field: &mut [u8] = match header {
        Header::Dump32(header) => &mut header.comment,
        Header::Dump64(header) => &mut header.comment,
    };
    let text = comment_that_fits(comment).as_bytes();
    // The field starts in phase with the filler in both headers.
    filler::fill(field, 0);
    field[..text.len()].copy_from_slice(text);
    field[text.len()] = 0;
}

/// The kernel says there how its dump went: that does not hold for what was taken out of it.
pub(super) fn blank_status(reserved: &mut [u8]) {
    if reserved.starts_with(&STATUS_SIZE.to_le_bytes()) {
        reserved[STATUS_TEXT].fill(0);
    }
}
