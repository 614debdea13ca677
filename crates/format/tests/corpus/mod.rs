//! The collection of real dumps. It is not part of the repository: its folder is `DOTDUMP_CORPUS`, or `../shared/corpus`
//! beside the workspace. Tests that need it say so and pass where it is missing, unless `DOTDUMP_REQUIRE_VALIDATORS` is 1.

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
    let required = env::var("DOTDUMP_REQUIRE_VALIDATORS").is_ok_and(|value| value == "1");
    assert!(!required, "no dumps in {} (DOTDUMP_CORPUS)", folder.display());
    eprintln!("skipped: no dumps in {} (DOTDUMP_CORPUS)", folder.display());
    None
}

/// A dump by its file name.
pub(crate) fn file(name: &str) -> Option<Vec<u8>> {
    let path = folder()?.join(name);
    Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// All dumps with their file names.
pub(crate) fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
    let entries = folder().map(|folder| fs::read_dir(folder).expect("the collection"));
    entries.into_iter().flatten().filter_map(|entry| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().ok()?;
        let bytes = name
            .ends_with(".dmp")
            .then(|| fs::read(entry.path()).expect("a dump"))?;
        Some((name, bytes))
    })
}
