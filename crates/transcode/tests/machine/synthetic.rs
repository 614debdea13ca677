//! Machines with ground truth: every page that is kept or dropped is counted against what the machine was built of.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use dotdump_format::kernel::{DumpType, Header, MemoryRun};
use dotdump_format::{PAGE_SIZE, Pfn, ReadAt};
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions};
use dotdump_snapshot::paging::{PagingMode, Provenance};
use dotdump_snapshot::{DumpFile, MachineSnapshot, PagePlace, PageSet, PhysicalMemory};
use dotdump_synth::truth::{Frame, PageState};
use dotdump_synth::{HeaderStyle, MachineBuilder, SynthMachine};
use dotdump_transcode::Request;
use dotdump_transcode::machine::prepare;
use dotdump_transcode::options::DumpKind;
use dotdump_transcode::request::PageLayout;

use crate::common::{Buffer, FULL, read, request};

/// A complete dump of a machine in a file, by the header's runs.
pub(crate) fn complete(machine: &SynthMachine, folder: &tempfile::TempDir) -> DumpFile {
    let mut header = machine.header(DumpType::FULL, HeaderStyle::Crash).unwrap();
    let mut runs: Vec<MemoryRun> = Vec::new();
    let path = folder.path().join("complete.dmp");
    let file = std::fs::File::create(&path).unwrap();
    let mut offset = header.size();
    let physical: &dyn PhysicalMemory = machine;
    for run in physical.runs(Pfn(0)) {
        let run = run.unwrap();
        if run.place != PagePlace::Zero {
            let mut bytes = vec![0; usize::try_from(run.pages * PAGE_SIZE).unwrap()];
            physical.read(run.first.address().unwrap(), &mut bytes).unwrap();
            file.write_all_at(&bytes, offset).unwrap();
        }
        offset += run.pages * PAGE_SIZE;
        match runs.last_mut() {
            Some(last) if last.end() == Some(run.first) => last.page_count += run.pages,
            _ => runs.push(MemoryRun {
                base_page: run.first,
                page_count: run.pages,
            }),
        }
    }
    header.set_physical_memory(&runs).unwrap();
    file.write_all_at(header.as_bytes(), 0).unwrap();
    file.set_len(offset).unwrap();
    DumpFile::open(&path, false).unwrap()
}

pub(crate) fn with_machine<T>(file: &DumpFile, each: impl FnOnce(&MachineImage<'_>) -> T) -> T {
    let source = MachineFile::open(file as &dyn ReadAt, &MachineOptions::default()).unwrap();
    let machine = MachineImage::open(&source).unwrap();
    each(&machine)
}

fn converted(file: &DumpFile, request: &Request) -> (Vec<u8>, PageSet) {
    with_machine(file, |machine| {
        let conversion = prepare(machine, Some(file), request).unwrap();
        let mut sink = Buffer::default();
        conversion.write(&mut sink).unwrap();
        let kept: u64 = conversion.report.kept.iter().map(|count| count.pages).sum();
        assert_eq!(kept, conversion.selection().pages.len());
        (sink.0, conversion.selection().pages.clone())
    })
}

fn numbers(pages: &PageSet) -> Vec<u64> {
    pages.runs().flat_map(|(first, end)| first.0..end.0).collect()
}

/// The pages of `sets` that the machine has.
fn present(machine: &SynthMachine, sets: &[&PageSet]) -> PageSet {
    let mut pages = PageSet::default();
    for page in sets.iter().flat_map(|set| numbers(set)) {
        if machine.place(Pfn(page)).unwrap().is_some() {
            pages.insert(Pfn(page));
        }
    }
    pages
}

/// Tells the difference by page, with what the machine knows of it.
fn assert_same(machine: &SynthMachine, found: &PageSet, expected: &PageSet, what: &str) {
    let frame = |page: &u64| (*page, machine.truth.frame(Pfn(*page)));
    let (found, expected) = (numbers(found), numbers(expected));
    let more: BTreeMap<u64, Frame> = found
        .iter()
        .filter(|page| !expected.contains(page))
        .map(frame)
        .collect();
    let less: BTreeMap<u64, Frame> = expected
        .iter()
        .filter(|page| !found.contains(page))
        .map(frame)
        .collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "{what}\ntoo many: {more:#x?}\nmissing: {less:#x?}"
    );
}

/// Whether an active dump keeps a page in this state: in use, or without a copy in any file but the page file.
fn is_kept(frame: &Frame) -> bool {
    let is_file_backed = frame.prototype && frame.original_pte >> 10 & 1 == 1;
    match frame.state {
        PageState::Active | PageState::Transition => true,
        PageState::Standby | PageState::Modified | PageState::ModifiedNoWrite => !is_file_backed,
        PageState::Zeroed | PageState::Free | PageState::Bad => false,
    }
}

fn machines() -> impl Iterator<Item = (String, SynthMachine)> {
    let builders = [
        ("x86", MachineBuilder::new(PagingMode::X86)),
        ("PAE", MachineBuilder::new(PagingMode::Pae)),
        ("four levels", MachineBuilder::new(PagingMode::FourLevel)),
        ("five levels", MachineBuilder::new(PagingMode::FiveLevel)),
        ("ARM64", MachineBuilder::new(PagingMode::Arm64)),
        (
            "large pages",
            MachineBuilder::new(PagingMode::FourLevel).large_kernel(true),
        ),
        (
            "shadowed tables",
            MachineBuilder::new(PagingMode::FourLevel).shadow_page_tables(true),
        ),
        (
            "encoded",
            MachineBuilder::new(PagingMode::FourLevel)
                .encode_debugger_data(true)
                .seed(99),
        ),
    ];
    builders
        .into_iter()
        .map(|(name, builder)| (name.to_owned(), builder.build().expect("a machine")))
}

#[test]
fn kernel_dumps_have_all_of_the_kernel_and_nothing_of_processes() {
    for (name, machine) in machines() {
        let folder = tempfile::tempdir().unwrap();
        let file = complete(&machine, &folder);
        let truth = &machine.truth;
        let (dump, pages) = converted(&file, &request(DumpKind::Kernel, PageLayout::Bitmap));
        let expected = present(&machine, &[&truth.kernel_pages(), &truth.page_tables()]);
        assert_same(&machine, &pages, &expected, &name);
        let users = numbers(&truth.user_pages());
        let shared = users.iter().filter(|page| expected.contains(Pfn(**page))).count();
        assert!(users.len() > shared, "{name}: a test without user pages shows nothing");
        assert_eq!(read(&dump).pages.len() as u64, expected.len());

        // What is left is a machine with the same modules and processes.
        let path = folder.path().join("kernel.dmp");
        std::fs::write(&path, &dump).unwrap();
        let small = DumpFile::open(&path, false).unwrap();
        let bases = |file| with_machine(file, |machine| machine.modules().to_vec());
        let ids = |file| {
            with_machine(file, |machine| {
                machine.processes().iter().map(|process| process.id).collect()
            })
        };
        assert_eq!(bases(&small), bases(&file), "{name}");
        let (small_ids, all_ids): (Vec<u64>, Vec<u64>) = (ids(&small), ids(&file));
        assert_eq!(small_ids, all_ids, "{name}");
        assert_eq!(all_ids.len(), truth.processes.len(), "{name}");

        // Made again it is the same, by its manifest and without one.
        assert!(
            converted(&small, &request(DumpKind::Kernel, PageLayout::Bitmap)).0 == dump,
            "{name}"
        );
        let mut plain = request(DumpKind::Kernel, PageLayout::Bitmap);
        plain.no_manifest = true;
        plain.options.comment = Some("other options".to_owned());
        assert_same(&machine, &converted(&small, &plain).1, &expected, &name);
    }
}

#[test]
fn active_dumps_have_what_is_in_use() {
    for (name, machine) in machines() {
        let folder = tempfile::tempdir().unwrap();
        let file = complete(&machine, &folder);
        let truth = &machine.truth;
        let request = request(DumpKind::KernelActive, PageLayout::Bitmap);
        let notes = with_machine(&file, |machine| {
            prepare(machine, Some(&file), &request).unwrap().report.absent
        });
        assert!(
            notes.iter().all(|note| !note.message.contains("page frame database")),
            "{name}: {notes:?}"
        );
        let (dump, pages) = converted(&file, &request);

        let kept = truth.frames_where(is_kept);
        let active = present(
            &machine,
            &[&truth.frames_where(|frame| frame.state == PageState::Active)],
        );
        assert!(numbers(&active).iter().all(|page| pages.contains(Pfn(*page))), "{name}");
        let mut mapped = PageSet::default();
        for range in &truth.mappings {
            if range.mapping.provenance == Provenance::Valid {
                mapped.insert_run(range.mapping.physical.pfn(), range.mapping.pages());
            }
        }
        let expected = present(&machine, &[&kept, &mapped, &truth.page_tables()]);
        assert_same(&machine, &pages, &expected, &name);
        let free = truth.frames_where(|frame| matches!(frame.state, PageState::Free | PageState::Zeroed));
        assert!(
            numbers(&free)
                .iter()
                .all(|page| mapped.contains(Pfn(*page)) || !pages.contains(Pfn(*page))),
            "{name}"
        );
        assert!(
            pages.len() < machine.pages_present() / 2,
            "{name}: most of the machine is free"
        );
        let read = read(&dump);
        assert_eq!(read.dump_type, 5);
        assert_eq!(read.pages.len() as u64, pages.len());
        let header = Header::read(&dump.as_slice()).unwrap();
        assert_eq!(header.attributes().unwrap_or(0) & 0x40, 0x40);
    }
}

#[test]
fn complete_dumps_are_complete_in_every_layout() {
    let machine = MachineBuilder::new(PagingMode::FourLevel).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = complete(&machine, &folder);
    for layout in [PageLayout::Bitmap, PageLayout::Runs, PageLayout::Range] {
        let (dump, _) = converted(&file, &request(FULL, layout));
        let read = read(&dump);
        assert_eq!(read.pages.len() as u64, machine.pages_present());
        let mut page = [0; 0x1000];
        for (number, content) in &read.pages {
            machine.read(Pfn(*number).address().unwrap(), &mut page).unwrap();
            assert!(**content == page, "page {number:#x}");
        }
    }
}
