//! Headers of PE images: which sections they have, and which build they are.

use object::read::pe::{ImageNtHeaders, ImageOptionalHeader};
use object::{LittleEndian as LE, pe};

pub(crate) struct PeSection {
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// Where its bytes lie in the file, and how many of them.
    pub(crate) raw: (u64, u64),
    pub(crate) characteristics: pe::SectionFlags,
}

pub(crate) struct PeHeaders {
    pub(crate) time_date_stamp: u32,
    pub(crate) size_of_image: u32,
    pub(crate) image_base: u64,
    pub(crate) sections: Vec<PeSection>,
}

impl PeHeaders {
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let dos = pe::ImageDosHeader::parse(data).ok()?;
        let offset = u64::from(dos.nt_headers_offset());
        let magic_at = usize::try_from(offset).ok()?.checked_add(24)?;
        match u16::from_le_bytes(data.get(magic_at..magic_at.checked_add(2)?)?.try_into().ok()?) {
            pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC => Self::parse_as::<pe::ImageNtHeaders64>(data, offset),
            pe::IMAGE_NT_OPTIONAL_HDR32_MAGIC => Self::parse_as::<pe::ImageNtHeaders32>(data, offset),
            _ => None,
        }
    }

    fn parse_as<Pe: ImageNtHeaders>(data: &[u8], mut offset: u64) -> Option<Self> {
        let (headers, _) = Pe::parse(data, &mut offset).ok()?;
        let sections = headers.sections(data, offset).ok()?;
        let size = |section: &pe::ImageSectionHeader| match section.virtual_size.get(LE) {
            0 => section.size_of_raw_data.get(LE),
            size => size,
        };
        Some(Self {
            time_date_stamp: headers.file_header().time_date_stamp.get(LE),
            size_of_image: headers.optional_header().size_of_image(),
            image_base: headers.optional_header().image_base(),
            sections: sections
                .iter()
                .map(|section| PeSection {
                    address: u64::from(section.virtual_address.get(LE)),
                    size: u64::from(size(section)),
                    raw: (
                        u64::from(section.pointer_to_raw_data.get(LE)),
                        u64::from(section.size_of_raw_data.get(LE)),
                    ),
                    characteristics: section.characteristics.get(LE),
                })
                .collect(),
        })
    }
}
