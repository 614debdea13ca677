use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::super::bitmap::BitmapLayout;
use super::super::physical_memory::MemoryRun;
use super::super::range::RangeLayout;
use super::super::secondary_data;
use super::*;
use crate::addr::{PAGE_SIZE, Pfn};
use crate::layout::{Layout, Piece};
use crate::minidump::guid::Guid;
use crate::record::Endian;

const RUNS: [MemoryRun; 2] = [
    MemoryRun {
        base_page: Pfn(1),
        page_count: 2,
    },
    MemoryRun {
        base_page: Pfn(100),
        page_count: 3,
    },
];

fn header(machine: Machine, dump_type: DumpType) -> Header {
    let mut header = Header::unset(machine);
    match &mut header {
        Header::Dump32(header) => {
            header.machine_image_type = u32::from(machine.machine_type().0).into();
            header.dump_type = dump_type.0.into();
        }
        Header::Dump64(header) => {
            header.machine_image_type = u32::from(machine.machine_type().0).into();
            header.dump_type = dump_type.0.into();
        }
    }
    header
}

fn set_attributes(header: &mut Header, bits: u32) {
    match header {
        Header::Dump32(header) => header.attributes = bits.into(),
        Header::Dump64(header) => header.attributes = bits.into(),
    }
}

/// A dump of the pages of [`RUNS`] with one blob behind them.
fn dump(machine: Machine, dump_type: DumpType) -> Vec<u8> {
    let mut header = header(machine, dump_type);
    let mut layout = Layout::new(Endian::Little);
    match dump_type.0 {
        0 | 1 => {
            header.set_physical_memory(&RUNS).unwrap();
            layout.push_bytes(header.as_bytes());
        }
        5..=7 => {
            let plan = BitmapLayout::new(header.size(), Pfn(103)).unwrap();
            let mut bits = vec![0_u8; 16];
            (bits[0], bits[12]) = (0b110, 0b111 << 4);
            layout.push_bytes(header.as_bytes());
            plan.write(&mut layout, bitmap::SIGNATURE_KERNEL, 5, |layout| {
                layout.push_bytes(&bits);
            });
        }
        8..=0xA => {
            layout.push_bytes(header.as_bytes());
            let plan = RangeLayout::new(header.size(), 2).unwrap();
            plan.write(&mut layout, dump_type, &RUNS).unwrap();
        }
        other => panic!("{other}"),
    }
    for page in 1..=5 {
        layout.push_bytes(&[page; 0x1000]);
    }
    secondary_data::write_header(&mut layout, 0xF000_4A61);
    let blob = |layout: &mut Layout| {
        layout.push_bytes(b"blob");
    };
    secondary_data::write_blob(&mut layout, Guid::from_digits(1), 4, blob).unwrap();
    let mut file = Vec::new();
    for piece in layout.finish().pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend_from_slice(&bytes),
            other => file.resize(file.len() + usize::try_from(other.size()).unwrap(), 0),
        }
    }
    file
}

const TYPES: [u32; 8] = [0, 1, 5, 6, 7, 8, 9, 0xA];

#[test]
fn each_type_is_found_with_what_follows_it() {
    for machine in [Machine::X86, Machine::Amd64, Machine::Arm64] {
        for dump_type in TYPES {
            let file = dump(machine, DumpType(dump_type));
            let dump = KernelDump::open(&file).unwrap();
            assert_eq!(dump.findings.as_slice(), [], "type {dump_type}");
            let found = match &dump.body {
                Body::Runs { pages, .. } => (1, *pages),
                Body::Bitmap(bitmap) => (5, bitmap.claimed_pages),
                Body::Ranges(ranges) => (8, ranges.ranges(&file).map(|range| range.unwrap().page_count).sum()),
                other => panic!("{other:?}"),
            };
            let expected = match dump_type {
                0 | 1 => 1,
                5..=7 => 5,
                _ => 8,
            };
            assert_eq!(found, (expected, 5), "type {dump_type}");
            let secondary = dump.secondary_data(&file).unwrap().unwrap();
            let blobs: Vec<_> = secondary.blobs(&file).map(Result::unwrap).collect();
            assert_eq!((blobs.len(), blobs[0].size), (1, 4));
        }
    }
}

#[test]
fn the_body_counts_for_more_than_the_type() {
    for (written, named) in [(5, 1), (6, 8), (9, 6), (0xA, 0x77)] {
        let mut file = dump(Machine::Amd64, DumpType(written));
        file[0xF98] = named;
        let dump = KernelDump::open(&file).unwrap();
        assert_eq!(dump.findings.total(), 1);
        assert_eq!(matches!(dump.body, Body::Bitmap(_)), written < 8);
        assert_eq!(matches!(dump.body, Body::Ranges(_)), written >= 8);
    }
    // The runs of a dump whose type needs a magic say nothing.
    let mut file = dump(Machine::Amd64, DumpType::FULL);
    for dump_type in [2, 5, 6, 7, 8, 9, 0xA] {
        file[0xF98] = dump_type;
        let error = KernelDump::open(&file).unwrap_err().to_string();
        assert!(error.contains("DumpType"), "{error}");
    }
    file[0xF98] = 0x77;
    assert_eq!(KernelDump::open(&file).unwrap().findings.total(), 1);
    file[0xF98] = 3;
    assert_eq!(KernelDump::open(&file).unwrap().body, Body::HeaderOnly);
}

#[test]
fn an_unknown_type_names_itself_and_its_body() {
    let mut file = header(Machine::Amd64, DumpType(0)).as_bytes().to_vec();
    file.extend_from_slice(b"GARBAGE!");
    let error = KernelDump::open(&file).unwrap_err().to_string();
    assert!(error.contains("0x0 (unknown)") && error.contains("GARBAGE!"), "{error}");
    assert!(error.contains("DumpType at file offset 0xf98"), "{error}");
}

#[test]
fn a_triage_dump_is_found_without_its_type() {
    let mut file = header(Machine::Amd64, DumpType::TRIAGE).as_bytes().to_vec();
    for number in [0, 0x3004, 0x3000_u32] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    file.resize(0x3000, 0);
    file.extend_from_slice(b"TRGD");
    for (named, findings) in [(4, 0), (6, 1)] {
        file[0xF98] = named;
        let dump = KernelDump::open(&file).unwrap();
        assert_eq!(
            dump.body,
            Body::Triage {
                offset: FileOffset(0x2000)
            }
        );
        assert_eq!(dump.findings.total(), findings);
        assert_eq!(dump.primary_end(&file), Ok(FileOffset(0x3004)));
    }
}

#[test]
fn a_triage_dump_that_was_cut_has_its_header() {
    for (machine, record) in [(Machine::X86, 0x68), (Machine::Amd64, 0x80)] {
        let mut file = header(machine, DumpType::TRIAGE).as_bytes().to_vec();
        let start = file.len();
        for (size, body) in [
            (0, Body::HeaderOnly),
            (record - 1, Body::HeaderOnly),
            (
                record,
                Body::Triage {
                    offset: FileOffset(start as u64),
                },
            ),
        ] {
            file.resize(start + size, 0);
            let dump = KernelDump::open(&file).unwrap();
            assert_eq!(dump.findings.is_empty(), body != Body::HeaderOnly);
            assert_eq!(dump.body, body);
        }
    }
}

#[test]
fn machines_that_are_not_known_are_refused() {
    for (number, name) in [(MachineType::IA64, "IA-64"), (MachineType::EBC, "EFI byte code")] {
        let mut file = dump(Machine::Amd64, DumpType::FULL);
        file[0x30..0x32].copy_from_slice(&number.0.to_le_bytes());
        let error = KernelDump::open(&file).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    // A damaged number is no reason to lose the pages.
    let mut file = dump(Machine::Amd64, DumpType::FULL);
    file[0x30] = 0x77;
    assert_eq!(KernelDump::open(&file).unwrap().findings.total(), 1);
}

#[test]
fn encrypted_and_compressed_dumps_are_refused() {
    for machine in [Machine::X86, Machine::Amd64] {
        let mut file = dump(machine, DumpType::FULL);
        let mut fields = Header::read(&file).unwrap();
        // The filler has the bit as well.
        assert!(KernelDump::open(&file).is_ok());
        set_attributes(&mut fields, 0x140);
        file[..fields.as_bytes().len()].copy_from_slice(fields.as_bytes());
        assert!(KernelDump::open(&file).unwrap_err().to_string().contains("encrypted"));

        let mut file = dump(machine, DumpType::BITMAP_KERNEL);
        for (bits, refused) in [(0x10, true), (0x14, false), (0, false)] {
            set_attributes(&mut fields, bits);
            let attributes = if fields.is_64() { 0x1050 } else { 0x8A0 };
            file[attributes..attributes + 4].copy_from_slice(&bits.to_le_bytes());
            assert!(KernelDump::open(&file).is_ok());
            let cut = &file[..file.len() - 0x2000];
            assert_eq!(KernelDump::open(&cut).is_err(), refused, "{bits:#x}");
        }
    }
}

#[test]
fn a_run_table_that_lies_keeps_what_comes_before() {
    let mut file = dump(Machine::Amd64, DumpType::FULL);
    file[0x90] = 77;
    let dump = KernelDump::open(&file).unwrap();
    assert_eq!(
        (dump.findings.total(), dump.body),
        (
            1,
            Body::Runs {
                first_page: FileOffset(0x2000),
                pages: 5
            }
        )
    );
    file[0xA8] = 0;
    let dump = KernelDump::open(&file).unwrap();
    assert_eq!(
        (dump.findings.total(), dump.body),
        (
            1,
            Body::Runs {
                first_page: FileOffset(0x2000),
                pages: 2
            }
        )
    );
    // A type that does not say that there are runs wants all of them in order.
    file[0xF98] = 0;
    assert!(KernelDump::open(&file).is_err());
}

const MAGICS: &[&[u8]] = &[b"", b"SDMPDUMP", b"FDMPDUMP", b"\x40\0\0\0RDMPDUMP"];

proptest! {
    /// Cut or damaged anywhere, a dump is read or refused, and what is read stays within its bounds.
    #[test]
    fn damage_is_read(
        dump_type in prop::sample::select(&TYPES[..]),
        is_64 in any::<bool>(),
        damage in prop::collection::vec((0_usize..0x3100, any::<u8>()), 0..20),
        size in prop_oneof![0_usize..0x4000, Just(usize::MAX)],
    ) {
        let mut file = dump(if is_64 { Machine::Amd64 } else { Machine::X86 }, DumpType(dump_type));
        for (at, byte) in damage {
            // Mostly in what is read: the descriptor and the body's header.
            let at = if at % 3 == 0 { at } else { [0x64, 0x88, 0xF98, 0x1000, 0x2000][at % 5] + at % 0x40 };
            file[at] = byte;
        }
        file.truncate(size);
        if let Ok(dump) = KernelDump::open(&file) {
            let _ = dump.secondary_data(&file).unwrap();
            if let Body::Bitmap(bitmap) | Body::Summary(bitmap) = dump.body {
                prop_assert!(bitmap.bits.div_ceil(8) <= file.len() as u64);
            }
            if let Body::Ranges(ranges) = dump.body {
                prop_assert!(ranges.ranges(&file).count() <= file.len() / 16);
            }
        }
    }

    #[test]
    fn any_bytes_behind_a_header_are_read(
        dump_type in 0_u32..12,
        magic in prop::sample::select(MAGICS),
        body in prop::collection::vec(any::<u8>(), 0..200),
        small in prop::collection::vec((0_usize..200, Just(0_u8)), 0..150),
    ) {
        let mut file = header(Machine::Amd64, DumpType(dump_type)).as_bytes().to_vec();
        file.extend_from_slice(magic);
        file.extend_from_slice(&body);
        for (at, byte) in small {
            if let Some(room) = file.get_mut(0x2000 + magic.len() + at) {
                *room = byte;
            }
        }
        if let Ok(dump) = KernelDump::open(&file) {
            let _ = dump.secondary_data(&file).unwrap();
        }
    }
}

/// A page more than the file has is no reason to refuse it: [`PAGE_SIZE`] bytes are cut from its end.
#[test]
fn a_cut_dump_is_opened() {
    for dump_type in TYPES {
        let file = dump(Machine::Amd64, DumpType(dump_type));
        let cut = &file[..file.len() - usize::try_from(PAGE_SIZE).unwrap()];
        let dump = KernelDump::open(&cut).unwrap();
        assert!(dump.primary_end(&cut).unwrap().0 > cut.len() as u64);
        assert_eq!(dump.secondary_data(&cut), Ok(None));
        let header_only = &file[..0x2000];
        assert_eq!(
            KernelDump::open(&header_only).is_ok(),
            dump_type != 0,
            "type {dump_type}"
        );
    }
    assert!(KernelDump::open(&dump(Machine::Amd64, DumpType::FULL)[..0x1FFF].as_bytes()).is_err());
}
