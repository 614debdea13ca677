//! Processes as the command line names them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::misuse::Misuse;

/// A process by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProcessName {
    /// By its id.
    Id(u64),
    /// By the name of its image.
    Name(String),
}

impl FromStr for ProcessName {
    type Err = Infallible;

    /// A decimal number, or a hexadecimal one with `0x`, is an id; anything else is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(parse_id(text).map_or_else(|| Self::Name(text.to_owned()), Self::Id))
    }
}

/// The number that names a process: decimal, or hexadecimal with `0x`.
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Whether a process with this name is meant by `wanted`: its name with or without the extension, in whatever case.
/// `kept` is how many bytes the system keeps of a name; a longer `wanted` is then compared with what is left.
pub(crate) fn is_called(name: &str, wanted: &str, kept: Option<usize>) -> bool {
    let is_cut = kept.is_some_and(|kept| name.len() >= kept) && wanted.len() > name.len();
    let part = if is_cut { wanted.get(..name.len()) } else { Some(wanted) };
    part.is_some_and(|part| part.eq_ignore_ascii_case(name)) || wanted.eq_ignore_ascii_case(stem(name))
}

/// Whether a process holds secrets of all users: the local security authority, whatever case and extension it has.
pub(crate) fn is_sensitive(name: &str) -> bool {
    stem(name).eq_ignore_ascii_case("lsass")
}

/// The name of an image without its extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Why a sensitive process is refused: `option` named it.
pub(crate) fn refused_as_sensitive(option: &str, name: &str, id: u64) -> Misuse {
    let name = name.escape_debug();
    Misuse(format!(
        "{option} is refused: {name} (process {id}) holds the passwords and keys of all who use the machine; \
         --allow-sensitive-process dumps it all the same"
    ))
}

/// How many processes are listed where none, or several, are meant.
const LISTED: usize = 40;

/// Processes by id and name, in one line.
pub(crate) fn listed<'p>(processes: impl Iterator<Item = (u64, &'p str)>) -> String {
    let mut names: Vec<String> = processes
        .take(LISTED + 1)
        .map(|(id, name)| format!("{id} {}", name.escape_debug()))
        .collect();
    if names.len() > LISTED {
        names[LISTED] = "…".to_owned();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_windows_does_it() {
        for wanted in ["notepad.exe", "NOTEPAD.EXE", "notepad"] {
            assert!(is_called("notepad.exe", wanted, Some(14)), "{wanted}");
        }
        for wanted in ["note", "notepad.ex", "exe", "notepad.exe2"] {
            assert!(!is_called("notepad.exe", wanted, Some(14)), "{wanted}");
        }
        // The kernel keeps 14 characters of longer names.
        let long = "SearchProtocol";
        assert!(is_called(long, "SearchProtocolHost.exe", Some(14)) && is_called(long, "searchprotocol", Some(14)));
        assert!(!is_called(long, "SearchIndexer.exe", Some(14)) && !is_called(long, "SearchProtocolHost.exe", None));
    }

    #[test]
    fn the_security_authority_is_known_however_it_is_written() {
        for name in ["lsass.exe", "LSASS.EXE", "lsass", "Lsass.Exe"] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["lsm.exe", "lsass2.exe", "notlsass.exe", ""] {
            assert!(!is_sensitive(name), "{name}");
        }
    }
}
