//! The processes of this machine.

use std::io;

use super::folder::Folder;
use super::refusal;
use crate::{CaptureError, ProcessEntry};

/// The processes of this machine, ascending by id, without those that have no memory: threads of the kernel, and zombies.
///
/// # Errors
/// [`CaptureError::System`] where `/proc` cannot be listed.
pub fn processes() -> Result<Vec<ProcessEntry>, CaptureError> {
    let failed = |source: io::Error| CaptureError::System {
        id: std::process::id(),
        action: "list the processes that can be seen".to_owned(),
        source,
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        entries.extend(process(id).ok().flatten());
    }
    entries.sort_unstable_by_key(|entry: &ProcessEntry| entry.id);
    Ok(entries)
}

fn process(id: u32) -> io::Result<Option<ProcessEntry>> {
    let folder = Folder::open(id)?;
    let stat = folder.stat()?;
    if refusal::is_of_kernel(&stat) || matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1 {
        return Ok(None);
    }
    let name = folder
        .link("exe")
        .ok()
        .map(|path| file_name(&path))
        .filter(|name| !name.is_empty())
        .unwrap_or(stat.comm);
    Ok(Some(ProcessEntry { id, name }))
}

/// The last part of the path of a program, also of one that was deleted.
fn file_name(path: &[u8]) -> String {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        assert_eq!(file_name(b"/usr/bin/sleep"), "sleep");
        assert_eq!(file_name(b"/opt/a b/server (deleted)"), "server");
    }
}
