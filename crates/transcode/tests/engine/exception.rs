//! The exception that options name: on a process made by hand, and on dumps whose own exception Windows left in memory as
//! well, where both have to be the same.

use dotdump_format::VirtAddr;
use dotdump_format::minidump::context::{ContextAmd64, ContextFlags};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot};
use dotdump_tests::places::corpus;
use dotdump_transcode::exception::ExceptionRequest;
use dotdump_transcode::sink::{Cancel, Control, Destination};
use dotdump_transcode::{ConvertError, Request, prepare};
use zerocopy::IntoBytes;

use crate::common::{PRIVATE, RW, RX, TestProcess, TestThread};

const CODE: u64 = 0x40_0000;
const STACK: u64 = 0x10_0000;
const RECORDS: u64 = 0x50_0000;
/// Within [`RECORDS`], far enough apart that they are ranges of their own.
const POINTERS: u64 = RECORDS;
const RECORD: u64 = RECORDS + 0x100;
const CONTEXT: u64 = RECORDS + 0x400;
const JIT: u64 = RECORDS + 0x1000;

/// Two threads with stacks of their own; records of an exception of the second one, which says that it crashed elsewhere.
fn process() -> TestProcess {
    let thread = |id: u32| TestThread {
        id,
        teb: 0,
        ip: CODE + 0x1000,
        sp: STACK + u64::from(id) * 0x10000 + 0x800,
    };
    let mut records = vec![0; 0x2000];
    let mut put = |address: u64, bytes: &[u8]| {
        let at = usize::try_from(address - RECORDS).unwrap();
        records[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(POINTERS, [RECORD, CONTEXT].as_bytes());
    put(RECORD, [0xC000_0005_u32, 1].as_bytes());
    put(RECORD + 8, [0_u64, CODE + 0x2222].as_bytes());
    put(RECORD + 24, [2_u64, 1, 0xDEAD].as_bytes());
    let context = ContextAmd64 {
        context_flags: ContextFlags::AMD64_FULL.0.into(),
        rip: (CODE + 0x2222).into(),
        rsp: thread(2).sp.into(),
        rax: 0x7777.into(),
        ..ContextAmd64::default()
    };
    put(CONTEXT, context.as_bytes());
    put(JIT, [0x28_u32, 9, 2, 0].as_bytes());
    put(JIT + 16, [CODE + 0x2222, RECORD, CONTEXT].as_bytes());
    TestProcess {
        threads: vec![thread(1), thread(2)],
        memory: vec![
            (STACK + 0x10000, vec![1; 0x1000]),
            (STACK + 0x20000, vec![2; 0x1000]),
            (CODE, vec![0xCC; 0x4000]),
            (RECORDS, records),
        ],
        regions: Some(vec![
            (STACK + 0x10000, 0x1000, RW, PRIVATE),
            (STACK + 0x20000, 0x1000, RW, PRIVATE),
            (CODE, 0x4000, RX, PRIVATE),
            (RECORDS, 0x2000, RW, PRIVATE),
        ]),
        crashed: Some(1),
        ..TestProcess::default()
    }
}

fn at(address: u64) -> Option<VirtAddr> {
    Some(VirtAddr(address))
}

/// What is in the dump that is made with this request: the exception's thread, code, flags, address and parameters, the
/// registers RIP and RAX, and the ranges of memory.
#[derive(Debug, PartialEq)]
struct Stored {
    exception: (u32, u32, u32, u64, Vec<u64>),
    registers: Vec<u8>,
    ranges: Vec<(u64, u64)>,
}

fn stored(
    source: &MinidumpSnapshot<'_>,
    file: Option<&DumpFile>,
    exception: ExceptionRequest,
) -> Result<Stored, ConvertError> {
    let request = Request {
        exception,
        ..Request::default()
    };
    let mut conversion = prepare(source, &request)?;
    let ranges = conversion
        .planned()
        .ranges
        .iter()
        .map(|range| (range.start.0, range.size()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.dmp");
    let destination = Destination::file(&path, false, None).unwrap();
    let cancel = Cancel::new();
    let mut sink = destination.open(None, Control::new(&cancel, &())).unwrap();
    conversion.write(file, sink.as_mut()).unwrap();
    sink.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let written = MinidumpSnapshot::open(&bytes).unwrap();
    let (record, context) = written.exception().expect("an exception");
    Ok(Stored {
        exception: (
            record.thread_id.get(),
            record.exception_code.get(),
            record.exception_flags.get(),
            record.exception_address.get(),
            record.parameters().collect(),
        ),
        registers: written.bytes(context.expect("registers")).unwrap().into_owned(),
        ranges,
    })
}

fn of_process(process: &TestProcess, exception: ExceptionRequest) -> Result<Stored, ConvertError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.dmp");
    std::fs::write(&path, process.to_dump()).unwrap();
    let file = DumpFile::open(&path, false).unwrap();
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    stored(&snapshot, Some(&file), exception)
}

fn refusal(process: &TestProcess, exception: ExceptionRequest) -> String {
    of_process(process, exception).expect_err("a refusal").to_string()
}

fn word(context: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(context[at..at + 8].try_into().unwrap())
}

#[test]
fn records_and_registers_take_the_place_of_the_sources_exception() {
    let requests = [
        ExceptionRequest {
            jit_debug_info: at(JIT),
            ..ExceptionRequest::default()
        },
        ExceptionRequest {
            pointers: at(POINTERS),
            ..ExceptionRequest::default()
        },
        ExceptionRequest {
            record: at(RECORD),
            context: at(CONTEXT),
            thread: Some(2),
            ..ExceptionRequest::default()
        },
    ];
    for request in requests {
        let own = match request {
            ExceptionRequest { pointers: Some(_), .. } => Some((POINTERS, 16)),
            ExceptionRequest {
                jit_debug_info: Some(_),
                ..
            } => Some((JIT, 40)),
            _ => None,
        };
        let stored = of_process(&process(), request).expect("records");
        // The thread is the one on whose stack the registers' stack pointer is, where nothing names it.
        assert_eq!(stored.exception, (2, 0xC000_0005, 1, CODE + 0x2222, vec![1, 0xDEAD]));
        // RIP and RAX of winnt.h.
        assert_eq!(
            (word(&stored.registers, 0xF8), word(&stored.registers, 0x78)),
            (CODE + 0x2222, 0x7777)
        );
        // Code around the registers' instruction pointer, and the records themselves: 32 bytes and two parameters.
        for range in [(CODE + 0x2222 - 0x80, 0x100), (RECORD, 48), (CONTEXT, 1232)]
            .into_iter()
            .chain(own)
        {
            assert!(stored.ranges.contains(&range), "{range:x?} in {:x?}", stored.ranges);
        }
    }
}

#[test]
fn what_is_not_given_is_made_up_for() {
    let context = ExceptionRequest {
        context: at(CONTEXT),
        ..ExceptionRequest::default()
    };
    let stored = of_process(&process(), context).expect("registers");
    assert_eq!(stored.exception, (2, 0x8000_0003, 0, CODE + 0x2222, vec![]));
    // Of the record alone the thread is that of the source's exception, and the registers are the thread's own.
    let record = ExceptionRequest {
        record: at(RECORD),
        ..ExceptionRequest::default()
    };
    let stored = of_process(&process(), record).expect("a record");
    assert_eq!((stored.exception.0, stored.exception.1), (1, 0xC000_0005));
    assert_eq!(word(&stored.registers, 0xF8), CODE + 0x1000);
    let thread = ExceptionRequest {
        thread: Some(2),
        ..ExceptionRequest::default()
    };
    let stored = of_process(&process(), thread).expect("a thread");
    assert_eq!(stored.exception, (2, 0x8000_0003, 0, CODE + 0x1000, vec![]));
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let empty = ExceptionRequest::default;
    for (request, told) in [
        (
            ExceptionRequest {
                record: at(0x1234_5000),
                ..empty()
            },
            "-xr: the source lacks memory at 0x12345000",
        ),
        (
            ExceptionRequest {
                context: at(RECORDS + 0x1FF0),
                ..empty()
            },
            "-xc: the source lacks memory at 0x501ff0",
        ),
        (
            ExceptionRequest {
                context: at(RECORD),
                ..empty()
            },
            "-xc: there is no CONTEXT of",
        ),
        (
            ExceptionRequest {
                jit_debug_info: at(RECORDS + 0x1800),
                ..empty()
            },
            "-j: there is no JIT_DEBUG_INFO at 0x501800",
        ),
        (
            ExceptionRequest {
                pointers: at(RECORDS + 0x1800),
                ..empty()
            },
            "both are zero",
        ),
        (
            ExceptionRequest {
                thread: Some(7),
                ..empty()
            },
            "-xt: the source has no thread 7",
        ),
        (
            ExceptionRequest {
                signal_info: at(RECORD),
                ..empty()
            },
            "--signal-info is refused: a siginfo_t tells the signal of a Linux",
        ),
        (
            ExceptionRequest {
                record: at(RECORD),
                pointers: at(POINTERS),
                ..empty()
            },
            "-xp and -xr contradict each other",
        ),
    ] {
        let message = refusal(&process(), request);
        assert!(message.contains(told), "{message}");
    }
}

/// Dumps, and where in their memory record and registers of their exception are: found by looking for the bytes of the
/// exception stream and for its registers.
const WITH_RECORDS: [(&str, u64, u64); 3] = [
    (
        "mdmp-x64-win10-dbghelp-mwhax7-crash.dmp",
        0xE6_828F_DEB0,
        0xE6_828F_D9C0,
    ),
    (
        "mdmp-x64-win10-dbghelp-notdracon-crash.dmp",
        0xEA_204F_F1F0,
        0xEA_204F_ED00,
    ),
    ("mdmp-x64-win11-dbghelpbp-getsentry-minidump.dmp", 0x14_F8F0, 0x14_F400),
];

#[test]
fn records_on_the_stack_are_those_of_the_exception_stream() {
    let Some(corpus) = corpus() else {
        return;
    };
    for (name, record, context) in WITH_RECORDS {
        let file = DumpFile::open(&corpus.join(name), false).expect(name);
        let snapshot = MinidumpSnapshot::open(&file).expect(name);
        let own = stored(&snapshot, Some(&file), ExceptionRequest::default()).expect(name);
        let request = ExceptionRequest {
            record: at(record),
            context: at(context),
            ..ExceptionRequest::default()
        };
        let named = stored(&snapshot, Some(&file), request).expect(name);
        assert_eq!(named.exception, own.exception, "{name}");
        // From the segment registers to the vector registers; what Windows leaves undefined is around them.
        assert_eq!(named.registers[0x34..0x300], own.registers[0x34..0x300], "{name}");
    }
}
