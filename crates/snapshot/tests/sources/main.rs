//! Physical memory from files that are no dumps of Windows: against images that QEMU wrote of stopped machines, and
//! files made by hand.

mod damage;
mod hand_made;

use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{FileOffset, PAGE_SIZE, Pfn, PhysAddr, ReadAt};
use dotdump_snapshot::core_notes::CpuState;
use dotdump_snapshot::detect::{Container, detect};
use dotdump_snapshot::elf_core::ElfCore;
use dotdump_snapshot::kdump::Kdump;
use dotdump_snapshot::raw_memory::{MemoryMap, RawMemory};
use dotdump_snapshot::{DumpFile, PagePlace, PhysicalMemory};

use dotdump_tests::machines::{image, text};

fn open(name: &str) -> Option<DumpFile> {
    Some(DumpFile::open(&image(name)?, false).unwrap())
}

/// Every page of `expected` is in `memory`, the same by `read` and at its place in `file`; how many.
fn compare(memory: &dyn PhysicalMemory, file: &dyn ReadAt, expected: &dyn PhysicalMemory) -> u64 {
    let mut pages = 0;
    for run in expected.runs(Pfn(0)) {
        let run = run.unwrap();
        for page in run.first.0..run.end().0 {
            let (mut found, mut wanted) = ([0; 0x1000], [0; 0x1000]);
            let address = PhysAddr(page * PAGE_SIZE);
            assert_eq!(expected.read(address, &mut wanted).unwrap(), wanted.len());
            assert_eq!(memory.read(address, &mut found).unwrap(), found.len(), "page {page:#x}");
            assert!(found == wanted, "page {page:#x}");
            match memory.place(Pfn(page)).unwrap() {
                Some(PagePlace::File(offset)) => {
                    file.read_exact_at(offset, &mut found).unwrap();
                    assert!(found == wanted, "page {page:#x} at its place");
                }
                Some(PagePlace::Zero) => assert!(wanted.iter().all(|byte| *byte == 0), "page {page:#x}"),
                Some(PagePlace::Read) => {}
                None => panic!("page {page:#x} has no place"),
            }
            pages += 1;
        }
    }
    pages
}

/// The runs of a memory, joined, without their places.
fn joined(memory: &dyn PhysicalMemory) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for run in memory.runs(Pfn(0)) {
        let run = run.unwrap();
        match runs.last_mut() {
            Some((first, pages)) if *first + *pages == run.first.0 => *pages += run.pages,
            _ => runs.push((run.first.0, run.pages)),
        }
    }
    runs
}

/// `expected/kdump.tsv`: independent readers find all 16384 pages of the raw image in each of these files.
#[test]
fn captures_of_one_state_have_the_same_pages() {
    let Some(raw) = open("nt2-live.img") else { return };
    let raw = RawMemory::open(&raw);
    assert!(raw.findings().is_empty());
    assert_eq!((raw.pages_present(), raw.end()), (16384, Pfn(16384)));

    let file = open("nt2-live.elf").unwrap();
    assert_eq!(detect(&file).unwrap(), Container::ElfCore);
    let elf = ElfCore::open(&file).unwrap();
    assert!(elf.findings().is_empty(), "{:?}", elf.findings());
    assert_eq!(compare(&elf, &file, &raw), 16384);
    // The memory, and the flash with the firmware.
    assert_eq!(joined(&elf), [(0, 0x4000), (0xF_FFC0, 0x40)]);
    assert_eq!(elf.pages_present(), 0x4040);

    for (name, container) in [
        ("nt2-live.kdump", Container::Kdump),
        ("nt2-live.flat.kdump", Container::FlattenedKdump),
    ] {
        let file = open(name).unwrap();
        assert_eq!(detect(&file).unwrap(), container);
        let kdump = Kdump::open(&file).unwrap();
        assert!(kdump.findings().is_empty(), "{:?}", kdump.findings());
        assert_eq!(compare(&kdump, &file, &raw), 16384);
        assert_eq!(compare(&kdump, &file, &elf), 0x4040, "the flash too");
        assert_eq!(joined(&kdump), joined(&elf));
        assert_eq!((kdump.pages_present(), kdump.end()), (0x4040, Pfn(0x10_0000)));
    }
}

#[test]
fn reads_pass_the_borders_of_pages_and_end_where_memory_does() {
    let Some(file) = open("nt2-live.kdump") else { return };
    let kdump = Kdump::open(&file).unwrap();
    let raw_file = open("nt2-live.img").unwrap();
    let raw = RawMemory::open(&raw_file);
    for start in [0x22B_4FF0, 0x3FF_C123_u64, 0x10_0800] {
        let (mut found, mut wanted) = (vec![0; 0x5000], vec![0; 0x5000]);
        let read = kdump.read(PhysAddr(start), &mut found).unwrap();
        assert_eq!(read, raw.read(PhysAddr(start), &mut wanted).unwrap());
        assert_eq!(read as u64, 0x5000.min(0x400_0000 - start));
        assert_eq!(found[..read], wanted[..read]);
    }
    assert_eq!(kdump.read(PhysAddr(0x400_0000), &mut [0; 8]).unwrap(), 0);
    assert_eq!(kdump.place(Pfn(0x4000)).unwrap(), None);
}

/// The registers that QEMU's monitor showed of the same state.
#[test]
fn processors_are_as_the_monitor_showed_them() {
    for (core, kdump, cpus) in [
        ("nt2-live.elf", Some("nt2-live.kdump"), "nt2-live.cpus"),
        ("nt2-live.elf", Some("nt2-live.flat.kdump"), "nt2-live.cpus"),
        ("nt4-encoded-live.elf", None, "nt4-encoded-live.cpus"),
        ("linux-core.elf", None, "linux-cpus"),
    ] {
        let Some(file) = open(core) else { return };
        let elf = ElfCore::open(&file).unwrap();
        assert_eq!(elf.machine(), Machine::Amd64);
        check_cpus(elf.cpus(), &text(&format!("images/{cpus}.json")).unwrap());
        if let Some(name) = kdump {
            let file = open(name).unwrap();
            let kdump = Kdump::open(&file).unwrap();
            assert_eq!(kdump.cpus(), elf.cpus());
            assert_eq!(kdump.machine(), Some(Machine::Amd64));
        }
    }
}

fn check_cpus(cpus: &[CpuState], json: &str) {
    let expected: serde_json::Value = serde_json::from_str(json).unwrap();
    let expected = expected.as_array().unwrap();
    assert_eq!(cpus.len(), expected.len());
    for (number, (cpu, expected)) in (0_u32..).zip(cpus.iter().zip(expected)) {
        let value = |name: &str| expected[name].as_u64().unwrap();
        assert_eq!(cpu.number, number);
        let special = cpu.special_registers().unwrap();
        assert_eq!(special.cr0, value("cr0"));
        assert_eq!(special.cr3, value("cr3"));
        assert_eq!(special.cr4, value("cr4"));
        assert_eq!(special.idt_base, value("idt"));
        if value("gs_base") >> 63 == 1 {
            assert_eq!(special.kernel_gs_base, value("gs_base"));
        }
        assert_eq!(cpu.instruction_pointer(), value("rip"));
        let context = cpu.to_context(Machine::Amd64).unwrap();
        // Offsets of `CONTEXT` in `winnt.h`.
        for (offset, name) in [(0x78, "rax"), (0x90, "rbx"), (0x98, "rsp"), (0xF8, "rip")] {
            let bytes = context[offset..offset + 8].try_into().unwrap();
            assert_eq!(u64::from_le_bytes(bytes), value(name), "{name}");
        }
    }
}

/// QEMU made the dump's header of the one in the note: what it does not set itself is the same.
#[test]
fn the_note_of_the_guest_is_the_header_of_the_dump() {
    let Some(file) = open("nt2-live.elf") else { return };
    let dump = open("nt2-live.dmp").unwrap();
    let dump = Header::read(&dump).unwrap();
    let elf = ElfCore::open(&file).unwrap();
    let kdump_file = open("nt2-live.kdump").unwrap();
    let kdump = Kdump::open(&kdump_file).unwrap();
    for header in [elf.windows_header(), kdump.windows_header()] {
        let header = header.expect("the note has a header");
        assert_eq!(header.machine(), Some(Machine::Amd64));
        assert_eq!(header.directory_table_base(), dump.directory_table_base());
        assert_eq!(header.ps_loaded_module_list(), dump.ps_loaded_module_list());
        assert_eq!(header.ps_active_process_head(), dump.ps_active_process_head());
        assert_eq!(header.kd_debugger_data_block(), dump.kd_debugger_data_block());
        assert_eq!(header.pfn_data_base(), dump.pfn_data_base());
        // Signature to number of processors, and the runs of memory.
        assert_eq!(header.as_bytes()[..0x38], dump.as_bytes()[..0x38]);
        assert_eq!(header.physical_memory_block(), dump.physical_memory_block());
    }
    let Some(file) = open("linux-core.elf") else { return };
    let elf = ElfCore::open(&file).unwrap();
    assert!(elf.windows_header().is_none());
    assert!(elf.vmcoreinfo().unwrap().starts_with("OSRELEASE=6.1.0-56-amd64\n"));
}

/// `expected/uefi-pe.tsv`: where pefile found images in the RAM, and what it read of their headers.
#[test]
fn images_lie_where_an_independent_reader_found_them() {
    let Some(file) = open("uefi-core.elf") else { return };
    let elf = ElfCore::open(&file).unwrap();
    let table = text("expected/uefi-pe.tsv").unwrap();
    let mut images = 0;
    for line in table.lines().skip(1) {
        let columns: Vec<u64> = line
            .split('\t')
            .take(4)
            .map(|column| u64::from_str_radix(column, 16).unwrap())
            .collect();
        let mut page = [0; 0x1000];
        assert_eq!(elf.read(PhysAddr(columns[0]), &mut page).unwrap(), page.len());
        let word = |at: usize| u64::from(u32::from_le_bytes(page[at..at + 4].try_into().unwrap()));
        assert_eq!(&page[..2], b"MZ");
        let pe = usize::try_from(word(0x3C)).unwrap();
        assert_eq!(word(pe), 0x4550);
        assert_eq!(word(pe + 4) & 0xFFFF, columns[1]);
        assert_eq!(word(pe + 0x50), columns[2]);
        assert_eq!(word(pe + 0x28), columns[3]);
        images += 1;
    }
    assert_eq!(images, 104);
}

/// The monitor's map of a machine with RAM above 4 GiB, against the core of the same machine.
#[test]
fn the_monitors_map_places_memory_as_the_core_does() {
    let Some(text) = text("images/nt2-high-mtree.txt") else {
        return;
    };
    let map = MemoryMap::parse(&text).unwrap();
    assert!(map.findings.is_empty(), "{:?}", map.findings);
    /// A file of so many bytes, of which none is read.
    struct Empty(u64);
    impl ReadAt for Empty {
        fn size(&self) -> u64 {
            self.0
        }
        fn read_exact_at(&self, _: FileOffset, buffer: &mut [u8]) -> Result<(), dotdump_format::Error> {
            buffer.fill(0);
            Ok(())
        }
    }
    let backend = Empty(0x400_0000 + 0x8000_0000);
    let raw = RawMemory::open_with_map(&backend, &map);
    assert!(raw.findings().is_empty(), "{:?}", raw.findings());
    assert_eq!(joined(&raw), [(0, 0x4000), (0x10_0000, 0x8_0000)]);
    assert_eq!(
        raw.place(Pfn(0x10_0000)).unwrap(),
        Some(PagePlace::File(FileOffset(0x400_0000)))
    );
    assert_eq!(
        raw.place(Pfn(0xC3)).unwrap(),
        Some(PagePlace::File(FileOffset(0xC_3000))),
        "read-only for the guest"
    );

    let short = Empty(0x400_0000 + 0x1234);
    let raw = RawMemory::open_with_map(&short, &map);
    assert_eq!(joined(&raw), [(0, 0x4000), (0x10_0000, 1)]);
    assert_eq!(
        raw.findings().total(),
        2,
        "cut, and not at a page's end: {:?}",
        raw.findings()
    );

    // 2.2 GB unpacked, and nearly all of it holes.
    let Some(core) = open("nt2-high-live.elf") else { return };
    let core = ElfCore::open(&core).unwrap();
    // The flash with the firmware ends where the upper part of the RAM starts.
    assert_eq!(joined(&core), [(0, 0x4000), (0xF_FFC0, 0x40 + 0x8_0000)]);
}
