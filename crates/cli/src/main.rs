//! The command `dotdump`: arguments, progress, printing.
#![forbid(unsafe_code)]

mod arguments;
mod capture;
mod convert;
mod counted;
mod dump;
mod dump_arguments;
mod exit;
mod inspect;
mod misuse;
mod printing;
mod process_name;
mod progress;
mod report_file;
mod signals;
mod size;
mod source;
mod texts;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::Action;
use dotdump_transcode::ConvertError;
use exit::Exit;
use misuse::Misuse;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help that nobody reads to its end is no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success }.into();
        }
    };
    let result = match arguments.action {
        Action::Convert(arguments) => convert::run(&arguments),
        Action::Capture(arguments) => capture::run(&arguments),
        Action::Inspect(arguments) => inspect::run(&arguments),
        Action::Verify(arguments) => verify::run(&arguments),
        Action::Completions { shell } => texts::completions(shell, arguments::command()),
        Action::Man => texts::man(arguments::command()),
    };
    let exit = result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "dotdump: {error:#}");
        let is_misuse = error.is::<Misuse>() || matches!(error.downcast_ref(), Some(ConvertError::Options(_)));
        if is_misuse { Exit::Usage } else { Exit::Failure }
    });
    exit.into()
}
