//! The header of a dump: what is known is kept, what is unset stays filler.

use dotdump_format::Pfn;
use dotdump_format::kernel::{DumpType, Header, Machine, MemoryRun};
use dotdump_transcode::machine::header::{Derivation, derive};

const DERIVATION: Derivation<'_> = Derivation {
    dump_type: DumpType::BITMAP_FULL,
    size: 0x1_2345_6000,
    runs: None,
    comment: None,
    is_filtered: false,
    is_cut: false,
};

/// Where two headers differ: the first byte and the byte behind the last one of each place.
fn differences(one: &Header, other: &Header) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (at, _) in one
        .as_bytes()
        .iter()
        .zip(other.as_bytes())
        .enumerate()
        .filter(|(_, (a, b))| a != b)
    {
        match places.last_mut() {
            Some((_, end)) if *end + 4 > at => *end = at + 1,
            _ => places.push((at, at + 1)),
        }
    }
    places
}

#[test]
fn what_is_unset_stays_filler() {
    let source = Header::unset(Machine::Amd64);
    let header = derive(&source, &DERIVATION).unwrap();
    // DumpType and RequiredDumpSpace.
    assert_eq!(differences(&source, &header), [(0xF98, 0xF9C), (0xFA0, 0xFA8)]);
    let source = Header::unset(Machine::X86);
    let header = derive(&source, &DERIVATION).unwrap();
    assert_eq!(differences(&source, &header), [(0xF88, 0xF8C), (0xFA0, 0xFA8)]);
    assert_eq!(header.required_dump_space(), Some(0x1_2345_6000));
}

#[test]
fn runs_are_those_of_a_full_dump_or_kept() {
    let runs = [MemoryRun {
        base_page: Pfn(1),
        page_count: 0x9F,
    }];
    let mut source = Header::unset(Machine::Amd64);
    let derivation = Derivation {
        runs: Some(&runs),
        ..DERIVATION
    };
    let full = derive(&source, &derivation).unwrap();
    assert_eq!(full.physical_memory().unwrap().runs().collect::<Vec<_>>(), runs);
    assert_eq!(full.as_bytes()[0x8C..0x90], *b"PAGE");
    assert_eq!(full.as_bytes()[0xA8..0xAC], *b"PAGE", "behind the last run");
    // Another layout keeps what is real, and nothing else.
    assert_eq!(
        derive(&full, &DERIVATION)
            .unwrap()
            .physical_memory()
            .unwrap()
            .number_of_pages(),
        0x9F
    );
    source.set_physical_memory(&runs).unwrap();
    let Header::Dump64(fields) = &mut source else {
        unreachable!()
    };
    fields.physical_memory_block[8] = 1;
    assert!(derive(&source, &DERIVATION).unwrap().physical_memory().is_none());
}

#[test]
fn attributes_are_kept_and_tell_of_filtered_pages() {
    let attributes = |stored: u32, is_filtered| {
        let mut source = Header::unset(Machine::Arm64);
        let Header::Dump64(fields) = &mut source else {
            unreachable!()
        };
        fields.attributes = stored.into();
        derive(
            &source,
            &Derivation {
                is_filtered,
                ..DERIVATION
            },
        )
        .unwrap()
        .attributes()
    };
    const FILLER: u32 = 0x4547_4150;
    assert_eq!(attributes(FILLER, false), None);
    assert_eq!(attributes(FILLER, true), Some(0x40));
    assert_eq!(
        attributes(0x2_1808, true),
        Some(0x2_1848),
        "unknown bits of build 26100"
    );
    assert_eq!(attributes(0x2_1808, false), Some(0x2_1808));
}

#[test]
fn comments() {
    let long = "ä".repeat(100);
    let comment = |source: &Header, comment| derive(source, &Derivation { comment, ..DERIVATION }).unwrap();
    for machine in [Machine::X86, Machine::Amd64] {
        let source = Header::unset(machine);
        let with = comment(&source, Some("kept"));
        assert_eq!(with.comment(), Some(&b"kept"[..]));
        assert_eq!(comment(&with, None).comment(), Some(&b"kept"[..]));
        assert_eq!(comment(&with, Some("")).comment(), Some(&b""[..]));
        let at = if machine == Machine::X86 { 0x820 } else { 0xFB0 };
        assert_eq!(with.as_bytes()[at..at + 12], *b"kept\0AGEPAGE");
        // 127 bytes, and no character is cut in two.
        assert_eq!(comment(&source, Some(&long)).comment(), Some("ä".repeat(63).as_bytes()));
    }
}

/// The kernel of build 26100 writes a status record; a dump from which pages were taken did not "complete successfully".
#[test]
fn the_status_text_goes_where_pages_were_taken_out() {
    let mut source = Header::unset(Machine::Amd64);
    let Header::Dump64(fields) = &mut source else {
        unreachable!()
    };
    fields.reserved_0[..8].copy_from_slice(&[0x98, 2, 0, 0, 0x98, 2, 0, 0]);
    fields.reserved_0[8..0x298].fill(0);
    let text = b"Dump completed successfully.";
    fields.reserved_0[0x198..0x198 + text.len()].copy_from_slice(text);
    let kept = derive(&source, &DERIVATION).unwrap();
    assert_eq!(&kept.as_bytes()[0x11F0..0x120C], text);
    let cut = derive(
        &source,
        &Derivation {
            is_cut: true,
            ..DERIVATION
        },
    )
    .unwrap();
    assert!(cut.as_bytes()[0x11F0..0x12F0].iter().all(|byte| *byte == 0));
    assert_eq!(cut.as_bytes()[0x1058..0x11F0], kept.as_bytes()[0x1058..0x11F0]);
    assert_eq!(cut.as_bytes()[0x12F0..], kept.as_bytes()[0x12F0..]);
    // Before that build the place is filler.
    let unset = Header::unset(Machine::Amd64);
    let cut = derive(
        &unset,
        &Derivation {
            is_cut: true,
            ..DERIVATION
        },
    )
    .unwrap();
    assert_eq!(cut.as_bytes()[0x1058..], unset.as_bytes()[0x1058..]);
}
