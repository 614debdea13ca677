use proptest::prelude::*;

use super::*;
use crate::record::Endian;
use crate::test_dump;

const TYPE: StreamType = StreamType::FUNCTION_TABLE;

fn tables() -> impl Strategy<Value = NewFunctionTables> {
    (0..20_u32, prop_oneof![Just(8_u32), Just(12)]).prop_flat_map(|(native_size, entry_size)| {
        let native = proptest::collection::vec(any::<u8>(), native_size as usize);
        let entries = proptest::collection::vec(any::<u8>(), 0..60).prop_map(move |mut bytes| {
            bytes.truncate(bytes.len() / entry_size as usize * entry_size as usize);
            bytes
        });
        let table = (test_dump::record::<FunctionTableDescriptor>(), native, entries).prop_map(
            move |(mut descriptor, native, entries)| {
                descriptor.entry_count = u32::try_from(entries.len() / entry_size as usize).unwrap().into();
                let size = native.len() + entries.len();
                descriptor.size_of_align_pad = u32::try_from(size.next_multiple_of(8) - size).unwrap().into();
                NewFunctionTable {
                    descriptor,
                    native,
                    entries,
                }
            },
        );
        proptest::collection::vec(table, 0..5).prop_map(move |tables| NewFunctionTables {
            native_size,
            entry_size,
            tables,
        })
    })
}

fn owned(list: &FunctionTables<'_>) -> NewFunctionTables {
    let table = |table: Result<FunctionTable<'_>, Error>| {
        let table = table.unwrap();
        NewFunctionTable {
            descriptor: table.descriptor,
            native: table.native().unwrap().into_owned(),
            entries: table.entry_bytes(0, u64::MAX).unwrap().into_owned(),
        }
    };
    NewFunctionTables {
        native_size: list.header.size_of_native_descriptor.get(),
        entry_size: list.header.size_of_function_entry.get(),
        tables: list.iter().map(table).collect(),
    }
}

proptest! {
    #[test]
    fn reads_what_it_writes(endian in test_dump::endian(), tables in tables()) {
        let file = test_dump::file_of(&tables, endian);
        prop_assert_eq!(owned(&test_dump::read_clean(&file)), tables);
    }
}

/// Two tables with padding everywhere; offsets from section 3.11 of the format reference.
fn padded() -> Vec<u8> {
    let mut bytes = Vec::new();
    let words = |bytes: &mut Vec<u8>, words: &[u32]| bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    words(&mut bytes, &[24, 32, 8, 12, 2, 4]);
    bytes.extend(b"PAD!");
    words(&mut bytes, &[0x1000, 1, 0x2000, 1, 0x800, 1, 2, 4]);
    bytes.extend(b"native 1");
    words(&mut bytes, &[0x10, 0x20, 0x30, 0x40, 0x50, 0x61]);
    bytes.extend(b"PAD!");
    words(&mut bytes, &[0x3000, 1, 0x4000, 1, 0x3000, 1, 1, 0]);
    bytes.extend(b"native 2");
    words(&mut bytes, &[0x70, 0x80, 0x90]);
    bytes
}

#[test]
fn padding_is_skipped() {
    let file = test_dump::raw(Endian::Little, TYPE, &padded());
    let list: FunctionTables<'_> = test_dump::read_clean(&file);
    let tables: Vec<_> = list.iter().map(Result::unwrap).collect();
    assert_eq!(tables.len(), 2);
    let range = VirtRange::new(VirtAddr(0x1_0000_1000), VirtAddr(0x1_0000_2000));
    assert_eq!(tables[0].descriptor.range(), range);
    assert_eq!(*tables[0].native().unwrap(), *b"native 1");
    assert_eq!(*tables[1].native().unwrap(), *b"native 2");
    let unwind = |table: &FunctionTable<'_>| table.unwind_addresses().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(unwind(&tables[0]), [VirtAddr(0x1_0000_0830), VirtAddr(0x1_0000_0860)]);
    assert_eq!(unwind(&tables[1]), [VirtAddr(0x1_0000_3090)]);
    assert_eq!(tables[0].entries.get(1).unwrap().begin_address.get(), 0x40);
}

#[test]
fn entries_of_other_processors_have_no_unwind_addresses() {
    let tables = NewFunctionTables {
        native_size: 0,
        entry_size: 8,
        tables: alloc::vec![NewFunctionTable {
            entries: alloc::vec![1; 16],
            ..NewFunctionTable::default()
        }],
    };
    let file = test_dump::file_of(&tables, Endian::Little);
    let list: FunctionTables<'_> = test_dump::read_clean(&file);
    let table = list.iter().next().unwrap().unwrap();
    assert_eq!(
        (table.is_x64(), table.entries.len(), table.unwind_addresses().count()),
        (false, 2, 0)
    );
}

#[test]
fn sizes_and_counts_out_of_bounds() {
    for (at, word, usable, first) in [
        (0, 0, false, false),
        (0, 1, false, false),
        (0, u32::MAX, true, false),
        (4, 0, false, false),
        (4, 31, false, false),
        (4, u32::MAX, true, false),
        (8, u32::MAX, true, false),
        (12, u32::MAX, true, false),
        (12, 0, true, true),
        (16, u32::MAX, true, true),
        (20, u32::MAX, true, false),
        (28 + 24, u32::MAX, true, false),
        (28 + 28, u32::MAX, true, true),
    ] {
        let mut bytes = padded();
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
        let file = test_dump::raw(Endian::Little, TYPE, &bytes);
        let list = test_dump::read::<FunctionTables<'_>>(&file).0;
        assert_eq!(list.is_ok(), usable, "{at} {word:#x}");
        if let Ok(list) = list {
            assert_eq!(list.iter().next().unwrap().is_ok(), first, "{at} {word:#x}");
            assert!(list.iter().count() <= 5);
        }
    }
}

#[test]
fn damage_never_panics() {
    let file = test_dump::raw(Endian::Little, TYPE, &padded());
    test_dump::damaged(&file, |file| {
        if let Ok(list) = test_dump::read::<FunctionTables<'_>>(file).0 {
            for table in list.iter().flatten() {
                assert!(table.entries.len() <= file.len() as u64);
                let _ = (table.native(), table.unwind_addresses().count());
            }
        }
    });
}
