//! What other programs see in a capture.

use super::*;

#[test]
fn independent_readers_read_every_option() {
    if places::validators().is_none() || places::tools().is_none() {
        return;
    }
    let mut problems = Vec::new();
    let target = target();
    for options in LETTERS.into_iter().chain(["-mFhutidcpwy", "-may"]) {
        let captured = captured(&target, &[options]);
        let answers = validators::ask_all(&captured.path).expect("validators");
        for answer in &answers {
            let is_read = match answer.verdict {
                Verdict::Ok => true,
                // It wants lists that are only there on request.
                Verdict::Skip => answer.tool.starts_with("udmp"),
                _ => false,
            };
            let count = answer
                .number("threads")
                .is_none_or(|count| count == target.threads().len() as u64);
            if !is_read || !count {
                problems.push(format!("{options}: {answer:?}"));
            }
        }
        let sums: Vec<_> = answers.iter().filter_map(|answer| answer.memory.as_ref()).collect();
        if sums.windows(2).any(|pair| pair[0] != pair[1]) {
            problems.push(format!("{options}: checksums differ: {sums:?}"));
        }
    }
    parallel::fail_with(&problems);
}

#[test]
fn crash_reporters_see_the_system_and_walk_the_stacks() {
    let target = target();
    let Captured { path, _folder, .. } = captured(&target, &["-m"]);
    let Some(report) = stackwalk::walk(&path) else { return };
    let report = report.expect("a report");
    assert_eq!(report["system_info"]["os"], "Linux");
    assert_eq!(report["system_info"]["cpu_arch"], "amd64");
    assert_eq!(report["pid"], target.id());
    let modules = report["modules"].as_array().expect("modules");
    for truth in target.truth["modules"].as_array().expect("modules") {
        let module = modules
            .iter()
            .find(|module| hex(&module["base_addr"]) == hex(&truth["start"]))
            .expect("a module");
        assert_eq!(module["code_id"], truth["build_id"], "{truth}");
    }
}

/// The names of the functions on each thread's stack, as LLDB sees them; `None` where it is not there.
pub(crate) fn lldb(dump: &std::path::Path) -> Option<BTreeMap<u32, Vec<String>>> {
    let Some(program) = ["lldb-22", "lldb-19", "lldb-16", "lldb-14"].into_iter().find(|name| {
        let tried = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok()
    }) else {
        places::skip("lldb is not installed");
        return None;
    };
    let script = "script [print('SEEN', t.GetThreadID(), *[(f.GetFunctionName() or '?').split('::')[0].split('<')[0] \
                  for f in t]) for t in lldb.process]";
    let output = Command::new(program)
        .args(["-b", "-O", "settings set symbols.enable-external-lookup false"])
        .arg("-o")
        .arg(format!("target create --core \"{}\"", dump.display()))
        .args(["-o", script])
        .stdin(Stdio::null())
        .output()
        .expect("lldb starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = text.lines().filter_map(|line| line.strip_prefix("SEEN "));
    let threads: BTreeMap<u32, Vec<String>> = seen
        .map(|line| {
            let mut words = line.split(' ');
            let id = words.next().and_then(|id| id.parse().ok()).expect("an id");
            (id, words.map(str::to_owned).collect())
        })
        .collect();
    assert!(!threads.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(threads)
}

#[test]
fn debuggers_see_what_each_thread_does() {
    let target = target();
    for options in ["-m", "-ma"] {
        let Captured { path, _folder, .. } = captured(&target, &[options]);
        let Some(threads) = lldb(&path) else { return };
        assert_eq!(threads.len(), target.threads().len());
        for thread in target.threads() {
            let frames = &threads[&tid(thread)];
            let expected = match thread["kind"].as_str() {
                Some("spin") => "capture_target_spin_sse",
                Some("epoll") => "epoll_wait",
                Some("futex") => "syscall",
                Some("main" | "read") => "read",
                _ => "clock_nanosleep",
            };
            // A thread that was just awake is elsewhere for a moment.
            let is_waiting = matches!(thread["kind"].as_str(), Some("spin" | "main" | "read"));
            let seen = frames.iter().any(|frame| frame.contains(expected));
            let runs = frames.iter().any(|frame| frame == "capture_target" || frame == "main");
            assert!(seen || !is_waiting && runs, "{options}: {}: {frames:?}", thread["name"]);
            assert!(runs, "{options}: {}: {frames:?}", thread["name"]);
        }
    }
}
