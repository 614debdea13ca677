//! Why a process cannot be captured, and what can be done about it.

use std::io;

use procfs::process::Stat;

use super::folder::{Folder, Status};
use crate::CaptureError;

/// `PF_KTHREAD`, `PF_IO_WORKER` and `PF_USER_WORKER` (`linux/sched.h`): threads that run no program's code.
const KERNEL_FLAGS: u32 = 0x20_0000 | 0x10 | 0x4000;

/// `CAP_SYS_PTRACE` (`linux/capability.h`).
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`, each of which opens files of other users in `/proc`: the memory's is one
/// that its owner alone may open, before the kernel asks whether tracing is allowed.
const CAP_DAC: u64 = 1 << 1 | 1 << 2;

/// `SECCOMP_MODE_FILTER` (`linux/seccomp.h`).
const SECCOMP_FILTER: u32 = 2;

/// Whether a thread is one of the kernel's.
pub(super) const fn is_of_kernel(stat: &Stat) -> bool {
    stat.flags & KERNEL_FLAGS != 0
}

/// Looks whether a process is one that can be captured at all, and gives the thread of it that still has memory: the main
/// one, or another one where that has ended.
pub(super) fn check(folder: &Folder) -> Result<Folder, CaptureError> {
    let id = folder.id();
    let not_capturable = |reason: String| CaptureError::NotCapturable { id, reason };
    let status = folder
        .status()
        .map_err(|error| of_reading(id, "read the status", error))?;
    if let Some(process) = status.number("Tgid").filter(|process| *process != id) {
        let name = name_of(process).map(|name| format!(" ({name})")).unwrap_or_default();
        return Err(not_capturable(format!(
            "it is a thread of process {process}{name}: give that id instead"
        )));
    }
    if id == std::process::id() {
        return Err(not_capturable(
            "it is the capturing program itself, which cannot stop and read at the same time".to_owned(),
        ));
    }
    let stat = folder
        .stat()
        .map_err(|error| of_reading(id, "read the statistics", error))?;
    if is_of_kernel(&stat) {
        return Err(not_capturable(
            "it is a thread of the kernel and has no memory of its own".to_owned(),
        ));
    }
    if let Some(tracer) = status.number("TracerPid").filter(|tracer| *tracer != 0) {
        return Err(traced(id, tracer));
    }
    if !matches!(stat.state, 'Z' | 'X') {
        return Ok(folder.clone());
    }
    // The main thread may have ended before the others.
    let threads = folder.threads().unwrap_or_default();
    threads
        .into_iter()
        .map(|thread| folder.thread(thread))
        .find(|thread| thread.stat().is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X')))
        .ok_or_else(|| {
            let parent = name_of(stat.ppid.unsigned_abs())
                .map(|name| format!(" ({name})"))
                .unwrap_or_default();
            not_capturable(format!(
                "it has ended and is a zombie until its parent, process {}{parent}, asks how",
                stat.ppid
            ))
        })
}

/// What it means that `/proc` cannot be opened or read.
pub(super) fn of_reading(id: u32, action: &str, error: io::Error) -> CaptureError {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => CaptureError::Ended { id },
        _ => CaptureError::System {
            id,
            action: action.to_owned(),
            source: error,
        },
    }
}

/// What it means that the folder of a process cannot be opened.
pub(super) fn of_opening(id: u32, error: io::Error) -> CaptureError {
    if error.kind() != io::ErrorKind::NotFound {
        return of_reading(id, "open the folder in /proc", error);
    }
    // Processes of others are not to be seen where /proc is mounted with `hidepid`.
    let exists = i32::try_from(id)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::PERM));
    if exists {
        CaptureError::Denied {
            id,
            action: "see",
            remedy: "it belongs to another user and /proc hides it; run as that user or as root".to_owned(),
        }
    } else {
        CaptureError::NoSuchProcess { id }
    }
}

/// What it means that the memory of a process cannot be opened.
pub(super) fn of_memory(folder: &Folder, error: io::Error) -> CaptureError {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => denied(folder, "read the memory of"),
        _ => of_reading(folder.id(), "open the memory", error),
    }
}

/// What it means that a thread of a process cannot be traced.
pub(super) fn of_tracing(process: &Folder, thread: &Folder, error: io::Error) -> CaptureError {
    let id = process.id();
    let tracer = thread.status().ok().and_then(|status| status.number("TracerPid"));
    if let Some(tracer) = tracer.filter(|tracer| *tracer != 0) {
        return traced(id, tracer);
    }
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => denied(process, "trace"),
        _ => of_reading(id, "trace the threads", error),
    }
}

fn traced(id: u32, tracer: u32) -> CaptureError {
    // The number is that of the thread that traces.
    let status = Folder::open(tracer).and_then(|folder| folder.status());
    let tracer = status.ok().and_then(|status| status.number("Tgid")).unwrap_or(tracer);
    CaptureError::Traced {
        id,
        tracer,
        name: name_of(tracer),
    }
}

fn name_of(process: u32) -> Option<String> {
    let name = Folder::open(process).ok()?.read("comm", 64).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

fn denied(folder: &Folder, action: &'static str) -> CaptureError {
    let own = Folder::open(std::process::id());
    let facts = Permissions {
        target_user: folder.status().ok().and_then(|status| user(&status)),
        own_user: own
            .as_ref()
            .ok()
            .and_then(|own| own.status().ok())
            .and_then(|status| user(&status)),
        is_dumpable: is_dumpable(folder),
        has_capability: own
            .as_ref()
            .ok()
            .and_then(|own| own.status().ok()?.mask("CapEff"))
            .is_some_and(|mask| mask & CAP_SYS_PTRACE != 0 && mask & CAP_DAC != 0),
        same_namespace: own.as_ref().ok().is_none_or(|own| {
            let (own, target) = (own.link("ns/user"), folder.link("ns/user"));
            own.ok().zip(target.ok()).is_none_or(|(own, target)| own == target)
        }),
        is_filtered: own
            .as_ref()
            .ok()
            .and_then(|own| own.status().ok()?.number("Seccomp"))
            .is_some_and(|mode| mode == SECCOMP_FILTER),
        yama: std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
            .ok()
            .and_then(|scope| scope.trim().parse().ok()),
    };
    CaptureError::Denied {
        id: folder.id(),
        action,
        remedy: facts.remedy(),
    }
}

/// The real user of a process.
fn user(status: &Status) -> Option<u32> {
    status.number("Uid")
}

/// Whether a process may be dumped: the files of one that may not belong to root.
fn is_dumpable(folder: &Folder) -> bool {
    let Some(owner) = folder.status().ok().and_then(|status| user(&status)) else {
        return true;
    };
    let (place, name) = folder.place("stat");
    rustix::fs::statat(place, name, rustix::fs::AtFlags::empty()).map_or(true, |stat| stat.st_uid == owner)
}

/// What decides whether a process may be traced (ptrace(2), "Ptrace access mode checking").
#[derive(Clone, Debug)]
struct Permissions {
    target_user: Option<u32>,
    own_user: Option<u32>,
    is_dumpable: bool,
    /// Whether this program has both capabilities that it takes.
    has_capability: bool,
    same_namespace: bool,
    /// Whether a seccomp filter watches over this program, as in containers.
    is_filtered: bool,
    /// `kernel.yama.ptrace_scope`.
    yama: Option<u32>,
}

impl Permissions {
    fn remedy(&self) -> String {
        const ROOT: &str = "run as root or give this program CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (`setcap \
                            cap_sys_ptrace,cap_dac_read_search=ep`)";

        let mut reasons = Vec::new();
        if self.yama == Some(3) {
            reasons.push(
                "kernel.yama.ptrace_scope is 3, which forbids all tracing until the system is started with a lower value"
                    .to_owned(),
            );
        }
        if !self.has_capability {
            if let (Some(target), Some(own)) = (self.target_user, self.own_user)
                && target != own
            {
                let root = if own == 0 {
                    "give this container or service CAP_SYS_PTRACE (`docker run --cap-add=SYS_PTRACE`)"
                } else {
                    ROOT
                };
                reasons.push(format!(
                    "it runs as user {target} and this program as {own}: run as that user, or {root}"
                ));
            } else if !self.is_dumpable {
                reasons.push(format!(
                    "it does not allow to be dumped (prctl(PR_SET_DUMPABLE), a set-user-id program, or one with file \
                     capabilities): {ROOT}"
                ));
            }
            match self.yama {
                Some(1) => reasons.push(format!(
                    "kernel.yama.ptrace_scope is 1, which allows only ancestors to trace: {ROOT}, set it to 0 \
                     (`sysctl kernel.yama.ptrace_scope=0`), or let the process allow it with prctl(PR_SET_PTRACER)"
                )),
                Some(2) => reasons.push(format!(
                    "kernel.yama.ptrace_scope is 2, which takes CAP_SYS_PTRACE: {ROOT}"
                )),
                _ => {}
            }
        }
        if !self.same_namespace {
            reasons.push(
                "it lives in another user namespace: run in that namespace, or as root of the machine".to_owned(),
            );
        }
        if reasons.is_empty() && self.is_filtered {
            reasons.push(
                "a seccomp filter is in force here, as in containers: allow ptrace and process_vm_readv in it \
                 (`docker run --cap-add=SYS_PTRACE --security-opt seccomp=unconfined`)"
                    .to_owned(),
            );
        }
        if reasons.is_empty() {
            reasons.push(format!(
                "a security module (SELinux, AppArmor) or missing capabilities may be why: {ROOT}"
            ));
        }
        reasons.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Permissions = Permissions {
        target_user: Some(1000),
        own_user: Some(1000),
        is_dumpable: true,
        has_capability: false,
        same_namespace: true,
        is_filtered: false,
        yama: Some(0),
    };

    /// Each reason is told where it is the reason (ptrace(2); Documentation/admin-guide/LSM/Yama.rst), and no other one.
    #[test]
    fn remedies_by_reason() {
        let cases = [
            (Permissions { yama: Some(1), ..PLAIN }, "PR_SET_PTRACER"),
            (Permissions { yama: Some(2), ..PLAIN }, "ptrace_scope is 2"),
            (
                Permissions {
                    yama: Some(3),
                    has_capability: true,
                    ..PLAIN
                },
                "ptrace_scope is 3",
            ),
            (
                Permissions {
                    target_user: Some(0),
                    ..PLAIN
                },
                "runs as user 0",
            ),
            (
                Permissions {
                    own_user: Some(0),
                    ..PLAIN
                },
                "--cap-add=SYS_PTRACE",
            ),
            (
                Permissions {
                    is_dumpable: false,
                    ..PLAIN
                },
                "PR_SET_DUMPABLE",
            ),
            (
                Permissions {
                    same_namespace: false,
                    ..PLAIN
                },
                "user namespace",
            ),
            (
                Permissions {
                    is_filtered: true,
                    ..PLAIN
                },
                "seccomp",
            ),
            (PLAIN, "security module"),
        ];
        for (permissions, expected) in cases {
            let remedy = permissions.remedy();
            assert!(remedy.contains(expected), "{permissions:?}: {remedy}");
            assert_eq!(remedy.matches("; ").count(), 0, "{permissions:?}: {remedy}");
        }
    }
}
