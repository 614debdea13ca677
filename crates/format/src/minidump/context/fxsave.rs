//! What the instruction `FXSAVE` stores: x87 and SSE registers, in one layout for x86 and AMD64.

use zerocopy::byteorder::little_endian::{U16, U32, U128};

use super::registers::{Float80, RegisterFile, RegisterValue};
use crate::record::record;

record! {
    /// One x87 register in the image of `FXSAVE`, 16 bytes.
    pub struct StSlot[16] {
        /// The register. An MMX register is its significand.
        pub value: Float80,
        /// Reserved.
        pub reserved: [u8; 6],
    }

    /// `XSAVE_FORMAT` (`winnt.h`), 512 bytes: the image of `FXSAVE`. Its form is that of a 32-bit program, with
    /// selectors, on AMD64 as well.
    pub struct FxSave[512] {
        /// x87 control word.
        pub control_word: U16,
        /// x87 status word.
        pub status_word: U16,
        /// x87 tags in short form: a bit for each register in use.
        pub tag_word: u8,
        /// Reserved.
        pub reserved1: u8,
        /// The last x87 opcode.
        pub error_opcode: U16,
        /// Where the last x87 instruction is.
        pub error_offset: U32,
        /// Its code selector.
        pub error_selector: U16,
        /// Reserved.
        pub reserved2: U16,
        /// Where its operand is.
        pub data_offset: U32,
        /// The selector of the operand.
        pub data_selector: U16,
        /// Reserved.
        pub reserved3: U16,
        /// SSE control and status.
        pub mx_csr: U32,
        /// The bits of MXCSR that the CPU has.
        pub mx_csr_mask: U32,
        /// ST(0) to ST(7), counted from the top of the stack.
        pub st: [StSlot; 8],
        /// XMM0 to XMM15; x86 has the first eight only.
        pub xmm: [U128; 16],
        /// Reserved, or used by the operating system.
        pub reserved4: [u8; 96],
    }
}

impl RegisterFile for StSlot {
    fn at(&self, index: usize) -> Option<RegisterValue> {
        self.value.at(index)
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(FxSave, error_opcode), 6);
        assert_eq!(offset_of!(FxSave, error_offset), 8);
        assert_eq!(offset_of!(FxSave, data_offset), 16);
        assert_eq!(offset_of!(FxSave, mx_csr), 24);
        assert_eq!(offset_of!(FxSave, st), 32);
        assert_eq!(offset_of!(FxSave, xmm), 160);
    }
}
