//! Dumps that other writers make on the spot: Wine's dbghelp, winedbg and Crashpad under Wine; minidump-writer, Breakpad
//! and LLDB on Linux.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dotdump_tests::minidump::Dump;
use dotdump_tests::parallel::{each, fail_with};
use dotdump_tests::places::{self, dumps_in, name_of};
use dotdump_tests::program::{convert, run};
use dotdump_tests::{stackwalk, validators};

const OPTIONS: [&str; 8] = ["-m", "-mi", "-md", "-mc", "-mw", "-mp", "-mF", "-ma"];

fn made(script: &str, folder: &Path) -> Option<Vec<PathBuf>> {
    let script = places::validators()?.join(script);
    places::tools()?;
    let output = Command::new(&script)
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the script starts");
    if !output.status.success() {
        places::skip(&format!(
            "{}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        ));
        return None;
    }
    let dumps = dumps_in(folder, |_| true);
    assert!(!dumps.is_empty(), "{}", script.display());
    Some(dumps)
}

/// Every option is refused with a reason, or gives a dump that the readers of the source read.
fn check(dumps: &[PathBuf], outputs: &Path) {
    let before = each(dumps, |dump| {
        let walk = stackwalk::walk(dump)
            .and_then(Result::ok)
            .map(|report| stackwalk::essence(&report));
        (validators::ask_all(dump).expect("validators"), walk)
    });
    let sources = dumps.iter().zip(&before);
    let jobs: Vec<_> = sources
        .flat_map(|(dump, before)| OPTIONS.map(|options| (dump, before, options)))
        .collect();
    let problems = each(&jobs, |(dump, (answers, walk), options)| {
        let output = outputs.join(format!("{}{options}", name_of(dump)));
        let done = convert(dump, &output, &[options, "-q"]);
        if done.code == Some(1) && done.stderr.contains(&format!("{}:", &options.replace("-ma", "-mf"))) {
            eprintln!("{} {options}: {}", name_of(dump), done.stderr.trim());
            return Vec::new();
        }
        if done.code != Some(0) {
            return vec![format!("{} {options}: {:?}: {}", name_of(dump), done.code, done.stderr)];
        }
        let mut problems = validators::objections(answers, &validators::ask_all(&output).expect("validators"));
        if let (Some(walk), Some(Ok(after))) = (walk, stackwalk::walk(&output)) {
            let mut after = stackwalk::essence(&after);
            // LLDB writes an exception for each thread. A dump can have one: we keep the first, as WinDbg reads it, and
            // minidump-stackwalk takes the last.
            if has_several_exceptions(dump) {
                for name in ["crash", "crashing_thread"] {
                    after[name] = walk[name].clone();
                }
            }
            problems.extend(stackwalk::difference(walk, &after));
        }
        let verified = run(&[
            "verify".as_ref(),
            output.as_os_str(),
            "--against".as_ref(),
            dump.as_os_str(),
        ]);
        // LLDB's contexts lack the vector registers at their end: what is unsound in the source stays so.
        let is_sound = run(&["verify".as_ref(), dump.as_os_str()]).code == Some(0);
        if verified.code != Some(0) && (is_sound || !verified.text().contains("the same as in")) {
            problems.push(format!("verify: {}{}", verified.text(), verified.stderr));
        }
        problems
            .into_iter()
            .map(|problem| format!("{} {options}: {problem}", name_of(dump)))
            .collect()
    });
    fail_with(&problems.concat());
}

fn has_several_exceptions(dump: &Path) -> bool {
    let streams = Dump::open(dump).streams;
    streams.iter().filter(|(kind, ..)| *kind == 6).count() > 1
}

#[test]
fn dumps_of_linux_writers_shrink() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(dumps) = made("make-linux-dumps", &folder.path().join("made")) else {
        return;
    };
    check(&dumps, folder.path());
}

#[test]
fn dumps_of_windows_writers_shrink_and_winedbg_walks_them_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(dumps) = made("make-windows-dumps", &folder.path().join("made")) else {
        return;
    };
    check(&dumps, folder.path());
    let mut problems = Vec::new();
    let mut walked = 0;
    for dump in dumps.iter().filter(|dump| name_of(dump).starts_with("wine-")) {
        let Some(before) = backtrace(dump) else { return };
        // Of a dump without an exception winedbg has no thread to start from: it must say the same of the output.
        walked += usize::from(before.is_some());
        for options in ["-m", "-mi"] {
            let output = folder.path().join("walked.dmp");
            if convert(dump, &output, &[options, "-q", "-o"]).code == Some(0) {
                let after = backtrace(&output).flatten();
                if before != after {
                    problems.push(format!("{} {options}:\n{before:?}\nbecame\n{after:?}", name_of(dump)));
                }
            }
        }
    }
    fail_with(&problems);
    assert!(
        walked >= 2,
        "winedbg walks the stacks of {walked} dumps of Wine, and should walk those with an exception"
    );
}

/// What winedbg says to `bt`: the frames, or none where it walks no stack; `None` where it is not there.
fn backtrace(dump: &Path) -> Option<Option<String>> {
    let root = places::tools()?;
    let script = "[ -f \"$1/windows-cross.env\" ] && . \"$1/windows-cross.env\"; t=$(mktemp); printf 'bt\\nquit\\n' >\"$t\"; \
                  timeout 60 winedbg --file \"$(winepath -w \"$t\")\" \"$(winepath -w \"$2\")\" 2>&1 </dev/null; rm -f \"$t\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(root)
        .arg(dump)
        .output()
        .expect("bash");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.contains("WineDbg starting on minidump") {
        places::skip(&format!("winedbg does not start: {text}"));
        return None;
    }
    let trace = text.split_once("Backtrace:").map(|(_, trace)| {
        let frames = trace.lines().skip(1).take_while(|line| !line.trim().is_empty());
        frames.collect::<Vec<_>>().join("\n")
    });
    Some(trace)
}
