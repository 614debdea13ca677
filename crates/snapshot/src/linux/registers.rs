//! The kernel's register sets as CONTEXT records.

use dotdump_format::minidump::context::xstate::{XSaveArea, XStateConfig, feature, write_extended};
use dotdump_format::minidump::context::{
    Context, ContextAmd64, ContextArm64, ContextFlags, ContextKind, ContextX86, FloatingSaveArea, FxSave,
};
use dotdump_format::{Endian, Record};

use super::facts::{LinuxArchitecture, LinuxThread};
use super::x87::fnsave;

/// Where XCR0 is in `NT_X86_XSTATE`: in bytes that FXSAVE leaves to the system.
const XCR0: usize = 464;

/// The components that contexts of 64-bit programs have behind them. Protection keys are not among them: Windows does
/// not store them, and what they protect is not in the context.
const COMPONENTS_AMD64: u64 = COMPONENTS_X86
    | feature::mask(feature::AVX512_HI16_ZMM)
    | feature::mask(feature::AMX_TILECFG)
    | feature::mask(feature::AMX_TILEDATA);

/// Those of 32-bit programs: only the first eight vector registers can be used there, and no tiles.
const COMPONENTS_X86: u64 = feature::mask(feature::AVX)
    | feature::mask(feature::MPX_BNDREGS)
    | feature::mask(feature::MPX_BNDCSR)
    | feature::mask(feature::AVX512_KMASK)
    | feature::mask(feature::AVX512_ZMM_HI256);

/// The CONTEXT of a thread: extended by what its XSAVE state holds beyond the CONTEXT where `thread.xstate` is there.
/// `None` where its general registers are not.
///
/// How large it is depends on the components that the system has enabled, not on those that the thread uses, so that
/// all threads of a process have contexts of one size, that of [`xstate_config`]. Floating-point registers that are in no
/// register set of their own are taken from the XSAVE state.
#[must_use]
pub fn context(architecture: LinuxArchitecture, thread: &LinuxThread) -> Option<Vec<u8>> {
    let area = thread.xstate.as_deref().and_then(xsave_area);
    let legacy = area.map(|area| area.legacy());
    let context = match architecture {
        LinuxArchitecture::Amd64 => {
            let mut context = amd64(words(&thread.general)?);
            let image = thread.floating_point.as_deref().and_then(fxsave);
            if let Some(image) = image.or_else(|| legacy.and_then(fxsave)) {
                set_floating_amd64(&mut context, image);
            }
            Context::from(context)
        }
        LinuxArchitecture::X86 => {
            let mut context = x86(words_32(&thread.general)?);
            let image = thread.fxsave.as_deref().and_then(fxsave);
            let floating = thread.floating_point.as_deref().and_then(float_save);
            set_floating_x86(&mut context, floating, image.or_else(|| legacy.and_then(fxsave)));
            Context::from(context)
        }
        LinuxArchitecture::Arm64 => {
            let mut context = arm64(words(&thread.general)?);
            if let Some((vectors, rest)) = thread
                .floating_point
                .as_deref()
                .and_then(<[u8]>::split_first_chunk::<512>)
                && let Some(status) = rest.first_chunk::<8>()
            {
                set_floating_arm64(&mut context, vectors, *status);
            }
            Context::from(context)
        }
    };
    let context = context.write_to(Endian::Little);
    Some(match area {
        Some(area) => extended(architecture, &context, &area).unwrap_or(context),
        None => context,
    })
}

/// Where the thread-local data of a thread is: `fs_base` on x86-64.
#[must_use]
pub fn tls_base(architecture: LinuxArchitecture, thread: &LinuxThread) -> Option<u64> {
    const FS_BASE: usize = 21;
    match architecture {
        LinuxArchitecture::Amd64 => words::<27>(&thread.general)
            .map(|general| general[FS_BASE])
            .or(thread.tls_base),
        LinuxArchitecture::X86 | LinuxArchitecture::Arm64 => thread.tls_base,
    }
}

/// What `MiscInfo` has to say of the extended state of the contexts that [`context`] makes of these threads: the
/// components behind them, their sizes, and where the CPU has them. `None` where no context is extended.
#[must_use]
pub fn xstate_config(architecture: LinuxArchitecture, threads: &[LinuxThread]) -> Option<XStateConfig> {
    let mut areas = threads
        .iter()
        .filter_map(|thread| xsave_area(thread.xstate.as_deref()?));
    areas.find_map(|area| config(architecture, &area))
}

/// The area of `NT_X86_XSTATE`.
fn xsave_area(xstate: &[u8]) -> Option<XSaveArea<'_>> {
    let xcr0 = xstate.get(XCR0..)?.first_chunk()?;
    XSaveArea::read(xstate, u64::from_le_bytes(*xcr0))
}

fn config(architecture: LinuxArchitecture, area: &XSaveArea<'_>) -> Option<XStateConfig> {
    let (kind, components) = match architecture {
        LinuxArchitecture::Amd64 => (ContextKind::Amd64, COMPONENTS_AMD64),
        LinuxArchitecture::X86 => (ContextKind::X86, COMPONENTS_X86),
        LinuxArchitecture::Arm64 => return None,
    };
    let config = area.config(kind.base_size(), components);
    (config.components() != 0).then_some(config)
}

/// `context` with the components of `area` behind it; `None` where it has no room for any.
pub(super) fn extended(architecture: LinuxArchitecture, context: &[u8], area: &XSaveArea<'_>) -> Option<Vec<u8>> {
    let config = config(architecture, area)?;
    let stored: Vec<(u32, &[u8])> = (0..u64::BITS)
        .filter(|bit| config.components() & feature::mask(*bit) != 0)
        .filter_map(|bit| Some((bit, area.component(bit)?)))
        .collect();
    write_extended(context, &config, &stored, Endian::Little).ok()
}

/// The first 64-bit words of a register set.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (words, _) = bytes.as_chunks::<8>();
    Some(words.first_chunk::<N>()?.map(u64::from_le_bytes))
}

/// The first 32-bit words of a register set.
pub(super) fn words_32<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let (words, _) = bytes.as_chunks::<4>();
    Some(words.first_chunk::<N>()?.map(u32::from_le_bytes))
}

/// What FXSAVE stored.
pub(super) fn fxsave(bytes: &[u8]) -> Option<FxSave> {
    let mut image = FxSave::read(bytes, Endian::Little)?;
    // The last bytes are the system's, not the CPU's: XCR0 and the like.
    image.reserved4[48..].fill(0);
    Some(image)
}

/// What FNSAVE stored: `user_i387_struct`, or the start of a signal frame's `_fpstate`. The last word of Windows' record
/// is not stored by the CPU.
pub(super) fn float_save(bytes: &[u8]) -> Option<FloatingSaveArea> {
    Some(FloatingSaveArea::read_partial(
        bytes.first_chunk::<108>()?,
        Endian::Little,
    ))
}

/// The low 32 bits.
pub(super) fn low_32(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).unwrap_or_default()
}

/// A segment selector, in the low 16 bits of a wider register.
pub(super) fn selector(value: u64) -> u16 {
    u16::try_from(value & 0xFFFF).unwrap_or_default()
}

/// `user_regs_struct` of x86-64 (`sys/user.h`).
fn amd64(general: [u64; 27]) -> ContextAmd64 {
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
        ..,
    ] = general;
    let [.., rip, cs, rflags, rsp, ss, _fs_base, _gs_base, ds, es, fs, gs] = general;
    ContextAmd64 {
        context_flags: flags(&[
            ContextFlags::AMD64_CONTROL,
            ContextFlags::AMD64_INTEGER,
            ContextFlags::AMD64_SEGMENTS,
        ])
        .into(),
        seg_cs: selector(cs).into(),
        seg_ds: selector(ds).into(),
        seg_es: selector(es).into(),
        seg_fs: selector(fs).into(),
        seg_gs: selector(gs).into(),
        seg_ss: selector(ss).into(),
        eflags: low_32(rflags).into(),
        rax: rax.into(),
        rcx: rcx.into(),
        rdx: rdx.into(),
        rbx: rbx.into(),
        rsp: rsp.into(),
        rbp: rbp.into(),
        rsi: rsi.into(),
        rdi: rdi.into(),
        r8_15: [r8, r9, r10, r11, r12, r13, r14, r15].map(Into::into),
        rip: rip.into(),
        ..ContextAmd64::default()
    }
}

/// `user_regs_struct` of x86 (`sys/user.h`).
fn x86(general: [u32; 17]) -> ContextX86 {
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
        _orig_eax,
        eip,
        cs,
        eflags,
        esp,
        ss,
    ] = general;
    ContextX86 {
        context_flags: ContextFlags::X86_FULL.0.into(),
        // Segment registers have 16 bits; the rest of their words means nothing.
        seg_gs: (gs & 0xFFFF).into(),
        seg_fs: (fs & 0xFFFF).into(),
        seg_es: (es & 0xFFFF).into(),
        seg_ds: (ds & 0xFFFF).into(),
        edi: edi.into(),
        esi: esi.into(),
        ebx: ebx.into(),
        edx: edx.into(),
        ecx: ecx.into(),
        eax: eax.into(),
        ebp: ebp.into(),
        eip: eip.into(),
        seg_cs: (cs & 0xFFFF).into(),
        eflags: eflags.into(),
        esp: esp.into(),
        seg_ss: (ss & 0xFFFF).into(),
        ..ContextX86::default()
    }
}

/// `user_pt_regs` of ARM64 (`asm/ptrace.h`).
pub(super) fn arm64(general: [u64; 34]) -> ContextArm64 {
    let [.., fp, lr, sp, pc, pstate] = general;
    let mut context = ContextArm64 {
        context_flags: flags(&[ContextFlags::ARM64_CONTROL, ContextFlags::ARM64_INTEGER]).into(),
        cpsr: low_32(pstate).into(),
        fp: fp.into(),
        lr: lr.into(),
        sp: sp.into(),
        pc: pc.into(),
        ..ContextArm64::default()
    };
    for (register, value) in context.x.iter_mut().zip(general) {
        *register = value.into();
    }
    context
}

pub(super) fn set_floating_amd64(context: &mut ContextAmd64, image: FxSave) {
    context.context_flags = (context.context_flags.get() | ContextFlags::AMD64_FLOATING_POINT.0).into();
    context.mx_csr = image.mx_csr;
    context.flt_save = image;
}

/// Puts what FNSAVE and FXSAVE stored, each made from the other where that can be.
pub(super) fn set_floating_x86(context: &mut ContextX86, floating: Option<FloatingSaveArea>, image: Option<FxSave>) {
    let mut flags = context.context_flags.get();
    if let Some(floating) = floating.or_else(|| image.as_ref().map(fnsave)) {
        flags |= ContextFlags::X86_FLOATING_POINT.0;
        context.float_save = floating;
    }
    if let Some(image) = image {
        flags |= ContextFlags::X86_EXTENDED_REGISTERS.0;
        context.extended_registers = image;
    }
    context.context_flags = flags.into();
}

/// Puts the vector registers, and the two words FPSR and FPCR that follow or precede them in Linux's structures.
pub(super) fn set_floating_arm64(context: &mut ContextArm64, vectors: &[u8; 512], status: [u8; 8]) {
    let [s0, s1, s2, s3, c0, c1, c2, c3] = status;
    context.context_flags = (context.context_flags.get() | ContextFlags::ARM64_FLOATING_POINT.0).into();
    context.fpsr = u32::from_le_bytes([s0, s1, s2, s3]).into();
    context.fpcr = u32::from_le_bytes([c0, c1, c2, c3]).into();
    let (vectors, _) = vectors.as_chunks::<16>();
    for (register, value) in context.v.iter_mut().zip(vectors) {
        *register = u128::from_le_bytes(*value).into();
    }
}

fn flags(parts: &[ContextFlags]) -> u32 {
    parts.iter().fold(0, |all, part| all | part.0)
}

#[cfg(test)]
#[path = "registers_tests.rs"]
mod tests;
