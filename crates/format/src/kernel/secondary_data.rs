//! Secondary data (`DumpBlob`): blocks of bytes that drivers and the system leave behind the primary data of a dump of
//! any type, each named by a GUID.
//!
//! The chain has neither a count nor an end mark. Kernels end it before the file ends, and leave behind it what was on
//! the disk. Blocks are padded in three ways: to 8 bytes behind the data (debuggers; what is written here), not at all
//! (kernels of Windows 10 and 11), to a page before and behind the data (Windows XP). GUIDs may repeat and be zero.
//! Field names are descriptive; the layout was measured on real dumps from Windows XP to 11.

use alloc::format;

use zerocopy::byteorder::little_endian::U32;

use crate::addr::FileOffset;
use crate::error::Error;
use crate::layout::{Layout, count};
use crate::minidump::guid::Guid;
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;

/// `Dump`, `Blob`: what secondary data starts with.
pub const SIGNATURE: [u8; 8] = *b"DumpBlob";

record! {
    /// What secondary data starts with, 16 bytes.
    pub struct BlobFileHeader[16] {
        /// [`SIGNATURE`].
        pub signature: [u8; 8],
        /// Its size, 16: where the first blob's header starts.
        pub header_size: U32,
        /// `NtBuildNumber`: the build, with 0xF in the highest four bits for a free one.
        pub build_number: U32,
    }

    /// What a blob starts with, 32 bytes.
    pub struct BlobHeader[32] {
        /// Its size, 32. Another value ends the chain.
        pub header_size: U32,
        /// Names what the blob holds.
        pub tag: Guid,
        /// The number of bytes.
        pub data_size: U32,
        /// Bytes between this header and the data.
        pub pre_pad: U32,
        /// Bytes between the data and the next header.
        pub post_pad: U32,
    }
}

/// The chain of blobs in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondaryData {
    /// Where it starts.
    pub offset: FileOffset,
    /// Where the first blob's header starts.
    pub first: FileOffset,
    /// `NtBuildNumber`.
    pub build_number: u32,
}

impl SecondaryData {
    /// Reads the header at `offset`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn read(source: &dyn ReadAt, offset: FileOffset) -> Result<Option<Self>, Error> {
        if offset
            .checked_add(BlobFileHeader::SIZE as u64)
            .is_none_or(|end| end.0 > source.size())
        {
            return Ok(None);
        }
        let header = BlobFileHeader::read_partial(&source.bytes(offset, BlobFileHeader::SIZE)?, Endian::Little);
        let size = header.header_size.get();
        Ok(
            (header.signature == SIGNATURE && size as usize >= BlobFileHeader::SIZE).then(|| Self {
                offset,
                first: offset.saturating_add(size.into()),
                build_number: header.build_number.get(),
            }),
        )
    }

    /// The blobs in the order of the file. An entry that passes the end of the file is an error and the last one.
    #[must_use]
    pub fn blobs<'a>(&self, source: &'a dyn ReadAt) -> Blobs<'a> {
        Blobs {
            source,
            next: self.first,
            number: 0,
            ended: false,
        }
    }
}

/// A blob in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Names what it holds. Several blobs of a chain may have the same.
    pub tag: Guid,
    /// Where its header is.
    pub header: FileOffset,
    /// Where its data starts.
    pub data: FileOffset,
    /// The number of bytes; they are within the file.
    pub size: u32,
}

/// See [`SecondaryData::blobs`].
pub struct Blobs<'a> {
    source: &'a dyn ReadAt,
    next: FileOffset,
    number: u64,
    ended: bool,
}

impl Blobs<'_> {
    /// Where the next blob would be: behind the last one, the chain's end.
    #[must_use]
    pub const fn position(&self) -> FileOffset {
        self.next
    }

    fn read(&mut self) -> Result<Option<Blob>, Error> {
        let end_of_file = self.source.size();
        let header_end = self.next.checked_add(BlobHeader::SIZE as u64);
        let Some(header_end) = header_end.filter(|end| end.0 <= end_of_file) else {
            return Ok(None);
        };
        let header = BlobHeader::read_partial(&self.source.bytes(self.next, BlobHeader::SIZE)?, Endian::Little);
        if header.header_size.get() as usize != BlobHeader::SIZE {
            return Ok(None);
        }
        let data = header_end.saturating_add(header.pre_pad.get().into());
        let data_end = data.saturating_add(header.data_size.get().into());
        if data_end.0 > end_of_file {
            return Err(Error::malformed(
                self.next,
                format!("DumpBlob[{}]", self.number),
                format!("its data ends at {data_end}, the file at {end_of_file:#x}"),
            ));
        }
        let blob = Blob {
            tag: header.tag,
            header: self.next,
            data,
            size: header.data_size.get(),
        };
        self.number += 1;
        self.next = data_end.saturating_add(header.post_pad.get().into());
        Ok(Some(blob))
    }
}

impl Iterator for Blobs<'_> {
    type Item = Result<Blob, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let blob = self.read().transpose();
        self.ended = !matches!(blob, Some(Ok(_)));
        blob
    }
}

/// Starts secondary data at the end of `layout`, of a system of `NtBuildNumber` `build_number`. Blobs are added by
/// [`write_blob`].
pub fn write_header(layout: &mut Layout, build_number: u32) -> FileOffset {
    layout.push_record(&BlobFileHeader {
        signature: SIGNATURE,
        header_size: 16.into(),
        build_number: build_number.into(),
    })
}

/// Adds a blob of `size` bytes, which `data` adds.
///
/// # Errors
/// [`Error::TooLarge`] for 4 GiB and more.
///
/// # Panics
/// Where `data` adds another number of bytes: an error of the caller.
pub fn write_blob(layout: &mut Layout, tag: Guid, size: usize, data: impl FnOnce(&mut Layout)) -> Result<(), Error> {
    let data_size = count(size, "DumpBlob")?;
    let post_pad = data_size.wrapping_neg() % 8;
    layout.push_record(&BlobHeader {
        header_size: 32.into(),
        tag,
        data_size: data_size.into(),
        pre_pad: 0.into(),
        post_pad: post_pad.into(),
    });
    let start = layout.end();
    data(layout);
    assert_eq!(layout.end().0 - start.0, u64::from(data_size), "the data has its size");
    layout.push_bytes(&[0; 8][..post_pad as usize]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::layout::Piece;

    fn guid(digits: u128) -> Guid {
        Guid::from_digits(digits)
    }

    /// A chain with the given paddings before and behind each blob, starting at 3.
    fn chain(blobs: &[(u32, &[u8], u32)], behind: &[u8]) -> Vec<u8> {
        let mut file = vec![0xEE; 3];
        let header = BlobFileHeader {
            signature: SIGNATURE,
            header_size: 16.into(),
            build_number: 0xF000_4A61.into(),
        };
        file.extend_from_slice(header.as_bytes());
        for (pre_pad, data, post_pad) in blobs {
            let header = BlobHeader {
                header_size: 32.into(),
                tag: guid(7),
                data_size: u32::try_from(data.len()).unwrap().into(),
                pre_pad: (*pre_pad).into(),
                post_pad: (*post_pad).into(),
            };
            file.extend_from_slice(header.as_bytes());
            file.resize(file.len() + *pre_pad as usize, 0);
            file.extend_from_slice(data);
            file.resize(file.len() + *post_pad as usize, 0);
        }
        file.extend_from_slice(behind);
        file
    }

    fn read(file: &[u8]) -> (Vec<Vec<u8>>, bool, FileOffset) {
        let chain = SecondaryData::read(&file, FileOffset(3)).unwrap().unwrap();
        assert_eq!(chain.build_number, 0xF000_4A61);
        let mut blobs = chain.blobs(&file);
        let (mut all, mut whole) = (Vec::new(), true);
        for blob in &mut blobs {
            match blob {
                Ok(blob) => {
                    let start = usize::try_from(blob.data.0).unwrap();
                    all.push(file[start..start + blob.size as usize].to_vec());
                }
                Err(_) => whole = false,
            }
        }
        assert!(blobs.next().is_none());
        (all, whole, blobs.position())
    }

    #[test]
    fn all_paddings_are_read_and_junk_is_not() {
        let data: [&[u8]; 3] = [b"one", b"", b"three"];
        for pads in [
            [(0, 5), (0, 0), (0, 3)],
            [(0, 0), (0, 0), (0, 0)],
            [(0xFD0, 0xFFD), (0xFE0, 0), (0xFE0, 0xFFB)],
        ] {
            let blobs: Vec<_> = data
                .iter()
                .zip(pads)
                .map(|(data, (pre, post))| (pre, *data, post))
                .collect();
            let end = FileOffset(chain(&blobs, b"").len() as u64);
            for behind in [&b""[..], &[0; 100], &[0x20; 31], &[0x21; 50], b"hive"] {
                let (read, whole, position) = read(&chain(&blobs, behind));
                assert!(whole && read == data && position == end, "{behind:?}");
            }
        }
    }

    #[test]
    fn a_blob_that_is_cut_ends_the_chain() {
        let file = chain(&[(0, b"whole", 3), (4, b"cut", 0)], b"");
        let (blobs, whole, _) = read(&file[..file.len() - 1]);
        assert_eq!((blobs, whole), (vec![b"whole".to_vec()], false));
        // Padding that the file lacks is no loss.
        let file = chain(&[(0, b"whole", 3)], b"");
        assert_eq!(read(&file[..file.len() - 2]).0, [b"whole"]);
    }

    #[test]
    fn other_bytes_are_no_chain() {
        let file = chain(&[], b"");
        assert_eq!(SecondaryData::read(&file, FileOffset(2)), Ok(None));
        assert_eq!(SecondaryData::read(&file, FileOffset(4)), Ok(None));
        assert_eq!(SecondaryData::read(&file, FileOffset(u64::MAX)), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            blobs in prop::collection::vec((any::<u128>(), prop::collection::vec(any::<u8>(), 0..50)), 0..20),
            before in 0_usize..20,
        ) {
            let mut layout = Layout::new(Endian::Little);
            layout.push_bytes(&vec![0; before]);
            let at = write_header(&mut layout, 0xF000_0A28);
            for (tag, data) in &blobs {
                write_blob(&mut layout, guid(*tag), data.len(), |layout| { layout.push_bytes(data); }).unwrap();
                prop_assert_eq!((layout.end().0 - at.0) % 8, 0);
            }
            let [Piece::Bytes(file)] = &layout.finish().pieces[..] else { panic!("bytes") };
            let chain = SecondaryData::read(file, at).unwrap().unwrap();
            let mut read = chain.blobs(file);
            for (tag, data) in &blobs {
                let blob = read.next().unwrap().unwrap();
                let start = usize::try_from(blob.data.0).unwrap();
                prop_assert_eq!((blob.tag.digits(), &file[start..start + blob.size as usize]), (*tag, &data[..]));
            }
            prop_assert!(read.next().is_none());
            prop_assert_eq!(read.position().0, file.len() as u64);
        }

        #[test]
        fn damage_is_read(
            blobs in prop::collection::vec((0_u32..9, prop::collection::vec(any::<u8>(), 0..50), 0_u32..9), 0..5),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..9),
            size in any::<prop::sample::Index>(),
        ) {
            let blobs: Vec<_> = blobs.iter().map(|(pre, data, post)| (*pre, &data[..], *post)).collect();
            let mut file = chain(&blobs, b"");
            for (index, byte) in damage {
                let at = index.index(file.len());
                file[at] = byte;
            }
            file.truncate(size.index(file.len() + 1));
            if let Some(chain) = SecondaryData::read(&file, FileOffset(3)).unwrap() {
                prop_assert!(chain.blobs(&file).count() <= file.len() / 32 + 1);
            }
        }
    }
}
