//! Code from files of images: `-mc` with `--image-path` on dumps that do not have it.

use dotdump_format::VirtAddr;
use dotdump_snapshot::{MinidumpSnapshot, ProcessSnapshot};
use dotdump_transcode::Request;
use dotdump_transcode::manifest::{Manifest, Span};
use dotdump_transcode::options::DumpOptions;
use dotdump_transcode::select::ImageFolders;
use dotdump_transcode::verify::against;

use super::common::{TestProcess, TestThread, pe_headers, words};
use super::filter::convert_as;

const BASE: u64 = 0x7FF6_0000_0000;
const PREFERRED: u64 = 0x1_4000_0000;
const STACK: u64 = 0x10_0000;

/// A PE file with one section of code, `.text` at 0x1000, of 0x200 bytes, with two addresses in it that depend on where
/// the image is loaded.
fn image() -> Vec<u8> {
    let mut file = pe_headers(&[(0x1000, 0x200, 0x6000_0020), (0x3000, 0x10, 0x4200_0040)]);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x98 + 24, &PREFERRED.to_le_bytes()); // ImageBase
    put(0x98 + 112 + 5 * 8, &0x3000_u32.to_le_bytes()); // the directory of relocations
    put(0x98 + 112 + 5 * 8 + 4, &0x10_u32.to_le_bytes());
    let text = 0x98 + 240;
    put(text + 16, &0x200_u32.to_le_bytes()); // SizeOfRawData
    put(text + 20, &0x400_u32.to_le_bytes()); // PointerToRawData
    put(text + 40 + 16, &0x10_u32.to_le_bytes());
    put(text + 40 + 20, &0x600_u32.to_le_bytes());
    put(0x400, &[0x90; 0x200]);
    put(0x400 + 0x10, &(PREFERRED + 0x2000).to_le_bytes());
    put(0x400 + 0xFC, &(PREFERRED + 0x1234).to_le_bytes());
    // A block of relocations: page, size, then type and offset. 10 is IMAGE_REL_BASED_DIR64.
    put(0x600, &0x1000_u32.to_le_bytes());
    put(0x604, &0x10_u32.to_le_bytes());
    for (index, entry) in [0xA010_u16, 0xA0FC, 0, 0].into_iter().enumerate() {
        put(0x608 + 2 * index, &entry.to_le_bytes());
    }
    file
}

/// What a program sees of that code when the image is loaded at [`BASE`].
fn loaded() -> Vec<u8> {
    let mut code = vec![0x90; 0x200];
    code[0x10..0x18].copy_from_slice(&(BASE + 0x2000).to_le_bytes());
    code[0xFC..0x104].copy_from_slice(&(BASE + 0x1234).to_le_bytes());
    code
}

/// The process, with some of its code in the dump.
fn process(code: Option<(usize, usize)>) -> TestProcess {
    let mut memory = vec![words(STACK, 0x1000, &[(STACK + 0x800, 7)])];
    if let Some((start, end)) = code {
        memory.push((BASE + 0x1000 + start as u64, loaded()[start..end].to_vec()));
    }
    TestProcess {
        threads: vec![TestThread {
            id: 1,
            teb: 0,
            ip: BASE + 0x1020,
            sp: STACK + 0x800,
        }],
        modules: vec![("C:\\Program\\a.exe", BASE, 0x1_0000)],
        memory,
        ..TestProcess::default()
    }
}

fn request(folder: &std::path::Path, letters: &str) -> Request {
    Request {
        options: DumpOptions {
            mini: letters.parse().unwrap(),
            ..DumpOptions::default()
        },
        images: ImageFolders::new(vec![folder.to_owned()]),
        ..Request::default()
    }
}

fn code_of(dump: &[u8]) -> Vec<u8> {
    let snapshot = MinidumpSnapshot::open(&dump).unwrap();
    let mut bytes = vec![0; 0x300];
    let there = snapshot.memory().read(VirtAddr(BASE + 0x1000), &mut bytes).unwrap();
    bytes.truncate(there);
    bytes
}

#[test]
fn code_is_taken_from_the_image_and_relocated() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.exe"), image()).unwrap();
    // With none of the code in the dump, and with parts of it whose borders cut a relocated address in two.
    for part in [
        None,
        Some((0, 0x14)),
        Some((0x14, 0x100)),
        Some((0x100, 0x200)),
        Some((0, 0x200)),
    ] {
        let source = process(part).to_dump();
        let small = convert_as(&source, &request(folder.path(), "c"));
        assert_eq!(code_of(&small), loaded(), "with {part:x?} in the dump");
        let (small, source) = (&small.as_slice(), &source.as_slice());
        let (small, source) = (
            MinidumpSnapshot::open(small).unwrap(),
            MinidumpSnapshot::open(source).unwrap(),
        );
        let compared = against(&small, &source).unwrap();
        assert!(compared.same, "{:?}", compared.differences);
        let had = part.map_or(0, |(start, end)| end - start);
        assert_eq!(compared.memory_from_images, (0x200 - had) as u64);
        let manifest = Manifest::read(small.dump()).unwrap().unwrap();
        let told: u64 = manifest
            .from_images
            .iter()
            .filter_map(Span::range)
            .map(|range| range.size())
            .sum();
        assert_eq!(told, compared.memory_from_images);
    }
}

#[test]
fn other_options_take_nothing_from_images() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.exe"), image()).unwrap();
    let small = convert_as(&process(None).to_dump(), &request(folder.path(), "i"));
    assert_eq!(code_of(&small), b"");
}
