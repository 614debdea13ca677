//! Contexts of real dumps, compared with what other tools read in them. Needs the collection of dumps, see `corpus`.

mod corpus;

use dotdump_format::minidump::context::xstate::{ContextChunk, XState, XStateConfig, feature};
use dotdump_format::minidump::context::{
    Context, ContextFlags, ContextKind, base_size, instruction_pointer_of, stack_pointer_of, truncate_to_base,
};
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::system_info::{ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::thread_list::ThreadList;
use dotdump_format::minidump::{LocationDescriptor, Minidump, StreamType};
use dotdump_format::{Endian, Findings, ReadAt, Record};

/// The bytes of the contexts of one dump.
struct Contexts {
    architecture: ProcessorArchitecture,
    threads: Vec<(u32, Vec<u8>)>,
    exception: Option<Vec<u8>>,
}

fn contexts(file: &[u8]) -> Option<Contexts> {
    let source = file.to_vec();
    let source: &dyn ReadAt = &source;
    let dump = Minidump::open(source).ok()?;
    let mut findings = Findings::default();
    let bytes = |location: LocationDescriptor| -> Option<Vec<u8>> {
        let (offset, size) = location.place()?;
        let size = usize::try_from(size.min(source.size())).ok()?;
        Some(source.bytes(offset, size).ok()?.into_owned())
    };
    let info: SystemInfo = dump.get(&mut findings).ok()??;
    let list: Option<ThreadList> = dump.get(&mut findings).ok()?;
    let exception: Option<ExceptionStream> = dump.get(&mut findings).ok()?;
    let mut threads = Vec::new();
    for thread in list.iter().flat_map(|list| list.threads.iter()) {
        let thread = thread.ok()?;
        threads.extend(bytes(thread.thread_context).map(|context| (thread.thread_id.get(), context)));
    }
    Some(Contexts {
        architecture: info.architecture(),
        threads,
        exception: exception.and_then(|stream| bytes(stream.thread_context)),
    })
}

/// The configuration of extended state in `MINIDUMP_MISC_INFO_5`.
fn config(file: &[u8]) -> Option<XStateConfig> {
    let source = file.to_vec();
    let source: &dyn ReadAt = &source;
    let dump = Minidump::open(source).ok()?;
    let stream = dump.stream(StreamType::MISC_INFO)?;
    XStateConfig::read(&stream.bytes_at(832, 528).ok()?, Endian::Little)
}

fn check(context: &[u8], architecture: ProcessorArchitecture, expected: &[(&str, u64)]) {
    let context = Context::read(context, architecture, Endian::Little).unwrap();
    for (name, value) in expected {
        assert_eq!(
            context.register(name).map(|value| value.low_u64()),
            Some(*value),
            "{name}"
        );
    }
}

#[test]
fn amd64_registers() {
    let Some(file) = corpus::file("mdmp-x64-win10-dbghelp-google-tiny-exe-fastfail.dmp") else {
        return;
    };
    let dump = contexts(&file).unwrap();
    // As lldb 22.1.8 `register read` and minidump-stackwalk 0.27.0 have them.
    check(
        dump.exception.as_ref().unwrap(),
        dump.architecture,
        &[
            ("rax", 0),
            ("rbx", 0x0000_7FF7_5360_AA9C),
            ("rcx", 7),
            ("rdx", 0x13),
            ("rdi", 0x0000_033A_0026_81E0),
            ("rsi", 0x0000_00D2_DE4F_F740),
            ("rbp", 1),
            ("rsp", 0x0000_00D2_DE4F_F720),
            ("r8", 0x7EFE_FEFE_FEFE_FEFF),
            ("r9", 0xCD47_FF6B_6475_646B),
            ("r10", 0x8000),
            ("r11", 0x8101_0101_0101_0100),
            ("r12", 0),
            ("r13", 0),
            ("r14", 0xAAAA_AAAA_AAAA_AAAA),
            ("r15", 0),
            ("rip", 0x0000_7FF7_5355_AF42),
            ("eflags", 0x246),
            ("cs", 0x33),
            ("fs", 0x53),
            ("gs", 0x2B),
            ("ss", 0x2B),
        ],
    );
    let (id, second) = &dump.threads[1];
    assert_eq!(*id, 0x8D08);
    check(
        second,
        dump.architecture,
        &[("rip", 0x0000_7FFB_0B1D_0994), ("rsp", 0x0000_00D2_DE5F_F958)],
    );
}

#[test]
fn x86_registers() {
    let Some(file) = corpus::file("mdmp-x86-linux-breakpad-mozilla-services-linux-x86.dmp") else {
        return;
    };
    let dump = contexts(&file).unwrap();
    // As lldb 22.1.8 `register read` has them.
    check(
        dump.exception.as_ref().unwrap(),
        dump.architecture,
        &[
            ("eax", 0xEE95_BC98),
            ("ebx", 0xF0D1_1000),
            ("ecx", 0x5669_3244),
            ("edx", 0xEE95_BC86),
            ("edi", 0xDB22_0400),
            ("esi", 0xFFDD_10C8),
            ("ebp", 0xFFDD_1128),
            ("esp", 0xFFDD_10C0),
            ("eip", 0xEB06_9FA7),
            ("eflags", 0x1_0246),
            ("cs", 0x23),
            ("ds", 0x2B),
            ("es", 0x2B),
            ("fs", 0),
            ("gs", 0x63),
            ("ss", 0x2B),
        ],
    );
}

#[test]
fn arm_registers() {
    let Some(file) = corpus::file("mdmp-arm-android-breakpad-mozilla-services-android-arm.dmp") else {
        return;
    };
    let dump = contexts(&file).unwrap();
    let exception = dump.exception.as_ref().unwrap();
    let kind = ContextKind::of(exception, dump.architecture, Endian::Little);
    assert_eq!(kind, Some(ContextKind::ArmBreakpad));
    // As lldb 22.1.8 `register read` and minidump-stackwalk 0.27.0 have them; both call r11 fp.
    check(
        exception,
        dump.architecture,
        &[
            ("r1", 0x24),
            ("r4", 0x7049_49C8),
            ("r5", 0x4260_1008),
            ("r6", 0x8721_E684),
            ("r7", 0x5061_64B8),
            ("r8", 0x8721_E660),
            ("r9", 0x8721_E640),
            ("r10", 0x4260_1008),
            ("r11", 0x8000_4001),
            ("r12", 0),
            ("sp", 0x5061_6458),
            ("lr", 0x6D15_D287),
            ("pc", 0x6D15_D2D0),
            ("cpsr", 0x000F_0030),
        ],
    );
}

#[test]
fn arm64_registers() {
    let Some(file) = corpus::file("mdmp-arm64-win10-dbghelpbp-mozilla-services-windows-aarch64.dmp") else {
        return;
    };
    let dump = contexts(&file).unwrap();
    let exception = dump.exception.as_ref().unwrap();
    assert_eq!(
        ContextKind::of(exception, dump.architecture, Endian::Little),
        Some(ContextKind::Arm64)
    );
    // As minidump-stackwalk 0.27.0 has them.
    check(
        exception,
        dump.architecture,
        &[
            ("x0", 0x24),
            ("x1", 0x0000_7FFE_D68A_A140),
            ("x8", 0x0000_7FFE_F481_B828),
            ("x16", 0x0000_0AEE_9161_6BA0),
            ("x20", 0x0000_015D_A637_A820),
            ("x28", 0x0000_0051_C21F_B93C),
            ("fp", 0x0000_0051_C21F_B590),
            ("lr", 0x0000_7FFE_D464_4670),
            ("sp", 0x0000_0051_C21F_B530),
            ("pc", 0x0000_7FFE_D464_46F8),
        ],
    );
}

#[test]
fn crashpads_extended_state_holds_only_the_shadow_stack() {
    let Some(file) = corpus::file("mdmp-x64-win11-crashpad-google-tiny-exe-with-cet-xsave.dmp") else {
        return;
    };
    let config = config(&file).unwrap();
    assert_eq!(config.context_size.get(), 1407);
    assert_eq!(config.enabled_features.get(), 0x8000_0000_0000_0803);
    assert_eq!((config.offset_of(11), config.size_of(11)), (Some(576), Some(16)));

    let dump = contexts(&file).unwrap();
    let (_, context) = &dump.threads[0];
    assert_eq!(context.len(), 1407);
    let state = XState::read(context, 1232, Endian::Little)
        .unwrap()
        .with_config(&config);
    let pair = |chunk: ContextChunk| (chunk.offset.get(), chunk.length.get());
    let chunks = state.chunks();
    assert_eq!(pair(chunks.all), (-1232, 1392));
    assert_eq!(pair(chunks.legacy), (-1232, 1232));
    assert_eq!(pair(chunks.xstate), (80, 80));
    assert_eq!(pair(chunks.kernel_cet), (0, 0));
    assert_eq!(state.header().mask.get(), 0x800);
    assert_eq!(state.header().compaction_mask.get(), 0x8000_0000_0000_0800);
    assert!(state.is_compacted());

    let shadow_stack = state.cet_u().unwrap();
    assert_eq!(state.component(feature::CET_U).map(<[u8]>::len), Some(16));
    assert_eq!(shadow_stack.ia32_cet_u_msr.get() & 1, 1);
    // A shadow stack lies somewhere in user space, and its entries are 8 bytes each.
    let pointer = shadow_stack.ia32_pl3_ssp_msr.get();
    assert!(
        pointer > 0x1_0000 && pointer < 1 << 47 && pointer.is_multiple_of(8),
        "{pointer:#x}"
    );
    assert_eq!(state.ymm(0), None);
    check(
        context,
        dump.architecture,
        &[("rip", 0x0000_7FF9_111E_39E4), ("rsp", 0x0000_00CB_C82F_F448)],
    );
}

#[test]
fn extended_state_of_dbgcore() {
    for (name, base, size) in [
        ("mdmp-x64-win11-dbghelpbp-getsentry-minidump.dmp", 1232, 1663),
        (
            "mdmp-x86-win11-dbghelp-google-tiny-exe-with-cet-xsave-x86.dmp",
            716,
            1147,
        ),
    ] {
        let Some(file) = corpus::file(name) else { continue };
        let config = config(&file).unwrap();
        assert_eq!(config.context_size.get(), size);
        // The shadow stack is in every context all the same.
        assert_eq!(config.enabled_features.get(), 7);
        let dump = contexts(&file).unwrap();
        assert_eq!(base_size(dump.architecture), Some(base));
        for (_, context) in &dump.threads {
            assert_eq!(context.len(), size as usize);
            let state = XState::read(context, base, Endian::Little)
                .unwrap()
                .with_config(&config);
            assert_eq!(state.present(), 1 << feature::AVX | 1 << feature::CET_U);
            assert_eq!(state.component(feature::CET_U).is_some(), base == 1232);
            let xmm = state.xmm(0).unwrap();
            assert_eq!(state.ymm(0).unwrap(), *[xmm, [0; 16]].as_flattened());
            assert_eq!(state.ymm(8).is_some(), base == 1232);

            let cut = truncate_to_base(context, dump.architecture, Endian::Little);
            assert_eq!(cut.len(), base);
            let flags = Context::read(&cut, dump.architecture, Endian::Little).unwrap().flags();
            assert!([ContextFlags::AMD64_ALL, ContextFlags::X86_ALL].contains(&flags));
        }
    }
}

#[test]
fn an_exception_context_whose_end_is_missing() {
    let Some(file) = corpus::file("mdmp-x64-win11-dbghelpbp-getsentry-minidump.dmp") else {
        return;
    };
    let context = contexts(&file).unwrap().exception.unwrap();
    let state = XState::read(&context, 1232, Endian::Little).unwrap();
    assert_eq!(state.chunks().all.length.get(), 1800);
    assert_eq!(state.features(), 1 << feature::AVX);
    // 127 bytes are there: seven upper halves and a part of the eighth.
    assert_eq!(state.component(feature::AVX), None);
    assert!(state.ymm(6).is_some());
    assert_eq!(state.ymm(7), None);
}

#[test]
fn a_flag_that_announces_nothing() {
    let Some(file) = corpus::file("mdmp-x64-win10-debugdiag-greemate-firstchance-av-myapp.dmp") else {
        return;
    };
    let dump = contexts(&file).unwrap();
    let context = dump.exception.unwrap();
    assert_eq!(context.len(), 1232);
    let flags = Context::read(&context, dump.architecture, Endian::Little)
        .unwrap()
        .flags();
    assert!(flags.contains(ContextFlags::AMD64_XSTATE));
    assert!(XState::read(&context, 1232, Endian::Little).is_none());
}

#[test]
fn text_in_the_place_of_extended_state() {
    // The size is that of an extended context and the flag is set, but what follows the registers is a message.
    let Some(file) = corpus::file("mdmp-x64-win10-dbghelp-notdracon-crash.dmp") else {
        return;
    };
    let dump = contexts(&file).unwrap();
    assert!(XState::read(dump.exception.as_ref().unwrap(), 1232, Endian::Little).is_none());
    assert!(
        dump.threads
            .iter()
            .all(|(_, context)| XState::read(context, 1232, Endian::Little).is_some())
    );
}

#[test]
fn every_context_survives_being_written() {
    let mut seen = 0;
    for (name, file) in corpus::files() {
        let Some(dump) = contexts(&file) else { continue };
        let all = dump.threads.iter().map(|(_, context)| context).chain(&dump.exception);
        for bytes in all {
            let Ok(context) = Context::read(bytes, dump.architecture, Endian::Little) else {
                continue;
            };
            assert_eq!(context.write_to(Endian::Little), bytes[..context.base_size()], "{name}");
            let ip = instruction_pointer_of(bytes, dump.architecture, Endian::Little);
            assert_eq!(ip, Some(context.instruction_pointer()), "{name}");
            let sp = stack_pointer_of(bytes, dump.architecture, Endian::Little);
            assert_eq!(sp, Some(context.stack_pointer()), "{name}");
            seen += 1;
        }
    }
    eprintln!("{seen} contexts");
}
