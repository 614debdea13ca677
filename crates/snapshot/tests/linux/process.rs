//! A process made by hand as a snapshot: its records, and its streams as readers see them.

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::breakpad_info::BreakpadInfo;
use dotdump_format::minidump::handle_data::HandleData;
use dotdump_format::minidump::linux_text::LinuxEnviron;
use dotdump_format::minidump::process_vm_counters::ProcessVmCounters;
use dotdump_format::minidump::thread_info_list::{ThreadDumpFlags, ThreadInfoList};
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::{
    DirectoryEntry, Header, MiniDumpType, Minidump, StreamContent, StreamType, VERSION, write_directory,
};
use dotdump_format::{Endian, Findings, Record, VirtAddr, VirtRange};
use dotdump_snapshot::linux::{
    LinuxArchitecture, LinuxFacts, LinuxHandle, LinuxModules, LinuxSignal, LinuxSystem, LinuxThread, ThreadStat,
};
use dotdump_snapshot::{Blob, Content, LinuxProcess, ProcessSnapshot, RangeSet};

use crate::spans::{Spans, mappings};

pub(crate) const MAPS: &str = "
    00400000-00401000 r--p 00000000 08:01 11 /usr/bin/program
    00401000-00402000 r-xp 00001000 08:01 11 /usr/bin/program
    00402000-00403000 rw-p 00002000 08:01 11 /usr/bin/program
    10000000-10001000 r-xp 00000000 08:01 12 /usr/lib/libgone.so (deleted)
    10001000-10002000 r--p 00001000 08:01 12 /usr/lib/libgone.so (deleted)
    20000000-20002000 rwxp 00000000 00:00 0
    30000000-30004000 ---p 00000000 00:00 0
    30004000-30010000 rw-p 00000000 00:00 0
    40000000-40010000 rw-p 00000000 00:00 0 [stack]
    50000000-50004000 r--p 00000000 00:00 0 [vvar]";

/// A thread with these registers: `rip` and `rsp` are the words 16 and 19 of `user_regs_struct` (`sys/user.h`), `fs_base`
/// is word 21.
fn thread(id: u32, rip: u64, rsp: u64) -> LinuxThread {
    let mut words = [0_u64; 27];
    (words[16], words[19], words[21]) = (rip, rsp, 0x7777_0000 + u64::from(id));
    LinuxThread {
        id,
        name: Some(format!("worker {id}").into_bytes()),
        general: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        stat: Some(ThreadStat {
            state: b'S',
            user_time: 250,
            system_time: 50,
            start_time: 1000,
            nice: 5,
        }),
        affinity: Some(0b101),
        ..LinuxThread::default()
    }
}

pub(crate) fn facts() -> LinuxFacts {
    let handle = |descriptor, target: &str, file_type, flags| LinuxHandle {
        descriptor,
        target: target.into(),
        file_type,
        flags: Some(flags),
    };
    let mut unreadable = RangeSet::new();
    unreadable.insert(VirtRange::sized(VirtAddr(0x5000_0000), 0x4000));
    LinuxFacts {
        empty: RangeSet::new(),
        architecture: LinuxArchitecture::Amd64,
        process_id: 100,
        // 2020-01-01 00:00:00 UTC: 1,577,836,800 seconds since 1970.
        time: 132_223_104_000_000_000,
        threads: vec![
            thread(100, 0x40_1234, 0x4000_8123),
            thread(101, 0x40_1000, 0x3000_3FF0),
            LinuxThread {
                id: 102,
                ..LinuxThread::default()
            },
        ],
        mappings: mappings(MAPS),
        auxv: Vec::new(),
        texts: vec![
            (StreamType::LINUX_ENVIRON, b"A=1\0".to_vec()),
            (
                StreamType::LINUX_PROC_STATUS,
                b"Name:\tprogram\nVmPeak:\t    9000 kB\nVmSize:\t    8000 kB\nVmHWM:\t    700 kB\nVmRSS:\t     600 kB\n\
                  RssAnon:\t     500 kB\nRssShmem:\t      4 kB\nVmSwap:\t       20 kB\n"
                    .to_vec(),
            ),
            (
                StreamType::LINUX_CPU_INFO,
                b"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 158\nstepping\t: 10\n\
                  flags\t\t: fpu tsc sse sse2 avx\n"
                    .to_vec(),
            ),
        ],
        handles: Some(vec![
            handle(0, "/dev/null", 0o020_666, 0o10_0000),
            handle(1, "pipe:[123]", 0o010_600, 0o1),
            handle(2, "/tmp/log", 0o100_644, 0o200_0002),
            handle(3, "anon_inode:[eventpoll]", 0o600, 0o200_0002),
            handle(4, "socket:[77]", 0o140_777, 0o2),
        ]),
        system: LinuxSystem {
            name: "Linux 6.1.0 #1 SMP x86_64".to_owned(),
            processors: 4,
        },
        boot_time: Some(1_577_000_000),
        ticks_per_second: 100,
        signal: None,
        unreadable,
        guesses: Vec::new(),
    }
}

pub(crate) fn snapshot(facts: LinuxFacts) -> LinuxProcess<'static> {
    LinuxProcess::new(facts, Box::new(Spans::default()), &LinuxModules::default()).unwrap()
}

/// A minidump of all streams that the snapshot gives.
pub(crate) fn dump_of(process: &dyn ProcessSnapshot) -> Vec<u8> {
    let mut findings = Findings::default();
    let streams: Vec<(StreamType, Content<'_>)> = process
        .stream_types()
        .into_iter()
        .filter_map(|kind| Some((kind, process.stream(kind, &mut findings).unwrap()?)))
        .collect();
    let mut layout = Layout::new(Endian::Little);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(DirectoryEntry::SIZE * streams.len());
    let mut entries = Vec::new();
    for (kind, content) in streams {
        let location = match content {
            Content::Typed(stream) => stream.write(&mut layout).unwrap(),
            Content::Verbatim(blob) => {
                let at = layout.push(blob.to_piece());
                layout.location(at, blob.size(), "stream").unwrap()
            }
        };
        entries.push(DirectoryEntry {
            stream_type: kind.0.into(),
            location,
        });
    }
    let record = Header {
        version: u32::from(VERSION).into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &entries).unwrap();
    let pieces = layout.finish().pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    });
    pieces.collect::<Vec<_>>().concat()
}

pub(crate) fn get<'a, T: StreamContent<'a>>(dump: &Minidump<'a>) -> T {
    let mut findings = Findings::default();
    let stream = dump.get::<T>(&mut findings).unwrap().unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    stream
}

#[test]
fn it_passes_for_a_full_dump_of_linux() {
    let process = snapshot(facts());
    assert_eq!(process.header().time_date_stamp, 1_577_836_800);
    let flags = MiniDumpType::from_bits_retain(process.header().flags.get());
    assert!(flags.contains(MiniDumpType::WITH_FULL_MEMORY | MiniDumpType::WITH_FULL_MEMORY_INFO));
    assert!(process.stream_types().contains(&StreamType::MEMORY64_LIST));
    assert_eq!(
        (process.missing_bytes(), process.first_missing()),
        (0x4000, Some(VirtAddr(0x5000_0000)))
    );
    let info = process.system_info().unwrap();
    assert_eq!((info.platform_id.get(), info.number_of_processors), (0x8201, 4));
    assert_eq!((info.processor_level.get(), info.processor_revision.get()), (6, 0x9E0A));
    // CPUID 1: EAX of an i7-8700K, and the bits 0, 4, 25 and 26 of EDX.
    let expected = [
        &b"GenuineIntel"[..],
        &[0xEA, 0x06, 0x09, 0x00],
        &0x0600_0011_u32.to_le_bytes(),
        &[0; 4],
    ]
    .concat();
    assert_eq!(info.cpu[..], expected);
    assert_eq!(
        String::from_utf16_lossy(process.csd_version()),
        "Linux 6.1.0 #1 SMP x86_64"
    );
}

#[test]
fn threads_and_their_stacks() {
    let process = snapshot(facts());
    let [main, overflowed, without] = process.threads() else {
        panic!("{:?}", process.threads());
    };
    // From the page of the pointer; a pointer in a guard page belongs to the stack above.
    assert_eq!(
        main.stack(),
        Some(VirtRange::new(VirtAddr(0x4000_8000), VirtAddr(0x4001_0000)))
    );
    assert_eq!(
        overflowed.stack(),
        Some(VirtRange::new(VirtAddr(0x3000_4000), VirtAddr(0x3001_0000)))
    );
    assert_eq!((without.stack(), without.context.is_some()), (None, false));
    assert_eq!((main.record.thread_id.get(), main.record.teb.get()), (100, 0x7777_0064));
    assert_eq!(
        (main.record.priority_class.get(), main.record.priority.get()),
        (0x20, (-5_i32).cast_unsigned())
    );
    assert_eq!(main.context.as_ref().map(Blob::size), Some(1232));
}

#[test]
fn a_stack_in_a_huge_mapping_ends_at_the_limit_of_stacks() {
    let limits = |soft: &str| {
        let text = format!(
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max data size             unlimited            unlimited            bytes     \n\
             Max stack size            {soft:<20} unlimited            bytes     \n"
        );
        vec![(StreamType::MOZ_LINUX_LIMITS, text.into_bytes())]
    };
    const MIB: u64 = 1 << 20;
    for (texts, longest) in [
        (Vec::new(), 8 * MIB),
        (limits("unlimited"), 8 * MIB),
        (limits("1048576"), 8 * MIB),
        (limits("16777216"), 16 * MIB),
    ] {
        let mut facts = facts();
        facts.texts = texts;
        facts.mappings = mappings(
            "c000000000-c004000000 rw-p 00000000 00:00 0
             c005000000-c007000000 rw-p 00000000 00:00 0
             7ffff0000000-7ffff4000000 rw-p 00000000 00:00 0 [stack]",
        );
        // A goroutine's, one in the last MiB of a mapping, one that overflowed, the program's own.
        facts.threads = [0xC0_0000_1238, 0xC0_03F0_0008, 0xC0_04FF_FFF8, 0x7FFF_F000_0008]
            .map(|pointer| thread(100, 0x40_1000, pointer))
            .to_vec();
        let process = snapshot(facts);
        let stacks: Vec<_> = process.threads().iter().filter_map(|thread| thread.stack()).collect();
        let expected = [
            (0xC0_0000_1000, longest),
            (0xC0_03F0_0000, MIB),
            (0xC0_0500_0000, longest),
            (0x7FFF_F000_0000, 64 * MIB),
        ];
        assert_eq!(
            stacks,
            expected.map(|(start, size)| VirtRange::sized(VirtAddr(start), size))
        );
    }
}

#[test]
fn streams_as_readers_see_them() {
    let process = snapshot(facts());
    let bytes = dump_of(&process);
    let dump = Minidump::open(&bytes).unwrap();

    let misc = get::<dotdump_format::minidump::misc_info::MiscInfo>(&dump);
    assert_eq!(
        (misc.process_id(), misc.process_create_time()),
        (Some(100), Some(1_577_000_010))
    );
    // Two threads of 250 and 50 ticks of 10 ms.
    assert_eq!(
        (misc.process_user_time(), misc.process_kernel_time()),
        (Some(5), Some(1))
    );

    let names = get::<ThreadNames>(&dump);
    assert_eq!(names.of(101).unwrap().text(), "worker 101");
    assert!(names.of(102).is_none());

    let threads = get::<ThreadInfoList<'_>>(&dump).threads.to_vec().unwrap();
    assert_eq!(
        (threads[0].user_time.get(), threads[0].kernel_time.get()),
        (25_000_000, 5_000_000)
    );
    // 1,577,000,010 seconds after 1970 in 100 ns after 1601.
    assert_eq!(threads[0].create_time.get(), 132_214_736_100_000_000_u64);
    assert_eq!((threads[0].exit_status.get(), threads[0].affinity.get()), (0x103, 5));
    let invalid = ThreadDumpFlags::INVALID_CONTEXT | ThreadDumpFlags::INVALID_INFO;
    assert_eq!(
        (threads[0].dump_flags().is_empty(), threads[2].dump_flags()),
        (true, invalid)
    );

    let ProcessVmCounters::V2(counters) = get::<ProcessVmCounters>(&dump) else {
        panic!("revision 1");
    };
    assert_eq!(
        (counters.base.flags.get(), counters.base.working_set_size.get()),
        (0xF, 600 << 10)
    );
    assert_eq!(
        (counters.peak_virtual_size.get(), counters.virtual_size.get()),
        (9000 << 10, 8000 << 10)
    );
    assert_eq!(
        (counters.private_usage.get(), counters.base.pagefile_usage.get()),
        (520 << 10, 20 << 10)
    );

    let handles = get::<HandleData>(&dump);
    let told: Vec<_> = handles
        .handles
        .iter()
        .map(|handle| {
            let record = &handle.record;
            let name = |name: &Option<dotdump_format::minidump::name::Name>| name.as_ref().unwrap().text();
            let access = (record.granted_access.get(), record.attributes.get());
            (
                record.handle.get(),
                name(&handle.type_name),
                name(&handle.object_name),
                access,
            )
        })
        .collect();
    let expected = [
        (0, "CharDevice", "/dev/null", (0x12_0089, 2)),
        (1, "Pipe", "pipe:[123]", (0x12_0116, 2)),
        (2, "File", "/tmp/log", (0x12_019F, 0)),
        (3, "Epoll", "anon_inode:[eventpoll]", (0x12_019F, 0)),
        (4, "Socket", "socket:[77]", (0x12_019F, 2)),
    ];
    assert_eq!(
        told,
        expected.map(|(fd, kind, name, access)| (fd, kind.to_owned(), name.to_owned(), access))
    );
    assert_eq!(handles.descriptor_size, 40);

    let environ = get::<LinuxEnviron<'_>>(&dump);
    assert_eq!(environ.variable("A"), Some(&b"1"[..]));
    assert!(dump.stream(StreamType::EXCEPTION).is_none() && dump.stream(StreamType::BREAKPAD_INFO).is_none());
}

#[test]
fn a_signal_is_an_exception_with_the_registers_of_its_thread() {
    let mut facts = facts();
    let mut siginfo = vec![0; 128];
    // SIGSEGV, SEGV_MAPERR, si_addr.
    (siginfo[0], siginfo[8], siginfo[16]) = (11, 1, 0x18);
    facts.signal = Some(LinuxSignal {
        thread_id: 101,
        siginfo,
    });
    let process = snapshot(facts);
    let (exception, context) = process.exception().unwrap();
    assert_eq!((exception.thread_id.get(), exception.exception_code.get()), (101, 11));
    assert_eq!(exception.exception_address.get(), 0x18);
    assert_eq!(context, process.threads()[1].context.as_ref());
    let bytes = dump_of(&process);
    let info = get::<BreakpadInfo>(&Minidump::open(&bytes).unwrap());
    assert_eq!((info.requesting_thread(), info.dump_thread()), (Some(101), None));
}
