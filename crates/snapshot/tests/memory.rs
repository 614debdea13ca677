//! Memory by address against a model: a table of single bytes.

use std::collections::BTreeMap;

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::memory_list::{self, MemoryDescriptor};
use dotdump_format::minidump::memory64_list::{Memory64ListHeader, MemoryDescriptor64};
use dotdump_format::minidump::{
    DirectoryEntry, Header, LocationDescriptor, StreamType, VERSION_NUMBER, write_directory,
};
use dotdump_format::{Endian, Record, VirtAddr, VirtRange};
use dotdump_snapshot::memory::extents_in;
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot, RangeSet};
use proptest::prelude::*;

/// A dump with these ranges in a MemoryList and these in a Memory64List. Byte `i` of the file's data is a function of its
/// place, so that every range has bytes of its own.
fn dump(list: &[(u64, u32)], list64: &[(u64, u64)]) -> Vec<u8> {
    let mut layout = Layout::new(Endian::Little);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(2 * DirectoryEntry::SIZE);
    let (room, location) = memory_list::reserve(&mut layout, list.len()).unwrap();
    let room64 = layout.reserve(16 + 16 * list64.len());
    let location64 = layout.location(room64.offset, room64.size as u64, "test").unwrap();
    for (index, (start, size)) in list.iter().enumerate() {
        let rva = u32::try_from(layout.end().0).unwrap();
        let memory = LocationDescriptor {
            rva: rva.into(),
            data_size: (*size).into(),
        };
        let record = MemoryDescriptor {
            start_of_memory_range: (*start).into(),
            memory,
        };
        layout.fill_record(room, 4 + 16 * index, &record);
        push_data(&mut layout, u64::from(*size));
    }
    let head = Memory64ListHeader {
        number_of_memory_ranges: (list64.len() as u64).into(),
        base_rva: layout.end().0.into(),
    };
    layout.fill_record(room64, 0, &head);
    for (index, (start, size)) in list64.iter().enumerate() {
        let record = MemoryDescriptor64 {
            start_of_memory_range: (*start).into(),
            data_size: (*size).into(),
        };
        layout.fill_record(room64, 16 + 16 * index, &record);
        push_data(&mut layout, *size);
    }
    let entry = |kind: StreamType, location| DirectoryEntry {
        stream_type: kind.0.into(),
        location,
    };
    let entries = [
        entry(StreamType::MEMORY_LIST, location),
        entry(StreamType::MEMORY64_LIST, location64),
    ];
    let record = Header {
        version: VERSION_NUMBER.into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &entries).unwrap();
    let [Piece::Bytes(file)] = &layout.finish().pieces[..] else {
        panic!("only bytes")
    };
    file.clone()
}

fn push_data(layout: &mut Layout, size: u64) {
    let at = layout.end().0;
    let bytes: Vec<u8> = (at..at + size)
        .map(|place| u8::try_from(place * 7 % 251).unwrap())
        .collect();
    layout.push_bytes(&bytes);
}

/// What the format says of such a file, byte by byte: of two ranges with one address the first one counts, and those of
/// the MemoryList come first.
fn model(list: &[(u64, u32)], list64: &[(u64, u64)], file: &[u8]) -> BTreeMap<u64, u8> {
    let total: u64 = list.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
    let total64: u64 = list64.iter().map(|(_, size)| size).sum();
    let mut at = file_size(list, list64, total, total64) - total64 - total;
    let mut bytes = BTreeMap::new();
    let all = list
        .iter()
        .map(|(start, size)| (*start, u64::from(*size)))
        .chain(list64.iter().copied());
    for (start, size) in all {
        for index in 0..size {
            if let Some(byte) = file.get(usize::try_from(at + index).unwrap()) {
                bytes.entry(start + index).or_insert(*byte);
            }
        }
        at += size;
    }
    bytes
}

fn file_size(list: &[(u64, u32)], list64: &[(u64, u64)], total: u64, total64: u64) -> u64 {
    let tables = 32 + 24 + 4 + 16 * list.len() as u64 + 16 + 16 * list64.len() as u64;
    tables + total + total64
}

fn check(list: &[(u64, u32)], list64: &[(u64, u64)], kept: usize, probes: &[(u64, usize)]) {
    let mut file = dump(list, list64);
    let kept = kept.min(file.len());
    file.truncate(file.len() - kept.min(file.len() - (32 + 24 + 4 + 16 * list.len() + 16 + 16 * list64.len())));
    let expected = model(list, list64, &file);
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    let memory = snapshot.memory();

    let mut end = VirtAddr(0);
    let mut found = BTreeMap::new();
    for extent in memory.all() {
        let extent = extent.unwrap();
        assert!(
            extent.range.start >= end && !extent.range.is_empty(),
            "extents out of order: {extent:?}"
        );
        end = extent.range.end;
        for index in 0..extent.range.size() {
            let place = usize::try_from(extent.offset.unwrap().0 + index).unwrap();
            found.insert(extent.range.start.0 + index, file[place]);
        }
    }
    assert_eq!(found, expected);

    for (address, size) in probes {
        let mut buffer = vec![0xEE; *size];
        let there = memory.read(VirtAddr(*address), &mut buffer).unwrap();
        let wanted: Vec<u8> = (*address..)
            .map_while(|address| expected.get(&address).copied())
            .take(*size)
            .collect();
        assert_eq!(&buffer[..there], wanted, "at {address:#x}");
        let within = VirtRange::sized(VirtAddr(*address), *size as u64);
        let part: u64 = memory.extents(within).map(|extent| extent.unwrap().range.size()).sum();
        let wanted = expected.range(*address..*address + *size as u64).count() as u64;
        assert_eq!(part, wanted, "addresses in {within}");
    }
}

fn probes() -> impl Strategy<Value = Vec<(u64, usize)>> {
    prop::collection::vec((0_u64..700, 0_usize..90), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_ranges(
        list in prop::collection::vec((0_u64..600, 0_u32..40), 0..25),
        list64 in prop::collection::vec((0_u64..600, 0_u64..60), 0..25),
        cut in prop_oneof![Just(0), 0_usize..200],
        probes in probes(),
    ) {
        check(&list, &list64, cut, &probes);
    }

    /// One walk for many ranges gives what a search for each of them gives.
    #[test]
    fn extents_in_ranges(
        list in prop::collection::vec((0_u64..600, 0_u32..40), 0..25),
        sizes in prop::collection::vec((0_u64..3, 1_u64..3), 0..2000),
        wanted in prop::collection::vec((0_u64..6000, 1_u64..40), 0..20),
    ) {
        let mut start = 0;
        let list64: Vec<_> = sizes.iter().map(|(gap, size)| {
            let range = (start + gap, *size);
            start += gap + size;
            range
        }).collect();
        let file = dump(&list, &list64);
        let snapshot = MinidumpSnapshot::open(&file).unwrap();
        let memory = snapshot.memory();
        let wanted = wanted.iter().map(|(start, size)| VirtRange::sized(VirtAddr(*start), *size));
        let wanted = wanted.collect::<RangeSet>().into_vec();
        let searched: Vec<_> = wanted.iter().flat_map(|range| memory.extents(*range)).map(Result::unwrap).collect();
        let walked: Vec<_> = extents_in(memory, &wanted).map(Result::unwrap).collect();
        prop_assert_eq!(walked, searched);
    }

    /// As Windows writes them: in order, more of them than one mark covers.
    #[test]
    fn many_ranges_in_order(
        gaps in prop::collection::vec((0_u64..3, 0_u64..3), 500..900),
        probes in prop::collection::vec((0_u64..2500, 0_usize..300), 1..12),
    ) {
        let mut start = 0;
        let list64: Vec<_> = gaps.iter().map(|(gap, size)| {
            start += gap;
            let range = (start, *size);
            start += size;
            range
        }).collect();
        check(&[], &list64, 0, &probes);
        let list: Vec<_> = list64.iter().map(|(start, size)| (*start, u32::try_from(*size).unwrap())).collect();
        check(&list, &[], 0, &probes);
    }
}

#[test]
fn ranges_at_the_end_of_the_address_space_do_not_wrap() {
    let file = dump(&[], &[(u64::MAX - 3, 16), (0x1000, 4)]);
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    let extents: Vec<_> = snapshot.memory().all().map(Result::unwrap).collect();
    assert_eq!(extents[0].range, VirtRange::sized(VirtAddr(0x1000), 4));
    assert_eq!(extents[1].range.start, VirtAddr(u64::MAX - 3));
    assert_eq!(extents.len(), 2);
}

#[test]
fn a_cut_file_tells_what_is_missing() {
    let mut file = dump(&[], &[(0x1000, 64), (0x2000, 64)]);
    file.truncate(file.len() - 80);
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    assert_eq!(snapshot.missing_bytes(), 80);
    let told: Vec<_> = snapshot.findings().as_slice().iter().map(ToString::to_string).collect();
    assert!(
        told.iter()
            .any(|finding| finding.contains("0x50 bytes") && finding.contains("0x1030")),
        "{told:?}"
    );
}
