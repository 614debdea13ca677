//! Dumps of processes of machines: what was in the machine is in the dump.

use std::io::Write as _;

use dotdump_format::kernel::DumpType;
use dotdump_format::{Findings, PAGE_SIZE, Pfn};
use dotdump_snapshot::machine::MachineOptions;
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::{DumpFile, MachineFile, MachineImage, MachineProcess, MinidumpSnapshot, ProcessSnapshot};
use dotdump_synth::truth::ProcessTruth;
use dotdump_synth::{HeaderStyle, MachineBuilder, Space, SynthMachine};
use dotdump_transcode::options::{DumpKind, DumpOptions, MiniOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::shortfall::{Severity, Shortfall};
use dotdump_transcode::sink::{Cancel, Control, Sink, StreamSink};
use dotdump_transcode::{Request, machine, prepare_process};

/// A machine in a file: a dump of all its pages.
fn write(machine: &SynthMachine, file: &mut std::fs::File) {
    let header = machine.header(DumpType::FULL, HeaderStyle::Crash).unwrap();
    let mut head = header.as_bytes().to_vec();
    let map = machine.ram().map();
    // PHYSICAL_MEMORY_DESCRIPTOR: count, (padding,) pages, and of each run its first page and number of pages.
    let (at, size) = if header.is_64() { (0x88, 8) } else { (0x64, 4) };
    let runs = map.runs().iter().flat_map(|(first, pages)| [first.0, *pages]);
    let words = [map.runs().len() as u64, map.pages()].into_iter().chain(runs);
    for (word, place) in words.zip(head[at..].chunks_exact_mut(size)) {
        place.copy_from_slice(&word.to_le_bytes()[..size]);
    }
    file.write_all(&head).unwrap();
    let zeros = [0; 0x1000];
    for (first, pages) in map.runs() {
        for page in first.0..first.0 + pages {
            file.write_all(machine.ram().page(Pfn(page)).unwrap_or(&zeros)).unwrap();
        }
    }
}

/// Calls `check` with each process and the dump that is made of it with `options`.
fn each_process(
    options: MiniOptions,
    check: impl Fn(&SynthMachine, &ProcessTruth, &MachineProcess<'_>, &MinidumpSnapshot<'_>),
) {
    for mode in [
        PagingMode::X86,
        PagingMode::Pae,
        PagingMode::FourLevel,
        PagingMode::FiveLevel,
        PagingMode::Arm64,
    ] {
        let synth = MachineBuilder::new(mode)
            .seed(3)
            .processors(2)
            .processes(5)
            .build()
            .unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write(&synth, file.as_file_mut());
        let file = DumpFile::open(file.path(), false).unwrap();
        let source = MachineFile::open(&file, &MachineOptions::default()).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        for truth in synth.truth.processes.iter().filter(|truth| truth.process.peb.0 != 0) {
            let process = MachineProcess::open(&machine, &truth.process).unwrap().unwrap();
            let request = Request {
                options: DumpOptions {
                    mini: options,
                    ..DumpOptions::default()
                },
                ..Request::default()
            };
            let mut conversion = prepare_process(&process, &file, &request).unwrap();
            let output = tempfile::NamedTempFile::new().unwrap();
            let size = conversion.size();
            let cancel = Cancel::default();
            let to = output.as_file().try_clone().unwrap();
            let mut sink = StreamSink::new(to, "a dump", Some(size), Control::new(&cancel, &()));
            conversion.write(Some(&file), &mut sink).unwrap();
            Box::new(sink).finish().unwrap();
            assert_eq!(output.as_file().metadata().unwrap().len(), size);
            let guessed = conversion
                .report
                .absent
                .iter()
                .filter(|told| told.severity == Severity::Note);
            assert!(guessed.count() > 0, "{mode:?}: guesses are told");
            let dump = DumpFile::open(output.path(), false).unwrap();
            let dump = MinidumpSnapshot::open(&dump).unwrap();
            assert!(dump.findings().is_empty(), "{mode:?}: {:?}", dump.findings());
            check(&synth, truth, &process, &dump);
        }
    }
}

#[test]
fn a_full_dump_has_all_that_is_in_memory() {
    each_process(MiniOptions::ALL, |synth, truth, process, dump| {
        let name = &truth.process.name;
        let ids = |snapshot: &dyn ProcessSnapshot| -> Vec<u32> {
            snapshot
                .threads()
                .iter()
                .map(|thread| thread.record.thread_id.get())
                .collect()
        };
        assert_eq!(ids(dump), ids(process));
        assert_eq!(dump.threads().len(), truth.threads.len());
        let modules = |snapshot: &dyn ProcessSnapshot| -> Vec<_> {
            snapshot
                .modules()
                .iter()
                .map(|module| (module.range(), module.name_text()))
                .collect()
        };
        assert_eq!(modules(dump), modules(process));
        assert!(!dump.modules().is_empty());
        let misc = dump.misc_info(&mut Findings::default()).unwrap().unwrap();
        assert_eq!(misc.process_id().map(u64::from), Some(truth.process.id));
        assert_eq!(dump.architecture(), process.architecture());

        // Each page is there, with the bytes of the page that the truth says.
        let mut pages = 0;
        for range in synth
            .truth
            .mappings
            .iter()
            .filter(|range| range.space == Space::Process(truth.process.id))
        {
            for page in 0..range.mapping.pages() {
                let mut bytes = [0xCC; 0x1000];
                let address = range.mapping.range.start.saturating_add(page * PAGE_SIZE);
                assert_eq!(
                    dump.memory().read(address, &mut bytes).unwrap(),
                    0x1000,
                    "{name} {address}"
                );
                let frame = Pfn(range.mapping.physical.pfn().0 + page);
                assert_eq!(
                    bytes.as_slice(),
                    synth.ram().page(frame).unwrap_or(&[0; 0x1000]),
                    "{name} {address}"
                );
                pages += 1;
            }
        }
        let held: u64 = dump.memory().all().map(|extent| extent.unwrap().range.size()).sum();
        assert_eq!(held, pages * PAGE_SIZE, "{name}: and nothing else");
        let regions = |snapshot: &dyn ProcessSnapshot| -> Vec<_> { snapshot.regions().map(Result::unwrap).collect() };
        assert_eq!(regions(dump), regions(process));
    });
}

#[test]
fn a_small_dump_has_the_stacks() {
    each_process(MiniOptions::empty(), |_, truth, _, dump| {
        for (thread, truth) in dump.threads().iter().zip(&truth.threads) {
            let Some((_, stack_pointer)) = truth.user_registers else {
                continue;
            };
            let stack = thread.stack().expect("a stack");
            assert!(
                stack.start.0 <= stack_pointer && stack.end == truth.user_stack.end,
                "{stack} {stack_pointer:#x}"
            );
        }
    });
}

/// A dump of kernel memory lists processes and has nothing of them.
#[test]
fn a_process_without_memory_is_refused() {
    for layout in [PageLayout::Bitmap, PageLayout::Range] {
        let synth = MachineBuilder::new(PagingMode::FourLevel).processes(5).build().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write(&synth, file.as_file_mut());
        let file = DumpFile::open(file.path(), false).unwrap();
        let source = MachineFile::open(&file, &MachineOptions::default()).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        let mut request = Request {
            layout: Some(layout),
            ..Request::default()
        };
        request.options.kind = DumpKind::Kernel;
        let conversion = machine::prepare(&machine, Some(&file), &request).unwrap();
        let kernel = tempfile::NamedTempFile::new().unwrap();
        let cancel = Cancel::default();
        let to = kernel.as_file().try_clone().unwrap();
        let mut sink = StreamSink::new(to, "a dump", Some(conversion.size()), Control::new(&cancel, &()));
        conversion.write(&mut sink).unwrap();
        Box::new(sink).finish().unwrap();

        let file = DumpFile::open(kernel.path(), false).unwrap();
        let source = MachineFile::open(&file, &MachineOptions::default()).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        let truths = synth.truth.processes.iter().filter(|truth| truth.process.peb.0 != 0);
        let mut refused = 0;
        for truth in truths {
            let process = MachineProcess::open(&machine, &truth.process).unwrap().unwrap();
            let told = prepare_process(&process, &file, &Request::default())
                .err()
                .unwrap()
                .to_string();
            assert!(told.contains("no memory of this process"), "{told}");
            let forced = Request {
                force: true,
                ..Request::default()
            };
            let report = prepare_process(&process, &file, &forced).unwrap().report;
            let warned = |told: &Shortfall| told.severity == Severity::Warning && told.message.contains("no memory of");
            assert!(report.absent.iter().any(warned), "{:?}", report.absent);
            refused += 1;
        }
        assert!(refused > 0);
    }
}
