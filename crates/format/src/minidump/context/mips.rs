//! The context of MIPS, of 32 and of 64 bits.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::field::field;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `MDRawContextMIPS` (Breakpad's `minidump_cpu_mips.h`), 600 bytes.
    pub struct ContextMips[600] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Padding.
        pub padding: U32,
        /// General registers 0 to 31. A program of 32 bits uses the low halves.
        pub r: [U64; 32],
        /// High half of products.
        pub mdhi: U64,
        /// Low half of products.
        pub mdlo: U64,
        /// High halves of the DSP accumulators 1 to 3.
        pub hi: [U32; 3],
        /// Low halves of the DSP accumulators 1 to 3.
        pub lo: [U32; 3],
        /// DSP control.
        pub dsp_control: U32,
        /// Padding.
        pub padding2: U32,
        /// Instruction pointer.
        pub epc: U64,
        /// The address of the last failed access.
        pub badvaddr: U64,
        /// CPU status.
        pub status: U32,
        /// Cause of the exception.
        pub cause: U32,
        /// Floating-point registers 0 to 31.
        pub f: [U64; 32],
        /// Floating-point control and status.
        pub fpcsr: U32,
        /// Which floating-point unit it is.
        pub fir: U32,
    }
}

cpu_context! {
    ContextMips {
        flags: context_flags,
        ip: epc,
        sp: r[29],
        fp: Some(field!(ContextMips, r[30])),
        lr: Some(field!(ContextMips, r[31])),
    }
    general {
        r: "zero" "at" "v0" "v1" "a0" "a1" "a2" "a3" "t0" "t1" "t2" "t3" "t4" "t5" "t6" "t7"
            "s0" "s1" "s2" "s3" "s4" "s5" "s6" "s7" "t8" "t9" "k0" "k1" "gp" "sp" "fp" "ra";
        epc: "pc";
        status: "status";
    }
    special {
        mdhi: "mdhi";
        mdlo: "mdlo";
        hi: "hi1" "hi2" "hi3";
        lo: "lo1" "lo2" "lo3";
        dsp_control: "dsp_control";
        badvaddr: "badvaddr";
        cause: "cause";
        f: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15" "f16"
            "f17" "f18" "f19" "f20" "f21" "f22" "f23" "f24" "f25" "f26" "f27" "f28" "f29" "f30" "f31";
        fpcsr: "fpcsr";
        fir: "fir";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextMips, r), 8);
        assert_eq!(offset_of!(ContextMips, mdhi), 264);
        assert_eq!(offset_of!(ContextMips, hi), 280);
        assert_eq!(offset_of!(ContextMips, lo), 292);
        assert_eq!(offset_of!(ContextMips, dsp_control), 304);
        assert_eq!(offset_of!(ContextMips, epc), 312);
        assert_eq!(offset_of!(ContextMips, badvaddr), 320);
        assert_eq!(offset_of!(ContextMips, status), 328);
        assert_eq!(offset_of!(ContextMips, f), 336);
        assert_eq!(offset_of!(ContextMips, fpcsr), 592);
    }
}
