//! The privacy filter, against its rule spelled out word by word, and on whole dumps.

use crate::common::{PRIVATE, RW, TestProcess, TestThread, words};
use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot, RangeSet};
use dotdump_transcode::filter::{Beside, StackFilter};
use dotdump_transcode::options::DumpOptions;
use dotdump_transcode::select::ThreadStack;
use dotdump_transcode::sink::{Cancel, Control, Destination};
use dotdump_transcode::{Request, prepare};
use proptest::prelude::*;

const CODE: u64 = 0x1_4000_0000;
const STACK: u64 = 0x10_0000;
const BASE: u64 = STACK + 0x4000;
const SP: u64 = STACK + 0x3000;
const HEAP: u64 = 0x2_0000;
const SECRET: u64 = 0x5345_4352_4554_2121;

fn process() -> TestProcess {
    TestProcess {
        threads: vec![TestThread {
            id: 1,
            teb: 0,
            ip: CODE + 0x1234,
            sp: SP,
        }],
        modules: vec![("a.exe", CODE, 0x1_0000)],
        memory: vec![
            words(
                HEAP,
                0x1000,
                &[(HEAP + 0x100, SECRET), (HEAP + 0x108, CODE + 8), (HEAP + 0x110, SP + 8)],
            ),
            words(
                STACK,
                0x4000,
                &[
                    (SP - 0x100, SECRET),
                    (SP, CODE + 0x2000),
                    (SP + 0x08, SECRET),
                    (SP + 0x10, HEAP + 0x100),
                    (SP + 0x18, SP + 0x40),
                    (SP + 0x20, BASE),            // the base is the first address after the stack
                    (SP + 0x28, CODE + 0x1_0000), // the first address after the module
                    (SP + 0x30, CODE + 0xFFFF),
                ],
            ),
        ],
        regions: Some(vec![(HEAP, 0x1000, RW, PRIVATE), (STACK, 0x4000, RW, PRIVATE)]),
        ..TestProcess::default()
    }
}

/// Converts a dump and gives the output's bytes.
pub(crate) fn convert_as(dump: &[u8], request: &Request) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("source.dmp"), folder.path().join("out.dmp"));
    std::fs::write(&source, dump).unwrap();
    let file = DumpFile::open(&source, true).unwrap();
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    let mut conversion = prepare(&snapshot, request).unwrap();
    let cancel = Cancel::new();
    let mut sink = Destination::file(&path, false, None)
        .unwrap()
        .open(None, Control::new(&cancel, &()))
        .unwrap();
    conversion.write(Some(&file), sink.as_mut()).unwrap();
    sink.finish().unwrap();
    std::fs::read(path).unwrap()
}

/// The same with nothing but letters.
pub(crate) fn convert_with(dump: &[u8], letters: &str) -> Vec<u8> {
    let options = DumpOptions {
        mini: letters.parse().unwrap(),
        ..DumpOptions::default()
    };
    convert_as(
        dump,
        &Request {
            options,
            ..Request::default()
        },
    )
}

fn converted(process: &TestProcess, letters: &str) -> Vec<u8> {
    convert_with(&process.to_dump(), letters)
}

/// The word at an address of a dump; `None` where the dump does not have it.
fn word_at(dump: &[u8], address: u64) -> Option<u64> {
    let snapshot = MinidumpSnapshot::open(&dump).unwrap();
    let mut bytes = [0; 8];
    let there = snapshot.memory().read(VirtAddr(address), &mut bytes).unwrap();
    (there == 8).then(|| u64::from_le_bytes(bytes))
}

#[test]
fn pointers_into_code_and_the_own_stack_stay_and_all_else_is_zero() {
    let dump = converted(&process(), "r");
    let words: Vec<_> = (0..7).map(|index| word_at(&dump, SP + 8 * index).unwrap()).collect();
    assert_eq!(words, [CODE + 0x2000, 0, 0, SP + 0x40, 0, 0, CODE + 0xFFFF]);
}

#[test]
fn no_copy_of_a_stack_stays_behind() {
    // Private pages bring in the whole stack, unused words below the stack pointer as well.
    let dump = converted(&process(), "rw");
    assert_eq!(word_at(&dump, SP - 0x100), Some(0));
    assert_eq!(word_at(&dump, SP + 8), Some(0));
    assert_eq!(word_at(&dump, HEAP + 0x100), Some(SECRET), "-mw asked for the heap");
}

#[test]
fn what_stacks_point_to_is_filtered_like_them() {
    let dump = converted(&process(), "ri");
    let words: Vec<_> = (0..3)
        .map(|index| word_at(&dump, HEAP + 0x100 + 8 * index).unwrap())
        .collect();
    assert_eq!(words, [0, CODE + 8, SP + 8]);
    assert!(
        !dump.windows(8).any(|bytes| bytes == SECRET.to_le_bytes()),
        "the secret is in the file"
    );
    let plain = converted(&process(), "i");
    assert_eq!(word_at(&plain, HEAP + 0x100), Some(SECRET));
}

#[test]
fn converting_again_changes_nothing() {
    for letters in ["", "i", "r", "ri", "rw", "w", "f", "F", "iR"] {
        let once = converted(&process(), letters);
        assert!(
            convert_with(&once, letters) == once,
            "-m{letters} of its own output differs"
        );
    }
}

/// The rule for one word of a stack.
fn stays(word: u64, modules: &[VirtRange], own: VirtRange) -> bool {
    modules.iter().chain([&own]).any(|range| range.contains(VirtAddr(word)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_filter_keeps_what_its_rule_keeps(
        modules in prop::collection::vec((0_u64..1 << 46, 1_u32..0x40_0000), 0..30),
        picks in prop::collection::vec((any::<u64>(), 0_usize..6, any::<prop::sample::Index>()), 1..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let own = VirtRange::sized(VirtAddr(0x7000_0000), picks.len() as u64 * 8);
        let ranges: Vec<_> =
            modules.iter().map(|(base, size)| VirtRange::sized(VirtAddr(*base), u64::from(*size))).collect();
        let word = |(any, kind, index): &(u64, usize, prop::sample::Index)| match kind {
            0 => *any,
            1 => any % 0x1000,
            2 => own.start.0 + any % (own.size() + 16),
            // Around the borders of a module.
            _ if !ranges.is_empty() => {
                let range = ranges[index.index(ranges.len())];
                [range.start.0.wrapping_sub(1), range.start.0, range.end.0 - 1, range.end.0][usize::try_from(any % 4).unwrap()]
            }
            _ => 0,
        };
        let words: Vec<u64> = picks.iter().map(word).collect();
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();

        let process = TestProcess {
            modules: modules.iter().map(|(base, size)| ("m", *base, *size)).collect(),
            ..TestProcess::default()
        };
        let dump = process.to_dump();
        let snapshot = MinidumpSnapshot::open(&dump).unwrap();
        let stack = ThreadStack { thread: 1, kept: Some(own), own: Some(own) };
        let filter = StackFilter::new(&snapshot, &[stack], Beside::default()).unwrap();
        // In two parts, cut between words.
        let cut = 8 * cut.index(words.len());
        let (head, tail) = bytes.split_at_mut(cut);
        let erased = filter.apply(own.start, head) + filter.apply(own.start.saturating_add(cut as u64), tail);

        let expected: Vec<u64> = words.iter().map(|word| if stays(*word, &ranges, own) { *word } else { 0 }).collect();
        let found: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        prop_assert_eq!(&found, &expected);
        let changed = words.iter().zip(&expected).filter(|(before, after)| before != after).count();
        prop_assert_eq!(erased, changed as u64);
    }
}

#[test]
fn registers_of_the_32_bit_side_are_exempt() {
    let dump = process().to_dump();
    let snapshot = MinidumpSnapshot::open(&dump).unwrap();
    let own = VirtRange::new(VirtAddr(STACK), VirtAddr(BASE));
    let stack = ThreadStack {
        thread: 1,
        kept: Some(own),
        own: Some(own),
    };
    let exempt = RangeSet::from_iter([VirtRange::sized(VirtAddr(SP), 0x10)]);
    let beside = Beside {
        exempt,
        ..Beside::default()
    };
    let filter = StackFilter::new(&snapshot, &[stack], beside).unwrap();
    let mut bytes = [0x77; 0x20];
    filter.apply(VirtAddr(SP), &mut bytes);
    assert_eq!(
        (&bytes[..0x10], &bytes[0x10..]),
        ([0x77; 0x10].as_slice(), [0; 0x10].as_slice())
    );
}

/// A dump is taken as already cut down only where it is as it was written.
#[test]
fn a_changed_output_is_chosen_from_anew() {
    // The options in the manifest changed by hand: nothing was filtered, whatever they say.
    let mut forged = converted(&process(), "w");
    let options = forged
        .windows(15)
        .position(|text| text == b"\"options\":\"-mw\"".get(..15).unwrap())
        .unwrap();
    forged[options + 13] = b'r';
    assert!(
        !convert_with(&forged, "r")
            .windows(8)
            .any(|bytes| bytes == SECRET.to_le_bytes())
    );
    // Cut off in its memory: what is missing is told, and no full dump.
    let mut cut = converted(&process(), "f");
    cut.truncate(cut.len() - 0x1000);
    let snapshot = MinidumpSnapshot::open(&cut).unwrap();
    let options = DumpOptions {
        mini: "f".parse().unwrap(),
        ..DumpOptions::default()
    };
    assert!(
        prepare(
            &snapshot,
            &Request {
                options,
                ..Request::default()
            }
        )
        .is_err()
    );
}
