//! A process out of a machine in the shape of NT: what its maker put into it.

use std::collections::BTreeSet;

use dotdump_format::minidump::thread_info_list::ThreadDumpFlags;
use dotdump_format::{Findings, PAGE_SIZE};
use dotdump_snapshot::machine::MachineOptions;
use dotdump_snapshot::{DumpFile, MachineFile, MachineImage, MachineProcess, MachineSnapshot, ProcessSnapshot};
use serde_json::Value;

use dotdump_tests::machines::{image, text};

fn numbers(list: &Value, field: &str) -> Vec<u64> {
    let list = list.as_array().into_iter().flatten();
    list.map(|item| item[field].as_u64().unwrap()).collect()
}

#[test]
fn threads_and_memory_are_those_of_the_ground_truth() {
    for name in ["nt2-full.dmp", "nt4-encoded-live.dmp"] {
        let Some(path) = image(name) else { return };
        let meta = if name.starts_with("nt2") { "nt2" } else { "nt4-encoded" };
        let truth: Value = serde_json::from_str(&text(&format!("images/{meta}-meta.json")).unwrap()).unwrap();
        let file = DumpFile::open(&path, true).unwrap();
        let source = MachineFile::open(&file, &MachineOptions::default()).unwrap();
        let machine = MachineImage::open(&source).unwrap();
        assert_eq!(machine.processes().len(), 12);
        for (process, truth) in machine.processes().iter().zip(truth["processes"].as_array().unwrap()) {
            let name = truth["name"].as_str().unwrap();
            let process = MachineProcess::open(&machine, process).unwrap().unwrap();
            assert_eq!(process.process().name, name);
            let misc = process.misc_info(&mut Findings::default()).unwrap().unwrap();
            assert_eq!(misc.process_id().map(u64::from), truth["pid"].as_u64());
            let system = process.system_info().unwrap();
            assert_eq!((system.major_version.get(), system.build_number.get()), (10, 19041));

            let threads = process.threads().iter();
            let ids: Vec<u64> = threads.map(|thread| u64::from(thread.record.thread_id.get())).collect();
            assert_eq!(
                ids,
                numbers(&truth["threads"], "tid"),
                "{name}: {:?}",
                process.guesses()
            );
            // These threads never were in user mode, and have no environment block.
            for info in process.thread_infos() {
                let missing = ThreadDumpFlags::INVALID_CONTEXT | ThreadDumpFlags::INVALID_TEB;
                assert!(info.dump_flags().contains(missing));
            }

            let mut expected: BTreeSet<u64> = numbers(&truth["user_pages"], "va").into_iter().collect();
            expected.extend(truth["peb"]["va"].as_u64());
            let software = truth["software_ptes"].as_array().into_iter().flatten();
            let transition = software.filter(|entry| entry["kind"] == "transition");
            expected.extend(transition.map(|entry| entry["va"].as_u64().unwrap()));
            let mut found = BTreeSet::new();
            for extent in process.memory().all() {
                let range = extent.unwrap().range;
                found.extend((range.start.0..range.end.0).step_by(usize::try_from(PAGE_SIZE).unwrap()));
            }
            assert_eq!(found, expected, "{name}");
            assert_eq!(process.missing_bytes(), 0);
            let walked = process.walked();
            let away = if expected.is_empty() { 0 } else { 1 };
            assert_eq!(
                (walked.page_file, walked.demand_zero, walked.file_backed),
                (away, away, away),
                "{name}"
            );
        }
    }
}
