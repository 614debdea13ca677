//! Modules, loaded and gone.

use super::*;

#[test]
fn modules_and_their_build_ids_are_those_that_the_linker_has() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let modules: BTreeMap<u64, Module> = dump.modules().into_iter().map(|module| (module.base, module)).collect();
    let program = fs::read_link(format!("/proc/{}/exe", target.id())).expect("a program");
    assert_eq!(
        dump.modules()[0].name,
        program.to_str().expect("a path"),
        "the program comes first"
    );
    let library = target.truth["library"]["path"].as_str();
    for truth in target.truth["modules"].as_array().expect("modules") {
        let module = &modules[&hex(&truth["start"])];
        assert_eq!(module.build_id.as_deref(), Some(&*bytes(&truth["build_id"])), "{truth}");
        assert!(module.base + module.size >= hex(&truth["end"]), "{truth} {module:?}");
        assert!(
            module.base + module.size <= hex(&truth["end"]).next_multiple_of(4096),
            "{truth} {module:?}"
        );
        let path = match truth["path"].as_str().expect("a path") {
            "" => program.clone(),
            // In the kernel's own there is no file.
            "linux-vdso.so.1" => continue,
            path if Some(path) == library => {
                assert_eq!(module.name, path);
                continue;
            }
            path => PathBuf::from(path),
        };
        // The linker goes through links, the kernel tells where they end.
        let same = fs::canonicalize(&module.name).expect("a file") == fs::canonicalize(&path).expect("a file");
        assert!(same, "{} is not {}", module.name, path.display());
        assert_eq!(Some(bytes(&truth["build_id"])), readelf(&path), "{}", path.display());
    }
    assert_eq!(
        modules.len(),
        target.truth["modules"].as_array().expect("modules").len(),
        "{modules:#x?}"
    );
}

/// The build id of a file, as binutils has it.
fn readelf(path: &std::path::Path) -> Option<Vec<u8>> {
    let output = Command::new("readelf").arg("-n").arg(path).output().expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout);
    let id = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "))?;
    Some(bytes(&Value::from(id)))
}

#[test]
fn a_deleted_library_is_an_unloaded_module_with_u() {
    let target = target();
    if target.truth["library"].is_null() {
        return;
    }
    let Captured { dump, .. } = captured(&target, &["-mu"]);
    let start = target.truth["modules"]
        .as_array()
        .expect("modules")
        .iter()
        .find_map(|module| {
            let is_library = module["path"] == target.truth["library"]["path"];
            is_library.then(|| hex(&module["start"]))
        });
    let unloaded = dump.unloaded_modules();
    let found = unloaded.iter().find(|(base, _)| Some(*base) == start);
    let (_, name) = found.unwrap_or_else(|| panic!("{start:x?} is not among {unloaded:x?}"));
    assert!(name.contains("libdeleted.so"), "{name}");
    let Captured { dump, .. } = captured(&target, &["-m"]);
    assert_eq!(dump.stream(14), None);
}

#[test]
fn paths_of_modules_are_names_with_upper_r() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mR"]);
    let names: Vec<String> = dump.modules().into_iter().map(|module| module.name).collect();
    assert!(
        names.iter().all(|name| !name.is_empty() && !name.contains('/')),
        "{names:?}"
    );
    assert_eq!(names[0], "capture-target");
}
