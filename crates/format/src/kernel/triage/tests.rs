//! What is written is read again, and damage does no harm.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::addr::{VirtAddr, VirtRange};
use crate::error::Findings;
use crate::kernel::{Header, Machine};
use crate::layout::{Layout, Piece};
use crate::record::Endian;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..most)
}

fn sections() -> impl Strategy<Value = [Vec<u8>; 5]> {
    [bytes(200), bytes(200), bytes(200), bytes(200), bytes(200)].prop_map(|sections| {
        // Whole machine words, as the copies of structures are.
        sections.map(|mut section| {
            section.resize(section.len().next_multiple_of(8), 0);
            section
        })
    })
}

fn names() -> impl Strategy<Value = Vec<Vec<u16>>> {
    prop::collection::vec(prop::collection::vec(any::<u16>(), 0..20), 0..8)
}

fn dump() -> impl Strategy<Value = TriageDump> {
    let machine = prop_oneof![Just(Machine::X86), Just(Machine::Amd64), Just(Machine::Arm64)];
    let family = prop_oneof![Just(TriageFamily::CrashTime), Just(TriageFamily::Offline)];
    let blocks = prop::collection::vec((any::<u64>(), bytes(60)), 0..12);
    (machine, family, sections(), names(), names(), blocks, any::<[u64; 4]>()).prop_map(
        |(machine, family, sections, drivers, unloaded, blocks, numbers)| {
            let is_64 = machine.pointer_size() == 8;
            let limit = if is_64 { u64::MAX >> 1 } else { u64::from(u32::MAX >> 1) };
            let [prcb, process, thread, call_stack, debugger_data] = sections.map(Piece::Bytes);
            let mut header = Header::unset(machine);
            let machine_type = u32::from(machine.machine_type().0).into();
            match &mut header {
                Header::Dump32(header) => header.machine_image_type = machine_type,
                Header::Dump64(header) => header.machine_image_type = machine_type,
            }
            TriageDump {
                header,
                family,
                service_pack_build: 0x200,
                triage_options: match family {
                    TriageFamily::CrashTime => TriageFamily::OPTIONS_CRASH_TIME,
                    TriageFamily::Offline => TriageFamily::OPTIONS_OFFLINE,
                },
                mm: MmStorage {
                    committed_pages: numbers[0] & limit,
                    ..MmStorage::empty(is_64)
                },
                unloaded: unloaded
                    .iter()
                    .map(|name| {
                        UnloadedDriver::new(name, VirtRange::sized(VirtAddr(numbers[1] & limit), 0x1000), is_64)
                    })
                    .collect(),
                prcb,
                process,
                thread,
                top_of_stack: VirtAddr(numbers[2] & limit),
                call_stack,
                debugger_data,
                drivers: drivers
                    .into_iter()
                    .map(|name| Driver {
                        entry: DriverEntry::new(VirtAddr(numbers[3] & limit), 0x5000, 1, 2, is_64),
                        name: Some(name),
                    })
                    .collect(),
                blocks: blocks
                    .into_iter()
                    .map(|(address, data)| Block {
                        // Both halves of the address space; in a 32-bit dump the addresses of the upper one are extended.
                        address: VirtAddr(address & if is_64 { u64::MAX << 8 } else { 0xFFFF_FF00 }),
                        data: Piece::Bytes(data),
                    })
                    .collect(),
                least_size: if is_64 { 0 } else { XP_SIZE },
            }
        },
    )
}

/// The bytes of a dump; pieces that copy take them from `source`.
fn rendered(dump: &TriageDump, source: &[u8]) -> Vec<u8> {
    let mut layout = Layout::new(Endian::Little);
    let _header = dump.write(&mut layout).unwrap();
    let mut file = Vec::new();
    for piece in layout.finish().pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend(bytes),
            Piece::Zeros { size } => file.extend(vec![0; usize::try_from(size).unwrap()]),
            Piece::CopyFrom { offset, size } => {
                let start = usize::try_from(offset.0).unwrap();
                file.extend_from_slice(&source[start..][..usize::try_from(size).unwrap()]);
            }
            other => panic!("{other:?}"),
        }
    }
    file
}

fn content(piece: &Piece) -> &[u8] {
    let Piece::Bytes(bytes) = piece else {
        panic!("made of bytes")
    };
    bytes
}

/// Looks at everything that a dump has.
fn look_at_all(file: &[u8]) {
    let mut findings = Findings::default();
    let Ok(header) = Header::read(&file) else { return };
    let Ok(triage) = Triage::open(&file, &header, &mut findings) else {
        return;
    };
    for section in triage.sections() {
        assert!(section.end().0 <= file.len() as u64, "{section:?}");
        triage.bytes(section.kind, 0x1000).unwrap();
    }
    triage.context().unwrap();
    triage.exception().unwrap();
    triage.mm_storage().unwrap();
    triage.unloaded_drivers(&mut findings).unwrap();
    triage.drivers(&mut findings).unwrap();
    for memory in triage
        .blocks()
        .map(Result::unwrap)
        .chain(triage.call_stack())
        .chain(triage.data_page())
    {
        assert!(memory.range.is_empty() || memory.offset.0 + memory.range.size() <= file.len() as u64);
    }
    // What was read can be written as well.
    let dump = TriageDump::of(&triage, header, &mut findings).unwrap();
    if dump.size().is_ok() {
        rendered(&dump, file);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(dump in dump()) {
        let file = rendered(&dump, &[]);
        let mut findings = Findings::default();
        let header = Header::read(&file).unwrap();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        prop_assert_eq!(triage.end().0, file.len() as u64);
        prop_assert_eq!(triage.family(), dump.family);
        prop_assert_eq!(triage.mm_storage().unwrap(), Some(dump.mm));
        prop_assert_eq!(&triage.unloaded_drivers(&mut findings).unwrap(), &dump.unloaded);
        for (kind, piece) in [
            (SectionKind::Prcb, &dump.prcb),
            (SectionKind::Process, &dump.process),
            (SectionKind::Thread, &dump.thread),
            (SectionKind::CallStack, &dump.call_stack),
            (SectionKind::DebuggerData, &dump.debugger_data),
        ] {
            prop_assert_eq!(&*triage.bytes(kind, usize::MAX).unwrap(), content(piece), "{:?}", kind);
        }
        prop_assert_eq!(triage.call_stack().unwrap().range.start, dump.top_of_stack);
        let drivers = triage.drivers(&mut findings).unwrap();
        prop_assert_eq!(drivers.len(), dump.drivers.len());
        for (read, written) in drivers.iter().zip(&dump.drivers) {
            prop_assert_eq!(&read.name, &written.name);
            prop_assert_eq!(read.entry.base(), written.entry.base());
        }
        let blocks: Vec<_> = triage.blocks().map(Result::unwrap).collect();
        prop_assert_eq!(blocks.len(), dump.blocks.len());
        for (read, written) in blocks.iter().zip(&dump.blocks) {
            prop_assert_eq!(read.range.start, written.address);
            let start = usize::try_from(read.offset.0).unwrap();
            // A block at the top of the address space is cut there.
            let kept = usize::try_from(read.range.size()).unwrap();
            prop_assert_eq!(&file[start..start + kept], &content(&written.data)[..kept]);
        }
        prop_assert!(findings.is_empty(), "{:?}", findings.as_slice());
        if triage.is_64() && dump.family == TriageFamily::CrashTime {
            prop_assert_eq!(file.len() % 0x200, 0);
        }
        let again = TriageDump::of(&triage, header.clone(), &mut findings).unwrap();
        prop_assert_eq!(rendered(&again, &file), file, "written again");
    }

    #[test]
    fn damage_does_no_harm(
        dump in dump(),
        damage in prop::collection::vec((0_usize..0x4000, any::<u8>()), 0..20),
        fixed in prop::collection::vec((0_usize..0x20, prop_oneof![any::<u32>(), 0_u32..0x5000]), 0..4),
        cut in 0_usize..0x5000,
    ) {
        let mut file = rendered(&dump, &[]);
        let start = dump.header.as_bytes().len();
        for (word, value) in fixed {
            file[start + 4 * word..][..4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in damage {
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
        }
        look_at_all(&file);
        file.truncate(file.len().saturating_sub(cut));
        look_at_all(&file);
    }
}
