//! `UnloadedModuleListStream` (14): modules that the process had unloaded.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::{Head, held, reserve_sized_list};
use super::name::{Name, NameReader, NameWriter};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Record, record};

record! {
    /// `MINIDUMP_UNLOADED_MODULE` (`minidumpapiset.h`), 24 bytes.
    pub struct UnloadedModuleRecord[24] {
        /// The first address at which it was.
        pub base_of_image: U64,
        /// Its size in memory, in bytes.
        pub size_of_image: U32,
        /// Checksum from its PE header.
        pub check_sum: U32,
        /// Time stamp from its PE header.
        pub time_date_stamp: U32,
        /// Its name, a `MINIDUMP_STRING`.
        pub module_name_rva: U32,
    }
}

/// A module that was unloaded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UnloadedModule {
    /// Its record. The file offset in it is zero: the name is held here.
    pub record: UnloadedModuleRecord,
    /// Its file name without a folder, at most 32 characters of it; `None` where it cannot be read.
    pub name: Option<Name>,
}

impl UnloadedModule {
    /// The addresses at which it was.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        let size = u64::from(self.record.size_of_image.get());
        VirtRange::sized(VirtAddr(self.record.base_of_image.get()), size)
    }
}

/// An UnloadedModuleListStream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UnloadedModuleList {
    /// The modules. Their ranges may overlap each other and those of loaded modules.
    pub modules: Vec<UnloadedModule>,
}

impl<'a> StreamContent<'a> for UnloadedModuleList {
    const TYPE: StreamType = StreamType::UNLOADED_MODULE_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        const WHAT: &str = "UnloadedModuleList";
        let least = UnloadedModuleRecord::SIZE;
        let table = stream.sized_list::<UnloadedModuleRecord>(Head::Short, least, WHAT, findings)?;
        let mut names = NameReader::new(*stream);
        let mut modules = Vec::new();
        for record in held(&table, WHAT, findings) {
            let mut record = record?;
            let rva = record.module_name_rva.get();
            let name = names.read(rva.into(), "UnloadedModuleList.ModuleName", findings);
            record.module_name_rva = 0.into();
            modules.push(UnloadedModule { record, name });
        }
        Ok(Self { modules })
    }
}

impl WriteStream for UnloadedModuleList {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let (room, location) = reserve_sized_list(layout, Head::Short, 24, self.modules.len(), "UnloadedModuleList")?;
        // Readers give up on the list where a module has no name, so an unknown one is written as an empty one.
        let unknown = Name::from("");
        let mut names = NameWriter::default();
        for (index, module) in self.modules.iter().enumerate() {
            let mut record = module.record;
            let name = module.name.as_ref().unwrap_or(&unknown);
            record.module_name_rva = names.write(layout, Some(name))?.0.into();
            layout.fill_record(room, index * UnloadedModuleRecord::SIZE, &record);
        }
        Ok(location)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Endian;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::UNLOADED_MODULE_LIST;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            modules in proptest::collection::vec((test_dump::record::<UnloadedModuleRecord>(), test_dump::units()), 0..6),
        ) {
            let modules = modules
                .into_iter()
                .map(|(mut record, units)| {
                    record.module_name_rva = 0.into();
                    UnloadedModule { record, name: Some(Name::from(units)) }
                })
                .collect();
            let list = UnloadedModuleList { modules };
            prop_assert_eq!(test_dump::read_clean::<UnloadedModuleList>(&test_dump::file_of(&list, endian)), list);
        }
    }

    #[test]
    fn an_unknown_name_is_written_as_an_empty_one() {
        let list = UnloadedModuleList {
            modules: alloc::vec![UnloadedModule::default()],
        };
        let file = test_dump::file_of(&list, Endian::Little);
        let list: UnloadedModuleList = test_dump::read_clean(&file);
        assert_eq!(list.modules[0].name, Some(Name::from("")));
    }

    // Sizes and offsets: section 3.12 of the format reference.
    #[test]
    fn the_head_is_12_bytes_and_an_entry_24() {
        let record = UnloadedModuleRecord {
            base_of_image: 0x11.into(),
            size_of_image: 0x22.into(),
            check_sum: 0x33.into(),
            time_date_stamp: 0x44.into(),
            module_name_rva: 0.into(),
        };
        let name = Some(Name::from("A"));
        let list = UnloadedModuleList {
            modules: alloc::vec![UnloadedModule { record, name }],
        };
        let file = test_dump::file_of(&list, Endian::Little);
        let bytes = &file[test_dump::STREAM..];
        assert_eq!(bytes[..12], [12, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!([bytes[12], bytes[20], bytes[24], bytes[28]], [0x11, 0x22, 0x33, 0x44]);
        assert_eq!(usize::from(bytes[32]), test_dump::STREAM + 36);
        assert_eq!(bytes[36..], *b"\x02\0\0\0A\0\0\0");
    }

    #[test]
    fn damage_is_a_finding_or_an_error() {
        let module = UnloadedModule {
            name: Some(Name::from("a.dll")),
            ..UnloadedModule::default()
        };
        let list = UnloadedModuleList {
            modules: alloc::vec![module; 2],
        };
        let file = test_dump::file_of(&list, Endian::Little);
        test_dump::damaged(&file, |file| {
            if let Ok(list) = test_dump::read::<UnloadedModuleList>(file).0 {
                assert!(list.modules.len() <= file.len());
                assert!(
                    list.modules
                        .iter()
                        .all(|module| module.range().size() <= u64::from(u32::MAX))
                );
            }
        });
        for (words, usable) in [
            ([12_u32, 24, u32::MAX], true),
            ([12, 1, u32::MAX], true),
            ([12, u32::MAX, 1], true),
            ([u32::MAX, 24, 1], true),
            ([12, 0, 1], false),
            ([0, 24, 1], false),
            ([1, 24, 1], false),
        ] {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend([0xFF; 24]);
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            let (list, findings) = test_dump::read::<UnloadedModuleList>(&file);
            assert_eq!((list.is_ok(), findings.is_empty()), (usable, !usable), "{words:?}");
        }
    }
}
