//! The streams of Breakpad, Crashpad and Linux, and the debug records of modules, in real dumps.
//!
//! Expected values come from `minidump-stackwalk` 0.27 of rust-minidump (`--json` and `--dump`), or from parts of the
//! same dump that other code reads.

use std::path::PathBuf;

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::assertion_info::AssertionInfo;
use dotdump_format::minidump::breakpad_info::BreakpadInfo;
use dotdump_format::minidump::codeview::CodeView;
use dotdump_format::minidump::crashpad_info::{CrashpadInfo, Dictionary};
use dotdump_format::minidump::linux_auxv::{AuxvType, LinuxAuxv, WordSize};
use dotdump_format::minidump::linux_dso_debug::LinuxDsoDebug;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::linux_maps::LinuxMaps;
use dotdump_format::minidump::linux_text::{
    LinuxCmdLine, LinuxCpuInfo, LinuxEnviron, LinuxLsbRelease, LinuxProcStatus,
};
use dotdump_format::minidump::module_list::ModuleList;
use dotdump_format::minidump::system_info::SystemInfo;
use dotdump_format::minidump::thread_list::ThreadList;
use dotdump_format::minidump::{
    DirectoryEntry, Header, Minidump, StreamContent, StreamType, VERSION, WriteStream, write_directory,
};
use dotdump_format::{Endian, Findings, ReadAt, Record, VirtAddr};

/// Where the dumps lie; `None` without them, unless they are required.
fn corpus() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus"));
    let corpus = std::env::var_os("DOTDUMP_CORPUS").map_or_else(beside, PathBuf::from);
    if !corpus.is_dir() {
        let required = std::env::var("DOTDUMP_REQUIRE_VALIDATORS").is_ok_and(|value| value == "1");
        assert!(!required, "no corpus at {} (DOTDUMP_CORPUS)", corpus.display());
        eprintln!("skipped: no corpus at {}", corpus.display());
        return None;
    }
    Some(corpus)
}

/// The dump of this name without `mdmp-` and `.dmp`; `None` without the corpus.
fn dump(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(corpus()?.join(format!("mdmp-{name}.dmp"))).unwrap())
}

/// All dumps in whose names `part` occurs, with their names.
fn dumps(part: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    let files = corpus().map(|corpus| std::fs::read_dir(corpus).unwrap());
    let named = files.into_iter().flatten().map(|file| {
        let path = file.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), path)
    });
    named
        .filter(move |(name, _)| name.starts_with("mdmp-") && name.contains(part))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
}

/// The stream of type `T`, which must be there and without fault.
fn stream<'a, T: StreamContent<'a>>(file: &'a dyn ReadAt) -> T {
    let mut findings = Findings::default();
    let content = Minidump::open(file).unwrap().get(&mut findings).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    content.expect("the dump has the stream")
}

fn maps(file: &dyn ReadAt) -> Vec<LinuxMapping> {
    let mut findings = Findings::default();
    let mappings = stream::<LinuxMaps<'_>>(file).to_vec(&mut findings).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    mappings
}

fn word(file: &dyn ReadAt) -> WordSize {
    stream::<SystemInfo>(file).architecture().into()
}

fn auxv(file: &dyn ReadAt) -> LinuxAuxv {
    let found = Minidump::open(file).unwrap().stream(StreamType::LINUX_AUXV).unwrap();
    LinuxAuxv::read(&found, word(file), &mut Findings::default()).unwrap()
}

fn dso_debug(file: &dyn ReadAt, word: WordSize) -> LinuxDsoDebug {
    let found = Minidump::open(file)
        .unwrap()
        .stream(StreamType::LINUX_DSO_DEBUG)
        .unwrap();
    let mut findings = Findings::default();
    let debug = LinuxDsoDebug::read(&found, word, &mut findings).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    debug
}

/// A new minidump with only this stream, in which all of its references differ.
fn rewritten(content: &dyn WriteStream) -> Vec<u8> {
    let mut layout = Layout::new(Endian::Little);
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(DirectoryEntry::SIZE);
    let entry = DirectoryEntry {
        stream_type: content.stream_type().0.into(),
        location: content.write(&mut layout).unwrap(),
    };
    let record = Header {
        version: u32::from(VERSION).into(),
        ..Header::default()
    };
    write_directory(&mut layout, header, directory, record, &[entry]).unwrap();
    let bytes = |piece| match piece {
        Piece::Bytes(bytes) => bytes,
        other => panic!("{other:?} where only bytes are expected"),
    };
    layout.finish().pieces.into_iter().flat_map(bytes).collect()
}

/// `modules[0]` of `minidump-stackwalk --json`: `debug_id`, `debug_file` up to its last component, and for build ids
/// `code_id`.
const FIRST_MODULES: &[(&str, &str, &str, &str)] = &[
    (
        "arm-android-breakpad-mozilla-services-android-arm",
        "414E3EADE74F151C504700CDBEF2BF5E0",
        "",
        "ad3e4e414fe71c15504700cdbef2bf5e",
    ),
    (
        "x64-linux-breakpad-getsentry-crash_linux",
        "D2554CDB926136C4B9766A086583B9B50",
        "",
        "db4c55d26192c436b9766a086583b9b5a6d2e271",
    ),
    (
        "x64-linux-breakpad-google-linux_null_read_av",
        "7B7D1968FF0D47AE4366E9C3A7E1B6750",
        "null_read_av",
        "",
    ),
    (
        "x64-linux-breakpad-mozilla-services-linux-x86_64",
        "7772F4C4A148D20331FAF36277B90C130",
        "",
        "c4f4727748a103d231faf36277b90c132471e482",
    ),
    (
        "x64-linux-breakpad-palaghiaaa-minidump-v2",
        "622ABC1F84FF9C4D27AB7BD6A183BB5E0",
        "",
        "1fbc2a62ff844d9c27ab7bd6a183bb5ea5cdc821",
    ),
    (
        "x64-linux-crashpad-google-linux_inline",
        "BBA6FA10B8AAB33D00000000000000000",
        "",
        "10faa6bbaab83db3",
    ),
    (
        "x64-macos-crashpad-electron-mac",
        "46590D666257311E9AB6734FB869A42E0",
        "Electron Helper",
        "",
    ),
    (
        "x64-macos-breakpad-getsentry-macos",
        "67E9247C814E392BA027DBDE6748FCBF0",
        "crash",
        "",
    ),
    (
        "x64-win10-dbghelp-ghost-yc-crashdump",
        "3DD4F153BD0E4908B04F672A1B5A4B8380",
        "GujianOL.pdb",
        "",
    ),
    (
        "x64-win10-dbghelpbp-mozilla-services-windows-x86_64",
        "B805162903CD62784C4C44205044422E1",
        "firefox.pdb",
        "",
    ),
    (
        "x86-win10-dbghelp-huafuge-MiniDump",
        "A08A929B4DD547B5901C5B0A2AABA6945",
        "贼鸡霸3.3.pdb",
        "",
    ),
    (
        "x86-win7-dbghelpbp-google-ascii_read_av_xchg_write",
        "1B5043085F174DA385521DD4740D17301a",
        "crashme.pdb",
        "",
    ),
    (
        "x86-winxp-dbghelpbp-google-minidump2",
        "5A9832E5287241C1838ED98914E9B7FF1",
        "test_app.pdb",
        "",
    ),
];

#[test]
fn debug_ids_of_first_modules() {
    for (name, debug_id, debug_file, code_id) in FIRST_MODULES {
        let Some(file) = dump(name) else { return };
        let modules = stream::<ModuleList<'_>>(&file).modules;
        let first = modules.get(0).unwrap();
        let record = CodeView::read(&file, Endian::Little, &first.cv_record)
            .unwrap()
            .unwrap();
        assert_eq!(record.debug_id().as_deref(), Some(*debug_id), "{name}");
        let path = record.debug_file().unwrap_or_default();
        assert_eq!(path.rsplit(['\\', '/']).next(), Some(*debug_file), "{name}");
        assert_eq!(record.code_id().unwrap_or_default(), *code_id, "{name}");
        for module in &modules {
            let Some(record) = CodeView::read(&file, Endian::Little, &module.unwrap().cv_record).unwrap() else {
                continue;
            };
            for endian in [Endian::Little, Endian::Big] {
                assert_eq!(CodeView::parse(&record.to_bytes(endian), endian), record, "{name}");
            }
        }
    }
}

/// `pid` and `linux_memory_map_count` of `minidump-stackwalk --json`, and `lsb_release.description`.
const LINUX: &[(&str, u32, usize, &str)] = &[
    ("arm-android-breakpad-mozilla-services-android-arm", 18836, 1828, ""),
    (
        "x64-linux-breakpad-getsentry-crash_linux",
        133,
        36,
        "Ubuntu 16.04.3 LTS",
    ),
    (
        "x64-linux-breakpad-google-linux_jmp_to_0",
        35413,
        35,
        "Ubuntu 14.04 LTS",
    ),
    ("x64-linux-breakpad-google-linux_null_read_av", 11506, 34, ""),
    (
        "x64-linux-breakpad-llvm-mirror-linux-x86_64",
        29917,
        39,
        "Ubuntu 14.04.4 LTS",
    ),
    (
        "x64-linux-breakpad-mozilla-services-7d381dc5-51e2-4887-956b-1ae9c2130109",
        30995,
        781,
        "Ubuntu 12.10",
    ),
    (
        "x64-linux-breakpad-mozilla-services-linux-x86_64",
        3150,
        2419,
        "Fedora 33 (Thirty Three)",
    ),
    ("x64-linux-breakpad-palaghiaaa-minidump-v2", 512, 2789, ""),
    (
        "x86-linux-breakpad-mozilla-services-linux-x86",
        3078,
        903,
        "Ubuntu 18.04.5 LTS",
    ),
];

#[test]
fn texts_of_linux_dumps() {
    for (name, pid, _, release) in LINUX {
        let Some(file) = dump(name) else { return };
        let status = stream::<LinuxProcStatus<'_>>(&file);
        assert_eq!(status.value("Pid"), Some(pid.to_string().as_bytes()), "{name}");
        if !release.is_empty() {
            let lsb = stream::<LinuxLsbRelease<'_>>(&file);
            // Fedora has no lsb-release: the writer took os-release.
            let described = lsb.assigned("DISTRIB_DESCRIPTION").or(lsb.assigned("PRETTY_NAME"));
            assert_eq!(described, Some(release.as_bytes()), "{name}");
        }
        let processor = stream::<LinuxCpuInfo<'_>>(&file)
            .pairs()
            .next()
            .map(|(key, _)| key.to_ascii_lowercase());
        assert_eq!(processor, Some(b"processor".to_vec()), "{name}");
        assert!(
            stream::<LinuxCmdLine<'_>>(&file)
                .items()
                .next()
                .is_some_and(|item| !item.is_empty()),
            "{name}"
        );
        assert!(
            stream::<LinuxEnviron<'_>>(&file)
                .variable("PATH")
                .is_some_and(|path| path.contains(&b'/')),
            "{name}"
        );
    }
}

#[test]
fn maps_of_linux_dumps() {
    for (name, _, count, _) in LINUX {
        let Some(file) = dump(name) else { return };
        let mappings = maps(&file);
        assert_eq!(mappings.len(), *count, "{name}");
        assert!(
            mappings.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start),
            "{name}"
        );
        assert!(
            mappings.iter().any(|mapping| mapping.special_name().is_some()),
            "{name}"
        );
        let text = Minidump::open(&file)
            .unwrap()
            .stream(StreamType::LINUX_MAPS)
            .unwrap()
            .bytes(1 << 20)
            .unwrap();
        // Breakpad copies the kernel's text, so writing the mappings gives the same; a 32-bit kernel pads less.
        if word(&file) == WordSize::Eight {
            let mut written = Vec::new();
            mappings.iter().for_each(|mapping| mapping.push_line(&mut written));
            assert!(text.as_ref() == written, "{name}");
        }
    }
}

#[test]
fn auxiliary_vector_and_linker_agree_with_the_maps() {
    for (name, file) in dumps("-linux-breakpad-").chain(dumps("-android-breakpad-")) {
        let mappings = maps(&file);
        let at = |address: u64| {
            mappings
                .iter()
                .find(|mapping| mapping.range.contains(VirtAddr(address)))
        };
        let word = word(&file);
        let auxv = auxv(&file);
        assert_eq!(auxv.value(AuxvType::PAGESZ), Some(4096), "{name}");
        let entry = at(auxv.value(AuxvType::ENTRY).unwrap()).unwrap();
        assert!(entry.permissions.execute, "{name}");
        let debug = dso_debug(&file, word);
        assert_eq!(debug.version, 1, "{name}");
        // Android's linker does not give the address at which it was loaded.
        if debug.ldbase != 0 {
            assert_eq!(Some(debug.ldbase), auxv.value(AuxvType::BASE), "{name}");
        }
        assert!(at(debug.brk).unwrap().permissions.execute, "{name}");
        assert_eq!(at(debug.dynamic).unwrap().file(), entry.file(), "{name}");
        // Entries of the dynamic section are pairs of words; one of them is DT_DEBUG (21).
        let size = word.bytes();
        let mut tags = debug.dynamic_section.chunks_exact(2 * size).map(|pair| pair[0]);
        assert!(tags.clone().any(|tag| tag == 21), "{name}");
        assert_eq!(tags.next_back(), Some(0), "{name}");
        assert!(debug.objects.len() > 1, "{name}");
        for object in debug.objects.iter().filter(|object| object.ld != 0) {
            let mapped = at(object.ld).unwrap_or_else(|| panic!("{name}: {object:?}"));
            // The program itself and the vDSO have no name.
            let named = object.name.as_deref().is_some_and(|path| path.starts_with('/'));
            assert!(mapped.file().is_some() || !named, "{name}: {object:?}");
        }
        let file = rewritten(&debug);
        assert_eq!(dso_debug(&file, word), debug, "{name}");
    }
}

fn pairs(info: &Dictionary) -> Vec<(String, String)> {
    info.iter()
        .map(|(key, value)| (key.text().into_owned(), value.text().into_owned()))
        .collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| (String::from(*key), String::from(*value)))
        .collect()
}

#[test]
fn crashpad_annotations_of_ios() {
    let Some(file) = dump("x64-ios-crashpad-google-minidump_crashpad_annotation") else {
        return;
    };
    let info = stream::<CrashpadInfo>(&file);
    assert_eq!(info.report_id.to_string(), "725058a6-7289-480f-8a41-517bd0ba216b");
    assert_eq!(info.client_id.to_string(), "051a4158-d7ae-4c3c-882e-cd6380d95137");
    assert_eq!(info.address_mask, None);
    let expected = [("crashpad", "yes"), ("plat", "iOS"), ("prod", "xcuitest"), ("ver", "1")];
    assert_eq!(pairs(&info.simple_annotations), owned(&expected));
    let [first, second] = &info.modules[..] else {
        panic!("{:?}", info.modules)
    };
    assert_eq!((first.module_index, first.version, second.module_index), (1, 1, 100));
    let text = |name: &str| {
        let found = first
            .annotation_objects
            .iter()
            .find(|annotation| annotation.name.text() == name)
            .unwrap();
        found.text().map(String::from)
    };
    assert_eq!(text("exceptionName").as_deref(), Some("NSRangeException"));
    assert_eq!(
        text("exceptionReason").as_deref(),
        Some("*** -[__NSArray0 objectAtIndex:]: index 42 beyond bounds for empty NSArray")
    );
    // The tool prints it as "<user defined>".
    assert_eq!(text("CounterAnnotation"), None);
    let listed = second.list_annotations[0].text();
    assert!(
        listed.starts_with("CoreSimulator 857.14 - Device: iPhone 14 Pro Max"),
        "{listed}"
    );
    assert_eq!(stream::<CrashpadInfo>(&rewritten(&info)), info);
}

#[test]
fn crashpad_annotations_of_windows() {
    let Some(file) = dump("x64-win11-crashpad-zuohuiyang-electron") else {
        return;
    };
    let info = stream::<CrashpadInfo>(&file);
    assert_eq!(info.report_id.to_string(), "8912604b-f89e-4523-8db7-5fb2164ee538");
    assert_eq!(info.client_id.to_string(), "dd7c03da-434e-4487-97af-eff5cf6e72aa");
    assert!(info.address_mask.is_some());
    let expected = [
        ("_companyName", "local"),
        ("_productName", "electron-crash-app"),
        ("_version", "1.0.0"),
        ("plat", "Win64"),
        ("prod", "Electron"),
        ("ver", "41.3.0"),
    ];
    assert_eq!(pairs(&info.simple_annotations), owned(&expected));
    let mut objects: Vec<_> = info.modules[0]
        .annotation_objects
        .iter()
        .map(|annotation| {
            (
                annotation.name.text().into_owned(),
                annotation.text().unwrap_or_default().into_owned(),
            )
        })
        .collect();
    // The tool prints them by name.
    objects.sort();
    let expected = [
        ("LocaleDataPakExists-found_attrs", "32"),
        (
            "LocaleDataPakExists-found_path",
            "C:\\project\\mcp-windbg\\.tmp\\electron-latest\\electron-dist\\locales\\zh-CN.pak",
        ),
        ("chrome-trace-id", "16418749562542724629"),
        ("osarch", "x86_64"),
        ("pid", "18224"),
        ("platform", "win32"),
        ("process_type", "browser"),
        ("ptype", "browser"),
    ];
    assert_eq!(objects, owned(&expected));
    assert_eq!(stream::<CrashpadInfo>(&rewritten(&info)), info);
}

#[test]
fn crashpad_annotations_of_macos_and_linux() {
    let Some(file) = dump("x64-macos-crashpad-rust-minidump-simple-crashpad") else {
        return;
    };
    let info = stream::<CrashpadInfo>(&file);
    assert_eq!(info.report_id.to_string(), "42f9de72-518a-43dd-97d7-8ddc328d3662");
    assert_eq!(pairs(&info.simple_annotations), owned(&[("hello", "world")]));
    let listed: Vec<_> = info
        .modules
        .iter()
        .map(|module| (module.module_index, module.list_annotations[0].text().into_owned()))
        .collect();
    assert_eq!(
        listed,
        [(16, String::from("abort() called")), (39, String::from("dyld2 mode"))]
    );
    for name in [
        "x64-macos-crashpad-aprilandjan-mac-electron-node",
        "x64-macos-crashpad-aprilandjan-mac-electron-renderer",
        "x64-macos-crashpad-electron-mac",
        "x64-win11-crashpad-rust-minidump-stability-report",
        "x64-linux-crashpad-google-linux_inline",
    ] {
        let file = dump(name).unwrap();
        let info = stream::<CrashpadInfo>(&file);
        assert_eq!(info.version, 1, "{name}");
        assert_eq!(stream::<CrashpadInfo>(&rewritten(&info)), info, "{name}");
    }
}

#[test]
fn assertions_and_threads_of_breakpad() {
    for name in [
        "x64-win10-dbghelpbp-airbus-seclab-windows",
        "x64-win8api-dbghelpbp-zphixon-29dd5aa0-556d-473c-9ffc-227ef89e2103",
    ] {
        let Some(file) = dump(name) else { return };
        let assertion = stream::<AssertionInfo>(&file);
        assert_eq!(
            (assertion.expression(), assertion.function(), assertion.file()),
            Default::default(),
            "{name}"
        );
        assert_eq!((assertion.line.get(), assertion.assertion_type.get()), (0, 0), "{name}");
        // Both dumps say that neither thread is known.
        assert_eq!(stream::<BreakpadInfo>(&file), BreakpadInfo::new(None, None), "{name}");
    }
}

#[test]
fn every_breakpad_info_reads_and_writes() {
    for (name, file) in dumps("") {
        let Some(found) = Minidump::open(&file).unwrap().stream(StreamType::BREAKPAD_INFO) else {
            continue;
        };
        let info: BreakpadInfo = found.head().unwrap();
        // Firefox's writer for Windows Error Reporting leaves parts of pointers in all three fields.
        if name.contains("mozilla-services-windows") {
            assert_eq!((info.dump_thread(), info.requesting_thread()), (None, None), "{name}");
            continue;
        }
        assert_eq!(stream::<BreakpadInfo>(&rewritten(&info)), info, "{name}");
        let threads = stream::<ThreadList<'_>>(&file).threads.to_vec().unwrap();
        // One of Google's dumps calls thread 0 valid.
        if let Some(requesting) = info.requesting_thread().filter(|thread| *thread != 0) {
            assert!(threads.iter().any(|thread| thread.thread_id == requesting), "{name}");
        }
    }
}
