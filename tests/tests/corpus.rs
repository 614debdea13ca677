//! Every intact minidump of the collection, with each option: what is written, and what is refused for which reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dotdump_tests::minidump::{Dump, MEMORY64_LIST};
use dotdump_tests::parallel::{each, fail_with};
use dotdump_tests::places::{corpus, dumps_in, name_of};
use dotdump_tests::program::{Run, convert, run};
use dotdump_tests::validators::{self, Answer, Verdict};
use dotdump_tests::{places, stackwalk};
use serde_json::Value;

/// The intact minidumps of the collection. A collection that has others needs a look at what they expect.
const DUMPS: usize = 88;

/// `-m` alone and with each letter.
const OPTIONS: [&str; 17] = [
    "-m",
    "-ma",
    "-mA",
    "-mf",
    "-mF",
    "-mh",
    "-mu",
    "-mt",
    "-mi",
    "-mp",
    "-mw",
    "-md",
    "-mc",
    "-mr",
    "-mR",
    "-my",
    "-mFhutipwdcRy",
];

fn dumps() -> Option<Vec<PathBuf>> {
    let folder = corpus()?;
    let dumps = dumps_in(&folder, |name| {
        name.starts_with("mdmp-") || name.starts_with("synth-mdmp-")
    });
    assert_eq!(
        dumps.len(),
        DUMPS,
        "{} has another number of intact minidumps than this test was made for: check what they must give",
        folder.display()
    );
    Some(dumps)
}

/// The letter for which an option must be refused: that without its memory the dump would be false or empty.
fn refusal(dump: &Dump, options: &str) -> Option<&'static str> {
    let has_stack = |address: u64, size: u64| size > 0 && dump.has_any(address, size);
    let threads = dump.threads();
    let letters = &options[2..];
    // `A` takes what is there.
    if !letters.contains('A')
        && !threads.is_empty()
        && !threads.iter().any(|thread| has_stack(thread.stack.0, thread.stack.1))
    {
        return Some("-m:");
    }
    // Full memory out of a dump that is not full would be a lie.
    let is_full = dump.stream(MEMORY64_LIST).is_some() && dump.flags & 2 != 0;
    if letters.contains(['a', 'f']) && !is_full {
        return Some("-mf:");
    }
    if letters.contains('w') && !dump.has_map() {
        return Some("-mw:");
    }
    let teb_size = if dump.is_32_bit() { 0x1000 } else { 0x2000 };
    let has_teb = |teb: u64| teb != 0 && dump.has_any(teb, teb_size);
    if letters.contains('p') && dump.is_windows() && !threads.iter().any(|thread| has_teb(thread.teb)) {
        return Some("-mp:");
    }
    None
}

#[test]
fn every_option_writes_a_dump_or_is_refused_for_its_reason() {
    let Some(dumps) = dumps() else { return };
    let jobs: Vec<_> = dumps
        .iter()
        .flat_map(|dump| OPTIONS.map(|options| (dump, options)))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let problems = each(&jobs, |(source, options)| {
        let name = format!("{} {options}", name_of(source));
        let path = |which: &str| folder.path().join(format!("{}{options}.{which}", name_of(source)));
        let output = path("first");
        let first = convert(source, &output, &[options, "-q"]);
        let expected = refusal(&Dump::open(source), options);
        let problem = match (first.code, expected) {
            (Some(1), Some(letter)) if first.stderr.contains(letter) && !output.exists() => None,
            (Some(0), None) if !output.exists() => Some("exit code 0, and no output".to_owned()),
            (Some(0), None) => repeated(source, &output, options, &path("again")).or_else(|| verify(&output, source)),
            _ => Some(format!("{:?} instead of {expected:?}: {}", first.code, first.stderr)),
        };
        let _ = std::fs::remove_file(output);
        problem.map(|problem| format!("{name}: {problem}"))
    });
    fail_with(&problems.into_iter().flatten().collect::<Vec<_>>());
}

/// The same source gives the same bytes, and so does what was made of it.
fn repeated(source: &Path, output: &Path, options: &str, again: &Path) -> Option<String> {
    let first = std::fs::read(output).expect("an output after exit code 0");
    for (from, what) in [(source, "a second time"), (output, "again")] {
        let run = convert(from, again, &[options, "-q", "-o"]);
        if run.code != Some(0) {
            return Some(format!("converted {what}: {:?}: {}", run.code, run.stderr));
        }
        let second = std::fs::read(again).expect("an output after exit code 0");
        if first != second {
            let at = first.iter().zip(&second).position(|(left, right)| left != right);
            return Some(format!(
                "converted {what}: {} and {} bytes, first difference at {at:?}",
                first.len(),
                second.len()
            ));
        }
    }
    std::fs::remove_file(again).expect("the second output");
    None
}

/// Whether the program's own proof finds anything that differs.
fn verify(output: &Path, source: &Path) -> Option<String> {
    let verified: Run = run(&[
        "verify".as_ref(),
        output.as_os_str(),
        "--against".as_ref(),
        source.as_os_str(),
    ]);
    // One of the collection is a header and a directory only: what a source lacks no dump of it can have.
    let is_sound = run(&["verify".as_ref(), source.as_os_str()]).code == Some(0);
    let proved = verified.code == Some(0) || !is_sound && verified.text().contains("the same as in");
    (!proved).then(|| format!("verify: {:?}: {}{}", verified.code, verified.text(), verified.stderr))
}

#[test]
fn every_reader_of_a_source_reads_its_small_dump() {
    let Some(dumps) = dumps() else { return };
    if places::validators().is_none() || places::tools().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let results = each(&dumps, |source| {
        let output = folder.path().join(name_of(source));
        if convert(source, &output, &["-m", "-q"]).code != Some(0) {
            return (Vec::new(), Vec::new());
        }
        let (before, after) = (validators::ask_all(source), validators::ask_all(&output));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let objections = validators::objections(&before, &after);
        let named = objections
            .into_iter()
            .map(|problem| format!("{}: {problem}", name_of(source)));
        (named.collect(), after)
    });
    tell_counts(results.iter().flat_map(|(_, answers)| answers));
    fail_with(
        &results
            .into_iter()
            .flat_map(|(problems, _)| problems)
            .collect::<Vec<_>>(),
    );
}

fn tell_counts<'a>(answers: impl Iterator<Item = &'a Answer>) {
    let mut counts: BTreeMap<&str, BTreeMap<String, u32>> = BTreeMap::new();
    for answer in answers {
        let verdicts = counts.entry(answer.tool).or_default();
        *verdicts.entry(format!("{:?}", answer.verdict)).or_default() += 1;
    }
    eprintln!("{counts:?}");
}

/// The walk of a source, and whether the `minidump` crate read it.
type Before = Option<(Result<Value, String>, Answer)>;

#[test]
fn stack_walks_are_the_same_with_every_option() {
    let Some(dumps) = dumps() else { return };
    if places::tools().is_none() || places::validators().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let before: Vec<Before> = each(&dumps, |source| {
        let walk = stackwalk::walk(source)?.map(|report| stackwalk::essence(&report));
        Some((walk, validators::ask("minidump-crate", source)?))
    });
    let sources = dumps.iter().zip(&before);
    let jobs: Vec<_> = sources
        .flat_map(|(source, before)| OPTIONS.map(|options| (source, before, options)))
        .collect();
    let problems = each(&jobs, |(source, before, options)| {
        let output = folder.path().join(format!("{}{options}", name_of(source)));
        if convert(source, &output, &[options, "-q"]).code != Some(0) {
            return None;
        }
        let problem = walked_alike(before, &output, options);
        let _ = std::fs::remove_file(output);
        problem.map(|problem| format!("{} {options}: {problem}", name_of(source)))
    });
    fail_with(&problems.into_iter().flatten().collect::<Vec<_>>());
}

fn walked_alike(before: &Before, output: &Path, options: &str) -> Option<String> {
    let (walk, answer) = before.as_ref()?;
    let after = validators::ask("minidump-crate", output)?;
    if answer.verdict == Verdict::Ok && after.verdict != Verdict::Ok {
        return Some(format!("minidump crate: {:?}: {}", after.verdict, after.line));
    }
    let Ok(walk) = walk else { return None };
    let after = match stackwalk::walk(output)? {
        Ok(report) => stackwalk::essence(&report),
        Err(error) => return Some(format!("minidump-stackwalk refuses it: {error}")),
    };
    // Of a filtered stack, a search for return addresses may find fewer by chance, and a frame of another kind.
    if options.contains('r') {
        let count = |report: &Value| report["threads"].as_array().map_or(0, Vec::len);
        return (count(walk) != count(&after)).then(|| "threads are missing".to_owned());
    }
    stackwalk::difference(walk, &after)
}
