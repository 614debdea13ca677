use proptest::prelude::*;

use super::*;

/// Flags that a kind's own writer sets, in a context that is otherwise zero.
fn example(kind: ContextKind, flags: u32, endian: Endian) -> Vec<u8> {
    let mut context = alloc::vec![0; kind.base_size()];
    kind.set_flags_of(&mut context, endian, ContextFlags(flags));
    context
}

#[test]
fn sizes_by_architecture() {
    assert_eq!(base_size(ProcessorArchitecture::IA32_ON_WIN64), Some(716));
    assert_eq!(base_size(ProcessorArchitecture::AMD64), Some(1232));
    assert_eq!(base_size(ProcessorArchitecture::ARM), Some(416));
    assert_eq!(base_size(ProcessorArchitecture::ARM64), Some(912));
    assert_eq!(base_size(ProcessorArchitecture::ARM64_OLD), Some(796));
    assert_eq!(base_size(ProcessorArchitecture::IA64), None);
    assert_eq!(base_size(ProcessorArchitecture::UNKNOWN), None);
}

#[test]
fn architecture_size_and_flags_choose_the_kind() {
    use ProcessorArchitecture as Cpu;
    for (cpu, made_as, flags) in [
        (Cpu::X86, ContextKind::X86, 0x1_003F),
        (Cpu::IA32_ON_WIN64, ContextKind::X86, 0x1_003F),
        (Cpu::IA32_ON_ARM64, ContextKind::X86, 0x1_003F),
        // Without the CPU's bit.
        (Cpu::AMD64, ContextKind::Amd64, 0x47BC),
        (Cpu::ARM, ContextKind::Arm, 0x20_0007),
        (Cpu::ARM, ContextKind::Arm, 0x4020_0007),
        (Cpu::ARM, ContextKind::Arm, 0),
        (Cpu::ARM, ContextKind::ArmBreakpad, 0x4000_0006),
        (Cpu::ARM, ContextKind::ArmBreakpad, 0x46),
        (Cpu::ARM64, ContextKind::Arm64, 0x40_0007),
        (Cpu::ARM64, ContextKind::Arm64, 0x8040_0007),
        (Cpu::ARM64, ContextKind::Arm64, 0),
        (Cpu::ARM64, ContextKind::Arm64Old, 0x8000_0006),
        (Cpu::ARM64_OLD, ContextKind::Arm64Old, 0x8000_0006),
        (Cpu::ARM64_OLD, ContextKind::Arm64, 0x40_0007),
        (Cpu::MIPS64, ContextKind::Mips, 0x8_0006),
        (Cpu::UNKNOWN, ContextKind::Amd64, 0x10_001F),
        (Cpu::UNKNOWN, ContextKind::RiscV64, 0x800_0003),
    ] {
        for endian in [Endian::Little, Endian::Big] {
            let context = example(made_as, flags, endian);
            assert_eq!(
                ContextKind::of(&context, cpu, endian),
                Some(made_as),
                "{cpu} {flags:#x} {endian:?}"
            );
            assert_eq!(made_as.flags_of(&context, endian), Some(ContextFlags(flags)));
            let cut = &context[..context.len() - 1];
            assert_ne!(ContextKind::of(cut, cpu, endian), Some(made_as));
        }
    }
}

#[test]
fn breakpad_records_with_bytes_after_them() {
    for (cpu, kind, flags) in [
        (ProcessorArchitecture::ARM, ContextKind::ArmBreakpad, 0x4000_0006),
        (ProcessorArchitecture::ARM64, ContextKind::Arm64Old, 0x8000_0006),
        (ProcessorArchitecture::UNKNOWN, ContextKind::X86, 0x1_007F),
    ] {
        let mut context = example(kind, flags, Endian::Little);
        context.resize(kind.base_size() + 431, 0);
        assert_eq!(ContextKind::of(&context, cpu, Endian::Little), Some(kind));
    }
}

#[test]
fn a_cut_windows_context_is_not_breakpads() {
    for (cpu, kind, flags) in [
        (ProcessorArchitecture::ARM, ContextKind::Arm, 0x20_0007),
        (ProcessorArchitecture::ARM64, ContextKind::Arm64, 0x40_0007),
    ] {
        let context = example(kind, flags, Endian::Little);
        assert_eq!(
            ContextKind::of(&context[..context.len() - 1], cpu, Endian::Little),
            None
        );
    }
}

#[test]
fn errors_name_sizes() {
    let short = Context::read(&[0; 1231], ProcessorArchitecture::AMD64, Endian::Little).unwrap_err();
    assert_eq!(
        short,
        ContextError::TooShort {
            size: 1231,
            expected: 1232
        }
    );
    let error = Context::read(&[0; 2672], ProcessorArchitecture::IA64, Endian::Little).unwrap_err();
    let finding = error.into_finding(FileOffset(0x20), "ThreadList[0].ThreadContext");
    assert_eq!(
        finding.message,
        "2672 bytes of registers of a CPU that is not supported (ia64)"
    );
}

#[test]
fn common_registers() {
    for (kind, ip, sp, fp, lr) in [
        (ContextKind::X86, "eip", "esp", Some("ebp"), None),
        (ContextKind::Amd64, "rip", "rsp", Some("rbp"), None),
        (ContextKind::Arm, "pc", "sp", Some("r11"), Some("lr")),
        (ContextKind::ArmBreakpad, "pc", "sp", Some("r11"), Some("lr")),
        (ContextKind::Arm64, "pc", "sp", Some("fp"), Some("lr")),
        (ContextKind::Arm64Old, "pc", "sp", Some("fp"), Some("lr")),
        (ContextKind::Mips, "pc", "sp", Some("fp"), Some("ra")),
        (ContextKind::Ppc, "srr0", "r1", None, Some("lr")),
        (ContextKind::Ppc64, "srr0", "r1", None, Some("lr")),
        (ContextKind::Sparc, "pc", "sp", Some("fp"), Some("o7")),
        (ContextKind::RiscV, "pc", "sp", Some("s0"), Some("ra")),
        (ContextKind::RiscV64, "pc", "sp", Some("s0"), Some("ra")),
    ] {
        // Bytes that differ from register to register.
        let bytes: Vec<u8> = (0..kind.base_size())
            .map(|i| u8::try_from(i * 7 % 251).unwrap())
            .collect();
        let context = Context::read_as(&bytes, kind, Endian::Little).unwrap();
        let value = |name: &str| {
            context
                .general_registers()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.low_u64())
        };
        assert_eq!(Some(context.instruction_pointer()), value(ip), "{kind:?}");
        assert_eq!(Some(context.stack_pointer()), value(sp), "{kind:?}");
        assert_eq!(context.frame_pointer(), fp.and_then(value), "{kind:?}");
        assert_eq!(context.link_register(), lr.and_then(value), "{kind:?}");
    }
}

#[test]
fn every_name_once() {
    for kind in ContextKind::ALL {
        let context = Context::read_as(&alloc::vec![0; kind.base_size()], kind, Endian::Little).unwrap();
        let mut names: Vec<&str> = context.registers().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{kind:?}");
        assert!(all > 50, "{kind:?}");
    }
}

#[test]
fn named_registers() {
    let mut record = ContextAmd64::default();
    record.r8_15[7] = 15.into();
    record.seg_cs = 0x33.into();
    record.flt_save.xmm[15] = (15 << 120).into();
    record.flt_save.st[7].value.sign_exponent = 0x3FFF.into();
    let context = Context::from(record);
    assert_eq!(context.register("r15"), Some(RegisterValue::U64(15)));
    assert_eq!(context.register("cs"), Some(RegisterValue::U16(0x33)));
    assert_eq!(context.register("xmm15"), Some(RegisterValue::U128(15 << 120)));
    assert_eq!(context.register("st7"), Some(RegisterValue::U80(0x3FFF << 64)));
    assert_eq!(context.register("eax"), None);
}

#[test]
fn truncating_clears_the_flag() {
    for (cpu, kind, before, after) in [
        (ProcessorArchitecture::AMD64, ContextKind::Amd64, 0x10_005F, 0x10_001F),
        (ProcessorArchitecture::X86, ContextKind::X86, 0x1_007F, 0x1_003F),
        (ProcessorArchitecture::ARM, ContextKind::ArmBreakpad, 0x46, 0x46),
    ] {
        for extra in [0, 431] {
            let mut context = example(kind, before, Endian::Little);
            context.resize(kind.base_size() + extra, 0xCC);
            let base = truncate_to_base(&context, cpu, Endian::Little);
            assert_eq!(base, example(kind, after, Endian::Little));
            let context = Context::read(&context, cpu, Endian::Little).unwrap();
            assert_eq!(context.without_xstate_bit().flags(), ContextFlags(after));
        }
    }
    assert_eq!(
        truncate_to_base(&[1, 2], ProcessorArchitecture::AMD64, Endian::Little),
        [1, 2]
    );
}

proptest! {
    #[test]
    fn written_as_read(bytes in prop::collection::vec(any::<u8>(), 1232..1300)) {
        for kind in ContextKind::ALL {
            for endian in [Endian::Little, Endian::Big] {
                let context = Context::read_as(&bytes, kind, endian).unwrap();
                let written = context.write_to(endian);
                prop_assert_eq!(&written, &bytes[..kind.base_size()]);
                prop_assert_eq!(Context::read_as(&written, kind, endian), Some(context));
            }
        }
    }

    #[test]
    fn single_fields_are_those_of_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..1300), cpu in 0u16..16) {
        for cpu in [cpu, cpu | 0x8000, 0xFFFF].map(ProcessorArchitecture) {
            for endian in [Endian::Little, Endian::Big] {
                let whole = Context::read(&bytes, cpu, endian).ok();
                let ip = whole.as_ref().map(Context::instruction_pointer);
                let sp = whole.as_ref().map(Context::stack_pointer);
                prop_assert_eq!(instruction_pointer_of(&bytes, cpu, endian), ip);
                prop_assert_eq!(stack_pointer_of(&bytes, cpu, endian), sp);
                prop_assert!(truncate_to_base(&bytes, cpu, endian).len() <= bytes.len());
            }
        }
    }
}
