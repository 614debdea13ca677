//! `CrashpadInfo` (0x43500001): ids of report and client, and what the program noted about itself.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::guid::Guid;
use super::held::{Follow, place_bytes};
use super::list::reserve_list;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Endian, Record, record};

/// The version that [`CrashpadInfo`] and [`ModuleCrashpadInfo`] have.
pub const VERSION: u32 = 1;

record! {
    /// The first part of `MinidumpCrashpadInfo` (Crashpad's `minidump_extensions.h`), 52 bytes: all that older
    /// versions write.
    pub struct CrashpadInfoHead[52] {
        /// [`VERSION`].
        pub version: U32,
        /// Id of the report.
        pub report_id: Guid,
        /// Id of the installation.
        pub client_id: Guid,
        /// A list of [`DictionaryEntry`].
        pub simple_annotations: LocationDescriptor,
        /// A list of [`ModuleLink`].
        pub module_list: LocationDescriptor,
    }

    /// What newer versions of Crashpad write behind [`CrashpadInfoHead`], 12 bytes.
    pub struct CrashpadInfoTail[12] {
        /// 0.
        pub reserved: U32,
        /// Which bits of pointers are part of the address.
        pub address_mask: U64,
    }

    /// `MinidumpSimpleStringDictionaryEntry`, 8 bytes. Both parts are a `MinidumpUTF8String`.
    pub struct DictionaryEntry[8] {
        /// Where the key lies.
        pub key: U32,
        /// Where the value lies.
        pub value: U32,
    }

    /// `MinidumpModuleCrashpadInfoLink`, 12 bytes.
    pub struct ModuleLink[12] {
        /// Which module of the ModuleList.
        pub minidump_module_list_index: U32,
        /// A [`ModuleHead`].
        pub location: LocationDescriptor,
    }

    /// `MinidumpModuleCrashpadInfo`, 28 bytes; 20 in older versions, which have no annotation objects.
    pub struct ModuleHead[28] {
        /// [`VERSION`].
        pub version: U32,
        /// A list of [`StringLink`].
        pub list_annotations: LocationDescriptor,
        /// A list of [`DictionaryEntry`].
        pub simple_annotations: LocationDescriptor,
        /// A list of [`AnnotationEntry`].
        pub annotation_objects: LocationDescriptor,
    }

    /// An entry of `MinidumpRVAList`, 4 bytes.
    pub struct StringLink[4] {
        /// Where a `MinidumpUTF8String` lies.
        pub rva: U32,
    }

    /// `MinidumpAnnotation`, 12 bytes.
    pub struct AnnotationEntry[12] {
        /// Where its name lies, a `MinidumpUTF8String`.
        pub name: U32,
        /// [`ANNOTATION_STRING`] or a type of the program's own.
        pub annotation_type: U16,
        /// 0.
        pub reserved: U16,
        /// Where its value lies, a `MinidumpByteArray`.
        pub value: U32,
    }
}

/// The size of a [`ModuleHead`] of older versions.
const MODULE_HEAD_OLD: usize = 20;

/// [`Annotation::annotation_type`]: a text. Types from 0x8000 on are the program's own.
pub const ANNOTATION_STRING: u16 = 1;

/// A string that should be UTF-8. A file may hold anything, and keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Utf8String(pub Vec<u8>);

impl Utf8String {
    /// The text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Utf8String {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

/// Keys and values, in file order.
pub type Dictionary = Vec<(Utf8String, Utf8String)>;

/// A named value of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Its name.
    pub name: Utf8String,
    /// [`ANNOTATION_STRING`] or a type of the program's own.
    pub annotation_type: u16,
    /// Its value.
    pub value: Vec<u8>,
}

impl Annotation {
    /// Its value, where it is a text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        (self.annotation_type == ANNOTATION_STRING).then(|| String::from_utf8_lossy(&self.value))
    }
}

/// What one module noted about itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ModuleCrashpadInfo {
    /// Which module of the ModuleList.
    pub module_index: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Texts without names.
    pub list_annotations: Vec<Utf8String>,
    /// Texts with names.
    pub simple_annotations: Dictionary,
    /// Values of any type with names.
    pub annotation_objects: Vec<Annotation>,
}

/// The contents of a CrashpadInfo stream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CrashpadInfo {
    /// [`VERSION`].
    pub version: u32,
    /// Id of the report.
    pub report_id: Guid,
    /// Id of the installation.
    pub client_id: Guid,
    /// Texts with names about the process.
    pub simple_annotations: Dictionary,
    /// What its modules noted.
    pub modules: Vec<ModuleCrashpadInfo>,
    /// Which bits of pointers are part of the address; 0 means all. `None` in files of older versions.
    pub address_mask: Option<u64>,
}

impl CrashpadInfo {
    /// Renumbers the modules after the ModuleList changed: `new_index` tells where a module went, or `None` where it
    /// is gone, and with it goes what it noted.
    pub fn remap_modules(&mut self, mut new_index: impl FnMut(u32) -> Option<u32>) {
        self.modules.retain_mut(|module| match new_index(module.module_index) {
            Some(index) => {
                module.module_index = index;
                true
            }
            None => false,
        });
    }
}

impl<'a> StreamContent<'a> for CrashpadInfo {
    const TYPE: StreamType = StreamType::CRASHPAD_INFO;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let head: CrashpadInfoHead = stream.head()?;
        let tail: Option<CrashpadInfoTail> = stream.record_at(CrashpadInfoHead::SIZE as u64).ok();
        let mut follow = Follow::new(stream, findings);
        if head.version.get() != VERSION {
            let message = alloc::format!("{}, {VERSION} expected", head.version);
            follow.note(stream.offset, "CrashpadInfo.Version", message);
        }
        let simple_annotations = read_dictionary(&mut follow, &head.simple_annotations);
        let mut modules = Vec::new();
        for link in follow.list::<ModuleLink>(&head.module_list, "CrashpadInfo.ModuleList") {
            modules.extend(read_module(&mut follow, &link));
        }
        Ok(Self {
            version: head.version.get(),
            report_id: head.report_id,
            client_id: head.client_id,
            simple_annotations,
            modules,
            address_mask: tail.map(|tail| tail.address_mask.get()),
        })
    }
}

fn read_module(follow: &mut Follow<'_, '_>, link: &ModuleLink) -> Option<ModuleCrashpadInfo> {
    let head = follow.record::<ModuleHead>(&link.location, MODULE_HEAD_OLD, "ModuleCrashpadInfo")?;
    let mut module = ModuleCrashpadInfo {
        module_index: link.minidump_module_list_index.get(),
        version: head.version.get(),
        simple_annotations: read_dictionary(follow, &head.simple_annotations),
        ..ModuleCrashpadInfo::default()
    };
    for link in follow.list::<StringLink>(&head.list_annotations, "ModuleCrashpadInfo.ListAnnotations") {
        let text = follow.sized_bytes(link.rva.get(), "ModuleCrashpadInfo.ListAnnotations");
        module.list_annotations.push(Utf8String(text));
    }
    for entry in follow.list::<AnnotationEntry>(&head.annotation_objects, "ModuleCrashpadInfo.AnnotationObjects") {
        module.annotation_objects.push(Annotation {
            name: Utf8String(follow.sized_bytes(entry.name.get(), "Annotation.Name")),
            annotation_type: entry.annotation_type.get(),
            value: follow.sized_bytes(entry.value.get(), "Annotation.Value"),
        });
    }
    Some(module)
}

fn read_dictionary(follow: &mut Follow<'_, '_>, location: &LocationDescriptor) -> Dictionary {
    let entries = follow.list::<DictionaryEntry>(location, "SimpleAnnotations");
    let mut string = |rva: U32| Utf8String(follow.sized_bytes(rva.get(), "SimpleAnnotations"));
    let pair = |entry: DictionaryEntry| (string(entry.key), string(entry.value));
    entries.into_iter().map(pair).collect()
}

impl WriteStream for CrashpadInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::CRASHPAD_INFO
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        layout.align(4);
        let tail_size = self.address_mask.map_or(0, |_| CrashpadInfoTail::SIZE);
        let room = layout.reserve(CrashpadInfoHead::SIZE + tail_size);
        let head = CrashpadInfoHead {
            version: self.version.into(),
            report_id: self.report_id,
            client_id: self.client_id,
            simple_annotations: write_dictionary(layout, &self.simple_annotations)?,
            module_list: write_list(layout, &self.modules, write_module)?,
        };
        layout.fill_record(room, 0, &head);
        if let Some(address_mask) = self.address_mask {
            let tail = CrashpadInfoTail {
                address_mask: address_mask.into(),
                ..CrashpadInfoTail::default()
            };
            layout.fill_record(room, CrashpadInfoHead::SIZE, &tail);
        }
        layout.location(room.offset, room.size as u64, "CrashpadInfo")
    }
}

fn write_module(layout: &mut Layout, module: &ModuleCrashpadInfo) -> Result<ModuleLink, Error> {
    layout.align(4);
    let room = layout.reserve(ModuleHead::SIZE);
    let head = ModuleHead {
        version: module.version.into(),
        list_annotations: write_list(layout, &module.list_annotations, |layout, text| {
            let rva = write_sized(layout, &text.0, true)?;
            Ok(StringLink { rva })
        })?,
        simple_annotations: write_dictionary(layout, &module.simple_annotations)?,
        annotation_objects: write_list(layout, &module.annotation_objects, |layout, annotation| {
            Ok(AnnotationEntry {
                name: write_sized(layout, &annotation.name.0, true)?,
                annotation_type: annotation.annotation_type.into(),
                reserved: 0.into(),
                value: write_sized(layout, &annotation.value, false)?,
            })
        })?,
    };
    layout.fill_record(room, 0, &head);
    Ok(ModuleLink {
        minidump_module_list_index: module.module_index.into(),
        location: layout.location(room.offset, room.size as u64, "ModuleCrashpadInfo")?,
    })
}

fn write_dictionary(layout: &mut Layout, dictionary: &Dictionary) -> Result<LocationDescriptor, Error> {
    write_list(layout, dictionary, |layout, (key, value)| {
        Ok(DictionaryEntry {
            key: write_sized(layout, &key.0, true)?,
            value: write_sized(layout, &value.0, true)?,
        })
    })
}

/// A list of the records that `write` gives; an empty list is absent, as Crashpad has it.
fn write_list<T, R: Record>(
    layout: &mut Layout,
    items: &[T],
    mut write: impl FnMut(&mut Layout, &T) -> Result<R, Error>,
) -> Result<LocationDescriptor, Error> {
    if items.is_empty() {
        return Ok(LocationDescriptor::default());
    }
    let (room, location) = reserve_list::<R>(layout, items.len(), "CrashpadInfo")?;
    for (index, item) in items.iter().enumerate() {
        let record = write(layout, item)?;
        layout.fill_record(room, 4 + index * R::SIZE, &record);
    }
    Ok(location)
}

/// A length, the bytes, and for a string a NUL that the length does not count.
fn write_sized(layout: &mut Layout, bytes: &[u8], string: bool) -> Result<U32, Error> {
    let size = count(bytes.len(), "CrashpadInfo")?;
    let size = match layout.endian() {
        Endian::Little => size.to_le_bytes(),
        Endian::Big => size.to_be_bytes(),
    };
    let end: &[u8] = if string { &[0] } else { &[] };
    Ok(place_bytes(layout, &[&size, bytes, end].concat(), "CrashpadInfo")?.rva)
}

#[cfg(test)]
#[path = "crashpad_info_tests.rs"]
mod tests;
