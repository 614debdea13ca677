//! The registers of a processor, as the monitor that ran it saw them.

use dotdump_format::core_note::{PrStatusAmd64, PrStatusArm64, PrStatusX86, QemuCpuState, QemuSegment};
use dotdump_format::kernel::Machine;
use dotdump_format::minidump::context::{ContextAmd64, ContextArm64, ContextX86};
use zerocopy::IntoBytes;

use crate::machine::SpecialRegisters;

/// Control, integer, segment, floating-point and debug registers of a `CONTEXT` (`CONTEXT_ALL` without extended state).
const CONTEXT_FLAGS_AMD64: u32 = 0x10_001F;
const CONTEXT_FLAGS_X86: u32 = 0x1_001F;
/// Control, integer and floating-point registers.
const CONTEXT_FLAGS_ARM64: u32 = 0x40_0007;
/// The value of MXCSR after a reset, with which Windows runs.
const MX_CSR: u32 = 0x1F80;

/// A processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuState {
    /// Its number: its place among the notes.
    pub number: u32,
    /// Its registers.
    pub registers: CpuRegisters,
}

/// See [`CpuState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuRegisters {
    /// Of x86 of either width. What a note does not have is zero.
    X86(Box<QemuCpuState>),
    /// Of ARM64: nothing but general registers.
    Arm64(Box<PrStatusArm64>),
}

impl CpuState {
    pub(super) fn from_qemu(state: QemuCpuState) -> Self {
        Self::x86(state)
    }

    pub(super) fn from_amd64(status: &PrStatusAmd64) -> Self {
        let [
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            _,
            rip,
            cs,
            rflags,
            rsp,
            ss,
            fs_base,
            gs_base,
            ds,
            es,
            fs,
            gs,
        ] = status.registers;
        let segment = |selector: u64, base: u64| QemuSegment {
            // A selector has 16 bits; the rest of its register means nothing.
            selector: low_32(selector & 0xFFFF).into(),
            base: base.into(),
            ..QemuSegment::default()
        };
        Self::x86(QemuCpuState {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8_15: [r8, r9, r10, r11, r12, r13, r14, r15],
            rip,
            rflags,
            cs: segment(cs.get(), 0),
            ds: segment(ds.get(), 0),
            es: segment(es.get(), 0),
            fs: segment(fs.get(), fs_base.get()),
            gs: segment(gs.get(), gs_base.get()),
            ss: segment(ss.get(), 0),
            ..QemuCpuState::default()
        })
    }

    pub(super) fn from_x86(status: &PrStatusX86) -> Self {
        let [
            ebx,
            ecx,
            edx,
            esi,
            edi,
            ebp,
            eax,
            ds,
            es,
            fs,
            gs,
            _,
            eip,
            cs,
            eflags,
            esp,
            ss,
        ] = status.registers.map(|register| u64::from(register.get()));
        let segment = |selector: u64| QemuSegment {
            selector: low_32(selector & 0xFFFF).into(),
            ..QemuSegment::default()
        };
        Self::x86(QemuCpuState {
            rax: eax.into(),
            rbx: ebx.into(),
            rcx: ecx.into(),
            rdx: edx.into(),
            rsi: esi.into(),
            rdi: edi.into(),
            rsp: esp.into(),
            rbp: ebp.into(),
            rip: eip.into(),
            rflags: eflags.into(),
            cs: segment(cs),
            ds: segment(ds),
            es: segment(es),
            fs: segment(fs),
            gs: segment(gs),
            ss: segment(ss),
            ..QemuCpuState::default()
        })
    }

    pub(super) fn from_arm64(status: PrStatusArm64) -> Self {
        Self {
            number: 0,
            registers: CpuRegisters::Arm64(Box::new(status)),
        }
    }

    fn x86(state: QemuCpuState) -> Self {
        Self {
            number: 0,
            registers: CpuRegisters::X86(Box::new(state)),
        }
    }

    /// The instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self) -> u64 {
        match &self.registers {
            CpuRegisters::X86(state) => state.rip.get(),
            CpuRegisters::Arm64(status) => status.pc.get(),
        }
    }

    /// Whether it runs the kernel of a system that keeps to the upper half: by the privilege level of its code on x86
    /// (which the selector of the code segment holds), by the exception level on ARM64.
    #[must_use]
    pub fn in_kernel(&self) -> bool {
        match &self.registers {
            CpuRegisters::X86(state) => state.cs.selector.get() & 3 == 0,
            CpuRegisters::Arm64(status) => status.pstate.get() & 0xC != 0,
        }
    }

    /// Its control registers; `None` where the note has none of them.
    #[must_use]
    pub fn special_registers(&self) -> Option<SpecialRegisters> {
        let CpuRegisters::X86(state) = &self.registers else {
            return None;
        };
        let [cr0, _, cr2, cr3, cr4] = state.cr.map(|register| register.get());
        // A processor with paging and without CR0 does not exist.
        if cr0 == 0 {
            return None;
        }
        // `swapgs` at each entry of the kernel exchanges both; kernel addresses are negative.
        let gs_base = state.gs.base.get();
        let kernel_gs_base = if gs_base >> 63 == 1 {
            gs_base
        } else {
            state.kernel_gs_base.get()
        };
        Some(SpecialRegisters {
            cr0,
            cr2,
            cr3,
            cr4,
            ttbr1: 0,
            idt_base: state.idt.base.get(),
            gdt_base: state.gdt.base.get(),
            kernel_gs_base,
        })
    }

    /// The `CONTEXT` that Windows would have stored, for a machine of that kind; `None` where the registers are those of
    /// another kind.
    ///
    /// Selectors are those of Windows' kernel whatever the processor has, because debuggers refuse others, and MXCSR is
    /// its usual value, in both of its places: monitors do not tell it. Floating-point and debug registers are zero for
    /// the same reason.
    #[must_use]
    pub fn to_context(&self, machine: Machine) -> Option<Vec<u8>> {
        match (&self.registers, machine) {
            (CpuRegisters::X86(state), Machine::Amd64) => Some(context_amd64(state).as_bytes().to_vec()),
            (CpuRegisters::X86(state), Machine::X86) => Some(context_x86(state).as_bytes().to_vec()),
            (CpuRegisters::Arm64(status), Machine::Arm64) => Some(context_arm64(status).as_bytes().to_vec()),
            _ => None,
        }
    }
}

fn context_amd64(state: &QemuCpuState) -> ContextAmd64 {
    let mut context = ContextAmd64 {
        context_flags: CONTEXT_FLAGS_AMD64.into(),
        mx_csr: MX_CSR.into(),
        seg_cs: 0x10.into(),
        seg_ds: 0x2B.into(),
        seg_es: 0x2B.into(),
        seg_fs: 0x53.into(),
        seg_gs: 0x2B.into(),
        seg_ss: 0x18.into(),
        eflags: low_32(state.rflags.get()).into(),
        rax: state.rax,
        rcx: state.rcx,
        rdx: state.rdx,
        rbx: state.rbx,
        rsp: state.rsp,
        rbp: state.rbp,
        rsi: state.rsi,
        rdi: state.rdi,
        r8_15: state.r8_15,
        rip: state.rip,
        ..ContextAmd64::default()
    };
    context.flt_save.mx_csr = MX_CSR.into();
    context
}

fn context_x86(state: &QemuCpuState) -> ContextX86 {
    ContextX86 {
        context_flags: CONTEXT_FLAGS_X86.into(),
        seg_gs: 0.into(),
        seg_fs: 0x30.into(),
        seg_es: 0x23.into(),
        seg_ds: 0x23.into(),
        edi: low_32(state.rdi.get()).into(),
        esi: low_32(state.rsi.get()).into(),
        ebx: low_32(state.rbx.get()).into(),
        edx: low_32(state.rdx.get()).into(),
        ecx: low_32(state.rcx.get()).into(),
        eax: low_32(state.rax.get()).into(),
        ebp: low_32(state.rbp.get()).into(),
        eip: low_32(state.rip.get()).into(),
        seg_cs: 0x8.into(),
        eflags: low_32(state.rflags.get()).into(),
        esp: low_32(state.rsp.get()).into(),
        seg_ss: 0x10.into(),
        ..ContextX86::default()
    }
}

fn context_arm64(status: &PrStatusArm64) -> ContextArm64 {
    let mut context = ContextArm64 {
        context_flags: CONTEXT_FLAGS_ARM64.into(),
        cpsr: low_32(status.pstate.get()).into(),
        fp: status.x[29],
        lr: status.x[30],
        sp: status.sp,
        pc: status.pc,
        ..ContextArm64::default()
    };
    context.x.copy_from_slice(&status.x[..29]);
    context
}

/// The low half of a register.
fn low_32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use dotdump_format::minidump::context::Context;
    use dotdump_format::minidump::system_info::ProcessorArchitecture;
    use dotdump_format::{Endian, Record};

    use super::*;

    fn registers<const N: usize>() -> [u8; N] {
        std::array::from_fn(|at| u8::try_from((at % 8 + at / 8 * 3) % 256).unwrap())
    }

    /// Each value of a status, by its index, against the names that `sys/user.h` has for these indexes.
    #[test]
    fn a_status_of_x64() {
        let mut status = PrStatusAmd64::default();
        for (index, register) in (1..).zip(&mut status.registers) {
            *register = (index * 0x1_0000_0001_u64).into();
        }
        let bytes = CpuState::from_amd64(&status).to_context(Machine::Amd64).unwrap();
        let context = Context::read(&bytes, ProcessorArchitecture::AMD64, Endian::Little).unwrap();
        let names = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi - rip - - rsp";
        for (index, name) in (1..).zip(names.split(' ')).filter(|(_, name)| *name != "-") {
            let value = context.register(name).unwrap().to_string();
            assert_eq!(value, format!("{:#018x}", index * 0x1_0000_0001_u64), "{name}");
        }
        // Offsets of `CONTEXT` in `winnt.h`.
        assert_eq!(bytes.len(), 0x4D0);
        assert_eq!(bytes[0x30..0x38], [0x1F, 0, 0x10, 0, 0x80, 0x1F, 0, 0]);
        assert_eq!(
            bytes[0x38..0x44],
            [0x10, 0, 0x2B, 0, 0x2B, 0, 0x53, 0, 0x2B, 0, 0x18, 0]
        );
        assert_eq!(bytes[0x118..0x11C], [0x80, 0x1F, 0, 0]);
    }

    #[test]
    fn a_status_of_x86() {
        let mut status = PrStatusX86::default();
        for (index, register) in (1..).zip(&mut status.registers) {
            *register = (index * 0x0101_0000_u32).into();
        }
        let cpu = CpuState::from_x86(&status);
        assert_eq!(cpu.special_registers(), None);
        let bytes = cpu.to_context(Machine::X86).unwrap();
        assert_eq!(bytes.len(), 0x2CC);
        let context = Context::read(&bytes, ProcessorArchitecture::X86, Endian::Little).unwrap();
        let names = "ebx ecx edx esi edi ebp eax - - - - - eip - - esp";
        for (index, name) in (1..).zip(names.split(' ')).filter(|(_, name)| *name != "-") {
            let value = context.register(name).unwrap().to_string();
            assert_eq!(value, format!("{:#010x}", index * 0x0101_0000_u32), "{name}");
        }
        assert!(cpu.to_context(Machine::Arm64).is_none());
    }

    #[test]
    fn a_status_of_arm64() {
        let status = PrStatusArm64::read(&registers::<392>(), Endian::Little).unwrap();
        let bytes = CpuState::from_arm64(status).to_context(Machine::Arm64).unwrap();
        assert_eq!(bytes.len(), 0x390);
        // X0 to X30, SP and PC follow one another in both, the flags do not.
        assert_eq!(bytes[8..0x110], registers::<392>()[112..376]);
        assert_eq!(bytes[4..8], registers::<392>()[376..380]);
    }
}
