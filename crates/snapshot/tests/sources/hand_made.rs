//! Files made by hand: what QEMU writes of other machines, and what it never writes.

use dotdump_format::core_note::{PrStatusArm64, PrStatusX86};
use dotdump_format::kdump::{DiskDumpHeader32, DiskDumpHeader64, PageDescriptor, SubHeader32, SubHeader64};
use dotdump_format::kernel::Machine;
use dotdump_format::{FileOffset, Pfn, PhysAddr};
use dotdump_snapshot::elf_core::ElfCore;
use dotdump_snapshot::kdump::Kdump;
use dotdump_snapshot::{PagePlace, PhysicalMemory};
use zerocopy::IntoBytes;

use super::joined;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EM_386: u16 = 3;
const EM_PPC64: u16 = 21;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

/// A program header: type, physical address, size, offset in the file.
type Segment = (u32, u64, u64, u64);

fn ident(class: u8, machine: u16) -> Vec<u8> {
    let mut file = vec![0x7F, b'E', b'L', b'F', class, 1, 1];
    file.resize(16, 0);
    file.extend(4_u16.to_le_bytes()); // ET_CORE
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file
}

/// An ELF64 core of these segments. With more than 65,534 of them their number is in the first section, as QEMU writes
/// it.
fn core_64(machine: u16, segments: &[Segment]) -> Vec<u8> {
    let many = segments.len() >= 0xFFFF;
    let mut file = ident(2, machine);
    let headers: u64 = if many { 128 } else { 64 };
    for value in [0, headers, if many { 64 } else { 0 }] {
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4 + 2]);
    for value in [56, u16::try_from(segments.len()).unwrap_or(0xFFFF), 64, 1, 0] {
        file.extend(value.to_le_bytes());
    }
    if many {
        let mut section = [0; 64];
        section[44..48].copy_from_slice(&u32::try_from(segments.len()).unwrap().to_le_bytes());
        file.extend(section);
    }
    for &(kind, address, size, offset) in segments {
        file.extend(u64::from(kind).to_le_bytes());
        for value in [offset, 0, address, size, size, 0] {
            file.extend(value.to_le_bytes());
        }
    }
    file
}

/// An ELF32 core of these segments.
fn core_32(machine: u16, segments: &[Segment]) -> Vec<u8> {
    let mut file = ident(1, machine);
    for value in [0_u32, 52, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    for value in [52, 32, u16::try_from(segments.len()).unwrap(), 40, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    for &(kind, address, size, offset) in segments {
        let [address, size, offset] = [address, size, offset].map(|value| u32::try_from(value).unwrap());
        for value in [kind, offset, 0, address, size, size, 0, 0] {
            file.extend(value.to_le_bytes());
        }
    }
    file
}

fn note(name: &str, note_type: u32, payload: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for value in [name.len() + 1, payload.len()] {
        note.extend(u32::try_from(value).unwrap().to_le_bytes());
    }
    note.extend(note_type.to_le_bytes());
    note.extend(name.as_bytes());
    note.resize((note.len() + 4) & !3, 0);
    note.extend(payload);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// A page that tells its number.
fn page(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(512)
}

#[test]
fn a_core_with_more_segments_than_its_header_can_count() {
    // As with `paging=true`: a header for each page that is mapped, several for the same page, in no order.
    let pages = 70_000_u64;
    let data = 128 + (pages + 1000) * 56 + 8;
    let mut segments: Vec<Segment> = (0..pages)
        .map(|index| index * 9 % pages)
        .map(|page| (PT_LOAD, page * 0x2000, 0x1000, data + page % 16 * 0x1000))
        .collect();
    segments.extend((0..1000).map(|page| (PT_LOAD, page * 0x2000, 0x1000, data + page % 16 * 0x1000)));
    let mut file = core_64(EM_X86_64, &segments);
    assert_eq!(file.len() as u64, data - 8);
    file.extend([0; 8]);
    for number in 0..16 {
        file.extend(page(number));
    }
    let core = ElfCore::open(&file).unwrap();
    assert!(core.findings().is_empty(), "{:?}", core.findings());
    assert_eq!(core.pages_present(), pages);
    assert_eq!(core.end(), Pfn(2 * pages - 1));
    let mut runs = joined(&core).into_iter();
    for number in 0..pages {
        assert_eq!(runs.next(), Some((number * 2, 1)));
        let mut bytes = [0; 0x1001];
        assert_eq!(core.read(PhysAddr(number * 0x2000), &mut bytes).unwrap(), 0x1000);
        assert_eq!(bytes[..0x1000], page(number % 16));
    }
    // Without the section that has the number.
    file[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(ElfCore::open(&file).is_err());
}

#[test]
fn segments_that_are_not_whole_pages_overlap_or_pass_the_end() {
    let data = 64 + 6 * 56;
    let mut file = core_64(
        EM_X86_64,
        &[
            (PT_LOAD, 0x5800, 0x2000, data),                // page 6 alone is whole
            (PT_LOAD, 0x1000, 0x3000, data + 0x2000),       // pages 1, 2, 3
            (PT_LOAD, 0x2000, 0x3000, data + 0x3000),       // the same, and page 4
            (PT_LOAD, 0x10_0000, 0, data),                  // nothing of it is in the file
            (PT_LOAD, 0x20_0000, 0x10_0000, data + 0x6000), // two pages are in the file
            (PT_LOAD, 0x40_0000, 0x1000, 1 << 40),          // none is
        ],
    );
    file.resize(usize::try_from(data).unwrap() + 0x8000, 0);
    let core = ElfCore::open(&file).unwrap();
    assert_eq!(joined(&core), [(1, 4), (6, 1), (0x200, 2)]);
    let places = [(1, 0x2000), (3, 0x4000), (4, 0x5000), (6, 0x800), (0x201, 0x7000)];
    for (page, offset) in places {
        let place = core.place(Pfn(page)).unwrap();
        assert_eq!(
            place,
            Some(PagePlace::File(FileOffset(data + offset))),
            "page {page:#x}"
        );
    }
    let findings = core.findings();
    assert_eq!(
        findings.total(),
        3,
        "partial pages, and two that pass the end: {findings:?}"
    );
}

#[test]
fn a_core_of_32_bits() {
    let mut status = PrStatusX86::default();
    status.registers[12] = 0x8123_4567.into();
    let notes = note("CORE", 1, status.as_bytes());
    let data = 52 + 2 * 32;
    let size = notes.len() as u64;
    let mut file = core_32(
        EM_386,
        &[(PT_NOTE, 0, size, data), (PT_LOAD, 0x1000, 0x1000, data + size)],
    );
    file.extend(&notes);
    file.extend(page(9));
    let core = ElfCore::open(&file).unwrap();
    assert!(core.findings().is_empty(), "{:?}", core.findings());
    assert_eq!(core.machine(), Machine::X86);
    assert_eq!(core.cpus().len(), 1);
    assert_eq!(core.cpus()[0].instruction_pointer(), 0x8123_4567);
    assert_eq!(core.cpus()[0].special_registers(), None);
    let mut bytes = [0; 0x1000];
    assert_eq!(core.read(PhysAddr(0x1000), &mut bytes).unwrap(), 0x1000);
    assert_eq!(bytes[..], page(9));
}

#[test]
fn a_core_of_arm64() {
    let status = PrStatusArm64 {
        pc: 0xFFFF_F800_1234_5678.into(),
        pstate: 0x6000_0005.into(),
        ..PrStatusArm64::default()
    };
    let notes: Vec<u8> = (0..3).flat_map(|_| note("CORE", 1, status.as_bytes())).collect();
    let data = 64 + 2 * 56;
    let size = notes.len() as u64;
    let load = (PT_LOAD, 0x4000_0000, 0x1000, data + size);
    let mut file = core_64(EM_AARCH64, &[(PT_NOTE, 0, size, data), load]);
    file.extend(&notes);
    file.extend(page(1));
    let core = ElfCore::open(&file).unwrap();
    assert!(core.findings().is_empty(), "{:?}", core.findings());
    assert_eq!(core.machine(), Machine::Arm64);
    assert_eq!(core.cpus().iter().map(|cpu| cpu.number).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(core.cpus()[2].in_kernel());
    assert_eq!(core.cpus()[2].instruction_pointer(), 0xFFFF_F800_1234_5678);
    assert_eq!(joined(&core), [(0x4_0000, 1)]);
}

#[test]
fn other_elf_files_are_refused_by_name() {
    let refusal = |file: &[u8]| ElfCore::open(&file).err().unwrap().to_string();
    let load = [(PT_LOAD, 0, 0, 0)];
    assert!(refusal(&core_64(EM_PPC64, &load)).contains("type 21"));
    let mut file = core_64(EM_X86_64, &load);
    file[5] = 2;
    assert!(refusal(&file).contains("big-endian"));
    let mut file = core_64(EM_X86_64, &load);
    file[16] = 2;
    assert!(refusal(&file).contains("no core"));
    assert!(refusal(&core_64(EM_X86_64, &[])).contains("none"));
    assert!(refusal(b"MZ").contains("ends at"));
}

/// A kdump file: version, and for each page of memory from 0 on the data of it and its flags, where it is there.
struct Made {
    file: Vec<u8>,
}

impl Made {
    fn new(is_64: bool, version: u32, block_size: u32, split: u32, pages: &[Option<(Vec<u8>, u32)>]) -> Self {
        let count = u32::try_from(pages.len()).unwrap();
        let mut file = if is_64 {
            let header = DiskDumpHeader64 {
                signature: *b"KDUMP   ",
                version: version.into(),
                block_size: block_size.into(),
                sub_header_blocks: 1.into(),
                bitmap_blocks: 2.into(),
                max_mapnr: count.into(),
                ..DiskDumpHeader64::default()
            };
            let mut file = header.as_bytes().to_vec();
            file.resize(0x1000, 0);
            let sub = SubHeader64 {
                split: split.into(),
                max_mapnr_64: u64::from(if version == 6 { count } else { 0 }).into(),
                ..SubHeader64::default()
            };
            file.extend(sub.as_bytes());
            file
        } else {
            let header = DiskDumpHeader32 {
                signature: *b"KDUMP   ",
                version: version.into(),
                block_size: block_size.into(),
                sub_header_blocks: 1.into(),
                bitmap_blocks: 2.into(),
                max_mapnr: count.into(),
                ..DiskDumpHeader32::default()
            };
            let mut file = header.as_bytes().to_vec();
            file.resize(0x1000, 0);
            let sub = SubHeader32 {
                split: split.into(),
                max_mapnr_64: u64::from(if version == 6 { count } else { 0 }).into(),
                ..SubHeader32::default()
            };
            file.extend(sub.as_bytes());
            file
        };
        file.resize(0x4000, 0);
        let present: Vec<_> = pages
            .iter()
            .enumerate()
            .filter_map(|(page, it)| Some((page, it.as_ref()?)))
            .collect();
        let mut data = 0x4000 + present.len() * 24 + 5;
        for (page, (bytes, flags)) in &present {
            // The second bitmap alone tells what is in the file.
            file[0x3000 + page / 8] |= 1 << (page % 8);
            let descriptor = PageDescriptor {
                offset: (data as u64).into(),
                size: u32::try_from(bytes.len()).unwrap().into(),
                flags: (*flags).into(),
                page_flags: 0.into(),
            };
            file.extend(descriptor.as_bytes());
            data += bytes.len();
        }
        file.extend([0; 5]);
        for (_, (bytes, _)) in present {
            file.extend(bytes);
        }
        Self { file }
    }
}

fn zlib(number: u64) -> Option<(Vec<u8>, u32)> {
    Some((miniz_oxide::deflate::compress_to_vec_zlib(&page(number), 1), 1))
}

#[expect(clippy::unnecessary_wraps, reason = "a page that is there, like those of `zlib`")]
fn plain(number: u64) -> Option<(Vec<u8>, u32)> {
    Some((page(number), 0))
}

#[test]
fn kdump_files_of_both_widths_and_all_versions() {
    let pages = [None, plain(1), plain(2), zlib(3), None, zlib(5), plain(6), None];
    for (is_64, version) in [(true, 6), (true, 3), (true, 1), (false, 6), (false, 5), (false, 2)] {
        let made = Made::new(is_64, version, 0x1000, 0, &pages);
        let kdump = Kdump::open(&made.file).unwrap();
        assert!(kdump.findings().is_empty(), "{:?}", kdump.findings());
        assert_eq!((kdump.pages_present(), kdump.end()), (5, Pfn(8)));
        assert_eq!(joined(&kdump), [(1, 3), (5, 2)]);
        for number in [1, 2, 3, 5, 6] {
            let mut bytes = [0; 0x1000];
            assert_eq!(kdump.read(PhysAddr(number * 0x1000), &mut bytes).unwrap(), 0x1000);
            assert_eq!(bytes[..], page(number), "page {number}");
        }
        let data = 0x4000 + 5 * 24 + 5;
        let memory: &dyn PhysicalMemory = &kdump;
        let runs: Vec<_> = memory.runs(Pfn(2)).map(|run| run.unwrap()).collect();
        let places: Vec<_> = runs.iter().map(|run| (run.first.0, run.pages, run.place)).collect();
        assert_eq!(places[0], (2, 1, PagePlace::File(FileOffset(data + 0x1000))));
        assert_eq!(places[1..3], [(3, 1, PagePlace::Read), (5, 1, PagePlace::Read)]);
        assert_eq!((places.len(), places[3].0), (4, 6));
    }
}

#[test]
fn a_kdump_file_that_was_cut_keeps_the_pages_before() {
    let pages = [plain(0), plain(1), zlib(2), plain(3)];
    let made = Made::new(true, 6, 0x1000, 0, &pages);
    let cut = &made.file[..made.file.len() - 1];
    let kdump = Kdump::open(&cut).unwrap();
    assert_eq!(kdump.findings().total(), 1, "{:?}", kdump.findings());
    assert_eq!(joined(&kdump), [(0, 3)]);
    assert_eq!(kdump.place(Pfn(3)).unwrap(), None);
    assert_eq!(kdump.read(PhysAddr(0x2800), &mut [0; 0x1000]).unwrap(), 0x800);
}

#[test]
fn data_that_is_no_page_is_an_error() {
    let short = (miniz_oxide::deflate::compress_to_vec_zlib(&[7; 0xFFF], 1), 1);
    let made = Made::new(
        true,
        6,
        0x1000,
        0,
        &[Some(short), Some((vec![1; 20], 1)), Some((vec![1; 20], 0x80))],
    );
    let kdump = Kdump::open(&made.file).unwrap();
    for (page, word) in [(0, "0xfff bytes"), (1, "no zlib"), (2, "compression 0x80")] {
        let error = kdump.read(PhysAddr(page * 0x1000), &mut [0; 16]).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn kdump_files_that_are_not_understood_are_refused_by_name() {
    let refusal = |made: Made| Kdump::open(&made.file).err().unwrap().to_string();
    let pages = [plain(0)];
    assert!(refusal(Made::new(true, 6, 0x1_0000, 0, &pages)).contains("pages of 65536 bytes"));
    assert!(refusal(Made::new(true, 2, 0x1000, 1, &pages)).contains("split"));
    assert!(refusal(Made::new(true, 7, 0x1000, 0, &pages)).contains("version 7"));
    let mut made = Made::new(true, 6, 0x1000, 0, &pages);
    made.file[428..432].reverse();
    assert!(refusal(made).contains("big-endian"));
    let mut made = Made::new(true, 6, 0x1000, 0, &pages);
    made.file[0x1060..0x1068].fill(0xFF);
    assert!(refusal(made).contains("bitmaps"));
}

pub(crate) fn some_files() -> Vec<Vec<u8>> {
    let pages = [None, plain(1), plain(2), zlib(3), None, zlib(5), plain(6), None];
    let status = note("CORE", 1, PrStatusX86::default().as_bytes());
    let size = status.len() as u64;
    let mut core = core_32(EM_386, &[(PT_NOTE, 0, size, 84), (PT_LOAD, 0x1000, 0x3000, 84 + size)]);
    core.extend(status);
    core.resize(core.len() + 0x3000, 7);
    let mut wide = core_64(
        EM_X86_64,
        &[(PT_LOAD, 0x5800, 0x2000, 176), (PT_LOAD, 0x1000, 0x3000, 0x1000)],
    );
    wide.resize(0x5000, 3);
    let made = Made::new(true, 6, 0x1000, 0, &pages).file;
    let mut flat = b"makedumpfile".to_vec();
    flat.resize(4096, 0);
    for (index, part) in made.chunks(0x777).enumerate() {
        flat.extend((index as u64 * 0x777).to_be_bytes());
        flat.extend((part.len() as u64).to_be_bytes());
        flat.extend(part);
    }
    flat.extend([0xFF; 16]);
    vec![core, wide, made, Made::new(false, 5, 0x1000, 0, &pages).file, flat]
}
