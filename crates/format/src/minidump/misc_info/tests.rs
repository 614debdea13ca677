use core::mem::offset_of;

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::record::Endian;
use crate::test_dump;

const TYPE: StreamType = StreamType::MISC_INFO;

proptest! {
    #[test]
    fn reads_what_it_writes(
        endian in test_dump::endian(),
        record in test_dump::record::<MiscInfoRecord>(),
        size in prop_oneof![Just(SIZE_1), Just(SIZE_2), Just(SIZE_3), Just(SIZE_4), Just(SIZE_5)],
    ) {
        let info = MiscInfo::new(record).with_size(size);
        let file = test_dump::file_of(&info, endian);
        prop_assert_eq!(file.len(), test_dump::STREAM + size);
        prop_assert_eq!(test_dump::read_clean::<MiscInfo>(&file), info);
    }

    #[test]
    fn a_size_between_versions_stays(endian in test_dump::endian(), bytes in proptest::collection::vec(any::<u8>(), 8..1364)) {
        let mut bytes = bytes;
        let size = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&if endian == Endian::Big { size.to_be_bytes() } else { size.to_le_bytes() });
        let file = test_dump::raw(endian, TYPE, &bytes);
        let info: MiscInfo = test_dump::read_clean(&file);
        prop_assert_eq!(info.size(), bytes.len());
        prop_assert_eq!(test_dump::file_of(&info, endian), file);
    }
}

// Offsets: sections 3.13 and 4.9.3 of the format reference.
#[test]
fn fields_lie_where_the_format_has_them() {
    assert_eq!(offset_of!(MiscInfoRecord, process_kernel_time), 20);
    assert_eq!(offset_of!(MiscInfoRecord, processor_current_idle_state), 40);
    assert_eq!(offset_of!(MiscInfoRecord, process_integrity_level), 44);
    assert_eq!(offset_of!(MiscInfoRecord, time_zone_id), 56);
    assert_eq!(offset_of!(MiscInfoRecord, time_zone), 60);
    assert_eq!(60 + offset_of!(TimeZoneInformation, standard_date), 128);
    assert_eq!(60 + offset_of!(TimeZoneInformation, standard_bias), 144);
    assert_eq!(60 + offset_of!(TimeZoneInformation, daylight_date), 212);
    assert_eq!(60 + offset_of!(TimeZoneInformation, daylight_bias), 228);
    assert_eq!(offset_of!(MiscInfoRecord, build_string), 232);
    assert_eq!(offset_of!(MiscInfoRecord, dbg_bld_str), 752);
    assert_eq!(offset_of!(MiscInfoRecord, xstate_data), 832);
    assert_eq!(offset_of!(XStateConfig, features), 16);
    assert_eq!(offset_of!(MiscInfoRecord, process_cookie), 1360);
}

#[test]
fn a_field_needs_both_its_flag_and_its_place() {
    let record = MiscInfoRecord {
        flags1: 0x3F3.into(),
        process_id: 7.into(),
        processor_max_mhz: 3000.into(),
        process_integrity_level: 0x2000.into(),
        process_cookie: 9.into(),
        ..MiscInfoRecord::default()
    };
    let info = MiscInfo::new(record);
    assert_eq!((info.process_id(), info.process_cookie()), (Some(7), Some(9)));
    assert_eq!(info.processor_max_mhz(), None);
    assert_eq!(info.process_integrity_level(), Some(0x2000));
    assert_eq!(info.build_string().as_deref(), Some(""));
    assert!(info.time_zone().is_some() && info.xstate_data().is_none());

    let info = info.with_size(SIZE_3);
    assert_eq!(
        (info.process_integrity_level(), info.process_cookie()),
        (Some(0x2000), None)
    );
    assert!(info.time_zone().is_some() && info.build_string().is_none());

    let info = info.with_size(SIZE_1);
    assert_eq!((info.process_id(), info.process_integrity_level()), (Some(7), None));
    assert_eq!(info.with_size(SIZE_5).process_cookie(), Some(0));
}

#[test]
fn bytes_beyond_the_stated_size_do_not_count() {
    let mut bytes = Vec::from(24_u32.to_le_bytes());
    bytes.extend([0xFF; 40]);
    let file = test_dump::raw(Endian::Little, TYPE, &bytes);
    let info: MiscInfo = test_dump::read_clean(&file);
    assert_eq!((info.size(), info.record.processor_max_mhz.get()), (24, 0));
    assert_eq!(
        (info.process_kernel_time(), info.processor_max_mhz()),
        (Some(u32::MAX), None)
    );
}

#[test]
fn a_size_that_cannot_be_is_a_finding() {
    for stated in [0_u32, 1, 7, 45, u32::MAX] {
        let mut bytes = Vec::from(stated.to_le_bytes());
        bytes.extend([0xFF; 40]);
        let file = test_dump::raw(Endian::Little, TYPE, &bytes);
        let (info, findings) = test_dump::read::<MiscInfo>(&file);
        assert_eq!((info.unwrap().size(), findings.total()), (44, 1), "{stated}");
    }
}

#[test]
fn a_longer_record_is_read_as_far_as_it_is_known() {
    let mut bytes = Vec::from(1400_u32.to_le_bytes());
    bytes.resize(1400, 1);
    let file = test_dump::raw(Endian::Little, TYPE, &bytes);
    let info: MiscInfo = test_dump::read_clean(&file);
    assert_eq!((info.size(), info.record.size_of_info.get()), (1364, 1364));
}

#[test]
fn a_stream_without_flags_is_an_error() {
    let file = test_dump::raw(Endian::Little, TYPE, &[24, 0, 0, 0, 0, 0, 0]);
    assert!(test_dump::read::<MiscInfo>(&file).0.is_err());
}

#[test]
fn damage_never_panics() {
    let file = test_dump::file_of(&MiscInfo::default().with_size(SIZE_3), Endian::Little);
    test_dump::damaged(&file, |file| {
        if let Ok(info) = test_dump::read::<MiscInfo>(file).0 {
            assert!(info.size() <= SIZE_5);
            let _ = (
                info.time_zone().map(TimeZoneInformation::standard_name),
                info.build_string(),
            );
        }
    });
}
