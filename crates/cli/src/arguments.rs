//! The command line. The dump options among it are made from the flag table.

mod capture;
mod exception;
mod writing;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use dotdump_transcode::exception::ExceptionRequest;
use dotdump_transcode::options::table::{Argument, DUMP_OPTIONS, DumpOption, MINI_OPTIONS};
use dotdump_transcode::options::{DumpKind, DumpOptions, MiniOptions, OptionsError};

use dotdump_transcode::request::PageLayout;

use crate::dump_arguments::{self, Grammar};
use crate::process_name::ProcessName;
pub(crate) use capture::{CaptureArguments, CorePattern, Target};
pub(crate) use writing::WritingArguments;

/// Makes smaller crash dumps out of larger ones, of processes and of whole machines, the way WinDbg's .dump does.
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
    /// Make a dump from a dump, or from an image of a machine's memory
    Convert(Box<ConvertArguments>),
    /// Make a dump of a process that runs, which stops for as long as it takes
    #[command(override_usage = "dotdump capture <--pid PID|--name NAME|-a -u> [OPTIONS] <OUTPUT>")]
    Capture(Box<CaptureArguments>),
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
    /// The dump to read: a minidump, a kernel dump, an ELF core or kdump file of a machine, a raw image of its memory
    #[arg(value_name = "SOURCE", value_parser = file_with_random_access())]
    pub(crate) source: PathBuf,

    #[command(flatten)]
    pub(crate) writing: WritingArguments,

    /// How the pages of a machine are found in the dump
    #[arg(long, value_name = "LAYOUT", value_enum)]
    pub(crate) layout: Option<Layout>,

    /// Write a minidump of this process of a machine, by its id or the name of its image
    #[arg(long, value_name = "PID|NAME")]
    pub(crate) process: Option<ProcessName>,

    /// Accept a process of --process that holds secrets of all users: lsass.exe
    #[arg(long, requires = "process")]
    pub(crate) allow_sensitive_process: bool,

    /// Where the parts of a raw image of memory lie: lines of address, size and perhaps file offset, or what QEMU
    /// prints for `info mtree -f`
    #[arg(long, value_name = "FILE")]
    pub(crate) memory_map: Option<PathBuf>,

    /// Read the source instead of mapping it to memory
    #[arg(long)]
    pub(crate) no_mmap: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The dump to read: a minidump, a kernel dump, an ELF core or kdump file of a machine, a raw image of its memory
    #[arg(value_name = "DUMP", value_parser = file_with_random_access())]
    pub(crate) dump: PathBuf,

    /// Where the parts of a raw image of memory lie
    #[arg(long, value_name = "FILE")]
    pub(crate) memory_map: Option<PathBuf>,

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

    /// Where the parts of SOURCE lie, where it is a raw image of memory
    #[arg(long, value_name = "FILE")]
    pub(crate) memory_map: Option<PathBuf>,

    /// Print one JSON document with all checks
    #[arg(long)]
    pub(crate) json: bool,

    /// Read the files instead of mapping them to memory
    #[arg(long)]
    pub(crate) no_mmap: bool,
}

/// How the pages of a machine are found in its dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// By a bitmap, as Windows writes them; the usual way
    Bitmap,
    /// By ranges, as WinDbg writes them since 2022; older debuggers cannot open it. x64 only
    Range,
    /// By runs in the header, as Windows wrote complete dumps up to 7; few runs fit
    Runs,
}

impl From<Layout> for PageLayout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Bitmap => Self::Bitmap,
            Layout::Range => Self::Range,
            Layout::Runs => Self::Runs,
        }
    }
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
    /// The exception to store.
    pub(crate) exception: ExceptionRequest,
}

impl Args for DumpArguments {
    fn augment_args(command: Command) -> Command {
        command
            .next_help_heading("Dump options, as in WinDbg (with - or / in front)")
            .args(DUMP_OPTIONS.iter().map(argument))
            .next_help_heading(None)
            .arg(exception::signal_info())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DumpArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mini = matches
            .get_many("mini")
            .into_iter()
            .flatten()
            .fold(MiniOptions::empty(), |all, &part| all | part);
        mini.check()
            .map_err(|error| clap::Error::raw(ErrorKind::ArgumentConflict, error))?;
        Ok(Self {
            options: DumpOptions {
                kind: kind(matches)?,
                mini,
                overwrite: matches.get_flag("overwrite"),
                unique: matches.get_flag("unique"),
                all_processes: matches.get_flag("all-processes"),
                comment: matches.get_one("comment").cloned(),
            },
            exception: exception::request(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The kind of dump that the options ask for.
fn kind(matches: &ArgMatches) -> Result<DumpKind, clap::Error> {
    let avx_state = || {
        matches
            .get_many("full")
            .into_iter()
            .flatten()
            .any(|letters: &String| letters.contains('y'))
    };
    let full = DumpKind::Full { avx_state: avx_state() };
    let mut given = [DumpKind::Mini, full, DumpKind::Kernel, DumpKind::KernelActive]
        .into_iter()
        .filter(|kind| matches.value_source(kind.long_name()) == Some(ValueSource::CommandLine));
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => {
            let error = OptionsError::Kinds { first, second };
            Err(clap::Error::raw(ErrorKind::ArgumentConflict, error))
        }
        (first, _) => Ok(first.unwrap_or_default()),
    }
}

/// The argument for an option of the flag table.
fn argument(option: &'static DumpOption) -> Arg {
    let mut argument = Arg::new(option.long).long(option.long);
    let mut letters = option.short.chars();
    argument = match (letters.next(), letters.next()) {
        (Some(short), None) => argument.short(short).help(option.about),
        // Two letters are nothing that a short option can have elsewhere.
        _ => argument.help(format!("{}: {}", option.about, option.usage())),
    };
    match option.argument {
        Argument::None => argument.action(ArgAction::SetTrue),
        Argument::Text(name) => argument.value_name(name).allow_hyphen_values(true),
        Argument::Address => exception::address(argument),
        Argument::Thread => exception::thread(argument),
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
    let names_target = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with("--"));
    let is_capture = words.get(1).is_some_and(|word| word == CAPTURE) && !words.iter().any(names_target);
    let matches = command
        .try_get_matches_from_mut(words)
        .map_err(|error| with_tip(error, &command, is_capture))?;
    Arguments::from_arg_matches(&matches)
        .map_err(|error| error.format(used(&mut command, matches.subcommand_name().unwrap_or_default())))
}

/// The subcommand for what is live.
const CAPTURE: &str = "capture";

/// Says how a word is written that is known elsewhere.
fn with_tip(mut error: clap::Error, command: &Command, is_capture: bool) -> clap::Error {
    let word = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => word.clone(),
        _ => return error,
    };
    if let Some(tip) = tip(&word, command, is_capture) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        return error.with_cmd(command);
    }
    error
}

fn tip(word: &str, command: &Command, is_capture: bool) -> Option<String> {
    if let Some(long) = word.strip_prefix("--") {
        let knows = |subcommand: &&Command| subcommand.get_arguments().any(|known| known.get_long() == Some(long));
        let subcommand = command.get_subcommands().find(knows)?.get_name();
        return Some(format!("`{word}` is an option of `dotdump {subcommand}`"));
    }
    match word.strip_prefix('-') {
        Some(letter) if !letter.is_empty() && letter.parse::<MiniOptions>().is_ok() => {
            Some(format!("`{letter}` is a letter of -m; did you mean `-m{letter}`?"))
        }
        // Who gives two words means a process by the first.
        None if is_capture => Some("the process is named by --pid PID or --name NAME".to_owned()),
        _ => None,
    }
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

    fn words_after(&self, subcommand: &str, option: &str) -> usize {
        let name = option.strip_prefix("--");
        let argument = self.arguments(subcommand).find(|argument| {
            argument.get_long() == name && argument.get_action().takes_values() && !argument.is_require_equals_set()
        });
        argument.map_or(0, |argument| {
            argument.get_num_args().map_or(1, |words| words.min_values())
        })
    }
}

#[cfg(test)]
mod tests;
