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
        ["mini", "full", "kernel", "kernel-active", "overwrite", "comment"],
        "DumpArguments must read all of them"
    );
}

#[test]
fn without_options_it_is_a_small_dump_that_replaces_nothing() {
    let arguments = convert("a b");
    assert_eq!(arguments.dump.options, DumpOptions::default());
    assert_eq!((arguments.source, arguments.output), ("a".into(), "b".into()));
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
        let options = convert(line).dump.options;
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
        assert_eq!(convert(line).dump.options.kind, kind, "{line}");
    }
}

#[test]
fn absolute_paths_stay_paths() {
    let arguments = convert("/mnt/a.dmp /ma /media");
    assert_eq!(
        (arguments.source, arguments.output),
        ("/mnt/a.dmp".into(), "/media".into())
    );
    assert_eq!(arguments.dump.options.to_string(), "-ma");
    let arguments = convert("-- /ma -o");
    assert_eq!((arguments.source, arguments.output), ("/ma".into(), "-o".into()));
}

#[test]
fn other_options_are_read() {
    let arguments = convert("a - --image-path x --image-path y --max-size 200K --report /ma --progress never");
    assert!(arguments.to_standard_output());
    assert_eq!(arguments.image_path, [PathBuf::from("x"), PathBuf::from("y")]);
    assert_eq!(arguments.max_size, Some(200 << 10));
    assert_eq!(arguments.report, Some("/ma".into()));
    assert_eq!(arguments.progress, ProgressMode::Never);
    assert_eq!(arguments.dump.options.mini, MiniOptions::empty());
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
    assert!(arguments.quiet && arguments.strict);
    assert_eq!(arguments.dump.options.comment.as_deref(), Some("y"));
    assert_eq!((arguments.report, arguments.max_size), (Some("s".into()), Some(2)));
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
        ("convert a b -u", "unexpected argument '-u'"),
        ("convert a b -ba", "unexpected argument '-b'"),
        ("convert a b -M", "unexpected argument '-M'"),
        ("convert a", "<OUTPUT>"),
        ("convert a b /u", "unexpected argument '/u'"),
        ("convert - b", "standard input"),
        ("inspect -", "standard input"),
        ("inspect a -ma", "unexpected argument '-m'"),
        ("verify a --against -", "standard input"),
        ("convert a b -m -i", "did you mean `-mi`?"),
        ("convert a b --report -", "standard output"),
        ("convert a b --max-size 1X", "unknown unit `X`"),
        ("convert a b --layout list", "possible values: bitmap, range, runs"),
        ("convert a b --allow-sensitive-process", "--process <PID|NAME>"),
        ("capture a b", "unrecognized subcommand"),
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
