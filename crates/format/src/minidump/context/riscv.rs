//! The contexts of RISC-V, of 32 and of 64 bits.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::field::field;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `MDRawContextRISCV` (Breakpad's `minidump_cpu_riscv.h`), 268 bytes.
    pub struct ContextRiscV[268] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Version of the layout: 1.
        pub version: U32,
        /// Instruction pointer.
        pub pc: U32,
        /// X1 to X31.
        pub x1_31: [U32; 31],
        /// Floating-point registers 0 to 31.
        pub f: [U32; 32],
        /// Floating-point control and status.
        pub fcsr: U32,
    }

    /// `MDRawContextRISCV64` (Breakpad's `minidump_cpu_riscv.h`), 528 bytes.
    pub struct ContextRiscV64[528] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Version of the layout: 1.
        pub version: U32,
        /// Instruction pointer.
        pub pc: U64,
        /// X1 to X31.
        pub x1_31: [U64; 31],
        /// Floating-point registers 0 to 31.
        pub f: [U64; 32],
        /// Floating-point control and status.
        pub fcsr: U32,
        /// Padding.
        pub padding: U32,
    }
}

cpu_context! {
    ContextRiscV {
        flags: context_flags,
        ip: pc,
        sp: x1_31[1],
        fp: Some(field!(ContextRiscV, x1_31[7])),
        lr: Some(field!(ContextRiscV, x1_31[0])),
    }
    general {
        x1_31: "ra" "sp" "gp" "tp" "t0" "t1" "t2" "s0" "s1" "a0" "a1" "a2" "a3" "a4" "a5" "a6" "a7"
            "s2" "s3" "s4" "s5" "s6" "s7" "s8" "s9" "s10" "s11" "t3" "t4" "t5" "t6";
        pc: "pc";
    }
    special {
        f: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15" "f16"
            "f17" "f18" "f19" "f20" "f21" "f22" "f23" "f24" "f25" "f26" "f27" "f28" "f29" "f30" "f31";
        fcsr: "fcsr";
    }
}

cpu_context! {
    ContextRiscV64 {
        flags: context_flags,
        ip: pc,
        sp: x1_31[1],
        fp: Some(field!(ContextRiscV64, x1_31[7])),
        lr: Some(field!(ContextRiscV64, x1_31[0])),
    }
    general {
        x1_31: "ra" "sp" "gp" "tp" "t0" "t1" "t2" "s0" "s1" "a0" "a1" "a2" "a3" "a4" "a5" "a6" "a7"
            "s2" "s3" "s4" "s5" "s6" "s7" "s8" "s9" "s10" "s11" "t3" "t4" "t5" "t6";
        pc: "pc";
    }
    special {
        f: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15" "f16"
            "f17" "f18" "f19" "f20" "f21" "f22" "f23" "f24" "f25" "f26" "f27" "f28" "f29" "f30" "f31";
        fcsr: "fcsr";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextRiscV, pc), 8);
        assert_eq!(field!(ContextRiscV, x1_31[1]).offset, 16);
        assert_eq!(field!(ContextRiscV, x1_31[30]).offset, 132);
        assert_eq!(offset_of!(ContextRiscV, f), 136);
        assert_eq!(offset_of!(ContextRiscV, fcsr), 264);
        assert_eq!(offset_of!(ContextRiscV64, pc), 8);
        assert_eq!(field!(ContextRiscV64, x1_31[1]).offset, 24);
        assert_eq!(field!(ContextRiscV64, x1_31[30]).offset, 256);
        assert_eq!(offset_of!(ContextRiscV64, f), 264);
        assert_eq!(offset_of!(ContextRiscV64, fcsr), 520);
    }
}
