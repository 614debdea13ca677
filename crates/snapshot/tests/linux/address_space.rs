//! The map of the address space as readers of the dump see it: regions, gaps, deleted files.

use dotdump_format::minidump::Minidump;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_format::minidump::memory_info_list::MemoryInfoList;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::{Findings, VirtAddr, VirtRange};
use dotdump_snapshot::linux::{LinuxArchitecture, LinuxModules};
use dotdump_snapshot::{LinuxProcess, MinidumpSnapshot, ProcessSnapshot};

use crate::process::{MAPS, dump_of, facts, get, snapshot};
use crate::spans::{Spans, mappings};

/// Base, size and name of each unloaded module.
fn unloaded(process: &dyn ProcessSnapshot) -> Vec<(u64, u64, String)> {
    let bytes = dump_of(process);
    let list = get::<UnloadedModuleList>(&Minidump::open(&bytes).unwrap());
    let told = list.modules.iter().map(|module| {
        let name = module.name.as_ref().unwrap().text();
        (module.range().start.0, module.range().size(), name.to_string())
    });
    told.collect()
}

#[test]
fn deleted_files_that_are_no_module_are_unloaded_ones() {
    let mut facts = facts();
    // Data of a file, twice, and what never had a name of its own.
    facts.mappings.extend(mappings(
        "60000000-60004000 rw-s 00000000 08:01 13 /tmp/a file (deleted)
         60008000-60009000 rw-s 00004000 08:01 13 /tmp/a file (deleted)
         60010000-60011000 rw-s 00000000 00:01 14 /memfd:x (deleted)
         60020000-60021000 rw-s 00000000 00:01 15 /dev/zero (deleted)
         60030000-60031000 rw-s 00000000 00:01 16 /SYSV00000000 (deleted)",
    ));
    let mut memory = Spans::default();
    // No ELF file any more.
    memory.put(0x1000_0000, &[0; 0x2000]);
    let process = LinuxProcess::new(facts, Box::new(memory), &LinuxModules::default()).unwrap();
    let names: Vec<String> = process.modules().iter().map(|module| module.name_text()).collect();
    assert_eq!(names, ["/usr/bin/program"]);
    let expected = [
        (0x1000_0000, 0x2000, "libgone.so (deleted)"),
        (0x6000_0000, 0x4000, "a file (deleted)"),
        (0x6000_8000, 0x1000, "a file (deleted)"),
    ];
    assert_eq!(
        unloaded(&process),
        expected.map(|(base, size, name)| (base, size, name.to_owned()))
    );
    // Data is no code for being in that list.
    let bytes = dump_of(&process);
    let dump = MinidumpSnapshot::open(&bytes).unwrap();
    for code in [process.other_code().unwrap(), dump.other_code().unwrap()] {
        assert!(
            !code.iter().any(|range| range.contains(VirtAddr(0x6000_0000))),
            "{code:?}"
        );
    }
}

#[test]
fn a_deleted_library_that_is_loaded_is_in_both_lists() {
    // Its headers are not there: it is a module by its mappings.
    let process = snapshot(facts());
    let module = process
        .modules()
        .iter()
        .find(|module| module.name_text() == "/usr/lib/libgone.so");
    assert_eq!(module.unwrap().range(), VirtRange::sized(VirtAddr(0x1000_0000), 0x2000));
    assert_eq!(
        unloaded(&process),
        [(0x1000_0000, 0x2000, "libgone.so (deleted)".to_owned())]
    );
}

#[test]
fn the_list_of_memory_covers_all_addresses() {
    const FREE: (u32, u32, u32) = (0x1_0000, 0x01, 0);
    let vsyscall = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]";
    // `TASK_SIZE` of the kernel's `arch/x86/include/asm/page_64_types.h` and `arch/arm64/include/asm/processor.h`.
    for (architecture, more, end) in [
        (LinuxArchitecture::Amd64, vsyscall, 0x7FFF_FFFF_F000),
        (LinuxArchitecture::Amd64, "", 0x7FFF_FFFF_F000),
        (
            LinuxArchitecture::X86,
            "f7f00000-f7f01000 rw-p 00000000 00:00 0",
            0xFFFF_E000,
        ),
        (
            LinuxArchitecture::X86,
            "bff00000-c0000000 rw-p 00000000 00:00 0",
            0xC000_0000,
        ),
        (
            LinuxArchitecture::Arm64,
            "7ff0000000-7ff0001000 rw-p 0 00:00 0",
            1 << 39,
        ),
        (
            LinuxArchitecture::Arm64,
            "ffff00000000-ffff00001000 rw-p 0 00:00 0",
            1 << 48,
        ),
    ] {
        let mut facts = facts();
        facts.architecture = architecture;
        facts.threads.clear();
        facts.mappings.extend(mappings(more));
        let mapped = facts.mappings.clone();
        let process = snapshot(facts);
        let bytes = dump_of(&process);
        let list = get::<MemoryInfoList<'_>>(&Minidump::open(&bytes).unwrap())
            .regions
            .to_vec()
            .unwrap();
        let mut next = 0;
        let mut found = Vec::new();
        for info in &list {
            let range = info.range();
            assert!(range.start.0 == next || range.start.0 > 1 << 63, "{range:?}");
            next = range.end.0;
            match (info.state.get(), info.protect.get(), info.memory_type.get()) {
                FREE => assert_eq!(info.allocation_base, 0),
                _ => found.push(range),
            }
            if range.start.0 < 1 << 63 {
                assert!(range.end.0 <= end, "{range:?}");
            }
        }
        let mut user = list.iter().filter(|info| info.range().start.0 < 1 << 63);
        assert_eq!(user.next_back().unwrap().range().end.0, end, "{more}");
        assert_eq!(found, mapped.iter().map(|mapping| mapping.range).collect::<Vec<_>>());
    }
}

/// What is chosen of a full dump is chosen of the process itself.
#[test]
fn a_dump_has_the_same_regions_and_code() {
    let process = snapshot(facts());
    let bytes = dump_of(&process);
    let dump = MinidumpSnapshot::open(&bytes).unwrap();
    let of = |snapshot: &dyn ProcessSnapshot| -> Vec<_> { snapshot.regions().map(Result::unwrap).collect() };
    let regions = of(&process);
    assert_eq!(of(&dump), regions);
    assert_eq!(dump.other_code().unwrap(), process.other_code().unwrap());
    // Code made at run time lies in no module.
    assert!(
        process
            .other_code()
            .unwrap()
            .contains(&VirtRange::sized(VirtAddr(0x2000_0000), 0x2000))
    );
    for address in [0x40_0000, 0x40_2FFF, 0x2000_1000, 0x3000_0000, 0x6000_0000] {
        let address = VirtAddr(address);
        assert_eq!(
            dump.region_at(address).unwrap(),
            process.region_at(address).unwrap(),
            "{address}"
        );
    }
    // The segments of an image are one allocation, and its written ones are the process's own.
    let program: Vec<_> = regions[..3]
        .iter()
        .map(|region| (region.allocation_base.0, region.kind))
        .collect();
    assert_eq!(
        program,
        [(0x40_0000, 0x100_0000), (0x40_0000, 0x100_0000), (0x40_0000, 0x2_0000)]
    );
    let dump = Minidump::open(&bytes).unwrap();
    let maps = get::<LinuxMaps<'_>>(&dump).to_vec(&mut Findings::default()).unwrap();
    assert_eq!(maps, mappings(MAPS));
}
