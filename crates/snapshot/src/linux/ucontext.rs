//! The registers in a `ucontext_t`: what a signal handler is called with as its third argument.
//!
//! The kernel puts them on the stack when it delivers a signal (`asm/ucontext.h` and `asm/sigcontext.h` of each processor).
//! Those of x86 point to their floating-point part, which is what FXSAVE stores or, where its system bytes say so, XSAVE.
//! That of ARM64 is a list of records, of which one has the floating-point registers; it may go on elsewhere.

use dotdump_format::minidump::context::xstate::XSaveArea;
use dotdump_format::minidump::context::{Context, ContextAmd64, ContextFlags, ContextX86};
use dotdump_format::{Endian, Error, VirtAddr, VirtRange};

use super::facts::LinuxArchitecture;
use super::registers::{
    arm64, extended, float_save, fxsave, low_32, selector, set_floating_amd64, set_floating_arm64, set_floating_x86,
    words, words_32,
};
use crate::memory::{Memory, read_array};

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserContext {
    /// The registers: a CONTEXT, extended where the program's extended state is there.
    pub context: Vec<u8>,
    /// The memory that it was read from, in the order in which it was read.
    pub ranges: Vec<VirtRange>,
}

/// Reads the registers at `address`. `None` where general registers are not there; without floating-point registers
/// where those are not.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn context_of_ucontext(
    architecture: LinuxArchitecture,
    memory: &dyn Memory,
    address: VirtAddr,
) -> Result<Option<UserContext>, Error> {
    let mut reader = Reader {
        memory,
        ranges: Vec::new(),
    };
    let context = match architecture {
        LinuxArchitecture::Amd64 => reader.amd64(address)?,
        LinuxArchitecture::X86 => reader.x86(address)?,
        LinuxArchitecture::Arm64 => reader.arm64(address)?,
    };
    let ranges = reader.ranges;
    Ok(context.map(|context| UserContext { context, ranges }))
}

/// The bytes that FXSAVE leaves to the system, `struct _fpx_sw_bytes`: `magic1`, `extended_size`, `xfeatures`,
/// `xstate_size`.
const SYSTEM_BYTES: usize = 464;

/// `FP_XSTATE_MAGIC1`: the system bytes are used, and what follows is what XSAVE stores.
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;

/// The most that is read of a floating-point part, in bytes; those that there are need 11 KiB.
const MAX_XSTATE: u32 = 64 << 10;

/// The records in an ARM64 `sigcontext`, by the number that each begins with.
const FPSIMD_MAGIC: u32 = 0x4650_8001;
const EXTRA_MAGIC: u32 = 0x4558_5401;

/// How many of these records are looked at. The kernel writes fewer than ten.
const MAX_RECORDS: usize = 64;

/// The first 16 bytes of the record with the floating-point registers, and V0 to V31.
type FpsimdRecord = ([u8; 16], [u8; 512]);

struct Reader<'m> {
    memory: &'m dyn Memory,
    ranges: Vec<VirtRange>,
}

/// What FXSAVE stored, and what XSAVE stored after it.
struct Floating {
    bytes: Vec<u8>,
    /// The components that XSAVE stored, enabled or in use; 0 where FXSAVE stored it.
    features: u64,
}

impl Floating {
    fn area(&self) -> Option<XSaveArea<'_>> {
        XSaveArea::read(&self.bytes, self.features).filter(|_| self.features != 0)
    }
}

impl Reader<'_> {
    fn read<const N: usize>(&mut self, address: VirtAddr) -> Result<Option<[u8; N]>, Error> {
        let bytes = read_array::<N>(self.memory, address)?;
        if bytes.is_some() {
            self.ranges.push(VirtRange::sized(address, N as u64));
        }
        Ok(bytes)
    }

    fn amd64(&mut self, address: VirtAddr) -> Result<Option<Vec<u8>>, Error> {
        // uc_flags, uc_link, uc_stack (40 bytes); gregs[23]; fpregs.
        const MCONTEXT: usize = 40;
        let Some(bytes) = self.read::<232>(address)? else {
            return Ok(None);
        };
        let Some(general) = words::<24>(&bytes[MCONTEXT..]) else {
            return Ok(None);
        };
        let [
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rdi,
            rsi,
            rbp,
            rbx,
            rdx,
            rax,
            rcx,
            rsp,
            rip,
            rflags,
            ..,
        ] = general;
        let [.., segments, _err, _trapno, _oldmask, _cr2, fpregs] = general;
        let mut context = ContextAmd64 {
            // DS and ES are not saved.
            context_flags: (ContextFlags::AMD64_CONTROL.0 | ContextFlags::AMD64_INTEGER.0).into(),
            // From the lowest: CS, GS, FS, SS.
            seg_cs: selector(segments).into(),
            seg_gs: selector(segments >> 16).into(),
            seg_fs: selector(segments >> 32).into(),
            seg_ss: selector(segments >> 48).into(),
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
        };
        let floating = self.floating(VirtAddr(fpregs))?;
        if let Some(image) = floating.as_ref().and_then(|floating| fxsave(&floating.bytes)) {
            set_floating_amd64(&mut context, image);
        }
        Ok(Some(finish(
            LinuxArchitecture::Amd64,
            context.into(),
            floating.as_ref(),
        )))
    }

    fn x86(&mut self, address: VirtAddr) -> Result<Option<Vec<u8>>, Error> {
        // uc_flags, uc_link, uc_stack (20 bytes); gregs[19]; fpregs.
        const MCONTEXT: usize = 20;
        // In `_fpstate` what FXSAVE stores follows what FNSAVE stores and two numbers of 16 bits. The second one is
        // all ones where nothing follows.
        const FXSAVE: u64 = 112;
        const FNSAVE_ONLY: [u8; 2] = [0xFF, 0xFF];
        let Some(bytes) = self.read::<100>(address)? else {
            return Ok(None);
        };
        let Some(general) = words_32::<20>(&bytes[MCONTEXT..]) else {
            return Ok(None);
        };
        let [gs, fs, es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax, ..] = general;
        let [.., eip, cs, eflags, _esp_at_signal, ss, fpregs] = general;
        let mut context = ContextX86 {
            context_flags: ContextFlags::X86_FULL.0.into(),
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
        };
        let fpregs = VirtAddr(u64::from(fpregs));
        let legacy = match fpregs.0 {
            0 => None,
            _ => self.read::<112>(fpregs)?,
        };
        let floating = match &legacy {
            Some(bytes) if bytes[110..] != FNSAVE_ONLY => self.floating(fpregs.saturating_add(FXSAVE))?,
            _ => None,
        };
        let image = floating.as_ref().and_then(|floating| fxsave(&floating.bytes));
        set_floating_x86(&mut context, legacy.as_ref().and_then(|bytes| float_save(bytes)), image);
        Ok(Some(finish(LinuxArchitecture::X86, context.into(), floating.as_ref())))
    }

    /// What FXSAVE or XSAVE stored.
    fn floating(&mut self, address: VirtAddr) -> Result<Option<Floating>, Error> {
        if address.0 == 0 {
            return Ok(None);
        }
        let Some(image) = read_array::<512>(self.memory, address)? else {
            return Ok(None);
        };
        let number = |at: usize| words_32::<1>(&image[SYSTEM_BYTES + at..]).map_or(0, |[number]| number);
        let size = match number(0) {
            FP_XSTATE_MAGIC1 => number(16),
            _ => 0,
        };
        let mut bytes = image.to_vec();
        let mut features = 0;
        if (512..=MAX_XSTATE).contains(&size) {
            bytes.resize(usize::try_from(size).unwrap_or(0), 0);
            let there = self.memory.read(address, &mut bytes)?;
            bytes.truncate(there.max(image.len()));
            features = words::<1>(&image[SYSTEM_BYTES + 8..]).map_or(0, |[features]| features);
        }
        self.ranges.push(VirtRange::sized(address, bytes.len() as u64));
        Ok(Some(Floating { bytes, features }))
    }

    fn arm64(&mut self, address: VirtAddr) -> Result<Option<Vec<u8>>, Error> {
        // uc_flags, uc_link, uc_stack, uc_sigmask with its reserve (168 bytes, 8 of padding); fault_address; x0 to x30,
        // sp, pc, pstate; 8 bytes of padding; then the records, 4096 bytes.
        const GENERAL: usize = 184;
        const RECORDS: u64 = 464;
        let Some(bytes) = self.read::<464>(address)? else {
            return Ok(None);
        };
        let Some(general) = words::<34>(&bytes[GENERAL..]) else {
            return Ok(None);
        };
        let mut context = arm64(general);
        if let Some(record) = self.fpsimd(address.saturating_add(RECORDS))? {
            // The head of the record, FPSR, FPCR, V0 to V31.
            let [_, _, _, _, _, _, _, _, status @ ..] = record.0;
            set_floating_arm64(&mut context, &record.1, status);
        }
        Ok(Some(Context::from(context).write_to(Endian::Little)))
    }

    /// The record with the floating-point registers: its first 16 bytes, and V0 to V31.
    fn fpsimd(&mut self, records: VirtAddr) -> Result<Option<FpsimdRecord>, Error> {
        let mut at = records;
        for _ in 0..MAX_RECORDS {
            let Some(head) = self.read::<16>(at)? else {
                return Ok(None);
            };
            let [magic, size] = words_32::<2>(&head).unwrap_or_default();
            match magic {
                FPSIMD_MAGIC => {
                    let vectors = self.read::<512>(at.saturating_add(16))?;
                    return Ok(vectors.map(|vectors| (head, vectors)));
                }
                // The next ones are where this one says.
                EXTRA_MAGIC => {
                    at = VirtAddr(words::<2>(&head).map_or(0, |[_, address]| address));
                }
                _ if size < 16 => return Ok(None),
                _ => at = at.saturating_add(u64::from(size)),
            }
        }
        Ok(None)
    }
}

fn finish(architecture: LinuxArchitecture, context: Context, floating: Option<&Floating>) -> Vec<u8> {
    let context = context.write_to(Endian::Little);
    let area = floating.and_then(Floating::area);
    match area.and_then(|area| extended(architecture, &context, &area)) {
        Some(extended) => extended,
        None => context,
    }
}

#[cfg(test)]
#[path = "ucontext_tests.rs"]
mod tests;
