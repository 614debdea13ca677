//! Which options go with which source. What a source cannot use is refused by name.

use dotdump_transcode::options::{DumpKind, Subject};

use crate::arguments::ConvertArguments;
use crate::misuse::Misuse;
use crate::source::Shown;

/// Refuses options that do not go with the source.
pub(super) fn check(arguments: &ConvertArguments, source: Shown) -> Result<(), Misuse> {
    let subject = match (source, &arguments.process) {
        (Shown::Process | Shown::ProcessCore, _) | (Shown::Machine, Some(_)) => Subject::Process,
        (Shown::Machine, None) => Subject::Machine,
    };
    let options = &arguments.writing.dump.options;
    let exception = &arguments.writing.dump.exception;
    let checked = options.check_for(subject).and_then(|()| exception.check_for(subject));
    checked.map_err(|error| Misuse(error.to_string()))?;
    let has_pages = subject == Subject::Machine && options.kind != DumpKind::Mini;
    for (is_given, name, is_used, reason) in [
        (
            options.all_processes,
            "-a",
            false,
            "it is for processes that run (dotdump capture); of a source in a file --process chooses one",
        ),
        (
            arguments.process.is_some(),
            "--process",
            source == Shown::Machine,
            "it chooses a process of a machine, and the source shows only one",
        ),
        (
            arguments.layout.is_some(),
            "--layout",
            has_pages,
            "only dumps of a machine's pages (-f, -k, -ka) have a layout",
        ),
        (
            !arguments.writing.image_path.is_empty(),
            "--image-path",
            subject == Subject::Process,
            "images are only used for the segments of a process's modules",
        ),
    ] {
        if is_given && !is_used {
            return Err(Misuse(format!("{name} is refused: {reason}")));
        }
    }
    Ok(())
}
