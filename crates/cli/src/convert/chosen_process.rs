//! The process of a machine that `--process` names.

use anyhow::bail;
use dotdump_snapshot::MachineSnapshot;
use dotdump_snapshot::machine::Process;

use crate::misuse::Misuse;
use crate::process_name::{ProcessName, is_called, is_sensitive, listed, refused_as_sensitive};

/// How many bytes of a name the kernel keeps, where it had to cut it.
const KEPT: usize = 14;

/// The process in which the kernel's own threads run.
const SYSTEM: u64 = 4;

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
            let all = all([first, second].into_iter().chain(found));
            bail!("--process {wanted}: several processes have this name: {all}; name one by its id");
        }
        (None, _) => bail!(
            "--process {wanted}: not among the processes of the machine: {}",
            all(processes.iter())
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
        return Err(refused_as_sensitive("--process", &process.name, process.id).into());
    }
    Ok(process)
}

fn is_meant(process: &Process, wanted: &ProcessName) -> bool {
    match wanted {
        ProcessName::Id(id) => process.id == *id,
        ProcessName::Name(name) => is_called(&process.name, name, Some(KEPT)),
    }
}

/// Processes by id and name, in one line.
fn all<'p>(processes: impl Iterator<Item = &'p Process>) -> String {
    listed(processes.map(|process| (process.id, process.name.as_str())))
}
