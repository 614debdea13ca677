use proptest::prelude::*;

use super::*;
use crate::record::Endian;
use crate::test_dump;

const TYPE: StreamType = StreamType::HANDLE_DATA;

fn information() -> impl Strategy<Value = ObjectInformation> {
    (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(info_type, data)| ObjectInformation { info_type, data })
}

fn handle() -> impl Strategy<Value = Handle> {
    (
        test_dump::record::<HandleDescriptor>(),
        proptest::option::of(test_dump::units()),
        proptest::option::of(test_dump::units()),
        proptest::collection::vec(information(), 0..4),
    )
        .prop_map(|(mut record, type_name, object_name, object_info)| {
            record.type_name_rva = 0.into();
            record.object_name_rva = 0.into();
            record.object_info_rva = 0.into();
            Handle {
                record,
                type_name: type_name.map(Name::from),
                object_name: object_name.map(Name::from),
                object_info,
            }
        })
}

proptest! {
    #[test]
    fn reads_what_it_writes(
        endian in test_dump::endian(),
        short in any::<bool>(),
        mut handles in proptest::collection::vec(handle(), 0..6),
    ) {
        if short {
            for handle in &mut handles {
                handle.record.reserved0 = 0.into();
                handle.object_info.clear();
            }
        }
        let descriptor_size = if short { 32 } else { 40 };
        let data = HandleData { descriptor_size, handles };
        prop_assert_eq!(test_dump::read_clean::<HandleData>(&test_dump::file_of(&data, endian)), data);
    }
}

/// A list of descriptors of `size` bytes; each is given by its words.
fn stream(size: u32, count: u32, words: &[u32]) -> Vec<u8> {
    let head = [16, size, count, 0];
    head.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
}

/// A handle's ten words, offsets as in section 3.9 of the format reference.
const fn words(type_name: u32, object_name: u32, info: u32) -> [u32; 10] {
    [4, 0, type_name, object_name, 2, 0x1F_0003, 3, 65_538, info, 0]
}

#[test]
fn fields_lie_where_the_format_has_them() {
    let at = u32::try_from(test_dump::STREAM).unwrap();
    let name = at + 16 + 40;
    let mut bytes = stream(40, 1, &words(name, 0, name + 12));
    bytes.extend(b"\x06\0\0\0K\0e\0y\0\0\0");
    bytes.extend(b"\0\0\0\0\x06\0\0\0\x02\0\0\0\xAA\xBB");
    let file = test_dump::raw(Endian::Little, TYPE, &bytes);
    let data: HandleData = test_dump::read_clean(&file);
    let handle = &data.handles[0];
    assert_eq!((data.descriptor_size, data.handles.len()), (40, 1));
    assert_eq!(handle.record.handle.get(), 4);
    assert_eq!(handle.record.attributes.get(), 2);
    assert_eq!(handle.record.granted_access.get(), 0x1F_0003);
    assert_eq!(
        (handle.record.handle_count.get(), handle.record.pointer_count.get()),
        (3, 65_538)
    );
    assert_eq!(handle.type_name.as_ref().unwrap().text(), "Key");
    assert_eq!(handle.object_name, None);
    let information = ObjectInformation {
        info_type: 6,
        data: [0xAA, 0xBB].into(),
    };
    assert_eq!(handle.object_info, [information]);
}

#[test]
fn a_name_is_held_once_and_written_once() {
    let handle = Handle {
        type_name: Some(Name::from("IoCompletion")),
        ..Handle::default()
    };
    // A second copy of the same text, so that only its value can tell that it is the same.
    let other = Handle {
        type_name: Some(Name::from("IoCompletion")),
        ..Handle::default()
    };
    let data = HandleData {
        descriptor_size: 32,
        handles: alloc::vec![handle.clone(), handle, other],
    };
    let file = test_dump::file_of(&data, Endian::Little);
    let text: Vec<u8> = "IoCompletion".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(file.windows(text.len()).filter(|window| *window == text).count(), 1);
    let data: HandleData = test_dump::read_clean(&file);
    let units = |index: usize| data.handles[index].type_name.as_ref().unwrap().units().as_ptr();
    assert_eq!(units(0), units(2));
}

#[test]
fn information_needs_the_longer_descriptor() {
    let handle = Handle {
        object_info: alloc::vec![ObjectInformation {
            info_type: 6,
            data: Vec::new()
        }],
        ..Handle::default()
    };
    let data = HandleData {
        descriptor_size: 32,
        handles: alloc::vec![handle],
    };
    let file = test_dump::file_of(&data, Endian::Little);
    let back: HandleData = test_dump::read_clean(&file);
    assert_eq!((back.descriptor_size, back.handles), (40, data.handles));
}

#[test]
fn a_chain_that_runs_in_a_circle_ends() {
    let at = u32::try_from(test_dump::STREAM).unwrap();
    let information = at + 16 + 40;
    let mut bytes = stream(40, 1, &words(0, 0, information));
    bytes.extend([information, 6, 0].iter().flat_map(|word| word.to_le_bytes()));
    let file = test_dump::raw(Endian::Little, TYPE, &bytes);
    let (data, findings) = test_dump::read::<HandleData>(&file);
    assert_eq!(data.unwrap().handles[0].object_info.len(), 64);
    assert_eq!(findings.total(), 1);
}

#[test]
fn places_past_the_file_are_findings() {
    for (type_name, info) in [(0xFFFF_0000, 0), (0, 0xFFFF_0000), (0, u32::MAX)] {
        let bytes = stream(40, 1, &words(type_name, 0, info));
        let file = test_dump::raw(Endian::Little, TYPE, &bytes);
        let (data, findings) = test_dump::read::<HandleData>(&file);
        let data = data.unwrap();
        assert_eq!(
            (data.handles[0].type_name.as_ref(), data.handles[0].object_info.len()),
            (None, 0)
        );
        assert_eq!(findings.total(), 1, "{:?}", findings.as_slice());
    }
}

#[test]
fn many_handles_with_one_long_chain_do_not_fill_the_memory() {
    let at = u32::try_from(test_dump::STREAM).unwrap();
    let (handles, size) = (64, 1 << 20);
    let information = at + 16 + 40 * handles;
    let mut bytes = stream(40, handles, &words(0, 0, information).repeat(handles as usize));
    bytes.extend([0_u32, 1, size].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(alloc::vec![0; size as usize]);
    let file = test_dump::raw(Endian::Little, TYPE, &bytes);
    let (data, findings) = test_dump::read::<HandleData>(&file);
    let held: usize = data
        .unwrap()
        .handles
        .iter()
        .flat_map(|handle| &handle.object_info)
        .map(|info| info.data.len())
        .sum();
    assert!(held <= super::super::list::MAX_TEXT);
    assert_eq!(findings.total(), 1);
}

#[test]
fn counts_and_sizes_out_of_bounds() {
    for (header, size, count, usable) in [
        (16, 40, u32::MAX, true),
        (16, 1, u32::MAX, true),
        (16, u32::MAX, 1, true),
        (u32::MAX, 40, 1, true),
        (16, 0, 1, false),
        (0, 40, 1, false),
        (1, 40, 1, false),
    ] {
        let mut bytes = stream(size, count, &words(0, 0, 0));
        bytes[..4].copy_from_slice(&u32::to_le_bytes(header));
        let file = test_dump::raw(Endian::Little, TYPE, &bytes);
        let (data, findings) = test_dump::read::<HandleData>(&file);
        assert_eq!(data.is_ok(), usable, "{header} {size} {count}");
        assert!(data.is_ok_and(|data| data.handles.len() <= 40) != findings.is_empty());
    }
}

#[test]
fn damage_never_panics() {
    let handle = Handle {
        type_name: Some(Name::from("Event")),
        object_name: Some(Name::from("\\x")),
        object_info: alloc::vec![ObjectInformation { info_type: 6, data: alloc::vec![1; 8] }; 2],
        ..Handle::default()
    };
    let data = HandleData {
        handles: alloc::vec![handle; 2],
        ..HandleData::default()
    };
    let file = test_dump::file_of(&data, Endian::Little);
    test_dump::damaged(&file, |file| {
        if let Ok(data) = test_dump::read::<HandleData>(file).0 {
            assert!(data.handles.len() <= file.len());
            let _ = test_dump::file_of(&data, Endian::Big);
        }
    });
}
