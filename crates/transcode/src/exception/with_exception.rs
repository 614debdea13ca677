//! A process with another exception.

use std::borrow::Cow;

use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::system_info::{ProcessorArchitecture, SystemInfo};
use dotdump_format::minidump::{Header, StreamType};
use dotdump_format::{Endian, Error, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::{Blob, Content, Memory, ModuleSnapshot, ProcessSnapshot, Region, ThreadSnapshot};

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

    fn endian(&self) -> Endian {
        self.inner.endian()
    }

    fn header(&self) -> &Header {
        self.inner.header()
    }

    fn system_info(&self) -> Option<&SystemInfo> {
        self.inner.system_info()
    }

    fn csd_version(&self) -> &[u16] {
        self.inner.csd_version()
    }

    fn architecture(&self) -> ProcessorArchitecture {
        self.inner.architecture()
    }

    fn threads(&self) -> &[ThreadSnapshot] {
        self.inner.threads()
    }

    fn modules(&self) -> &[ModuleSnapshot] {
        self.inner.modules()
    }

    fn memory(&self) -> &dyn Memory {
        self.inner.memory()
    }

    fn has_regions(&self) -> bool {
        self.inner.has_regions()
    }

    fn regions(&self) -> Box<dyn Iterator<Item = Result<Region, Error>> + '_> {
        self.inner.regions()
    }

    fn region_at(&self, address: VirtAddr) -> Result<Option<Region>, Error> {
        self.inner.region_at(address)
    }

    fn stream(&self, stream_type: StreamType, findings: &mut Findings) -> Result<Option<Content<'_>>, Error> {
        self.inner.stream(stream_type, findings)
    }

    fn misc_info(&self, findings: &mut Findings) -> Result<Option<MiscInfo>, Error> {
        self.inner.misc_info(findings)
    }

    fn bytes<'a>(&'a self, blob: &'a Blob) -> Result<Cow<'a, [u8]>, Error> {
        match blob {
            Blob::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Blob::File { .. } => self.inner.bytes(blob),
        }
    }

    fn first_missing(&self) -> Option<VirtAddr> {
        self.inner.first_missing()
    }

    fn missing_bytes(&self) -> u64 {
        self.inner.missing_bytes()
    }

    fn is_resident_only(&self) -> bool {
        self.inner.is_resident_only()
    }

    fn environment_block(&self) -> Option<VirtAddr> {
        self.inner.environment_block()
    }

    fn other_code(&self) -> Result<Vec<VirtRange>, Error> {
        self.inner.other_code()
    }

    fn unwind_infos(&self, each: &mut dyn FnMut(VirtAddr) -> bool) -> Result<(), Error> {
        self.inner.unwind_infos(each)
    }

    fn findings(&self) -> &Findings {
        self.inner.findings()
    }
}
