//! Every layout, read back by nothing but the offsets of the format's description.

use std::collections::BTreeMap;

use dotdump_format::PhysAddr;
use dotdump_format::kernel::{Header, Machine};
use dotdump_format::layout::Piece;
use dotdump_snapshot::machine::Patch;
use dotdump_snapshot::paging::PagingMode;
use dotdump_transcode::machine::prepare;
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::sink::{Cancel, Control, Destination};
use proptest::prelude::*;

use crate::common::{FULL, Kept, Ram, TestMachine, TestPages, convert, read, refusal, request};

const LAYOUTS: [PageLayout; 3] = [PageLayout::Bitmap, PageLayout::Runs, PageLayout::Range];

fn kept(number: u8) -> Kept {
    match number {
        0..=2 => Kept::InFile,
        3 => Kept::Hidden,
        _ => Kept::Zero,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_layout_has_the_pages_of_the_source(
        runs in prop::collection::vec((1_u64..300, prop::collection::vec(0_u8..5, 1..40)), 1..30),
        patches in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..0x1000, 1_usize..0x1200), 0..4),
        machine in prop_oneof![Just(Machine::X86), Just(Machine::Amd64), Just(Machine::Arm64)],
        no_manifest in any::<bool>(),
        head in 0_usize..5000,
    ) {
        let mut ram = Ram::default();
        let mut places = BTreeMap::new();
        let mut next = 0;
        for (gap, pages) in runs {
            next += gap;
            for place in pages {
                places.insert(next, kept(place));
                if kept(place) == Kept::Zero { ram.add_zeroed(next) } else { ram.add(next) }
                next += 1;
            }
        }
        let pages = TestPages::new(ram, &vec![0xAA; head], |page| places[&page]);
        let mut source = TestMachine::new(&pages, machine, PagingMode::FourLevel, 0);
        let mut expected = pages.ram.clone();
        for (index, within, size) in patches {
            let numbers: Vec<u64> = places.keys().copied().collect();
            let address = index.get(&numbers) * 0x1000 + within;
            let bytes = vec![0x5A; size];
            for (at, byte) in (address..).zip(&bytes) {
                if let Some(page) = expected.0.get_mut(&(at / 0x1000)) {
                    page[usize::try_from(at % 0x1000).unwrap()] = *byte;
                }
            }
            source.patches.push(Patch { address: PhysAddr(address), bytes, what: "test" });
        }
        for (layout, dump_type) in LAYOUTS.into_iter().zip([5, 1, 0xA]) {
            let mut request = request(FULL, layout);
            request.no_manifest = no_manifest;
            if layout == PageLayout::Range && machine != Machine::Amd64 {
                prop_assert!(refusal(&source, &request).contains("x64 only"));
                continue;
            }
            let (file, conversion) = convert(&source, &request).unwrap();
            let dump = read(&file);
            prop_assert_eq!(dump.dump_type, dump_type);
            prop_assert!(dump.pages == expected.0, "{layout}");
            prop_assert_eq!(dump.end == file.len() as u64, no_manifest);
            prop_assert_eq!(conversion.report.written.pages, expected.0.len() as u64);
            prop_assert_eq!(conversion.report.kept[0].pages, expected.0.len() as u64);
        }
    }
}

/// Every other page of a source whose pages lie one behind the other, and of one that has all of them.
#[test]
fn every_other_page() {
    for is_packed in [true, false] {
        let mut ram = Ram::default();
        (2..3000)
            .filter(|page| !is_packed || page % 2 == 0)
            .for_each(|page| ram.add(page));
        let pages = TestPages::new(ram, b"", |_| Kept::InFile);
        let machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, 0);
        let conversion = prepare(&machine, Some(&pages.file), &request(FULL, PageLayout::Range)).unwrap();
        assert_eq!(conversion.report.written.runs, if is_packed { 1499 } else { 1 });
        let of_pages = |piece: &&Piece| matches!(piece, Piece::Pages { .. } | Piece::PageRanges { .. });
        assert_eq!(conversion.planned().plan.pieces.iter().filter(of_pages).count(), 2);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.dmp");
        let cancel = Cancel::new();
        let destination = Destination::file(&path, false, None).unwrap();
        let mut sink = destination
            .open(Some(conversion.size()), Control::new(&cancel, &()))
            .unwrap();
        conversion.write(&mut *sink).unwrap();
        sink.finish().unwrap();
        assert!(read(&std::fs::read(&path).unwrap()).pages == pages.ram.0);

        if is_packed {
            let told = refusal(&machine, &request(FULL, PageLayout::Runs));
            assert!(told.contains("1499 runs, and the header has room for 42"), "{told}");
        }
    }
}

#[test]
fn page_zero_has_no_name_in_a_table_of_ranges() {
    let mut ram = Ram::default();
    (0..5).for_each(|page| ram.add(page));
    let pages = TestPages::new(ram, b"", |_| Kept::InFile);
    let machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, 0);
    let (file, conversion) = convert(&machine, &request(FULL, PageLayout::Range)).unwrap();
    assert_eq!(read(&file).pages.into_keys().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(conversion.report.absent[0].message.contains("page 0"));
    assert_eq!(conversion.report.dropped[0].pages, 1);
    let (file, conversion) = convert(&machine, &request(FULL, PageLayout::Bitmap)).unwrap();
    assert_eq!(read(&file).pages.len(), 5);
    assert!(conversion.report.absent.is_empty());
}

#[test]
fn a_dump_of_pages_has_no_budget() {
    let mut ram = Ram::default();
    (1..9).for_each(|page| ram.add(page));
    let pages = TestPages::new(ram, b"", |_| Kept::InFile);
    let machine = TestMachine::new(&pages, Machine::X86, PagingMode::Pae, 0);
    let mut request = request(FULL, PageLayout::Runs);
    let size = prepare(&machine, Some(&pages.file), &request).unwrap().size();
    // The text of the manifest tells the options.
    request.max_size = Some(size + 100);
    let size = prepare(&machine, Some(&pages.file), &request).unwrap().size();
    request.max_size = Some(size - 1);
    assert!(refusal(&machine, &request).contains("only -m"));
    assert!(matches!(machine.header, Header::Dump32(_)));
}
