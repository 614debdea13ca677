//! Addresses of 32-bit machines in fields of 64 bits.

/// The low 32 bits.
#[must_use]
pub(super) const fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 32 bits, with copies of the highest of them above.
#[must_use]
pub(super) const fn extend(value: u64) -> u64 {
    let low = value & 0xFFFF_FFFF;
    if low >> 31 == 1 {
        low | 0xFFFF_FFFF_0000_0000
    } else {
        low
    }
}
