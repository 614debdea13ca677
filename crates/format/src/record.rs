//! Fixed-size records: one definition gives the layout in memory, on disk, and for both byte orders.
//!
//! A record is a `#[repr(C)]` struct of alignment-1 little-endian fields, so a little-endian file's bytes *are*
//! the record and can be borrowed. For a big-endian file the same struct is read by value and its fields are
//! swapped ([`SwapBytes`]).

use zerocopy::byteorder::little_endian::{I16, I32, I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Endian {
    /// Least significant byte first: all that Windows, Crashpad and today's Breakpad write.
    #[default]
    Little,
    /// Most significant byte first: old Breakpad dumps of PowerPC, MIPS and SPARC programs.
    Big,
}

/// Reverses the bytes of every integer in place.
pub trait SwapBytes {
    /// Reverses the bytes of every integer in place.
    fn swap_bytes(&mut self);
}

impl SwapBytes for u8 {
    fn swap_bytes(&mut self) {}
}

macro_rules! swap_integer {
    ($($name:ident)*) => {
        $(impl SwapBytes for $name {
            fn swap_bytes(&mut self) {
                self.as_mut_bytes().reverse();
            }
        })*
    };
}
swap_integer!(U16 U32 U64 U128 I16 I32 I64);

impl<T: SwapBytes, const N: usize> SwapBytes for [T; N] {
    fn swap_bytes(&mut self) {
        for item in self {
            item.swap_bytes();
        }
    }
}

/// A fixed-size record of a dump file.
pub trait Record: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + SwapBytes + Copy {
    /// Its size in the file, in bytes.
    const SIZE: usize = size_of::<Self>();

    /// Reads it from the first [`Record::SIZE`] bytes, or `None` where there are fewer.
    #[must_use]
    fn read(bytes: &[u8], endian: Endian) -> Option<Self> {
        let (mut record, _) = Self::read_from_prefix(bytes).ok()?;
        if endian == Endian::Big {
            record.swap_bytes();
        }
        Some(record)
    }

    /// Reads it from as many bytes as there are; the fields beyond are zero. For records that grew over the years.
    #[must_use]
    fn read_partial(bytes: &[u8], endian: Endian) -> Self {
        let mut record = Self::new_zeroed();
        let known = bytes.len().min(Self::SIZE);
        record.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
        if endian == Endian::Big {
            record.swap_bytes();
        }
        record
    }

    /// The record with its bytes in the order of a file of byte order `endian`, ready for [`IntoBytes::as_bytes`].
    #[must_use]
    fn in_order(mut self, endian: Endian) -> Self {
        if endian == Endian::Big {
            self.swap_bytes();
        }
        self
    }
}

/// Defines a record: its fields in file order, its size (checked when compiling), and the traits it needs.
///
/// ```text
/// record! {
///     /// `MINIDUMP_LOCATION_DESCRIPTOR` (`minidumpapiset.h`), 8 bytes: where something lies in the file.
///     pub struct LocationDescriptor[8] {
///         /// Size in bytes.
///         pub data_size: U32,
///         /// Where it starts.
///         pub rva: U32,
///     }
/// }
/// ```
macro_rules! record {
    ($($(#[$doc:meta])* pub struct $name:ident[$size:literal] { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* })+) => {
        $(
            $(#[$doc])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq,
                ::zerocopy::FromBytes, ::zerocopy::IntoBytes, ::zerocopy::Immutable, ::zerocopy::KnownLayout, ::zerocopy::Unaligned,
            )]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            const _: () = assert!(size_of::<$name>() == $size);

            impl $crate::record::SwapBytes for $name {
                fn swap_bytes(&mut self) {
                    $($crate::record::SwapBytes::swap_bytes(&mut self.$field);)*
                }
            }

            impl $crate::record::Record for $name {}

            impl Default for $name {
                /// All fields zero.
                fn default() -> Self {
                    ::zerocopy::FromZeros::new_zeroed()
                }
            }
        )+
    };
}
pub(crate) use record;
