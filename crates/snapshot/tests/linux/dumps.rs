//! Dumps of other writers: the modules found in their maps and memory are those of their module lists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dotdump_format::Findings;
use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_snapshot::linux::{LinuxArchitecture, LinuxModules};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ModuleSnapshot, ProcessSnapshot};

/// The bytes of a stream; none where the dump lacks it.
fn stream(snapshot: &MinidumpSnapshot<'_>, stream_type: StreamType) -> Vec<u8> {
    let Some(stream) = snapshot.dump().stream(stream_type) else {
        return Vec::new();
    };
    let size = usize::try_from(stream.size).unwrap();
    stream.source.bytes(stream.offset, size).unwrap().into_owned()
}

fn maps(snapshot: &MinidumpSnapshot<'_>) -> Vec<LinuxMapping> {
    let mut findings = Findings::default();
    let maps = snapshot.dump().get::<LinuxMaps<'_>>(&mut findings).unwrap();
    maps.map_or_else(Vec::new, |maps| maps.to_vec(&mut findings).unwrap())
}

fn find(snapshot: &MinidumpSnapshot<'_>, mappings: &[LinuxMapping]) -> Vec<ModuleSnapshot> {
    let mut findings = Findings::default();
    let auxv = stream(snapshot, StreamType::LINUX_AUXV);
    let known = LinuxModules::default();
    let architecture = match snapshot.architecture().pointer_size() {
        8 => LinuxArchitecture::Amd64,
        _ => LinuxArchitecture::X86,
    };
    let found = LinuxModules::find(architecture, mappings, &auxv, snapshot.memory(), &known, &mut findings);
    found.unwrap().modules
}

#[test]
fn the_modules_of_a_full_dump() {
    let file = DumpFile::open(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/crash-full.dmp")),
        true,
    );
    let file = file.unwrap();
    let snapshot = MinidumpSnapshot::open(&file).unwrap();
    let found = find(&snapshot, &maps(&snapshot));
    let told = |module: &ModuleSnapshot| {
        let id = snapshot.bytes(module.cv_record.as_ref().unwrap()).unwrap().into_owned();
        (module.range(), module.name_text(), id)
    };
    let listed: Vec<_> = snapshot.modules().iter().map(told).collect();
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), listed);
}

/// Breakpad's lists also have every other file that is mapped, such as fonts.
#[test]
fn the_modules_that_breakpad_lists() {
    let Some(corpus) = std::env::var_os("DOTDUMP_CORPUS").map(PathBuf::from) else {
        return;
    };
    let mut dumps = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains("-linux-breakpad-") {
            continue;
        }
        let file = DumpFile::open(&path, true).unwrap();
        let snapshot = MinidumpSnapshot::open(&file).unwrap();
        let mappings = maps(&snapshot);
        if mappings.is_empty() {
            continue;
        }
        dumps += 1;
        // Its names are `DT_SONAME`s (`libc.so.6`) where ours are paths (`libc-2.31.so`).
        let modules = snapshot.modules().iter();
        let listed: BTreeSet<u64> = modules.map(|module| module.range().start.0).collect();
        let found = find(&snapshot, &mappings);
        // .NET maps its PE files as code. Without their bytes they pass for programs.
        for module in found.iter().filter(|module| !module.name_text().ends_with(".dll")) {
            let base = module.range().start.0;
            assert!(listed.contains(&base), "{name} {base:#x} {}", module.name_text());
        }
        // Whatever is mapped as code from its start on is there.
        let code = mappings
            .iter()
            .filter(|mapping| mapping.permissions.execute && mapping.offset == 0);
        let files = code
            .filter(|mapping| mapping.inode != 0 && mapping.file().is_some_and(|file| !file.starts_with(b"/memfd:")));
        for mapping in files {
            let is_found = found.iter().any(|module| module.range().contains(mapping.range.start));
            assert!(is_found, "{name} {mapping:?}");
        }
        let has_vdso = mappings.iter().any(|mapping| mapping.special_name() == Some(b"[vdso]"));
        let is_found = found.iter().any(|module| module.name_text() == "linux-gate.so");
        assert!(is_found || !has_vdso, "{name}");
    }
    assert!(dumps > 10, "{dumps} dumps");
}
