//! The filler of kernel dump headers: fields that Windows did not set hold the letters `PAGE`.

use zerocopy::byteorder::little_endian::{U32, U64};

/// An unset 32-bit field: `PAGE`.
pub const FILLER_32: u32 = u32::from_le_bytes(*b"PAGE");

/// An unset 64-bit field: `PAGEPAGE`.
pub const FILLER_64: u64 = u64::from_le_bytes(*b"PAGEPAGE");

/// A header field that may be unset.
pub trait Filled {
    /// The type of its value.
    type Value;

    /// Its value; `None` where it holds the filler.
    fn set(&self) -> Option<Self::Value>;
}

impl Filled for U32 {
    type Value = u32;

    fn set(&self) -> Option<u32> {
        Some(self.get()).filter(|value| *value != FILLER_32)
    }
}

impl Filled for U64 {
    type Value = u64;

    fn set(&self) -> Option<u64> {
        Some(self.get()).filter(|value| *value != FILLER_64)
    }
}

/// The text in a field of characters: up to the first NUL; `None` where the field was never set.
#[must_use]
pub fn text(field: &[u8]) -> Option<&[u8]> {
    let filler = b"PAGE".iter().cycle();
    if field.iter().zip(filler).all(|(byte, fill)| byte == fill) {
        return None;
    }
    Some(field.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// Fills `field` with the filler, in phase with its place in the header: `offset` is where it starts.
pub fn fill(field: &mut [u8], offset: usize) {
    for (index, byte) in field.iter_mut().enumerate() {
        *byte = b"PAGE"[(offset + index) % 4];
    }
}
