//! The verifier of kernel dumps: on images of machines whose truth is known, and on Windows' own dumps.

use std::path::{Path, PathBuf};

use dotdump_format::kernel::DumpType;
use dotdump_format::kernel::bitmap::BitmapLayout;
use dotdump_format::kernel::secondary_data::{write_blob, write_header};
use dotdump_format::layout::{Layout, Piece};
use dotdump_format::{Endian, FileOffset, Pfn, PhysAddr, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions};
use dotdump_snapshot::paging::{Mapping, PagingMode, Visitor};
use dotdump_snapshot::{AddressSpace, DumpFile, MachineSnapshot, PageSet, PhysicalMemory};
use dotdump_synth::{HeaderStyle, MachineBuilder};
use dotdump_transcode::Request;
use dotdump_transcode::machine::manifest::{MANIFEST_TAG, MachineIdentity, MachineManifest, PatchSpan};
use dotdump_transcode::machine::prepare;
use dotdump_transcode::manifest::Checksums;
use dotdump_transcode::options::{DumpKind, DumpOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::sink::{AtomicFile, Cancel, Control, Sink};
use dotdump_transcode::verify_machine::against::{Claim, MachineAgainst};
use dotdump_transcode::verify_machine::{CheckResult, MachineVerification, against, verify};

use proptest::prelude::*;
use zerocopy::IntoBytes;

use dotdump_tests::machines::{image, text};
use dotdump_tests::places::{corpus_file, corpus_files};

fn open(path: &Path) -> DumpFile {
    DumpFile::open(path, false).unwrap()
}

/// Opens the machine in a file and shows it.
fn with_machine<T>(file: &dyn ReadAt, look: impl FnOnce(&dyn MachineSnapshot) -> T) -> T {
    let source = MachineFile::open(file, &MachineOptions::default()).unwrap();
    let machine = MachineImage::open(&source).unwrap();
    look(&machine)
}

fn verified(file: &dyn ReadAt) -> MachineVerification {
    with_machine(file, |machine| verify(file, machine).unwrap())
}

fn compared(dump: &Path, source: &Path) -> MachineAgainst {
    let (dump, source) = (open(dump), open(source));
    with_machine(&dump, |mine| {
        with_machine(&source, |theirs| against(&dump, mine, theirs).unwrap())
    })
}

fn images(names: [&str; 2]) -> Option<[PathBuf; 2]> {
    let [one, two] = names.map(image);
    Some([one?, two?])
}

fn failed(found: &MachineVerification) -> Vec<&'static str> {
    let failed = found.checks.iter().filter(|check| check.result == CheckResult::Failed);
    failed.map(|check| check.check).collect()
}

/// How many pages of zeros the processes of a machine map, by its ground truth: those of images, and PEBs with their
/// process.
fn zero_pages(meta: &str) -> (u64, Vec<(u64, u64)>) {
    let meta: serde_json::Value = serde_json::from_str(&text(meta).unwrap()).unwrap();
    let (mut pages, mut pebs) = (0, Vec::new());
    for process in meta["processes"].as_array().unwrap() {
        let all = process["user_pages"].as_array();
        pages += all.map_or(0, |all| all.iter().filter(|page| page["kind"] == "zero").count() as u64);
        if process["peb"]["zero"] == true {
            pebs.push((
                process["pid"].as_u64().unwrap(),
                process["peb"]["pa"].as_u64().unwrap() / 0x1000,
            ));
        }
    }
    (pages, pebs)
}

/// build.py's bitmap dumps lack all pages of zeros, mapped or not: of processes those that meta.json says, with PEBs in
/// the negative control that MemProcFS refuses.
#[test]
fn missing_zero_pages_that_a_process_maps_are_told() {
    for (name, meta) in [("nt2", "nt2-meta.json"), ("nt2-zeropeb", "nt2-zeropeb-meta.json")] {
        let files = images([&format!("{name}-bitmap.dmp"), &format!("{name}-full.dmp")]);
        let Some([dump, source]) = files else { return };
        let found = compared(&dump, &source);
        assert!(!found.same);
        assert_eq!(
            (found.claim, found.differences_total),
            (Claim::Complete, 0),
            "{found:#?}"
        );
        assert_eq!(found.left_out.with_content, 0);
        assert_eq!(
            found.pages_compared + found.left_out.pages,
            158 + 16128,
            "the runs of meta.json"
        );
        let (pages, pebs) = zero_pages(&format!("images/{meta}"));
        assert_eq!(found.missing_of_processes, pages + pebs.len() as u64);
        assert_eq!(pebs.len(), if name == "nt2" { 0 } else { 11 });
        for (process, page) in pebs {
            let told = found
                .missing
                .iter()
                .any(|it| (it.process_id, it.page.0) == (Some(process), page));
            assert!(told, "the PEB of process {process}: {found:#?}");
        }
        assert!(found.missing.iter().all(|page| page.page_size == 0x1000));
    }
}

/// The other negative control: Volatility finds nothing in this dump.
#[test]
fn holes_in_large_pages_of_the_kernel_are_told() {
    let Some([dump, source]) = images(["nt2-large-bitmap.dmp", "nt2-large-full.dmp"]) else {
        return;
    };
    let found = compared(&dump, &source);
    assert!(!found.same);
    let meta: serde_json::Value = serde_json::from_str(&text("images/nt2-large-meta.json").unwrap()).unwrap();
    let kernel = meta["kernel_base"].as_u64().unwrap();
    let large: Vec<_> = found
        .missing
        .iter()
        .filter(|page| page.page_size == 0x20_0000)
        .collect();
    assert!(!large.is_empty(), "{found:#?}");
    for page in large {
        assert_eq!(page.process_id, None);
        assert!((kernel..kernel + 0x20_0000).contains(&page.address.0), "{page:?}");
    }
}

/// A dump without the zero pages that no address leads to, and one that lacks another page.
#[test]
fn only_unused_pages_may_be_left_out() {
    let Some(path) = image("nt2-full.dmp") else { return };
    let file = open(&path);
    let options = MachineOptions::default();
    let source = MachineFile::open(&file, &options).unwrap();
    let full = MachineImage::open(&source).unwrap();
    let pages = full.physical_memory().unwrap();
    let mut kept = PageSet::default();
    let everything = VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX));
    let mut keep = |space: &AddressSpace<'_>| {
        kept.insert(space.root().pfn());
        for mapping in space.mappings(everything) {
            let mapping = mapping.unwrap();
            kept.insert_run(mapping.physical.pfn(), mapping.pages());
        }
    };
    keep(full.kernel_space().unwrap());
    full.processes()
        .iter()
        .for_each(|process| keep(&full.process_space(process).unwrap()));
    let zero = [0; 0x1000];
    let mut unused = None;
    for run in pages.runs(Pfn(0)) {
        let run = run.unwrap();
        for page in run.first.0..run.end().0 {
            let mut bytes = [0; 0x1000];
            pages.read(PhysAddr(page * 0x1000), &mut bytes).unwrap();
            if bytes != zero && kept.insert(Pfn(page)) {
                unused = Some(Pfn(page));
            }
        }
    }
    // Without these two there is less than meta.json says: a page that is mapped, and one that is not.
    let unused = unused.expect("not all that is not zero is mapped: page tables are not");
    let mapped = full
        .kernel_space()
        .unwrap()
        .mappings(everything)
        .next()
        .unwrap()
        .unwrap()
        .physical
        .pfn();
    for (without, missing, differences) in [(None, 0, 0), (Some(mapped), 1, 0), (Some(unused), 0, 1)] {
        let mut kept = kept.clone();
        kept.remove_run(without.unwrap_or_default(), u64::from(without.is_some()));
        let made = bitmap_dump(&file, pages, &kept, 5);
        let found = with_machine(&made, |mine| against(&made, mine, &full).unwrap());
        eprintln!(
            "{without:?}: {} {} {:?}",
            found.missing_total, found.differences_total, found.left_out
        );
        assert_eq!(found.same, without.is_none(), "{found:#?}");
        if without.is_none() {
            assert!(found.left_out.pages > 10_000);
            assert_eq!(failed(&verified(&made)), [""; 0]);
        }
        assert!(found.missing_total >= missing);
        assert!(found.differences_total >= differences);
    }
}

/// All pages that an address space leads to, its tables included.
struct Reached(PageSet);

impl Visitor for Reached {
    fn table(&mut self, page: Pfn, _: u8, _: VirtAddr) -> bool {
        self.0.insert(page);
        true
    }

    fn mapping(&mut self, mapping: &Mapping) {
        self.0.insert_run(mapping.physical.pfn(), mapping.pages());
    }
}

/// What the type promises is what has to be there.
#[test]
fn a_dump_of_kernel_memory_need_not_have_that_of_processes() {
    let Some(path) = image("nt2-full.dmp") else { return };
    let file = open(&path);
    let options = MachineOptions::default();
    let source = MachineFile::open(&file, &options).unwrap();
    let full = MachineImage::open(&source).unwrap();
    let space = full.kernel_space().unwrap();
    let mut reached = Reached(PageSet::default());
    reached.0.insert(space.root().pfn());
    space.visit(space.mode().kernel_half(), &mut reached).unwrap();
    let pages = full.physical_memory().unwrap();
    let compare = |kept: &PageSet, dump_type, attributes: u8| {
        let mut made = bitmap_dump(&file, pages, kept, dump_type);
        made[0x1050..0x1054].copy_from_slice(&[attributes, 0, 0, 0]);
        with_machine(&made, |mine| against(&made, mine, &full).unwrap())
    };
    let found = compare(&reached.0, 6, 0);
    assert!(found.same, "{found:#?}");
    assert_eq!(found.claim, Claim::Kernel);
    // The same pages do not make an active dump: every process has its own pages.
    let found = compare(&reached.0, 5, 0x40);
    assert_eq!((found.claim, found.differences_total), (Claim::Active, 0), "{found:#?}");
    assert!(found.missing_of_processes > 0);
    assert!(
        found
            .missing
            .iter()
            .all(|page| page.process_id.is_some() || page.is_table),
        "{found:#?}"
    );
    // Without one of the kernel's.
    let (first, _) = reached.0.next_run(Pfn(0x1100)).unwrap();
    reached.0.remove_run(first, 1);
    let found = compare(&reached.0, 6, 0);
    assert_eq!((found.same, found.missing_total), (false, 1));
    assert_eq!(found.missing[0].page, first);
}

/// Bytes that the manifest declares may differ; others in the same page may not.
#[test]
fn declared_bytes_may_differ() {
    let Some(path) = image("nt2-full.dmp") else { return };
    let whole = std::fs::read(&path).unwrap();
    let manifest = MachineManifest {
        schema: 1,
        tool: "a test".to_owned(),
        options: "-f".to_owned(),
        source: MachineIdentity {
            size: None,
            head_crc32: None,
            time: None,
        },
        kept: Vec::new(),
        dropped: Vec::new(),
        blocks: Vec::new(),
        blocks_dropped: Vec::new(),
        patches: vec![PatchSpan {
            address: "0x200100".to_owned(),
            size: 0x10,
            what: "a test".to_owned(),
        }],
        absent: Vec::new(),
        checksums: Checksums {
            block: 0,
            offset: String::new(),
        },
    };
    let mut layout = Layout::new(Endian::Little);
    write_header(&mut layout, 19041);
    let text = manifest.to_bytes();
    write_blob(&mut layout, MANIFEST_TAG, text.len(), |layout| {
        layout.push_bytes(&text);
    })
    .unwrap();
    let plan = layout.finish();
    let [Piece::Bytes(blobs)] = plan.pieces.as_slice() else {
        panic!("nothing but bytes")
    };
    // Runs of meta.json: pages 1 to 158, and from 256 on.
    let at = 0x2000 + (158 + 0x200 - 256) * 0x1000 + 0x100;
    for (offset, patched, same) in [(0, 1, true), (0xF, 1, true), (0x10, 0, false)] {
        let mut file = [&whole[..], blobs].concat();
        file[at + offset] ^= 0xFF;
        let found = with_machine(&file, |mine| {
            with_machine(&whole, |theirs| against(&file, mine, theirs).unwrap())
        });
        assert_eq!((found.same, found.pages_patched), (same, patched), "{found:#?}");
        assert_eq!(
            found.notes.len(),
            1,
            "the source does not say what belongs there: {:?}",
            found.notes
        );
    }
}

/// What the converter makes is sound, has no limits that its type does not bring, and is all of the source that its type
/// promises: of captures that have to be patched, too.
#[test]
fn what_was_converted_is_the_same_as_its_source() {
    for (name, kind, layout, claim) in [
        (
            "nt2-live.dmp",
            DumpKind::Full { avx_state: false },
            PageLayout::Bitmap,
            Claim::Complete,
        ),
        (
            "nt2-live.elf",
            DumpKind::Full { avx_state: false },
            PageLayout::Runs,
            Claim::Complete,
        ),
        (
            "nt2-live.kdump",
            DumpKind::Full { avx_state: false },
            PageLayout::Range,
            Claim::Complete,
        ),
        (
            "nt2-live.img",
            DumpKind::Full { avx_state: false },
            PageLayout::Bitmap,
            Claim::Complete,
        ),
        ("nt2-live.dmp", DumpKind::Kernel, PageLayout::Bitmap, Claim::Kernel),
        (
            "nt2-live.elf",
            DumpKind::KernelActive,
            PageLayout::Bitmap,
            Claim::Active,
        ),
        (
            "nt4-encoded-live.elf",
            DumpKind::Full { avx_state: false },
            PageLayout::Bitmap,
            Claim::Complete,
        ),
    ] {
        let Some(path) = image(name) else { return };
        let file = open(&path);
        let options = MachineOptions::default();
        let source = MachineFile::open(&file, &options).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        let request = Request {
            options: DumpOptions {
                kind,
                ..DumpOptions::default()
            },
            layout: Some(layout),
            ..Request::default()
        };
        let conversion = prepare(&machine, Some(&file), &request).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("made.dmp");
        let cancel = Cancel::default();
        let mut sink = AtomicFile::create(&target, false, Some(conversion.size()), Control::new(&cancel, &())).unwrap();
        conversion.write(&mut sink).unwrap();
        Box::new(sink).finish().unwrap();
        let made = open(&target);
        let found = verified(&made);
        assert!(found.sound, "{name}: {:#?}", found.findings);
        let compared = with_machine(&made, |mine| against(&made, mine, &machine).unwrap());
        assert!(compared.same, "{name} {layout:?}: {compared:#?}");
        assert_eq!(compared.claim, claim);
        assert!(compared.pages_compared > 4000);
        eprintln!(
            "{name} {layout:?}: {:?}, {} patched, {:?}",
            failed(&found),
            compared.pages_patched,
            compared.notes
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a file, the verifier comes to an end.
    #[test]
    fn damaged_dumps_are_verified(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let files: Vec<_> = corpus_files("kernel-").into_iter().filter(|path| path.metadata().unwrap().len() < 4 << 20).collect();
        prop_assume!(!files.is_empty());
        let whole = std::fs::read(which.get(&files)).unwrap();
        let mut file = whole.clone();
        for (at, value) in changes {
            // Headers and tables are in the first pages.
            let near = at.index(file.len().min(0x3000));
            file[near] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(whole.len()));
        }
        let options = MachineOptions::default();
        if let Ok(source) = MachineFile::open(&file, &options)
            && let Ok(machine) = MachineImage::open(&source)
        {
            let _ = verify(&file, &machine);
            with_machine(&whole, |theirs| {
                let _ = against(&file, &machine, theirs);
            });
        }
    }
}

/// A dump with a bitmap, of these pages.
fn bitmap_dump(header: &dyn ReadAt, pages: &dyn PhysicalMemory, kept: &PageSet, dump_type: u8) -> Vec<u8> {
    let mut kept = kept.clone();
    for (first, end) in kept.clone().runs() {
        for page in first.0..end.0 {
            if pages.place(Pfn(page)).unwrap().is_none() {
                kept.remove_run(Pfn(page), 1);
            }
        }
    }
    let mut file = vec![0; 0x2000];
    header.read_exact_at(FileOffset(0), &mut file).unwrap();
    file[0xF98] = dump_type;
    let layout = BitmapLayout::new(0x2000, kept.end()).unwrap();
    file.extend(layout.header(*b"FDMP", kept.len()).as_bytes());
    for page in (0..layout.bits).step_by(64) {
        file.extend(kept.word(Pfn(page)).to_le_bytes());
    }
    file.resize(usize::try_from(layout.first_page.0).unwrap(), 0);
    for (first, end) in kept.runs() {
        for page in first.0..end.0 {
            let mut bytes = [0; 0x1000];
            pages.read(PhysAddr(page * 0x1000), &mut bytes).unwrap();
            file.extend(bytes);
        }
    }
    file
}

/// `expected/same-state.tsv`: QEMU's dump differs from the raw memory in the pages of two contexts.
#[test]
fn differences_that_nobody_declared_are_told() {
    let Some([dump, source]) = images(["nt2-live.dmp", "nt2-live.img"]) else {
        return;
    };
    let found = compared(&dump, &source);
    assert_eq!(found.pages_compared, 16286);
    assert_eq!(found.pages_patched, 0);
    let pages: Vec<_> = found
        .differences
        .iter()
        .map(|it| it.what.as_str())
        .filter(|what| what.starts_with("page "))
        .collect();
    assert_eq!(pages, ["page 0x22b4", "page 0x22dd"], "{found:#?}");
    assert_eq!(found.missing_total, 0);
}

#[test]
fn a_dump_is_the_same_as_itself() {
    for name in ["nt2-full.dmp", "nt2-live.dmp"] {
        let Some(path) = image(name) else { return };
        let found = compared(&path, &path);
        assert!(found.same, "{found:#?}");
        assert_eq!(found.left_out.pages, 0);
    }
    for path in corpus_files("kernel-") {
        let found = compared(&path, &path);
        assert!(found.same, "{}: {found:#?}", path.display());
    }
}

/// `expected/readers.tsv`: what opens what. kdmp-parser opens all of these; MemProcFS and Volatility do too, but for the
/// negative controls, which only a comparison with their sources tells.
#[test]
fn images_that_all_readers_take_have_no_limits() {
    for name in [
        "nt2-full.dmp",
        "nt2-bitmap.dmp",
        "nt2-live.dmp",
        "nt2-bugcheck.dmp",
        "nt2-large-full.dmp",
        "nt2-zeropeb-bitmap.dmp",
        "nt2-high-bitmap.dmp",
        "nt2-high-full.dmp",
    ] {
        let Some(path) = image(name) else { return };
        let found = verified(&open(&path));
        assert!(found.sound, "{name}: {found:#?}");
        assert_eq!(failed(&found), [""; 0], "{name}: {:#?}", found.limits);
        let json = serde_json::to_value(&found).unwrap();
        let results: Vec<_> = json["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| &check["result"])
            .collect();
        assert!(
            results
                .iter()
                .all(|result| *result == "ok" || *result == "not-applicable")
        );
        assert!(results.iter().any(|result| *result == "ok"));
    }
}

/// Windows' own dumps are sound, but for those that were cut.
#[test]
fn dumps_of_windows_are_sound() {
    for path in corpus_files("kernel-") {
        let found = verified(&open(&path));
        eprintln!("{}: {:?}", path.display(), failed(&found));
        if path.to_string_lossy().contains("triage") {
            assert!(found.sound, "{}: {:#?}", path.display(), found.findings);
        } else {
            let damage: Vec<_> = found.findings.iter().map(|note| note.check).collect();
            assert!(
                damage.contains(&"pages-in-file"),
                "{}: {:#?}",
                path.display(),
                found.findings
            );
        }
    }
}

/// Single changes, each with the check that has to tell.
#[test]
fn what_was_changed_is_told_by_its_check() {
    let Some(path) = image("nt2-bitmap.dmp") else { return };
    let bitmap = std::fs::read(path).unwrap();
    let header = 0x2000;
    let full = bitmap[header + 0x28];
    for (offset, value, check) in [
        (0x30, vec![0x4C, 1], "machine-type"),
        (0xF98, vec![6], "volatility-type"),
        (0xF98, vec![9], "dump-type"),
        (header + 0x28, vec![full.wrapping_add(1)], "bitmap-counts"),
        (header, b"SDMP".to_vec(), "memflow-type"),
        (0x80, vec![0; 8], "windbg-debugger-data"),
        (0x20, vec![0; 8], "windbg-module-list"),
        (0x28, b"PAGEPAGE".to_vec(), "windbg-process-list"),
        (0x10, vec![0, 0, 0, 0x70], "page-tables"),
        (0x348 + 0x34, vec![1], "kdmp-mxcsr"),
        (0x348 + 0x38, vec![0; 12], "windbg-selectors"),
        (0x348 + 0xF8 + 7, vec![0], "windbg-kernel-context"),
        (0xF00 + 0x18, vec![16, 0, 0, 0], "exception-parameters"),
    ] {
        let mut file = bitmap.clone();
        file[offset..offset + value.len()].copy_from_slice(&value);
        let found = verified(&file);
        assert!(failed(&found).contains(&check), "{check}: {:?}", failed(&found));
    }
    let found = verified(&bitmap[..bitmap.len() - 0x1001].to_vec());
    assert!(failed(&found).contains(&"pages-in-file"));
    assert!(
        found.findings.iter().any(|note| note.message.contains("0x2 of")),
        "{:#?}",
        found.findings
    );
    let more = [&bitmap[..], b"more"].concat();
    assert!(failed(&verified(&more)).contains(&"nothing-behind-pages"));
}

#[test]
fn a_triage_dump_that_was_changed_is_told() {
    let Some(path) = corpus_file("kernel-x64-triage-b19041-bc50-daimuvg") else {
        return;
    };
    let whole = std::fs::read(&path).unwrap();
    let word = |at: usize| usize::try_from(u32::from_le_bytes(whole[at..at + 4].try_into().unwrap())).unwrap();
    // Offsets of TRIAGE_DUMP64.
    let (valid, pool, blocks) = (word(0x2008), word(0x2038), word(0x2078));
    for (offset, value, check) in [
        (valid, b"TRGX".to_vec(), "triage-valid-mark"),
        (0x2004, vec![0xFF, 0xFF, 0xFF, 0x7F], "triage-size-in-file"),
        (pool, vec![1, 4, 0, 0], "rizin-driver-names"),
        (blocks + 8, vec![0xFF, 0xFF, 0xFF, 0x7F], "triage-blocks-in-dump"),
    ] {
        let mut file = whole.clone();
        file[offset..offset + value.len()].copy_from_slice(&value);
        let found = verified(&file);
        assert!(
            failed(&found).contains(&check),
            "{check} at {offset:#x}: {:?}",
            failed(&found)
        );
    }
    // A byte in the middle of the stack, and one of a data block.
    let stack = word(0x2028) + word(0x202C) / 2;
    let block = word(blocks + 8);
    for offset in [stack, block] {
        let mut file = whole.clone();
        file[offset] ^= 1;
        let changed = with_machine(&file, |mine| {
            with_machine(&whole, |theirs| against(&file, mine, theirs).unwrap())
        });
        assert!(!changed.same);
        assert_eq!(changed.claim, Claim::Triage);
        assert!(changed.memory_compared > 0x1000);
    }
}

/// A dump that was cut behind its header is damaged in one place, not also of the wrong type.
#[test]
fn a_bare_header_is_told_of_once() {
    for dump_type in [DumpType::BITMAP_FULL, DumpType::RANGE_KERNEL, DumpType::TRIAGE] {
        let machine = MachineBuilder::new(PagingMode::FourLevel).build().unwrap();
        let header = machine.header(dump_type, HeaderStyle::Crash).unwrap();
        let found = verified(&header.as_bytes());
        let [told] = found.findings.as_slice() else {
            panic!("{dump_type}: {:#?}", found.findings);
        };
        assert!(told.message.contains("the file ends at 0x2000"), "{}", told.message);
        assert_eq!(told.offset, FileOffset(0x2000));
    }
}
