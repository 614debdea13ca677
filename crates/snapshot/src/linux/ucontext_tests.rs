use dotdump_format::minidump::context::xstate::XState;
use dotdump_format::minidump::context::{Context, RegisterValue};
use proptest::prelude::*;

use super::*;
use crate::memory::Extent;

/// Within reach of 32-bit pointers.
const BASE: u64 = 0xF7FC_0000;

/// Bytes from [`BASE`] on.
struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let range = VirtRange::sized(VirtAddr(BASE), self.0.len() as u64).intersection(within);
        Box::new(range.into_iter().map(|range| Ok(Extent { range, offset: None })))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let start = address
            .0
            .checked_sub(BASE)
            .and_then(|start| usize::try_from(start).ok());
        let there = start.and_then(|start| self.0.get(start..)).unwrap_or_default();
        let size = there.len().min(buffer.len());
        buffer[..size].copy_from_slice(&there[..size]);
        Ok(size)
    }
}

impl Bytes {
    fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..][..bytes.len()].copy_from_slice(bytes);
    }

    fn put_32(&mut self, at: usize, values: &[u32]) {
        for (n, value) in values.iter().enumerate() {
            self.put(at + 4 * n, &value.to_le_bytes());
        }
    }

    fn put_64(&mut self, at: usize, values: &[u64]) {
        for (n, value) in values.iter().enumerate() {
            self.put(at + 8 * n, &value.to_le_bytes());
        }
    }

    /// What XSAVE stores with AVX, 832 bytes and the second magic number: MXCSR, XMM*n* and the halves of YMM*n* of bytes
    /// that are all `n` and `n | 0x80`.
    fn put_xsave(&mut self, at: usize) {
        self.put_32(at + 24, &[0x1F80]);
        for n in 0..16_u8 {
            self.put(at + 160 + usize::from(n) * 16, &[n; 16]);
            self.put(at + 576 + usize::from(n) * 16, &[n | 0x80; 16]);
        }
        self.put_32(at + 464, &[FP_XSTATE_MAGIC1, 836, 7, 0, 832]);
        self.put_64(at + 512, &[7]);
        self.put_32(at + 832, &[0x4650_5845]);
    }

    fn context(&self, architecture: LinuxArchitecture) -> Option<UserContext> {
        context_of_ucontext(architecture, self, VirtAddr(BASE)).expect("memory does not fail")
    }
}

fn registers(context: &[u8], architecture: LinuxArchitecture, names: &str) -> Vec<u64> {
    let context = Context::read(context, architecture.to_minidump(), Endian::Little).expect("a context");
    let low = |name| context.register(name).map(RegisterValue::low_u64);
    names.split(' ').map(|name| low(name).expect(name)).collect()
}

/// The numbers are offsets in glibc's `ucontext_t` for x86-64: `uc_mcontext.gregs` 40, `uc_mcontext.fpregs` 224; and the
/// order `REG_R8`, … of `sys/ucontext.h`.
fn amd64() -> Bytes {
    let mut bytes = Bytes::new(0x2000);
    let general: Vec<u64> = (0..18).map(|n| 0x100 + n).collect();
    bytes.put_64(40, &general);
    bytes.put_64(40 + 18 * 8, &[0x002B_0001_0002_0033]);
    bytes.put_64(224, &[BASE + 0x1000]);
    bytes.put_xsave(0x1000);
    bytes
}

#[test]
fn amd64_with_xsave_and_without() {
    let mut bytes = amd64();
    let found = bytes.context(LinuxArchitecture::Amd64).expect("general registers");
    let names = "r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags cs gs fs ss";
    let expected: Vec<u64> = (0x100..0x112).chain([0x33, 2, 1, 0x2B]).collect();
    assert_eq!(registers(&found.context, LinuxArchitecture::Amd64, names), expected);
    assert_eq!(found.context[0x30..0x34], 0x10_004B_u32.to_le_bytes());
    assert_eq!(found.context.len(), 1232 + 48 + 64 + 256);
    let state = XState::read(&found.context, 1232, Endian::Little).expect("extended state");
    assert_eq!(state.ymm(15).expect("AVX")[..], [[15; 16], [0x8F; 16]].concat());
    let range = |start: u64, size| VirtRange::sized(VirtAddr(BASE + start), size);
    assert_eq!(found.ranges, [range(0, 232), range(0x1000, 832)]);

    // What FXSAVE stored says nothing of a size.
    bytes.put_32(0x1000 + 464, &[0]);
    let found = bytes.context(LinuxArchitecture::Amd64).expect("general registers");
    assert_eq!((found.context.len(), found.ranges[1]), (1232, range(0x1000, 512)));
    assert_eq!(found.context[0x1A0 + 5 * 16..][..16], [5; 16]);

    // Without a floating-point part there are no such registers.
    for pointer in [0, 0x1234] {
        bytes.put_64(224, &[pointer]);
        let found = bytes.context(LinuxArchitecture::Amd64).expect("general registers");
        assert_eq!(found.context[0x30..0x34], 0x10_0003_u32.to_le_bytes());
    }
    bytes.0.truncate(231);
    assert_eq!(bytes.context(LinuxArchitecture::Amd64), None);
}

#[test]
fn x86_with_both_forms_of_floating_point_registers() {
    // The kernel's `struct sigcontext_32`: gs, fs, es, ds, edi, … from 20, the pointer at 96.
    let mut bytes = Bytes::new(0x2000);
    let general: Vec<u32> = (0x100..0x113).collect();
    bytes.put_32(20, &general);
    let found = bytes.context(LinuxArchitecture::X86).expect("general registers");
    let names = "gs fs es ds edi esi ebp esp ebx edx ecx eax eip cs eflags ss";
    let expected: Vec<u64> = (0..19)
        .filter(|n| ![12, 13, 17].contains(n))
        .map(|n| 0x100 + n)
        .collect();
    assert_eq!(registers(&found.context, LinuxArchitecture::X86, names), expected);
    assert_eq!(found.context[..4], 0x1_0007_u32.to_le_bytes());

    // `struct _fpstate_32`: what FNSAVE stores, status and magic, and at 112 what FXSAVE or XSAVE stores.
    bytes.put_32(96, &[u32::try_from(BASE).expect("32 bits") + 0x1000]);
    bytes.put_32(0x1000, &[0x37F]);
    bytes.put(0x1000 + 28, &[0x11; 10]);
    bytes.put_xsave(0x1000 + 112);
    let found = bytes.context(LinuxArchitecture::X86).expect("general registers");
    assert_eq!(found.context.len(), 716 + 52 + 64 + 256);
    assert_eq!(found.context[..4], 0x1_006F_u32.to_le_bytes());
    assert_eq!(
        (found.context[28], &found.context[56..66]),
        (0x7F, [0x11; 10].as_slice()),
        "ControlWord, ST0"
    );
    let state = XState::read(&found.context, 716, Endian::Little).expect("extended state");
    assert_eq!(state.ymm(7).expect("AVX")[..], [[7; 16], [0x87; 16]].concat());
    // The magic number that says that nothing follows.
    bytes.put(0x1000 + 110, &[0xFF, 0xFF]);
    let found = bytes.context(LinuxArchitecture::X86).expect("general registers");
    assert_eq!(
        (found.context.len(), &found.context[..4]),
        (716, 0x1_000F_u32.to_le_bytes().as_slice())
    );
}

#[test]
fn arm64_finds_the_record_with_the_vectors() {
    let mut bytes = Bytes::new(0x1400);
    // `uc_mcontext` is at 176 and begins with the fault's address; its records are at 464.
    let general: Vec<u64> = (0x100..0x122).collect();
    bytes.put_64(184, &general);
    bytes.put_32(464, &[0x4553_5201, 16]); // ESR_MAGIC
    bytes.put_32(480, &[FPSIMD_MAGIC, 528, 0x11, 0x22]);
    for n in 0..32_u8 {
        bytes.put(496 + usize::from(n) * 16, &[n; 16]);
    }
    let found = bytes.context(LinuxArchitecture::Arm64).expect("general registers");
    let names = "x0 x28 fp lr sp pc cpsr fpsr fpcr";
    let expected = [0x100, 0x11C, 0x11D, 0x11E, 0x11F, 0x120, 0x121, 0x11, 0x22];
    assert_eq!(registers(&found.context, LinuxArchitecture::Arm64, names), expected);
    assert_eq!(found.context[272 + 31 * 16..][..16], [31; 16]);

    // The same through a record that leads elsewhere, and no record at all.
    bytes.0.copy_within(480..1008, 0x1000);
    bytes.put_32(480, &[EXTRA_MAGIC, 32]);
    bytes.put_64(488, &[BASE + 0x1000]);
    let again = bytes.context(LinuxArchitecture::Arm64).expect("general registers");
    assert_eq!(again.context, found.context);
    bytes.put_32(480, &[0, 0]);
    let bare = bytes.context(LinuxArchitecture::Arm64).expect("general registers");
    assert_eq!(bare.context[..4], 0x40_0003_u32.to_le_bytes());
    // A record that leads to itself.
    bytes.put_32(464, &[EXTRA_MAGIC, 32]);
    bytes.put_64(472, &[BASE + 464]);
    assert!(bytes.context(LinuxArchitecture::Arm64).is_some());
}

proptest! {
    #[test]
    fn hostile_memory_does_not_panic(noise in prop::collection::vec(any::<u8>(), 0..1400), fpregs: u16, words in any::<[u32; 5]>()) {
        let mut bytes = Bytes(noise);
        let at = usize::from(fpregs);
        if bytes.0.len() >= 232 {
            bytes.put_64(224, &[BASE + u64::from(fpregs)]);
        }
        if bytes.0.len() >= at + 484 {
            bytes.put_32(at + 464, &words);
            bytes.put_32(at + 464, &[FP_XSTATE_MAGIC1]);
        }
        for (architecture, least) in
            [(LinuxArchitecture::Amd64, 232), (LinuxArchitecture::X86, 100), (LinuxArchitecture::Arm64, 464)]
        {
            prop_assert_eq!(bytes.context(architecture).is_some(), bytes.0.len() >= least);
        }
    }
}
