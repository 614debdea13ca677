//! The encoding of `KDDEBUGGER_DATA64` in memory.
//!
//! 64-bit Windows from 8 on keeps the block encoded while no debugger is attached; a crash decodes it, but an image of
//! running memory has it encoded. Debuggers decode each 64-bit word with three numbers: the values of `KiWaitNever` and
//! `KiWaitAlways`, and the address of the byte `KdpDataBlockEncoded`, as Volatility and QEMU's elf2dmp have it:
//!
//! ```text
//! word ^= KiWaitNever;  word = rotate_left(word, KiWaitNever mod 64);  word ^= &KdpDataBlockEncoded;
//! word = swap_bytes(word);  word ^= KiWaitAlways
//! ```
//!
//! All of this is linear, so that each word really is `swap_bytes(rotate_left(word, rotation)) ^ mask`, with one rotation
//! and one mask for the whole block. Two known words betray both: [`Encoding::solve`] needs neither symbols nor code.

use alloc::vec::Vec;

use super::debugger_data::{KdDebuggerData64, plain_size};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::record::Record;

/// How a block is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    rotation: u32,
    mask: u64,
}

/// Words of the block whose plain values are known, by their index: the kernel's base and `MmPageSize`.
const KERN_BASE: usize = 0x18 / 8;
const PAGE_SIZE_WORD: usize = 0x138 / 8;

impl Encoding {
    /// From the values of `KiWaitNever` and `KiWaitAlways` and the address of `KdpDataBlockEncoded`.
    #[must_use]
    pub const fn of_keys(wait_never: u64, wait_always: u64, data_block_encoded: VirtAddr) -> Self {
        let rotation = (wait_never & 63) as u32;
        Self {
            rotation,
            mask: (wait_never.rotate_left(rotation) ^ data_block_encoded.0).swap_bytes() ^ wait_always,
        }
    }

    /// From an encoded block and the address where the kernel's image starts, which the block holds too; `None` where
    /// `bytes` do not start with an encoded block of that kernel.
    #[must_use]
    pub fn solve(bytes: &[u8], kernel_base: VirtAddr) -> Option<Self> {
        let base = word(bytes, KERN_BASE)?;
        let difference = base ^ word(bytes, PAGE_SIZE_WORD)?;
        let wanted = (kernel_base.0 ^ PAGE_SIZE).swap_bytes();
        if difference.count_ones() != wanted.count_ones() {
            return None;
        }
        (0..64)
            .filter(|rotation| difference.rotate_left(*rotation) == wanted)
            .map(|rotation| Self {
                rotation,
                mask: base.rotate_left(rotation).swap_bytes() ^ kernel_base.0,
            })
            .find(|encoding| encoding.decode_start(bytes).is_some())
    }

    /// Decodes one word.
    #[must_use]
    pub const fn decode_word(self, word: u64) -> u64 {
        word.rotate_left(self.rotation).swap_bytes() ^ self.mask
    }

    /// Encodes one word.
    #[must_use]
    pub const fn encode_word(self, word: u64) -> u64 {
        (word ^ self.mask).swap_bytes().rotate_right(self.rotation)
    }

    /// Decodes the block at the start of `bytes`; `None` where the result is not a block, or is not all there. Bytes
    /// behind the block are not looked at.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let size = self.decode_start(bytes)?;
        let block = bytes.get(..usize::try_from(size).ok()?)?;
        Some(self.over_words(block, Self::decode_word))
    }

    /// Encodes a block. Bytes behind its last whole word are left as they are.
    #[must_use]
    pub fn encode(self, block: &[u8]) -> Vec<u8> {
        self.over_words(block, Self::encode_word)
    }

    /// Where `KdpDataBlockEncoded` lies, if these are the values of `KiWaitNever` and `KiWaitAlways`. Every pair of
    /// numbers gives some address; that it lies in the kernel's image shows that they are the right ones.
    #[must_use]
    pub const fn flag_address(self, wait_never: u64, wait_always: u64) -> VirtAddr {
        VirtAddr(wait_never.rotate_left(self.rotation) ^ (self.mask ^ wait_always).swap_bytes())
    }

    /// How far each word is rotated: the low six bits of `KiWaitNever`.
    #[must_use]
    pub const fn rotation(self) -> u32 {
        self.rotation
    }

    fn over_words(self, block: &[u8], change: fn(Self, u64) -> u64) -> Vec<u8> {
        let mut out = block.to_vec();
        for bytes in out.chunks_exact_mut(8) {
            if let Ok(word) = <[u8; 8]>::try_from(&*bytes) {
                bytes.copy_from_slice(&change(self, u64::from_le_bytes(word)).to_le_bytes());
            }
        }
        out
    }

    /// The size of the block, from its header alone.
    fn decode_start(self, bytes: &[u8]) -> Option<u32> {
        let start = self.over_words(bytes.get(..0x18)?, Self::decode_word);
        plain_size(&start)
    }
}

/// How many bytes of memory [`Encoding::solve`] looks at.
pub const SOLVED_BY: usize = (PAGE_SIZE_WORD + 1) * 8;

const _: () = assert!(SOLVED_BY < KdDebuggerData64::SIZE);

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let bytes = bytes.get(index * 8..index * 8 + 8)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::kernel::debugger_data::{DebuggerData, OWNER_TAG};
    use crate::kernel::machine::Machine;

    const ALWAYS: u64 = 0xFEDC_BA98_7654_3210;
    const FLAG: VirtAddr = VirtAddr(0xFFFF_F805_1234_5678);

    #[test]
    fn words_decode_as_the_debugger_does() {
        let encoding = Encoding::of_keys(0x0123_4567_89AB_CDEF, ALWAYS, FLAG);
        assert_eq!(encoding.decode_word(0xDD4B_507C_9CA6_84FC), 0x0000_0380_4742_444B);
        assert_eq!(encoding.decode_word(0x1932_598B_6358_1275), 0xFFFF_F804_7BA0_0000);
        // The low byte is 0x40: the processor rotates by it modulo 64.
        let unrotated = Encoding::of_keys(0x1122_3344_5566_7740, ALWAYS, FLAG);
        assert_eq!(unrotated.decode_word(0xB5AB_DD70_5FEB_FDC6), 0x0000_0380_4742_444B);
    }

    /// A block with the fields that every kernel sets.
    fn block(size: u32, kernel_base: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        bytes[0x10..0x14].copy_from_slice(&OWNER_TAG);
        bytes[0x14..0x18].copy_from_slice(&size.to_le_bytes());
        bytes[0x18..0x20].copy_from_slice(&kernel_base.to_le_bytes());
        bytes[0x138..0x140].copy_from_slice(&0x1000_u64.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn one_rotation_and_one_mask_are_the_three_keys(never: u64, always: u64, flag: u64, word: u64) {
            let mut stepwise = word ^ never;
            stepwise = stepwise.rotate_left(u32::try_from(never % 64).unwrap());
            stepwise = (stepwise ^ flag).swap_bytes() ^ always;
            let encoding = Encoding::of_keys(never, always, VirtAddr(flag));
            prop_assert_eq!(encoding.decode_word(word), stepwise);
            prop_assert_eq!(encoding.encode_word(stepwise), word);
            prop_assert_eq!(encoding.flag_address(never, always), VirtAddr(flag));
        }

        #[test]
        fn a_block_is_decoded_without_its_keys(never: u64, always: u64, flag: u64, size in 0x28_u32..0x75, base in 0_u64..1 << 30) {
            let base = 0xFFFF_F800_0000_0000 | base << 12;
            let plain = block(size * 8, base);
            let keys = Encoding::of_keys(never, always, VirtAddr(flag));
            let mut encoded = keys.encode(&plain);
            encoded.extend([0xA5; 16]);
            let solved = Encoding::solve(&encoded, VirtAddr(base)).expect("it is encoded");
            prop_assert_eq!(solved, keys);
            let decoded = solved.decode(&encoded).expect("it is whole");
            prop_assert_eq!(&decoded, &plain);
            let read = DebuggerData::read(&decoded, Machine::Amd64).unwrap();
            prop_assert_eq!(read.kern_base(), Some(VirtAddr(base)));
        }

        #[test]
        fn other_bytes_are_not_decoded(bytes in prop::collection::vec(any::<u8>(), 0..0x400), never: u64) {
            prop_assert_eq!(Encoding::solve(&bytes, VirtAddr(0xFFFF_F800_0000_0000)), None);
            let decoded = Encoding::of_keys(never, ALWAYS, FLAG).decode(&bytes);
            prop_assert_eq!(decoded, None);
        }
    }
}
