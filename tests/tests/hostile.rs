//! Damaged dumps: every subcommand ends by itself, with an exit code of the contract, in little time and memory.

use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dotdump_tests::damage::{Random, damage};
use dotdump_tests::parallel::{each, fail_with};
use dotdump_tests::places::{corpus, dumps_in, fixture, name_of};
use dotdump_tests::program::{dotdump, measure};

/// How many damaged dumps are made; `DOTDUMP_DAMAGES` sets another number.
const DAMAGES: usize = 10_000;

/// What one run may take.
const TIME: Duration = Duration::from_secs(2);
const MEMORY: u64 = 64 << 20;

/// What is done with each, and what is wrong with how that ended.
fn trouble(dump: &Path, output: &Path) -> Vec<String> {
    let (dump, output) = (dump.as_os_str(), output.as_os_str());
    let commands = [
        vec!["inspect".as_ref(), dump],
        vec!["verify".as_ref(), dump],
        vec!["convert".as_ref(), dump, output, "-m".as_ref(), "-o".as_ref()],
        vec!["convert".as_ref(), dump, output, "-ma".as_ref(), "-o".as_ref()],
    ];
    let problems = commands.iter().filter_map(|arguments| {
        let cost = measure(arguments, TIME).expect("a run");
        let code = cost.code.unwrap_or(-1);
        let fine = (0..=3).contains(&code) && cost.memory <= MEMORY && cost.time <= TIME;
        (!fine).then(|| {
            format!(
                "{:?} {:?}: exit code {code}, {} ms, {} KiB",
                arguments[0],
                arguments[arguments.len() - 1],
                cost.time.as_millis(),
                cost.memory >> 10
            )
        })
    });
    problems.collect()
}

#[test]
fn malformed_dumps_of_the_collection_do_no_harm() {
    let Some(folder) = corpus() else { return };
    let dumps = dumps_in(&folder, |name| name.starts_with("bad-"));
    assert_eq!(dumps.len(), 7, "malformed dumps in {}", folder.display());
    dotdump();
    let outputs = tempfile::tempdir().expect("a folder");
    let problems = each(&dumps, |dump| {
        let problems = trouble(dump, &outputs.path().join(name_of(dump)));
        problems
            .into_iter()
            .map(|problem| format!("{}: {problem}", name_of(dump)))
            .collect::<Vec<_>>()
    });
    fail_with(&problems.concat());
}

#[test]
fn random_damage_does_no_harm() {
    let Some(folder) = corpus() else { return };
    let count = env::var("DOTDUMP_DAMAGES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(DAMAGES);
    // Small dumps are as varied as large ones and take a fraction of the time; each large one gets its turn now and
    // then. Dumps of kernels are among them: they are refused, not misread.
    let mut dumps = dumps_in(&folder, |name| !name.starts_with("bad-"));
    dumps.push(fixture("crash-full.dmp"));
    let (small, large): (Vec<_>, Vec<_>) = dumps
        .into_iter()
        .partition(|dump| fs::metadata(dump).is_ok_and(|file| file.len() < 128 << 10));
    dotdump();
    let outputs = tempfile::tempdir().expect("a folder");
    let seeds: Vec<u64> = (0..count as u64).collect();
    let start = Instant::now();
    let problems = each(&seeds, |seed| {
        let mut random = Random(*seed);
        let group = if random.below(16) == 0 { &large } else { &small };
        let source = &group[random.below(group.len())];
        let mut dump = fs::read(source).expect("a dump");
        damage(&mut dump, &mut random);
        let path = outputs.path().join(format!("{seed}.dmp"));
        fs::write(&path, &dump).expect("a file");
        let output = outputs.path().join(format!("{seed}.out"));
        let problems = trouble(&path, &output);
        if problems.is_empty() || env::var_os("DOTDUMP_KEEP_DAMAGED").is_none() {
            fs::remove_file(&path).expect("the file");
        } else {
            let kept = env::temp_dir().join(format!("dotdump-damaged-{seed}.dmp"));
            fs::copy(&path, &kept).expect("a copy");
        }
        let _ = fs::remove_file(&output);
        let described = problems
            .into_iter()
            .map(|problem| format!("seed {seed} of {}: {problem}", name_of(source)));
        described.collect::<Vec<_>>()
    });
    eprintln!("{count} damaged dumps in {:?}", start.elapsed());
    fail_with(&problems.concat());
}
