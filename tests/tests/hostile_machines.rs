//! Damaged memory of machines, in files of every kind: every subcommand ends by itself, with an exit code of the
//! contract, in little time and memory. A conversion that fails leaves no file, and what one that succeeds wrote can
//! be opened.
#![cfg(unix)]

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dotdump_format::kernel::DumpType;
use dotdump_snapshot::paging::PagingMode;
use dotdump_synth::{MachineBuilder, MemoryMap, SynthMachine};
use dotdump_tests::damage::Random;
use dotdump_tests::damage_machine::{Places, damage_machine};
use dotdump_tests::limits::Trouble;
use dotdump_tests::machines::image;
use dotdump_tests::parallel::{each, fail_with};
use dotdump_tests::places::{corpus, dumps_in, name_of};
use dotdump_tests::program::{convert_well, dotdump};

/// How many damaged files are made; `DOTDUMP_DAMAGES` sets another number.
const DAMAGES: usize = 10_000;

/// Files up to this size are damaged often, others now and then.
const SMALL: u64 = 4 << 20;

/// A sound file.
struct Source {
    path: PathBuf,
    size: u64,
    places: Places,
    /// A process of it.
    process: String,
}

impl Source {
    fn read(path: PathBuf, process: &str) -> Self {
        let file = File::open(&path).expect("a file");
        Self {
            places: Places::of(&file).expect("its bytes"),
            size: file.metadata().expect("its size").len(),
            path,
            process: process.to_owned(),
        }
    }
}

/// Machines of few pages, of every kind of page tables.
fn made(folder: &Path) -> Vec<Source> {
    let modes = [
        ("x86", PagingMode::X86),
        ("pae", PagingMode::Pae),
        ("x64", PagingMode::FourLevel),
        ("la57", PagingMode::FiveLevel),
        ("arm64", PagingMode::Arm64),
    ];
    modes
        .into_iter()
        .flat_map(|(name, mode)| {
            let machine = MachineBuilder::new(mode)
                .memory(MemoryMap::pc(16 << 20))
                .processes(4)
                .encode_debugger_data(mode == PagingMode::FourLevel)
                .build()
                .expect("a machine");
            files(&machine, mode, name, folder)
        })
        .collect()
}

/// The dumps and images of one machine.
fn files(machine: &SynthMachine, mode: PagingMode, name: &str, folder: &Path) -> Vec<Source> {
    let process = machine
        .truth
        .processes
        .last()
        .expect("a process")
        .process
        .id
        .to_string();
    let path = |what: &str| folder.join(format!("{name}-{what}"));
    let (full, bitmap, raw) = (path("full.dmp"), path("bitmap.dmp"), path("raw.img"));
    machine.dump(DumpType::FULL).write(&full).expect("a dump");
    let in_use = machine.pages_in_use();
    let dump = machine.dump(DumpType::BITMAP_FULL).pages(in_use.clone());
    dump.write(&bitmap).expect("a dump");
    machine.write_raw(&raw).expect("an image");
    let mut paths = Vec::new();
    if !matches!(mode, PagingMode::X86 | PagingMode::Pae) {
        let range = path("range.dmp");
        let dump = machine.dump(DumpType::RANGE_FULL).pages(in_use);
        dump.write(&range).expect("a dump");
        paths.push(range);
    }
    // With what the program itself adds to them.
    for (options, what) in [("-m", "small.dmp"), ("-k", "kernel.dmp")] {
        let output = path(what);
        convert_well(&full, &output, &[options]);
        paths.push(output);
    }
    paths.extend([full, bitmap, raw]);
    paths.into_iter().map(|path| Source::read(path, &process)).collect()
}

/// All sound files.
fn sources(folder: &Path) -> Vec<Source> {
    let mut sources = made(folder);
    let is_kernel = |name: &str| name.starts_with("kernel-") || name.starts_with("synth-kernel-");
    let dumps = corpus().map(|corpus| dumps_in(&corpus, is_kernel)).unwrap_or_default();
    sources.extend(dumps.into_iter().map(|dump| Source::read(dump, "4")));
    let images = [
        "nt2-live.kdump",
        "nt2-live.flat.kdump",
        "nt2-bitmap.dmp",
        "nt2-live.elf",
    ];
    let images = images.into_iter().filter_map(image);
    sources.extend(images.map(|image| Source::read(image, "FakeApp")));
    sources
}

/// Copies a file. Its zeros become holes: large ones are mostly zeros.
fn copy(from: &Path, to: &Path) -> io::Result<File> {
    let source = File::open(from)?;
    let copy = File::options().read(true).write(true).create_new(true).open(to)?;
    let size = source.metadata()?.len();
    copy.set_len(size)?;
    let mut chunk = vec![0; 1 << 16];
    let mut at = 0;
    while at < size {
        let length = source.read_at(&mut chunk, at)?;
        if chunk[..length].iter().any(|byte| *byte != 0) {
            copy.write_all_at(&chunk[..length], at)?;
        }
        at += length as u64;
    }
    Ok(copy)
}

/// Does something with a file, another thing for every number.
fn try_something(file: &Path, source: &Source, random: &mut Random) -> Trouble {
    let mut trouble = Trouble::default();
    let path = |text: &str| -> PathBuf { text.into() };
    let process = source.process.as_str();
    match random.below(14) {
        0 | 1 => drop(trouble.tried(&[path("inspect"), file.into()], "inspect")),
        2 | 3 => drop(trouble.tried(&[path("inspect"), path("--json"), file.into()], "inspect --json")),
        4 => drop(trouble.tried(&[path("verify"), file.into()], "verify")),
        5 => {
            let arguments = [path("verify"), file.into(), path("--against"), source.path.clone()];
            trouble.tried(&arguments, "verify --against what it was");
        }
        6 => {
            let arguments = [path("verify"), source.path.clone(), path("--against"), file.into()];
            trouble.tried(&arguments, "verify of what it was --against");
        }
        7 => trouble.converted(file, &["-m"]),
        8 => trouble.converted(file, &["-f"]),
        9 => trouble.converted(file, &["-k"]),
        10 => trouble.converted(file, &["-ka"]),
        11 => trouble.converted(file, &["-k", "--layout", "range"]),
        12 => trouble.converted(file, &["-mA", "--process", process]),
        _ => trouble.converted(file, &["-maR", "--force", "--process", process]),
    }
    trouble
}

#[test]
fn random_damage_does_no_harm() {
    let variable = |name| env::var(name).ok().and_then(|number| number.parse().ok());
    let count: usize = variable("DOTDUMP_DAMAGES").unwrap_or(DAMAGES);
    let first: usize = variable("DOTDUMP_FIRST_DAMAGE").unwrap_or(0);
    dotdump();
    let folder = tempfile::tempdir().expect("a folder");
    let (small, large): (Vec<_>, Vec<_>) = sources(folder.path())
        .into_iter()
        .partition(|source| source.size <= SMALL);
    let seeds: Vec<u64> = (first as u64..).take(count).collect();
    let start = Instant::now();
    let results = each(&seeds, |seed| {
        let mut random = Random(*seed);
        let group = if random.below(16) == 0 { &large } else { &small };
        let source = &group[random.below(group.len())];
        let path = folder.path().join(format!("damaged-{seed}"));
        let damaged = copy(&source.path, &path).expect("a copy");
        damage_machine(&damaged, &source.places, &mut random).expect("damage");
        drop(damaged);
        let found = try_something(&path, source, &mut random);
        if !found.problems.is_empty() && env::var_os("DOTDUMP_KEEP_DAMAGED").is_some() {
            let kept = env::temp_dir().join(format!("dotdump-damaged-machine-{seed}"));
            fs::copy(&path, &kept).expect("a copy");
        }
        fs::remove_file(&path).expect("the file");
        let mut told = Trouble::default();
        told.add(found, &format!("seed {seed} of {}", name_of(&source.path)));
        told
    });
    let mut all = Trouble::default();
    for result in results {
        all.add(result, "damaged");
    }
    eprintln!("{count} damaged machines in {:?}", start.elapsed());
    eprintln!("most memory: {} KiB, {}", all.memory.0 >> 10, all.memory.1);
    eprintln!("most time: {:?}, {}", all.time.0, all.time.1);
    fail_with(&all.problems);
}
