use super::super::list::{MAX_ENTRIES, MAX_TEXT};
use super::super::third_party_tests::{RawStream, STREAM_AT, assert_round_trip, file_with, read_stream, words};
use super::*;
use alloc::vec;
use proptest::prelude::*;

fn string() -> impl Strategy<Value = Utf8String> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Utf8String)
}

fn dictionary() -> impl Strategy<Value = Dictionary> {
    prop::collection::vec((string(), string()), 0..4)
}

prop_compose! {
    fn module()(
        module_index in any::<u32>(),
        list_annotations in prop::collection::vec(string(), 0..4),
        simple_annotations in dictionary(),
        objects in prop::collection::vec((string(), any::<u16>(), string()), 0..4),
    ) -> ModuleCrashpadInfo {
        let annotation = |(name, annotation_type, value): (_, _, Utf8String)| Annotation {
            name,
            annotation_type,
            value: value.0,
        };
        ModuleCrashpadInfo {
            module_index,
            version: VERSION,
            list_annotations,
            simple_annotations,
            annotation_objects: objects.into_iter().map(annotation).collect(),
        }
    }
}

prop_compose! {
    fn info()(
        ids in any::<(u128, u128)>(),
        simple_annotations in dictionary(),
        modules in prop::collection::vec(module(), 0..4),
        address_mask in any::<Option<u64>>(),
    ) -> CrashpadInfo {
        CrashpadInfo {
            version: VERSION,
            report_id: Guid::from_digits(ids.0),
            client_id: Guid::from_digits(ids.1),
            simple_annotations,
            modules,
            address_mask,
        }
    }
}

proptest! {
    #[test]
    fn read_gives_what_was_written(info in info()) {
        assert_round_trip(&info);
    }

    // References of all kinds to places within, at the end of and behind the file.
    #[test]
    fn any_references_end(numbers in prop::collection::vec(prop_oneof![40..400_u32, Just(u32::MAX), 0..4_u32], 100)) {
        let bytes = words(&numbers);
        let _ = read_raw(&bytes[..64], &bytes[64..]);
    }
}

fn read_raw(bytes: &[u8], behind: &[u8]) -> (Result<CrashpadInfo, Error>, Findings) {
    let raw = RawStream {
        stream_type: StreamType::CRASHPAD_INFO,
        bytes,
        behind,
    };
    let file = file_with(Endian::Little, &raw);
    read_stream(&file, CrashpadInfo::read)
}

/// A stream of the older size with these places.
fn head(simple_annotations: [u32; 2], module_list: [u32; 2]) -> Vec<u8> {
    let ids = [0; 8];
    words(&[&[VERSION], &ids[..], &simple_annotations, &module_list].concat())
}

const BEHIND: u32 = STREAM_AT + 52;

#[test]
fn known_bytes() {
    // Laid out by hand after Crashpad's header: a dictionary of one entry, whose key and value are one string.
    let behind = [words(&[1, BEHIND + 12, BEHIND + 12, 2]), b"ab\0".to_vec()].concat();
    let (info, findings) = read_raw(&head([12, BEHIND], [0, 0]), &behind);
    assert!(findings.is_empty());
    let info = info.unwrap();
    assert_eq!(info.simple_annotations, [("ab".into(), "ab".into())]);
    assert_eq!((info.address_mask, info.modules.len()), (None, 0));
}

#[test]
fn modules_of_older_versions_have_no_annotation_objects() {
    // As Electron's Crashpad of 2016 wrote them: 20 bytes.
    let list = words(&[1, 7, 20, BEHIND + 16]);
    let module = words(&[1, 0, 0, 0, 0, u32::MAX, u32::MAX]);
    let (info, findings) = read_raw(&head([0, 0], [16, BEHIND]), &[list, module].concat());
    assert!(findings.is_empty());
    let module = ModuleCrashpadInfo {
        module_index: 7,
        version: VERSION,
        ..ModuleCrashpadInfo::default()
    };
    assert_eq!(info.unwrap().modules, [module]);
}

#[test]
fn modules_follow_their_list() {
    let module = |module_index| ModuleCrashpadInfo {
        module_index,
        ..ModuleCrashpadInfo::default()
    };
    let mut info = CrashpadInfo {
        modules: vec![module(0), module(3), module(4)],
        ..CrashpadInfo::default()
    };
    info.remap_modules(|index| (index != 3).then_some(index * 10));
    assert_eq!(info.modules, [module(0), module(40)]);
}

#[test]
fn truncated_streams_and_places_behind_the_end() {
    assert!(matches!(read_raw(&[1; 51], &[]).0, Err(Error::Malformed(_))));
    let (info, findings) = read_raw(&head([u32::MAX, u32::MAX], [u32::MAX, BEHIND]), &[]);
    let info = info.unwrap();
    assert_eq!((info.simple_annotations.len(), info.modules.len()), (0, 0));
    assert_eq!(findings.total(), 2);
    // A count that the file does not have, in the last four bytes of the file.
    let (info, findings) = read_raw(&head([12, BEHIND], [0, 0]), &words(&[u32::MAX]));
    assert_eq!((info.unwrap().simple_annotations.len(), findings.total()), (0, 1));
}

#[test]
fn one_long_string_in_many_entries_does_not_fill_the_memory() {
    let entries = 10_000;
    let string = BEHIND + 4 + entries * 8;
    let list: Vec<u8> = (0..entries).flat_map(|_| words(&[string, string])).collect();
    let behind = [words(&[entries]), list, words(&[1 << 20]), vec![b'a'; 1 << 20]].concat();
    let (info, findings) = read_raw(&head([4 + entries * 8, BEHIND], [0, 0]), &behind);
    let pairs = info.unwrap().simple_annotations;
    let held: usize = pairs.iter().map(|(key, value)| key.0.len() + value.0.len()).sum();
    assert_eq!((held, findings.total()), (MAX_TEXT, 1));
}

#[test]
fn one_dictionary_in_many_modules_does_not_fill_the_memory() {
    // Each of 1000 modules has the same dictionary of 1000 entries without strings: a million entries in 20 KiB.
    let modules = 1000_u32;
    let list_size = 4 + modules * 12;
    let module = BEHIND + list_size;
    let dictionary = module + 28;
    let links: Vec<u8> = (0..modules).flat_map(|index| words(&[index, 28, module])).collect();
    let module_head = words(&[1, 0, 0, 4 + 8000, dictionary, 0, 0]);
    let behind = [words(&[modules]), links, module_head, words(&[1000]), vec![0; 8000]].concat();
    let (info, findings) = read_raw(&head([0, 0], [list_size, BEHIND]), &behind);
    let held: usize = info
        .unwrap()
        .modules
        .iter()
        .map(|module| module.simple_annotations.len())
        .sum();
    assert_eq!(held as u64, MAX_ENTRIES - u64::from(modules));
    assert_eq!(findings.total(), 1);
}
