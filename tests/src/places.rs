//! Where the things are that are not in the repository, and what happens where they are missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// With this variable set to 1, a test that finds something missing fails instead of skipping itself.
pub const REQUIRE: &str = "DOTDUMP_REQUIRE_VALIDATORS";

/// The workspace's folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// A file of `fixtures/`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    workspace().join("fixtures").join(name)
}

/// Says that a test is skipped.
///
/// # Panics
/// Where nothing may be missing.
pub fn skip(what: &str) {
    assert!(
        env::var_os(REQUIRE).is_none_or(|value| value != "1"),
        "{what} ({REQUIRE}=1)"
    );
    eprintln!("skipped: {what}");
}

pub(crate) fn beside(variable: &str, name: &str) -> Option<PathBuf> {
    let folder = env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| Some(workspace().parent()?.join("shared").join(name)))?;
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("{} is not there ({variable})", folder.display()));
    None
}

/// The collection of real dumps.
#[must_use]
pub fn corpus() -> Option<PathBuf> {
    beside("DOTDUMP_CORPUS", "corpus")
}

/// A dump of the collection by a part of its name.
///
/// # Panics
/// Where the collection is there and has none or several of them.
#[must_use]
pub fn corpus_file(part: &str) -> Option<PathBuf> {
    let mut found = dumps_in(&corpus()?, |name| name.contains(part));
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.pop()
}

/// The dumps of the collection whose names start with `start`; none where it is not there.
#[must_use]
pub fn corpus_files(start: &str) -> Vec<PathBuf> {
    corpus().map_or_else(Vec::new, |folder| dumps_in(&folder, |name| name.starts_with(start)))
}

/// The dumps in `folder` whose names `wanted` accepts, by name.
#[must_use]
pub fn dumps_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut dumps: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dmp") && wanted(&name_of(path)))
        .collect();
    dumps.sort();
    dumps
}

/// The file name of a path, as text.
#[must_use]
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The folder of the validators' scripts.
#[must_use]
pub fn validators() -> Option<PathBuf> {
    beside("DOTDUMP_VALIDATORS", "validators")
}

/// The folder of the tools that these scripts installed.
#[must_use]
pub fn tools() -> Option<PathBuf> {
    let folder = env::var_os("VALIDATORS_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/dotdump-validators")))?;
    if folder.join("bin").is_dir() {
        return Some(folder);
    }
    skip(&format!("the validators are not installed in {}", folder.display()));
    None
}
