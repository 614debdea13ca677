use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn block(size: u32) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    bytes[0x10..0x14].copy_from_slice(&OWNER_TAG);
    bytes[0x14..0x18].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn put(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn the_table_of_fields_is_whole() {
    let mut at = 0x18;
    for field in FIELDS {
        assert_eq!(field.offset, at, "{}", field.name);
        at += field.size;
    }
    assert_eq!(at, 0x3A0);
}

#[test]
fn a_short_block_leaves_later_fields_unknown() {
    let mut bytes = block(0x290);
    put(&mut bytes, 0x48, 0xFFFF_F800_0123_4560);
    // What lies behind the block in memory is no part of it.
    bytes.extend([0xFF; 0x200]);
    let data = DebuggerData::read(&bytes, Machine::Amd64).unwrap();
    assert_eq!(data.size(), 0x290);
    assert!(data.has_known_size());
    assert_eq!(data.ps_loaded_module_list(), Some(VirtAddr(0xFFFF_F800_0123_4560)));
    assert_eq!(data.mm_virtual_translation_base(), None);
    assert_eq!(data.size_prcb(), None);
    assert_eq!(data.gdt_r0_code(), None);
    assert_eq!(data.pte_base(), None);
    assert_eq!(data.as_bytes().len(), 0x290);
    assert!(data.fields().all(|(field, _)| field.offset + field.size <= 0x290));
}

#[test]
fn a_longer_block_than_any_is_read_as_far_as_it_is_known() {
    let mut bytes = block(0x400);
    bytes[0x398..0x39A].copy_from_slice(&0x8768_u16.to_le_bytes());
    let data = DebuggerData::read(&bytes, Machine::Amd64).unwrap();
    assert_eq!(data.size(), 0x400);
    assert!(!data.has_known_size());
    assert_eq!(data.offset_prcb_exception_stack(), Some(0x8768));
}

#[test]
fn pointers_of_32_bits_are_the_same_raw_and_rewritten() {
    // The raw block of a Windows XP: pointers zero-extended, both links in the first slot.
    let mut raw = block(0x290);
    put(&mut raw, 0, 0x8055_4D80_8055_4D80);
    put(&mut raw, 0x18, 0x804D_7000);
    put(&mut raw, 0x48, 0x8055_A620);
    put(&mut raw, 0x138, 0x1000);
    let raw = DebuggerData::read(&raw, Machine::X86).unwrap();
    assert_eq!(raw.kern_base(), Some(VirtAddr(0x804D_7000)));
    assert!(raw.is_plausible());

    // What a debugger made of it: sign-extended, a list entry of 64 bits.
    let mut rewritten = block(0x290);
    for (offset, value) in [
        (0, 0xFFFF_FFFF_8055_4D80),
        (8, 0xFFFF_FFFF_8055_4D80),
        (0x18, 0xFFFF_FFFF_804D_7000),
        (0x48, 0xFFFF_FFFF_8055_A620),
        (0x138, 0x1000),
    ] {
        put(&mut rewritten, offset, value);
    }
    let rewritten = DebuggerData::read(&rewritten, Machine::X86).unwrap();
    assert!(rewritten.fields().eq(raw.fields()));
    assert_eq!(rewritten.kern_base(), raw.kern_base());
    assert_eq!(rewritten.mm_page_size(), Some(0x1000));
}

#[test]
fn what_is_no_block_is_not_read() {
    let good = block(0x380);
    assert!(DebuggerData::read(&good[..0x17], Machine::Amd64).is_none());
    for size in [0, 8, 0x18, 0x381, 0x1000, u32::MAX] {
        let mut bytes = good.clone();
        bytes[0x14..0x18].copy_from_slice(&size.to_le_bytes());
        assert!(DebuggerData::read(&bytes, Machine::Amd64).is_none(), "{size:#x}");
    }
    let mut bytes = good;
    bytes[0x10] = b'k';
    assert!(DebuggerData::read(&bytes, Machine::Amd64).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(size in 0_u32..0x1100, rest in prop::collection::vec(any::<u8>(), 0..0x500)) {
        let mut bytes = vec![0; 0x18];
        bytes[0x10..0x14].copy_from_slice(&OWNER_TAG);
        bytes[0x14..0x18].copy_from_slice(&size.to_le_bytes());
        bytes.extend(&rest);
        for machine in [Machine::X86, Machine::Amd64, Machine::Arm64] {
            if let Some(data) = DebuggerData::read(&bytes, machine) {
                let known = bytes.len().min(size as usize).min(0x3A0);
                prop_assert_eq!(data.as_bytes(), &bytes[..known]);
                prop_assert!(data.fields().all(|(field, _)| field.offset + field.size <= known));
                prop_assert_eq!(data.pte_base().is_some(), known >= 0x368 && bytes[0x360..0x368] != [0; 8]
                    && (machine != Machine::X86 || bytes[0x360..0x364] != [0; 4]));
            }
        }
    }
}
