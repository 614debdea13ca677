//! Machines of known contents, converted to every kind of kernel dump: the pages stay what they were, and readers that
//! are not ours find the same in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dotdump_tests::kernel_dump::{KernelDump, PAGE, Pages, raw_pages};
use dotdump_tests::machines::{ask_readers, image, truth};
use dotdump_tests::page_walk::Memory;
use dotdump_tests::parallel::{each, fail_with};
use dotdump_tests::places::name_of;
use dotdump_tests::program::{convert, convert_well, run};
use dotdump_tests::validators::{Answer, KERNEL_TOOLS, Verdict, ask};
use serde_json::Value;
use tempfile::TempDir;

/// Every way to write all pages, and the type that the dump then says.
const COMPLETE: [(&[&str], u32); 3] = [
    (&["-f"], 5),
    (&["-f", "--layout", "runs"], 1),
    (&["-f", "--layout", "range"], 0xA),
];

/// Captures of one stopped state, in every container.
const SAME_STATE: [&str; 5] = [
    "nt2-live.dmp",
    "nt2-live.img",
    "nt2-live.elf",
    "nt2-live.kdump",
    "nt2-live.flat.kdump",
];

fn converted(folder: &TempDir, source: &Path, name: &str, options: &[&str]) -> PathBuf {
    let output = folder.path().join(name);
    convert_well(source, &output, options);
    output
}

/// Pages of `found` that are not as in `expected`, and those that only one of them has.
fn differing(expected: &Pages, found: &Pages) -> BTreeSet<u64> {
    let either: BTreeSet<u64> = expected.keys().chain(found.keys()).copied().collect();
    either
        .into_iter()
        .filter(|page| expected.get(page) != found.get(page))
        .collect()
}

fn verified(dump: &Path, source: &Path) -> Vec<String> {
    let mut arguments = vec!["verify".as_ref(), dump.as_os_str()];
    let alone = run(&arguments);
    arguments.extend(["--against".as_ref(), source.as_os_str()]);
    let against = run(&arguments);
    let runs = [("verify", alone), ("verify --against", against)];
    runs.into_iter()
        .filter(|(_, run)| run.code != Some(0))
        .map(|(what, run)| format!("{what}: {:?} {}{}", run.code, run.text(), run.stderr))
        .collect()
}

#[test]
fn dumps_keep_every_page_in_every_layout_and_back() {
    let sources = [
        "nt2-full.dmp",
        "nt2-bitmap.dmp",
        "nt2-high-bitmap.dmp",
        "nt2-bugcheck.dmp",
    ];
    let Some(sources) = sources.into_iter().map(image).collect::<Option<Vec<_>>>() else {
        return;
    };
    let problems = each(&sources, |source| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut problems = Vec::new();
        let expected = KernelDump::read(source).pages();
        for (options, dump_type) in COMPLETE {
            let what = format!("{} {options:?}", name_of(source));
            let is_scattered = name_of(source).contains("bitmap");
            let name = format!("{dump_type}.dmp");
            if is_scattered && dump_type == 1 {
                // 182 runs do not fit the header.
                let output = folder.path().join(&name);
                let refused = convert(source, &output, options);
                if refused.code != Some(1) || !refused.stderr.contains("runs") || output.exists() {
                    problems.push(format!("{what}: {refused:?}"));
                }
                continue;
            }
            let output = converted(&folder, source, &name, options);
            let dump = KernelDump::read(&output);
            if dump.dump_type() != dump_type || dump.required_space() != dump.bytes.len() as u64 {
                problems.push(format!(
                    "{what}: type {}, space {}",
                    dump.dump_type(),
                    dump.required_space()
                ));
            }
            problems.extend(
                differing(&expected, &dump.pages())
                    .first()
                    .map(|page| format!("{what}: page {page:#x}")),
            );
            problems.extend(
                verified(&output, source)
                    .into_iter()
                    .map(|text| format!("{what}: {text}")),
            );
            let back = converted(&folder, &output, &format!("{dump_type}-back.dmp"), &["-f"]);
            problems.extend(
                differing(&expected, &KernelDump::read(&back).pages())
                    .first()
                    .map(|page| format!("{what} and back: page {page:#x}")),
            );
            let again = converted(&folder, &output, &format!("{dump_type}-again.dmp"), options);
            if std::fs::read(&again).ok() != Some(dump.bytes) {
                problems.push(format!(
                    "{what}: converted again with the same options it is another file"
                ));
            }
        }
        problems
    });
    fail_with(&problems.concat());
}

#[test]
fn memory_in_any_container_becomes_the_same_dump() {
    let Some(raw) = image("nt2-live.img") else { return };
    let Some(truth) = truth("nt2") else { return };
    let memory = raw_pages(&raw);
    let folder = tempfile::tempdir().expect("a folder");
    // QEMU and we write the registers of processors into their CONTEXTs, which lie in these pages.
    let contexts: BTreeSet<u64> = [0x22b4, 0x22dd].into();
    for name in SAME_STATE {
        let source = image(name).expect("it is beside the other");
        let output = converted(&folder, &source, &format!("{name}.dmp"), &["-f"]);
        let dump = KernelDump::read(&output);
        let mut pages = dump.pages();
        // An ELF core also has the firmware's flash, below 4 GiB.
        pages.retain(|page, _| !(0xF_FFC0..0x10_0000).contains(page));
        let differ: BTreeSet<u64> = pages
            .iter()
            .filter(|(page, sum)| memory.get(page) != Some(sum))
            .map(|(page, _)| *page)
            .collect();
        assert!(differ.is_subset(&contexts), "{name}: {differ:x?}");
        // Windows' header leaves out the pages that the firmware took.
        let expected = if name == "nt2-live.dmp" { 16_286 } else { 16_384 };
        assert_eq!(pages.len(), expected, "{name}");
        assert_eq!(verified(&output, &source), [""; 0], "{name}");
        let processors = truth["processors"].as_array().expect("processors").len();
        let inspected: Value =
            serde_json::from_slice(&run(&["inspect".as_ref(), "--json".as_ref(), output.as_os_str()]).stdout)
                .expect("JSON");
        assert_eq!(
            inspected["processors"].as_array().map(Vec::len),
            Some(processors),
            "{name}"
        );
        assert_eq!(inspected["processes"].as_array().map(Vec::len), Some(12), "{name}");
    }
}

/// What the readers say of a dump, by tool.
fn answers(dump: &Path) -> Vec<Answer> {
    KERNEL_TOOLS.iter().filter_map(|tool| ask(tool, dump)).collect()
}

#[test]
fn independent_readers_open_every_type_that_they_know() {
    // Which of the tools read which type.
    let reads = |tool: &str, dump_type: u32| match tool {
        "file" => true,
        "kdmp-parser" | "kdmp-cpp" => dump_type != 4,
        "leechcore" => matches!(dump_type, 1 | 5 | 6),
        _ => matches!(dump_type, 1 | 5),
    };
    let all: [(&[&str], u32); 8] = [
        (&["-f"], 5),
        (&["-f", "--layout", "runs"], 1),
        (&["-f", "--layout", "range"], 0xA),
        (&["-k"], 6),
        (&["-k", "--layout", "range"], 8),
        (&["-ka"], 5),
        (&["-ka", "--layout", "range"], 9),
        (&["-f", "--no-manifest"], 5),
    ];
    for name in ["nt2-full.dmp", "nt4-encoded-live.elf", "nt2-large-full.dmp"] {
        let Some(source) = image(name) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let problems = each(&all, |(options, dump_type)| {
            let output = converted(&folder, &source, &options.join(""), options);
            let pages = KernelDump::read(&output).pages().len() as u64;
            let mut problems = Vec::new();
            let mut sums = BTreeSet::new();
            for answer in answers(&output) {
                if !reads(answer.tool, *dump_type) {
                    continue;
                }
                let counted = answer.number("pages");
                if answer.verdict != Verdict::Ok || answer.tool != "file" && counted != Some(pages) {
                    problems.push(format!(
                        "{name} {options:?}: {}: {:?} {}",
                        answer.tool, answer.verdict, answer.line
                    ));
                }
                sums.extend(answer.memory.map(|(_, sum)| sum));
            }
            if sums.len() > 1 {
                problems.push(format!("{name} {options:?}: the readers see different pages: {sums:?}"));
            }
            problems
        });
        fail_with(&problems.concat());
    }
}

#[test]
fn readers_find_in_smaller_dumps_what_they_find_in_the_source() {
    let Some(source) = image("nt2-full.dmp") else { return };
    let Some(mut expected) = ask_readers(&source, "nt2") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (options, dump_type) in [
        (&["-f"] as &[&str], 5_u64),
        (&["-f", "--layout", "runs"], 1),
        (&["-ka"], 5),
        (&["-k"], 6),
    ] {
        let output = converted(&folder, &source, &options.join(""), options);
        let mut found = ask_readers(&output, "nt2").expect("they are installed");
        assert_eq!(found["kdmp_parser"]["type"], dump_type, "{options:?}");
        if dump_type == 6 {
            // Volatility does not know the type, and what processes own is not in it: MemProcFS wants their PEBs.
            for reader in ["volatility", "memprocfs"] {
                found[reader] = expected[reader].clone();
            }
            for key in ["user_pages_agree", "user_pages_differ"] {
                found["kdmp_parser"][key] = expected["kdmp_parser"][key].clone();
            }
        }
        for key in ["file", "size"] {
            found[key] = Value::Null;
            expected[key] = Value::Null;
        }
        for key in ["type", "pages"] {
            found["kdmp_parser"][key] = Value::Null;
            expected["kdmp_parser"][key] = Value::Null;
        }
        assert_eq!(found, expected, "{options:?}");
    }
}

/// A machine by its independent page walk: every root that the ground truth names.
fn roots(truth: &Value) -> Vec<u64> {
    let processes = truth["processes"].as_array().expect("processes");
    let mut roots: Vec<u64> = processes
        .iter()
        .map(|process| process["dtb"].as_u64().expect("a root"))
        .collect();
    roots.push(truth["dtb"].as_u64().expect("a root"));
    roots
}

#[test]
fn a_kernel_dump_has_every_page_of_the_kernel_and_none_of_user_mode() {
    for (name, machine) in [
        ("nt2-full.dmp", "nt2"),
        ("nt2-large-full.dmp", "nt2-large"),
        ("nt2-zeropeb-full.dmp", "nt2-zeropeb"),
    ] {
        let (Some(source), Some(truth)) = (image(name), truth(machine)) else {
            return;
        };
        let whole = KernelDump::read(&source);
        let (places, _) = whole.places();
        let mapped = Memory {
            bytes: &whole.bytes,
            places: places.clone(),
        }
        .mapped(roots(&truth));
        let folder = tempfile::tempdir().expect("a folder");
        let output = converted(&folder, &source, "kernel.dmp", &["-k"]);
        let kept: BTreeSet<u64> = KernelDump::read(&output).pages().into_keys().collect();

        let wanted: BTreeSet<u64> = mapped
            .kernel
            .union(&mapped.kernel_tables)
            .filter(|page| places.contains_key(page))
            .copied()
            .collect();
        assert!(
            wanted.is_subset(&kept),
            "{name}: missing {:x?}",
            wanted.difference(&kept)
        );
        let user: BTreeSet<u64> = mapped.user.difference(&mapped.kernel).copied().collect();
        assert!(user.is_disjoint(&kept), "{name}: {:x?}", user.intersection(&kept));
        let allowed: BTreeSet<u64> = wanted.union(&mapped.user_tables).copied().collect();
        // The code from which processors start is where build.py puts it.
        assert_eq!(
            &kept - &allowed,
            [0x13].into(),
            "{name}: neither the kernel's nor page tables"
        );
        assert_eq!(verified(&output, &source), [""; 0], "{name}");
    }
}

#[test]
fn an_active_dump_has_every_page_that_is_mapped() {
    let (Some(source), Some(truth)) = (image("nt2-full.dmp"), truth("nt2")) else {
        return;
    };
    let whole = KernelDump::read(&source);
    let (places, _) = whole.places();
    let memory = Memory {
        bytes: &whole.bytes,
        places: places.clone(),
    };
    let mapped = memory.mapped(roots(&truth));
    let folder = tempfile::tempdir().expect("a folder");
    let output = converted(&folder, &source, "active.dmp", &["-ka"]);
    let dump = KernelDump::read(&output);
    let kept: BTreeSet<u64> = dump.pages().into_keys().collect();
    let wanted: BTreeSet<u64> = mapped
        .kernel
        .iter()
        .chain(&mapped.user)
        .chain(&mapped.kernel_tables)
        .chain(&mapped.user_tables)
        .filter(|page| places.contains_key(page))
        .copied()
        .collect();
    assert!(wanted.is_subset(&kept), "missing {:x?}", wanted.difference(&kept));
    assert!(
        kept.len() < places.len() / 2,
        "free pages are left out: {} of {}",
        kept.len(),
        places.len()
    );
    assert_eq!(dump.attributes() & 0x40, 0x40, "FilterDumpFile");
    assert_eq!(verified(&output, &source), [""; 0]);
}

#[test]
fn verify_tells_mapped_pages_that_a_dump_lacks() {
    // A page that something leads to must be in the dump even if it is all zero; both of these leave such pages out, one
    // those of PEBs, the other parts of a large page.
    for (dump, source) in [
        ("nt2-zeropeb-bitmap.dmp", "nt2-zeropeb-full.dmp"),
        ("nt2-large-bitmap.dmp", "nt2-large-full.dmp"),
    ] {
        let (Some(dump), Some(source)) = (image(dump), image(source)) else {
            return;
        };
        let (lacking, whole) = (KernelDump::read(&dump).places().0, KernelDump::read(&source).places().0);
        let missing: BTreeSet<u64> = whole
            .keys()
            .filter(|page| !lacking.contains_key(page))
            .copied()
            .collect();
        let run = run(&[
            "verify".as_ref(),
            dump.as_os_str(),
            "--against".as_ref(),
            source.as_os_str(),
        ]);
        assert_eq!(run.code, Some(3), "{}: {}{}", dump.display(), run.text(), run.stderr);
        let text = run.text();
        let told: Vec<u64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("missing: page 0x")?.split(',').next())
            .map(|page| u64::from_str_radix(page, 16).expect("a page"))
            .collect();
        assert!(
            !told.is_empty() && told.iter().all(|page| missing.contains(page)),
            "{text}"
        );
    }
}

#[test]
fn a_page_that_was_changed_is_told() {
    let Some(source) = image("nt2-bitmap.dmp") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let output = converted(&folder, &source, "full.dmp", &["-f"]);
    let dump = KernelDump::read(&output);
    let (places, _) = dump.places();
    let at = *places.values().nth(1000).expect("a page") + PAGE / 2;
    let mut bytes = dump.bytes;
    bytes[at] ^= 0x10;
    std::fs::write(&output, bytes).expect("a file");
    for arguments in [
        vec!["verify".as_ref(), output.as_os_str()],
        vec![
            "verify".as_ref(),
            output.as_os_str(),
            "--against".as_ref(),
            source.as_os_str(),
        ],
    ] {
        let run = run(&arguments);
        assert_eq!(run.code, Some(3), "{arguments:?}: {}", run.text());
    }
}
