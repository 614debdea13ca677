//! Processes that cannot be captured, and what is said of them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use dotdump_capture::{CaptureError, CaptureOptions, LiveProcess, processes};

use crate::target::{self, Target};

fn open(id: u32) -> Result<LiveProcess, CaptureError> {
    LiveProcess::open(id, &CaptureOptions::default())
}

fn refused(id: u32) -> CaptureError {
    match open(id).and_then(LiveProcess::stop) {
        Ok(_) => panic!("process {id} was captured"),
        Err(error) => error,
    }
}

#[test]
fn no_such_process() {
    // The kernel gives no id above 4,194,304 (proc_sys_kernel(5), pid_max).
    for id in [0, 4_194_305, u32::MAX] {
        let error = refused(id);
        assert!(matches!(error, CaptureError::NoSuchProcess { .. }), "{error}");
    }
}

#[test]
fn this_program_itself() {
    let error = refused(std::process::id());
    assert!(error.to_string().contains("itself"), "{error}");
}

#[test]
fn a_thread_names_its_process() {
    let target = Target::start("threads");
    let (thread, ..) = target::threads(target.id())
        .into_iter()
        .find(|(thread, ..)| *thread != target.id())
        .expect("another thread");
    let error = refused(thread).to_string();
    assert!(error.contains(&format!("thread of process {}", target.id())), "{error}");
}

#[test]
fn a_zombie() {
    let mut child = Command::new("true")
        .stdout(Stdio::null())
        .spawn()
        .expect("starting `true`");
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).expect("the statistics").contains(") Z ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = refused(child.id());
    assert!(
        matches!(&error, CaptureError::NotCapturable { reason, .. } if reason.contains("zombie")),
        "{error}"
    );
    assert!(
        processes()
            .expect("the processes")
            .iter()
            .all(|process| process.id != child.id())
    );
    child.wait().expect("reaping");
}

#[test]
fn a_thread_of_the_kernel() {
    // kthreadd is the second process of a machine; in a container there may be any other or none.
    if std::fs::read_to_string("/proc/2/comm").ok().as_deref() != Some("kthreadd\n") {
        println!("skipped: threads of the kernel cannot be seen");
        return;
    }
    let error = refused(2);
    assert!(
        matches!(&error, CaptureError::NotCapturable { reason, .. } if reason.contains("kernel")),
        "{error}"
    );
    assert!(
        processes()
            .expect("the processes")
            .iter()
            .all(|process| process.id != 2)
    );
}

/// A process that another one traces: this test's own program stops it, and a second one is refused.
#[test]
fn a_traced_process_names_its_tracer() {
    let target = Target::start("sleep");
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    command
        .args(["--exact", "target::play", "--nocapture"])
        .env("DOTDUMP_CAPTURE_ROLE", "capturer")
        .env("DOTDUMP_CAPTURE_TARGET", target.id().to_string())
        .env("DOTDUMP_CAPTURE_HOLD", "1");
    let mut tracer = Target::spawn(&mut command);
    let error = refused(target.id());
    assert!(
        matches!(&error, CaptureError::Traced { tracer: id, name: Some(_), .. } if *id == tracer.id()),
        "{error}"
    );
    tracer.kill();
    target::expect_running(target.id());
}

/// A process of root is none of another user's business.
#[test]
fn a_process_of_another_user() {
    // SAFETY: geteuid has no arguments and does not fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: takes root to be somebody else");
        return;
    }
    let target = Target::start("sleep");
    // A copy that everybody may read, whatever the folder of this one is.
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("capturer");
    std::fs::copy(std::env::current_exe().expect("the path of this test"), &program).expect("copying");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("opening the folder");
    let mut command = Command::new(&program);
    let output = command
        .args(["--exact", "target::play", "--nocapture"])
        .env("DOTDUMP_CAPTURE_ROLE", "capturer")
        .env("DOTDUMP_CAPTURE_TARGET", target.id().to_string())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .expect("capturing as another user");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not allowed to") && said.contains("as root"), "{said}");
    target::expect_running(target.id());
}

#[test]
fn a_process_is_listed_by_its_program() {
    let target = Target::start("sleep");
    let listed = processes().expect("the processes");
    let own = std::env::current_exe().expect("the path of this test");
    let entry = listed
        .iter()
        .find(|process| process.id == target.id())
        .expect("the target");
    assert_eq!(
        Some(entry.name.as_str()),
        own.file_name().and_then(|name| name.to_str())
    );
}
