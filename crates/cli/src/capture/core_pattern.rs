//! A process that crashes, as the kernel hands it to the program of `core_pattern`.

use crate::arguments::{CaptureArguments, CorePattern};
use crate::dump::Place;
use crate::exit::Exit;

/// Writes the dump of a process that the kernel holds until this program ends. Nobody reads what is printed then: what
/// fails goes to the kernel's log, where the kernel itself is who started this.
#[cfg(target_os = "linux")]
pub(super) fn run(crash: &CorePattern, arguments: &CaptureArguments, place: &Place<'_>) -> anyhow::Result<Exit> {
    let written = linux::capture(crash, arguments, place);
    if let Err(error) = &written {
        linux::tell_kernel_log(crash, error);
    }
    written
}

/// Other systems have no `core_pattern`.
#[cfg(not(target_os = "linux"))]
pub(super) fn run(_: &CorePattern, _: &CaptureArguments, _: &Place<'_>) -> anyhow::Result<Exit> {
    let message = "--core-pattern is refused: only Linux starts a program for a process that crashes";
    Err(crate::misuse::Misuse(message.to_owned()).into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::OpenOptions;
    use std::io::{self, Write as _};
    use std::os::unix::process::parent_id;

    use anyhow::Context as _;

    use super::super::{options, write_stopped};
    use super::{CaptureArguments, CorePattern, Exit, Place};
    use crate::dump::Told;

    /// The thread of the kernel that starts all its programs.
    const KERNEL: u32 = 2;

    pub(super) fn capture(
        crash: &CorePattern,
        arguments: &CaptureArguments,
        place: &Place<'_>,
    ) -> anyhow::Result<Exit> {
        let writing = &arguments.writing;
        let output = place.of_process(crash.process)?;
        let stopped = dotdump_capture::linux::crashed(
            crash.process,
            Some(crash.thread),
            &mut io::stdin().lock(),
            &options(writing),
        )
        .context("--core-pattern, with the core on standard input")?;
        write_stopped(crash.process, &stopped, output, writing, place, &Told::of(writing))
    }

    /// Tells why there is no dump in the one place where it will be found.
    pub(super) fn tell_kernel_log(crash: &CorePattern, error: &anyhow::Error) {
        if parent_id() != KERNEL {
            return;
        }
        let (process, signal, user) = (crash.process, crash.signal, crash.user);
        let program = crash.program.replace('!', "/");
        let line = format!(
            "dotdump: no dump of process {process} ({}, user {user}, signal {signal}): {}\n",
            program.escape_debug(),
            format!("{error:#}").escape_debug()
        );
        // There is nobody left to tell where this fails.
        let _ = OpenOptions::new()
            .write(true)
            .open("/dev/kmsg")
            .and_then(|mut log| log.write_all(line.as_bytes()));
    }
}
