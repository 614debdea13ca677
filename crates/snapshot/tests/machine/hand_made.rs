//! Structures that never end, lead nowhere, or are cut, in memories made by hand.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dotdump_format::kernel::pfn::{PageLocation, PfnLayout};
use dotdump_format::kernel::{DebuggerData, Machine};
use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::machine::find_debugger_data::{DebuggerDataHints, find_debugger_data};
use dotdump_snapshot::machine::find_kernel::{kernel_around, search_kernel};
use dotdump_snapshot::machine::modules::{modules, unloaded_drivers};
use dotdump_snapshot::machine::pe_image::PeImage;
use dotdump_snapshot::machine::pfn_database::PfnDatabaseHints;
use dotdump_snapshot::machine::processes::{ProcessHints, processes};
use dotdump_snapshot::machine::processors::{processors, stopped_processor};
use dotdump_snapshot::machine::{DebuggerDataOrigin, KernelReader, PfnDatabase};
use dotdump_snapshot::{Extent, Memory};
use proptest::prelude::*;

/// Pages at virtual addresses.
#[derive(Default)]
struct Pages(BTreeMap<u64, [u8; 0x1000]>);

impl Pages {
    fn put(&mut self, address: u64, bytes: &[u8]) {
        for (index, byte) in (0..).zip(bytes) {
            let at = address + index;
            let page = self.0.entry(at / PAGE_SIZE * PAGE_SIZE).or_insert([0; 0x1000]);
            page[usize::try_from(at % PAGE_SIZE).unwrap()] = *byte;
        }
    }

    fn put_words(&mut self, address: u64, words: &[(u64, u64)]) {
        for (offset, word) in words {
            self.put(address + offset, &word.to_le_bytes());
        }
    }

    /// A list: its head and its entries, each pointing to the next and the one before.
    fn put_ring(&mut self, links: &[u64]) {
        for (index, at) in links.iter().enumerate() {
            let next = links[(index + 1) % links.len()];
            let before = links[(index + links.len() - 1) % links.len()];
            self.put_words(*at, &[(0, next), (8, before)]);
        }
    }

    fn reader(&self) -> KernelReader<'_> {
        KernelReader::new(self, Machine::Amd64)
    }
}

impl Memory for Pages {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let pages = self.0.keys().filter_map(move |page| {
            let range = VirtRange::sized(VirtAddr(*page), PAGE_SIZE).intersection(within)?;
            Some(Ok(Extent { range, offset: None }))
        });
        Box::new(pages)
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let Some(at) = address.checked_add(index as u64) else {
                return Ok(index);
            };
            let Some(page) = self.0.get(&(at.0 / PAGE_SIZE * PAGE_SIZE)) else {
                return Ok(index);
            };
            *byte = page[usize::try_from(at.0 % PAGE_SIZE).unwrap()];
        }
        Ok(buffer.len())
    }
}

const BASE: u64 = 0xFFFF_F800_0000_0000;

/// A block with fields at the given offsets.
fn block(words: &[(usize, u64)], halves: &[(usize, u16)]) -> Vec<u8> {
    let mut bytes = vec![0; 0x380];
    bytes[0x10..0x14].copy_from_slice(b"KDBG");
    bytes[0x14..0x18].copy_from_slice(&0x380_u32.to_le_bytes());
    for (offset, word) in words {
        bytes[*offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    }
    for (offset, half) in halves {
        bytes[*offset..offset + 2].copy_from_slice(&half.to_le_bytes());
    }
    bytes
}

fn debugger_data(words: &[(usize, u64)], halves: &[(usize, u16)]) -> DebuggerData {
    DebuggerData::read(&block(words, halves), Machine::Amd64).unwrap()
}

/// An entry of a list of modules, without name.
fn module_entry(pages: &mut Pages, at: u64, base: u64) {
    pages.put_words(at, &[(0x30, base), (0x38, base + 0x10), (0x40, 0x5000), (0x78, 7)]);
}

#[test]
fn lists_end_where_they_should() {
    let entries = [BASE + 0x100, BASE + 0x300, BASE + 0x500];
    let head = BASE + 0x40;
    let build = || {
        let mut pages = Pages::default();
        pages.put_ring(&[head, entries[0], entries[1], entries[2]]);
        for (index, entry) in (1..).zip(entries) {
            module_entry(&mut pages, entry, BASE + index * 0x1_0000_0000);
        }
        pages
    };
    let bases = |pages: &Pages| {
        let reader = pages.reader();
        let found: Vec<u64> = modules(&reader, VirtAddr(head))
            .iter()
            .map(|module| module.base.0)
            .collect();
        (found, reader.into_findings())
    };
    let (found, findings) = bases(&build());
    assert_eq!(
        found,
        [BASE + 0x1_0000_0000, BASE + 0x2_0000_0000, BASE + 0x3_0000_0000]
    );
    assert!(findings.is_empty());

    // The last entry leads back into the list, to itself, nowhere, out of the kernel, to memory that is absent.
    let absent = BASE + 0x70_0000;
    for (next, all) in [(entries[0], 3), (entries[2], 3), (0, 3), (0x1000, 3), (absent, 3)] {
        let mut pages = build();
        pages.put_words(entries[2], &[(0, next)]);
        let (found, findings) = bases(&pages);
        assert_eq!(found.len(), all, "{next:#x}");
        assert!(!findings.is_empty(), "{next:#x}");
    }
    // An entry that says its module is in user mode counts for nothing; those behind it do.
    let mut pages = build();
    pages.put_words(entries[1], &[(0x30, 0x7FF6_0000_0000)]);
    let (found, findings) = bases(&pages);
    assert_eq!((found.len(), findings.total()), (2, 1));
    // No head at all.
    let reader = pages.reader();
    assert!(modules(&reader, VirtAddr(absent)).is_empty());
    assert!(modules(&reader, VirtAddr(u64::MAX)).is_empty());
    assert_eq!(reader.into_findings().total(), 2);
}

#[test]
fn a_list_without_end_ends() {
    let mut pages = Pages::default();
    let entry = |index: u64| BASE + index * 0x100;
    for index in 0..12_000 {
        pages.put_words(entry(index), &[(0, entry(index + 1)), (8, entry(index))]);
        module_entry(&mut pages, entry(index), BASE);
    }
    let reader = pages.reader();
    assert_eq!(modules(&reader, VirtAddr(BASE)).len(), 10_000);
    assert_eq!(reader.into_findings().total(), 1);
}

#[test]
fn unloaded_drivers_come_newest_first_from_their_ring() {
    let (array, variable, next) = (BASE + 0x1000, BASE + 0x10, BASE + 0x20);
    let mut pages = Pages::default();
    pages.put_words(variable, &[(0, array), (0x10, 2)]);
    let names = BASE + 0x4000;
    pages.put(names, &[b'a', 0, b'b', 0]);
    let slot = |index: u64| array + index * 0x28;
    // The ring has gone round: slot 2 is the oldest. Slot 1's name cannot be read.
    for index in 0..50 {
        let name = if index == 1 { BASE + 0x900_0000 } else { names };
        pages.put_words(
            slot(index),
            &[
                (0, 4 << 16 | 4),
                (8, name),
                (0x10, BASE + index),
                (0x18, BASE + index + 8),
                (0x20, index),
            ],
        );
    }
    let data = debugger_data(&[(0x220, variable), (0x228, next)], &[]);
    let found = unloaded_drivers(&pages.reader(), &data);
    let order: Vec<u64> = found.iter().map(|driver| driver.time.unwrap()).collect();
    assert_eq!(order.len(), 49);
    assert_eq!((order[0], order[1], order[48]), (0, 49, 2));
    assert_eq!(found[0].range, VirtRange::sized(VirtAddr(BASE), 8));
    assert_eq!(String::from_utf16(&found[0].name).unwrap(), "ab");

    // An index from nowhere, ends in front of starts, names of absurd length: nothing panics, nothing wraps.
    pages.put(next, &u32::MAX.to_le_bytes());
    pages.put_words(slot(7), &[(0, 0xFFFF_FFFF), (0x10, u64::MAX), (0x18, 1)]);
    assert_eq!(unloaded_drivers(&pages.reader(), &data).len(), 48);
}

/// Processes whose structure has its fields where no Windows has them.
fn put_processes(pages: &mut Pages, names: &[&str]) -> (u64, Vec<u64>) {
    const LINKS: u64 = 0x1D8;
    let head = BASE + 0x800;
    let process = |index: usize| BASE + 0x1_0000 + index as u64 * 0x1000;
    let mut ring = vec![head];
    for (index, name) in names.iter().enumerate() {
        let at = process(index);
        let peb = if index == 0 {
            0
        } else {
            0x7FF5_0000_0000 + index as u64 * 0x1000
        };
        let words = [
            (0, 3),
            (8, at + 8),
            (0x10, at + 8),
            (0x28, 0x1AD000 + index as u64 * 0x1000),
            (LINKS - 8, 4 + index as u64 * 96),
            (0x260, if index == 0 { 0 } else { 4 }),
            (0x2A8, peb),
        ];
        pages.put_words(at, &words);
        pages.put(at + 0x338, name.as_bytes());
        ring.push(at + LINKS);
    }
    pages.put_ring(&ring);
    (head, ring)
}

#[test]
fn processes_tell_where_their_fields_are() {
    let mut pages = Pages::default();
    let (head, ring) = put_processes(&mut pages, &["System", "Registry", "smss.exe", "csrss.exe"]);
    let hints = |known: Vec<VirtAddr>| ProcessHints {
        data: None,
        known,
        is_user_root: &|_: PhysAddr| false,
    };
    for known in [
        vec![],
        vec![VirtAddr(BASE + 0x1_2000)],
        vec![VirtAddr(BASE), VirtAddr(0)],
    ] {
        let (found, offsets) = processes(&pages.reader(), VirtAddr(head), &hints(known));
        let names: Vec<&str> = found.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(names, ["System", "Registry", "smss.exe", "csrss.exe"]);
        assert_eq!(found[2].id, 196);
        assert_eq!(found[2].eprocess.0, BASE + 0x1_2000);
        assert_eq!(found[2].directory_table_base, PhysAddr(0x1AF000));
        let offsets = offsets.unwrap();
        assert_eq!((offsets.links, offsets.name), (0x1D8, Some(0x338)));
        assert_eq!((offsets.parent, offsets.peb), (Some(0x260), Some(0x2A8)));
        assert_eq!(offsets.user_directory_table_base, None);
        assert!(offsets.guessed.contains(&"Peb") && offsets.guessed.contains(&"ActiveProcessLinks"));
    }
    // The kernel's own table counts for more than what the processes look like.
    let data = debugger_data(&[], &[(0x2AA, 0x2B0), (0x2AC, 0x268)]);
    let with_data = ProcessHints {
        data: Some(&data),
        ..hints(vec![])
    };
    let (_, offsets) = processes(&pages.reader(), VirtAddr(head), &with_data);
    let offsets = offsets.unwrap();
    assert_eq!((offsets.parent, offsets.peb), (Some(0x268), Some(0x2B0)));
    assert!(!offsets.guessed.contains(&"Peb"));

    // The list is cut behind the third process, and without System nothing can be told.
    pages.put_words(ring[3], &[(0, BASE + 0x900_0000)]);
    let reader = pages.reader();
    let (found, _) = processes(&reader, VirtAddr(head), &hints(vec![]));
    assert_eq!(found.len(), 3);
    assert!(!reader.into_findings().is_empty());
    pages.put_words(ring[1] - 8, &[(0, 5)]);
    let reader = pages.reader();
    let (found, offsets) = processes(&reader, VirtAddr(head), &hints(vec![]));
    assert!(found.is_empty() && offsets.is_none());
    assert!(!reader.into_findings().is_empty());
}

#[test]
fn a_shadowed_process_has_the_root_of_user_mode() {
    let mut pages = Pages::default();
    let (head, _) = put_processes(&mut pages, &["System", "smss.exe", "csrss.exe"]);
    for (index, root) in [0x7000_0000, 1, 0x7200_0000].into_iter().enumerate() {
        pages.put_words(BASE + 0x1_0000 + index as u64 * 0x1000, &[(0x278, root)]);
    }
    let hints = ProcessHints {
        data: None,
        known: vec![],
        is_user_root: &|page| page == PhysAddr(0x7000_0000),
    };
    let (found, offsets) = processes(&pages.reader(), VirtAddr(head), &hints);
    assert_eq!(offsets.unwrap().user_directory_table_base, Some(0x278));
    let roots: Vec<_> = found.iter().map(|process| process.user_directory_table_base).collect();
    assert_eq!(roots, [Some(PhysAddr(0x7000_0000)), None, Some(PhysAddr(0x7200_0000))]);
}

#[test]
fn processors_that_are_not_there_are_told() {
    let (array, prcb, context) = (BASE + 0x100, BASE + 0x1_0000, BASE + 0x2_0000);
    let mut pages = Pages::default();
    pages.put_words(
        array,
        &[(0, prcb), (8, prcb), (0x10, 0x1234), (0x18, BASE + 0x900_0000)],
    );
    pages.put_words(prcb, &[(8, BASE + 0x3_0000), (0x300, context)]);
    pages.put_words(context, &[(0x98, BASE + 0x4_0100), (0xF8, BASE + 0x55)]);
    // A context of which the size claims more than there is: from the end of the page on nothing is there.
    let back = u64::from((-0x4D0_i32).cast_unsigned());
    pages.put_words(context, &[(0x4D0, back | 0x3000 << 32), (0x4D8, back | 0x4D0 << 32)]);
    let data = debugger_data(&[(0x218, array)], &[(0x2B4, 8), (0x338, 0x300)]);
    let reader = pages.reader();
    let found = processors(&reader, &data, Some(4), true);
    assert_eq!(
        found.len(),
        2,
        "the last one's pointer leads to absent memory, but it has one"
    );
    assert_eq!(found[0].context.as_ref().unwrap().bytes.len(), 0x1000);
    assert_eq!(found[0].current_thread, Some(VirtAddr(BASE + 0x3_0000)));
    assert_eq!((found[1].number, &found[1].context), (3, &None));
    let of_header = found[0].context.clone().unwrap().bytes;
    assert_eq!(stopped_processor(&reader, &data, &found, &of_header), Some(0));
    assert_eq!(stopped_processor(&reader, &data, &found, &vec![0; 0x4D0]), None);
    assert_eq!(reader.into_findings().total(), 3, "two processors and the cut context");
    // Where nobody says how many there are, the first pointer that leads nowhere ends them.
    assert_eq!(processors(&pages.reader(), &data, None, true).len(), 1);
    assert_eq!(processors(&pages.reader(), &data, Some(u32::MAX), false).len(), 2);
}

/// An image with headers, a section of data and exports, whose own name is `name`.
fn put_image(pages: &mut Pages, base: u64, name: &[u8], data: u64) {
    pages.put(base, b"MZ");
    pages.put(base + 0x3C, &0x80_u32.to_le_bytes());
    pages.put(base + 0x80, b"PE\0\0");
    pages.put(base + 0x84, &[0x64, 0x86, 1, 0, 1, 2, 3, 4]);
    pages.put(base + 0x94, &[0xF0, 0]);
    pages.put(base + 0x98, &[0x0B, 0x02]);
    pages.put(base + 0x98 + 56, &0x8000_u32.to_le_bytes());
    pages.put(base + 0x98 + 108, &16_u32.to_le_bytes());
    pages.put(base + 0x98 + 112, &0x1000_u32.to_le_bytes());
    pages.put(base + 0x188, b".data\0\0\0");
    let section = [u32::try_from(0x2000).unwrap(), u32::try_from(data).unwrap()];
    pages.put(base + 0x190, section.map(u32::to_le_bytes).as_flattened());
    pages.put(base + 0x188 + 36, &0xC000_0040_u32.to_le_bytes());
    let directory = [0x1100_u32, 1, 2, 2, 0x1040, 0x1050, 0x1060];
    pages.put(base + 0x1000 + 12, directory.map(u32::to_le_bytes).as_flattened());
    pages.put(base + 0x1040, [0x3010_u32, 0x3020].map(u32::to_le_bytes).as_flattened());
    pages.put(base + 0x1050, [0x1120_u32, 0x1130].map(u32::to_le_bytes).as_flattened());
    pages.put(base + 0x1060, &[1, 0, 0, 0]);
    pages.put(base + 0x1100, name);
    pages.put(base + 0x1120, b"Alpha\0");
    pages.put(base + 0x1130, b"Beta\0");
}

#[test]
fn the_kernel_is_found_and_exports() {
    let mut pages = Pages::default();
    let (driver, kernel) = (BASE + 0x10_0000, BASE + 0x40_0000);
    put_image(&mut pages, driver, b"hal.dll\0", 0x3000);
    put_image(&mut pages, kernel, b"ntoskrnl.exe\0", 0x3000);
    let reader = pages.reader();
    let image = search_kernel(&reader).unwrap();
    assert_eq!(image.base.0, kernel);
    assert_eq!((image.time_date_stamp, image.size), (0x0403_0201, 0x8000));
    assert_eq!(image.export(&reader, "Alpha"), Some(VirtAddr(kernel + 0x3020)));
    assert_eq!(image.export(&reader, "Beta"), Some(VirtAddr(kernel + 0x3010)));
    assert_eq!(image.export(&reader, "Gamma"), None);
    assert_eq!(
        kernel_around(&reader, VirtAddr(kernel + 0x7FF0)).unwrap().base.0,
        kernel
    );
    assert!(kernel_around(&reader, VirtAddr(kernel + 0x8000)).is_none());
    assert!(PeImage::read(&reader, VirtAddr(kernel + 1)).is_none());
}

#[test]
fn a_block_is_found_in_every_way() {
    let kernel = BASE + 0x40_0000;
    let at = kernel + 0x3A58;
    let plain = block(
        &[
            (0x18, kernel),
            (0x48, kernel + 0x10),
            (0x50, kernel + 0x20),
            (0x138, 0x1000),
        ],
        &[],
    );
    let mut pages = Pages::default();
    put_image(&mut pages, kernel, b"ntoskrnl.exe\0", 0x3000);
    pages.put(at, &plain);
    let find = |pages: &Pages, hints: &DebuggerDataHints| {
        let reader = pages.reader();
        find_debugger_data(&reader, hints, || search_kernel(&reader))
    };
    let nothing = DebuggerDataHints::default();
    let found = find(&pages, &nothing).unwrap();
    assert_eq!((found.address.0, found.encoded), (at, false));
    // A header that points elsewhere is no hindrance.
    let wrong = DebuggerDataHints {
        header: Some(VirtAddr(kernel)),
        ..DebuggerDataHints::default()
    };
    assert_eq!(find(&pages, &wrong).unwrap().address.0, at);
    // By the version block of the processor: the pointer leads to the list, which is the block's first field.
    let (pcr, version) = (BASE + 0x100, BASE + 0x800);
    pages.put_words(pcr, &[(0x108, version)]);
    pages.put(version + 8, &0x8664_u16.to_le_bytes());
    pages.put_words(version, &[(0x10, kernel), (0x20, BASE + 0xF00)]);
    pages.put_words(BASE + 0xF00, &[(0, at)]);
    let by_processor = DebuggerDataHints {
        processors: vec![VirtAddr(BASE), VirtAddr(pcr)],
        ..DebuggerDataHints::default()
    };
    let reader = pages.reader();
    let found = find_debugger_data(&reader, &by_processor, || panic!("nothing is searched")).unwrap();
    assert_eq!(found.address.0, at);
    // What is at the header's place is no block; the bugcheck's parameter points to a copy.
    let copy = BASE + 0x4_0000;
    pages.put(copy, &plain);
    let by_parameter = DebuggerDataHints {
        header: Some(VirtAddr(kernel)),
        bugcheck_parameter: Some(VirtAddr(copy)),
        ..DebuggerDataHints::default()
    };
    let found = find_debugger_data(&pages.reader(), &by_parameter, || None).unwrap();
    assert_eq!(found.origin, DebuggerDataOrigin::BugcheckParameter);
    assert_eq!(
        (found.address.0, found.encoded),
        (kernel, true),
        "where debuggers look, there is no plain one"
    );
    assert_eq!(found.data.as_bytes(), plain);
    // Not there at all.
    pages.put(at + 0x10, b"KDBH");
    assert!(find(&pages, &nothing).is_none());
    assert!(find(&Pages::default(), &wrong).is_none());
}

#[test]
fn the_database_is_found_by_either_convention_and_read_over_holes() {
    let layout = PfnLayout::of(Machine::Amd64, 19_041, false).unwrap();
    let (base, variable, entries) = (0xFFFF_FA80_0000_0000, BASE + 0x10, BASE + 0x2000);
    let mut pages = Pages::default();
    pages.put_words(variable, &[(0, base)]);
    let active = Pfn(0x1AD);
    for page in (0..0x400_u64).chain([9000]) {
        let location = if page == active.0 { 6 } else { page % 6 };
        pages.put_words(
            base + page * 0x30,
            &[(8, entries + page % 512 * 8), (0x20, 1 | location << 16)],
        );
    }
    pages.put_words(entries + active.0 * 8, &[(0, active.0 << 12 | 0x63)]);
    for (header, of_block) in [
        (Some(variable), Some(variable)),
        (Some(variable), None),
        (Some(base), None),
        (Some(base), Some(variable)),
        (None, Some(variable)),
        (Some(BASE + 0x900_0000), Some(variable)),
    ] {
        let hints = PfnDatabaseHints {
            header: header.map(VirtAddr),
            variable: of_block.map(VirtAddr),
            active: vec![Pfn(77), active],
        };
        let reader = pages.reader();
        let database = PfnDatabase::find(&reader, layout, &hints).unwrap();
        assert_eq!(database.base().0, base, "{hints:?}");
        assert!(database.is_confirmed(), "{hints:?}");
    }
    // Pages 3 and 7 of the database are not there: entries that touch them are left out, all others are seen.
    for hole in [3, 7] {
        pages.0.remove(&(base + hole * 0x1000));
    }
    let hints = PfnDatabaseHints {
        variable: Some(VirtAddr(variable)),
        active: vec![active],
        ..PfnDatabaseHints::default()
    };
    let reader = pages.reader();
    let database = PfnDatabase::find(&reader, layout, &hints).unwrap();
    let mut seen = Vec::new();
    let mut count = |page: Pfn, state: &dotdump_format::kernel::pfn::PageState| {
        seen.push((page.0, state.location));
        ControlFlow::Continue(())
    };
    database.visit(Pfn(0), Pfn(u64::MAX), &mut count).unwrap();
    let touches = |page: u64, hole: u64| page * 0x30 < (hole + 1) * 0x1000 && (page + 1) * 0x30 > hole * 0x1000;
    let whole = |page: &u64| !touches(*page, 3) && !touches(*page, 7);
    let expected: Vec<u64> = (0..0x400).filter(whole).collect();
    let found: Vec<u64> = seen
        .iter()
        .map(|(page, _)| *page)
        .filter(|page| *page < 0x400)
        .collect();
    assert_eq!(found, expected);
    assert!(seen.contains(&(9000, PageLocation::of(0))));
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(
        seen.iter()
            .filter(|(_, location)| *location == PageLocation::Active)
            .count(),
        1
    );
    // A place that is none.
    let nowhere = PfnDatabaseHints {
        header: Some(VirtAddr(BASE + 0x900_0000)),
        active: vec![active],
        ..PfnDatabaseHints::default()
    };
    assert!(PfnDatabase::find(&pages.reader(), layout, &nowhere).is_none());
}

proptest! {
    /// Pages of random words, many of them pointers to each other: every walk ends, none panics.
    #[test]
    fn random_memory_does_no_harm(words in prop::collection::vec((any::<u64>(), any::<bool>()), 64..512), start in 0_u64..4096) {
        let mut pages = Pages::default();
        let size = words.len() as u64 * 8;
        for (index, (word, is_pointer)) in (0..).zip(&words) {
            let word = if *is_pointer { BASE + word % size } else { *word };
            pages.put_words(BASE, &[(index * 8, word)]);
        }
        let at = VirtAddr(BASE + start % size);
        let fields: Vec<(usize, u64)> = (0x18..0x298).step_by(8).map(|offset| (offset, BASE + (offset as u64 * 37 + start) % size)).collect();
        let data = debugger_data(&fields, &[(0x2B4, 0x18), (0x338, 0x20), (0x2F2, 0x28), (0x2AA, 0x30), (0x2A0, 0x10)]);
        let reader = pages.reader();
        prop_assert!(modules(&reader, at).len() <= words.len());
        prop_assert!(unloaded_drivers(&reader, &data).len() <= 50);
        prop_assert!(processors(&reader, &data, None, true).len() <= 2048);
        let hints = ProcessHints { data: Some(&data), known: vec![at], is_user_root: &|_| true };
        prop_assert!(processes(&reader, at, &hints).0.len() <= words.len());
        let _ = PeImage::read(&reader, at).map(|image| (image.export(&reader, "X"), image.data(&reader)));
        let layout = PfnLayout::of(Machine::Amd64, 19_041, false).unwrap();
        let places = PfnDatabaseHints { header: Some(at), variable: Some(VirtAddr(BASE)), active: vec![Pfn(1), Pfn(u64::MAX)] };
        if let Some(database) = PfnDatabase::find(&reader, layout, &places) {
            let mut last = None;
            database.visit(Pfn(0), Pfn(1 << 20), &mut |page, _| {
                assert!(last.replace(page) < Some(page));
                ControlFlow::Continue(())
            }).unwrap();
        }
        let hints = DebuggerDataHints { header: Some(at), processors: vec![at], bugcheck_parameter: Some(at), kernel_base: Some(at), ..DebuggerDataHints::default() };
        prop_assert!(find_debugger_data(&reader, &hints, || search_kernel(&reader)).is_none());
    }
}
