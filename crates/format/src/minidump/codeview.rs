//! The CodeView record of a module: which debug information belongs to it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::LocationDescriptor;
use super::guid::Guid;
use crate::error::Error;
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;

/// The longest record that is read, in bytes (Breakpad's limit).
pub const MAX_RECORD: u64 = 32 << 10;

/// `RSDS`: [`CodeView::Rsds`].
pub const SIGNATURE_RSDS: u32 = 0x5344_5352;
/// `NB10`: [`CodeView::Nb10`].
pub const SIGNATURE_NB10: u32 = 0x3031_424E;
/// `NB09`: [`CodeView::Embedded`].
pub const SIGNATURE_NB09: u32 = 0x3930_424E;
/// `NB11`: [`CodeView::Embedded`].
pub const SIGNATURE_NB11: u32 = 0x3131_424E;
/// `LEpB` (the number is `BpEL`): [`CodeView::ElfBuildId`].
pub const SIGNATURE_ELF: u32 = 0x4270_454C;

record! {
    /// The signature that every record starts with, 4 bytes. A number: a big-endian file has its letters reversed.
    pub struct CvSignature[4] {
        /// `SIGNATURE_*`.
        pub value: U32,
    }

    /// The fixed part of `CV_INFO_PDB70` (not in any header of the SDK; Breakpad's `MDCVInfoPDB70`), 24 bytes. A path
    /// follows.
    pub struct CvInfoPdb70[24] {
        /// [`SIGNATURE_RSDS`].
        pub signature: U32,
        /// Id of the PDB file.
        pub guid: Guid,
        /// How often the PDB file was rewritten.
        pub age: U32,
    }

    /// The fixed part of `CV_INFO_PDB20` (Breakpad's `MDCVInfoPDB20`), 16 bytes. A path follows.
    pub struct CvInfoPdb20[16] {
        /// [`SIGNATURE_NB10`].
        pub signature: U32,
        /// 0: the debug information lies in another file.
        pub offset: U32,
        /// When the PDB file was made, a `time_t`.
        pub time: U32,
        /// How often the PDB file was rewritten.
        pub age: U32,
    }
}

/// A CodeView record. Paths are bytes up to the first NUL: UTF-8 in RSDS, the linker's code page in NB10.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeView {
    /// `RSDS`: a PDB file of Visual C++ 7 and later, or the identity of a Linux or macOS module in that form.
    Rsds {
        /// Id of the PDB file; Linux: the first 16 bytes of the build id; macOS: `LC_UUID`.
        guid: Guid,
        /// How often the PDB file was rewritten; 0 on Linux and macOS.
        age: u32,
        /// Its path, without the NUL.
        path: Vec<u8>,
    },
    /// `NB10`: a PDB file of Visual C++ 2 to 6.
    Nb10 {
        /// 0: the debug information lies in another file.
        offset: u32,
        /// When the PDB file was made, a `time_t`.
        signature: u32,
        /// How often the PDB file was rewritten.
        age: u32,
        /// Its path, without the NUL.
        path: Vec<u8>,
    },
    /// `LEpB`: the GNU build id of an ELF module, of any length.
    ElfBuildId(Vec<u8>),
    /// `NB09`, `NB11`: debug information inside of the module. The whole record, signature included.
    Embedded(Vec<u8>),
    /// Anything else. The whole record.
    Unknown(Vec<u8>),
}

impl CodeView {
    /// The record at `location`; `None` where it is absent.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is longer than [`MAX_RECORD`]; [`Error::Read`] where it runs past the file.
    pub fn read(source: &dyn ReadAt, endian: Endian, location: &LocationDescriptor) -> Result<Option<Self>, Error> {
        let bytes = record_bytes(source, location, "CvRecord")?;
        Ok(bytes.map(|bytes| Self::parse(&bytes, endian)))
    }

    /// The record that `bytes` are. Without a NUL the path reaches to the end of the bytes.
    #[must_use]
    pub fn parse(bytes: &[u8], endian: Endian) -> Self {
        let path = |fixed: usize| {
            bytes[fixed..]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec()
        };
        let unknown = || Self::Unknown(bytes.to_vec());
        match CvSignature::read(bytes, endian).map(|head| head.value.get()) {
            Some(SIGNATURE_RSDS) => CvInfoPdb70::read(bytes, endian).map_or_else(unknown, |head| Self::Rsds {
                guid: head.guid,
                age: head.age.get(),
                path: path(CvInfoPdb70::SIZE),
            }),
            Some(SIGNATURE_NB10) => CvInfoPdb20::read(bytes, endian).map_or_else(unknown, |head| Self::Nb10 {
                offset: head.offset.get(),
                signature: head.time.get(),
                age: head.age.get(),
                path: path(CvInfoPdb20::SIZE),
            }),
            Some(SIGNATURE_ELF) => Self::ElfBuildId(bytes[CvSignature::SIZE..].to_vec()),
            Some(SIGNATURE_NB09 | SIGNATURE_NB11) => Self::Embedded(bytes.to_vec()),
            _ => unknown(),
        }
    }

    /// The record as it stands in a file of byte order `endian`; paths end with a NUL.
    #[must_use]
    pub fn to_bytes(&self, endian: Endian) -> Vec<u8> {
        let with_path = |head: &[u8], path: &[u8]| [head, path, &[0]].concat();
        match self {
            Self::Rsds { guid, age, path } => {
                let head = CvInfoPdb70 {
                    signature: SIGNATURE_RSDS.into(),
                    guid: *guid,
                    age: (*age).into(),
                };
                with_path(head.in_order(endian).as_bytes(), path)
            }
            Self::Nb10 {
                offset,
                signature,
                age,
                path,
            } => {
                let head = CvInfoPdb20 {
                    signature: SIGNATURE_NB10.into(),
                    offset: (*offset).into(),
                    time: (*signature).into(),
                    age: (*age).into(),
                };
                with_path(head.in_order(endian).as_bytes(), path)
            }
            Self::ElfBuildId(id) => {
                let head = CvSignature {
                    value: SIGNATURE_ELF.into(),
                };
                [head.in_order(endian).as_bytes(), id].concat()
            }
            Self::Embedded(bytes) | Self::Unknown(bytes) => bytes.clone(),
        }
    }

    /// The name under which Breakpad's symbol stores have the debug information: the digits of the GUID in upper case
    /// and the age in hexadecimal. `None` where the record has none.
    #[must_use]
    pub fn debug_id(&self) -> Option<String> {
        match self {
            Self::Rsds { guid, age, .. } => Some(alloc::format!("{}{age:x}", guid.to_symbol_id())),
            Self::Nb10 { signature, age, .. } => Some(alloc::format!("{signature:08X}{age:x}")),
            Self::ElfBuildId(id) if is_id(id) => {
                // Breakpad copies the id over a GUID of a little-endian machine; shorter ids leave zeros.
                let guid = Guid::read_partial(id, Endian::Little);
                Some(alloc::format!("{}0", guid.to_symbol_id()))
            }
            Self::ElfBuildId(_) | Self::Embedded(_) | Self::Unknown(_) => None,
        }
    }

    /// The name under which stores have the program itself: the build id of an ELF module in lower-case hexadecimal.
    /// `None` for other records: the id of a Windows program comes from its module record.
    #[must_use]
    pub fn code_id(&self) -> Option<String> {
        let Self::ElfBuildId(id) = self else { return None };
        let mut text = String::new();
        for byte in id {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        is_id(id).then_some(text)
    }

    /// The path of the file with the debug information, with what is not UTF-8 replaced.
    #[must_use]
    pub fn debug_file(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Rsds { path, .. } | Self::Nb10 { path, .. } => Some(String::from_utf8_lossy(path)),
            Self::ElfBuildId(_) | Self::Embedded(_) | Self::Unknown(_) => None,
        }
    }
}

/// Whether a build id names anything: Breakpad writes zeros for mapped files that are no programs.
fn is_id(id: &[u8]) -> bool {
    id.iter().any(|byte| *byte != 0)
}

/// The bytes of a module's debug record, within [`MAX_RECORD`].
pub(super) fn record_bytes<'a>(
    source: &'a dyn ReadAt,
    location: &LocationDescriptor,
    what: &'static str,
) -> Result<Option<Cow<'a, [u8]>>, Error> {
    let Some((at, size)) = location.place() else {
        return Ok(None);
    };
    let bounded = usize::try_from(size).ok().filter(|_| size <= MAX_RECORD);
    let size = bounded
        .ok_or_else(|| Error::malformed(at, what, alloc::format!("{size} bytes, at most {MAX_RECORD} expected")))?;
    source.bytes(at, size).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1_u8.., 0..300)
    }

    fn any_record() -> impl Strategy<Value = CodeView> {
        let opaque = |signature: &'static [u8; 4]| {
            prop::collection::vec(any::<u8>(), 0..60).prop_map(move |tail| [signature, &tail[..]].concat())
        };
        prop_oneof![
            (any::<u128>(), any::<u32>(), path()).prop_map(|(digits, age, path)| CodeView::Rsds {
                guid: Guid::from_digits(digits),
                age,
                path,
            }),
            (any::<u32>(), any::<u32>(), any::<u32>(), path()).prop_map(|(offset, signature, age, path)| {
                CodeView::Nb10 {
                    offset,
                    signature,
                    age,
                    path,
                }
            }),
            prop::collection::vec(any::<u8>(), 0..64).prop_map(CodeView::ElfBuildId),
            opaque(b"WHAT").prop_map(CodeView::Unknown),
        ]
    }

    proptest! {
        #[test]
        fn read_gives_what_was_written(record in any_record(), big in any::<bool>()) {
            let endian = if big { Endian::Big } else { Endian::Little };
            prop_assert_eq!(CodeView::parse(&record.to_bytes(endian), endian), record);
        }

        #[test]
        fn any_bytes_parse(bytes in prop::collection::vec(any::<u8>(), 0..64), signature in 0..6_usize) {
            let signatures: [&[u8]; 6] = [b"RSDS", b"SDSR", b"NB10", b"LEpB", b"NB09", b""];
            let bytes = [signatures[signature], &bytes].concat();
            let record = CodeView::parse(&bytes, Endian::Little);
            prop_assert_eq!(CodeView::parse(&record.to_bytes(Endian::Little), Endian::Little), record);
        }
    }

    #[test]
    fn rsds_without_nul_in_both_byte_orders() {
        let fields = (
            0x1122_3344_u32,
            0x5566_u16,
            0x7788_u16,
            *b"\x99\xAA\xBB\xCC\xDD\xEE\xFF\x00",
            0x1A_u32,
        );
        let mut little = b"RSDS".to_vec();
        little.extend(fields.0.to_le_bytes());
        little.extend(fields.1.to_le_bytes());
        little.extend(fields.2.to_le_bytes());
        little.extend(fields.3);
        little.extend(fields.4.to_le_bytes());
        little.extend(b"a.pdb");
        let mut big = b"SDSR".to_vec();
        big.extend(fields.0.to_be_bytes());
        big.extend(fields.1.to_be_bytes());
        big.extend(fields.2.to_be_bytes());
        big.extend(fields.3);
        big.extend(fields.4.to_be_bytes());
        big.extend(b"a.pdb");
        for (bytes, endian) in [(little, Endian::Little), (big, Endian::Big)] {
            let record = CodeView::parse(&bytes, endian);
            assert_eq!(record.debug_id().unwrap(), "112233445566778899AABBCCDDEEFF001a");
            assert_eq!(record.debug_file().unwrap(), "a.pdb");
            assert_eq!(record.code_id(), None);
        }
    }

    #[test]
    fn build_ids() {
        let id: Vec<u8> = (1..=20).collect();
        for endian in [Endian::Little, Endian::Big] {
            let record = CodeView::parse(&CodeView::ElfBuildId(id.clone()).to_bytes(endian), endian);
            assert_eq!(record.debug_id().unwrap(), "0403020106050807090A0B0C0D0E0F100");
            assert_eq!(record.code_id().unwrap(), "0102030405060708090a0b0c0d0e0f1011121314");
        }
        let short = CodeView::ElfBuildId(vec![1, 2]);
        assert_eq!(short.debug_id().unwrap(), "000002010000000000000000000000000");
        for nothing in [Vec::new(), vec![0; 16]] {
            let record = CodeView::ElfBuildId(nothing);
            assert_eq!((record.debug_id(), record.code_id()), (None, None));
        }
    }

    #[test]
    fn nb10_and_short_records() {
        let mut bytes = b"NB10\0\0\0\0".to_vec();
        bytes.extend(0x45D3_5F73_u32.to_le_bytes());
        bytes.extend(2_u32.to_le_bytes());
        bytes.extend(b"c:\\test.pdb\0junk");
        let record = CodeView::parse(&bytes, Endian::Little);
        assert_eq!(record.debug_id().unwrap(), "45D35F732");
        assert_eq!(record.debug_file().unwrap(), "c:\\test.pdb");
        assert_eq!(
            CodeView::parse(b"RSDS123", Endian::Little),
            CodeView::Unknown(b"RSDS123".to_vec())
        );
        assert_eq!(CodeView::parse(b"", Endian::Little), CodeView::Unknown(Vec::new()));
    }

    #[test]
    fn records_that_are_too_long_or_outside_of_the_file() {
        let file = vec![0_u8; 64 << 10];
        let at = |rva: u32, data_size: u32| LocationDescriptor {
            data_size: data_size.into(),
            rva: rva.into(),
        };
        assert_eq!(CodeView::read(&file, Endian::Little, &at(0, 24)), Ok(None));
        let long = CodeView::read(&file, Endian::Little, &at(4, 0x8001));
        assert!(matches!(long, Err(Error::Malformed(_))));
        let outside = CodeView::read(&file, Endian::Little, &at(u32::MAX, 0x8000));
        assert!(matches!(outside, Err(Error::Read { .. })));
    }
}
