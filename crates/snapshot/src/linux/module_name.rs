//! What a module is called, and which version it is.
//!
//! The name is the path of the file as the kernel tells it. Breakpad puts the `DT_SONAME` in place of the last part of
//! the path; we keep the path: LLDB opens the file by it, rust-minidump and Mozilla's tools look symbols up by its last
//! part, and all of them check the build id. The `DT_SONAME` names what has no telling path: files in memory
//! (`memfd_create`), copies of code in anonymous memory, files without a name; and libraries within an archive
//! (`base.apk/libx.so`), as Breakpad does.

use dotdump_format::VirtAddr;
use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::minidump::module_list::FixedFileInfo;

/// What Breakpad calls the vDSO.
const VDSO: &str = "linux-gate.so";

/// `VS_FFI_SIGNATURE` (`verrsrc.h`).
const VERSION_SIGNATURE: u32 = 0xFEEF_04BD;
/// `VS_FFI_STRUCVERSION` (`verrsrc.h`).
const VERSION_STRUCTURE: u32 = 0x1_0000;

/// What tells the name of a module.
pub(super) struct Sources<'a> {
    /// Its first mapping.
    pub(super) mapping: Option<&'a LinuxMapping>,
    /// Its `DT_SONAME`.
    pub(super) soname: Option<&'a [u8]>,
    /// Its name in the dynamic linker's list; empty for the program.
    pub(super) linked: Option<&'a str>,
    /// Whether it is the kernel's own.
    pub(super) is_vdso: bool,
    /// Where it begins.
    pub(super) base: VirtAddr,
}

/// Whether a file's path says nothing about its contents: files that only exist in memory.
pub(super) fn tells_nothing(path: &[u8]) -> bool {
    const IN_MEMORY: [&[u8]; 5] = [b"/memfd:", b"/dev/zero", b"/SYSV", b"/anon_hugepage", b"/proc/"];

    // What `O_TMPFILE` makes is called by its number.
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    last.is_empty() || last[0] == b'#' || IN_MEMORY.iter().any(|prefix| path.starts_with(prefix))
}

/// Whether a mapping is the kernel's own library.
pub(super) fn is_vdso(mapping: &LinuxMapping) -> bool {
    mapping.special_name() == Some(b"[vdso]")
}

/// The name of a module.
pub(super) fn choose(sources: &Sources<'_>) -> String {
    let mapping = sources.mapping;
    if sources.is_vdso || mapping.is_some_and(is_vdso) {
        return VDSO.to_owned();
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let path = mapping.and_then(LinuxMapping::file);
    if let Some(path) = path.filter(|path| !tells_nothing(path)) {
        let in_archive = mapping.is_some_and(|mapping| mapping.offset != 0);
        return match sources.soname.filter(|_| in_archive) {
            Some(soname) => format!("{}/{}", text(path), text(soname)),
            None => text(path),
        };
    }
    if let Some(soname) = sources.soname {
        return text(soname);
    }
    match (sources.linked.filter(|name| !tells_nothing(name.as_bytes())), path) {
        (Some(linked), _) => linked.to_owned(),
        (None, Some(path)) => text(path),
        // Readers take modules of the same name for one.
        (None, None) => format!("elf-{:#x}", sources.base.0),
    }
}

/// The version in the name of a library (`libx.so.1.2.3`): of its file, or of its `DT_SONAME`. All zero where there is
/// none.
///
/// Each part has a field of its own, as minidump-writer stores it and rust-minidump reads it: the upper and the lower
/// word of the file version, then those of the product version.
pub(super) fn version(name: &str, soname: Option<&[u8]>) -> FixedFileInfo {
    let soname = soname.map(String::from_utf8_lossy);
    let Some([major, minor, patch, build]) = version_in(name).or_else(|| version_in(soname.as_deref()?)) else {
        return FixedFileInfo::default();
    };
    FixedFileInfo {
        signature: VERSION_SIGNATURE.into(),
        struc_version: VERSION_STRUCTURE.into(),
        file_version_ms: major.into(),
        file_version_ls: minor.into(),
        product_version_ms: patch.into(),
        product_version_ls: build.into(),
        ..FixedFileInfo::default()
    }
}

/// The numbers behind `.so.` in the last part of a path; missing ones are 0.
fn version_in(path: &str) -> Option<[u32; 4]> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (_, numbers) = file.split_once(".so.")?;
    let mut numbers = numbers.split('.').map_while(|number| number.parse().ok()).fuse();
    let first = numbers.next()?;
    Some([
        first,
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(line: &str) -> LinuxMapping {
        LinuxMapping::parse(line.as_bytes()).unwrap()
    }

    fn name_of(line: &str, soname: Option<&str>, linked: Option<&str>) -> String {
        choose(&Sources {
            mapping: Some(&mapping(line)),
            soname: soname.map(str::as_bytes),
            linked,
            is_vdso: false,
            base: VirtAddr(0x7000),
        })
    }

    #[test]
    fn paths_that_tell_stay() {
        let line = "7000-8000 r--p 0 8:1 77 /usr/lib/libx.so.1.2.3";
        assert_eq!(
            name_of(line, Some("libx.so.1"), Some("/lib/libx.so")),
            "/usr/lib/libx.so.1.2.3"
        );
        let deleted = format!("{line} (deleted)");
        assert_eq!(name_of(&deleted, Some("libx.so.1"), None), "/usr/lib/libx.so.1.2.3");
        let archive = "7000-8000 r--p 4000 8:1 77 /data/app/base.apk";
        assert_eq!(name_of(archive, Some("libx.so"), None), "/data/app/base.apk/libx.so");
        assert_eq!(name_of(archive, None, None), "/data/app/base.apk");
    }

    #[test]
    fn the_soname_stands_for_paths_that_tell_nothing() {
        for line in [
            "7000-8000 r--p 0 0:1 77 /memfd:code (deleted)",
            "7000-8000 rw-s 0 0:1 77 /dev/zero (deleted)",
            "7000-8000 r--p 0 8:1 77 /tmp/#1234 (deleted)",
            "7000-8000 r--p 0 0:0 0",
        ] {
            assert_eq!(name_of(line, Some("libx.so.1"), Some("/proc/self/fd/3")), "libx.so.1");
            assert_eq!(name_of(line, None, Some("/opt/libx.so")), "/opt/libx.so");
        }
        let memory = "7000-8000 r--p 0 0:1 77 /memfd:code (deleted)";
        assert_eq!(name_of(memory, None, Some("/proc/self/fd/3")), "/memfd:code");
        assert_eq!(name_of("7000-8000 r--p 0 0:0 0", None, Some("")), "elf-0x7000");
    }

    #[test]
    fn versions_in_names() {
        for (name, soname, version) in [
            ("/lib/libstdc++.so.6.0.30", Some("libstdc++.so.6"), Some([6, 0, 30, 0])),
            ("/lib/libc-2.31.so", Some("libc.so.6"), Some([6, 0, 0, 0])),
            ("/lib/libx.so.1.2rc5.3", None, Some([1, 0, 0, 0])),
            ("/lib/a.so.5/libx.so", None, None),
            ("/usr/bin/cat", None, None),
            ("/lib/libx.so.99999999999", None, None),
        ] {
            let info = self::version(name, soname.map(str::as_bytes));
            let parts = [
                info.file_version_ms,
                info.file_version_ls,
                info.product_version_ms,
                info.product_version_ls,
            ];
            let expected = version.unwrap_or_default();
            assert_eq!(parts.map(|part| part.get()), expected, "{name}");
            assert_eq!(info.signature.get() == 0xFEEF_04BD, version.is_some(), "{name}");
        }
    }
}
