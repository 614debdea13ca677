//! Real dumps: all intact ones are sound, and what is made of them is the same. The dumps are not part of the
//! repository: their folder is `DOTDUMP_CORPUS`, or `../shared/corpus` beside the workspace. Without it the test passes,
//! unless `DOTDUMP_REQUIRE_VALIDATORS` is 1.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use dotdump_snapshot::{DumpFile, MinidumpSnapshot};
use dotdump_transcode::options::DumpOptions;
use dotdump_transcode::sink::{Cancel, Control, Destination};
use dotdump_transcode::verify::{against, verify};
use dotdump_transcode::{ConvertError, Request, prepare};

/// How many intact minidumps the collection has.
const INTACT: usize = 86;

fn intact() -> Option<Vec<PathBuf>> {
    let beside = || {
        Some(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .nth(3)?
                .join("shared/corpus"),
        )
    };
    let folder = env::var_os("DOTDUMP_CORPUS").map(PathBuf::from).or_else(beside)?;
    let Ok(entries) = fs::read_dir(&folder) else {
        let required = env::var("DOTDUMP_REQUIRE_VALIDATORS").is_ok_and(|value| value == "1");
        assert!(!required, "no dumps in {} (DOTDUMP_CORPUS)", folder.display());
        eprintln!("skipped: no dumps in {} (DOTDUMP_CORPUS)", folder.display());
        return None;
    };
    let is_intact = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("mdmp-") && name.ends_with(".dmp")
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(is_intact)
        .collect();
    paths.sort();
    Some(paths)
}

#[test]
fn intact_dumps_and_their_conversions_are_sound() {
    let Some(paths) = intact() else { return };
    assert_eq!(paths.len(), INTACT);
    let folder = tempfile::tempdir().expect("a folder");
    for path in paths {
        let file = DumpFile::open(&path, true).expect("a file");
        let source = MinidumpSnapshot::open(&file).expect("a dump");
        let found = verify(&source).expect("readable");
        assert!(found.sound, "{}: {:?}", path.display(), found.findings);
        for letters in ["", "irRFhut", "AFhutdcy"] {
            let request = Request {
                options: DumpOptions {
                    mini: letters.parse().expect("letters"),
                    ..DumpOptions::default()
                },
                ..Request::default()
            };
            let mut conversion = match prepare(&source, &request) {
                Ok(conversion) => conversion,
                // Some dumps of this collection have no stacks.
                Err(ConvertError::Refused(_)) => continue,
                Err(error) => panic!("{} -m{letters}: {error}", path.display()),
            };
            let output = folder.path().join("out.dmp");
            let cancel = Cancel::new();
            let destination = Destination::file(&output, true, None).expect("a place");
            let mut sink = destination
                .open(Some(conversion.size()), Control::new(&cancel, &()))
                .expect("a file");
            conversion.write(Some(&file), sink.as_mut()).expect("written");
            sink.finish().expect("finished");

            let written = DumpFile::open(&output, true).expect("a file");
            let dump = MinidumpSnapshot::open(&written).expect("a dump");
            let found = verify(&dump).expect("readable");
            assert!(found.sound, "{} -m{letters}: {:?}", path.display(), found.findings);
            let compared = against(&dump, &source).expect("readable");
            assert!(
                compared.same,
                "{} -m{letters}: {:?}",
                path.display(),
                compared.differences
            );
        }
    }
}
