//! `GUID`: the ids of programs' debug information and of crash reports.

use alloc::string::String;
use core::fmt;

use zerocopy::byteorder::little_endian::{U16, U32};

use crate::record::record;

record! {
    /// `GUID` (`guiddef.h`), 16 bytes. Its first three fields follow the byte order of the file.
    pub struct Guid[16] {
        /// Digits 1 to 8.
        pub data1: U32,
        /// Digits 9 to 12.
        pub data2: U16,
        /// Digits 13 to 16.
        pub data3: U16,
        /// Digits 17 to 32.
        pub data4: [u8; 8],
    }
}

impl Guid {
    /// The GUID whose digits, as text, are those of `digits` in order.
    #[must_use]
    pub const fn from_digits(digits: u128) -> Self {
        let [a, b, c, d, e, f, g, h, data4 @ ..] = digits.to_be_bytes();
        Self {
            data1: U32::from_bytes([d, c, b, a]),
            data2: U16::from_bytes([f, e]),
            data3: U16::from_bytes([h, g]),
            data4,
        }
    }

    /// Its 32 digits as one number: what [`Guid::from_digits`] takes.
    #[must_use]
    pub fn digits(&self) -> u128 {
        u128::from(self.data1.get()) << 96
            | u128::from(self.data2.get()) << 80
            | u128::from(self.data3.get()) << 64
            | u128::from(u64::from_be_bytes(self.data4))
    }

    /// Its digits in upper case without hyphens, as symbol stores have it.
    #[must_use]
    pub fn to_symbol_id(&self) -> String {
        alloc::format!("{:032X}", self.digits())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = u64::from_be_bytes(self.data4);
        let (data1, data2, data3) = (self.data1.get(), self.data2.get(), self.data3.get());
        write!(
            f,
            "{data1:08x}-{data2:04x}-{data3:04x}-{:04x}-{:012x}",
            tail >> 48,
            tail & 0xFFFF_FFFF_FFFF
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Endian, Record};
    use alloc::string::ToString;

    // Bytes and text: the report id of Crashpad's test dump as `minidump-stackwalk --dump` prints it.
    const BYTES: [u8; 16] = [
        0xA6, 0x58, 0x50, 0x72, 0x89, 0x72, 0x0F, 0x48, 0x8A, 0x41, 0x51, 0x7B, 0xD0, 0xBA, 0x21, 0x6B,
    ];

    #[test]
    fn text_of_known_bytes() {
        let guid = Guid::read(&BYTES, Endian::Little).unwrap();
        assert_eq!(guid.to_string(), "725058a6-7289-480f-8a41-517bd0ba216b");
        assert_eq!(guid.to_symbol_id(), "725058A67289480F8A41517BD0BA216B");
        assert_eq!(guid, Guid::from_digits(0x7250_58A6_7289_480F_8A41_517B_D0BA_216B));
    }

    #[test]
    fn a_big_endian_file_has_the_digits_in_order() {
        let guid = Guid::read(
            &0x7250_58A6_7289_480F_8A41_517B_D0BA_216B_u128.to_be_bytes(),
            Endian::Big,
        )
        .unwrap();
        assert_eq!(guid.to_string(), "725058a6-7289-480f-8a41-517bd0ba216b");
    }
}
