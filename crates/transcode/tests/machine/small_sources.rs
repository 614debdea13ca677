//! Small dumps of machines whose truth is known, of images, and of Windows' own small dumps: what is in them is what the
//! source has, and they are sound.

use dotdump_format::kernel::triage::{SectionKind, Triage, as_debuggers_store};
use dotdump_format::kernel::{DumpType, Header, KernelDump, TriageFamily};
use dotdump_format::minidump::guid::Guid;
use dotdump_format::{FileOffset, Findings, ReadAt, VirtAddr};
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions, Processor, UnloadedDriver};
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::{DumpFile, MachineSnapshot, Memory};
use dotdump_synth::{MachineBuilder, SynthMachine};
use dotdump_transcode::machine::manifest::{CHECKSUMS_TAG, MANIFEST_TAG};
use dotdump_transcode::machine::{prepare, sums};
use dotdump_transcode::verify_machine::{against, verify};
use dotdump_transcode::{ConvertError, Request};

use crate::small::{mini, small};
use crate::synthetic::{complete, with_machine};
use dotdump_tests::machines::{image, text};
use dotdump_tests::places::{corpus_file, corpus_files};

fn bytes_at(memory: &dyn Memory, at: VirtAddr, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    assert_eq!(memory.read(at, &mut bytes).unwrap(), size, "{at}");
    bytes
}

/// Modules, unloaded drivers and processors are those that the machine was built with.
fn assert_told(name: &str, dump: &DumpFile) {
    let machine = match name {
        _ if name.starts_with("nt4-encoded") => "nt4-encoded",
        _ if name.starts_with("nt2-large") => "nt2-large",
        _ => "nt2",
    };
    let Some(meta) = text(&format!("images/{machine}-meta.json")) else {
        return;
    };
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let told = |list: &str, field: &str| -> Vec<u64> {
        let list = meta[list].as_array().unwrap().iter();
        list.map(|entry| entry[field].as_u64().unwrap()).collect()
    };
    with_machine(dump, |made| {
        let modules: Vec<u64> = made.modules().iter().map(|module| module.base.0).collect();
        assert_eq!(modules, told("modules", "base"), "{name}");
        let mut unloaded: Vec<u64> = made
            .unloaded_drivers()
            .iter()
            .map(|driver| driver.range.start.0)
            .collect();
        unloaded.reverse();
        assert_eq!(unloaded, told("unloaded_drivers", "start"), "{name}: oldest first");
        let prcbs: Vec<u64> = made
            .processors()
            .iter()
            .map(|processor| processor.prcb.unwrap().0)
            .collect();
        assert_eq!(prcbs, told("processors", "prcb"), "{name}");
        // The header of QEMU's own dump has the address of a plain copy.
        let block = if name == "nt4-encoded-live.dmp" {
            "kdbg_plain"
        } else {
            "kdbg"
        };
        assert_eq!(
            Some(made.debugger_data().unwrap().address.0),
            meta[block].as_u64(),
            "{name}"
        );
    });
}

fn part(file: &DumpFile, offset: FileOffset, size: u64) -> Vec<u8> {
    let file: &dyn ReadAt = file;
    file.bytes(offset, usize::try_from(size).unwrap()).unwrap().into_owned()
}

/// Names as small dumps keep them.
fn cut(drivers: &[UnloadedDriver]) -> Vec<(Vec<u16>, VirtAddr, VirtAddr)> {
    let drivers = drivers.iter();
    drivers
        .map(|driver| {
            let name = driver.name.iter().take(12).copied().collect();
            (name, driver.range.start, driver.range.end)
        })
        .collect()
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> DumpFile {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    DumpFile::open(&path, true).unwrap()
}

/// The dump is sound by itself, has what the source has, and made again it is the same.
fn assert_good(name: &str, source: &DumpFile, dump: &DumpFile, request: &Request) {
    let bytes = part(dump, FileOffset(0), dump.size());
    let again = small(dump, request).unwrap();
    assert!(again == bytes, "{name}: made again");
    assert_eq!(
        Header::read(&again.as_slice()).unwrap().required_dump_space(),
        Some(dump.size()),
        "{name}"
    );
    with_machine(source, |source| {
        with_machine(dump, |made| {
            let found = verify(dump, made).unwrap();
            assert!(found.sound, "{name}: {found:#?}");
            assert_eq!(found.manifest.present, !request.no_manifest, "{name}");
            let compared = against(dump, made, source).unwrap();
            assert!(compared.same, "{name}: {compared:#?}");
            assert!(compared.memory_compared > 0, "{name}");

            assert_eq!(made.machine(), source.machine(), "{name}");
            assert_eq!(made.bugcheck(), source.bugcheck(), "{name}");
            let modules = |machine: &MachineImage<'_>| -> Vec<_> {
                let modules = machine.modules().iter();
                modules
                    .map(|module| (module.base, module.size, module.full_name.clone()))
                    .collect()
            };
            assert_eq!(modules(made), modules(source), "{name}");
            assert_eq!(cut(made.unloaded_drivers()), cut(source.unloaded_drivers()), "{name}");
            let facts = |processor: &Processor| {
                let size = source.machine().context_size();
                let context = processor.context.as_ref();
                (
                    processor.number,
                    processor.prcb,
                    processor.current_thread,
                    context.map(|context| context.bytes[..size].to_vec()),
                )
            };
            let processors =
                |machine: &MachineImage<'_>| -> Vec<_> { machine.processors().iter().map(facts).collect() };
            assert_eq!(processors(made), processors(source), "{name}");
            let stopped = |machine: &MachineImage<'_>| machine.stopped_processor().map(|processor| processor.number);
            assert_eq!(stopped(made), stopped(source), "{name}");
            let fields = |machine: &MachineImage<'_>| {
                let data = machine.debugger_data().expect("KDDEBUGGER_DATA64").data;
                as_debuggers_store(data.as_bytes(), machine.machine())
            };
            assert_eq!(fields(made), fields(source), "{name}");
        });
    });
}

fn assert_true(name: &str, machine: &SynthMachine, whole: &DumpFile, dump: &DumpFile) {
    let truth = &machine.truth;
    let header = Header::read(dump).unwrap();
    let mut findings = Findings::default();
    let triage = Triage::open(dump, &header, &mut findings).unwrap();
    assert_eq!(triage.family(), TriageFamily::Offline, "{name}");
    with_machine(whole, |image| {
        let stopped = image.stopped_processor().expect("a processor that stopped").number;
        let processor = &truth.processors[usize::try_from(stopped).unwrap()];
        let memory = image.kernel_memory();
        let context = triage.context().unwrap().unwrap();
        assert!(processor.context.starts_with(&context), "{name}: CONTEXT");
        let section = |kind| triage.bytes(kind, usize::MAX).unwrap();
        let prcb = section(SectionKind::Prcb);
        assert!(
            !prcb.is_empty() && *prcb == bytes_at(memory, processor.prcb, prcb.len()),
            "{name}"
        );
        let thread = section(SectionKind::Thread);
        assert!(
            !thread.is_empty() && *thread == bytes_at(memory, processor.current_thread, thread.len()),
            "{name}"
        );
        let process = section(SectionKind::Process);
        let owner = truth.processes.iter().find(|process| {
            let mut threads = process.threads.iter();
            threads.any(|thread| thread.ethread == processor.current_thread)
        });
        let owner = owner.expect("the process of a thread").process.eprocess;
        assert!(
            !process.is_empty() && *process == bytes_at(memory, owner, process.len()),
            "{name}"
        );
        let data = section(SectionKind::DebuggerData);
        assert_eq!(
            *data,
            as_debuggers_store(&truth.debugger_data.plain, image.machine()),
            "{name}"
        );
        let stack = triage.call_stack().expect("a stack");
        let bytes = part(dump, stack.offset, stack.range.size());
        assert!(
            bytes == bytes_at(memory, stack.range.start, bytes.len()),
            "{name}: stack"
        );
    });
    let drivers = triage.drivers(&mut findings).unwrap();
    let found: Vec<_> = drivers
        .iter()
        .map(|driver| (driver.entry.base(), driver.entry.size_of_image(), driver.name.clone()))
        .collect();
    let modules = truth.modules.iter();
    let expected: Vec<_> = modules
        .map(|module| (module.base, module.size, module.full_name.clone()))
        .collect();
    assert_eq!(found, expected, "{name}");
    let unloaded = triage.unloaded_drivers(&mut findings).unwrap();
    let found: Vec<_> = unloaded
        .iter()
        .map(|driver| (driver.name(), driver.range().start, driver.range().end))
        .collect();
    assert_eq!(found, cut(&truth.unloaded_drivers), "{name}");
    assert!(!found.is_empty(), "{name}");
    // The structures of every processor are there, not only of the one that stopped.
    with_machine(dump, |made| {
        for processor in &truth.processors {
            let prcb = triage.section(SectionKind::Prcb).unwrap().size;
            bytes_at(made.kernel_memory(), processor.prcb, usize::try_from(prcb).unwrap());
        }
        assert_eq!(made.bugcheck(), Some(truth.bugcheck), "{name}");
    });
    assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
}

#[test]
fn of_machines_whose_truth_is_known() {
    let four = || MachineBuilder::new(PagingMode::FourLevel);
    for (name, builder) in [
        ("x86", MachineBuilder::new(PagingMode::X86)),
        ("PAE", MachineBuilder::new(PagingMode::Pae)),
        ("four levels", four()),
        ("five levels", MachineBuilder::new(PagingMode::FiveLevel)),
        ("ARM64", MachineBuilder::new(PagingMode::Arm64)),
        ("encoded", four().encode_debugger_data(true).seed(99)),
        ("large pages", four().large_kernel(true)),
        ("shadowed tables", four().shadow_page_tables(true)),
    ] {
        let machine = builder.build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let whole = complete(&machine, &folder);
        let dump = written(&folder, "small.dmp", &small(&whole, &mini()).unwrap());
        assert_true(name, &machine, &whole, &dump);
        assert_good(name, &whole, &dump, &mini());
        let plain = Request {
            no_manifest: true,
            ..mini()
        };
        let dump = written(&folder, "plain.dmp", &small(&whole, &plain).unwrap());
        assert_good(name, &whole, &dump, &plain);
    }
}

#[test]
fn of_images() {
    for name in [
        "nt2-full.dmp",
        "nt2-bugcheck.dmp",
        "nt2-large-full.dmp",
        "nt2-live.elf",
        "nt2-live.kdump",
        "nt2-live.img",
        "nt4-encoded-live.elf",
        "nt4-encoded-live.dmp",
    ] {
        let Some(path) = image(name) else { return };
        let source = DumpFile::open(&path, true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bytes = small(&source, &mini()).unwrap();
        let dump = written(&folder, "small.dmp", &bytes);
        assert_good(name, &source, &dump, &mini());
        assert_told(name, &dump);
        // Debuggers look for the block in memory as well, where it must not be encoded any more.
        with_machine(&dump, |made| {
            let data = made.debugger_data().unwrap();
            assert!(!data.encoded, "{name}");
            assert_eq!(
                &bytes_at(made.kernel_memory(), data.address, 0x14)[0x10..],
                b"KDBG",
                "{name}"
            );
        });
        let limit = bytes.len() as u64 * 3 / 4;
        let request = Request {
            max_size: Some(limit),
            ..mini()
        };
        match small(&source, &request) {
            Ok(less) => {
                assert!(less.len() as u64 <= limit, "{name}");
                let dump = written(&folder, "less.dmp", &less);
                assert_good(name, &source, &dump, &request);
            }
            Err(ConvertError::TooLarge { least, .. }) => assert!(least > limit, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

fn blobs(file: &DumpFile) -> Vec<(Guid, Vec<u8>)> {
    let dump = KernelDump::open(file).unwrap();
    let Some(chain) = dump.secondary_data(file).unwrap() else {
        return Vec::new();
    };
    let blobs = chain.blobs(file).map(|blob| {
        let blob = blob.unwrap();
        (blob.tag, part(file, blob.data, blob.size.into()))
    });
    blobs.collect()
}

fn same_section(name: &str, kind: SectionKind, source: &Triage<'_>, made: &Triage<'_>) {
    assert_eq!(made.section(kind), source.section(kind), "{name}: {kind:?}");
    let (mine, theirs) = (
        made.bytes(kind, usize::MAX).unwrap(),
        source.bytes(kind, usize::MAX).unwrap(),
    );
    assert!(mine == theirs, "{name}: {kind:?}");
}

#[test]
fn of_small_dumps_of_windows() {
    let files = corpus_files("kernel-");
    let files = files.iter().filter(|path| path.to_string_lossy().contains("-triage-"));
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = DumpFile::open(path, true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for no_manifest in [false, true] {
            let request = Request { no_manifest, ..mini() };
            let bytes = small(&source, &request).unwrap();
            let dump = written(&folder, &format!("{no_manifest}.dmp"), &bytes);
            assert_good(&name, &source, &dump, &request);
            assert_copied(&name, &source, &dump, no_manifest);
        }
        let request = Request {
            max_size: Some(source.size() * 9 / 10),
            ..mini()
        };
        match small(&source, &request) {
            Ok(less) => {
                assert!(less.len() as u64 * 10 <= source.size() * 9, "{name}");
                let header = Header::read(&less.as_slice()).unwrap();
                assert_eq!(header.required_dump_space(), Some(less.len() as u64), "{name}");
                let dump = written(&folder, "less.dmp", &less);
                assert!(small(&dump, &request).unwrap() == less, "{name}: made again");
            }
            Err(ConvertError::TooLarge { least, limit }) => assert!(least > limit, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

fn assert_copied(name: &str, source: &DumpFile, dump: &DumpFile, no_manifest: bool) {
    let (theirs, mine) = (Header::read(source).unwrap(), Header::read(dump).unwrap());
    let findings = &mut Findings::default();
    let (old, new) = (
        Triage::open(source, &theirs, findings).unwrap(),
        Triage::open(dump, &mine, findings).unwrap(),
    );
    assert_eq!(new.family(), old.family(), "{name}");
    assert_eq!(new.end(), old.end(), "{name}");
    assert_eq!(new.sections().len(), old.sections().len(), "{name}");
    for section in old.sections() {
        match section.kind {
            // XP leaves junk behind names and data, which is not copied; all names and blocks are compared below.
            SectionKind::StringPool | SectionKind::Data if !old.is_64() => {
                assert_eq!(new.section(section.kind), Some(*section), "{name}");
            }
            kind => same_section(name, kind, &old, &new),
        }
    }
    let names = |triage: &Triage<'_>| triage.drivers(&mut Findings::default()).unwrap();
    assert_eq!(names(&new), names(&old), "{name}");
    for (mine, theirs) in new.blocks().zip(old.blocks()) {
        let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
        assert_eq!(mine, theirs, "{name}");
        let size = mine.range.size();
        assert!(
            part(dump, mine.offset, size) == part(source, theirs.offset, size),
            "{name}"
        );
    }
    // The header: all but the size of the file.
    let without = |mut header: Header| {
        match &mut header {
            Header::Dump32(header) => header.required_dump_space = 0.into(),
            Header::Dump64(header) => header.required_dump_space = 0.into(),
        }
        header.as_bytes().to_vec()
    };
    assert!(without(mine) == without(theirs), "{name}: header");

    let (mut found, expected) = (blobs(dump), blobs(source));
    if !no_manifest {
        assert_eq!(found.pop().unwrap().0, CHECKSUMS_TAG, "{name}");
        assert_eq!(found.pop().unwrap().0, MANIFEST_TAG, "{name}");
        assert!(sums::check(dump, &mut Findings::default()).unwrap().present, "{name}");
    }
    assert!(found == expected, "{name}: secondary data");
    let opened = KernelDump::open(dump).unwrap();
    if let Some(chain) = opened.secondary_data(dump).unwrap() {
        let last = chain.blobs(dump).last().unwrap().unwrap();
        let end = last.data.0 + u64::from(last.size).next_multiple_of(8);
        assert_eq!(end, dump.size(), "{name}: nothing behind the chain");
    } else {
        assert_eq!(dump.size(), new.end().0, "{name}");
    }
}

/// A dump of which nothing but the header is there is refused, and made where that is wanted.
#[test]
fn of_a_header() {
    let Some(path) = corpus_file("kernel-x64-full-b19045") else {
        return;
    };
    let source = DumpFile::open(&path, true).unwrap();
    let refused = small(&source, &mini());
    assert!(
        matches!(&refused, Err(ConvertError::Refused(told)) if told.iter().any(|told| told.message.contains("a header and nothing more"))),
        "{}",
        path.display()
    );
    let forced = Request { force: true, ..mini() };
    let dump = small(&source, &forced).unwrap();
    assert!(
        Header::read(&dump.as_slice()).unwrap().dump_type() == DumpType::TRIAGE,
        "{}",
        path.display()
    );
}

/// What a report says is what is in the file.
#[test]
fn reports_tell_sections() {
    let machine = MachineBuilder::new(PagingMode::FourLevel).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let whole = complete(&machine, &folder);
    let source = MachineFile::open(&whole as &dyn ReadAt, &MachineOptions::default()).unwrap();
    let image = MachineImage::open(&source).unwrap();
    let report = prepare(&image, Some(&whole), &mini()).unwrap().report;
    let dump = small(&whole, &mini()).unwrap();
    let header = Header::read(&dump).unwrap();
    let triage = Triage::open(&dump, &header, &mut Findings::default()).unwrap();
    let section = |kind: SectionKind| {
        report
            .sections
            .iter()
            .find(|section| section.name == kind.name())
            .unwrap()
    };
    for kind in [
        SectionKind::Prcb,
        SectionKind::Process,
        SectionKind::Thread,
        SectionKind::CallStack,
        SectionKind::DebuggerData,
        SectionKind::DriverList,
    ] {
        assert_eq!(section(kind).size, triage.section(kind).unwrap().size, "{kind:?}");
    }
    assert_eq!(
        section(SectionKind::DriverList).entries,
        machine.truth.modules.len() as u64
    );
    assert_eq!(section(SectionKind::Data).entries, triage.block_count());
    let bytes: u64 = triage.blocks().map(|block| block.unwrap().range.size()).sum();
    assert_eq!(section(SectionKind::Data).size, bytes);
    assert_eq!(report.blocks.iter().map(|count| count.bytes).sum::<u64>(), bytes);
}
