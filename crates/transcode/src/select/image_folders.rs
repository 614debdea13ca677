//! Folders with the images of modules (`--image-path`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use dotdump_format::Error;
use dotdump_format::minidump::codeview::CodeView;
use dotdump_snapshot::elf_headers::{ElfHeaders, MAX_HEADERS};
use dotdump_snapshot::{ModuleSnapshot, ProcessSnapshot};

use super::image_headers::PeHeaders;

/// The last part of a path of any system.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// Folders with the images of modules (`--image-path`).
#[derive(Clone, Debug, Default)]
pub struct ImageFolders {
    folders: Vec<PathBuf>,
}

impl ImageFolders {
    /// These folders, the first one first.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// The file that is `module`'s image, and the bytes at its start: a file of its name, the same build.
    pub(crate) fn find(&self, module: &ModuleSnapshot, build_id: Option<&[u8]>) -> Option<(PathBuf, Vec<u8>)> {
        let name = module.name_text();
        let name = base_name(&name);
        self.folders
            .iter()
            .filter_map(|folder| file_named(folder, name))
            .find_map(|path| {
                let headers = first_bytes(&path)?;
                is_build_of(&headers, module, build_id).then_some((path, headers))
            })
    }

    /// The file that is `module`'s image.
    pub(crate) fn file_of(
        &self,
        snapshot: &dyn ProcessSnapshot,
        module: &ModuleSnapshot,
    ) -> Result<Option<PathBuf>, Error> {
        if self.folders.is_empty() {
            return Ok(None);
        }
        let build_id = build_id_of(snapshot, module)?;
        Ok(self.find(module, build_id.as_deref()).map(|(path, _)| path))
    }
}

/// A file's name without its folders.
pub(crate) fn shown(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A file in `folder` whose name is `name`; Windows' names differ in case.
fn file_named(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if !name.is_empty() && exact.is_file() {
        return Some(exact);
    }
    let entries = std::fs::read_dir(folder).ok()?;
    let mut alike: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|other| other.to_string_lossy().eq_ignore_ascii_case(name))
        })
        .collect();
    alike.sort();
    alike.into_iter().next()
}

fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_HEADERS as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

fn is_build_of(headers: &[u8], module: &ModuleSnapshot, build_id: Option<&[u8]>) -> bool {
    if let Some(pe) = PeHeaders::parse(headers) {
        return pe.time_date_stamp == module.record.time_date_stamp.get()
            && pe.size_of_image == module.record.size_of_image.get();
    }
    let own = ElfHeaders::parse(headers).and_then(|elf| elf.build_id(headers));
    build_id.is_some() && own.as_deref() == build_id
}

/// The build id in a module's CodeView record.
pub(crate) fn build_id_of(snapshot: &dyn ProcessSnapshot, module: &ModuleSnapshot) -> Result<Option<Vec<u8>>, Error> {
    let Some(blob) = &module.cv_record else { return Ok(None) };
    match CodeView::parse(&snapshot.bytes(blob)?, snapshot.endian()) {
        CodeView::ElfBuildId(id) => Ok(Some(id)),
        _ => Ok(None),
    }
}
