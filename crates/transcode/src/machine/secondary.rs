//! The secondary data of a source, as far as it goes into the dump.

use dotdump_format::kernel::header::SIGNATURE;
use dotdump_format::kernel::secondary_data::Blob;
use dotdump_format::kernel::{KernelDump, SecondaryData};
use dotdump_format::{Error, FileOffset, Finding, ReadAt};

use super::manifest::{CHECKSUMS_TAG, MANIFEST_TAG};

/// The most blobs that are taken; real dumps have a few dozen.
const MAX_BLOBS: usize = 4096;

/// The blobs of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Secondary {
    /// `NtBuildNumber` as the chain says it; `None` where there is none.
    pub(super) build_number: Option<u32>,
    /// Blobs that are carried over, in order.
    pub(super) blobs: Vec<Blob>,
    /// The manifest of a dump that dotdump wrote.
    pub(super) manifest: Option<Blob>,
    /// Its checksums.
    pub(super) checksums: Option<Blob>,
    /// Why the chain was not read to its end.
    pub(super) finding: Option<Finding>,
}

impl Secondary {
    /// That of a kernel dump; nothing where the file is none.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub(super) fn of(source: &dyn ReadAt) -> Result<Self, Error> {
        if source.size() < 4 || *source.bytes(FileOffset(0), 4)? != SIGNATURE {
            return Ok(Self::default());
        }
        match KernelDump::open(source).and_then(|dump| dump.secondary_data(source)) {
            Ok(chain) => Self::read(source, chain.as_ref()),
            Err(Error::Malformed(finding)) => Ok(Self {
                finding: Some(finding),
                ..Self::default()
            }),
            Err(error) => Err(error),
        }
    }

    /// The blobs of a chain.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub(super) fn read(source: &dyn ReadAt, chain: Option<&SecondaryData>) -> Result<Self, Error> {
        let mut found = Self::default();
        let Some(chain) = chain else { return Ok(found) };
        found.build_number = Some(chain.build_number);
        for blob in chain.blobs(source) {
            let blob = match blob {
                Ok(blob) => blob,
                Err(Error::Malformed(finding)) => {
                    found.finding = Some(finding);
                    break;
                }
                Err(error) => return Err(error),
            };
            match blob.tag {
                MANIFEST_TAG => found.manifest = Some(blob),
                CHECKSUMS_TAG => found.checksums = Some(blob),
                _ if found.blobs.len() == MAX_BLOBS => {
                    let message = format!("more than {MAX_BLOBS} blobs: the others are left out");
                    found.finding = Some(Finding::new(blob.header, "DumpBlob", message));
                    break;
                }
                _ => found.blobs.push(blob),
            }
        }
        Ok(found)
    }
}
