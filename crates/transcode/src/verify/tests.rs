use std::sync::LazyLock;

use dotdump_format::minidump::StreamType;
use dotdump_format::{Error, VirtAddr};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot};
use proptest::prelude::*;

use super::test_dumps::{Range, convert, fixture, request, small};
use super::{Against, Verification, against, verify};

fn verified(file: &[u8]) -> Verification {
    verify(&MinidumpSnapshot::open(&file).expect("a dump")).expect("readable")
}

/// The comparison with the fixture.
fn compared(file: &[u8]) -> Against {
    let source = DumpFile::open(&fixture(), true).expect("the fixture");
    let source = MinidumpSnapshot::open(&source).expect("a dump");
    against(&MinidumpSnapshot::open(&file).expect("a dump"), &source).expect("readable")
}

/// A small dump of the fixture with all that depends on the filter and on other streams.
static MINI: LazyLock<Vec<u8>> = LazyLock::new(|| convert(&fixture(), &request("iFtu")).0);

/// The same without checksums.
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut request = request("i");
    request.no_manifest = true;
    convert(&fixture(), &request).0
});

/// Where the first byte of memory at `address` lies in a file.
fn place_of(file: &[u8], address: VirtAddr) -> usize {
    let snapshot = MinidumpSnapshot::open(&file).expect("a dump");
    let extent = snapshot
        .memory()
        .extents(dotdump_format::VirtRange::sized(address, 1))
        .next();
    let offset = extent.expect("there").expect("readable").offset.expect("in a file");
    usize::try_from(offset.0).expect("small")
}

#[test]
fn conversions_of_every_kind_are_sound_and_the_same() {
    for letters in [
        "", "a", "f", "F", "h", "u", "t", "i", "w", "d", "c", "r", "R", "y", "rR", "irRFhut",
    ] {
        let (file, report) = convert(&fixture(), &request(letters));
        let found = verified(&file);
        assert!(found.sound, "-m{letters}: {:?}", found.findings);
        assert!(found.manifest.present && found.manifest.damaged.is_empty());
        let compared = compared(&file);
        assert!(compared.same, "-m{letters}: {:?}", compared.differences);
        assert_eq!(compared.memory_compared, report.written.memory.bytes, "-m{letters}");
        assert_eq!(compared.erased.words, report.erased.words.unwrap_or(0), "-m{letters}");
        assert_eq!(compared.erased.module_paths, report.erased.module_paths, "-m{letters}");
        assert_eq!(letters.contains('r'), compared.erased.words > 0, "-m{letters}");
        assert_eq!(letters.contains('R'), compared.erased.module_paths > 0, "-m{letters}");
    }
}

#[test]
fn a_second_conversion_still_comes_from_the_first_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("first.dmp");
    std::fs::write(&path, &*MINI).expect("written");
    let (again, _) = convert(&path, &request("iFtu"));
    let first = MinidumpSnapshot::open(&*MINI).expect("a dump");
    let found = against(&MinidumpSnapshot::open(&again).expect("a dump"), &first).expect("readable");
    assert!(found.same, "{:?}", found.differences);
}

#[test]
fn another_source_is_told() {
    let source = small(&[]);
    let source = MinidumpSnapshot::open(&source).expect("a dump");
    let found = against(&MinidumpSnapshot::open(&*MINI).expect("a dump"), &source).expect("readable");
    assert!(!found.same);
    assert_eq!(found.notes.len(), 1, "it was made from another file: {:?}", found.notes);
    for what in ["SystemInfo", "memory"] {
        assert!(
            found.differences.iter().any(|difference| difference.what == what),
            "{what}"
        );
    }
}

#[test]
fn a_new_comment_is_no_difference() {
    let mut request = request("");
    request.options.comment = Some("looked at".to_owned());
    let (file, _) = convert(&fixture(), &request);
    let found = compared(&file);
    assert!(found.same, "{:?}", found.differences);
    assert_eq!(found.replaced, ["CommentW"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever byte of a dump changes, its checksums tell.
    #[test]
    fn a_changed_byte_is_found(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut file = MINI.clone();
        let at = position.index(file.len());
        file[at] ^= change;
        match MinidumpSnapshot::open(&file) {
            Ok(snapshot) => prop_assert!(!verify(&snapshot).expect("readable").sound, "byte {at:#x}"),
            Err(error) => prop_assert!(matches!(error, Error::Malformed(_)), "{error}"),
        }
    }

    #[test]
    fn a_file_that_was_cut_is_found(position in any::<prop::sample::Index>()) {
        let mut file = MINI.clone();
        file.truncate(position.index(file.len()));
        if let Ok(snapshot) = MinidumpSnapshot::open(&file) {
            prop_assert!(!verify(&snapshot).expect("readable").sound, "{:#x} bytes", file.len());
        }
    }

    /// Whatever byte of memory changes, the comparison tells at which address.
    #[test]
    fn a_changed_byte_of_memory_is_a_difference(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut file = PLAIN.clone();
        let snapshot = MinidumpSnapshot::open(&*PLAIN).expect("a dump");
        let extents: Vec<_> = snapshot.memory().all().map(|extent| extent.expect("readable")).collect();
        let bytes: u64 = extents.iter().map(|extent| extent.range.size()).sum();
        let mut at = position.index(usize::try_from(bytes).unwrap()) as u64;
        let extent = extents.iter().find(|extent| match at.checked_sub(extent.range.size()) {
            Some(rest) => { at = rest; false }
            None => true,
        });
        let address = extent.expect("one of them").range.start.saturating_add(at);
        file[place_of(&PLAIN, address)] ^= change;
        let found = compared(&file);
        prop_assert!(!found.same);
        let expected = format!("1 bytes differ, first at {address}");
        prop_assert!(found.differences.iter().any(|difference| difference.message == expected), "{:?}", found.differences);
    }

    /// Whatever is in a file, looking at it ends.
    #[test]
    fn damaged_words_do_no_harm(
        positions in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        word in prop::sample::select(vec![0, 1, 0x7FFF_FFFF, u32::MAX - 1, u32::MAX]),
    ) {
        let mut file = PLAIN.clone();
        for position in positions {
            let at = position.index(file.len().min(0x4000) - 4);
            file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Ok(snapshot) = MinidumpSnapshot::open(&file) {
            let _ = verify(&snapshot);
            compared(&file);
        }
    }
}

#[test]
fn a_changed_register_is_a_difference() {
    assert!(compared(&PLAIN).same);
    let snapshot = MinidumpSnapshot::open(&*PLAIN).expect("a dump");
    let context = snapshot.threads()[1].record.thread_context.rva.get();
    let mut file = PLAIN.clone();
    // RAX of a CONTEXT of AMD64.
    file[usize::try_from(context).unwrap() + 0x78] ^= 1;
    let found = compared(&file);
    let message = &found.differences.first().expect("a difference").message;
    assert!(message.starts_with("registers differ: rax"), "{message}");
}

#[test]
fn a_zero_that_no_filter_wrote_is_a_difference() {
    let (filtered, report) = convert(&fixture(), &request("r"));
    let snapshot = MinidumpSnapshot::open(&filtered).expect("a dump");
    let area = report.erased.ranges[0].range().expect("addresses");
    let mut offsets = snapshot.memory().extents(area).map(|extent| extent.expect("readable"));
    let part = offsets.next().expect("memory");
    let start = usize::try_from(part.offset.expect("in a file").0).unwrap();
    let bytes = &filtered[start..start + usize::try_from(part.range.size()).unwrap()];
    let kept = bytes
        .chunks(8)
        .position(|word| word.iter().filter(|byte| **byte != 0).count() > 1);
    let word = start + kept.expect("a pointer that stayed") * 8;
    let nonzero = filtered[word..word + 8].iter().position(|byte| *byte != 0).unwrap();
    let mut file = filtered.clone();
    file[word + nonzero] = 0;
    assert!(!compared(&file).same, "one byte of a word that stayed");
}

#[test]
fn the_damaged_block_says_what_it_holds() {
    let (mut file, _) = convert(&fixture(), &request("f"));
    let at = file.len() / 2;
    file[at] ^= 0xFF;
    let found = verified(&file);
    assert_eq!(found.manifest.damaged_total, 1);
    let block = &found.manifest.damaged[0];
    assert!(block.offset.0 <= at as u64 && (at as u64) < block.offset.0 + block.size);
    assert!(
        block.holds.iter().any(|part| part.starts_with("memory [0x")),
        "{block:?}"
    );
    assert!(
        found.findings.iter().all(|note| note.check == "manifest"),
        "{:?}",
        found.findings
    );
}

#[test]
fn overlaps_are_damage_only_where_they_disagree() {
    let range = |start, bytes| Range { start, bytes };
    let same = small(&[range(0x1000, b"abcdefgh"), range(0x1004, b"efghij")]);
    assert!(verified(&same).sound, "{:?}", verified(&same).findings);
    let other = small(&[range(0x1000, b"abcdefgh"), range(0x1004, b"efXhij")]);
    let found = verified(&other);
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].check, "memory-overlaps-agree");
    assert!(found.findings[0].message.contains("0x1006"), "{:?}", found.findings);
    let wraps = small(&[range(u64::MAX - 2, b"abcdefgh")]);
    assert!(
        verified(&wraps)
            .findings
            .iter()
            .any(|note| note.check == "memory-ranges-end")
    );
}

#[test]
fn what_one_reader_refuses_is_a_limit() {
    let empty = small(&[Range {
        start: 0x1000,
        bytes: b"",
    }]);
    let found = verified(&empty);
    assert!(found.sound, "{:?}", found.findings);
    let limited = |name| found.limits.iter().any(|limit| limit.check == name);
    assert!(limited("breakpad-empty-ranges"));
    assert!(limited("udmp-memory64-list"));
    assert!(limited("lldb-process-id"));
    assert!(!limited("windbg-threads"));
}

#[test]
fn a_directory_that_hides_the_manifest_is_found() {
    let mut file = MINI.clone();
    let streams = file[8];
    file[8] = streams - 1;
    let found = verified(&file);
    let hidden = MinidumpSnapshot::open(&file)
        .expect("a dump")
        .dump()
        .stream(StreamType::DOTDUMP_MANIFEST);
    assert!(hidden.is_none() && !found.sound, "{:?}", found.findings);
}
