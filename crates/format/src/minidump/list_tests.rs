//! Tests of the container and of the lists that every dump has: threads, modules, memory, system, exception.

use alloc::borrow::ToOwned;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;

use proptest::prelude::*;

use super::exception::ExceptionStream;
use super::list::reserve_list;
use super::memory_list::{MemoryDescriptor, MemoryList};
use super::memory64_list::{Memory64List, Memory64ListHeader, MemoryDescriptor64};
use super::module_list::{self, Module, ModuleList, OwnedModule};
use super::system_info::SystemInfo;
use super::thread_list::{Thread, ThreadList};
use super::{
    DirectoryEntry, Header, LocationDescriptor, Minidump, StreamType, read_string, read_string_units,
    write_string_units,
};
use crate::addr::FileOffset;
use crate::error::{Error, Findings};
use crate::layout::{Layout, Piece};
use crate::record::{Endian, Record};
use crate::test_dump::{STREAM, build, damaged, endian, raw, read, read_clean, record, units};

/// Offsets of `minidumpapiset.h`, packed to four bytes.
#[test]
fn records_lie_as_in_the_header() {
    assert_eq!(offset_of!(Header, flags), 24);
    assert_eq!(offset_of!(Thread, teb), 16);
    assert_eq!(offset_of!(Thread, stack), 24);
    assert_eq!(offset_of!(Thread, thread_context), 40);
    assert_eq!(offset_of!(Module, module_name_rva), 20);
    assert_eq!(offset_of!(Module, cv_record), 76);
    assert_eq!(offset_of!(Module, reserved0), 92);
    assert_eq!(offset_of!(ExceptionStream, exception_code), 8);
    assert_eq!(offset_of!(ExceptionStream, exception_information), 40);
    assert_eq!(offset_of!(ExceptionStream, thread_context), 160);
    assert_eq!(offset_of!(SystemInfo, csd_version_rva), 24);
    assert_eq!(offset_of!(SystemInfo, cpu), 32);
}

fn list_of<T: Record>(endian: Endian, stream_type: StreamType, records: &[T]) -> Vec<u8> {
    build(endian, stream_type, &[], |layout| {
        let (room, location) = reserve_list::<T>(layout, records.len(), "test")?;
        for (index, record) in records.iter().enumerate() {
            layout.fill_record(room, 4 + index * T::SIZE, record);
        }
        Ok(location)
    })
}

fn module() -> impl Strategy<Value = OwnedModule> {
    let piece = || proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40).prop_map(Piece::Bytes));
    (record::<Module>(), units(), piece(), piece()).prop_map(|(record, name, cv_record, misc_record)| OwnedModule {
        record,
        name,
        cv_record,
        misc_record,
    })
}

/// The bytes at a location; `None` for an absent one.
fn bytes_at(file: &[u8], location: &LocationDescriptor) -> Option<Piece> {
    let (offset, size) = location.place()?;
    let start = usize::try_from(offset.0).expect("small");
    Some(Piece::Bytes(
        file[start..start + usize::try_from(size).expect("small")].to_vec(),
    ))
}

proptest! {
    #[test]
    fn threads_come_back(endian in endian(), threads in proptest::collection::vec(record::<Thread>(), 0..9)) {
        let file = list_of(endian, StreamType::THREAD_LIST, &threads);
        prop_assert_eq!(read_clean::<ThreadList<'_>>(&file).threads.to_vec().unwrap(), threads);
    }

    #[test]
    fn memory_descriptors_come_back(
        endian in endian(),
        ranges in proptest::collection::vec(record::<MemoryDescriptor>(), 0..9),
    ) {
        let file = list_of(endian, StreamType::MEMORY_LIST, &ranges);
        prop_assert_eq!(read_clean::<MemoryList<'_>>(&file).ranges.to_vec().unwrap(), ranges);
    }

    #[test]
    fn modules_come_back(endian in endian(), modules in proptest::collection::vec(module(), 0..6)) {
        let file = build(endian, StreamType::MODULE_LIST, &[], |layout| module_list::write(layout, &modules));
        let list = read_clean::<ModuleList<'_>>(&file);
        for (module, read) in modules.iter().zip(&list.modules) {
            let read = read.unwrap();
            let name = read_string_units(&file, endian, FileOffset(u64::from(read.module_name_rva.get()))).unwrap();
            prop_assert_eq!(&name, &module.name);
            prop_assert_eq!(bytes_at(&file, &read.cv_record), module.cv_record.clone());
            prop_assert_eq!(bytes_at(&file, &read.misc_record), module.misc_record.clone());
            let unplaced = Module {
                module_name_rva: module.record.module_name_rva,
                cv_record: module.record.cv_record,
                misc_record: module.record.misc_record,
                ..read
            };
            prop_assert_eq!(unplaced, module.record);
        }
        prop_assert_eq!(list.modules.len(), modules.len() as u64);
    }

    #[test]
    fn fixed_streams_come_back(endian in endian(), exception in record::<ExceptionStream>(), info in record::<SystemInfo>()) {
        let file = build(endian, StreamType::EXCEPTION, &[], |layout| {
            let at = layout.push_record(&exception);
            layout.location(at, ExceptionStream::SIZE as u64, "test")
        });
        prop_assert_eq!(read::<ExceptionStream>(&file).0.unwrap(), exception);
        prop_assert!(exception.parameters().count() <= 15);
        let file = build(endian, StreamType::SYSTEM_INFO, &[], |layout| {
            let at = layout.push_record(&info);
            layout.location(at, SystemInfo::SIZE as u64, "test")
        });
        prop_assert_eq!(read_clean::<SystemInfo>(&file), info);
    }

    #[test]
    fn strings_come_back(endian in endian(), units in units()) {
        let mut layout = Layout::new(endian);
        layout.push_bytes(b"any");
        let rva = write_string_units(&mut layout, &units).unwrap();
        let [Piece::Bytes(file)] = &layout.finish().pieces[..] else { panic!("only bytes") };
        prop_assert_eq!(read_string_units(file, endian, rva.offset().unwrap()).unwrap(), units);
        prop_assert_eq!(&file[file.len() - 2..], &[0, 0], "the NUL that Windows' writers put behind");
    }

    /// Walking the table in chunks gives what single look-ups give, for any stride.
    #[test]
    fn walking_and_looking_up_agree(count in 0_usize..3000, first in 0_u64..3000, stride in 1_usize..40) {
        let bytes: Vec<u8> = (0..count * stride).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let shape = crate::table::Shape {
            offset: FileOffset(0),
            end: FileOffset(bytes.len() as u64),
            stride,
            claimed: count as u64,
        };
        let table =
            crate::Table::<MemoryDescriptor64>::new(&bytes, Endian::Little, shape, "test", &mut Findings::default());
        let walked: Vec<_> = table.range(first, u64::MAX).map(Result::unwrap).collect();
        let looked_up: Vec<_> = (first..table.len()).map(|index| table.get(index).unwrap()).collect();
        prop_assert_eq!(walked, looked_up);
    }
}

#[test]
fn padding_after_the_count_is_told_by_the_size() {
    let thread = Thread {
        thread_id: 7.into(),
        ..Thread::default()
    };
    let mut bytes = vec![1, 0, 0, 0, 0xAA, 0xAA, 0xAA, 0xAA];
    bytes.extend(zerocopy::IntoBytes::as_bytes(&thread));
    let file = raw(Endian::Little, StreamType::THREAD_LIST, &bytes);
    assert_eq!(read_clean::<ThreadList<'_>>(&file).threads.get(0).unwrap(), thread);
}

#[test]
fn memory64_with_a_wrong_size_is_read_and_told() {
    let head = Memory64ListHeader {
        number_of_memory_ranges: 2.into(),
        base_rva: 0x1000.into(),
    };
    let mut bytes = zerocopy::IntoBytes::as_bytes(&head).to_vec();
    bytes.extend([0; 32]);
    bytes.extend([0; 16]);
    let file = raw(Endian::Little, StreamType::MEMORY64_LIST, &bytes);
    let (list, findings) = read::<Memory64List<'_>>(&file);
    assert_eq!((list.unwrap().ranges.len(), findings.total()), (2, 1));
}

#[test]
fn damaged_lists_give_errors_or_findings_and_never_panic() {
    let threads = list_of(Endian::Little, StreamType::THREAD_LIST, &[Thread::default(); 2]);
    damaged(&threads, |file| {
        let Ok(dump) = Minidump::open(file) else { return };
        if let Ok(Some(list)) = dump.get::<ThreadList<'_>>(&mut Findings::default()) {
            assert!(
                list.threads.iter().count() <= 2,
                "more threads than the file has room for"
            );
        }
    });
    let mut bytes = zerocopy::IntoBytes::as_bytes(&Memory64ListHeader::default()).to_vec();
    bytes.extend([0; 48]);
    damaged(&raw(Endian::Little, StreamType::MEMORY64_LIST, &bytes), |file| {
        let Ok(dump) = Minidump::open(file) else { return };
        if let Ok(Some(list)) = dump.get::<Memory64List<'_>>(&mut Findings::default()) {
            assert!(
                list.ranges.iter().count() <= 3,
                "more ranges than the file has room for"
            );
        }
    });
}

#[test]
fn what_is_no_minidump_is_told_with_what_was_found() {
    let told = |bytes: &[u8]| Minidump::open(&bytes.to_vec()).unwrap_err().to_string();
    assert!(told(b"").contains("0 bytes"));
    assert!(told(b"PAGEDU64 and more, as a kernel dump begins").contains("[50, 41, 47, 45]"));
    assert!(told(b"MDMP").contains("4 bytes, 32 expected"));
    let mut header = [0; 32];
    header[..4].copy_from_slice(b"MDMP");
    header[4..6].copy_from_slice(&[0x93, 0xA8]);
    assert!(told(&header).contains("0xa893"));
    // Crashpad writes the signature last.
    header[..6].copy_from_slice(&[0, 0, 0, 0, 0x93, 0xA7]);
    assert!(told(&header).contains("interrupted"));
}

#[test]
fn second_streams_and_streams_outside_the_file_are_found() {
    let mut layout = Layout::new(Endian::Little);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(3 * DirectoryEntry::SIZE);
    let location = |rva: u32, data_size: u32| LocationDescriptor {
        rva: rva.into(),
        data_size: data_size.into(),
    };
    let entry = |kind: StreamType, location| DirectoryEntry {
        stream_type: kind.0.into(),
        location,
    };
    let entries = [
        entry(StreamType::MISC_INFO, location(0, 24)),
        entry(StreamType::MISC_INFO, location(8, 24)),
        entry(StreamType::TOKEN, location(0x1000, 16)),
    ];
    let record = Header {
        version: 0xA793.into(),
        ..Header::default()
    };
    super::write_directory(&mut layout, header, directory, record, &entries).unwrap();
    let file = crate::test_dump::execute(&layout.finish(), &[]);
    let dump = Minidump::open(&file).unwrap();
    let told: Vec<_> = dump.findings().as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("second stream") && told[0].contains("0x2c"));
    assert!(told[1].contains("the file ends at 0x44"));
    assert_eq!(
        dump.stream(StreamType::MISC_INFO).unwrap().offset,
        FileOffset(0),
        "the first one counts"
    );
    assert_eq!(dump.stream(StreamType::TOKEN).unwrap().size, 0);
}

#[test]
fn strings_that_cannot_be_are_errors() {
    let bytes = |length: u32, text: &[u8]| [&length.to_le_bytes(), text].concat();
    let read = |file: Vec<u8>| read_string(&file, Endian::Little, FileOffset(0));
    assert_eq!(read(bytes(4, b"a\0b\0")).unwrap(), "ab");
    assert_eq!(
        read(bytes(5, b"a\0b\0c")).unwrap(),
        "ab",
        "an odd last byte is left out"
    );
    assert_eq!(read(bytes(6, b"a\0\0\0b\0")).unwrap(), "a", "text ends at a NUL");
    assert_eq!(
        read(bytes(2, &[0x00, 0xD8])).unwrap(),
        "\u{FFFD}",
        "a lone surrogate is replaced"
    );
    assert!(
        matches!(read(bytes(8, b"a\0")), Err(Error::Read { .. })),
        "a string past the end"
    );
    assert!(matches!(read(bytes(u32::MAX - 1, b"a\0")), Err(Error::Malformed(_))));
}

#[test]
fn offsets_at_four_gibibytes_are_refused() {
    let mut layout = Layout::new(Endian::Little);
    layout.push(Piece::Zeros { size: (1 << 32) - 8 });
    let last = layout.push_bytes(&[0; 8]);
    assert!(layout.location(last, 8, "fits").is_ok());
    let beyond = layout.push_bytes(&[0; 8]);
    let error = layout.location(beyond, 8, "the list").unwrap_err().to_string();
    assert!(error.contains("the list") && error.contains("0x100000008"), "{error}");
    assert!(layout.location(last, 9, "runs over").is_err());
}

#[test]
fn reserved_room_is_filled_wherever_it_lies() {
    let mut layout = Layout::new(Endian::Big);
    let first = layout.reserve(4);
    layout.push(Piece::CopyFrom {
        offset: FileOffset(0),
        size: 3,
    });
    layout.push(Piece::CopyFrom {
        offset: FileOffset(3),
        size: 2,
    });
    layout.align(8);
    let second = layout.reserve(2);
    layout.fill(second, 0, b"zz");
    layout.fill(first, 1, b"ab");
    let plan = layout.finish();
    assert_eq!(
        plan.pieces[1],
        Piece::CopyFrom {
            offset: FileOffset(0),
            size: 5
        },
        "runs that meet are joined"
    );
    assert_eq!(
        crate::test_dump::execute(&plan, b"SOURC"),
        [b"\0ab\0SOURC".as_slice(), &[0; 7], b"zz"].concat()
    );
    assert_eq!(STREAM, 44, "{}", "a header and one directory entry".to_owned());
}
