//! Dumps above 4 GiB: memory passes the reach of 32-bit offsets, everything else must not.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};

use dotdump_tests::program::convert;

const MEMORY: u64 = 5 << 30;

/// A full dump with 5 GiB of memory, a hole but for its last bytes, and a small range behind it.
fn source(path: &std::path::Path) {
    let mut bytes = Vec::new();
    let mut put = |words: &[u32]| bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    // The header, the directory (SystemInfo, Memory64List), SystemInfo (AMD64, Windows NT), and the list.
    put(&[0x504D_444D, 0xA793, 2, 32, 0, 0, 2, 0]);
    put(&[7, 56, 56, 9, 48, 112]);
    put(&[9, 1, 10, 0, 19045, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    let low = u32::try_from(MEMORY & 0xFFFF_FFFF).expect("32 bits");
    put(&[2, 0, 4096, 0, 0x1_0000, 0, low, 1, 0, 0x7FFF, 16, 0]);
    bytes.resize(4096, 0);
    let mut file = File::create(path).expect("a file");
    file.write_all(&bytes).expect("space");
    file.seek(SeekFrom::Start(4096 + MEMORY - 8)).expect("a place");
    file.write_all(b"the end.and the next one").expect("space");
}

#[test]
fn memory_may_lie_above_four_gibibytes_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source_path, output) = (folder.path().join("large.dmp"), folder.path().join("out.dmp"));
    source(&source_path);
    let run = convert(&source_path, &output, &["-ma", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    let mut file = File::open(&output).expect("an output");
    let mut at = |offset: u64, size: usize| {
        let mut bytes = vec![0; size];
        file.seek(SeekFrom::Start(offset)).expect("a place");
        file.read_exact(&mut bytes).expect("bytes");
        bytes
    };
    let word =
        |bytes: &[u8], index: usize| u32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().expect("four"));
    let wide =
        |bytes: &[u8], index: usize| u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().expect("eight"));
    let header = at(0, 32);
    let count = usize::try_from(word(&header, 2)).expect("small");
    let directory = at(u64::from(word(&header, 3)), 12 * count);
    let entry = (0..count)
        .find(|index| word(&directory, 3 * index) == 9)
        .expect("a Memory64List");
    assert_eq!(word(&directory, 3 * entry + 1), 48, "16 bytes, and 16 for each range");
    let list = at(u64::from(word(&directory, 3 * entry + 2)), 48);
    let [ranges, base, first, size, second, small] = [0, 1, 2, 3, 4, 5].map(|index| wide(&list, index));
    assert_eq!(
        (ranges, first, size, second, small),
        (2, 0x1_0000, MEMORY, 0x7FFF_0000_0000, 16)
    );
    assert_eq!(at(base + MEMORY - 8, 24), b"the end.and the next one");
    assert!(fs::metadata(&output).expect("an output").len() > 1 << 32);
}
