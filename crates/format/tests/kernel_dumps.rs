//! Containers of real kernel dumps.

mod corpus;

use dotdump_format::kernel::{Body, KernelDump, MemoryRun};
use dotdump_format::{FileOffset, PAGE_SIZE, Pfn};

/// The file offset of a page of a full dump.
fn offset_of(runs: &[MemoryRun], page: u64) -> u64 {
    let mut offset = 0x2000;
    for run in runs {
        if page < run.end().unwrap().0 {
            return offset + (page - run.base_page.0) * PAGE_SIZE;
        }
        offset += run.page_count * PAGE_SIZE;
    }
    panic!("{page:#x} is not there")
}

#[test]
fn runs_of_full_dumps() {
    // Number of runs, first and last run, pages.
    let expected = [
        (
            "kernel-x64-full-b9200-bc0-memflow-coredump_win10_64bit_stripped.dmp",
            4,
            (1, 0x9F),
            (0x10_0000, 0x38_0000),
            0x3F_FC6F,
        ),
        (
            "kernel-x86-full-b7601-bc0-memflow-coredump_win7_32bit_stripped.dmp",
            2,
            (1, 0x9E),
            (0x100, 0xB_FEDF),
            0xB_FF7D,
        ),
        (
            "kernel-x64-full-b19045-bc5454414d-werwolv-dmp64.hexpat.dmp",
            5,
            (2, 0x9E),
            (0xFBFF, 0x7_0401),
            0x7_FE86,
        ),
    ];
    for (name, count, first, last, pages) in expected {
        let Some(file) = corpus::file(name) else { return };
        let dump = KernelDump::open(&file).unwrap();
        assert_eq!(dump.findings.as_slice(), [], "{name}");
        let stored = dump.header.physical_memory().unwrap();
        let runs: Vec<_> = stored.usable_runs().collect();
        let pair = |run: &MemoryRun| (run.base_page.0, run.page_count);
        assert_eq!(
            (runs.len(), pair(&runs[0]), pair(&runs[count - 1])),
            (count, first, last),
            "{name}"
        );
        assert_eq!(
            (stored.implausible(), stored.number_of_pages()),
            (None, pages),
            "{name}"
        );
        let first_page = FileOffset(dump.header.size());
        assert_eq!(dump.body, Body::Runs { first_page, pages });
        assert_eq!(
            dump.primary_end(&file).unwrap().0,
            dump.header.size() + pages * PAGE_SIZE
        );
        if count == 4 {
            assert_eq!(offset_of(&runs, 0x100), 0xA_1000);
            assert_eq!(offset_of(&runs, 0x7_FBFF), 0x2000 + (0x9F + 0x7_F7EF) * 0x1000);
        }
        // What is written for these runs is what was there, to the byte. LiveKD left an empty run behind the last one.
        let mut header = dump.header.clone();
        header.unset_physical_memory();
        header.set_physical_memory(&runs).unwrap();
        let used = if header.is_64() {
            0x10 + 0x10 * count
        } else {
            8 + 8 * count
        };
        assert_eq!(
            header.physical_memory_block()[..used],
            dump.header.physical_memory_block()[..used],
            "{name}"
        );
    }
}

/// Triage dumps: what they are, and how many blobs follow up to where.
#[test]
fn secondary_data_of_small_dumps() {
    let expected = [
        (
            "kernel-x64-triage-b19041-bc1000007e-rizinorg-triage_x64.dmp",
            0x13_A28C,
            None,
            0x16_0AB4,
            0xF000_4A61,
        ),
        (
            "kernel-x64-triage-b19041-bc4a-eolaruhagen-083125-14875-01.dmp",
            0x1_B600,
            Some(29),
            0x3_8995,
            0xF000_4A61,
        ),
        (
            "kernel-x86-triage-b2600-bc1000008e-rangershs-Mini021809-01.dmp",
            0x1_0000,
            Some(3),
            0x1_6000,
            0xF000_0A28,
        ),
    ];
    for (name, at, count, end, build) in expected {
        let Some(file) = corpus::file(name) else { return };
        let dump = KernelDump::open(&file).unwrap();
        assert_eq!(dump.findings.as_slice(), [], "{name}");
        assert_eq!(
            dump.body,
            Body::Triage {
                offset: FileOffset(dump.header.size())
            }
        );
        let secondary = dump.secondary_data(&file).unwrap().unwrap();
        assert_eq!(
            (secondary.offset, secondary.build_number),
            (FileOffset(at), build),
            "{name}"
        );
        let mut blobs = secondary.blobs(&file);
        let all: Vec<_> = blobs.by_ref().map(Result::unwrap).collect();
        assert_eq!(blobs.position(), FileOffset(end), "{name}");
        if let Some(count) = count {
            assert_eq!(all.len(), count, "{name}");
        }
        // The processor's values in the registry are in all of them.
        let registry = all
            .iter()
            .find(|blob| blob.tag.to_string() == "6c7ac389-4313-47dc-9f34-a8800a0fb56c");
        let at = usize::try_from(registry.unwrap().data.0).unwrap();
        let text = &file[at..at + registry.unwrap().size as usize];
        assert!(
            text.windows(8).any(|part| part == b"~\0M\0H\0z\0") || text.windows(4).any(|part| part == b"~MHz"),
            "{name}"
        );
        if count == Some(3) {
            let places: Vec<_> = all.iter().map(|blob| (blob.data.0, blob.size)).collect();
            assert_eq!(places, [(0x1_1000, 0x67E), (0x1_3000, 0x290), (0x1_5000, 0x140)]);
        }
    }
}

#[test]
fn a_small_dump_need_not_have_secondary_data() {
    let Some(file) = corpus::file("kernel-x86-triage-b2600-bc7f-dearfuture-Mini121206-01.dmp") else {
        return;
    };
    let dump = KernelDump::open(&file).unwrap();
    assert_eq!(dump.secondary_data(&file), Ok(None));
}

/// The machine's runs in the headers of crash-time triage dumps are told, and are plausible.
#[test]
fn every_kernel_dump_opens() {
    for (name, file) in corpus::files() {
        if !name.contains("kernel-") {
            assert!(KernelDump::open(&file).is_err(), "{name}");
            continue;
        }
        let dump = KernelDump::open(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            matches!(dump.body, Body::Triage { .. }),
            // Of those of others there is only the header.
            !name.contains("-full-") && !name.starts_with("synth-"),
            "{name}"
        );
        if let Some(stored) = dump.header.physical_memory() {
            assert_eq!(stored.implausible(), None, "{name}");
            assert!(
                stored.usable_runs().next().is_some_and(|run| run.base_page > Pfn(0)),
                "{name}"
            );
        }
    }
}
