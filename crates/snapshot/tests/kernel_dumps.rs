//! Pages of kernel dumps against a model, a table of single pages, and against images of machines.

use std::collections::BTreeMap;

use dotdump_format::kernel::bitmap::SIGNATURE_FULL;
use dotdump_format::kernel::secondary_data;
use dotdump_format::kernel::{BitmapLayout, DumpType, Header, KernelDump, Machine, MemoryRun, RangeLayout};
use dotdump_format::layout::{Layout, Piece};
use dotdump_format::{Endian, FileOffset, PAGE_SIZE, Pfn, PhysAddr, ReadAt};
use dotdump_snapshot::machine::Patch;
use dotdump_snapshot::{DumpFile, KernelDumpMemory, PagePlace, PatchedMemory, PhysicalMemory};
use proptest::prelude::*;

const PAGE: usize = 0x1000;

/// What distinguishes a page: its bytes are this one, and its place in the file in front.
fn page_bytes(index: u64) -> Vec<u8> {
    let mut bytes = vec![index.to_le_bytes()[0]; PAGE];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    bytes
}

/// A dump of these runs, the pages in the order of the runs, and a chain of secondary data without blobs.
fn dump(machine: Machine, dump_type: DumpType, runs: &[MemoryRun]) -> Vec<u8> {
    let mut header = Header::unset(machine);
    let number = u32::from(machine.machine_type().0).into();
    match &mut header {
        Header::Dump32(header) => (header.machine_image_type, header.dump_type) = (number, dump_type.0.into()),
        Header::Dump64(header) => (header.machine_image_type, header.dump_type) = (number, dump_type.0.into()),
    }
    let pages = runs.iter().map(|run| run.page_count).sum();
    let mut layout = Layout::new(Endian::Little);
    match dump_type {
        DumpType::FULL => {
            header.set_physical_memory(runs).unwrap();
            layout.push_bytes(header.as_bytes());
        }
        DumpType::BITMAP_FULL | DumpType::BITMAP_KERNEL => {
            let end = runs.last().map_or(Pfn(0), |run| run.end().unwrap());
            let plan = BitmapLayout::new(header.size(), end).unwrap();
            let bits = bits_of(runs, usize::try_from(plan.bitmap_size()).unwrap());
            layout.push_bytes(header.as_bytes());
            plan.write(&mut layout, SIGNATURE_FULL, pages, |layout| {
                layout.push_bytes(&bits);
            });
        }
        DumpType::SUMMARY => {
            layout.push_bytes(header.as_bytes());
            let bits = runs.last().map_or(1, |run| run.end().unwrap().0);
            let bitmap = bits_of(runs, usize::try_from(bits.div_ceil(8)).unwrap());
            let fixed: u64 = if header.is_64() { 0x28 } else { 0x20 };
            let first = (header.size() + fixed + bitmap.len() as u64).next_multiple_of(PAGE_SIZE);
            layout.push_bytes(b"SDMPDUMP");
            for field in [1, first, bits, pages, bits] {
                layout.push_bytes(&u32::try_from(field).unwrap().to_le_bytes());
            }
            layout.push(Piece::Bytes(vec![0xCC; if header.is_64() { 12 } else { 4 }]));
            layout.push_bytes(&bitmap);
            layout.align(PAGE_SIZE);
        }
        _ => {
            layout.push_bytes(header.as_bytes());
            let plan = RangeLayout::new(header.size(), runs.len()).unwrap();
            plan.write(&mut layout, dump_type, runs).unwrap();
        }
    }
    for index in 0..pages {
        layout.push_bytes(&page_bytes(index));
    }
    secondary_data::write_header(&mut layout, 7);
    let mut file = Vec::new();
    for piece in layout.finish().pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend_from_slice(&bytes),
            other => file.resize(file.len() + usize::try_from(other.size()).unwrap(), 0),
        }
    }
    file
}

fn bits_of(runs: &[MemoryRun], size: usize) -> Vec<u8> {
    let mut bits = vec![0_u8; size];
    for page in runs.iter().flat_map(|run| run.base_page.0..run.end().unwrap().0) {
        bits[usize::try_from(page / 8).unwrap()] |= 1 << (page % 8);
    }
    bits
}

/// What the memory says of itself is what `model` (page → its bytes) has.
fn check(memory: &dyn PhysicalMemory, model: &BTreeMap<u64, Vec<u8>>) {
    assert_eq!(memory.pages_present(), model.len() as u64);
    let mut seen = Vec::new();
    for run in memory.runs(Pfn(0)) {
        let run = run.unwrap();
        assert!(run.pages > 0);
        for page in run.first.0..run.end().0 {
            let place = run.from(Pfn(page)).unwrap().place;
            assert_eq!(memory.place(Pfn(page)).unwrap(), Some(place));
            assert_eq!(
                memory.next_run(Pfn(page)).unwrap().map(|run| (run.first, run.place)),
                Some((Pfn(page), place))
            );
            seen.push(page);
        }
    }
    assert!(seen.iter().eq(model.keys()), "{seen:x?}");
    assert!(memory.end().0 >= seen.last().map_or(0, |last| last + 1));
    // Reads that cross the borders of pages, from each page and before it.
    for page in model.keys() {
        for start in [
            page * PAGE_SIZE,
            (page * PAGE_SIZE).saturating_sub(5),
            page * PAGE_SIZE + 4090,
        ] {
            let mut buffer = vec![0xA5; 2 * PAGE + 17];
            let size = memory.read(PhysAddr(start), &mut buffer).unwrap();
            let expected: Vec<u8> = (start..start + buffer.len() as u64)
                .map_while(|at| Some(model.get(&(at / PAGE_SIZE))?[usize::try_from(at % PAGE_SIZE).unwrap()]))
                .collect();
            assert!(
                buffer[..size] == expected,
                "{start:#x}: {size} of {} bytes",
                expected.len()
            );
        }
    }
}

fn model_of(runs: &[MemoryRun]) -> BTreeMap<u64, Vec<u8>> {
    let pages = runs.iter().flat_map(|run| run.base_page.0..run.end().unwrap().0);
    pages.zip(0..).map(|(page, index)| (page, page_bytes(index))).collect()
}

fn open(file: &dyn ReadAt) -> (KernelDump, KernelDumpMemory<'_>) {
    let dump = KernelDump::open(file).unwrap();
    let memory = KernelDumpMemory::open(file, &dump).unwrap().unwrap();
    (dump, memory)
}

const MACHINES: &[Machine] = &[Machine::X86, Machine::Amd64, Machine::Arm64];
const TYPES: &[DumpType] = &[
    DumpType::FULL,
    DumpType::SUMMARY,
    DumpType::BITMAP_FULL,
    DumpType::BITMAP_KERNEL,
    DumpType::RANGE_KERNEL,
    DumpType::RANGE_ACTIVE,
    DumpType::RANGE_FULL,
];

fn runs() -> impl Strategy<Value = Vec<MemoryRun>> {
    prop::collection::vec((1_u64..3000, 1_u64..6), 1..12).prop_map(|sizes| {
        let mut next = 0;
        let run = |(gap, page_count)| {
            let base_page = Pfn(next + gap);
            next = base_page.0 + page_count;
            MemoryRun { base_page, page_count }
        };
        sizes.into_iter().map(run).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_are_found(
        runs in runs(),
        machine in prop::sample::select(MACHINES),
        dump_type in prop::sample::select(TYPES),
    ) {
        let file = dump(machine, dump_type, &runs);
        let (dump, memory) = open(&file);
        prop_assert_eq!(dump.findings.as_slice(), []);
        prop_assert_eq!(memory.findings().as_slice(), []);
        check(&memory, &model_of(&runs));
        prop_assert_eq!(memory.pages_end(), dump.primary_end(&file).unwrap());
        prop_assert_eq!(memory.secondary_data().unwrap().map(|data| data.build_number), Some(7));
    }

    /// Ranges in any order, and with pages that are there twice.
    #[test]
    fn ranges_in_no_order_are_found(
        ranges in prop::collection::vec((1_u64..200, 1_u64..9), 1..20),
        kind in 8_u32..=0xA,
    ) {
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|(first, page_count)| MemoryRun { base_page: Pfn(first), page_count })
            .collect();
        let file = dump(Machine::Amd64, DumpType(kind), &ranges);
        let (_, memory) = open(&file);
        let mut copies: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (page, index) in ranges.iter().flat_map(|run| run.base_page.0..run.end().unwrap().0).zip(0..) {
            copies.entry(page).or_default().push(index);
        }
        prop_assert_eq!(memory.pages_present(), copies.len() as u64);
        prop_assert_eq!(memory.findings().is_empty(), copies.values().all(|copies| copies.len() == 1));
        let mut buffer = [0; 8];
        for (page, copies) in &copies {
            memory.read(PhysAddr(page * PAGE_SIZE), &mut buffer).unwrap();
            prop_assert!(copies.contains(&u64::from_le_bytes(buffer)), "page {page:#x}");
        }
    }

    /// A file that was cut has the pages before the cut, and tells how many it lacks.
    #[test]
    fn what_a_cut_file_has_is_found(
        runs in runs(),
        dump_type in prop::sample::select(TYPES),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = dump(Machine::Amd64, dump_type, &runs);
        let whole = model_of(&runs);
        let (_, memory) = open(&file);
        let first_page = usize::try_from(memory.pages_end().0).unwrap() - whole.len() * PAGE;
        drop(memory);
        file.truncate(first_page + cut.index(whole.len() * PAGE));
        let there = (file.len() - first_page) / PAGE;
        let (_, memory) = open(&file);
        check(&memory, &whole.clone().into_iter().take(there).collect());
        let text = memory.findings().as_slice().last().unwrap().to_string();
        let missing = format!("{} of {} pages are missing", whole.len() - there, whole.len());
        prop_assert!(text.contains(&missing), "{text}");
    }

    /// Damaged in its headers and tables, a dump shows no page outside of its file, and each at most once.
    #[test]
    fn damage_is_read(
        runs in runs(),
        machine in prop::sample::select(MACHINES),
        dump_type in prop::sample::select(TYPES),
        damage in prop::collection::vec((0_usize..5, 0_usize..0x80, any::<u8>()), 1..20),
        size in prop_oneof![0_usize..0x8000, Just(usize::MAX)],
    ) {
        let mut file = dump(machine, dump_type, &runs);
        for (place, within, byte) in damage {
            if let Some(room) = file.get_mut([0x64, 0x88, 0xF80, 0x1000, 0x2000][place] + within) {
                *room = byte;
            }
        }
        file.truncate(size);
        let Ok(dump) = KernelDump::open(&file) else { return Ok(()) };
        let Some(memory) = KernelDumpMemory::open(&file, &dump).unwrap() else { return Ok(()) };
        let _ = memory.secondary_data().unwrap();
        let mut pages = 0;
        let mut last = None;
        let physical: &dyn PhysicalMemory = &memory;
        for run in physical.runs(Pfn(0)) {
            let run = run.unwrap();
            let PagePlace::File(offset) = run.place else { panic!("{run:?}") };
            prop_assert!(offset.0 + run.pages * PAGE_SIZE <= file.len() as u64);
            prop_assert!(last < Some(run.first));
            last = Some(run.end().saturating_sub(1));
            pages += run.pages;
        }
        prop_assert_eq!(pages, memory.pages_present());
        prop_assert!(pages <= file.len() as u64 / PAGE_SIZE);
        prop_assert!(last.is_none_or(|last| last < memory.end()));
        let mut buffer = [0; 64];
        for page in [0, 1, 0x123, 1 << 40, u64::MAX / PAGE_SIZE] {
            let _ = memory.read(PhysAddr(page * PAGE_SIZE + 0xFF0), &mut buffer).unwrap();
        }
        let end = memory.read(PhysAddr(u64::MAX), &mut buffer).unwrap();
        prop_assert_eq!(end, 0);
    }

    /// Patches over pages that are there and over others: a model to which each is applied byte by byte.
    #[test]
    fn patches_are_seen(
        patches in prop::collection::vec((0_u64..14 * PAGE_SIZE, prop::collection::vec(any::<u8>(), 0..9000)), 0..8),
        last in any::<bool>(),
    ) {
        let runs = [(1, 3), (5, 1), (8, 5)].map(|(first, page_count)| MemoryRun { base_page: Pfn(first), page_count });
        let file = dump(Machine::Amd64, DumpType::FULL, &runs);
        let (_, memory) = open(&file);
        let mut patches: Vec<_> = patches
            .into_iter()
            .map(|(address, bytes)| Patch { address: PhysAddr(address), bytes, what: "test" })
            .collect();
        if last {
            patches.push(Patch { address: PhysAddr(u64::MAX - 2), bytes: vec![1; 9], what: "test" });
        }
        let mut model = model_of(&runs);
        let mut patched = std::collections::BTreeSet::new();
        for patch in &patches {
            // A range of addresses ends in front of the last one of all.
            for (at, byte) in (patch.address.0..u64::MAX).zip(&patch.bytes) {
                patched.insert(at / PAGE_SIZE);
                if let Some(page) = model.get_mut(&(at / PAGE_SIZE)) {
                    page[usize::try_from(at % PAGE_SIZE).unwrap()] = *byte;
                }
            }
        }
        let over = PatchedMemory::new(&memory, &patches);
        check(&over, &model);
        for page in model.keys() {
            let place = over.place(Pfn(*page)).unwrap();
            let expected = if patched.contains(page) { Some(PagePlace::Read) } else { memory.place(Pfn(*page)).unwrap() };
            prop_assert_eq!(place, expected);
        }
    }
}

#[test]
fn a_number_of_pages_that_lies_is_told() {
    let runs = [MemoryRun {
        base_page: Pfn(3),
        page_count: 4,
    }];
    let mut file = dump(Machine::Amd64, DumpType::BITMAP_FULL, &runs);
    file[0x2028] = 3;
    let (_, memory) = open(&file);
    assert_eq!((memory.findings().total(), memory.pages_present()), (1, 4));
    assert_eq!(memory.secondary_data().unwrap().unwrap().build_number, 7);
}

/// An image, unpacked.
fn unpack(name: &str) -> Option<DumpFile> {
    Some(DumpFile::open(&dotdump_tests::machines::image(name)?, true).unwrap())
}

fn open_file(file: &DumpFile) -> KernelDumpMemory<'_> {
    let dump = KernelDump::open(file).unwrap();
    assert_eq!(dump.findings.as_slice(), []);
    let memory = KernelDumpMemory::open(file, &dump).unwrap().unwrap();
    assert_eq!(memory.findings().as_slice(), []);
    assert_eq!(
        memory.pages_end(),
        FileOffset(file.size()),
        "an image has nothing behind its pages"
    );
    memory
}

/// A bitmap dump of a machine has the same pages as its full dump, apart from those that are all zero.
fn bitmap_against_full(full: &str, bitmap: &str, pages_of_full: u64, pages_of_bitmap: u64, others_are_zero: bool) {
    let (Some(full), Some(bitmap)) = (unpack(full), unpack(bitmap)) else {
        return;
    };
    let (full, bitmap) = (open_file(&full), open_file(&bitmap));
    assert_eq!(full.pages_present(), pages_of_full);
    assert_eq!(bitmap.pages_present(), pages_of_bitmap);
    let (mut left, mut right) = ([0; PAGE], [0; PAGE]);
    let mut compared = 0;
    let runs: &dyn PhysicalMemory = if others_are_zero { &full } else { &bitmap };
    for run in runs.runs(Pfn(0)) {
        let run = run.unwrap();
        for page in run.first.0..run.end().0 {
            let address = PhysAddr(page * PAGE_SIZE);
            assert_eq!(full.read(address, &mut left).unwrap(), PAGE);
            if bitmap.read(address, &mut right).unwrap() == 0 {
                assert!(left.iter().all(|byte| *byte == 0), "page {page:#x} is missing");
                continue;
            }
            assert!(left == right, "page {page:#x}");
            compared += 1;
        }
    }
    assert_eq!(compared, pages_of_bitmap);
}

#[test]
fn a_machine_in_both_forms() {
    bitmap_against_full(
        "nt2-full.dmp",
        "nt2-bitmap.dmp",
        (66_715_648 - 0x2000) / PAGE_SIZE,
        0x11FE,
        true,
    );
}

/// With memory above 4 GiB.
#[test]
fn a_large_machine_in_both_forms() {
    let pages = (2_214_199_296 - 0x2000) / PAGE_SIZE;
    bitmap_against_full("nt2-high-full.dmp", "nt2-high-bitmap.dmp", pages, 0x11FF, false);
}
