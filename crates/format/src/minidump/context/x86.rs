//! The context of x86.

use zerocopy::byteorder::little_endian::U32;

use super::field::field;
use super::fxsave::FxSave;
use super::registers::{Float80, cpu_context};
use crate::record::record;

record! {
    /// `FLOATING_SAVE_AREA` (`winnt.h`), 112 bytes: what the instruction `FNSAVE` stores.
    pub struct FloatingSaveArea[112] {
        /// x87 control word.
        pub control_word: U32,
        /// x87 status word.
        pub status_word: U32,
        /// x87 tags, 2 bits for each register.
        pub tag_word: U32,
        /// Where the last x87 instruction is.
        pub error_offset: U32,
        /// Its code selector and, in the high half, its opcode.
        pub error_selector: U32,
        /// Where its operand is.
        pub data_offset: U32,
        /// The selector of the operand.
        pub data_selector: U32,
        /// ST(0) to ST(7), counted from the top of the stack.
        pub st: [Float80; 8],
        /// `Cr0NpxState`, or spare.
        pub cr0_npx_state: U32,
    }

    /// `CONTEXT` of x86 (`winnt.h`), 716 bytes.
    pub struct ContextX86[716] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Debug register 0.
        pub dr0: U32,
        /// Debug register 1.
        pub dr1: U32,
        /// Debug register 2.
        pub dr2: U32,
        /// Debug register 3.
        pub dr3: U32,
        /// Debug status.
        pub dr6: U32,
        /// Debug control.
        pub dr7: U32,
        /// The x87 registers.
        pub float_save: FloatingSaveArea,
        /// Segment selector.
        pub seg_gs: U32,
        /// Segment selector.
        pub seg_fs: U32,
        /// Segment selector.
        pub seg_es: U32,
        /// Segment selector.
        pub seg_ds: U32,
        /// General register.
        pub edi: U32,
        /// General register.
        pub esi: U32,
        /// General register.
        pub ebx: U32,
        /// General register.
        pub edx: U32,
        /// General register.
        pub ecx: U32,
        /// General register.
        pub eax: U32,
        /// Frame pointer.
        pub ebp: U32,
        /// Instruction pointer.
        pub eip: U32,
        /// Segment selector.
        pub seg_cs: U32,
        /// Flags.
        pub eflags: U32,
        /// Stack pointer.
        pub esp: U32,
        /// Segment selector.
        pub seg_ss: U32,
        /// x87 and SSE registers. Valid with [`ContextFlags::X86_EXTENDED_REGISTERS`](super::ContextFlags).
        pub extended_registers: FxSave,
    }
}

cpu_context! {
    ContextX86 {
        flags: context_flags,
        ip: eip,
        sp: esp,
        fp: Some(field!(ContextX86, ebp)),
        lr: None,
    }
    general {
        eax: "eax";
        ebx: "ebx";
        ecx: "ecx";
        edx: "edx";
        esi: "esi";
        edi: "edi";
        ebp: "ebp";
        esp: "esp";
        eip: "eip";
        eflags: "eflags";
    }
    special {
        seg_cs: "cs";
        seg_ds: "ds";
        seg_es: "es";
        seg_fs: "fs";
        seg_gs: "gs";
        seg_ss: "ss";
        dr0: "dr0";
        dr1: "dr1";
        dr2: "dr2";
        dr3: "dr3";
        dr6: "dr6";
        dr7: "dr7";
        float_save.control_word: "fpcw";
        float_save.status_word: "fpsw";
        float_save.tag_word: "fptw";
        float_save.error_offset: "fpip";
        float_save.error_selector: "fpcs";
        float_save.data_offset: "fpdp";
        float_save.data_selector: "fpds";
        float_save.st: "st0" "st1" "st2" "st3" "st4" "st5" "st6" "st7";
        float_save.cr0_npx_state: "cr0_npx_state";
        extended_registers.control_word: "fx_fpcw";
        extended_registers.status_word: "fx_fpsw";
        extended_registers.tag_word: "fx_fptw";
        extended_registers.error_opcode: "fx_fop";
        extended_registers.error_offset: "fx_fpip";
        extended_registers.error_selector: "fx_fpcs";
        extended_registers.data_offset: "fx_fpdp";
        extended_registers.data_selector: "fx_fpds";
        extended_registers.st: "fx_st0" "fx_st1" "fx_st2" "fx_st3" "fx_st4" "fx_st5" "fx_st6" "fx_st7";
        extended_registers.mx_csr: "mxcsr";
        extended_registers.mx_csr_mask: "mxcsr_mask";
        extended_registers.xmm: "xmm0" "xmm1" "xmm2" "xmm3" "xmm4" "xmm5" "xmm6" "xmm7";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(FloatingSaveArea, st), 56 - 28);
        assert_eq!(offset_of!(FloatingSaveArea, cr0_npx_state), 136 - 28);
        assert_eq!(offset_of!(ContextX86, dr6), 20);
        assert_eq!(offset_of!(ContextX86, float_save), 28);
        assert_eq!(offset_of!(ContextX86, seg_gs), 140);
        assert_eq!(offset_of!(ContextX86, edi), 156);
        assert_eq!(offset_of!(ContextX86, eax), 176);
        assert_eq!(offset_of!(ContextX86, ebp), 180);
        assert_eq!(offset_of!(ContextX86, eip), 184);
        assert_eq!(offset_of!(ContextX86, esp), 196);
        assert_eq!(offset_of!(ContextX86, extended_registers), 204);
        assert_eq!(
            offset_of!(ContextX86, extended_registers) + offset_of!(FxSave, mx_csr),
            228
        );
        assert_eq!(
            offset_of!(ContextX86, extended_registers) + offset_of!(FxSave, xmm),
            364
        );
    }
}
