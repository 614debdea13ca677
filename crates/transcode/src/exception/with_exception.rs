//! A process with another exception.

use std::borrow::Cow;

use dotdump_format::Error;
use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_snapshot::{Blob, ProcessSnapshot};

use crate::pass_on::pass_on;

/// A process with another exception than its own, or with its own. All else is that of the process.
pub(crate) struct WithException<'a> {
    inner: &'a dyn ProcessSnapshot,
    exception: Option<(ExceptionStream, Option<Blob>)>,
}

impl<'a> WithException<'a> {
    /// `inner` with `exception`; as it is where that is `None`.
    pub(crate) fn new(inner: &'a dyn ProcessSnapshot, exception: Option<(ExceptionStream, Option<Blob>)>) -> Self {
        Self { inner, exception }
    }
}

impl ProcessSnapshot for WithException<'_> {
    pass_on!(
        endian,
        header,
        system_info,
        csd_version,
        architecture,
        threads,
        modules,
        memory,
        has_regions,
        regions,
        region_at,
        stream,
        misc_info,
        missing_bytes,
        first_missing,
        is_resident_only,
        environment_block,
        other_code,
        unwind_infos,
        findings
    );

    fn exception(&self) -> Option<(&ExceptionStream, Option<&Blob>)> {
        match &self.exception {
            Some((record, context)) => Some((record, context.as_ref())),
            None => self.inner.exception(),
        }
    }

    fn stream_types(&self) -> Vec<StreamType> {
        let mut types = self.inner.stream_types();
        if self.exception.is_some() && !types.contains(&StreamType::EXCEPTION) {
            types.push(StreamType::EXCEPTION);
        }
        types
    }

    fn bytes<'a>(&'a self, blob: &'a Blob) -> Result<Cow<'a, [u8]>, Error> {
        match blob {
            Blob::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Blob::File { .. } => self.inner.bytes(blob),
        }
    }
}
