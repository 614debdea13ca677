//! Arguments of `capture`.

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::WritingArguments;
use crate::process_name::parse_id;

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub(crate) struct CaptureArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) writing: WritingArguments,

    /// Accept a process that holds secrets of all users: lsass.exe
    #[arg(long)]
    pub(crate) allow_sensitive_process: bool,
}

/// What is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The process with this id.
    Id(u32),
    /// The process whose program has this name.
    Name(String),
    /// Every process (`-a`).
    All,
    /// The process that the kernel is about to end, and whose core it gives.
    Crashed(CorePattern),
}

/// What the kernel of Linux tells the program that `core_pattern` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CorePattern {
    /// `%P`: the id of the process, as the kernel's first PID namespace has it.
    pub(crate) process: u32,
    /// `%i`: the id of the thread that got the signal, as the process's own PID namespace has it.
    pub(crate) thread: u32,
    /// `%s`: the signal.
    pub(crate) signal: i32,
    /// `%u`: the real user id of the process.
    pub(crate) user: u32,
    /// `%E`: the path of the program, with `!` for each `/`.
    pub(crate) program: String,
}

const PID: &str = "pid";
const NAME: &str = "name";
const CORE_PATTERN: &str = "core-pattern";
/// The dump option for all processes.
const ALL: &str = "all-processes";

impl Args for Target {
    fn augment_args(command: Command) -> Command {
        command.args([
            Arg::new(PID)
                .long(PID)
                .value_name("PID")
                .allow_negative_numbers(true)
                .action(ArgAction::Append)
                .value_parser(|text: &str| match parse_id(text).map(u32::try_from) {
                    Some(Ok(id)) => Ok(id),
                    _ => Err("it is no process id; to name a process use --name"),
                })
                .help("Capture the process with this id"),
            Arg::new(NAME)
                .long(NAME)
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_parser(NonEmptyStringValueParser::new())
                .help("Capture the process whose program has this name, with or without its extension"),
            Arg::new(CORE_PATTERN)
                .long(CORE_PATTERN)
                .value_names(["%P", "%i", "%s", "%u", "%E"])
                .num_args(5)
                .allow_hyphen_values(true)
                .action(ArgAction::Set)
                .help("Capture a process that crashes: for /proc/sys/kernel/core_pattern (Linux)")
                .long_help(
                    "Capture a process that crashes: for /proc/sys/kernel/core_pattern (Linux), which is set to\n  \
                     |/usr/local/bin/dotdump capture --core-pattern %P %i %s %u %E -u /var/crash/core.dmp\nThe kernel \
                     puts in what stands for the crash, and gives the core on standard input.",
                ),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Target {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = matches.get_flag(ALL);
        let core_pattern = matches.get_many::<String>(CORE_PATTERN);
        let crashed = core_pattern
            .map(|values| CorePattern::parse(values.map(String::as_str)))
            .transpose()?
            .map(Self::Crashed);
        let ids = matches.get_many(PID).into_iter().flatten().map(|&id| Self::Id(id));
        let names = matches.get_many(NAME).into_iter().flatten().cloned().map(Self::Name);
        let mut given = ids.chain(names).chain(all.then_some(Self::All)).chain(crashed);
        let mistake = |kind, message: &str| Err(clap::Error::raw(kind, message));
        match (given.next(), given.next()) {
            (Some(_), Some(_)) => mistake(
                ErrorKind::ArgumentConflict,
                "a capture has one target: --pid, --name, --all-processes and --core-pattern contradict each other, and \
                 count once",
            ),
            (Some(Self::All), None) if !matches.get_flag("unique") => mistake(
                ErrorKind::MissingRequiredArgument,
                "-a needs -u: each process gets a file of its own, whose name has its id",
            ),
            (Some(target), None) => Ok(target),
            (None, _) => mistake(
                ErrorKind::MissingRequiredArgument,
                "nothing to capture: name a process with --pid PID or --name NAME, or all with -a -u",
            ),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl CorePattern {
    /// From the five words, in the order of the option.
    fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Self, clap::Error> {
        fn number<T: std::str::FromStr>(word: Option<&str>, specifier: &str) -> Result<T, clap::Error> {
            let word = word.unwrap_or_default();
            word.parse().map_err(|_| {
                let message = format!("--core-pattern: {word:?} is nothing that the kernel puts for {specifier}");
                clap::Error::raw(ErrorKind::InvalidValue, message)
            })
        }
        Ok(Self {
            process: number(words.next(), "%P")?,
            thread: number(words.next(), "%i")?,
            signal: number(words.next(), "%s")?,
            user: number(words.next(), "%u")?,
            program: words.next().unwrap_or_default().to_owned(),
        })
    }
}
