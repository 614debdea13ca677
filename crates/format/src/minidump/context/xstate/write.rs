//! Writing an extended context.

use alloc::vec::Vec;

use zerocopy::IntoBytes;

use super::super::ContextError;
use super::layout::{
    ContextChunk, ContextEx, XSaveHeader, XStateConfig, align, area_offset, extensible, feature, ordered,
};
use crate::record::{Endian, Record};

/// An extended context: `context` (an x86 or AMD64 context of its base size), and after it components in the compacted
/// format, each given by its bit in the feature masks and its bytes. The flags of the result say that it is extended.
///
/// There is room for all components of `config`, so that the contexts of all threads have one size,
/// [`XStateConfig::context_size`] where [`XStateConfig::for_features`] made it. Those that are not given are in their
/// initial state; the end of one that is given with fewer bytes is zero.
///
/// # Errors
/// [`ContextError::NotExtensible`] where `context` is something else; [`ContextError::Component`] where `config` lists
/// a component without a known size, or one is given that it does not list or that is larger than it says.
pub fn write_extended(
    context: &[u8],
    config: &XStateConfig,
    components: &[(u32, &[u8])],
    endian: Endian,
) -> Result<Vec<u8>, ContextError> {
    let base = context.len();
    let unfit = ContextError::NotExtensible { size: base };
    let kind = extensible(base).ok_or(unfit)?;

    let mut mask = 0;
    for (bit, bytes) in components {
        mask |= config.components() & feature::mask(*bit);
        if mask & feature::mask(*bit) == 0 {
            let (bit, size) = (*bit, bytes.len());
            return Err(ContextError::Component { bit, size, expected: 0 });
        }
    }

    let mut area = Vec::new();
    let header = XSaveHeader {
        mask: mask.into(),
        compaction_mask: (config.components() | XSaveHeader::COMPACTED).into(),
        ..XSaveHeader::default()
    };
    area.extend_from_slice(header.in_order(endian).as_bytes());
    for bit in ordered(config.components()) {
        let bytes = components
            .iter()
            .find_map(|(other, bytes)| (*other == bit).then_some(*bytes))
            .unwrap_or_default();
        let expected = config.size_of(bit).or_else(|| feature::default_size(bit)).unwrap_or(0);
        let start = align(area.len(), bit);
        let end = start
            .checked_add(expected)
            .filter(|end| *end <= MAX_AREA && expected > 0 && bytes.len() <= expected);
        let size = bytes.len();
        let end = end.ok_or(ContextError::Component { bit, size, expected })?;
        area.resize(start, 0);
        area.extend_from_slice(bytes);
        area.resize(end, 0);
    }

    let offset = area_offset(base);
    let chunk = |offset: i64, length: usize| -> Result<ContextChunk, ContextError> {
        Ok(ContextChunk {
            offset: i32::try_from(offset).map_err(|_| unfit)?.into(),
            length: u32::try_from(length).map_err(|_| unfit)?.into(),
        })
    };
    let before = -i64::try_from(base).map_err(|_| unfit)?;
    let chunks = ContextEx {
        all: chunk(before, base + offset + area.len())?,
        legacy: chunk(before, base)?,
        xstate: chunk(i64::try_from(offset).map_err(|_| unfit)?, area.len())?,
        kernel_cet: ContextChunk::default(),
    };

    let mut extended = context.to_vec();
    if let Some(mut flags) = kind.flags_of(context, endian) {
        flags.0 |= kind.xstate_bit();
        kind.set_flags_of(&mut extended, endian, flags);
    }
    extended.extend_from_slice(chunks.in_order(endian).as_bytes());
    extended.resize(base + offset, 0);
    extended.extend_from_slice(&area);
    Ok(extended)
}

/// The most bytes of extended state. All known components need 11 KiB; a hostile file's configuration may claim any.
const MAX_AREA: usize = 1 << 20;
