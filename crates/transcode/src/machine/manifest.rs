//! The manifest that a dump of a machine carries: which pages were kept and why, what was changed, and where its
//! checksums lie.
//!
//! It is a blob of the dump's secondary data ([`MANIFEST_TAG`]) with a JSON text, behind those of the source; other
//! readers skip it. The sums are the last blob ([`CHECKSUMS_TAG`]), because they are only known once the rest is
//! written: a CRC-32 (IEEE) in four little-endian bytes for each block of the file before them, the header of their own
//! blob included, the last block shorter.

use dotdump_format::kernel::Header;
use dotdump_format::minidump::guid::Guid;
use dotdump_format::{Error, FileOffset, ReadAt};
use dotdump_snapshot::machine::Patch;
use serde::{Deserialize, Serialize};

use super::select::ReasonCount;
use super::triage;
use crate::manifest::{Checksums, MAX_SIZE};
use crate::shortfall::Shortfall;

/// The version of the manifest's layout.
pub const SCHEMA: u32 = 1;

/// Names the blob with the manifest.
pub const MANIFEST_TAG: Guid = Guid::from_digits(0x9D19_C7E5_1218_4EFB_854F_3C59_6017_B398);

/// Names the blob with the checksums.
pub const CHECKSUMS_TAG: Guid = Guid::from_digits(0xA722_822B_F106_4AC9_87DC_BB64_2490_A547);

/// The bytes at the start of a source that identify it.
const HEAD: u64 = 4096;

/// What a dump of a machine tells of its own making. It holds no path and no name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineManifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The writer and its version.
    pub tool: String,
    /// The options, in the spelling of the command line.
    pub options: String,
    /// What it was made from.
    pub source: MachineIdentity,
    /// Pages that were kept, by reason.
    pub kept: Vec<ReasonCount>,
    /// Pages of the source that were not kept, by reason.
    pub dropped: Vec<ReasonCount>,
    /// Memory in a small dump, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<triage::ReasonCount>,
    /// Memory that a small dump had no room for, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks_dropped: Vec<triage::ReasonCount>,
    /// Bytes that are not those of the source.
    pub patches: Vec<PatchSpan>,
    /// What was asked for and could not be had.
    pub absent: Vec<Shortfall>,
    /// Where the checksums lie.
    pub checksums: Checksums,
}

/// Tells one source from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineIdentity {
    /// The size of the file in bytes; absent for a live machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// CRC-32 of its first 4,096 bytes, in hexadecimal; absent for a live machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_crc32: Option<String>,
    /// When the machine stopped: a FILETIME in hexadecimal; absent where nothing says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

impl MachineIdentity {
    /// The identity of a source.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn of(file: Option<&dyn ReadAt>, header: &Header) -> Result<Self, Error> {
        let head = match file {
            Some(file) => {
                let size = usize::try_from(file.size().min(HEAD)).unwrap_or(0);
                Some(crc32fast::hash(&file.bytes(FileOffset(0), size)?))
            }
            None => None,
        };
        Ok(Self {
            size: file.map(ReadAt::size),
            head_crc32: head.map(|sum| format!("{sum:#010x}")),
            time: header.system_time().map(|time| format!("{time:#x}")),
        })
    }
}

/// Bytes that are not those of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchSpan {
    /// The physical address of the first one, in hexadecimal.
    pub address: String,
    /// The number of bytes.
    pub size: u64,
    /// What they are.
    pub what: String,
}

impl PatchSpan {
    /// The place of a patch.
    #[must_use]
    pub fn of(patch: &Patch) -> Self {
        Self {
            address: format!("{:#x}", patch.address),
            size: patch.bytes.len() as u64,
            what: patch.what.to_owned(),
        }
    }
}

impl MachineManifest {
    /// The manifest of `size` bytes at `offset` of a file.
    ///
    /// # Errors
    /// [`Error::Malformed`] where its text cannot be read; [`Error::Read`] where the medium fails.
    pub fn read(source: &dyn ReadAt, offset: FileOffset, size: u64) -> Result<Self, Error> {
        const WHAT: &str = "manifest";
        let Some(size) = usize::try_from(size).ok().filter(|size| *size as u64 <= MAX_SIZE) else {
            return Err(Error::malformed(
                offset,
                WHAT,
                format!("{size} bytes, at most {MAX_SIZE} expected"),
            ));
        };
        let bytes = source.bytes(offset, size)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::malformed(offset, WHAT, error.to_string()))
    }

    /// The text as it stands in a dump.
    ///
    /// # Panics
    /// Never: the type has nothing that JSON cannot express.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is plain data")
    }
}
