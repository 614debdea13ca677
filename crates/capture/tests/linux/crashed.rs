//! Processes that die, as the program that `core_pattern` names sees them.

use std::io::{self, Read};

use dotdump_capture::{CaptureOptions, linux};
use dotdump_format::VirtAddr;
use dotdump_snapshot::linux::LinuxArchitecture;

use crate::target::{self, Target};

const NT_PRSTATUS: u32 = 1;
const NT_SIGINFO: u32 = 0x5349_4749;

/// A core up to the end of its notes as Linux writes it for x86-64 (`elf.h`, `sys/procfs.h`): one thread, whose `rip` is
/// 0x1234, and its signal.
fn start_of_core(thread: u32) -> Vec<u8> {
    let mut status = vec![0; 336];
    status[32..36].copy_from_slice(&thread.to_le_bytes());
    status[112 + 16 * 8..][..8].copy_from_slice(&0x1234_u64.to_le_bytes());
    let mut siginfo = vec![0; 128];
    siginfo[0] = 11;
    siginfo[8] = 1;
    siginfo[16..24].copy_from_slice(&0xDEAD_u64.to_le_bytes());
    let mut notes = Vec::new();
    for (kind, payload) in [(NT_PRSTATUS, status), (NT_SIGINFO, siginfo)] {
        for word in [5, u32::try_from(payload.len()).expect("a size"), kind] {
            notes.extend(word.to_le_bytes());
        }
        notes.extend(b"CORE\0\0\0\0");
        notes.extend(payload);
    }
    let mut core = b"\x7FELF\x02\x01\x01".to_vec();
    core.resize(16, 0);
    core.extend([4_u16, 62].map(u16::to_le_bytes).concat());
    core.extend(1_u32.to_le_bytes());
    core.extend([0_u64, 64, 0].map(u64::to_le_bytes).concat());
    core.extend(0_u32.to_le_bytes());
    core.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    core.extend([4_u32, 0].map(u32::to_le_bytes).concat());
    core.extend([120, 0, 0, notes.len() as u64, 0, 4].map(u64::to_le_bytes).concat());
    core.extend(notes);
    core
}

/// What follows the notes is memory, which is read from the process: whoever asks the kernel for it lets go of that.
struct NoFurther;

impl Read for NoFurther {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("read beyond the notes");
    }
}

/// Registers and signal are those of the core, all else is that of the process.
#[test]
fn a_process_that_the_kernel_holds() {
    let target = Target::start("memory");
    let core = start_of_core(target.id());
    let mut core = core.as_slice().chain(NoFurther);
    let stopped =
        linux::crashed(target.id(), Some(target.id()), &mut core, &CaptureOptions::default()).expect("reading");
    let facts = stopped.process().facts();
    assert_eq!(facts.architecture, LinuxArchitecture::Amd64);
    assert_eq!(facts.process_id, target.id());
    let [thread] = &facts.threads[..] else {
        panic!("not one thread")
    };
    assert_eq!(thread.id, target.id());
    assert_eq!(thread.general[16 * 8..][..2], [0x34, 0x12]);
    assert!(thread.name.is_some() && thread.stat.is_some());
    let signal = facts.signal.as_ref().expect("a signal");
    assert_eq!((signal.thread_id, signal.siginfo[0]), (target.id(), 11));
    let mut bytes = [0; 4];
    let memory = stopped.snapshot().memory();
    assert_eq!(
        memory
            .read(VirtAddr(target.value("mapped")), &mut bytes)
            .expect("reading"),
        4
    );
    assert_eq!(bytes, [0x77; 4]);
    assert_eq!(stopped.resume(), stopped.resume());
    target::expect_running(target.id());
}
