//! The process of a machine that `--process` names.

use anyhow::bail;
use dotdump_snapshot::MachineSnapshot;
use dotdump_snapshot::machine::Process;

use crate::misuse::Misuse;
use crate::process_name::ProcessName;

/// How many bytes of a name the kernel keeps, where it had to cut it.
const KEPT: usize = 14;

/// The process in which the kernel's own threads run.
const SYSTEM: u64 = 4;

/// How many processes are listed where none, or several, are meant.
const LISTED: usize = 40;

/// Finds the process. One that holds the secrets of all users is only given where that is `allowed`.
pub(super) fn find<'m>(
    machine: &'m dyn MachineSnapshot,
    wanted: &ProcessName,
    allowed: bool,
) -> anyhow::Result<&'m Process> {
    let processes = machine.processes();
    if processes.is_empty() {
        bail!("--process {wanted}: the source has no list of processes");
    }
    let mut found = processes.iter().filter(|process| is_meant(process, wanted));
    let process = match (found.next(), found.next()) {
        (Some(process), None) => process,
        (Some(first), Some(second)) => {
            let all = listed([first, second].into_iter().chain(found));
            bail!("--process {wanted}: several processes have this name: {all}; name one by its id");
        }
        (None, _) => bail!(
            "--process {wanted}: not among the processes of the machine: {}",
            listed(processes.iter())
        ),
    };
    if process.id == SYSTEM {
        let message = format!(
            "--process is refused: {} (process {SYSTEM}) is the kernel itself and has no user mode; -k keeps its memory",
            process.name.escape_debug()
        );
        return Err(Misuse(message).into());
    }
    if is_sensitive(&process.name) && !allowed {
        let (name, id) = (&process.name, process.id);
        let message = format!(
            "--process is refused: {name} (process {id}) holds the passwords and keys of all who use the machine; \
             --allow-sensitive-process dumps it all the same"
        );
        return Err(Misuse(message).into());
    }
    Ok(process)
}

fn is_meant(process: &Process, wanted: &ProcessName) -> bool {
    match wanted {
        ProcessName::Id(id) => process.id == *id,
        ProcessName::Name(name) => {
            let is_cut = process.name.len() >= KEPT && name.len() > process.name.len();
            let part = if is_cut {
                name.get(..process.name.len())
            } else {
                Some(name.as_str())
            };
            part.is_some_and(|part| part.eq_ignore_ascii_case(&process.name))
                || name.eq_ignore_ascii_case(stem(&process.name))
        }
    }
}

/// The local security authority, whatever case and extension it has.
fn is_sensitive(name: &str) -> bool {
    stem(name).eq_ignore_ascii_case("lsass")
}

/// The name of an image without its extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn listed<'p>(processes: impl Iterator<Item = &'p Process>) -> String {
    let mut names: Vec<String> = processes
        .take(LISTED + 1)
        .map(|process| format!("{} {}", process.id, process.name.escape_debug()))
        .collect();
    if names.len() > LISTED {
        names[LISTED] = "…".to_owned();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use dotdump_format::{PhysAddr, VirtAddr};

    use super::*;

    fn process(id: u64, name: &str) -> Process {
        Process {
            eprocess: VirtAddr(0xFFFF_8000_0000_0000),
            id,
            parent_id: None,
            name: name.to_owned(),
            directory_table_base: PhysAddr(0x1000),
            user_directory_table_base: None,
            peb: VirtAddr(0),
        }
    }

    #[test]
    fn names_are_compared_as_windows_does_it() {
        let meant = |process: &Process, wanted: &str| is_meant(process, &wanted.parse().expect("a name"));
        let notepad = process(688, "notepad.exe");
        for wanted in ["notepad.exe", "NOTEPAD.EXE", "notepad", "688", "0x2b0"] {
            assert!(meant(&notepad, wanted), "{wanted}");
        }
        for wanted in ["note", "notepad.ex", "exe", "notepad.exe2", "68", "6880"] {
            assert!(!meant(&notepad, wanted), "{wanted}");
        }
        // The kernel keeps 14 characters of longer names.
        let long = process(5, "SearchProtocol");
        assert!(meant(&long, "SearchProtocolHost.exe") && meant(&long, "searchprotocol"));
        assert!(!meant(&long, "SearchIndexer.exe"));
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
