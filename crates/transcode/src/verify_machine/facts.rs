//! What the checks ask of a dump, gathered once.

use dotdump_format::kernel::bitmap::BitmapHeader;
use dotdump_format::kernel::range::RangeHeader;
use dotdump_format::kernel::secondary_data::Blobs;
use dotdump_format::kernel::{Body, Header, KernelDump, Machine};
use dotdump_format::{Endian, Error, FileOffset, Finding, Findings, PAGE_SIZE, ReadAt, Record, VirtAddr};
use dotdump_snapshot::MachineSnapshot;

use super::triage_facts::TriageFacts;

/// The first bytes of a `KDDEBUGGER_DATA64`, up to its size.
const DEBUGGER_DATA_START: usize = 0x18;

/// See the [module](self).
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a dyn MachineSnapshot,
    pub(super) header: Header,
    pub(super) body: Body,
    pub(super) size: u64,
    /// What reading the container found.
    pub(super) findings: Findings,
    /// How many pages the body describes; `None` for a body without pages.
    pub(super) pages: Option<u64>,
    pub(super) bitmap: Option<BitmapFacts>,
    pub(super) ranges: Option<RangeHeader>,
    /// Where the primary data ends, be it within the file or not.
    pub(super) primary_end: FileOffset,
    pub(super) chain: Option<Chain>,
    /// The registers of the processor that stopped.
    pub(super) context: Vec<u8>,
    pub(super) triage: Option<TriageFacts>,
    /// The first bytes at `KdDebuggerDataBlock`; `None` where the address is set and memory is absent there.
    pub(super) debugger_data: Option<[u8; DEBUGGER_DATA_START]>,
}

/// Of a dump with a bitmap.
pub(super) struct BitmapFacts {
    /// As it stands in the file.
    pub(super) header: BitmapHeader,
    /// Bits that are set.
    pub(super) count: u64,
    /// Of these, those behind the last whole 64, and behind the last whole 8.
    pub(super) behind_64: u64,
    pub(super) behind_8: u64,
}

/// The chain of secondary data.
pub(super) struct Chain {
    /// Where it ends.
    pub(super) end: FileOffset,
    /// Why it ends where it does, where that is damage.
    pub(super) broken: Option<Finding>,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(source: &'a dyn ReadAt, snapshot: &'a dyn MachineSnapshot) -> Result<Self, Error> {
        let dump = KernelDump::open(source)?;
        let mut findings = dump.findings.clone();
        let body_offset = dump.body_offset();
        let mut bitmap = None;
        let mut ranges = None;
        let mut triage = None;
        let pages = match &dump.body {
            Body::Runs { pages, .. } => Some(*pages),
            Body::Bitmap(pages) | Body::Summary(pages) => {
                let count = pages.count(source)?;
                if matches!(dump.body, Body::Bitmap(_)) {
                    let header = source.bytes(body_offset, BitmapHeader::SIZE)?;
                    let mut last = [0];
                    pages.read_words(source, pages.words().saturating_sub(1), &mut last)?;
                    let behind = |unit: u64| {
                        let odd = pages.bits % unit;
                        let within = (pages.bits - odd) % 64;
                        if odd == 0 {
                            0
                        } else {
                            u64::from((last[0] >> within).count_ones())
                        }
                    };
                    bitmap = Some(BitmapFacts {
                        header: BitmapHeader::read_partial(&header, Endian::Little),
                        count,
                        behind_64: behind(64),
                        behind_8: behind(8),
                    });
                }
                Some(count)
            }
            Body::Ranges(table) => {
                let header = source.bytes(body_offset, RangeHeader::SIZE)?;
                ranges = Some(RangeHeader::read_partial(&header, Endian::Little));
                let mut all = table.ranges(source);
                for range in &mut all {
                    match range {
                        Ok(_) => {}
                        Err(Error::Malformed(finding)) => findings.push(finding),
                        Err(error) => return Err(error),
                    }
                }
                Some(all.pages())
            }
            Body::Triage { .. } => {
                triage = Some(TriageFacts::gather(source, &dump.header, &mut findings)?);
                None
            }
            Body::HeaderOnly => None,
        };
        let primary_end = dump.primary_end(source)?;
        let chain = match dump.secondary_data(source)? {
            Some(data) => Some(Chain::walk(data.blobs(source))?),
            None => None,
        };
        let stored = triage
            .as_mut()
            .and_then(|triage: &mut TriageFacts| triage.context.take());
        let debugger_data = debugger_data(snapshot, dump.header.kd_debugger_data_block())?;
        Ok(Self {
            snapshot,
            context: stored.unwrap_or_else(|| dump.header.context_record().to_vec()),
            header: dump.header,
            body: dump.body,
            size: source.size(),
            findings,
            pages,
            bitmap,
            ranges,
            primary_end,
            chain,
            triage,
            debugger_data,
        })
    }

    pub(super) fn is_triage(&self) -> bool {
        self.triage.is_some()
    }

    /// Where a field of the header lies: by its offset in 32 and 64 bits.
    pub(super) fn field(&self, narrow: u64, wide: u64) -> FileOffset {
        FileOffset(if self.header.is_64() { wide } else { narrow })
    }

    pub(super) fn dump_type_at(&self) -> FileOffset {
        self.field(0xF88, 0xF98)
    }

    pub(super) fn machine(&self) -> Option<Machine> {
        self.header.machine()
    }

    /// How many pages do not lie within the file.
    pub(super) fn pages_cut_off(&self) -> u64 {
        self.primary_end.0.saturating_sub(self.size).div_ceil(PAGE_SIZE)
    }

    /// Whether the list head at `address` can be read.
    pub(super) fn is_readable(&self, address: VirtAddr) -> bool {
        let mut pointers = [0; 16];
        let size = 2 * self.machine().map_or(8, Machine::pointer_size);
        let read = self.snapshot.kernel_memory().read(address, &mut pointers[..size]);
        read.is_ok_and(|read| read == size)
    }

    /// A 32-bit field of the context.
    pub(super) fn context_u32(&self, offset: usize) -> Option<u32> {
        let bytes = self.context.get(offset..offset + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }
}

impl Chain {
    fn walk(mut blobs: Blobs<'_>) -> Result<Self, Error> {
        let mut broken = None;
        for blob in &mut blobs {
            match blob {
                Ok(_) => {}
                Err(Error::Malformed(finding)) => broken = Some(finding),
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            end: blobs.position(),
            broken,
        })
    }
}

fn debugger_data(
    snapshot: &dyn MachineSnapshot,
    address: Option<VirtAddr>,
) -> Result<Option<[u8; DEBUGGER_DATA_START]>, Error> {
    let Some(address) = address else { return Ok(None) };
    let mut start = [0; DEBUGGER_DATA_START];
    let read = snapshot.kernel_memory().read(address, &mut start)?;
    Ok((read == start.len()).then_some(start))
}
