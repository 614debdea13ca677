//! The command line. The dump options among it are made from the flag table.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use dotdump_transcode::options::table::{Argument, DUMP_OPTIONS, DumpOption, MINI_OPTIONS};
use dotdump_transcode::options::{DumpOptions, MiniOptions};

use crate::dump_arguments::{self, Grammar};
use crate::size::parse_size;

/// Makes smaller crash dumps (minidumps) out of larger ones, the way WinDbg's .dump does.
#[derive(Debug, Parser)]
// Command lines are put together by scripts and people in turn: to say something twice is no mistake.
#[command(name = "dotdump", version, arg_required_else_help = true, args_override_self = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a dump from a dump
    Convert(Box<ConvertArguments>),
    /// Show what is in a dump
    Inspect(InspectArguments),
    /// Check that a dump is sound, and that all that it kept is the same as in its source
    ///
    /// Exits with 3 where it finds damage or a difference.
    Verify(VerifyArguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArguments {
    /// The dump to read
    #[arg(value_name = "SOURCE", value_parser = file_with_random_access())]
    pub(crate) source: PathBuf,

    /// The dump to write; - is standard output
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) dump: DumpArguments,

    /// A folder with images (EXE, DLL, ELF) of the modules, for their headers and code. May be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) image_path: Vec<PathBuf>,

    /// Drop the least valuable memory until the dump is no larger: bytes, or with K, M, G, T as powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,

    /// Fail (with exit code 3) where the source lacks something that was asked for
    #[arg(long)]
    pub(crate) strict: bool,

    /// Accept -mf of a source that does not have all memory
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the plan and its size, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Write what was asked, written, absent and erased to this file, as JSON
    #[arg(long, value_name = "FILE", value_parser = report_file())]
    pub(crate) report: Option<PathBuf>,

    /// Leave out the checksums that verify uses
    #[arg(long)]
    pub(crate) no_manifest: bool,

    /// Read the source instead of mapping it to memory
    #[arg(long)]
    pub(crate) no_mmap: bool,

    /// Whether to show progress on standard error
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ProgressMode::Auto)]
    pub(crate) progress: ProgressMode,

    /// Print neither warnings nor progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl ConvertArguments {
    /// Whether the dump goes to standard output.
    pub(crate) fn to_standard_output(&self) -> bool {
        self.output.as_os_str() == "-"
    }
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The dump to read
    #[arg(value_name = "DUMP", value_parser = file_with_random_access())]
    pub(crate) dump: PathBuf,

    /// Print one JSON document with everything
    #[arg(long)]
    pub(crate) json: bool,

    /// Read the dump instead of mapping it to memory
    #[arg(long)]
    pub(crate) no_mmap: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The dump to check
    #[arg(value_name = "DUMP", value_parser = file_with_random_access())]
    pub(crate) dump: PathBuf,

    /// The dump that it was made from: everything that DUMP has must be the same there
    #[arg(long, value_name = "SOURCE", value_parser = file_with_random_access())]
    pub(crate) against: Option<PathBuf>,

    /// Print one JSON document with all checks
    #[arg(long)]
    pub(crate) json: bool,

    /// Read the files instead of mapping them to memory
    #[arg(long)]
    pub(crate) no_mmap: bool,
}

/// When to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Where standard error is a terminal
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

/// The dump options. Their arguments are made from the flag table.
#[derive(Debug, Default)]
pub(crate) struct DumpArguments {
    /// What was asked for.
    pub(crate) options: DumpOptions,
}

impl Args for DumpArguments {
    fn augment_args(command: Command) -> Command {
        command
            .next_help_heading("Dump options, as in WinDbg (with - or / in front)")
            .args(DUMP_OPTIONS.iter().map(argument))
            .next_help_heading(None)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DumpArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        for option in DUMP_OPTIONS {
            if let Some(reason) = option.refused_for_user
                && matches.value_source(option.long) == Some(ValueSource::CommandLine)
            {
                let message = format!("-{} is refused: {reason}", option.short);
                return Err(clap::Error::raw(ErrorKind::InvalidValue, message));
            }
        }
        let mini = matches
            .get_many("mini")
            .into_iter()
            .flatten()
            .fold(MiniOptions::empty(), |all, &part| all | part);
        mini.check()
            .map_err(|error| clap::Error::raw(ErrorKind::ArgumentConflict, error))?;
        Ok(Self {
            options: DumpOptions {
                mini,
                overwrite: matches.get_flag("overwrite"),
                comment: matches.get_one("comment").cloned(),
            },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The argument for an option of the flag table.
fn argument(option: &'static DumpOption) -> Arg {
    let mut argument = Arg::new(option.long).long(option.long).help(option.about);
    let mut letters = option.short.chars();
    if let (Some(short), None) = (letters.next(), letters.next()) {
        argument = argument.short(short);
    }
    match option.argument {
        Argument::None => argument.action(ArgAction::SetTrue),
        Argument::Text(name) => argument.value_name(name).allow_hyphen_values(true),
        Argument::MiniLetters => letters_after(argument)
            .action(ArgAction::Append)
            .value_parser(|letters: &str| letters.parse::<MiniOptions>())
            .help(format!("{}: {}", option.about, option.usage()))
            .long_help(mini_help(option)),
        Argument::Letters(known) => letters_after(argument)
            .action(ArgAction::Append)
            .value_parser(
                move |letters: &str| match letters.chars().find(|&letter| !known.contains(letter)) {
                    None => Ok(letters.to_owned()),
                    Some(letter) => Err(format!("unknown letter `{letter}`; known are {known}")),
                },
            )
            .help(format!("{}: {}", option.about, option.usage())),
    }
}

fn letters_after(argument: Arg) -> Arg {
    argument
        .value_name("LETTERS")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("")
}

/// What `--help` says about `-m`: each letter of the table.
fn mini_help(option: &DumpOption) -> String {
    let letters = MINI_OPTIONS
        .iter()
        .map(|letter| format!("  {}  {}", letter.letter, letter.about));
    let letters = letters.collect::<Vec<_>>().join("\n");
    format!("{}: {}\n\n{letters}", option.about, option.usage())
}

/// Refuses standard input: a dump is read back and forth.
fn file_with_random_access() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            return Err("a dump cannot be read from standard input, for it is read back and forth; save it to a file");
        }
        Ok(path)
    })
}

/// Refuses standard output: it has the dump or what is told of it.
fn report_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            return Err("the report cannot go to standard output, for the dump or its summary goes there; name a file");
        }
        Ok(path)
    })
}

/// The whole command line, as help, the manual page and completions show it.
pub(crate) fn command() -> Command {
    Arguments::command()
}

/// Reads a command line (the first word is the program).
///
/// # Errors
/// What is wrong with it; or help or the version, where that was asked for.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = command();
    command.build();
    let words = dump_arguments::spell_out(words, &Known(&command)).map_err(|unknown| {
        let message = format!(
            "unknown dump option `{}`; did you mean `{}`?",
            unknown.word, unknown.known
        );
        used(&mut command.clone(), &unknown.subcommand).error(ErrorKind::UnknownArgument, message)
    })?;
    let matches = command
        .try_get_matches_from_mut(words)
        .map_err(|error| with_letter_tip(error, &command))?;
    Arguments::from_arg_matches(&matches)
        .map_err(|error| error.format(used(&mut command, matches.subcommand_name().unwrap_or_default())))
}

/// Where a letter that follows `-m` was given as an option of its own, says how it is written.
fn with_letter_tip(mut error: clap::Error, command: &Command) -> clap::Error {
    let letter = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => word.strip_prefix('-').map(str::to_owned),
        _ => None,
    };
    let is_letter = |word: &String| !word.is_empty() && word.parse::<MiniOptions>().is_ok();
    if let Some(letter) = letter.filter(is_letter) {
        let tip = format!("`{letter}` is a letter of -m; did you mean `-m{letter}`?");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        return error.with_cmd(command);
    }
    error
}

/// The part of the command line whose usage explains a mistake.
fn used<'a>(command: &'a mut Command, subcommand: &str) -> &'a mut Command {
    if command.find_subcommand(subcommand).is_none() {
        return command;
    }
    command.find_subcommand_mut(subcommand).expect("it was found")
}

struct Known<'a>(&'a Command);

impl Known<'_> {
    fn arguments(&self, subcommand: &str) -> impl Iterator<Item = &Arg> {
        self.0
            .find_subcommand(subcommand)
            .into_iter()
            .flat_map(Command::get_arguments)
    }
}

impl Grammar for Known<'_> {
    fn takes_dump_options(&self, subcommand: &str) -> bool {
        self.arguments(subcommand)
            .any(|argument| argument.get_id() == DUMP_OPTIONS[0].long)
    }

    fn takes_next_word(&self, subcommand: &str, option: &str) -> bool {
        let name = option.strip_prefix("--");
        self.arguments(subcommand).any(|argument| {
            argument.get_long() == name && argument.get_action().takes_values() && !argument.is_require_equals_set()
        })
    }
}

#[cfg(test)]
mod tests {
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
            ["mini", "full", "overwrite", "comment"],
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
    fn what_is_said_twice_counts_as_it_was_said_last() {
        let arguments =
            convert("a b -q -q --strict --strict -c x -c y --report r --report s --max-size 1 --max-size 2");
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
                "convert a b -f",
                "-f is refused: a complete memory dump can only be made of a whole machine",
            ),
            ("convert a b /fy", "use -ma"),
            ("convert a b -fz", "unknown dump option `-fz`"),
            (
                "convert a b -comment",
                "unknown dump option `-comment`; did you mean `-c TEXT`?",
            ),
            ("convert a b -c", "a value is required for '--comment <TEXT>'"),
            ("convert a b -k", "unexpected argument '-k'"),
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
            assert!(
                help.contains(&format!("-{}, --{}", option.short, option.long)),
                "{}: {help}",
                option.short
            );
        }
    }
}
