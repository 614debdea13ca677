//! The context of SPARC.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::field::field;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `MDRawContextSPARC` (Breakpad's `minidump_cpu_sparc.h`), 584 bytes.
    pub struct ContextSparc[584] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Padding.
        pub padding: U32,
        /// Global, out, local and in registers, 8 each. O6 is the stack pointer, I6 the frame pointer.
        pub r: [U64; 32],
        /// Condition codes (V9), or the processor state (V8).
        pub ccr: U64,
        /// Instruction pointer.
        pub pc: U64,
        /// The instruction after it.
        pub npc: U64,
        /// Multiply and divide register.
        pub y: U64,
        /// Address space identifier (V9), or the window invalid mask (V8).
        pub asi: U64,
        /// Floating-point state (V9), or the trap base (V8).
        pub fprs: U64,
        /// Floating-point registers.
        pub f: [U64; 32],
        /// Padding.
        pub filler: U64,
        /// Floating-point status.
        pub fsr: U64,
    }
}

cpu_context! {
    ContextSparc {
        flags: context_flags,
        ip: pc,
        sp: r[14],
        fp: Some(field!(ContextSparc, r[30])),
        lr: Some(field!(ContextSparc, r[15])),
    }
    general {
        r: "g0" "g1" "g2" "g3" "g4" "g5" "g6" "g7" "o0" "o1" "o2" "o3" "o4" "o5" "sp" "o7"
            "l0" "l1" "l2" "l3" "l4" "l5" "l6" "l7" "i0" "i1" "i2" "i3" "i4" "i5" "fp" "i7";
        pc: "pc";
        npc: "npc";
        ccr: "ccr";
    }
    special {
        y: "y";
        asi: "asi";
        fprs: "fprs";
        f: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15" "f16"
            "f17" "f18" "f19" "f20" "f21" "f22" "f23" "f24" "f25" "f26" "f27" "f28" "f29" "f30" "f31";
        fsr: "fsr";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextSparc, r), 8);
        assert_eq!(offset_of!(ContextSparc, ccr), 264);
        assert_eq!(offset_of!(ContextSparc, pc), 272);
        assert_eq!(offset_of!(ContextSparc, y), 288);
        assert_eq!(offset_of!(ContextSparc, fprs), 304);
        assert_eq!(offset_of!(ContextSparc, f), 312);
        assert_eq!(offset_of!(ContextSparc, fsr), 576);
    }
}
