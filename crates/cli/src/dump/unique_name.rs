//! The names that `-u` makes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;

/// `path` with what tells one dump from another before its last extension, as WinDbg writes it:
/// `_HHHH_YYYY-MM-DD_hh-mm-ss-mmm_PPPP`, where HHHH is the id of the process that writes (the debugger) and PPPP that of
/// the process that the dump is of, in hexadecimal with four digits at least; the time is local.
pub(super) fn unique_name(path: &Path, writer: u32, time: DateTime, target: u32) -> PathBuf {
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    let date = time.strftime("%Y-%m-%d_%H-%M-%S");
    name.push(format!("_{writer:04x}_{date}-{:03}_{target:04x}", time.millisecond()));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn unique(path: &str, writer: u32, target: u32) -> String {
        let time = date(2018, 6, 16).at(22, 9, 34, 344_999_999);
        let path = unique_name(Path::new(path), writer, time, target);
        path.to_str().expect("text").to_owned()
    }

    #[test]
    fn it_is_the_name_that_windbg_makes() {
        // Of a dump that WinDbg wrote with `-u` as C:\d\MyApp.exe_.dmp.
        assert_eq!(
            unique("d/MyApp.exe_.dmp", 0x110, 0xB10),
            "d/MyApp.exe__0110_2018-06-16_22-09-34-344_0b10.dmp"
        );
    }

    #[test]
    fn it_goes_before_the_last_extension() {
        for (path, expected) in [
            ("a", "a_12345_2018-06-16_22-09-34-344_0001"),
            ("a.b/c", "a.b/c_12345_2018-06-16_22-09-34-344_0001"),
            ("c.tar.gz", "c.tar_12345_2018-06-16_22-09-34-344_0001.gz"),
            (".hidden", ".hidden_12345_2018-06-16_22-09-34-344_0001"),
        ] {
            assert_eq!(unique(path, 0x12345, 1), expected);
        }
        assert!(unique("a", 1, 0xABCDEF).ends_with("_abcdef"));
    }
}
