//! Threads: their registers, stacks, names and times.

use super::*;

#[test]
fn all_threads_are_there_the_main_one_first() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let threads = dump.threads();
    assert_eq!(threads[0].id, target.id());
    let mut ids: Vec<u32> = threads.iter().map(|thread| thread.id).collect();
    ids.sort_unstable();
    let mut expected: Vec<u32> = target.threads().iter().map(tid).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(dump.process_id(), Some(target.id()));
}

#[test]
fn general_registers_are_those_that_the_threads_have_set() {
    let target = target();
    for options in [["-m"], ["-my"]] {
        let Captured { dump, .. } = captured(&target, &options);
        let contexts = contexts(&dump);
        assert!(of_kind(&target, "spin").count() > 1);
        for thread in of_kind(&target, "spin") {
            let (context, truth) = (&contexts[&tid(thread)], &thread["registers"]);
            let general: Vec<u64> = truth["general"]
                .as_array()
                .expect("registers")
                .iter()
                .map(hex)
                .collect();
            assert_eq!(context.general(), general[..]);
            let [start, end] = [0, 1].map(|index| hex(&truth["loop"][index]));
            assert!((start..end).contains(&context.rip()), "{:#x}", context.rip());
            let mxcsr = u32::try_from(truth["mxcsr"].as_u64().expect("a number")).expect("32 bits");
            assert_eq!(context.mxcsr(), [mxcsr; 2]);
            // What FLDPI loads (Intel's manual, volume 1, 8.3.8).
            assert_eq!(
                context.st(0),
                [0x35, 0xC2, 0x68, 0x21, 0xA2, 0xDA, 0x0F, 0xC9, 0x00, 0x40]
            );
            for (index, vector) in truth["vector"].as_array().expect("registers")[..16].iter().enumerate() {
                assert_eq!(context.xmm(index), bytes(vector)[..16], "xmm{index}");
            }
        }
    }
}

#[test]
fn extended_registers_are_there_with_y_and_the_ones_that_the_threads_have_set() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-my"]);
    let with = contexts(&dump);
    let Captured { dump, .. } = captured(&target, &["-m"]);
    let without = contexts(&dump);
    for thread in of_kind(&target, "spin") {
        assert_eq!(without[&tid(thread)].0.len(), 1232);
        let (context, truth) = (&with[&tid(thread)], &thread["registers"]);
        let vectors = truth["vector"].as_array().expect("registers");
        assert!(vectors.len() >= 16);
        for (index, vector) in vectors.iter().enumerate() {
            let expected = bytes(vector);
            assert_eq!(
                context.vector(index)[..expected.len()],
                expected,
                "vector register {index}"
            );
        }
        for (index, mask) in truth["mask"].as_array().into_iter().flatten().enumerate() {
            assert_eq!(context.mask(index), Some(hex(mask)), "k{index}");
        }
        if truth["tiles"].is_string() {
            let configuration = context.component(17).expect("the tiles' configuration");
            assert_eq!((configuration[0], configuration[48]), (1, 16));
            assert!(context.component(18).expect("tiles") == bytes(&truth["tiles"]), "tiles");
        }
    }
    // All contexts have the size that MINIDUMP_MISC_INFO_5.XStateData.ContextSize tells (offset 836).
    let Captured { dump, .. } = captured(&target, &["-my"]);
    let misc = dump.stream_bytes(15).expect("MiscInfo");
    let size = u32::from_le_bytes(misc[836..840].try_into().expect("four bytes")) as usize;
    assert!(
        dump.contexts().iter().all(|(_, context)| context.0.len() == size),
        "{size}"
    );
}

#[test]
fn stacks_hold_what_the_threads_keep_on_them_with_every_option() {
    let target = target();
    for options in LETTERS.into_iter().filter(|options| *options != "-mr") {
        let Captured { dump, .. } = captured(&target, &[options]);
        let contexts = contexts(&dump);
        let stacks: BTreeMap<u32, (u64, u64)> = dump.threads().iter().map(|thread| (thread.id, thread.stack)).collect();
        for thread in others(&target) {
            let name = format!("{options}: {}", thread["name"]);
            let mut random = capture::seed("stack", index(thread));
            let expected: Vec<u64> = (0..16).map(|_| random.next()).collect();
            assert_eq!(dump.words(hex(&thread["words"]), 16), expected, "{name}");
            assert_eq!(
                dump.read(hex(&thread["secret"]), 64),
                capture::secret(index(thread)),
                "{name}"
            );
            assert_eq!(
                dump.words(hex(&thread["object_pointer"]), 1),
                [hex(&thread["object"])],
                "{name}"
            );
            // The thread's stack is what its record says it is: from the red zone below its top up to its end.
            let (rsp, (start, size)) = (contexts[&tid(thread)].rsp(), stacks[&tid(thread)]);
            assert!(
                start <= rsp && rsp < hex(&thread["words"]),
                "{name}: {start:#x} {rsp:#x}"
            );
            assert!(hex(&thread["words"]) < start + size, "{name}");
            assert_eq!(
                dump.read(start, usize::try_from(size).expect("a size")).len() as u64,
                size,
                "{name}"
            );
        }
    }
}

#[test]
fn names_of_threads_are_theirs() {
    let target = target();
    let expected: BTreeMap<u32, &str> = target
        .threads()
        .iter()
        .map(|thread| (tid(thread), thread["name"].as_str().expect("a name")))
        .collect();
    let Captured { dump, path, _folder } = captured(&target, &["-m"]);
    let names = dump.thread_names();
    let names: BTreeMap<u32, &str> = names.iter().map(|(id, name)| (*id, &**name)).collect();
    assert_eq!(names, expected);
    // As a crash reporter sees them.
    if let Some(report) = stackwalk::walk(&path) {
        let report = report.expect("a report");
        for thread in report["threads"].as_array().expect("threads") {
            assert_eq!(thread["thread_name"], expected[&tid_of(&thread["thread_id"])]);
        }
    }
}

fn tid_of(value: &Value) -> u32 {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id")
}

#[test]
fn times_of_threads_are_there_with_t() {
    let target = target();
    let Captured { dump, .. } = captured(&target, &["-mt"]);
    let stat = fs::read_to_string("/proc/stat").expect("statistics");
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .expect("the start of the system");
    let boot: u64 = boot.parse().expect("a number");
    let infos: BTreeMap<u32, _> = dump.thread_infos().into_iter().map(|info| (info.id, info)).collect();
    assert_eq!(infos.len(), target.threads().len());
    for thread in target.threads() {
        let task = format!("/proc/{}/task/{}", target.id(), tid(thread));
        let fields = fs::read_to_string(format!("{task}/stat")).expect("statistics");
        let (_, fields) = fields.rsplit_once(") ").expect("a name");
        // The first of these is field 3; 22 is the start, 14 and 15 the times, in ticks of 10 ms.
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("ticks") * 100_000;
        let info = infos[&tid(thread)];
        assert_eq!(
            info.create_time,
            boot * 10_000_000 + ticks(22) + 116_444_736_000_000_000
        );
        assert!(info.user_time <= ticks(14) && info.kernel_time <= ticks(15), "{info:?}");
        let status = fs::read_to_string(format!("{task}/status")).expect("a status");
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed:"))
            .expect("processors");
        let allowed = u64::from_str_radix(&allowed.trim().replace(',', ""), 16).expect("a mask");
        assert_eq!(info.affinity, allowed);
    }
    assert!(of_kind(&target, "spin").all(|thread| infos[&tid(thread)].user_time > 0));
}
