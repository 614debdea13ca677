//! What is known of a process beside its memory.

use dotdump_capture::{CaptureOptions, LiveProcess};
use dotdump_format::minidump::StreamType;
use dotdump_snapshot::linux::LinuxArchitecture;

use crate::target::Target;

#[test]
fn facts_of_a_process() {
    let target = Target::start("sleep");
    let folder = format!("/proc/{}", target.id());
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    assert_eq!(live.id(), target.id());
    let stopped = live.stop().expect("stopping");
    let facts = stopped.process().facts();
    assert_eq!(facts.process_id, target.id());
    if cfg!(target_arch = "x86_64") {
        assert_eq!(facts.architecture, LinuxArchitecture::Amd64);
    }
    let text = |stream| &facts.texts.iter().find(|(it, _)| *it == stream).expect("a text").1;
    for (stream, name) in [
        (StreamType::LINUX_CMD_LINE, "cmdline"),
        (StreamType::LINUX_ENVIRON, "environ"),
        (StreamType::LINUX_MAPS, "maps"),
        (StreamType::MOZ_LINUX_LIMITS, "limits"),
    ] {
        assert_eq!(
            *text(stream),
            std::fs::read(format!("{folder}/{name}")).expect(name),
            "{name}"
        );
    }
    assert_eq!(facts.auxv, std::fs::read(format!("{folder}/auxv")).expect("auxv"));
    let maps = std::fs::read_to_string(format!("{folder}/maps")).expect("the map");
    assert_eq!(facts.mappings.len(), maps.lines().count());
    assert_eq!(facts.threads.first().map(|thread| thread.id), Some(target.id()));
    for thread in &facts.threads {
        let name = std::fs::read(format!("{folder}/task/{}/comm", thread.id)).expect("a name");
        assert_eq!(thread.name.as_deref(), name.strip_suffix(b"\n"));
        // It slept, or was about to, when it was looked at; the stop does not show.
        assert!(
            matches!(thread.stat.expect("statistics").state, b'S' | b'R'),
            "{thread:?}"
        );
        assert!(thread.affinity.is_some_and(|mask| mask != 0));
    }
    assert!(facts.boot_time.is_some_and(|time| time > 1_000_000_000));
    assert_eq!(facts.ticks_per_second, 100);
    assert!(facts.system.name.starts_with("Linux ") && facts.system.processors > 0);
}

/// Descriptors with the kind and the flags of what is open.
#[test]
fn handles_of_a_process() {
    let target = Target::start("sleep");
    let live = LiveProcess::open(target.id(), &CaptureOptions::default()).expect("opening");
    let stopped = live.stop().expect("stopping");
    let handles = stopped.process().facts().handles.as_ref().expect("handles");
    let output = handles
        .iter()
        .find(|handle| handle.descriptor == 1)
        .expect("standard output");
    assert_eq!(output.file_type, libc::S_IFIFO);
    assert!(output.target.starts_with(b"pipe:["));
    assert_eq!(output.flags.map(|flags| flags & 3), Some(1), "written to");
    let links = std::fs::read_dir(format!("/proc/{}/fd", target.id())).expect("the descriptors");
    assert_eq!(handles.len(), links.count());
    let options = CaptureOptions {
        handles: false,
        ..CaptureOptions::default()
    };
    drop(stopped);
    let live = LiveProcess::open(target.id(), &options).expect("opening");
    assert_eq!(live.stop().expect("stopping").process().facts().handles, None);
}
