//! The whole area that the instruction `XSAVE` stores in the standard format, as Linux gives it to debuggers and
//! signal handlers.
//!
//! ```text
//! +0    legacy area        512 bytes: what FXSAVE stores; the last 48 belong to the system
//! +512  XSAVE_AREA_HEADER  64 bytes
//! +576  components         each at the place that the CPU has for it
//! ```
//!
//! The area does not name these places. Intel's CPUs have fixed ones. Those of AMD put the components that they have one
//! after the other. Which it was shows in the size of the area: that of the components that the system has enabled.

use super::layout::{LEGACY_AREA, XSaveHeader, XStateConfig, feature, ordered};
use crate::record::{Endian, Record};

/// Where the first component starts.
const COMPONENTS: usize = LEGACY_AREA + size_of::<XSaveHeader>();

/// An area in the standard format.
#[derive(Clone, Copy, Debug)]
pub struct XSaveArea<'a> {
    bytes: &'a [u8],
    mask: u64,
    enabled: u64,
    is_packed: bool,
}

impl<'a> XSaveArea<'a> {
    /// The area that `bytes` are, where the system has enabled these components (`XCR0`). `None` where there are too
    /// few bytes for legacy area and header, or the format is the compacted one.
    #[must_use]
    pub fn read(bytes: &'a [u8], enabled: u64) -> Option<Self> {
        let header = XSaveHeader::read(bytes.get(LEGACY_AREA..)?, Endian::Little)?;
        let is_fixed = end(enabled, feature::default_offset).is_some_and(|end| end <= bytes.len());
        (header.compaction_mask.get() & XSaveHeader::COMPACTED == 0).then(|| Self {
            bytes,
            mask: header.mask.get() & enabled,
            enabled,
            is_packed: !is_fixed
                && end(enabled, |bit| packed_offset(enabled, bit)).is_some_and(|end| end <= bytes.len()),
        })
    }

    /// The components that are enabled, stored or not, a bit for each.
    #[must_use]
    pub const fn enabled(&self) -> u64 {
        self.enabled
    }

    /// What `FXSAVE` stores.
    #[must_use]
    pub fn legacy(&self) -> &'a [u8] {
        &self.bytes[..LEGACY_AREA]
    }

    /// The bytes of a component behind the header; `None` where it is in its initial state, zero, or not known, or not
    /// all of it is there.
    #[must_use]
    pub fn component(&self, bit: u32) -> Option<&'a [u8]> {
        if self.mask & !feature::LEGACY & feature::mask(bit) == 0 {
            return None;
        }
        let start = self.offset_of(bit)?;
        self.bytes.get(start..start.checked_add(feature::default_size(bit)?)?)
    }

    /// The configuration of contexts of `base_size` bytes that are extended by those of `features` that are enabled.
    #[must_use]
    pub fn config(&self, base_size: usize, features: u64) -> XStateConfig {
        let mut config = XStateConfig::for_features(base_size, features & self.enabled);
        for bit in ordered(config.components()) {
            let place = usize::try_from(bit).ok().and_then(|bit| config.features.get_mut(bit));
            let offset = self.offset_of(bit).and_then(|offset| u32::try_from(offset).ok());
            if let (Some(place), Some(offset)) = (place, offset) {
                place.offset = offset.into();
            }
        }
        config
    }

    /// Where a component starts.
    fn offset_of(&self, bit: u32) -> Option<usize> {
        match self.is_packed {
            true => packed_offset(self.enabled, bit),
            false => feature::default_offset(bit),
        }
    }
}

/// The components that have a place in the standard format.
fn placed(enabled: u64) -> impl Iterator<Item = u32> {
    ordered(enabled & !feature::LEGACY).filter(|bit| feature::default_offset(*bit).is_some())
}

/// Where the last component ends; `None` where one has no place.
fn end(enabled: u64, offset_of: impl Fn(u32) -> Option<usize>) -> Option<usize> {
    placed(enabled).try_fold(COMPONENTS, |end, bit| {
        Some(end.max(offset_of(bit)? + feature::default_size(bit)?))
    })
}

/// Where a component starts when those that are enabled lie one after the other.
fn packed_offset(enabled: u64, bit: u32) -> Option<usize> {
    let below = feature::mask(bit).checked_sub(1)?;
    (enabled & feature::mask(bit) != 0).then(|| {
        // Only the last one's size can be no multiple of 64.
        placed(enabled & below)
            .filter_map(feature::default_size)
            .fold(COMPONENTS, |end, size| end + size.next_multiple_of(64))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::super::{XState, write_extended};
    use super::*;

    /// AVX, AVX-512 and protection keys: what servers of both makers have.
    const SERVER: u64 = 0x2E7;

    /// An area of this size where each byte is the number of its 64-byte line, and all components are stored.
    fn area(size: usize) -> Vec<u8> {
        let mut area: Vec<u8> = (0..size).map(|at| u8::try_from(at / 64 % 256).unwrap()).collect();
        area[512..576].fill(0);
        area[512..520].fill(0xFF);
        area
    }

    fn starts(size: usize, enabled: u64) -> Vec<usize> {
        let bytes = area(size);
        let area = XSaveArea::read(&bytes, enabled).unwrap();
        placed(enabled).map(|bit| area.offset_of(bit).unwrap()).collect()
    }

    #[test]
    fn the_size_tells_the_makers_apart() {
        // What CPUID leaf 0Dh says of a Xeon of the Skylake line and of an EPYC of the Zen 4 line.
        assert_eq!(starts(2696, SERVER), [576, 1088, 1152, 1664, 2688]);
        assert_eq!(starts(2440, SERVER), [576, 832, 896, 1408, 2432]);
        // Protection keys without AVX-512: a Xeon whose AVX-512 is off, and an EPYC of the Zen 3 line.
        assert_eq!(starts(2696, 0x207), [576, 2688]);
        assert_eq!(starts(840, 0x207), [576, 832]);
        // With MPX, and with tiles.
        assert_eq!(starts(1088, 0x1F), [576, 960, 1024]);
        assert_eq!(
            starts(11008, 0x60000 | SERVER),
            [576, 1088, 1152, 1664, 2688, 2752, 2816]
        );
    }

    #[test]
    fn components_and_configuration_of_a_packed_area() {
        let bytes = area(2440);
        let area = XSaveArea::read(&bytes, SERVER).unwrap();
        assert_eq!(area.component(feature::AVX512_KMASK), Some([13; 64].as_slice()));
        assert_eq!(area.component(feature::AVX512_ZMM_HI256).unwrap()[..], bytes[896..1408]);
        assert_eq!(area.component(feature::SSE), None, "it is in the legacy area");
        assert_eq!(area.component(feature::MPX_BNDREGS), None);
        let config = area.config(1232, 0xE4 | 1 << feature::AMX_TILEDATA);
        assert_eq!(config.enabled_features.get(), 0xE7);
        assert_eq!(
            (config.offset_of(5), config.offset_of(6), config.offset_of(7)),
            (Some(832), Some(896), Some(1408))
        );
        assert_eq!(config.context_size.get(), 1232 + 48 + 64 + 256 + 64 + 512 + 1024);
    }

    #[test]
    fn initial_state_cut_areas_and_the_other_format() {
        let mut bytes = area(2696);
        bytes[512..520].copy_from_slice(&0x200_u64.to_le_bytes());
        let area = XSaveArea::read(&bytes, SERVER).unwrap();
        assert_eq!(area.component(feature::AVX), None);
        assert_eq!(area.component(feature::PKRU), Some([42; 8].as_slice()));
        assert!(XSaveArea::read(&bytes[..575], SERVER).is_none());
        bytes[512] = 0xE4;
        // Too small for either: the usual places, as far as they are there.
        let cut = XSaveArea::read(&bytes[..1100], SERVER).unwrap();
        assert_eq!(cut.component(feature::AVX).unwrap()[..], bytes[576..832]);
        assert_eq!(cut.component(feature::AVX512_KMASK), None);
        bytes[527] = 0x80;
        assert!(XSaveArea::read(&bytes, SERVER).is_none());
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_from_the_extended_context(stored: u64, is_packed: bool, fill: u8) {
            let mut bytes = vec![fill; if is_packed { 2440 } else { 2696 }];
            bytes[512..520].copy_from_slice(&stored.to_le_bytes());
            bytes[520..528].fill(0);
            let area = XSaveArea::read(&bytes, SERVER).unwrap();
            let config = area.config(1232, SERVER);
            let components: Vec<(u32, &[u8])> = ordered(config.components())
                .filter_map(|bit| Some((bit, area.component(bit)?)))
                .collect();
            let extended = write_extended(&[0; 1232], &config, &components, Endian::Little).unwrap();
            prop_assert_eq!(extended.len(), config.context_size.get() as usize);
            let state = XState::read(&extended, 1232, Endian::Little).unwrap();
            prop_assert_eq!(state.features(), stored & 0x2E4);
            for bit in ordered(0x2E4) {
                prop_assert_eq!(state.component(bit), area.component(bit));
            }
        }

        #[test]
        fn hostile_areas_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), enabled: u64) {
            if let Some(area) = XSaveArea::read(&bytes, enabled) {
                let config = area.config(716, u64::MAX);
                for bit in 0..70 {
                    if let Some(component) = area.component(bit) {
                        prop_assert_eq!(Some(component.len()), config.size_of(bit));
                    }
                }
            }
        }
    }
}
