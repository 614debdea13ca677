//! All options of one dump.

use std::fmt;

use super::OptionsError;
use super::debug_format::DebugFormat;
use super::mini::MiniOptions;

/// What one `.dump` of a process is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DumpOptions {
    /// The letters after `-m`.
    pub mini: MiniOptions,
    /// `-o`: replace an existing file.
    pub overwrite: bool,
    /// `-c`: the comment to store.
    pub comment: Option<String>,
}

impl DumpOptions {
    /// The `DEBUG_FORMAT_*` flags that stand for the options. The comment is an argument of its own there.
    #[must_use]
    pub fn to_debug_format(&self) -> DebugFormat {
        let mut format = self.mini.to_debug_format();
        format.set(DebugFormat::NO_OVERWRITE, !self.overwrite);
        format
    }

    /// The options for `DEBUG_FORMAT_*` flags and the comment that goes with them.
    ///
    /// # Errors
    /// What [`MiniOptions::from_debug_format`] refuses.
    pub fn from_debug_format(format: DebugFormat, comment: Option<String>) -> Result<Self, OptionsError> {
        Ok(Self {
            mini: MiniOptions::from_debug_format(format - DebugFormat::NO_OVERWRITE)?,
            overwrite: !format.contains(DebugFormat::NO_OVERWRITE),
            comment,
        })
    }
}

impl fmt::Display for DumpOptions {
    /// The options as they are written in WinDbg: `-mi -o -c "the text"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mini)?;
        if self.overwrite {
            f.write_str(" -o")?;
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
    fn options_are_spelled_as_in_windbg() {
        let options = DumpOptions::from_debug_format(DebugFormat::from_bits_retain(0xC07), Some("two words".into()));
        assert_eq!(
            options.expect("the flags of -ma").to_string(),
            "-ma -o -c \"two words\""
        );
    }
}
