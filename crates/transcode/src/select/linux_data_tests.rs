//! Stacks and control blocks made by hand, as the kernel (`create_elf_tables`) and the C libraries lay them out.

use std::collections::BTreeMap;

use dotdump_format::Endian;
use dotdump_format::minidump::linux_auxv::AuxvType;
use dotdump_snapshot::Extent;
use dotdump_snapshot::ranges::covers;

use super::*;

#[derive(Default)]
struct Pieces(BTreeMap<u64, Vec<u8>>);

impl Memory for Pieces {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let extents = self.0.iter().filter_map(move |(start, bytes)| {
            let range = VirtRange::sized(VirtAddr(*start), bytes.len() as u64);
            Extent { range, offset: None }.clip(within)
        });
        Box::new(extents.map(Ok))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let Some((start, bytes)) = self.0.range(..=address.0).next_back() else {
            return Ok(0);
        };
        let from = usize::try_from(address.0 - start).unwrap_or(usize::MAX);
        let there = bytes.get(from..).unwrap_or_default();
        let size = there.len().min(buffer.len());
        buffer[..size].copy_from_slice(&there[..size]);
        Ok(size)
    }
}

fn words(size: usize) -> Words {
    Words {
        size,
        endian: Endian::Little,
        address_mask: u64::MAX,
    }
}

fn push(bytes: &mut Vec<u8>, size: usize, values: &[u64]) {
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes()[..size]);
    }
}

/// A stack from `argc` up: its bytes, the auxiliary vector, and where its parts lie.
struct Stack {
    memory: Pieces,
    auxv: Vec<u8>,
    /// From `argc` to the end of the vector.
    tables: VirtRange,
    arguments: VirtRange,
    environment: VirtRange,
    /// The 16 random bytes, and the path.
    others: [VirtRange; 2],
}

const TOP: u64 = 0x7FF0_0000;

fn stack(size: usize, arguments: &[&str], environment: &[&str]) -> Stack {
    // Downwards from the top: a null, the path, the environment, the arguments, random bytes, a gap, the tables.
    let path = "/bin/program";
    let text = |strings: &[&str]| {
        strings
            .iter()
            .flat_map(|text| [text.as_bytes(), &[0]].concat())
            .collect::<Vec<_>>()
    };
    let (argument_text, environment_text) = (text(arguments), text(environment));
    let path_at = TOP - 8 - (path.len() as u64 + 1);
    let environment_at = path_at - environment_text.len() as u64;
    let arguments_at = environment_at - argument_text.len() as u64;
    let random_at = (arguments_at - 40) & !15;
    let places = |start: u64, strings: &[&str]| {
        let mut at = start;
        let mut places = Vec::new();
        for text in strings {
            places.push(at);
            at += text.len() as u64 + 1;
        }
        places.push(0);
        places
    };
    let vector = [
        AuxvType::PAGESZ.0,
        4096,
        AuxvType::RANDOM.0,
        random_at,
        AuxvType::UID.0,
        0,
        AuxvType::EXECFN.0,
        path_at,
    ];
    let mut auxv = Vec::new();
    push(&mut auxv, size, &vector);
    let mut tables = Vec::new();
    push(&mut tables, size, &[arguments.len() as u64]);
    push(&mut tables, size, &places(arguments_at, arguments));
    push(&mut tables, size, &places(environment_at, environment));
    tables.extend(&auxv);
    push(&mut tables, size, &[0, 0]);
    let tables_at = (random_at - 0x1230 - tables.len() as u64) & !15;

    let mut bytes = vec![0; usize::try_from(TOP - tables_at).unwrap()];
    let mut put = |at: u64, part: &[u8]| {
        let at = usize::try_from(at - tables_at).unwrap();
        bytes[at..at + part.len()].copy_from_slice(part);
        VirtRange::sized(VirtAddr(tables_at + at as u64), part.len() as u64)
    };
    let tables = put(tables_at, &tables);
    let random = put(random_at, &[0xA5; 16]);
    let arguments = put(arguments_at, &argument_text);
    let environment = put(environment_at, &environment_text);
    let path = put(path_at, &[path.as_bytes(), &[0]].concat());
    // The file of the vector ends with its null, and may have more of them.
    push(&mut auxv, size, &[0, 0, 0, 0]);
    Stack {
        memory: Pieces(BTreeMap::from([(tables_at, bytes)])),
        auxv,
        tables,
        arguments,
        environment,
        others: [random, path],
    }
}

#[test]
fn what_a_program_was_started_with_is_found_from_its_auxiliary_vector() {
    let long = "V=".to_owned() + &"x".repeat(5000);
    let cases: [(&[&str], &[&str]); 5] = [
        (&["program", "-x", "a b"], &["HOME=/root", "LANG=C"]),
        (&["program"], &[]),
        (&[], &["A=1"]),
        (&[], &[]),
        (&["program"], &[&long, &long]),
    ];
    for (arguments, environment) in cases {
        for size in [4, 8] {
            let stack = stack(size, arguments, environment);
            let mut ranges = RangeSet::new();
            assert!(start_data(&stack.memory, &words(size), &stack.auxv, &mut ranges).unwrap());
            let found = ranges.into_vec();
            let kept = VirtRange::sized(stack.environment.start, stack.environment.size().min(0x2000));
            for wanted in [stack.tables, stack.arguments, kept, stack.others[0], stack.others[1]] {
                assert!(
                    wanted.is_empty() || covers(&found, wanted),
                    "{wanted:?} of {arguments:?} {environment:?} in {found:?}"
                );
            }
            let bytes: u64 = found.iter().map(|range| range.size()).sum();
            let expected = [stack.tables, stack.arguments, kept, stack.others[0], stack.others[1]];
            assert_eq!(
                bytes,
                expected.iter().map(|range| range.size()).sum::<u64>(),
                "and nothing else"
            );
        }
    }
}

#[test]
fn a_vector_that_leads_nowhere_finds_nothing() {
    let memory = Pieces::default();
    let mut auxv = Vec::new();
    push(
        &mut auxv,
        8,
        &[
            AuxvType::RANDOM.0,
            u64::MAX - 3,
            AuxvType::EXECFN.0,
            5,
            AuxvType::PLATFORM.0,
            u64::MAX,
        ],
    );
    for length in 0..=auxv.len() {
        let mut ranges = RangeSet::new();
        assert!(!start_data(&memory, &words(8), &auxv[..length], &mut ranges).unwrap());
    }
}

/// glibc: the number of entries, a count of changes, then a pointer and what to free for each module; musl: the number,
/// then pointers.
#[test]
fn blocks_of_thread_local_storage_are_those_of_the_array() {
    const BLOCKS: u64 = 0x50_0000;
    const ARRAY: u64 = 0x60_0000;
    let block = |index: u64| BLOCKS + index * 0x1000;
    for (size, is_glibc) in [(8, true), (4, true), (8, false)] {
        let mut array = Vec::new();
        let unallocated = if size == 8 { u64::MAX } else { u64::from(u32::MAX) };
        let word = size as u64;
        let (at, entries) = if is_glibc {
            push(
                &mut array,
                size,
                &[3, 0, 7, 0, block(1), 0, unallocated, 0, block(3), 0],
            );
            (ARRAY + 2 * word, 10)
        } else {
            // What lies before it is no number of entries.
            push(&mut array, size, &[0xFFFF_FFFF, 0, 2, block(1), block(3)]);
            (ARRAY + 2 * word, 5)
        };
        assert_eq!(array.len(), entries * size);
        let memory = Pieces(BTreeMap::from([(BLOCKS, vec![1; 0x4000]), (ARRAY, array)]));
        let mut ranges = RangeSet::new();
        dynamic_blocks(&memory, &words(size), VirtAddr(at), 0x80, &mut ranges).unwrap();
        let found = ranges.into_vec();
        let sized = |start: u64, size: u64| VirtRange::sized(VirtAddr(start), size);
        let (start, words) = if is_glibc { (ARRAY, entries as u64) } else { (at, 3) };
        assert_eq!(
            found,
            [sized(block(1), 0x80), sized(block(3), 0x80), sized(start, words * word)]
        );
    }
}

/// The kernel's own stack of a program that was started with known arguments and a known environment.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[test]
fn the_kernel_s_own_tables_are_found() {
    use std::os::unix::fs::FileExt as _;
    use std::process::{Command, Stdio};

    struct Process(std::fs::File, VirtRange);

    impl Memory for Process {
        fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
            let stack = Extent {
                range: self.1,
                offset: None,
            };
            Box::new(stack.clip(within).map(Ok).into_iter())
        }

        fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
            let wanted = VirtRange::sized(address, buffer.len() as u64);
            let there = wanted.intersection(self.1).filter(|there| there.start == address);
            let size = there.map_or(0, |there| usize::try_from(there.size()).unwrap());
            self.0.read_exact_at(&mut buffer[..size], address.0).unwrap();
            Ok(size)
        }
    }

    // It waits for its input to end, and has started when it has passed on the first byte.
    let mut child = Command::new("cat")
        .args(["-u", "-"])
        .env_clear()
        .env("FRUIT", "apple pear")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    std::io::Write::write_all(&mut input, b"x").unwrap();
    std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
    let proc = |name: &str| format!("/proc/{}/{name}", child.id());
    let maps = std::fs::read_to_string(proc("maps")).unwrap();
    let line = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let address = |text| VirtAddr(u64::from_str_radix(text, 16).unwrap());
    let memory = Process(
        std::fs::File::open(proc("mem")).unwrap(),
        VirtRange::new(address(start), address(end)),
    );
    let auxv = std::fs::read(proc("auxv")).unwrap();

    let mut ranges = RangeSet::new();
    let is_there = start_data(&memory, &words(8), &auxv, &mut ranges);
    let mut all = Vec::new();
    for range in ranges.into_vec() {
        let mut bytes = vec![0; usize::try_from(range.size()).unwrap()];
        let there = memory.read(range.start, &mut bytes).unwrap();
        all.extend_from_slice(&bytes[..there]);
    }
    drop(input);
    child.wait().unwrap();
    assert!(is_there.unwrap());
    let vector = &auxv[..auxv.len() / 16 * 16];
    for wanted in [&b"cat\0-u\0-\0"[..], b"FRUIT=apple pear\0", vector] {
        assert!(all.windows(wanted.len()).any(|window| window == wanted), "{wanted:?}");
    }
    assert!(all.len() < 0x2000, "{} bytes", all.len());
}
