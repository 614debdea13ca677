//! Contexts as they go into a dump: with extended state only where it was asked for.

use dotdump_format::Error;
use dotdump_format::minidump::context;
use dotdump_format::minidump::{LocationDescriptor, MiniDumpType};
use dotdump_snapshot::Blob;

use super::Planner;
use crate::options::MiniOptions;

impl Planner<'_> {
    /// Places a context; the empty location where there is none.
    pub(super) fn context(&mut self, context: Option<&Blob>) -> Result<LocationDescriptor, Error> {
        let Some(blob) = context else { return Ok(LocationDescriptor::default()) };
        let bytes = self.snapshot.bytes(blob)?;
        let (architecture, endian) = (self.snapshot.architecture(), self.snapshot.endian());
        let keeps_state = self.options().contains(MiniOptions::AVX_STATE)
            && context::has_extended_state(&bytes, architecture, endian);
        let bytes = if keeps_state {
            self.flags |= MiniDumpType::WITH_AVX_XSTATE_CONTEXT;
            bytes.into_owned()
        } else {
            context::truncate_to_base(&bytes, architecture, endian)
        };
        // Readers that borrow a context want its vector registers aligned.
        self.layout.align(16);
        let offset = self.layout.push_bytes(&bytes);
        self.layout.location(offset, bytes.len() as u64, "CONTEXT")
    }
}
