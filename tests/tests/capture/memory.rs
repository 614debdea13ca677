//! All memory, and the map of it.

use super::*;

/// What is known of memory beside the heap.
fn assert_memory(target: &Target, dump: &Dump) {
    let memory = &target.truth["memory"];
    for file in memory["files"].as_array().expect("files") {
        let (start, readable) = (hex(&file["start"]), 8192);
        let mut random = capture::seed(file["name"].as_str().expect("a name"), 0);
        let mut expected: Vec<u64> = (0..768).map(|_| random.next()).collect();
        // It was changed in memory, and behind its end is nothing up to the end of the page.
        expected[0] = 0xC4A6_ED00;
        expected.resize(1024, 0);
        assert_eq!(dump.words(start, 1024), expected, "{file}");
        assert!(
            !dump.has_any(start + readable, 8192),
            "{file}: pages behind the file's end"
        );
    }
    let guard = hex(&memory["guard"]);
    assert_eq!(dump.words(guard, 1), [0x6A4D_0000]);
    assert!(!dump.has_any(guard + 4096, 4096), "a page that may not be touched");
    assert_eq!(dump.words(guard + 8192, 1), [0x6A4D_0002]);
    if memory["pages_behind_guards"].is_string() {
        let guarded = hex(&memory["pages_behind_guards"]);
        assert_eq!(dump.words(guarded, 1), [0x6A4D_1000]);
        assert!(!dump.has_any(guarded + 4096, 4096), "a page behind a guard");
        assert_eq!(dump.words(guarded + 8192, 1), [0x6A4D_1002]);
    }
    if target.truth["library"].is_object() {
        let known = hex(&target.truth["library"]["known_value"]);
        assert_eq!(dump.words(known, 4), [0x5EE_DED1, 0x5EE_DED2, 0x5EE_DED3, 0x5EE_DED4]);
    }
    assert_statics(target, dump);
    for thread in others(target) {
        assert_eq!(
            dump.words(hex(&thread["own"]), 2),
            [hex(&thread["own_value"]), index(thread) as u64]
        );
        let mut random = capture::seed("object", index(thread));
        let expected: Vec<u64> = (0..OBJECT / 8).map(|_| random.next()).collect();
        assert_eq!(dump.words(hex(&thread["object"]), OBJECT / 8), expected);
    }
}

pub(crate) fn assert_statics(target: &Target, dump: &Dump) {
    let memory = &target.truth["memory"];
    assert_eq!(dump.words(hex(&memory["data"]), 16), [0x5EED_DA7A_5E63_0001; 16]);
    let mut random = capture::seed("statics", 0);
    let expected: Vec<u64> = (0..16).map(|_| random.next()).collect();
    assert_eq!(dump.words(hex(&memory["bss"]), 16), expected);
}

/// What was never used costs neither the target nor the disk anything.
fn assert_untouched(target: &Target, captured: &Captured, resident: u64) {
    let mut never = 0;
    for (start, size) in target.untouched() {
        let found = captured.dump.read(start, usize::try_from(size).expect("a size"));
        assert!(found.iter().all(|byte| *byte == 0));
        assert_eq!(found.len() as u64, size, "{start:#x}");
        never += size;
    }
    let file = fs::metadata(&captured.path).expect("a file");
    let (length, used) = (file.len(), file.blocks() * 512);
    assert!(
        used + never < length + (2 << 20),
        "{used} of {length} bytes used, {never} never touched"
    );
    let after = target.resident();
    assert!(after < resident + 1024, "{resident} KiB became {after} KiB");
}

#[test]
fn full_memory_is_that_of_the_target_and_what_was_never_used_is_a_hole() {
    let target = target();
    for options in ["-ma", "-mA", "-mf"] {
        let resident = target.resident();
        let captured = captured(&target, &[options]);
        target.assert_heap(&captured.dump);
        assert_memory(&target, &captured.dump);
        assert_untouched(&target, &captured, resident);
    }
}

#[test]
fn regions_are_those_of_the_kernels_list_with_upper_f() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mF"]);
    let mut regions = dump.regions();
    assert_eq!(regions.first().map(|region| region.base), Some(0));
    // The kernel's page for system calls of old lies in its own half, which is no part of the address space.
    regions.retain(|region| region.base < 1 << 63);
    let end = regions.last().map(|region| region.base + region.size);
    assert_eq!(end, Some(0x7FFF_FFFF_F000));
    for pair in regions.windows(2) {
        assert_eq!(
            pair[0].base + pair[0].size,
            pair[1].base,
            "the whole address space, without a gap"
        );
    }
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.id())).expect("maps");
    let mut described = 0;
    for line in maps.lines().filter(|line| !line.ends_with("[vsyscall]")) {
        let (range, rest) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (address(start), address(end));
        described += end - start;
        let protection = match &rest[..3] {
            "---" => 1,
            "r--" => 2,
            "rw-" => 4,
            "r-x" => 0x20,
            other => panic!("{other} is not expected of the target"),
        };
        let within = regions
            .iter()
            .filter(|region| region.base < end && region.base + region.size > start);
        let within: Vec<_> = within.collect();
        assert!(!within.is_empty());
        for region in within {
            assert_ne!(region.state, 0x1_0000, "{line}: {region:x?}");
            // What is committed but cannot be read is told apart from the mapping around it.
            let is_known =
                region.protect == protection || region.protect == 8 && protection == 4 || region.protect <= 1;
            assert!(is_known, "{line}: {region:x?}");
        }
    }
    let free = regions.iter().filter(|region| region.state == 0x1_0000);
    let all: u64 = regions.iter().map(|region| region.size).sum();
    assert_eq!(all - free.map(|region| region.size).sum::<u64>(), described);
}
