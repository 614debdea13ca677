//! Extended processor state behind a context: AVX, AVX-512, AMX, shadow stacks.
//!
//! An extended context of x86 or AMD64 looks so:
//!
//! ```text
//! +0                          CONTEXT            716 or 1232 bytes, with the XSTATE bit in its flags
//! +base                       CONTEXT_EX         32 bytes: where the other parts lie
//! +base + CONTEXT_EX.XState   XSAVE_AREA_HEADER  64 bytes: which components there are
//!                             components         one after the other
//! ```
//!
//! The part that `CONTEXT_EX` calls XState is the tail of what the instruction `XSAVE` stores: the legacy area of 512
//! bytes in front of it, with the x87 and SSE registers, is left out, as the context has them. Its place differs
//! from thread to thread, because the writer's buffer was aligned to 64 bytes and the record was not.
//!
//! A component is known by its bit in the feature masks. In the *compacted* format, which Windows uses, the components
//! follow each other in the order of their bits; in the *standard* format each has a fixed offset. Both depend
//! on the CPU, so a dump's `MiscInfo` carries an [`XStateConfig`] with sizes and offsets. It is not always complete
//! (Windows leaves out shadow stacks), and for what it lacks the values of Intel's CPUs are used.
//!
//! A component can be stored, or be in its initial state, all zero; then it has room but the bytes mean nothing.
//!
//! # Example
//!
//! An AMD64 context with the upper halves of the YMM registers, made and read again:
//!
//! ```
//! use dotdump_format::Endian;
//! use dotdump_format::minidump::context::xstate::{XState, XStateConfig, feature, write_extended};
//! use dotdump_format::minidump::context::{Context, ContextAmd64};
//!
//! let mut registers = ContextAmd64::default();
//! registers.flt_save.xmm[1] = 0x1111.into();
//! let context = Context::from(registers).write_to(Endian::Little);
//!
//! // All threads of a dump share a configuration, and with it the size of their contexts.
//! let config = XStateConfig::for_features(context.len(), 1 << feature::AVX | 1 << feature::CET_U);
//! let mut upper_halves = [0; 256];
//! upper_halves[16] = 0x22;
//! let extended = write_extended(&context, &config, &[(feature::AVX, &upper_halves)], Endian::Little)?;
//! assert_eq!(extended.len(), 1232 + 48 + 64 + 256 + 16);
//!
//! let state = XState::read(&extended, context.len(), Endian::Little).unwrap().with_config(&config);
//! assert_eq!(state.features(), 1 << feature::AVX);
//! let ymm1 = state.ymm(1).unwrap();
//! assert_eq!((ymm1[0], ymm1[1], ymm1[16]), (0x11, 0x11, 0x22));
//! // Shadow stacks have room in this context, but were not in use.
//! assert_eq!(state.component(feature::CET_U), None);
//! assert_eq!(state.cet_u().unwrap().ia32_pl3_ssp_msr.get(), 0);
//! # Ok::<(), dotdump_format::minidump::context::ContextError>(())
//! ```

mod layout;
mod registers;
mod standard;
mod write;

pub use layout::{ContextChunk, ContextEx, XSaveHeader, XStateConfig, XStateFeature, feature};
pub use registers::{BoundConfig, BoundRegister, CetUser, TileConfig};
pub use standard::XSaveArea;
pub use write::write_extended;

use layout::{LEGACY_AREA, align, ordered};

use crate::record::{Endian, Record};

/// The extended state in a context.
#[derive(Clone, Copy, Debug)]
pub struct XState<'a> {
    /// The base context.
    context: &'a [u8],
    /// `XSAVE_AREA_HEADER` and components, cut to what is there.
    area: &'a [u8],
    chunks: ContextEx,
    header: XSaveHeader,
    config: Option<&'a XStateConfig>,
    endian: Endian,
}

impl<'a> XState<'a> {
    /// The extended state after a context of `base_size` bytes; `None` where there is none.
    ///
    /// The bit in the context's flags is not asked: some writers set it without storing anything, so what counts is
    /// that the bytes make sense. Their end may be missing.
    #[must_use]
    pub fn read(context: &'a [u8], base_size: usize, endian: Endian) -> Option<Self> {
        let (base, extension) = context.split_at_checked(base_size)?;
        if extension.len() < ContextEx::SIZE + XSaveHeader::SIZE {
            return None;
        }
        let chunks = ContextEx::read(extension, endian)?;
        let starts_at_base = |chunk: &ContextChunk| {
            usize::try_from(chunk.offset.get().unsigned_abs()).is_ok_and(|back| back == base_size)
        };
        let legacy = chunks.legacy;
        let start = usize::try_from(chunks.xstate.offset.get()).ok()?;
        let length = usize::try_from(chunks.xstate.length.get()).ok()?;
        // Three chunks are the least that a CONTEXT_EX has.
        if legacy.offset.get() >= 0 || !starts_at_base(&legacy) || start < 24 || length < XSaveHeader::SIZE {
            return None;
        }
        let rest = extension.get(start..)?;
        let area = &rest[..length.min(rest.len())];
        let header = XSaveHeader::read(area, endian)?;
        Some(Self {
            context: base,
            area,
            chunks,
            header,
            config: None,
            endian,
        })
    }

    /// The same with the sizes and offsets that the dump has for the components, instead of usual ones.
    #[must_use]
    pub const fn with_config(mut self, config: &'a XStateConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Where the parts of the context lie, as it says itself.
    #[must_use]
    pub const fn chunks(&self) -> &ContextEx {
        &self.chunks
    }

    /// The header of the components.
    #[must_use]
    pub const fn header(&self) -> &XSaveHeader {
        &self.header
    }

    /// Whether the components follow each other, rather than having fixed places.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.header.compaction_mask.get() & XSaveHeader::COMPACTED != 0
    }

    /// Which components are stored, a bit for each. All others are zero.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.header.mask.get() & self.present() & !feature::LEGACY
    }

    /// Which components the context has room for, a bit for each. Those that are not stored are in their initial state,
    /// zero. The standard format does not say; the configuration is asked.
    #[must_use]
    pub fn present(&self) -> u64 {
        let all = if self.is_compacted() {
            self.header.compaction_mask.get()
        } else {
            self.header.mask.get() | self.config.map_or(0, |config| config.enabled_features.get())
        };
        all & !XSaveHeader::COMPACTED & !feature::LEGACY
    }

    /// The bytes of a component; `None` where it is not stored, or not all of it is there.
    #[must_use]
    pub fn component(&self, bit: u32) -> Option<&'a [u8]> {
        self.stored_part(bit, 0, self.size_of(bit)?)
    }

    /// `size` bytes of a component that start `within` bytes into it. They can be there although the component is cut.
    fn stored_part(&self, bit: u32, within: usize, size: usize) -> Option<&'a [u8]> {
        if self.features() & feature::mask(bit) == 0 || within.checked_add(size)? > self.size_of(bit)? {
            return None;
        }
        let start = self.offset_of(bit)?.checked_add(within)?;
        self.area.get(start..start.checked_add(size)?)
    }

    /// As [`XState::stored_part`], and zeros for a component in its initial state.
    fn part<const N: usize>(&self, bit: u32, within: usize) -> Option<[u8; N]> {
        let stored = self.features() & feature::mask(bit) != 0;
        if !stored && self.present() & feature::mask(bit) != 0 {
            return Some([0; N]);
        }
        self.stored_part(bit, within, N)?.try_into().ok()
    }

    fn size_of(&self, bit: u32) -> Option<usize> {
        self.config
            .and_then(|config| config.size_of(bit))
            .or_else(|| feature::default_size(bit))
    }

    /// Where a component starts, in bytes from the start of the area.
    fn offset_of(&self, bit: u32) -> Option<usize> {
        if !self.is_compacted() {
            let offset = self
                .config
                .and_then(|config| config.offset_of(bit))
                .or_else(|| feature::default_offset(bit))?;
            // What lies in front of the header's end is no component.
            return offset
                .checked_sub(LEGACY_AREA)
                .filter(|start| *start >= XSaveHeader::SIZE);
        }
        let mut end = XSaveHeader::SIZE;
        for earlier in ordered(self.present()) {
            let start = align(end, earlier);
            if earlier == bit {
                return Some(start);
            }
            end = start.checked_add(self.size_of(earlier)?)?;
        }
        None
    }
}

#[cfg(test)]
mod tests;
