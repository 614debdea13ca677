//! Real triage dumps of Windows XP, 10 and 11: what is in them, and that they are written again byte for byte.

mod corpus;

use dotdump_format::kernel::triage::{SectionKind, Triage, TriageDump, TriageFamily, as_debuggers_store};
use dotdump_format::kernel::{DumpType, Header, Machine};
use dotdump_format::layout::{Layout, Piece};
use dotdump_format::{Endian, FileOffset, Findings, VirtAddr};

/// What a dump has, found by dissecting it with other tools.
struct Known {
    /// The last part of its file's name.
    name: &'static str,
    family: TriageFamily,
    machine: Machine,
    size_of_dump: u64,
    drivers: usize,
    unloaded: usize,
    stack: u64,
    blocks: u64,
    block_bytes: u64,
    /// Sizes of the copies of `KPRCB`, `EPROCESS`, `ETHREAD`.
    copies: [u64; 3],
    first_driver: (&'static str, u64, u32),
}

use TriageFamily::{CrashTime, Offline};

const S1: &str = "kernel-x64-triage-b19041-bc1000007e-rizinorg-triage_x64.dmp";
const S2: &str = "kernel-arm64-triage-b22000-bc1c8-rizinorg-triage_arm64.dmp";
const C64: &str = "kernel-x64-triage-b19041-bc4a-eolaruhagen-083125-14875-01.dmp";
const XP2: &str = "kernel-x86-triage-b2600-bc1000008e-rangershs-Mini021809-01.dmp";
const XP1: &str = "kernel-x86-triage-b2600-bc7f-dearfuture-Mini121206-01.dmp";

#[rustfmt::skip]
const KNOWN: [Known; 7] = [
    Known {
        name: S1, family: Offline, machine: Machine::Amd64,
        size_of_dump: 0x13A28C, drivers: 151, unloaded: 4, stack: 0x2118, blocks: 1831, block_bytes: 0x119B52,
        copies: [0xAF00, 0xA40, 0x898],
        first_driver: (r"\SystemRoot\system32\ntoskrnl.exe", 0xFFFF_F804_7BA0_0000, 0x104_6000),
    },
    Known {
        name: S2, family: Offline, machine: Machine::Arm64,
        size_of_dump: 0xAC46C, drivers: 245, unloaded: 11, stack: 0xB60, blocks: 679, block_bytes: 0x8C325,
        copies: [0x9680, 0xC80, 0x910],
        first_driver: (r"\SystemRoot\system32\ntoskrnl.exe", 0, 0),
    },
    Known {
        name: "kernel-x64-triage-b19041-bc50-daimuvg-102622-15671-01.dmp", family: Offline, machine: Machine::Amd64,
        size_of_dump: 0x1230D4, drivers: 206, unloaded: 8, stack: 0x1278, blocks: 1360, block_bytes: 0x1020E9,
        copies: [0xAF00, 0xA40, 0x898],
        first_driver: (r"\SystemRoot\system32\ntoskrnl.exe", 0, 0),
    },
    Known {
        name: "kernel-x64-triage-b19041-bc50-ojusha-100623-6156-01.dmp", family: Offline, machine: Machine::Amd64,
        size_of_dump: 0xFF074, drivers: 192, unloaded: 7, stack: 0x1128, blocks: 1567, block_bytes: 0xDE277,
        copies: [0xAF00, 0xA40, 0x898],
        first_driver: (r"\SystemRoot\system32\ntoskrnl.exe", 0, 0),
    },
    Known {
        name: C64, family: CrashTime, machine: Machine::Amd64,
        size_of_dump: 0x1B600, drivers: 156, unloaded: 9, stack: 0x378, blocks: 33, block_bytes: 0x5024,
        copies: [0xAF00, 0xA40, 0x898],
        first_driver: ("ntoskrnl.exe", 0, 0),
    },
    Known {
        name: XP2, family: CrashTime, machine: Machine::X86,
        size_of_dump: 0x10000, drivers: 112, unloaded: 9, stack: 0x440, blocks: 6, block_bytes: 0x6000,
        copies: [0xC50, 0x260, 0x258],
        first_driver: ("ntoskrnl.exe", 0x804D_7000, 0),
    },
    Known {
        name: XP1, family: CrashTime, machine: Machine::X86,
        size_of_dump: 0x10000, drivers: 95, unloaded: 12, stack: 0x554, blocks: 4, block_bytes: 0x4000,
        copies: [0xC50, 0x258, 0x258],
        first_driver: ("ntoskrnl.exe", 0, 0),
    },
];

#[test]
fn real_dumps_have_what_other_tools_find_in_them() {
    for known in KNOWN {
        let Some(file) = corpus::file(known.name) else { return };
        let name = known.name;
        let header = Header::read(&file).unwrap();
        assert_eq!(
            (header.dump_type(), header.machine()),
            (DumpType::TRIAGE, Some(known.machine)),
            "{name}"
        );
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        assert_eq!(triage.family(), known.family, "{name}");
        assert_eq!(triage.end(), FileOffset(known.size_of_dump), "{name}");
        assert_eq!(triage.call_stack().unwrap().range.size(), known.stack, "{name}");

        let drivers = triage.drivers(&mut findings).unwrap();
        assert_eq!(drivers.len(), known.drivers, "{name}");
        let (first, base, size) = known.first_driver;
        assert_eq!(
            String::from_utf16(drivers[0].name.as_deref().unwrap()).unwrap(),
            first,
            "{name}"
        );
        assert!(
            [0, drivers[0].entry.base().0].contains(&base),
            "{name}: {:x}",
            drivers[0].entry.base()
        );
        assert!([0, drivers[0].entry.size_of_image()].contains(&size), "{name}");
        assert!(drivers.iter().all(|driver| driver.name.is_some()), "{name}");
        let unloaded = triage.unloaded_drivers(&mut findings).unwrap();
        assert_eq!(unloaded.len(), known.unloaded, "{name}");
        assert!(
            unloaded
                .iter()
                .all(|driver| !driver.name().is_empty() && driver.range().size() > 0),
            "{name}"
        );

        let blocks: Vec<_> = triage.blocks().map(Result::unwrap).collect();
        let bytes: u64 = blocks.iter().map(|block| block.range.size()).sum();
        assert_eq!(
            (triage.block_count(), bytes),
            (known.blocks, known.block_bytes),
            "{name}"
        );
        let kinds = [SectionKind::Prcb, SectionKind::Process, SectionKind::Thread];
        assert_eq!(
            kinds.map(|kind| triage.section(kind).unwrap().size),
            known.copies,
            "{name}"
        );
        // KTHREAD and KPROCESS start with the type of the kernel's object.
        assert_eq!(triage.bytes(SectionKind::Process, 1).unwrap()[0], 3, "{name}");
        assert_eq!(triage.bytes(SectionKind::Thread, 1).unwrap()[0], 6, "{name}");
        assert_eq!(
            &triage.bytes(SectionKind::DebuggerData, 0x18).unwrap()[0x10..0x14],
            b"KDBG",
            "{name}"
        );
        assert_eq!(
            triage.context().unwrap().unwrap().len(),
            known.machine.context_size(),
            "{name}"
        );
        let exception = triage.exception().unwrap().unwrap();
        assert_eq!(
            exception[..4],
            0x8000_0003_u32.to_le_bytes(),
            "{name}: the made-up breakpoint"
        );
        assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
    }
}

/// The table of the dumps S1, S2 and of XP, field by field.
#[test]
fn the_fixed_record_has_the_offsets_of_the_table() {
    let Some(file) = corpus::file(S1) else { return };
    let header = Header::read(&file).unwrap();
    let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
    let fields = triage.fields();
    assert_eq!(
        (fields.valid_offset, fields.context_offset, fields.exception_offset),
        (0x13A288, 0x348, 0xF00)
    );
    assert_eq!(
        (fields.mm_offset, fields.unloaded_drivers_offset, fields.prcb_offset),
        (0x2080, 0x20D0, 0x21B8)
    );
    assert_eq!((fields.process_offset, fields.thread_offset), (0xD0B8, 0xDAF8));
    assert_eq!((fields.call_stack_offset, fields.driver_list_offset), (0xE390, 0x10828));
    assert_eq!((fields.string_pool_offset, fields.string_pool_size), (0x15D18, 0x3720));
    assert_eq!(
        (fields.debugger_data_offset, fields.debugger_data_size),
        (0x104A8, 0x380)
    );
    assert_eq!((fields.data_blocks_offset, fields.data_blocks_count), (0x19438, 0x727));
    assert_eq!(fields.top_of_stack.0 & 0xFF_FFFF, 0x89_0EE8);
    let driver = &triage.drivers(&mut Findings::default()).unwrap()[0].entry;
    assert_eq!((driver.check_sum(), driver.time_date_stamp()), (0xA5938C, 0x0D83_33E6));

    let file = corpus::file(XP2).unwrap();
    let header = Header::read(&file).unwrap();
    let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
    let fields = triage.fields();
    assert_eq!(
        (fields.service_pack_build, fields.valid_offset, fields.mm_offset),
        (0x200, 0xFFFC, 0x1068)
    );
    assert_eq!(
        (fields.top_of_stack, fields.debugger_data_offset),
        (VirtAddr(0xF667_BBC0), 0x2DC0)
    );
    assert_eq!((fields.data_blocks_offset, fields.data_blocks_count), (0x60E8, 6));
    let first = triage.blocks().next().unwrap().unwrap();
    assert_eq!(
        (first.range.start, first.range.size()),
        (VirtAddr(0xC000_0000), 0x1000),
        "masked to 32 bits"
    );
    assert_eq!(
        triage.block_table().get(0).unwrap().address.get(),
        0xFFFF_FFFF_C000_0000,
        "as it is stored"
    );
    let mm = triage.mm_storage().unwrap().unwrap();
    assert_eq!((mm.maximum_non_paged_pool, mm.commit_limit_maximum), (0x8000, 0x2A6B9));
}

fn render(dump: &TriageDump, source: &[u8]) -> Vec<u8> {
    let mut layout = Layout::new(Endian::Little);
    let _header = dump.write(&mut layout).unwrap();
    let plan = layout.finish();
    let mut file = Vec::new();
    for piece in plan.pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend(bytes),
            Piece::Zeros { size } => file.resize(file.len() + usize::try_from(size).unwrap(), 0),
            Piece::CopyFrom { offset, size } => {
                let start = usize::try_from(offset.0).unwrap();
                file.extend_from_slice(&source[start..][..usize::try_from(size).unwrap()]);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(file.len() as u64, plan.size);
    file
}

/// The bytes between the last name and the end of the string pool: the kernel of XP leaves there what lay there before.
fn unused_names(triage: &Triage<'_>) -> std::ops::Range<usize> {
    let pool = triage.section(SectionKind::StringPool).unwrap();
    let names = triage.drivers(&mut Findings::default()).unwrap();
    let used: usize = names
        .iter()
        .map(|driver| (4 + 2 * driver.name.as_ref().unwrap().len() + 2).next_multiple_of(8))
        .sum();
    let start = usize::try_from(pool.offset.0).unwrap();
    start + used..usize::try_from(pool.end().0).unwrap()
}

/// Everything is where it was and what it was, from the header to the marker. Only the junk of XP's unused room is not kept.
#[test]
fn real_dumps_are_written_again_byte_for_byte() {
    for known in KNOWN {
        let Some(mut file) = corpus::file(known.name) else {
            return;
        };
        let name = known.name;
        let header = Header::read(&file).unwrap();
        let unused = unused_names(&Triage::open(&file, &header, &mut Findings::default()).unwrap());
        if known.machine == Machine::X86 {
            file[unused].fill(0);
        } else {
            assert!(file[unused].iter().all(|byte| *byte == 0), "{name}");
        }
        let mut findings = Findings::default();
        let triage = Triage::open(&file, &header, &mut findings).unwrap();
        let dump = TriageDump::of(&triage, header.clone(), &mut findings).unwrap();
        let written = render(&dump, &file);
        assert_eq!(written.len() as u64, triage.end().0, "{name}");

        let again = Triage::open(&written, &header, &mut findings).unwrap();
        assert_eq!(again.fields(), triage.fields(), "{name}");
        assert_eq!(again.sections(), triage.sections(), "{name}");
        for section in triage.sections() {
            let range = usize::try_from(section.offset.0).unwrap()..usize::try_from(section.end().0).unwrap();
            if section.kind != SectionKind::Data {
                assert!(written[range.clone()] == file[range], "{name}: {:?}", section.kind);
            }
        }
        for (old, new) in triage.blocks().zip(again.blocks()) {
            assert_eq!(old.unwrap(), new.unwrap(), "{name}");
        }
        let data = triage.section(SectionKind::Data).unwrap();
        let start = usize::try_from(data.offset.0).unwrap();
        let end = start + usize::try_from(known.block_bytes).unwrap();
        assert!(written[start..end] == file[start..end], "{name}: data");
        assert!(written[..start] == file[..start], "{name}: all before the data");
        if triage.is_64() {
            assert!(written == file[..written.len()], "{name}: slack and markers");
        } else {
            let valid = written.len() - 4;
            assert!(written[end..valid].iter().all(|byte| *byte == 0), "{name}: slack");
            assert_eq!(written[valid..], file[valid..valid + 4], "{name}");
        }
        assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
    }
}

/// What holds in all real dumps.
#[test]
fn invariants_of_real_dumps() {
    for (name, file) in corpus::files().filter(|(name, _)| name.contains("-triage-")) {
        let header = Header::read(&file).unwrap();
        let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
        for pair in triage.sections().windows(2) {
            if pair[0].kind != SectionKind::ValidMarker && pair[0].kind != SectionKind::Data {
                let next = pair[0].end().0.next_multiple_of(8);
                assert_eq!(next, pair[1].offset.0, "{name}: behind {:?}", pair[0].kind);
            }
        }
        let mut next = triage.section(SectionKind::Data).unwrap().offset;
        let mut slack = 0;
        for block in triage.blocks() {
            let block = block.unwrap();
            assert_eq!(block.offset, next, "{name}: blocks are packed");
            next = next.saturating_add(block.range.size());
            slack += block.range.size().wrapping_neg() % 8;
        }
        if triage.is_64() {
            let marker = usize::try_from(next.0 + slack).unwrap();
            assert_eq!(&file[marker..marker + 4], b"TRGD", "{name}: the first marker");
        }
        match triage.family() {
            CrashTime => {
                assert_eq!(header.required_dump_space(), Some(file.len() as u64), "{name}");
                assert_eq!(triage.end().0 % 0x200, 0, "{name}");
            }
            Offline => {
                assert!(header.required_dump_space() >= Some(file.len() as u64), "{name}");
                let mut ranges: Vec<_> = triage.blocks().map(|block| block.unwrap().range).collect();
                ranges.sort();
                assert!(
                    ranges.windows(2).all(|pair| pair[0].end <= pair[1].start),
                    "{name}: overlap"
                );
            }
        }
    }
}

/// A dump of the kernel has the block as it lies in memory; those that debuggers made have it as they store it.
#[test]
fn debuggers_rewrite_the_debugger_data() {
    for known in KNOWN {
        let Some(file) = corpus::file(known.name) else { return };
        let header = Header::read(&file).unwrap();
        let triage = Triage::open(&file, &header, &mut Findings::default()).unwrap();
        let found = triage.bytes(SectionKind::DebuggerData, usize::MAX).unwrap();
        let stored = as_debuggers_store(&found, known.machine);
        assert_eq!(*found == *stored, known.family == Offline, "{}", known.name);
        if known.machine == Machine::X86 {
            let kernel = if known.name == XP1 {
                0x804D_4000
            } else {
                0x804D_7000_u64
            };
            assert_eq!(found[0x18..0x20], kernel.to_le_bytes(), "{}", known.name);
            assert_eq!(
                stored[0x18..0x20],
                (kernel | 0xFFFF_FFFF << 32).to_le_bytes(),
                "{}",
                known.name
            );
        }
    }
}
