//! The contexts of ARM64: the one of Windows, which Breakpad uses by now as well, and Breakpad's first one.

use zerocopy::byteorder::little_endian::{U32, U64, U128};

use super::field::field;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `CONTEXT` of ARM64 (`winnt.h`), 912 bytes.
    pub struct ContextArm64[912] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// Program status.
        pub cpsr: U32,
        /// X0 to X28.
        pub x: [U64; 29],
        /// Frame pointer (X29).
        pub fp: U64,
        /// Link register (X30).
        pub lr: U64,
        /// Stack pointer.
        pub sp: U64,
        /// Instruction pointer.
        pub pc: U64,
        /// V0 to V31.
        pub v: [U128; 32],
        /// Floating-point control.
        pub fpcr: U32,
        /// Floating-point status.
        pub fpsr: U32,
        /// Breakpoint control.
        pub bcr: [U32; 8],
        /// Breakpoint addresses.
        pub bvr: [U64; 8],
        /// Watchpoint control.
        pub wcr: [U32; 2],
        /// Watchpoint addresses.
        pub wvr: [U64; 2],
    }

    /// `MDRawContextARM64_Old` (Breakpad's `minidump_cpu_arm64.h`), 796 bytes.
    pub struct ContextArm64Old[796] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags); 64 bits wide.
        pub context_flags: U64,
        /// X0 to X30, the stack pointer, the instruction pointer.
        pub x: [U64; 33],
        /// Program status.
        pub cpsr: U32,
        /// Floating-point status.
        pub fpsr: U32,
        /// Floating-point control.
        pub fpcr: U32,
        /// V0 to V31.
        pub v: [U128; 32],
    }
}

cpu_context! {
    ContextArm64 {
        flags: context_flags,
        ip: pc,
        sp: sp,
        fp: Some(field!(ContextArm64, fp)),
        lr: Some(field!(ContextArm64, lr)),
    }
    general {
        x: "x0" "x1" "x2" "x3" "x4" "x5" "x6" "x7" "x8" "x9" "x10" "x11" "x12" "x13" "x14" "x15" "x16"
            "x17" "x18" "x19" "x20" "x21" "x22" "x23" "x24" "x25" "x26" "x27" "x28";
        fp: "fp";
        lr: "lr";
        sp: "sp";
        pc: "pc";
        cpsr: "cpsr";
    }
    special {
        fpcr: "fpcr";
        fpsr: "fpsr";
        v: "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15" "v16"
            "v17" "v18" "v19" "v20" "v21" "v22" "v23" "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31";
        bcr: "bcr0" "bcr1" "bcr2" "bcr3" "bcr4" "bcr5" "bcr6" "bcr7";
        bvr: "bvr0" "bvr1" "bvr2" "bvr3" "bvr4" "bvr5" "bvr6" "bvr7";
        wcr: "wcr0" "wcr1";
        wvr: "wvr0" "wvr1";
    }
}

cpu_context! {
    ContextArm64Old {
        flags: context_flags,
        ip: x[32],
        sp: x[31],
        fp: Some(field!(ContextArm64Old, x[29])),
        lr: Some(field!(ContextArm64Old, x[30])),
    }
    general {
        x: "x0" "x1" "x2" "x3" "x4" "x5" "x6" "x7" "x8" "x9" "x10" "x11" "x12" "x13" "x14" "x15" "x16"
            "x17" "x18" "x19" "x20" "x21" "x22" "x23" "x24" "x25" "x26" "x27" "x28"
            "fp" "lr" "sp" "pc";
        cpsr: "cpsr";
    }
    special {
        fpcr: "fpcr";
        fpsr: "fpsr";
        v: "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15" "v16"
            "v17" "v18" "v19" "v20" "v21" "v22" "v23" "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextArm64, x), 8);
        assert_eq!(offset_of!(ContextArm64, fp), 240);
        assert_eq!(offset_of!(ContextArm64, sp), 256);
        assert_eq!(offset_of!(ContextArm64, pc), 264);
        assert_eq!(offset_of!(ContextArm64, v), 272);
        assert_eq!(offset_of!(ContextArm64, fpcr), 784);
        assert_eq!(offset_of!(ContextArm64, bcr), 792);
        assert_eq!(offset_of!(ContextArm64, bvr), 824);
        assert_eq!(offset_of!(ContextArm64, wcr), 888);
        assert_eq!(offset_of!(ContextArm64, wvr), 896);
        assert_eq!(field!(ContextArm64Old, x[31]).offset, 256);
        assert_eq!(field!(ContextArm64Old, x[32]).offset, 264);
        assert_eq!(offset_of!(ContextArm64Old, cpsr), 272);
        assert_eq!(offset_of!(ContextArm64Old, fpsr), 276);
        assert_eq!(offset_of!(ContextArm64Old, v), 284);
    }
}
