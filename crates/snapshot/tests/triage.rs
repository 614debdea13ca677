//! The memory of real triage dumps.

use std::fs;

use dotdump_format::kernel::triage::{SectionKind, Triage};
use dotdump_format::kernel::{Header, TriageFamily};
use dotdump_format::{FileOffset, Findings, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::memory::Memory;
use dotdump_snapshot::triage::TriageMemory;
use dotdump_tests::places::{corpus_files, name_of};
use proptest::prelude::*;

fn triage_dumps() -> Vec<(String, Vec<u8>)> {
    let named = corpus_files("kernel-").into_iter().map(|path| (name_of(&path), path));
    let triage = named.filter(|(name, _)| name.contains("-triage-"));
    triage.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

fn slice(file: &[u8], offset: FileOffset, size: u64) -> &[u8] {
    file.lend(offset, usize::try_from(size).unwrap()).unwrap()
}

/// Every block, the stack and the copies read as what is in the file.
#[test]
fn memory_is_what_the_sections_have() {
    for (name, file) in triage_dumps() {
        let header = Header::read(&file).unwrap();
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let memory = TriageMemory::new(&triage, &header, &mut findings).unwrap();

        let mut end = VirtAddr(0);
        let mut bytes = 0;
        for extent in memory.all() {
            let extent = extent.unwrap();
            assert!(extent.range.start >= end, "{name}: sorted, apart");
            end = extent.range.end;
            bytes += extent.range.size();
            let mut read = vec![0; usize::try_from(extent.range.size()).unwrap()];
            assert_eq!(
                memory.read(extent.range.start, &mut read).unwrap(),
                read.len(),
                "{name}"
            );
            assert!(
                read == slice(&file, extent.offset.unwrap(), extent.range.size()),
                "{name}"
            );
        }
        assert!(triage.is_64() || end.0 <= 1 << 32, "{name}: addresses of 32 bits");

        // Bytes agree wherever pieces lie over each other, so that all of them read as they are stored.
        let mut most = 0;
        for piece in triage.blocks().map(Result::unwrap).chain(triage.call_stack()) {
            let mut read = vec![0; usize::try_from(piece.range.size()).unwrap()];
            assert_eq!(memory.read(piece.range.start, &mut read).unwrap(), read.len(), "{name}");
            assert!(
                read == slice(&file, piece.offset, piece.range.size()),
                "{name}: {:?}",
                piece.range
            );
            most += piece.range.size();
        }
        assert!(bytes <= most + 0x1_0000 + 0x2000, "{name}: {bytes:#x} of {most:#x}");

        let copies = memory.copies();
        for (kind, at) in [
            (SectionKind::Process, copies.process),
            (SectionKind::Thread, copies.thread),
        ] {
            let section = triage.section(kind).unwrap();
            let mut read = vec![0; usize::try_from(section.size).unwrap()];
            let at = at.unwrap_or_else(|| panic!("{name}: {kind:?}"));
            assert_eq!(memory.read(at, &mut read).unwrap(), read.len(), "{name}: {kind:?}");
        }
        // Only dumps that were made from bigger ones have the processors.
        assert_eq!(
            copies.prcb.is_some(),
            triage.family() == TriageFamily::Offline,
            "{name}"
        );
        assert!(
            copies.processor.unwrap() < header.number_processors().unwrap(),
            "{name}"
        );
        let kdbg = header.kd_debugger_data_block().unwrap();
        let mut tag = [0; 4];
        assert_eq!(memory.read(kdbg.saturating_add(0x10), &mut tag).unwrap(), 4, "{name}");
        assert_eq!(&tag, b"KDBG", "{name}");
        assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
    }
}

/// The page tables' root in the process is that of the header: the copy is at the right address.
#[test]
fn the_process_has_the_page_tables_of_the_header() {
    for (name, file) in triage_dumps() {
        let header = Header::read(&file).unwrap();
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let memory = TriageMemory::new(&triage, &header, &mut findings).unwrap();
        let (field, size) = if triage.is_64() { (0x28, 8) } else { (0x18, 4) };
        let mut root = [0; 8];
        let at = memory.copies().process.unwrap().saturating_add(field);
        assert_eq!(memory.read(at, &mut root[..size]).unwrap(), size, "{name}");
        assert_eq!(
            Some(u64::from_le_bytes(root)),
            header.directory_table_base().map(|root| root.0),
            "{name}"
        );
    }
}

#[test]
fn what_is_absent_is_absent() {
    for (name, file) in triage_dumps() {
        let header = Header::read(&file).unwrap();
        let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
        let memory = TriageMemory::new(&triage, &header, &mut Findings::default()).unwrap();
        let last = memory.all().map(|extent| extent.unwrap().range.end).max().unwrap();
        assert_eq!(memory.read(last, &mut [0; 16]).unwrap(), 0, "{name}");
        // Over its end only what is there is read.
        let mut buffer = [0; 16];
        assert_eq!(memory.read(last.saturating_sub(3), &mut buffer).unwrap(), 3, "{name}");
        assert_eq!(memory.extents(VirtRange::sized(last, 0x1000)).count(), 0, "{name}");
    }
}

proptest! {
    /// Damage in the record, the tables and the copies does no harm.
    #[test]
    fn damage_does_no_harm(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
        fixed in prop::collection::vec((0_usize..0x20, any::<u32>()), 0..3),
    ) {
        let dumps = cached();
        if dumps.is_empty() {
            return Ok(());
        }
        let mut file = dumps[which.index(dumps.len())].1.clone();
        let start = if file[4] == b'D' && file[6] == b'6' { 0x2000 } else { 0x1000 };
        for (index, value) in damage {
            let at = index.index(file.len());
            file[at] = value;
            // The tables lie at the start.
            let near = start + at % 0x20000.min(file.len() - start);
            file[near] = value;
        }
        for (word, value) in fixed {
            file[start + 4 * word..][..4].copy_from_slice(&value.to_le_bytes());
        }
        let Ok(header) = Header::read(&file) else { return Ok(()) };
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let memory = TriageMemory::new(&triage, &header, &mut findings).unwrap();
        let mut end = VirtAddr(0);
        for extent in memory.all() {
            let extent = extent.unwrap();
            prop_assert!(extent.range.start >= end && !extent.range.is_empty());
            end = extent.range.end;
            let mut byte = [0];
            prop_assert_eq!(memory.read(extent.range.start, &mut byte).unwrap(), 1);
        }
    }
}

fn cached() -> &'static [(String, Vec<u8>)] {
    static DUMPS: std::sync::LazyLock<Vec<(String, Vec<u8>)>> = std::sync::LazyLock::new(triage_dumps);
    &DUMPS
}
