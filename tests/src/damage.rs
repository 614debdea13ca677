//! Damage, the same every time for the same number.

/// A generator of numbers (`splitmix64`).
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }
}

/// What counts and sizes become.
pub(crate) const EXTREMES: [u64; 8] = [
    0,
    1,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    u64::MAX,
    0x8000_0000,
    0xFFFF_FFF0,
    0x10_0000,
];

/// Damages a dump in one to four places: bytes anywhere or near the tables are changed, the end is cut off, or fields
/// of the header, the directory or the beginning of a stream get extreme values.
pub fn damage(dump: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        match random.below(8) {
            0 => {
                let length = random.below(dump.len() + 1);
                dump.truncate(length);
            }
            1 => {
                let at = random.below(dump.len());
                flip(dump, at, random);
            }
            2 => {
                let at = random.below(dump.len().min(4096));
                flip(dump, at, random);
            }
            3 => {
                let at = 4 * random.below(8);
                extreme(dump, at, random);
            }
            4 => {
                let at = directory(dump) + 4 * random.below(3 * streams(dump));
                extreme(dump, at, random);
            }
            _ => {
                let entry = directory(dump) + 12 * random.below(streams(dump));
                let within = [4, 16, 64, 1024][random.below(4)];
                let at = field(dump, entry + 8) + 4 * random.below(within);
                extreme(dump, at, random);
            }
        }
    }
}

fn field(dump: &[u8], at: usize) -> usize {
    let bytes = at.checked_add(4).and_then(|end| dump.get(at..end));
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(0))
}

fn directory(dump: &[u8]) -> usize {
    field(dump, 12)
}

fn streams(dump: &[u8]) -> usize {
    field(dump, 8).min(64)
}

fn flip(dump: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = dump.get_mut(at) {
        *byte ^= u8::try_from(1 + random.below(255)).unwrap_or(1);
    }
}

fn extreme(dump: &mut [u8], at: usize, random: &mut Random) {
    let value = EXTREMES[random.below(EXTREMES.len())].to_le_bytes();
    let width = if random.below(4) == 0 { 8 } else { 4 };
    if let Some(field) = at.checked_add(width).and_then(|end| dump.get_mut(at..end)) {
        field.copy_from_slice(&value[..width]);
    }
}
