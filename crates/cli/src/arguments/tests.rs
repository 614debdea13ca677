use super::*;

fn parse_line(line: &str) -> Result<Arguments, clap::Error> {
    parse(line.split(' ').map(OsString::from))
}

fn convert(line: &str) -> ConvertArguments {
    match parse_line(&format!("dotdump convert {line}"))
        .expect("a good line")
        .action
    {
        Action::Convert(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> String {
    let error = parse_line(&format!("dotdump {line}")).expect_err("a wrong line");
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn the_command_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_option_of_the_table_is_read() {
    let known: Vec<_> = DUMP_OPTIONS.iter().map(|option| option.long).collect();
    assert_eq!(
        known,
        [
            "mini",
            "full",
            "kernel",
            "kernel-active",
            "overwrite",
            "unique",
            "all-processes",
            "comment",
            "jit-debug-info",
            "context",
            "exception-record",
            "exception-pointers",
            "exception-thread"
        ],
        "DumpArguments must read all of them"
    );
}

#[test]
fn without_options_it_is_a_small_dump_that_replaces_nothing() {
    let arguments = convert("a b");
    assert_eq!(arguments.writing.dump.options, DumpOptions::default());
    assert_eq!((arguments.source, arguments.writing.output), ("a".into(), "b".into()));
}

#[test]
fn short_and_long_names_mean_the_same() {
    for line in [
        "a b -mFhut -o -c -x",
        "a /mFhut b /c -x /o",
        "--mini=Fhut --overwrite --comment -x a b",
        "--mini=Fh --comment=-x a b --mini -mut -o -o",
        "-qo a b -mFhut -c -x",
    ] {
        let options = convert(line).writing.dump.options;
        assert_eq!(options.to_string(), "-mFhut -o -c \"-x\"", "{line}");
    }
}

#[test]
fn the_kind_of_a_dump_is_one_option() {
    for (line, kind) in [
        ("a b", DumpKind::Mini),
        ("a b -m", DumpKind::Mini),
        ("a b -f", DumpKind::Full { avx_state: false }),
        ("a b /fy", DumpKind::Full { avx_state: true }),
        ("a b --full=y", DumpKind::Full { avx_state: true }),
        ("a b -f -fy", DumpKind::Full { avx_state: true }),
        ("a b -k -k", DumpKind::Kernel),
        ("a b --kernel", DumpKind::Kernel),
        ("a b /ka", DumpKind::KernelActive),
        ("-ka a b", DumpKind::KernelActive),
        ("--kernel-active a b", DumpKind::KernelActive),
    ] {
        assert_eq!(convert(line).writing.dump.options.kind, kind, "{line}");
    }
}

#[test]
fn absolute_paths_stay_paths() {
    let arguments = convert("/mnt/a.dmp /ma /media");
    assert_eq!(
        (arguments.source, arguments.writing.output),
        ("/mnt/a.dmp".into(), "/media".into())
    );
    assert_eq!(arguments.writing.dump.options.to_string(), "-ma");
    let arguments = convert("-- /ma -o");
    assert_eq!(
        (arguments.source, arguments.writing.output),
        ("/ma".into(), "-o".into())
    );
}

#[test]
fn other_options_are_read() {
    let arguments = convert("a - --image-path x --image-path y --max-size 200K --report /ma --progress never");
    assert!(arguments.writing.to_standard_output());
    assert_eq!(arguments.writing.image_path, [PathBuf::from("x"), PathBuf::from("y")]);
    assert_eq!(arguments.writing.max_size, Some(200 << 10));
    assert_eq!(arguments.writing.report, Some("/ma".into()));
    assert_eq!(arguments.writing.progress, ProgressMode::Never);
    assert_eq!(arguments.writing.dump.options.mini, MiniOptions::empty());
}

#[test]
fn options_for_machines_are_read() {
    let arguments = convert("a b -ka --layout range --memory-map m");
    assert_eq!(arguments.layout, Some(Layout::Range));
    assert_eq!(arguments.memory_map, Some("m".into()));
    for (word, process) in [
        ("508", ProcessName::Id(508)),
        ("0x1fc", ProcessName::Id(508)),
        ("7zip.exe", ProcessName::Name("7zip.exe".into())),
        ("lsass", ProcessName::Name("lsass".into())),
    ] {
        let arguments = convert(&format!("a b -mi --process {word} --allow-sensitive-process"));
        assert_eq!(arguments.process, Some(process));
        assert!(arguments.allow_sensitive_process);
    }
}

#[test]
fn what_is_said_twice_counts_as_it_was_said_last() {
    let arguments = convert("a b -q -q --strict --strict -c x -c y --report r --report s --max-size 1 --max-size 2");
    assert!(arguments.writing.quiet && arguments.writing.strict);
    assert_eq!(arguments.writing.dump.options.comment.as_deref(), Some("y"));
    assert_eq!(
        (arguments.writing.report, arguments.writing.max_size),
        (Some("s".into()), Some(2))
    );
}

#[test]
fn mistakes_are_told() {
    for (line, text) in [
        ("convert a b -mq", "unknown letter `q` after -m"),
        ("convert a b --mini=hq", "unknown letter `q` after -m"),
        ("convert a b -mrf", "-mr and -mf contradict each other"),
        ("convert a b -mr -ma", "-mr and -mf contradict each other"),
        (
            "convert a b -f -k",
            "-f and -k contradict each other: a dump is of one kind",
        ),
        ("convert a b -mi /fy", "-m and -fy contradict each other"),
        (
            "convert a b --kernel --kernel-active",
            "-k and -ka contradict each other",
        ),
        ("convert a b -fz", "unknown dump option `-fz`"),
        (
            "convert a b -comment",
            "unknown dump option `-comment`; did you mean `-c TEXT`?",
        ),
        ("convert a b -c", "a value is required for '--comment <TEXT>'"),
        ("convert a b -kz", "unknown dump option `-kz`; did you mean `-k`?"),
        ("convert a b -v", "unexpected argument '-v'"),
        ("convert a b -ba", "unexpected argument '-b'"),
        ("convert a b -M", "unexpected argument '-M'"),
        ("convert a", "<OUTPUT>"),
        ("convert a b /v", "unexpected argument '/v'"),
        ("convert - b", "standard input"),
        ("inspect -", "standard input"),
        ("inspect a -ma", "unexpected argument '-m'"),
        ("verify a --against -", "standard input"),
        ("convert a b -m -i", "did you mean `-mi`?"),
        ("capture 4711 b", "the process is named by --pid PID or --name NAME"),
        ("capture --pid -1 b", "it is no process id"),
        ("capture --pid 4294967296 b", "it is no process id"),
        ("capture --pid 1 --pid 2 b", "a capture has one target"),
        ("capture --pid 1 --name a b", "a capture has one target"),
        ("capture --name= b", "a value is required for '--name <NAME>'"),
        (
            "capture --pid 1 b --layout runs",
            "`--layout` is an option of `dotdump convert`",
        ),
        ("convert a b --pid 1", "`--pid` is an option of `dotdump capture`"),
        ("convert a b --report -", "standard output"),
        ("convert a b --max-size 1X", "unknown unit `X`"),
        ("convert a b --layout list", "possible values: bitmap, range, runs"),
        ("convert a b --allow-sensitive-process", "--process <PID|NAME>"),
    ] {
        let message = refused(line);
        assert!(message.contains(text), "{line}: {message}");
    }
}

#[test]
fn help_names_every_letter_and_option() {
    let error = parse_line("dotdump convert --help").expect_err("help");
    assert_eq!(error.exit_code(), 0);
    let help = error.to_string();
    for option in MINI_OPTIONS {
        assert!(
            help.contains(&format!(" {}  {}", option.letter, &option.about[..20])),
            "{}: {help}",
            option.letter
        );
    }
    for option in DUMP_OPTIONS {
        let named = match option.short.len() {
            1 => format!("-{}, --{}", option.short, option.long),
            _ => format!("--{}", option.long),
        };
        assert!(help.contains(&named), "{}: {help}", option.short);
    }
}

fn capture(line: &str) -> CaptureArguments {
    match parse_line(&format!("dotdump capture {line}"))
        .expect("a good line")
        .action
    {
        Action::Capture(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_target_is_captured() {
    let crash = CorePattern {
        process: 812,
        thread: 813,
        signal: 11,
        user: 1000,
        program: "!usr!bin!my app".to_owned(),
    };
    for (line, target) in [
        ("--pid 812 out -mi", Target::Id(812)),
        ("out --pid 0x32c", Target::Id(812)),
        ("--name 812 out", Target::Name("812".to_owned())),
        ("-mA --name a.out out", Target::Name("a.out".to_owned())),
        ("-a -u out", Target::All),
        ("/u /a out", Target::All),
        ("--unique --all-processes out", Target::All),
    ] {
        assert_eq!(capture(line).target, target, "{line}");
    }
    let words = "dotdump capture --core-pattern 812 813 11 1000".split(' ');
    let words = words.chain(["!usr!bin!my app", "-u", "out"]).map(OsString::from);
    let Action::Capture(arguments) = parse(words).expect("a good line").action else {
        panic!("another action");
    };
    assert_eq!(arguments.target, Target::Crashed(crash));
    assert!(arguments.writing.dump.options.unique);
}

#[test]
fn dump_options_are_the_same_for_all_that_is_dumped() {
    let line = "-mFhut -o -u -c -x --max-size 1M --strict --force --dry-run --report r --no-manifest -q out";
    let captured = capture(&format!("--pid 1 {line}")).writing;
    let converted = convert(&format!("source {line}")).writing;
    assert_eq!(format!("{captured:?}"), format!("{converted:?}"));
    assert_eq!(captured.dump.options.to_string(), "-mFhut -o -u -c \"-x\"");
}

#[test]
fn targets_that_cannot_be_are_told() {
    for (line, text) in [
        ("out", "nothing to capture: name a process with --pid PID"),
        ("--pid 1", "<OUTPUT>"),
        ("--pid 1 --name a out", "contradict each other"),
        ("--pid 1 -a -u out", "contradict each other"),
        ("--pid bash out", "it is no process id; to name a process use --name"),
        ("--pid -1 out", "it is no process id"),
        ("--pid 4294967296 out", "it is no process id"),
        ("-a out", "-a needs -u"),
        ("--pid 1 out other", "unexpected argument 'other'"),
        ("--core-pattern 1 2 3 4 out", "<OUTPUT>"),
        (
            "--core-pattern 1 2 3 %u x out",
            "\"%u\" is nothing that the kernel puts for %u",
        ),
        ("--pid 1 --layout runs out", "unexpected argument '--layout'"),
        ("--pid 1 out -mq", "unknown letter `q` after -m"),
        ("--pid 1 out -b", "unexpected argument '-b'"),
    ] {
        let message = refused(&format!("capture {line}"));
        assert!(message.contains(text), "{line}: {message}");
    }
}
