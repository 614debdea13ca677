//! Damaged dumps: every subcommand ends by itself, with an exit code of the contract, in little time and memory. A
//! conversion that fails leaves no file, and what one that succeeds wrote can be opened.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Instant;

use dotdump_tests::damage::{Random, damage};
use dotdump_tests::limits::Trouble;
use dotdump_tests::parallel::{each, fail_with};
use dotdump_tests::places::{corpus, dumps_in, fixture, name_of};
use dotdump_tests::program::dotdump;

/// How many damaged dumps are made; `DOTDUMP_DAMAGES` sets another number.
const DAMAGES: usize = 10_000;

/// What is done with each, and what is wrong with how that ended.
fn trouble(dump: &Path) -> Vec<String> {
    let mut trouble = Trouble::default();
    for command in ["inspect", "verify"] {
        trouble.tried(&[command.as_ref(), dump.as_os_str()], command);
    }
    for options in ["-m", "-ma"] {
        trouble.converted(dump, &[options]);
    }
    trouble.problems
}

#[test]
fn malformed_dumps_of_the_collection_do_no_harm() {
    let Some(folder) = corpus() else { return };
    let dumps = dumps_in(&folder, |name| name.starts_with("bad-"));
    assert_eq!(dumps.len(), 7, "malformed dumps in {}", folder.display());
    dotdump();
    let problems = each(&dumps, |dump| {
        trouble(dump)
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
    let damaged = tempfile::tempdir().expect("a folder");
    let seeds: Vec<u64> = (0..count as u64).collect();
    let start = Instant::now();
    let problems = each(&seeds, |seed| {
        let mut random = Random(*seed);
        let group = if random.below(16) == 0 { &large } else { &small };
        let source = &group[random.below(group.len())];
        let mut dump = fs::read(source).expect("a dump");
        damage(&mut dump, &mut random);
        let path = damaged.path().join(format!("{seed}.dmp"));
        fs::write(&path, &dump).expect("a file");
        let problems = trouble(&path);
        if problems.is_empty() || env::var_os("DOTDUMP_KEEP_DAMAGED").is_none() {
            fs::remove_file(&path).expect("the file");
        } else {
            let kept = env::temp_dir().join(format!("dotdump-damaged-{seed}.dmp"));
            fs::copy(&path, &kept).expect("a copy");
        }
        let described = problems
            .into_iter()
            .map(|problem| format!("seed {seed} of {}: {problem}", name_of(source)));
        described.collect::<Vec<_>>()
    });
    eprintln!("{count} damaged dumps in {:?}", start.elapsed());
    fail_with(&problems.concat());
}
