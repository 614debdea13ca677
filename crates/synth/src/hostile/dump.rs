//! Dumps whose headers and tables lie, and random damage.

use core::mem::offset_of;

use dotdump_format::kernel::{DumpHeader32, DumpHeader64, DumpType};

use crate::random::Random;

/// What is wrong with a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostileDump {
    /// The number of runs is as large as can be.
    RunCount,
    /// The runs are the right number and random.
    RandomRuns,
    /// The runs overlap and descend.
    OverlappingRuns,
    /// A run goes up to the last page that there can be.
    EndlessRun,
    /// The bitmap's number of bits, or the size of the table of ranges, is as large as can be.
    TableSize,
    /// The first page is behind the end of the file.
    FirstPageOutside,
    /// The first page is within the header.
    FirstPageInHeader,
    /// The number of pages is another one than the bitmap or the ranges have.
    PageCount,
    /// Every bit of the bitmap is set, or every range is as long as can be.
    TableFull,
    /// The type is another one.
    WrongType,
    /// The type is one that nobody knows.
    UnknownType,
    /// The root of page tables is anywhere.
    WildRoot,
    /// Addresses in the header are random.
    WildAddresses,
    /// The context has nothing but ones.
    WildContext,
    /// The file is cut off within its header.
    CutInHeader,
    /// The file is cut off within its tables.
    CutInTables,
    /// The file is cut off within its pages.
    CutInPages,
    /// Blobs are as large as can be.
    BlobSize,
}

/// What both headers have: where a field is.
struct Fields {
    header: usize,
    pointer: usize,
    root: usize,
    runs: usize,
    run: usize,
    context: usize,
    kind: usize,
}

const FIELDS_32: Fields = Fields {
    header: 0x1000,
    pointer: 4,
    root: offset_of!(DumpHeader32, directory_table_base),
    runs: offset_of!(DumpHeader32, physical_memory_block),
    run: 8,
    context: offset_of!(DumpHeader32, context_record),
    kind: offset_of!(DumpHeader32, dump_type),
};

const FIELDS_64: Fields = Fields {
    header: 0x2000,
    pointer: 8,
    root: offset_of!(DumpHeader64, directory_table_base),
    runs: offset_of!(DumpHeader64, physical_memory_block),
    run: 16,
    context: offset_of!(DumpHeader64, context_record),
    kind: offset_of!(DumpHeader64, dump_type),
};

impl HostileDump {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::RunCount,
        Self::RandomRuns,
        Self::OverlappingRuns,
        Self::EndlessRun,
        Self::TableSize,
        Self::FirstPageOutside,
        Self::FirstPageInHeader,
        Self::PageCount,
        Self::TableFull,
        Self::WrongType,
        Self::UnknownType,
        Self::WildRoot,
        Self::WildAddresses,
        Self::WildContext,
        Self::CutInHeader,
        Self::CutInTables,
        Self::CutInPages,
        Self::BlobSize,
    ];

    /// Changes a dump. One that lacks what is to be changed stays as it is.
    pub fn apply(self, dump: &mut Vec<u8>, seed: u64) {
        let mut random = Random::new(seed);
        let fields = if dump.get(4..8) == Some(b"DUMP".as_slice()) {
            FIELDS_32
        } else {
            FIELDS_64
        };
        let (body, run) = (fields.header, fields.runs + fields.run);
        let pointer = fields.pointer;
        let ranges = dump.get(body + 4..body + 8) == Some(b"RDMP".as_slice());
        match self {
            Self::RunCount => put(dump, fields.runs, &u64::MAX.to_le_bytes()[..4]),
            Self::RandomRuns => noise(dump, run, 2 * fields.run, &mut random),
            Self::OverlappingRuns => {
                for (index, page) in [0x900_u64, 0x100, 0x180, 0x101].into_iter().enumerate() {
                    put(dump, run + index * fields.run, &page.to_le_bytes()[..pointer]);
                    put(
                        dump,
                        run + index * fields.run + pointer,
                        &0x100_u64.to_le_bytes()[..pointer],
                    );
                }
                put(dump, fields.runs, &4_u32.to_le_bytes());
            }
            Self::EndlessRun => put(dump, run + pointer, &u64::MAX.to_le_bytes()[..pointer]),
            Self::TableSize => put(dump, body + if ranges { 0x10 } else { 0x30 }, &u64::MAX.to_le_bytes()),
            Self::FirstPageOutside => {
                let end = dump.len() as u64 + random.below(1 << 40);
                put(dump, body + if ranges { 0x18 } else { 0x20 }, &end.to_le_bytes());
            }
            Self::FirstPageInHeader => {
                put(
                    dump,
                    body + if ranges { 0x18 } else { 0x20 },
                    &random.below(body as u64).to_le_bytes(),
                );
            }
            Self::PageCount => put(dump, body + 0x28, &random.bits().to_le_bytes()),
            Self::TableFull if ranges => put(dump, body + 0x38, &[0xFF; 8]),
            Self::TableFull => put(dump, body + 0x38, &[0xFF; 64]),
            Self::WrongType => {
                let others = [
                    DumpType::FULL,
                    DumpType::SUMMARY,
                    DumpType::TRIAGE,
                    DumpType::BITMAP_FULL,
                    DumpType::RANGE_KERNEL,
                    DumpType::RANGE_FULL,
                ];
                if let Some(other) = random.choose(&others) {
                    put(dump, fields.kind, &other.0.to_le_bytes());
                }
            }
            Self::UnknownType => put(dump, fields.kind, &[0xEE; 4]),
            Self::WildRoot => noise(dump, fields.root, pointer, &mut random),
            Self::WildAddresses => noise(dump, fields.root + pointer, 3 * pointer, &mut random),
            Self::WildContext => put(dump, fields.context, &[0xFF; 0x2CC]),
            Self::CutInHeader => cut(dump, 8, body, &mut random),
            Self::CutInTables => cut(dump, body, body + 0x1000, &mut random),
            Self::CutInPages => cut(dump, body + 0x1000, usize::MAX, &mut random),
            Self::BlobSize => {
                if let Some(at) = dump.windows(8).rposition(|bytes| bytes == b"DumpBlob") {
                    put(dump, at + 0x10 + 0x14, &[0xFF; 4]);
                }
            }
        }
    }
}

/// Overwrites what of `bytes` lies within the dump.
fn put(dump: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in dump.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

fn noise(dump: &mut [u8], at: usize, size: usize, random: &mut Random) {
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    put(dump, at, &bytes);
}

fn cut(dump: &mut Vec<u8>, from: usize, to: usize, random: &mut Random) {
    let (from, to) = (from.min(dump.len()), to.min(dump.len()));
    let length = random.below((to - from) as u64);
    dump.truncate(from + usize::try_from(length).unwrap_or(0));
}

/// Damages a kernel dump in one to four places: its header and tables more often than its pages, which are many.
pub fn damage(dump: &mut Vec<u8>, random: &mut Random) {
    const EXTREMES: [u64; 8] = [0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX, 1 << 63, 0xFFFF_F000, 1 << 40];
    for _ in 0..=random.below(4) {
        let size = dump.len() as u64;
        let near = if random.below(4) == 0 { size } else { size.min(0x2100) };
        let at = usize::try_from(random.below(near)).unwrap_or(0);
        match random.below(5) {
            0 => {
                if let Some(byte) = dump.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => noise(dump, at, 8, random),
            2 => {
                let extreme = random.choose(&EXTREMES).copied().unwrap_or(0);
                let width = if random.below(2) == 0 { 4 } else { 8 };
                put(dump, at & !3, &extreme.to_le_bytes()[..width]);
            }
            3 => {
                let other = HostileDump::ALL;
                let seed = random.bits();
                if let Some(other) = random.choose(&other) {
                    other.apply(dump, seed);
                }
            }
            _ => {
                let length = random.below(0x1000);
                let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
                put(dump, at, &zeros);
            }
        }
    }
}
