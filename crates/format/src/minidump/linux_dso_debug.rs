//! `MD_LINUX_DSO_DEBUG` (0x4767000A): what the dynamic linker knows of the shared objects (`r_debug`, `link_map`).

use alloc::string::String;
use alloc::vec::Vec;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::held::Follow;
use super::linux_auxv::WordSize;
use super::list::MAX_TEXT;
use super::{LocationDescriptor, Stream, StreamType, WriteStream, write_string};
use crate::addr::{FileOffset, Rva};
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Record, record};

/// Defines the two records of one layout, and how they turn into plain numbers.
macro_rules! layouts {
    ($(
        $(#[$doc:meta])*
        $debug:ident[$debug_size:literal], $link:ident[$link_size:literal] of $word:ty { $($pad:ident)? }
    )*) => { $(
        record! {
            $(#[$doc])*
            pub struct $debug[$debug_size] {
                /// `r_version`.
                pub version: U32,
                /// Where the list of objects starts in the file.
                pub map: U32,
                /// How many objects the list has.
                pub dso_count: U32,
                $(
                    /// Padding.
                    pub $pad: U32,
                )?
                /// `r_brk`: the function that the linker calls when the list changes.
                pub brk: $word,
                /// `r_ldbase`: where the linker was loaded.
                pub ldbase: $word,
                /// Address of the program's dynamic section.
                pub dynamic: $word,
            }

            /// One object of the list.
            pub struct $link[$link_size] {
                /// `l_addr`: how far it lies from the addresses in its file.
                pub addr: $word,
                /// Its name, a `MINIDUMP_STRING`.
                pub name: U32,
                $(
                    /// Padding.
                    pub $pad: U32,
                )?
                /// `l_ld`: address of its dynamic section.
                pub ld: $word,
            }
        }

        impl DebugRecord for $debug {
            type Link = $link;

            fn to_numbers(self) -> Debug {
                Debug {
                    version: self.version.get(),
                    map: self.map.get(),
                    dso_count: self.dso_count.get(),
                    brk: self.brk.into(),
                    ldbase: self.ldbase.into(),
                    dynamic: self.dynamic.into(),
                }
            }

            fn from_numbers(debug: &Debug) -> Result<Self, Error> {
                Ok(Self {
                    version: debug.version.into(),
                    map: debug.map.into(),
                    dso_count: debug.dso_count.into(),
                    brk: fit(debug.brk)?,
                    ldbase: fit(debug.ldbase)?,
                    dynamic: fit(debug.dynamic)?,
                    $($pad: 0.into(),)?
                })
            }
        }

        impl LinkRecord for $link {
            fn to_numbers(self) -> (u64, u32, u64) {
                (self.addr.into(), self.name.get(), self.ld.into())
            }

            fn from_numbers(addr: u64, name: u32, ld: u64) -> Result<Self, Error> {
                Ok(Self {
                    addr: fit(addr)?,
                    name: name.into(),
                    ld: fit(ld)?,
                    $($pad: 0.into(),)?
                })
            }
        }
    )* };
}

layouts! {
    /// `MDRawDebug32` (Breakpad's `minidump_format.h`), 24 bytes, of a 32-bit process.
    Debug32[24], LinkMap32[12] of U32 {}
    /// `MDRawDebug64` (Breakpad's `minidump_format.h`), 40 bytes: aligned as C compilers do, which is what Breakpad
    /// writes.
    Debug64[40], LinkMap64[24] of U64 { padding }
    /// `MDRawDebug64` without padding, 36 bytes, as minidump-writer has it.
    Debug64Packed[36], LinkMap64Packed[20] of U64 {}
}

/// The numbers of a `Debug*` record.
struct Debug {
    version: u32,
    map: u32,
    dso_count: u32,
    brk: u64,
    ldbase: u64,
    dynamic: u64,
}

trait DebugRecord: Record {
    type Link: LinkRecord;
    fn to_numbers(self) -> Debug;
    fn from_numbers(debug: &Debug) -> Result<Self, Error>;
}

trait LinkRecord: Record {
    fn to_numbers(self) -> (u64, u32, u64);
    fn from_numbers(addr: u64, name: u32, ld: u64) -> Result<Self, Error>;
}

fn fit<T: TryFromAddress>(address: u64) -> Result<T, Error> {
    T::try_from_address(address).ok_or(Error::TooLarge {
        what: "LinuxDsoDebug".into(),
        value: address,
        limit: u64::from(u32::MAX),
    })
}

/// A field that takes addresses.
trait TryFromAddress: Sized {
    fn try_from_address(address: u64) -> Option<Self>;
}

impl TryFromAddress for U32 {
    fn try_from_address(address: u64) -> Option<Self> {
        u32::try_from(address).ok().map(Self::new)
    }
}

impl TryFromAddress for U64 {
    fn try_from_address(address: u64) -> Option<Self> {
        Some(Self::new(address))
    }
}

/// How a stream is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DsoLayout {
    /// [`Debug32`] and [`LinkMap32`].
    Bits32,
    /// [`Debug64`] and [`LinkMap64`].
    Natural64,
    /// [`Debug64Packed`] and [`LinkMap64Packed`].
    Packed64,
}

impl DsoLayout {
    /// The layout of a stream of `size` bytes. The process's dynamic section, whose entries have 16 bytes, follows the
    /// fixed part, so the rest of the size tells the two layouts of 64-bit processes apart.
    #[must_use]
    pub const fn detect(word: WordSize, size: u64) -> Self {
        match word {
            WordSize::Four => Self::Bits32,
            WordSize::Eight => {
                let packed = Debug64Packed::SIZE as u64;
                let fits_packed = size >= packed && (size - packed).is_multiple_of(16);
                if fits_packed || size < Debug64::SIZE as u64 {
                    Self::Packed64
                } else {
                    Self::Natural64
                }
            }
        }
    }
}

/// A shared object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedObject {
    /// `l_addr`: how far it lies from the addresses in its file.
    pub addr: u64,
    /// `l_ld`: address of its dynamic section.
    pub ld: u64,
    /// Its path; empty for the program itself; `None` where the file has none.
    pub name: Option<String>,
}

/// The contents of a LinuxDsoDebug stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxDsoDebug {
    /// How the stream is laid out.
    pub layout: DsoLayout,
    /// `r_version`.
    pub version: u32,
    /// `r_brk`: the function that the linker calls when the list changes.
    pub brk: u64,
    /// `r_ldbase`: where the linker was loaded.
    pub ldbase: u64,
    /// Address of the program's dynamic section.
    pub dynamic: u64,
    /// The bytes of the program's dynamic section, in the byte order of the process.
    pub dynamic_section: Vec<u8>,
    /// The objects, in the order of the linker's list.
    pub objects: Vec<LinkedObject>,
}

impl LinuxDsoDebug {
    /// Reads it. The stream does not say how long its words are: that follows from the
    /// [`ProcessorArchitecture`](super::system_info::ProcessorArchitecture) of the process.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the stream is shorter than its fixed part; [`Error::Read`] where the medium fails.
    pub fn read(stream: &Stream<'_>, word: WordSize, findings: &mut Findings) -> Result<Self, Error> {
        let layout = DsoLayout::detect(word, stream.claimed_size);
        match layout {
            DsoLayout::Bits32 => Self::read_as::<Debug32>(layout, stream, findings),
            DsoLayout::Natural64 => Self::read_as::<Debug64>(layout, stream, findings),
            DsoLayout::Packed64 => Self::read_as::<Debug64Packed>(layout, stream, findings),
        }
    }

    fn read_as<D: DebugRecord>(layout: DsoLayout, stream: &Stream<'_>, findings: &mut Findings) -> Result<Self, Error> {
        let debug = stream.head::<D>()?.to_numbers();
        let mut follow = Follow::new(stream, findings);
        let behind = stream.offset.saturating_add(D::SIZE as u64);
        let dynamic_section = follow.bytes(behind, stream.size - D::SIZE as u64, "LinuxDsoDebug.DynamicSection");
        let end = FileOffset(stream.source.size());
        let links = match Rva(debug.map).offset() {
            Some(map) => follow.table::<D::Link>(map, end, u64::from(debug.dso_count), "LinuxDsoDebug.Map"),
            None => Vec::new(),
        };
        let mut objects = Vec::new();
        for link in links {
            let (addr, name, ld) = link.to_numbers();
            let name = Rva(name).offset().and_then(|at| follow.text(at, "LinuxDsoDebug.Name"));
            objects.push(LinkedObject { addr, ld, name });
        }
        Ok(Self {
            layout,
            version: debug.version,
            brk: debug.brk,
            ldbase: debug.ldbase,
            dynamic: debug.dynamic,
            dynamic_section,
            objects,
        })
    }

    fn write_as<D: DebugRecord>(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        if self.dynamic_section.len() > MAX_TEXT {
            return Err(Error::TooLarge {
                what: "LinuxDsoDebug.DynamicSection".into(),
                value: self.dynamic_section.len() as u64,
                limit: MAX_TEXT as u64,
            });
        }
        let mut links = Vec::new();
        for object in &self.objects {
            let name = match &object.name {
                Some(name) => write_string(layout, name)?,
                None => Rva(0),
            };
            let link = D::Link::from_numbers(object.addr, name.0, object.ld)?;
            links.extend_from_slice(link.in_order(layout.endian()).as_bytes());
        }
        layout.align(4);
        let at = layout.push_bytes(&links);
        let map = layout.rva(at, links.len() as u64, "LinuxDsoDebug.Map")?;
        let debug = D::from_numbers(&Debug {
            version: self.version,
            map: if links.is_empty() { 0 } else { map.0 },
            dso_count: count(self.objects.len(), "LinuxDsoDebug.DsoCount")?,
            brk: self.brk,
            ldbase: self.ldbase,
            dynamic: self.dynamic,
        })?;
        let at = layout.push_record(&debug);
        layout.push_bytes(&self.dynamic_section);
        layout.location(at, (D::SIZE + self.dynamic_section.len()) as u64, "LinuxDsoDebug")
    }
}

impl WriteStream for LinuxDsoDebug {
    fn stream_type(&self) -> StreamType {
        StreamType::LINUX_DSO_DEBUG
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        match self.layout {
            DsoLayout::Bits32 => self.write_as::<Debug32>(layout),
            DsoLayout::Natural64 => self.write_as::<Debug64>(layout),
            DsoLayout::Packed64 => self.write_as::<Debug64Packed>(layout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::third_party_tests::{RawStream, STREAM_AT, assert_round_trip_by, file_with, read_stream, words};
    use super::*;
    use crate::record::Endian;
    use alloc::vec;
    use proptest::prelude::*;

    prop_compose! {
        fn any_debug()(
            layout in prop::sample::select(vec![DsoLayout::Bits32, DsoLayout::Natural64, DsoLayout::Packed64]),
            version in any::<u32>(),
            addresses in any::<[u64; 3]>(),
            entries in prop::collection::vec(any::<[u8; 16]>(), 0..5),
            objects in prop::collection::vec(any::<(u64, u64)>(), 0..5),
            names in prop::collection::vec(prop::option::of("[^\0]{0,20}"), 5),
        ) -> LinuxDsoDebug {
            let fit = |address| if layout == DsoLayout::Bits32 { address & 0xFFFF_FFFF } else { address };
            LinuxDsoDebug {
                layout,
                version,
                brk: fit(addresses[0]),
                ldbase: fit(addresses[1]),
                dynamic: fit(addresses[2]),
                dynamic_section: entries.concat(),
                objects: objects
                    .into_iter()
                    .zip(names)
                    .map(|((addr, ld), name)| LinkedObject { addr: fit(addr), ld: fit(ld), name })
                    .collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn read_gives_what_was_written(debug in any_debug()) {
            let word = if debug.layout == DsoLayout::Bits32 { WordSize::Four } else { WordSize::Eight };
            assert_round_trip_by(&debug, |stream, findings| LinuxDsoDebug::read(stream, word, findings));
        }
    }

    fn read_raw(bytes: &[u8], behind: &[u8], word: WordSize) -> (Result<LinuxDsoDebug, Error>, Findings) {
        let raw = RawStream {
            stream_type: StreamType::LINUX_DSO_DEBUG,
            bytes,
            behind,
        };
        let file = file_with(Endian::Little, &raw);
        read_stream(&file, |stream, findings| LinuxDsoDebug::read(stream, word, findings))
    }

    #[test]
    fn sizes_tell_the_layout() {
        // 472, 504, 296, 456, 600 and 520 bytes: what Breakpad wrote for x86-64 programs.
        for size in [472, 504, 296, 456, 600, 520, 40] {
            assert_eq!(DsoLayout::detect(WordSize::Eight, size), DsoLayout::Natural64);
        }
        for size in [36, 36 + 27 * 16] {
            assert_eq!(DsoLayout::detect(WordSize::Eight, size), DsoLayout::Packed64);
        }
        assert_eq!(DsoLayout::detect(WordSize::Four, 312), DsoLayout::Bits32);
    }

    #[test]
    fn known_bytes_of_each_layout() {
        // Laid out by hand after Breakpad's header: version, map, count, brk, ldbase, dynamic; addr, name, ld.
        let at = |size: u32| STREAM_AT + size;
        let name = [&[2, 0, 0, 0][..], b"s\0\0\0"].concat();
        let short = words(&[1, at(24), 1, 0xB0, 0xBA, 0xD0]);
        let short_links = [words(&[0x1000, at(24) + 12, 0x2000]), name.clone()].concat();
        let natural = words(&[1, at(40), 1, 0, 0xB0, 0, 0xBA, 0, 0xD0, 0]);
        let natural_links = [words(&[0x1000, 0, at(40) + 24, 0, 0x2000, 0]), name.clone()].concat();
        let packed = words(&[1, at(36), 1, 0xB0, 0, 0xBA, 0, 0xD0, 0]);
        let packed_links = [words(&[0x1000, 0, at(36) + 20, 0x2000, 0]), name].concat();
        for (debug, links, word) in [
            (short, short_links, WordSize::Four),
            (natural, natural_links, WordSize::Eight),
            (packed, packed_links, WordSize::Eight),
        ] {
            let (read, findings) = read_raw(&debug, &links, word);
            let read = read.unwrap();
            assert!(findings.is_empty());
            assert_eq!(
                (read.version, read.brk, read.ldbase, read.dynamic),
                (1, 0xB0, 0xBA, 0xD0)
            );
            let object = LinkedObject {
                addr: 0x1000,
                ld: 0x2000,
                name: Some("s".into()),
            };
            assert_eq!(read.objects, [object]);
        }
    }

    #[test]
    fn hostile_streams() {
        // Shorter than the fixed part.
        assert!(matches!(
            read_raw(&[0; 23], &[], WordSize::Four).0,
            Err(Error::Malformed(_))
        ));
        assert!(matches!(
            read_raw(&[0; 35], &[], WordSize::Eight).0,
            Err(Error::Malformed(_))
        ));
        // A map past the end of the file; one that is the stream itself, where a count and two names do not fit.
        let (read, findings) = read_raw(&words(&[1, u32::MAX, u32::MAX, 0, 0, 0]), &[], WordSize::Four);
        assert_eq!((read.unwrap().objects.len(), findings.total()), (0, 1));
        let own = words(&[STREAM_AT, STREAM_AT, u32::MAX, STREAM_AT, STREAM_AT, STREAM_AT]);
        let (read, findings) = read_raw(&own, &[], WordSize::Four);
        assert_eq!((read.unwrap().objects.len(), findings.total()), (2, 3));
    }

    #[test]
    fn one_long_name_for_many_objects_does_not_fill_the_memory() {
        let entries = 20_000;
        let name = STREAM_AT + 24 + entries * 12;
        let links: Vec<u8> = (0..entries).flat_map(|_| words(&[0, name, 0])).collect();
        let behind = [links, words(&[60_000]), vec![b'a'; 60_000]].concat();
        let (read, findings) = read_raw(&words(&[1, STREAM_AT + 24, entries, 0, 0, 0]), &behind, WordSize::Four);
        let names = read.unwrap().objects.into_iter().filter_map(|object| object.name);
        let held: usize = names.map(|name| name.len()).sum();
        // A name of 60,000 bytes is 30,000 characters of 3 bytes in UTF-8; the last one may pass the limit.
        assert!(held <= MAX_TEXT + 90_000, "{held}");
        assert_eq!(findings.total(), 1);
    }
}
