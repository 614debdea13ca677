//! Modules of processes made by hand.

use dotdump_format::minidump::codeview::CodeView;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::{Endian, Findings, VirtAddr};
use dotdump_snapshot::linux::{LinuxArchitecture, LinuxModules};
use dotdump_snapshot::{Blob, Memory, ModuleSnapshot};
use proptest::prelude::*;

use crate::image::{Image, SIZE};
use crate::spans::{Spans, mappings};

fn find(
    word: usize,
    mappings: &[LinuxMapping],
    auxv: &[u8],
    memory: &dyn Memory,
    known: &LinuxModules,
) -> LinuxModules {
    let architecture = if word == 8 {
        LinuxArchitecture::Amd64
    } else {
        LinuxArchitecture::X86
    };
    let mut findings = Findings::default();
    LinuxModules::find(architecture, mappings, auxv, memory, known, &mut findings).unwrap()
}

/// Base, size, name and build id.
fn told(modules: &[ModuleSnapshot]) -> Vec<(u64, u64, String, Option<Vec<u8>>)> {
    let id = |module: &ModuleSnapshot| match module.cv_record.as_ref()? {
        Blob::Bytes(bytes) => match CodeView::parse(bytes, Endian::Little) {
            CodeView::ElfBuildId(id) => Some(id),
            other => panic!("{other:?}"),
        },
        Blob::File { .. } => panic!("there is no file"),
    };
    let of = |module: &ModuleSnapshot| {
        let range = module.range();
        (range.start.0, range.size(), module.name_text(), id(module))
    };
    modules.iter().map(of).collect()
}

const PROGRAM: u64 = 0x5000_0000;
const LIBRARY: u64 = 0x4000_0000;
const IN_MEMORY: u64 = 0x6000_0000;
const COPIED: u64 = 0x6100_0000;
const LOOKED_AT: u64 = 0x6200_0000;
const VDSO: u64 = 0x7000_0000;
const LINKER_DATA: u64 = 0x3000_0000;

const MAPS: &str = "
    30000000-30001000 rw-p 00000000 00:00 0
    40000000-40001000 r--p 00000000 08:01 22 /usr/lib/libx.so.1.2.3
    40001000-40002000 r-xp 00001000 08:01 22 /usr/lib/libx.so.1.2.3
    40002000-40003000 rw-p 00002000 08:01 22 /usr/lib/libx.so.1.2.3
    40003000-40005000 rw-p 00000000 00:00 0
    50000000-50001000 r--p 00000000 08:01 11 /usr/bin/program (deleted)
    50001000-50002000 r-xp 00001000 08:01 11 /usr/bin/program (deleted)
    50002000-50003000 rw-p 00002000 08:01 11 /usr/bin/program (deleted)
    50003000-50004000 rw-p 00000000 00:00 0 [heap]
    60000000-60001000 r--p 00000000 00:01 33 /memfd:code (deleted)
    60001000-60002000 r-xp 00001000 00:01 33 /memfd:code (deleted)
    60002000-60003000 rw-p 00002000 00:01 33 /memfd:code (deleted)
    61000000-61001000 r--p 00000000 00:00 0
    61001000-61002000 rw-p 00000000 00:00 0
    62000000-62003000 r--p 00000000 08:01 44 /usr/lib/looked-at.so
    70000000-70001000 r--p 00000000 00:00 0 [vvar]
    70001000-70004000 r-xp 00000000 00:00 0 [vdso]";

/// A process with a deleted program, libraries of all kinds, the kernel's, and a library that is only looked at; and its
/// auxiliary vector.
fn process(word: usize) -> (Spans, Vec<u8>) {
    let mut memory = Spans::default();
    let image = Image {
        word,
        ..Image::default()
    };
    let build_id = |id: &'static [u8]| Image {
        build_id: Some(id),
        ..image.clone()
    };
    let program = Image {
        debug: Some(LINKER_DATA),
        ..build_id(&[1; 20])
    };
    memory.put(PROGRAM, &program.bytes());
    memory.put(
        LIBRARY,
        &Image {
            soname: Some("libx.so.1"),
            ..build_id(&[2; 20])
        }
        .bytes(),
    );
    memory.put(
        IN_MEMORY,
        &Image {
            soname: Some("libcode.so.5"),
            ..build_id(&[3; 16])
        }
        .bytes(),
    );
    // Without code: only the linker's list tells that it is loaded.
    memory.put(COPIED, &build_id(&[4; 20]).bytes()[..0x2000]);
    memory.put(LOOKED_AT, &build_id(&[5; 20]).bytes());
    memory.put(
        VDSO + 0x1000,
        &Image {
            soname: Some("linux-vdso.so.1"),
            ..build_id(&[6; 20])
        }
        .bytes(),
    );

    // r_debug: version, map, brk, state, ldbase. Then the list: addr, name, ld, next, prev.
    let node = |index: u64| LINKER_DATA + 0x100 + index * 0x40;
    let name = |index: u64| LINKER_DATA + 0x800 + index * 0x20;
    memory.put_words(LINKER_DATA, word, &[1, node(0), 0x1234, 0, LIBRARY]);
    let objects = [
        (PROGRAM, ""),
        (LIBRARY, "/lib/libx.so"),
        (IN_MEMORY, "/proc/self/fd/3"),
        (COPIED, "/opt/copied.so"),
    ];
    for (index, (base, text)) in (0..).zip(objects) {
        // The last one leads to the first again.
        let next = node((index + 1) % 4);
        memory.put_words(
            node(index),
            word,
            &[base, name(index), base + Image::dynamic(), next, 0],
        );
        memory.put(name(index), &[text.as_bytes(), b"\0"].concat());
    }
    let (size, count) = program.headers();
    let entries = [
        (3, PROGRAM + program.headers_at()),
        (4, size),
        (5, count),
        (33, VDSO + 0x1000),
        (9, PROGRAM + 0x1000),
        (0, 0),
    ];
    let words = entries.iter().flat_map(|(entry, value): &(u64, u64)| [*entry, *value]);
    let auxv = words.flat_map(|value| value.to_le_bytes()[..word].to_vec()).collect();
    (memory, auxv)
}

#[test]
fn modules_by_maps_and_by_the_linkers_list() {
    for word in [4, 8] {
        let (memory, auxv) = process(word);
        let found = find(word, &mappings(MAPS), &auxv, &memory, &LinuxModules::default());
        let expected = [
            (PROGRAM, SIZE, "/usr/bin/program", vec![1; 20]),
            (LIBRARY, SIZE, "/usr/lib/libx.so.1.2.3", vec![2; 20]),
            (IN_MEMORY, SIZE, "libcode.so.5", vec![3; 16]),
            (COPIED, SIZE, "/opt/copied.so", vec![4; 20]),
            (VDSO + 0x1000, SIZE, "linux-gate.so", vec![6; 20]),
        ];
        let expected = expected.map(|(base, size, name, id)| (base, size, name.to_owned(), Some(id)));
        assert_eq!(told(&found.modules), expected, "{word}");
        let version = found.modules[1].record.version_info;
        assert_eq!(
            (version.file_version_ms.get(), version.product_version_ms.get()),
            (1, 3)
        );

        let debug = found.dso_debug().unwrap();
        assert_eq!((debug.version, debug.brk, debug.ldbase), (1, 0x1234, LIBRARY));
        assert_eq!(debug.dynamic, PROGRAM + Image::dynamic());
        // DT_DEBUG and DT_NULL.
        assert_eq!(debug.dynamic_section.len(), 4 * word);
        let names: Vec<_> = debug
            .objects
            .iter()
            .map(|object| object.name.as_deref().unwrap())
            .collect();
        assert_eq!(names, ["", "/lib/libx.so", "/proc/self/fd/3", "/opt/copied.so"]);
    }
}

#[test]
fn known_modules_are_not_read_again() {
    let (memory, auxv) = process(8);
    let first = find(8, &mappings(MAPS), &auxv, &memory, &LinuxModules::default());
    memory.reads.borrow_mut().clear();
    let again = find(8, &mappings(MAPS), &auxv, &memory, &first);
    assert_eq!(told(&again.modules), told(&first.modules));
    let reads = memory.reads.borrow().clone();
    let images = [LIBRARY, IN_MEMORY, COPIED, LOOKED_AT, VDSO + 0x1000];
    let of_images = reads
        .iter()
        .filter(|at| images.iter().any(|base| (*base..*base + SIZE).contains(at)));
    assert_eq!(of_images.count(), 0, "{reads:x?}");

    // Another file at the same place is another module.
    let replaced = MAPS.replace("08:01 22 /usr/lib/libx.so.1.2.3", "08:01 23 /usr/lib/liby.so");
    let mut memory = memory;
    memory.put(
        LIBRARY,
        &Image {
            word: 8,
            build_id: Some(&[7; 20]),
            ..Image::default()
        }
        .bytes(),
    );
    let changed = find(8, &mappings(&replaced), &auxv, &memory, &again);
    let library = told(&changed.modules).swap_remove(1);
    assert_eq!(
        library,
        (LIBRARY, SIZE, "/usr/lib/liby.so".to_owned(), Some(vec![7; 20]))
    );
}

#[test]
fn without_memory_the_map_alone_tells() {
    let found = find(8, &mappings(MAPS), &[], &Spans::default(), &LinuxModules::default());
    let expected = [
        (LIBRARY, 0x3000, "/usr/lib/libx.so.1.2.3".to_owned(), None),
        (PROGRAM, 0x3000, "/usr/bin/program".to_owned(), None),
        (VDSO + 0x1000, 0x3000, "linux-gate.so".to_owned(), None),
    ];
    assert_eq!(told(&found.modules), expected);
}

#[test]
fn headers_do_not_reach_into_other_files() {
    let (mut memory, _) = process(8);
    let mut bytes = Image {
        word: 8,
        ..Image::default()
    }
    .bytes();
    // p_memsz of the third PT_LOAD: 2 GiB.
    let at = 64 + 3 * 56 + 40;
    bytes[at..at + 8].copy_from_slice(&0x8000_0000_u64.to_le_bytes());
    memory.put(LIBRARY, &bytes);
    let found = find(8, &mappings(MAPS), &[], &memory, &LinuxModules::default());
    assert_eq!(
        told(&found.modules)[0],
        (LIBRARY, PROGRAM - LIBRARY, "/usr/lib/libx.so.1.2.3".to_owned(), None)
    );
}

#[test]
fn code_stands_for_a_build_id() {
    for word in [4, 8] {
        let image = Image {
            word,
            has_sections: true,
            ..Image::default()
        };
        let mut memory = Spans::default();
        memory.put(LIBRARY, &image.bytes());
        let found = find(word, &mappings(MAPS), &[], &memory, &LinuxModules::default());
        // Breakpad's FileID: byte i of the id is the XOR of all bytes of the first page of .text at i, i + 16, ....
        let code = &image.bytes()[0x1000..0x2000];
        let expected: Vec<u8> = (0..16)
            .map(|at| code.iter().skip(at).step_by(16).fold(0, |sum, byte| sum ^ byte))
            .collect();
        assert_eq!(told(&found.modules)[0].3, Some(expected));
    }
}

/// A line of a map from small numbers, so that mappings meet.
fn any_mapping() -> impl Strategy<Value = LinuxMapping> {
    let path = prop_oneof![
        Just(""),
        Just("/a"),
        Just("/b (deleted)"),
        Just("/memfd:c (deleted)"),
        Just("[heap]"),
        Just("[vdso]"),
    ];
    let letters = prop::sample::select(vec!["r--p", "r-xp", "rw-p", "---p", "r--s"]);
    let page = prop_oneof![0_u64..16, Just(0xF_FFFF_FFFF_FFFE)];
    (page, 0_u64..4, letters, 0_u64..4, path).prop_map(|(page, pages, letters, offset, path)| {
        let start = page << 12;
        let end = start.saturating_add(pages << 12);
        let line = format!("{start:x}-{end:x} {letters} {:x} 8:1 1 {path}", offset << 12);
        LinuxMapping::parse(line.as_bytes()).unwrap()
    })
}

proptest! {
    #[test]
    fn anything_ends(
        maps in prop::collection::vec(any_mapping(), 0..24),
        auxv in prop::collection::vec((prop::sample::select(vec![3_u64, 4, 5, 7, 9, 33]), 0_u64..0x1_2000), 0..8),
        images in prop::collection::vec((0_u64..16, prop::collection::vec((0_usize..0x400, any::<u8>()), 0..4)), 0..8),
        words in prop::collection::vec((0_u64..0x2000, 0_u64..0x1_2000), 0..64),
        word in prop::sample::select(vec![4_usize, 8]),
    ) {
        let mut memory = Spans::default();
        for (page, changes) in &images {
            let debug = Some(page << 12 | 0x800);
            let mut bytes = Image { word, debug, build_id: Some(&[9; 20]), soname: Some("x"), ..Image::default() }.bytes();
            changes.iter().for_each(|(at, value)| bytes[*at] = *value);
            memory.put(page << 12, &bytes);
        }
        for (at, value) in &words {
            memory.put_words(at << 3, word, &[*value, value ^ 8, at << 3, *value, *value]);
        }
        let auxv: Vec<u8> = auxv
            .iter()
            .flat_map(|(entry, value)| [*entry, *value])
            .flat_map(|value| value.to_le_bytes()[..word].to_vec())
            .collect();
        let found = find(word, &maps, &auxv, &memory, &LinuxModules::default());
        // Readers build a map of them.
        let mut ranges: Vec<_> = found.modules.iter().map(ModuleSnapshot::range).collect();
        ranges.sort();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{:?}", ranges);
        prop_assert!(ranges.iter().all(|range| range.start < range.end && range.start != VirtAddr(u64::MAX)));
    }

    #[test]
    fn any_bytes_end(
        auxv in prop::collection::vec(any::<u8>(), 0..200),
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let (mut memory, _) = process(8);
        memory.put(LINKER_DATA, &bytes);
        memory.put(PROGRAM, &bytes);
        find(8, &mappings(MAPS), &auxv, &memory, &LinuxModules::default());
        let (_, own) = process(8);
        find(8, &mappings(MAPS), &own, &memory, &LinuxModules::default());
    }
}
