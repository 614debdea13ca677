//! The collection of real dumps. It is not part of the repository: its folder is `DOTDUMP_CORPUS`, or `../shared/corpus`
//! beside the workspace. Tests that need it say so and pass where it is missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let beside = || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
        Some(workspace.parent()?.join("shared/corpus"))
    };
    let folder = env::var_os("DOTDUMP_CORPUS").map(PathBuf::from).or_else(beside)?;
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no dumps in {} (DOTDUMP_CORPUS)", folder.display());
    None
}

/// A dump by its file name.
pub(crate) fn file(name: &str) -> Option<Vec<u8>> {
    let path = folder()?.join(name);
    let bytes = fs::read(&path);
    if let Err(error) = &bytes {
        eprintln!("skipped: {}: {error}", path.display());
    }
    bytes.ok()
}

/// All dumps with their file names.
pub(crate) fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
    let entries = folder().and_then(|folder| fs::read_dir(folder).ok());
    entries.into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let bytes = name.ends_with(".dmp").then(|| fs::read(entry.path()).ok())??;
        Some((name, bytes))
    })
}
