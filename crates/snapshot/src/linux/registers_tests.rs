use dotdump_format::minidump::context::RegisterValue;
use dotdump_format::minidump::context::xstate::XState;
use proptest::prelude::*;

use super::*;

/// A register set of words that are 0x100, 0x101, …
fn numbered(count: u64, size: usize) -> Vec<u8> {
    (0x100..0x100 + count)
        .flat_map(|word| word.to_le_bytes()[..size].to_vec())
        .collect()
}

/// An FXSAVE image: MXCSR, and XMM*n* of bytes that are all `n`.
fn image() -> Vec<u8> {
    let mut image = vec![0; 512];
    image[..2].copy_from_slice(&0x37F_u16.to_le_bytes());
    image[24..28].copy_from_slice(&0x1FA0_u32.to_le_bytes());
    for n in 0..16_u8 {
        image[160 + usize::from(n) * 16..][..16].fill(n);
    }
    image
}

/// `NT_X86_XSTATE` of this size: the same image, these XCR0 and XSTATE_BV, and a component's bytes all the number of their
/// 64-byte line.
fn xstate(size: usize, xcr0: u64, stored: u64) -> Vec<u8> {
    let mut state = image();
    state[464..472].copy_from_slice(&xcr0.to_le_bytes());
    state.extend(stored.to_le_bytes());
    state.resize(576, 0);
    state.extend((576..size).map(|at| u8::try_from(at / 64 % 256).expect("below 256")));
    state
}

/// The registers by name, where they fit 64 bits.
fn registers(context: &[u8], architecture: LinuxArchitecture, names: &str) -> Vec<u64> {
    let context = Context::read(context, architecture.to_minidump(), Endian::Little).expect("a context");
    let low = |name| context.register(name).map(RegisterValue::low_u64);
    names.split(' ').map(|name| low(name).expect(name)).collect()
}

#[test]
fn amd64_by_user_regs_struct() {
    let mut thread = LinuxThread {
        general: numbered(27, 8),
        floating_point: Some(image()),
        ..LinuxThread::default()
    };
    let context = context(LinuxArchitecture::Amd64, &thread).expect("general registers");
    assert_eq!(context.len(), 1232);
    // The order of `struct user_regs_struct` in <sys/user.h>, without orig_rax, fs_base and gs_base.
    let names = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi rip cs eflags rsp ss ds es fs gs";
    let expected: Vec<u64> = (0..27)
        .filter(|n| ![15, 21, 22].contains(n))
        .map(|n| 0x100 + n)
        .collect();
    assert_eq!(registers(&context, LinuxArchitecture::Amd64, names), expected);
    // Offsets of winnt.h: flags, MxCsr twice, XMM5.
    assert_eq!(context[0x30..0x34], 0x10_000F_u32.to_le_bytes());
    assert_eq!(context[0x34..0x38], 0x1FA0_u32.to_le_bytes());
    assert_eq!(context[0x118..0x11C], 0x1FA0_u32.to_le_bytes());
    assert_eq!(context[0x1F0..0x200], [5; 16]);
    assert_eq!(tls_base(LinuxArchitecture::Amd64, &thread), Some(0x115));

    thread.floating_point = None;
    let bare = super::context(LinuxArchitecture::Amd64, &thread).expect("general registers");
    assert_eq!(bare[0x30..0x34], 0x10_0007_u32.to_le_bytes());
    assert_eq!(bare[0x100..0x300], [0; 512]);
}

#[test]
fn x86_by_user_regs_struct() {
    let mut thread = LinuxThread {
        general: numbered(17, 4),
        fxsave: Some(image()),
        tls_base: Some(0xF7D0_0000),
        ..LinuxThread::default()
    };
    let mut floating = vec![0; 108];
    floating[0] = 0x7F;
    floating[28] = 0x11;
    thread.floating_point = Some(floating);
    let context = context(LinuxArchitecture::X86, &thread).expect("general registers");
    assert_eq!(context.len(), 716);
    let names = "ebx ecx edx esi edi ebp eax ds es fs gs eip cs eflags esp ss";
    let expected: Vec<u64> = (0..17).filter(|n| *n != 11).map(|n| 0x100 + n).collect();
    assert_eq!(registers(&context, LinuxArchitecture::X86, names), expected);
    assert_eq!(context[..4], 0x1_002F_u32.to_le_bytes(), "all but debug registers");
    assert_eq!((context[28], context[56]), (0x7F, 0x11), "ControlWord, ST0");
    assert_eq!(context[364 + 7 * 16..][..16], [7; 16], "XMM7");
    assert_eq!(tls_base(LinuxArchitecture::X86, &thread), Some(0xF7D0_0000));

    // FXSAVE alone gives the x87 registers as well.
    thread.floating_point = None;
    let context = super::context(LinuxArchitecture::X86, &thread).expect("general registers");
    assert_eq!(
        context[28..40],
        [0x7F, 3, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
    );
}

#[test]
fn arm64_by_user_pt_regs_and_user_fpsimd_state() {
    let mut floating: Vec<u8> = (0..32_u8).flat_map(|n| [n; 16]).collect();
    floating.extend(0x0800_0001_u32.to_le_bytes());
    floating.extend(0x0300_0000_u32.to_le_bytes());
    floating.extend([0; 8]);
    let thread = LinuxThread {
        general: numbered(34, 8),
        floating_point: Some(floating),
        tls_base: Some(0xFFFF_8000),
        ..LinuxThread::default()
    };
    let context = context(LinuxArchitecture::Arm64, &thread).expect("general registers");
    assert_eq!(context.len(), 912);
    assert_eq!(context[..4], 0x40_0007_u32.to_le_bytes());
    assert_eq!(
        registers(&context, LinuxArchitecture::Arm64, "x0 x28 fp lr sp pc cpsr"),
        [0x100, 0x11C, 0x11D, 0x11E, 0x11F, 0x120, 0x121]
    );
    assert_eq!(context[272 + 31 * 16..][..16], [31; 16]);
    assert_eq!(context[784..788], 0x0300_0000_u32.to_le_bytes(), "FPCR");
    assert_eq!(context[788..792], 0x0800_0001_u32.to_le_bytes(), "FPSR");
    assert_eq!(tls_base(LinuxArchitecture::Arm64, &thread), Some(0xFFFF_8000));
}

#[test]
fn extended_state_has_room_for_all_that_is_enabled() {
    let thread = |stored| LinuxThread {
        general: numbered(27, 8),
        xstate: Some(xstate(2696, 0x2E7, stored)),
        ..LinuxThread::default()
    };
    let threads = [thread(0x2E7), thread(3), LinuxThread::default()];
    let config = xstate_config(LinuxArchitecture::Amd64, &threads).expect("extended contexts");
    assert_eq!(config.enabled_features.get(), 0xE7, "no protection keys");
    assert_eq!(config.offset_of(7), Some(1664));
    let context = |thread| context(LinuxArchitecture::Amd64, thread).expect("general registers");
    let [full, initial] = [&threads[0], &threads[1]].map(context);
    assert_eq!([full.len(), initial.len()], [1232 + 48 + 64 + 256 + 64 + 512 + 1024; 2]);
    assert_eq!(full.len(), config.context_size.get() as usize);
    assert_eq!(full[0x30..0x34], 0x10_004F_u32.to_le_bytes());
    let state = XState::read(&full, 1232, Endian::Little)
        .expect("extended state")
        .with_config(&config);
    let ymm9 = [[9; 16], [11; 16]].concat();
    assert_eq!(
        state.ymm(9).expect("AVX")[..],
        ymm9,
        "line 11 of the area begins with the half of YMM8"
    );
    assert_eq!(state.zmm(9).expect("AVX-512"), *[&ymm9[..], &[22; 32]].concat());
    assert_eq!(state.zmm(31), Some([41; 64]));
    assert_eq!(state.opmask(7), Some(u64::from_le_bytes([17; 8])));
    let state = XState::read(&initial, 1232, Endian::Little)
        .expect("extended state")
        .with_config(&config);
    assert_eq!((state.features(), state.present()), (0, 0xE4));
    assert_eq!(state.ymm(9).expect("AVX")[..], [[9; 16], [0; 16]].concat());
    // What the system keeps behind the registers is not carried.
    assert_eq!(full[0x100 + 464..][..48], [0; 48]);
}

#[test]
fn tiles_are_stored_on_lines_of_their_own() {
    let thread = LinuxThread {
        general: numbered(27, 8),
        xstate: Some(xstate(11008, 0x6_02E7, 0x6_02E7)),
        ..LinuxThread::default()
    };
    let context = context(LinuxArchitecture::Amd64, &thread).expect("general registers");
    assert_eq!(context.len(), 1232 + 48 + 64 + 256 + 64 + 512 + 1024 + 64 + 8192);
    let state = XState::read(&context, 1232, Endian::Little).expect("extended state");
    // TILEDATA starts at 2816, line 44; tile 1 at line 60.
    assert_eq!(
        state.tile(1).expect("tiles")[..65],
        [[60; 64].as_slice(), &[61]].concat()
    );
}

#[test]
fn a_32_bit_program_has_half_of_it() {
    let thread = LinuxThread {
        general: numbered(17, 4),
        xstate: Some(xstate(2440, 0x2E7, 0x2E7)),
        ..LinuxThread::default()
    };
    let context = context(LinuxArchitecture::X86, &thread).expect("general registers");
    assert_eq!(context.len(), 716 + 52 + 64 + 256 + 64 + 512);
    assert_eq!(context[..4], 0x1_006F_u32.to_le_bytes());
    assert_eq!(context[364 + 16..][..16], [1; 16], "XMM1 out of the XSAVE state");
    let config = xstate_config(LinuxArchitecture::X86, &[thread]).expect("extended contexts");
    assert_eq!(config.context_size.get() as usize, context.len());
    assert_eq!(config.offset_of(6), Some(896), "the packed places of AMD");
    let state = XState::read(&context, 716, Endian::Little).expect("extended state");
    assert_eq!(
        state.zmm(7).expect("AVX-512")[..],
        [[7; 16].as_slice(), &[10; 16], &[17; 32]].concat()
    );
}

proptest! {
    #[test]
    fn sets_of_any_size_do_not_panic(
        general in prop::collection::vec(any::<u8>(), 0..300),
        floating in prop::option::of(prop::collection::vec(any::<u8>(), 0..600)),
        fxsave in prop::option::of(prop::collection::vec(any::<u8>(), 0..600)),
        xstate in prop::option::of(prop::collection::vec(any::<u8>(), 0..2700)),
    ) {
        let thread = LinuxThread { general, floating_point: floating, fxsave, xstate, ..LinuxThread::default() };
        for (architecture, least, base) in [
            (LinuxArchitecture::Amd64, 27 * 8, 1232),
            (LinuxArchitecture::X86, 17 * 4, 716),
            (LinuxArchitecture::Arm64, 34 * 8, 912),
        ] {
            let context = context(architecture, &thread);
            prop_assert_eq!(context.is_some(), thread.general.len() >= least);
            if let Some(context) = context {
                prop_assert!(context.len() >= base);
                let kind = ContextKind::of(&context, architecture.to_minidump(), Endian::Little);
                prop_assert_eq!(kind.map(ContextKind::base_size), Some(base));
                let config = xstate_config(architecture, std::slice::from_ref(&thread));
                let size = config.map_or(base, |config| config.context_size.get() as usize);
                prop_assert_eq!(context.len(), size);
            }
        }
    }
}
