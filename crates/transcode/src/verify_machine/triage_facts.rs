//! What the checks ask of a triage dump.

use std::borrow::Cow;

use dotdump_format::kernel::Header;
use dotdump_format::kernel::triage::{Triage, TriageFamily, TriageFields};
use dotdump_format::{Error, FileOffset, Findings, ReadAt};

/// More data blocks than this are not looked at.
const MOST_BLOCKS: usize = 1 << 18;

/// See the [module](self).
pub(super) struct TriageFacts {
    pub(super) fields: TriageFields,
    pub(super) family: TriageFamily,
    /// Where the drivers' names lie that do not lie within the string pool.
    pub(super) names_outside: Option<(FileOffset, u64)>,
    /// The longest name, in characters, and where it is.
    pub(super) longest_name: Option<(FileOffset, u32)>,
    /// The first data block that does not lie between the header and the end of the primary data, and how many there are.
    pub(super) blocks_outside: Option<(FileOffset, u64)>,
    /// What `ContextOffset` leads to.
    pub(super) context: Option<Vec<u8>>,
}

impl TriageFacts {
    pub(super) fn gather(source: &dyn ReadAt, header: &Header, findings: &mut Findings) -> Result<Self, Error> {
        let triage = Triage::open(source, header, findings)?;
        let fields = *triage.fields();
        let mut facts = Self {
            fields,
            family: triage.family(),
            names_outside: None,
            longest_name: None,
            blocks_outside: None,
            context: None,
        };
        let pool = u64::from(fields.string_pool_offset);
        let pool_end = pool + u64::from(fields.string_pool_size);
        for driver in triage.drivers(findings)? {
            let at = u64::from(driver.entry.name_offset());
            let Some(end) = at.checked_add(4).filter(|end| *end <= source.size()) else {
                continue;
            };
            let length: [u8; 4] = source.bytes(FileOffset(at), 4)?.as_ref().try_into().unwrap_or_default();
            let length = u32::from_le_bytes(length);
            if facts.longest_name.is_none_or(|(_, longest)| length > longest) {
                facts.longest_name = Some((FileOffset(at), length));
            }
            if at < pool || end + u64::from(length) * 2 > pool_end {
                count(&mut facts.names_outside, FileOffset(at));
            }
        }
        let end = u64::from(fields.size_of_dump).min(source.size());
        let table = triage.block_table();
        for (index, block) in (0..).zip(table.iter().take(MOST_BLOCKS)) {
            let block = block?;
            let start = u64::from(block.offset.get());
            if start < header.size() || start + u64::from(block.size.get()) > end {
                count(&mut facts.blocks_outside, table.offset_of(index));
            }
        }
        facts.context = triage.context()?.map(Cow::into_owned);
        Ok(facts)
    }
}

fn count(tally: &mut Option<(FileOffset, u64)>, at: FileOffset) {
    let (_, count) = tally.get_or_insert((at, 0));
    *count += 1;
}
