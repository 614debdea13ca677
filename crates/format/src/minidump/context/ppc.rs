//! The contexts of PowerPC, of 32 and of 64 bits.

use zerocopy::byteorder::little_endian::{U32, U64, U128};

use super::field::field;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `MDFloatingSaveAreaPPC` (Breakpad's `minidump_cpu_ppc.h`), 264 bytes.
    pub struct FloatSavePpc[264] {
        /// Floating-point registers 0 to 31.
        pub f: [U64; 32],
        /// High half of the control and status register: padding.
        pub fpscr_padding: U32,
        /// Floating-point control and status.
        pub fpscr: U32,
    }

    /// `MDVectorSaveAreaPPC` (Breakpad's `minidump_cpu_ppc.h`), 576 bytes.
    pub struct VectorSavePpc[576] {
        /// Vector registers 0 to 31.
        pub vr: [U128; 32],
        /// Vector control and status.
        pub vscr: U128,
        /// Padding.
        pub padding: [U32; 4],
        /// Which vector registers are valid, a bit for each.
        pub vrvalid: U32,
        /// Padding.
        pub padding2: [U32; 7],
    }

    /// `MDRawContextPPC` (Breakpad's `minidump_cpu_ppc.h`), 1004 bytes.
    pub struct ContextPpc[1004] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Save/restore register 0: the instruction pointer.
        pub srr0: U32,
        /// Save/restore register 1: the machine state.
        pub srr1: U32,
        /// General registers 0 to 31; register 1 is the stack pointer.
        pub r: [U32; 32],
        /// Condition register.
        pub cr: U32,
        /// Fixed-point exceptions.
        pub xer: U32,
        /// Link register.
        pub lr: U32,
        /// Count register.
        pub ctr: U32,
        /// Multiply and quotient register (601 only).
        pub mq: U32,
        /// Which vector registers the program uses.
        pub vrsave: U32,
        /// Floating-point registers.
        pub float_save: FloatSavePpc,
        /// Vector registers.
        pub vector_save: VectorSavePpc,
    }

    /// `MDRawContextPPC64` (Breakpad's `minidump_cpu_ppc64.h`), 1160 bytes.
    pub struct ContextPpc64[1160] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags); 64 bits wide.
        pub context_flags: U64,
        /// Save/restore register 0: the instruction pointer.
        pub srr0: U64,
        /// Save/restore register 1: the machine state.
        pub srr1: U64,
        /// General registers 0 to 31; register 1 is the stack pointer.
        pub r: [U64; 32],
        /// Condition register.
        pub cr: U64,
        /// Fixed-point exceptions.
        pub xer: U64,
        /// Link register.
        pub lr: U64,
        /// Count register.
        pub ctr: U64,
        /// Which vector registers the program uses.
        pub vrsave: U64,
        /// Floating-point registers.
        pub float_save: FloatSavePpc,
        /// Vector registers.
        pub vector_save: VectorSavePpc,
    }
}

cpu_context! {
    ContextPpc {
        flags: context_flags,
        ip: srr0,
        sp: r[1],
        fp: None,
        lr: Some(field!(ContextPpc, lr)),
    }
    general {
        r: "r0" "r1" "r2" "r3" "r4" "r5" "r6" "r7" "r8" "r9" "r10" "r11" "r12" "r13" "r14" "r15" "r16"
            "r17" "r18" "r19" "r20" "r21" "r22" "r23" "r24" "r25" "r26" "r27" "r28" "r29" "r30" "r31";
        srr0: "srr0";
        srr1: "srr1";
        cr: "cr";
        xer: "xer";
        lr: "lr";
        ctr: "ctr";
    }
    special {
        mq: "mq";
        vrsave: "vrsave";
        float_save.f: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15" "f16"
            "f17" "f18" "f19" "f20" "f21" "f22" "f23" "f24" "f25" "f26" "f27" "f28" "f29" "f30" "f31";
        float_save.fpscr: "fpscr";
        vector_save.vr: "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15" "v16"
            "v17" "v18" "v19" "v20" "v21" "v22" "v23" "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31";
        vector_save.vscr: "vscr";
        vector_save.vrvalid: "vrvalid";
    }
}

cpu_context! {
    ContextPpc64 {
        flags: context_flags,
        ip: srr0,
        sp: r[1],
        fp: None,
        lr: Some(field!(ContextPpc64, lr)),
    }
    general {
        r: "r0" "r1" "r2" "r3" "r4" "r5" "r6" "r7" "r8" "r9" "r10" "r11" "r12" "r13" "r14" "r15" "r16"
            "r17" "r18" "r19" "r20" "r21" "r22" "r23" "r24" "r25" "r26" "r27" "r28" "r29" "r30" "r31";
        srr0: "srr0";
        srr1: "srr1";
        cr: "cr";
        xer: "xer";
        lr: "lr";
        ctr: "ctr";
    }
    special {
        vrsave: "vrsave";
        float_save.f: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15" "f16"
            "f17" "f18" "f19" "f20" "f21" "f22" "f23" "f24" "f25" "f26" "f27" "f28" "f29" "f30" "f31";
        float_save.fpscr: "fpscr";
        vector_save.vr: "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15" "v16"
            "v17" "v18" "v19" "v20" "v21" "v22" "v23" "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31";
        vector_save.vscr: "vscr";
        vector_save.vrvalid: "vrvalid";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(VectorSavePpc, vscr), 512);
        assert_eq!(offset_of!(VectorSavePpc, vrvalid), 544);
        assert_eq!(offset_of!(ContextPpc, srr0), 4);
        assert_eq!(field!(ContextPpc, r[1]).offset, 16);
        assert_eq!(offset_of!(ContextPpc, cr), 140);
        assert_eq!(offset_of!(ContextPpc, lr), 148);
        assert_eq!(offset_of!(ContextPpc, vrsave), 160);
        assert_eq!(offset_of!(ContextPpc, float_save), 164);
        assert_eq!(offset_of!(ContextPpc, vector_save), 428);
        assert_eq!(offset_of!(ContextPpc64, srr0), 8);
        assert_eq!(offset_of!(ContextPpc64, r), 24);
        assert_eq!(offset_of!(ContextPpc64, cr), 280);
        assert_eq!(offset_of!(ContextPpc64, lr), 296);
        assert_eq!(offset_of!(ContextPpc64, vrsave), 312);
        assert_eq!(offset_of!(ContextPpc64, float_save), 320);
        assert_eq!(offset_of!(ContextPpc64, vector_save), 584);
    }
}
