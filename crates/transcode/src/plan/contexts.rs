//! Contexts as they go into a dump: with extended state only where it was asked for.

use dotdump_format::Error;
use dotdump_format::minidump::context::xstate::{XState, XStateConfig};
use dotdump_format::minidump::context::{ContextKind, truncate_to_base};
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::{LocationDescriptor, MiniDumpType};
use dotdump_snapshot::Blob;

use super::Planner;
use crate::options::MiniOptions;

impl Planner<'_> {
    /// Places a context; the empty location where there is none.
    pub(super) fn context(&mut self, context: Option<&Blob>) -> Result<LocationDescriptor, Error> {
        let Some(blob) = context else {
            return Ok(LocationDescriptor::default());
        };
        let bytes = self.snapshot.bytes(blob)?;
        let (architecture, endian) = (self.snapshot.architecture(), self.snapshot.endian());
        let kind = ContextKind::of(&bytes, architecture, endian);
        let keeps_state = self.options().contains(MiniOptions::AVX_STATE)
            && kind.is_some_and(|kind| XState::read(&bytes, kind.base_size(), endian).is_some());
        let mut bytes = if keeps_state {
            self.flags |= MiniDumpType::WITH_AVX_XSTATE_CONTEXT;
            bytes.into_owned()
        } else {
            truncate_to_base(&bytes, architecture, endian)
        };
        // What was going on when the system took the context, in bits that other writers use for other processors:
        // readers that compare the bits give up on such a context.
        if let Some(kind) = kind
            && let Some(flags) = kind.flags_of(&bytes, endian)
        {
            kind.set_flags_of(&mut bytes, endian, flags.without_state(kind));
        }
        // Readers that borrow a context want its vector registers aligned.
        self.layout.align(16);
        let offset = self.layout.push_bytes(&bytes);
        self.layout.location(offset, bytes.len() as u64, "CONTEXT")
    }
}

/// MiscInfo as it goes into a dump: it describes extended state only where there is some.
pub(super) fn misc_info(misc: MiscInfo, keeps_state: bool) -> MiscInfo {
    if keeps_state {
        misc
    } else {
        misc_info_without_state(misc)
    }
}

/// MiscInfo that describes no extended state.
pub(crate) fn misc_info_without_state(mut misc: MiscInfo) -> MiscInfo {
    misc.record.xstate_data = XStateConfig::default();
    misc
}
