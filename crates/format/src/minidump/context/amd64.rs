//! The context of AMD64.

use zerocopy::byteorder::little_endian::{U16, U32, U64, U128};

use super::field::field;
use super::fxsave::FxSave;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `CONTEXT` of AMD64 (`winnt.h`), 1232 bytes. The only one whose flags are not at its start.
    pub struct ContextAmd64[1232] {
        /// Room for the parameter registers of the thread's next function; no registers.
        pub home: [U64; 6],
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// SSE control and status.
        pub mx_csr: U32,
        /// Segment selector.
        pub seg_cs: U16,
        /// Segment selector.
        pub seg_ds: U16,
        /// Segment selector.
        pub seg_es: U16,
        /// Segment selector.
        pub seg_fs: U16,
        /// Segment selector.
        pub seg_gs: U16,
        /// Segment selector.
        pub seg_ss: U16,
        /// Flags.
        pub eflags: U32,
        /// Debug register 0.
        pub dr0: U64,
        /// Debug register 1.
        pub dr1: U64,
        /// Debug register 2.
        pub dr2: U64,
        /// Debug register 3.
        pub dr3: U64,
        /// Debug status.
        pub dr6: U64,
        /// Debug control.
        pub dr7: U64,
        /// General register.
        pub rax: U64,
        /// General register.
        pub rcx: U64,
        /// General register.
        pub rdx: U64,
        /// General register.
        pub rbx: U64,
        /// Stack pointer.
        pub rsp: U64,
        /// General register, on other systems than Windows often the frame pointer.
        pub rbp: U64,
        /// General register.
        pub rsi: U64,
        /// General register.
        pub rdi: U64,
        /// R8 to R15.
        pub r8_15: [U64; 8],
        /// Instruction pointer.
        pub rip: U64,
        /// x87 and SSE registers.
        pub flt_save: FxSave,
        /// Unused by Windows.
        pub vector_register: [U128; 26],
        /// Unused by Windows.
        pub vector_control: U64,
        /// The debug control register of the processor model.
        pub debug_control: U64,
        /// Where the last branch went.
        pub last_branch_to_rip: U64,
        /// Where the last branch came from.
        pub last_branch_from_rip: U64,
        /// Where the last exception went.
        pub last_exception_to_rip: U64,
        /// Where the last exception came from.
        pub last_exception_from_rip: U64,
    }
}

cpu_context! {
    ContextAmd64 {
        flags: context_flags,
        ip: rip,
        sp: rsp,
        fp: Some(field!(ContextAmd64, rbp)),
        lr: None,
    }
    general {
        rax: "rax";
        rbx: "rbx";
        rcx: "rcx";
        rdx: "rdx";
        rsi: "rsi";
        rdi: "rdi";
        rbp: "rbp";
        rsp: "rsp";
        r8_15: "r8" "r9" "r10" "r11" "r12" "r13" "r14" "r15";
        rip: "rip";
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
        mx_csr: "mxcsr";
        flt_save.control_word: "fpcw";
        flt_save.status_word: "fpsw";
        flt_save.tag_word: "fptw";
        flt_save.error_opcode: "fop";
        flt_save.error_offset: "fpip";
        flt_save.error_selector: "fpcs";
        flt_save.data_offset: "fpdp";
        flt_save.data_selector: "fpds";
        flt_save.mx_csr: "fx_mxcsr";
        flt_save.mx_csr_mask: "mxcsr_mask";
        flt_save.st: "st0" "st1" "st2" "st3" "st4" "st5" "st6" "st7";
        flt_save.xmm: "xmm0" "xmm1" "xmm2" "xmm3" "xmm4" "xmm5" "xmm6" "xmm7"
            "xmm8" "xmm9" "xmm10" "xmm11" "xmm12" "xmm13" "xmm14" "xmm15";
        home: "p1_home" "p2_home" "p3_home" "p4_home" "p5_home" "p6_home";
        vector_register: "vector0" "vector1" "vector2" "vector3" "vector4" "vector5" "vector6" "vector7" "vector8"
            "vector9" "vector10" "vector11" "vector12" "vector13" "vector14" "vector15" "vector16" "vector17"
            "vector18" "vector19" "vector20" "vector21" "vector22" "vector23" "vector24" "vector25";
        vector_control: "vector_control";
        debug_control: "debug_control";
        last_branch_to_rip: "last_branch_to_rip";
        last_branch_from_rip: "last_branch_from_rip";
        last_exception_to_rip: "last_exception_to_rip";
        last_exception_from_rip: "last_exception_from_rip";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextAmd64, context_flags), 0x30);
        assert_eq!(offset_of!(ContextAmd64, seg_cs), 0x38);
        assert_eq!(offset_of!(ContextAmd64, seg_ss), 0x42);
        assert_eq!(offset_of!(ContextAmd64, eflags), 0x44);
        assert_eq!(offset_of!(ContextAmd64, dr7), 0x70);
        assert_eq!(offset_of!(ContextAmd64, rax), 0x78);
        assert_eq!(offset_of!(ContextAmd64, rsp), 0x98);
        assert_eq!(offset_of!(ContextAmd64, rdi), 0xB0);
        assert_eq!(offset_of!(ContextAmd64, rip), 0xF8);
        assert_eq!(offset_of!(ContextAmd64, flt_save), 0x100);
        assert_eq!(offset_of!(ContextAmd64, flt_save) + offset_of!(FxSave, mx_csr), 0x118);
        assert_eq!(offset_of!(ContextAmd64, flt_save) + offset_of!(FxSave, xmm), 0x1A0);
        assert_eq!(offset_of!(ContextAmd64, vector_register), 0x300);
        assert_eq!(offset_of!(ContextAmd64, vector_control), 0x4A0);
        assert_eq!(offset_of!(ContextAmd64, last_exception_from_rip), 0x4C8);
    }
}
