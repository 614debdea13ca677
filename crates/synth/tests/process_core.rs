//! Cores of processes that are written here, read by the engine.

use std::io::Read;

use dotdump_format::minidump::context::Context;
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{Endian, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::ProcessSnapshot as _;
use dotdump_snapshot::detect::{Container, detect};
use dotdump_snapshot::linux::core::{self, read_notes};
use dotdump_synth::Random;
use dotdump_synth::process_core::{CoreArchitecture, CoreSegment, CoreThread, ProcessCore};
use proptest::prelude::*;

/// A process with a thread that got a signal, its memory, and a file.
fn sample(architecture: CoreArchitecture) -> ProcessCore {
    let thread = |id: u32| CoreThread {
        id,
        general: (0..architecture.registers())
            .map(|index| 0x1010_0000 * u64::from(id % 16) + index as u64)
            .collect(),
        ..CoreThread::default()
    };
    let mut siginfo = vec![0; 128];
    siginfo[..12].copy_from_slice(&[11, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    siginfo[16..18].copy_from_slice(&[0x34, 0x12]);
    if architecture == CoreArchitecture::X86 {
        siginfo[12..14].copy_from_slice(&[0x34, 0x12]);
    }
    ProcessCore {
        architecture,
        process_id: 100,
        name: b"sampler".to_vec(),
        arguments: b"./sampler --all ".to_vec(),
        threads: vec![thread(103), thread(100)],
        siginfo: Some(siginfo),
        auxv: vec![(6, 4096), (17, 100)],
        files: vec![(0x40_0000, 0x40_3000, 0, b"/opt/sampler".to_vec())],
        segments: vec![
            CoreSegment {
                start: 0x40_0000,
                size: 0x2000,
                flags: 5,
                bytes: vec![0xAB; 0x1000],
            },
            CoreSegment {
                start: 0x7000_0000,
                size: 0x3000,
                flags: 6,
                bytes: (0..0x3000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect(),
            },
        ],
    }
}

const ALL: [CoreArchitecture; 3] = [CoreArchitecture::X86, CoreArchitecture::Amd64, CoreArchitecture::Arm64];

#[test]
fn a_core_of_each_processor() {
    for (architecture, kind, registers) in [
        (
            CoreArchitecture::X86,
            ProcessorArchitecture::X86,
            [("ebx", 0), ("eip", 12), ("esp", 15)],
        ),
        (
            CoreArchitecture::Amd64,
            ProcessorArchitecture::AMD64,
            [("r15", 0), ("rip", 16), ("rsp", 19)],
        ),
        (
            CoreArchitecture::Arm64,
            ProcessorArchitecture::ARM64,
            [("x0", 0), ("sp", 31), ("pc", 32)],
        ),
    ] {
        let bytes = sample(architecture).to_bytes();
        assert_eq!(detect(&bytes).unwrap(), Container::ProcessCore);
        let process = core::open(&bytes).unwrap();
        assert!(process.findings().is_empty(), "{:?}", process.findings().as_slice());
        assert_eq!(process.architecture(), kind);

        // The main thread comes first, whoever got the signal.
        let ids: Vec<u32> = process.threads().iter().map(|it| it.record.thread_id.get()).collect();
        assert_eq!(ids, [100, 103]);
        assert_eq!(process.facts().threads[0].name.as_deref(), Some(&b"sampler"[..]));
        let (exception, context) = process.exception().expect("a signal");
        assert_eq!((exception.thread_id.get(), exception.exception_code.get()), (103, 11));
        let context = process.bytes(context.expect("registers")).unwrap();
        let context = Context::read(&context, kind, Endian::Little).unwrap();
        for (name, index) in registers {
            let digits = 2 + 2 * architecture.word_size();
            let wanted = format!("{:#0digits$x}", 0x1010_0000 * 7_u64 + index);
            assert_eq!(
                context.register(name).unwrap().to_string(),
                wanted,
                "{architecture:?} {name}"
            );
        }

        // What the core does not have of a segment is absent.
        let mut buffer = [0; 0x1800];
        let memory = process.memory();
        assert_eq!(memory.read(VirtAddr(0x40_0000), &mut buffer).unwrap(), 0x1000);
        assert_eq!(memory.read(VirtAddr(0x40_1000), &mut buffer).unwrap(), 0);
        assert_eq!(memory.read(VirtAddr(0x7000_0123), &mut buffer).unwrap(), 0x1800);
        assert!(
            (0x123_u32..)
                .zip(&buffer)
                .all(|(at, byte)| u32::from(*byte) == at % 251)
        );

        // The file's mapping goes on behind its segment.
        let maps = &process.facts().mappings;
        let shown: Vec<_> = maps
            .iter()
            .map(|it| {
                (
                    it.range.start.0,
                    it.range.size(),
                    it.permissions.to_string(),
                    it.offset,
                    it.path.is_some(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (0x40_0000, 0x2000, "r-xp".to_owned(), 0, true),
                (0x40_2000, 0x1000, "r--p".to_owned(), 0x2000, true),
                (0x7000_0000, 0x3000, "rw-p".to_owned(), 0, false),
            ]
        );
    }
}

#[test]
fn a_pipe_is_read_as_far_as_the_notes() {
    /// Gives a byte or a few at a time, and counts them.
    struct Slow<'a>(&'a [u8], usize);
    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let size = buffer.len().min(7).min(self.0.len() - self.1);
            buffer[..size].copy_from_slice(&self.0[self.1..self.1 + size]);
            self.1 += size;
            Ok(size)
        }
    }
    for architecture in ALL {
        let bytes = sample(architecture).to_bytes();
        let mut pipe = Slow(&bytes, 0);
        let mut findings = Findings::default();
        let notes = read_notes(&mut pipe, &mut findings).unwrap();
        assert!(pipe.1 < 0x1000, "memory was read");
        assert!(findings.is_empty());
        assert_eq!(notes.signal.as_ref().map(|signal| signal.thread_id), Some(103));
        assert_eq!(notes.threads.iter().map(|it| it.id).collect::<Vec<_>>(), [103, 100]);
        assert_eq!(notes.process_id(), Some(100));
        assert_eq!(notes.files[0].path, b"/opt/sampler");
    }
}

/// With 65,535 program headers and more their number stands behind all memory, where a pipe is not read.
#[test]
fn very_many_segments() {
    let mut core = sample(CoreArchitecture::Amd64);
    core.segments = (0..70_000)
        .map(|index| CoreSegment {
            start: 0x10_0000 + 0x2000 * index,
            size: 0x1000,
            flags: 4,
            bytes: Vec::new(),
        })
        .collect();
    let mut bytes = core.to_bytes();
    assert_eq!(bytes[56..58], [0xFF, 0xFF], "e_phnum is PN_XNUM");
    let notes = read_notes(&mut bytes.as_slice(), &mut Findings::default()).unwrap();
    assert_eq!(notes.threads.len(), 2);
    assert_eq!(core::open(&bytes).unwrap().facts().mappings.len(), 70_001);
    // The same with the section that the kernel writes: `sh_info` of the first one, at 44.
    let at = bytes.len();
    bytes[40..48].copy_from_slice(&(at as u64).to_le_bytes());
    bytes.resize(at + 64, 0);
    bytes[at + 44..at + 48].copy_from_slice(&70_001_u32.to_le_bytes());
    assert_eq!(core::open(&bytes).unwrap().facts().mappings.len(), 70_001);
}

#[test]
fn the_segment_of_thread_local_data_is_the_one_that_gs_selects() {
    let mut core = sample(CoreArchitecture::X86);
    core.threads[0].general[10] = 0x63;
    let segment = |number: u32, base: u32| [number, base, 0xF_FFFF, 0x51].map(u32::to_le_bytes).concat();
    let segments = [segment(13, 0x1111_0000), segment(12, 0xF7D0_0700)].concat();
    core.threads[0].others.push((0x200, segments));
    let bytes = core.to_bytes();
    let process = core::open(&bytes).unwrap();
    assert_eq!(process.facts().threads[1].tls_base, Some(0xF7D0_0700));

    let mut core = sample(CoreArchitecture::Arm64);
    core.threads[1]
        .others
        .push((0x401, 0x0000_FFFF_8000_1700_u64.to_le_bytes().to_vec()));
    let bytes = core.to_bytes();
    assert_eq!(
        core::open(&bytes).unwrap().facts().threads[0].tls_base,
        Some(0xFFFF_8000_1700)
    );
}

#[test]
fn a_debuggers_copy_of_a_running_process_has_no_exception() {
    let mut core = sample(CoreArchitecture::Amd64);
    // SIGSTOP, by which the debugger stopped it.
    core.siginfo.as_mut().unwrap()[0] = 19;
    assert!(core::open(&core.to_bytes()).unwrap().exception().is_none());
}

#[test]
fn segments_in_any_order_and_over_each_other() {
    let mut core = sample(CoreArchitecture::Amd64);
    let segment = |start: u64, fill: u8| CoreSegment {
        start,
        size: 0x2000,
        flags: 6,
        bytes: vec![fill; 0x2000],
    };
    core.files.clear();
    core.segments = vec![segment(0x5000, 1), segment(0x1000, 2), segment(0x2000, 3)];
    let bytes = core.to_bytes();
    let process = core::open(&bytes).unwrap();
    let mut buffer = [0; 0x3000];
    assert_eq!(process.memory().read(VirtAddr(0x1000), &mut buffer).unwrap(), 0x3000);
    assert!(buffer[..0x2000].iter().all(|byte| *byte == 2) && buffer[0x2000..].iter().all(|byte| *byte == 3));
    let ranges: Vec<(u64, u64)> = process
        .facts()
        .mappings
        .iter()
        .map(|it| (it.range.start.0, it.range.end.0))
        .collect();
    assert_eq!(ranges, [(0x1000, 0x3000), (0x3000, 0x4000), (0x5000, 0x7000)]);
}

#[test]
fn a_core_that_was_cut_off_has_the_rest() {
    let whole = sample(CoreArchitecture::Amd64).to_bytes();
    let cut = &whole[..whole.len() - 0x2800];
    let process = core::open(&cut).unwrap();
    assert_eq!(process.missing_bytes(), 0x2800);
    assert_eq!(process.findings().total(), 1);
    let mut buffer = [0; 0x3000];
    assert_eq!(
        process.memory().read(VirtAddr(0x7000_0000), &mut buffer).unwrap(),
        0x800
    );
    assert_eq!(process.threads().len(), 2);
}

#[test]
fn cores_of_other_systems_are_refused_by_name() {
    let mut bytes = sample(CoreArchitecture::Amd64).to_bytes();
    // The note behind the first one, `NT_PRPSINFO`, gets the name that FreeBSD's have; it takes the room of `CORE`, its
    // padding, and the first bytes of the payload.
    let at = bytes.windows(5).rposition(|name| name == b"CORE\0").unwrap();
    bytes[at - 12] = 8;
    bytes[at..at + 8].copy_from_slice(b"FreeBSD\0");
    assert_eq!(detect(&bytes).unwrap(), Container::ProcessCore);
    let error = core::open(&bytes).err().expect("refused").to_string();
    assert!(error.contains("FreeBSD"), "{error}");
}

fn any_core() -> impl Strategy<Value = ProcessCore> {
    let architecture = prop::sample::select(ALL.to_vec());
    let thread = (1_u32..=0x40_0000, prop::collection::vec(any::<u64>(), 34));
    let segment = (0_u64..200, 1_u64..8, 0_u32..8, prop::option::of(any::<u8>()));
    let file = (0_u64..200, 1_u64..8, 0_u64..100, "/[a-z]{1,20}");
    (
        architecture,
        prop::collection::vec(thread, 1..5),
        prop::collection::vec(segment, 0..8),
        prop::collection::vec(file, 0..8),
    )
        .prop_map(|(architecture, threads, segments, files)| {
            let address = |page: u64| 0x1_0000 + page * 0x1000;
            ProcessCore {
                threads: threads
                    .into_iter()
                    .map(|(id, general)| CoreThread {
                        id,
                        general: general[..architecture.registers()].to_vec(),
                        ..CoreThread::default()
                    })
                    .collect(),
                files: files
                    .into_iter()
                    .map(|(page, pages, offset, path)| {
                        (address(page), address(page + pages), offset, path.into_bytes())
                    })
                    .collect(),
                segments: segments
                    .into_iter()
                    .map(|(page, pages, flags, fill)| CoreSegment {
                        start: address(page),
                        size: pages * 0x1000,
                        flags,
                        bytes: fill.map_or_else(Vec::new, |fill| vec![fill; 0x1000]),
                    })
                    .collect(),
                ..sample(architecture)
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_was_written_is_read(core in any_core()) {
        let bytes = core.to_bytes();
        let process = core::open(&bytes).unwrap();
        prop_assert!(process.findings().as_slice().iter().all(|it| it.what != "note"));
        prop_assert_eq!(process.facts().threads.len(), core.threads.len());
        for thread in &core.threads {
            let size = core.architecture.word_size();
            let general: Vec<u8> = thread.general.iter().flat_map(|it| it.to_le_bytes()[..size].to_vec()).collect();
            prop_assert!(process.facts().threads.iter().any(|it| it.id == thread.id && it.general == general));
        }
        // Each page against a plain model: the segment that comes first in the file has it.
        for page in 0..210_u64 {
            let address = 0x1_0000 + page * 0x1000;
            let has = |start: u64, size: u64| (start..start + size).contains(&address);
            let segments = core.segments.iter();
            let stored = segments.clone().find(|it| has(it.start, it.bytes.len() as u64));
            let mut byte = [0; 1];
            let there = process.memory().read(VirtAddr(address), &mut byte).unwrap();
            prop_assert_eq!((there == 1).then_some(byte[0]), stored.map(|it| it.bytes[0]));

            let mapping = process.facts().mappings.iter().find(|it| it.range.contains(VirtAddr(address)));
            let of_segment = segments.clone().any(|it| has(it.start, it.size));
            let of_file = core.files.iter().any(|(start, end, ..)| has(*start, end - start));
            prop_assert_eq!(mapping.is_some(), of_segment || of_file);
            let path = mapping.and_then(|it| it.file());
            prop_assert_eq!(path.is_some(), of_file);
        }
        let maps = &process.facts().mappings;
        prop_assert!(maps.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    }

    #[test]
    fn any_notes_end(junk in prop::collection::vec(any::<u8>(), 0..600)) {
        let core = sample(CoreArchitecture::Amd64);
        let mut bytes = core.to_bytes();
        let at = 64 + 56 * 3;
        let end = (at + junk.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&junk[..end - at]);
        let _ = core::open(&bytes);
        let _ = read_notes(&mut bytes.as_slice(), &mut Findings::default());
    }
}

#[test]
fn damage_does_no_harm() {
    let mut opened = 0;
    for round in 0..2000_u64 {
        let mut random = Random::new(round);
        let mut pick = |limit: usize| usize::try_from(random.below(limit.max(1) as u64)).unwrap();
        let mut bytes = sample(ALL[pick(3)]).to_bytes();
        for _ in 0..=pick(4) {
            let front = bytes.len().min(0x700);
            match pick(4) {
                0 => {
                    let at = pick(bytes.len());
                    bytes.truncate(at.max(1));
                }
                1 => {
                    let at = pick(front);
                    bytes[at] ^= u8::try_from(1 + pick(255)).unwrap();
                }
                _ => {
                    let at = 4 * pick(front / 4);
                    let value = [0, 1, u32::MAX, 0x7FFF_FFFF, 0xFFFF_F000, 0x10_0000][pick(6)];
                    if let Some(field) = bytes.get_mut(at..at + 4) {
                        field.copy_from_slice(&value.to_le_bytes());
                    }
                }
            }
        }
        let _ = read_notes(&mut bytes.as_slice(), &mut Findings::default());
        let Ok(process) = core::open(&bytes) else { continue };
        opened += 1;
        let all = VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX));
        let mut last = VirtAddr(0);
        for extent in process.memory().extents(all) {
            let extent = extent.unwrap();
            assert!(extent.range.start >= last && !extent.range.is_empty(), "round {round}");
            assert!(
                extent.offset.unwrap().0 + extent.range.size() <= bytes.len() as u64,
                "round {round}"
            );
            last = extent.range.end;
        }
    }
    assert!(opened > 500, "only {opened} of the damaged cores were looked at");
}
