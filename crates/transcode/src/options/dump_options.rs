//! All options of one dump.

use std::fmt;

use super::OptionsError;
use super::debug_format::DebugFormat;
use super::kind::DumpKind;
use super::mini::MiniOptions;
use super::table::DUMP_OPTIONS;

/// What a dump is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A process.
    Process,
    /// A whole machine.
    Machine,
}

/// What one `.dump` is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DumpOptions {
    /// Which dump.
    pub kind: DumpKind,
    /// The letters after `-m`; none for the other kinds.
    pub mini: MiniOptions,
    /// `-o`: replace an existing file.
    pub overwrite: bool,
    /// `-u`: append date, time and process id to the file's name.
    pub unique: bool,
    /// `-a`: a dump of every process.
    pub all_processes: bool,
    /// `-c`: the comment to store.
    pub comment: Option<String>,
}

impl DumpOptions {
    /// The `DEBUG_FORMAT_*` flags that stand for the options. The kind of dump and the comment are arguments of their
    /// own there.
    #[must_use]
    pub fn to_debug_format(&self) -> DebugFormat {
        let mut format = self.mini.to_debug_format();
        format.set(DebugFormat::NO_OVERWRITE, !self.overwrite);
        format
    }

    /// The options of a small dump for `DEBUG_FORMAT_*` flags and the comment that goes with them.
    ///
    /// # Errors
    /// What [`MiniOptions::from_debug_format`] refuses.
    pub fn from_debug_format(format: DebugFormat, comment: Option<String>) -> Result<Self, OptionsError> {
        Ok(Self {
            kind: DumpKind::Mini,
            mini: MiniOptions::from_debug_format(format - DebugFormat::NO_OVERWRITE)?,
            overwrite: !format.contains(DebugFormat::NO_OVERWRITE),
            comment,
            ..Self::default()
        })
    }
}

impl DumpOptions {
    /// Refuses options that the dump of a process, or of a machine, cannot have.
    ///
    /// # Errors
    /// [`OptionsError::Refused`] with the reason.
    pub fn check_for(&self, subject: Subject) -> Result<(), OptionsError> {
        let refused = |option: String, reason| Err(OptionsError::Refused { option, reason });
        match subject {
            Subject::Process => {
                let long = self.kind.long_name();
                let option = DUMP_OPTIONS.iter().find(|option| option.long == long);
                match option.and_then(|option| option.refused_for_user) {
                    Some(reason) => refused(self.kind.to_string(), reason),
                    None => Ok(()),
                }
            }
            Subject::Machine if !self.mini.is_empty() => refused(
                self.mini.to_string(),
                "the letters of -m are for dumps of processes; a small memory dump of a machine takes none. More memory \
                 is in dumps of other kinds: -k, -ka, -f",
            ),
            Subject::Machine => Ok(()),
        }
    }
}

impl fmt::Display for DumpOptions {
    /// The options as they are written in WinDbg: `-mi -o -c "the text"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DumpKind::Mini => write!(f, "{}", self.mini)?,
            kind => write!(f, "{kind}")?,
        }
        for (is_given, option) in [
            (self.overwrite, " -o"),
            (self.unique, " -u"),
            (self.all_processes, " -a"),
        ] {
            if is_given {
                f.write_str(option)?;
            }
        }
        if let Some(comment) = &self.comment {
            write!(f, " -c \"{comment}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_to_overwrite_is_the_default_and_a_flag() {
        let options = DumpOptions::default();
        assert_eq!(options.to_debug_format(), DebugFormat::NO_OVERWRITE);
        assert_eq!(
            DumpOptions::from_debug_format(DebugFormat::NO_OVERWRITE, None),
            Ok(options)
        );
    }

    #[test]
    fn dumps_of_machines_are_spelled_by_their_kind() {
        for (kind, spelled) in [
            (DumpKind::Mini, "-m -o"),
            (DumpKind::Full { avx_state: false }, "-f -o"),
            (DumpKind::Full { avx_state: true }, "-fy -o"),
            (DumpKind::Kernel, "-k -o"),
            (DumpKind::KernelActive, "-ka -o"),
        ] {
            let options = DumpOptions {
                kind,
                overwrite: true,
                ..DumpOptions::default()
            };
            assert_eq!(options.to_string(), spelled);
        }
    }

    #[test]
    fn kinds_of_machines_are_refused_for_processes_with_the_reason() {
        for (kind, reason) in [
            (
                DumpKind::Full { avx_state: true },
                "-fy is refused: a complete memory dump",
            ),
            (DumpKind::Kernel, "-k is refused: a kernel memory dump"),
            (DumpKind::KernelActive, "-ka is refused: a dump of active memory"),
        ] {
            let options = DumpOptions {
                kind,
                ..DumpOptions::default()
            };
            let error = options.check_for(Subject::Process).expect_err("a machine's kind");
            assert!(error.to_string().starts_with(reason), "{error}");
            assert_eq!(options.check_for(Subject::Machine), Ok(()));
        }
        assert_eq!(DumpOptions::default().check_for(Subject::Process), Ok(()));
        assert_eq!(DumpOptions::default().check_for(Subject::Machine), Ok(()));
    }

    #[test]
    fn letters_are_refused_for_machines() {
        let options = DumpOptions {
            mini: "Fh".parse().expect("letters"),
            ..DumpOptions::default()
        };
        assert_eq!(options.check_for(Subject::Process), Ok(()));
        let error = options.check_for(Subject::Machine).expect_err("letters");
        assert!(
            error.to_string().starts_with("-mFh is refused: the letters of -m"),
            "{error}"
        );
    }

    #[test]
    fn options_are_spelled_as_in_windbg() {
        let options = DumpOptions::from_debug_format(DebugFormat::from_bits_retain(0xC07), Some("two words".into()));
        assert_eq!(
            options.expect("the flags of -ma").to_string(),
            "-ma -o -c \"two words\""
        );
    }
}
