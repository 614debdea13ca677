//! The records of extended state, and the sizes and places of its components.

use zerocopy::byteorder::little_endian::{I32, U32, U64};

use super::super::ContextKind;
use crate::record::record;

/// The size in bytes of the x87 and SSE part that an `XSAVE` area has in front of its header. A context holds that part
/// itself, so offsets in a context are smaller by this.
pub(super) const LEGACY_AREA: usize = 512;

record! {
    /// `CONTEXT_CHUNK` (`winnt.h`), 8 bytes: a part of an extended context.
    pub struct ContextChunk[8] {
        /// Where it starts, in bytes from the start of the [`ContextEx`]; the base context lies in front of it.
        pub offset: I32,
        /// Its length in bytes. May claim more than the file has.
        pub length: U32,
    }

    /// `CONTEXT_EX` (`winnt.h`), 32 bytes: the parts of an extended context.
    pub struct ContextEx[32] {
        /// Everything.
        pub all: ContextChunk,
        /// The base context.
        pub legacy: ContextChunk,
        /// Header and components.
        pub xstate: ContextChunk,
        /// Shadow stack state of the kernel. Not there in contexts of older systems, where padding or the extended
        /// state takes its place.
        pub kernel_cet: ContextChunk,
    }

    /// `XSAVE_AREA_HEADER` (`winnt.h`), 64 bytes, as the instruction `XSAVE` stores it.
    pub struct XSaveHeader[64] {
        /// `XSTATE_BV`: the components that are not in their initial state. The bits of x87 and SSE do not matter.
        pub mask: U64,
        /// `XCOMP_BV`: [`XSaveHeader::COMPACTED`] and the components that have room; or 0 in the standard format.
        pub compaction_mask: U64,
        /// Reserved.
        pub reserved: [U64; 6],
    }

    /// `XSTATE_FEATURE` (`winnt.h`), 8 bytes: one component.
    pub struct XStateFeature[8] {
        /// Where the component starts in the standard format, in bytes from the start of the `XSAVE` area.
        pub offset: U32,
        /// Its size in bytes; 0 for a component that is not enabled.
        pub size: U32,
    }

    /// `XSTATE_CONFIG_FEATURE_MSC_INFO` (`minidumpapiset.h`), 528 bytes: the extended state of all contexts of a dump.
    /// Part of `MINIDUMP_MISC_INFO_5`.
    pub struct XStateConfig[528] {
        /// The size of this record in bytes; 0 where contexts are not extended.
        pub size_of_info: U32,
        /// The size of an extended context in bytes.
        pub context_size: U32,
        /// The components that the system enabled, x87 and SSE included. Bit 63: in the compacted format. Contexts may
        /// have more components than are named here.
        pub enabled_features: U64,
        /// The components by their bits.
        pub features: [XStateFeature; 64],
    }
}

impl XSaveHeader {
    /// The bit in [`XSaveHeader::compaction_mask`] and [`XStateConfig::enabled_features`] for the compacted format.
    pub const COMPACTED: u64 = 1 << 63;
}

/// The components: their bits, and what is known of them without a dump's configuration.
pub mod feature {
    /// x87 registers; in the context itself.
    pub const X87: u32 = 0;
    /// SSE registers; in the context itself.
    pub const SSE: u32 = 1;
    /// AVX: upper halves of YMM0 to YMM15.
    pub const AVX: u32 = 2;
    /// MPX: bound registers.
    pub const MPX_BNDREGS: u32 = 3;
    /// MPX: configuration and status.
    pub const MPX_BNDCSR: u32 = 4;
    /// AVX-512: mask registers K0 to K7.
    pub const AVX512_KMASK: u32 = 5;
    /// AVX-512: upper halves of ZMM0 to ZMM15.
    pub const AVX512_ZMM_HI256: u32 = 6;
    /// AVX-512: ZMM16 to ZMM31.
    pub const AVX512_HI16_ZMM: u32 = 7;
    /// Processor Trace.
    pub const IPT: u32 = 8;
    /// Protection keys.
    pub const PKRU: u32 = 9;
    /// Process address space identifier.
    pub const PASID: u32 = 10;
    /// Shadow stack of the program.
    pub const CET_U: u32 = 11;
    /// Shadow stacks of the kernel.
    pub const CET_S: u32 = 12;
    /// AMX: configuration of the tiles.
    pub const AMX_TILECFG: u32 = 17;
    /// AMX: tiles.
    pub const AMX_TILEDATA: u32 = 18;
    /// Lightweight profiling (AMD).
    pub const LWP: u32 = 62;

    /// The bits of x87 and SSE.
    pub const LEGACY: u64 = 3;

    /// The mask with only this bit; 0 where there is no such bit.
    #[must_use]
    pub const fn mask(bit: u32) -> u64 {
        match 1_u64.checked_shl(bit) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// The size of a component in bytes on Intel's CPUs; `None` for one that is not known.
    #[must_use]
    pub const fn default_size(bit: u32) -> Option<usize> {
        Some(match bit {
            X87 => 160,
            SSE | AVX => 256,
            MPX_BNDREGS | MPX_BNDCSR | AVX512_KMASK | AMX_TILECFG => 64,
            AVX512_ZMM_HI256 => 512,
            AVX512_HI16_ZMM => 1024,
            IPT | LWP => 128,
            PKRU | PASID => 8,
            CET_U => 16,
            CET_S => 24,
            AMX_TILEDATA => 8192,
            _ => return None,
        })
    }

    /// Where a component starts in the standard format on Intel's CPUs, in bytes from the start of the `XSAVE` area;
    /// `None` for one that is not known or only exists in the compacted format.
    #[must_use]
    pub const fn default_offset(bit: u32) -> Option<usize> {
        Some(match bit {
            X87 => 0,
            SSE => 160,
            AVX => 576,
            MPX_BNDREGS => 960,
            MPX_BNDCSR => 1024,
            AVX512_KMASK => 1088,
            AVX512_ZMM_HI256 => 1152,
            AVX512_HI16_ZMM => 1664,
            PKRU => 2688,
            AMX_TILECFG => 2752,
            AMX_TILEDATA => 2816,
            LWP => 832,
            _ => return None,
        })
    }
}

/// Where the component of this bit starts in the compacted format when the one before it ended at `end`. Offsets in
/// the area serve as well as in the whole record: the legacy area in front is a multiple of 64 bytes.
pub(super) const fn align(end: usize, bit: u32) -> usize {
    match bit {
        feature::AMX_TILECFG | feature::AMX_TILEDATA => match end.checked_next_multiple_of(64) {
            Some(start) => start,
            None => usize::MAX,
        },
        _ => end,
    }
}

/// The bits of a mask in ascending order.
pub(super) fn ordered(mask: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |bit| mask & feature::mask(*bit) != 0)
}

/// Where extended state starts after a context of `base` bytes, in bytes from its end: behind the [`ContextEx`], and in
/// the record on a multiple of 64.
pub(super) const fn area_offset(base: usize) -> usize {
    (base + size_of::<ContextEx>()).next_multiple_of(64) - base
}

impl XStateConfig {
    /// The configuration for contexts of `base_size` bytes with these components, with the sizes and offsets that
    /// Intel's CPUs have. x87 and SSE are always listed. Bits without a known size are left out.
    #[must_use]
    pub fn for_features(base_size: usize, features: u64) -> Self {
        let mut config = Self {
            size_of_info: 528.into(),
            ..Self::default()
        };
        let number = |value: usize| U32::new(u32::try_from(value).unwrap_or(0));
        let mut enabled = 0;
        let mut end = size_of::<XSaveHeader>();
        for bit in ordered(features | feature::LEGACY) {
            let (Some(size), Some(room)) = (feature::default_size(bit), config.features.get_mut(bit as usize)) else {
                continue;
            };
            enabled |= feature::mask(bit);
            let start = align(end, bit);
            if feature::LEGACY & feature::mask(bit) == 0 {
                end = start + size;
            }
            room.size = number(size);
            // A component that only exists in the compacted format gets its place there, as Crashpad has it.
            room.offset = number(feature::default_offset(bit).unwrap_or(LEGACY_AREA + start));
        }
        config.enabled_features = enabled.into();
        let size = base_size
            .saturating_add(area_offset(base_size))
            .saturating_add(config.area_size().unwrap_or(0));
        config.context_size = u32::try_from(size).unwrap_or(u32::MAX).into();
        config
    }

    /// Whether contexts are extended at all.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.size_of_info.get() != 0
    }

    /// The components that follow a context, a bit for each.
    #[must_use]
    pub fn components(&self) -> u64 {
        self.enabled_features.get() & !feature::LEGACY & !XSaveHeader::COMPACTED
    }

    /// The size of a component in bytes; `None` where the dump does not say.
    #[must_use]
    pub fn size_of(&self, bit: u32) -> Option<usize> {
        let size = usize::try_from(self.features.get(usize::try_from(bit).ok()?)?.size.get()).ok()?;
        (size > 0).then_some(size)
    }

    /// Where a component starts in the standard format, in bytes from the start of the `XSAVE` area; `None` where the
    /// dump does not say.
    #[must_use]
    pub fn offset_of(&self, bit: u32) -> Option<usize> {
        self.size_of(bit)?;
        usize::try_from(self.features.get(usize::try_from(bit).ok()?)?.offset.get()).ok()
    }

    /// The size of header and components in the compacted format; `None` where one has no known size or the sum is too
    /// large.
    pub(super) fn area_size(&self) -> Option<usize> {
        ordered(self.components()).try_fold(size_of::<XSaveHeader>(), |end, bit| {
            let size = self.size_of(bit).or_else(|| feature::default_size(bit))?;
            align(end, bit).checked_add(size)
        })
    }
}

/// The kind of a context that can be extended, by its base size.
pub(super) const fn extensible(base: usize) -> Option<ContextKind> {
    const X86: usize = ContextKind::X86.base_size();
    const AMD64: usize = ContextKind::Amd64.base_size();
    match base {
        X86 => Some(ContextKind::X86),
        AMD64 => Some(ContextKind::Amd64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(ContextEx, xstate), 16);
        assert_eq!(offset_of!(ContextEx, kernel_cet), 24);
        assert_eq!(offset_of!(XSaveHeader, compaction_mask), 8);
        assert_eq!(offset_of!(XStateConfig, enabled_features), 8);
        assert_eq!(offset_of!(XStateConfig, features), 16);
    }

    #[test]
    fn canonical_places() {
        assert_eq!(area_offset(1232), 48);
        assert_eq!(area_offset(716), 52);
    }

    #[test]
    fn configuration_for_avx_and_shadow_stacks() {
        let config = XStateConfig::for_features(1232, 1 << feature::AVX | 1 << feature::CET_U | 1 << 40);
        assert_eq!(config.enabled_features.get(), 0x807);
        assert_eq!(config.context_size.get(), 1232 + 48 + 64 + 256 + 16);
        assert_eq!((config.offset_of(2), config.size_of(2)), (Some(576), Some(256)));
        assert_eq!((config.offset_of(11), config.size_of(11)), (Some(576 + 256), Some(16)));
        assert_eq!((config.offset_of(40), config.size_of(64)), (None, None));
        let config = XStateConfig::for_features(1232, 1 << feature::CET_U);
        assert_eq!((config.offset_of(11), config.size_of(11)), (Some(576), Some(16)));
    }
}
