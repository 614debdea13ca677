//! Machines and dumps that lie: whatever is asked of them comes to an end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use dotdump_format::Pfn;
use dotdump_format::ReadAt;
use dotdump_format::kernel::DumpType;
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions};
use dotdump_snapshot::machine_process::MachineProcess;
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::{DumpFile, MachineSnapshot};
use dotdump_synth::hostile::{HostileDump, HostileMachine};
use dotdump_synth::{MachineBuilder, MemoryMap, SynthMachine};
use dotdump_transcode::machine::prepare;
use dotdump_transcode::options::{DumpKind, DumpOptions, MiniOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::{Request, prepare_process, verify_machine};

const MODES: [PagingMode; 5] = [
    PagingMode::X86,
    PagingMode::Pae,
    PagingMode::FourLevel,
    PagingMode::FiveLevel,
    PagingMode::Arm64,
];

/// No good machine takes a hundredth of it: what does is a loop that hardly ends.
const END: Duration = Duration::from_secs(60);

fn small(mode: PagingMode) -> SynthMachine {
    MachineBuilder::new(mode)
        .memory(MemoryMap::pc(16 << 20))
        .processes(4)
        .build()
        .unwrap()
}

fn request(kind: DumpKind, layout: PageLayout) -> Request {
    Request {
        options: DumpOptions {
            kind,
            ..DumpOptions::default()
        },
        layout: (kind != DumpKind::Mini).then_some(layout),
        ..Request::default()
    }
}

/// The pages of the machine. Whatever page tables, bitmaps, runs and ranges say, there are no more to be had.
const PAGES: u64 = 16 << 8;

/// What could be asked, by name, for a test that most could.
#[derive(Default)]
struct Done {
    opened: usize,
    planned: usize,
    processes: usize,
}

/// Asks everything of a dump.
fn ask_all(bytes: &[u8], folder: &tempfile::TempDir, done: &mut Done, what: &str) {
    let start = Instant::now();
    let path = folder.path().join("hostile.dmp");
    std::fs::write(&path, bytes).unwrap();
    let file = DumpFile::open(&path, false).unwrap();
    let Ok(source) = MachineFile::open(&file as &dyn ReadAt, &MachineOptions::default()) else {
        return;
    };
    let Ok(machine) = MachineImage::open(&source) else {
        return;
    };
    done.opened += 1;
    look_at(&machine);
    for (kind, layout) in [
        (DumpKind::Full { avx_state: false }, PageLayout::Bitmap),
        (DumpKind::Full { avx_state: false }, PageLayout::Runs),
        (DumpKind::Kernel, PageLayout::Range),
        (DumpKind::KernelActive, PageLayout::Bitmap),
        (DumpKind::Mini, PageLayout::Bitmap),
    ] {
        if let Ok(conversion) = prepare(&machine, Some(&file), &request(kind, layout)) {
            done.planned += 1;
            let pages = conversion.selection().pages.len();
            assert!(pages <= PAGES, "{what}, {kind:?}: {pages} pages");
            // The pages, tables that take no more than these, secondary data.
            let most = 2 * (PAGES << 12) + (8 << 20);
            let size = conversion.size();
            assert!(size <= most, "{what}, {kind:?}: {size} bytes");
        }
    }
    for process in machine.processes().iter().take(8) {
        let Ok(Some(opened)) = MachineProcess::open(&machine, process) else {
            continue;
        };
        done.processes += 1;
        let mut asked = request(DumpKind::Mini, PageLayout::Bitmap);
        asked.options.mini = MiniOptions::FULL_MEMORY | MiniOptions::IGNORE_INACCESSIBLE;
        let _planned = prepare_process(&opened, &file, &asked);
    }
    let _verified = verify_machine::verify(&file, &machine);
    let took = start.elapsed();
    assert!(took < END, "{what}: {took:?}");
}

/// What `inspect` shows.
fn look_at(machine: &MachineImage<'_>) {
    let _bugcheck = (machine.bugcheck(), machine.shared_user_data(), machine.guesses());
    for module in machine.modules() {
        let _name = module.name_text();
    }
    let counted = [
        machine.processors().len(),
        machine.unloaded_drivers().len(),
        machine.processes().len(),
        machine.findings().as_slice().len(),
    ];
    assert!(counted.iter().all(|count| *count < 1 << 20), "{counted:?}");
    if let (Some(database), Some(physical)) = (machine.pfn_database(), machine.physical_memory()) {
        let _visited = database.visit(Pfn(0), physical.end(), &mut |_, _| ControlFlow::Continue(()));
    }
    for process in machine.processes() {
        let _space = machine.process_space(process);
    }
}

#[test]
fn machines_that_lie_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    for mode in MODES {
        let good = small(mode);
        let mut done = Done::default();
        for hostile in HostileMachine::ALL {
            for seed in 0..2 {
                let mut machine = good.clone();
                hostile.apply(&mut machine, seed).unwrap();
                let pages = machine.pages_in_use();
                let dump = machine.dump(DumpType::BITMAP_FULL).pages(pages);
                let what = format!("{mode:?}, {hostile:?}, seed {seed}");
                ask_all(&dump.to_bytes().unwrap(), &folder, &mut done, &what);
            }
        }
        // The dumps themselves are sound.
        assert_eq!(done.opened, 2 * HostileMachine::ALL.len(), "{mode:?}");
        assert!(done.planned >= 3 * done.opened, "{mode:?}: {}", done.planned);
        assert!(done.processes > done.opened, "{mode:?}: {}", done.processes);
    }
}

#[test]
fn dumps_that_lie_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    for mode in MODES {
        let machine = small(mode);
        let mut types = vec![DumpType::FULL, DumpType::BITMAP_FULL];
        if !matches!(mode, PagingMode::X86 | PagingMode::Pae) {
            types.push(DumpType::RANGE_FULL);
        }
        for kind in types {
            let mut dump = machine.dump(kind);
            if kind != DumpType::FULL {
                dump = dump.pages(machine.pages_in_use());
            }
            let good = dump.to_bytes().unwrap();
            let mut done = Done::default();
            for hostile in HostileDump::ALL {
                for seed in 0..2 {
                    let mut bytes = good.clone();
                    hostile.apply(&mut bytes, seed);
                    let what = format!("{mode:?}, {kind:?}, {hostile:?}, seed {seed}");
                    ask_all(&bytes, &folder, &mut done, &what);
                }
            }
            // Some are refused, most are not.
            assert!(
                done.opened > HostileDump::ALL.len(),
                "{mode:?}, {kind:?}: {}",
                done.opened
            );
        }
    }
}
