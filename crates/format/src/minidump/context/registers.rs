//! Registers by name: what a context holds, without knowing its CPU.

use alloc::vec::Vec;
use core::fmt;

use zerocopy::byteorder::little_endian::{U16, U32, U64, U128};

use super::field::Fields;
use crate::record::{Record, record};

record! {
    /// An x87 register, 10 bytes: a floating-point number of 80 bits.
    pub struct Float80[10] {
        /// The significand; its top bit is the integer bit.
        pub significand: U64,
        /// The sign (bit 15) and the exponent, biased by 16383.
        pub sign_exponent: U16,
    }
}

impl Float80 {
    /// Its 80 bits as a number.
    #[must_use]
    pub fn bits(&self) -> u128 {
        u128::from(self.sign_exponent.get()) << 64 | u128::from(self.significand.get())
    }
}

/// The value of a register, as wide as the register. Displayed in hexadecimal with all its digits.
///
/// ```
/// use dotdump_format::minidump::context::RegisterValue;
///
/// assert_eq!(RegisterValue::U32(0x1F80).to_string(), "0x00001f80");
/// assert_eq!(RegisterValue::U32(0x1F80).low_u64(), 0x1F80);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterValue {
    /// 8 bits.
    U8(u8),
    /// 16 bits.
    U16(u16),
    /// 32 bits.
    U32(u32),
    /// 64 bits.
    U64(u64),
    /// The 80 bits of an x87 register.
    U80(u128),
    /// 128 bits.
    U128(u128),
}

impl RegisterValue {
    /// How wide the register is, in bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::U8(_) => 8,
            Self::U16(_) => 16,
            Self::U32(_) => 32,
            Self::U64(_) => 64,
            Self::U80(_) => 80,
            Self::U128(_) => 128,
        }
    }

    /// The value as a number.
    #[must_use]
    pub fn value(self) -> u128 {
        match self {
            Self::U8(value) => value.into(),
            Self::U16(value) => value.into(),
            Self::U32(value) => value.into(),
            Self::U64(value) => value.into(),
            Self::U80(value) | Self::U128(value) => value,
        }
    }

    /// The low 64 bits of the value: all of it for general registers.
    #[must_use]
    pub fn low_u64(self) -> u64 {
        u64::try_from(self.value() & u128::from(u64::MAX)).unwrap_or_default()
    }
}

impl fmt::Display for RegisterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::try_from(self.bits() / 4).unwrap_or(0);
        write!(f, "{:#0width$x}", self.value(), width = digits + 2)
    }
}

/// A field that holds one register or, as an array, several.
pub(super) trait RegisterFile {
    /// The register with this index.
    fn at(&self, index: usize) -> Option<RegisterValue>;
}

macro_rules! register_files {
    ($($field:ty => |$value:ident| $register:expr;)*) => {
        $(
            impl RegisterFile for $field {
                fn at(&self, index: usize) -> Option<RegisterValue> {
                    let $value = self;
                    (index == 0).then(|| $register)
                }
            }
        )*
    };
}

register_files! {
    u8 => |value| RegisterValue::U8(*value);
    U16 => |value| RegisterValue::U16(value.get());
    U32 => |value| RegisterValue::U32(value.get());
    U64 => |value| RegisterValue::U64(value.get());
    U128 => |value| RegisterValue::U128(value.get());
    Float80 => |value| RegisterValue::U80(value.bits());
}

impl<T: RegisterFile, const N: usize> RegisterFile for [T; N] {
    fn at(&self, index: usize) -> Option<RegisterValue> {
        self.get(index)?.at(0)
    }
}

/// A list of registers with their names.
pub(super) type Named = Vec<(&'static str, RegisterValue)>;

/// The context record of a CPU.
pub(super) trait CpuContext: Record {
    /// Where the numbers are that every context has.
    const FIELDS: Fields;

    /// Adds the general-purpose registers, the instruction and stack pointers and the CPU's flags.
    fn general(&self, registers: &mut Named);

    /// Adds all other registers.
    fn special(&self, registers: &mut Named);
}

/// Says for a context record where the numbers are that every context has, and lists names beside the fields: one name
/// for a register, as many as there are elements for an array.
macro_rules! cpu_context {
    (
        $record:ident {
            flags: $flags:ident,
            ip: $ip:ident $([$ip_index:literal])?,
            sp: $sp:ident $([$sp_index:literal])?,
            fp: $fp:expr,
            lr: $lr:expr,
        }
        general { $($($general:ident).+: $($general_name:literal)+;)* }
        special { $($($special:ident).+: $($special_name:literal)+;)* }
    ) => {
        impl $crate::minidump::context::registers::CpuContext for $record {
            const FIELDS: $crate::minidump::context::field::Fields = $crate::minidump::context::field::Fields {
                flags: field!($record, $flags),
                ip: field!($record, $ip $([$ip_index])?),
                sp: field!($record, $sp $([$sp_index])?),
                fp: $fp,
                lr: $lr,
            };

            fn general(&self, registers: &mut $crate::minidump::context::registers::Named) {
                use $crate::minidump::context::registers::RegisterFile;
                $(
                    let names = [$($general_name),+];
                    registers.extend((0..).zip(names).filter_map(|(i, name)| Some((name, self.$($general).+.at(i)?))));
                )*
            }

            fn special(&self, registers: &mut $crate::minidump::context::registers::Named) {
                use $crate::minidump::context::registers::RegisterFile;
                $(
                    let names = [$($special_name),+];
                    registers.extend((0..).zip(names).filter_map(|(i, name)| Some((name, self.$($special).+.at(i)?))));
                )*
            }
        }
    };
}
pub(super) use cpu_context;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn values_show_all_digits() {
        assert_eq!(RegisterValue::U16(0x33).to_string(), "0x0033");
        assert_eq!(RegisterValue::U64(0xF8).to_string(), "0x00000000000000f8");
        assert_eq!(RegisterValue::U80(1).to_string(), "0x00000000000000000001");
        assert_eq!(
            RegisterValue::U128(u128::MAX).to_string(),
            "0xffffffffffffffffffffffffffffffff"
        );
        assert_eq!(RegisterValue::U128(u128::MAX - 1).low_u64(), u64::MAX - 1);
    }

    #[test]
    fn one_as_an_x87_register() {
        let one = Float80 {
            significand: (1 << 63).into(),
            sign_exponent: 0x3FFF.into(),
        };
        assert_eq!(one.at(0), Some(RegisterValue::U80(0x3FFF_8000_0000_0000_0000)));
    }
}
