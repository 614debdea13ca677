//! Damage: whatever is in a file, nothing panics, reads end, and no page is there in part.

use dotdump_format::{Error, Pfn, PhysAddr, ReadAt};
use dotdump_snapshot::detect::{Container, detect};
use dotdump_snapshot::elf_core::ElfCore;
use dotdump_snapshot::kdump::Kdump;
use dotdump_snapshot::raw_memory::{MemoryMap, RawMemory};
use dotdump_snapshot::{PagePlace, PhysicalMemory};
use proptest::prelude::*;

use super::hand_made::some_files;

/// Looks at everything. How many runs there were, of those that were looked at.
fn look(file: &dyn ReadAt) -> Result<usize, Error> {
    let memory: Box<dyn PhysicalMemory + '_> = match detect(file)? {
        Container::ElfCore => {
            let core = ElfCore::open(file)?;
            for cpu in core.cpus() {
                let _ = cpu.to_context(core.machine());
            }
            Box::new(core)
        }
        Container::Kdump | Container::FlattenedKdump => Box::new(Kdump::open(file)?),
        _ => Box::new(RawMemory::open(file)),
    };
    let mut runs = 0;
    let mut behind = Pfn(0);
    for run in memory.runs(Pfn(0)).take(5000) {
        let run = run?;
        assert!(run.first >= behind && run.pages > 0, "{run:?}");
        behind = run.end();
        assert_eq!(memory.place(run.first)?, Some(run.place));
        let mut bytes = [0; 0x1000];
        match memory.read(run.first.address().unwrap(), &mut bytes) {
            Ok(read) => assert_eq!(read, bytes.len(), "{run:?}"),
            Err(Error::Malformed(_)) => assert_eq!(run.place, PagePlace::Read),
            Err(error) => return Err(error),
        }
        runs += 1;
    }
    assert!(memory.end() >= behind);
    let _ = memory.read(PhysAddr(u64::MAX - 10), &mut [0; 100]);
    Ok(runs)
}

#[test]
fn whole_files_are_read() {
    for file in some_files() {
        assert!(look(&file).unwrap() >= 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files(
        which in 0_usize..5,
        cut in prop::option::of(0.0..1.0_f64),
        // Half of the damages hit headers and tables, where they do most.
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<u8>()), 0..6),
        wide in prop::option::of((0_usize..600, prop::sample::select(vec![0, 1, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX, 1 << 32]))),
    ) {
        let mut file = some_files().swap_remove(which);
        for (at, near, value) in changes {
            let len = if near { file.len().min(0x200) } else { file.len() };
            file[at.index(len)] = value;
        }
        if let Some((at, value)) = wide {
            let at = at * 8;
            if let Some(bytes) = file.get_mut(at..at + 8) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
        if let Some(cut) = cut {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
            #[expect(clippy::cast_precision_loss, reason = "files are small")]
            file.truncate((file.len() as f64 * cut) as usize);
        }
        if let Err(error) = look(&file) {
            prop_assert!(matches!(error, Error::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn any_text_is_a_map_or_an_error(text in "[ -~\n]{0,80}", lines in prop::collection::vec("[0-9a-f]{1,16}-[0-9a-f]{1,16} \\(prio 0, (ram|rom)\\): mem( @[0-9a-f]{1,16})?\n", 0..4)) {
        let _ = MemoryMap::parse(&text);
        if let Ok(map) = MemoryMap::parse(&lines.concat()) {
            let file = vec![0; 0x3000];
            let memory = RawMemory::open_with_map(&file, &map);
            prop_assert!(memory.pages_present() <= 3 * lines.len() as u64);
        }
    }
}
