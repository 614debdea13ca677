//! Real small dumps as sources.

use std::cell::OnceCell;
use std::fs;
use std::sync::LazyLock;

use dotdump_format::kernel::triage::{SectionKind, Triage};
use dotdump_format::kernel::{Header, TriageFamily};
use dotdump_format::{Findings, VirtRange};
use dotdump_snapshot::{MachineSnapshot as _, RangeSet, TriageMemory};
use dotdump_tests::places::{corpus_files, name_of};
use dotdump_transcode::ConvertError;
use dotdump_transcode::machine::triage::{Reason, ReasonCount, TriageRequest, copy, select};

use proptest::prelude::*;

use crate::double::{Double, blocks_of, of_triage, render, size_of};

fn triage_dumps() -> Vec<(String, Vec<u8>)> {
    let named = corpus_files("kernel-").into_iter().map(|path| (name_of(&path), path));
    let triage = named.filter(|(name, _)| name.contains("-triage-"));
    triage.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

const AS_WINDOWS: TriageRequest<'static> = TriageRequest {
    comment: None,
    max_size: None,
    secondary_size: 0,
    as_windows: true,
};

/// The dumps that were made from bigger ones, for which processors are known.
fn offline() -> Vec<(String, Vec<u8>)> {
    let mut dumps = triage_dumps();
    dumps.retain(|(_, file)| {
        let header = Header::read(file).unwrap();
        Triage::open(file, &header, &mut Findings::default()).unwrap().family() == TriageFamily::Offline
    });
    dumps
}

/// From what is in a dump the same blocks are chosen that are in it, in the same order. Only what is known to Windows alone is
/// missing: what drivers registered, zeros in place of stacks of user mode, and what the bugcheck of the ARM64 dump adds.
#[test]
fn the_blocks_of_a_dump_are_chosen_from_it() {
    for (name, file) in offline() {
        let header = Header::read(&file).unwrap();
        let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
        let machine = of_triage(&triage, &header);
        let selection = select(&machine, machine.kernel_memory(), &AS_WINDOWS).unwrap();
        let chosen = blocks_of(&selection.dump);
        let stored: Vec<VirtRange> = triage.blocks().map(|block| block.unwrap().range).collect();

        let missing: Vec<usize> = (0..stored.len())
            .filter(|index| !chosen.contains(&stored[*index]))
            .collect();
        let is_user = |range: &VirtRange| range.start.0 >> 63 == 0;
        // Of each dump: blocks that are chosen, and blocks that are known to Windows alone.
        let (known, unknown_to_us) = match () {
            () if name.ends_with("triage_x64.dmp") => (1831, 0),
            () if name.contains("15671") => (1354, 4),
            () if name.contains("6156") => (1557, 9),
            () if name.ends_with("triage_arm64.dmp") => (657, 22),
            () => continue,
        };
        let unknown: Vec<usize> = missing
            .iter()
            .copied()
            .filter(|index| !is_user(&stored[*index]))
            .collect();
        assert_eq!(unknown.len(), unknown_to_us, "{name}");
        let expected: Vec<_> = stored.iter().filter(|range| chosen.contains(range)).collect();
        assert_eq!(expected.len(), known, "{name}");
        let mut ours = chosen.iter().filter(|range| stored.contains(range));
        assert!(expected.into_iter().eq(ours.by_ref()), "{name}: the order");
        // What else is chosen lies in memory that is stored for another reason.
        let unknown: RangeSet = unknown.iter().map(|index| stored[*index]).collect();
        for range in chosen.iter().filter(|range| !stored.contains(range)) {
            let known = stored.iter().filter_map(|stored| stored.intersection(*range));
            let mut covered: RangeSet = known.collect();
            assert!(covered.covers(*range), "{name}: {range}");
            assert!(
                unknown
                    .clone()
                    .as_slice()
                    .iter()
                    .any(|unknown| unknown.intersection(*range).is_some()),
                "{name}"
            );
        }
    }
}

/// All sections are those of the dump, byte for byte; where its blocks are the same, so is the whole dump.
#[test]
fn the_sections_of_a_dump_are_made_from_it() {
    for (name, file) in offline() {
        let header = Header::read(&file).unwrap();
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let machine = of_triage(&triage, &header);
        let selection = select(&machine, machine.kernel_memory(), &AS_WINDOWS).unwrap();
        assert!(selection.shortfalls.is_empty(), "{name}: {:?}", selection.shortfalls);
        let made = render(&selection.dump, Some(machine.kernel_memory()), &[]);
        assert_eq!(made.len() as u64, size_of(&selection.dump), "{name}");
        let again = Triage::open(&made, &selection.dump.header, &mut findings).unwrap();
        for kind in [
            SectionKind::MmStorage,
            SectionKind::UnloadedDrivers,
            SectionKind::Prcb,
            SectionKind::Process,
            SectionKind::Thread,
            SectionKind::CallStack,
            SectionKind::DebuggerData,
            SectionKind::DriverList,
            SectionKind::StringPool,
        ] {
            assert_eq!(again.section(kind), triage.section(kind), "{name}");
            assert!(
                again.bytes(kind, usize::MAX).unwrap() == triage.bytes(kind, usize::MAX).unwrap(),
                "{name}: {kind:?}"
            );
        }
        // The header as well, apart from the size of the file, which debuggers guess.
        let mut header = selection.dump.header.as_bytes().to_vec();
        header[0xFA0..0xFA8].copy_from_slice(&file[0xFA0..0xFA8]);
        assert_eq!(header, file[..0x2000], "{name}: header");
        if name.ends_with("triage_x64.dmp") {
            assert!(made[0x2000..] == file[0x2000..made.len()], "{name}");
        }
        assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
    }
}

/// However small a dump must be, it keeps the processors, and its blocks lie apart.
#[test]
fn the_least_valuable_memory_is_dropped_first() {
    for (name, file) in offline() {
        let header = Header::read(&file).unwrap();
        let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
        let machine = of_triage(&triage, &header);
        let all = select(&machine, machine.kernel_memory(), &TriageRequest::default()).unwrap();
        let whole = size_of(&all.dump);
        let processors = all.kept.iter().find(|count| count.reason == Reason::Processor).unwrap();
        let mut sizes = Vec::new();
        for percent in [100, 99, 95, 90, 80, 75] {
            let limit = whole * percent / 100;
            let request = TriageRequest {
                max_size: Some(limit),
                secondary_size: 0x10,
                ..TriageRequest::default()
            };
            let selection = match select(&machine, machine.kernel_memory(), &request) {
                Ok(selection) => selection,
                Err(ConvertError::TooLarge { least, .. }) => {
                    assert!(least > limit, "{name}");
                    continue;
                }
                Err(error) => panic!("{name}: {error}"),
            };
            let size = size_of(&selection.dump) + 0x10;
            assert!(size <= limit, "{name}: {size} of {limit}");
            sizes.push(size);
            // Nothing is left out that would have fitted: what goes last of what is kept is filled up.
            assert!(limit - size < 0x1400, "{name}: {size:#x} of {limit:#x}");
            assert!(selection.kept.contains(processors), "{name}");
            assert!(!selection.dropped.is_empty(), "{name}");
            let has = |counts: &[ReasonCount], reason| counts.iter().any(|count| count.reason == reason);
            if has(&selection.dropped, Reason::RegisterPage) {
                assert!(!has(&selection.kept, Reason::ThirdPointer), "{name}");
            }
            let mut ranges = blocks_of(&selection.dump);
            ranges.sort();
            assert!(
                ranges.windows(2).all(|pair| pair[0].end <= pair[1].start),
                "{name}: overlap"
            );
        }
        assert!(sizes.len() >= 3, "{name}: {sizes:?}");
        let request = TriageRequest {
            max_size: Some(0x10000),
            ..TriageRequest::default()
        };
        assert!(
            matches!(
                select(&machine, machine.kernel_memory(), &request),
                Err(ConvertError::TooLarge { .. })
            ),
            "{name}"
        );
    }
}

/// The file without what is junk in it: XP's unused room.
fn without_junk(file: &[u8], triage: &Triage<'_>) -> Vec<u8> {
    let end = usize::try_from(triage.end().0).unwrap();
    let mut kept = file[..end].to_vec();
    if !triage.is_64() {
        let data = triage.blocks().map(|block| block.unwrap()).last().unwrap();
        let data_end = usize::try_from(data.offset.0 + data.range.size()).unwrap();
        kept[data_end..end - 4].fill(0);
        let names = triage.drivers(&mut Findings::default()).unwrap();
        let used: usize = names
            .iter()
            .map(|driver| (6 + 2 * driver.name.as_ref().unwrap().len()).next_multiple_of(8))
            .sum();
        let pool = triage.section(SectionKind::StringPool).unwrap();
        let start = usize::try_from(pool.offset.0).unwrap() + used;
        kept[start..usize::try_from(pool.end().0).unwrap()].fill(0);
    }
    kept
}

#[test]
fn a_small_dump_of_a_small_dump_is_the_same() {
    for (name, file) in triage_dumps() {
        let header = Header::read(&file).unwrap();
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let request = TriageRequest {
            secondary_size: file.len() as u64 - triage.end().0,
            ..TriageRequest::default()
        };
        let copied = copy(&triage, &header, &request, &mut findings).unwrap();
        let made = render(&copied.dump, None, &file);
        assert!(made == without_junk(&file, &triage), "{name}");

        let request = TriageRequest {
            comment: Some("made smaller"),
            max_size: Some(made.len() as u64),
            ..TriageRequest::default()
        };
        let commented = copy(&triage, &header, &request, &mut findings).unwrap();
        assert_eq!(
            commented.dump.header.comment(),
            Some(b"made smaller".as_slice()),
            "{name}"
        );
        assert_eq!(commented.dump.blocks, copied.dump.blocks, "{name}");
        assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
    }
}

#[test]
fn a_small_dump_is_made_smaller_from_its_end() {
    for (name, file) in triage_dumps() {
        let header = Header::read(&file).unwrap();
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let limit = triage.end().0 - 0x1800;
        let request = TriageRequest {
            max_size: Some(limit),
            ..TriageRequest::default()
        };
        let made = copy(&triage, &header, &request, &mut findings);
        if !triage.is_64() {
            // Those of Windows XP have one size.
            assert!(matches!(made, Err(ConvertError::TooLarge { .. })), "{name}");
            continue;
        }
        let made = made.unwrap();
        let stored: Vec<VirtRange> = triage.blocks().map(|block| block.unwrap().range).collect();
        let kept = blocks_of(&made.dump);
        assert_eq!(kept, stored[..kept.len()], "{name}: the first ones");
        assert!(kept.len() < stored.len(), "{name}");
        assert!((limit - 0x1400..=limit).contains(&size_of(&made.dump)), "{name}");
        let bytes = render(&made.dump, None, &file);
        let again = Triage::open(&bytes, &made.dump.header, &mut findings).unwrap();
        assert_eq!(again.family(), triage.family(), "{name}");
        assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the memory of a machine holds, blocks lie apart and are there.
    #[test]
    fn damage_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..2000),
        debugger_data in prop::collection::vec((0x18_usize..0x380, any::<u8>()), 0..40),
    ) {
        static DUMP: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
            let mut dumps = offline().into_iter();
            dumps.find(|(name, _)| name.ends_with("triage_x64.dmp")).map(|(_, file)| file)
        });
        let Some(whole) = &*DUMP else { return Ok(()) };
        let header = Header::read(whole).unwrap();
        let triage = Triage::open(whole, &header, &mut Findings::default()).unwrap();
        let sound = of_triage(&triage, &header);

        let mut file = whole.clone();
        // Structures, stack, and memory: not the tables by which they are found.
        let ranges = [SectionKind::Prcb, SectionKind::Thread, SectionKind::CallStack, SectionKind::Data];
        for (index, value) in damage {
            let section = triage.section(ranges[index.index(ranges.len())]).unwrap();
            let within = index.index(usize::try_from(section.size).unwrap());
            file[usize::try_from(section.offset.0).unwrap() + within] = value;
        }
        let kept = triage.section(SectionKind::DebuggerData).unwrap();
        for (offset, value) in debugger_data {
            file[usize::try_from(kept.offset.0).unwrap() + offset] = value;
        }
        let damaged = Triage::open(&file, &header, &mut Findings::default()).unwrap();
        let machine = Double {
            header: header.clone(),
            memory: TriageMemory::new(&damaged, &header, &mut Findings::default()).unwrap(),
            processors: sound.processors,
            modules: sound.modules,
            unloaded: sound.unloaded,
            debugger_data: OnceCell::new(),
        };
        let request = TriageRequest { max_size: Some(0x10_0000), ..TriageRequest::default() };
        for request in [TriageRequest::default(), request] {
            let Ok(selection) = select(&machine, machine.kernel_memory(), &request) else { continue };
            render(&selection.dump, Some(machine.kernel_memory()), &[]);
            let mut blocks = blocks_of(&selection.dump);
            blocks.sort();
            prop_assert!(blocks.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
