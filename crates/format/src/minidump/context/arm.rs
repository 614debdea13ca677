//! The contexts of 32-bit ARM: Windows and Breakpad each have their own.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::field::field;
use super::registers::cpu_context;
use crate::record::record;

record! {
    /// `CONTEXT` of ARM (`winnt.h`), 416 bytes.
    pub struct ContextArm[416] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// R0 to R12.
        pub r: [U32; 13],
        /// Stack pointer (R13).
        pub sp: U32,
        /// Link register (R14).
        pub lr: U32,
        /// Instruction pointer (R15).
        pub pc: U32,
        /// Program status.
        pub cpsr: U32,
        /// Floating-point control and status.
        pub fpscr: U32,
        /// Padding.
        pub padding: U32,
        /// D0 to D31; Q*n* is D*2n* with D*2n+1* as its high half.
        pub d: [U64; 32],
        /// Breakpoint addresses.
        pub bvr: [U32; 8],
        /// Breakpoint control.
        pub bcr: [U32; 8],
        /// Watchpoint address.
        pub wvr: [U32; 1],
        /// Watchpoint control.
        pub wcr: [U32; 1],
        /// Padding.
        pub padding2: [U32; 2],
    }

    /// `MDRawContextARM` (Breakpad's `minidump_cpu_arm.h`), 368 bytes.
    pub struct ContextArmBreakpad[368] {
        /// Which parts are valid, see [`ContextFlags`](super::ContextFlags).
        pub context_flags: U32,
        /// R0 to R15; R13 is the stack pointer, R14 the link register, R15 the instruction pointer.
        pub r: [U32; 16],
        /// Program status.
        pub cpsr: U32,
        /// Floating-point control and status.
        pub fpscr: U64,
        /// D0 to D31.
        pub d: [U64; 32],
        /// Meant for further floating-point state; zero.
        pub extra: [U32; 8],
    }
}

cpu_context! {
    ContextArm {
        flags: context_flags,
        ip: pc,
        sp: sp,
        fp: Some(field!(ContextArm, r[11])),
        lr: Some(field!(ContextArm, lr)),
    }
    general {
        r: "r0" "r1" "r2" "r3" "r4" "r5" "r6" "r7" "r8" "r9" "r10" "r11" "r12";
        sp: "sp";
        lr: "lr";
        pc: "pc";
        cpsr: "cpsr";
    }
    special {
        fpscr: "fpscr";
        d: "d0" "d1" "d2" "d3" "d4" "d5" "d6" "d7" "d8" "d9" "d10" "d11" "d12" "d13" "d14" "d15"
            "d16" "d17" "d18" "d19" "d20" "d21" "d22" "d23" "d24" "d25" "d26" "d27" "d28" "d29" "d30" "d31";
        bvr: "bvr0" "bvr1" "bvr2" "bvr3" "bvr4" "bvr5" "bvr6" "bvr7";
        bcr: "bcr0" "bcr1" "bcr2" "bcr3" "bcr4" "bcr5" "bcr6" "bcr7";
        wvr: "wvr0";
        wcr: "wcr0";
    }
}

cpu_context! {
    ContextArmBreakpad {
        flags: context_flags,
        ip: r[15],
        sp: r[13],
        fp: Some(field!(ContextArmBreakpad, r[11])),
        lr: Some(field!(ContextArmBreakpad, r[14])),
    }
    general {
        r: "r0" "r1" "r2" "r3" "r4" "r5" "r6" "r7" "r8" "r9" "r10" "r11" "r12" "sp" "lr" "pc";
        cpsr: "cpsr";
    }
    special {
        fpscr: "fpscr";
        d: "d0" "d1" "d2" "d3" "d4" "d5" "d6" "d7" "d8" "d9" "d10" "d11" "d12" "d13" "d14" "d15"
            "d16" "d17" "d18" "d19" "d20" "d21" "d22" "d23" "d24" "d25" "d26" "d27" "d28" "d29" "d30" "d31";
        extra: "extra0" "extra1" "extra2" "extra3" "extra4" "extra5" "extra6" "extra7";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextArm, sp), 56);
        assert_eq!(offset_of!(ContextArm, pc), 64);
        assert_eq!(offset_of!(ContextArm, fpscr), 72);
        assert_eq!(offset_of!(ContextArm, d), 80);
        assert_eq!(offset_of!(ContextArm, bvr), 336);
        assert_eq!(offset_of!(ContextArm, bcr), 368);
        assert_eq!(offset_of!(ContextArm, wvr), 400);
        assert_eq!(offset_of!(ContextArm, wcr), 404);
        assert_eq!(offset_of!(ContextArmBreakpad, cpsr), 68);
        assert_eq!(offset_of!(ContextArmBreakpad, fpscr), 72);
        assert_eq!(offset_of!(ContextArmBreakpad, d), 80);
        assert_eq!(offset_of!(ContextArmBreakpad, extra), 336);
    }
}
