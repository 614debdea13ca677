//! Snapshots that wrap a snapshot: what they do not change is that of the one within.

/// The named methods of [`ProcessSnapshot`](dotdump_snapshot::ProcessSnapshot), for a type that has the wrapped snapshot
/// in its field `inner`.
macro_rules! pass_on {
    ($($method:ident),* $(,)?) => {
        $($crate::pass_on::pass_on!(@ $method);)*
    };
    (@ endian) => {
        fn endian(&self) -> ::dotdump_format::Endian {
            self.inner.endian()
        }
    };
    (@ header) => {
        fn header(&self) -> &::dotdump_format::minidump::Header {
            self.inner.header()
        }
    };
    (@ system_info) => {
        fn system_info(&self) -> Option<&::dotdump_format::minidump::system_info::SystemInfo> {
            self.inner.system_info()
        }
    };
    (@ csd_version) => {
        fn csd_version(&self) -> &[u16] {
            self.inner.csd_version()
        }
    };
    (@ architecture) => {
        fn architecture(&self) -> ::dotdump_format::minidump::system_info::ProcessorArchitecture {
            self.inner.architecture()
        }
    };
    (@ threads) => {
        fn threads(&self) -> &[::dotdump_snapshot::ThreadSnapshot] {
            self.inner.threads()
        }
    };
    (@ modules) => {
        fn modules(&self) -> &[::dotdump_snapshot::ModuleSnapshot] {
            self.inner.modules()
        }
    };
    (@ exception) => {
        fn exception(
            &self,
        ) -> Option<(
            &::dotdump_format::minidump::exception::ExceptionStream,
            Option<&::dotdump_snapshot::Blob>,
        )> {
            self.inner.exception()
        }
    };
    (@ memory) => {
        fn memory(&self) -> &dyn ::dotdump_snapshot::Memory {
            self.inner.memory()
        }
    };
    (@ has_regions) => {
        fn has_regions(&self) -> bool {
            self.inner.has_regions()
        }
    };
    (@ regions) => {
        fn regions(
            &self,
        ) -> Box<dyn Iterator<Item = Result<::dotdump_snapshot::Region, ::dotdump_format::Error>> + '_> {
            self.inner.regions()
        }
    };
    (@ region_at) => {
        fn region_at(
            &self,
            address: ::dotdump_format::VirtAddr,
        ) -> Result<Option<::dotdump_snapshot::Region>, ::dotdump_format::Error> {
            self.inner.region_at(address)
        }
    };
    (@ stream_types) => {
        fn stream_types(&self) -> Vec<::dotdump_format::minidump::StreamType> {
            self.inner.stream_types()
        }
    };
    (@ stream) => {
        fn stream(
            &self,
            stream_type: ::dotdump_format::minidump::StreamType,
            findings: &mut ::dotdump_format::Findings,
        ) -> Result<Option<::dotdump_snapshot::Content<'_>>, ::dotdump_format::Error> {
            self.inner.stream(stream_type, findings)
        }
    };
    (@ misc_info) => {
        fn misc_info(
            &self,
            findings: &mut ::dotdump_format::Findings,
        ) -> Result<Option<::dotdump_format::minidump::misc_info::MiscInfo>, ::dotdump_format::Error> {
            self.inner.misc_info(findings)
        }
    };
    (@ bytes) => {
        fn bytes<'b>(
            &'b self,
            blob: &'b ::dotdump_snapshot::Blob,
        ) -> Result<::std::borrow::Cow<'b, [u8]>, ::dotdump_format::Error> {
            self.inner.bytes(blob)
        }
    };
    (@ missing_bytes) => {
        fn missing_bytes(&self) -> u64 {
            self.inner.missing_bytes()
        }
    };
    (@ first_missing) => {
        fn first_missing(&self) -> Option<::dotdump_format::VirtAddr> {
            self.inner.first_missing()
        }
    };
    (@ is_resident_only) => {
        fn is_resident_only(&self) -> bool {
            self.inner.is_resident_only()
        }
    };
    (@ environment_block) => {
        fn environment_block(&self) -> Option<::dotdump_format::VirtAddr> {
            self.inner.environment_block()
        }
    };
    (@ other_code) => {
        fn other_code(&self) -> Result<Vec<::dotdump_format::VirtRange>, ::dotdump_format::Error> {
            self.inner.other_code()
        }
    };
    (@ unwind_infos) => {
        fn unwind_infos(
            &self,
            each: &mut dyn FnMut(::dotdump_format::VirtAddr) -> bool,
        ) -> Result<(), ::dotdump_format::Error> {
            self.inner.unwind_infos(each)
        }
    };
    (@ findings) => {
        fn findings(&self) -> &::dotdump_format::Findings {
            self.inner.findings()
        }
    };
}

pub(crate) use pass_on;
